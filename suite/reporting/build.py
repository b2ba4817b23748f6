"""Reports from results: written whole or not at all, the same bytes for the same results."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from suite.errors import BadInput
from suite.ranking.claims import Verdict
from suite.reporting.board import PUBLISHED, Board, Origin
from suite.reporting.claims import CLAIMS_FILE, claims_page, rows
from suite.reporting.cost import COSTS_FILE, costs_page
from suite.reporting.figures import figures
from suite.reporting.markdown import markdown
from suite.reporting.site import PATTERNS, claims_table
from suite.reporting.site import site as pages
from suite.reporting.task_tables import table_file, task_page


@dataclass(frozen=True)
class Place:
    """Where a leaderboard goes, and the folder that its figures and tables go into."""

    markdown: Path
    reports: Path

    @classmethod
    def within(cls, folder: Path) -> Place:
        """leaderboard.md and the folders of figures and tables, all in this one."""
        return cls(folder / "leaderboard.md", folder)

    def stale(self, contents: Collection[Path]) -> list[Path]:
        """The generated files that are there and are none of these."""
        found = [*self.reports.glob("figures/*.svg"), *self.reports.glob("tables/*.md")]
        return sorted(set(found) - set(contents))


def build(
    board: Board,
    origin: Origin,
    place: Place,
    site: Path | None = None,
    verdicts: Sequence[Verdict] = (),
    prose: Mapping[Path, str] = MappingProxyType({}),
) -> list[Path]:
    """Write the leaderboard, its figures and (if asked) the site; returns what was written.

    Args:
        board: what to show.
        origin: what made it from what.
        place: the leaderboard's file, and the folder of its figures and tables.
        site: a folder for the site.
        verdicts: on claims, to be shown beside the rankings.
        prose: further pages, whose figures are of these results.

    Raises:
        BadInput: a file cannot be written.
    """
    contents = _contents(board, origin, place, verdicts) | {path: text.encode() for path, text in prose.items()}
    if site is not None:
        claims = claims_table(rows(verdicts)) if verdicts else None
        contents |= {site / name: text for name, text in pages(board, origin, claims).items()}
    for path, content in contents.items():
        write_file(path, content)
    old = {path for pattern in PATTERNS for path in site.glob(pattern)} - set(contents) if site else set()
    for stale in {*old, *place.stale(contents)}:
        stale.unlink()
    return list(contents)


def check(
    board: Board,
    place: Place,
    verdicts: Sequence[Verdict] = (),
    prose: Mapping[Path, str] = MappingProxyType({}),
) -> list[str]:
    """The committed files that are not what the results say, without writing anything."""
    contents = _contents(board, PUBLISHED, place, verdicts) | {path: text.encode() for path, text in prose.items()}
    drifted = [str(path) for path, text in contents.items() if not path.is_file() or path.read_bytes() != text]
    return drifted + [str(stale) for stale in place.stale(contents)]


def _contents(board: Board, origin: Origin, place: Place, verdicts: Sequence[Verdict]) -> dict[Path, bytes]:
    tables = place.reports / "tables"
    there = Path(os.path.relpath(place.reports, place.markdown.parent)).as_posix()
    back = Path(os.path.relpath(place.markdown, tables)).as_posix()
    made = {place.markdown: markdown(board, there, origin, verdicts).encode()}
    made |= {tables / table_file(task): task_page(task, back).encode() for task in board.tasks}
    made[tables / COSTS_FILE] = costs_page([task.results for task in board.tasks], back).encode()
    if verdicts:
        made[tables / CLAIMS_FILE] = claims_page(verdicts, back).encode()
    return made | {place.reports / "figures" / name: svg for name, svg in figures(board).items()}


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made if it is not there.

    Raises:
        BadInput: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-", delete=False) as part:
            part.write(content)
        Path(part.name).chmod(0o644)
        Path(part.name).replace(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror})") from None
