"""The spectrum of a saved model, without a store: what `suite spectrum` does.

Two ways to say what the numbers in the file mean. A task file names architecture, data, loss, learning rate and batch
size, and the checkpoint holds the weights: one flat vector, or a state dict with the architecture's names. Or a Python
file has a function that takes the checkpoint's path and returns (module, criterion, inputs, targets).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from suite.curvature import (
    AveragedQuantiles,
    HessianOperator,
    Network,
    Quadrature,
    SpectralMeasure,
    Step,
    bootstrap,
    spectral_measure,
)
from suite.curvature.combined import CountedOperator
from suite.curvature.dense import minibatch_eigenvalues, padded
from suite.curvature.estimate import Estimate
from suite.curvature.hessian import Loss
from suite.errors import BadInput, first_line
from suite.measuring.probes.spectrum import minibatch, reduced_loss
from suite.metrics.registry import module_of
from suite.spec.task import TaskSpec
from suite.spec.training import SGD, AdamW
from suite.training.problem import load_problem

Progress = Callable[[int, int], None]
"""Is told how much is done, and of how much: Lanczos steps of all runs, or minibatches with all their eigenvalues."""

_MOST_DENSE = 20_000
"""Parameters up to which all eigenvalues are computed: 3.2 GB a matrix in float64."""


@dataclass(frozen=True)
class SavedModel:
    """Weights, and the mean loss of any part of the training set as a function of them.

    Attributes:
        size: number of parameters d.
        operands: indices of training inputs, int64 on the CPU → the loss of that minibatch as a function of flat
            parameters, the parameters where it is to be measured, and how many exact zeros a reduction has taken out.
        train_size: number of training inputs n.
        optimizer: that of training, where it is known.
        batch_size: that of training, where it is known.
    """

    size: int
    operands: Callable[[Tensor], tuple[Loss, Tensor, int]]
    train_size: int
    optimizer: SGD | AdamW | None
    batch_size: int | None


@dataclass(frozen=True)
class Budget:
    """How a spectrum is measured.

    Attributes:
        learning_rate: η of the map w − η ∇L_B(w); None: that of training.
        batch_size: of the minibatches; None: that of training; `full`: the training set.
        runs: Lanczos runs, or minibatches if `exact`.
        probes: runs that share a minibatch.
        steps: Lanczos steps of a run.
        exact: all eigenvalues, in float64.
        seed: of the probes.
    """

    learning_rate: float | None = None
    batch_size: int | Literal["full"] | None = None
    runs: int = 20
    probes: int = 1
    steps: int = 100
    exact: bool = False
    seed: int = 0


@dataclass(frozen=True)
class SpectrumReport:
    """What was found.

    Attributes:
        measure: the spectral measure.
        batch_size: number of inputs of each minibatch.
        learning_rate: η of the map w − η ∇L_B(w).
        pooled: SD by direct quadrature of the pooled measure.
        averaged: SD by Def. 4.2 to the letter, quantile functions averaged over minibatches; None with one minibatch,
            or with one Lanczos run each, whose noise would be averaged as if it were the minibatches'.
        edge: the largest eigenvalue at which the optimizer's own step is stable; None where that is not known.
    """

    measure: SpectralMeasure
    batch_size: int
    learning_rate: float
    pooled: Estimate
    averaged: Estimate | None
    edge: float | None

    def rows(self) -> list[dict[str, str | float | None]]:
        """As a table: quantity, value, standard error."""
        measure = self.measure
        found = {
            "parameters d": Estimate(measure.size),
            "learning rate η": Estimate(self.learning_rate),
            "minibatch size": Estimate(self.batch_size),
            "minibatches": Estimate(len(measure.runs_per_draw)),
            "runs": Estimate(measure.runs),
            "SD of w − η∇L, pooled": self.pooled,
            "d − SD, pooled": Estimate(measure.size - self.pooled.value, self.pooled.standard_error),
            "trace": measure.trace(),
            "Frobenius norm": measure.frobenius(),
            "largest eigenvalue": measure.mean(measure.nodes.amax(1)),
            "least eigenvalue": measure.mean(measure.nodes.amin(1)),
        }
        if self.edge is not None:
            found["edge of stability"] = Estimate(self.edge)
        if self.averaged is not None:
            found["SD of w − η∇L, averaged (Def. 4.2)"] = self.averaged
            found["d − SD, averaged"] = Estimate(measure.size - self.averaged.value, self.averaged.standard_error)
        return [
            {"quantity": name, "value": _short(e.value), "standard error": _short(e.standard_error)}
            for name, e in found.items()
        ]


def from_task(checkpoint: Path, task: TaskSpec, device: torch.device, dtype: torch.dtype) -> SavedModel:
    """A checkpoint of the architecture that a task describes, on the task's training data.

    Raises:
        BadInput: no such file, not weights of this architecture, or the data cannot be had.
    """
    problem = load_problem(task, device, dtype)
    weights = _flat(checkpoint, problem.model.names, problem.model.shapes).to(device, dtype)
    inputs, targets = problem.train.inputs, problem.train.targets

    def operands(at: Tensor) -> tuple[Loss, Tensor, int]:
        at = at.to(device)
        return reduced_loss(problem, weights, inputs[at], targets[at])

    size = len(problem.train)
    return SavedModel(len(weights), operands, size, task.training.optimizer, task.training.batch(size))


def from_python(checkpoint: Path, named: str, device: torch.device, dtype: torch.dtype) -> SavedModel:
    """A model that a function `FILE.py:FUNCTION` makes of the checkpoint's path.

    Raises:
        BadInput: no such function, it raises, or returns something else.
    """
    module, criterion, inputs, targets = _called(named, checkpoint)
    module = module.to(device, dtype)
    inputs = inputs.to(device, dtype) if inputs.is_floating_point() else inputs.to(device)
    targets = targets.to(device)
    try:
        network = Network(module)
    except ValueError as error:
        raise BadInput(f"--model {named}: {error}") from error

    def operands(at: Tensor) -> tuple[Loss, Tensor, int]:
        at = at.to(device)
        return network.loss(criterion, inputs[at], targets[at]), network.params, 0

    return SavedModel(len(network.params), operands, len(inputs), None, None)


def measure_saved(model: SavedModel, budget: Budget, progress: Progress | None = None) -> SpectrumReport:
    """Its spectrum on minibatches and its SD, with bootstrap errors over minibatches.

    Args:
        model: the weights and their losses.
        budget: what is measured, and how.
        progress: is called as the work goes on, the last time with all of it done.

    Raises:
        BadInput: learning rate or batch size missing or out of range, too many parameters for `exact`, or a loss that
            cannot be differentiated twice.
    """
    known = None if model.optimizer is None else model.optimizer.learning_rate
    eta = known if budget.learning_rate is None else budget.learning_rate
    batch = model.train_size if budget.batch_size == "full" else budget.batch_size or model.batch_size
    if eta is None or batch is None:
        raise BadInput("--learning-rate and --batch-size: both are needed for a model without a task")
    if not 0 < eta < math.inf:
        raise BadInput(f"--learning-rate {eta}: a positive, finite number")
    if budget.probes > 1 and (budget.exact or batch == model.train_size):
        raise BadInput(
            "--probes: with --exact there are none, and on the full training set all runs share the minibatch"
        )
    if budget.probes > budget.runs:
        raise BadInput(
            f"--probes {budget.probes}: more than the {budget.runs} runs; runs / probes minibatches are drawn"
        )
    if not 1 <= batch <= model.train_size:
        raise BadInput(f"--batch-size {batch}: between 1 and the {model.train_size} training inputs")
    if budget.exact and model.size > _MOST_DENSE:
        raise BadInput(f"--exact: {model.size:,} parameters; all eigenvalues are computed up to {_MOST_DENSE:,}")
    try:
        measure = (_exact if budget.exact else _lanczos)(model, batch, budget, progress or _untold)
    except Exception as error:
        raise BadInput(f"the spectrum cannot be had: {first_line(error)}") from error
    several = len(measure.runs_per_draw) > 1 and (budget.exact or budget.probes > 1)
    averaged = _estimate(measure, AveragedQuantiles(Step(eta))) if several else None
    return SpectrumReport(measure, batch, eta, _estimate(measure, Quadrature(Step(eta))), averaged, _edge(model, eta))


def _edge(model: SavedModel, eta: float) -> float | None:
    """2 (1 + μ) / η − ω of SGD, 2/η of a model without a task (Cohen et al. 2021); AdamW's is not H's alone."""
    if model.optimizer is None:
        return 2 / eta
    if isinstance(model.optimizer, SGD):
        return 2 * (1 + model.optimizer.momentum) / eta - model.optimizer.weight_decay
    return None


def _short(number: float | None) -> float | None:
    """Eight digits: a measured number has no more."""
    return number if number is None or isinstance(number, int) else float(f"{number:.8g}")


def _untold(done: int, total: int) -> None:
    """Nobody asked for progress."""


def _exact(model: SavedModel, batch: int, budget: Budget, progress: Progress) -> SpectralMeasure:
    """All eigenvalues on each minibatch; the whole training set is one."""
    draws = range(1 if batch == model.train_size else budget.runs)
    rows = []
    for draw in draws:
        loss, at, _ = model.operands(_indices(model, draw, batch))
        rows.append(minibatch_eigenvalues(loss, at)[0].cpu())
        progress(len(rows), len(draws))
    return SpectralMeasure.of_eigenvalues(padded(rows), model.size)


def _lanczos(model: SavedModel, batch: int, budget: Budget, progress: Progress) -> SpectralMeasure:
    whole = batch == model.train_size
    together, total, done = budget.runs if whole else budget.probes, budget.runs * budget.steps, 0

    def count(products: int) -> None:
        nonlocal done
        done += products
        progress(min(done, total), total)

    def operator(draw: int) -> CountedOperator:
        nonlocal done
        # a minibatch of fewer dimensions than steps has ended early: the next one counts from its own beginning
        done = draw * together * budget.steps
        loss, at, zeros = model.operands(_indices(model, draw, batch))
        # rows by a rule, not by a measurement: the same command gives the same bits
        rows = max(1, min(together, 2**22 // len(at)))
        return CountedOperator(HessianOperator(loss, at, rows, zeros=zeros), count)

    if whole:
        measure = spectral_measure(operator(0), budget.runs, budget.steps, seed=budget.seed)
    else:
        measure = spectral_measure(operator, budget.runs, budget.steps, probes_per_draw=budget.probes, seed=budget.seed)
    if done < total:
        progress(total, total)
    return measure


def _indices(model: SavedModel, draw: int, batch: int) -> Tensor:
    return minibatch(draw, batch, model.train_size)


def _estimate(measure: SpectralMeasure, estimator: Quadrature | AveragedQuantiles) -> Estimate:
    return bootstrap(measure, estimator).estimate if measure.runs > 1 else Estimate(estimator(measure))


def _flat(path: Path, names: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]) -> Tensor:
    held = _tensors(path)
    size = sum(torch.Size(shape).numel() for shape in shapes)
    if len(held) == 1 and (only := next(iter(held.values()))).ndim == 1 and names != tuple(held):
        if only.numel() != size:
            raise BadInput(f"{path}: {only.numel():,} weights; the task's model has {size:,} parameters")
        return only
    if missing := [name for name in names if name not in held]:
        raise BadInput(f"{path}: no tensor {missing[0]} (it has {', '.join(sorted(held)[:6])}…): another architecture?")
    for name, shape in zip(names, shapes, strict=True):
        if tuple(held[name].shape) != shape:
            raise BadInput(f"{path}: {name} is {tuple(held[name].shape)}, the task's model has {shape}")
    return torch.cat([held[name].reshape(-1) for name in names])


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a state dict that torch saved (never unpickled as code)."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file; a .safetensors file or a saved state dict is meant")
    try:
        held = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        raise BadInput(
            f"{path}: not a file of tensors alone: save `model.state_dict()` with torch.save, or as .safetensors (a "
            "whole pickled model is not opened: it could run any code)"
        ) from error
    held = {"tensor": held} if isinstance(held, Tensor) else held
    if not isinstance(held, Mapping) or not all(isinstance(t, Tensor) for t in held.values()) or not held:
        raise BadInput(f"{path}: a tensor or a state dict of tensors is meant")
    return dict(held)


def _called(named: str, checkpoint: Path) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]:
    file, _, function = named.rpartition(":")
    try:
        module = module_of(Path(file), "suite_saved_model") if file.endswith(".py") else None
        if module is None:
            raise BadInput("FILE.py:FUNCTION is meant, of a file that is there")
        made = getattr(module, function)(checkpoint)
    except (Exception, SystemExit) as error:
        raise BadInput(f"--model {named}: {first_line(error)}") from error
    if not (isinstance(made, tuple) and len(made) == 4 and isinstance(made[0], nn.Module) and callable(made[1])):
        raise BadInput(
            f"--model {named}: returned {type(made).__name__}; (module, criterion, inputs, targets) is meant"
        )
    if not (isinstance(made[2], Tensor) and isinstance(made[3], Tensor) and len(made[2]) == len(made[3]) > 0):
        raise BadInput(f"--model {named}: inputs and targets are tensors of one length, the number of training inputs")
    return made
