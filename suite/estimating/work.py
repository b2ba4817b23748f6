"""How much there is to do: the counts of training, probes and metrics, from a task's spec alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
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
_COLUMNS = 64
"""As `suite.curvature.hessian` has it: columns of a Hessian that are made at once."""
LARGE = 2**23
"""Numbers (32 MiB) beyond which nothing is cached, and memory is fresh from the system each time."""
_CACHED = 2**25
"""Entries of a float64 matrix that no cache holds (256 MiB): half of a decomposition is then bound by memory."""
_PIECE = 2**20
"""As `suite.measuring.probes.gradients` has it: activations of the inputs that are looked at at once."""
_TALL = 8
"""As `suite.curvature.reduction` has it: inputs per feature from which a batch's span is kept by a worker process."""
_OUTPUTS, _VECTORS = 16, 8
"""As `suite.measuring.probes.gradients` has them: outputs of exact traces, random vectors beyond."""
_TRACE = 90
"""Eager operations that it takes to trace one operation of a network's forward pass, its gradient and the update."""
_GRAPH = 5
"""Those of an operator's graph, and of two evaluations of the loss that see that it is the same."""
_MAPPED = 8
"""Those of derivatives of single inputs, mapped over a piece of them."""
_PUSH = 15
"""Those of a tangent frame that is pushed through one step, and of the step itself."""
_WARMUP = 1.5
"""As `suite.measuring.probes.exponents` has it: steps in all for each that counts."""


@dataclass
class Work:
    """What something takes; sums add up.

    Attributes:
        flops: floating-point operations of matrix products in float32 (or whatever training's dtype is).
        double: those in float64.
        eigen: those of eigenvalue and singular value decompositions.
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
    return [stack_of(stack) for stack in stacks(task)]


def stack_of(stack: Stack) -> StackWork:
    """The work of training one stack."""
    task = stack.cells[0].task
    training, size = task.training, task.data.train_size()
    network = network_of(task.model, task.data.shape())
    batch, steps, cells = training.batch(size), training.total_steps(size), len(stack.cells)
    by_hand = network.layers > 0 and all(_plain(cell) for cell in stack.cells)
    updates = 4 if by_hand else {"sgd": 9, "adamw": 16}[training.optimizer.kind]
    # minibatches are gathered from the training set, a full batch is there already
    gathered = 0 if batch == size else batch * task.data.shape().features
    # as counted in torch's dispatcher: stacked by vmap, gradients copy what they multiply
    written = (2.5 if network.layers else 3.5) * network.numbers
    step = Work(
        flops=cells * batch * network.gradient,
        numbers=cells * (gathered + batch * written + updates * network.parameters),
        # counted in traced graphs, views too; stacked, a forward pass and its gradient are eight times a forward pass
        launches=(13 * network.layers + 30) if network.layers else 8 * network.operations + 20,
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
    return _in_pieces(network, looks * asked.iterations, min(asked.samples, size), 2 * _PIECE, False)


def _products(network: Network, products: int, rows: int, inputs: int, double: bool) -> Work:
    """Products, so many rows at once, on so many inputs."""
    flops, read = products * inputs * network.product, inputs * (network.features + 2 * network.numbers)
    return Work(
        **{"double" if double else "flops": flops},
        # inputs and a graph that no cache holds are read anew by every block of products
        numbers=products * (network.bend * inputs * network.numbers + 4 * network.parameters)
        + (products / rows * read if read > LARGE else 0),
        # a single vector is pulled back without vmap, which costs more than the operations that it batches
        eager=products / rows * (1.5 if rows == 1 else 5) * network.operations,
        counts={"Hessian products": products},
    )


def _in_pieces(network: Network, products: int, inputs: int, numbers: int, double: bool) -> Work:
    """Products on so many inputs, in pieces of so many activations: of several, each makes its graph anew."""
    pieces = -(-inputs * network.widest // numbers)
    work = _products(network, products, 1, inputs, double)
    if pieces == 1:
        return work
    # the loss is evaluated twice besides, to see that it is the same
    flops = 2.0 * inputs * network.forward
    looked = Work(double=flops) if double else Work(flops=flops)
    graphs = (_slopes(network, 1, inputs, double) + looked) * products
    return replace(work + graphs, eager=pieces * (work.eager + graphs.eager), counts=work.counts)


def _slopes(network: Network, calls: int, inputs: int, double: bool = False) -> Work:
    flops = calls * inputs * network.gradient
    return Work(
        **{"double" if double else "flops": flops},
        numbers=calls * (2 * inputs * network.numbers + 2 * network.parameters),
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
        found[name] = probe_of(task, stack, name) * times
    return found


def _batch(budget: Any, training: int, size: int) -> int:
    return int({"training": training, "full": size}.get(str(budget.batch_size), budget.batch_size))


def probe_of(task: TaskSpec, stack: StackWork, name: str) -> Work:
    """One probe, which the task asks for, of one checkpoint of a stack."""
    return _probe(task, stack, name, getattr(task.probes, name)) + Work(jobs=1)


def _probe(task: TaskSpec, stack: StackWork, name: str, budget: Any) -> Work:
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


def decomposed(task: TaskSpec, stack: StackWork, probes: Iterable[str]) -> Work:
    """The span of the whole training set, where a probe is on all of it: each worker finds it once for all networks."""
    size, network = task.data.train_size(), stack.network
    asked = [getattr(task.probes, name) for name in set(probes) & {"spectrum", "common", "whole"}]
    whole = any(budget is not None and _batch(budget, stack.batch, size) == size for budget in asked)
    return _span(network, size) if whole and _tall(network, size) else Work()


def _tall(network: Network, inputs: int) -> bool:
    return network.features > 0 and inputs >= _TALL * network.features


def _span(network: Network, inputs: int) -> Work:
    """The singular value decomposition of a batch's inputs."""
    return Work(eigen=_decomposition(inputs, network.features))


def _spectrum(
    network: Network, budget: DenseSpectrum | LanczosSpectrum, batch: int, size: int, reduced: bool = True
) -> Work:
    own, double = (network.in_span(batch) if reduced else network), budget.dtype == "float64"
    begun = Work(eager=_GRAPH * network.operations)
    if reduced and not _tall(network, batch):
        begun += _span(network, batch)
    if isinstance(budget, DenseSpectrum):
        if own.parameters > _MATRIX and own.shapes:
            return (begun + _ranged(network, batch)) * budget.minibatches
        d = own.parameters
        matrix = _products(own, d, min(d, _COLUMNS), batch, double)
        return (begun + matrix + Work(eigen=_eigenvalues(d) * (1 if double else 0.5))) * budget.minibatches
    share = budget.runs if batch == size else min(budget.share, budget.runs)
    rows = max(1, min(share, _BLOCK_NUMBERS // own.parameters))
    work = _products(own, budget.runs * budget.steps, rows, batch, double)
    draws = 1 if batch == size else budget.runs / share
    # the recurrence: a dozen operations on the vectors a step
    return (
        work
        + begun * draws
        + Work(numbers=12 * budget.runs * budget.steps * own.parameters, eager=12 * budget.runs / share * budget.steps)
    )


def _ranged(network: Network, batch: int) -> Work:
    """All eigenvalues on a few inputs by way of the Hessian's range, of a perceptron too large for a matrix."""
    d = network.in_range(batch)
    # a layer's basis takes a decomposition of its column-structured matrices outside of the row-structured ones
    mixed = sum(_decomposition(*sizes) for sizes in network.mixed(batch))
    # the matrix is assembled from signals: what comes back, for each unknown, at each input
    return Work(double=d * batch * network.product, eigen=_eigenvalues(d) + mixed)


def _eigenvalues(d: int) -> float:
    """Operations of a symmetric matrix's eigenvalues: 4/3 d³ of the tridiagonal form, twice as dear beyond caches."""
    return 4 / 3 * d**3 * (2 if d**2 > _CACHED else 1)


def _decomposition(one: int, other: int) -> float:
    """Operations of a singular value decomposition with its vectors, m k² and k³, m ≥ k: by way of QR.

    Golub & Van Loan, Matrix Computations, the table of R-SVD. Twice as dear beyond caches.
    """
    long, short = max(one, other), min(one, other)
    return (6.0 * long * short**2 + 20.0 * short**3) * (2 if long * short > _CACHED else 1)


def _onward(stack: StackWork) -> Work:
    """One more step of a run's own training, alone."""
    network, data = stack.network, stack.stack.cells[0].task.data
    gathered = 0 if stack.batch == data.train_size() else stack.batch * data.shape().features
    return Work(
        flops=stack.batch * network.gradient,
        numbers=gathered + 2 * stack.batch * network.numbers + 9 * network.parameters,
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
    # every step is differentiated anew, forward over reverse: nothing is kept from the step before
    one = replace(one, eager=_PUSH * network.operations)
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
    # gradients of single inputs, then traces, in pieces that hold so many numbers
    pieces = sum(-(-samples * k * max(network.parameters, network.widest) // _PIECE) for k in (1, vectors))
    each = Work(
        double=samples * (network.gradient + (2 * vectors + 1) * network.forward),
        numbers=samples * (1 + vectors) * (network.numbers + network.parameters),
        eager=pieces * _MAPPED * network.operations,
        counts={"gradients": samples * (1 + vectors)},
    )
    copied = Work(numbers=2.0 * size * task.data.shape().features)  # the training set in float64
    whole = copied + _slopes(network, 1, size, True) + _in_pieces(network, 2, size, _PIECE, True)
    if stack.batch == size:
        return each + whole
    batch = _slopes(network, 1, stack.batch, True) + _products(network, 1, 1, stack.batch, True)
    return each + whole + (batch + Work(eager=_GRAPH * network.operations)) * budget.minibatches
