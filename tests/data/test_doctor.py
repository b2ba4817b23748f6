"""What the doctor says of data: what is read lies there or is to be put there, by the sources' own rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.doctor import diagnose

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("SUITE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SUITE_HOME", str(tmp_path / "home"))
    return tmp_path / "data"


def said(folder: Path) -> dict[str, tuple[str, str]]:
    return {row["what"]: (row["state"], row["note"]) for row in diagnose(folder.parent / "home")}


def test_a_set_is_there_when_all_its_files_are(folder: Path) -> None:
    (folder / "mnist").mkdir()
    for name in NAMES[:3]:
        (folder / "mnist" / name).touch()
    state, note = said(folder)["data: mnist"]
    assert state == "missing"
    assert f"put mnist/{NAMES[3]}.gz into a folder of SUITE_DATA_DIR" in note
    (folder / "mnist" / NAMES[3]).touch()
    assert said(folder)["data: mnist"] == ("ok", str(folder / "mnist"))


def test_sources_that_make_their_data_are_always_there(folder: Path) -> None:
    rows = said(folder)
    assert rows["data: digits, markov, modular"][0] == "ok"
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
