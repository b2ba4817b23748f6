"""What Slurm does not take costs the jobs in it at most. Slurm's part is played here, by what holds bundles."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from suite.errors import SuiteError
from suite.executors import Job, Needs, Outcome, slurm
from suite.executors.slurm import Bundle, SlurmExecutor
from tests.executors.sends import Evil
from tests.executors.test_local import double

submitit: Any = pytest.importorskip("submitit", reason="the extra `slurm` is not installed")


@dataclass
class Handle:
    """A bundle that is over at once: the jobs that the stage says are done are done."""

    stage: Stage
    bundle: Bundle
    state: str = "COMPLETED"

    def done(self) -> bool:
        for number, job in self.bundle.jobs:
            if self.stage.lost.get(job.arguments[0], 0) > 0:
                self.stage.lost[job.arguments[0]] -= 1
                self.state, late = self.stage.end
                if late:
                    self.bundle._late.touch()
                break
            result = job.function(*job.arguments, lambda done, total: None)
            self.bundle.folder.leave(number, Outcome(job, "ok", result, "", 0.0))
        return True

    def cancel(self) -> None:
        self.stage.cancelled += 1


@dataclass
class Stage:
    """What plays submitit.

    `lost` says how often a job's bundle ends when it is the job's turn, `end` how: Slurm's word, and whether it left a
    mark that its time is over; `refusals` is what is said to one submission after the other (None: it is taken).
    """

    lost: dict[int, int]
    end: tuple[str, bool] = ("NODE_FAIL", False)
    refusals: list[str | None] = field(default_factory=list)
    minutes: int = 0
    submitted: list[tuple[int, list[int]]] = field(default_factory=list)
    cancelled: int = 0

    def update_parameters(self, timeout_min: int) -> None:
        self.minutes = timeout_min

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        yield
        if self.refusals and (said := self.refusals.pop(0)) is not None:
            raise RuntimeError(said)

    def submit(self, bundle: Bundle) -> Handle:
        self.submitted.append((self.minutes, [job.arguments[0] for _, job in bundle.jobs]))
        return Handle(self, bundle)


def outcomes(tmp_path: Path, stage: Stage, seconds: float | None = 7200, plain: bool = False) -> dict[int, Outcome]:
    """Of six jobs, dealt out to three bundles."""
    with SlurmExecutor(tmp_path / "slurm", 3, {}, Needs(seconds=seconds), cluster="local") as executor:
        executor._submitter = stage
        found = {o.job.arguments[0]: o for o in executor.map([Job("g", double, (x,), plain=plain) for x in range(6)])}
        assert not executor._submitted
        assert not executor._waiting
    return found


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "_PAUSES", (0.01, 0.02, 0.03))
    monkeypatch.setattr(slurm, "BUNDLES_PER_WORKER", 1)


AWAY = "Unable to contact slurm controller (connect failure)"


def test_what_slurm_does_not_take_again_at_once_is_submitted_later(tmp_path: Path) -> None:
    stage = Stage({1: 1}, refusals=[None, AWAY, AWAY, AWAY])
    assert {x: o.result for x, o in outcomes(tmp_path, stage).items()} == {x: 2 * x for x in range(6)}
    assert stage.cancelled == 0
    assert [jobs for _, jobs in stage.submitted[:3]] == [[0, 3], [1, 4], [2, 5]]
    assert len(stage.submitted) == 3 + 4 * 2  # both jobs of the bundle, three times in vain


def test_what_slurm_never_takes_again_is_lost_and_the_others_are_done(tmp_path: Path) -> None:
    stage = Stage({4: 1}, refusals=[None, *[AWAY] * 4])
    found = outcomes(tmp_path, stage)
    lost = found.pop(4)
    reason = f"its job of Slurm ended, and then Slurm did not take the jobs: RuntimeError: {AWAY}"
    assert (lost.status, lost.reason) == ("died", reason)
    assert {x: o.result for x, o in found.items()} == {x: 2 * x for x in range(6) if x != 4}
    assert not stage.refusals


def test_what_slurm_does_not_take_at_first_is_an_error(tmp_path: Path) -> None:
    stage = Stage({}, refusals=["invalid partition specified: gpu"])
    with pytest.raises(SuiteError, match=r"^Slurm did not take the jobs: .*invalid partition specified: gpu$"):
        outcomes(tmp_path, stage)


@pytest.mark.parametrize(
    ("end", "more"),
    [
        (("TIMEOUT", False), True),
        (("FAILED", True), True),
        (("NODE_FAIL", False), False),
    ],
)
def test_what_ran_out_of_time_is_given_more(end: tuple[str, bool], more: bool, tmp_path: Path) -> None:
    stage = Stage({4: 2, 2: 1}, end=end)
    assert {x: o.result for x, o in outcomes(tmp_path, stage).items()} == {x: 2 * x for x in range(6)}
    asked = [minutes for minutes, jobs in stage.submitted if 4 in jobs]
    assert asked == ([120, 240, 480] if more else [120, 120, 120])
    assert {minutes for minutes, jobs in stage.submitted if jobs in ([0, 3], [1, 4], [2, 5])} == {120}
    assert stage.submitted[-1] == (asked[-1], [4])


def test_what_once_ran_out_of_time_may_be_lost_for_another_reason(tmp_path: Path) -> None:
    class Ends(Stage):
        """The first bundle by its own word and by Slurm's, the next by neither."""

        def submit(self, bundle: Bundle) -> Handle:
            if len(self.submitted) == 3:
                self.end = ("NODE_FAIL", False)
            return super().submit(bundle)

    stage = Ends({1: 3}, end=("TIMEOUT", True))
    assert {x: o.result for x, o in outcomes(tmp_path, stage).items()} == {x: 2 * x for x in range(6)}
    assert [minutes for minutes, jobs in stage.submitted if 1 in jobs] == [120, 240, 240, 240]


def test_an_outcome_that_a_strangers_code_wrote_is_its_jobs_failure(tmp_path: Path) -> None:
    class Forged(Handle):
        def done(self) -> bool:
            over = super().done()
            (self.bundle.folder.path / "4.outcome").write_bytes(pickle.dumps(Evil(str(made))))
            return over

    class Forging(Stage):
        def submit(self, bundle: Bundle) -> Handle:
            return Forged(self, bundle) if bundle.jobs[0][0] == 1 else super().submit(bundle)

    made = tmp_path / "made"
    found = outcomes(tmp_path, Forging({}), plain=True)
    assert not made.exists()
    forged = found.pop(4)
    assert (forged.status, forged.result) == ("failed", None)
    assert forged.reason.startswith("its file of results cannot be read (")
    assert {x: o.result for x, o in found.items()} == {x: 2 * x for x in range(6) if x != 4}


def test_submitits_own_files_of_results_are_not_read(tmp_path: Path) -> None:
    """They are pickles, made where a stranger's code may have run."""

    class Planted(Stage):
        """Bundles that are over at once and have done nothing; a stranger's code wrote what they say of it."""

        def submit(self, bundle: Bundle) -> Handle:
            handle = submitit.local.local.LocalJob(tmp_path, str(len(handles)))
            handle.paths.result_pickle.write_bytes(pickle.dumps(("error", Evil(str(made)))))
            handles.append(handle)
            return handle  # type: ignore[no-any-return]

    made, handles = tmp_path / "made", list[Any]()
    found = outcomes(tmp_path, Planted({}))
    assert {o.status for o in found.values()} == {"died"}
    assert not made.exists()
    handles[0].exception()
    assert made.is_dir(), "it would have run"


def test_where_more_time_is_not_granted_it_is_what_it_was(tmp_path: Path) -> None:
    stage = Stage({4: 1}, end=("TIMEOUT", False), refusals=[None, "Requested time limit is invalid"])
    assert {x: o.result for x, o in outcomes(tmp_path, stage).items()} == {x: 2 * x for x in range(6)}
    assert [minutes for minutes, jobs in stage.submitted if 4 in jobs] == [120, 240, 120]


def test_where_no_time_is_asked_for_none_is(tmp_path: Path) -> None:
    stage = Stage({4: 1}, end=("TIMEOUT", False))
    assert {x: o.result for x, o in outcomes(tmp_path, stage, None).items()} == {x: 2 * x for x in range(6)}
    assert {minutes for minutes, _ in stage.submitted} == {0}
