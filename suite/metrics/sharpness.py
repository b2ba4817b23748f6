"""Worst-case sharpness: how much higher the loss is at the worst point near the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.curvature.estimate import Estimate, mean_of
from suite.metrics.ascent import Ball, Summit, ascend
from suite.metrics.neighbourhood import SampleLoss, accuracies_of, gradients_of, inputs_of, normalised_logits
from suite.metrics.registry import metric
from suite.metrics.run import Run

Groups = list[tuple[Tensor, Tensor]]

_BATCH, _STEPS = 128, 20
_RADIUS = 0.05
_ADAPTIVE_RADIUS = 0.5
_BOX = 1e-3
_ADAPTIVE_BOX = 1e-2
_ACCURACY = 0.1

_SAM = "Foret et al. 2021, Eq. 1–2"
_ASAM = "Kwon et al. 2021 (ASAM), element-wise normalisation"
_APGD = "Andriushchenko et al. 2023, §2 (worst case, Auto-PGD)"


@metric(title="SAM sharpness, one step", family="perturbation", source=_SAM, sign=1, cost="gradient")
def sam_sharpness(run: Run) -> Estimate:
    """L(w + ρ ∇L/‖∇L‖) − L(w), or 0 where that is lower: the first-order maximum over ‖δ‖₂ ≤ ρ = 0.05 (their default).

    Mean over fixed batches, each its own L: 512 training inputs (or all) in the fewest, nearly equal batches of at most
    128.
    """
    return mean_of(_one_step(run, _RADIUS, torch.ones_like(run.weights)))


@metric(
    title="Adaptive SAM sharpness, one step",
    family="perturbation",
    source=_ASAM,
    sign=1,
    cost="gradient",
    invariances=("rescaling",),
)
def adaptive_sam_sharpness(run: Run) -> Estimate:
    """L(w + ρ T² ∇L/‖T ∇L‖) − L(w) with T = diag |w| and ρ = 0.5 (theirs for CIFAR-10), on batches as `sam_sharpness`.

    The first-order maximum over ‖δ/|w|‖₂ ≤ ρ. They add 0.01 to |w| when training; here nothing is added, so that the
    value is invariant.
    """
    return mean_of(_one_step(run, _ADAPTIVE_RADIUS, run.weights.abs()))


@metric(title="Worst-case sharpness ℓ₂", family="perturbation", source=_APGD, sign=1, cost="search")
def worst_case_l2(run: Run) -> Estimate:
    """Max over ‖δ‖₂ ≤ 0.05 of L(w + δ) − L(w) by 20 steps of Auto-PGD from δ = 0; ρ and batches as `sam_sharpness`."""
    return mean_of(_worst(run, Ball(_RADIUS, "l2"), torch.ones_like(run.weights)).rise)


@metric(title="Worst-case sharpness ℓ∞", family="perturbation", source=_APGD, sign=1, cost="search")
def worst_case_linf(run: Run) -> Estimate:
    """Max over |δᵢ| ≤ 10⁻³ of L(w + δ) − L(w), searched as in `worst_case_l2`; the radius is Keskar's ε."""
    return mean_of(_worst(run, Ball(_BOX, "linf"), torch.ones_like(run.weights)).rise)


@metric(
    title="Adaptive worst-case sharpness ℓ₂",
    family="perturbation",
    source=_APGD,
    sign=1,
    cost="search",
    invariances=("rescaling",),
)
def adaptive_worst_case_l2(run: Run) -> Estimate:
    """Max over ‖δ/|w|‖₂ ≤ 0.5 of L(w + δ) − L(w): as `worst_case_l2`, in the coordinates u = δ/|w| throughout.

    Their code projects in δ by the Euclidean distance instead; u keeps every step invariant under rescaling.
    """
    return mean_of(_worst(run, Ball(_ADAPTIVE_RADIUS, "l2"), run.weights.abs()).rise)


@metric(
    title="Adaptive worst-case sharpness ℓ∞",
    family="perturbation",
    source=_APGD,
    sign=1,
    cost="search",
    invariances=("rescaling",),
)
def adaptive_worst_case_linf(run: Run) -> Estimate:
    """Max over |δᵢ| ≤ 0.01 |wᵢ| of L(w + δ) − L(w), searched as in `worst_case_l2`; each weight off by one per cent."""
    return mean_of(_worst(run, Ball(_ADAPTIVE_BOX, "linf"), run.weights.abs()).rise)


@metric(
    title="Adaptive worst-case sharpness ℓ∞, logits normalised",
    family="perturbation",
    source=f"{_APGD}, logit normalisation",
    sign=1,
    cost="search",
    invariances=("rescaling", "logit scale", "last layer"),
)
def normalised_worst_case_linf(run: Run) -> Estimate:
    """`adaptive_worst_case_linf` of the network whose logits are centred and divided by their norm, input by input."""
    return mean_of(_worst(run, Ball(_ADAPTIVE_BOX, "linf"), run.weights.abs(), loss=normalised_logits(run)).rise)


@metric(
    title="Keskar's ε-sharpness",
    family="perturbation",
    source="Keskar et al. 2017, Metric 2.1 (A = I, ε = 10⁻³)",
    sign=1,
    cost="search",
)
def keskar_sharpness(run: Run) -> float:
    """100 (max L(w + δ) − L(w)) / (1 + L(w)) over |δᵢ| ≤ ε (|wᵢ| + 1), ε = 10⁻³, L on 512 fixed training inputs.

    They take the whole training set and ten iterations of L-BFGS-B; here 20 steps of Auto-PGD from δ = 0.
    """
    top = _worst(run, Ball(_BOX, "linf"), run.weights.abs() + 1, batch=None)
    return 100 * float(top.rise / (1 + top.start))


@metric(
    title="Magnitude-aware sharpness 1/α²",
    family="perturbation",
    source="PGDL, Jiang et al. 2020, baseline sharpness (relative to the weights' magnitude)",
    sign=1,
    cost="search",
    invariances=("rescaling",),
)
def magnitude_sharpness(run: Run) -> float:
    """1/α² for the α at which the worst δ with |δᵢ| ≤ α |wᵢ| takes 0.1 of accuracy away.

    α by 10 bisections of ln α on [10⁻⁴, 1], so to 0.5 %; the worst δ is that of the loss, by 7 steps of Auto-PGD from
    δ = 0 in the coordinates δ/|w|, on 512 fixed training inputs: those numbers are ours. The competition's program
    (sharpness_v2) bisects α on [0, 2], and ascends by 20 steps of SGD from each of 3 random starts.

    Raises:
        ValueError: accuracy has fallen by 0.1 at α = 10⁻⁴ already, or not yet at α = 1.
    """
    before, scale = accuracies_of(run, run.weights[None]), run.weights.abs()

    def falls(alpha: float) -> bool:
        top = _worst(run, Ball(alpha, "linf"), scale, batch=None, steps=7)
        return bool(
            before - accuracies_of(run, run.weights + scale * top.points) >= _ACCURACY - 1e-9
        )  # 1 − 0.9 is less than 0.1 by rounding

    low, high = least, most = 1e-4, 1.0
    for _ in range(10):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if falls(middle) else (middle, high)
    if low == least or high == most:
        raise ValueError(f"accuracy does not fall by {_ACCURACY} at an α between {least} and {most}")
    return 1 / (low * high)


def _batches(run: Run, batch: int | None) -> Groups:
    """The fixed inputs in the fewest batches of at most that size, all in one if it is None, none left out.

    Sizes differ by one at most; batches of one size are a group `[b, n, …]` of inputs and of targets.
    """
    inputs, targets = inputs_of(run)
    count = math.ceil(len(inputs) / (batch or len(inputs)))
    size, longer = divmod(len(inputs), count)
    ends = longer * (size + 1)
    groups = [(inputs[:ends], targets[:ends], size + 1), (inputs[ends:], targets[ends:], size)]
    return [(x.reshape(-1, n, *x.shape[1:]), y.reshape(-1, n, *y.shape[1:])) for x, y, n in groups if len(x)]


def _count(groups: Groups) -> int:
    return sum(len(inputs) for inputs, _ in groups)


def _gradients(run: Run, weights: Tensor, groups: Groups, loss: SampleLoss | None = None) -> tuple[Tensor, Tensor]:
    """`gradients_of` networks `[b, d]`, each on a batch of its own of any size."""
    parts = zip(torch.split(weights, [len(x) for x, _ in groups]), groups, strict=True)
    losses, slopes = zip(*(gradients_of(run, part, x, y, loss) for part, (x, y) in parts), strict=True)
    return torch.cat(losses), torch.cat(slopes)


def _one_step(run: Run, radius: float, scale: Tensor) -> Tensor:
    """The rise of each batch's loss at the end of one step of steepest ascent, float64 `[b]`."""
    groups = _batches(run, _BATCH)
    weights = run.weights.expand(_count(groups), -1)
    start, slope = _gradients(run, weights, groups)
    there = weights + scale * radius * Ball(radius, "l2").direction(scale * slope)
    end, _ = _gradients(run, there, groups)
    return (end - start).clamp(min=0)


def _worst(
    run: Run,
    ball: Ball,
    scale: Tensor,
    batch: int | None = _BATCH,
    steps: int = _STEPS,
    loss: SampleLoss | None = None,
) -> Summit:
    """The highest loss of each batch at w + scale · u over u in the ball."""
    groups = _batches(run, batch)

    def climb(u: Tensor) -> tuple[Tensor, Tensor]:
        heights, slopes = _gradients(run, run.weights + scale * u, groups, loss)
        return heights, scale * slopes

    return ascend(climb, torch.zeros_like(run.weights).expand(_count(groups), -1), ball, steps)
