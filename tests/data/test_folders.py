from __future__ import annotations

import gzip
import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests

from suite.data import network
from suite.data.folders import Remote, checksum, content, data_folders, fetch
from suite.errors import BadInput


def test_folders_come_from_the_environment_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "b", tmp_path / "a"
    first.mkdir()
    second.mkdir()
    monkeypatch.setenv("SUITE_DATA_DIR", f"{first}:{second}")
    monkeypatch.setenv("SUITE_HOME", str(tmp_path / "home"))
    assert data_folders() == ((first, second), tmp_path / "home" / "data")


@pytest.mark.parametrize("unset", [True, False])
def test_without_variables_there_is_only_the_cache(unset: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUITE_DATA_DIR", "SUITE_HOME"):
        if unset:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, "")
    assert data_folders() == ((), Path(".suite/data"))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_DATA_DIR", f"{tmp_path}:{tmp_path / 'nowhere'}")
    with pytest.raises(BadInput, match=r"SUITE_DATA_DIR names .*nowhere"):
        data_folders()


def test_checksum_is_of_values_dtype_shape_and_order() -> None:
    a, b = np.arange(6, dtype=np.int64), np.ones((2, 3), np.float32)
    reference = checksum([a, b])
    assert reference == checksum([a.astype(">i8"), np.asfortranarray(b)])
    assert reference == checksum([np.repeat(a, 2)[::2], b])
    others = [
        [b, a],
        [a, b.reshape(3, 2)],
        [a.astype(np.int32), b],
        [a + (a == 3), b],
        [a, b, np.zeros((0, 2))],
    ]
    assert len({reference, *map(checksum, others)}) == 6


def test_checksum_of_one_array_by_hand() -> None:
    expected = hashlib.sha256(b"<i8(2,)" + bytes([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])).hexdigest()
    assert checksum([np.array([1, 2])]) == expected


def test_content_unpacks_by_name(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"abc")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(b"abc"))
    assert content(tmp_path / "plain") == content(tmp_path / "packed.gz") == b"abc"


@pytest.mark.parametrize("cut", [0, 1, 9, 30, -1])
def test_a_gzip_file_cut_short_is_named(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(bytes(range(200)))[:cut])
    if cut == 0:  # an empty file is an empty gzip stream: the reader of its content finds it too short
        assert content(path) == b""
        return
    with pytest.raises(BadInput, match=r"cut\.gz is (truncated|damaged).* delete .*cut\.gz"):
        content(path)


def test_a_flipped_bit_in_a_gzip_file_is_found_everywhere(tmp_path: Path) -> None:
    path, original = tmp_path / "flipped.gz", bytes(range(200)) * 3
    packed = gzip.compress(original)
    for position in range(10, len(packed)):  # after the header, whose time stamp and the like do not matter
        path.write_bytes(packed[:position] + bytes([packed[position] ^ 16]) + packed[position + 1 :])
        with pytest.raises(BadInput, match=r"flipped\.gz is (truncated|damaged)"):
            content(path)


def test_what_is_not_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "page.gz"
    path.write_bytes(b"<html>moved</html>")
    with pytest.raises(BadInput, match=r"page\.gz is damaged or not gzip: expected a gzip file, found Not a gzipped"):
        content(path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent cannot be read \(No such file"):
        content(tmp_path / "absent")


@pytest.fixture(autouse=True)
def forget() -> None:
    """No test knows of another's servers."""
    network._unreachable.cache_clear()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the local address it is served at."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_fetch_downloads_verifies_and_keeps(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    (folder / "a.txt").write_bytes(b"abc")
    remote = Remote("a.txt", f"{address}a.txt", hashlib.sha256(b"abc").hexdigest())
    path = fetch(remote, tmp_path / "cache", "set/a.txt")
    assert path == tmp_path / "cache" / "a.txt"
    assert path.read_bytes() == b"abc"
    (folder / "a.txt").unlink()
    assert fetch(remote, tmp_path / "cache", "set/a.txt") == path


def test_fetch_refuses_another_file_and_leaves_nothing(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    (folder / "a.txt").write_bytes(b"abd")
    remote = Remote("a.txt", f"{address}a.txt", hashlib.sha256(b"abc").hexdigest())
    with pytest.raises(
        BadInput,
        match=r"could not be downloaded from 127.*another checksum than the known file\): put it as set/a\.txt",
    ):
        fetch(remote, tmp_path / "cache", "set/a.txt")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:9/", "its server cannot be reached: Connection refused"),
        (
            "http://nowhere.invalid/",
            r"its server (could not be looked up|did not answer .*): is there a network\?",
        ),
        ("http://127.0.0.1:{port}/no/", "its server answers 404 File not found"),
    ],
)
def test_without_a_network_it_says_in_a_line_where_to_put_the_file(
    address: str, reason: str, served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,nowhere.invalid")
    address = address.format(port=served[1].split(":")[-1].strip("/"))
    with pytest.raises(BadInput) as error:
        fetch(Remote("a.txt", f"{address}a.txt", "0" * 64), tmp_path / "cache", "set/a.txt")
    assert re.fullmatch(
        rf"a\.txt is in no data folder and could not be downloaded from {address.split('/')[2]} \({reason}\): "
        rf"put it as set/a\.txt into a folder that SUITE_DATA_DIR names; it is {address}a\.txt",
        str(error.value),
    )


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server whose queue is full: it neither accepts nor refuses, like one behind a firewall."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_a_server_that_does_not_answer_is_waited_for_once_and_not_long(
    deaf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "TIMEOUT", (0.3, 0.3))
    start = time.monotonic()
    for name in ("a", "b", "c", "d", "e"):
        with pytest.raises(BadInput, match=r"its server did not answer within 0\.3 seconds: is there a network\?\)"):
            fetch(Remote(name, f"{deaf}{name}", "0" * 64), tmp_path, f"set/{name}")
    assert time.monotonic() - start < 1.2, "one wait of 0.3 seconds, not five"


def test_a_lookup_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(network, "_PATIENCE", 0.2)
    released = threading.Event()
    monkeypatch.setattr(network, "_try", lambda host, port: released.wait(30) and None)
    start = time.monotonic()
    reason = network.no_answer("https://slow.invalid/a")
    released.set()
    assert reason == "its server did not answer within 0.2 seconds: is there a network?"
    assert time.monotonic() - start < 5


def test_behind_a_proxy_it_is_the_proxy_that_must_answer(
    served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    for name in ("no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", served[1])
    assert network.no_answer("http://nowhere.invalid/a") is None
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert network.no_answer("http://nowhere.invalid/a") == "the proxy 127.0.0.1 cannot be reached: Connection refused"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (requests.ConnectTimeout("HTTPSConnectionPool(host=…)"), "its server did not answer in time"),
        (requests.exceptions.SSLError("HTTPSConnectionPool(host=…)"), "its server's certificate could not be verified"),
        (requests.exceptions.ProxyError("HTTPSConnectionPool(host=…)"), "the proxy on the way refused it"),
        (requests.ConnectionError("HTTPSConnectionPool(host=…)"), "the connection broke off"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_errors_of_a_download_are_said_in_words(error: Exception, words: str) -> None:
    assert network.in_words(error) == words
