"""A job finds the files that it names on whatever machine it is done, or says which it needs."""

from __future__ import annotations

import hashlib
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from suite.executors import Job, Progress
from suite.executors import agent as agents
from suite.executors.agent import Agent
from suite.executors.parcel import Missing, NamedFile, Parcel


@dataclass(frozen=True)
class Reads:
    first: Path
    others: tuple[Path, ...]
    folder: Path


def read(what: Reads, progress: Progress) -> tuple[str, ...]:
    progress(1, 1)
    return what.first.read_text(), *(path.read_text() for path in what.others), str(what.folder)


def done(parcel: Parcel, cache: Path) -> Any:
    """What comes of it here, as in a worker."""
    job = parcel.unpacked(cache)
    assert isinstance(job, Job)
    return job.function(*job.arguments, lambda done, total: None)


def lost(progress: Progress) -> object:
    return {"missing": ["/etc/passwd"]}


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
    assert done(parcel, tmp_path / "cache") == ("stored", "mine", "stored", str(work.folder))
    assert not (tmp_path / "cache").exists()


def test_elsewhere_it_says_what_is_missing_and_goes_on_with_that(work: Reads, tmp_path: Path) -> None:
    parcel = Parcel.of(Job("g", read, (work,)))
    contents = {NamedFile.of(path): path.read_bytes() for path in (work.first, work.others[0])}
    assert set(parcel.files) == set(contents)
    for path in (work.first, work.others[0]):
        path.unlink()  # as on a machine that shares no file system with this one
    found = parcel.unpacked(tmp_path)
    assert isinstance(found, Missing)
    assert set(found.files) == set(contents)
    for file, content in contents.items():
        file.keep(content, tmp_path)
    assert done(parcel, tmp_path)[:3] == ("stored", "mine", "stored")


def test_another_file_of_the_same_name_is_not_taken_for_it(work: Reads, tmp_path: Path) -> None:
    parcel = Parcel.of(Job("g", read, (work,)))
    metric = NamedFile.of(work.others[0])
    work.others[0].write_text("of this machine")
    assert parcel.unpacked(tmp_path) == Missing((metric,))
    metric.keep(b"mine", tmp_path)
    assert done(parcel, tmp_path)[1] == "mine"


def test_half_a_file_is_not_taken_for_it(work: Reads, tmp_path: Path) -> None:
    """Of one that is named by its checksum nobody reads the content to see whether it is there."""
    parcel = Parcel.of(Job("g", read, (work,)))
    stored = NamedFile.of(work.first)
    work.first.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3, before[1]))  # a disk that is full after three bytes
        with pytest.raises(OSError, match="File too large"):
            stored.keep(b"stored", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert parcel.unpacked(tmp_path) == Missing((stored,))
    assert not list(stored.kept_in(tmp_path).parent.iterdir())  # what there was room for takes none
    stored.keep(b"stored", tmp_path)
    assert done(parcel, tmp_path)[0] == "stored"


def test_it_is_held_as_its_job_is(tmp_path: Path) -> None:
    """Whatever is said of a job but what it does: its limits, and that its result is data."""
    job = Job("g", lost, (), limit=7.0, grace=3.0, retries=2, plain=True)
    there = Parcel.of(job).unpacked(tmp_path)
    assert isinstance(there, Job)
    assert replace(there, function=lost, arguments=()) == job


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


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """An agent that keeps two files of four bytes, no more."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(agents, "_MOST_KEPT", 8)
    made = Agent({})
    yield made
    made.close()


def named(tmp_path: Path, *names: str) -> tuple[Parcel, dict[NamedFile, bytes]]:
    """A job that reads these files, which are where no agent finds them, and their content."""
    paths = [tmp_path / f"{name}.txt" for name in names]
    for path in paths:
        path.write_text(path.stem)
    parcel = Parcel.of(Job("g", read, (Reads(paths[0], tuple(paths[1:]), tmp_path),)))
    for path in paths:
        path.unlink()
    return parcel, {file: Path(file.path).stem.encode() for file in parcel.files}


def kept(tmp_path: Path) -> set[str]:
    return {path.name for path in tmp_path.glob("suite-files-*/*/*")}


def test_an_agent_keeps_the_files_that_it_needed_last(apart: Agent, tmp_path: Path) -> None:
    sent = {name: named(tmp_path, name) for name in ("aaaa", "bbbb", "cccc")}
    for name in ("aaaa", "bbbb"):
        assert apart.do(*sent[name])[:1] == ("ok",)  # type: ignore[index]
    assert kept(tmp_path) == {"aaaa.txt", "bbbb.txt"}
    assert apart.do(sent["aaaa"][0], {})[:1] == ("ok",)  # type: ignore[index]
    assert apart.do(*sent["cccc"])[:1] == ("ok",)  # type: ignore[index]
    assert kept(tmp_path) == {"aaaa.txt", "cccc.txt"}
    assert apart.do(sent["bbbb"][0], {}) == Missing(sent["bbbb"][0].files)
    both = named(tmp_path, "dddd", "eeee", "ffff")  # more than it keeps, but all are needed
    assert apart.do(*both)[:1] == ("ok",)  # type: ignore[index]
    assert len(kept(tmp_path)) == 2


def test_where_there_is_no_room_an_agent_keeps_what_is_needed_now(
    apart: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = NamedFile.keep

    def on_a_small_disk(file: NamedFile, content: bytes, cache: Path) -> None:
        if sum(len(path.read_bytes()) for path in cache.glob("*/*")) + len(content) > 8:
            raise OSError(28, "No space left on device")
        keep(file, content, cache)

    monkeypatch.setattr(NamedFile, "keep", on_a_small_disk)
    for names in (("aaaa", "bbbb"), ("cccc", "dddd")):
        assert apart.do(*named(tmp_path, *names))[:1] == ("ok",)  # type: ignore[index]
        assert kept(tmp_path) == {f"{name}.txt" for name in names}
    with pytest.raises(OSError, match="No space left"):
        apart.do(*named(tmp_path, "eeee", "ffff", "gggg"))


class Code:
    """Runs where it is unpickled."""

    def __init__(self, note: Path) -> None:
        self.note = note

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.note,)


def code(note: str, progress: Progress) -> object:
    return Code(Path(note))


def test_what_a_strangers_code_returns_is_read_as_data_in_the_agent(tmp_path: Path) -> None:
    note = tmp_path / "note"
    agent = Agent({})
    try:
        answer = agent.do(Parcel.of(Job("g", code, (str(note),), plain=True)), {})
        assert isinstance(answer, tuple)
        assert answer[0] == "failed"
        assert not note.exists()
        assert agent.do(Parcel.of(Job("g", lost, (), plain=True)), {})[:2] == ("ok", {"missing": ["/etc/passwd"]})
        agent.do(Parcel.of(Job("g", code, (str(note),))), {})
        assert note.exists()  # it would have, had it been read
    finally:
        agent.close()


def test_an_agent_that_is_closed_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    agent = Agent({})
    try:
        assert len(list(tmp_path.glob("suite-*"))) == 2
    finally:
        agent.close()
    assert not list(tmp_path.glob("suite-*"))
