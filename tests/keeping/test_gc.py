"""`suite gc`: what policies let go and nothing needs goes, nothing else; killed at any moment it has done no harm."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from suite.cli import app
from suite.errors import BadInput, StoreError
from suite.keeping.archive import Archive
from suite.keeping.freeing import FREED, NEEDED, READ, Freeing
from suite.keeping.house import free_store, restore_store
from suite.metrics import find_metrics
from suite.spec.cells import stacks
from suite.store import Store, StoredProbe, read_checked
from tests.keeping.made_store import HERE, STEPS, make_store, run_ids, task_file, there

EVERYTHING = {
    **{(kind, step): 4 for kind in ("weights", "states", "probes spectrum", "probes gradients") for step in STEPS},
    **{(kind, 0): 4 for kind in ("initial", "curve", "distances")},
}
"""Files of four runs."""
READS_DISTANCES = next(name for name, metric in find_metrics().items() if "backward" in metric.probes)


def gc(tmp_path: Path, *names: str, dry_run: bool = False, force: bool = False) -> Freeing:
    return free_store(tmp_path / "home", names, tmp_path / "tasks", dry_run, force)


def gone(tmp_path: Path) -> set[tuple[str, int]]:
    left = there(tmp_path / "home")
    assert set(left.values()) <= {4}, "all runs alike"
    return EVERYTHING.keys() - left.keys()


def each(kind: str, *steps: int) -> set[tuple[str, int]]:
    return {(kind, step) for step in steps}


GRADIENTS, SPECTRA = "probes gradients", "probes spectrum"


@pytest.mark.parametrize(
    ("keep", "plain", "forced"),
    [
        ("{}", set(), set()),
        ("{weights: last}", set(), each("weights", 20, 40)),
        ("{weights: none}", set(), each("weights", *STEPS) | {("initial", 0)}),
        ("{states: last}", set(), each("states", 20, 40)),
        ("{states: none}", set(), each("states", *STEPS)),
        ("{distances: none}", set(), {("distances", 0)}),
        # of the spectra, those of the first and last checkpoint are in the results: a run reads them whenever it ends
        ("{probes: last}", *[each(GRADIENTS, 20, 40) | each(SPECTRA, 40)] * 2),
        ("{probes: none}", *[each(GRADIENTS, *STEPS) | each(SPECTRA, 40)] * 2),
        (
            "{weights: last, probes: none}",
            each(GRADIENTS, *STEPS) | each(SPECTRA, 40),
            each(GRADIENTS, *STEPS) | each(SPECTRA, 40) | each("weights", 20, 40),
        ),
    ],
)
def test_what_goes(tmp_path: Path, keep: str, plain: set[tuple[str, int]], forced: set[tuple[str, int]]) -> None:
    task = make_store(tmp_path / "home", task_file(tmp_path, keep=keep), (READS_DISTANCES,))
    assert there(tmp_path / "home") == EVERYTHING
    before = gc(tmp_path, dry_run=True)
    assert gone(tmp_path) == set()
    assert gc(tmp_path).counted == before.counted
    assert gone(tmp_path) == plain
    gc(tmp_path, force=True)
    assert gone(tmp_path) == forced
    with Store(tmp_path / "home") as store:
        for stack in stacks(task):
            assert store.stack(stack.key(HERE)) == stack.run_ids(HERE), "nothing is to be trained again"


def test_it_says_what_and_how_much(tmp_path: Path) -> None:
    file = task_file(tmp_path, keep="{weights: last, probes: none}")
    make_store(tmp_path / "home", file)
    (tmp_path / "home/tensors/ab").mkdir(exist_ok=True)
    (tmp_path / f"home/tensors/ab/ab{'0' * 62}.safetensors").write_bytes(b"of a run that was killed")
    others = [tmp_path / "home/tensors" / name for name in ("notes.txt", "ab/notes", f"ab/cd{'0' * 62}.safetensors")]
    for other in others:
        other.write_text("not of the store's making")
    found = gc(tmp_path)
    assert all(other.exists() for other in others)
    rows = {(row["task"], row["tensors"], row["what"]): (row["files"], row["bytes"]) for row in found.rows()}
    one = len(f"weights 20 {'0' * 16}")
    assert rows == {
        ("", "of no row", FREED): (1, 24),
        ("made", "weights", NEEDED): (8, 8 * one),
        ("made", "probes", READ): (8, 8 * (one + len("probes spectrum") - len("weights"))),
        ("made", "probes", FREED): (16, 4 * (one + 8) + 12 * (one + 9)),
    }
    assert found.total(FREED) == (17, 24 + 4 * (one + 8) + 12 * (one + 9))
    again = gc(tmp_path)
    assert again.total(FREED) == (0, 0)
    assert again.total(NEEDED) == (8, 8 * one)


def test_distances_go_where_no_value_rests_on_them(tmp_path: Path) -> None:
    file = task_file(tmp_path, keep="{distances: none}")
    for metrics, freed in {(): 0, ("weight_norm", "unknown_here"): 0, ("weight_norm",): 4}.items():
        home = tmp_path / f"of {len(metrics)} {freed}"
        make_store(home, file, metrics)
        assert free_store(home, [], tmp_path / "tasks", False, False).total(FREED)[0] == freed, metrics


def test_probes_stay_where_they_cannot_be_made_again(tmp_path: Path) -> None:
    file = task_file(tmp_path, keep="{weights: last}")
    make_store(tmp_path / "home", file)
    gc(tmp_path, force=True)
    task_file(tmp_path, keep="{weights: last, probes: none}")
    assert gc(tmp_path).total(NEEDED)[0] == 4 * 3, "gradients at 20 and 40, spectra at 40, of weights that are gone"
    assert gone(tmp_path) == each("weights", 20, 40) | each(GRADIENTS, 60)
    assert gc(tmp_path, force=True).total(FREED)[0] == 4 * 3


def test_a_run_of_two_tasks_is_kept_as_both_say(tmp_path: Path) -> None:
    mine, theirs = task_file(tmp_path, "mine", "{probes: none}"), task_file(tmp_path, "theirs", "{probes: last}")
    make_store(tmp_path / "home", mine)
    gc(tmp_path, str(mine))
    assert gone(tmp_path) == each(GRADIENTS, 20, 40) | each(SPECTRA, 40), "theirs was not named, and has its say"
    theirs.unlink()
    gc(tmp_path, str(mine))
    assert gone(tmp_path) == each(GRADIENTS, *STEPS) | each(SPECTRA, 40)


def test_a_file_of_two_runs_stays_while_one_keeps_it(tmp_path: Path) -> None:
    task = make_store(tmp_path / "home", task_file(tmp_path, keep="{probes: last}"))
    ids = run_ids(task)
    with Store(tmp_path / "home", writing=True) as store:
        store.record_probes(StoredProbe(f"p{step}", "x", ids[0], step, b"same 0 x", "ok", "", 1) for step in (20, 60))
        store.record_probes([StoredProbe("q", "x", "of no task", 20, b"other 0 x", "ok", "", 1)])
    gc(tmp_path, force=True)
    left = there(tmp_path / "home")
    assert ("same", 0) in left, "of the last checkpoint too"
    assert ("other", 0) in left, "of no task that is known: nobody let it go"


def test_only_the_tasks_that_are_named(tmp_path: Path) -> None:
    make_store(tmp_path / "home", task_file(tmp_path, keep="{probes: none}"))
    other = task_file(tmp_path, "other", "{probes: none}")
    other.write_text(other.read_text().replace("widths: [8]", "widths: [9]"))
    gc(tmp_path, str(other))
    assert gone(tmp_path) == set()


def test_a_task_that_cannot_be_read_stops_it(tmp_path: Path) -> None:
    make_store(tmp_path / "home", task_file(tmp_path, keep="{probes: none}"))
    task_file(tmp_path, "broken", "{probes: nothing}")
    with pytest.raises(BadInput, match=r"broken\.yaml:17: keep\.probes"):
        gc(tmp_path)
    assert gone(tmp_path) == set()


def test_it_waits_for_no_other_writer(tmp_path: Path) -> None:
    make_store(tmp_path / "home", task_file(tmp_path, keep="{probes: none}"))
    with Store(tmp_path / "home", writing=True), pytest.raises(StoreError, match="in use by another"):
        gc(tmp_path)
    assert gone(tmp_path) == set()


def test_no_store_is_made_where_there_is_none(tmp_path: Path) -> None:
    task_file(tmp_path)
    with pytest.raises(BadInput, match="there is no store in"):
        gc(tmp_path)
    assert not (tmp_path / "home").exists()


def in_a_child(work: Callable[[], object]) -> int:
    """Do it in a forked process; the signal that ended it, 0 if none did."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def killed_at(removal: int) -> None:
    """This process ends as by `kill -9` just before it removes the file of that number, from 0."""
    count, unlink = 0, Path.unlink

    def counted(path: Path, missing_ok: bool = False) -> None:
        nonlocal count
        if path.suffix == ".safetensors":
            if count == removal:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
        unlink(path, missing_ok)

    Path.unlink = counted  # type: ignore[method-assign]


@pytest.mark.parametrize("removal", [0, 1, 7, 15])
def test_killed_between_rows_and_files(tmp_path: Path, removal: int) -> None:
    task = make_store(tmp_path / "home", task_file(tmp_path, keep="{probes: none}"))

    def collect() -> None:
        killed_at(removal)
        gc(tmp_path)

    assert in_a_child(collect) == signal.SIGKILL
    assert sum(there(tmp_path / "home").values()) == sum(EVERYTHING.values()) - removal
    with Archive(tmp_path / "home") as archive:
        for stack in stacks(task):
            assert archive.stack(stack.key(HERE)) == stack.run_ids(HERE)
        for one in archive.references():
            assert not one.key or archive.probe(one.key), "a probe that was to be kept is none that is to be made again"
    # the policy was changed meanwhile: what is there is kept again, and missed if it is lost
    task_file(tmp_path, keep="{}")
    gc(tmp_path)
    with Archive(tmp_path / "home") as archive:
        assert not archive.let_go().keys() & archive.files().keys()
    task_file(tmp_path, keep="{probes: none}")
    gc(tmp_path)
    assert gone(tmp_path) == each(GRADIENTS, *STEPS) | each(SPECTRA, 40)


def test_what_was_let_go_can_be_asked_for_again(tmp_path: Path) -> None:
    file = task_file(tmp_path, keep="{weights: last, probes: none}")
    task = make_store(tmp_path / "home", file)
    gc(tmp_path, force=True)
    with Archive(tmp_path / "home") as archive:
        probe = next(one for one in archive.references() if one.kind == "probes" and one.step == 40)
        with pytest.raises(StoreError, match=r"^probes that are needed here were let go by `suite gc`"):
            read_checked(archive.path(probe.checksum))
    root = tmp_path / "tasks"
    assert restore_store(tmp_path / "home", [str(file)], root, ["probes"]) == (16, [f"suite run {file}"])
    keys = [stack.key(HERE) for stack in stacks(task)]
    with Store(tmp_path / "home") as store:
        assert store.probe(probe.key) is None, "to be made again"
        assert all(store.stack(key) for key in keys), "nothing was said of weights"
    assert restore_store(tmp_path / "home", [], root, ["weights", "states"])[0] == 8
    with Store(tmp_path / "home") as store:
        assert not any(store.stack(key) for key in keys)
    assert restore_store(tmp_path / "home", [], root, ["weights", "probes"]) == (0, [])
    with pytest.raises(BadInput, match="--restore spectra: use weights, states, distances, probes"):
        restore_store(tmp_path / "home", [], root, ["spectra"])


def test_what_the_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUITE_HOME", raising=False)
    make_store(tmp_path / ".suite", task_file(tmp_path, keep="{weights: last, probes: none}"))

    def command(*words: str) -> list[str]:
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert (done.exit_code, done.stderr) == (0, "")
        return done.stdout.splitlines()

    last = "would let go: 16 files, 572 B"
    needed = "kept although its tasks let it go: 8 files, 216 B that only training makes again (--force lets it go)"
    assert command("gc", "--dry-run")[-2:] == [last, needed]
    rows = json.loads("\n".join(command("gc", "--dry-run", "--json")))
    assert [(row["tensors"], row["files"], row["bytes"], row["what"]) for row in rows] == [
        ("probes", 8, 280, READ), ("probes", 16, 572, FREED), ("weights", 8, 216, NEEDED)
    ]  # fmt: skip
    assert sum(there(tmp_path / ".suite").values()) == sum(EVERYTHING.values())
    assert command("gc", "tasks/made.yaml")[-2:] == [last.replace("would let", "let"), needed]
    assert sum(there(tmp_path / ".suite").values()) == sum(EVERYTHING.values()) - 16
    assert command("gc", "--restore", "probes") == [
        "16 of what was let go count as missing from now on", "    suite run tasks/made.yaml"
    ]  # fmt: skip
