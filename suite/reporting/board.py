"""Everything that a report shows, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from suite.ranking.chances import TAIL
from suite.ranking.control import NOISE, control
from suite.ranking.evidence import least_chance
from suite.ranking.leaderboard import averaged, rank_overall, score_on
from suite.ranking.tables import TaskResults, read_results
from suite.ranking.task import TaskRanking, rank_task

FEW = 10
"""With fewer settings than this a report warns: the spread itself is badly known."""
MOST = 25
"""Metrics in the first table and in the overall figure, beside the trivial predictors."""
_NAMED = 4
"""Tasks whose scores are told one by one; of more, the least and the greatest."""
CERTAIN = 0.05
"""Corrected p-values below it are findings."""
CLAIM = "sharpness_dimension"
"""The quantity the suite is about: drawn for every task it is measured on, wherever it ranks."""
RATE = "learning_rate"
"""The predictor that every reader asks about first."""
TRIVIAL, LACKING = "○", "†"
_SHARED = ("index", "overall", "claims", "costs")


@dataclass(frozen=True)
class Origin:
    """Where a report comes from: the command that makes it, and from what."""

    command: str
    results: str


PUBLISHED = Origin("suite leaderboard", "the published results")
LOCAL = Origin("suite rank", "the results in the local store")


@dataclass(frozen=True)
class Board:
    """The rankings of all tasks, by name; the overall table, best metric first; the positive control's score."""

    tasks: list[TaskRanking]
    overall: pd.DataFrame
    control: dict[str, float]

    @property
    def leaders(self) -> pd.DataFrame:
        """The rows worth a first look, best first: the best metrics, all trivial ones, those from outside, CLAIM."""
        if (~self.overall["trivial"].astype(bool)).sum() <= MOST:
            return self.overall
        table = self.overall[self.overall["score"].notna()]
        trivial = table["trivial"].astype(bool)
        return table[trivial | ((~trivial).cumsum() <= MOST) | (table.index == CLAIM) | table["outside"]]

    @property
    def unshown(self) -> int:
        """How many metrics are not among the leaders, those without any value included."""
        return len(self.overall) - len(self.leaders)

    @property
    def in_short(self) -> str:
        """Which metric is best, how surely, and whether any beats the trivial predictors, in two or three sentences."""
        table = self.overall[self.overall["score"].notna()]
        real = table[~table["trivial"].astype(bool)]
        if real.empty:
            return ""
        words = [
            f"Of {len(real)} metrics the best is {_told(real.iloc[0])}.",
            self._how_surely(str(real.index[0])),
            self._where_it_fails(str(real.index[0])),
            self._without_the_rule(str(real.index[0])),
        ]
        if self.best_trivial is not None:
            beating = list(real.index[real["beats_trivial"] == "yes"])
            verdict = f"{len(beating)} certainly" if beating else "None certainly"
            trivial = table.loc[[self.best_trivial]].iloc[0]
            words.append(self._against_rate(str(real.index[0]), len(real)))
            words.append(
                f"{verdict} beat{'' if len(beating) > 1 else 's'} the best trivial predictor, {_told(trivial)}."
            )
        found = real[real["p_holm"] < CERTAIN]
        named = f": {'; '.join(found['title'])}" if 0 < len(found) <= MOST else ""
        words.append(f"Related to the gap beyond chance, corrected for their number, are {len(found)}{named}.")
        return " ".join(filter(None, words))

    def _how_surely(self, name: str) -> str:
        """Who is above the best metric, and how many cannot be told apart from it."""
        row, table = self.row(name), self.overall
        above = int(table["trivial"].astype(bool)[: table.index.get_loc(name)].sum())
        alike = int((table["group"] == row["group"]).sum()) - 1
        parts = []
        if above:
            parts.append(
                f"{above} trivial predictor{'s' if above > 1 else ''} score{'' if above > 1 else 's'} as high or higher"
            )
        if alike and not pd.isna(row["group"]):
            parts.append(
                f"{alike} others cannot be told apart from it (ranks {between(row['rank_low'], row['rank_high'])})"
            )
        return f"{'; '.join(parts)}." if parts else ""

    def _where_it_fails(self, name: str) -> str:
        """The score on each task; where it is below 0, or cannot be told from 0, by its own interval."""
        told, wrong, open_, lacking = list[tuple[float, str]](), list[str](), list[str](), list[str]()
        for task in self.tasks:
            if not task.scored:
                continue
            if not task.has_values(name):
                lacking.append(task.results.name)
                continue
            found = averaged([score_on(task, name)], [task.clusters], (-1.0, 1.0))
            told.append((found["score"], f"{_score(found)} on {task.results.name}"))
            few = least_chance(task.clusters, task.results.kind == "trajectory") > TAIL
            if few or not (found["low"] > 0 or found["high"] < 0):
                open_.append(task.results.name + (f" ({task.clusters} settings are too few)" if few else ""))
            elif found["high"] < 0:
                wrong.append(task.results.name)
        parts = [
            _by_task(told),
            f"It is certainly the wrong way round on {', '.join(wrong)}." if wrong else "",
            f"It cannot be told from chance on {', '.join(open_)}." if open_ else "",
            f"It has no value on {', '.join(lacking)}." if lacking else "",
        ]
        return " ".join(filter(None, parts))

    def _against_rate(self, name: str, count: int) -> str:
        """Whether the best of so many metrics beats the learning rate."""
        if f"beats:{RATE}" not in self.overall:
            return ""
        rate = _told(self.overall.loc[[RATE]].iloc[0])
        flattered = f"; as the best of {count} it is flattered by being chosen" if count > 1 else ""
        words = {"yes": "It beats", "no": "It does not beat"}
        verdict = words.get(str(self.overall.at[name, f"beats:{RATE}"]), "It cannot be told from")
        return f"{verdict} {rate} (each comparison by itself{flattered})."

    def _without_the_rule(self, name: str) -> str:
        """What becomes of a metric where the networks that inclusion rules leave out are ranked too."""
        if not any(task.left_out for task in self.tasks):
            return ""
        row = self.row(name)
        score = f"{number(row['score_all'])} (rank {row['rank_all']} instead of {row['rank']})"
        return f"With the networks that the tasks' inclusion rules leave out its score is {score}."

    @property
    def best_trivial(self) -> str | None:
        """The trivial predictor that ranks highest."""
        scored = self.overall[self.overall["trivial"].astype(bool) & self.overall["score"].notna()]
        return str(scored.index[0]) if len(scored) else None

    def row(self, name: object) -> dict[str, Any]:
        """What the overall table says of a metric."""
        return {str(column): value for column, value in self.overall.loc[str(name)].items()}

    def verdict(self, name: object) -> str:
        """Whether a metric beats the best trivial predictor, in a word or two."""
        return "(best of them)" if name == self.best_trivial else str(self.overall.at[name, "beats_trivial"])

    @property
    def unscored(self) -> list[TaskRanking]:
        """The tasks that no metric can be scored on."""
        return [task for task in self.tasks if not task.scored]

    @property
    def coverage(self) -> str:
        """Which tasks the scores are means over, of how many networks each, and which could not be ranked."""
        scored = [task for task in self.tasks if task.scored]
        over = "; ".join(f"{task.results.name} ({size(task)})" for task in scored)
        without = "; ".join(f"{task.results.name} ({task.why_unscored})" for task in self.unscored)
        count = "1 task" if len(scored) == 1 else f"{len(scored)} tasks"
        parts = [f"Scores average {count}: {over}." if over else "", f"Not ranked: {without}." if without else ""]
        return " ".join(filter(None, parts))

    @property
    def control_note(self) -> str:
        """What a predictor that is known to be good scores, in a sentence; empty where nothing could be scored."""
        if pd.isna(self.control["score"]):
            return ""
        scored = f"{number(self.control['score'])} {span(self.control['low'], self.control['high'])}".strip()
        return (
            f"Control: a predictor that reads the gaps themselves through noise of {NOISE:g} times their spread, which "
            f"no metric can, scores {scored} by the same code."
        )

    def place(self, name: object) -> str:
        """The rank of a metric; an en dash for one without any value."""
        rank = self.row(name)["rank"]
        return "–" if pd.isna(rank) else str(rank)

    def marks(self, name: object) -> str:
        """○ for a trivial predictor, † for a metric of which values are missing."""
        row = self.row(name)
        return (TRIVIAL if row["trivial"] else "") + (LACKING if row["lacking"] else "")

    def leading(self, task: TaskRanking, count: int) -> list[str]:
        """The metrics of a task worth drawing: the best by overall rank, then the best trivial predictor.

        The quantity the suite is about is among them, in the last place if it ranks below.
        """
        here = [str(name) for name in self.overall.index if task.has_values(str(name))]
        real = [name for name in here if not self.overall.at[name, "trivial"]]
        if CLAIM in real[count:]:
            real = [*real[: count - 1], CLAIM]
        trivial = [name for name in here if self.overall.at[name, "trivial"]][:1]
        return real[:count] + trivial


def _told(row: pd.Series[Any]) -> str:
    """A metric with its score."""
    return f"{row['title']} ({_score(row)})"


def _score(row: Mapping[str, Any] | pd.Series[Any]) -> str:
    return f"{number(row['score'])} {span(row['low'], row['high'])}"


def _by_task(told: list[tuple[float, str]]) -> str:
    """Scores on single tasks, in words: of many the least and the greatest."""
    if len(told) > _NAMED:
        (_, least), (_, most) = min(told), max(told)
        return f"Its scores on single tasks go from {least} to {most}."
    return f"Task by task: {'; '.join(words for _, words in told)}." if told else ""


def read_board(results: Path, names: Sequence[str] | None = None) -> Board:
    """Read and rank a folder of results: of the tasks of these names, or of all.

    Raises:
        BadInput: it has none, or not of a task named, or a file in it is wrong.
    """
    read = read_results(results, names)
    tasks = [rank_task(result) for result in read]
    return Board(tasks, rank_overall(tasks), control(read))


def slug(name: str) -> str:
    """A task's name as a file name: no two names share one, and none takes the name of a shared file.

    Names have single hyphens between words and never end with one.
    """
    return f"{name}--" if name in _SHARED else name.replace("/", "--")


def setting(value: object) -> str:
    """The value of a hyperparameter: a number shortly but exactly, or a word."""
    if isinstance(value, str):  # in one line: charts are programs, which some invisible characters would end
        return "".join(character for character in " ".join(value.split()) if character.isprintable())
    if pd.isna(value):  # type: ignore[call-overload]  # any scalar
        return "none"
    number = float(value)  # type: ignore[arg-type]  # not a word: a number
    text = f"{number:g}"
    return text if float(text) == number else repr(number)


def levels(column: pd.Series[Any]) -> list[str]:
    """The settings in a column: numbers by size, then words, then none at all."""
    return [setting(value) for value in sorted(column.unique(), key=_order)]


def _order(value: object) -> tuple[int, float, str]:
    if pd.isna(value):  # type: ignore[call-overload]  # any scalar
        return 2, 0.0, ""
    try:
        return 0, float(value), ""  # type: ignore[arg-type]  # raises what is caught
    except ValueError:
        return 1, 0.0, str(value)


def size(task: TaskRanking) -> str:
    """How many networks (and checkpoints of them) of a task are ranked."""
    runs, kept = task.results.runs, task.results.runs[task.results.included]
    networks, ranked = runs["run_id"].nunique(), kept["run_id"].nunique()
    text = f"{networks} networks" if ranked == networks else f"{ranked} of {networks} networks"
    text = ", ".join(filter(None, (text, untrained(task.results))))
    return f"{text}, {len(kept)} checkpoints" if task.results.kind == "trajectory" else text


def untrained(results: TaskResults) -> str:
    """How many networks of a task could not be trained; empty where all were."""
    return "" if results.untrained.empty else f"{len(results.untrained)} could not be trained"


def constant(task: TaskRanking) -> list[str]:
    """Titles of the metrics that do not vary where they would have to, and so score 0 whatever the gaps are."""
    frame = task.results.wide()[task.results.included]
    groups = frame["run_id"] if task.results.kind == "trajectory" else pd.Series("all", frame.index)
    names = [name for name in task.results.metrics.index if task.has_values(name)]
    same = frame.groupby(groups)[names].nunique().max() <= 1
    return [str(task.results.metrics.at[name, "title"]) for name in names if same[name]]


def constant_note(task: TaskRanking) -> str:
    """What is 0 on a task by construction, in a sentence; empty where nothing is."""
    if not (titles := constant(task)):
        return ""
    where = "within every run" if task.results.kind == "trajectory" else "over the whole task"
    return (
        f"Constant {where}, so 0 here by construction (and counted as 0 in the mean over tasks): {', '.join(titles)}."
    )


def drawn_from(task: TaskRanking) -> str:
    """What the intervals were made from, with a caveat where it was little."""
    caveat = ": few, read the intervals as rough" if task.clusters < FEW else ""
    return f"intervals from {task.clusters} {task.drawn}{caveat}"


def number(value: float, digits: int = 2) -> str:
    """A correlation with its sign, − for minus; an en dash where there is none."""
    if pd.isna(value):
        return "–"
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def span(low: float, high: float, digits: int = 2) -> str:
    """An interval, or nothing where it is not defined."""
    return "" if pd.isna(low) or pd.isna(high) else f"[{number(low, digits)}, {number(high, digits)}]"


def between(low: Any, high: Any) -> str:
    """Whole numbers from one to another; an en dash where there are none."""
    return "–" if pd.isna(low) or pd.isna(high) else f"{low}–{high}"


def count(value: Any) -> str:
    """A whole number; an en dash where there is none."""
    return "–" if pd.isna(value) else str(value)


def chance(p: float) -> str:
    """A p-value with two digits; an en dash where there is none."""
    return "–" if pd.isna(p) else "< 0.01" if p < 0.01 else f"{min(p, 1.0):.2f}"


def granulated(row: dict[str, Any], factor: str) -> str:
    """ψ of a hyperparameter with its interval and the number of settings it is the mean of."""
    if not row[f"settings:{factor}"]:
        return number(float("nan"))
    interval = span(row[f"psi_low:{factor}"], row[f"psi_high:{factor}"])
    return " ".join(filter(None, (number(row[f"psi:{factor}"]), interval, f"({row[f'settings:{factor}']})")))


def ordered(task: TaskRanking, target: str) -> list[dict[str, Any]]:
    """The rows of a target, best score first."""
    rows = task.rows[task.rows["target"] == target]
    rows = rows.sort_values("score", ascending=False, kind="stable", na_position="last")
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def expected_sign(row: pd.Series[Any]) -> str:
    """Which way a metric is expected to go; trivial predictors may go either way."""
    return "±" if row["trivial"] else "+1" if int(row["sign"]) > 0 else "−1"


def read_sign(row: dict[str, Any]) -> str:
    """The sign that a metric's τ was read with on a task."""
    return "+" if row["sign"] > 0 else "−"
