"""What was found, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator

from suite.keeping.checking import Findings
from suite.keeping.freeing import FREED, NEEDED, Freeing


def size(count: int) -> str:
    """Bytes as people say them.

    >>> size(999), size(10 * 2**20)
    ('999 B', '10.0 MiB')
    """
    number, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{count} B" if unit == "B" else f"{number:.1f} {unit}"


def files(count: int, of_bytes: int) -> str:
    """How many files, and how much."""
    return f"{count:,} file{'' if count == 1 else 's'}, {size(of_bytes)}"


def rows(found: Freeing, as_json: bool) -> list[dict[str, str | int]]:
    """What was let go and kept, by task and kind; bytes as people say them, unless it is for programs."""
    return [
        row if as_json else {"task": row["task"] or "–", **row, "bytes": size(int(row["bytes"]))}
        for row in found.rows()
    ]


def freed(found: Freeing, dry_run: bool) -> Iterator[str]:
    """What was let go, in a few lines after the table."""
    yield f"{'would let go' if dry_run else 'let go'}: {files(*found.total(FREED))}"
    needed = found.total(NEEDED)
    if needed[0]:
        yield f"kept although its tasks let it go: {files(*needed)} that only training makes again (--force lets it go)"


def restored(count: int, commands: list[str], as_json: bool) -> Iterator[str]:
    """What counts as missing from now on, and what makes it again."""
    if as_json:
        yield json.dumps({"files": count, "redo": commands}, indent=1)
        return
    yield f"{count:,} of what was let go {'counts' if count == 1 else 'count'} as missing from now on"
    yield from (f"    {command}" for command in commands)


def verified(found: Findings, repaired: bool) -> Iterator[str]:
    """What a store was found to be: each damage with what has it made anew, and the sum."""
    for one in found.damages:
        yield f"{one.what}: {one.problem}"
        yield f"    {one.redo}"
    removed = ", and removed so that the next run makes it anew" if repaired and found.can_be_repaired else ""
    state = f"{len(found.damages)} damaged{removed}" if found.damages else "all whole"
    yield f"{files(found.files, found.size)}: {state}"
    if found.let_go:
        yield f"let go on purpose: {found.let_go:,} (`suite gc`)"
    if found.orphans[0]:
        yield f"of no row: {files(*found.orphans)}; `suite gc` removes them"
    if found.half_gone:
        yield f"let go and still there: {found.half_gone:,}; `suite gc` was killed, and ends it when called again"


def as_json(found: Findings) -> str:
    """All of it, for programs."""
    damages = [{"what": one.what, "problem": one.problem, "redo": one.redo} for one in found.damages]
    return json.dumps(
        {
            "damaged": damages,
            "files": found.files,
            "bytes": found.size,
            "let_go": found.let_go,
            "orphans": {"files": found.orphans[0], "bytes": found.orphans[1]},
            "half_gone": found.half_gone,
        },
        indent=1,
        ensure_ascii=False,
    )
