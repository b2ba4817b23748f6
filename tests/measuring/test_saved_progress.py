"""What `measure_saved` tells of its progress, and that telling changes nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import cross_entropy

from suite.curvature.network import Network
from suite.measuring.saved import Budget, SavedModel, measure_saved


@pytest.fixture
def model() -> SavedModel:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 5, generator=generator), torch.randint(0, 3, (40,), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)))
    return SavedModel(
        len(network.params), lambda at: (network.loss(cross_entropy, x[at], y[at]), network.params, 0), 40, None, None
    )


@pytest.mark.parametrize(
    ("budget", "calls"),
    [
        (Budget(0.1, 10, runs=5, steps=4, probes=2), 12),  # three minibatches, a block a step
        (Budget(0.1, 10, runs=3, steps=500), 3 * 57 + 1),  # no more steps than parameters, and the end
        (Budget(0.1, "full", runs=3, steps=4), 4),
        (Budget(0.1, 10, runs=3, exact=True), 3),
    ],
)
def test_progress_goes_on_to_its_end(model: SavedModel, budget: Budget, calls: int) -> None:
    told: list[tuple[int, int]] = []
    found = measure_saved(model, budget, lambda done, total: told.append((done, total)))
    assert len(told) == calls
    assert {total for _, total in told} == {3 if budget.exact else budget.runs * budget.steps}
    assert all(before[0] <= after[0] for before, after in pairwise(told))
    assert told[0][0] > 0
    assert told[-1][0] == told[-1][1]
    assert torch.equal(found.measure.nodes, measure_saved(model, budget).measure.nodes)
