"""Notebooks opened in JupyterLab by a browser, as a reader does: one run to the end, the explorer's menus used."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import jupytext
import nbformat
import pytest
from browser import Browser, chromium
from support import ROOT

pytestmark = [
    pytest.mark.notebooks,
    pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine"),
]
NOTEBOOK = "90_template"
EXPLORER = "05_trajectories"
OPTIONS = {"models": "musicnn", "effects": "gain,bitcrush", "weights": "untrained", "jobs": 1}
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
# What the explorer shows: menus with their choices, the strength, the picture and the sound.
VIEW = """(() => {
  const read = node => node.textContent.trim();
  const menus = Object.fromEntries([...document.querySelectorAll('.widget-dropdown')].map(menu => {
    const select = menu.querySelector('select');
    return [read(menu.querySelector('label')),
            {chosen: select.selectedOptions[0]?.text, options: [...select.options].map(o => o.text)}];
  }));
  const shown = document.querySelector('.widget-output, .jupyter-widgets-output-area');
  return {
    menus,
    strength: [...document.querySelectorAll('.widget-readout')].map(read).join(),
    pictures: [...(shown?.querySelectorAll('img') ?? [])].map(i => i.src),
    sounds: [...(shown?.querySelectorAll('audio') ?? [])].map(a => a.src),
    title: [...(shown?.querySelectorAll('figcaption') ?? [])].map(read).join(),
  };
})()"""


def write_notebook(name: str, folder: Path, wanted=None) -> None:
    """A copy of a notebook with small settings and without outputs; of some cells only, if `wanted` says which."""
    book = jupytext.read(ROOT / "notebooks" / "percent" / f"{name}.py")
    book.cells = [cell for cell in book.cells if wanted is None or wanted(cell)]
    settings = next(cell for cell in book.cells if "parameters" in cell.metadata.get("tags", []))
    settings.source += f'\nprofile = "tiny"\noptions = {OPTIONS!r}'
    nbformat.write(book, folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab over copies of two notebooks."""
    tmp_path = tmp_path_factory.mktemp("lab")
    folder = tmp_path / "clone" / "notebooks"
    (folder / "percent").mkdir(parents=True)
    write_notebook(NOTEBOOK, folder)
    # Of the chapter: its settings, its study and the cell that makes the explorer.
    parts = ("profile = ", "study = Study(", "explore(study)")
    write_notebook(
        EXPLORER, folder, lambda cell: cell.cell_type == "code" and any(part in cell.source for part in parts)
    )
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


@pytest.fixture
def browser():
    opened = Browser()
    yield opened
    opened.close()


def run_all(browser, lab, name) -> dict:
    """Open a notebook, run all its cells, and tell how that went."""
    # In a workspace of its own: Lab would open what the test before has left open.
    browser.open(f"{lab}/lab/workspaces/{name}/tree/notebooks/{name}.ipynb")
    browser.wait("window.jupyterapp && jupyterapp.shell.currentWidget?.context?.isReady", 90)
    browser.evaluate("jupyterapp.shell.currentWidget.context.sessionContext.ready.then(() => true)")
    browser.evaluate(
        "(jupyterapp.commands.execute('notebook:run-all-cells')"
        ".finally(() => { window.runFinished = true; }), true)"
    )
    end = time.monotonic() + 240
    while not (state := browser.evaluate(STATE))["done"] and time.monotonic() < end:
        time.sleep(1)
    assert state["done"] and state["errors"] == 0 and state["run"] == state["cells"], state
    return state


def photograph(browser, name) -> None:
    if place := os.environ.get("AESENS_SCREENSHOTS"):
        browser.screenshot(f"{place}/{name}.png", full=False)


def test_a_notebook_runs_to_the_end_in_jupyterlab(lab, browser):
    state = run_all(browser, lab, NOTEBOOK)
    photograph(browser, "jupyterlab")
    assert state["cells"] == 4 and state["images"] >= 1, state


def choose(browser, menu: str, entry: str) -> None:
    """Choose an entry of one of the explorer's menus."""
    found = browser.evaluate(f"""(() => {{
      const menu = [...document.querySelectorAll('.widget-dropdown')]
        .find(m => m.querySelector('label').textContent.trim() === {menu!r});
      const select = menu.querySelector('select');
      const place = [...select.options].findIndex(o => o.text === {entry!r});
      if (place < 0) return false;
      menu.scrollIntoView();
      select.selectedIndex = place;
      select.dispatchEvent(new Event('change', {{bubbles: true}}));
      return true;
    }})()""")
    assert found, f"{menu} has no {entry}"


def changed(browser, before: dict, *names: str) -> dict:
    """What the explorer shows once all that is named has changed."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        view = browser.evaluate(VIEW)
        whole = len(view["pictures"]) == len(view["sounds"]) == 1
        if whole and all(view[name] != before[name] for name in names):
            return view
        time.sleep(0.2)
    raise AssertionError(f"of {names} not all changed: {str(view)[:2000]}")


def test_the_explorer_answers_in_jupyterlab(lab, browser):
    run_all(browser, lab, EXPLORER)
    nothing = {"pictures": [], "sounds": []}
    first = changed(browser, nothing, "pictures", "sounds")
    assert list(first["menus"]) == ["Model", "Effect", "Instrument", "Clip"]
    assert first["menus"]["Instrument"] == {"chosen": "Cello", "options": ["Cello", "Piano", "Voice"]}
    assert first["strength"] == first["title"] == "Clean" and "[cel]" in first["menus"]["Clip"]["chosen"]

    choose(browser, "Instrument", "Voice")
    voice = changed(browser, first, "pictures", "sounds")
    clips = voice["menus"]["Clip"]["options"]
    assert len(clips) > 1 and all("[voi]" in clip for clip in clips)

    choose(browser, "Clip", clips[1])
    other = changed(browser, voice, "pictures", "sounds")
    assert other["menus"]["Clip"]["chosen"] == clips[1]

    browser.evaluate("document.querySelector('.noUi-handle').focus()")
    browser.press("ArrowRight")
    stronger = changed(browser, other, "pictures", "sounds", "strength")
    assert stronger["strength"] == stronger["title"] == "-40 dB"

    choose(browser, "Effect", "Bitcrushing")
    crushed = changed(browser, stronger, "pictures", "sounds", "strength")
    assert crushed["strength"] == crushed["title"] == "15 bit"
    assert crushed["menus"]["Clip"]["chosen"] == clips[1]
    assert [crushed["menus"]["Effect"]["chosen"], crushed["menus"]["Instrument"]["chosen"]] == [
        "Bitcrushing",
        "Voice",
    ]
    photograph(browser, "explorer")
    assert not [p for p in browser.problems if p.startswith(("exception", "remote"))], browser.problems
