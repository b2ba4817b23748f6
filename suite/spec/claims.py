"""Claims as data: what a paper says, in tests that published results can pass or fail."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from suite.errors import BadInput
from suite.spec import explain
from suite.spec.base import Strict
from suite.spec.positions import MOST_BYTES, Document, Problem, Unreadable, dotted, parse, told
from suite.spec.positions import Path as Place
from suite.spec.task import Name, Target

SETS = ("all", "trivial")
FAMILY = "family:"
Text = Annotated[str, Field(min_length=1, max_length=600)]
Names = str | list[str]
Statistic = Literal[
    "score", "tau", "psi", "Psi", "worst_psi", "partial", "agreement", "instability", "transition", "cells"
]
_GRID = ("psi", "Psi", "worst_psi", "partial")
_TRAJECTORY = ("instability", "transition")
_NEEDED = {
    "hyperparameter": ("psi", "partial"),
    "other": ("agreement",),
    "change": ("transition",),
    "near": ("transition",),
    "where": ("cells",),
}
"""Fields that some statistics need and others have no use for."""
_RIVALS = ("score", "tau", "psi", "Psi", "partial", "agreement", "instability")
"""Statistics of which two metrics' can be compared."""
_COMPARISONS = ("above", "below", "between", "beats")


class Where(Strict):
    """Which networks a statement about single networks is about: those in which a metric is above or below a number."""

    metric: str
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("one of above and below is meant")
        return self


class ClaimTest(Strict):
    """One metric (or every or some metric of a set), one statistic, one comparison. docs/claims.md has them all."""

    metric: str | None = None
    every: Names | None = None
    some: Names | None = None
    statistic: Statistic
    hyperparameter: str | None = None
    other: str | None = None
    change: Literal["drop", "rise"] | None = None
    near: Annotated[float, Field(gt=0, le=1)] | None = None
    where: Where | None = None
    above: float | None = None
    below: float | None = None
    between: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    beats: Names | None = None
    over: Literal["each", "minimum"] = "each"

    @property
    def subject(self) -> Names:
        """The metric, or the set of metrics."""
        subject = self.metric if self.metric is not None else self.every if self.every is not None else self.some
        assert subject is not None  # validated
        return subject

    @field_validator("every", "some", "beats")
    @classmethod
    def _is_a_set(cls, value: Names | None) -> Names | None:
        if isinstance(value, list) and not value:
            raise ValueError("names no metric")
        if isinstance(value, str) and value not in SETS and not value.startswith(FAMILY):
            raise ValueError(f"{explain.shown(value)}: all, trivial, family:NAME or a list of metrics is meant")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if wrong := list(self._misfits()):
            raise ValueError("; ".join(wrong))
        return self

    def _misfits(self) -> Iterator[str]:
        if sum(value is not None for value in (self.metric, self.every, self.some)) != 1:
            yield "one of metric, every and some is meant"
        if sum(getattr(self, name) is not None for name in _COMPARISONS) != 1:
            yield f"one comparison is meant: {', '.join(_COMPARISONS)}"
        for field, statistics in _NEEDED.items():
            given = getattr(self, field) is not None
            if given != (self.statistic in statistics):
                said = "has no use for" if given else "needs"
                yield f"statistic {self.statistic} {said} {field}"
        if self.beats is not None and self.statistic not in _RIVALS:
            yield f"statistic {self.statistic} is compared with a number, not with other metrics"
        if self.between is not None and self.between[0] >= self.between[1]:
            yield "between: the first number must be less than the second"
        if self.between is not None and self.statistic in ("worst_psi", "transition", "cells"):
            yield f"statistic {self.statistic} is above or below a number, not between two"
        if own := self._rivals_of_themselves():
            yield f"beats: {', '.join(own)} cannot beat itself"
        if self.over == "minimum" and (self.beats is None or self.statistic not in ("score", "tau", "Psi")):
            yield "over minimum compares score, tau or Psi with other metrics (beats); a number needs no minimum"

    def _rivals_of_themselves(self) -> list[str]:
        named = [self.metric] if self.metric is not None else self.every if self.every is not None else self.some
        return [name for name in self.beats if name in (named or [])] if isinstance(self.beats, list) else []


class Claim(Strict):
    """One claim; `suite.ranking.claims` gives it a verdict. All of its tests have to hold, on each task and target."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
    statement: Text
    source: Text
    reading: Text
    tasks: Annotated[list[Name], Field(min_length=1)]
    analogues: list[Name] = Field(default_factory=list)
    targets: Annotated[list[Target], Field(min_length=1)] | None = None
    tests: Annotated[list[ClaimTest], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        named: list[list[str]] = [[*self.tasks, *self.analogues], [*(self.targets or [])]]
        for words in named:
            if repeated := [word for word in words if words.count(word) > 1]:
                raise ValueError(f"{repeated[0]} is named twice")
        return self


class ClaimsFile(Strict):
    """A whole file."""

    claims: Annotated[list[Claim], Field(min_length=1)]


@dataclass(frozen=True)
class Published:
    """What names a claim may use of a published task."""

    kind: str
    metrics: Mapping[str, str]
    """Names, and the family of each."""
    hyperparameters: tuple[str, ...]
    targets: tuple[str, ...]


def load_claims(
    path: Path, published: Mapping[str, Published], described: Collection[str] | None = None
) -> list[Claim]:
    """Read a file of claims.

    Args:
        path: the file.
        published: the published tasks, by name. Of a claim that is about none of them metrics, targets and
            hyperparameters are not looked up.
        described: the names of the tasks that there are files of; None where there are none: then claims may be about
            any task.

    Raises:
        BadInput: all its problems, one `file:line: field: what is wrong, what was meant` a line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    claims, problems = check_claims(content, published, described)
    if problems:
        raise BadInput(told(problems, str(path)))
    return claims


def check_claims(
    content: bytes, published: Mapping[str, Published], described: Collection[str] | None = None
) -> tuple[list[Claim], list[Problem]]:
    """The claims of a file's content, and what is wrong with it, by line; none of the claims if anything is."""
    try:
        document = parse(content)
        claims = ClaimsFile.model_validate(document.data).claims
    except Unreadable as error:
        return [], sorted(error.problems, key=lambda problem: problem.line)
    except ValidationError as error:
        return [], sorted(explain.problems(error, document, ClaimsFile), key=lambda problem: problem.line)
    problems = [*_repeated(claims, document), *_unknown(claims, document, published)]
    if described is not None:
        problems += _of_nothing(claims, document, {*published, *described})
    return ([] if problems else claims), sorted(problems, key=lambda problem: problem.line)


def _repeated(claims: list[Claim], document: Document) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for i, claim in enumerate(claims):
        line = document.line(("claims", i, "id"))
        if claim.id in seen:
            yield Problem(line, f"claims[{i}].id", f"{claim.id} is the id of the claim in line {seen[claim.id]} too")
        seen.setdefault(claim.id, line)


def _of_nothing(claims: list[Claim], document: Document, tasks: set[str]) -> Iterator[Problem]:
    """Tasks that are neither published nor described: a misspelt one would stay undecided for ever."""
    for i, claim in enumerate(claims):
        for field, names in (("tasks", claim.tasks), ("analogues", claim.analogues)):
            for j, name in enumerate(names):
                if name not in tasks:
                    near = explain.nearest(name, tasks)
                    hint = f"; did you mean {near}?" if near else ""
                    message = f"{name} is no published task, and there is no tasks/{name}.yaml{hint}"
                    yield _problem(document, ("claims", i, field, j), message)


def _unknown(claims: list[Claim], document: Document, published: Mapping[str, Published]) -> Iterator[Problem]:
    """Names that the published tasks of a claim do not have."""
    for i, claim in enumerate(claims):
        known = {name: published[name] for name in (*claim.tasks, *claim.analogues) if name in published}
        if not known:
            continue
        for place, message in _of_targets(claim, known):
            yield _problem(document, ("claims", i, *place), message)
        for j, test in enumerate(claim.tests):
            for place, message in _of_test(test, known, published):
                yield _problem(document, ("claims", i, "tests", j, *place), message)


def _problem(document: Document, place: Place, message: str) -> Problem:
    return Problem(document.line(place), dotted(place), message)


def _of_targets(claim: Claim, known: Mapping[str, Published]) -> Iterator[tuple[Place, str]]:
    for task, described in known.items():
        for target in claim.targets or []:
            if target not in described.targets:
                yield ("targets",), f"{task} has no target {target}{explain.suggestion(target, described.targets)}"


def _of_test(
    test: ClaimTest, known: Mapping[str, Published], published: Mapping[str, Published]
) -> Iterator[tuple[Place, str]]:
    """A metric has to be measured in some published task: which of them is a matter of what is published so far."""
    measured = {name: family for task in published.values() for name, family in task.metrics.items()}
    for place, name in _named(test):
        if name.startswith(FAMILY):
            families = {f"{FAMILY}{family}" for family in measured.values()}
            if name not in families:
                yield place, f"no published task has a metric of {name}{explain.suggestion(name, families)}"
        elif name not in measured:
            near = explain.nearest(name, measured)
            hint = f"; did you mean {near}?" if near else ": `suite metrics` lists those there are"
            yield place, f"no published task has a metric {name}{hint}"
    for task, described in known.items():
        meant = "grid" if test.statistic in _GRID else "trajectory" if test.statistic in _TRAJECTORY else described.kind
        if described.kind != meant:
            yield ("statistic",), f"{test.statistic} is of {meant} tasks, and {task} is a {described.kind} task"
        elif test.hyperparameter and not _has(described, test.hyperparameter):
            options = [name.rsplit(".", maxsplit=1)[-1] for name in described.hyperparameters]
            hint = explain.suggestion(test.hyperparameter, options)
            yield ("hyperparameter",), f"{task} does not vary {test.hyperparameter}{hint}"


def _has(task: Published, hyperparameter: str) -> bool:
    return any(f".{name}".endswith(f".{hyperparameter}") for name in task.hyperparameters)


def _named(test: ClaimTest) -> Iterator[tuple[Place, str]]:
    """The names of metrics and families in a test, and where they are."""
    fields: dict[str, Any] = {name: getattr(test, name) for name in ("metric", "every", "some", "other", "beats")}
    for field, value in fields.items():
        if isinstance(value, list):
            yield from (((field, k), name) for k, name in enumerate(value))
        elif isinstance(value, str) and value not in SETS:
            yield (field,), value
    if test.where:
        yield ("where", "metric"), test.where.metric
