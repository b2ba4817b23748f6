"""Populations whose SD is known, and samples of Lanczos runs from them: what intervals are held against."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from suite.curvature.dimension import sharpness_dimension
from suite.curvature.estimators import sd_quadrature
from suite.curvature.hessian import HessianOperator, dense_hessian
from suite.curvature.jacobian import Step, log_singular_values
from suite.curvature.measure import SpectralMeasure
from suite.curvature.network import Network
from suite.curvature.quadrature import spectral_measure
from tests.curvature.modules import normal, perceptron, seeded


class FixedMatrix:
    """A symmetric matrix shaped like a Hessian; a run is one Rademacher probe with its exact Gauss nodes."""

    size = 120

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        large = [12, 7, 5, 3, 2, 1.5, 1.1, 0.8, 0.6, 0.5, 0.3, 0.2, 0.15, 0.1, 0.05]
        values = np.concatenate([random.normal(0, 1e-3, 80), -random.exponential(0.08, 25), large])
        self.eigenvalues = torch.from_numpy(values)
        self.vectors = torch.from_numpy(np.linalg.qr(random.normal(size=(self.size, self.size)))[0])

    def runs(self, count: int, seed: int) -> SpectralMeasure:
        generator = torch.Generator().manual_seed(seed)
        probes = torch.randint(0, 2, (count, self.size), generator=generator).double() * 2 - 1
        masses = (probes @ self.vectors).square()
        return SpectralMeasure(self.eigenvalues.expand(count, -1).contiguous(), masses, torch.arange(count))

    def samples(self, runs: int, repetitions: int) -> Iterator[SpectralMeasure]:
        return (self.runs(runs, seed + 1) for seed in range(repetitions))

    def sharpness_dimension(self, step: Step) -> float:
        return sharpness_dimension(log_singular_values(self.eigenvalues, step))


class Minibatches:
    """A trained network's Hessians on 32 minibatches; a run is 30 Lanczos steps of one probe on one of them, any.

    The population's SD is that of all eigenvalues of all minibatches, pooled.
    """

    count, steps = 32, 30

    def __init__(self) -> None:
        module, inputs = seeded(lambda: perceptron(8, 8, 3)), normal(8 * self.count, 8)
        targets = (inputs[:, :3] + 0.7 * normal(len(inputs), 3, seed=3)).argmax(1)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
        for _ in range(60):
            optimizer.zero_grad()
            F.cross_entropy(module(inputs), targets).backward()
            optimizer.step()
        network = Network(module)
        self.params, self.size = network.params, len(network.params)
        parts = zip(inputs.split(8), targets.split(8), strict=True)
        self.losses = [network.loss(F.cross_entropy, *part) for part in parts]

    def samples(self, runs: int, repetitions: int) -> Iterator[SpectralMeasure]:
        """Every run's minibatch is drawn anew; those of one minibatch, in whatever sample, advance as one block."""
        total = runs * repetitions
        chosen = torch.randint(self.count, (total,), generator=torch.Generator().manual_seed(0))
        nodes, masses = (torch.empty(total, self.steps, dtype=torch.float64) for _ in range(2))
        for draw, loss in enumerate(self.losses):
            mine = torch.nonzero(chosen == draw)[:, 0]
            operator = HessianOperator(loss, self.params, rows=len(mine))
            found = spectral_measure(operator, len(mine), self.steps, seed=draw)
            nodes[mine], masses[mine] = found.nodes, found.masses
        for part in torch.arange(total).split(runs):
            yield SpectralMeasure(nodes[part], masses[part], torch.arange(runs))

    def sharpness_dimension(self, step: Step) -> float:
        rows = [torch.linalg.eigvalsh(dense_hessian(loss, self.params)) for loss in self.losses]
        return sd_quadrature(SpectralMeasure.of_eigenvalues(torch.stack(rows), self.size), step)
