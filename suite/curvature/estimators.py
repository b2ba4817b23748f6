"""Estimators of the sharpness dimension (SD) from a spectral measure.

All rest on one identity. For a measure μ of exponents, SD = inf over s ≥ 0 of ∫ (1 + s λ)₊ dμ(λ): the integral is
convex in s, and its slope ∫_{λ > −1/s} λ dμ vanishes where the leading exponents, down to −1/s, sum to zero. Hence:

* SD is concave in μ: pooling measures never gives less than the mean of their SDs, and a sample's SD is biased
  downwards, by O(1 / runs);
* (1 + s λ)₊ is convex in λ: pooling never gives less than averaging quantile functions (Def. 4.2), and smoothing never
  lowers SD;
* at the optimal s, a run's own integral is its influence on SD: standard errors without resampling.

With momentum the state has 2d dimensions: every eigenvalue gives two exponents, and SD is at most 2d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from suite.curvature.dimension import sharpness_dimension
from suite.curvature.jacobian import OptimizerStep, Step, log_singular_values
from suite.curvature.measure import SpectralMeasure
from suite.curvature.smoothing import GaussianGrid, positive, scott

_CHUNK = 1 << 19
"""Elements of the largest temporary array."""
_ANNIHILATED = -1e200
"""Stands for an exponent of −inf, which may not meet a mass of zero."""


class Estimator(Protocol):
    """A number from a measure."""

    def __call__(self, measure: SpectralMeasure) -> float:
        """The estimate."""


@runtime_checkable
class Reweightable(Estimator, Protocol):
    """An estimator that can be evaluated on many reweightings of a measure's runs at once."""

    @property
    def pooled(self) -> bool:
        """Whether only the weighted sum of the runs' measures matters, not which runs share a draw."""

    def replicates(self, measure: SpectralMeasure, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """Estimates `[B]` at weights `[B, R]`, rows summing to 1, and their standard errors `[B]` where known.

        The errors are those of weights that count how often each unit (`SpectralMeasure.unit_index`) was drawn.
        """


@dataclass(frozen=True)
class Quadrature:
    """Def. 4.2 on the pooled measure of nodes: no bins, no bandwidth."""

    step: OptimizerStep
    pooled = True

    def __call__(self, measure: SpectralMeasure) -> float:
        """SD; the crossing is decided by exact sums."""
        exponents, masses = _exponents(measure, self.step)
        return sharpness_dimension(exponents.reshape(-1), (masses * measure.run_weights[:, None]).reshape(-1))

    def replicates(self, measure: SpectralMeasure, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """SD and its standard error by influence: nodes are sorted once, each reweighting costs two running sums."""
        exponents, masses = _exponents(measure, self.step)
        flat, order = exponents.reshape(-1).sort(descending=True, stable=True)
        mass, run = masses.reshape(-1)[order], order // exponents.shape[1]
        values, slopes = [], []
        for chunk in torch.split(weights, max(1, _CHUNK // len(flat))):
            weighted = chunk[:, run] * mass
            crossing = _Crossing(len(chunk))
            crossing.advance(weighted * flat, weighted)
            values.append(crossing.dimension())
            slopes.append(crossing.slope)
        return torch.cat(values), _influence_error(measure, exponents, masses, weights, torch.cat(slopes))


@dataclass(frozen=True)
class AveragedQuantiles:
    """Def. 4.2 to the letter: runs are pooled within a draw, quantile functions averaged over draws, then summed.

    On dense spectra this is `DenseSpectra.sharpness_dimension`. Breakpoints are merged exactly; there is no grid.
    """

    step: Step
    pooled = False

    def __call__(self, measure: SpectralMeasure) -> float:
        """SD; the crossing is decided by exact sums."""
        functions = _QuantileFunctions(measure, self.step)
        even = torch.full((1, functions.draws), 1 / functions.draws, dtype=torch.float64)
        parts = [even @ functions.at(t) for t in functions.middles()]
        return sharpness_dimension(torch.cat(parts, 1)[0], functions.lengths)

    def replicates(self, measure: SpectralMeasure, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """SD at weights of draws.

        Raises:
            ValueError: weights that differ within a draw: those change its quantile function.
        """
        draws = torch.zeros(len(weights), len(measure.runs_per_draw), dtype=torch.float64)
        draws.index_add_(1, measure.draw_index, weights)
        if not torch.allclose((draws / measure.runs_per_draw)[:, measure.draw_index], weights, rtol=1e-9, atol=0):
            raise ValueError("quantile functions are averaged with one weight per draw")
        functions, crossing = _QuantileFunctions(measure, self.step), _Crossing(len(weights))
        for t, lengths in zip(functions.middles(), functions.split(functions.lengths), strict=True):
            crossing.advance(draws @ functions.at(t) * lengths, lengths.expand(len(draws), -1))
        return crossing.dimension(), None


@dataclass(frozen=True)
class Histogram:
    """SD-SLQ (Tuci et al. 2026): a histogram of g(α) = ln(|1 − ηα| + ε), Def. 4.2 by trapezoids on its density.

    Choices the paper leaves open: the bins have one width, the range of g over the nodes divided by `bins` (1 / bins if
    the range is zero); zero is the centre of a bin, so that the many eigenvalues near zero add no spurious area; the
    density is taken at the centres, with an empty bin added at both ends, so that trapezoids keep the total mass; with
    momentum |1 − ηα| is replaced by both singular values. As bins grow this tends to `Quadrature`, up to ε; the error
    is at most 1.5 widths · d / |λ_j*+1|. That is slow: a node that stands for thousands of eigenvalues near zero moves
    by up to half a width, and 10,000 bins can still be tens of per cent off in d − SD.
    """

    step: Step
    bins: int = 10_000
    epsilon: float = 1e-10
    pooled = True

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"a histogram has at least one bin; got {self.bins}")
        positive(self.epsilon)

    def __call__(self, measure: SpectralMeasure) -> float:
        """SD."""
        return float(self.replicates(measure, measure.run_weights[None])[0])

    def replicates(self, measure: SpectralMeasure, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """SD; bins are those of the whole measure."""
        exponents, masses = _exponents(measure, self.step, self.epsilon)
        low, high = float(exponents.min()), float(exponents.max())
        width = (high - low) / self.bins or 1 / self.bins
        first = math.floor(low / width) - 1
        count = math.ceil(high / width) + 2 - first
        place = torch.round(exponents / width).long() - first
        rows = torch.zeros(measure.runs, count, dtype=torch.float64).scatter_add_(1, place, masses / width)
        points = (first + torch.arange(count, dtype=torch.float64)) * width
        return _trapezoids(points, rows, weights), None


@dataclass(frozen=True)
class Kernel:
    """SD-KDE: as `Histogram`, a Gaussian kernel in the place of bins.

    Choices the paper leaves open: the bandwidth is Scott's rule 1.06 s n^(−1/5) on the exponents (`smoothing.scott`)
    unless given; the grid goes 8 bandwidths beyond the nodes on either side, with a spacing of a quarter of one unless
    a number of points is given. A convolution never lowers SD: this is at least `Quadrature`, up to ε and the grid.
    Scott's rule is wide for spectra of a spike and a few outliers (and for the two branches of momentum): d − SD comes
    out several per cent too small.
    """

    step: Step
    bandwidth: float | None = None
    points: int | None = None
    epsilon: float = 1e-10
    pooled = True

    def __call__(self, measure: SpectralMeasure) -> float:
        """SD."""
        return float(self.replicates(measure, measure.run_weights[None])[0])

    def replicates(self, measure: SpectralMeasure, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """SD; bandwidth and grid are those of the whole measure.

        Raises:
            ValueError: no bandwidth for a measure with one node; so few points that they are more than a bandwidth
                apart, where trapezoids miss the mass of a Gaussian.
        """
        exponents, masses = _exponents(measure, self.step, self.epsilon)
        width = self.bandwidth
        if width is None:
            width = scott(exponents.reshape(-1), (masses * measure.run_weights[:, None]).reshape(-1))
        spacing = positive(width) / 4
        if self.points is not None:
            spacing = (float(exponents.max() - exponents.min()) + 18 * width) / max(1, self.points - 1)
            if spacing > width:
                raise ValueError(f"{self.points} points are {spacing:.3g} apart, more than the bandwidth {width:.3g}")
        grid = GaussianGrid.over(exponents, width, spacing)
        return _trapezoids(grid.points, grid.density(exponents, masses), weights), None


@dataclass(frozen=True)
class PseudoSpectrum:
    """SD-PS (Tuci et al. 2026, Eq. 90–92): M equal-mass quantiles of the smoothed density of α, then Def. 4.2.

    Each quantile has weight d / M and is mapped to its exponents. Choices the paper leaves open: levels (r − ½) / M;
    Scott's rule on the nodes α unless a bandwidth is given; the distribution function is exact on points a quarter of a
    bandwidth apart and linear between them.
    """

    step: Step
    count: int = 10_000
    bandwidth: float | None = None
    pooled = True

    def __call__(self, measure: SpectralMeasure) -> float:
        """SD."""
        return float(self.replicates(measure, measure.run_weights[None])[0])

    def replicates(self, measure: SpectralMeasure, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """SD; the bandwidth is that of the whole measure.

        Raises:
            ValueError: no bandwidth for a measure with one node.
        """
        width = measure.bandwidth() if self.bandwidth is None else positive(self.bandwidth)
        grid = GaussianGrid.over(measure.nodes, width, width / 4)
        rows = grid.cumulative(measure.nodes, measure.masses)
        values = []
        for chunk in torch.split(weights, max(1, _CHUNK // max(self.count, grid.count))):
            exponents = log_singular_values(grid.quantiles(chunk @ rows, self.count), self.step)
            ordered = exponents.clamp(min=_ANNIHILATED).sort(1, descending=True).values
            mass = torch.full_like(ordered, measure.size / self.count)
            crossing = _Crossing(len(chunk))
            crossing.advance(ordered * mass, mass)
            values.append(crossing.dimension())
        return torch.cat(values), None


def sd_quadrature(measure: SpectralMeasure, step: Step) -> float:
    """SD of the pooled measure, see `Quadrature`.

    >>> sd_quadrature(SpectralMeasure.of_eigenvalues(torch.tensor([[3.0, 0.5, 0.0]]), 3), Step(1.0))
    3.0
    """
    return Quadrature(step)(measure)


def sd_quantile(measure: SpectralMeasure, step: Step) -> float:
    """SD of quantile functions averaged over draws, see `AveragedQuantiles`."""
    return AveragedQuantiles(step)(measure)


def sd_slq(measure: SpectralMeasure, step: Step, bins: int = 10_000, epsilon: float = 1e-10) -> float:
    """SD of the paper's histogram, see `Histogram`."""
    return Histogram(step, bins, epsilon)(measure)


def sd_kde(measure: SpectralMeasure, step: Step, bandwidth: float | None = None, points: int | None = None) -> float:
    """SD of the paper's kernel density, see `Kernel`."""
    return Kernel(step, bandwidth, points)(measure)


def sd_ps(measure: SpectralMeasure, step: Step, count: int = 10_000, bandwidth: float | None = None) -> float:
    """SD of the paper's pseudo-spectrum, see `PseudoSpectrum`."""
    return PseudoSpectrum(step, count, bandwidth)(measure)


def _exponents(measure: SpectralMeasure, step: OptimizerStep, epsilon: float = 0.0) -> tuple[Tensor, Tensor]:
    """Exponents ln(σ + ε) and their masses, float64 `[R, M]`; `[R, 2M]` with momentum."""
    exponents = log_singular_values(measure.nodes, step)
    if epsilon:
        exponents = torch.logaddexp(exponents, torch.tensor(math.log(epsilon), dtype=torch.float64))
    return exponents.clamp(min=_ANNIHILATED), measure.masses.repeat(1, step.state_factor)


class _Crossing:
    """Where running sums of areas, descending exponents times masses, turn negative, for B of them side by side."""

    def __init__(self, count: int) -> None:
        self._area = torch.zeros(count, dtype=torch.float64)
        self._mass = torch.zeros(count, dtype=torch.float64)
        self._found = torch.full((count,), math.nan, dtype=torch.float64)
        self.slope = torch.zeros(count, dtype=torch.float64)
        """The optimal s = 1 / |λ| at the crossing; 0 where there is none."""

    def advance(self, areas: Tensor, masses: Tensor) -> None:
        """Takes up the next elements, `[B, n]`."""
        sums, reached = self._area[:, None] + areas.cumsum(1), self._mass[:, None] + masses.cumsum(1)
        first = (sums < 0).to(torch.int8).argmax(1, keepdim=True)
        area, mass = areas.gather(1, first)[:, 0], masses.gather(1, first)[:, 0]
        rest = (sums.gather(1, first)[:, 0] - area).clamp(min=0)
        crosses = (sums.gather(1, first)[:, 0] < 0) & self._found.isnan()
        part = torch.minimum(rest / -area, torch.ones_like(area)) * mass
        self._found = torch.where(crosses, reached.gather(1, first)[:, 0] - mass + part, self._found)
        self.slope = torch.where(crosses, mass / -area, self.slope)
        self._area, self._mass = sums[:, -1], reached[:, -1]

    def dimension(self) -> Tensor:
        """SD `[B]` of all that was taken up."""
        return torch.where(self._found.isnan(), self._mass, self._found)


def _influence_error(
    measure: SpectralMeasure, exponents: Tensor, masses: Tensor, weights: Tensor, slopes: Tensor
) -> Tensor | None:
    """Standard errors `[B]`: the spread over units of ∫ (1 + s λ)₊ over each one's own measure, at the pooled s."""
    unit = measure.unit_index
    counts = torch.bincount(unit)
    if len(counts) < 2:
        return None
    ordered, order = exponents.sort(1, descending=True)
    mass = masses.gather(1, order)
    ends = torch.searchsorted(-ordered, (1 / slopes).expand(len(ordered), -1).contiguous())  # [R, B]
    pad = torch.nn.functional.pad
    above, area = pad(mass.cumsum(1), (1, 0)), pad((mass * ordered).cumsum(1), (1, 0))
    # an area of −1e200 times a slope of zero (no crossing at all) is zero; there SD is d whatever the run
    own = above.gather(1, ends) + slopes * area.gather(1, ends)
    shape = (len(counts), len(slopes))
    means = torch.zeros(shape, dtype=torch.float64).index_add(0, unit, own) / counts[:, None]
    share = torch.zeros(shape, dtype=torch.float64).index_add(0, unit, weights.T)
    centre = (share * means).sum(0)
    return ((share * (means - centre) ** 2).sum(0) / (len(counts) - 1)).sqrt()


def _trapezoids(points: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """SD `[B]` of the densities weights @ rows (`[B, R]`, `[R, P]`) on ascending points `[P]`, scaled to their mass."""
    descending, widths = points.flip(0), points.diff().flip(0)
    values = []
    for chunk in torch.split(weights, max(1, _CHUNK // len(points))):
        density = chunk @ rows.flip(1)
        masses = (density[:, 1:] + density[:, :-1]) * widths / 2
        moments = density * descending
        crossing = _Crossing(len(chunk))
        crossing.advance((moments[:, 1:] + moments[:, :-1]) * widths / 2, masses)
        values.append(crossing.dimension())
    return torch.cat(values)


class _QuantileFunctions:
    """λ_k(t), t in [0, d]: the exponents of each draw k in descending order, each held for its mass."""

    def __init__(self, measure: SpectralMeasure, step: Step) -> None:
        exponents, masses = _exponents(measure, step)
        values, ends = [], []
        for draw, runs in enumerate(measure.runs_per_draw.tolist()):
            rows = measure.draw_index == draw
            ordered, order = exponents[rows].reshape(-1).sort(descending=True, stable=True)
            values.append(ordered)
            ends.append((masses[rows].reshape(-1)[order] / runs).cumsum(0))
        total = float(measure.size * step.state_factor)
        # a draw of fewer runs is padded beyond its last end, where nobody asks
        self._values = torch.nn.utils.rnn.pad_sequence(values, batch_first=True)
        self._ends = torch.nn.utils.rnn.pad_sequence(ends, batch_first=True, padding_value=total).clamp(max=total)
        breaks = torch.unique(torch.cat([torch.tensor([0.0, total], dtype=torch.float64), self._ends.reshape(-1)]))
        self.draws = len(values)
        self.lengths = breaks.diff()
        self._middles = (breaks[1:] + breaks[:-1]) / 2
        self._last = torch.tensor([len(row) - 1 for row in values])[:, None]

    def split(self, t: Tensor) -> tuple[Tensor, ...]:
        """In pieces, so that all draws at one piece fit in memory."""
        return torch.split(t, max(1, _CHUNK // self.draws))

    def middles(self) -> tuple[Tensor, ...]:
        """The middles of the intervals on which all of them are constant, in pieces."""
        return self.split(self._middles)

    def at(self, t: Tensor) -> Tensor:
        """All of them `[K, n]` at points t `[n]`."""
        place = torch.searchsorted(self._ends, t.expand(self.draws, -1).contiguous())
        # rounding can leave the last end short of d: there the last exponent goes on
        return self._values.gather(1, torch.minimum(place, self._last))
