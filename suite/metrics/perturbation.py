"""Average-case sharpness, smoothed losses, and sharpness that follows from first derivatives or one layer's Hessian."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from suite.curvature.estimate import Estimate, mean_of, root_of
from suite.metrics.neighbourhood import (
    SampleLoss,
    first_crossing,
    gradients_of,
    inputs_of,
    losses_of,
    noise,
    normalised_logits,
    pieces,
)
from suite.metrics.registry import metric
from suite.metrics.run import Run

_DRAWS = 50
_RADIUS = 0.1
_AVERAGE = "Andriushchenko et al. 2023, §2 (average case; ρ = 0.1 as in their code)"


@metric(title="Average-case sharpness", family="perturbation", source=_AVERAGE, sign=1, cost="forward")
def average_sharpness(run: Run) -> Estimate:
    """E L(w + ρ ξ) − L(w), ξ ∼ N(0, I), ρ = 0.1: the mean of 50 draws common to all runs, on 512 fixed inputs."""
    return _average_rise(run, torch.ones_like(run.weights))


@metric(
    title="Adaptive average-case sharpness",
    family="perturbation",
    source=_AVERAGE,
    sign=1,
    cost="forward",
    invariances=("rescaling",),
)
def adaptive_average_sharpness(run: Run) -> Estimate:
    """E L(w + ρ ξ ∘ |w|) − L(w), ξ ∼ N(0, I), ρ = 0.1: as `average_sharpness`, every weight off by ten per cent."""
    return _average_rise(run, run.weights.abs())


@metric(
    title="Adaptive average-case sharpness, uniform noise",
    family="perturbation",
    source=_AVERAGE,
    sign=1,
    cost="forward",
    invariances=("rescaling",),
)
def adaptive_uniform_sharpness(run: Run) -> Estimate:
    """E L(w + ρ ξ ∘ |w|) − L(w), ξ uniform on [−1, 1]ᵈ (their average ℓ∞), ρ = 0.1; else as `average_sharpness`."""
    return _average_rise(run, run.weights.abs(), "uniform")


@metric(
    title="Adaptive average-case sharpness, logits normalised",
    family="perturbation",
    source=_AVERAGE,
    sign=1,
    cost="forward",
    invariances=("rescaling", "logit scale", "last layer"),
)
def normalised_average_sharpness(run: Run) -> Estimate:
    """`adaptive_average_sharpness` of the network with logits centred and divided by their norm, input by input."""
    return _average_rise(run, run.weights.abs(), loss=normalised_logits(run))


@metric(
    title="Low-pass filtered loss",
    family="perturbation",
    source="Bisla et al. 2022 (LPF-SGD); σ = 0.01 and 100 draws as in their code",
    sign=1,
    cost="forward",
)
def low_pass_loss(run: Run) -> Estimate:
    """E L(w + σ ξ), ξ ∼ N(0, I), σ = 0.01: the mean of 100 draws common to all runs, on 512 fixed training inputs."""
    return mean_of(_losses_under_noise(run, 0.01 * torch.ones_like(run.weights), draws=100))


@metric(
    title="ε-sharpness along the gradient",
    family="perturbation",
    source="Bisla et al. 2022 (LPF-SGD), ε-sharpness; ε = 0.1 as in their code",
    sign=1,
    cost="gradient",
)
def epsilon_sharpness(run: Run) -> float:
    """1/(η ‖g‖) for the least η with L(w + η g) − L(w) = 0.1, g the gradient: one over the distance to that rise.

    L and g on 512 fixed training inputs. The distance is looked for from 10⁻⁶ to 10³ (see `first_crossing`); their code
    takes the full training set and bisects, so that it may find a later crossing.

    Raises:
        ValueError: the gradient is zero, or no distance there has that rise.
    """
    inputs, targets = inputs_of(run)
    start, slopes = gradients_of(run, run.weights[None], inputs[None], targets[None])
    length = slopes.double().norm()
    if not float(length) > 0:
        raise ValueError("the gradient is zero or not a number: there is no direction of ascent")
    direction = (slopes.double() / length).to(slopes.dtype)

    def rises(distances: Tensor) -> Tensor:
        steps = distances.to(run.weights)[:, None]
        return losses_of(run, run.weights + steps * direction).cpu() - start.cpu()

    return 1 / first_crossing(rises, 0.1, 1e-6, 1e3)


@metric(
    title="Fisher–Rao norm",
    family="perturbation",
    source="Liang et al. 2019, Fisher–Rao norm with the empirical Fisher",
    sign=1,
    cost="gradient",
    invariances=("rescaling",),
)
def fisher_rao_norm(run: Run) -> Estimate:
    """√⟨w, F w⟩ with F = E ∇ℓ ∇ℓᵀ: the root mean square over the training set of ⟨w, ∇ℓ⟩, the slope of ℓ along w.

    ℓ is the loss of an input with its own target (the mean over its positions). One forward-mode derivative along w.
    """

    def slopes(inputs: Tensor, targets: Tensor) -> Tensor:
        def losses(flat: Tensor) -> Tensor:
            return run.sample_loss(run.network(flat, inputs), targets).reshape(len(inputs), -1).mean(1)

        return cast(Tensor, jvp(losses, (run.weights,), (run.weights,))[1])

    parts = [slopes(x, y) for x, y in pieces(run, run.inputs, run.targets)]
    return root_of(mean_of(torch.cat(parts).double().square()))


@metric(
    title="Relative flatness",
    family="perturbation",
    source="Petzka et al. 2021, relative flatness κ_Tr of the last layer",
    sign=1,
    cost="gradient",
    invariances=("rescaling",),
)
def relative_flatness(run: Run) -> float:
    """κ = Σ ⟨w_s, w_t⟩ tr H_st over rows s, t of the last weight matrix W, H_st = ∂²L/∂w_s∂w_t: large where sharp.

    Logits are z = W φ + b, so tr H_st is the mean over the training set of ‖φ‖² ∂²ℓ/∂z_s∂z_t, and κ is that of
    ‖φ‖² tr Wᵀ (∇²_z ℓ) W: exact, without a Hessian. φ is read off the network, with the identity's rows in place of W.

    Raises:
        ValueError: the logits are not of that form (tied embeddings, a last layer that is no matrix).
    """
    name, shape = next((n, s) for n, s in reversed([*zip(run.network.names, run.network.shapes, strict=True)]) if s[1:])
    if len(shape) != 2:
        raise ValueError(f"the last layer, {name}, is no matrix")
    where = run.network.slices()[name]
    last = run.weights[where].view(shape)
    total, count = 0.0, 0
    for x, y in pieces(run, run.inputs, run.targets):
        logits = run.network(run.weights, x)
        features = _features(run, where, last, x, logits)
        curvatures = _curvatures(run, last, logits, y)
        total += float((features.double().square().sum(-1) * curvatures).sum())
        count += curvatures.numel()
    return total / count


def _curvatures(run: Run, last: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """The trace of Wᵀ (∇²_z ℓ) W of each prediction, float64: a second derivative of ℓ(z) along every column of W."""
    gradient = grad(lambda z: run.sample_loss(z, targets).sum())

    def along(column: Tensor) -> Tensor:
        direction = column.expand_as(logits)
        return cast(Tensor, (direction * jvp(gradient, (logits,), (direction,))[1]).sum(-1))

    return vmap(along, chunk_size=16)(last.T).double().sum(0)


def _features(run: Run, where: slice, last: Tensor, inputs: Tensor, logits: Tensor) -> Tensor:
    """What the last layer W `[classes, width]` is applied to, `… × width`, from ⌈width / classes⌉ evaluations.

    Raises:
        ValueError: the logits are not W φ + b.
    """

    def outputs(matrix: Tensor) -> Tensor:
        return run.network(
            torch.cat([run.weights[: where.start], matrix.reshape(-1), run.weights[where.stop :]]), inputs
        )

    classes, width = last.shape
    if logits.shape[-1] != classes:
        raise ValueError("the last weight matrix does not give the logits")
    bias = outputs(torch.zeros_like(last))
    rows = torch.eye(width, dtype=last.dtype, device=last.device)
    blocks = [torch.cat([b, b.new_zeros(classes - len(b), width)]) for b in torch.split(rows, classes)]
    features = torch.cat([outputs(block) - bias for block in blocks], -1)[..., :width]
    if not torch.allclose(features @ last.T + bias, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
        raise ValueError("the logits are not linear in the last weight matrix")
    return features


def _average_rise(
    run: Run, scale: Tensor, kind: Literal["normal", "uniform"] = "normal", loss: SampleLoss | None = None
) -> Estimate:
    """The mean rise of the loss under noise of that scale, an entry a weight, times ρ."""
    start = losses_of(run, run.weights[None], loss)
    return mean_of(_losses_under_noise(run, _RADIUS * scale, kind, loss) - start)


def _losses_under_noise(
    run: Run,
    scale: Tensor,
    kind: Literal["normal", "uniform"] = "normal",
    loss: SampleLoss | None = None,
    draws: int = _DRAWS,
) -> Tensor:
    """The loss at each of the draws of w + scale ∘ ξ, float64 `[draws]`."""
    return torch.cat([losses_of(run, run.weights + scale * xi, loss) for xi in noise(run, draws, kind)])
