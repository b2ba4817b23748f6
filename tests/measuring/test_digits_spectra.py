"""SD of every cell of the published digits task against an independent float64 computation.

Independent: the network written out by hand, `torch.autograd.functional.hessian` over all 1,032 parameters without any
reduction, LAPACK through numpy, and Definition 4.2 transcribed as it stands in the paper.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from suite.curvature.jacobian import Step
from suite.measuring.probes import load_spectrum, minibatch, spectral_probe
from suite.spec.cells import stacks
from suite.spec.loading import load_task
from suite.spec.probes import DenseSpectrum
from suite.training.problem import load_problem, load_test_split
from suite.training.stacked import train_stack

TASK = Path(__file__).parents[2] / "tasks/quick/digits-mlp3.yaml"
CPU = torch.device("cpu")


def hand_written_loss(flat: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    first, second, third = flat[:768].view(12, 64), flat[768:912].view(12, 12), flat[912:].view(10, 12)
    hidden = (inputs @ first.T).clamp(min=0)
    hidden = (hidden @ second.T).clamp(min=0)
    return F.cross_entropy(hidden @ third.T, targets)


def definition_4_2(exponents: np.ndarray) -> float:
    sums = np.cumsum(exponents)
    if exponents[0] < 0:
        return 0.0
    j = max(i + 1 for i in range(len(sums)) if sums[i] >= 0)
    return float(j) if j == len(exponents) else j + sums[j - 1] / abs(exponents[j])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_sd_of_every_cell_of_a_stack(number: int) -> None:
    stack = stacks(load_task(TASK))[number]
    task = stack.cells[0].task
    problem, test = load_problem(task, CPU, torch.float32), load_test_split(task, CPU, torch.float32)
    batch, size = task.training.batch(len(problem.train)), len(problem.train)
    at = minibatch(0, batch, size)
    inputs, targets = problem.train.inputs[at].double(), problem.train.targets[at]
    records = train_stack(stack, problem, test)
    assert len(records) == 10
    curved = 0
    for cell, record in zip(stack.cells, records, strict=True):
        weights, eta = record.checkpoints[-1].weights, cell.task.training.optimizer.learning_rate
        spec = DenseSpectrum(minibatches=1)
        found = load_spectrum(spec, spectral_probe(problem, weights, spec, batch)).sharpness_dimension(Step(eta))
        hessian = torch.autograd.functional.hessian(
            lambda w: hand_written_loss(w, inputs, targets), weights.double(), vectorize=True
        )
        eigenvalues = np.linalg.eigvalsh(((hessian + hessian.T) / 2).numpy())
        # what cannot be told from zero is zero: in a network that all but died, rounding alone would decide SD
        eigenvalues[np.abs(eigenvalues) <= 1032 * np.finfo(float).eps * np.abs(eigenvalues).max()] = 0
        # log1p, for a network that all but died: ln|1 − x| by itself has nothing left of an x of 1e-16
        x = eta * eigenvalues
        exponents = np.sort(np.where(x < 1, np.log1p(-np.minimum(x, 1 - 2**-53)), np.log(np.maximum(x - 1, 1e-300))))[
            ::-1
        ]
        reference, curvature = definition_4_2(exponents), float(np.abs(eigenvalues).max())
        if eta * curvature > 1e-3:
            curved += 1
            assert found.value == pytest.approx(reference, rel=0, abs=1e-8), cell.factors
            continue
        # A network with all but no curvature on this minibatch: a thousand exponents within rounding of zero decide SD,
        # so float64 may not determine it to 1e-8. Ours must then lie where moving every exponent by rounding takes it.
        rounding = eta * 1e-14 * max(1.0, curvature)
        low, high = definition_4_2(exponents - rounding), definition_4_2(exponents + rounding)
        assert low - 1e-8 <= found.value <= high + 1e-8, cell.factors
    assert curved >= 5, "training drifted: half of the cells at least have curvature, on every machine"
