"""`suite verify`: what is damaged is found and said with the command that makes it anew; nothing else is touched."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from suite.cli import app
from suite.keeping.archive import Archive, Reference
from suite.keeping.checking import Findings
from suite.keeping.house import free_store, verify_store
from suite.spec.cells import stacks
from suite.spec.task import TaskSpec
from suite.store import Store, StoredProbe, StoredRun
from tests.keeping.made_store import HERE, STEPS, make_store, run_ids, task_file


def verify(tmp_path: Path, repair: bool = False) -> Findings:
    return verify_store(tmp_path / "home", [], tmp_path / "tasks", repair, lambda done, total: None)


def reference(tmp_path: Path, kind: str) -> Reference:
    with Archive(tmp_path / "home") as archive:
        return next(one for one in archive.references() if one.kind == kind)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def state(tmp_path: Path, task: TaskSpec) -> tuple[bool, int, int]:
    """Whether all is trained, how many probes there are, how many values."""
    with Archive(tmp_path / "home") as archive:
        probes = {one.key for one in archive.references() if one.key}
        values = [archive.values(f"weight_norm {run_id} {step}") for run_id in run_ids(task) for step in STEPS]
        trained = all(archive.stack(stack.key(HERE)) == stack.run_ids(HERE) for stack in stacks(task))
        return trained, sum(archive.probe(key) is not None for key in probes), sum(map(len, values))


def test_a_whole_store(tmp_path: Path) -> None:
    task = make_store(tmp_path / "home", task_file(tmp_path, keep="{probes: none}"))
    free_store(tmp_path / "home", [], tmp_path / "tasks", False, False)
    seen: list[tuple[int, int]] = []
    found = verify_store(tmp_path / "home", [], tmp_path / "tasks", False, lambda *far: seen.append(far))
    assert (found.damages, found.files, found.let_go, found.orphans) == ([], 44, 16, (0, 0))
    assert seen[-1] == (60, 60)
    verify(tmp_path, repair=True)
    assert state(tmp_path, task) == (True, 24, 12)


@pytest.mark.parametrize(
    ("kind", "trained", "probes"),
    [("weights", False, 24), ("initial", False, 24), ("states", False, 24), ("curve", False, 24),
     ("distances", False, 24), ("probes", True, 23)],
)  # fmt: skip
@pytest.mark.parametrize(("hurt", "problem"), [(flip, "is damaged"), (Path.unlink, "is missing")])
def test_a_damaged_or_missing_file(
    tmp_path: Path, kind: str, trained: bool, probes: int, hurt: Callable[[Path], None], problem: str
) -> None:
    file = task_file(tmp_path)
    task = make_store(tmp_path / "home", file)
    one = reference(tmp_path, kind)
    path = Store(tmp_path / "home").path(one.checksum)
    hurt(path)
    (damage,) = verify(tmp_path).damages
    assert f"{path}: " in damage.what
    assert f"of run {one.run_id}" in damage.what
    assert problem in damage.problem
    assert damage.redo == f"suite verify --repair && suite run {file}"
    assert verify(tmp_path, repair=True).can_be_repaired
    assert not path.exists()
    assert verify(tmp_path).damages == [], "rows that are gone miss nothing"
    assert state(tmp_path, task) == (trained, probes, 12), "what is damaged is to be made anew, and only that"


def test_what_is_trained_again_keeps_its_values_if_it_is_the_same(tmp_path: Path) -> None:
    file = task_file(tmp_path)
    task = make_store(tmp_path / "home", file)
    flip(Store(tmp_path / "home").path(reference(tmp_path, "weights").checksum))
    verify(tmp_path, repair=True)
    make_store(tmp_path / "home", file, ())
    assert state(tmp_path, task) == (True, 24, 12)
    flip(Store(tmp_path / "home").path(reference(tmp_path, "weights").checksum))
    verify(tmp_path, repair=True)
    (stack,) = stacks(task)
    with Store(tmp_path / "home", writing=True) as store:  # on another machine
        runs = [StoredRun(run_id, "diverged", 3, b"other", b"curve", ()) for run_id in run_ids(task)]
        store.record_stack(stack.key(HERE), runs, 1.0, {})
    assert state(tmp_path, task) == (True, 0, 0)


def test_a_file_that_several_runs_need(tmp_path: Path) -> None:
    one = make_store(tmp_path / "home", task_file(tmp_path, "one"))
    other_file = task_file(tmp_path, "other")
    other_file.write_text(other_file.read_text().replace("widths: [8]", "widths: [9]"))
    other = make_store(tmp_path / "home", other_file)
    with Store(tmp_path / "home", writing=True) as store:
        for task in (one, other):
            run = StoredProbe(f"p of {task.name}", "x", run_ids(task)[0], 20, b"shared 0 x", "ok", "", 1)
            store.record_probes([run])
        for run_id in (run_ids(one)[0], run_ids(other)[0]):
            store._db.execute("UPDATE runs SET initial = ? WHERE run_id = ?", (store.keep(b"shared 0 x"), run_id))
        path = store.path(store.keep(b"shared 0 x"))
    path.write_bytes(b"x")
    (damage,) = verify(tmp_path).damages
    assert "and 3 more" in damage.what
    commands = [f"suite run {tmp_path / 'tasks' / name}" for name in ("one.yaml", "other.yaml")]
    assert damage.redo.split(" && ") in ([["suite verify --repair", *order] for order in (commands, commands[::-1])])
    assert len(damage.stacks) == len(damage.probes) == 2


def test_a_run_of_another_device_and_dtype_is_made_again_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = task_file(tmp_path)
    for name in ("HERE", "cuda"):
        monkeypatch.setattr(f"tests.keeping.made_store.{name}", type(HERE)("cuda", "float64"), raising=False)
    make_store(tmp_path / "home", file)
    flip(Store(tmp_path / "home").path(reference(tmp_path, "weights").checksum))
    (damage,) = verify(tmp_path).damages
    assert damage.redo.endswith(f"suite run {file} --device cuda --dtype float64")
    file.unlink()
    (damage,) = verify(tmp_path).damages
    assert damage.redo.endswith("none of those found here (`suite verify FILE` says more of it)")


def test_rows_that_point_nowhere(tmp_path: Path) -> None:
    task = make_store(tmp_path / "home", task_file(tmp_path))
    gone = run_ids(task)[0]
    with sqlite3.connect(tmp_path / "home/store.db") as db:
        db.execute("DELETE FROM runs WHERE run_id = ?", (gone,))
    assert {d.what for d in verify(tmp_path).damages} == {
        "store.db: 3 rows of checkpoints", "store.db: 6 rows of probes", "store.db: 3 rows of metric_values"
    }  # fmt: skip
    verify(tmp_path, repair=True)
    assert verify(tmp_path).damages == []
    with sqlite3.connect(tmp_path / "home/store.db") as db:
        assert db.execute("SELECT COUNT(*) FROM metric_values WHERE run_id = ?", (gone,)).fetchone() == (0,)
        db.execute("DELETE FROM stacks")
    (damage,) = verify(tmp_path).damages
    assert "says not when and on what it was trained" in damage.problem
    verify(tmp_path, repair=True)
    assert state(tmp_path, task)[0] is False
    assert verify(tmp_path).damages == []


def test_data_that_were_replaced_between_two_trainings(tmp_path: Path) -> None:
    text = (
        task_file(tmp_path).read_text().replace("  seed: [0, 1]\n", "  seed: [0, 1]\n  training.batch_size: [10, 20]\n")
    )
    file = tmp_path / "tasks/made.yaml"
    file.write_text(text)
    task = make_store(tmp_path / "home", file)
    keys = [stack.key(HERE) for stack in stacks(task)]
    assert len(keys) == 2
    now = task.data.load((), tmp_path).description.checksum

    def note(key: str, checksum: str) -> None:
        with sqlite3.connect(tmp_path / "home/store.db") as db:
            noted = json.dumps({"data": {"checksum": checksum}})
            db.execute("UPDATE stacks SET provenance = ? WHERE key = ?", (noted, key))

    note(keys[0], now)
    (damage,) = verify(tmp_path).damages
    assert damage.what == f"store.db: stack {keys[1]}"
    assert (
        f"data of checksum {'a' * 12}…, others of its source on other data; it now gives {now[:12]}…" in damage.problem
    )
    assert damage.redo == f"suite verify --repair && suite run {file}"
    verify(tmp_path, repair=True)
    with Store(tmp_path / "home") as store:
        assert [store.stack(key) is not None for key in keys] == [True, False]
    assert verify(tmp_path).damages == []


def test_a_page_of_the_database_that_is_overwritten(tmp_path: Path) -> None:
    make_store(tmp_path / "home", task_file(tmp_path))
    file = tmp_path / "home/store.db"
    content = bytearray(file.read_bytes())
    content[4096 * 8 : 4096 * 8 + 2000] = b"\xff" * 2000
    file.write_bytes(content)
    found = verify(tmp_path)
    assert found.damages
    assert not found.can_be_repaired
    assert all(one.what == "store.db" and "put a copy of it back" in one.redo for one in found.damages)


def command(*words: str) -> tuple[int, str, str]:
    """`suite WORDS` in this process: exit status, standard output, standard error."""
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def test_what_the_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUITE_HOME", raising=False)
    make_store(tmp_path / ".suite", task_file(tmp_path))
    code, out, err = command("verify", "--quiet")
    assert (code, err) == (0, "")
    assert out.strip().endswith("all whole")
    with Store(tmp_path / ".suite", writing=True) as store:
        store.keep(b"of a run that was killed")
        run = store.run(run_ids(make_store(tmp_path / "other", tmp_path / "tasks/made.yaml"))[0])
        assert run is not None
        flip(store.path(str(run.checkpoints[0].weights)))
    code, out, err = command("verify")
    assert code == 1
    first, redo, total, orphans = out.splitlines()
    assert f"weights of run {run.run_id} at step 20: is damaged" in first
    assert redo.strip() == "suite verify --repair && suite run tasks/made.yaml"
    assert total.endswith("1 damaged")
    assert orphans == "of no row: 1 file, 24 B; `suite gc` removes them"
    assert err == "verify: 60/60 files\n"
    code, out, _ = command("verify", "--json")
    told = json.loads(out)
    assert (code, [one["redo"] for one in told["damaged"]]) == (1, [redo.strip()])
    assert told["orphans"] == {"files": 1, "bytes": 24}
    code, out, _ = command("verify", "--repair")
    assert (code, out.splitlines()[2].partition(": ")[2]) == (
        0, "1 damaged, and removed so that the next run makes it anew"
    )  # fmt: skip
    assert command("verify")[0] == 0
