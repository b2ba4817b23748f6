"""Whatever becomes of a job is its own outcome and nobody else's."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from suite.errors import SuiteError
from suite.executors import Job, LocalExecutor, Outcome, Progress, local
from suite.measuring.place import Place
from tests.executors import born


def double(x: int, progress: Progress) -> int:
    progress(1, 1)
    return 2 * x


def fail(progress: Progress) -> None:
    raise ValueError("not today\nsecond line")


def hang(progress: Progress) -> None:
    while True:
        time.sleep(1)


def die(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def unpicklable(progress: Progress) -> object:
    return lambda: None


def leave(progress: Progress) -> None:
    sys.exit(0)


def interrupt(progress: Progress) -> None:
    raise KeyboardInterrupt


def begin_others(note: str) -> None:
    """A process in the worker's session, one in a session of its own, and one that this one begins."""
    ordinary = subprocess.Popen(["sleep", "600"])
    apart = subprocess.Popen(["sh", "-c", f"sleep 600 & echo $! >> {note}; sleep 600"], start_new_session=True)
    while not Path(note).exists() or not Path(note).read_text().endswith("\n"):
        time.sleep(0.01)
    with Path(note).open("a") as file:
        file.write(f"{ordinary.pid}\n{apart.pid}\n")


def hang_beside_others(note: str, progress: Progress) -> None:
    begin_others(note)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang(progress)


def die_beside_others(note: str, progress: Progress) -> None:
    begin_others(note)
    die(progress)


def return_beside_others(note: str, progress: Progress) -> None:
    begin_others(note)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def speechless(progress: Progress) -> None:
    raise UnprintableError


def surrogate(progress: Progress) -> None:
    raise ValueError("\udc80")


def step_by_step(progress: Progress) -> str:
    for done in range(8):
        time.sleep(0.5)
        progress(done + 1, 8)
    return "done"


def die_after_two_of_five(progress: Progress) -> None:
    progress(2, 5)
    die(progress)


def poisoned(progress: Progress) -> None:
    """A CUDA error as it shows on the host, where there need be no GPU: every call fails from then on."""

    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    torch.cuda.synchronize = broken
    Place.of("cuda:0", "float32").leave_if_unusable()


def leave_without_a_word(progress: Progress) -> None:
    os._exit(0)


def load_and_hang(progress: Progress) -> None:
    time.sleep(2)
    progress(0, 2)
    progress(1, 2)
    time.sleep(60)


def whereabouts(progress: Progress) -> tuple[int, str]:
    return os.getpid(), tempfile.gettempdir()


def threads(progress: Progress) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def say_and_sleep(progress: Progress) -> None:
    print(os.getpid(), flush=True)
    time.sleep(60)


def half_way(progress: Progress) -> None:
    progress(1, 2)
    time.sleep(1)


BEGUN = pytest.mark.parametrize("preload", [(), ("torch",)], ids=["spawned", "forked"])


@pytest.fixture(scope="module", params=[(), ("torch",)], ids=["spawned", "forked"])
def executor(request: pytest.FixtureRequest) -> Iterator[LocalExecutor]:
    with LocalExecutor(2, {"OMP_NUM_THREADS": "1"}, preload=request.param) as made:
        yield made


def test_hostile_jobs_are_outcomes_and_the_others_finish(executor: LocalExecutor) -> None:
    jobs = [
        *(Job("g", double, (x,)) for x in range(6)),
        Job("g", fail, ()),
        Job("g", hang, (), limit=1.0),
        Job("g", die, ()),
        Job("g", unpicklable, ()),
        *(Job("g", double, (x,)) for x in range(6, 12)),
    ]
    outcomes = list(executor.map(jobs))
    assert sorted(o.result for o in outcomes if o.job.function is double) == [2 * x for x in range(12)]
    by_function = {o.job.function: o for o in outcomes}
    assert (by_function[fail].status, by_function[fail].reason) == ("failed", "ValueError: not today")
    assert by_function[hang].status == "timeout"
    assert by_function[die].status == "died"
    assert by_function[unpicklable].status == "failed"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (leave, "SystemExit: 0"),
        (interrupt, "KeyboardInterrupt: "),
        (speechless, "UnprintableError: (its message cannot be had)"),
        (surrogate, "ValueError: ?"),
    ],
)
def test_what_is_not_an_exception_is_an_outcome_too(executor: LocalExecutor, function: object, reason: str) -> None:
    jobs = [Job("g", function, ()), Job("g", double, (1,))]  # type: ignore[arg-type]
    found = {o.job.function: o for o in executor.map(jobs)}
    assert (found[function].status, found[function].reason) == ("failed", reason)  # type: ignore[index]
    assert found[double].result == 2


def one(executor: LocalExecutor, job: Job) -> Outcome:
    (outcome,) = executor.map([job])
    return outcome


def test_a_limit_is_from_one_report_of_progress_to_the_next(executor: LocalExecutor) -> None:
    assert one(executor, Job("g", step_by_step, (), limit=2.0)).result == "done"  # in four seconds
    assert one(executor, Job("g", hang, (), limit=2.0)).status == "timeout"


def test_how_far_a_job_had_come_when_it_died_is_told(executor: LocalExecutor) -> None:
    outcome = one(executor, Job("g", die_after_two_of_five, ()))
    assert (outcome.status, outcome.fraction) == ("died", 0.4)


def test_a_worker_whose_device_is_broken_goes_and_says_why(executor: LocalExecutor) -> None:
    outcome = one(executor, Job("g", poisoned, ()))
    assert (outcome.status, outcome.reason) == ("died", "a device error left its process unusable")


def test_a_worker_that_exits_as_if_all_were_well_has_died(executor: LocalExecutor) -> None:
    outcome = one(executor, Job("g", leave_without_a_word, (), limit=60.0))
    assert (outcome.status, outcome.reason) == ("died", "its process died (exit code 0)")
    assert one(executor, Job("g", double, (1,))).result == 2


def test_grace_is_for_what_comes_before_the_first_report(executor: LocalExecutor) -> None:
    outcome = one(executor, Job("g", load_and_hang, (), limit=1.0, grace=30.0))
    assert (outcome.status, outcome.fraction) == ("timeout", 0.5)
    outcome = one(executor, Job("g", load_and_hang, (), limit=1.0))
    assert outcome.status == "timeout"
    assert outcome.fraction < 0.01


@BEGUN
def test_renewed_workers_are_other_processes_and_no_file_of_theirs_is_left(preload: tuple[str, ...]) -> None:
    with LocalExecutor(1, preload=preload) as executor:
        first, folder = one(executor, Job("g", whereabouts, ())).result
        executor.renew()
        second, same = one(executor, Job("g", whereabouts, ())).result
        assert first != second
        assert Path(same).is_dir()
    assert folder == same
    assert not Path(folder).exists()


def test_jobs_are_revised_when_their_turn_comes() -> None:
    given_up: set[int] = set()

    def revise(job: Job) -> Job:
        return Job(job.group, double, (0,)) if job.arguments[0] in given_up else job

    with LocalExecutor(1) as executor:
        results = []
        for outcome in executor.map([Job("g", double, (x,)) for x in range(1, 9)], revise=revise):
            results.append(outcome.result)
            given_up.add(8)
    assert sorted(results) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_more_jobs_than_slots(executor: LocalExecutor) -> None:
    seen: list[list[float]] = []
    results = [o.result for o in executor.map([Job("g", double, (x,)) for x in range(200)], seen.append)]
    assert sorted(results) == [2 * x for x in range(200)]


def test_workers_have_their_environment_and_are_kept(executor: LocalExecutor) -> None:
    assert [o.result for o in executor.map([Job("g", threads, ())])] == ["1"]
    assert list(executor.map([])) == []


def test_progress_arrives_while_a_job_runs(executor: LocalExecutor) -> None:
    seen: list[float] = []
    list(executor.map([Job("g", half_way, ())], seen.extend))
    assert 0.5 in seen


def surroundings(progress: Progress) -> tuple[dict[str, str], str]:
    shown = Path("/proc/self/environ")
    return dict(os.environ), shown.read_text() if shown.exists() else ""


@BEGUN
def test_workers_are_told_no_secrets_and_what_changed_since(preload: tuple[str, ...]) -> None:
    script = f"""
        import os
        from suite.executors import Job, LocalExecutor
        from tests.executors.test_local import kill_parent, surroundings
        def told(executor):
            (outcome,) = executor.map([Job("g", surroundings, ())])
            told, shown = outcome.result
            print(told.get("GITHUB_TOKEN"), told["SUITE_DATA_DIR"], told["https_proxy"], told["OWN"], "hush" in shown)
        if __name__ == "__main__":
            with LocalExecutor(1, {{"OWN": "so"}}, preload={preload}) as executor:
                told(executor)
                if {preload}:
                    print(*[o.status for o in executor.map([Job("g", kill_parent, ())])])
                executor.renew()
                os.environ["SUITE_DATA_DIR"] = "there"
                told(executor)
    """
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True,
        env={**os.environ, "GITHUB_TOKEN": "hush", "SUITE_DATA_DIR": "here", "https_proxy": "a.proxy"},
        capture_output=True,
        text=True,
    )
    # of a spawned process the kernel shows all that it was begun with
    lines = [f"None {place} a.proxy so {not preload}" for place in ("here", "there")]
    assert told.stdout.splitlines() == [lines[0], *(["died"] if preload else []), lines[1]]
    assert told.stderr == ""


def kill_parent(progress: Progress) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def kill_parent_once(note: str, progress: Progress) -> str:
    if not Path(note).exists():
        Path(note).touch()
        kill_parent(progress)
    return "done"


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forks on Linux alone")
def test_where_the_process_dies_of_which_workers_are_forks_they_are_begun_again(tmp_path: Path) -> None:
    jobs = [
        Job("g", kill_parent_once, (str(tmp_path / "note"),), retries=1),
        *(Job("g", half_way, (), retries=1) for _ in range(4)),
    ]
    with LocalExecutor(2, preload=("torch",)) as executor:
        assert [outcome.status for outcome in executor.map(jobs)] == ["ok"] * 5
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []


@BEGUN
def test_a_worker_that_is_killed_between_two_jobs_is_nobodys_failure(preload: tuple[str, ...]) -> None:
    with LocalExecutor(2, preload=preload) as executor:
        assert [outcome.status for outcome in executor.map([Job("g", half_way, ())] * 2)] == ["ok"] * 2
        for process in multiprocessing.active_children():
            process.kill()
        assert [outcome.status for outcome in executor.map([Job("g", half_way, ())] * 3)] == ["ok"] * 3
    assert multiprocessing.active_children() == []


def test_what_comes_of_jobs_that_nobody_asks_for_is_not_waited_for() -> None:
    with LocalExecutor(2) as executor:
        outcomes = executor.map([Job("g", double, (1,)), Job("g", hang, ()), Job("g", hang, ())])
        assert next(outcomes).result == 2
        outcomes.close()  # type: ignore[attr-defined]
        assert one(executor, Job("g", double, (2,))).result == 4


def test_arguments_that_cannot_be_pickled_are_that_jobs_failure(executor: LocalExecutor) -> None:
    found = list(executor.map([Job("g", double, (lambda: 0,)), Job("g", double, (1,))]))
    assert sorted((o.status, o.result) for o in found) == [("failed", None), ("ok", 2)]


def test_forks_share_what_was_imported_and_nothing_of_this_folder(tmp_path: Path) -> None:
    (tmp_path / "here" / "tests").mkdir(parents=True)
    (tmp_path / "here" / "tests" / "__init__.py").write_text("raise ImportError('where one happens to be')")
    script = """
        from suite.executors import Job, LocalExecutor
        from tests.executors.test_local import is_a_fork
        if __name__ == "__main__":
            with LocalExecutor(1, preload=("tests.executors.born",)) as executor:
                print(*[o.result for o in executor.map([Job("g", is_a_fork, ())])])
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    told = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        check=False,
        cwd=tmp_path / "here",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert told.stderr == ""
    assert told.stdout == "True\n"


def is_a_fork(progress: Progress) -> bool:
    return os.getpid() != born.PROCESS


@BEGUN
def test_workers_do_not_outlive_a_killed_driver(preload: tuple[str, ...]) -> None:
    script = f"""
        from suite.executors import Job, LocalExecutor
        from tests.executors.test_local import say_and_sleep
        with LocalExecutor(1, preload={preload}) as executor:
            list(executor.map([Job("g", say_and_sleep, ())]))
    """
    driver = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    for _ in range(50):
        time.sleep(0.1)
        if not alive(worker):
            return
    raise AssertionError(f"worker {worker} is still there")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are init's")
@pytest.mark.parametrize("status", ["timeout", "died", "ok"])
@BEGUN
def test_what_a_worker_left_behind_ends_with_it_and_nothing_else_does(
    tmp_path: Path, status: str, preload: tuple[str, ...]
) -> None:
    note = tmp_path / "note"
    function = {"timeout": hang_beside_others, "died": die_beside_others, "ok": return_beside_others}[status]
    earlier = subprocess.Popen(["sleep", "60"], start_new_session=True)
    with LocalExecutor(2, preload=preload) as executor:
        mine = subprocess.Popen(["sleep", "60"])
        assert one(executor, Job("g", function, (str(note),), limit=1.0)).status == status
        if status == "ok":
            executor.renew()
        assert one(executor, Job("g", half_way, ())).status == "ok"
        left = [int(line) for line in note.read_text().split()]
        assert len(left) == 3
        assert status == "timeout" or not any(alive(process) for process in left)
    assert not any(alive(process) for process in left)
    for process in (earlier, mine):
        assert process.poll() is None
        process.kill()
        process.wait()


def test_only_while_it_is_there_does_an_executor_adopt() -> None:
    found = ctypes.c_int()

    def adopts() -> bool:
        ctypes.CDLL(None).prctl(37, ctypes.byref(found), 0, 0, 0)
        return bool(found.value)

    before = adopts()
    with LocalExecutor(1), LocalExecutor(1):
        assert adopts() or sys.platform != "linux"
    assert adopts() == before


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with Path(f"/proc/{pid}/stat").open() as stat:
        return stat.read().split(")")[1].split()[0] != "Z"


def seen_devices(progress: Progress) -> str:
    time.sleep(0.3)  # so that both workers have one of these
    return os.environ["CUDA_VISIBLE_DEVICES"]


@BEGUN
def test_each_worker_sees_a_device_of_its_own_and_the_next_in_its_place_too(preload: tuple[str, ...]) -> None:
    with LocalExecutor(2, devices=("3", "GPU-7"), preload=preload) as executor:
        first = [o.result for o in executor.map([Job("g", seen_devices, ())] * 4)]
        assert set(first) == {"3", "GPU-7"}
        killed = [o.status for o in executor.map([Job("g", die, ())] * 2)]
        assert killed == ["died", "died"]
        again = [o.result for o in executor.map([Job("g", seen_devices, ())] * 4)]
        assert set(again) == {"3", "GPU-7"}


def die_until(tries: int, note: str, progress: Progress) -> int:
    with Path(note).open("a") as file:
        file.write("x")
    done = len(Path(note).read_text())
    if done <= tries:
        die(progress)
    return done


@pytest.mark.parametrize(("deaths", "status"), [(2, "ok"), (3, "died")])
def test_a_job_whose_worker_died_is_begun_again_so_often(
    executor: LocalExecutor, tmp_path: Path, deaths: int, status: str
) -> None:
    job = Job("g", die_until, (deaths, str(tmp_path / "note")), retries=2)
    outcomes = {o.job.function: o for o in executor.map([job, Job("g", double, (2,))])}
    assert (outcomes[die_until].status, len((tmp_path / "note").read_text())) == (status, 3)
    assert outcomes[double].result == 4


@pytest.mark.parametrize(("first", "pause"), [(1, 60.0), (1, 0.0), (0, 0.0)])
def test_workers_that_cannot_be_started_are_an_error_only_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, first: int, pause: float
) -> None:
    begun, worker = list[object](), local.Worker

    def start(*words: object) -> object:
        begun.append(words)
        if len(begun) > first:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return worker(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "Worker", start)
    monkeypatch.setattr(local, "_PAUSE_SECONDS", pause)
    with LocalExecutor(3) as executor:
        if first:
            assert sorted(o.result for o in executor.map([Job("g", double, (x,)) for x in range(6)])) == [
                0,
                2,
                4,
                6,
                8,
                10,
            ]
            assert len(begun) == 2 or not pause  # it is not tried at every turn
        else:
            with pytest.raises(SuiteError, match=r"no worker process can be started here: .*temporarily unavailable"):
                list(executor.map([Job("g", double, (1,))]))
            assert len(begun) == 3
