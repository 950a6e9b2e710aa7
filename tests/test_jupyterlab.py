"""A notebook opened in JupyterLab by a browser and run to the end, as a reader does."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from browser import Browser, chromium
from support import ROOT

pytestmark = [
    pytest.mark.notebooks,
    pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine"),
]
NOTEBOOK = "90_template"
SETTINGS = {"profile": "tiny", "models": "musicnn", "effects": "gain", "weights": "untrained", "jobs": 1}
STATE = """(() => {
  const cells = jupyterapp.shell.currentWidget.content.widgets.filter(c => c.model.type === 'code');
  const outputs = cells.flatMap(c => [...Array(c.model.outputs.length).keys()].map(i => c.model.outputs.get(i)));
  return {
    cells: cells.length,
    run: cells.filter(c => c.model.executionCount).length,
    errors: outputs.filter(o => o.type === 'error').length,
    images: document.querySelectorAll('.jp-OutputArea img').length,
    done: window.runFinished === true,
  };
})()"""


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab over a copy of the notebook with small settings."""
    folder = tmp_path / "clone" / "notebooks"
    (folder / "percent").mkdir(parents=True)
    book = nbformat.read(ROOT / "notebooks" / f"{NOTEBOOK}.ipynb", as_version=4)
    settings = next(cell for cell in book.cells if "parameters" in cell.metadata.get("tags", []))
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    settings.source += "\n" + "\n".join(f"{name} = {value!r}" for name, value in SETTINGS.items())
    nbformat.write(book, folder / f"{NOTEBOOK}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path / "home"
    home.mkdir()
    drop = ("XDG_", "JUPYTER", "IPYTHON", "AESENS_PLAIN")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
    environment |= {"HOME": str(home), "AESENS_CACHE": str(tmp_path / "cache")}
    options = {
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder.parent,
        "ServerApp.allow_root": True,
        "IdentityProvider.token": "",
        "LabApp.expose_app_in_browser": True,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.news_url": "None",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", *(f"--{k}={v}" for k, v in options.items())],
        env=environment,
        cwd=folder.parent,
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "lab.log").open("w"),
        start_new_session=True,
    )
    base = f"http://127.0.0.1:{port}"
    end = time.monotonic() + 90
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{base}/api", timeout=5).close()
            break
        if time.monotonic() > end or server.poll() is not None:
            pytest.fail("JupyterLab did not start: " + (tmp_path / "lab.log").read_text()[-2000:])
        time.sleep(0.3)
    yield base
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def test_a_notebook_runs_to_the_end_in_jupyterlab(lab, tmp_path):
    browser = Browser()
    try:
        browser.open(f"{lab}/lab/tree/notebooks/{NOTEBOOK}.ipynb")
        browser.wait("window.jupyterapp && jupyterapp.shell.currentWidget?.context?.isReady", 90)
        browser.evaluate("jupyterapp.shell.currentWidget.context.sessionContext.ready.then(() => true)")
        browser.evaluate(
            "(jupyterapp.commands.execute('notebook:run-all-cells')"
            ".finally(() => { window.runFinished = true; }), true)"
        )
        end = time.monotonic() + 240
        while not (state := browser.evaluate(STATE))["done"] and time.monotonic() < end:
            time.sleep(1)
        if place := os.environ.get("AESENS_SCREENSHOTS"):
            browser.screenshot(f"{place}/jupyterlab.png", full=False)
        state = browser.evaluate(STATE)
        assert state["done"] and state["errors"] == 0, state
        assert state["run"] == state["cells"] == 4, state
        assert state["images"] >= 1
    finally:
        browser.close()
