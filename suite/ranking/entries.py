"""`provenance.json` and `metrics.json`, entry by entry: what is not as it is meant to be is one clear error."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.errors import BadInput

MEASURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
GAPS = ("accuracy_gap", "loss_gap", "signed_accuracy_gap", "signed_loss_gap")
POINT = ("run_id", "step", "epoch", "status")
"""What every row of `runs.csv` has beside its factors, measures and gaps."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*")
"""As `suite.spec.task` has it: reports make names of files of it."""
_MOST_DEPTH = 30

Check = Callable[[Any], bool]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 80 and bool(_NAME.fullmatch(value))


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(_line(value))


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value)) and len(set(value)) == len(value)


def _mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15 and math.isfinite(value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and _finite(value) and value > 0


def _or_nothing(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _factors(value: Any) -> bool:
    return _words(value) and all(value) and not {*value} & {*POINT, *MEASURES, *GAPS}


def _include(value: Any) -> bool:
    return _mapping(value) and _finite(value.get("train_accuracy", 0))


def _costs(value: Any) -> bool:
    return _mapping(value) and all(
        _mapping(one) and _finite(one.get("seconds")) and _or_nothing(_text)(one.get("device"))
        for one in value.values()
    )


def _data(value: Any) -> bool:
    return _mapping(value) and _or_nothing(_count)(value.get("n_test"))


_TASK: dict[str, tuple[str, Check]] = {
    "task": (
        "a task's name",
        lambda value: isinstance(value, str) and len(value) <= 80 and bool(_NAME.fullmatch(value)),
    ),
    "title": ("some text", _text),
    "kind": ("grid or trajectory", lambda value: value in ("grid", "trajectory")),
    "spec_hash": ("some text", _text),
    "targets": (f"some of {', '.join(GAPS)}, each once", lambda v: _words(v) and bool(v) and {*v} <= {*GAPS}),
    "include": ("a mapping, its train_accuracy a number", _include),
    "factors": ("names of columns of their own, each once", _factors),
    "versions": ("versions by package", lambda v: _mapping(v) and all(map(_or_nothing(_text), v.values()))),
    "device": ("some text", _text),
    "dtype": ("some text", _text),
}
_TASK_TOO: dict[str, tuple[str, Check]] = {
    "description": ("text", lambda value: isinstance(value, str)),
    "parameters": ("a count", _count),
    "data": ("a mapping, its n_test a count", _data),
    "device_name": ("text", lambda value: isinstance(value, str)),
    "measured_on": ("some text", _text),
    "commit": ("some text", _text),
    "dirty": ("true or false", lambda value: isinstance(value, bool)),
    "seconds": ("seconds by what took them", _mapping),
    "metric_costs": ("a mapping of seconds by metric", _costs),
    "probe_notes": ("a mapping", _mapping),
    "spec": ("a mapping", _mapping),
}
"""What may be missing, or null."""
_METRIC: dict[str, tuple[str, Check]] = {
    "name": ("a name as functions have", lambda v: isinstance(v, str) and len(v) <= 100 and v.isidentifier()),
    "title": ("some text", _text),
    "family": ("some text", _text),
    "source": ("some text", _text),
    "sign": ("1 or -1", lambda value: not isinstance(value, bool | float) and value in (1, -1, "1", "+1", "-1")),
    "trivial": ("true or false", lambda value: isinstance(value, bool)),
}
_METRIC_TOO: dict[str, tuple[str, Check]] = {
    "version": ("a count", _count),
    "probes": ("a list of names", _words),
    "cost": ("some text", _text),
    "invariances": ("a list of names", _words),
    "optimizers": ("a list of names", _words),
    "outside": ("true or false", lambda value: isinstance(value, bool)),
    "fingerprint": ("text", lambda value: isinstance(value, str)),
    "definition": ("text", lambda value: isinstance(value, str)),
}
_LINES = ("title", "family", "source", "device", "device_name", "measured_on", "dtype", "spec_hash", "commit", "cost")
"""Words that are shown in tables and charts: one line each, of characters that can be printed."""


def read_provenance(path: Path) -> dict[str, Any]:
    """What is known of a task's results.

    Raises:
        BadInput: the file cannot be read, an entry is missing, or is not what it is meant to be.
    """
    content = _load(path)
    if not isinstance(content, dict):
        raise BadInput(f"{path}: a mapping is meant")
    if missing := [key for key in _TASK if key not in content]:
        raise BadInput(f"{path}: {', '.join(missing)} missing; publish the task again")
    _check(path, "", content, _TASK, _TASK_TOO)
    return _printable(content)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The entries of metrics, each with at least name, title, family, source, sign and trivial.

    Raises:
        BadInput: as above, or two are of one name.
    """
    content = _load(path)
    good = isinstance(content, list) and all(isinstance(m, dict) and all(k in m for k in _METRIC) for m in content)
    if not good or not content:
        raise BadInput(f"{path}: a list of metrics with {', '.join(_METRIC)} is meant; publish the task again")
    seen: set[str] = set()
    for number, metric in enumerate(content, 1):
        name = metric["name"]
        _check(path, f"{name}: " if _METRIC["name"][1](name) else f"metric {number}: ", metric, _METRIC, _METRIC_TOO)
        if name in seen:
            raise BadInput(f"{path}: {name} is there twice; publish the task again")
        seen.add(name)
    return [_printable(metric) for metric in content]


def regular(path: Path) -> Path:
    """The path of a file that comes to an end: no folder, pipe or device, and no link, nor in a folder that is one.

    Raises:
        BadInput: it is none.
    """
    if path.is_symlink() or path.parent.is_symlink():
        raise BadInput(f"{path}: is a link, or in a folder that is one: results are files; publish the task again")
    if path.is_file():
        return path
    what = "is not a file" if path.exists() else "there is no such file"
    raise BadInput(f"{path}: {what}; publish the task again")


def _check(
    path: Path,
    where: str,
    content: dict[str, Any],
    needed: dict[str, tuple[str, Check]],
    others: dict[str, tuple[str, Check]],
) -> None:
    checks = {**needed, **{key: (meant, _or_nothing(check)) for key, (meant, check) in others.items()}}
    for key, (meant, good) in checks.items():
        if key in content and not good(content[key]):
            said = json.dumps(content[key])  # ASCII, whatever is in it
            said = said if len(said) <= 60 else f"{said[:57]}…"
            raise BadInput(f"{path}: {where}{key}: {said} is not {meant}; publish the task again")


def _printable(content: dict[str, Any]) -> dict[str, Any]:
    return content | {word: _line(content[word]) for word in _LINES if isinstance(content.get(word), str)}


def _line(text: str) -> str:
    """In one line that can be printed: charts are programs, which some invisible characters would end."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def _load(path: Path) -> Any:
    try:
        content = json.loads(regular(path).read_text(encoding="utf-8"))
        _walk(content)
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}:{error.lineno}: not JSON: {error.msg}; publish the task again") from None
    except RecursionError:
        raise BadInput(f"{path}: nested too deep; publish the task again") from None
    except (
        OSError,
        ValueError,
    ) as error:  # of ValueErrors also those of text that is not UTF-8, and of endless numbers
        raise BadInput(f"{path}: cannot be read: {error}; publish the task again") from None
    return content


def _walk(part: Any, depth: int = 0) -> None:
    """See that every text can be written again, and that nothing is nested deeper than anything here is.

    Raises:
        ValueError: that is not so.
    """
    if depth > _MOST_DEPTH:
        raise ValueError(f"nested more than {_MOST_DEPTH} deep")
    if isinstance(part, str):
        part.encode()
    inside = [*part, *part.values()] if isinstance(part, dict) else part if isinstance(part, list) else []
    for one in inside:
        _walk(one, depth + 1)
