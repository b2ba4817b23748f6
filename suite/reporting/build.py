"""Reports from results: written whole or not at all, the same bytes for the same results."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from suite.errors import BadInput
from suite.reporting.board import PUBLISHED, Board, Origin, read_board
from suite.reporting.figures import figures as draw
from suite.reporting.markdown import markdown as write
from suite.reporting.site import PATTERNS
from suite.reporting.site import site as pages


def build(results: Path, markdown: Path, figures: Path, site: Path | None = None) -> list[Path]:
    """Write the leaderboard, its figures and (if asked) the site; returns what was written.

    Raises:
        BadInput: the results are missing or malformed, or a file cannot be written.
    """
    return build_board(read_board(results), PUBLISHED, markdown, figures, site)


def build_board(board: Board, origin: Origin, markdown: Path, figures: Path, site: Path | None) -> list[Path]:
    """`build` for a board that is already read."""
    drawn = draw(board)
    contents = _contents(board, origin, drawn, markdown, figures)
    if site is not None:
        contents |= {site / name: text for name, text in pages(board, origin).items()}
    for path, content in contents.items():
        write_file(path, content)
    for folder, pattern in ((figures, "*.svg"), *((site, pattern) for pattern in PATTERNS if site)):
        for stale in set(folder.glob(pattern)) - set(contents):
            stale.unlink()
    return list(contents)


def check(results: Path, markdown: Path, figures: Path) -> list[str]:
    """The committed files that are not what the results say, without writing anything."""
    board = read_board(results)
    contents = _contents(board, PUBLISHED, draw(board), markdown, figures)
    drifted = [str(path) for path, text in contents.items() if not path.is_file() or path.read_bytes() != text]
    return drifted + sorted(str(stale) for stale in set(figures.glob("*.svg")) - set(contents))


def _contents(
    board: Board, origin: Origin, drawn: dict[str, bytes], markdown: Path, figures: Path
) -> dict[Path, bytes]:
    relative = Path(os.path.relpath(figures, markdown.parent)).as_posix()
    made = {markdown: write(board, relative, origin).encode()}
    return made | {figures / name: svg for name, svg in drawn.items()}


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
