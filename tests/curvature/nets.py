"""Small problems with known answers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812

Loss = Callable[[torch.Tensor], torch.Tensor]


def quadratic(eigenvalues: torch.Tensor, seed: int = 0) -> tuple[Loss, torch.Tensor]:
    """½ (w − c)ᵀ U diag(eigenvalues) Uᵀ (w − c), and its Hessian."""
    size = len(eigenvalues)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    hessian = (basis * eigenvalues) @ basis.T
    centre = torch.randn(size, generator=generator, dtype=torch.float64)
    return lambda w: 0.5 * (w - centre.to(w)) @ (hessian.to(w) @ (w - centre.to(w))), hessian


def mlp(features: int = 9, hidden: int = 5, classes: int = 4, batch: int = 6, seed: int = 0, device: str = "cpu"):  # type: ignore[no-untyped-def]
    """A ReLU network's loss, as a function of (flat weights, inputs), its weights, and a batch of low rank."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(batch, features, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, classes, (batch,), generator=generator).to(device)
    size = hidden * features + hidden * hidden + classes * hidden
    weights = torch.randn(size, generator=generator, dtype=torch.float64) / 2

    def loss(flat: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        width = x.shape[1]
        sizes = [hidden * width, hidden * hidden, classes * hidden]
        first, second, third = torch.split(flat, sizes)
        h = F.relu(x @ first.view(hidden, width).T)
        h = F.relu(h @ second.view(hidden, hidden).T)
        return F.cross_entropy(h @ third.view(classes, hidden).T, targets)

    return loss, weights, inputs, hidden
