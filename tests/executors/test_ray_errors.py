"""Whatever Ray says of an agent becomes an outcome of its job, and the other jobs go on. Ray's part is played here."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from suite import __version__
from suite.errors import SuiteError
from suite.executors import Job, Outcome, Progress, ray_cluster
from suite.executors.parcel import Missing, Parcel
from suite.executors.ray_cluster import RayExecutor
from tests.executors.test_local import double

ray: Any = pytest.importorskip("ray", reason="the extra `ray` is not installed")
errors = ray.exceptions

Do = Callable[[Parcel, dict[Any, bytes]], Any]


@dataclass(eq=False)
class Ref:
    value: Any


@dataclass
class Method:
    call: Callable[..., Any]

    def remote(self, *arguments: Any) -> Ref:
        return Ref(self.call(*arguments))


@dataclass(eq=False)
class Actor:
    """An agent that does its jobs at once, in this process."""

    stage: Stage
    machine: str

    def __post_init__(self) -> None:
        self.greeting = Method(lambda: self.stage.greeting(self.machine))
        self.fraction = Method(lambda: 0.5)
        self.close = Method(lambda: self.stage.ended.append((self, "closed")))
        self.do = Method(self._do)

    def _do(self, parcel: Parcel, contents: dict[Any, bytes]) -> Any:
        if self.machine in self.stage.full and parcel.files:
            cause = OSError(28, "No space left on device")
            return errors.RayTaskError("do", "Traceback:\n...", cause, "p", 1, "ip").as_instanceof_cause()
        for file, content in contents.items():
            file.keep(content, self.stage.cache)
        return self.stage.do(parcel, contents)


@dataclass
class Stage:
    """What plays Ray: machines of two cores, whose agents say what they are told to. It fills them one by one.

    `begins` is what comes of beginning an agent on a machine: the suite's version there, or an error; `full` are those
    that can hold no file.
    """

    cache: Path
    begins: dict[str, Any] = field(default_factory=lambda: {"first": __version__})
    full: tuple[str, ...] = ()
    actors: list[Actor] = field(default_factory=list)
    ended: list[tuple[Actor, str]] = field(default_factory=list)

    def greeting(self, machine: str) -> Any:
        said = self.begins[machine]
        return said if isinstance(said, Exception) else (said, machine)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": True, "Resources": {"CPU": 2.0, "memory": 2.0**32}} for name in self.begins]

    def hired(self, machine: str) -> int:
        gone = [actor for actor, what in self.ended if what == "killed"]
        return sum(actor.machine == machine and actor not in gone for actor in self.actors)

    def do(self, parcel: Parcel, contents: dict[Any, bytes]) -> Any:
        job = parcel.unpacked(self.cache)
        if isinstance(job, Missing):
            return job
        try:
            return "ok", job.function(*job.arguments, lambda done, total: None), "", 0.0, 1.0
        except Exception as error:  # noqa: BLE001 - whatever a job raises
            return "failed", None, repr(error), 0.0, 0.0

    def remote(self, kind: object) -> Any:
        def begin(machine: str) -> Actor:
            assert self.hired(machine) < 2
            self.actors.append(Actor(self, machine))
            return self.actors[-1]

        class Options:
            def options(_, scheduling_strategy: Any = None, **__: object) -> Method:  # noqa: N805
                free = (name for name in self.begins if self.hired(name) < 2)
                return Hire(
                    lambda environment: begin(scheduling_strategy.node_id if scheduling_strategy else next(free))
                )

        return Options()


@dataclass
class Place:
    node_id: str
    soft: bool


class Hire(Method):
    def remote(self, *arguments: Any) -> Any:
        return self.call(*arguments)


def get(reference: Ref) -> Any:
    if isinstance(reference.value, Exception):
        raise reference.value
    return reference.value


def wait(references: list[Ref], num_returns: int, timeout: float) -> tuple[list[Ref], list[Ref]]:
    assert 0 < num_returns <= len(references)  # as Ray demands
    return references[:num_returns], references[num_returns:]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    made = Stage(tmp_path / "cache")
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", made.nodes)
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "remote", made.remote)
    monkeypatch.setattr("ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy", Place)
    monkeypatch.setattr(ray, "kill", lambda actor: made.ended.append((actor, "killed")))
    monkeypatch.setattr(ray_cluster, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(ray_cluster, "_GROW_SECONDS", 0.0)
    return made


@pytest.fixture
def executor(stage: Stage) -> Iterator[RayExecutor]:
    with RayExecutor("auto", None, {}) as made:
        yield made


def numbers(executor: RayExecutor, *others: Job) -> dict[Any, Outcome]:
    """Outcomes of six jobs by what they double, and of others by their group."""
    jobs = [Job("g", double, (x,)) for x in range(6)]
    return {
        o.job.arguments[0] if o.job in jobs else o.job.group: o for o in executor.map([*jobs[:3], *others, *jobs[3:]])
    }


def goes_wrong(stage: Stage, number: int, error: Exception, times: int) -> None:
    """Let the job that doubles this end with what Ray says, so often."""
    do, done = stage.do, Counter[int]()

    def other(parcel: Parcel, contents: dict[Any, bytes]) -> Any:
        found = do(parcel, contents)
        if found[1] == 2 * number and done[number] < times:
            done[number] += 1
            return error
        return found

    stage.do = other  # type: ignore[method-assign]


def others_are_done(found: dict[Any, Outcome], but: int) -> None:
    assert {x: o.result for x, o in found.items() if x != but} == {x: 2 * x for x in range(6) if x != but}


def test_what_an_agent_raises_is_the_failure_of_its_job(stage: Stage, executor: RayExecutor) -> None:
    cause = ValueError("not as it should be")
    goes_wrong(stage, 4, errors.RayTaskError("do", "Traceback:\n...", cause, "p", 1, "ip").as_instanceof_cause(), 1)
    found = numbers(executor)
    assert (found[4].status, found[4].reason) == ("failed", "ValueError: not as it should be")
    others_are_done(found, 4)
    assert stage.ended[:2] == [(stage.ended[0][0], "closed"), (stage.ended[0][0], "killed")]  # nobody knows how it is


@pytest.mark.parametrize("cause", [OSError(28, "No space left on device"), SuiteError("no worker process")])
def test_what_the_only_machine_cannot_hold_is_tried_four_times(
    cause: Exception, stage: Stage, executor: RayExecutor
) -> None:
    error = errors.RayTaskError("do", "Traceback:\n...", cause, "p", 1, "ip").as_instanceof_cause()
    goes_wrong(stage, 4, error, 3)
    assert {x: o.result for x, o in numbers(executor).items()} == {x: 2 * x for x in range(6)}
    goes_wrong(stage, 4, error, 4)
    found = numbers(executor)
    assert found[4].status == "died"
    assert found[4].reason.startswith("its worker was lost 4 times, at last by ")
    assert found[4].reason.endswith(str(cause))
    others_are_done(found, 4)


def test_a_machine_with_a_full_disk_costs_no_job(stage: Stage, tmp_path: Path) -> None:
    stage.begins, stage.full = {"first": __version__, "second": __version__}, ("first",)
    asks_for_files(stage, lambda: None)
    files = [tmp_path / f"{number}.txt" for number in range(12)]
    for file in files:
        file.write_text(file.stem)
    with RayExecutor("auto", None, {}) as executor:
        found = {o.job.arguments[0]: (o.status, o.result) for o in executor.map([Job("g", read, (f,)) for f in files])}
        assert found == {file: ("ok", file.stem) for file in files}
        assert executor.workers == 2
    tried = [actor for actor in stage.actors if actor.machine == "first"]
    assert 3 <= len(tried) <= 4  # then it is dismissed


OTHERS = {
    "another version": "0.0.1",
    "the suite is not there": errors.RuntimeEnvSetupError("no such package"),
    "its agents die": errors.ActorDiedError(),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("most", [None, 1, 3])
def test_a_machine_on_which_no_agent_can_be_is_dismissed(
    other: Any, order: int, most: int | None, stage: Stage
) -> None:
    stage.begins = dict([("bad", other), ("good", __version__)][::order])
    with RayExecutor("auto", most, {}) as executor:
        assert {x: o.result for x, o in numbers(executor).items()} == {x: 2 * x for x in range(6)}
        list(executor.map([Job("g", double, (x,)) for x in range(20)]))
        tried = [actor for actor in stage.actors if actor.machine == "bad"]
        assert len(tried) <= 6  # those that Ray placed, and then three
        assert all((actor, "killed") in stage.ended for actor in tried)


def test_a_machine_that_joins_with_another_version_ends_no_job(stage: Stage, executor: RayExecutor) -> None:
    do = stage.do

    def joined(parcel: Parcel, contents: dict[Any, bytes]) -> Any:
        stage.begins["late"] = "0.0.1"
        return do(parcel, contents)

    stage.do = joined  # type: ignore[method-assign]
    assert {x: o.result for x, o in numbers(executor).items()} == {x: 2 * x for x in range(6)}
    assert "late" in [actor.machine for actor in stage.actors]


LOST = [
    errors.ActorDiedError(),
    errors.ObjectLostError("00", None, ""),
    errors.OutOfMemoryError("a lot was used"),
    errors.OutOfDiskError("full"),
    errors.NodeDiedError("gone"),
    errors.RuntimeEnvSetupError("no such package"),
    errors.WorkerCrashedError(),
    errors.LocalRayletDiedError(),
]


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_whose_worker_is_lost_is_begun_again_three_times(error: Exception, stage: Stage, executor: RayExecutor) -> None:
    goes_wrong(stage, 4, error, 3)
    assert {x: o.result for x, o in numbers(executor).items()} == {x: 2 * x for x in range(6)}
    goes_wrong(stage, 4, error, 4)
    found = numbers(executor)
    assert found[4].status == "died"
    assert found[4].reason.startswith(f"its worker was lost 4 times, at last by {type(error).__name__}: ")
    assert "\n" not in found[4].reason
    others_are_done(found, 4)


def test_whose_worker_takes_no_job_is_begun_again(
    stage: Stage, executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Any] = []
    do = Actor._do

    def refuse(actor: Actor, *sent: Any) -> Any:
        if not refused:
            refused.append(actor)
            raise errors.PendingCallsLimitExceeded("too many")
        return do(actor, *sent)

    monkeypatch.setattr(Actor, "_do", refuse)
    assert {x: o.result for x, o in numbers(executor).items()} == {x: 2 * x for x in range(6)}
    assert (refused[0], "killed") in stage.ended


def read(path: Path, progress: Progress) -> str:
    return path.read_text()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A file that is named by its checksum: it is not read as its job is packed."""
    path = tmp_path / hashlib.sha256(b"stored").hexdigest()
    path.write_bytes(b"stored")
    return path


def asks_for_files(stage: Stage, then: Callable[[], object]) -> None:
    """Let no agent find a file in its place; `then` happens when it asks for it."""
    do = stage.do

    def other(parcel: Parcel, contents: dict[Any, bytes]) -> Any:
        if parcel.files and not contents:
            then()
            return Missing(parcel.files)
        return do(parcel, contents)

    stage.do = other  # type: ignore[method-assign]


def test_a_file_that_is_gone_is_the_failure_of_its_job(
    stage: Stage, executor: RayExecutor, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, asked = Parcel.of, list[str]()

    def of(job: Job) -> Parcel:
        packed = pack(job)
        if asked and packed.files:
            stored.unlink()
        return packed

    monkeypatch.setattr(Parcel, "of", of)
    asks_for_files(stage, lambda: asked.append("asked"))
    found = numbers(executor, Job("read", read, (stored,)))
    lost = found.pop("read")
    assert asked == ["asked"]
    assert lost.status == "failed"
    assert lost.reason == f"FileNotFoundError: [Errno 2] No such file or directory: '{stored}'"
    others_are_done(found, -1)


def test_a_file_that_is_there_is_sent(stage: Stage, executor: RayExecutor, stored: Path) -> None:
    asks_for_files(stage, lambda: None)
    found = numbers(executor, Job("read", read, (stored,)))
    assert found.pop("read").result == "stored"
    others_are_done(found, -1)


def test_a_file_that_never_arrives_is_the_failure_of_its_job(stage: Stage, executor: RayExecutor, stored: Path) -> None:
    do = stage.do
    stage.do = lambda parcel, contents: Missing(parcel.files) if parcel.files else do(parcel, contents)  # type: ignore[method-assign]
    found = numbers(executor, Job("read", read, (stored,)))
    lost = found.pop("read")
    assert (lost.status, lost.reason.partition(": ")[0]) == ("failed", str(stored))
    others_are_done(found, -1)


def test_a_job_that_cannot_be_sent_is_a_failure_of_its_own(stage: Stage, executor: RayExecutor) -> None:
    found = numbers(executor, Job("unpicklable", lambda progress: None, ()))
    assert found.pop("unpicklable").status == "failed"
    others_are_done(found, -1)


def test_where_no_agent_can_be_begun_it_says_so(stage: Stage, executor: RayExecutor) -> None:
    stage.begins = {"first": errors.RuntimeEnvSetupError("no such package"), "second": "0.0.1"}
    meant = r"no machine of the Ray cluster is left .*: it has suite 0\.0\.1, here .*; tried \d times: "
    with pytest.raises(SuiteError, match=f"^{meant}.*no such package$"):
        numbers(executor)


def test_agents_are_asked_to_leave_nothing_before_they_are_ended(stage: Stage) -> None:
    with RayExecutor("auto", None, {}) as executor:
        numbers(executor)
        assert len(stage.actors) == 2
        assert not stage.ended
    assert [what for _, what in stage.ended] == ["closed", "closed", "killed", "killed"]
    assert {actor for actor, _ in stage.ended} == set(stage.actors)


def test_a_job_is_not_given_to_the_machine_that_lost_it_while_others_are_ready(executor: RayExecutor) -> None:
    job = Job("g", double, (1,))
    here, there = (ray_cluster._Hired(None, machine, begun=True, ready=True) for machine in ("first", "second"))
    executor._agents = {1: here, 2: there}
    try:
        waiting, lost_on = [(7, job), (8, job)], {7: {"first"}}
        assert [executor._place(waiting, one, lost_on) for one in (here, there)] == [1, 0]
        assert executor._place(waiting[:1], here, lost_on) is None
        assert executor._place(waiting, here, {7: {"first", "second"}}) == 0  # it has nowhere else to go
        there.ready = False
        assert executor._place(waiting, here, lost_on) == 0
    finally:
        executor._agents = {}
