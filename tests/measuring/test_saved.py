"""The spectrum of a saved model: both ways of saying what it is, and every way of saying it wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from suite.curvature.hessian import dense_hessian
from suite.errors import BadInput
from suite.measuring.probes.spectrum import minibatch
from suite.measuring.saved import Budget, SavedModel, from_python, from_task, measure_saved
from suite.models.flat import flat_model, initial_weights
from suite.spec.loading import load_task
from suite.spec.task import TaskSpec
from suite.training.problem import load_problem

CPU, F64 = torch.device("cpu"), torch.float64
TASK = Path(__file__).parents[2] / "tasks/quick/digits-mlp3.yaml"

FACTORY = """
import torch
from safetensors.torch import load_file
def make(path):
    net = torch.nn.Sequential(
        torch.nn.Linear(64, 12, bias=False), torch.nn.ReLU(), torch.nn.Dropout(0.5),
        torch.nn.Linear(12, 12, bias=False), torch.nn.ReLU(), torch.nn.Linear(12, 10, bias=False))
    torch.nn.utils.vector_to_parameters(load_file(path)["tensor"], net.parameters())
    data = load_file(path.with_name("data.safetensors"))
    return net, torch.nn.functional.cross_entropy, data["x"], data["y"]
"""


@pytest.fixture
def task() -> TaskSpec:
    return load_task(TASK)


@pytest.fixture
def checkpoint(task: TaskSpec, tmp_path: Path) -> Path:
    save_file({"tensor": initial_weights(task.model, task.data.shape(), 3)}, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_exact_spectrum_is_the_dense_one(task: TaskSpec, checkpoint: Path) -> None:
    found = measure_saved(from_task(checkpoint, task, CPU, F64), Budget(batch_size=16, runs=2, exact=True))
    problem = load_problem(task, CPU, F64)
    weights = initial_weights(task.model, task.data.shape(), 3).double()
    traces = []
    for draw in range(2):
        at = minibatch(draw, 16, len(problem.train))
        x, y = problem.train.inputs[at], problem.train.targets[at]
        hessian = dense_hessian(lambda w, x=x, y=y: problem.loss(w, x, y), weights)
        traces.append(float(hessian.trace()))
        assert float(found.measure.nodes[draw].max()) == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]))
    assert found.measure.trace().value == pytest.approx(sum(traces) / 2)
    assert found.averaged is not None
    assert found.pooled.value >= found.averaged.value


def test_quadrature_is_near_it_and_repeats(task: TaskSpec, checkpoint: Path) -> None:
    model = from_task(checkpoint, task, CPU, F64)
    exact = measure_saved(model, Budget(batch_size="full", exact=True))
    budget = Budget(batch_size="full", runs=40, steps=60)
    found, again = measure_saved(model, budget), measure_saved(model, budget)
    assert torch.equal(found.measure.nodes, again.measure.nodes)
    error = found.measure.trace().standard_error
    assert error is not None
    assert abs(found.measure.trace().value - exact.measure.trace().value) < 4 * error
    assert float(found.measure.nodes.max()) == pytest.approx(float(exact.measure.nodes.max()), rel=1e-6)


def test_a_state_dict_is_the_same_model(task: TaskSpec, checkpoint: Path, tmp_path: Path) -> None:
    named = flat_model(task.model, task.data.shape()).unflatten(initial_weights(task.model, task.data.shape(), 3))
    torch.save({name: tensor.clone() for name, tensor in named.items()}, tmp_path / "w.pt")
    budget = Budget(runs=2, steps=10)
    one, two = (measure_saved(from_task(p, task, CPU, F64), budget) for p in (checkpoint, tmp_path / "w.pt"))
    assert torch.equal(one.measure.nodes, two.measure.nodes)


def test_a_python_function_is_the_same_model_with_its_dropout_off(
    task: TaskSpec, checkpoint: Path, tmp_path: Path
) -> None:
    problem = load_problem(task, CPU, F64)
    save_file({"x": problem.train.inputs, "y": problem.train.targets}, tmp_path / "data.safetensors")
    (tmp_path / "factory.py").write_text(FACTORY)
    theirs = from_python(checkpoint, f"{tmp_path / 'factory.py'}:make", CPU, F64)
    budget = Budget(learning_rate=0.1, batch_size=32, runs=2, exact=True)
    ours = measure_saved(from_task(checkpoint, task, CPU, F64), budget)
    found = measure_saved(theirs, budget)
    assert found.measure.trace().value == pytest.approx(ours.measure.trace().value, rel=1e-9)
    assert found.pooled.value == pytest.approx(ours.pooled.value, abs=1e-6)
    with pytest.raises(BadInput, match="both are needed"):
        measure_saved(theirs, Budget())


def test_what_cannot_be_read_is_said_in_one_line(task: TaskSpec, tmp_path: Path) -> None:
    save_file({"tensor": torch.zeros(7)}, tmp_path / "short.safetensors")
    save_file({"other.weight": torch.zeros(7, 2)}, tmp_path / "other.safetensors")
    (tmp_path / "noise.pt").write_bytes(b"noise")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    for name, said in {
        "none.safetensors": "no such file",
        "short.safetensors": "7 weights; the task's model has 1,032",
        "other.safetensors": "no tensor 0.weight",
        "noise.pt": "not a file of tensors alone",
        "whole.pt": "a whole pickled model is not opened",
    }.items():
        with pytest.raises(BadInput, match=said):
            from_task(tmp_path / name, task, CPU, F64)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def make(path):\n    return 3\n", "returned int"),
        ("def make(path):\n    raise OSError('gone')\n", "OSError: gone"),
        ("x = 1\n", "has no attribute 'make'"),
        ("syntax error\n", "SyntaxError"),
        ("raise SystemExit(3)\n", "SystemExit"),
        ("import torch\ndef make(p):\n    return torch.nn.Linear(2, 2), print, [1], torch.ones(1)\n", "of one length"),
    ],
)
def test_functions_that_make_no_model(source: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(source)
    with pytest.raises(BadInput, match=said):
        from_python(tmp_path / "w", f"{tmp_path / 'f.py'}:make", CPU, F64)
    with pytest.raises(BadInput, match="is meant"):
        from_python(tmp_path / "w", "nothing.py:make", CPU, F64)


def test_budgets_that_cannot_be(task: TaskSpec, checkpoint: Path) -> None:
    model = from_task(checkpoint, task, CPU, F64)
    for wrong, said in {
        Budget(learning_rate=float("inf")): "positive, finite",
        Budget(probes=4, exact=True): "--probes",
        Budget(probes=4, batch_size="full"): "--probes",
        Budget(probes=30, runs=20): "more than the 20 runs",
    }.items():
        with pytest.raises(BadInput, match=said):
            measure_saved(model, wrong)
    with pytest.raises(BadInput, match="between 1 and the"):
        measure_saved(model, Budget(batch_size=10**6))
    big = SavedModel(10**6, model.operands, model.train_size, model.optimizer, 8)
    with pytest.raises(BadInput, match="--exact: 1,000,000 parameters"):
        measure_saved(big, Budget(exact=True))
    broken = SavedModel(3, lambda at: (lambda w: (w / 0).sum(), torch.ones(3), 0), 10, model.optimizer, 1)
    with pytest.raises(BadInput, match="the spectrum cannot be had"):
        measure_saved(broken, Budget(runs=1))
