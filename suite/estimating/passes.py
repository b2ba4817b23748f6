"""What a value of each metric takes: forward passes and gradients of single inputs, and how many calls in a row.

Of this package's metrics, from their definitions. Those that only read probes or weights pass nothing through the
network. One that is not in the table, which comes from outside, is taken for a typical one of its class of cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from suite.estimating.networks import Network
from suite.estimating.work import Work

_INPUTS = 512
"""As `suite.metrics.neighbourhood` has it: training inputs on which metrics perturb weights."""


@dataclass(frozen=True)
class Passes:
    """Passes of single inputs, calls one after another, and vectors of d noisy numbers that are drawn."""

    forwards: int = 0
    gradients: int = 0
    calls: int = 0
    draws: int = 0


_Rule = Callable[[int, int, int], Passes]
"""Of training inputs n, of those that weights are perturbed on, k = min(512, n), and of the batch size."""

_WHOLE: _Rule = lambda n, k, b: Passes(forwards=n, calls=4)  # noqa: E731
_NOISY: _Rule = lambda n, k, b: Passes(forwards=51 * k, calls=10, draws=50)  # noqa: E731
_ASCENT: _Rule = lambda n, k, b: Passes(gradients=21 * k, calls=21 * 8)  # noqa: E731
_BISECTED: _Rule = lambda n, k, b: Passes(forwards=151 * k, calls=15 * 4, draws=15 * 10)  # noqa: E731

_TABLE: dict[str, _Rule] = {
    **dict.fromkeys(
        (
            "davies_bouldin_index", "davies_bouldin_mixup", "inverse_squared_margin",
            "log_frobenius_product_over_margin", "log_frobenius_sum_over_margin", "log_spectral_product_over_margin",
            "log_spectral_sum_over_margin", "mean_margin", "mixup_error", "output_entropy", "path_norm_over_margin",
            "spectral_bound_from_initialisation", "spectral_bound_from_origin", "spectral_margin_bound",
            "steps_between_losses", "steps_to_loss", "training_loss",
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
    "low_pass_loss": lambda n, k, b: Passes(forwards=100 * k, calls=10, draws=100),
    "sam_sharpness": lambda n, k, b: Passes(gradients=k, forwards=2 * k, calls=10),
    "adaptive_sam_sharpness": lambda n, k, b: Passes(gradients=k, forwards=2 * k, calls=10),
    "epsilon_sharpness": lambda n, k, b: Passes(gradients=k, forwards=60 * k, calls=40),
    "critical_sharpness": lambda n, k, b: Passes(gradients=n, forwards=60 * k, calls=40),
    "fisher_rao_norm": lambda n, k, b: Passes(gradients=n, forwards=n, calls=8),
    "last_update_norm": lambda n, k, b: Passes(gradients=b, calls=3),
    "relative_flatness": lambda n, k, b: Passes(forwards=4 * n, gradients=n, calls=8),
    "magnitude_sharpness": lambda n, k, b: Passes(forwards=10 * k, gradients=80 * k, calls=80 * 4),
    "local_learning_coefficient": lambda n, k, b: Passes(
        forwards=n, gradients=4 * 250 * min(32, n), calls=250 * 4, draws=1000
    ),
}  # fmt: skip

_CLASSES: dict[str, _Rule] = {
    "free": lambda n, k, b: Passes(),
    "forward": _WHOLE,
    "gradient": lambda n, k, b: Passes(gradients=n, calls=4),
    "search": _ASCENT,
}


def known() -> set[str]:
    """The metrics of the table."""
    return set(_TABLE)


def value(name: str, cost: str, network: Network, size: int, batch: int) -> Work:
    """What one value takes.

    Args:
        name: of the metric.
        cost: its class; `free` where it reads probes only.
        network: of the run.
        size: training inputs.
        batch: of training.
    """
    passes = _TABLE.get(name, _CLASSES[cost])(size, min(_INPUTS, size), batch)
    counts = {"forward passes": passes.forwards, "gradients": passes.gradients}
    return Work(
        flops=passes.forwards * network.forward + passes.gradients * network.gradient,
        numbers=passes.forwards * network.numbers
        + passes.gradients * 3 * network.numbers
        + (passes.draws + passes.calls) * network.parameters,
        eager=passes.calls * network.operations,
        jobs=1,
        counts={word: count for word, count in counts.items() if count},
    )
