"""Margins and entropies of the outputs on the training set.

The margin of a prediction is the logit of its true class less the largest other logit. γ is the margin's 10th
percentile over the training set: the k-th smallest of m, k = ⌊m / 10⌋, at least 1, as Dziugaite et al. 2020 count.
Where the data have a target for each position, every position is one prediction.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.metrics.registry import metric
from suite.metrics.run import Run


def output_margins(run: Run) -> Tensor:
    """The margin of every prediction on the training set, float64 `[predictions]`.

    Raises:
        ValueError: targets are probabilities, or there is one class only.
    """
    if run.targets.is_floating_point():
        raise ValueError("a margin needs one true class for each prediction; these targets are probabilities")
    logits = run.logits().double().flatten(0, -2)
    if logits.shape[1] < 2:
        raise ValueError("a margin needs two classes at least")
    at = run.targets.reshape(-1, 1)
    own = logits.gather(1, at)[:, 0]
    return own - logits.scatter(1, at, -math.inf).amax(1)


def percentile_margin(run: Run) -> float:
    """γ, of either sign (see the top of this file)."""
    margins = output_margins(run)
    return float(margins.kthvalue(max(1, len(margins) // 10)).values)


def positive_margin(run: Run) -> float:
    """γ where it is positive, as everything that divides by γ or takes its logarithm needs.

    Dziugaite et al. take |γ|; their networks fit the data, so that it is the same there. With more than a tenth of
    the predictions wrong |γ| would grow with the errors.

    Raises:
        ValueError: γ is not positive.
    """
    margin = percentile_margin(run)
    if not margin > 0:
        raise ValueError(f"the margin's 10th percentile is {margin:.3g}, not positive: a tenth of the set is misfit")
    return margin


@metric(
    title="Inverse squared margin √(1/γ²m)",
    family="margins",
    source="Jiang et al. 2019, Eq. 22; Dziugaite et al. 2020, inverse-margin",
    sign=1,
    cost="forward",
    invariances=("rescaling", "reparametrisation"),
)
def inverse_squared_margin(run: Run) -> float:
    """√((1/γ²) / m), with γ the 10th percentile of the output margin and m the number of training inputs."""
    return 1 / (positive_margin(run) * math.sqrt(len(run.inputs)))


@metric(
    title="Mean margin",
    family="margins",
    source="PGDL, Jiang et al. 2020, margin statistics; Bartlett et al. 2017, Fig. 1",
    sign=-1,
    cost="forward",
    invariances=("rescaling", "reparametrisation"),
)
def mean_margin(run: Run) -> float:
    """Mean output margin over the training set; wide margins are said to generalize."""
    return float(output_margins(run).mean())


@metric(
    title="Output entropy",
    family="margins",
    source="Pereyra et al. 2017; Jiang et al. 2019, negative entropy; Bisla et al. 2022",
    sign=-1,
    cost="forward",
    invariances=("rescaling", "reparametrisation"),
)
def output_entropy(run: Run) -> float:
    """Mean over the training predictions of −Σ_c p_c ln p_c, p = softmax(logits), in nats.

    Confident outputs are taken for a sign of overfitting. Under the squared error logits are no log-probabilities:
    there is no value there.
    """
    if run.task.training.loss != "cross_entropy":
        raise ValueError("outputs are no probabilities where the loss is not the cross-entropy")
    logs = torch.log_softmax(run.logits().double(), -1)
    return float(torch.special.entr(logs.exp()).sum(-1).mean())
