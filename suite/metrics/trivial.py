"""Predictors that cost nothing and explain nothing: who cannot beat them has explained nothing either."""

from __future__ import annotations

import random

from suite.metrics.registry import metric
from suite.metrics.run import Run

_OWN = "control of this suite"


@metric(title="Learning rate η", family="trivial", source=_OWN, sign=-1, cost="free", trivial=True)
def learning_rate(run: Run) -> float:
    """Larger steps are said to find flatter minima: the gap should shrink with η."""
    return run.learning_rate


@metric(title="Batch size b", family="trivial", source=_OWN, sign=1, cost="free", trivial=True)
def batch_size(run: Run) -> float:
    """Larger batches are said to generalize worse (Keskar et al. 2017)."""
    return float(run.batch_size)


@metric(title="η / b", family="trivial", source="Jastrzębski et al. 2017", sign=-1, cost="free", trivial=True)
def learning_rate_over_batch_size(run: Run) -> float:
    """The scale of gradient noise."""
    return run.learning_rate / run.batch_size


@metric(title="Weight decay", family="trivial", source=_OWN, sign=-1, cost="free", trivial=True)
def weight_decay(run: Run) -> float:
    """The strength of the regularisation."""
    return run.task.training.optimizer.weight_decay


@metric(title="Number of steps", family="trivial", source=_OWN, sign=1, cost="free", trivial=True)
def steps(run: Run) -> float:
    """Optimizer steps behind these weights."""
    return float(run.step)


@metric(title="Training loss", family="trivial", source=_OWN, sign=-1, version=2, cost="forward", trivial=True)
def training_loss(run: Run) -> float:
    """Mean loss on the training set: what fits less, overfits less."""
    return run.training_loss()


@metric(title="Random number", family="trivial", source=_OWN, sign=1, cost="free", trivial=True)
def random_number(run: Run) -> float:
    """Uniform on [0, 1), seeded by the run: what chance alone achieves."""
    return random.Random(run.seed("random number")).random()  # noqa: S311 - not for secrets
