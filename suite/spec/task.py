"""A task: data, model, training, a grid of hyperparameters, probes, targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from suite.spec.base import DataSpec, ModelSpec, Strict, union
from suite.spec.probes import Probes
from suite.spec.training import Fraction, TrainingSpec

if TYPE_CHECKING:
    AnyData = DataSpec
    AnyModel = ModelSpec
else:
    AnyData = union("suite.data", DataSpec)
    AnyModel = union("suite.models", ModelSpec)

Scalar = bool | int | float | str
Target = Literal["accuracy_gap", "loss_gap", "signed_accuracy_gap", "signed_loss_gap"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$", max_length=80)]


class Include(Strict):
    """Which checkpoints count in the ranking; the number left out is always shown."""

    train_accuracy: Fraction = Field(default=0.0, description="least training accuracy that counts")


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
    targets: Annotated[list[Target], Field(min_length=1, default_factory=lambda: ["accuracy_gap", "loss_gap"])]

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if reason := self.model.misfit(self.data.shape()):
            raise ValueError(f"model.kind: {reason}")
        size = self.data.train_size()
        if self.training.batch_size != "full" and self.training.batch_size > size:
            raise ValueError(
                f"training.batch_size: {self.training.batch_size} is more than the {size} inputs of the training set; "
                "lower it, or say full"
            )
        probe = self.probes.spectrum.batch_size
        if isinstance(probe, int) and probe > size:
            raise ValueError(f"probes.spectrum.batch_size: {probe} is more than the {size} inputs of the training set")
        return self
