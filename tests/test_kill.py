"""`kill -9` at random moments: the leaderboard in the end is that of an undisturbed run, byte for byte."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.command import start, suite, workplace


@pytest.mark.slow
def test_killed_at_ten_random_moments(tmp_path: Path) -> None:
    calm, rough = workplace(tmp_path / "calm"), workplace(tmp_path / "rough")
    begun = time.monotonic()
    code, _, err = suite(calm, "run", "tasks/tiny", "--quiet")
    assert code == 0, err
    length = time.monotonic() - begun
    moments = random.Random(20261124)
    killed = 0
    while killed < 10:
        process = start(rough, "run", "tasks/tiny", "--quiet")
        time.sleep(moments.uniform(0.1, 0.9) * length)
        if process.poll() is not None:  # it was done before: the next kills hit a run that starts from nothing
            process.communicate()
            shutil.rmtree(rough / ".suite")
            continue
        killed += 1
        process.kill()
        process.communicate()
    code, _, err = suite(rough, "run", "tasks/tiny", "--quiet")
    assert code == 0, err
    for name in ("leaderboard.md", "results/tiny/digits/runs.csv", "results/tiny/grokking/values/codimension.csv"):
        expected, found = ((place / ".suite/reports" / name).read_bytes() for place in (calm, rough))
        assert found == expected, name
