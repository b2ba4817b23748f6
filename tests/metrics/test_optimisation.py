"""Optimisation against dense gradients, curves made by hand, and torch's own optimizers."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from suite.measuring.jobs import Point, _state
from suite.measuring.place import Place
from suite.metrics import Estimate, Run, find_metrics
from suite.metrics.optimisation import last_update, steps_until
from suite.metrics.probed.distances import Distances
from suite.submission.trial import run_of, trained, trial_task
from tests.metrics.made import CPU, made_run, value_of
from tests.metrics.test_norms import by_hand

STEPS = 44  # of an epoch: 1,438 inputs by 32


@cache
def probed() -> Run:
    return made_run("gradients")


def per_input(run: Run) -> Tensor:
    """The gradient of each input's own loss, `[n, d]`, by torch alone."""

    def loss(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return run.batch_loss(w, x[None], y[None])

    gradients: Tensor = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(run.weights, run.inputs, run.targets)
    return gradients


def test_gradients_against_all_inputs_one_by_one() -> None:
    run = probed()
    every = per_input(run)
    whole = every.mean(0)
    variance = float((every - whole).square().sum(1).mean())
    assert value_of("gradient_norm", run) == pytest.approx(float(whole.norm()), rel=1e-9)
    for name, expected in [
        ("gradient_variance", variance),
        ("gradient_noise_scale", variance / float(whole.square().sum())),
    ]:
        value = find_metrics()[name].measure(run)
        assert isinstance(value, Estimate)
        assert value.standard_error is not None
        assert 0 < value.standard_error < 0.1 * expected  # 512 inputs of 1,438
        assert abs(value.value - expected) < 4 * value.standard_error


def test_gradients_are_exact_where_the_probe_takes_all_inputs() -> None:
    run = made_run("gradients", probes={"gradients": {"samples": 1438}})
    every = per_input(run)
    variance = float(every.var(0, correction=0).sum())
    assert value_of("gradient_variance", run) == pytest.approx(variance, rel=1e-9)
    ratio = variance / float(every.mean(0).square().sum())
    assert value_of("gradient_noise_scale", run) == pytest.approx(ratio, rel=1e-9)


def test_there_is_no_noise_scale_where_the_gradient_is_zero() -> None:
    run = probed()
    flat = replace(run.gradients, norm=torch.zeros((), dtype=torch.float64))
    with pytest.raises(ValueError, match="gradient is zero"):
        value_of("gradient_noise_scale", replace(run, probes={"gradients": flat}))


def with_curve(*losses: float, initial: float = 2.3, step: int | None = None) -> Run:
    """A run whose epochs had these mean losses, by weights that had this loss before."""
    run = made()
    return replace(
        run,
        step=STEPS * len(losses) if step is None else step,
        curve=torch.tensor(losses, dtype=torch.float32),
        whole=lambda w: torch.tensor([[initial, 0.1]], dtype=torch.float64).expand(len(w), 2),
    )


@cache
def made() -> Run:
    return made_run(training={"steps": 50})


def test_steps_between_epochs_by_linear_interpolation() -> None:
    run = with_curve(1.0, 0.3, 0.05, 0.03, 0.005)
    middle = (0 + 43) / 2  # the mean number of steps behind a minibatch of the first epoch
    to_tenth = middle + (1 + 0.2 / 0.25) * STEPS
    to_hundredth = middle + (3 + 0.02 / 0.025) * STEPS
    assert value_of("steps_to_loss", run) == pytest.approx(to_tenth, rel=1e-6)
    assert value_of("steps_between_losses", run) == pytest.approx(to_hundredth - to_tenth, rel=1e-6)


def test_the_first_epoch_starts_from_the_initial_loss() -> None:
    assert value_of("steps_to_loss", with_curve(0.06, initial=0.5)) == pytest.approx(0.4 / 0.44 * 21.5, rel=1e-6)
    assert value_of("steps_to_loss", with_curve(0.06, initial=0.08)) == 0


def test_a_loss_that_falls_by_the_same_at_each_step_comes_down_where_it_does() -> None:
    """L(t) = 0.5 − 0.0015 t: 0.1 after 266⅔ steps, the means of epochs being those over minibatches."""
    means = [math.fsum(0.5 - 0.0015 * (STEPS * e + i) for i in range(STEPS)) / STEPS for e in range(7)]
    run = with_curve(*means, initial=0.5)
    assert value_of("steps_to_loss", run) == pytest.approx(0.4 / 0.0015, rel=1e-5)


def test_steps_to_a_loss_of_full_batches_are_those_of_training_itself() -> None:
    """Gradient descent by hand: L(w_t) ≤ 0.1 at the first t, and not at t − 1."""
    run = made_run(training={"steps": 400, "batch_size": "full", "optimizer": {"kind": "sgd", "learning_rate": 0.5}})
    wanted, w, step = 1.2, run.initial, 0  # a level that so small a network comes to
    while float(run.batch_loss(w, run.inputs, run.targets)) > wanted:
        w, step = w - 0.5 * run.gradient(w), step + 1
    assert 2 < step < 400
    assert step - 1 < steps_until(run, wanted) <= step


def test_a_loss_that_comes_down_after_the_checkpoint_does_not_count() -> None:
    run = with_curve(1.0, 0.3, 0.05, 0.005, step=2 * STEPS + 3)
    for name in ("steps_to_loss", "steps_between_losses"):
        with pytest.raises(ValueError, match="up to this checkpoint"):
            value_of(name, run)
    assert value_of("sum_of_training_losses", run) == pytest.approx(1.3, rel=1e-6)
    assert value_of("last_training_losses", run) == pytest.approx(0.3, rel=1e-6)
    assert value_of("first_epoch_loss", run) == 1.0
    with pytest.raises(ValueError, match=r"down to 0\.01"):
        value_of("steps_between_losses", replace(run, step=3 * STEPS))


def test_levels_are_cross_entropies_and_curves_have_an_epoch() -> None:
    squared = made_run(training={"loss": "mse", "steps": 50})
    with pytest.raises(ValueError, match="cross-entropies"):
        value_of("steps_to_loss", squared)
    for name in ("first_epoch_loss", "sum_of_training_losses", "last_training_losses", "steps_to_loss"):
        with pytest.raises(ValueError, match="no whole epoch"):
            value_of(name, with_curve(1.0, 0.5, step=STEPS - 1))


def test_the_real_curve_is_the_mean_over_minibatches() -> None:
    """Full batches: an epoch is a step, its loss that of the weights before it."""
    run = made_run(training={"steps": 3, "batch_size": "full", "optimizer": {"kind": "sgd", "learning_rate": 0.5}})
    losses, w = [], run.initial
    for _ in range(3):
        losses.append(float(run.batch_loss(w, run.inputs, run.targets)))
        w = w - 0.5 * run.gradient(w)
    assert value_of("first_epoch_loss", run) == pytest.approx(losses[0], rel=1e-6)
    assert value_of("sum_of_training_losses", run) == pytest.approx(sum(losses), rel=1e-6)
    assert value_of("last_training_losses", run) == pytest.approx(losses[2], rel=1e-6)


ADAMW = {"kind": "adamw", "learning_rate": 0.01, "weight_decay": 0.3}
HEAVY = {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01}


@pytest.mark.parametrize("optimizer", [HEAVY, ADAMW], ids=["heavy ball", "AdamW"])
def test_the_last_update_is_the_way_from_the_weights_before(optimizer: dict[str, Any]) -> None:
    """The weights one step earlier are those of the same run, one step shorter."""
    ends = [made_run(training={"steps": steps, "optimizer": optimizer}) for steps in (29, 30)]
    moved = ends[0].weights - ends[1].weights
    assert torch.allclose(last_update(ends[1]), moved, rtol=1e-9, atol=1e-13)
    assert value_of("last_update_norm", ends[1]) == pytest.approx(float(moved.norm()), rel=1e-9)


def test_plain_sgds_update_is_torchs_on_the_whole_training_set() -> None:
    settings = {"learning_rate": 0.1, "weight_decay": 0.2}
    run = made_run(training={"steps": 20, "optimizer": {"kind": "sgd"} | settings})
    w = run.weights.clone().requires_grad_()
    optimizer = torch.optim.SGD([w], lr=0.1, weight_decay=0.2)
    run.batch_loss(w, run.inputs, run.targets).backward()
    optimizer.step()
    assert value_of("last_update_norm", run) == pytest.approx(float((w.detach() - run.weights).norm()), rel=1e-9)


def test_the_last_update_of_plain_sgd_does_not_know_its_stack_mates() -> None:
    """Where others of a stack have momentum a cell without it carries a velocity too: the last minibatch's step."""
    plain = {"kind": "sgd", "learning_rate": 0.1, "weight_decay": 0.01}
    training = {"steps": 20, "optimizer": plain}
    task = trial_task(training=training, grid={"training.optimizer.momentum": [0.0, 0.9]})
    record = trained(task, torch.float64)
    idle = record.checkpoints[-1].state
    assert len(idle) == 1
    mixed, alone = run_of(task, record, (), CPU, torch.float64), made_run(training=training)
    assert mixed.state == ()
    assert torch.allclose(mixed.weights, alone.weights, rtol=1e-12)
    expected = value_of("last_update_norm", alone)
    assert value_of("last_update_norm", mixed) == pytest.approx(expected, rel=1e-9)
    assert value_of("last_update_norm", replace(mixed, state=idle)) == pytest.approx(expected, rel=1e-9)
    assert 0.1 * float(idle[0].norm()) != pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("momentum", "parts"), [(0.0, 0), (0.9, 1)])
def test_workers_drop_an_idle_velocity(tmp_path: Path, momentum: float, parts: int) -> None:
    content = save({"0": torch.ones(3)})
    file = tmp_path / f"{hashlib.sha256(content).hexdigest()}.safetensors"
    file.write_bytes(content)
    task = trial_task(training={"optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": momentum}})
    point = Point(task, "run", 1, True, file, file, file, file)
    assert len(_state(point, Place.of("cpu", "float32"))) == parts


def test_where_there_is_no_last_update() -> None:
    heavy = made_run(training={"steps": 5, "optimizer": HEAVY})
    with pytest.raises(ValueError, match="no step"):
        value_of("last_update_norm", replace(heavy, step=0))
    with pytest.raises(ValueError, match="diverged"):
        value_of("last_update_norm", replace(heavy, state=()))
    scheduled = made_run(training={"steps": 5, "optimizer": HEAVY, "schedule": {"kind": "warmup_cosine"}})
    with pytest.raises(ValueError, match="schedule"):
        value_of("last_update_norm", scheduled)


def test_mean_step_length_is_that_of_training_itself() -> None:
    """Full batches by η = 0.5: the steps are η ‖∇L‖, here of the last nine of twelve."""
    optimizer = {"kind": "sgd", "learning_rate": 0.5}
    training = {"steps": 12, "batch_size": "full", "optimizer": optimizer, "trajectory": {"points": 10, "every": 1}}
    run = made_run("backward", training=training)
    lengths, w = [], run.initial
    for _ in range(12):
        lengths.append(0.5 * float(run.gradient(w).norm()))
        w = w - 0.5 * run.gradient(w)
    assert value_of("mean_step_length", run) == pytest.approx(math.fsum(lengths[3:]) / 9, rel=1e-6)


def test_mean_step_length_by_hand() -> None:
    line = np.array([0.0, 1.0, 3.0, 9.0])  # steps 1, 2, 6, each of five iterations
    apart = np.abs(line[:, None] - line)
    run = replace(by_hand(), probes={"backward": Distances(apart, apart, 5)})
    assert value_of("mean_step_length", run) == pytest.approx(3 / 5, rel=1e-12)
    assert value_of("lifetime_sum_backward", run) == pytest.approx(3 * 5 * value_of("mean_step_length", run), rel=1e-12)
    with pytest.raises(ValueError, match="fewer than two"):
        value_of("mean_step_length", replace(run, probes={"backward": Distances(apart[:1, :1], apart[:1, :1], 5)}))
