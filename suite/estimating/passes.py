"""What a value of each metric takes: forward passes and gradients of single inputs, and how many calls in a row.

Of this package's metrics, from their definitions. Those that only read probes or weights pass nothing through the
network. One that is not in the table, which comes from outside, is taken for a typical one of its class of cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from suite.estimating.networks import Network
from suite.estimating.work import LARGE, Work

_READ = 8
"""Numbers whose writing takes as long as to read one with its checksum."""
_COPIED = 3
"""Tensor operations that it takes to copy the module, for each operation of a forward pass."""
_INPUTS = 512
"""As `suite.metrics.neighbourhood` has it: training inputs on which metrics perturb weights."""


@dataclass(frozen=True)
class Passes:
    """Passes of single inputs, calls one after another, and vectors of d noisy numbers that are drawn.

    Attributes:
        sets: so many times the numbers of the training set are written, beside the copy that every value is given.
        heads: so many times those of the last matrix, for every training input.
        double: whether passes are in float64.
    """

    forwards: int = 0
    gradients: int = 0
    calls: int = 0
    draws: int = 0
    sets: float = 0.0
    heads: int = 0
    double: bool = False


_Rule = Callable[[int, int, int], Passes]
"""Of training inputs n, of those that weights are perturbed on, k = min(512, n), and of those that the last update is
made from again where the optimizer keeps none: n or 0."""

_WHOLE: _Rule = lambda n, k, u: Passes(forwards=n, calls=4)  # noqa: E731
_VECTORS: _Rule = lambda n, k, u: Passes(sets=2)  # noqa: E731
_VECTORS_TOO: _Rule = lambda n, k, u: Passes(forwards=n, calls=4, sets=2)  # noqa: E731
_NOISY: _Rule = lambda n, k, u: Passes(forwards=51 * k, calls=10, draws=50)  # noqa: E731
_ASCENT: _Rule = lambda n, k, u: Passes(gradients=21 * k, calls=21 * 8)  # noqa: E731
_BISECTED: _Rule = lambda n, k, u: Passes(forwards=151 * k, calls=15 * 4, draws=15 * 10)  # noqa: E731

_TABLE: dict[str, _Rule] = {
    **dict.fromkeys(
        (
            "inverse_squared_margin",
            "log_frobenius_product_over_margin", "log_frobenius_sum_over_margin", "log_spectral_product_over_margin",
            "log_spectral_sum_over_margin", "mean_margin", "output_entropy", "spectral_bound_from_initialisation",
            "spectral_bound_from_origin", "steps_between_losses", "steps_to_loss", "training_loss",
        ),
        _WHOLE,
    ),
    **dict.fromkeys(
        (
            "adaptive_average_sharpness", "adaptive_uniform_sharpness", "average_sharpness",
            "normalised_average_sharpness",
        ),
        _NOISY,
    ),
    **dict.fromkeys(
        (
            "adaptive_worst_case_l2", "adaptive_worst_case_linf", "keskar_sharpness", "normalised_worst_case_linf",
            "worst_case_l2", "worst_case_linf",
        ),
        _ASCENT,
    ),
    **dict.fromkeys(
        (
            "magnitude_pac_bayes_flatness", "magnitude_pac_bayes_initialisation", "magnitude_pac_bayes_origin",
            "pac_bayes_flatness", "pac_bayes_initialisation", "pac_bayes_origin",
        ),
        _BISECTED,
    ),
    # inputs as vectors in float64
    **dict.fromkeys(("path_norm", "vc_bound"), _VECTORS),
    **dict.fromkeys(("path_norm_over_margin", "spectral_margin_bound"), _VECTORS_TOO),
    # the hidden layer is read off by passes with other last matrices; midpoints are gathered twice, added, halved, kept
    "davies_bouldin_index": lambda n, k, u: Passes(forwards=3 * n, calls=12),
    "mixup_error": lambda n, k, u: Passes(forwards=n, calls=4, sets=5),
    "davies_bouldin_mixup": lambda n, k, u: Passes(forwards=4 * n, calls=16, sets=5),
    "low_pass_loss": lambda n, k, u: Passes(forwards=100 * k, calls=10, draws=100),
    "sam_sharpness": lambda n, k, u: Passes(gradients=k, forwards=2 * k, calls=10),
    "adaptive_sam_sharpness": lambda n, k, u: Passes(gradients=k, forwards=2 * k, calls=10),
    "epsilon_sharpness": lambda n, k, u: Passes(gradients=k, forwards=60 * k, calls=40),
    # the whole loss at 8 bisections, after two or so doublings
    "critical_sharpness": lambda n, k, u: Passes(gradients=n, forwards=11 * n, calls=40, sets=2, double=True),
    "fisher_rao_norm": lambda n, k, u: Passes(gradients=n, forwards=n, calls=8),
    "last_update_norm": lambda n, k, u: Passes(gradients=u, calls=3),
    # second derivatives along every column of the last matrix, by element-wise work
    "relative_flatness": lambda n, k, u: Passes(forwards=4 * n, calls=20, heads=8),
    "magnitude_sharpness": lambda n, k, u: Passes(forwards=10 * k, gradients=80 * k, calls=80 * 4),
    "local_learning_coefficient": lambda n, k, u: Passes(
        forwards=n, gradients=4 * 250 * min(32, n), calls=250 * 4, draws=1000
    ),
}  # fmt: skip

_CLASSES: dict[str, _Rule] = {
    "free": lambda n, k, u: Passes(),
    "forward": _WHOLE,
    "gradient": lambda n, k, u: Passes(gradients=n, calls=4),
    "search": _ASCENT,
}


def known() -> set[str]:
    """The metrics of the table."""
    return set(_TABLE)


def value(name: str, cost: str, network: Network, size: int, features: int, update: int, buffers: int) -> Work:
    """What one value takes.

    Args:
        name: of the metric.
        cost: its class; `free` where it reads probes only.
        network: of the run.
        size: training inputs.
        features: numbers of one.
        update: inputs of the gradient that stands for the last update: all, or 0 where the optimizer's state has it.
        buffers: tensors of d numbers in that state: they are read with the weights and those before training.
    """
    passes = _TABLE.get(name, _CLASSES[cost])(size, min(_INPUTS, size), update)
    counts = {"forward passes": passes.forwards, "gradients": passes.gradients}
    flops = passes.forwards * network.forward + passes.gradients * network.gradient
    return Work(
        **{"double" if passes.double else "flops": flops},
        # every value is given a training set of its own: a large one in pages that the system zeroes first
        numbers=(1 + passes.sets) * size * features * (2 if size * features > LARGE else 1)
        + passes.heads * size * network.head
        + passes.forwards * network.numbers
        + passes.gradients * 2 * network.numbers
        + (passes.draws + passes.calls + (2 + buffers) * _READ) * network.parameters,
        eager=(passes.calls + _COPIED) * network.operations,
        jobs=1,
        counts={word: count for word, count in counts.items() if count},
    )
