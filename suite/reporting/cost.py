"""What the results of a task cost: the time of training, probes and metrics, on what, and how to make them again."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from suite.errors import BadInput
from suite.ranking.tables import TaskResults
from suite.reporting.markup import code, escaped, table

PARTS = ("training", "probes", "metrics")
"""What `seconds` in `provenance.json` is of; beside them `probe NAME` has a share of `probes`."""
CLASSES = ("free", "forward", "gradient", "search")
"""The classes of what metrics cost, the dearest last, as `--cost` knows them."""
COSTS_FILE = "costs.md"
"""The page of what all tasks cost, in the folder of tables; no task's page takes that name (`board.slug`)."""
_DEAREST = 3
_PROBE = "probe "
_COMMIT = 12

Spent = list[tuple[str, float]]


@dataclass(frozen=True)
class Cost:
    """What `provenance.json` says that a task took.

    Seconds are wall-clock time of workers, added up: on a CPU a worker has one core, on a GPU it shares the device.
    """

    results: TaskResults

    @property
    def networks(self) -> int:
        """How many were trained."""
        return int(self.results.runs["run_id"].nunique())

    @property
    def checkpoints(self) -> int:
        """How many of them were measured."""
        return len(self.results.runs)

    @property
    def spent(self) -> dict[str, float | None]:
        """Seconds of each of PARTS; None where they were not noted.

        Raises:
            BadInput: what was noted is no number of seconds.
        """
        noted = self._noted()
        return {part: noted.get(part) for part in PARTS}

    @property
    def total(self) -> float | None:
        """Seconds in all; None where not all of PARTS were noted."""
        known = [seconds for seconds in self.spent.values() if seconds is not None]
        return sum(known) if len(known) == len(PARTS) else None

    @property
    def probes(self) -> Spent:
        """The dearest probes with their seconds."""
        noted = self._noted().items()
        return _dearest({name.removeprefix(_PROBE): s for name, s in noted if name.startswith(_PROBE)})

    @property
    def metrics(self) -> Spent:
        """The dearest metrics with about the seconds of all their values.

        Of a metric the mean seconds of a value are published, to one digit; here they are times its values.
        """
        each = self.results.provenance.get("metric_costs") or {}
        values = self.results.values[self.results.values["status"] == "ok"]
        wholes = {name: str(name).partition(".")[0] for name in values["metric"].unique()}
        points = values.assign(metric=values["metric"].map(wholes)).drop_duplicates(["run_id", "step", "metric"])
        counts = points["metric"].value_counts()
        return _dearest({name: float(cost["seconds"]) * int(counts.get(name, 0)) for name, cost in each.items()})

    @property
    def worker(self) -> str:
        """What the time is of."""
        device = str(self.results.provenance["device"])
        return "one core" if device == "cpu" else f"one worker on {device}"

    @property
    def made_on(self) -> str:
        """Device, dtype, the version of torch, and where it was measured if elsewhere, as far as they were noted."""
        made = self.results.provenance
        torch = made["versions"].get("torch")
        parts = [made["device"], made.get("device_name"), made["dtype"], f"torch {torch}" if torch else None]
        return ", ".join(str(part) for part in [*parts, elsewhere(self.results)] if part)

    @property
    def commit(self) -> str:
        """The commit that trained, shortly; several where several did; empty where none was noted."""
        hashes = ", ".join(one[:_COMMIT] for one in str(self.results.provenance.get("commit") or "").split(", "))
        return f"{hashes} and changes that were not committed" if self.results.provenance.get("dirty") else hashes

    @property
    def command(self) -> str:
        """What makes the results anew: the same kind of device and dtype, no metrics dearer than these."""
        made = self.results.provenance
        words = ["suite", "run", self.results.name, "--device", str(made["device"]).partition(":")[0]]
        words += [] if made["dtype"] == "float32" else ["--dtype", str(made["dtype"])]
        words += [] if (most := self._most()) in (None, CLASSES[-1]) else ["--cost", str(most)]
        return shlex.join(words)

    def _most(self) -> str | None:
        """The dearest class of the suite's own metrics; None where classes were not noted. Trivial ones always stay."""
        described = self.results.metrics
        if "cost" not in described:
            return None
        outside = described["outside"].eq(True) if "outside" in described else False
        classes = set(described.loc[~(described["trivial"].astype(bool) | outside), "cost"])
        return max(classes, key=CLASSES.index) if classes and classes <= set(CLASSES) else None

    def _noted(self) -> dict[str, float]:
        noted: Any = self.results.provenance.get("seconds") or {}
        for name, seconds in noted.items():
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise BadInput(
                    f"{self.results.name}: provenance.json: seconds: {name}: {seconds!r} is no number of seconds; "
                    "publish the task again"
                )
        return {str(name): float(seconds) for name, seconds in noted.items()}


def elsewhere(results: TaskResults) -> str:
    """The devices that probes and metrics were taken on, where these are not just those of training; or nothing."""
    there = results.provenance.get("measured_on")
    return f"measured on {there}" if there and there != results.provenance.get("device_name") else ""


def _dearest(seconds: dict[str, float]) -> Spent:
    spent = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
    return [(name, took) for name, took in spent[:_DEAREST] if took > 0]


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours, to two digits or more; an en dash where it is not known."""
    if seconds is None or pd.isna(seconds):
        return "–"
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min" if seconds < 597 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def cost_section(results: TaskResults) -> str:
    """Of one task, in Markdown: a table of the parts with what was dearest in each, on what, and how to do it again."""
    cost = Cost(results)
    spent = cost.spent
    rows = [
        ["training", duration(spent["training"]), ""],
        ["probes", duration(spent["probes"]), ", ".join(f"{code(name)} {duration(s)}" for name, s in cost.probes)],
        ["metrics", duration(spent["metrics"]),
         ", ".join(f"{code(name)} about {duration(s)}" for name, s in cost.metrics)],
        ["**in all**", f"**{duration(cost.total)}**", ""],
    ]  # fmt: skip
    commit = f", commit {code(cost.commit)}" if cost.commit else ""
    return (
        f"## What it cost\n\n{cost.networks:,} networks trained, {cost.checkpoints:,} checkpoints measured.\n\n"
        f"{table(['', f'time of {escaped(cost.worker)}', 'the dearest'], rows)}\n"
        f"Made on {escaped(cost.made_on)}{commit}. To make it again: {code(cost.command)}.\n"
    )


def costs_page(tasks: Sequence[TaskResults], leaderboard: str) -> str:
    """What all results took, as a page of its own: times differ from run to run, leaderboard.md does not.

    Args:
        tasks: the results, in the order of their lines.
        leaderboard: the way from the page to leaderboard.md.
    """
    return (
        f"# What these results cost\n\nOf [the leaderboard]({leaderboard}). Wall-clock time of workers, added up: a "
        "worker has one core of a CPU, or is one process on a GPU. Each task's page of tables says what was dearest, "
        f"on what it was made and how to make it again. Generated, never edited by hand.\n\n{costs_table(tasks)}"
    )


def costs_table(tasks: Sequence[TaskResults]) -> str:
    """Of all tasks, a line each and their sum, in Markdown."""
    costs = [Cost(results) for results in tasks]
    rows = [
        [code(cost.results.name), f"{cost.networks:,}", f"{cost.checkpoints:,}",
         *(duration(seconds) for seconds in cost.spent.values()), duration(cost.total)]
        for cost in costs
    ]  # fmt: skip
    sums = [_sum([cost.spent[part] for cost in costs]) for part in PARTS]
    totals = [*sums, _sum([cost.total for cost in costs])]
    rows.append(
        ["**all**", f"{sum(cost.networks for cost in costs):,}", f"{sum(cost.checkpoints for cost in costs):,}",
         *(duration(seconds) for seconds in totals[:-1]), f"**{duration(totals[-1])}**"]
    )  # fmt: skip
    unknown = any(cost.total is None for cost in costs)
    return table(["task", "networks", "checkpoints", *PARTS, "in all"], rows) + (
        "\n–: not noted when it was published, and not in the sum.\n" if unknown else ""
    )


def _sum(seconds: Sequence[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [one for one in seconds if one is not None]
    return sum(known) if known else None
