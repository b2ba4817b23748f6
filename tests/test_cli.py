"""Options arrive where they are meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from suite import cli, pipeline
from tests.command import TINY


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
    assert f"default: {pipeline.Options.metric_limit:g}" in said
