"""What is learned: a network, its loss, and the data on the device."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.data.base import Description
from suite.data.folders import data_folders
from suite.errors import BadInput
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
    """The problem a task poses, its training set in full on the device, in memory of its own.

    Nothing of the test set is left in the process, unless `load_test_split` was called there before.

    Raises:
        BadInput: the data cannot be had.
    """
    arrays = _arrays(task.data, with_test=False)
    train = _split(arrays.train, device, dtype)
    return Problem(flat_model(task.model, task.data.shape()), task.training.loss, train, arrays.description, dtype)


def fetch(task: TaskSpec) -> None:
    """Let the files of a task's data be on this machine, if they can be had: later this process may download nothing.

    Where they cannot, who loads them says why.
    """
    if None in type(task.data).files(*data_folders()).values():
        with contextlib.suppress(BadInput):
            task.data.load(*data_folders())


def load_test_split(task: TaskSpec, device: torch.device, dtype: torch.dtype) -> Split:
    """The test data of a task: for training's own evaluation, in processes where no metric runs."""
    arrays = _arrays(task.data, with_test=True)
    assert arrays.test is not None
    return _split(arrays.test, device, dtype)


_Parts = tuple["NDArray[np.generic] | None", ...]
"""Inputs, targets, and the weights of the inputs or None."""


@dataclass(frozen=True)
class _Arrays:
    """What is kept of a data source; the test part only where it was asked for."""

    train: _Parts
    test: _Parts | None
    description: Description


_kept: dict[str, _Arrays] = {}


def _arrays(data: DataSpec, with_test: bool) -> _Arrays:
    """The arrays of a source, kept until another source (or the test part too) is asked for."""
    key = data.model_dump_json()
    if key not in _kept or (with_test and _kept[key].test is None):
        _kept.clear()
        found = data.load(*data_folders())
        # copies: a view would keep the array alive that holds the test inputs beside the training inputs
        train = (np.array(found.train_inputs), np.array(found.train_targets), None)
        test = (found.test_inputs, found.test_targets, found.test_weights) if with_test else None
        _kept[key] = _Arrays(train, test, found.description)
    return _kept[key]


def _split(parts: _Parts, device: torch.device, dtype: torch.dtype) -> Split:
    """The arrays as tensors on the device, never sharing their memory."""

    def on_device(array: NDArray[np.generic]) -> Tensor:
        tensor = torch.as_tensor(array)
        return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else torch.int64, copy=True)

    inputs, targets, weights = parts
    assert inputs is not None
    assert targets is not None
    return Split(on_device(inputs), on_device(targets), None if weights is None else on_device(weights))
