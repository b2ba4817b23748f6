"""What a command may answer to a damaged file: work as if nothing were, or one clear error; nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from pathlib import Path

from tests.fuzz.calling import IMPORTING, Ended

MOST_LINES = 30
MOST_CHARACTERS = 3000
"""In a line of an error."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_NOISE = re.compile(rb"Traceback|Usage: suite|Exception ignored|Fatal Python error")
_WARNING = re.compile(rb"\w+Warning: ")

_HALF = re.compile(r"(^|/)\.(tmp-|[^/]*\.[a-z0-9_]{8}$)")
"""Names of files that are written aside and then renamed."""

Tree = dict[str, str]


def tree(folder: Path) -> Tree:
    """The files under a folder, by path, and a hash of what is in each; not what Python itself keeps of modules."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.parent.name != "__pycache__"):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"-> {path.readlink()}"
        elif path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def wrong(ended: Ended, named: Collection[str], before: Tree, after: Tree, loud: bool = False) -> list[str]:
    """All that is wrong with an answer.

    Args:
        ended: the answer.
        named: an error must name one of these files.
        before: what files there were before the call.
        after: and after it.
        loud: the damaged file itself prints what it likes, which is not the command's answer.
    """
    if ended.status is None:
        return ["hang: it took too long and was ended"]
    said = ended.err.decode("utf-8", "replace")
    # whoever looks on has to kill a process that a file keeps in a loop of C
    known = (0, 1, 2, -9) if said.rstrip().endswith(f"importing takes longer than {IMPORTING:g} s") else (0, 1, 2)
    found = [] if ended.status in known else [f"ended with status {ended.status}"]
    noise = {m[0].decode() for text in (ended.err, b"" if loud else ended.out) for m in _NOISE.finditer(text)}
    noise |= {m[0].decode() for m in _WARNING.finditer(b"" if loud else ended.err)}
    found += [f"says {word!r}" for word in sorted(noise)]
    if not loud:
        found += _unclear(said)
    if ended.status == 0 and said.strip() and not loud:
        found.append("prints on standard error and succeeds")
    if ended.status == 0 and "--json" in ended.words and not _is_json(ended.out):
        found.append("what it prints is not JSON")
    if ended.status == 2:
        if not said.strip():
            found.append("status 2 without a word")
        elif not any(name in said for name in named):
            found.append(f"the error names none of {', '.join(named)}")
    if ended.status and before != after:
        changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
        found.append(f"it failed and left {', '.join(changed[:5])}")
    found += [
        f"half a file is left: {path}" for path in after if re.search(r"(^|/)\.(tmp-|[^/]*\.[a-z0-9_]{8}$)", path)
    ]
    return found


def _is_json(out: bytes) -> bool:
    try:
        json.loads(out)
    except ValueError:
        return False
    return True


def _unclear(said: str) -> list[str]:
    lines, found = said.splitlines(), []
    if len(lines) > MOST_LINES:
        found.append(f"{len(lines)} lines of error")
    if longest := [len(line) for line in lines if len(line) > MOST_CHARACTERS]:
        found.append(f"a line of error of {max(longest):,} characters")
    if strange := sorted({ascii(m[0]) for m in _CONTROL.finditer(said)}):
        found.append(f"control characters in an error: {', '.join(strange)}")
    return found
