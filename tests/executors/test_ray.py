"""A real Ray cluster of two nodes on this machine: the same outcomes as without, also when one node is lost."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from suite.errors import BadInput, SuiteError
from suite.executors import Job, LocalExecutor, Needs, Outcome, Progress, ray_cluster
from suite.executors.parcel import NamedFile, Parcel
from suite.executors.ray_cluster import RayExecutor
from tests.executors.test_local import die, double, fail, hang
from tests.executors.test_slurm import environment

ray: Any = pytest.importorskip("ray", reason="the extra `ray` is not installed")

pytestmark = pytest.mark.slow
QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 3,
}
ONE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**ONE, "_system_config": QUICK_TO_NOTICE})
    yield made
    ray.shutdown()
    made.shutdown()


def node(seconds: float, progress: Progress) -> str:
    """Where it was done: the process that is the node, as the environment of its agent says, this one's parent."""
    progress(1, 2)
    time.sleep(seconds)
    told = dict(line.split("=", 1) for line in Path(f"/proc/{os.getppid()}/environ").read_text().split("\0") if line)
    return told["RAY_RAYLET_PID"]


def read(path: Path, progress: Progress) -> str:
    return f"{path.read_text()} {path}"


def leave_behind(seconds: str, progress: Progress) -> int:
    """A process of its own session, which outlives its worker."""
    return subprocess.Popen(["sleep", seconds], start_new_session=True).pid


def running(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


class FullDisk(ray_cluster._RayAgent):
    """An agent on a machine that has no room for any file."""

    def do(self, parcel: Parcel, contents: Mapping[NamedFile, bytes]) -> Any:
        if parcel.files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().do(parcel, contents)


def name(machine: Any) -> str:
    """Of a node, as `node` gives it."""
    (process,) = machine.all_processes["raylet"]
    return str(process.process.pid)


def statuses(outcomes: Iterator[Outcome]) -> dict[Job, tuple[str, object, str]]:
    return {outcome.job: (outcome.status, outcome.result, outcome.reason) for outcome in outcomes}


def test_the_same_outcomes_as_on_one_machine(cluster: Any, tmp_path: Path) -> None:
    cluster.add_node(**ONE)
    (tmp_path / "file").write_text("content")
    jobs = [
        *(Job("g", double, (x,)) for x in range(20)),
        Job("g", fail, ()),
        Job("g", die, ()),
        Job("g", hang, (), limit=1.0),
        Job("g", environment, ()),
        Job("g", read, (tmp_path / "file",)),
    ]
    seen: list[list[float]] = []
    with RayExecutor(cluster.address, None, {"SAID": "so"}) as executor:
        assert executor.workers == 2
        assert executor.memory is not None
        assert executor.memory > 2**28
        there = statuses(executor.map(jobs, lambda fractions: seen.append(list(fractions))))
        executor.renew()
        assert statuses(executor.map(jobs[:3])) == {job: there[job] for job in jobs[:3]}
    assert seen[-1] != seen[0]
    with LocalExecutor(2, {"SAID": "so"}) as local:
        assert there == statuses(local.map(jobs))


def test_jobs_of_a_node_that_is_lost_are_done_elsewhere(cluster: Any) -> None:
    second = cluster.add_node(**ONE)
    jobs = [Job("g", node, (3.0 if number < 2 else 0.1,)) for number in range(8)]
    lost: list[float] = []

    def tick(fractions: list[float]) -> None:
        if not lost and sum(fraction == 0.5 for fraction in fractions[:2]) == 2:
            cluster.remove_node(second, allow_graceful=False)
            lost.append(time.monotonic())

    with RayExecutor(cluster.address, None, {}, Needs(cpus=1)) as executor:
        found = list(executor.map(jobs, tick))
    assert lost
    assert [outcome.status for outcome in found] == ["ok"] * 8
    assert {outcome.result for outcome in found if outcome.job in jobs[:2]} == {name(cluster.head_node)}


def test_a_node_that_joins_is_given_work(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_GROW_SECONDS", 0.5)
    added: list[Any] = []

    def tick(fractions: list[float]) -> None:
        if not added:
            added.append(cluster.add_node(**ONE))

    with RayExecutor(cluster.address, None, {}) as executor:
        found = list(executor.map([Job("g", node, (1.0,)) for _ in range(20)], tick))
    assert {outcome.result for outcome in found} == {name(cluster.head_node), name(added[0])}


def test_a_cluster_without_room_is_said_to_have_none(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_PATIENCE", 1.0)
    with (
        RayExecutor(cluster.address, None, {}, Needs(cpus=1, gpus=0.5)) as executor,
        pytest.raises(SuiteError, match=r"no room for a worker of 1 CPU and 0\.5 GPU"),
    ):
        list(executor.map([Job("g", double, (1,))]))


def test_where_every_disk_is_full_the_job_that_needs_files_is_lost(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_RayAgent", FullDisk)
    (tmp_path / "file").write_text("content")
    jobs = [*(Job("g", double, (x,)) for x in range(3)), Job("g", read, (tmp_path / "file",)), Job("g", double, (3,))]
    with RayExecutor(cluster.address, None, {}) as executor:
        found = statuses(executor.map(jobs))
    reason = "its worker was lost 4 times, at last by OSError: [Errno 28] No space left on device"
    assert found[jobs[3]] == ("died", None, reason)
    assert [found[job][1] for job in jobs if job is not jobs[3]] == [0, 2, 4, 6]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where agents keep their files, of a cluster that is begun after this."""
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # its own paths may not be long
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_nothing_is_left_on_a_node(temporary: Path, cluster: Any) -> None:
    with RayExecutor(cluster.address, None, {}) as executor:
        (left,) = executor.map([Job("g", leave_behind, ("600",))])
        assert len(list(temporary.glob("suite-*"))) == 2
        assert running(left.result)
    assert not list(temporary.glob("suite-*"))
    assert not running(left.result)


def test_no_cluster_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"^--address 127\.0\.0\.1:1: no Ray cluster answers there"):
        RayExecutor("127.0.0.1:1", None, {})


def test_sigterm_ends_the_command_as_it_does_elsewhere(cluster: Any) -> None:
    """Not as Ray would have it: with a stack of its own calls, and aborted."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with RayExecutor(cluster.address, 1, {}):
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
