"""A task: data, model, training, a grid of hyperparameters, probes, targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from suite.spec.base import DataSpec, ModelSpec, Strict, union
from suite.spec.keep import Keep
from suite.spec.probes import Probes
from suite.spec.training import Fraction, TrainingSpec

if TYPE_CHECKING:
    AnyData = DataSpec
    AnyModel = ModelSpec
else:
    AnyData = union("suite.data", DataSpec)
    AnyModel = union("suite.models", ModelSpec)

Scalar = bool | int | float | str
Positive = Annotated[float, Field(gt=0)]
Target = Literal["accuracy_gap", "loss_gap", "signed_accuracy_gap", "signed_loss_gap"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$", max_length=80)]


class Include(Strict):
    """Which checkpoints count in the ranking; the number left out is always shown."""

    train_accuracy: Fraction = Field(default=0.0, description="least training accuracy that counts")


class Limits(Strict):
    """What a metric may take on one checkpoint; more is its failure there. In no name of a run or of a value."""

    metric_seconds: Positive = Field(default=120.0, description="seconds a metric may take on one checkpoint")
    metric_memory_gib: Positive | None = Field(
        default=None, description="GiB of memory it may take, at most (and unless said) its worker's share; CPU only"
    )


MOST_TIMEOUTS = 3
"""A metric that takes too long on so many values of a task is not tried on the task's other values."""


class TaskSpec(Strict):
    """One YAML file. `grid` maps dotted paths of scalar fields to the values they take; cells are their product."""

    name: Name
    title: Annotated[str, Field(min_length=1, max_length=120)]
    description: str = ""
    kind: Literal["grid", "trajectory"]
    data: AnyData
    model: AnyModel
    training: TrainingSpec
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    grid: dict[str, list[Scalar]] = Field(default_factory=dict)
    probes: Probes = Probes()
    include: Include = Include()
    limits: Limits = Limits()
    keep: Keep = Keep()
    targets: Annotated[list[Target], Field(min_length=1, default_factory=lambda: ["accuracy_gap", "loss_gap"])]

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        probes = {name: spec.batch_size for name, spec in self.probes.spectra().items()}
        wrong = misfits(self.data, self.model, self.training.batch_size, probes)
        if found := dict(wrong):
            raise MisfitError(found)
        return self


class MisfitError(ValueError):
    """Parts of a task that are right by themselves and do not fit; `problems` by dotted path of the field to change."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in problems.items()))
        self.problems = problems


def misfits(
    data: DataSpec, model: ModelSpec | None, batch_size: Any, probes: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """What does not fit the data, and the field to change.

    Args:
        data: a source that is right by itself.
        model: likewise, or None if that is not known.
        batch_size: `training.batch_size`; what is not a whole number is passed over.
        probes: by name of a spectral probe its `batch_size`, likewise.
    """
    if model and (reason := model.misfit(data.shape())):
        yield "model.kind", reason
    size = data.train_size()
    many = f"is more than the {size} inputs of the training set"
    if isinstance(batch_size, int) and batch_size > size:
        yield "training.batch_size", f"{batch_size} {many}; lower it, or say full"
    for name, probe in probes.items():
        if isinstance(probe, int) and probe > size:
            yield f"probes.{name}.batch_size", f"{probe} {many}"
