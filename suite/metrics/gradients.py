"""Curvature that gradients tell of: Fisher traces, curvature along gradients, the step that no longer descends.

L is the mean loss of the training set, g its gradient and H its Hessian; g_B and H_B those of a minibatch B of the
training batch size; gᵢ the gradient of the loss of one input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from suite.curvature.estimate import Estimate, mean_of
from suite.metrics.neighbourhood import pieces
from suite.metrics.registry import metric
from suite.metrics.run import Run

_DOUBLINGS = 60
"""How often the learning rate is doubled or halved in search of the critical one."""
_BISECTIONS = 8
"""Bisections (geometric) between two steps a factor 2 apart: the step is known to 0.3 %."""


@metric(
    title="Trace of the Fisher information",
    family="gradients",
    source="Jastrzębski et al. 2021 (Catastrophic Fisher explosion: Tr F)",
    sign=1,
    probes=("gradients",),
)
def fisher_trace(run: Run) -> Estimate:
    """Mean over predictions of E ‖∇ ln p(y | x)‖², y drawn by the network's own probabilities p; none is really drawn.

    For the cross-entropy, and for squared errors as the likelihood of a Gaussian of variance 1, it is the trace of the
    generalized Gauss–Newton matrix of the mean loss. An input with a target for each of P positions has P predictions:
    the Fisher information of all of them together is P times as much. (Of inputs with many outputs random vectors are
    taken: see the probe.)
    """
    return run.gradients.gauss_newton_trace()


@metric(
    title="Trace of the empirical Fisher",
    family="gradients",
    source="Kunstner, Balles, Hennig 2019 (empirical Fisher)",
    sign=1,
    probes=("gradients",),
)
def empirical_fisher_trace(run: Run) -> Estimate:
    """Mean over inputs of ‖gᵢ‖², the labels being the data's own.

    Of an input with a target for each of P positions gᵢ is the gradient of the mean over them: 1/P of that of its
    joint log-probability.
    """
    return run.gradients.second_moment_trace()


@metric(
    title="Takeuchi ratio tr C / tr F",
    family="gradients",
    source="Thomas et al. 2020 (On the interplay between noise and curvature: tr C / tr F for Takeuchi's tr H⁻¹C)",
    sign=1,
    probes=("gradients",),
)
def takeuchi_ratio(run: Run) -> Estimate:
    """P tr C / tr F, C = E gᵢgᵢᵀ and F the Fisher information: 1 where labels are drawn by the network's probabilities.

    P is the number of positions that have a target, of most data 1. There the gradients of different positions have
    no correlation, so that C, of the mean over positions, is 1/P of F, the mean of single positions' own: P times C is
    what compares.

    It stands for Takeuchi's tr H⁻¹C, n times the expected gap of a model with a regular minimum. The error is the
    delta method's, of the inputs drawn (and of random vectors). Where targets are
    probabilities no labels are drawn, and the ratio need not come to 1.
    """
    seen, positions = run.gradients, _positions(run)
    fisher = seen.gauss_newton_trace().value
    if not fisher > 0:
        raise ValueError("the Fisher information is zero")
    ratio = positions * seen.second_moment_trace().value / fisher
    spread = positions * seen.samples - ratio * seen.gauss_newton
    error = (seen.mean if seen.exact else mean_of)(spread).standard_error
    return Estimate(ratio, None if error is None else error / fisher)


@metric(
    title="Batch sharpness",
    family="gradients",
    source="Andreyev & Beneventano 2024 (Edge of stochastic stability, where it is 2/η)",
    sign=1,
    probes=("gradients",),
)
def batch_sharpness(run: Run) -> Estimate:
    """E g_Bᵀ H_B g_B / ‖g_B‖² over minibatches: a mean of ratios, as the authors have it.

    Raises:
        ValueError: a minibatch's gradient is zero.
    """
    seen = run.gradients
    if not bool((seen.batches > 0).all()):
        raise ValueError("a minibatch's gradient is zero")
    return mean_of(seen.batch_curvatures / seen.batches)


@metric(
    title="Directional sharpness",
    family="gradients",
    source="Pan & Li 2023 (directional sharpness, along the gradient)",
    sign=1,
    probes=("gradients",),
)
def directional_sharpness(run: Run) -> float:
    """The curvature gᵀHg / ‖g‖² of the whole training loss along its gradient."""
    return float(run.gradients.curvature) / _square(run)


@metric(
    title="Gradient–Hessian alignment",
    family="gradients",
    source="Gur-Ari, Roberts, Dyer 2018 (overlap of g and Hg)",
    sign=1,
    probes=("gradients",),
)
def gradient_hessian_alignment(run: Run) -> float:
    """Cosine of the angle between g and Hg: near 1 where g lies in the eigenspace of a few equal eigenvalues.

    The authors do not speak of the gap: the sign is that of a gradient in the sharpest directions.

    Raises:
        ValueError: g or Hg is zero.
    """
    turned = float(run.gradients.turned)
    if not turned > 0:
        raise ValueError("the Hessian times the gradient is zero")
    return float(run.gradients.curvature) / _square(run) * float(run.gradients.norm) / turned


@metric(
    title="Curvature along the weights wᵀHw",
    family="gradients",
    source="Bisla et al. 2022 (LPF-SGD), Table 1 (Fisher–Rao norm as θᵀHθ)",
    sign=1,
    probes=("gradients",),
    invariances=("rescaling",),
)
def weights_curvature(run: Run) -> float:
    """wᵀHw of the whole training loss at the weights w: negative where the loss is concave along them."""
    return float(run.gradients.weights_curvature)


@metric(
    title="Critical sharpness 2/η_c",
    family="gradients",
    source="Kalra et al. 2026 (arXiv:2601.16979), λ_c, along the gradient of the training loss",
    sign=1,
    cost="search",
)
def critical_sharpness(run: Run) -> float:
    """2/η_c with η_c the least η at which L(w − ηg) > L(w), on the whole training set, in float64.

    On a quadratic it is gᵀHg / ‖g‖². From the learning rate of training on, η is doubled until the loss rises, or
    halved until it does not; then 8 geometric bisections leave 0.3 %. A rise that is over within a factor 2 may be
    passed over. The authors go along the optimizer's update on a minibatch; the gradient of the whole loss is one
    direction for all optimizers, and it descends.

    Raises:
        ValueError: the gradient is zero, or the loss rises nowhere (or at once) within 60 doublings.
    """
    exact = replace(run, weights=run.weights.double(), inputs=_double(run.inputs), targets=_double(run.targets))
    slope = exact.gradient()
    if not float(slope.norm()) > 0:
        raise ValueError("the gradient is zero")
    height = _loss(exact, exact.weights)

    def rises(step: float) -> bool:
        # a loss that is not a number counts as risen
        return not _loss(exact, exact.weights - step * slope) <= height

    return 2 / _least_rise(rises, run.learning_rate)


def _loss(run: Run, weights: Tensor) -> float:
    """Mean loss of the whole training set at weights `[d]`, in their dtype."""
    with torch.no_grad():
        parts = pieces(run, run.inputs, run.targets)
        return math.fsum(float(run.batch_loss(weights, x, y)) * len(x) for x, y in parts) / len(run.inputs)


def _least_rise(rises: Callable[[float], bool], guess: float) -> float:
    """The step at which `rises` becomes true: doubling or halving from a guess, then bisection.

    Raises:
        ValueError: it does not within 60 doublings or halvings.
    """
    low = guess
    up = not rises(guess)
    for _ in range(_DOUBLINGS):
        if up and rises(2 * low):
            break
        if not up and not rises(low / 2):
            low /= 2
            break
        low = 2 * low if up else low / 2
    else:
        raise ValueError(f"the loss {'rises nowhere' if up else 'rises at once'} along its gradient, down to {low:g}")
    high = 2 * low
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if rises(middle) else (middle, high)
    return math.sqrt(low * high)


def _square(run: Run) -> float:
    """‖g‖².

    Raises:
        ValueError: it is zero.
    """
    square = float(run.gradients.norm) ** 2
    if not square > 0:
        raise ValueError("the gradient is zero")
    return square


def _positions(run: Run) -> int:
    """Predictions of one input: 1, or its positions where each has a target."""
    first = run.targets[0]
    return (first[..., 0] if first.is_floating_point() else first).numel()


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
