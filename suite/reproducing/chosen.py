"""Which published runs are made again, and the cells of the task file that they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from suite.errors import BadInput
from suite.measuring.measure import Part, Plan
from suite.ranking.changes import differing
from suite.ranking.tables import TaskResults, read_results
from suite.spec.cells import stacks
from suite.spec.task import TaskSpec


@dataclass(frozen=True)
class Chosen:
    """What is made again.

    Attributes:
        published: the task's published results.
        part: the work: whole stacks to train, runs to measure.
        names: the published id of each run, by the id that it has here (another one on another kind of device).
    """

    published: TaskResults
    part: Part
    names: dict[str, str]

    @property
    def measured(self) -> set[str]:
        """The published metrics, a metric of several components once."""
        return {str(name).partition(".")[0] for name in self.published.metrics.index}


def choose(plan: Plan, count: int, root: Path) -> Chosen:
    """The `count` published runs to make again: spread evenly over those that count, in the order of `runs.csv`.

    Args:
        plan: the task's work here.
        count: how many runs.
        root: the folder of published results.

    Raises:
        BadInput: the task is not published there, or from another task file; or there are not as many runs.
    """
    name = plan.task.name
    (published,) = read_results(root, [name])
    _same_work(plan, published, root)
    counted = list(dict.fromkeys(published.runs["run_id"][published.included]))
    if not 1 <= count <= len(counted):
        raise BadInput(f"--cells {count}: give 1 to {len(counted)}, the runs of {name} that count in {root}")
    here = {_factors(cell.factors): run_id for cell, run_id in plan.runs()}
    rows = published.runs.drop_duplicates("run_id").set_index("run_id")
    factors = list(published.provenance["factors"])
    names = {}
    for run_id in spread_evenly(counted, count):
        key = _factors((factor, rows.at[run_id, factor]) for factor in factors)
        if key not in here:
            raise BadInput(f"{root / name}: run {run_id} is no cell of the task file: publish the task again")
        names[here[key]] = run_id
    used = tuple(s for s in plan.stacks if not names.keys().isdisjoint(s.run_ids(plan.environment)))
    return Chosen(published, Part(plan.task, used, plan.place, chosen=frozenset(names)), names)


def spread_evenly(runs: list[str], count: int) -> list[str]:
    """The middles of `count` equal parts of a row.

    >>> spread_evenly(list("abcdef"), 2)
    ['b', 'e']
    """
    return [runs[((2 * k + 1) * len(runs) - 1) // (2 * count)] for k in range(count)]


def _factors(values: Any) -> tuple[tuple[str, float | str], ...]:
    """A cell's factors as they compare with those read from a table, where numbers are floats and the rest words."""
    return tuple((name, str(v) if isinstance(v, bool | str) else float(v)) for name, v in values)


def _same_work(plan: Plan, published: TaskResults, root: Path) -> None:
    """The published spec must ask for the very same stacks; probes may differ, and then so may what reads them.

    Raises:
        BadInput: it does not, or cannot be read any more.
    """
    where = root / plan.task.name / "provenance.json"
    try:
        before = TaskSpec.model_validate(published.provenance.get("spec"))
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise BadInput(f"{where}: spec.{field} is not what this version reads: publish the task again") from None
    keys = [[stack.key(plan.environment) for stack in made] for made in (stacks(before), plan.stacks)]
    if keys[0] != keys[1]:
        changes = "; ".join(f"{s.name}: {s.before} → {s.after}" for s in _differences(before, plan.task))
        raise BadInput(f"{where}: published from another task file ({changes}): its cells are not those of this one")


def _differences(before: TaskSpec, after: TaskSpec) -> Iterator[Any]:
    work = {"data", "model", "training", "seed", "grid"}
    return differing(*(_flat(spec.model_dump(mode="json", include=work)) for spec in (before, after)))


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for word, value in mapping.items():
        path = f"{prefix}{word}"
        flat |= _flat(value, f"{path}.") if isinstance(value, dict) and value else {path: value}
    return flat


def named_as_published(here: TaskResults, names: dict[str, str]) -> TaskResults:
    """The same results with the published ids of their runs, so that the two can be laid side by side."""
    runs = here.runs.assign(run_id=here.runs["run_id"].map(names))
    return replace(here, runs=runs, values=here.values.assign(run_id=here.values["run_id"].map(names)))
