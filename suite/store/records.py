"""What is recorded: runs with their checkpoints, stacks that could not be trained, probes, values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint to record or as recorded.

    `weights` and `state` (the optimizer's, None where it has none) are a safetensors file's content, or its checksum
    once stored.
    """

    step: int
    weights: bytes | str
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    state: bytes | str | None = None


@dataclass(frozen=True)
class StoredRun:
    """A run to record, or as recorded; tensors as in `StoredCheckpoint`.

    `curve` is the mean loss of each epoch, `distances` those between the last iterates (None if not asked for),
    `sharpness` steps and the largest eigenvalue there, ascending (none if not asked for).
    """

    run_id: str
    status: str
    parameters: int
    initial: bytes | str
    curve: bytes | str
    checkpoints: tuple[StoredCheckpoint, ...]
    distances: bytes | str | None = None
    sharpness: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class StoredFailure:
    """A stack that could not be trained when it was last tried: failed/timeout/died with a reason, and what it took."""

    key: str
    status: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class StoredProbe:
    """A probe of a checkpoint: `status` ok with `tensors`, or failed/timeout/died with a reason.

    `device` is the name of the one that it was taken on; None where nobody noted it.
    """

    key: str
    name: str
    run_id: str
    step: int
    tensors: bytes | str | None
    status: str
    reason: str
    seconds: float
    device: str | None = None


@dataclass(frozen=True)
class StoredValue:
    """One value (or one component of it) of a metric at a checkpoint, or the reason why there is none.

    Attributes:
        source: hash of the metric's code.
        seconds: what it took.
        memory: bytes it took at most beyond what was there at its start, or None where that cannot be told.
        versions: of the packages that computed it, as JSON.
        device: the name of the one that it was measured on; None where nobody noted it.
    """

    key: str
    component: str
    run_id: str
    step: int
    metric: str
    version: int
    source: str
    value: float | None
    standard_error: float | None
    status: str
    reason: str
    seconds: float
    memory: int | None
    versions: str
    device: str | None = None
