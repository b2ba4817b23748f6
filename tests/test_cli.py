"""Options arrive where they are meant."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from suite import cli, pipeline
from suite.errors import BadInput
from suite.spec.task import Limits
from tests.command import TINY, workplace


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `pipeline.run` and `pipeline.measure` are given, by name."""
    seen: dict[str, Any] = {}
    for name in ("run", "measure"):
        monkeypatch.setattr(
            pipeline, name, lambda tasks, options, console, name=name: seen.update({name: options}) or []
        )
    monkeypatch.delenv("SUITE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(TINY)
    return seen


@pytest.mark.parametrize("command", ["run", "measure"])
def test_options_arrive_in_their_fields(command: str, given: dict[str, Any], tmp_path: Path) -> None:
    words = [
        "a.yaml",
        "--device",
        "cpu",
        "--dtype",
        "float64",
        "--workers",
        "3",
        "--metric",
        "m.py",
        "--quiet",
        "--yes",
    ]
    done = CliRunner().invoke(cli.app, [command, *words, "--metric-limit", "7.5"])
    assert done.exit_code == 0, done.output
    options = given[command]
    assert (options.device, options.dtype, options.workers) == ("cpu", "float64", 3)
    assert (options.metric_files, options.metric_limit) == ((tmp_path / "m.py",), 7.5)
    assert (options.max_cells, options.quiet) == (10**9, True)


def test_what_is_left_out_is_the_pipelines_own(given: dict[str, Any]) -> None:
    assert CliRunner().invoke(cli.app, ["run", "a.yaml"]).exit_code == 0
    assert given["run"] == pipeline.Options(home=Path(".suite"))


def test_the_help_names_the_limit_there_is() -> None:
    said = " ".join(CliRunner().invoke(cli.app, ["run", "--help"], env={"COLUMNS": "200"}).output.split())
    assert f"default: {Limits().metric_seconds:g}" in said


def lines(*words: str, width: int = 80) -> list[str]:
    done = CliRunner().invoke(cli.app, list(words), env={"COLUMNS": str(width)})
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


@pytest.mark.parametrize(("command", "names"), [("tasks", "name kind cells"), ("metrics", "name sign cost")])
def test_names_are_whole_on_a_narrow_terminal(command: str, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    narrow = lines(command)
    assert max(map(cell_len, narrow)) <= 80  # a combining accent takes no room
    table = [[cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")] for line in narrow[2:-1]]
    rows = json.loads("\n".join(lines(command, "--json")))
    for name in names.split():
        column = [row[table[0].index(name)] for row in table[2:]]
        assert [cell for cell in column if cell] == [str(row[name]) for row in rows]
    words = {word for row in rows for word in row["title"].split()}
    shown = {word for row in table[2:] for word in row[table[0].index("title")].split()}
    assert shown == words, "prose is broken between words"


def test_a_wide_terminal_shows_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    assert "tasks/quick/digits-mlp3.yaml" in "".join(lines("tasks", width=150))


@pytest.mark.parametrize("command", ["run", "train", "measure"])
def test_more_workers_than_cores_can_carry_are_refused(
    command: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "train", MagicMock())
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert CliRunner().invoke(cli.app, [command, "a.yaml", "--workers", "12"]).exit_code == 0
    done = CliRunner().invoke(cli.app, [command, "a.yaml", "--workers", "13"])
    assert isinstance(done.exception, BadInput)
    assert str(done.exception) == "--workers 13: at most 12 here (4 for each of 3 cores)"


@pytest.mark.parametrize("command", ["run", "train", "measure"])
def test_a_data_folder_that_is_not_there_is_said_before_any_work(
    command: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "train", MagicMock(side_effect=AssertionError("work began")))
    monkeypatch.setenv("SUITE_DATA_DIR", str(tmp_path / "nowhere"))
    done = CliRunner().invoke(cli.app, [command, "a.yaml"])
    assert isinstance(done.exception, BadInput)
    assert f"SUITE_DATA_DIR names {tmp_path / 'nowhere'}, which is not a folder" in str(done.exception)
    assert not given


@pytest.mark.parametrize("command", ["run", "tasks"])
def test_without_tasks_here_it_says_where_they_are_sought(command: str, given: dict[str, Any], tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, [command])
    assert isinstance(done.exception, BadInput)
    assert re.match(rf".*there is no folder tasks/\S* ?in {tmp_path}:", str(done.exception))
    (tmp_path / "tasks" / "quick").mkdir(parents=True)
    assert "there is no task file (*.yaml)" in str(CliRunner().invoke(cli.app, [command]).exception)


def test_validate_takes_what_run_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workplace(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(lines("validate", "tiny", width=200)) == 2
    assert lines("validate", "tiny/digits") == lines("validate", "tasks/tiny/digits.yaml")
    (tmp_path / "tasks" / "tiny" / "digits.yaml").write_text(TINY.replace("epochs: 3", "epochs: 0"))
    done = CliRunner().invoke(cli.app, ["validate", "nosuch", "tiny", "tiny/digits"])
    assert done.exit_code == 2
    said = done.output.splitlines()
    assert [line.split(":")[0] for line in sorted(said)] == [
        "nosuch",
        *["tasks/tiny/digits.yaml"] * 2,
        "tasks/tiny/grokking.yaml",
    ]


@pytest.mark.parametrize("command", ["schema", "metrics"])
def test_a_generated_file_is_written_checked_or_refused_in_a_line(command: str, tmp_path: Path) -> None:
    def asked(option: str, path: Path) -> int:
        return CliRunner().invoke(cli.app, [command, option, str(path)]).exit_code

    file = tmp_path / "made"
    assert asked("--check", file) == 1
    assert asked("--write", file) == asked("--check", file) == 0
    file.write_bytes(b"\xff" + file.read_bytes())
    assert asked("--check", file) == 1
    with pytest.raises(BadInput, match="cannot be written"):
        CliRunner().invoke(cli.app, [command, "--write", str(tmp_path / "no/such/made")], catch_exceptions=False)
