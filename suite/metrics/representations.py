"""How well the classes lie apart in the last hidden layer, and how a network answers between inputs of one class.

The winners of the competition on predicting generalization (Natekar & Sharma 2020) multiply the two.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.curvature.estimate import Estimate
from suite.metrics.registry import metric, on_vectors
from suite.metrics.run import Run
from suite.spec.seeds import seed_of

_ROWS = 1024
"""Midpoints evaluated at once."""


def last_hidden(run: Run) -> Tensor:
    """What the output layer multiplies, on the whole training set, float64 `[predictions, width]`.

    Logits are linear in the last matrix: with rows of the identity in its place, and no bias, the network puts out its
    hidden units themselves, as many at once as there are classes.

    Raises:
        ValueError: the last matrix is no output layer of its own (tied to the embedding, for instance).
    """
    slices, matrices = run.network.slices(), run.matrices()
    name = list(matrices)[-1]
    classes, width = matrices[name].shape
    read_out = run.weights.clone()
    read_out[slices[name].stop :] = 0  # the bias, if there is one
    units = []
    for start in range(0, width, classes):
        rows = torch.zeros_like(matrices[name])
        chosen = torch.arange(min(classes, width - start))
        rows[chosen, start + chosen] = 1
        read_out[slices[name]] = rows.flatten()
        units.append(run.logits(read_out)[..., : len(chosen)])
    hidden = torch.cat(units, -1).flatten(0, -2).double()
    _check_head(run, hidden, matrices[name], run.weights[slices[name].stop :])
    return hidden


def _check_head(run: Run, hidden: Tensor, head: Tensor, bias: Tensor) -> None:
    logits = run.logits().flatten(0, -2).double()
    if len(bias) not in (0, logits.shape[1]) or head.shape != (logits.shape[1], hidden.shape[1]):
        raise ValueError("the last matrix is not the output layer")
    again = hidden @ head.double().T + (bias.double() if len(bias) else 0)
    if not torch.allclose(again, logits, rtol=1e-3, atol=1e-4 * (1 + float(logits.abs().max()))):
        raise ValueError("the last matrix is not the output layer")


def _labels(run: Run) -> Tensor:
    if run.targets.is_floating_point():
        raise ValueError("classes are needed; these targets are probabilities")
    return run.targets.flatten()


def davies_bouldin(points: Tensor, labels: Tensor) -> float:
    """Mean over classes i of max over j ≠ i of (S_i + S_j) / ‖c_i − c_j‖ (Davies & Bouldin 1979; p = 2, q = 1).

    Args:
        points: float64 `[n, width]`.
        labels: their classes `[n]`; c_i is a class's mean, S_i the mean distance to it.

    Raises:
        ValueError: there is one class only, or two have one mean.
    """
    _, labels, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        raise ValueError("one class only: there is nothing to lie apart")
    sums = points.new_zeros(len(counts), points.shape[1]).index_add_(0, labels, points)
    centres = sums / counts[:, None]
    scatter = points.new_zeros(len(counts)).index_add_(0, labels, (points - centres[labels]).norm(dim=1)) / counts
    apart = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(math.inf)
    if not bool((apart > 0).all()):
        raise ValueError("two classes have the same mean representation")
    return float(((scatter[:, None] + scatter) / apart).amax(1).mean())


def mixed(run: Run) -> tuple[Tensor, Tensor]:
    """Midpoints of two training inputs of one class, and the classes: each input with one other of its class.

    The inputs of a class are put into a random ring, the same for all runs of a task; each is mixed with the next.

    Raises:
        ValueError: inputs are tokens, or no class has two of them.
    """
    labels = _labels(run)
    if not run.inputs.is_floating_point():
        raise ValueError("tokens cannot be mixed")
    generator = torch.Generator().manual_seed(seed_of("mixup", len(labels)))
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    order = order[labels[order].argsort(stable=True)]  # class after class, in random order within
    classes, counts = torch.unique_consecutive(labels[order], return_counts=True)
    following = torch.arange(1, len(order) + 1, device=labels.device)
    ends = counts.cumsum(0)
    following[ends - 1] = ends - counts  # the last of a class is followed by its first
    several = torch.isin(labels[order], classes[counts > 1])
    if not bool(several.any()):
        raise ValueError("no class has two inputs to mix")
    pairs, labels = 0.5 * (run.inputs[order] + run.inputs[order[following]]), labels[order]
    return pairs[several], labels[several]


def mixup_share(run: Run) -> Estimate:
    """The share of midpoints (`mixed`) classified wrongly, averaged over the classes.

    Its error is not known (None) where no class has both right and wrong ones: p (1 − p) of such shares is 0, which is
    not how well they are known.
    """
    inputs, labels = mixed(run)
    with torch.no_grad():
        logits = torch.cat([run.network(run.weights, part) for part in torch.split(inputs, _ROWS)])
    wrong = (logits.argmax(-1) != labels).double()
    _, classes, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    shares = wrong.new_zeros(len(counts)).index_add_(0, classes, wrong) / counts
    error = float((shares * (1 - shares) / counts).sum().sqrt()) / len(counts)
    return Estimate(float(shares.mean()), error or None)


@metric(
    title="Davies–Bouldin index of the last hidden layer",
    family="representations",
    source="Natekar & Sharma 2020 (consistency); Davies & Bouldin 1979",
    sign=1,
    cost="forward",
    invariances=("rescaling", "last layer"),
)
def davies_bouldin_index(run: Run) -> float:
    """Davies–Bouldin index of what the output layer is given on the training set, by true class: small is well apart.

    The competition entry takes an early layer and the mean over j instead of the maximum; this is the index as
    Davies & Bouldin define it. Training inputs are not augmented.
    """
    return davies_bouldin(last_hidden(run), _labels(run))


@metric(
    title="Error on label-wise mixup",
    family="representations",
    source="Natekar & Sharma 2020 (robustness), label-wise mixup",
    sign=1,
    cost="forward",
    invariances=("rescaling", "reparametrisation", "logit scale", "last layer"),
    applies=on_vectors,
)
def mixup_error(run: Run) -> Estimate:
    """1 − accuracy on midpoints ½ (x + x′) of training inputs of one class, averaged over the classes.

    As many midpoints as inputs (`mixed`); the competition entry takes all pairs within small batches. The error is
    that of a share of independent draws in each class, and not known where the midpoints of every class are of one
    kind.
    """
    return mixup_share(run)


@metric(
    title="Davies–Bouldin index × mixup error",
    family="representations",
    source="Natekar & Sharma 2020, winning entry of PGDL, Jiang et al. 2020",
    sign=1,
    cost="forward",
    invariances=("rescaling", "last layer"),
    applies=on_vectors,
)
def davies_bouldin_mixup(run: Run) -> Estimate:
    """Davies–Bouldin index of the last hidden layer × (1 − accuracy on label-wise mixup)."""
    index, share = davies_bouldin(last_hidden(run), _labels(run)), mixup_share(run)
    return Estimate(index * share.value, None if share.standard_error is None else index * share.standard_error)
