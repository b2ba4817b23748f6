"""What CONTRIBUTING tells a stranger, done to the letter: from an empty folder to a line on the leaderboard."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from suite.cli import app
from suite.errors import BadInput
from suite.pipeline import Options, check, publish, publish_metrics
from suite.ranking.tables import read_results
from suite.submission.against import against_published
from suite.submission.check import Terms
from suite.submission.findings import END
from suite.submission.subject import subject_of
from tests.command import TINY, suite

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAME = "weight_kurtosis"
PROGRAM = """\
import json, sys
from suite.cli import app
for words in json.loads(sys.argv[1]):
    try:
        app(words)
    except SystemExit as end:
        assert not end.code, words
"""


def _section() -> str:
    (section,) = re.findall(r"^## A metric.*?(?=^## )", TEXT, re.DOTALL | re.MULTILINE)
    return str(section)


def _commands(before: str, after: str = "") -> list[list[str]]:
    """The commands of a part of the section, in its order."""
    part = _section().split(before)[0].split(after)[-1] if after else _section().split(before)[0]
    return [
        shlex.split(line) for line in re.findall(r"^    (\S.*)$", re.sub(r"```.*?```", "", part, flags=re.DOTALL), re.M)
    ]


def _files() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", _section(), re.DOTALL | re.MULTILINE)


def _done(folder: Path, commands: list[list[str]], store: Path) -> str:
    """Commands as they stand there; each must succeed. What they printed.

    Six networks have one worker: most of what a command takes here is imports. The way is tested, not the metrics: only
    those that are free are measured.
    """
    said = ""
    for words in commands:
        if words[0] == "suite":
            code, out, err = suite(folder, *_with_one_worker(words), home=store)
            assert code == 0, f"{shlex.join(words)}:\n{out}\n{err}"
            said += out
        else:
            said += _process([sys.executable if words[0] == "python" else words[0], *words[1:]], folder, store)
    return said


def _done_there(clone: Path, commands: list[list[str]], store: Path) -> None:
    """Commands of the suite in a clone, by the package in it, in one process."""
    told = json.dumps([_with_one_worker(words) for words in commands])
    _process([sys.executable, "-c", PROGRAM, told], clone, store, PYTHONPATH=str(clone))


def _with_one_worker(words: list[str]) -> list[str]:
    assert words[0] == "suite"
    return [*words[1:], *(["--workers", "1"] if words[1] in ("check", "run") else [])]


def _process(words: list[str], folder: Path, store: Path, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | variables
    environment |= {"SUITE_HOME": str(store), "COLUMNS": "150", "SUITE_COST": "free"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{shlex.join(words)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _with_task(folder: Path) -> Path:
    """A folder whose quick suite is a tiny task: the real one takes minutes."""
    (folder / "tasks" / "quick").mkdir(parents=True)
    few = TINY.replace("  training.batch_size: [32, 64]\n", "")
    (folder / "tasks" / "quick" / "tiny.yaml").write_text(few)
    return folder


@dataclass(frozen=True)
class Walk:
    """The places of a stranger's way, and what was said and published on it."""

    outside: Path
    clone: Path
    store: Path
    said: str
    before: dict[str, bytes]

    @property
    def results(self) -> Path:
        return self.clone / "reports" / "results"

    @property
    def published(self) -> dict[str, bytes]:
        folder = self.results / "tiny" / "digits"
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """All of the section, with a quick suite of six networks."""
    root = tmp_path_factory.mktemp("stranger")
    outside, clone, store = _with_task(root / "outside"), _with_task(root / "clone"), root / "store"
    new, *others = _commands("**Publish.**")
    _done(outside, [new], store)
    for file, text in zip((f"{NAME}.py", f"test_{NAME}.py"), _files(), strict=True):
        assert (outside / file).exists(), "what `suite new metric` wrote is what is filled in"
        (outside / file).write_text(text, encoding="utf-8")
    said = _done(outside, others, store)
    shutil.copytree(ROOT / "suite", clone / "suite", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("tests/metrics", "docs"):
        (clone / folder).mkdir(parents=True)
    walk = Walk(outside, clone, store, said, {})
    options = Options(home=store, device="cpu", cost="free")
    publish([clone / "tasks" / "quick" / "tiny.yaml"], options, walk.results)  # as the maintainers did before
    before = walk.published
    for file in (f"{NAME}.py", f"test_{NAME}.py"):
        shutil.copy(outside / file, clone)
    commands = _commands("**Pull request.**", "**Publish.**")
    moves, ours = ([words for words in commands if (words[0] == "suite") == so] for so in (False, True))
    assert commands == moves + ours
    _done(clone, moves, store)
    _done_there(clone, ours, store)
    return replace(walk, before=before)


def test_the_commands_are_those_of_the_way() -> None:
    assert [words[:3] for words in _commands("**Publish.**")] == [
        ["suite", "new", "metric"],
        ["python", "-m", "pytest"],
        ["suite", "check", f"{NAME}.py"],
        ["suite", "run", "--metric"],
    ]
    assert ["suite", "publish", "--metric", NAME] in _commands("**Pull request.**", "**Publish.**")


def test_a_stranger_reaches_the_local_leaderboard(walk: Walk) -> None:
    assert f"\n{NAME}: nothing is wrong\n{END}: nothing is wrong\n" in walk.said
    assert "values of tiny/digits: 6 of 6" in walk.said
    assert re.search(rf"{NAME} is \d+ of \d+ with a score of", walk.said)
    names = set(re.findall(r"^    metric (\w+(?:\.\w+)?), tiny/digits", walk.said, re.MULTILINE))
    measured = {path.stem for path in (walk.store / "reports/results/tiny/digits/values").iterdir()}
    assert {name.split(".")[0] for name in names} == measured - {NAME}, "correlated with every other metric"
    assert "Kurtosis of the weights" in (walk.store / "reports" / "leaderboard.md").read_text(encoding="utf-8")


def test_publishing_a_metric_adds_its_values_and_its_entry_and_nothing_else(walk: Walk) -> None:
    after = walk.published
    changed = {name for name in after | walk.before if after.get(name) != walk.before.get(name)}
    assert changed == {f"values/{NAME}.csv", "metrics.json", "provenance.json"}
    entries = json.loads(after["metrics.json"])
    assert [e for e in entries if e["name"] != NAME] == json.loads(walk.before["metrics.json"])
    local = walk.store / "reports" / "results" / "tiny" / "digits"  # whole, by the ordinary way
    assert after[f"values/{NAME}.csv"] == (local / "values" / f"{NAME}.csv").read_bytes()
    assert after["metrics.json"] == (local / "metrics.json").read_bytes()
    costs = json.loads((local / "provenance.json").read_bytes())["metric_costs"]
    expected = json.loads(walk.before["provenance.json"])
    assert NAME not in expected["metric_costs"]
    expected["metric_costs"] = costs  # of all metrics, in the order of an ordinary publication
    assert after["provenance.json"].decode() == json.dumps(expected, indent=1, ensure_ascii=False) + "\n"
    assert "Kurtosis of the weights" in (walk.clone / "leaderboard.md").read_text(encoding="utf-8")


def _publish(
    walk: Walk, results: Path, metric: str = NAME, task: str = "tiny.yaml", dtype: str = "float32"
) -> list[Path]:
    options = Options(home=walk.store, device="cpu", dtype=dtype)
    words = [str(walk.outside / f"{metric}.py") if metric == NAME else metric]
    return publish_metrics([walk.clone / "tasks" / "quick" / task], words, options, results)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("provenance.json", '"spec_hash": "', '"spec_hash": "0'), "from another task file"),
        (("runs.csv", "finished", "finished"), ""),
        (None, "not published in"),
    ],
)
def test_only_the_published_tasks_networks_are_published(
    walk: Walk, tmp_path: Path, change: tuple[str, str, str] | None, said: str
) -> None:
    if change is not None:
        shutil.copytree(walk.results, tmp_path / "results")
        file = tmp_path / "results" / "tiny" / "digits" / change[0]
        file.write_text(file.read_text().replace(change[1], change[2]))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    if not said:
        assert [path.name for path in _publish(walk, tmp_path / "results")] == [f"{NAME}.csv"]
        return
    with pytest.raises(BadInput, match=said) as caught:
        _publish(walk, tmp_path / "results")
    assert "\n" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_other_networks_than_the_published_ones_are_refused(walk: Walk, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(walk.results, folder)
    first = (folder / "tiny/digits/runs.csv").read_text().splitlines()[1].split(",")[0]
    for file in folder.rglob("*.csv"):
        file.write_text(file.read_text().replace(first, "0" * 16))
    with pytest.raises(BadInput, match="1 of 6 published checkpoints are not those of this task file"):
        _publish(walk, folder)
    with pytest.raises(BadInput, match="is not trained yet"):
        _publish(walk, walk.results, dtype="float64")
    with pytest.raises(BadInput, match="none asks for exponents"):
        _publish(walk, walk.results, metric="lyapunov_exponent")


def test_networks_that_the_losses_tell_apart_are_others(walk: Walk, tmp_path: Path) -> None:
    """Run ids are of settings: on another machine they are the same, and the networks are not."""
    shutil.copytree(walk.results, tmp_path / "results")
    file = tmp_path / "results/tiny/digits/runs.csv"
    header, *rows = list(csv.reader(file.read_text().splitlines()))
    loss, status = header.index("train_loss"), header.index("status")

    def write(factor: float, word: str = "finished") -> None:
        changed = [[*r[:loss], str(float(r[loss]) * factor), *r[loss + 1 :]] for r in rows[:2]]
        changed = [[*r[:status], word, *r[status + 1 :]] for r in changed]
        file.write_text("\n".join(",".join(r) for r in [header, *changed, *rows[2:]]) + "\n")

    write(1.01)
    with pytest.raises(BadInput, match="2 of 6 published networks are others") as caught:
        _publish(walk, tmp_path / "results")
    assert "\n" not in str(caught.value)
    write(1.0005)
    assert _publish(walk, tmp_path / "results")
    write(1.01, "diverged")  # do not count
    assert _publish(walk, tmp_path / "results")


def test_what_a_stranger_published_is_held_against_what_comes_out_here(walk: Walk, tmp_path: Path) -> None:
    """Status 0 where it is the same, 1 where it was improved upon, 2 where there is nothing to hold against."""
    folder = tmp_path / "results"
    shutil.copytree(walk.results, folder)
    subject = subject_of([str(walk.outside / f"{NAME}.py")])
    recomputed = read_results(walk.store / "reports" / "results")
    good, gaps = against_published(subject.metrics[NAME], recomputed, folder)
    assert (good.state, gaps.state) == ("good", "good")
    assert good.said.startswith("6 of 6 same networks within 1%")
    file = folder / "tiny" / "digits" / "values" / f"{NAME}.csv"
    rows = list(csv.DictReader(file.read_text().splitlines()))
    text = file.read_text()
    for row in rows:
        text = text.replace(row["value"], str(1.1 * float(row["value"])))
    file.write_text(text)
    wrong, _ = against_published(subject.metrics[NAME], recomputed, folder)
    assert wrong.state == "wrong"
    options = Options(home=walk.store, device="cpu")
    with pytest.raises(BadInput, match="no such folder of published results"):
        check([], ["weight_norm"], options, Terms(tmp_path / "nowhere"), Console())
    with pytest.raises(BadInput, match="--fast makes none"):
        check([], ["weight_norm"], options, Terms(folder), Console())


@pytest.mark.parametrize(("good", "status"), [(True, 0), (False, 1)])
def test_what_is_wrong_is_exit_status_one(monkeypatch: pytest.MonkeyPatch, good: bool, status: int) -> None:
    monkeypatch.setattr("suite.pipeline.check", lambda *arguments: good)
    monkeypatch.setattr("suite.submission.subject.import_elsewhere", lambda files: None)
    assert CliRunner().invoke(app, ["check", "--fast", "weight_norm"]).exit_code == status


def test_bad_input_is_exit_status_two_and_one_line(tmp_path: Path) -> None:
    code, out, err = suite(tmp_path, "check", "gone.py")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_the_commands_that_nobody_runs_are_gits() -> None:
    left = _commands("CI trains the quick suite", "**Pull request.**")
    assert {words[0] for words in left} == {"git"}
    named = [word for words in left for word in words if "/" in word]
    assert named == [f"suite/metrics/{NAME}.py", f"tests/metrics/test_{NAME}.py", "docs/metrics.md"]
