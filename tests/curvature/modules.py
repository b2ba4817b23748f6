"""Small modules in float64, their batches, and dense Hessians of them that owe nothing to the library."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel


def flat_loss(module: nn.Module, criterion: Callable[[object], Tensor], *args: object, **kwargs: object):  # type: ignore[no-untyped-def]
    """The loss of a module as it stands, and its parameters, without the library."""
    named = {n: p.detach() for n, p in module.named_parameters() if p.requires_grad}
    sizes = [p.numel() for p in named.values()]

    def loss(flat: Tensor) -> Tensor:
        pieces = torch.split(flat, sizes)
        values = {n: piece.view_as(p) for (n, p), piece in zip(named.items(), pieces, strict=True)}
        return criterion(functional_call(module, values, args, kwargs))

    return loss, torch.cat([p.reshape(-1) for p in named.values()])


def dense(module: nn.Module, criterion: Callable[[object], Tensor], *args: object, **kwargs: object) -> Tensor:
    """The Hessian of a copy of the module in evaluation mode by double backward through plain attention."""
    loss, params = flat_loss(copy.deepcopy(module).eval(), criterion, *args, **kwargs)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            return torch.autograd.functional.hessian(loss, params)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().double()


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classes(count: int, number: int, seed: int = 2) -> Tensor:
    return torch.randint(0, number, (count,), generator=torch.Generator().manual_seed(seed))


def perceptron(*widths: int, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1])


class Mixed(nn.Module):
    """Dropout, batch normalisation, fused attention, a frozen and an unused parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.normed, self.drop = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, dropout=0.3)
        self.outward, self.unused = nn.Linear(8, 3), nn.Linear(4, 4)
        self.inward.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.normed(self.inward(x)))[:, None]
        return self.outward(self.attention(h, h, h)[0][:, 0])


class Attends(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.inward, self.outward, self.causal = nn.Linear(6, 18), nn.Linear(6, 3), causal

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 3)).transpose(1, 2) for part in self.inward(x).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.outward(mixed.transpose(1, 2).flatten(2).mean(1))


class MultiHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.outward = nn.MultiheadAttention(6, 2, dropout=0.2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.outward(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 7, dropout=0.2, activation="gelu", batch_first=True)
        self.outward = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.outward(self.layer(x).mean(1))


ATTENTION = {
    "causal": lambda: Attends(True),
    "sdpa": lambda: Attends(False),
    "multihead": MultiHead,
    "encoder": Encoder,
}

NORMALISED = {
    "layer": lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3)),
    "rms": lambda: nn.Sequential(nn.Linear(6, 8), nn.RMSNorm(8), nn.Tanh(), nn.Linear(8, 3)),
    "group": lambda: nn.Sequential(nn.Linear(6, 8), nn.GroupNorm(2, 8), nn.Tanh(), nn.Linear(8, 3)),
    "instance": lambda: nn.Sequential(
        nn.Linear(6, 8), nn.Unflatten(1, (2, 4)), nn.InstanceNorm1d(2, affine=True), nn.Flatten(), nn.Linear(8, 3)
    ),
}
