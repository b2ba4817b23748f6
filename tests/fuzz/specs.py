"""Damaged task files: each begins as one of the repository's own."""

# ruff: noqa: E501 - tables of what is put in

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from suite.spec.loading import load_task
from tests.fuzz import damage

ROOT = Path(__file__).parents[2]
HUGE = (
    10**6, 10**9, 10**12, 2**31 - 1, 2**31, 2**63, 2**64, 10**30, 10**400, 1e18, 1e308, 1e-308, 5e-324, math.inf,
    -math.inf, math.nan,
)  # fmt: skip
SMALL = (0, -1, -(2**63), -0.0, -1e-12, 1e-12, 0.5, -math.inf)
WORDS = (
    "", " ", "~", "null", "yes", "0x10", "1_000", "1e3", "٣", "½", "NaN", "\u200b", "x" * 5000, "../../etc/passwd",
    "/etc/passwd", "a/../b", "a//b", "-", "--yes", "${HOME}", "{{ 7 * 7 }}", "=1+1", "<script>alert(1)</script>",
    "\x1b[31mred", "line\nbreak", "\u202etxt", "ﬁnal", "сеed", "quick/digits-mlp3\u0000", "C:\\x", "CON", "a" * 300,
)  # fmt: skip
"""Texts where a word or a name is meant."""
_ALIKE = str.maketrans({"a": "а", "e": "е", "o": "о", "c": "с", "i": "і", "p": "р"})  # Cyrillic


@lru_cache(maxsize=1)
def originals() -> tuple[bytes, ...]:
    """The task files of the repository, and the one that `suite new task` writes."""
    template = (ROOT / "suite/submission/templates/task.yaml.txt").read_bytes().replace(b"{{name}}", b"my/digits-grid")
    return (*(path.read_bytes() for path in sorted((ROOT / "tasks").rglob("*.yaml"))), template)


@lru_cache(maxsize=1)
def _whole() -> tuple[dict[str, Any], ...]:
    """The same with every field that may be there written out: a budget that no file names can be absurd, too."""
    paths = sorted((ROOT / "tasks").rglob("*.yaml"))
    return tuple(load_task(path).model_dump(mode="json") for path in paths)


def _places(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in inside:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _at(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


class _Plain(yaml.SafeDumper):
    """Writes out what is there twice: an alias would be refused before anything else is looked at."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(data: dict[str, Any]) -> bytes:
    text = yaml.dump(data, Dumper=_Plain, allow_unicode=True, sort_keys=False, width=120)
    return text.encode("utf-8", "surrogatepass")


def _changed(random: Random, make: Callable[[Random, Any], Any], numbers: bool = False) -> bytes:
    """A task of which one to three fields (of numbers, where asked) are others."""
    data = copy.deepcopy(random.choice(_whole()))
    for _ in range(random.randint(1, 3)):
        places = [path for path in _places(data) if not numbers or type(_at(data, path)) in (int, float)]
        path = random.choice(places)
        _at(data, path[:-1])[path[-1]] = make(random, _at(data, path))
    return _text(data)


def other_types(random: Random, _: bytes) -> bytes:
    """Values of other types than are meant."""
    junk: list[Any] = [None, True, False, 0, 1, 1.5, "word", [], {}, [1], [[1]], {"a": 1}, {"kind": "sgd"}, ["a", None]]
    return _changed(random, lambda r, _: copy.deepcopy(r.choice(junk)))


def huge_numbers(random: Random, _: bytes) -> bytes:
    """Numbers no machine can do, infinities, NaN."""
    return _changed(random, lambda r, _: r.choice(HUGE), numbers=True)


def small_numbers(random: Random, _: bytes) -> bytes:
    """Sizes below nothing."""
    return _changed(random, lambda r, _: r.choice(SMALL), numbers=True)


def odd_words(random: Random, _: bytes) -> bytes:
    """Words that are paths, markup, commands, escapes, endless."""
    return _changed(random, lambda r, _: r.choice(WORDS))


def one_absurd_budget(random: Random, _: bytes) -> bytes:
    """All is well but for one number that is far too large: it must be refused, or be priced, and never be tried."""
    data = copy.deepcopy(random.choice(_whole()))
    if not random.randrange(3):
        data["probes"] = _every_probe()
    path = random.choice([path for path in _places(data) if type(_at(data, path)) is int])
    _at(data, path[:-1])[path[-1]] = random.choice([10**5, 10**7, 10**9, 10**12, 10**15, 10**15, 2**63, 10**30])
    return _text(data)


def _every_probe() -> dict[str, Any]:
    lanczos = {"kind": "lanczos", "runs": 4, "steps": 20, "share": 1}
    return {
        "spectrum": {"kind": "dense", "minibatches": 4}, "common": lanczos | {"batch_size": 32},
        "whole": lanczos | {"batch_size": "full"}, "optimizer": lanczos, "gradients": {"samples": 32, "minibatches": 4},
        "exponents": {"steps": 20, "leading": 4}, "attractor": {"snapshots": 2, "every": 20, "spectrum": lanczos},
        "forward": {"steps": 200, "points": 50, "samples": 64},
    }  # fmt: skip


def names_that_leave(random: Random, _: bytes) -> bytes:
    """Names and kinds with dots, slashes, nulls, other alphabets."""
    data = copy.deepcopy(random.choice(_whole()))
    data["name"] = random.choice(WORDS)
    if random.random() < 0.3:
        part = random.choice(["data", "model"])
        data[part]["kind"] = random.choice(WORDS)
    return _text(data)


def keys_alike(random: Random, _: bytes) -> bytes:
    """Keys that look right and are not, and such as nobody knows."""
    data = copy.deepcopy(random.choice(_whole()))
    for _ in range(random.randint(1, 40)):
        path = random.choice([path for path in _places(data) if isinstance(path[-1], str)])
        parent = _at(data, path[:-1])
        word = path[-1].translate(_ALIKE) if random.random() < 0.4 else random.choice([*WORDS, path[-1] + "_", "x"])
        parent[word] = parent.pop(path[-1]) if random.random() < 0.5 else random.choice([0, "x", None, [1]])
    return _text(data)


def keys_that_are_no_words(random: Random, content: bytes) -> bytes:
    """Keys that are numbers, null, lists, mappings, merges, endless."""
    odd = ["1: 2", "null: 1", "? [a, b]\n: 1", "? {a: b}\n: 1", "<<: {a: 1}", "true: 1", "1.5: x", "'': x", "? \n: x",
           f"{'k' * 2000}: 1", f"{'k' * 500_000}: 1", "\"\\e[31m\\0\": 1", "\"a\\nb\": 1", ".inf: 1", "=: 1"]  # fmt: skip
    return content.rstrip(b"\n") + b"\n" + random.choice(odd).encode() + b"\n"


def keys_twice(random: Random, content: bytes) -> bytes:
    """A key is there twice, with the same value or another."""
    lines = content.decode().splitlines()
    places = [number for number, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")]
    for _ in range(random.randint(1, 3)):
        line = lines[random.choice(places)]
        other = (
            line if random.random() < 0.5 else f"{line.partition(':')[0]}: {random.choice([1, 'x', '[1, 2]', '{}'])}"
        )
        lines.insert(random.choice(places) + 1, other)
    return "\n".join(lines).encode()


def bombs(random: Random, content: bytes) -> bytes:
    """Anchors and aliases that expand to billions, or to themselves; tags; further documents."""
    laughs = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    odd = ["\n".join(laughs), "x: &x [*x]", "x: &x {y: *x}", "grid: &g {a: [1]}\ny:\n  <<: *g", "x: *nowhere",
           "x: !!python/object/apply:os.system ['id']", "x: !!binary aGVsbG8=", "x: !!set {a, b}", "x: !local y", "---\nb: 2",
           "x: !!float 1", "%YAML 1.1\n---\na: 1", "...\n", "x: !!timestamp 2001-12-14", "x: !!omap [a: 1]"]  # fmt: skip
    extra = random.choice(odd).encode()
    return extra + b"\n" + content if random.random() < 0.3 else content.rstrip(b"\n") + b"\n" + extra + b"\n"


def depths(random: Random, content: bytes) -> bytes:
    """Lists in lists and mappings in mappings, a few or many thousands deep."""
    depth = random.choice([19, 20, 21, 100, 1000, 5000, 100_000])
    kind = random.randrange(5)
    if kind == 0:
        deep = f"x: {'[' * depth}{']' * depth}"
    elif kind == 1:
        deep = f"x: {'[' * depth}"
    elif kind == 2:
        deep = f"x: {'{a: ' * depth}1{'}' * depth}"
    elif kind == 3:
        deep = "\n".join(f"{' ' * level}a:" for level in range(min(depth, 1300)))  # a triangle of blanks
    else:
        deep = f"{'- ' * depth}x"
    return (content if random.random() < 0.5 else b"") + deep.encode() + b"\n"


def grids_of_nothing(random: Random, _: bytes) -> bytes:
    """Grids over fields that are not there, or are lists, mappings, kinds, with values of all kinds."""
    data = copy.deepcopy(random.choice(_whole()))
    fields = ["nothing", "training", "training.optimizer", "model.widths", "model.widths.0", "data.kind", "name", "grid",
              "grid.seed", "probes.spectrum.minibatches", "training.checkpoints.count", "training.optimizer.learning_rate.x",
              "", ".", "..", "seed.", ".seed", "training..epochs", "training.stop.train_loss", "training.steps",
              "training.epochs", "training.schedule.warmup_steps", "data.test_fraction", "model.bias", "model.activation",
              "__class__", "training.optimizer.__dict__", "model_config", "limits.metric_seconds", "x" * 3000]  # fmt: skip
    values: list[Any] = [[1], [], None, 3, "abc", [None], [[1]], [{}], [1, 1], [1, 1.0], [True, 1], ["a", 1, 1.5, True],
                         [-1], [10**30], [math.nan, math.nan], [math.inf], [""], ["x" * 5000], {"a": 1}, list(range(900))]  # fmt: skip
    for _ in range(random.randint(1, 4)):
        data["grid"][random.choice(fields)] = random.choice(values)
    return _text(data)


def enormous_grids(random: Random, _: bytes) -> bytes:
    """More cells than can ever be counted one by one: 10^6 to 10^80, or a list of very many values."""
    data = copy.deepcopy(random.choice(_whole()))
    size = random.choice([33, 100, 1000, 10_000])
    rate = data["training"]["optimizer"]["learning_rate"]
    data["grid"] = {
        "training.optimizer.learning_rate": [rate * (1 + n / size) for n in range(size)],
        "training.optimizer.weight_decay": [n * 1e-6 for n in range(size)],
        "seed": list(range(size)),
        "data.split_seed": list(range(size)),
    }
    if random.random() < 0.3:
        fields = ["training.stop.train_loss", "training.stop.diverged_above", "include.train_accuracy"]
        data["grid"] |= {field: [0.5 + n * 1e-9 for n in range(size)] for field in fields}
    return _text(data)


def from_nothing(random: Random, _: bytes) -> bytes:
    """YAML of no task at all: a random tree."""

    def tree(depth: int) -> Any:
        kind = random.randrange(5 if depth else 3)
        if kind == 0:
            return random.choice([*HUGE, *SMALL])
        if kind == 1:
            return random.choice(WORDS)
        if kind == 2:
            return random.choice([None, True, False])
        if kind == 3:
            return [tree(depth - 1) for _ in range(random.randint(0, 4))]
        known = ["name", "title", "kind", "data", "model", "training", "grid", "probes", "seed", "optimizer", "stop"]
        return {random.choice([*known, *WORDS]): tree(depth - 1) for _ in range(random.randint(0, 6))}

    return (
        _text(tree(5))
        if random.random() < 0.3
        else _text({key: tree(4) for key in ("name", "training", "data", "grid")})
    )


SPECS: dict[str, damage.Damage] = {
    **damage.ANY,
    "other types": other_types,
    "huge numbers": huge_numbers,
    "small numbers": small_numbers,
    "odd words": odd_words,
    "one absurd budget": one_absurd_budget,
    "names that leave": names_that_leave,
    "keys alike": keys_alike,
    "keys that are no words": keys_that_are_no_words,
    "keys twice": keys_twice,
    "bombs": bombs,
    "depths": depths,
    "grids of nothing": grids_of_nothing,
    "enormous grids": enormous_grids,
    "from nothing": from_nothing,
}
"""Kinds of damage to task files, by name."""


def spoilt(kind: str, random: Random) -> bytes:
    """A task file with that kind of damage."""
    return SPECS[kind](random, random.choice(originals()))
