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

    def __post_init__(self) -> None:
        self.version = Method(lambda: self.stage.version)
        self.fraction = Method(lambda: 0.5)
        self.close = Method(lambda: self.stage.ended.append((self, "closed")))
        self.do = Method(self._do)

    def _do(self, parcel: Parcel, contents: dict[Any, bytes]) -> Any:
        for file, content in contents.items():
            file.keep(content, self.stage.cache)
        return self.stage.do(parcel, contents)


@dataclass
class Stage:
    """What plays Ray: one machine of two cores, whose agents say what they are told to."""

    cache: Path
    version: Any = __version__
    actors: list[Actor] = field(default_factory=list)
    ended: list[tuple[Actor, str]] = field(default_factory=list)

    def do(self, parcel: Parcel, contents: dict[Any, bytes]) -> Any:
        job = parcel.unpacked(self.cache)
        if isinstance(job, Missing):
            return job
        try:
            return "ok", job.function(*job.arguments, lambda done, total: None), "", 0.0, 1.0
        except Exception as error:  # noqa: BLE001 - whatever a job raises
            return "failed", None, repr(error), 0.0, 0.0

    def remote(self, kind: object) -> Any:
        def begin(environment: object) -> Actor:
            self.actors.append(Actor(self))
            return self.actors[-1]

        class Options:
            def options(self, **_: object) -> Method:
                return Hire(begin)

        return Options()


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
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0, "memory": 2.0**32}}])
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "remote", made.remote)
    monkeypatch.setattr(ray, "kill", lambda actor: made.ended.append((actor, "killed")))
    monkeypatch.setattr(ray_cluster, "_LOOK_SECONDS", 0.0)
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
    cause = OSError(28, "No space left on device")
    goes_wrong(stage, 4, errors.RayTaskError("do", "Traceback:\n...", cause, "p", 1, "ip").as_instanceof_cause(), 1)
    found = numbers(executor)
    assert (found[4].status, found[4].reason) == ("failed", "OSError: [Errno 28] No space left on device")
    others_are_done(found, 4)
    assert stage.ended[:2] == [(stage.ended[0][0], "closed"), (stage.ended[0][0], "killed")]  # nobody knows how it is


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
    stage.version = errors.RuntimeEnvSetupError("no such package")
    with pytest.raises(
        SuiteError, match=r"no worker can be begun on the Ray cluster, tried 6 times: .*no such package"
    ):
        numbers(executor)


def test_agents_are_asked_to_leave_nothing_before_they_are_ended(stage: Stage) -> None:
    with RayExecutor("auto", None, {}) as executor:
        numbers(executor)
        assert len(stage.actors) == 2
        assert not stage.ended
    assert [what for _, what in stage.ended] == ["closed", "closed", "killed", "killed"]
    assert {actor for actor, _ in stage.ended} == set(stage.actors)
