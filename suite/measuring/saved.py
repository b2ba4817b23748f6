"""The spectrum of a saved model, without a store: what `suite spectrum` does.

Two ways to say what the numbers in the file mean. A task file names architecture, data, loss, learning rate and batch
size, and the checkpoint holds the weights: one flat vector, or a state dict with the architecture's names. Or a Python
file has a function that takes the checkpoint's path and returns (module, criterion, inputs, targets).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

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
from suite.curvature.dense import minibatch_eigenvalues
from suite.curvature.estimate import Estimate
from suite.errors import BadInput
from suite.measuring.probes import minibatch
from suite.spec.task import TaskSpec
from suite.training.problem import load_problem

Loss = Callable[[Tensor], Tensor]
_MOST_DENSE = 20_000
"""Parameters up to which all eigenvalues are computed: 3.2 GB a matrix in float64."""


@dataclass(frozen=True)
class SavedModel:
    """Weights, and the mean loss of any part of the training set as a function of them.

    Attributes:
        weights: flat `[d]`.
        loss_of: indices of training inputs, int64 on the CPU → the loss `[d] → scalar` of that minibatch.
        train_size: number of training inputs n.
        step: the optimizer's learning rate (momentum and weight decay are not used: the paper's map), or None.
        batch_size: that of training, or None.
    """

    weights: Tensor
    loss_of: Callable[[Tensor], Loss]
    train_size: int
    learning_rate: float | None
    batch_size: int | None


@dataclass(frozen=True)
class SpectrumReport:
    """What was found.

    Attributes:
        measure: the spectral measure.
        minibatch: number of inputs of each minibatch.
        learning_rate: η of the map w − η ∇L_B(w).
        pooled: SD by direct quadrature of the pooled measure.
        averaged: SD by Def. 4.2 to the letter, quantile functions averaged over minibatches.
    """

    measure: SpectralMeasure
    minibatch: int
    learning_rate: float
    pooled: Estimate
    averaged: Estimate


def from_task(checkpoint: Path, task: TaskSpec, device: torch.device, dtype: torch.dtype) -> SavedModel:
    """A checkpoint of the architecture that a task describes, on the task's training data.

    Raises:
        BadInput: no such file, not weights of this architecture, or the data cannot be had.
    """
    problem = load_problem(task, device, dtype)
    weights = _flat(checkpoint, problem.model.names, problem.model.shapes).to(device, dtype)
    inputs, targets = problem.train.inputs, problem.train.targets

    def loss_of(at: Tensor) -> Loss:
        x, y = inputs[at.to(device)], targets[at.to(device)]
        return lambda flat: problem.loss(flat, x, y)

    size = len(problem.train)
    return SavedModel(weights, loss_of, size, task.training.optimizer.learning_rate, task.training.batch(size))


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
        raise BadInput(f"{named}: {error}") from error

    def loss_of(at: Tensor) -> Loss:
        return network.loss(criterion, inputs[at.to(device)], targets[at.to(device)])

    return SavedModel(network.params, loss_of, len(inputs), None, None)


def measure_saved(
    model: SavedModel, learning_rate: float | None, batch: int | None, runs: int, steps: int, exact: bool, seed: int
) -> SpectrumReport:
    """Its spectrum on minibatches and its SD, each with a bootstrap error.

    Raises:
        BadInput: learning rate or batch size missing or out of range, too many parameters for `exact`, or a loss that
            cannot be differentiated twice.
    """
    eta, size = learning_rate or model.learning_rate, batch or model.batch_size
    if eta is None or size is None:
        raise BadInput("--learning-rate and --batch-size: both are needed for a model without a task")
    if not 1 <= size <= model.train_size:
        raise BadInput(f"--batch-size {size}: between 1 and the {model.train_size} training inputs")
    if exact and len(model.weights) > _MOST_DENSE:
        raise BadInput(f"--exact: {len(model.weights):,} parameters; all eigenvalues are had up to {_MOST_DENSE:,}")
    try:
        measure = _exact(model, size, runs) if exact else _lanczos(model, size, runs, steps, seed)
    except (ValueError, RuntimeError) as error:
        raise BadInput(f"the spectrum cannot be had: {error}") from error
    step = Step(eta)
    pooled, averaged = (_estimate(measure, kind(step)) for kind in (Quadrature, AveragedQuantiles))
    return SpectrumReport(measure, size, eta, pooled, averaged)


def _exact(model: SavedModel, batch: int, runs: int) -> SpectralMeasure:
    weights = model.weights.double()
    rows = [
        minibatch_eigenvalues(model.loss_of(minibatch(k, batch, model.train_size)), weights)[0] for k in range(runs)
    ]
    return SpectralMeasure.of_eigenvalues(torch.stack([row.cpu() for row in rows]), len(weights))


def _lanczos(model: SavedModel, batch: int, runs: int, steps: int, seed: int) -> SpectralMeasure:
    """One probe a run; on a full batch all runs share one operator."""

    def operator(draw: int) -> HessianOperator:
        return HessianOperator(model.loss_of(minibatch(draw, batch, model.train_size)), model.weights, rows=1)

    if batch == model.train_size:
        return spectral_measure(
            HessianOperator(model.loss_of(torch.arange(batch)), model.weights), runs, steps, seed=seed
        )
    return spectral_measure(operator, runs, steps, seed=seed)


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
        raise BadInput(f"{path}: cannot be read as weights ({str(error).splitlines()[0][:200]})") from error
    held = {"tensor": held} if isinstance(held, Tensor) else held
    if not isinstance(held, Mapping) or not all(isinstance(t, Tensor) for t in held.values()) or not held:
        raise BadInput(f"{path}: a tensor or a state dict of tensors is meant")
    return dict(held)


def _called(named: str, checkpoint: Path) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]:
    file, _, function = named.rpartition(":")
    spec = importlib.util.spec_from_file_location("suite_saved_model", file) if file.endswith(".py") else None
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise BadInput(f"--model {named}: FILE.py:FUNCTION is meant, of a file that is there")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = getattr(module, function)(checkpoint)
    except Exception as error:
        raise BadInput(f"--model {named}: {type(error).__name__}: {error}") from error
    if not (isinstance(made, tuple) and len(made) == 4 and isinstance(made[0], nn.Module) and callable(made[1])):
        raise BadInput(
            f"--model {named}: returned {type(made).__name__}; (module, criterion, inputs, targets) is meant"
        )
    return made
