"""How long work takes on a device: constants, where they come from, and how far off they were.

The CPU's are fitted to recorded runs by `python -m tests.bench.calibrate`. Those of GPUs are published peak numbers
times an assumed utilisation, and launch times that are assumed: nothing of them was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from suite.errors import BadInput
from suite.estimating.work import Work

TERMS = ("flops", "double", "eigen", "numbers", "launches", "eager")
"""The terms of `Work` that have a price."""
KINDS = ("training", "probe", "metric")
"""Kinds of jobs, each with a price of its own for what comes before and after the work."""
UTILISATION = 0.3
"""The assumed part of a GPU's peak in matrix products and of its memory's bandwidth."""


@dataclass(frozen=True)
class Device:
    """Seconds of one worker for each floating-point operation, number written, operation launched and job.

    Attributes:
        flops, double: of a matrix product in float32 and in float64.
        eigen: of an eigenvalue decomposition, float64.
        numbers: a number written by element-wise work.
        launches, eager: an operation launched by a traced step, and through torch.func.
        training, probe, metric: a stack, probe or value: loading, set-up, storing.
        memory: bytes it has; None where the machine's own is meant.
        measured: whether the constants come from measurements.
        note: where they come from, for people.
    """

    name: str
    flops: float
    double: float
    eigen: float
    numbers: float
    launches: float
    eager: float
    training: float
    probe: float
    metric: float
    memory: int | None
    measured: bool
    note: str

    def seconds(self, work: Work, kind: str) -> float:
        """What the work takes one worker."""
        priced = sum(getattr(work, term) * getattr(self, term) for term in TERMS)
        return float(priced + work.jobs * getattr(self, kind))


CPU = Device(
    name="cpu",
    flops=1.1e-11,
    double=8.5e-11,
    eigen=2.6e-11,
    numbers=8.4e-10,
    launches=2.9e-06,
    eager=1.6e-05,
    training=0.45,
    probe=0.078,
    metric=0.0028,
    memory=None,
    measured=True,
    note="one thread a worker; fitted to recorded runs on two cores of an Intel Xeon, some beside other work",
)

COMPARED = {
    "quick/digits-mlp3": "76d489a9",
    "quick/modular-grokking": "76d489a9",
    "quick/modular-transformer": "76d489a9",
    "mnist/mlp3": "eb0474b4",
    "grokking/mlp2-gelu": "f6f388d0",
    "confounds/label-noise": "eb0474b4",
    "confounds/seeds": "eb0474b4",
    "confounds/width": "f6f388d0",
    "confounds/initialisation": "f6f388d0",
}
"""The recordings that the CPU's constants were fitted to: tasks, and the commits by which they were trained."""
WORST = {"training": 1.5, "probes": 1.7, "metrics": 1.35}
"""By what factor their estimates were off at most, either way; a test compares."""
LOADED = 2.7
"""By what factor tasks have taken longer than estimated beside other work: the training of grokking/mlp3-relu did, with
two more processes on its two cores."""
PILOTS = 1.9
"""By what factor pilots of GPT-2 nano, which no constant was fitted to, took longer than estimated at most."""


def _gpu(name: str, single: float, double: float, bandwidth: float, memory: int) -> Device:
    """A GPU by its published peaks: teraFLOP/s (dense, no reduced precision), TB/s, bytes."""
    flops, slow = 1 / (single * 1e12 * UTILISATION), 1 / (double * 1e12 * UTILISATION)
    return Device(
        name=name,
        flops=flops,
        double=slow,
        # decompositions on a GPU are known to reach a few per cent of its peak
        eigen=slow * 10,
        numbers=2 * 4 / (bandwidth * 1e12 * UTILISATION),  # one float32 read for each written
        launches=1e-5,
        eager=3e-5,
        training=5.0,
        probe=0.05,
        metric=0.01,
        memory=memory,
        measured=False,
        note=(
            f"published peaks {single:g} TFLOP/s in float32 (without TF32), {double:g} in float64, {bandwidth:g} TB/s, "
            f"times an assumed utilisation of {UTILISATION:.0%}; launch times assumed"
        ),
    )


DEVICES = {
    device.name: device
    for device in (
        CPU,
        # NVIDIA's data sheets, SXM: H100 and H200 67 TFLOP/s in float32 and on float64 tensor cores, A100 19.5 in both
        _gpu("h100", 67.0, 67.0, 3.35, 80 * 10**9),
        _gpu("h200", 67.0, 67.0, 4.8, 141 * 10**9),
        _gpu("a100", 19.5, 19.5, 2.04, 80 * 10**9),
    )
}


def device_named(name: str) -> Device:
    """The device of that name.

    Raises:
        BadInput: there are no constants for it.
    """
    if name not in DEVICES:
        raise BadInput(f"--on {name}: there are constants for {', '.join(DEVICES)}")
    return DEVICES[name]
