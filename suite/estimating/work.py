"""How much there is to do: the counts of training, probes and metrics, from a task's spec alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from suite.estimating.networks import Network, network_of
from suite.spec.cells import Cell, Stack, stacks
from suite.spec.probes import Attractor, DenseSpectrum, Exponents, Forward, Gradients, LanczosSpectrum
from suite.spec.task import TaskSpec
from suite.spec.training import SGD, AdamW

_BLOCK_NUMBERS = 2**24
"""As `suite.measuring.probes.spectrum` has it: entries of a block of vectors."""
_MATRIX = 2**14
"""Likewise: unknowns of the largest Hessian that is written down."""
_OUTPUTS, _VECTORS = 16, 8
"""As `suite.measuring.probes.gradients` has them: outputs of exact traces, random vectors beyond."""
_TRACE = 90
"""Eager operations that it takes to trace one operation of a network's forward pass, its gradient and the update."""
_WARMUP = 1.5
"""As `suite.measuring.probes.exponents` has it: steps in all for each that counts."""


@dataclass
class Work:
    """What something takes; sums add up.

    Attributes:
        flops: floating-point operations of matrix products in float32 (or whatever training's dtype is).
        double: those in float64.
        eigen: those of eigenvalue decompositions.
        numbers: entries of tensors written by element-wise work.
        launches: tensor operations launched one after another by training's traced steps.
        eager: those of probes and metrics, through torch.func.
        jobs: pieces that are each loaded, measured and stored.
        counts: words for people: steps, samples, gradients, products, forward passes (of one input each).
    """

    flops: float = 0.0
    double: float = 0.0
    eigen: float = 0.0
    numbers: float = 0.0
    launches: float = 0.0
    eager: float = 0.0
    jobs: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: Work) -> Work:
        counts = {w: self.counts.get(w, 0) + other.counts.get(w, 0) for w in {**self.counts, **other.counts}}
        return Work(**{word: getattr(self, word) + getattr(other, word) for word in TERMS}, counts=counts)

    def __mul__(self, times: float) -> Work:
        counts = {word: round(count * times) for word, count in self.counts.items()}
        return Work(**{word: getattr(self, word) * times for word in TERMS}, counts=counts)

    @property
    def operations(self) -> float:
        """All floating-point operations that are counted."""
        return self.flops + self.double + self.eigen


TERMS = ("flops", "double", "eigen", "numbers", "launches", "eager", "jobs")


@dataclass(frozen=True)
class StackWork:
    """A stack: its network, cells, and what training it takes."""

    stack: Stack
    network: Network
    batch: int
    steps: int
    work: Work


def trained(task: TaskSpec) -> list[StackWork]:
    """The work of training, stack by stack."""
    return [_stack(stack) for stack in stacks(task)]


def _stack(stack: Stack) -> StackWork:
    task = stack.cells[0].task
    training, size = task.training, task.data.train_size()
    network = network_of(task.model, task.data.shape())
    batch, steps, cells = training.batch(size), training.total_steps(size), len(stack.cells)
    by_hand = network.layers > 0 and all(_plain(cell) for cell in stack.cells)
    updates = 4 if by_hand else {"sgd": 9, "adamw": 16}[training.optimizer.kind]
    step = Work(
        flops=cells * batch * network.gradient,
        numbers=cells * (3 * batch * network.numbers + updates * network.parameters),
        # hand-written perceptrons launch some seven operations a layer, the rest three times their forward pass
        launches=7 * network.layers + 14 if network.layers else 3 * network.operations + 20,
        counts={"steps": cells, "samples seen": cells * batch},
    )
    kept = len(training.checkpoint_steps(size)) * cells
    looked = Work(flops=kept * size * network.forward, numbers=kept * size * network.numbers, launches=kept * 10)
    whole = step * steps + looked + _distances(task, network) * cells + _sharpness(task, network) * cells
    # a stack is traced once; hand-written gradients need no trace
    traced = Work(eager=0 if by_hand else _TRACE * network.operations)
    return StackWork(stack, network, batch, steps, whole + traced + Work(jobs=1))


def _plain(cell: Cell) -> bool:
    optimizer = cell.task.training.optimizer
    return isinstance(optimizer, SGD) and optimizer.momentum == 0 and optimizer.weight_decay == 0


def _distances(task: TaskSpec, network: Network) -> Work:
    """Those between the last iterates of a run."""
    kept = task.training.trajectory
    return Work() if kept is None else _between(task, network, kept.points, kept.samples)


def _between(task: TaskSpec, network: Network, points: int, samples: int) -> Work:
    inputs = min(samples, task.data.train_size())
    return Work(
        double=points * inputs * network.forward,
        numbers=points * inputs * network.numbers + points**2 / 2 * (network.parameters + inputs),
        eager=points * network.operations,
    )


def _sharpness(task: TaskSpec, network: Network) -> Work:
    """λ_max along a run: Hessian products on a sample of the training inputs."""
    asked, size = task.training.sharpness, task.data.train_size()
    if asked is None:
        return Work()
    looks = len(task.training.sharpness_steps(size))
    return _products(network, looks * asked.iterations, 1, min(asked.samples, size), False)


def _products(network: Network, products: int, rows: int, inputs: int, double: bool) -> Work:
    """Products, so many rows at once, on so many inputs."""
    flops = products * inputs * network.product
    return Work(
        **{"double" if double else "flops": flops},
        numbers=products * (8 * inputs * network.numbers + 4 * network.parameters),
        # a single vector is pulled back without vmap, which costs more than the operations that it batches
        eager=products / rows * (2 if rows == 1 else 5) * network.operations,
        counts={"Hessian products": products},
    )


def _slopes(network: Network, calls: int, inputs: int, double: bool = False) -> Work:
    flops = calls * inputs * network.gradient
    return Work(
        **{"double" if double else "flops": flops},
        numbers=calls * (3 * inputs * network.numbers + 2 * network.parameters),
        eager=calls * 3 * network.operations,
        counts={"gradients": calls * inputs},
    )


def probed(task: TaskSpec, stack: StackWork, read: set[str] | None = None) -> dict[str, Work]:
    """What each probe of the runs of a stack takes, by name.

    Args:
        task: any cell's task of the stack.
        stack: its network and batch size.
        read: the probes that some metric reads, None: all of them.
    """
    probes, size, cells = task.probes, task.data.train_size(), len(stack.stack.cells)
    points = len(task.training.checkpoint_steps(size))
    found: dict[str, Work] = {}
    done: set[str] = set()
    for name in type(probes).model_fields:
        budget = getattr(probes, name)
        adamw = isinstance(task.training.optimizer, AdamW)
        if budget is None or (read is not None and name not in read) or (name == "optimizer" and not adamw):
            continue
        if name in ("spectrum", "common", "whole"):  # two that come to the same are made once
            same = repr((budget.model_copy(update={"batch_size": 1}), _batch(budget, stack.batch, size)))
            if same in done:
                continue
            done.add(same)
        times = cells * (1 if getattr(budget, "at", "all") == "last" else points)
        found[name] = (_probe(task, stack, name, budget) + Work(jobs=1)) * times
    return found


def _batch(budget: Any, training: int, size: int) -> int:
    return int({"training": training, "full": size}.get(str(budget.batch_size), budget.batch_size))


def _probe(task: TaskSpec, stack: StackWork, name: str, budget: Any) -> Work:
    """One probe of one checkpoint."""
    size, network = task.data.train_size(), stack.network
    if isinstance(budget, DenseSpectrum | LanczosSpectrum):
        return _spectrum(network, budget, _batch(budget, stack.batch, size), size, reduced=name != "optimizer")
    if isinstance(budget, Attractor):
        spectrum = _spectrum(network, budget.spectrum, _batch(budget.spectrum, stack.batch, size), size)
        onward = _onward(stack) * ((budget.snapshots - 1) * budget.every)
        return spectrum * budget.snapshots + onward + Work(eager=_TRACE * network.operations)
    if isinstance(budget, Forward):
        steps = budget.points * (budget.steps // budget.points)
        between = _between(task, network, budget.points, budget.samples)
        return _onward(stack) * steps + between + Work(eager=_TRACE * network.operations)
    if isinstance(budget, Exponents):
        return _exponents(stack, budget)
    assert isinstance(budget, Gradients)
    return _gradients(task, stack, budget)


def _spectrum(
    network: Network, budget: DenseSpectrum | LanczosSpectrum, batch: int, size: int, reduced: bool = True
) -> Work:
    own, double = (network.in_span(batch) if reduced else network), budget.dtype == "float64"
    if isinstance(budget, DenseSpectrum):
        if own.parameters > _MATRIX and own.shapes:
            d = own.in_range(batch)
            # the matrix is assembled from signals: what comes back, for each unknown, at each input
            return Work(double=d * batch * network.product, eigen=4 / 3 * d**3) * budget.minibatches
        d = own.parameters
        rows = min(d, max(1, _BLOCK_NUMBERS // d))
        one = _products(own, d, rows, batch, double) + Work(eigen=4 / 3 * d**3 * (1 if double else 0.5))
        return one * budget.minibatches
    share = budget.runs if batch == size else min(budget.share, budget.runs)
    rows = max(1, min(share, _BLOCK_NUMBERS // own.parameters))
    work = _products(own, budget.runs * budget.steps, rows, batch, double)
    # the recurrence: a dozen operations on the vectors a step
    return work + Work(
        numbers=12 * budget.runs * budget.steps * own.parameters, eager=12 * budget.runs / share * budget.steps
    )


def _onward(stack: StackWork) -> Work:
    """One more step of a run's own training, alone."""
    network = stack.network
    return Work(
        flops=stack.batch * network.gradient,
        numbers=3 * stack.batch * network.numbers + 9 * network.parameters,
        launches=3 * network.operations + 30,
        counts={"gradients": stack.batch},
    )


def _exponents(stack: StackWork, budget: Exponents) -> Work:
    optimizer, network = stack.stack.cells[0].task.training.optimizer, stack.network
    buffers = 2 if isinstance(optimizer, AdamW) else int(optimizer.momentum > 0)
    state = network.parameters * (1 + buffers)
    count = state if budget.leading == "all" else min(budget.leading, state)
    steps, double = int(budget.steps * _WARMUP), budget.dtype == "float64"
    one = _products(network, count, count, stack.batch, double) + _slopes(network, 1, stack.batch, double)
    # the frame is orthonormalised at every step, in float64: R and Q of a state × count matrix
    frame = Work(double=4.0 * state * count**2, numbers=8.0 * state * count, eager=60)
    return (one + frame) * steps


def _gradients(task: TaskSpec, stack: StackWork, budget: Gradients) -> Work:
    """All in float64: gradients of single inputs, traces by outputs, the whole gradient, products of it and of w."""
    size, network = task.data.train_size(), stack.network
    samples, outputs = min(budget.samples, size), task.data.shape().outputs
    if task.data.shape().every_position:
        outputs *= task.data.shape().features
    vectors = outputs if outputs <= _OUTPUTS else _VECTORS
    each = Work(
        double=samples * (network.gradient + (2 * vectors + 1) * network.forward),
        numbers=samples * (1 + vectors) * (network.numbers + network.parameters),
        eager=20 * network.operations,
        counts={"gradients": samples * (1 + vectors)},
    )
    whole = _slopes(network, 1, size, True) + _products(network, 2, 1, size, True)
    if stack.batch == size:
        return each + whole
    batch = _slopes(network, 1, stack.batch, True) + _products(network, 1, 1, stack.batch, True)
    return each + whole + batch * budget.minibatches
