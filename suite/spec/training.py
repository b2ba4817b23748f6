"""How a network is trained: loss, optimizer, schedule, length, stop rules, what is kept."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from suite.spec.base import Strict

Fraction = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Looks = Annotated[int, Field(gt=0, le=10_000)]
"""Steps of a run at which something is kept or looked at: each is gone through before anything is done."""


class SGD(Strict):
    """w ← w − η v with v ← μ v + ∇L(w) + λ w (heavy-ball momentum μ, weight decay λ inside the gradient)."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: PositiveFloat
    momentum: Momentum = 0.0
    weight_decay: NonNegativeFloat = 0.0


class AdamW(Strict):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): w ← w − η (m̂ / (√v̂ + ε) + λ w)."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: PositiveFloat
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    epsilon: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0


Optimizer = Annotated[SGD | AdamW, Field(discriminator="kind")]


class Constant(Strict):
    """The learning rate stays as given."""

    kind: Literal["constant"] = "constant"

    def factor(self, step: int, total: int) -> float:
        """What the learning rate is multiplied by at a step, from 0, of `total`: 1."""
        return 1.0


class WarmupCosine(Strict):
    """Linear warm-up over the first steps, then a half cosine down to `final_fraction` of the learning rate."""

    kind: Literal["warmup_cosine"] = "warmup_cosine"
    warmup_steps: NonNegativeInt = 0
    final_fraction: Fraction = 0.0

    def factor(self, step: int, total: int) -> float:
        """What the learning rate is multiplied by at a step, from 0, of `total`."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        span = max(1, total - self.warmup_steps)
        cosine = math.cos(math.pi * (step - self.warmup_steps) / span)
        return self.final_fraction + (1 - self.final_fraction) * 0.5 * (1 + cosine)


Schedule = Annotated[Constant | WarmupCosine, Field(discriminator="kind")]


class Stop(Strict):
    """Ends a run early: on the whole training set, or on a loss that has diverged.

    It is looked at at the end of an epoch, and again after the least number of whole epochs that make 100 steps.
    """

    train_accuracy: Fraction | None = None
    train_loss: NonNegativeFloat | None = None
    diverged_above: PositiveFloat = 1e6


class Final(Strict):
    """The last weights only."""

    kind: Literal["final"] = "final"


class Spaced(Strict):
    """`count` checkpoints, the last at the end, evenly or logarithmically spaced in steps; step 0 too if `initial`."""

    kind: Literal["even", "log"]
    count: Looks
    initial: bool = False


Checkpoints = Annotated[Final | Spaced, Field(discriminator="kind")]


class Trajectory(Strict):
    """Distances between the last iterates of training: `points` of them, every `every` steps, up to its end."""

    points: Annotated[int, Field(ge=10)]
    every: PositiveInt = 1
    samples: PositiveInt = Field(
        default=512, description="training inputs whose losses make the data-dependent distance"
    )


class Sharpness(Strict):
    """λ_max along training: the algebraically largest eigenvalue of the Hessian of the training loss, without decay.

    It is found before the first step and after `count` more, the last of them at the end, on one sample of the training
    inputs that is the same for all cells. What is trained does not change. A run that stops early is looked at where it
    stops too; one that has diverged has no value after its last weights of bounded loss.
    """

    count: Looks = Field(default=20, description="steps after which it is found, beside the start")
    kind: Literal["even", "log"] = Field(default="even", description="how these steps are spaced")
    samples: PositiveInt = Field(default=1024, description="training inputs of the loss: all, if there are fewer")
    iterations: Annotated[int, Field(ge=2)] = Field(
        default=20, description="steps of the Lanczos recurrence, one Hessian-vector product each"
    )


class TrainingSpec(Strict):
    """One network's training. Exactly one of `epochs` and `steps` is given."""

    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    optimizer: Optimizer
    schedule: Schedule = Constant()
    batch_size: PositiveInt | Literal["full"]
    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    stop: Stop = Stop()
    checkpoints: Checkpoints = Final()
    trajectory: Trajectory | None = Field(default=None, description="which of the last iterates are compared")
    sharpness: Sharpness | None = Field(
        default=None, description="at which steps the largest eigenvalue of the Hessian is recorded"
    )
    stack_size: Annotated[int, Field(ge=1, le=256)] = Field(
        default=64, description="most cells trained as one stacked step"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of epochs and steps")
        return self

    def batch(self, train_size: int) -> int:
        """The number of inputs in a minibatch, for a training set of that size."""
        return train_size if self.batch_size == "full" else self.batch_size

    def total_steps(self, train_size: int) -> int:
        """Optimizer steps of a run that is not stopped early; an epoch leaves its incomplete last minibatch out."""
        per_epoch = train_size // self.batch(train_size)
        return self.steps if self.steps is not None else per_epoch * (self.epochs or 0)

    def checkpoint_steps(self, train_size: int) -> tuple[int, ...]:
        """The steps after which weights are kept, ascending, the last one at the end."""
        total = self.total_steps(train_size)
        if isinstance(self.checkpoints, Final):
            return (total,)
        steps = _spaced(total, self.checkpoints.kind, self.checkpoints.count)
        return tuple(sorted(steps | {0} if self.checkpoints.initial else steps - {0}))

    def sharpness_steps(self, train_size: int) -> tuple[int, ...]:
        """The steps after which the largest eigenvalue is recorded, ascending from 0; none if it is not asked for."""
        if self.sharpness is None:
            return ()
        return tuple(sorted({0} | _spaced(self.total_steps(train_size), self.sharpness.kind, self.sharpness.count)))

    def rate_behind(self, step: int, train_size: int) -> float:
        """The scheduled learning rate of the step that led to the weights after `step` steps; of the first for 0."""
        factor = self.schedule.factor(max(0, step - 1), self.total_steps(train_size))
        return self.optimizer.learning_rate * factor


def _spaced(total: int, kind: Literal["even", "log"], count: int) -> set[int]:
    """At most `count` steps up to `total`, which is one of them."""
    if kind == "even":
        return {round(total * i / count) for i in range(1, count + 1)} | {total}
    return {round(total ** (i / count)) for i in range(1, count + 1)} | {total}
