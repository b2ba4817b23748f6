"""What is learned: a network, its loss, and the data on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from suite.data.base import Dataset, Description
from suite.data.folders import data_folders
from suite.models.flat import FlatModel, flat_model
from suite.spec.base import DataSpec
from suite.spec.task import TaskSpec
from suite.training.objective import Loss, mean_loss


@dataclass(frozen=True)
class Split:
    """Inputs and targets on a device, and the probability of each input where they are not all alike."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        return int(self.inputs.shape[0])


@dataclass(frozen=True)
class Problem:
    """A network and its training set. It holds no test data: those are `test_split`'s."""

    model: FlatModel
    objective: Loss
    train: Split
    description: Description
    dtype: torch.dtype

    def loss(self, flat: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar, under the flat parameters `[d]`."""
        return mean_loss(self.objective, self.model(flat, inputs), targets)


def load_problem(task: TaskSpec, device: torch.device, dtype: torch.dtype) -> Problem:
    """The problem a task poses, its training set in full on the device.

    Raises:
        BadInput: the data cannot be had.
    """
    dataset = _dataset(task.data)
    train = _split(dataset.train_inputs, dataset.train_targets, None, device, dtype)
    return Problem(flat_model(task.model, task.data.shape()), task.training.loss, train, dataset.description, dtype)


def load_test_split(task: TaskSpec, device: torch.device, dtype: torch.dtype) -> Split:
    """The test data of a task: for training's own evaluation, never for a metric."""
    dataset = _dataset(task.data)
    return _split(dataset.test_inputs, dataset.test_targets, dataset.test_weights, device, dtype)


_datasets: dict[str, Dataset] = {}


def _dataset(data: DataSpec) -> Dataset:
    """The arrays of a source, kept until another source is asked for."""
    key = data.model_dump_json()
    if key not in _datasets:
        _datasets.clear()
        _datasets[key] = data.load(*data_folders())
    return _datasets[key]


def _split(inputs: object, targets: object, weights: object | None, device: torch.device, dtype: torch.dtype) -> Split:
    def on_device(array: object) -> Tensor:
        tensor = torch.as_tensor(array)
        return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else torch.int64)

    return Split(on_device(inputs), on_device(targets), None if weights is None else on_device(weights))
