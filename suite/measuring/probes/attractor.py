"""Spectra at points of the attractor: the checkpoint, and snapshots of the training that goes on from it."""

from __future__ import annotations

from torch import Tensor

from suite.measuring.probes.base import Probe, Subject
from suite.measuring.probes.spectrum import load_spectrum, spectral_probe
from suite.measuring.simulation import simulate
from suite.metrics.probed.attractor import Attractor
from suite.spec import probes as spec


def _measure(subject: Subject, budget: spec.Attractor) -> dict[str, Tensor]:
    """The spectrum at the checkpoint and at `snapshots − 1` points of its future, on the same minibatches.

    Def. 4.1 (Tuci et al. 2026) takes the supremum over the attractor inside the expectation over minibatches, so that
    every point must meet the same ones (and the same probes). The checkpoint is a point like the others: the supremum
    over all is then never below what it alone gives.
    """
    points = [subject.weights, *simulate(subject, (budget.snapshots - 1) * budget.every, budget.every)]
    tensors: dict[str, Tensor] = {}
    for number, weights in enumerate(points):
        found = spectral_probe(subject.problem, weights, budget.spectrum, subject.batch)
        tensors |= {f"{number}.{name}": tensor for name, tensor in found.items()}
    return tensors


def _load(budget: spec.Attractor, tensors: dict[str, Tensor]) -> Attractor:
    points: list[dict[str, Tensor]] = [{} for _ in range(budget.snapshots)]
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        points[int(number)][name] = tensor
    return Attractor(tuple(load_spectrum(budget.spectrum, point) for point in points))


PROBES = (Probe("attractor", 1, _measure, _load),)
