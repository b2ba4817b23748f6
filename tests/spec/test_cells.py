"""Cells, stacks and keys: what is in a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.spec.cells import Cell, Environment, cells, digest, spec_hash, stacks
from suite.spec.task import TaskSpec

CPU = Environment("cpu", "float32")


def task(**changes: object) -> TaskSpec:
    spec = {
        "name": "test",
        "title": "a title",
        "kind": "grid",
        "data": {"kind": "digits"},
        "model": {"kind": "mlp", "widths": [4]},
        "training": {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "batch_size": 32, "epochs": 2},
        "grid": {
            "training.optimizer.learning_rate": [0.1, 0.2, 0.3],
            "training.batch_size": [16, 32],
            "seed": [0, 1],
        },
    }
    return TaskSpec.model_validate(spec | changes)


def run_ids(spec: TaskSpec, environment: Environment = CPU) -> list[str]:
    return [run_id for stack in stacks(spec) for run_id in stack.run_ids(environment)]


def test_cells_are_the_product_in_the_order_of_the_file() -> None:
    made = cells(task())
    assert len(made) == 12
    assert [dict(c.factors)["training.batch_size"] for c in made[:4]] == [16, 16, 32, 32]
    for cell in made:
        values = dict(cell.factors)
        assert cell.task.training.optimizer.learning_rate == values["training.optimizer.learning_rate"]
        assert cell.task.training.batch_size == values["training.batch_size"]
        assert cell.task.seed == values["seed"]


def test_stacks_join_what_differs_in_stackable_fields_only() -> None:
    made = stacks(task())
    assert [len(stack.cells) for stack in made] == [6, 6]
    assert {cell.task.training.batch_size for cell in made[0].cells} == {16}


def test_stack_size_bounds_a_stack() -> None:
    training = {**task().training.model_dump(), "stack_size": 4}
    assert [len(s.cells) for s in stacks(task(training=training))] == [4, 2, 4, 2]


def test_run_ids_are_distinct_and_do_not_depend_on_words() -> None:
    assert len(set(run_ids(task()))) == 12
    same = task(title="other", description="words", name="renamed", include={"train_accuracy": 0.5})
    assert run_ids(same) == run_ids(task())


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1, "grid": {"training.optimizer.learning_rate": [0.1, 0.2, 0.3], "training.batch_size": [16, 32]}},
        {"model": {"kind": "mlp", "widths": [5]}},
        {"data": {"kind": "digits", "split_seed": 1}},
        {"training": {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "batch_size": 32, "epochs": 3}},
    ],
    ids=["seed", "model", "data", "training"],
)
def test_changed_work_has_other_run_ids(changes: dict[str, object]) -> None:
    assert not set(run_ids(task(**changes))) & set(run_ids(task()))


def test_composition_of_a_stack_is_in_its_run_ids() -> None:
    fewer = task(grid={**task().grid, "training.optimizer.learning_rate": [0.1, 0.2]})
    assert not set(run_ids(fewer)) & set(run_ids(task()))


def test_a_run_is_named_by_its_stack_and_its_own_work() -> None:
    for stack in stacks(task()):
        assert stack.run_ids(CPU) == tuple(digest("run", stack.key(CPU), cell.work()) for cell in stack.cells)


def test_cells_are_read_once_for_all_names_of_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack of a thousand cells that were read a thousand times each would take minutes to be named."""
    (stack, _), read, work = stacks(task()), list[Cell](), Cell.work
    monkeypatch.setattr(Cell, "work", lambda cell: read.append(cell) or work(cell))
    stack.run_ids(CPU)
    assert read == list(stack.cells)


def test_device_kind_and_dtype_are_in_the_run_id() -> None:
    assert not set(run_ids(task())) & set(run_ids(task(), Environment("cuda", "float32")))
    assert not set(run_ids(task())) & set(run_ids(task(), Environment("cpu", "float64")))


def test_probes_are_in_the_spec_hash_but_not_in_run_ids() -> None:
    probing = task(probes={"spectrum": {"kind": "dense", "minibatches": 3}})
    assert spec_hash(probing) != spec_hash(task())
    assert run_ids(probing) == run_ids(task())


def test_title_is_not_in_the_spec_hash() -> None:
    assert spec_hash(task(title="another")) == spec_hash(task())


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), PLAIN, min_size=2, max_size=5))
def test_digest_ignores_the_order_of_keys(mapping: dict[str, object]) -> None:
    assert digest(mapping) == digest(dict(reversed(mapping.items())))


@pytest.mark.parametrize(
    ("spacing", "steps"),
    [
        ({"kind": "final"}, (88,)),
        ({"kind": "even", "count": 4}, (22, 44, 66, 88)),
        ({"kind": "even", "count": 2, "initial": True}, (0, 44, 88)),
        ({"kind": "log", "count": 3}, (4, 20, 88)),
    ],
)
def test_checkpoint_steps(spacing: dict[str, object], steps: tuple[int, ...]) -> None:
    training = {**task().training.model_dump(), "checkpoints": spacing}
    assert task(training=training, grid={}).training.checkpoint_steps(1437) == steps


@pytest.mark.parametrize(
    ("sharpness", "steps"),
    [
        (None, ()),
        ({}, (0, *(round(4.4 * i) for i in range(1, 21)))),
        ({"count": 1}, (0, 88)),
        ({"count": 4}, (0, 22, 44, 66, 88)),
        ({"count": 3, "kind": "log"}, (0, 4, 20, 88)),
        ({"count": 1000}, tuple(range(89))),  # no step twice
    ],
)
def test_sharpness_steps(sharpness: dict[str, object] | None, steps: tuple[int, ...]) -> None:
    training = {**task().training.model_dump(), "sharpness": sharpness}
    assert task(training=training, grid={}).training.sharpness_steps(1437) == steps


def test_an_epoch_leaves_its_incomplete_minibatch_out() -> None:
    training = task(grid={}).training
    assert training.total_steps(100) == 2 * 3
