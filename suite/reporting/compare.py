"""A comparison of two metrics, or of two sets of results: tables for the terminal and in Markdown, and JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from suite.errors import BadInput
from suite.ranking.changes import MetricChange, OverallChange, SetComparison, TaskChange, compare_sets
from suite.ranking.compare import Difference, Estimate, MetricComparison, OnTask, compare_metrics
from suite.ranking.tables import TaskResults, read_results
from suite.reporting.board import CERTAIN, FEW, chance, number, span
from suite.reporting.markup import escaped, table

_LONG = 60
"""Characters of a setting that are shown; JSON has all of them."""
_NAMED = 10  # metrics in a sentence
_WORDS = ("task", "metric", "target", "entry", "setting", "was", "is")
"""Columns of words; the others are numbers."""
_PROSE = ("entry", "was", "is")
"""Columns that may be broken."""
_BROKEN = 14
"""What such a column needs."""
_PAIRS = (
    "A+ B−: A orders the pair as the gap does, B the other way round. tied: A or B has the same value twice; missing: "
    "a value of A or B is. Pairs share networks, so they are not independent: the counts show where the metrics part, "
    "and no p follows from them."
)
_READ = (
    "Scores are sign × Kendall's τ-b, averaged over targets, failed values counted as ordered wrongly. Brackets: 95 %. "
    "Differences are paired: both metrics are scored on the same resamples of settings. p is two-sided, of the paired "
    "difference; in parentheses corrected for the number of tasks (Holm), not for a choice among many metrics."
)
_READ_VALUES = (
    "At the networks in both. changed: of so many that have a value in either; else: the same value, another "
    "standard error, status or reason; largest: the largest change, of the larger of the two values; in s.e.: in "
    "standard errors."
)
_UNPAIRED_SOME = "Differences are paired on the tasks on which they are by themselves (see there). Brackets: 95 %."
_PAIRED = "Differences are paired: the same resamples of the same settings before and after. Brackets: 95 %."
_UNPAIRED = (
    "Differences are not paired: the settings that count are not the same before and after, so both sides are taken as "
    "independent. Brackets: 95 %."
)


@dataclass(frozen=True)
class Part:
    """A piece of a comparison: a heading, sentences, and a table where it has rows.

    `spare`: the columns that a narrow terminal leaves out, from the first.
    """

    title: str
    notes: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    spare: Sequence[str] = ()


def compare(a: str, b: str, results: Path, tasks: list[str] | None) -> MetricComparison | SetComparison:
    """Two metrics of `results`, or two folders of results, by what the words name.

    Raises:
        BadInput: no such metric, folder or task, or one of each.
    """
    folders = [_is_folder(word) for word in (a, b)]
    if all(folders):
        return compare_sets(*_both(Path(a), Path(b), tasks))
    if not any(folders):
        return compare_metrics(a, b, read_results(results, tasks))
    metric, folder = (a, b) if folders[1] else (b, a)
    raise BadInput(f"{folder} is a folder and {metric} is none: compare two metrics, or two folders of results")


def _is_folder(word: str) -> bool:
    """A path, or the name of a folder here that has results in it: names of metrics have no slash."""
    path = Path(word)
    if path.is_dir():
        return "/" in word or word in (".", "..") or any(path.rglob("provenance.json"))
    if "/" in word or path.exists():
        raise BadInput(f"{word}: no such folder; give two folders of results, or two names of metrics")
    return False


def _both(a: Path, b: Path, tasks: list[str] | None) -> tuple[list[TaskResults], list[TaskResults]]:
    """Two sets, of these tasks alone: a task that one of them lacks is shown as such, one that both lack is wrong."""
    sets = [{result.name: result for result in read_results(folder)} for folder in (a, b)]
    for task in tasks or ():
        if not any(task in found for found in sets):
            known = ", ".join(sorted({*sets[0], *sets[1]}))
            raise BadInput(f"--task {task}: neither {a} nor {b} has results of it; there are those of {known}")
    first, second = ([r for name, r in found.items() if not tasks or name in tasks] for found in sets)
    return first, second


def parts(found: MetricComparison | SetComparison, everything: bool = False) -> list[Part]:
    """What to show of a comparison; of two sets only what differs, unless `everything` is asked for."""
    return list(_of_metrics(found) if isinstance(found, MetricComparison) else _of_sets(found, everything))


def print_parts(console: Console, shown: Sequence[Part]) -> None:
    """Headings, sentences and tables; a table that is too wide is folded, its names last."""
    for part in shown:
        console.print(Text(f"\n{part.title}", style="bold"))
        for note in part.notes:
            console.print(Text(note), highlight=False)
        if part.rows:
            for piece in _fitting(part, console):
                console.print(piece)


def markdown(shown: Sequence[Part]) -> str:
    """The same as Markdown; words from results are escaped."""
    blocks = []
    for part in shown:
        blocks.append(f"**{escaped(part.title)}**")
        blocks += [escaped(note) for note in part.notes]
        if part.rows:
            header = [escaped(word) for word in part.header]
            blocks.append(table(header, [[escaped(cell) for cell in row] for row in part.rows]).rstrip())
    return "\n\n".join(blocks) + "\n"


def as_json(found: MetricComparison | SetComparison) -> str:
    """All there is, as JSON; what is not defined is null."""
    said = {"in_short": in_short(found)} if isinstance(found, MetricComparison) else {}
    return json.dumps(said | _plain(dataclasses.asdict(found)), indent=1, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {word: _plain(part) for word, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _fitting(part: Part, console: Console) -> Iterator[Table | Text]:
    """The table; if it is too wide: brackets below their values, paths broken after slashes, then fewer columns."""
    lines = [list(part.header), *map(list, part.rows)]
    for fold in ((" [", "\n["), (" (", "\n("), ("/", "/\n")):
        if not _fits(lines, console):
            lines = [[text.replace(*fold) for text in line] for line in lines]
    left_out = []
    for word in part.spare:
        if not _fits(lines, console):
            place = lines[0].index(word)
            lines = [line[:place] + line[place + 1 :] for line in lines]
            left_out.append(word)
    yield _drawn(lines, broken=not _fits(lines, console))
    if left_out:
        yield Text(f"No room for: {', '.join(left_out)} (a wider terminal has it, and so has --json).")


def _fits(lines: list[list[str]], console: Console) -> bool:
    """Whether the table is no wider than the console: rich itself shares room out without regard to words."""
    return sum(_widths(lines)) + 2 * (len(lines[0]) - 1) <= console.width


def _widths(lines: list[list[str]]) -> list[int]:
    """What each column needs."""
    longest = [
        max(cell_len(part) for cell in column for part in cell.split("\n")) for column in zip(*lines, strict=True)
    ]
    return [min(n, _BROKEN) if word in _PROSE else n for word, n in zip(lines[0], longest, strict=True)]


def _drawn(lines: list[list[str]], broken: bool = False) -> Table:
    """Names and numbers in one piece, unless they may be broken too."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for word, width in zip(lines[0], _widths(lines), strict=True):
        justify: Literal["left", "right"] = "left" if word in _WORDS else "right"
        whole = not broken and word not in _PROSE
        made.add_column(Text(word), justify=justify, overflow="fold", no_wrap=whole, min_width=width if whole else None)
    for line in lines[1:]:
        made.add_row(*map(Text, line))
    return made


def _estimate(known: Estimate) -> str:
    return f"{number(known.value)} {span(known.low, known.high)}".strip()


def _chances(known: Difference, corrected: float) -> str:
    return f"{_p(known.p)} ({_p(corrected)})"


def _p(p: float) -> str:
    """A p-value that does not cross 0.05 by rounding."""
    text = chance(p)
    return "< 0.05" if text == "0.05" and p < CERTAIN else text


def in_short(found: MetricComparison) -> str:
    """The comparison in a sentence that can be quoted."""
    count = len(found.tasks)
    if not count:
        return f"{found.a} and {found.b} were both tried on none of these tasks: nothing can be said."
    a, b = (_wins(found.tasks, side) for side in (1, -1))
    on = "1 task" if count == 1 else f"{count} tasks"
    known = found.difference
    p = _p(known.p)
    told = f"p {p}" if p.startswith("<") else f"p = {p}" if p != "–" else "p not known: too few settings"
    return (
        f"{found.a} predicts better than {found.b} on {a[0]} of {on}, certainly on {a[1]}; {found.b} better than "
        f"{found.a} on {b[0]}, certainly on {b[1]}; overall difference {_estimate(known)}, {told}."
    )


def _wins(tasks: Sequence[OnTask], side: int) -> tuple[str, str]:
    """On how many tasks a metric is ahead, and on how many that is certain for all tasks together."""
    ahead = [task for task in tasks if side * task.difference.value > 0]
    return str(len(ahead)), str(sum(task.p_holm < CERTAIN for task in ahead) or "none")


def _of_metrics(found: MetricComparison) -> Iterator[Part]:
    yield Part(
        f"{found.a} and {found.b}",
        [
            f"A: {found.title_a} ({found.a}). B: {found.title_b} ({found.b}).",
            f"In short: {in_short(found)}",
            *(f"Not compared on {task}: {why}." for task, why in found.apart.items()),
        ],
    )
    if not found.tasks:
        return
    rows = [
        [t.task, _estimate(t.a), _estimate(t.b), _estimate(t.difference), _chances(t.difference, t.p_holm)]
        for t in found.tasks
    ]
    if len(found.tasks) > 1:
        whole = [_estimate(part) for part in (found.overall_a, found.overall_b, found.difference)]
        rows.append(["overall", *whole, _p(found.difference.p)])
    yield Part("Scores", [_READ, *_caveats(found.tasks)], ["task", "A", "B", "A − B", "p (Holm)"], rows)
    yield Part("τ with each target, as it is (no sign)", _signs(found), *_by_target(found.tasks))
    yield Part("Pairs of networks that the gap orders, by what A and B say", [_PAIRS], *_by_pairs(found.tasks))
    alike = [[t.task, _points(t), _estimate(t.alike)] for t in found.tasks]
    said = "Over the networks that count and that both have values for; – where one of them is the same everywhere."
    yield Part("How alike they are: Kendall's τ-b between A and B", [said], ["task", "over", "τ"], alike)


def _caveats(tasks: Sequence[OnTask]) -> list[str]:
    few = [f"{task.clusters} {task.drawn} in {task.task}" for task in tasks if task.clusters < FEW]
    said = "Read the intervals as rough: there are only {}. No p is below what so few can have by chance."
    return [said.format(", ".join(few))] if few else []


def _signs(found: MetricComparison) -> list[str]:
    """Which way each metric is expected to go; where that is not the same on all tasks, its better one is taken."""
    said = []
    for word, name in (("a", found.a), ("b", found.b)):
        signs = {getattr(on, word).sign for task in found.tasks for on in task.targets}
        told = {1: "+", -1: "−"}[signs.pop()] if len(signs) == 1 else "+ or −, the better one on each task"
        said.append(f"{name} is read with {told}")
    return [f"{'; '.join(said)}."]


def _by_target(tasks: Sequence[OnTask]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for task in tasks:
        for on in task.targets:
            known = [f"{side.n} ({side.failed} failed)" if side.failed else str(side.n) for side in (on.a, on.b)]
            taus = [_estimate(side.tau) for side in (on.a, on.b)]
            rows.append([task.task, on.target.replace("_", " "), taus[0], known[0], taus[1], known[1]])
    return ["task", "target", "τ of A", "n", "τ of B", "n"], rows


def _by_pairs(tasks: Sequence[OnTask]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for task in tasks:
        for on in task.targets:
            counts = dataclasses.astuple(on.pairs)
            rows.append([task.task, on.target.replace("_", " "), *(f"{count:,}" for count in counts)])
    header = ["task", "target", "A+ B+", "A+ B−", "A− B+", "A− B−", "tied", "missing"]
    return header, rows


def _points(task: OnTask) -> str:
    return f"{task.points} {'checkpoints' if task.kind == 'trajectory' else 'networks'}"


def _of_sets(found: SetComparison, everything: bool) -> Iterator[Part]:
    count = sum(task.differs for task in found.tasks)
    notes = [
        *([f"Only before: {', '.join(found.only_before)}."] if found.only_before else []),
        *([f"Only after: {', '.join(found.only_after)}."] if found.only_after else []),
        f"Tasks in both: {count} with differences, {len(found.tasks) - count} without.",
    ]
    yield Part("Before and after", notes)
    for task in found.tasks:
        if task.differs or everything:
            yield from _of_task(task, everything)
    if found.ranked:
        yield _overall(found, everything)


def _of_task(task: TaskChange, everything: bool) -> Iterator[Part]:
    runs = task.runs
    differ = [metric for metric in task.metrics if metric.differs]
    notes = [
        f"Networks (run and step): {runs.shared} in both, {runs.gone} only before, {runs.new} only after.",
        *([] if task.settings else ["Settings, versions and device: the same."]),
        *_columns(task),
        f"Metrics that differ: {len(differ)}; that do not: {len(task.metrics) - len(differ)}.",
        *_only(task.metrics),
    ]
    yield Part(task.task, notes)
    if task.settings:
        rows = [[setting.name, _shown(setting.before), _shown(setting.after)] for setting in task.settings]
        yield Part(f"{task.task}: settings", [], ["setting", "was", "is"], rows)
    yield from _tables(task, task.metrics if everything else differ, everything)


def _tables(task: TaskChange, metrics: Sequence[MetricChange], everything: bool) -> Iterator[Part]:
    """Values and scores of these metrics; what is measured on one side alone has nothing to compare."""
    both = [m for m in metrics if m.only is None]
    values = [m for m in both if everything or m.changed or m.restated or m.gone or m.new or m.entry]
    if values:
        header = ["metric", "changed", "gone", "new", "else", "largest", "in s.e.", "entry"]
        rows = [_values(metric) for metric in values]
        yield Part(f"{task.task}: values", [_READ_VALUES], header, rows, ("else", "in s.e."))
    if scores := [m for m in both if everything or m.score.moved]:
        rows = [[m.metric, *map(_estimate, m.score.parts)] for m in scores]
        header = ["metric", "before", "after", "after − before"]
        yield Part(f"{task.task}: scores", [_PAIRED if task.paired else _UNPAIRED], header, rows, ("before",))


def _shown(text: str | None) -> str:
    if text is None:
        return "–"
    plain = " ".join(text.split())
    return plain if len(plain) <= _LONG else f"{plain[: _LONG - 1]}…"


def _columns(task: TaskChange) -> list[str]:
    said = []
    for column in task.runs.columns:
        most = "" if math.isnan(column.largest) else f" (by {_size(column.largest)} at most)"
        said.append(f"{column.column.replace('_', ' ')} of {column.differ}{most}")
    if said:
        return [f"Of the networks in both, another {', '.join(said)}."]
    return ["Losses, accuracies, gaps and statuses of the networks in both: the same."] if task.runs.shared else []


def _only(metrics: Sequence[MetricChange]) -> list[str]:
    sides = {side: [metric.metric for metric in metrics if metric.only == side] for side in ("before", "after")}
    return [f"Measured only {side}: {_listed(names)}." for side, names in sides.items() if names]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more (--json names them)" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _values(metric: MetricChange) -> list[str]:
    errors = "–" if math.isnan(metric.in_errors) else f"{metric.in_errors:.2g}"
    counts = (metric.gone, metric.new, metric.restated)
    entry = ", ".join(f"{s.name} {s.before} → {s.after}" if s.name == "version" else s.name for s in metric.entry)
    changed = f"{metric.changed} of {metric.values}"
    return [metric.metric, changed, *map(str, counts), _size(metric.largest), errors, entry]


def _size(relative: float) -> str:
    """A relative difference: a per cent with two digits, or a power of ten."""
    if math.isnan(relative):
        return "–"
    if relative < 1e-4:
        return f"{relative:.0e}".replace("-", "−")
    return f"{100 * relative:.0f} %" if relative >= 0.1 else f"{100 * relative:.2g} %"


def _overall(found: SetComparison, everything: bool) -> Part:
    both = [c for c in found.overall if not math.isnan(c.score.difference.value)]
    differ = [change for change in both if change.differs]
    shown = found.overall if everything else differ
    alone = len(found.overall) - len(both)
    notes = [
        f"Mean over {', '.join(found.ranked)}. Metrics with another score or rank: {len(differ)}; without: "
        f"{len(both) - len(differ)}; without a score on one side, or on both: {alone}.",
        *([_PAIRED if all(change.score.paired for change in shown) else _UNPAIRED_SOME] if shown else []),
    ]
    rows = [[change.metric, _ranks(change), *map(_estimate, change.score.parts)] for change in shown]
    return Part("Overall", notes, ["metric", "rank", "before", "after", "after − before"], rows, ("before",))


def _ranks(change: OverallChange) -> str:
    return " → ".join("–" if rank is None else str(rank) for rank in (change.rank_before, change.rank_after))
