"""Every metric against a closed form or a dense computation; the registry's rules."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from suite.curvature.estimate import Estimate
from suite.curvature.spectrum import DenseSpectra
from suite.errors import BadInput
from suite.metrics import Run, find_metrics, metric
from suite.spec.task import TaskSpec

EIGENVALUES = [[3.0, 0.5, -1.0], [5.0, 0.5, -1.0]]


class Line:
    """A network whose only output is x Σ w."""

    names, shapes = ("w",), ((5,),)

    def slices(self) -> dict[str, slice]:
        return {"w": slice(0, 5)}

    def unflatten(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"w": flat}

    def __call__(self, flat: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * flat.sum()


def run(**optimizer: object) -> Run:
    task = TaskSpec.model_validate(
        {
            "name": "test",
            "title": "test",
            "kind": "grid",
            "data": {"kind": "digits"},
            "model": {"kind": "mlp", "widths": [2]},
            "training": {
                "optimizer": {"kind": "sgd", "learning_rate": 0.5, "weight_decay": 0.01} | optimizer,
                "batch_size": 20,
                "epochs": 1,
            },
        }
    )
    rows = [torch.tensor(row, dtype=torch.float64) for row in EIGENVALUES]
    inputs, targets = torch.arange(100).float() / 100, torch.ones(100)

    def loss(w: torch.Tensor) -> torch.Tensor:
        return (inputs * w.sum() - targets).square().mean()

    return Run(
        key="key",
        task=task,
        step=70,
        weights=torch.tensor([1.0, 2.0, 2.0, 0.0, 0.0]),
        initial=torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0]),
        network=Line(),
        sample_loss=lambda outputs, wanted: (outputs - wanted).square(),
        whole=lambda w: torch.stack([torch.stack([loss(one), torch.zeros(())]) for one in w]).double(),
        inputs=inputs,
        targets=targets,
        probes={"spectrum": DenseSpectra.of(rows, 5, [False, False])},
    )


# η = 0.5: |1 − ηα| is 0.5, 0.75, 1.5 in the first draw, 1.5, 0.75, 1.5 in the second; two exact zeros give 0. Sorted:
# (ln 1.5, 0, 0, ln 0.75, ln 0.5) and (ln 1.5, ln 1.5, 0, 0, ln 0.75); these are the means.
MEANS = [
    math.log(1.5),
    math.log(1.5) / 2,
    0.0,
    math.log(0.75) / 2,
    (math.log(0.5) + math.log(0.75)) / 2,
]
SD = 4 + sum(MEANS[:4]) / abs(MEANS[4])

CASES = {
    "sharpness_dimension": SD,
    "codimension": 5 - SD,
    "rds_sharpness": math.log(1.5),
    "hessian_trace": 3.5,
    "largest_eigenvalue": 4.0,
    "hessian_frobenius": math.sqrt((9 + 0.25 + 1 + 25 + 0.25 + 1) / 2),
    "edge_ratio": 0.5 * (4.0 + 0.01) / 2,
    "weight_norm": 3.0,
    "distance_from_initialisation": 2.0,
    "learning_rate": 0.5,
    "batch_size": 20.0,
    "learning_rate_over_batch_size": 0.025,
    "weight_decay": 0.01,
    "steps": 70.0,
}


@pytest.mark.parametrize("name", CASES)
def test_closed_forms(name: str) -> None:
    value = find_metrics()[name].measure(run())
    number = value.value if isinstance(value, Estimate) else value
    assert number == pytest.approx(CASES[name], rel=1e-12)


def test_training_loss_is_over_the_whole_set_at_any_weights() -> None:
    one = run()
    whole = float(one.batch_loss(one.weights, one.inputs, one.targets))
    assert find_metrics()["training_loss"].measure(one) == pytest.approx(whole, rel=1e-6)
    assert one.training_loss(torch.zeros(5)) == 1.0


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.0, 0.3), (0.9, 0.0), (0.9, 0.3)])
def test_edge_ratio_is_one_where_the_optimizer_stops_converging(momentum: float, decay: float) -> None:
    rate, top = 0.5, 4.0  # the largest eigenvalue, on average over the draws
    value = find_metrics()["edge_ratio"].measure(run(momentum=momentum, weight_decay=decay))
    assert isinstance(value, Estimate)
    # at an eigenvalue scaled to ratio 1, and beside it: the optimizer's own map on a quadratic, its spectral radius
    curvature = (top + decay) / value.value
    for factor, stable in [(0.999, True), (1.001, False)]:
        a = factor * curvature
        jacobian = torch.tensor([[1 - rate * a, -rate * momentum], [a, momentum]], dtype=torch.float64)
        assert (float(torch.linalg.eigvals(jacobian).abs().max()) <= 1) == stable


def test_there_is_no_edge_ratio_of_adamw() -> None:
    with pytest.raises(ValueError, match="adamw"):
        find_metrics()["edge_ratio"].measure(run(kind="adamw"))


def test_random_number_is_the_runs_own() -> None:
    measure = find_metrics()["random_number"].measure
    assert measure(run()) == measure(run())
    assert 0 <= float(measure(run())) < 1  # type: ignore[arg-type]


def test_standard_errors_come_along() -> None:
    trace = find_metrics()["hessian_trace"].measure(run())
    assert isinstance(trace, Estimate)
    assert trace.standard_error == pytest.approx(1.0)


def test_optimizer_step_is_sgds_alone() -> None:
    assert run().optimizer_step.weight_decay == 0.01
    with pytest.raises(ValueError, match="adamw"):
        _ = run(kind="adamw").optimizer_step


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "defines no metric"),
        ("import absent_module\n", "cannot be imported: ModuleNotFoundError"),
        ("raise SystemError('boo')\n", "cannot be imported: SystemError: boo"),
        ("raise SystemExit(0)\n", "cannot be imported: SystemExit: 0"),
        (
            "from suite.metrics import metric\n@metric(title='x', family='x', source='x', sign=1)\n"
            "def weight_norm(run): return 0.0\n",
            "two metrics are called weight_norm",
        ),
    ],
)
def test_bad_metric_files_are_one_clear_error(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(BadInput, match=said):
        find_metrics([tmp_path / "mine.py"])


def test_every_metric_says_what_is_known_of_it() -> None:
    for one in find_metrics().values():
        assert one.title
        assert one.family
        assert one.source
        assert one.sign in (-1, 1)
        assert one.measure.__doc__


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"sign": "up"}, "sign 'up'"),
        ({"sign": 2}, "sign 2"),
        ({"sign": True}, "sign True"),
        ({"cost": "cheap"}, "cost 'cheap': one of free"),
        ({"version": 0}, "version 0"),
        ({"applies": True}, "applies True: a function"),
        ({"title": " "}, "title ' '"),
        ({"source": None}, "source None"),
    ],
)
def test_the_words_of_a_metric_are_checked_where_it_is_made(words: dict[str, object], said: str) -> None:
    good = {"title": "T", "family": "f", "source": "s", "sign": 1}
    with pytest.raises(BadInput, match=re.escape(f"@metric: {said}")):
        metric(**{**good, **words})  # type: ignore[arg-type]
