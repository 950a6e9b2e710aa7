"""Downloads that go on where they stopped and end soon where there is no network: by HTTP, and of wheels by pip.

They are written here and not left to pooch or huggingface_hub, since what those lack is what a forker behind a slow or
closed network needs: a large file is resumed after a lost connection or a kill, a host that does not answer (or whose
name is not resolved) is given up within seconds and not asked again, and a pip that says nothing is ended.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import requests

from aesens.cache import tqdm

__all__ = ["download", "pip_download"]

#: Bytes read at a time.
CHUNK = 1 << 20

#: Seconds to reach a host, to wait for the next bytes of a download, and to wait for a silent pip.
_CONNECT, _READ, _PIP_SILENCE = 4.0, 10.0, 12.0


def _bar(title: str, **settings) -> tqdm:
    return tqdm(unit="B", unit_scale=True, unit_divisor=1024, desc=title, **settings)


@functools.cache
def _unreachable(host: str, port: int) -> str:
    """Why a host cannot be reached, empty if it can; remembered, so that several models do not each wait.

    The probe runs in a thread because resolving a name has no timeout of its own.
    """
    answer: list[str] = []

    def probe():
        try:
            socket.create_connection((host, port), timeout=_CONNECT).close()
            answer.append("")
        except OSError as error:
            answer.append(f"{host} cannot be reached ({error})")

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(_CONNECT + 1)
    return answer[0] if answer else f"{host} did not answer within {_CONNECT + 1:.0f} s"


def download(url: str, part: Path, title: str, size: int | None) -> None:
    """Download a file by HTTP, after the bytes that `part` holds already where the server can.

    Parameters
    ----------
    url : str
    part : pathlib.Path
        Written; nothing is said of whether its content is right.
    title : str
        For the bar.
    size : int or None
        Bytes in all, where they are known beforehand.

    Raises
    ------
    requests.RequestException, OSError
        If it cannot be had, or not all of it. What had arrived is kept.
    """
    # The host to reach is the proxy in front of it, where there is one.
    proxies = requests.utils.get_environ_proxies(url)
    place = urlsplit(requests.utils.select_proxy(url, proxies) or url)
    if reason := _unreachable(place.hostname or "", place.port or (443 if place.scheme == "https" else 80)):
        raise ConnectionError(reason)
    have = part.stat().st_size if part.exists() else 0
    # Without this, a server may compress the transfer and the ranges would count compressed bytes.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=(_CONNECT, _READ)) as response:
        if response.status_code == 416 and have:  # nothing is left to send
            return
        response.raise_for_status()
        start = have if response.status_code == 206 else 0
        sent = response.headers.get("Content-Range")
        if start and not (sent or "").startswith(f"bytes {have}-"):
            raise ConnectionError(f"the server answered with the range {sent}")
        length = response.headers.get("Content-Length")
        expected = start + int(length) if length else None
        bar = _bar(title, total=size or expected, initial=start)
        with part.open("ab" if start else "wb") as stream, bar:
            for block in response.iter_content(CHUNK):
                stream.write(block)
                bar.update(len(block))
    if expected is not None and part.stat().st_size < expected:
        raise ConnectionError(f"the connection ended after {part.stat().st_size} of {expected} bytes")


#: Failed pip downloads of this process, by requirement, or by ``"pip"`` where the registry cannot be reached.
_FAILED: dict[str, str] = {}


def pip_download(requirement: str, folder: Path, title: str) -> Path:
    """Run ``pip download`` of one wheel; end it when nothing has grown for a while.

    Parameters
    ----------
    requirement : str
        ``name==version``.
    folder : pathlib.Path
        Empty; the wheel lies below it afterwards, beside what pip left.
    title : str
        For the bar.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ConnectionError
        If there is none; says what pip said. A registry that cannot be reached is not asked again.
    """
    if reason := _FAILED.get(requirement) or _FAILED.get("pip"):
        raise ConnectionError(reason)
    target, scratch, log = folder / "wheel", folder / "scratch", folder / "log"
    scratch.mkdir()
    # Only at this verbosity does pip say that a page could not be fetched, and why.
    options = "--no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check --no-input -vv"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "--progress-bar=off"]
    command += ["--timeout=5", "--retries=0", "-d", str(target), requirement]
    # pip writes what arrives into the temporary folder first: its growth is the sign of life.
    # pip asks `rustc` for its version, and rustup's stand-in for it would make itself a folder in the home directory.
    scratched = ("TMPDIR", "TEMP", "TMP", *(() if "RUSTUP_HOME" in os.environ else ("RUSTUP_HOME",)))
    environment = os.environ | dict.fromkeys(scratched, str(scratch))
    silent = False
    with log.open("wb") as output, _bar(title) as bar:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            grown, moment = -1, time.monotonic()
            while process.poll() is None and not silent:
                size = _size(folder)
                if size != grown:
                    bar.update(max(0, size - max(grown, 0)))
                    grown, moment = size, time.monotonic()
                silent = time.monotonic() - moment > _PIP_SILENCE
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
    if wheels := sorted(target.glob("*.whl")):
        return wheels[0]
    lines = log.read_text(errors="replace").splitlines()
    telling = [line[:400] for line in lines if line.startswith(("Could not fetch", "ERROR"))] or lines
    said = f", silent for {_PIP_SILENCE:.0f} s" if silent else ""
    reason = f"pip could not download {requirement}{said}; it said:\n  " + "\n  ".join(telling[-5:])
    offline = silent or any("connection error" in line or "timed out" in line for line in telling)
    _FAILED["pip" if offline else requirement] = reason
    raise ConnectionError(reason)


def _size(folder: Path) -> int:
    """Bytes below a folder in which another process is at work."""
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except FileNotFoundError:  # removed between being listed and being looked at
        return -1
