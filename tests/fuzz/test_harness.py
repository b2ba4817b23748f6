"""The fuzzer itself: the same files for the same seed, and nothing that is wrong passes its judge."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from suite.errors import BadInput
from tests.fuzz import calling, campaign, judging
from tests.fuzz.calling import Ended
from tests.fuzz.campaign import Case

GOOD = Ended(("validate", "a.yaml"), 2, b"", b"a.yaml:1: name: is missing\n", 0.1)


def judged(ended: Ended, left: dict[str, str] | None = None) -> list[str]:
    return judging.wrong(ended, ("a.yaml",), {}, left or {})


def test_a_clear_error_is_good() -> None:
    assert judged(GOOD) == []
    assert judged(replace(GOOD, status=0, err=b"")) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": None}, "hang"),
        ({"status": -11}, "ended with status -11"),
        ({"status": 130}, "ended with status 130"),
        ({"status": 1, "err": b"Traceback (most recent call last):\n  a.yaml"}, "says 'Traceback'"),
        ({"err": b""}, "without a word"),
        ({"err": b"something is wrong"}, "names none of a.yaml"),
        ({"err": b"Usage: suite validate a.yaml"}, "says 'Usage: suite'"),
        ({"err": b"a.yaml: \x1b[31mred"}, "control characters"),
        ({"err": "a.yaml: \u202e".encode()}, "control characters"),
        ({"err": b"a.yaml\n" * 40}, "40 lines"),
        ({"err": b"a.yaml" + b"x" * 5000}, "a line of error of 5,006"),
        ({"status": 0, "err": b"a.py:3: RuntimeWarning: overflow"}, "says 'RuntimeWarning: '"),
        ({"status": 0}, "prints on standard error and succeeds"),
        ({"status": 0, "err": b"", "words": ("tasks", "--json"), "out": b"x"}, "not JSON"),
    ],
)
def test_what_is_wrong_with_an_answer_is_found(change: dict[str, object], said: str) -> None:
    assert any(said in line for line in judged(replace(GOOD, **change))), judged(replace(GOOD, **change))


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [("out.csv", 2, "it failed and left out.csv"), (".tmp-x", 0, "half a file"), ("d/.o.csv.ab12cd34", 0, "half")],
)
def test_what_is_left_behind_is_found(path: str, status: int, said: str) -> None:
    assert any(
        said in line for line in judged(replace(GOOD, status=status, err=GOOD.err if status else b""), {path: ""})
    )


@pytest.mark.parametrize("subject", list(campaign.SUBJECTS))
def test_the_same_seed_makes_the_same_files(subject: str, tmp_path: Path) -> None:
    first, again, other = (made(subject, seed, tmp_path / f"{number}") for number, seed in enumerate((5, 5, 6)))
    assert first == again
    assert sum(first[kind] != other[kind] for kind in first) > len(first) / 2


def made(subject: str, seed: int, folder: Path) -> dict[str, object]:
    """Of each kind of damage, the files and commands of a case."""
    found = {}
    for number, kind in enumerate(campaign.SUBJECTS[subject].kinds):
        place = folder / str(number) / "here"
        place.mkdir(parents=True)
        words = [call.words for call in campaign.SUBJECTS[subject].make(Case(subject, kind, f"{seed}/1"), place)]
        found[kind] = (words, judging.tree(place))
    return found


def _loop() -> None:
    while True:
        pass


def _raise() -> None:
    raise RuntimeError("x")


def _fork() -> None:
    if not os.fork():
        time.sleep(1000)


def _bad_input() -> None:
    raise BadInput("here")


@pytest.mark.parametrize(
    ("main", "status", "err"),
    [
        (_loop, None, b""),
        (lambda: time.sleep(1000), None, b""),
        (_raise, 1, b"RuntimeError: x"),
        (lambda: sys.exit(2), 2, b""),
        (lambda: sys.exit("word"), 1, b"word"),
        (lambda: os._exit(7), 7, b""),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), -signal.SIGSEGV, b""),
        (lambda: print("a", file=sys.stderr), 0, b"a\n"),
        (lambda: print(os.getcwd() + str(sys.argv), file=sys.stderr), 0, b"here['suite', 'word']"),  # noqa: PTH109
        (_fork, 0, b""),
        (_bad_input, 1, b"BadInput: here"),  # for `main` to print, not for the harness
    ],
)
def test_a_call_ends_as_the_interpreter_would_end_it(
    main: Callable[[], None], status: int | None, err: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calling.ready()
    monkeypatch.setattr("suite.cli.main", main)
    (tmp_path / "here").mkdir()
    ended = calling.call(("word",), tmp_path / "here", limit=1.0)
    assert ended.status == status
    assert err in ended.err


def test_a_case_is_judged_call_by_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([0, 0, 2, 3])

    def caller(words: tuple[str, ...], folder: Path, importing: float) -> Ended:
        return Ended(words, next(answers), b"{}", b"", 0.0)

    accepted = campaign.tried(Case("specs", "tabs", "1/1"), caller)
    assert (accepted.outcome, len(accepted.calls)) == ("accepted", 2)  # what is valid is estimated, too
    refused = campaign.tried(Case("specs", "tabs", "1/1"), caller)
    assert (refused.outcome, len(refused.calls)) == ("wrong", 1)  # status 2 without a word
    assert campaign.figures([accepted, refused])["specs"] | {"slowest": 0, "damage": 0, "failures": 0} == {
        "cases": 2, "calls": 3, "accepted": 1, "refused": 0, "wrong": 1, "statuses": {"0": 2, "2": 1}, "seconds": 0.0,
        "slowest": 0, "damage": 0, "failures": 0,
    }  # fmt: skip
