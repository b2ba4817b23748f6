"""Which engine a run asks for, and what each of its workers is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from suite.errors import BadInput
from suite.executors.job import Executor, Needs
from suite.executors.local import LocalExecutor
from suite.executors.ray_cluster import RayExecutor
from suite.executors.slurm import BUNDLES_PER_WORKER, DEFAULT_WORKERS, SlurmExecutor

ENGINES = ("local", "ray", "slurm")
_GIB = 2**30
_HOUR = 3600.0


@dataclass(frozen=True)
class Engine:
    """What was said of it.

    Attributes:
        kind: one of `ENGINES`.
        address: of a Ray cluster.
        cpus, gpus: of each worker; None: one core, and one GPU where the device is CUDA.
        memory: bytes of each worker; None: as estimated from the tasks.
        seconds: most of one job of Slurm; None: as estimated.
        sbatch: further options for Slurm.
    """

    kind: str = "local"
    address: str = "auto"
    cpus: int | None = None
    gpus: float | None = None
    memory: int | None = None
    seconds: float | None = None
    sbatch: tuple[tuple[str, str], ...] = ()

    @property
    def local(self) -> bool:
        """Whether workers are on this machine, its devices and its memory."""
        return self.kind == "local"

    def bundles(self, workers: int | None) -> int:
        """How many jobs of a batch system the work is dealt out to at most.

        Args:
            workers: how many, where that was said.
        """
        return BUNDLES_PER_WORKER * (workers or DEFAULT_WORKERS) if self.kind == "slurm" else 1

    def device(self, word: str) -> str:
        """The device of workers on other machines, unseen from here: `auto` is CUDA where GPUs are asked for.

        Raises:
            BadInput: another word, or a number: a worker there sees its own devices alone.
        """
        if word == "auto":
            return "cuda:0" if self.gpus else "cpu"
        if word not in ("cpu", "cuda"):
            raise BadInput(f"--device {word}: use cpu or cuda; a worker of {self.kind} sees none but its own device")
        return "cpu" if word == "cpu" else "cuda:0"

    def needs(self, device: str, estimated: Needs) -> Needs:
        """What a worker is given: what was said, else what was estimated.

        Args:
            device: `cpu` or `cuda:N`.
            estimated: from the tasks, of memory and time.
        """
        gpus = self.gpus if self.gpus is not None else float(device != "cpu")
        return Needs(
            cpus=self.cpus or estimated.cpus,
            gpus=gpus,
            memory=self.memory or estimated.memory,
            seconds=self.seconds or estimated.seconds,
        )

    def executor(
        self,
        workers: int | None,
        environment: Mapping[str, str],
        folder: Path,
        devices: Callable[[], tuple[int, Sequence[str]]],
        needs: Callable[[], Needs],
        preload: Sequence[str] = (),
    ) -> Executor:
        """Workers of this engine.

        Args:
            workers: how many, where that was said.
            environment: variables set in them before they import anything.
            folder: of the store, in which Slurm's jobs find theirs and leave what they made.
            devices: of this machine: how many workers it has by itself, and the GPUs they are dealt out to.
            needs: of a worker elsewhere.
            preload: modules that every job needs.

        Raises:
            BadInput: the engine is not installed, or not to be had here.
        """
        if self.kind == "ray":
            return RayExecutor(self.address, workers, environment, needs())
        if self.kind == "slurm":
            return SlurmExecutor(folder / "slurm", workers, environment, needs(), dict(self.sbatch))
        usual, seats = devices()
        return LocalExecutor(workers or usual, environment, seats, preload)


HERE = Engine()
"""This machine."""


def engine_of(kind: str, address: str, words: Sequence[str]) -> Engine:
    """From the words of a command line; each of `words` is KEY=VALUE.

    Raises:
        BadInput: no such engine or key, or a value that is none.
    """
    if kind not in ENGINES:
        raise BadInput(f"--executor {kind}: use {', '.join(ENGINES)}")
    engine = Engine(kind, address)
    if kind != "ray" and address != "auto":
        raise BadInput(f"--address {address}: that of a Ray cluster; say --executor ray too")
    if kind == "local" and words:
        raise BadInput(f"--need {words[0]}: of workers on other machines; say --executor ray or --executor slurm too")
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise BadInput(f"--need {word}: KEY=VALUE is meant, such as memory=16")
        engine = _with(engine, key, value)
    return engine


def _with(engine: Engine, key: str, value: str) -> Engine:
    number = _number(value)
    if key in ("cpus", "gpus", "memory", "hours"):
        if number is None or (key == "cpus" and number != int(number)):
            raise BadInput(f"--need {key}={value}: a {'whole ' if key == 'cpus' else ''}number above 0 is meant")
        field = {"cpus": int(number), "gpus": number, "memory": int(number * _GIB), "seconds": number * _HOUR}
        name = "seconds" if key == "hours" else key
        return replace(engine, **{name: field[name]})  # type: ignore[arg-type]
    if engine.kind != "slurm":
        raise BadInput(f"--need {key}={value}: use cpus, gpus, memory (GiB) or hours")
    return replace(engine, sbatch=(*engine.sbatch, (key, value)))


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None
