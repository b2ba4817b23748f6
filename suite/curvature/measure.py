"""The spectral measure of a minibatch Hessian: weighted nodes, one row per run of a probe on a minibatch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from suite.curvature.estimate import Estimate, root_of
from suite.curvature.smoothing import GaussianGrid, midpoints, positive, scott

_CHUNK = 1 << 22
"""Elements of the largest temporary array."""
_MASS_TOLERANCE = 1e-10
"""Relative error allowed in a row's total mass: 1e4 times the rounding of a float64 quadrature's weights."""


@dataclass(frozen=True, eq=False)
class SpectralMeasure:
    """Measures Σ_k m_k δ(x_k) of total mass d, one per run; their expectation over runs is the spectrum's.

    Wherever runs are combined, those that share a draw (a minibatch) are averaged first and every draw then counts the
    same. With equally many runs per draw that is the mean over runs.

    Attributes:
        nodes: float64 `[R, M]` on the CPU: Ritz values, or exact eigenvalues.
        masses: float64 `[R, M]`, ≥ 0: how many eigenvalues each node stands for. Every row sums to d.
        draws: int64 `[R]`: a label of the minibatch each run saw.

    Raises:
        ValueError: other shapes, dtypes or devices; a value that is not finite; a negative mass; rows of other sums.
    """

    nodes: Tensor
    masses: Tensor
    draws: Tensor

    def __post_init__(self) -> None:
        nodes, masses, draws = self.nodes, self.masses, self.draws
        if nodes.dim() != 2 or not nodes.numel() or masses.shape != nodes.shape or draws.shape != nodes.shape[:1]:
            shapes = [list(each.shape) for each in (nodes, masses, draws)]
            raise ValueError(f"nodes and masses are [R, M] and draws [R], R and M at least 1; got {shapes}")
        wanted = (torch.float64, torch.float64, torch.int64)
        if (nodes.dtype, masses.dtype, draws.dtype) != wanted or any(each.is_cuda for each in (nodes, masses, draws)):
            raise ValueError("nodes and masses are float64, draws int64, all on the CPU")
        if not bool(nodes.isfinite().all() & masses.isfinite().all()):
            raise ValueError("a node or a mass is not finite")
        if bool((masses < 0).any()):
            raise ValueError("a mass is negative")
        totals = masses.sum(1)
        size = torch.round(totals[0]).clamp(min=1)
        if bool(((totals - size).abs() > _MASS_TOLERANCE * size).any()):
            raise ValueError(
                f"every row of masses sums to the number of eigenvalues d, a positive whole number; the sums go from "
                f"{float(totals.min())!r} to {float(totals.max())!r}"
            )

    @classmethod
    def of_quadrature(
        cls,
        nodes: Tensor,
        weights: Tensor,
        size: int,
        draws: Tensor | Sequence[int] | None = None,
        zeros: int | Tensor = 0,
    ) -> SpectralMeasure:
        """From Gauss quadrature of random probes.

        Args:
            nodes: Ritz values `[R, m]`, any floating dtype.
            weights: `[R, m]`, each row summing to 1.
            size: d.
            draws: the minibatch of each run `[R]`; by default each run has its own.
            zeros: eigenvalues known to be exact zeros, outside of the space the probes live in: one number, or one per
                run `[R]`. They become one more column; the weights are spread over the other d − zeros.

        Raises:
            ValueError: see `SpectralMeasure`; more zeros than d.

        >>> SpectralMeasure.of_quadrature(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.75, 0.25]]), 4).trace().value
        6.0
        """
        nodes, weights = _float64(nodes), _float64(weights)
        if weights.shape != nodes.shape or nodes.dim() != 2:
            raise ValueError(f"nodes and weights are both [R, m]; got {list(nodes.shape)} and {list(weights.shape)}")
        sums = weights.sum(1)
        if not bool(((sums - 1).abs() <= _MASS_TOLERANCE).all()):
            raise ValueError(
                f"each run's weights sum to 1; the sums go from {float(sums.min())} to {float(sums.max())}"
            )
        exact = torch.as_tensor(zeros, dtype=torch.float64).cpu().expand(len(nodes))[:, None]
        if bool(((exact < 0) | (exact > size)).any()):
            raise ValueError(f"zeros are between 0 and d = {size}")
        masses = weights * (size - exact)
        if bool((exact > 0).any()):
            nodes, masses = torch.cat([nodes, torch.zeros_like(exact)], 1), torch.cat([masses, exact], 1)
        return cls(nodes, masses, _labels(draws, len(nodes)))

    @classmethod
    def of_eigenvalues(cls, eigenvalues: Tensor, size: int) -> SpectralMeasure:
        """From all eigenvalues `[k, N]` of k minibatches, each a draw; the other d − N of each are exact zeros.

        Raises:
            ValueError: see `SpectralMeasure`; more than d eigenvalues.
        """
        nodes = _float64(eigenvalues)
        if nodes.dim() != 2 or nodes.shape[1] > size:
            raise ValueError(f"eigenvalues are [k, N] with N at most d = {size}; got {list(nodes.shape)}")
        masses = torch.ones_like(nodes)
        if nodes.shape[1] < size:
            missing = torch.full((len(nodes), 1), float(size - nodes.shape[1]), dtype=torch.float64)
            nodes, masses = torch.cat([nodes, torch.zeros_like(missing)], 1), torch.cat([masses, missing], 1)
        return cls(nodes, masses, torch.arange(len(nodes)))

    @classmethod
    def concatenate(cls, measures: Sequence[SpectralMeasure]) -> SpectralMeasure:
        """All runs of several measures of one spectrum; equal labels of draws mean the same draw throughout.

        Raises:
            ValueError: no measures, or measures of different sizes.
        """
        if len({measure.size for measure in measures}) != 1:
            raise ValueError(f"measures of one size are joined; got sizes {[measure.size for measure in measures]}")
        width = max(measure.nodes.shape[1] for measure in measures)
        nodes, masses = [], []
        for each in measures:
            lacking = width - each.nodes.shape[1]
            # nodes that repeat the first, without mass: no new extremes
            nodes.append(torch.cat([each.nodes, each.nodes[:, :1].expand(-1, lacking)], 1))
            masses.append(torch.nn.functional.pad(each.masses, (0, lacking)))
        return cls(torch.cat(nodes), torch.cat(masses), torch.cat([each.draws for each in measures]))

    def with_exact(self, values: Tensor) -> SpectralMeasure:
        """With further eigenvalues known exactly, mass 1 each: `[n]` the same in every run, or `[R, n]`. d grows by n.

        Raises:
            ValueError: another shape.
        """
        exact = _float64(values)
        if exact.dim() not in (1, 2) or (exact.dim() == 2 and len(exact) != self.runs):
            raise ValueError(f"exact eigenvalues are [n] or [R, n] with R = {self.runs}; got {list(exact.shape)}")
        exact = exact.expand(self.runs, exact.shape[-1])
        return SpectralMeasure(
            torch.cat([self.nodes, exact], 1), torch.cat([self.masses, torch.ones_like(exact)], 1), self.draws
        )

    def select(self, rows: Tensor | Sequence[int]) -> SpectralMeasure:
        """The runs of these indices, repeats included; draws keep their labels."""
        rows = torch.as_tensor(rows, dtype=torch.int64)
        return SpectralMeasure(self.nodes[rows], self.masses[rows], self.draws[rows])

    def to_arrays(self) -> dict[str, Tensor]:
        """As named tensors, to be stored."""
        return {"nodes": self.nodes, "masses": self.masses, "draws": self.draws}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor]) -> SpectralMeasure:
        """The inverse of `to_arrays`."""
        return cls(arrays["nodes"], arrays["masses"], arrays["draws"])

    @property
    def size(self) -> int:
        """Number of eigenvalues d."""
        return round(float(self.masses[0].sum()))

    @property
    def runs(self) -> int:
        """Number of runs R."""
        return len(self.nodes)

    @cached_property
    def draw_index(self) -> Tensor:
        """The draw of each run, counted 0, 1, … in ascending order of label: int64 `[R]`."""
        index: Tensor = torch.unique(self.draws, return_inverse=True)[1]
        return index

    @cached_property
    def runs_per_draw(self) -> Tensor:
        """Int64 `[D]`."""
        return torch.bincount(self.draw_index)

    @property
    def run_weights(self) -> Tensor:
        """The part of each run in the pooled measure: float64 `[R]`, summing to 1, the same in total for every draw."""
        return 1.0 / (len(self.runs_per_draw) * self.runs_per_draw[self.draw_index].double())

    @property
    def unit_index(self) -> Tensor:
        """What is independent of what: the draw of each run, or the run itself if there is one draw only: `[R]`."""
        return self.draw_index if len(self.runs_per_draw) > 1 else torch.arange(self.runs)

    def integral(self, f: Callable[[Tensor], Tensor]) -> Estimate:
        """E Σ_k m_k f(x_k): mean over draws of the mean over their runs.

        The standard error is that of the mean of independent draws; with one draw only, of the mean of its runs (the
        noise of probes, without that of minibatches); None with one run.

        Raises:
            ValueError: f gives another shape, or something not finite where there is mass.
        """
        values = f(self.nodes)
        if values.shape != self.nodes.shape:
            raise ValueError(f"f maps nodes {list(self.nodes.shape)} to as many values; got {list(values.shape)}")
        values = torch.where(self.masses > 0, values.double(), 0.0)
        if not bool(values.isfinite().all()):
            raise ValueError("f is not finite on a node that has mass")
        return self.mean((self.masses * values).sum(1))

    def mean(self, per_run: Tensor) -> Estimate:
        """The mean of one number a run `[R]`: over the runs of a draw, then over draws; its error as for `integral`."""
        unit = self.unit_index
        sums = torch.zeros(int(unit.max()) + 1, dtype=torch.float64).index_add(0, unit, per_run)
        means = sums / torch.bincount(unit)
        error = float(means.std()) / math.sqrt(len(means)) if len(means) > 1 else None
        return Estimate(float(means.mean()), error)

    def moment(self, power: int) -> Estimate:
        """E tr H^p."""
        return self.integral(lambda nodes: nodes**power)

    def trace(self) -> Estimate:
        """E tr H."""
        return self.moment(1)

    def frobenius(self) -> Estimate:
        """√(E ‖H‖²_F), its error by the delta method."""
        return root_of(self.moment(2))

    @cached_property
    def _pooled(self) -> tuple[Tensor, Tensor]:
        """Nodes that have mass, ascending, and their masses in the pooled measure."""
        masses = (self.masses * self.run_weights[:, None]).reshape(-1)
        nodes, kept = self.nodes.reshape(-1), masses > 0
        nodes, order = nodes[kept].sort(stable=True)
        return nodes, masses[kept][order]

    def cdf(self, x: Tensor) -> Tensor:
        """The part of the pooled measure at or below each x: float64 in [0, 1], of x's shape."""
        nodes, masses = self._pooled
        sums = torch.nn.functional.pad(masses.cumsum(0), (1, 0))
        return (sums / sums[-1])[torch.searchsorted(nodes, _float64(x).contiguous(), right=True)]

    def quantile(self, q: Tensor) -> Tensor:
        """The least node whose cdf is at least q (up to 1e-12, for rounding), for each q in [0, 1].

        Raises:
            ValueError: a q outside [0, 1].
        """
        q = _float64(q).contiguous()
        if not bool(((q >= 0) & (q <= 1)).all()):
            raise ValueError("quantiles are asked for at levels in [0, 1]")
        nodes, masses = self._pooled
        sums = masses.cumsum(0)
        place = torch.searchsorted(sums / sums[-1], q - 1e-12)
        return nodes[place.clamp(max=len(nodes) - 1)]

    def histogram(self, bins: int | Tensor) -> tuple[Tensor, Tensor]:
        """Edges `[n + 1]` and the pooled measure's masses `[n]` between them (the last bin contains its right edge).

        Args:
            bins: how many, of one width, from the least node to the largest; or ascending edges. Mass outside of given
                edges is in no bin.
        """
        nodes, masses = self._pooled
        wanted = bins if isinstance(bins, int) else _float64(bins).numpy()
        counts, edges = np.histogram(nodes.numpy(), wanted, weights=masses.numpy())
        return torch.from_numpy(edges).double(), torch.from_numpy(counts).double()

    def bandwidth(self) -> float:
        """Scott's rule 1.06 s n^(−1/5) on the nodes, see `scott`."""
        return scott(*self._pooled)

    def kde(self, x: Tensor, bandwidth: float | None = None) -> Tensor:
        """The pooled measure smoothed by a Gaussian, at the points x `[P]`: a density whose integral is d.

        Args:
            x: float `[P]`.
            bandwidth: the Gaussian's standard deviation; `bandwidth()` by default.

        Raises:
            ValueError: a bandwidth that is not positive; none given for a measure with one node.
        """
        width = positive(self.bandwidth() if bandwidth is None else bandwidth)
        nodes, masses = self._pooled
        rows = torch.split(_float64(x), max(1, _CHUNK // len(nodes)))
        parts = [torch.exp(-0.5 * ((row[:, None] - nodes) / width) ** 2) @ masses for row in rows]
        return torch.cat(parts) / (width * math.sqrt(2 * math.pi))

    def pseudo_spectrum(self, count: int, bandwidth: float = 0.0) -> Tensor:
        """Quantiles α̂_r of the pooled measure at the levels (r − ½) / M, r = 1 … M: each stands for d / M eigenvalues.

        Tuci et al. 2026, Eq. 90–92; the paper smooths first. The midpoints of the M equal parts are our choice.

        Args:
            count: M.
            bandwidth: of the Gaussian the measure is smoothed by; 0: not smoothed.

        Returns:
            float64 `[M]`, ascending.
        """
        if not bandwidth:
            return self.quantile(midpoints(count))
        grid = GaussianGrid.over(self.nodes, bandwidth, bandwidth / 4)
        cdf = self.run_weights[None] @ grid.cumulative(self.nodes, self.masses)
        return grid.quantiles(cdf, count)[0]


def _float64(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float64)


def _labels(draws: Tensor | Sequence[int] | None, runs: int) -> Tensor:
    return torch.arange(runs) if draws is None else torch.as_tensor(draws).to("cpu", torch.int64)
