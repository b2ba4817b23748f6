"""leaderboard.md: readable on a code-hosting page, stable from one regeneration to the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import pandas as pd

from suite.ranking.claims import Verdict
from suite.ranking.tables import TaskResults
from suite.ranking.task import TaskRanking
from suite.reporting.board import (
    LOCAL,
    PUBLISHED,
    Board,
    Origin,
    between,
    chance,
    constant_note,
    count,
    drawn_from,
    expected_sign,
    number,
    slug,
    span,
    untrained,
)
from suite.reporting.claims import CLAIMS_FILE, claims_section
from suite.reporting.cost import COSTS_FILE, elsewhere
from suite.reporting.details import power
from suite.reporting.edge import edge_sentence
from suite.reporting.markup import code, escaped, folded, table
from suite.reporting.task_tables import leading_table, table_file, transition_sentence

_READING = """\
## How to read this

- **Score**: the mean over tasks of sign × τ, where τ is Kendall's τ-b between the metric and the gap and the sign is
  the one its authors expect. +1: the metric orders all networks as their gaps do; 0: no better than chance; below 0: it
  orders them the wrong way round. Tasks weigh equally, and so do a task's targets.
- **Failures**: a pair of networks of which one was tried and has no value counts as ordered the wrong way round, so no
  metric ever gains by failing: a value fewer never raises a score. A metric that failed on all of a task scores −1
  there. Where a metric says that it is not for such networks, or the task asks for no probe that it reads, nothing was
  tried: – is shown, and 0 counts in the mean, as for a metric that knows nothing. A metric with values missing is
  marked †; without any value it has no rank.
- **A task's tables** are in the order of their first column: score = sign × τ, failed pairs ordered wrongly (see
  Failures). τ is shown as it is, over the networks with a value: with sign −, the metric is expected to be large where
  the gap is small, and a negative τ is good.
- **Trivial predictors** are marked ○. They have no authors to say which way they should go, so each gets the sign that
  suits it better (one for all targets of a task), task by task and resample by resample: their scores on a task are
  never negative where no value is missing, and even a random number scores a little above 0. *Beats trivial* compares a
  metric, on the same resamples, with the trivial predictor of the best score: a metric that does not beat it has
  explained nothing yet. What a task does not vary scores 0 on it by construction. On trajectory tasks, where networks
  are compared along a run, that holds of the learning rate, the batch size, η / b and the weight decay, and pulls their
  means down; it does not hold of the number of steps, the training loss and the distance from initialisation. Each task
  says what it does not vary.
- **Brackets** are 95 % intervals: the bootstrap's standard error times Student's t. Settings of the hyperparameters are
  drawn again with all their seeds (runs, where there is a single setting), because seeds of one setting are not
  independent evidence; k settings give k − 1 degrees of freedom, so few settings give wide intervals. They are about
  the values of the hyperparameters that were tried: where learning rate and batch size dominate, an interval holds what
  other values would give only about 84 % of the time.
- **p** is the chance of a score as good from a metric that has nothing to do with the gap: settings are permuted with
  all their seeds (on trajectory tasks: τ of a whole setting changes its sign), one-sided with the metric's sign,
  two-sided for trivial predictors, and corrected for the number of metrics by Holm's method: below 0.05 is a finding.
  An interval is about one metric alone: of a hundred that know nothing, five leave 0 out. The smallest p there can be
  is the number of metrics over the number of permutations.
  On a trajectory task k settings give no p below 1 / 2ᵏ before correction (four: 1/16): four find nothing.
- **Group**: metrics of one group cannot be told apart from its leader by their paired resamples (Holm's correction
  again). **Ranks**: where a metric came in 95 % of the resamples.
- **Echo of**: with that hyperparameter held fixed (pairs of networks that share it), nothing certain is left of the
  metric's τ: it may know no more than the hyperparameter does.
- **Transitions**: test accuracy *jumps* in a run where two levels, the second higher by at least 0.3, explain it better
  than a straight line; a climb may be as smooth as that allows. Where one change of level explains a metric along the
  run, how many steps before (+) that it lies, and how often it does so where test accuracy never jumps (false alarms).
- **ψ** is the granulated Kendall coefficient (Jiang et al. 2019): only that hyperparameter varies; in parentheses, over
  how many settings of the others it is the mean. **Ψ** is the mean of ψ over hyperparameters.
- **Trajectory tasks**: τ within each run over its checkpoints, then the mean over runs.
- **n** counts networks (checkpoints on trajectory tasks) that meet the task's inclusion rule and have a value; *τ all*
  is τ without the rule. **ρ** is Spearman's coefficient, with its interval.
"""

_HOW = {
    PUBLISHED: "`suite run TASK` trains and measures a task anew, `suite publish TASK` writes its results, "
    "`suite leaderboard` makes this page from them (`--check`: fails if it is not current). "
    "`make run` does the quick tasks.",
    LOCAL: "`suite run TASK` trains and measures what is missing of a task and writes this page of it; "
    "`suite rank` writes it anew from what is measured.",
}


def markdown(board: Board, reports: str = ".", origin: Origin = PUBLISHED, verdicts: Sequence[Verdict] = ()) -> str:
    """The text of leaderboard.md.

    Args:
        board: what to show.
        reports: the folder that `figures` and `tables` are in, relative to the file.
        origin: what made it from what.
        verdicts: on claims; none: there is no such section.
    """
    figures, tables = (PurePosixPath(reports) / name for name in ("figures", "tables"))
    parts = [
        "# Leaderboard\n",
        "Which measure predicts the train–test gap? Every metric meets the same networks under the same rules. "
        f"Generated by `{origin.command}` from {origin.results}; never edited by hand.\n",
        *([f"**In short**: {escaped(board.in_short)}\n"] if board.in_short else []),
        f"{escaped(board.coverage)}\n",
        _overall(board, board.leaders if len(board.leaders) else board.overall),
        *([_everything(board)] if board.unshown else []),
        *([f"{board.control_note}\n"] if board.control_note else []),
        _against_trivial(board),
        _sensitivity(board),
        power(board),
        f"![Score of every metric with its 95 % interval]({figures}/overall.svg)\n",
        *([claims_section(verdicts, f"{tables}/{CLAIMS_FILE}")] if verdicts else []),
        _READING,
        *(_task(task, str(figures), str(tables)) for task in board.tasks),
        _metrics(board),
        _reproduce(board, origin, f"{tables}/{COSTS_FILE}"),
    ]
    return "\n".join(parts)


def _everything(board: Board) -> str:
    return folded(f"All {len(board.overall)} metrics", _overall(board, board.overall))


def _overall(board: Board, shown: pd.DataFrame) -> str:
    header = ["#", "metric", "score", "95 %", "ranks", "group", "p", "beats trivial"]
    header += [escaped(t.results.name) for t in board.tasks]
    rows = []
    for name, row in shown.iterrows():
        mark = f" {board.marks(name)}".rstrip()
        scores = [number(row[t.results.name]) for t in board.tasks]
        rows.append(
            [board.place(name), f"{escaped(row['title'])}{mark}", f"**{number(row['score'])}**",
             span(row["low"], row["high"]), between(row["rank_low"], row["rank_high"]), count(row["group"]),
             chance(row["p_holm"]), board.verdict(name), *scores]
        )  # fmt: skip
    return table(header, rows)


def _against_trivial(board: Board) -> str:
    """Whether the leading metrics certainly beat each trivial predictor; nothing where there is none."""
    trivial = [str(name) for name in board.overall.index if f"beats:{name}" in board.overall]
    if not trivial:
        return ""
    header = ["metric", *(escaped(board.overall.at[name, "title"]) for name in trivial)]
    rows = [
        [escaped(row["title"]), *(str(row[f"beats:{name}"]) for name in trivial)]
        for _, row in board.leaders.iterrows()
        if not row["trivial"]
    ]
    return folded("Whether the leading metrics certainly beat each trivial predictor by itself", table(header, rows))


def _sensitivity(board: Board) -> str:
    """What each task, and the inclusion rule, do to the overall score."""
    names = [t.results.name for t in board.tasks if t.scored]
    names = names if len(names) > 1 else []
    header = ["metric", "score", "all networks in", "rank, all in", *(f"without {escaped(name)}" for name in names)]
    rows = [
        [escaped(row["title"]), number(row["score"]), number(row["score_all"]), count(row["rank_all"])]
        + [number(row[f"without:{name}"]) for name in names]
        for _, row in board.overall.iterrows()
    ]
    words = ", and with each task left out" if names else ""
    return folded(f"Scores without the inclusion rules{words}", table(header, rows))


def _task(task: TaskRanking, figures: str, tables: str) -> str:
    results = task.results
    parts = [
        f"## {escaped(results.title)}\n",
        f"{code(results.name)} · {_parameters(results)} parameters · {_counted(task)}\n",
        escaped(results.provenance.get("description", "")) + "\n",
        *([f"**Not ranked**: {task.why_unscored}.\n"] if not task.scored else []),
        *([f"{escaped(note)}\n"] if (note := constant_note(task)) else []),
        *([f"**Edge of stability along training.** {said}\n"] if (said := edge_sentence(results)) else []),
        f"![{escaped(results.title)}]({figures}/{slug(results.name)}.svg)\n",
        *(leading_table(task, target) for target in results.targets),
        *([transition_sentence(task)] if results.kind == "trajectory" else []),
        f"[All tables of this task]({tables}/{table_file(task)}).\n",
    ]
    return "\n".join(parts)


def _parameters(results: TaskResults) -> str:
    count = results.provenance.get("parameters")
    return f"{count:,}" if isinstance(count, int) else "?"


def _counted(task: TaskRanking) -> str:
    results = task.results
    what = "checkpoints" if results.kind == "trajectory" else "networks"
    diverged = int((results.runs["status"] == "diverged").sum())
    least = results.provenance["include"].get("train_accuracy", 0)
    rule = f"training accuracy ≥ {least:g}" if least else "all that did not diverge"
    parts = [
        f"{len(results.runs)} {what} of {results.runs['run_id'].nunique()} runs",
        f"{task.left_out} left out (rule: {rule}; {diverged} diverged)",
        untrained(results),
        drawn_from(task),
    ]
    return ", ".join(filter(None, parts))


def _metrics(board: Board) -> str:
    rows = [
        [code(name), escaped(row["title"]), expected_sign(row), escaped(row["source"])]
        for name, row in board.overall.sort_index().iterrows()
    ]
    reading = (
        "Sign: +1 if the gap is expected to grow with the metric; ± for trivial predictors: they may go either way."
    )
    return f"## Metrics\n\n{reading}\n\n{table(['name', 'metric', 'sign', 'source'], rows)}"


def _reproduce(board: Board, origin: Origin, costs: str) -> str:
    rows = []
    for task in board.tasks:
        made = task.results.provenance
        versions = made["versions"]
        packages = ", ".join(f"{name} {versions[name]}" for name in ("suite", "torch", "numpy") if name in versions)
        place = ", ".join(filter(None, (made["device"], made["dtype"], elsewhere(task.results))))
        rows.append([code(task.results.name), code(made["spec_hash"]), escaped(place), escaped(packages)])
    how = f"{_HOW[origin]} [What it took, task by task]({costs})."
    return f"## How to reproduce it\n\n{how}\n\n" + table(["task", "spec hash", "made on", "with"], rows)
