"""Distances between the iterates of training that goes on from a checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.measuring.distances import trajectory_distances
from suite.measuring.probes.base import Probe, Subject
from suite.measuring.simulation import simulate
from suite.metrics.probed.distances import Distances
from suite.spec.probes import Forward

MOST_BYTES = 2**32
"""Of the kept iterates, which are all that grows with the points: 1,000 of 278,800 float32 parameters are 1.1 GB."""


def _iterates(subject: Subject, spec: Forward) -> Tensor:
    """Every so many-th iterate `[points, d]`, on the device and in the dtype of training, held once.

    Raises:
        ValueError: they do not fit, fewer steps are asked for than points, or the trajectory leaves to infinity.
    """
    points, every, size = spec.points, spec.steps // spec.points, len(subject.weights)
    if every < 1:
        raise ValueError(
            f"probes.forward: {points} points of {spec.steps} steps: there are no more iterates than steps"
        )
    need = points * size * subject.weights.element_size()
    if need > MOST_BYTES:
        raise ValueError(
            f"probes.forward: {points} iterates of {size} parameters take {need:,} bytes, more than {MOST_BYTES:,}"
        )
    kept = subject.weights.new_empty(points, size)
    for row, weights in zip(kept, simulate(subject, points * every, every), strict=True):
        row.copy_(weights)
    return kept


def _probe(subject: Subject, spec: Forward) -> dict[str, Tensor]:
    iterates = _iterates(subject, spec)
    found = trajectory_distances(subject.problem, iterates, spec.samples, spec.steps // spec.points)
    if not bool(torch.isfinite(found["losses"]).all()):
        raise ValueError("the trajectory leaves to infinity: a loss is not finite on it")
    return found


def _load(spec: Forward, tensors: dict[str, Tensor]) -> Distances:
    return Distances.from_arrays(tensors)


PROBES = (Probe("forward", 1, _probe, _load),)
