"""The order of minibatches: a function of (run seed, epoch) alone, the same in every stack and on every device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from suite.spec.seeds import seed_of
from suite.training.problem import Split


def epoch_order(seed: int, epoch: int, size: int) -> Tensor:
    """A permutation of `size` inputs, int64 on the CPU."""
    generator = torch.Generator().manual_seed(seed_of("minibatch order", seed, epoch))
    return torch.randperm(size, generator=generator)


def minibatches(train: Split, seed: int, batch: int, first: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets of one run's steps from `first` (the run's own is 0) on; all of them where that is a batch."""
    per_epoch = len(train) // batch
    order: Tensor | None = None
    for step in range(first, first + steps):
        if batch == len(train):
            yield train.inputs, train.targets
            continue
        epoch, place = divmod(step, per_epoch)
        if order is None or place == 0:
            order = epoch_order(seed, epoch, len(train)).to(train.inputs.device)
        at = order[place * batch : (place + 1) * batch]
        yield train.inputs[at], train.targets[at]


def stacked_order(seeds: Sequence[int], epoch: int, size: int, device: torch.device) -> Tensor:
    """One permutation per cell, `[cells, size]` on the device, in one transfer."""
    by_seed = {seed: epoch_order(seed, epoch, size) for seed in dict.fromkeys(seeds)}
    order = torch.stack([by_seed[seed] for seed in seeds])
    if device.type == "cuda":
        order = order.pin_memory()  # from pageable memory a transfer is never asynchronous
    return order.to(device, non_blocking=True)
