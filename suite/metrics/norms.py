"""Norms of the weights, and the bounds made of them.

A layer is a weight matrix (`Run.matrices`): every parameter of two axes or more, embeddings among them; biases and
gains are none. `s` and `f` are its squared spectral and Frobenius norms, s⁰ and f⁰ those of its difference from
initialisation; d counts the layers, m the training inputs, γ is the margin's 10th percentile (`margins.py`).

Dziugaite et al. 2020 report a measure v as √(v / m), and one that is a logarithm as ½ (v − ln m). Both keep the order
of runs that share m.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from suite.metrics.margins import positive_margin
from suite.metrics.registry import metric, on_vectors
from suite.metrics.run import Run


def spectral(matrices: Iterable[Tensor]) -> Tensor:
    """Squared spectral norms, float64 `[d]` on the CPU: largest eigenvalues of the smaller Gram matrices."""
    norms = []
    for matrix in matrices:
        short = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T).double()
        norms.append(torch.linalg.eigvalsh(short @ short.T)[-1].clamp(min=0).cpu())
    return torch.stack(norms)


def frobenius(matrices: Iterable[Tensor]) -> Tensor:
    """Squared Frobenius norms, float64 `[d]` on the CPU."""
    return torch.stack([matrix.double().square().sum().cpu() for matrix in matrices])


def _layers(run: Run) -> list[Tensor]:
    return list(run.matrices().values())


def _moves(run: Run) -> list[Tensor]:
    start = run.matrices(run.initial)
    return [matrix.double() - start[name].to(matrix).double() for name, matrix in run.matrices().items()]


def _per_input(value: Tensor | float, run: Run) -> float:
    """√(v / m)."""
    return math.sqrt(float(value) / len(run.inputs))


def _log_per_input(value: Tensor | float, run: Run) -> float:
    """½ (v − ln m); no value for the logarithm of zero."""
    if not math.isfinite(float(value)):
        raise ValueError("the logarithm of a norm that is zero: a layer is zero, or has not moved yet")
    return 0.5 * (float(value) - math.log(len(run.inputs)))


def _over_spectral(squares: Tensor, run: Run) -> Tensor:
    """Σ of squares over s."""
    s = spectral(_layers(run))
    if not bool((s > 0).all()):
        raise ValueError("division by the spectral norm of a layer that is zero")
    return (squares / s).sum()


def _vectors(run: Run) -> Tensor:
    """The training inputs as vectors, float64 `n × features`, of a perceptron."""
    if run.task.model.kind != "mlp" or not run.inputs.is_floating_point():
        raise ValueError("defined for a perceptron on input vectors, not for tokens")
    return run.inputs.double().flatten(1)


@metric(title="Weight norm", family="norms", source="Dziugaite et al. 2020, ‖w‖", sign=1, cost="free")
def weight_norm(run: Run) -> float:
    """Euclidean norm of all parameters, biases, gains and embeddings too (Dziugaite et al.: weight matrices only)."""
    return float(run.weights.double().norm())


@metric(
    title="Distance from initialisation",
    family="norms",
    source="Dziugaite et al. 2020, ‖w − w₀‖",
    sign=1,
    cost="free",
    trivial=True,
)
def distance_from_initialisation(run: Run) -> float:
    """Euclidean distance of all parameters, biases and gains too, from where training began.

    Dziugaite et al. take weight matrices only: `frobenius_distance`.
    """
    return float((run.weights.double() - run.initial.double()).norm())


@metric(
    title="Parameter count √(ω/m)",
    family="norms",
    source="Jiang et al. 2019, Eq. 20; Dziugaite et al. 2020, params",
    sign=1,
    cost="free",
    invariances=("rescaling", "reparametrisation", "last layer"),
)
def parameter_count(run: Run) -> float:
    """√(ω / m), ω the number of all parameters, as Jiang et al. count them (Dziugaite et al. leave biases out)."""
    return _per_input(len(run.weights), run)


@metric(
    title="VC-dimension bound",
    family="norms",
    source="PGDL, Jiang et al. 2020, baseline vc_dim; after Bartlett et al. 2019",
    sign=1,
    cost="free",
    invariances=("rescaling", "reparametrisation", "last layer"),
    applies=on_vectors,
)
def vc_bound(run: Run) -> float:
    """Upper bound d + 2 d ln(22 d p) Ω on the VC-dimension of a network of d weight matrices with Ω entries.

    22 is the number of the competition's program; p is the number of input features, 32² pixels there.
    """
    features = _vectors(run).shape[1]
    layers = _layers(run)
    depth, entries = len(layers), sum(layer.numel() for layer in layers)
    return float(depth + 2 * depth * math.log(22 * depth * features) * entries)


@metric(
    title="Log product of spectral norms",
    family="norms",
    source="Jiang et al. 2019, Eq. 32; Dziugaite et al. 2020, log-prod-of-spec",
    sign=1,
    cost="free",
    invariances=("rescaling",),
)
def log_spectral_product(run: Run) -> float:
    """½ (v − ln m), v = Σ ln s."""
    return _log_per_input(spectral(_layers(run)).log().sum(), run)


@metric(
    title="Log product of spectral norms over the margin",
    family="norms",
    source="Jiang et al. 2019, Eq. 31; Dziugaite et al. 2020, log-prod-of-spec-over-margin",
    sign=1,
    cost="forward",
    invariances=("rescaling", "last layer"),
)
def log_spectral_product_over_margin(run: Run) -> float:
    """½ (v − ln m), v = Σ ln s − 2 ln γ."""
    return _log_per_input(spectral(_layers(run)).log().sum() - 2 * math.log(positive_margin(run)), run)


@metric(
    title="Log sum of spectral norms",
    family="norms",
    source="Jiang et al. 2019, Eq. 35; Dziugaite et al. 2020, log-sum-of-spec",
    sign=1,
    cost="free",
    invariances=("rescaling",),
)
def log_spectral_sum(run: Run) -> float:
    """½ (v − ln m), v = ln d + (1/d) Σ ln s: the sum over layers scaled to one common norm."""
    logs = spectral(_layers(run)).log()
    return _log_per_input(math.log(len(logs)) + logs.mean(), run)


@metric(
    title="Log sum of spectral norms over the margin",
    family="norms",
    source="Jiang et al. 2019, Eq. 34; Dziugaite et al. 2020, log-sum-of-spec-over-margin",
    sign=1,
    cost="forward",
    invariances=("rescaling", "last layer"),
)
def log_spectral_sum_over_margin(run: Run) -> float:
    """½ (v − ln m), v = ln d + (1/d) (Σ ln s − 2 ln γ)."""
    logs = spectral(_layers(run)).log()
    depth = len(logs)
    return _log_per_input(math.log(depth) + (logs.sum() - 2 * math.log(positive_margin(run))) / depth, run)


@metric(
    title="Log product of Frobenius norms",
    family="norms",
    source="Jiang et al. 2019, Eq. 37; Dziugaite et al. 2020, log-prod-of-fro",
    sign=1,
    cost="free",
    invariances=("rescaling",),
)
def log_frobenius_product(run: Run) -> float:
    """½ (v − ln m), v = Σ ln f."""
    return _log_per_input(frobenius(_layers(run)).log().sum(), run)


@metric(
    title="Log product of Frobenius norms over the margin",
    family="norms",
    source="Jiang et al. 2019, Eq. 36; Dziugaite et al. 2020, log-prod-of-fro-over-margin",
    sign=1,
    cost="forward",
    invariances=("rescaling", "last layer"),
)
def log_frobenius_product_over_margin(run: Run) -> float:
    """½ (v − ln m), v = Σ ln f − 2 ln γ."""
    return _log_per_input(frobenius(_layers(run)).log().sum() - 2 * math.log(positive_margin(run)), run)


@metric(
    title="Log sum of Frobenius norms",
    family="norms",
    source="Jiang et al. 2019, Eq. 39; Dziugaite et al. 2020, log-sum-of-fro",
    sign=1,
    cost="free",
    invariances=("rescaling",),
)
def log_frobenius_sum(run: Run) -> float:
    """½ (v − ln m), v = ln d + (1/d) Σ ln f."""
    logs = frobenius(_layers(run)).log()
    return _log_per_input(math.log(len(logs)) + logs.mean(), run)


@metric(
    title="Log sum of Frobenius norms over the margin",
    family="norms",
    source="Jiang et al. 2019, Eq. 38; Dziugaite et al. 2020, log-sum-of-fro-over-margin",
    sign=1,
    cost="forward",
    invariances=("rescaling", "last layer"),
)
def log_frobenius_sum_over_margin(run: Run) -> float:
    """½ (v − ln m), v = ln d + (1/d) (Σ ln f − 2 ln γ)."""
    logs = frobenius(_layers(run)).log()
    depth = len(logs)
    return _log_per_input(math.log(depth) + (logs.sum() - 2 * math.log(positive_margin(run))) / depth, run)


@metric(
    title="Sum of stable ranks √(Σ f/s / m)",
    family="norms",
    source="Jiang et al. 2019, Eq. 33; Dziugaite et al. 2020, fro-over-spec",
    sign=1,
    cost="free",
    invariances=("rescaling", "last layer"),
)
def stable_rank_sum(run: Run) -> float:
    """√(v / m), v = Σ f / s."""
    return _per_input(_over_spectral(frobenius(_layers(run)), run), run)


@metric(
    title="Spectral bound from initialisation",
    family="norms",
    source="Pitas et al. 2017; Jiang et al. 2019, Eq. 29; Dziugaite et al. 2020, log-spec-init-main",
    sign=1,
    cost="forward",
)
def spectral_bound_from_initialisation(run: Run) -> float:
    """½ (v − ln m), v = Σ ln s − 2 ln γ + ln Σ (f⁰ / s)."""
    main = spectral(_layers(run)).log().sum() - 2 * math.log(positive_margin(run))
    return _log_per_input(main + _over_spectral(frobenius(_moves(run)), run).log(), run)


@metric(
    title="Spectral bound from the origin",
    family="norms",
    source="Pitas et al. 2017; Jiang et al. 2019, Eq. 30; Dziugaite et al. 2020, log-spec-orig-main",
    sign=1,
    cost="forward",
    invariances=("rescaling", "last layer"),
)
def spectral_bound_from_origin(run: Run) -> float:
    """½ (v − ln m), v = Σ ln s − 2 ln γ + ln Σ (f / s)."""
    main = spectral(_layers(run)).log().sum() - 2 * math.log(positive_margin(run))
    return _log_per_input(main + _over_spectral(frobenius(_layers(run)), run).log(), run)


@metric(
    title="Frobenius distance from initialisation √(Σ f⁰ / m)",
    family="norms",
    source="Jiang et al. 2019, Eq. 40; Dziugaite et al. 2020, fro-dist",
    sign=1,
    cost="free",
)
def frobenius_distance(run: Run) -> float:
    """√(v / m), v = Σ f⁰: weight matrices only, without biases and gains."""
    return _per_input(frobenius(_moves(run)).sum(), run)


@metric(
    title="Spectral distance from initialisation √(Σ s⁰ / m)",
    family="norms",
    source="Jiang et al. 2019, Eq. 41; Dziugaite et al. 2020, dist-spec-init",
    sign=1,
    cost="free",
)
def spectral_distance(run: Run) -> float:
    """√(v / m), v = Σ s⁰."""
    return _per_input(spectral(_moves(run)).sum(), run)


@metric(
    title="Parameter norm √(Σ f / m)",
    family="norms",
    source="Jiang et al. 2019, Eq. 42; Dziugaite et al. 2020, param-norm",
    sign=1,
    cost="free",
)
def parameter_norm(run: Run) -> float:
    """√(v / m), v = Σ f: weight matrices only, without biases and gains."""
    return _per_input(frobenius(_layers(run)).sum(), run)


def _squared_path_norm(run: Run) -> float:
    """Σ over all paths from an input or a bias to an output of the product of the squared weights on it."""
    reached = torch.ones_like(_vectors(run)[0])
    for tensor in run.network.unflatten(run.weights).values():  # a layer's weight, then its bias if it has one
        squares = tensor.double().square()
        reached = squares @ reached if tensor.ndim == 2 else reached + squares
    return float(reached.sum())


@metric(
    title="Path norm √(v / m)",
    family="norms",
    source="Neyshabur et al. 2015; Jiang et al. 2019, Eq. 44; Dziugaite et al. 2020, path-norm",
    sign=1,
    cost="free",
    invariances=("rescaling",),
    applies=on_vectors,
)
def path_norm(run: Run) -> float:
    """√(v / m), v the sum of the outputs of the network with squared weights on an input of ones, a perceptron's.

    That is the sum over paths of products of squared weights. It is had from the matrices, without the activation:
    for ReLU that is the same, for others it keeps the definition by paths.
    """
    return _per_input(_squared_path_norm(run), run)


@metric(
    title="Path norm over the margin",
    family="norms",
    source="Jiang et al. 2019, Eq. 43; Dziugaite et al. 2020, path-norm-over-margin",
    sign=1,
    cost="forward",
    invariances=("rescaling", "last layer"),
    applies=on_vectors,
)
def path_norm_over_margin(run: Run) -> float:
    """√(v / m), v = path norm / γ²."""
    return _per_input(_squared_path_norm(run), run) / positive_margin(run)


@metric(
    title="Spectrally normalised margin bound",
    family="norms",
    source="Bartlett et al. 2017, Theorem 1.1, Eq. 1.2",
    sign=1,
    cost="forward",
    invariances=("rescaling", "last layer"),
    applies=on_vectors,
)
def spectral_margin_bound(run: Run) -> float:
    """‖X‖_F R ln W / (γ m), R = Π ‖A‖ · (Σ (‖Aᵀ‖₂,₁ / ‖A‖)^⅔)^{3/2}, reference matrices zero.

    ‖A‖ is the spectral norm, ‖Aᵀ‖₂,₁ the sum of the lengths of A's rows, W the largest width (the inputs' too), γ the
    10th-percentile margin (the theorem holds for any). The activation's Lipschitz constant, 1 for ReLU and tanh, is
    left out: it is one factor for all runs of a task. So are biases, which the theorem has none of.
    """
    inputs, layers = _vectors(run), _layers(run)
    norms = spectral(layers).sqrt()
    if not bool((norms > 0).all()):
        raise ValueError("division by the spectral norm of a layer that is zero")
    rows = torch.stack([layer.double().norm(dim=1).sum().cpu() for layer in layers])
    complexity = norms.prod() * (rows / norms).pow(2 / 3).sum().pow(1.5)
    widest = max(max(layer.shape) for layer in layers)
    return float(inputs.norm()) * float(complexity) * math.log(widest) / (positive_margin(run) * len(inputs))
