"""Bundles of jobs under submitit's own local engine, which stands for Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suite.errors import BadInput
from suite.executors import Job, Needs, Progress, slurm
from suite.executors.slurm import SlurmExecutor
from tests.executors.test_local import die, double, fail, hang

submitit: Any = pytest.importorskip("submitit", reason="the extra `slurm` is not installed")


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[SlurmExecutor]:
    with SlurmExecutor(tmp_path / "slurm", 2, {"SAID": "so"}, Needs(seconds=7200), cluster="local") as made:
        yield made


def slowly(note: str, seconds: float, progress: Progress) -> int:
    """The process that it is done in, the last of those that began it."""
    with Path(note).open("a") as file:
        file.write(f"{os.getpid()}\n")
    progress(1, 4)
    time.sleep(seconds)
    return os.getpid()


def environment(progress: Progress) -> str:
    return os.environ["SAID"]


@pytest.mark.slow
def test_whatever_becomes_of_a_job_is_its_own_outcome(executor: SlurmExecutor, tmp_path: Path) -> None:
    jobs = [
        *(Job("g", double, (x,)) for x in range(8)),
        Job("g", fail, ()),
        Job("g", die, ()),
        Job("g", hang, (), limit=1.0),
        Job("g", environment, ()),
    ]
    found = {outcome.job: outcome for outcome in executor.map(jobs)}
    assert [found[job].result for job in jobs[:8]] == [2 * x for x in range(8)]
    assert [found[job].status for job in jobs[8:]] == ["failed", "died", "timeout", "ok"]
    assert found[jobs[8]].reason == "ValueError: not today"
    assert found[jobs[11]].result == "so"
    assert not list((tmp_path / "slurm").glob("outcomes-*"))  # nothing is left but submitit's logs


@pytest.mark.slow
def test_a_bundle_that_is_preempted_does_what_is_left(executor: SlurmExecutor, tmp_path: Path) -> None:
    notes = [tmp_path / f"note-{number}" for number in range(6)]
    jobs = [Job("g", slowly, (str(note), 0.1 if number < 4 else 5.0)) for number, note in enumerate(notes)]
    preempted: list[int] = []

    def tick(fractions: list[float]) -> None:
        if not preempted and notes[4].exists():
            (bundle,) = (one for one in executor._submitted if 4 in one.left)
            preempted.append(bundle.handle._process.pid)
            # as Slurm does, every process of the job; not submitit's own, which stands for Slurm here
            for process in descendants(preempted[0])[1:]:
                os.kill(process, signal.SIGUSR2)

    found = list(executor.map(jobs, tick))
    assert [outcome.status for outcome in found] == ["ok"] * 6
    assert preempted
    begun = [note.read_text().count("\n") for note in notes]
    assert begun == [1, 1, 1, 1, 2, 1]  # what was under way is begun again, what was done is not
    assert (
        len(list((tmp_path / "slurm" / "submitted").glob("*_submitted.pkl"))) == 6
    )  # and by the bundle that it was in


@pytest.mark.slow
def test_what_a_lost_bundle_had_not_done_goes_into_another(executor: SlurmExecutor, tmp_path: Path) -> None:
    notes = [tmp_path / f"note-{number}" for number in range(4)]
    jobs = [Job("g", slowly, (str(note), 3.0)) for note in notes]
    lost: list[int] = []

    def tick(fractions: list[float]) -> None:
        if not lost and all(note.exists() for note in notes[:2]):
            process = executor._submitted[0].handle._process.pid
            lost.extend(descendants(process))
            for one in lost:
                os.kill(one, signal.SIGKILL)

    found = list(executor.map(jobs, tick))
    assert lost
    assert [outcome.status for outcome in found] == ["ok"] * 4
    assert sum(note.read_text().count("\n") for note in notes) == 5


def descendants(process: int) -> list[int]:
    """A process and all that it began, as when its machine is gone."""
    children = [int(c) for c in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [process, *(one for child in children for one in descendants(child))]


@pytest.mark.slow
def test_a_bundle_that_never_comes_to_its_jobs_is_given_up(executor: SlurmExecutor) -> None:
    executor._submitter.update_parameters(slurm_setup=None)
    executor._submitter._executor.python = "false"
    (found,) = executor.map([Job("g", double, (1,))])
    assert found.status == "died"
    assert found.reason.startswith("its job of Slurm ended 4 times before it was done")


@pytest.mark.slow
def test_what_runs_out_of_time_is_begun_four_times_in_all(tmp_path: Path) -> None:
    """Neither submitit nor Slurm begins it again besides. Each time it is given twice the time."""
    note, told, given = tmp_path / "note", set[int](), list[float | None]()

    def tick(fractions: list[float]) -> None:
        bundle = executor._submitted[0].handle._process.pid if executor._submitted else 0
        begun = note.read_text().split() if note.exists() else []
        if bundle and len(begun) > len(told):
            told.add(int(begun[-1]))
            given.append(executor._submitted[0].seconds)
            for process in descendants(bundle)[1:]:  # as Slurm does before the time is over
                os.kill(process, signal.SIGUSR2)

    # of ten minutes at most submitit takes any signal for the end of its time, which is doubled three times
    with SlurmExecutor(tmp_path / "slurm", 1, {}, Needs(seconds=70), cluster="local") as executor:
        (found,) = executor.map([Job("g", slowly, (str(note), 600.0))], tick)
    assert found.status == "died"
    assert len(told) == 4
    assert given == [70, 140, 280, 560]


DRIVER = """
import sys
from pathlib import Path
from suite.executors import Job, Needs, slurm
from tests.executors.test_slurm import slowly
slurm._BEAT_SECONDS, slurm._PATIENCE = 0.5, float(sys.argv[3])
with slurm.SlurmExecutor(Path(sys.argv[1]), 1, {}, Needs(seconds=7200), cluster="local") as executor:
    list(executor.map([Job("g", slowly, (sys.argv[2], 600.0))]))
"""


def killed_at_work(folder: Path, note: Path, patience: float) -> int:
    """A driver is killed, with -9, whose bundle is at a job; the process of that."""
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder), str(note), str(patience)])
    try:
        assert later(lambda: note.exists() and note.read_text().endswith("\n"))
        time.sleep(2 * patience if patience < 10 else 0)  # while it is there, patience is long enough
        (worker,) = map(int, note.read_text().split())
        assert running(worker)
    finally:
        driver.kill()
        driver.wait()
    return worker


def later(is_so: Callable[[], bool]) -> bool:
    until = time.monotonic() + 120
    while not is_so() and time.monotonic() < until:
        time.sleep(0.1)
    return is_so()


def running(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_bundle_whose_driver_was_killed_ends_itself(tmp_path: Path) -> None:
    worker = killed_at_work(tmp_path / "slurm", tmp_path / "note", 4.0)
    assert later(lambda: not running(worker))
    (log,) = (tmp_path / "slurm" / "submitted").glob("*_log.err")
    assert later(lambda: slurm._ALONE in log.read_text())


@pytest.mark.slow
def test_the_next_driver_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    folder = tmp_path / "slurm"
    worker = killed_at_work(folder, tmp_path / "note", 60.0)
    assert list(folder.glob("outcomes-*"))
    with SlurmExecutor(folder, 1, {}, Needs(seconds=7200), cluster="local") as executor:
        assert not list(folder.glob("outcomes-*"))
        assert not list((folder / "submitted").glob("*.pkl"))
        assert later(lambda: not running(worker))  # nobody waits for it
        assert [outcome.result for outcome in executor.map([Job("g", double, (2,))])] == [4]
        assert list((folder / "submitted").glob("*.pkl"))
    assert not list((folder / "submitted").glob("*.pkl"))


LOGIN = "give the command on a login node of Slurm, or leave --executor out"


def commands(folder: Path, *names: str) -> str:
    """A folder of commands that do nothing."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("there", "said"), [((), "no srun and no sbatch"), (("srun",), "no sbatch"), (("sbatch",), "no srun")]
)
def test_without_slurm_it_says_so(
    there: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", commands(tmp_path / "bin", *there))
    with pytest.raises(BadInput) as caught:
        SlurmExecutor(tmp_path / "slurm", 2, {})
    assert str(caught.value) == f"--executor slurm: there is {said} here; {LOGIN}"


def test_other_errors_are_told_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", commands(tmp_path / "bin", "srun", "sbatch"))
    SlurmExecutor(tmp_path / "slurm", 2, {})
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"^--executor slurm: \w+Error: \[Errno \d+\] .*/file/slurm'$"):
        SlurmExecutor(tmp_path / "file/slurm", 2, {})

    def refuses(*words: object, **more: object) -> None:
        raise RuntimeError("Did not found an available executor among them.")

    monkeypatch.setattr(submitit, "AutoExecutor", refuses)
    with pytest.raises(BadInput) as caught:
        SlurmExecutor(tmp_path / "slurm", 2, {})
    assert str(caught.value) == "--executor slurm: RuntimeError: Did not found an available executor among them."
