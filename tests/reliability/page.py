"""reports/reliability.md, from the figures in reports/reliability/ and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from suite.reporting import markup
from suite.reporting.build import write_file
from suite.reporting.markup import escaped, folded
from tests.reliability import record
from tests.reliability.plan import filled, growth, plan_for, said

PAGE = record.ROOT / "reports" / "reliability.md"
Content = dict[str, Any]
_INTRODUCTION = """\
# Reliability

What happens to a run through anything that goes wrong, and how far the suite carries, as measured. Made by
`python -m tests.reliability` (one section: `python -m tests.reliability SECTION`), which writes a file for each section
into `reports/reliability/`, and this page from these files alone. Seconds of the clock are taken beside whatever else
the machine does: the load average at the beginning and at the end of a section says how much that was. Seconds of a
processor depend on it least.
"""


def write(folder: Path = record.FOLDER, page: Path = PAGE) -> Path:
    """Write the page."""
    write_file(page, page_of(record.read(folder)).encode())
    return page


def page_of(sections: dict[str, Content]) -> str:
    """The page of these sections; it says of the others that they were not taken."""
    parts = [_INTRODUCTION, _taken(sections)]
    for name, (title, show) in _SECTIONS.items():
        shown = show(sections[name]["figures"]) if name in sections else "Not taken yet.\n"
        if not sections.get(name, {}).get("complete", True):
            shown = f"**Not complete:** it was ended before its end, or is being taken.\n\n{shown}"
        parts.append(f"## {title}\n\n{shown}")
    if "throughput" in sections and "scale" in sections:
        figures = sections["throughput"]["figures"], sections["scale"]["figures"]
        parts.append(f"## Plan for 100,000 cells and 1,000 GPUs\n\n{plan_for(*figures)}")
    return "\n".join(parts)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    return markup.table([*header], [[str(one) for one in row] for row in rows])


def _taken(sections: dict[str, Content]) -> str:
    rows = []
    for name, content in sections.items():
        made = content["provenance"]
        code = (made["commit"] or "–")[:10] + (" with changes" if made["uncommitted_changes"] else "")
        load = " → ".join(f"{one:.1f}" for one in made["load_average"])
        seconds = said(made["seconds"]), said(made["processor_seconds"])
        machine = f"{made['processor']}, {made['cores']} cores, {made['memory_gib']:g} GiB"
        versions = f"{made['versions']['python']}, {made['versions'].get('torch', '–')}"
        rows.append((name, made["date"][:16].replace("T", " "), code, machine, versions, load, *seconds))
    header = ("section", "taken (UTC)", "commit", "machine", "Python, torch", "load", "seconds", "of a processor")
    return table(header, rows)


def _throughput(figures: Content) -> str:
    rows = [("executor alone", *_rate(one)) for one in figures["alone"]]
    for one in figures["recorded"]:
        count = one["values_per_job"]
        rows.append((f"on a board, {count} value{'s' if count > 1 else ''} a job recorded", *_rate(one)))
    header = ("empty jobs", "jobs", "seconds", "jobs/s", "jobs per second of the driver's processor")
    best = min(one["jobs_per_second"] for one in figures["alone"])
    met = "met" if best >= figures["wanted"] else "**not met**"
    least = min(one["jobs_per_second"] for one in figures["recorded"])
    lead = (
        f"Empty jobs through `LocalExecutor` with {figures['workers']} workers, then followed as the driver does, with "
        "the values of each job written into a store in a transaction of its own (flushed to the disk). Wanted are "
        f"{figures['wanted']:g} empty jobs/s: {met}, with {said(best)}. With values to record, as every real job has, "
        f"it is at least {said(least)}: most of that time is the disk's, see the last column."
    )
    return f"{filled(lead)}\n{table(header, rows)}"


def _rate(one: Content) -> tuple[str, ...]:
    names = ("jobs", "seconds", "jobs_per_second", "jobs_per_driver_processor_second")
    return tuple(said(one[name]) for name in names)


_STAGES = {
    "plan": "file → cells, stacks, names",
    "record": "runs, probes, values → store",
    "resume": "`suite run` with nothing to do",
    "publish": "store → results",
    "read": "results → tables",
    "rank": "tables → rankings",
    "report": "rankings → leaderboard, site",
}


def _scale(figures: Content) -> str:
    sizes = sorted(map(int, figures["sizes"]))
    rows = []
    for stage, does in _STAGES.items():
        shown = [_stage(figures["sizes"][str(size)].get(stage)) for size in sizes]
        rows.append((f"{stage}: {does}", *shown, growth(figures, stage)))
    written = [size for size in sizes if figures["sizes"][str(size)].get("record")]
    stores = [(f"{size:,}", *_store(figures["sizes"][str(size)]["store"])) for size in written]
    header = ("stage", *(f"{size:,} cells" for size in sizes), "against linear")
    lead = (
        f"A made-up grid with {figures['seeds']} seeds a setting and {figures['metrics']} metrics of the suite, their "
        "values drawn (nothing is trained), through the real store, publication, ranking and report, each stage in a "
        f"process of its own with one thread; {figures['resamples']:,} resamples and {figures['permutations']:,} "
        "permutations, as of every published board. Seconds of a processor / of the clock / MiB at the peak, imports "
        f"(about 4 s, 390 MiB with torch) among them. A stage is ended after {figures['most_seconds']:,} s of a "
        f"processor or beyond {figures['most_mib']:,} MiB. The last column: how much more one cell costs in the step "
        "between the two largest sizes than in the step before, by the processor: × 1 is linear, × 10 is the square of "
        "their number."
    )
    sizes_of = table(("cells", "database, MB", "tensor files", "tensors, MB", "results, MB"), stores)
    return f"{filled(lead)}\n{table(header, rows)}\n{sizes_of}"


def _stage(taken: Content | None) -> str:
    if taken is None:
        return "not begun"
    if "ended" in taken:
        return f"ended: {taken['ended']}"
    return " / ".join(said(taken[name]) for name in ("processor_seconds", "seconds", "peak_mib"))


def _store(sizes: Content) -> tuple[str, ...]:
    numbers = (sizes["database_bytes"] / 1e6, sizes["tensor_bytes"] / 1e6, sizes["results_bytes"] / 1e6)
    return said(numbers[0]), f"{sizes['tensor_files']:,}", said(numbers[1]), said(numbers[2])


def _kills(figures: Content) -> str:
    killed = ", ".join(f"{count} × {who}" for who, count in figures["killed"].items())
    phases = table(("killed at", "kills"), figures["phases"].items())
    counts = (
        ("runs to their end", figures["runs"]),
        ("starts after the first of each", figures["restarts"]),
        ("rows recorded (stacks, runs, checkpoints, probes, values)", f"{figures['rows_recorded']:,}"),
        ("of these values", f"{figures['values_recorded']:,}"),
        ("recorded before a kill and made again", figures["done_again"]),
        ("recorded before a kill, or by the undisturbed run, and not there at the end", figures["lost"]),
        ("final leaderboards that are the undisturbed run's, byte for byte", figures["identical_leaderboards"]),
        ("leaderboards and tables of results compared with it", f"{figures['compared_files']:,}"),
        ("folders of temporary files left by killed drivers", figures["temporary_folders_left"]),
    )
    lead = (
        f"{figures['kills']} × `kill -9` ({killed}; seed {figures['seed']}) at random moments of `suite run` on a grid "
        "of twelve networks: after each the same command is given again until it is done, then a new store is begun. "
        "So a run to its end goes through several kills. A driver that is killed is one start more; a worker that is "
        "killed is replaced and its job begun again, unseen but for the lines in the last table, if there is one. "
        f"Undisturbed it takes {said(figures['undisturbed_seconds'])} s."
    )
    text = f"{filled(lead)}\n{table(('', 'count'), counts)}\n{phases}"
    if figures["ended_by_themselves"]:
        rows = [(escaped(why), count) for why, count in figures["ended_by_themselves"].items()]
        text += "\nRuns whose worker was killed and that ended with an error, and went on when started again:\n\n"
        text += table(("what they said", "lines"), rows)
    return text + _wrong(figures)


def _tests(figures: Content) -> str:
    tests = figures["tests"]
    counts = {word: sum(one["outcome"] == word for one in tests) for word in ("passed", "failed", "skipped")}
    rows = [(escaped(_named(one)), _outcome(one), said(one["seconds"])) for one in tests]
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    files = ", ".join(f"`{file}`" for file in dict.fromkeys(one["file"] for one in tests))
    return f"{filled(f'{told}, of {files}.')}\n{table(('test', 'outcome', 'seconds'), rows)}"


def _named(one: Content) -> str:
    """What is tested, in the words of the test's name, its parameters and its docstring."""
    return one["test"] + (f" ({one['of']})" if one["of"] else "") + (f". {one['says']}" if one["says"] else "")


def _outcome(one: Content) -> str:
    if one["outcome"] == "passed":
        return "passed"
    word = "**failed**" if one["outcome"] == "failed" else one["outcome"]
    return f"{word}: {escaped(one['why'])}"


def _fuzz(figures: Content) -> str:
    words = ("cases", "calls", "accepted", "refused", "wrong")
    rows = []
    for subject, found in figures["subjects"].items():
        slowest = max((one["seconds"] for one in found["slowest"]), default=0.0)
        rows.append((subject, *(f"{found[word]:,}" for word in words), said(slowest)))
    lead = (
        f"Damaged task files, results and files of metrics (seed {figures['seed']}) through the command line. *Wrong* "
        "would be a traceback, a hang, a status other than 0, 1 or 2, an error that does not name the file, or a file "
        "left half written."
    )
    text = f"{filled(lead)}\n{table(('subject', *words, 'slowest call, s'), rows)}"
    for subject, found in figures["subjects"].items():
        kinds = [
            (escaped(kind), *(counts[word] for word in ("cases", *words[2:])))
            for kind, counts in found["damage"].items()
        ]
        text += "\n" + folded(f"{subject}, by kind of damage", table(("damage", "cases", *words[2:]), kinds))
    return text + _wrong(figures)


def _wrong(figures: Content) -> str:
    if not figures["failures"]:
        return ""
    return "\nNot as it should be:\n\n" + "".join(f"- {escaped(line)}\n" for line in figures["failures"])


_SECTIONS: dict[str, tuple[str, Callable[[Content], str]]] = {
    "throughput": ("Throughput of the driver", _throughput),
    "scale": ("Scale", _scale),
    "kills": ("Kills", _kills),
    "faults": ("Faults that are injected", _tests),
    "fuzz": ("Fuzzed input", _fuzz),
    "engines": ("Ray and Slurm", _tests),
}
