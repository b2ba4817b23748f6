"""No path leaves its folder: not by the name of a task, of a metric, of one of its components, or of a claim."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite.errors import BadInput
from suite.metrics import find_metrics
from suite.ranking.tables import read_results
from suite.reporting.board import slug
from suite.reporting.metric_pages import metric_file
from suite.spec.loading import load_task
from tests.command import TINY
from tests.ranking.made_up import made_up

LEADING_OUT = [
    *("..", ".", "../x", "x/../../y", "/etc/x", "x/", "/", "x//y", "~/x", "-x", "x\\..\\y", "C:x", "%2e%2e/x"),
    *("x\ny", "x\0y", "x y", "x\u2215y", "x\u2024\u2024/y", "", "x.yaml", "X", ".x", "x-", "a" * 100),
]
ONE = '''
@metric(title="One", family="x", source="x 2020", sign=1)
def one(run: Run) -> float:
    """It is one wherever it is measured."""
    return 1.0
'''


@pytest.mark.parametrize("name", LEADING_OUT)
def test_the_name_of_a_task_is_a_folder_below(name: str, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(TINY.replace("name: tiny/digits", f"name: {json.dumps(name)}"))
    with pytest.raises(BadInput, match=r"task\.yaml:1:"):
        load_task(tmp_path / "task.yaml")


@pytest.mark.parametrize("name", LEADING_OUT)
def test_the_name_of_a_metric_is_that_of_a_file_in_its_folder(name: str, tmp_path: Path) -> None:
    """A function may be called anything once it is there."""
    if name == "X" or name == "a" * 100:  # names that functions do have
        return
    text = f"from suite.metrics import Run, metric\n\n\ndef named(f):\n    f.__name__ = {name!r}\n    return f\n\n"
    (tmp_path / "one.py").write_text(text + ONE.replace("def one", "@named\ndef one"))
    with pytest.raises(BadInput, match=r"one\.py"):
        find_metrics([tmp_path / "one.py"])


@pytest.mark.parametrize(
    "change", [{"name": "../../evil"}, {"name": "x\0"}, {"title": "<b>\n\x1b[31m"}, {"family": ""}]
)
def test_a_metric_is_not_renamed_once_it_is_made(change: dict[str, str], tmp_path: Path) -> None:
    head = "import dataclasses\n\nfrom suite.metrics import Run, metric\n\n"
    (tmp_path / "one.py").write_text(f"{head}{ONE}\none = dataclasses.replace(one, **{change})\n")
    with pytest.raises(BadInput, match=r"one\.py: "):
        find_metrics([tmp_path / "one.py"])


@pytest.mark.parametrize("name", ["../../secret", "..", "/etc/passwd", "values/../../secret", "x\0"])
@pytest.mark.parametrize(("file", "key"), [("metrics.json", "name"), ("provenance.json", "task")])
def test_results_are_read_from_their_folder_alone(name: str, file: str, key: str, tmp_path: Path) -> None:
    made_up(tmp_path / "results")
    path = tmp_path / "results" / "a/grid" / file
    content = json.loads(path.read_text())
    (content[0] if isinstance(content, list) else content)[key] = name
    path.write_text(json.dumps(content))
    (tmp_path / "results" / "a/grid/values/oracle.csv").rename(tmp_path / "results" / "secret.csv")
    with pytest.raises(BadInput, match=rf"{file}: .*{key}"):
        read_results(tmp_path / "results")


@pytest.mark.parametrize("link", ["values/oracle.csv", "values", "runs.csv", "provenance.json", "edge.csv"])
def test_results_that_are_links_are_not_followed(link: str, tmp_path: Path) -> None:
    """They would lead whoever makes a leaderboard of a pull request to files of his own."""
    made_up(tmp_path / "results")
    made_up(tmp_path / "elsewhere")
    place, target = (tmp_path / name / "a/grid" / link for name in ("results", "elsewhere"))
    if link == "edge.csv":
        target.write_text("run_id,step,sharpness,edge_ratio\n")
    elif link == "values":
        place.rename(tmp_path / "moved")
    else:
        place.unlink()
    place.symlink_to(target)
    with pytest.raises(BadInput, match=f"{link}.*a link"):
        read_results(tmp_path / "results")


@pytest.mark.parametrize("name", [*LEADING_OUT, "parts.../../x", "parts./etc/x", "parts.<b>"])
def test_pages_and_figures_are_written_beside_each_other(name: str) -> None:
    """Names of components are any words; those of tasks are checked where they are read, as above."""
    page = Path("folder", metric_file(name))
    assert page.parent == Path("folder")
    assert page.name not in ("", ".", "..")
    assert len(page.name) < 120
    assert "/" not in slug(name)
    assert len({metric_file(name), metric_file(f"{name}_"), metric_file(name.replace("/", "_"))}) >= 2
