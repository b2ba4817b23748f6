"""All a metric may see of a trained network. Test data are not among it, nor anywhere in its process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from suite.curvature.jacobian import Step
from suite.curvature.spectrum import Spectrum
from suite.spec.seeds import seed_of
from suite.spec.task import TaskSpec
from suite.spec.training import SGD


@dataclass(frozen=True)
class Run:
    """One checkpoint of one run.

    Attributes:
        key: names this run and checkpoint; the same on every machine.
        task: the resolved spec of this cell: `task.training.optimizer.learning_rate` and the like.
        step: optimizer steps behind the weights.
        weights: flat parameters `[d]`.
        initial: flat parameters before training `[d]`.
        batch_loss: mean training loss of (flat parameters, inputs, targets), differentiable twice.
        whole_loss: mean loss on the whole training set of flat parameters, in pieces that fit into memory; a scalar.
        inputs: the training inputs `n × …`.
        targets: the training targets.
        probe: the Hessian's spectral probe at these weights, as the task's `probes.spectrum` asks; None for a metric
            that does not say that it reads one.
    """

    key: str
    task: TaskSpec
    step: int
    weights: Tensor
    initial: Tensor
    batch_loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    whole_loss: Callable[[Tensor], Tensor]
    inputs: Tensor
    targets: Tensor
    probe: Spectrum | None

    @property
    def spectrum(self) -> Spectrum:
        """The spectral probe.

        Raises:
            ValueError: the metric did not say that it reads it.
        """
        if self.probe is None:
            raise ValueError('no spectrum here: a metric that reads it says so, @metric(…, cost="spectrum")')
        return self.probe

    @property
    def learning_rate(self) -> float:
        """η, as the spec gives it (the peak of a schedule)."""
        return self.task.training.optimizer.learning_rate

    @property
    def batch_size(self) -> int:
        """b, the minibatch size of training."""
        return self.task.training.batch(len(self.inputs))

    @property
    def gradient_step(self) -> Step:
        """The paper's map w − η ∇L_B(w), whatever the optimizer: its Jacobian is I − η H_B."""
        return Step(self.learning_rate)

    @property
    def optimizer_step(self) -> Step:
        """The optimizer's own map where it is SGD (momentum and weight decay included).

        Raises:
            ValueError: the optimizer is not SGD.
        """
        optimizer = self.task.training.optimizer
        if not isinstance(optimizer, SGD):
            raise ValueError(f"the Jacobian of {optimizer.kind} is not a function of the Hessian's spectrum alone")
        return Step(optimizer.learning_rate, optimizer.momentum, optimizer.weight_decay)

    def training_loss(self, weights: Tensor | None = None) -> float:
        """Mean loss on the whole training set, at `weights` or at the run's own."""
        with torch.no_grad():
            return float(self.whole_loss(self.weights if weights is None else weights))

    def seed(self, purpose: str) -> int:
        """A seed for this run, checkpoint and purpose."""
        return seed_of(self.key, self.step, purpose)
