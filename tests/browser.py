"""A headless Chromium driven through its own debugging protocol, for the tests of pages.

Needs a Chromium or Chrome on the machine; tests that use it are skipped where there is none.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--mute-audio",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--allow-file-access-from-files",
)


def chromium() -> str | None:
    """Path of a Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("AESENS_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


class Browser:
    """One page of one browser; `problems` collects console errors, exceptions and failed or remote requests."""

    def __init__(self):
        from websocket import create_connection

        self._profile = tempfile.mkdtemp(prefix="aesens-chromium-")
        self._process = subprocess.Popen(
            [chromium(), *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        place = Path(self._profile) / "DevToolsActivePort"
        self._until(lambda: place.exists() and len(place.read_text().split()) == 2, 60)
        port, path = place.read_text().split()
        self._socket = create_connection(f"ws://127.0.0.1:{port}{path}", timeout=120)
        self._number, self._session, self._events = 0, None, []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    @staticmethod
    def _until(condition, seconds):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the browser did not answer in time")
            time.sleep(0.1)

    def _call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event):
        method, about = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(f"exception: {about['exceptionDetails'].get('text')}")
        elif method == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.problems.append(f"console: {[arg.get('value') for arg in about['args']]}")
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.problems.append(f"log: {about['entry']['text']} {about['entry'].get('url', '')}")
        elif method == "Network.loadingFailed" and not about.get("canceled"):
            self.problems.append(f"failed: {about['errorText']}")
        elif method == "Network.requestWillBeSent":
            url = about["request"]["url"]
            if not url.startswith(
                ("file:", "data:", "about:", "blob:", "http://127.0.0.1", "http://localhost")
            ):
                self.problems.append(f"remote: {url}")

    def open(self, url: str, width: int = 1280, height: int = 900) -> None:
        """Go to a page and wait until it is loaded."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self._call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, script: str):
        """Value of an expression in the page, promises awaited."""
        done = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(json.dumps(done["exceptionDetails"])[:500])
        return done["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, e.g. ``"ArrowRight"``, where the focus is."""
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        for kind in ("keyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key]
            )

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        self._until(lambda: self.evaluate(f"Boolean({condition})"), seconds)

    def screenshot(self, path: Path, *, full: bool = True) -> None:
        """Save the page as png."""
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=full)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def full_screenshot(self, path: Path, limit: int = 6000, start: int = 0) -> None:
        """Save a stretch of the whole page as png."""
        width = self.evaluate("document.documentElement.clientWidth")
        height = self.evaluate("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": start, "width": width, "height": min(height - start, limit), "scale": 1}
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(Exception):
            self._session = None
            self._call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        shutil.rmtree(self._profile, ignore_errors=True)
