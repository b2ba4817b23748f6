"""Representations against the forward pass by hand, scikit-learn's index, and pairs one by one."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import davies_bouldin_score
from torch import Tensor, nn

from suite.metrics import Estimate, Run, find_metrics
from suite.metrics.representations import davies_bouldin, last_hidden, mixed
from tests.metrics.made import made_run, value_of
from tests.metrics.test_margins import every_position
from tests.metrics.test_norms import by_hand, fitted, tokens


def seen_by_the_head(run: Run) -> Tensor:
    """What a hook on the module's last linear layer is given."""
    module = run.network.module  # type: ignore[attr-defined]
    seen: list[Tensor] = []
    head = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    run.logits()
    handle.remove()
    return torch.cat(seen).flatten(0, -2)


@pytest.mark.parametrize("make", [fitted, lambda: fitted(bias=True), tokens, every_position])
def test_the_last_hidden_layer_is_what_the_head_is_given(make: object) -> None:
    assert callable(make)
    run = make()
    hidden = last_hidden(run)  # twelve or eight units through heads of ten, eleven and four classes
    assert torch.allclose(hidden, seen_by_the_head(run), rtol=1e-12, atol=1e-12)


def test_the_last_hidden_layer_is_not_made_up_where_the_head_is_another_matrix() -> None:
    run = made_run(
        data={"kind": "markov", "vocabulary": 4, "order": 1, "length": 3, "sequences": 40, "concentration": 0.5},
        model={"kind": "gpt2", "layers": 1, "width": 4, "heads": 1},
        training={"batch_size": 8, "steps": 2},
    )  # its head is the embedding
    with pytest.raises(ValueError, match="not the output layer"):
        value_of("davies_bouldin_index", run)


@pytest.mark.parametrize("make", [fitted, tokens, every_position])
def test_davies_bouldin_index_is_scikit_learns(make: object) -> None:
    assert callable(make)
    run = make()
    expected = davies_bouldin_score(seen_by_the_head(run).numpy(), run.targets.flatten().numpy())
    # scikit-learn has distances from squares: half the digits
    assert value_of("davies_bouldin_index", run) == pytest.approx(expected, rel=1e-7)


def test_davies_bouldin_index_by_hand() -> None:
    points = torch.tensor([[0.0, 1], [0, -1], [4, 0], [4, 0], [0, 9], [0, 15]], dtype=torch.float64)
    labels = torch.tensor([7, 7, 2, 2, 5, 5])  # S = 1, 0, 3; means at (0, 0), (4, 0), (0, 12)
    worst = [max(1 / 4, 4 / 12), max(1 / 4, 3 / math.hypot(4, 12)), 4 / 12]
    assert davies_bouldin(points, labels) == pytest.approx(sum(worst) / 3, rel=1e-12)


def test_classes_in_one_place_have_no_index() -> None:
    run = fitted()
    dead = replace(run, weights=torch.zeros_like(run.weights))
    with pytest.raises(ValueError, match="same mean"):
        value_of("davies_bouldin_index", dead)
    with pytest.raises(ValueError, match="one class"):
        value_of("davies_bouldin_index", replace(run, targets=torch.zeros_like(run.targets)))


def test_midpoints_are_of_two_inputs_of_a_class_and_each_input_is_met_twice() -> None:
    run = fitted()
    rows = torch.arange(40)
    few = replace(run, inputs=torch.eye(64, dtype=torch.float64)[rows], targets=rows % 7)
    inputs, labels = mixed(few)
    parents = [row.nonzero()[:, 0].tolist() for row in inputs]
    assert all(row[row > 0].tolist() == [0.5, 0.5] for row in inputs)
    assert all(a % 7 == b % 7 == label for (a, b), label in zip(parents, labels.tolist(), strict=True))
    assert Counter(itertools.chain(*parents)) == Counter(dict.fromkeys(range(40), 2))


def test_mixup_error_by_hand() -> None:
    """Two inputs of class 0, on either side of zero along its direction; two of class 1 along its own; one of 2."""
    run = by_hand()
    inputs = torch.zeros(5, 64, dtype=torch.float64)
    inputs[:2, 0] = torch.tensor([2.0, -1.0])  # the midpoint ½ is of class 0
    inputs[2:4, 1] = torch.tensor([1.0, 3.0])  # the midpoint 2 is of class 1
    few = replace(run, inputs=inputs, targets=torch.tensor([0, 0, 1, 1, 2]))
    assert value_of("mixup_error", few) == 0
    wrong = replace(few, targets=torch.tensor([3, 3, 1, 1, 2]))
    assert value_of("mixup_error", wrong) == 0.5  # one of the two classes that have two inputs


def test_shares_of_none_and_of_all_have_no_error() -> None:
    """p (1 − p) / n is 0 there, at however few midpoints: how well such a share is known, it does not say."""
    run, index = by_hand(), find_metrics()["davies_bouldin_mixup"]
    inputs = torch.zeros(6, 64, dtype=torch.float64)
    inputs[:, 0] = torch.tensor([2.0, 3, 4, 0, 0, 0])
    inputs[:, 1] = torch.tensor([0.0, 0, 0, 1, 2, 3])
    right, off = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([3, 3, 3, 4, 4, 4])
    for targets, share in [(right, 0.0), (off, 1.0), (torch.where(right == 0, 0, 4), 0.5)]:
        few = replace(run, inputs=inputs, targets=targets)
        assert find_metrics()["mixup_error"].measure(few) == Estimate(share, None)
        value = index.measure(few)
        assert isinstance(value, Estimate)
        assert value.standard_error is None


def test_the_winning_entry_is_the_product() -> None:
    run = fitted()
    inputs, labels = mixed(run)
    guesses = run.network(run.weights, inputs).argmax(1)
    shares = [float((guesses[labels == c] != c).double().mean()) for c in range(10)]
    counts = [int((labels == c).sum()) for c in range(10)]
    error = math.sqrt(sum(p * (1 - p) / n for p, n in zip(shares, counts, strict=True))) / 10
    assert sum(shares) > 0
    index = davies_bouldin_score(seen_by_the_head(run).numpy(), run.targets.numpy())
    value = find_metrics()["davies_bouldin_mixup"].measure(run)
    assert isinstance(value, Estimate)
    assert value.value == pytest.approx(index * sum(shares) / 10, rel=1e-7)
    assert value.standard_error == pytest.approx(index * error, rel=1e-7)


def test_tokens_and_probabilities_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="tokens"):
        value_of("mixup_error", tokens())
    soft = replace(by_hand(), targets=torch.full((20, 10), 0.1, dtype=torch.float64))
    for name in ("mixup_error", "davies_bouldin_index", "davies_bouldin_mixup"):
        with pytest.raises(ValueError, match="probabilities"):
            value_of(name, soft)
    lonely = replace(by_hand(), inputs=torch.eye(64, dtype=torch.float64)[:10], targets=torch.arange(10))
    with pytest.raises(ValueError, match="two inputs"):
        value_of("mixup_error", lonely)
