"""The sharpness dimension family (Tuci et al. 2026): the dimension SD of Def. 4.2, its estimators, its ingredients.

λ_k is the mean over minibatches B of the k-th largest exponent ln σ_k of the one-step map's Jacobian; SD is the number
of leading λ that may be summed before the sum turns negative, the last one in part. Unless a metric says otherwise the
map is the paper's, w − η ∇L_B(w) with the peak learning rate η whatever the optimizer: σ = |1 − ηα| over the
eigenvalues α of the Hessian H_B. Standard errors are delete-one jackknives over minibatches (over the probes of
Lanczos where there is one minibatch only).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from suite.curvature.bootstrap import jackknife_error
from suite.curvature.dimension import sharpness_dimension as dimension_of
from suite.curvature.estimate import Estimate, jackknife
from suite.curvature.estimators import AveragedQuantiles, Estimator, Histogram, Kernel, PseudoSpectrum, Quadrature
from suite.curvature.jacobian import AdamStep, Step, log_singular_values, supremum_over_points
from suite.curvature.measure import SpectralMeasure
from suite.curvature.spectrum import DenseSpectra, QuadratureSpectrum, Spectrum
from suite.metrics.registry import metric
from suite.metrics.run import Run
from suite.spec.training import AdamW

_PAPER = "Tuci, Korkmaz, Şimşekli, Birdal 2026 (arXiv:2604.19740)"
_FAMILY = "sharpness dimension"
_ANNIHILATED = -1e200
"""Stands for an exponent of −inf, which a measure does not hold."""
_NEUTRAL = 1e-3
"""Exponents up to this one are not told from zero when directions are counted."""


@metric(
    title="Sharpness dimension",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.2",
    sign=1,
    probes=("spectrum",),
)
def sharpness_dimension(run: Run) -> Estimate:
    """SD of the map w − η ∇L_B(w), η the peak of the schedule."""
    return run.spectrum.sharpness_dimension(run.gradient_step)


@metric(
    title="Codimension d − SD",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.2; d − SD",
    sign=-1,
    probes=("spectrum",),
)
def codimension(run: Run) -> Estimate:
    """The directions that SD leaves out: the signal, where SD is within a few per cent of d.

    It orders networks of one size exactly as SD does, the other way round.
    """
    return _left_out(run.spectrum, run.gradient_step)


@metric(title="RDS sharpness λ₁", family=_FAMILY, source=f"{_PAPER}, Def. 4.1", sign=1, probes=("spectrum",))
def rds_sharpness(run: Run) -> Estimate:
    """E ln σ₁ of the one-step Jacobian I − η H_B, η the peak of the schedule."""
    return run.spectrum.leading_exponent(run.gradient_step)


@metric(
    title="Sharpness dimension, common batch",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.2; minibatches of one size for all cells",
    sign=1,
    probes=("common",),
)
def common_sharpness_dimension(run: Run) -> Estimate:
    """SD over minibatches of a size that all cells of the task share: freed of the batch size of training.

    A minibatch Hessian's rank grows with the batch, so that SD at the training batch size falls with it whatever the
    gap does.
    """
    return run.common.sharpness_dimension(run.gradient_step)


@metric(
    title="Codimension, common batch",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.2; d − SD, minibatches of one size for all cells",
    sign=-1,
    probes=("common",),
)
def common_codimension(run: Run) -> Estimate:
    """The number d − SD over minibatches of a size that all cells of the task share.

    It orders networks of one size exactly as `common_sharpness_dimension` does, the other way round.
    """
    return _left_out(run.common, run.gradient_step)


@metric(
    title="Sharpness dimension, whole training set",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.2; the full-batch map",
    sign=1,
    probes=("whole",),
)
def whole_sharpness_dimension(run: Run) -> Estimate:
    """SD of the gradient-descent map w − η ∇L(w), L the loss on the whole training set."""
    return run.whole_spectrum.sharpness_dimension(run.gradient_step)


@metric(
    title="Codimension, whole training set",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.2; d − SD, the full-batch map",
    sign=-1,
    probes=("whole",),
)
def whole_codimension(run: Run) -> Estimate:
    """The number d − SD of the gradient-descent map on the whole training set.

    It orders networks of one size exactly as `whole_sharpness_dimension` does, the other way round.
    """
    return _left_out(run.whole_spectrum, run.gradient_step)


@metric(title="SD-SLQ (histogram)", family=_FAMILY, source=f"{_PAPER}, App. (SD-SLQ)", sign=1, probes=("spectrum",))
def slq_sharpness_dimension(run: Run) -> Estimate:
    """SD of the histogram of ln(|1 − ηα| + ε) pooled over minibatches, by trapezoids.

    ε = 1e-10 and 10,000 bins over the range, one centred at zero: our choices where the paper leaves them open.
    """
    return _estimated(_measure(run.spectrum), Histogram(run.gradient_step))


@metric(title="SD-KDE", family=_FAMILY, source=f"{_PAPER}, App. (SD-KDE)", sign=1, probes=("spectrum",))
def kde_sharpness_dimension(run: Run) -> Estimate:
    """SD of a Gaussian kernel density of ln(|1 − ηα| + ε), ε = 1e-10, pooled over minibatches, by trapezoids.

    Bandwidth 1.06 s n^(−1/5) (Scott's rule) with the effective number n of nodes: the paper leaves it open.
    """
    return _estimated(_measure(run.spectrum), Kernel(run.gradient_step))


@metric(title="SD-PS (pseudo-spectrum)", family=_FAMILY, source=f"{_PAPER}, Eq. 90–92", sign=1, probes=("spectrum",))
def pseudo_spectrum_sharpness_dimension(run: Run) -> Estimate:
    """SD of M equal-mass quantiles of the smoothed density of α, each of weight d / M, mapped to ln |1 − ηα|.

    M = 10,000 quantiles at the levels (r − ½) / M, Scott's bandwidth on α: our choices where the paper leaves them
    open.
    """
    return _estimated(_measure(run.spectrum), PseudoSpectrum(run.gradient_step))


@metric(
    title="Sharpness dimension, pooled",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.2 on the density pooled over minibatches",
    sign=1,
    probes=("spectrum",),
)
def pooled_sharpness_dimension(run: Run) -> Estimate:
    """SD of the nodes of all minibatches together, without bins or bandwidth: what SD-SLQ tends to as bins grow.

    Never below SD by averaged quantiles. With a Lanczos probe it is `sharpness_dimension` itself.
    """
    return _estimated(_measure(run.spectrum), Quadrature(run.gradient_step))


@metric(
    title="Sharpness dimension, averaged quantiles",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.2, to the letter",
    sign=1,
    probes=("spectrum",),
)
def averaged_sharpness_dimension(run: Run) -> Estimate:
    """SD of the mean over minibatches of the sorted exponents: with a dense probe `sharpness_dimension` itself.

    Raises:
        ValueError: a Lanczos probe with a minibatch that one run alone has seen.
    """
    return _estimated(_per_minibatch(run.spectrum), AveragedQuantiles(run.gradient_step))


@metric(
    title="Sharpness dimension of SGD's own map",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.2; the Jacobian of heavy-ball SGD with weight decay",
    sign=1,
    probes=("spectrum",),
    optimizers=("sgd",),
)
def optimizer_sharpness_dimension(run: Run) -> Estimate:
    """SD of the map that SGD iterates: v ← μ v + ∇L_B(w) + ω w, w ← w − η v, on the state (w, v) of 2d dimensions.

    Each eigenvalue α gives the two singular values of [[1 − η(α + ω), −ημ], [α + ω, μ]], v in units of the gradient.
    Without momentum the state is w and σ = |1 − η(α + ω)|; for plain SGD it is `sharpness_dimension`.

    Raises:
        ValueError: the optimizer is AdamW (`preconditioned_sharpness_dimension` is for it).
    """
    return run.spectrum.sharpness_dimension(run.optimizer_step)


@metric(
    title="Sharpness dimension of AdamW's map",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.2; the Jacobian of AdamW (Loshchilov, Hutter 2019), its preconditioner held fixed",
    sign=1,
    probes=("optimizer",),
    optimizers=("adamw",),
)
def preconditioned_sharpness_dimension(run: Run) -> Estimate:
    """SD of m ← β₁ m + (1 − β₁) ∇L_B(w), w ← (1 − ηω) w − ηc P⁻¹ m with P frozen, on the state (w, m) of 2d dimensions.

    P = √(s / (1 − β₂ᵗ)) + ε and c = 1 / (1 − β₁ᵗ) as the checkpoint's last step had them; α are the eigenvalues of
    P^-½ H_B P^-½, exponents those in the metric of P; pooled over the runs of Lanczos.

    Raises:
        ValueError: the optimizer is not AdamW (`optimizer_sharpness_dimension` is for SGD).
    """
    optimizer = run.task.training.optimizer
    if not isinstance(optimizer, AdamW):
        raise ValueError(f"{optimizer.kind} has no preconditioner: see optimizer_sharpness_dimension")
    correction = 1 / (1 - float(run.state[2]))
    step = AdamStep(optimizer.learning_rate, optimizer.beta1, optimizer.weight_decay, correction)
    return _estimated(_measure(run.preconditioned), Quadrature(step))


@metric(
    title="Sharpness dimension over the attractor",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.1 (the supremum) and 4.2",
    sign=1,
    probes=("attractor",),
)
def attractor_sharpness_dimension(run: Run) -> Estimate:
    """SD with λ_k = E_B max over points w of ln σ_k(B, w): the checkpoint and snapshots of the training that follows.

    The k-th exponent of a minibatch is its quantile function, whose maximum over the points is taken at every level.

    Raises:
        ValueError: Lanczos probes with a minibatch that one run alone has seen.
    """
    points = [_per_minibatch(spectrum) for spectrum in run.attractor.spectra]
    return _over_units(points, lambda parts: dimension_of(*_suprema(parts, run.gradient_step)))


@metric(
    title="RDS sharpness λ₁ over the attractor",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.1, with the supremum",
    sign=1,
    probes=("attractor",),
)
def attractor_rds_sharpness(run: Run) -> Estimate:
    """λ₁ = E_B max over points w of ln σ₁(B, w): the checkpoint and snapshots of the training that follows."""
    tops = [_largest(_measure(spectrum), run.gradient_step) for spectrum in run.attractor.spectra]
    return _measure(run.attractor.spectra[0]).mean(torch.stack(tops).amax(0))


@metric(
    title="One-step expanding directions",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.1; how many one-step exponents are positive",
    sign=1,
    probes=("spectrum",),
)
def expanding_directions(run: Run) -> Estimate:
    """E_B #{α of H_B: ln |1 − ηα| > 10⁻³}: eigenvalues beyond 2/η, and negative ones.

    The bound stands for zero, where the null space and the bulk of eigenvalues lie: of those Lanczos does not know the
    sign. It is an expansion e-fold in 1,000 steps (our choice), the same for every probe.
    """
    return _measure(run.spectrum).integral(lambda a: log_singular_values(a, run.gradient_step) > _NEUTRAL)


@metric(
    title="Σ of positive one-step exponents",
    family=_FAMILY,
    source=f"{_PAPER}, Def. 4.1; Pesin 1977, the sum of positive exponents, for one step",
    sign=1,
    probes=("spectrum",),
)
def one_step_entropy(run: Run) -> Estimate:
    """E_B Σ over α of (ln |1 − ηα|)₊."""
    return _measure(run.spectrum).integral(lambda a: log_singular_values(a, run.gradient_step).clamp(min=0))


def _left_out(spectrum: Spectrum, step: Step) -> Estimate:
    """The codimension d − SD."""
    sd = spectrum.sharpness_dimension(step)
    return Estimate(spectrum.size - sd.value, sd.standard_error)


def _measure(spectrum: Spectrum) -> SpectralMeasure:
    """The measure of a spectral probe: of a dense one with every eigenvalue a node of mass 1, the zeros among them.

    Bandwidths depend on the number of nodes: it must not depend on how many zeros were left out of the computation.
    """
    if isinstance(spectrum, QuadratureSpectrum):
        return spectrum.measure
    assert isinstance(spectrum, DenseSpectra)
    found = spectrum.eigenvalues
    full = torch.nn.functional.pad(found, (0, spectrum.size - found.shape[1]))
    return SpectralMeasure.of_eigenvalues(full, spectrum.size)


def _per_minibatch(spectrum: Spectrum) -> SpectralMeasure:
    """The measure, where it tells each minibatch's own spectrum.

    Raises:
        ValueError: a minibatch that one run of Lanczos alone has seen: its noise would count as the minibatch's.
    """
    measure = _measure(spectrum)
    if isinstance(spectrum, QuadratureSpectrum) and int(measure.runs_per_draw.min()) < 2:
        raise ValueError(
            "one probe does not tell a minibatch's spectrum: ask for share: 2 or more of the Lanczos probe"
        )
    return measure


def _estimated(measure: SpectralMeasure, estimator: Estimator) -> Estimate:
    error = jackknife_error(measure, estimator) if measure.runs > 1 else None
    return Estimate(estimator(measure), error)


def _over_units(points: Sequence[SpectralMeasure], statistic: Callable[[Sequence[SpectralMeasure]], float]) -> Estimate:
    """A statistic of measures of the same minibatches; its jackknife leaves a minibatch out of all of them at once."""
    unit = points[0].unit_index

    def without(left: int) -> float:
        rows = torch.nonzero(unit != left)[:, 0]
        return statistic([point.select(rows) for point in points])

    return jackknife(statistic(points), int(unit.max()) + 1, without)


def _suprema(points: Sequence[SpectralMeasure], step: Step) -> tuple[Tensor, Tensor]:
    """λ with the supremum of Def. 4.1 as a step function: values `[n]`, descending, and the lengths they hold for."""
    labels = torch.unique(points[0].draws)
    functions = [[_exponents(point, label, step) for label in labels] for point in points]
    # all of them are constant between neighbouring breaks; rounding must not split one break into many
    ends = [one.cdf(one.nodes.reshape(-1)) for row in functions for one in row]
    breaks = torch.unique(torch.cat([torch.tensor([0.0, 1.0], dtype=torch.float64), *ends]).round(decimals=12))
    middles = (breaks[1:] + breaks[:-1]) / 2
    values = torch.stack([torch.stack([one.quantile(middles) for one in row]) for row in functions])
    return supremum_over_points(values), breaks.diff().flip(0) * points[0].size


def _exponents(measure: SpectralMeasure, label: Tensor, step: Step) -> SpectralMeasure:
    """The exponents of one minibatch."""
    own = measure.select(torch.nonzero(measure.draws == label)[:, 0])
    return SpectralMeasure(log_singular_values(own.nodes, step).clamp(min=_ANNIHILATED), own.masses, own.draws)


def _largest(measure: SpectralMeasure, step: Step) -> Tensor:
    """The largest exponent of each run `[R]`."""
    return log_singular_values(measure.nodes, step).amax(1)
