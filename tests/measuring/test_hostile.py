"""Hostile metrics through the real workers: each is tried and recorded, and no other value changes by a bit."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from suite.executors import LocalExecutor
from suite.measuring import confinement, network
from suite.measuring.measure import Laboratory, Plan, plan, value_key
from suite.measuring.place import WORKER_MODULES, WORKER_VARIABLES, Place
from suite.metrics import Metric, find_metrics
from suite.progress import Board
from suite.publishing import failures
from suite.spec.task import TaskSpec
from suite.store import Store, StoredValue
from tests.command import TINY_TRAJECTORY
from tests.measuring.hostile import CALM, FILES, reaching

HONEST = ("distance_from_initialisation", "random_number", "training_loss", "weight_norm")
LIMIT = 3.0
GRID = {"training.optimizer.learning_rate": [0.03, 0.3]}


def tiny() -> Plan:
    """Two cells, no probes."""
    spec = yaml.safe_load(TINY_TRAJECTORY) | {"grid": GRID, "probes": {}, "limits": {"metric_seconds": LIMIT}}
    spec["training"] |= {"steps": 5, "checkpoints": {"kind": "final"}}
    return plan(TaskSpec.model_validate(spec), Place.of("cpu", "float32"))


@contextlib.contextmanager
def workers() -> Iterator[LocalExecutor]:
    with LocalExecutor(2, WORKER_VARIABLES, preload=WORKER_MODULES) as made:
        yield made


@dataclass(frozen=True)
class Done:
    """What was measured, by metric and run (its components in order)."""

    rows: dict[tuple[str, str], tuple[StoredValue, ...]]
    lines: list[str]

    def of(self, metric: str) -> list[StoredValue]:
        return [row for (name, _), rows in self.rows.items() if name == metric for row in rows]

    def values(self, metric: str) -> list[tuple[str, str, str, float | None]]:
        return [(row.run_id, row.component, row.status, row.value) for row in self.of(metric)]


def measured(folder: Path, home: Path, files: dict[str, str]) -> Done:
    """A copy of a trained store, measured with metric files and the honest metrics of this package."""
    for name, text in files.items():
        (folder / name).write_text(text)
    found = find_metrics([Path(name) for name in files])  # relative, as on the command line
    metrics = {name: one for name, one in found.items() if one.origin or name in HONEST}
    shutil.copytree(home, folder / "store")
    with Store(Path("store"), writing=True) as store, Board(Console(quiet=True), quiet=True) as board:
        with workers() as executor:
            Laboratory(store, board).measure([tiny()], metrics, executor)
        return Done(recorded(store, metrics), failures(tiny(), store, metrics))


def recorded(store: Store, metrics: dict[str, Metric]) -> dict[tuple[str, str], tuple[StoredValue, ...]]:
    laboratory = Laboratory(store, Board(Console(quiet=True), quiet=True))
    points = [point for points in laboratory._points(tiny()) for point in points]
    return {(m.name, p.run_id): store.values(value_key(p, m)) for m in metrics.values() for p in points}


class Outside:
    """A port and a local socket where somebody listens, and a folder with a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "kept").write_text("kept")
        self.daemon = socket.socket(socket.AF_UNIX)
        self.daemon.bind(str(folder / "daemon"))
        self.daemon.listen()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.text = reaching(self.server.getsockname()[1], str(folder / "daemon"), str(folder))

    def heard(self) -> int:
        """How many connections came to either."""
        count = 0
        for listening in (self.server, self.daemon):
            listening.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    listening.accept()[0].close()
                    count += 1
        return count

    def close(self) -> None:
        self.server.close()
        self.daemon.close()


@dataclass(frozen=True)
class Both:
    """With and without hostile metrics; the folders of the user and of temporary files; what was printed.

    `outside` is what those reached for that reach out of their process.
    """

    calm: Done
    hostile: Done
    folder: Path
    temporary: Path
    printed: str
    outside: Outside


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    home, calm, user, temporary = (tmp_path_factory.mktemp(name) for name in ("home", "calm", "user", "temporary"))
    output, outside = tmp_path_factory.mktemp("output") / "output", Outside(tmp_path_factory.mktemp("outside"))
    with pytest.MonkeyPatch.context() as patch, output.open("w+") as file:
        patch.setenv("SUITE_HOME", str(user))
        patch.setenv("SUITE_DATA_DIR", str(user))
        patch.setenv("A_TOKEN", "a secret")
        with Store(home, writing=True) as store, workers() as executor:
            Laboratory(store, Board(Console(quiet=True), quiet=True)).train([tiny()], executor)
        patch.chdir(calm)
        without = measured(calm, home, CALM)
        patch.chdir(user)
        patch.setattr(tempfile, "tempdir", str(temporary))
        _begin_anew()
        with redirected(file.fileno()):
            hostile = measured(user, home, FILES | {"reaching.py": outside.text})
            _begin_anew()
        yield Both(without, hostile, user, temporary, output.read_text(), outside)
        outside.close()


def _begin_anew() -> None:
    """What workers are forks of is begun again by the next: it has the output that this process has then."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@contextlib.contextmanager
def redirected(to: int) -> Iterator[None]:
    """The output that workers inherit goes there."""
    kept = {number: os.dup(number) for number in (1, 2)}
    for number in kept:
        os.dup2(to, number)
    try:
        yield
    finally:
        for number, old in kept.items():
            os.dup2(old, number)
            os.close(old)


@pytest.mark.parametrize(
    ("metric", "status", "reason"),
    [
        ("a_raises", "failed", "RuntimeError: no luck"),
        ("a_undefined", "undefined", "ValueError: undefined here"),
        ("b_not_a_number", "failed", "returned nan ± None"),
        ("b_infinite", "failed", "returned inf ± None"),
        ("b_wrong_type", "failed", "returned Tensor, not a number"),
        ("g_leaves", "failed", "SystemExit: 0"),
        ("g_interrupts", "failed", "KeyboardInterrupt: "),
        ("h_hoards", "failed", "MemoryError: "),
        ("h_hoards_in_torch", "failed", "RuntimeError: [enforce fail at alloc_cpu.cpp"),
        ("h_fills_the_disk", "failed", "OSError: [Errno 27] File too large"),
        ("h_dumps_its_core", "failed", "RuntimeError: no core"),
        ("a_dies", "died", "its process died (exit code 7)"),
        ("b_dies_quietly", "died", "its process died (exit code 0)"),
        ("c_faults", "died", "its process died (exit code -11)"),
        ("d_hangs", "timeout", "took longer than 3 s"),
        ("e_hangs_deaf", "timeout", "took longer than 3 s"),
        ("e_hangs_beside_others", "timeout", "took longer than 3 s"),
        ("f_dies_beside_others", "died", "its process died (exit code 7)"),
        ("f_lowers_what_others_may_for_good", "died", "what it did to its process could not be undone"),
    ],
)
def test_it_was_tried_everywhere_and_its_reason_recorded(both: Both, metric: str, status: str, reason: str) -> None:
    rows = both.hostile.of(metric)
    assert [(row.status, row.value) for row in rows] == [(status, None)] * 2
    assert all(row.reason.startswith(reason) for row in rows), rows
    assert any(f"{metric}: " in line and reason in line for line in both.hostile.lines)


def test_who_closes_every_file_is_not_heard_any_more(both: Both) -> None:
    rows = both.hostile.of("f_closes_everything")
    assert [(row.value, row.status) for row in rows] == [(None, "died")] * 2
    assert all(row.reason.startswith(("what it did to its process", "its process")) for row in rows), rows


@pytest.mark.parametrize(
    "metric",
    [
        "c_changes_its_run",
        "c_changes_settings",
        "c_changes_environment",
        "d_removes_its_folder",
        "e_prints",
        "e_prints_by_every_door",
        "f_forks",
        "f_forks_twice",
        "f_comes_back_twice",
        "f_leaves_a_process",
        "h_lowers_what_others_may",
        "i_sets_an_alarm",
    ],
)
def test_what_does_harm_has_its_value_all_the_same(both: Both, metric: str) -> None:
    assert [(row.status, row.value) for row in both.hostile.of(metric)] == [("ok", 1.0)] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone limits private memory")
def test_nobody_raises_its_own_limit_of_memory(both: Both) -> None:
    """Seven tenths of the machine's memory, where each of two workers has half of it at most; nothing of it is used."""
    rows = both.hostile.of("h_hoards_by_a_limit_of_its_own")
    assert [(row.status, row.reason) for row in rows] == [("failed", "OSError: [Errno 12] Cannot allocate memory")] * 2


NETWORK = {
    "a_connects": "PermissionError: [Errno 13] Permission denied: metrics are measured without a network",
    "b_connects_by_name": "PermissionError: [Errno 13] Permission denied: metrics are measured without a network",
    "c_connects_by_system_calls": "PermissionError: [Errno 13] no socket: metrics are measured without a network",
    "d_lets_a_child_connect": "CalledProcessError: ",
    "e_asks_a_daemon": "PermissionError: [Errno 13] Permission denied: metrics are measured without a network",
    "f_looks_up_a_name": "gaierror: ",
}
PROCESSES = {
    "l_bounds_the_command": "PermissionError: [Errno 1] Operation not permitted",
    "l_lets_a_child_bound_the_command": "RuntimeError: PermissionError: [Errno 1] Operation not permitted",
    "l_moves_the_command": "PermissionError: [Errno 1] Operation not permitted",
    "l_schedules_the_command": "PermissionError: [Errno 1] Operation not permitted",
    "l_slows_the_command": "PermissionError: [Errno 1] Operation not permitted",
}
FILES_AND_PROCESSES = {
    "g_reads_secrets_of_the_command": "PermissionError: [Errno 13] Permission denied: '/proc/",
    "h_reads_memory_of_the_command": "PermissionError: [Errno 13] Permission denied: '/proc/",
    "i_writes_elsewhere": "PermissionError: [Errno 13] Permission denied: ",
    "j_lets_a_child_write_elsewhere": "CalledProcessError: ",
    "k_empties_a_file": "PermissionError: [Errno 13] Permission denied: ",
    "l_signals_the_command": "PermissionError: [Errno 1] Operation not permitted",
    "m_takes_shared_memory": "PermissionError: [Errno 13] Permission denied: '/dev/shm/",
}


def reasons(both: Both, metric: str) -> list[str]:
    rows = both.hostile.of(metric)
    assert [(row.status, row.value) for row in rows] == [("failed", None)] * 2, rows
    return [row.reason for row in rows]


@pytest.mark.skipif(network.unfit() is not None, reason=f"the network is open here: {network.unfit()}")
@pytest.mark.parametrize("metric", NETWORK)
def test_the_network_is_closed(both: Both, metric: str) -> None:
    assert all(reason.startswith(NETWORK[metric]) for reason in reasons(both, metric)), reasons(both, metric)
    if metric == "f_looks_up_a_name":
        assert all(reason.endswith(": metrics are measured without a network") for reason in reasons(both, metric))


@pytest.mark.skipif(network.unfit() is not None, reason=f"the filter cannot be had here: {network.unfit()}")
@pytest.mark.parametrize("metric", PROCESSES)
def test_limits_and_priorities_of_others_are_closed(both: Both, metric: str) -> None:
    assert reasons(both, metric) == [PROCESSES[metric]] * 2


@pytest.mark.skipif(bool(confinement.open_here()), reason=f"open here: {confinement.open_here()}")
@pytest.mark.parametrize("metric", FILES_AND_PROCESSES)
def test_files_and_other_processes_are_closed(both: Both, metric: str) -> None:
    expected = FILES_AND_PROCESSES[metric]
    assert all(reason.startswith(expected) for reason in reasons(both, metric)), reasons(both, metric)
    assert {path.name: path.read_text() for path in both.outside.folder.glob("*e*t*")} == {"kept": "kept"}


def test_pairs_of_sockets_are_left_to_programs_that_need_them(both: Both) -> None:
    assert [row.value for row in both.hostile.of("n_works_with_pairs_of_sockets")] == [1.0, 1.0]


def test_a_metric_may_bound_and_slow_itself(both: Both) -> None:
    assert [row.value for row in both.hostile.of("n_changes_what_is_its_own")] == [1.0, 1.0]


@pytest.mark.skipif(bool(confinement.open_here()), reason=f"open here: {confinement.open_here()}")
def test_without_confinement_all_of_it_is_open(both: Both, tmp_path: Path) -> None:
    """The same functions in a process that is not confined: what the tests above see refused can be had."""
    assert both.outside.heard() == 0
    names = [name for name in (*NETWORK, *PROCESSES, *FILES_AND_PROCESSES) if name != "f_looks_up_a_name"]
    calls = "".join(f"print({name}.measure(None))\n" for name in names)
    (tmp_path / "reaching.py").write_text(both.outside.text + calls)
    done = subprocess.run([sys.executable, tmp_path / "reaching.py"], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1.0"] * len(names), done.stderr
    assert both.outside.heard() == 5


@pytest.mark.parametrize("metric", [*HONEST, "z_first", "z_second", "z_third", "z_fourth"])
def test_no_other_value_changes_by_a_bit(both: Both, metric: str) -> None:
    """The first witness is in the meddlers' process, the second in the killers', the third follows a patch."""
    calm = both.calm.values(metric)
    assert {status for _, _, status, _ in calm} == {"ok"}
    assert len(calm) == (28 if metric.startswith("z_") else 2)
    assert both.hostile.values(metric) == calm


def test_a_metric_finds_nothing_of_the_suite_around_it(both: Both) -> None:
    found = {row.component: row.value for row in both.hostile.of("z_first")}
    assert (found["folder"], found["environment"], found["at start"]) == (0.0, 0.0, 0.0)
    assert [row.value for row in both.hostile.of("d_writes")] == [2.0, 2.0]


def test_a_patch_ends_with_its_file(both: Both) -> None:
    assert [row.value for row in both.hostile.of("a_patches")] == [0.0, 0.0]
    assert all(row.value for row in both.hostile.of("z_third") if row.component in ("weights", "loss", "logits"))


def test_nothing_is_left_behind(both: Both) -> None:
    names = {path.name for path in both.folder.rglob("*") if "__pycache__" not in str(path)}
    assert not any("left" in name for name in names)
    assert {path.name for path in both.folder.iterdir()} <= {*FILES, "reaching.py", "store", "__pycache__"}
    assert list(both.temporary.iterdir()) == []
    assert "noise" not in both.printed
    assert sleepers(both.temporary) == []


def sleepers(temporary: Path) -> list[str]:
    """Processes that still work in the folder of a metric, which is gone by now."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((process / "cwd").readlink()).startswith(str(temporary)):
                found.append(process.name)
    return found


def test_what_a_metric_took_is_recorded(both: Both) -> None:
    for metric in (*HONEST, "z_first"):
        assert all(row.memory is not None and 0 <= row.memory < 2**30 for row in both.hostile.of(metric))
        assert all(0 < row.seconds < LIMIT for row in both.hostile.of(metric))
