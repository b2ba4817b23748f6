"""How training went: gradients where it ended, the speed at which the loss fell, the length of steps."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from suite.curvature.estimate import Estimate
from suite.metrics.registry import metric
from suite.metrics.run import Run
from suite.spec.training import SGD, AdamW

_EPOCHS = 1
"""E of Ru et al. 2021: the epochs whose losses are summed."""


def _epoch(run: Run) -> int:
    """Steps of an epoch; an incomplete last minibatch is left out."""
    return len(run.inputs) // run.batch_size


def _curve(run: Run) -> Tensor:
    """Mean loss of the minibatches of each whole epoch up to this checkpoint, float64 on the CPU.

    Raises:
        ValueError: there is none yet.
    """
    curve = run.curve[: run.step // _epoch(run)].double().cpu()
    if not len(curve):
        raise ValueError("no whole epoch behind these weights")
    return curve


@metric(
    title="Gradient norm",
    family="optimisation",
    source="Zhao et al. 2022 (penalising the gradient norm)",
    sign=1,
    probes=("gradients",),
)
def gradient_norm(run: Run) -> float:
    """‖∇L(w)‖ on the whole training set: small where the minimum is flat or reached."""
    return float(run.gradients.norm)


@metric(
    title="Gradient variance tr Σ",
    family="optimisation",
    source="Jiang et al. 2019, gradient noise at the end of training",
    sign=1,
    probes=("gradients",),
)
def gradient_variance(run: Run) -> Estimate:
    """Mean over training inputs of ‖∇ℓ_i(w) − ∇L(w)‖², the trace of the gradients' covariance Σ.

    The gradients are those of single inputs at this checkpoint; Jiang et al. sum the variances over the parameters in
    the same way. The error is that of the inputs drawn.
    """
    return run.gradients.covariance_trace()


@metric(
    title="Gradient-noise scale tr Σ / ‖g‖²",
    family="optimisation",
    source="McCandlish et al. 2018, simple noise scale; the sign is ours",
    sign=-1,
    probes=("gradients",),
)
def gradient_noise_scale(run: Run) -> Estimate:
    """Ratio tr Σ / ‖g‖², the batch size at which a minibatch's noise is as large as the gradient g of the training set.

    Σ is the covariance of single gradients. McCandlish et al. say nothing of the gap: the sign is ours, of the idea
    that noise leads to minima that generalize. (The noise scale that Smith & Le 2018 say so of is another, ε n / B of
    the learning rate ε and the batch size B.)
    """
    square = float(run.gradients.norm) ** 2
    if square == 0:
        raise ValueError("the gradient is zero")
    noise = run.gradients.covariance_trace()
    error = noise.standard_error
    return Estimate(noise.value / square, None if error is None else error / square)


def steps_until(run: Run, level: float) -> float:
    """Optimizer steps until the loss is at or below a level.

    The loss is known before training, on the whole set, and as the mean over each epoch's minibatches, each of the
    weights before its step. The mean stands at the middle of those steps: of epoch e = 1, 2, … of E steps at step
    (e − 1) E + (E − 1) / 2, which is e − 1 with full batches. In between the loss is taken to be linear.

    Raises:
        ValueError: it is above the level up to this checkpoint, or it is not the cross-entropy.
    """
    if run.task.training.loss != "cross_entropy":
        raise ValueError("the levels 0.1 and 0.01 are cross-entropies")
    length, now, before = _epoch(run), 0.0, run.training_loss(run.initial)
    if before <= level:
        return 0.0
    losses: list[float] = _curve(run).tolist()
    for epoch, loss in enumerate(losses):
        middle = epoch * length + (length - 1) / 2
        if loss <= level:
            return now + (middle - now) * (before - level) / (before - loss)
        now, before = middle, loss
    raise ValueError(f"the training loss did not come down to {level} up to this checkpoint")


@metric(
    title="Steps to a loss of 0.1",
    family="optimisation",
    source="Jiang et al. 2019, steps to cross-entropy 0.1; Hardt et al. 2016 (train faster, generalize better)",
    sign=1,
    cost="forward",
)
def steps_to_loss(run: Run) -> float:
    """Optimizer steps until the training cross-entropy is 0.1, between epochs by linear interpolation.

    Whatever the data, the level is that of Jiang et al.: where it is not reached there is no value.
    """
    return steps_until(run, 0.1)


@metric(
    title="Steps from a loss of 0.1 to 0.01",
    family="optimisation",
    source="Jiang et al. 2019, steps from cross-entropy 0.1 to 0.01",
    sign=1,
    cost="forward",
)
def steps_between_losses(run: Run) -> float:
    """Optimizer steps from a training cross-entropy of 0.1 to 0.01, between epochs by linear interpolation."""
    return steps_until(run, 0.01) - steps_until(run, 0.1)


@metric(
    title="Loss of the first epoch",
    family="optimisation",
    source="Jiang et al. 2019 (speed of optimization); Ru et al. 2021 (loss of an epoch)",
    sign=1,
)
def first_epoch_loss(run: Run) -> float:
    """Mean loss of the first epoch's minibatches, each before its step; with full batches that of the first weights."""
    return float(_curve(run)[0])


@metric(
    title="Sum of training losses",
    family="optimisation",
    source="Ru et al. 2021 (SoTL, later TSE); Lyle et al. 2020",
    sign=1,
)
def sum_of_training_losses(run: Run) -> float:
    """Σ over the epochs up to this checkpoint of the mean loss of their minibatches: the area under the curve.

    A sum over minibatches is this one times the steps of an epoch; so many steps would tell batch sizes apart.
    """
    return float(_curve(run).sum())


@metric(
    title="Sum of training losses, last epoch",
    family="optimisation",
    source="Ru et al. 2021 (SoTL-E, later TSE-E), E = 1",
    sign=1,
)
def last_training_losses(run: Run) -> float:
    """The same over the last E = 1 whole epochs up to this checkpoint."""
    return float(_curve(run)[-_EPOCHS:].sum())


def last_update(run: Run) -> Tensor:
    """What the last step took from the weights, float64 `[d]`, from the optimizer's state after it.

    Heavy-ball SGD: η v. AdamW: w⁻ − w, w⁻ = (w + η m̂ / (√v̂ + ε)) / (1 − η λ). Plain SGD keeps no state: in its
    place stands the step on the whole training set that would come next, η (∇L(w) + λ w).

    Raises:
        ValueError: no step was taken, the learning rate is not constant, or the run diverged and left no state.
    """
    training = run.task.training
    if run.step == 0:
        raise ValueError("no step was taken yet")
    if training.schedule.kind != "constant":
        raise ValueError("the learning rate of the last step is not known under a schedule")
    optimizer = training.optimizer
    if isinstance(optimizer, SGD) and optimizer.momentum == 0:
        weights = run.weights.double()
        return optimizer.learning_rate * (run.gradient().double() + optimizer.weight_decay * weights)
    if not run.state:
        raise ValueError("the run diverged: the optimizer's state is not kept")
    if isinstance(optimizer, AdamW):
        return _adamw_update(run, optimizer)
    return optimizer.learning_rate * run.state[0].double()


def _adamw_update(run: Run, optimizer: AdamW) -> Tensor:
    first, second, power1, power2 = (part.double().to(run.weights.device) for part in run.state)
    direction = first / (1 - power1) / ((second / (1 - power2)).sqrt() + optimizer.epsilon)
    weights, rate = run.weights.double(), optimizer.learning_rate
    return (weights + rate * direction) / (1 - rate * optimizer.weight_decay) - weights


@metric(
    title="Norm of the last update",
    family="optimisation",
    source="after Hardt et al. 2016, stability bound for convex losses (a sum of learning rates); the sign is ours",
    sign=1,
    cost="gradient",
)
def last_update_norm(run: Run) -> float:
    """Euclidean norm of the last step (`last_update`); plain SGD's is that on the whole training set at w.

    The bound of Hardt et al. has the sum of the learning rates where lengths of steps would stand here: the sign is
    ours.
    """
    return float(last_update(run).norm())


@metric(
    title="Mean step length",
    family="optimisation",
    source="after Hardt et al. 2016, stability bound for convex losses (a sum of learning rates); the sign is ours",
    sign=1,
    probes=("backward",),
)
def mean_step_length(run: Run) -> float:
    """Mean of ‖w_{i+1} − w_i‖ / e over the last iterates kept of training, e steps apart.

    With e = 1 that is the mean step; with e above it the way made good, a step. The bound of Hardt et al. has the sum
    of the learning rates in its place: the sign is ours.

    Where no two iterates are nearer to each other than the longest step between them, as on a way that hardly turns
    back, the iterates' minimum spanning tree is the way itself, and this `lifetime_sum_backward` but for a constant.
    """
    lengths = np.diagonal(run.backward.euclidean, offset=1)
    if not len(lengths):
        raise ValueError("fewer than two iterates were kept")
    if not math.isfinite(mean := float(lengths.mean())):
        raise ValueError("an iterate is not finite")
    return mean / run.backward.every
