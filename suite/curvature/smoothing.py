"""Gaussian smoothing of weighted nodes, on a grid, and its default bandwidth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_REACH = 8.0
"""Bandwidths beyond which a Gaussian on a grid is taken as zero: exp(−32) of its height."""


@dataclass(frozen=True)
class GaussianGrid:
    """Equally spaced points on which sums of Gaussians are evaluated, each only where it is not negligible.

    Attributes:
        start: the first point.
        spacing: between points.
        count: P.
        bandwidth: standard deviation of the Gaussians.
    """

    start: float
    spacing: float
    count: int
    bandwidth: float

    @classmethod
    def over(cls, nodes: Tensor, bandwidth: float, spacing: float) -> GaussianGrid:
        """Points from `_REACH` bandwidths below the least node to as far above the largest."""
        reach = math.ceil(_REACH * positive(bandwidth) / positive(spacing)) + 2
        low, high = float(nodes.min()), float(nodes.max())
        return cls(low - reach * spacing, spacing, math.ceil((high - low) / spacing) + 2 * reach + 1, bandwidth)

    @property
    def points(self) -> Tensor:
        """Float64 `[P]`."""
        return self.start + self.spacing * torch.arange(self.count, dtype=torch.float64)

    def density(self, nodes: Tensor, masses: Tensor) -> Tensor:
        """Each row's sum of Gaussians, float64 `[R, P]`, for `nodes` and `masses` `[R, M]`."""
        height = 1 / (self.bandwidth * math.sqrt(2 * math.pi))
        return self._spread(nodes, masses, lambda z: height * torch.exp(-0.5 * z * z))

    def cumulative(self, nodes: Tensor, masses: Tensor) -> Tensor:
        """Each row's smoothed mass at or below the points, float64 `[R, P]`."""
        cell = self.spacing / self.bandwidth
        return self._spread(nodes, masses, lambda z: torch.special.ndtr(z) - torch.special.ndtr(z - cell)).cumsum(1)

    def _spread(self, nodes: Tensor, masses: Tensor, kernel: Callable[[Tensor], Tensor]) -> Tensor:
        reach = math.ceil(_REACH * self.bandwidth / self.spacing) + 1  # the centre is rounded to a point
        out = torch.zeros(len(nodes), self.count, dtype=torch.float64)
        centre = torch.round((nodes - self.start) / self.spacing).long()
        for offset in range(-reach, reach + 1):
            place = centre + offset
            z = (self.start + self.spacing * place.double() - nodes) / self.bandwidth
            out.scatter_add_(1, place, masses * kernel(z))
        return out

    def quantiles(self, cdf: Tensor, count: int) -> Tensor:
        """Inverses `[B, M]` of increasing functions `[B, P]` on the points, at `count` equal-mass midpoints, linear."""
        level = (midpoints(count) * cdf[:, -1:]).contiguous()
        after = torch.searchsorted(cdf.contiguous(), level).clamp(1, self.count - 1)
        below, above = cdf.gather(1, after - 1), cdf.gather(1, after)
        part = ((level - below) / (above - below).clamp(min=torch.finfo(torch.float64).tiny)).clamp(0, 1)
        return self.start + self.spacing * (after - 1 + part)


def scott(nodes: Tensor, masses: Tensor) -> float:
    """Scott's bandwidth 1.06 s n^(−1/5): s the weighted standard deviation, n = (Σm)² / Σm² the effective number.

    Raises:
        ValueError: no spread, so that the rule gives no bandwidth.
    """
    total = masses.sum()
    mean = (masses * nodes).sum() / total
    spread = math.sqrt(float((masses * (nodes - mean) ** 2).sum() / total))
    if not spread > 0:
        raise ValueError("all mass is at one node: give a bandwidth")
    number = float(total**2 / masses.square().sum())
    return 1.06 * spread * math.pow(number, -0.2)


def midpoints(count: int) -> Tensor:
    """The levels (r − ½) / M, r = 1 … M.

    Raises:
        ValueError: M < 1.
    """
    if count < 1:
        raise ValueError(f"a pseudo-spectrum has at least one value; got {count}")
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def positive(width: float) -> float:
    """The width itself.

    Raises:
        ValueError: it is not a positive number.
    """
    if not (width > 0 and math.isfinite(width)):
        raise ValueError(f"a bandwidth or spacing is a positive number; got {width}")
    return float(width)
