"""A stack whose training dies, from outside: it costs its own networks, and nothing else, until it can be trained."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from suite.ranking.tables import read_results
from tests.command import TINY, install, suite

pytestmark = pytest.mark.slow

DYING = '''\
"""Digits, of which one split ends the process that reads it, as long as there is a file that says so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from suite.data.digits import Digits


class Dying(Digits):
    """Digits that may not be had."""

    kind: Literal["dying"] = "dying"

    def load(self, folders: tuple[Path, ...], cache: Path):
        """The images."""
        if self.split_seed == 1 and (folders[0] / "dies").exists():
            os._exit(9)
        return Digits(split_seed=self.split_seed).load(folders, cache)
'''

GRID = """\
grid:
  training.optimizer.learning_rate: [0.03, 0.1, 0.3]
  data.split_seed: [0, 1]
  seed: [0, 1]
"""
RUN = ("run", "mine.yaml", "--quiet")
LINE = (
    "mine: 6 of 12 networks could not be trained: died: its process died (exit code 9); `suite run` tries them again\n"
)


def _folder(at: Path, dies: bool) -> Path:
    at.mkdir()
    task = (
        TINY.replace("tiny/digits", "mine").replace("{kind: digits}", "{kind: dying}").replace("epochs: 3", "epochs: 1")
    )
    (at / "mine.yaml").write_text(task.partition("grid:")[0] + GRID + "probes:" + task.partition("probes:")[2])
    (at / "data").mkdir()
    if dies:
        (at / "data/dies").touch()
    return at


@pytest.fixture
def with_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(install(tmp_path / "site", "suite.data", DYING)), prepend=os.pathsep)
    monkeypatch.setenv("SUITE_DATA_DIR", "data")


def _tables(results: Path) -> dict[str, bytes]:
    return {path.relative_to(results).as_posix(): path.read_bytes() for path in results.rglob("*.csv")}


def _said(results: Path) -> dict[str, object]:
    """Provenance, but for what depends on the time of day: others may commit while this goes on."""
    said = json.loads((results / "mine/provenance.json").read_text())
    return {word: entry for word, entry in said.items() if word not in ("seconds", "metric_costs", "commit", "dirty")}


def test_a_stack_that_dies_costs_its_own_networks_until_it_is_trained(tmp_path: Path, with_source: None) -> None:
    calm, rough = _folder(tmp_path / "calm", False), _folder(tmp_path / "rough", True)
    assert suite(calm, *RUN)[::2] == (0, "")
    assert suite(rough, *RUN)[::2] == (2, LINE)
    reports, whole = rough / ".suite/reports", calm / ".suite/reports"
    (here,), (there,) = read_results(reports / "results"), read_results(whole / "results")
    assert len(here.runs) == len(here.untrained) == 6
    assert set(here.untrained["run_id"]) | set(here.runs["run_id"]) == set(there.runs["run_id"])
    assert set(here.untrained["data.split_seed"]) == {1.0}
    assert "6 could not be trained" in (reports / "leaderboard.md").read_text()
    assert "6 could not be trained" in (reports / "site/mine.html").read_text()
    for name, text in _tables(reports / "results").items():  # its own networks, and not a digit of the others
        if name != "mine/untrained.csv":
            rows = set(_tables(whole / "results")[name].decode().splitlines())
            assert set(text.decode().splitlines()) <= rows
    for words in (("measure", "mine.yaml", "--quiet"), ("train", "mine.yaml", "--quiet")):
        assert suite(rough, *words)[::2] == (2, LINE)
    export = ("export", "all.csv", "--results", ".suite/reports/results")
    for words in (("verify", "mine.yaml"), ("gc", "mine.yaml"), export):
        code, _, err = suite(rough, *words)
        assert code == 0, err
    (rough / "data/dies").unlink()
    assert suite(rough, *RUN)[::2] == (0, "")
    assert _tables(reports / "results") == _tables(whole / "results")
    assert _said(reports / "results") == _said(whole / "results")
    assert (reports / "leaderboard.md").read_bytes() == (whole / "leaderboard.md").read_bytes()


def test_what_is_published_of_the_others(tmp_path: Path, with_source: None) -> None:
    folder = _folder(tmp_path / "user", True)
    assert suite(folder, *RUN)[::2] == (2, LINE)
    assert suite(folder, "publish", "mine.yaml")[::2] == (0, LINE), "said, not done in silence"
    published = folder / "reports/results/mine"
    with (published / "untrained.csv").open() as file:
        assert {(row["status"], row["reason"]) for row in csv.DictReader(file)} == {
            ("died", "its process died (exit code 9)")
        }
    assert suite(folder, "leaderboard")[::2] == (0, "")
    assert suite(folder, "leaderboard", "--check")[::2] == (0, "")
    add = ("publish", "mine.yaml", "--metric", "weight_norm")
    assert suite(folder, *add)[::2] == (0, "")
    code, out, err = suite(folder, "run", "mine.yaml", "--cells", "2", "--quiet")
    assert (code, err) == (0, ""), err
    assert "mine: identical" in out
    (folder / "data/dies").unlink()
    assert suite(folder, *RUN)[::2] == (0, "")
    before = _tables(published)
    assert suite(folder, *add)[::2] == (0, ""), "who can train them adds a metric to what is published all the same"
    assert _tables(published) == before
    assert suite(folder, "publish", "mine.yaml")[::2] == (0, "")
    assert not (published / "untrained.csv").exists()
    assert suite(folder, *add)[::2] == (0, "")
    (folder / "data/dies").touch()  # and on a machine that cannot train what is published
    (folder / ".suite").rename(folder / "kept")
    code, _, err = suite(folder, "run", "mine.yaml", "--cells", "4", "--quiet")
    assert (code, err) == (2, LINE)
    assert suite(folder, *RUN)[::2] == (2, LINE)
    before = _tables(published)
    for words in (add, ("publish", "mine.yaml")):
        code, _, err = suite(folder, *words)
        assert (code, err.count("\n")) == (2, 1)
        assert "6 published networks could not be trained here: `suite run` tries them again" in err
    assert _tables(published) == before


def test_of_a_task_without_any_network_nothing_is_published(tmp_path: Path, with_source: None) -> None:
    folder = _folder(tmp_path / "user", True)
    text = (folder / "mine.yaml").read_text().replace("data.split_seed: [0, 1]", "data.split_seed: [1]")
    (folder / "mine.yaml").write_text(text)
    line = LINE.replace("6 of 12", "6 of 6")
    for words in (RUN, ("publish", "mine.yaml")):
        assert suite(folder, *words)[::2] == (2, line)
    assert not (folder / "reports/results/mine").exists()
    assert not (folder / ".suite/reports/results/mine").exists()
