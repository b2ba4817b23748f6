"""Damaged folders of results: each begins as a part of those that the repository has published."""

# ruff: noqa: E501 - tables of what is put in

from __future__ import annotations

import copy
import csv
import io
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import damage
from tests.fuzz.specs import HUGE, ROOT, SMALL, WORDS

RESULTS = ROOT / "reports" / "results"
TASKS = ("quick/digits-mlp3", "quick/modular-grokking", "confounds/width")
METRICS = (
    "learning_rate", "random_number", "training_loss", "weight_norm", "sharpness_dimension", "hessian_trace",
    "edge_ratio", "gradient_alignment",
)  # fmt: skip
"""Of each task; those it has not are left out."""
RUNS, STEPS = 12, 6
"""Networks of a task, and checkpoints of each, that are kept: damage is no different in large files, only slower."""
_NUMBERS = ("nan", "NaN", "inf", "-inf", "Infinity", "1e400", "-1e400", "1e308", "5e-324", "0x10", "1_000", "1,5", "٣",
            "", " ", "-0.0", "1e", "--1", "True", "None", "9" * 400, "1" * 5000, "½", "=1+1", "#REF!", "1.0.0")  # fmt: skip
_CELLS = (*_NUMBERS, *WORDS, "ok", "failed", "diverged", "finished", 'a"b', "a,b", "a\nb", "\x00")


@lru_cache(maxsize=1)
def claims() -> bytes:
    """Claims of the repository that are about what is kept here."""
    text = (ROOT / "reports/claims.yaml").read_text(encoding="utf-8")
    _, *each = re.split(r"(?m)^(?=  - id:)", text)
    named = re.compile(r"(?:metric|beats|other|every|some):\s*(\[[^]]*\]|\S+)")
    fit = [
        one for one in each
        if all(w in METRICS for m in named.finditer(one) for w in re.findall(r"[a-z_0-9]+", m[1]))
    ]  # fmt: skip
    own = (
        "  - id: norm-grows\n    statement: Weight norm grows with the gap.\n    source: made up\n    reading: As said.\n"
        "    tasks: [quick/digits-mlp3]\n    tests:\n      - {metric: weight_norm, statistic: tau, above: 0}\n"
        "      - {metric: weight_norm, statistic: score, beats: [random_number]}\n"
    )
    return f"claims:\n{own}{''.join(fit[:3])}".encode()


def original(root: Path, tasks: tuple[str, ...]) -> None:
    """Parts of published tasks as folders of results under `root`."""
    for task in tasks:
        for place, content in _part(task).items():
            path = root / task / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@cache
def _part(task: str) -> dict[str, bytes]:
    """The files of a task with a few networks and metrics of it, by place."""
    folder = RESULTS / task
    header, *rows = _rows((folder / "runs.csv").read_text(encoding="utf-8"))
    runs = list(dict.fromkeys(row[0] for row in rows))[:RUNS]
    points = {(row[0], row[1]) for run in runs for row in [r for r in rows if r[0] == run][:STEPS]}
    metrics = [m for m in json.loads((folder / "metrics.json").read_text(encoding="utf-8")) if m["name"] in METRICS]
    tables = ["runs.csv", "spectra.csv", *(f"values/{metric['name']}.csv" for metric in metrics)]
    made = {"metrics.json": json.dumps(metrics, indent=1, ensure_ascii=False).encode()}
    made["provenance.json"] = (folder / "provenance.json").read_bytes()
    for name in tables:
        header, *rows = _rows((folder / name).read_text(encoding="utf-8"))
        made[name] = _written([header, *(row for row in rows if (row[0], row[1]) in points)])
    if (folder / "edge.csv").is_file():
        header, *rows = _rows((folder / "edge.csv").read_text(encoding="utf-8"))
        made["edge.csv"] = _written([header, *(row for row in rows if row[0] in runs)])
    return made


def _rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def _written(rows: list[list[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogatepass")


# ---- tables ----


def _table(change: Callable[[Random, list[list[str]]], None]) -> damage.Damage:
    def made(random: Random, content: bytes) -> bytes:
        rows = _rows(content.decode("utf-8"))
        change(random, rows)
        return _written(rows)

    return made


def _other_cells(random: Random, rows: list[list[str]]) -> None:
    for _ in range(random.randint(1, 4)):
        row = random.choice(rows[1:] or rows)
        row[random.randrange(len(row))] = random.choice(_CELLS)


def _whole_column(random: Random, rows: list[list[str]]) -> None:
    column, word = random.randrange(len(rows[0])), random.choice(_CELLS)
    for row in rows[1:]:
        row[column] = word


def _columns_gone(random: Random, rows: list[list[str]]) -> None:
    gone = {random.randrange(len(rows[0])) for _ in range(random.randint(1, 3))}
    rows[:] = [[cell for number, cell in enumerate(row) if number not in gone] for row in rows]


def _columns_more(random: Random, rows: list[list[str]]) -> None:
    name = random.choice([*rows[0], "extra", "value.1", "Unnamed: 0", "weight_norm", "included", "metric", *WORDS])
    place = random.randint(0, len(rows[0]))
    for row in rows:
        row.insert(place, name if row is rows[0] else random.choice(_CELLS))


def _header_changed(random: Random, rows: list[list[str]]) -> None:
    kind = random.randrange(4)
    if kind == 0:
        del rows[0]
    elif kind == 1:
        random.shuffle(rows[0])
    elif kind == 2:
        rows.insert(random.randint(1, len(rows)), list(rows[0]))
    else:
        rows[0][random.randrange(len(rows[0]))] = random.choice([*WORDS, *rows[0], rows[0][0].upper()])


def _ragged(random: Random, rows: list[list[str]]) -> None:
    for _ in range(random.randint(1, 3)):
        row = random.choice(rows)
        if random.random() < 0.5:
            del row[random.randrange(len(row)) :]
        else:
            row += ["x"] * random.choice([1, 2, 100])


def _rows_twice(random: Random, rows: list[list[str]]) -> None:
    row = list(random.choice(rows[1:] or rows))
    if random.random() < 0.5:
        row[random.randrange(len(row))] = random.choice(_NUMBERS[:8])
    rows.insert(random.randint(1, len(rows)), row)


def _unknown_runs(random: Random, rows: list[list[str]]) -> None:
    row = random.choice(rows[1:] or rows)
    row[random.randrange(2)] = random.choice(["0123456789abcdef", "", "-1", "7.5", "1e3", "9" * 30, "../x", str(2**63)])


def _few_rows(random: Random, rows: list[list[str]]) -> None:
    rows[:] = rows[: random.choice([1, 1, 2, 3, 4])]


TABLE: dict[str, damage.Damage] = {
    **damage.ANY,
    "other cells": _table(_other_cells),
    "a column of one word": _table(_whole_column),
    "columns gone": _table(_columns_gone),
    "columns more": _table(_columns_more),
    "another header": _table(_header_changed),
    "ragged rows": _table(_ragged),
    "rows twice": _table(_rows_twice),
    "runs unknown": _table(_unknown_runs),
    "few rows": _table(_few_rows),
}
"""Damage to a CSV file."""


# ---- JSON ----


def _places(part: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [place for key, value in inside for place in ((*path, key), *_places(value, (*path, key)))]


def _at(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, "", "x", [], {}, [None], ["x"], [1], [[]], {"a": 1}, {"": None}, 10**400, math.nan,
    math.inf, "1", "-1", ["accuracy_gap", "accuracy_gap"], ["test_loss"], ["seed", "seed"], {"train_accuracy": "high"},
    {"train_accuracy": math.nan}, {"training": "1"}, *HUGE, *SMALL, *WORDS,
)  # fmt: skip


def _other_values(random: Random, content: bytes) -> bytes:
    """Entries, mostly near the top, are of other kinds."""
    data = json.loads(content)
    for _ in range(random.randint(1, 2)):
        places = _places(data)
        most = 1 if isinstance(data, dict) else 2
        shallow = [path for path in places if len(path) <= most]
        path = random.choice(shallow if shallow and random.random() < 0.8 else places or [()])
        if path:
            _at(data, path[:-1])[path[-1]] = copy.deepcopy(random.choice(_VALUES))
    return json.dumps(data).encode("utf-8", "surrogatepass")


def _entries_gone(random: Random, content: bytes) -> bytes:
    data = json.loads(content)
    for _ in range(random.randint(1, 3)):
        path = random.choice(_places(data))
        del _at(data, path[:-1])[path[-1]]
    return json.dumps(data).encode()


def _entries_more(random: Random, content: bytes) -> bytes:
    data = json.loads(content)
    if isinstance(data, list):
        more = copy.deepcopy(random.choice(data))
        if random.random() < 0.7:
            more["name"] = random.choice([*WORDS, "loss_gap", "run_id", "weight_norm.a", ".", "values", "seed"])
        data.insert(random.randint(0, len(data)), more)
    else:
        for _ in range(random.randint(1, 3)):
            data[random.choice([*WORDS, "seconds", "metric_costs", "parameters"])] = random.choice(_VALUES)
    return json.dumps(data).encode("utf-8", "surrogatepass")


def _not_json(random: Random, content: bytes) -> bytes:
    """What other programs take for JSON, what none does, and what no stack is deep enough for."""
    depth = random.choice([900, 10_000, 200_000])
    odd = [b"[" * depth, b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"NaN", b"1" * 6000, b'"\\ud800"',
           b"// a\n" + content, content.replace(b'"', b"'"), content + b"x", content + content, content[:-1] + b",}",
           b"null", b"[1]", b'{"task": 1}', content.replace(b"true", b"True"), b"\xff\xfe" + content]  # fmt: skip
    return random.choice(odd)


JSON: dict[str, damage.Damage] = {
    **damage.ANY,
    "other values": _other_values,
    "entries gone": _entries_gone,
    "entries more": _entries_more,
    "not JSON": _not_json,
}
"""Damage to a JSON file."""


# ---- claims and pages ----


def _other_claims(random: Random, content: bytes) -> bytes:
    """Words of a claim are others: statistics, comparisons, numbers, names."""
    lines = content.decode().splitlines()
    words = ["statistic: psi", "statistic: transition", "above: .nan", "below: 1e400", "beats: all", "beats: trivial",
             "every: all", "some: family:x", "metric: nothing", "metric: [weight_norm]", "tests: []", "over: minimum",
             "tasks: [quick/nothing]", "tasks: []", "targets: [loss_gap, loss_gap]", "targets: [x]", "near: 0",
             "between: [1, 0]", "hyperparameter: x", "id: X Y", f"statement: {'x' * 700}", "where: {metric: a}"]  # fmt: skip
    for _ in range(random.randint(1, 3)):
        number = random.randrange(1, len(lines))
        indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
        lines[number] = indent + random.choice(words)
    return "\n".join(lines).encode()


CLAIMS: dict[str, damage.Damage] = {**damage.ANY, "other claims": _other_claims}
"""Damage to a file of claims."""


# ---- folders ----


def _gone(random: Random, folder: Path) -> None:
    path = random.choice([*_files(folder), folder / "values"])
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _folder_for_file(random: Random, folder: Path) -> None:
    path = random.choice(_files(folder))
    path.unlink()
    path.mkdir()
    if random.random() < 0.5:
        (path / "x").write_text("x")


def _file_for_folder(random: Random, folder: Path) -> None:
    path = random.choice([folder, folder / "values"])
    shutil.rmtree(path)
    path.write_text("x")


def _links(random: Random, folder: Path) -> None:
    path = random.choice(_files(folder))
    path.unlink()
    to = random.choice(
        [path.name, "nowhere", "/etc/passwd", "/dev/zero", "/dev/null", "/proc/self/mem", "/", "..", "/etc/shadow"]
    )
    path.symlink_to(to)


def _pipe(random: Random, folder: Path) -> None:
    path = random.choice(_files(folder))
    path.unlink()
    os.mkfifo(path)


def _twice(random: Random, folder: Path) -> None:
    names = ["copy", "quick/again", "x y", "é", "-x", "a" * 200]
    shutil.copytree(folder, folder.parents[1] / random.choice(names))


def _unreadable(random: Random, folder: Path) -> None:
    """As root reads everything, a file that is replaced by one of another's bytes."""
    files = _files(folder)
    one, other = random.sample(files, 2)
    one.write_bytes(other.read_bytes())


def _mixed(random: Random, folder: Path) -> None:
    """A file of another task."""
    task = random.choice(TASKS)
    place = random.choice([*_part(task)])
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_part(task)[place])


def _strangers(random: Random, folder: Path) -> None:
    """Files that nobody asked for, beside the others."""
    names = ["values/extra.csv", "values/.hidden.csv", "runs.csv.bak", "values/sub/x.csv", "Thumbs.db", "sub/provenance.json",
             "sub/runs.csv", "é.csv", "values/\udcff.csv"]  # fmt: skip
    for name in random.sample(names, 2):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.choice([b"", b"x", random.randbytes(50)]))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


FOLDER: dict[str, Callable[[Random, Path], None]] = {
    "a file gone": _gone,
    "a folder for a file": _folder_for_file,
    "a file for a folder": _file_for_folder,
    "links": _links,
    "a pipe": _pipe,
    "a task twice": _twice,
    "files changed places": _unreadable,
    "files of another task": _mixed,
    "strangers": _strangers,
}
"""Damage to a task's folder."""

KINDS: tuple[str, ...] = (
    *(f"runs.csv: {kind}" for kind in TABLE),
    *(f"values: {kind}" for kind in TABLE),
    *(f"spectra.csv: {kind}" for kind in TABLE),
    *(f"edge.csv: {kind}" for kind in TABLE),
    *(f"provenance.json: {kind}" for kind in JSON),
    *(f"metrics.json: {kind}" for kind in JSON),
    *(f"claims.yaml: {kind}" for kind in CLAIMS),
    *(f"folder: {kind}" for kind in FOLDER),
)


def spoil(kind: str, random: Random, root: Path) -> str:
    """Damage one file (or the folder) of the results under `root`, beside which claims lie; which task it was."""
    file, _, how = kind.partition(": ")
    tasks = sorted(path.parent.relative_to(root).as_posix() for path in root.rglob("provenance.json"))
    task = random.choice(tasks)
    if file == "edge.csv":
        task = next(one for one in tasks if (root / one / file).is_file())
    folder = root / task
    if file == "folder":
        FOLDER[how](random, folder)
        return task
    path = root.parent / file if file == "claims.yaml" else folder / file
    if file == "values":
        path = random.choice(sorted((folder / "values").iterdir()))
    known = CLAIMS if file == "claims.yaml" else JSON if path.suffix == ".json" else TABLE
    path.write_bytes(known[how](random, path.read_bytes()))
    return task
