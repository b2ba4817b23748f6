"""The strict base of every spec, and the two kinds that other rooms extend by one file each.

A data source is a subclass of `DataSpec` in a module of `suite.data`; an architecture is a subclass of `ModelSpec` in
a module of `suite.models`. `family` finds them, so a new one is one new file and nothing else. Their modules import
torch inside the methods that need it, so that reading a spec stays cheap (`tests/spec/test_imports.py`).
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import reduce
from importlib.metadata import entry_points
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from suite.data.base import Dataset


Spec = TypeVar("Spec", bound="Strict")


class Strict(BaseModel):
    """Frozen; unknown keys, silent conversions, infinities and NaN are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Shape:
    """What a network sees and must answer, known from the spec alone.

    Attributes:
        encoding: `vectors` (float inputs, `features` numbers each) or `tokens` (int64 inputs, `features` tokens each).
        features: numbers per input vector, or tokens per input sequence.
        outputs: number of classes (logits per prediction).
        vocabulary: number of distinct input tokens; 0 for vectors.
        every_position: True if there is one target per token (a language model), False if one per input.
    """

    encoding: Literal["vectors", "tokens"]
    features: int
    outputs: int
    vocabulary: int = 0
    every_position: bool = False


class DataSpec(Strict):
    """A data source. Subclasses set `kind: Literal["…"]` and the three methods; those that read files the other two."""

    kind: str

    def shape(self) -> Shape:
        """The shapes of one input and its answer, without loading anything."""
        raise NotImplementedError

    def train_size(self) -> int:
        """Number of training inputs, without loading anything."""
        raise NotImplementedError

    @classmethod
    def files(cls, folders: tuple[Path, ...], cache: Path) -> dict[str, Path | None]:
        """The files it reads, by their place in a data folder (`<set>/<file>`), and where each lies, None if nowhere.

        A source that makes its data itself has none.
        """
        return {}

    @classmethod
    def verify(cls, place: str, path: Path) -> None:
        """Check that the file found for one of the places of `files` is the one it should be, within a second or so.

        Raises:
            BadInput: it is not.
        """

    def load(self, folders: tuple[Path, ...], cache: Path) -> Dataset:
        """Read or make the data: look in `folders` in turn, then in `cache`, then download into `cache`."""
        raise NotImplementedError


class ModelSpec(Strict):
    """An architecture. Subclasses set `kind: Literal["…"]` and the two methods.

    `linear_in_inputs` says that the first parameter is a weight `h × features` that multiplies the raw input vectors:
    then the Hessian of a minibatch is reduced exactly to the span of its inputs.
    """

    linear_in_inputs: ClassVar[bool] = False
    kind: str

    def misfit(self, shape: Shape) -> str | None:
        """Why this architecture cannot take such data (and what to change), or None if it can."""
        raise NotImplementedError

    def build(self, shape: Shape) -> nn.Module:
        """The module, initialised from torch's global generator (`suite.models.initialised` seeds it)."""
        raise NotImplementedError


def family(package: str, base: type[Spec], outsiders: bool = True) -> tuple[type[Spec], ...]:
    """Every concrete kind of `base`, by name.

    Args:
        package: its modules are walked; its subpackages are not, they hold what kinds are built of.
        base: what kinds are subclasses of.
        outsiders: also those that installed packages bring by an entry point in the group of that name.
    """
    home = importlib.import_module(package)
    for module in pkgutil.iter_modules(home.__path__):
        if not module.ispkg:
            importlib.import_module(f"{package}.{module.name}")
    if outsiders:
        for entry in entry_points(group=package):
            entry.load()
    kinds = {
        kind: found
        for found in _descendants(base)
        if isinstance(kind := found.model_fields["kind"].default, str)
        and (outsiders or found.__module__.startswith(f"{package}."))
    }
    return tuple(kinds[name] for name in sorted(kinds))


def union(package: str, base: type[Strict], outsiders: bool = True) -> Any:
    """The discriminated union (on `kind`) of `family(package, base, outsiders)`, as a type for a pydantic field."""
    return Annotated[reduce(or_, family(package, base, outsiders)), Field(discriminator="kind")]


def _descendants(base: type[Spec]) -> list[type[Spec]]:
    return [d for child in base.__subclasses__() for d in (child, *_descendants(child))]
