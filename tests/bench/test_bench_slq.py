"""Stochastic Lanczos quadrature, 20 probes × 100 steps: seconds, memory, and how far from full reorthogonalisation.

A job begins with the module and the batch: building the operator, choosing a block, finding bounds are in its time.
On the transformer some are given fewer probes; their time for 20 is the time before the first probe
plus that of the probes in proportion, which is fair to them: they take their probes one after another.
"""

from __future__ import annotations

import gc
import time
from functools import cache
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.nn.functional import cross_entropy

from suite.curvature.estimators import sd_quadrature
from suite.curvature.jacobian import Step
from suite.curvature.measure import SpectralMeasure
from tests.bench.bench_nets import NETS, PROBES, QUICK, STEPS, BenchNet, about, peak_memory
from tests.bench.bench_sides import (
    Curvlinops,
    Eigenthings,
    Ours,
    OursCompiled,
    OursFull,
    OursPartial,
    PyHessian,
    Side,
)

pytestmark = pytest.mark.usefixtures("asked_for")

STEP = Step(0.1)
FEW = 2
SIDES: list[type[Side]] = [OursFull, OursPartial, Ours, Curvlinops, Eigenthings, PyHessian]
FEWER: dict[type[Side], int] = {OursPartial: 8, OursFull: FEW, OursCompiled: 8, Curvlinops: 1}
"""Probes on the transformer; ours all of them, peers that are not named FEW."""


@cache
def net_of(name: str) -> BenchNet:
    return NETS[name]()


_references: dict[str, SpectralMeasure] = {}
"""By net: the reorthogonalised measure of the most probes so far; full's comes first, and partial's is checked by it"""


def reference(name: str) -> SpectralMeasure:
    """Of its own benchmark, or made for this."""
    if name not in _references:
        _references[name] = OursFull(net_of(name)).density(FEW)
    return _references[name]


class Job:
    """One side's work, with the time before its first probe told apart."""

    def __init__(self, net: BenchNet, side: type[Side], probes: int) -> None:
        self.net, self.side, self.probes = net, side, probes
        self.before = self.whole = 0.0
        self.result: Any = None
        self.choice = ""

    def __call__(self) -> None:
        start = time.perf_counter()
        side = self.side(self.net)
        if isinstance(side, Curvlinops):
            side.find_ends()
        self.before = time.perf_counter() - start
        self.result = side.density(self.probes)
        self.whole, self.choice = time.perf_counter() - start, side.choice

    def seconds(self, probes: int) -> float:
        """For so many probes: measured, or in proportion."""
        return self.before + (self.whole - self.before) * probes / self.probes


def measure_density(benchmark: BenchmarkFixture, net: BenchNet, side: type[Side], probes: int) -> Job:
    """Time the job once, watch its memory, and record both."""
    gc.collect()  # PyHessian's gradients hold themselves
    cross_entropy(net.module(net.inputs), net.targets).item()  # libraries are loaded before memory is watched
    net.network  # noqa: B018
    job = Job(net, side, probes)
    with peak_memory(net.device) as peak:
        benchmark.pedantic(job, rounds=1)
    benchmark.extra_info.update(about(net))
    benchmark.extra_info.update(
        side=side.name,
        choice=job.choice,
        probes=PROBES,
        probes_measured=probes,
        extrapolated=probes != PROBES,
        steps=STEPS,
        seconds=job.seconds(PROBES),
        seconds_before_first_probe=job.before,
        peak_memory_mib=peak.mib,
    )
    return job


def moments(measure: SpectralMeasure) -> Tensor:
    """The first four, float64 `[4]`, means over runs."""
    return torch.stack([(measure.masses * measure.nodes**p).sum(1).mean() for p in range(1, 5)])


def accuracy(found: SpectralMeasure, full: SpectralMeasure) -> dict[str, Any]:
    """Relative errors of the moments and of d − SD at η = 0.1, on the same probes."""
    runs = min(found.runs, full.runs)
    found, full = found.select(range(runs)), full.select(range(runs))
    exact, codimension = moments(full), full.size - sd_quadrature(full, STEP)
    return {
        "moments_relative_error": ((moments(found) - exact) / exact).abs().tolist(),
        "codimension": codimension,
        "codimension_relative_error": abs(found.size - sd_quadrature(found, STEP) - codimension) / codimension,
    }


def check(benchmark: BenchmarkFixture, job: Job) -> None:
    """Record the accuracy of ours; it is not enough to be quick."""
    if not issubclass(job.side, Ours):
        return
    name = job.net.name
    if job.side is not OursFull:
        benchmark.extra_info.update(accuracy(job.result, reference(name)))
    if job.side is OursFull or (job.side is OursPartial and job.result.runs > reference(name).runs):
        _references[name] = job.result
    if job.side is not OursFull and not QUICK:
        assert max(benchmark.extra_info["moments_relative_error"]) < 1e-3
        assert benchmark.extra_info["codimension_relative_error"] < 1e-2


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_density_of_mlp5(benchmark: BenchmarkFixture, side: type[Side]) -> None:
    side.skip_without()
    benchmark.group = "spectral density: mlp5"
    check(benchmark, measure_density(benchmark, net_of("mlp5"), side, PROBES))


@pytest.mark.parametrize("side", [*SIDES, OursCompiled], ids=lambda side: side.name)
def test_density_of_a_transformer(benchmark: BenchmarkFixture, side: type[Side]) -> None:
    side.skip_without()
    benchmark.group = "spectral density: transformer"
    probes = PROBES if side is Ours else FEWER.get(side, FEW)
    check(benchmark, measure_density(benchmark, net_of("transformer"), side, probes))
