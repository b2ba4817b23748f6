"""What the doctor says of data: what is read lies there or is to be put there, by the sources' own rules."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from suite.data import wikitext
from suite.data.mnist import Mnist
from suite.doctor import diagnose
from tests.data.test_idx import NAMES, small_set, write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("SUITE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SUITE_HOME", str(tmp_path / "home"))
    return tmp_path / "data"


def said(folder: Path) -> dict[str, tuple[str, str]]:
    return {row["what"]: (row["state"], row["note"]) for row in diagnose(folder.parent / "home")}


@pytest.fixture
def mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small MNIST, all of it there."""
    monkeypatch.setattr(Mnist, "source", small_set("mnist", 0))
    return write(folder / "mnist", 0)


def test_a_set_is_there_when_all_its_files_are(mnist: Path) -> None:
    assert said(mnist.parent)["data: mnist"] == ("ok", str(mnist))
    (mnist / f"{NAMES[3]}.gz").unlink()
    state, note = said(mnist.parent)["data: mnist"]
    assert state == "missing"
    assert f"put mnist/{NAMES[3]}.gz into a folder of SUITE_DATA_DIR" in note


@pytest.mark.parametrize("repacked", [False, True])
def test_a_file_that_is_not_the_published_one_is_broken(mnist: Path, repacked: bool) -> None:
    path = mnist / f"{NAMES[0]}.gz"
    content = gzip.decompress(path.read_bytes())
    changed = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes(gzip.compress(changed if repacked else content)[: None if repacked else -9])
    state, note = said(mnist.parent)["data: mnist"]
    assert state == "broken"
    assert str(path) in note
    path.write_bytes(gzip.compress(content, 1, mtime=7))  # packed by somebody else: what is in it counts
    assert said(mnist.parent)["data: mnist"][0] == "ok"


def test_damage_shows_though_another_file_is_missing(mnist: Path) -> None:
    (mnist / f"{NAMES[0]}.gz").write_bytes(b"<html>")
    (mnist / f"{NAMES[3]}.gz").unlink()
    assert said(mnist.parent)["data: mnist"][0] == "broken"


@pytest.mark.parametrize(
    ("place", "what"), [("wikitext-2/train.txt", "wikitext-2"), ("gpt2-bpe/vocab.bpe", "gpt2-bpe")]
)
def test_a_damaged_text_or_encoding_is_broken(place: str, what: str, folder: Path) -> None:
    (folder / place).parent.mkdir()
    (folder / place).write_bytes(b"another")
    state, note = said(folder)[f"data: {what}"]
    assert state == "broken"
    assert str(folder / place) in note


def test_a_known_text_and_encoding_are_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikitext, "_TRAIN", replace(wikitext._TRAIN, editions={hashlib.sha1(b"a").hexdigest(): "own"}))
    monkeypatch.setattr(wikitext, "_MERGES", replace(wikitext._MERGES, sha256=hashlib.sha256(b"b").hexdigest()))
    for place, content in (("wikitext-2/train.txt", b"a"), ("gpt2-bpe/vocab.bpe", b"b")):
        (folder / place).parent.mkdir()
        (folder / place).write_bytes(content)
    rows = said(folder)
    assert rows["data: wikitext-2"][0] == rows["data: gpt2-bpe"][0] == "missing", "the other file of each"


def test_sources_that_make_their_data_are_always_there(folder: Path) -> None:
    rows = said(folder)
    assert rows["data: digits, markov, modular, noisy-digits"][0] == "ok"
    assert {what for what in rows if rows[what][0] == "missing" and what.startswith("data")} == {
        "data: mnist",
        "data: fashion-mnist",
        "data: wikitext-2",
        "data: gpt2-bpe",
    }


def test_a_folder_that_is_not_there_is_broken(folder: Path) -> None:
    folder.rmdir()
    state, note = said(folder)["SUITE_DATA_DIR"]
    assert state == "broken"
    assert str(folder) in note


def test_what_metrics_are_not_kept_from_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def row() -> dict[str, str]:
        return {row["what"]: row for row in diagnose(tmp_path)}["metrics' confinement"]

    monkeypatch.setattr("suite.measuring.confinement.open_here", dict)
    assert row()["state"] == "ok"
    monkeypatch.setattr("suite.measuring.confinement.open_here", lambda: {"network": "no filters here"})
    assert row()["state"] == "missing"
    assert "network: no filters here" in row()["note"]
