"""The spectrum of the Hessian as AdamW preconditions it."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.curvature.combined import PreconditionedOperator
from suite.curvature.hessian import HessianOperator
from suite.curvature.jacobian import preconditioner
from suite.measuring.probes.base import Probe, Subject
from suite.measuring.probes.spectrum import batch_size, block_rows, lanczos_measure, load_spectrum, probe_batch
from suite.spec.probes import LanczosSpectrum
from suite.spec.training import AdamW


def _measure(subject: Subject, spec: LanczosSpectrum) -> dict[str, Tensor]:
    """Lanczos quadrature of P^-½ H_B P^-½, P = √(s / (1 − β₂ᵗ)) + ε of the checkpoint's own second moment s.

    P is what the last step divided by, held fixed. The span of a batch's inputs is not taken: P does not keep it.

    Raises:
        ValueError: the optimizer is not AdamW, or has no state here: before the first step, or of a diverged run.
    """
    problem, diagonal = subject.problem, _preconditioner(subject)
    batch, weights = batch_size(problem, spec, subject.batch), subject.weights.to(getattr(torch, spec.dtype))

    def operator(draw: int) -> PreconditionedOperator:
        inputs, targets = probe_batch(problem, draw, batch, weights.dtype)
        hessian = HessianOperator(lambda w: problem.loss(w, inputs, targets), weights, rows=block_rows(len(weights)))
        return PreconditionedOperator(hessian, diagonal)

    return lanczos_measure(problem, spec, batch, operator).to_arrays()


def _preconditioner(subject: Subject) -> Tensor:
    optimizer = subject.task.training.optimizer
    if not isinstance(optimizer, AdamW):
        raise ValueError(f"{optimizer.kind} does not precondition: its own map follows from the probe `spectrum`")
    if not subject.state or float(subject.state[3]) == 1:
        raise ValueError(f"step {subject.step}: AdamW has no second moment here: no step yet, or the run diverged")
    _, second, _, power = subject.state
    # the power β₂ᵗ as training kept it, not computed anew: that of one step of a β₂ that has this value
    return preconditioner(second, optimizer.epsilon, float(power), 1)


PROBES = (Probe("optimizer", 1, _measure, load_spectrum),)
