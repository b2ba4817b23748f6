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
from suite.curvature.spectrum import DenseSpectra
from suite.measuring.probes.spectrum import load_spectrum, minibatch, spectral_probe
from suite.spec.cells import stacks
from suite.spec.loading import load_task
from suite.spec.probes import DenseSpectrum
from suite.training.problem import load_problem, load_test_split
from suite.training.stacked import train_stack

TASK = Path(__file__).parents[2] / "tasks/quick/digits-mlp3.yaml"
CPU = torch.device("cpu")
DRAWS = 2
"""Minibatches of each cell: sorted spectra are averaged over them, as in Definition 4.2."""


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


def hand_written_eigenvalues(weights: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    hessian = torch.autograd.functional.hessian(
        lambda w: hand_written_loss(w, inputs, targets), weights.double(), vectorize=True
    )
    return np.linalg.eigvalsh(((hessian + hessian.T) / 2).numpy())


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_sd_of_every_cell_of_a_stack(number: int) -> None:
    stack = stacks(load_task(TASK))[number]
    task = stack.cells[0].task
    problem, test = load_problem(task, CPU, torch.float32), load_test_split(task, CPU, torch.float32)
    batch, size = task.training.batch(len(problem.train)), len(problem.train)
    draws = [minibatch(k, batch, size) for k in range(DRAWS)]
    batches = [(problem.train.inputs[at].double(), problem.train.targets[at]) for at in draws]
    records = train_stack(stack, problem, test)
    assert len(records) == 10
    curved = 0
    for cell, record in zip(stack.cells, records, strict=True):
        weights, eta = record.checkpoints[-1].weights, cell.task.training.optimizer.learning_rate
        spec = DenseSpectrum(minibatches=DRAWS)
        found = load_spectrum(spec, spectral_probe(problem, weights, spec, batch))
        assert isinstance(found, DenseSpectra)
        reference = np.stack([hand_written_eigenvalues(weights, *b) for b in batches])
        ours = np.sort(np.pad(found.eigenvalues.numpy(), ((0, 0), (0, 1032 - found.eigenvalues.shape[1]))), 1)
        scale = np.abs(reference).max(1, keepdims=True)
        # rounding while the Hessian is assembled is of the order of its largest summands, whatever cancels among them
        assert np.all(np.abs(ours - reference) <= 1e-12 * np.maximum(1, scale)), cell.factors
        # Where a network all but died on these minibatches, a thousand exponents within rounding of zero decide SD and
        # float64 does not determine it: there the eigenvalues' agreement, above, is all that can be asked.
        if eta * scale.min() > 1e-3:
            curved += 1
            exponents = np.log(np.abs(1 - eta * reference))
            expected = definition_4_2(np.sort(exponents, 1)[:, ::-1].mean(0))
            assert found.sharpness_dimension(Step(eta)).value == pytest.approx(expected, rel=0, abs=1e-8), cell.factors
    # beyond the edge training differs from machine to machine; the four cells of small steps have curvature on all
    assert curved >= 4, "training drifted: the cells of small steps have curvature on every machine"
