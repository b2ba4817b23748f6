"""A job finds the files that it names on whatever machine it is done, or says which it needs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from suite.executors import Job, Progress
from suite.executors.agent import Agent
from suite.executors.parcel import Missing, NamedFile, Parcel, unpack_and_do


@dataclass(frozen=True)
class Reads:
    first: Path
    others: tuple[Path, ...]
    folder: Path


def read(what: Reads, progress: Progress) -> tuple[str, ...]:
    progress(1, 1)
    return what.first.read_text(), *(path.read_text() for path in what.others), str(what.folder)


def nothing(done: int, total: int) -> None:
    pass


@pytest.fixture
def work(tmp_path: Path) -> Reads:
    """Two files, one of them named by its checksum as the store's are, and a folder."""
    here = tmp_path / "here"
    here.mkdir()
    stored = here / f"{hashlib.sha256(b'stored').hexdigest()}.safetensors"
    stored.write_text("stored")
    (here / "metric.py").write_text("mine")
    return Reads(stored, (here / "metric.py", stored), here)


def test_where_the_files_are_they_are_read_in_place(work: Reads, tmp_path: Path) -> None:
    parcel = Parcel.of(Job("g", read, (work,)))
    assert unpack_and_do(parcel.content, tmp_path / "cache", nothing) == ("stored", "mine", "stored", str(work.folder))
    assert not (tmp_path / "cache").exists()


def test_elsewhere_it_says_what_is_missing_and_goes_on_with_that(work: Reads, tmp_path: Path) -> None:
    parcel = Parcel.of(Job("g", read, (work,)))
    contents = {NamedFile.of(path): path.read_bytes() for path in (work.first, work.others[0])}
    for path in (work.first, work.others[0]):
        path.unlink()  # as on a machine that shares no file system with this one
    found = unpack_and_do(parcel.content, tmp_path, nothing)
    assert isinstance(found, Missing)
    assert set(found.files) == set(contents)
    for file, content in contents.items():
        file.keep(content, tmp_path)
    assert unpack_and_do(parcel.content, tmp_path, nothing)[:3] == ("stored", "mine", "stored")


def test_another_file_of_the_same_name_is_not_taken_for_it(work: Reads, tmp_path: Path) -> None:
    parcel = Parcel.of(Job("g", read, (work,)))
    metric = NamedFile.of(work.others[0])
    work.others[0].write_text("of this machine")
    assert unpack_and_do(parcel.content, tmp_path, nothing) == Missing((metric,))
    metric.keep(b"mine", tmp_path)
    assert unpack_and_do(parcel.content, tmp_path, nothing)[1] == "mine"


def test_an_agent_asks_for_files_once(work: Reads) -> None:
    parcel = Parcel.of(Job("g", read, (work,)))
    contents = {NamedFile.of(path): path.read_bytes() for path in (work.first, work.others[0])}
    for path in (work.first, work.others[0]):
        path.unlink()
    agent = Agent({})
    try:
        found = agent.do(parcel, {})
        assert isinstance(found, Missing)
        assert set(found.files) == set(contents)
        for more in (contents, {}):
            answer = agent.do(parcel, more)
            assert isinstance(answer, tuple)
            assert (answer[0], answer[1][:2]) == ("ok", ("stored", "mine"))
        assert agent.fraction() == 1.0 or agent.fraction() == 0.0
    finally:
        agent.close()
