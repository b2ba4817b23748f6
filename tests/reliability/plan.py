"""What the measured figures say of 100,000 cells and 1,000 GPUs: an extrapolation, and what breaks first."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from suite.reporting import markup

CELLS = 100_000
GPUS = 1000
_STACK = 64
"""Cells that are trained together at most, by default."""
_GPT2 = 124_000_000
"""Parameters of the smallest GPT-2."""
_SQUARE = "rank"
"""The stage that compares all networks with one another."""
_LINEAR = ("plan", "record", "resume", "publish", "read", "report")

Figures = dict[str, Any]


def filled(text: str) -> str:
    """Paragraphs, and items of lists, in lines of one width, whatever numbers are in them."""
    made = []
    for part in text.strip().split("\n\n"):
        items = re.split(r"\n(?=\d\. )", part)
        made.append("\n".join(_lines(" ".join(item.split())) for item in items))
    return "\n\n".join(made) + "\n"


def _lines(text: str) -> str:
    indent = "   " if re.match(r"\d\. ", text) else ""
    return textwrap.fill(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def said(number: float) -> str:
    """A number in three digits, or whole."""
    return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.3g}"


def measured(scale: Figures, stage: str, what: str = "processor_seconds") -> dict[int, float]:
    """What a stage took at each size that it came to its end at."""
    found = {int(size): stages.get(stage, {}) for size, stages in scale["sizes"].items()}
    return {size: float(taken[what]) for size, taken in sorted(found.items()) if what in taken}


def growth(scale: Figures, stage: str) -> str:
    """Seconds that a further cell costs between the two largest sizes, in those of a cell in the step before."""
    taken = [*measured(scale, stage).items()]
    if len(taken) < 2:
        return "–"
    (n1, t1), (n2, t2), *rest = taken
    first = (t2 - t1) / (n2 - n1)
    if not rest or first <= 0:
        return "–"
    (n3, t3) = rest[-1]
    return f"× {(t3 - t2) / (n3 - n2) / first:.2g}"


def linear(taken: dict[int, float], cells: int = CELLS) -> float:
    """At so many cells, on the line through the two largest sizes."""
    (n1, t1), (n2, t2) = [*taken.items()][-2:]
    return t2 + (t2 - t1) / (n2 - n1) * (cells - n2)


def squared(taken: dict[int, float], cells: int = CELLS) -> float:
    """At so many cells, with the square of their number from the largest size."""
    size, seconds = [*taken.items()][-1]
    return seconds * (cells / size) ** 2


def at_scale(scale: Figures) -> list[tuple[str, int, str, float, str]]:
    """For each stage: its name, the largest size measured, the formula, seconds of a processor at `CELLS`, MiB."""
    rows = []
    for stage in (*_LINEAR[:5], _SQUARE, _LINEAR[5]):
        taken, peaks = measured(scale, stage), measured(scale, stage, "peak_mib")
        if len(taken) < 2:
            continue
        (n1, t1), (n2, t2) = [*taken.items()][-2:]
        if stage == _SQUARE:
            formula, seconds = f"{said(t2)} · ({CELLS:,} / {n2:,})²", squared(taken)
            peak = "see below"
        else:
            formula = f"{said(t2)} + ({said(t2)} − {said(t1)}) / {n2 - n1:,} · {CELLS - n2:,}"
            seconds, peak = linear(taken), said(linear(peaks))
        rows.append((stage, n2, formula, seconds, peak))
    return rows


def plan_for(throughput: Figures, scale: Figures) -> str:
    """The text, its numbers from the figures alone; where these are too few, that."""
    if len(measured(scale, _SQUARE)) < 2 or len(measured(scale, "report")) < 2:
        return "To be taken first: the stages above at two sizes.\n"
    lead = (
        "**An extrapolation: nothing of this size was run.** Each number follows from the tables above by the formula "
        "beside it, on one thread of the machine named there."
    )
    texts = [lead, _driver(throughput), _store(scale)]
    return "\n".join([*map(filled, texts), _stages(scale), filled(_first(throughput, scale))])


def _driver(throughput: Figures) -> str:
    alone = min(one["jobs_per_second"] for one in throughput["alone"])
    full = max(throughput["recorded"], key=lambda one: one["values_per_job"])
    rate, values = full["jobs_per_second"], full["values_per_job"]
    stacks = -(-CELLS // _STACK)
    minutes = (stacks + 2 * CELLS) / rate / 60
    return f"""\
**The driver** starts {said(alone)} jobs/s, and {said(rate)} jobs/s where it writes {values} values of each. {GPUS:,}
workers are kept busy by jobs of {GPUS:,} / {said(rate)} = {said(GPUS / rate)} s and more, on average. {CELLS:,} cells
are at least {CELLS:,} / {_STACK} = {stacks:,} jobs of training, {CELLS:,} of each probe and {CELLS:,} of metrics:
with one probe ({stacks:,} + 2 · {CELLS:,}) / {said(rate)} = {said(minutes)} min of the driver, over the whole run.
Training and probes of networks that are worth a GPU take longer than that each. Metrics that only read a probe may
not; a job is therefore all metrics of a run, and it is these jobs that the driver is slowest at.
"""


def _store(scale: Figures) -> str:
    size = max(measured(scale, "record"))
    store, record = scale["sizes"][str(size)]["store"], scale["sizes"][str(size)]["record"]
    rows, files, seconds = (
        one / size for one in (store["database_bytes"], store["tensor_files"], record["store_seconds"])
    )
    used = record["store_processor_seconds"] / record["store_seconds"]
    return f"""\
**The store** has {said(rows / 1000)} kB of rows and {said(files)} files for each cell with {scale["metrics"]} values.
At {CELLS:,} cells these are {said(rows / 1e9 * CELLS)} GB in one SQLite file and {said(files * CELLS)} files in 256
folders, written in {said(seconds * 1000)} ms · {CELLS:,} = {said(seconds * CELLS / 60)} min of which {used:.0%} are a
processor's: the rest is waiting for the disk (each file and each transaction is flushed to it) and for a turn.
Weights are what is large: one checkpoint of the smallest GPT-2 is 4 · {_GPT2 / 1e6:.0f} MB, {CELLS:,} of them are
{said(4 * _GPT2 * CELLS / 2**40)} TiB. `keep` and `suite gc` are for that; without them no disk is.
"""


def _stages(scale: Figures) -> str:
    rows = [
        [stage, f"{largest:,}", formula, said(seconds), said(seconds / 3600), peak]
        for stage, largest, formula, seconds, peak in at_scale(scale)
    ]
    header = ["stage", "largest measured", "seconds of a processor", f"at {CELLS:,} cells", "hours", "MiB"]
    return markup.table(header, rows)


def _first(throughput: Figures, scale: Figures) -> str:
    settings, metrics = CELLS // scale["seeds"], scale["metrics"]
    pairs_gib = settings**2 / 2 * (3 * metrics + 2) * 8 / 2**30
    taken = measured(scale, _SQUARE)
    largest = max(taken)
    parts = CELLS // largest
    hours = parts * taken[largest] / 3600
    rate = min(one["jobs_per_second"] for one in throughput["recorded"])
    return f"""\
**What breaks first, and what to do about it:**

1. *The ranking.* It compares all pairs of networks, for p-values {scale["permutations"]:,} times, and keeps what
   pairs of settings say: {settings:,}² / 2 pairs · (2 · {metrics} + {metrics} + 2) numbers · 8 bytes =
   {said(pairs_gib)} GiB. That is not to be tried. The remedy that exists: scores are means over tasks, so that a grid
   of {CELLS:,} is written as {parts} tasks of {largest:,}. Their rankings take {parts} · {said(taken[largest])} s =
   {said(hours)} h of a processor and the memory of one of them, or as many processes side by side. The remedy that
   would have to be written: to count pairs by sorting (n log n) instead of comparing them (n²).
2. *Publication* asks the store for each value by its name, and three times over. It grows linearly, in a single
   process; one query for all values of a metric, once, would be several times as fast.
3. *The driver* flushes the values of each run to the disk: {said(rate)} runs/s. With more than {GPUS:,} workers, or
   jobs shorter than {said(GPUS / rate)} s, several runs have to share a transaction; a kill then costs a few jobs
   more.
4. *Reports* draw every network: the pages of a task grow with it, and a browser has to show them. Beyond some
   thousand networks charts should draw a sample, and say so.
"""
