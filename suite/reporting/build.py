"""Reports from results: written whole or not at all, the same bytes for the same results."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.errors import BadInput
from suite.ranking.claims import Verdict
from suite.reporting.board import PUBLISHED, Board, Origin
from suite.reporting.claims import rows
from suite.reporting.figures import figures
from suite.reporting.markdown import markdown
from suite.reporting.site import PATTERNS, claims_table
from suite.reporting.site import site as pages


@dataclass(frozen=True)
class Place:
    """Where a leaderboard goes, and the folder of its figures."""

    markdown: Path
    figures: Path

    @classmethod
    def within(cls, folder: Path) -> Place:
        """leaderboard.md and its figures' folder, both in this one."""
        return cls(folder / "leaderboard.md", folder / "figures")


def build(
    board: Board, origin: Origin, place: Place, site: Path | None = None, verdicts: Sequence[Verdict] = ()
) -> list[Path]:
    """Write the leaderboard, its figures and (if asked) the site; returns what was written.

    Args:
        board: what to show.
        origin: what made it from what.
        place: the leaderboard's file and its figures' folder.
        site: a folder for the site.
        verdicts: on claims, to be shown beside the rankings.

    Raises:
        BadInput: a file cannot be written.
    """
    contents = _contents(board, origin, place, verdicts)
    if site is not None:
        claims = claims_table(rows(verdicts)) if verdicts else None
        contents |= {site / name: text for name, text in pages(board, origin, claims).items()}
    for path, content in contents.items():
        write_file(path, content)
    for folder, pattern in ((place.figures, "*.svg"), *((site, pattern) for pattern in PATTERNS if site)):
        for stale in set(folder.glob(pattern)) - set(contents):
            stale.unlink()
    return list(contents)


def check(board: Board, place: Place, verdicts: Sequence[Verdict] = ()) -> list[str]:
    """The committed files that are not what the results say, without writing anything."""
    contents = _contents(board, PUBLISHED, place, verdicts)
    drifted = [str(path) for path, text in contents.items() if not path.is_file() or path.read_bytes() != text]
    return drifted + sorted(str(stale) for stale in set(place.figures.glob("*.svg")) - set(contents))


def _contents(board: Board, origin: Origin, place: Place, verdicts: Sequence[Verdict]) -> dict[Path, bytes]:
    relative = Path(os.path.relpath(place.figures, place.markdown.parent)).as_posix()
    made = {place.markdown: markdown(board, relative, origin, verdicts).encode()}
    return made | {place.figures / name: svg for name, svg in figures(board).items()}


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
