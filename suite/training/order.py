"""The order of minibatches: a function of (run seed, epoch) alone, the same in every stack and on every device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from suite.spec.seeds import seed_of


def epoch_order(seed: int, epoch: int, size: int) -> Tensor:
    """A permutation of `size` inputs, int64 on the CPU."""
    generator = torch.Generator().manual_seed(seed_of("minibatch order", seed, epoch))
    return torch.randperm(size, generator=generator)


def stacked_order(seeds: Sequence[int], epoch: int, size: int, device: torch.device) -> Tensor:
    """One permutation per cell, `[cells, size]` on the device, in one transfer."""
    by_seed = {seed: epoch_order(seed, epoch, size) for seed in dict.fromkeys(seeds)}
    order = torch.stack([by_seed[seed] for seed in seeds])
    if device.type == "cuda":
        order = order.pin_memory()  # from pageable memory a transfer is never asynchronous
    return order.to(device, non_blocking=True)
