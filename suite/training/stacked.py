"""Stacked training: every cell of a stack advances in one traced `torch.func` step.

The step is `vmap(grad_and_value(loss))`, or for perceptrons the gradients that `perceptron` writes out, and the
optimizer's update, traced once per composition to plain tensor operations: the same numbers, bit for bit, without
torch.func's bookkeeping in every step. Nothing in the loop waits for the device; once in a while (`_CHECK_STEPS`) the
host looks at which cells have diverged or reached their stop rule and takes them out of the stack, at moments that
depend on the spec alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from suite.errors import BadInput
from suite.models.flat import initial_weights
from suite.spec.cells import Cell, Stack
from suite.spec.training import TrainingSpec
from suite.training.descent import descent
from suite.training.evaluate import evaluate
from suite.training.optimizers import (
    Hyper,
    State,
    Step,
    hyperparameters,
    is_descent,
    schedule_factors,
    stacked_optimizer,
)
from suite.training.order import stacked_order
from suite.training.perceptron import Perceptrons
from suite.training.problem import Problem, Split
from suite.training.record import Checkpoint, RunRecord, Status
from suite.training.sharpness import LargestEigenvalue

_CHECK_STEPS = 100
_MOST_TRAJECTORY_BYTES = 4 * 2**30

Progress = Callable[[int, int], None]


@dataclass
class _Live:
    """The cells still training. Tensors have one row a cell; `index` are the cells' places in the stack.

    `before` are the weights one step earlier; in a frozen cell the last ones whose loss was bounded, and its `weights`
    mean nothing. `steps` are the steps taken from weights of bounded loss, `losses` the sum over this epoch's
    minibatches.
    """

    index: list[int]
    weights: Tensor
    before: Tensor
    state: State
    hyper: Hyper
    alive: Tensor
    steps: Tensor
    losses: Tensor
    recent: Tensor | None
    step_function: Step | None = None

    def keep(self, places: list[int]) -> _Live:
        """Only the cells at these places."""
        at = torch.tensor(places, dtype=torch.int64, device=self.weights.device)
        state, hyper = tuple(s[at] for s in self.state), {k: v[at] for k, v in self.hyper.items()}
        recent = None if self.recent is None else self.recent[at]
        index = [self.index[p] for p in places]
        weights, before, losses = self.weights[at], self.before[at], self.losses[at]
        return _Live(index, weights, before, state, hyper, self.alive[at], self.steps[at], losses, recent)


@dataclass
class _Run:
    """What is collected of one cell."""

    initial: Tensor
    status: Status = "finished"
    checkpoints: list[Checkpoint] = field(default_factory=list)
    trajectory: Tensor | None = None
    curve: list[float] = field(default_factory=list)
    sharpness: dict[int, float] = field(default_factory=dict)


def train_stack(stack: Stack, problem: Problem, test: Split, progress: Progress | None = None) -> tuple[RunRecord, ...]:
    """Train all cells of a stack, on the device and in the dtype of the problem's data.

    Args:
        stack: cells of one shape and batch size.
        problem: the network, the loss and the training set they share.
        test: evaluated at every checkpoint beside the training set.
        progress: called with (steps done, steps in all) at every look at the stack.

    Returns:
        One record per cell, in the stack's order.

    Raises:
        BadInput: the trajectory asked for does not fit.
    """
    return _Trainer(stack, problem, test).run(progress or (lambda done, total: None))


class _Trainer:
    """The loop of one stack."""

    def __init__(self, stack: Stack, problem: Problem, test: Split) -> None:
        self.cells: tuple[Cell, ...] = stack.cells
        self.problem, self.test = problem, test
        self.spec: TrainingSpec = self.cells[0].task.training
        train = problem.train
        self.device = train.inputs.device
        self.batch = self.spec.batch(len(train))
        self.per_epoch = len(train) // self.batch
        self.total = self.spec.total_steps(len(train))
        self.whole = self.batch == len(train)
        self.perceptrons = Perceptrons.of(problem.model, problem.objective, train.inputs)
        # always the end of an epoch: the order of the next one is drawn for the cells that are left
        self.check_every = self.per_epoch * math.ceil(_CHECK_STEPS / self.per_epoch)
        factors = schedule_factors(self.spec.schedule, self.total)
        self.factors = torch.tensor(factors, dtype=problem.dtype).to(self.device)
        self.watched = frozenset(self.spec.sharpness_steps(len(train)))
        self.sharpness = LargestEigenvalue.of(problem, self.spec)
        # by epoch: the cells that were training then, and the mean losses, left on the device
        self.curves: list[tuple[list[int], Tensor]] = []

    def run(self, progress: Progress) -> tuple[RunRecord, ...]:
        live, runs = self._start()
        keep = set(self.spec.checkpoint_steps(len(self.problem.train)))
        if 0 in keep:
            self._record(live, runs, 0)
        self._watch(live, runs, 0)
        batches: Tensor | None = None
        for step in range(self.total):
            epoch, place = divmod(step, self.per_epoch)
            if place == 0 and not self.whole:
                batches = self._batches(live, epoch)
            self._advance(live, step, None if batches is None else batches[place])
            done = step + 1
            if done % self.per_epoch == 0:
                self.curves.append((live.index, live.losses / self.per_epoch))
                live.losses = torch.zeros_like(live.losses)
            if done in keep and done < self.total:
                self._record(live, runs, done)
            self._watch(live, runs, done)
            if done % self.check_every == 0 and done < self.total:
                left = self._retire(live, runs, done)
                if len(left) < len(live.index):
                    live = live.keep(left)
                    if not left:
                        break
                progress(done, self.total)
        if live.index:
            self._end(live, runs, [(place, "finished") for place in range(len(live.index))], self.total)
        progress(self.total, self.total)
        return self._records(runs)

    def _records(self, runs: list[_Run]) -> tuple[RunRecord, ...]:
        for index, losses in self.curves:
            for cell, loss in zip(index, losses.tolist(), strict=True):
                runs[cell].curve.append(loss)
        records = []
        for run in runs:
            curve = torch.tensor(run.curve[: run.checkpoints[-1].step // self.per_epoch], dtype=torch.float32)
            points, sharpness = tuple(run.checkpoints), self._sharpness_of(run)
            records.append(RunRecord(run.status, run.initial, points, run.trajectory, curve, sharpness))
        return tuple(records)

    def _start(self) -> tuple[_Live, list[_Run]]:
        task = self.cells[0].task
        initial = [initial_weights(task.model, task.data.shape(), cell.task.seed) for cell in self.cells]
        weights = torch.stack(initial).to(self.device, self.problem.dtype)
        optimizers = [cell.task.training.optimizer for cell in self.cells]
        _, state = stacked_optimizer(optimizers, weights)
        alive = torch.ones(len(initial), 1, dtype=torch.bool, device=self.device)
        steps = torch.zeros(len(initial), dtype=torch.int64, device=self.device)
        live = _Live(
            list(range(len(initial))),
            weights,
            weights.clone(),  # tracing takes one tensor given twice for one argument
            state,
            hyperparameters(optimizers, weights),
            alive,
            steps,
            torch.zeros_like(weights[:, 0]),
            self._ring(weights),
        )
        return live, [_Run(w.to(self.problem.dtype)) for w in initial]

    def _ring(self, weights: Tensor) -> Tensor | None:
        if self.spec.trajectory is None:
            return None
        points = self.spec.trajectory.points
        need = points * weights.numel() * weights.element_size()
        if need > _MOST_TRAJECTORY_BYTES:
            raise BadInput(
                f"training.trajectory.points: {points} iterates of a stack of {len(weights)} take {need:,} "
                f"bytes, more than {_MOST_TRAJECTORY_BYTES:,}: lower training.trajectory.points or training.stack_size"
            )
        return weights.new_empty(len(weights), points, weights.shape[1])

    def _batches(self, live: _Live, epoch: int) -> Tensor:
        """Which inputs the steps of an epoch take, `steps × (cells · batch)`: in one piece, as gathering likes them."""
        seeds = [self.cells[i].task.seed for i in live.index]
        order = stacked_order(seeds, epoch, len(self.problem.train), self.device)[:, : self.per_epoch * self.batch]
        return order.reshape(len(seeds), self.per_epoch, self.batch).transpose(0, 1).reshape(self.per_epoch, -1)

    def _advance(self, live: _Live, step: int, at: Tensor | None) -> None:
        train = self.problem.train
        inputs, targets = train.inputs, train.targets
        if at is not None:
            shape = (len(live.index), self.batch)
            inputs = inputs.index_select(0, at).view(*shape, *inputs.shape[1:])
            targets = targets.index_select(0, at).view(*shape, *targets.shape[1:])
        factor = self.factors[step]
        if live.step_function is None:
            live.step_function = self._trace(live, inputs, targets, factor)
        with torch.no_grad():
            live.weights, live.before, live.state, live.alive, live.steps, live.losses = live.step_function(
                live.weights, live.before, live.state, live.alive, live.steps, live.losses, live.hyper, factor, inputs,
                targets,
            )  # fmt: skip
            kept = self.spec.trajectory
            if live.recent is not None and kept and (step + 1) % kept.every == 0:
                live.recent[:, (step + 1) // kept.every % kept.points] = live.weights

    def _trace(self, live: _Live, inputs: Tensor, targets: Tensor, factor: Tensor) -> Step:
        optimizers = [self.cells[i].task.training.optimizer for i in live.index]
        update, _ = stacked_optimizer(optimizers, live.weights)
        limit = self.spec.stop.diverged_above
        if self.perceptrons is not None and is_descent(optimizers):
            return descent(self.perceptrons, limit)
        gradients = vmap(grad_and_value(self.problem.loss), in_dims=(0, None, None) if self.whole else 0)
        if self.perceptrons is not None:
            gradients = self.perceptrons.gradients

        def step(w, before, state, alive, steps, losses, hyper, factor, inputs, targets):  # type: ignore[no-untyped-def]
            gradient, loss = gradients(w, inputs, targets)
            alive = alive & (loss < limit).unsqueeze(1)  # NaN compares false
            moved, new_state = update(w, gradient, state, hyper, factor)
            # the loss is that of w: where it is not bounded the cell is frozen, that is `before` stays what it was;
            # its weights and its state go on to nowhere, at no cost to the others
            return moved, torch.where(alive, w, before), new_state, alive, steps + alive[:, 0], losses + loss

        now = (live.weights, live.before, live.state, live.alive, live.steps, live.losses, live.hyper)
        traced: Step = make_fx(step)(*now, factor, inputs, targets)
        return traced

    def _retire(self, live: _Live, runs: list[_Run], done: int) -> list[int]:
        """Take out diverged cells and those whose stop rule holds; the places of the others."""
        alive, reached = live.alive[:, 0].tolist(), self._reached(live)
        out = [place for place in range(len(alive)) if not alive[place] or reached[place]]
        self._end(live, runs, [(place, "stopped") for place in out], done)
        return [place for place in range(len(alive)) if place not in out]

    def _reached(self, live: _Live) -> list[bool]:
        stop = self.spec.stop
        if stop.train_accuracy is None and stop.train_loss is None:
            return [False] * len(live.index)
        measured = evaluate(self.problem, live.weights, self.problem.train).tolist()
        return [
            (stop.train_loss is not None and loss <= stop.train_loss)
            or (stop.train_accuracy is not None and accuracy >= stop.train_accuracy)
            for loss, accuracy in measured
        ]

    def _record(self, live: _Live, runs: list[_Run], done: int) -> None:
        """Keep a checkpoint of every cell that has come so far; a frozen one has its last already, or gets it later."""
        places = [place for place, steps in enumerate(live.steps.tolist()) if steps == done]
        if places:
            at = torch.tensor(places, device=self.device)
            points = self._points(live.weights[at], [done] * len(places))
            for place, point in zip(places, points, strict=True):
                runs[live.index[place]].checkpoints.append(replace(point, state=_state(live, place)))

    def _watch(self, live: _Live, runs: list[_Run], done: int) -> None:
        """Record the largest eigenvalue of every cell that has come so far, where this is a step to do so."""
        if self.sharpness is None or done not in self.watched:
            return
        for place, steps in enumerate(live.steps.tolist()):
            if steps == done:
                runs[live.index[place]].sharpness[done] = self.sharpness(live.weights[place])

    def _sharpness_of(self, run: _Run) -> tuple[tuple[int, float], ...]:
        """The largest eigenvalues of a run, up to where it stopped; none after a diverged one's last checkpoint."""
        end, found = run.checkpoints[-1], dict(run.sharpness)
        if run.status == "diverged":
            found = {step: found[step] if step in found and step <= end.step else math.nan for step in self.watched}
        elif self.sharpness is not None and end.step not in found:
            found[end.step] = self.sharpness(end.weights.to(self.device))
        return tuple(sorted(found.items()))

    def _end(self, live: _Live, runs: list[_Run], ends: Sequence[tuple[int, Status]], done: int) -> None:
        """The last checkpoint of the cells at these places, and the status of those that did not diverge."""
        if not ends:
            return
        at = torch.tensor([place for place, _ in ends], device=self.device)
        alive, steps = live.alive[at, 0], live.steps[at]
        weights = torch.where(live.alive[at], live.weights[at], live.before[at])
        points = self._points(weights, torch.where(alive, steps, (steps - 1).clamp(min=0)).tolist())
        healthy = [a and self._bounded(point) for a, point in zip(alive.tolist(), points, strict=True)]
        blown = [row for row, a in enumerate(alive.tolist()) if a and not healthy[row]]
        if blown:  # by its very last step, whose loss no further step has looked at
            again = self._points(live.before[at[blown]], (steps[blown] - 1).tolist())
            points = [again[blown.index(row)] if row in blown else point for row, point in enumerate(points)]
        for row, (place, status) in enumerate(ends):
            run = runs[live.index[place]]
            run.status = status if healthy[row] else "diverged"
            # the state of a diverged cell is that of weights which are not kept
            self._close(run, replace(points[row], state=_state(live, place) if healthy[row] else ()))
            if live.recent is not None:
                run.trajectory = self._trajectory(live.recent[place], run.checkpoints[-1], done)

    def _close(self, run: _Run, end: Checkpoint) -> None:
        """Let `end` be the run's last checkpoint, or where its loss is not bounded the last one before that is."""
        kept = [point for point in run.checkpoints if point.step < end.step]
        if run.status == "diverged" and not self._bounded(end):
            kept = [point for point in kept if self._bounded(point)]
            start = run.initial.to(self.device)[None]
            run.checkpoints = kept or self._points(start, [0])
        else:
            run.checkpoints = [*kept, end]

    def _bounded(self, point: Checkpoint) -> bool:
        return point.train_loss < self.spec.stop.diverged_above

    def _points(self, weights: Tensor, steps: Sequence[int]) -> list[Checkpoint]:
        """Checkpoints of these weights, one row a cell, evaluated on both sets."""
        train = evaluate(self.problem, weights, self.problem.train).tolist()
        test = evaluate(self.problem, weights, self.test).tolist()
        kept = weights.cpu()
        return [Checkpoint(step, kept[row].clone(), *train[row], *test[row]) for row, step in enumerate(steps)]

    def _trajectory(self, recent: Tensor, end: Checkpoint, done: int) -> Tensor:
        """What a cell's ring holds of steps up to its last checkpoint, by ascending step."""
        kept = self.spec.trajectory
        assert kept is not None
        newest = done // kept.every
        numbers = [n for n in range(max(1, newest - kept.points + 1), newest + 1) if n * kept.every <= end.step]
        return recent[[n % kept.points for n in numbers]].cpu()


def _state(live: _Live, place: int) -> tuple[Tensor, ...]:
    """The optimizer's state of one cell, on the CPU."""
    return tuple(part[place].cpu().clone() for part in live.state)
