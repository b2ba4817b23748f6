"""Auto-PGD (Croce & Hein 2020, Algorithm 1) in a ball around the weights: the search of worst-case sharpness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Climb = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Perturbations u `[b, d]` → heights, float64 `[b]`, and their gradients `[b, d]`."""

_MOMENTUM = 0.75
_RISING = 0.75
"""The step is halved unless this part of the steps since the last look went up."""


@dataclass(frozen=True)
class Ball:
    """All u with ‖u‖ ≤ radius, in the Euclidean or the largest-entry norm."""

    radius: float
    norm: Literal["l2", "linf"]

    def direction(self, gradients: Tensor) -> Tensor:
        """The unit vectors of steepest ascent `[b, d]`; zero where the gradient is."""
        if self.norm == "linf":
            return gradients.sign()
        lengths = gradients.double().norm(dim=1, keepdim=True)
        return torch.where(lengths > 0, gradients / lengths, 0.0).to(gradients.dtype)

    def project(self, points: Tensor) -> Tensor:
        """The nearest points of the ball `[b, d]`."""
        if self.norm == "linf":
            return points.clamp(-self.radius, self.radius)
        lengths = points.double().norm(dim=1, keepdim=True)
        return torch.where(lengths > self.radius, points * (self.radius / lengths), points.double()).to(points.dtype)


@dataclass(frozen=True)
class Summit:
    """The highest points met.

    Attributes:
        start: heights at u = 0, float64 `[b]`.
        height: the greatest heights, float64 `[b]`, never below `start`.
        points: where, `[b, d]`.
    """

    start: Tensor
    height: Tensor
    points: Tensor

    @property
    def rise(self) -> Tensor:
        """How much higher than the start, float64 `[b]`, never negative."""
        return self.height - self.start


def ascend(climb: Climb, origin: Tensor, ball: Ball, steps: int) -> Summit:
    """Auto-PGD from u = 0 (`origin`, zeros `[b, d]`), which is a candidate itself: the rise is never negative.

    Step 2 · radius first, momentum 0.75; at fixed steps the step is halved, and the ascent goes on from the best point,
    where less than 0.75 of the steps went up or neither step nor maximum has changed since the last look.

    Raises:
        ValueError: the height at the start is not finite.
    """
    height, gradient = climb(origin)
    if not bool(height.isfinite().all()):
        raise ValueError("the loss at the weights is not finite")
    here = before = top = origin
    start = best = height
    top_gradient, step, looks = gradient, torch.full_like(best, 2 * ball.radius), _looks(steps)
    rising, last_step, last_best, last_look = torch.zeros_like(best), torch.zeros_like(best), best, 0
    for done in range(1, steps + 1):
        there = ball.project(here + step[:, None].to(here.dtype) * ball.direction(gradient))
        momentum = _MOMENTUM if done > 1 else 1.0
        there = ball.project(here + momentum * (there - here) + (1 - momentum) * (here - before))
        here, before, lower = there, here, height
        height, gradient = climb(here)
        rising += height > lower
        higher = height > best
        best = torch.where(higher, height, best)
        top, top_gradient = _pick(higher, here, top), _pick(higher, gradient, top_gradient)
        if done in looks:
            stuck = (step == last_step) & (best == last_best)
            halved = (rising < _RISING * (done - last_look)) | stuck
            last_step, last_best, last_look = step, best, done
            step, rising = torch.where(halved, step / 2, step), torch.zeros_like(rising)
            here, before = _pick(halved, top, here), _pick(halved, top, before)
            height, gradient = torch.where(halved, best, height), _pick(halved, top_gradient, gradient)
    return Summit(start, best, top)


def _pick(which: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(which[:, None], one, other)


def _looks(steps: int) -> set[int]:
    """The steps after which the step size is looked at: ⌈p n⌉, p = 0.22, then gaps that shrink by 0.03 down to 0.06."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return {math.ceil(share * steps) for share in itertools.islice(shares, 1, None) if share < 1}
