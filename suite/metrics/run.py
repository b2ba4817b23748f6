"""All a metric may see of a trained network. Test data are not among it, nor anywhere in its process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from suite.curvature.jacobian import Step
from suite.curvature.spectrum import DenseSpectra, QuadratureSpectrum, Spectrum
from suite.metrics.probed.attractor import Attractor
from suite.metrics.probed.distances import Distances
from suite.metrics.probed.exponents import Exponents
from suite.metrics.probed.gradients import Gradients
from suite.spec.seeds import seed_of
from suite.spec.task import TaskSpec
from suite.spec.training import SGD

_Probed = TypeVar("_Probed")

_CHUNK = 2**22
"""Entries of the widest activation evaluated at once: a function of shapes alone, so that sums do not change."""


class Network(Protocol):
    """A stateless network as a function of flat parameters and inputs."""

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, in the order of the flat vector; a layer's weight before its bias, layers by depth."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Their shapes."""

    def slices(self) -> dict[str, slice]:
        """Where each parameter lies in the flat vector."""

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """The named parameters as views of the flat vector `[d]`."""

    def __call__(self, flat: Tensor, inputs: Tensor) -> Tensor:
        """Logits `n × classes` (`n × positions × classes` where there is a target a position)."""


@dataclass(frozen=True)
class Run:
    """One checkpoint of one run.

    Attributes:
        key: names this run; the same on every machine.
        task: the resolved spec of this cell: `task.training.optimizer.learning_rate` and the like.
        step: optimizer steps behind the weights.
        weights: flat parameters `[d]`.
        initial: flat parameters before training `[d]`.
        network: flat parameters, inputs → logits; names and shapes of the parameters.
        sample_loss: logits, targets → the loss of each prediction, without a mean; differentiable twice.
        whole: weights `[k, d]` → mean loss and accuracy on the whole training set, float64 `[k, 2]`, without gradients.
        inputs: the training inputs `n × …`.
        targets: the training targets: int64 `n` (or `n × positions`), or probabilities with an axis of classes.
        state: the optimizer's: heavy-ball SGD's velocity `[d]`; AdamW's two moments `[d]`, and the powers of β₁ and β₂.
            Empty for plain SGD and where a run diverged.
        curve: mean loss of the minibatches of each epoch of the whole run, float32 `[epochs]`.
        probes: by name, those that the metric says that it reads.
    """

    key: str
    task: TaskSpec
    step: int
    weights: Tensor
    initial: Tensor
    network: Network
    sample_loss: Callable[[Tensor, Tensor], Tensor]
    whole: Callable[[Tensor], Tensor]
    inputs: Tensor
    targets: Tensor
    state: tuple[Tensor, ...] = ()
    curve: Tensor = field(default_factory=lambda: torch.empty(0))
    probes: Mapping[str, object] = field(default_factory=dict)

    @property
    def spectrum(self) -> Spectrum:
        """The Hessian's spectrum on minibatches, as the task's `probes.spectrum` asks."""
        return self._spectrum("spectrum")

    @property
    def common(self) -> Spectrum:
        """The same at a batch size that all cells of the task share."""
        return self._spectrum("common")

    @property
    def whole_spectrum(self) -> Spectrum:
        """The spectrum on the whole training set (the probe `whole`)."""
        return self._spectrum("whole")

    @property
    def preconditioned(self) -> Spectrum:
        """The spectrum of the Hessian as AdamW preconditions it (the probe `optimizer`)."""
        return self._spectrum("optimizer")

    @property
    def gradients(self) -> Gradients:
        """Gradients of samples and of minibatches."""
        return self._probe("gradients", (Gradients,))

    @property
    def exponents(self) -> Exponents:
        """Lyapunov exponents along the optimizer's trajectory."""
        return self._probe("exponents", (Exponents,))

    @property
    def attractor(self) -> Attractor:
        """Spectra at snapshots of the trajectory that goes on from here."""
        return self._probe("attractor", (Attractor,))

    @property
    def forward(self) -> Distances:
        """Distances between the iterates of training that goes on from here."""
        return self._probe("forward", (Distances,))

    @property
    def backward(self) -> Distances:
        """Distances between the last iterates of training."""
        return self._probe("backward", (Distances,))

    def _spectrum(self, name: str) -> Spectrum:
        found: object = self._probe(name, (DenseSpectra, QuadratureSpectrum))
        assert isinstance(found, DenseSpectra | QuadratureSpectrum)
        return found

    def _probe(self, name: str, kind: tuple[type[_Probed], ...]) -> _Probed:
        """A probe that the metric says that it reads.

        Raises:
            LookupError: it does not say so.
        """
        if name not in self.probes:
            raise LookupError(f'no probe {name} here: a metric that reads it says so, @metric(…, probes=("{name}",))')
        found = self.probes[name]
        if not isinstance(found, kind):
            raise TypeError(f"probe {name} is a {type(found).__name__}")
        return found

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

    def batch_loss(self, weights: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch under flat parameters, a scalar that can be differentiated twice."""
        return self.sample_loss(self.network(weights, inputs), targets).mean()

    def minibatch(self, draw: int, size: int | None = None) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a random minibatch (of the training batch size), the same for every run of a task."""
        count = len(self.inputs)
        generator = torch.Generator().manual_seed(seed_of("metric minibatch", draw, count))
        at = torch.randperm(count, generator=generator)[: size or self.batch_size].to(self.inputs.device)
        return self.inputs[at], self.targets[at]

    def logits(self, weights: Tensor | None = None) -> Tensor:
        """Logits of the whole training set, at `weights` or at the run's own, without gradients."""
        flat = self.weights if weights is None else weights
        with torch.no_grad():
            return torch.cat([self.network(flat, part) for part in torch.split(self.inputs, self._rows())])

    def sample_losses(self, weights: Tensor | None = None) -> Tensor:
        """The loss of each training input `[n]` (the mean over its positions where it has several)."""
        losses = self.sample_loss(self.logits(weights), self.targets)
        return losses.reshape(len(losses), -1).mean(1)

    def gradient(self, weights: Tensor | None = None) -> Tensor:
        """Gradient `[d]` of the mean loss on the whole training set, in pieces that fit into memory."""
        flat = self.weights if weights is None else weights
        total, rows = torch.zeros_like(flat), self._rows()
        for inputs, targets in zip(torch.split(self.inputs, rows), torch.split(self.targets, rows), strict=True):
            piece: Tensor = torch.func.grad(self.batch_loss)(flat, inputs, targets)
            total += piece * (len(inputs) / len(self.inputs))
        return total

    def evaluate(self, weights: Tensor) -> Tensor:
        """Mean loss and accuracy on the whole training set of `[k, d]` weights at once: float64 `[k, 2]`."""
        return self.whole(weights)

    def training_loss(self, weights: Tensor | None = None) -> float:
        """Mean loss on the whole training set, at `weights` or at the run's own."""
        return float(self.whole((self.weights if weights is None else weights)[None])[0, 0])

    def training_accuracy(self, weights: Tensor | None = None) -> float:
        """The part of the training set that is classified correctly."""
        return float(self.whole((self.weights if weights is None else weights)[None])[0, 1])

    def matrices(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """The weight matrices by name, by depth: every parameter of two axes or more, `rows × the rest`."""
        named = self.network.unflatten(self.weights if weights is None else weights)
        return {name: tensor.flatten(1) for name, tensor in named.items() if tensor.ndim > 1}

    def seed(self, purpose: str) -> int:
        """A seed for this run, checkpoint and purpose."""
        return seed_of(self.key, self.step, purpose)

    def generator(self, purpose: str) -> torch.Generator:
        """A random generator on the CPU for this run, checkpoint and purpose."""
        return torch.Generator().manual_seed(self.seed(purpose))

    def _rows(self) -> int:
        widest = max(max(shape) for shape in self.network.shapes)
        positions = 1 if self.inputs.is_floating_point() else self.inputs.shape[1]
        return max(1, _CHUNK // (widest * positions))
