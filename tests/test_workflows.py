"""Rules of the workflows that no run of them would show to be broken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from suite.cli import app
from suite.submission.findings import END

FOLDER = Path(__file__).parents[1] / ".github" / "workflows"
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yml")}
JOBS = [(file, name) for file, workflow in WORKFLOWS.items() for name in workflow["jobs"]]
HARMLESS = {"rm", "cp", "git", "if", "fi"}
"""What a job that may write runs: files are moved and committed, nothing of ours or of a package is executed."""


def job(file: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = WORKFLOWS[file]["jobs"][name]
    return found


def writes(file: str, name: str) -> bool:
    return "write" in job(file, name).get("permissions", {}).values()


def commands(step: dict[str, Any]) -> set[str]:
    lines = re.sub(r"\\\n\s*", "", step.get("run", "")).splitlines()
    assert not any(sign in line for line in lines for sign in ("|", "&", "$(", "`"))
    return {line.split()[0] for line in lines} | {
        part.split()[-1] for line in lines for part in line.split(";")[1:] if part.split() != ["then"]
    }


def test_there_are_jobs_that_write() -> None:
    assert [name for file, name in JOBS if writes(file, name)] == ["commit", "publish"]


@pytest.mark.parametrize(("file", "name"), JOBS)
def test_who_may_write_runs_nothing_of_others(file: str, name: str) -> None:
    steps = job(file, name)["steps"]
    if writes(file, name):
        assert set().union(*map(commands, steps)) <= HARMLESS
        assert not any("setup-" in step.get("uses", "") for step in steps)
        return
    for step in steps:
        if "actions/checkout@" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False, "a token would lie in .git/config"


@pytest.mark.parametrize("file", WORKFLOWS)
def test_workflows_read_by_default_and_do_not_race(file: str) -> None:
    assert WORKFLOWS[file]["permissions"] == {"contents": "read"}
    assert WORKFLOWS[file]["concurrency"]["group"]
    for used in re.findall(r"uses: (\S+)", (FOLDER / file).read_text()):
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", used), used


def test_the_leaderboard_is_made_again_when_anything_it_is_made_of_changes() -> None:
    on = WORKFLOWS["leaderboard.yml"][True]  # YAML 1.1 reads the key `on` as true
    needed = {"reports/results/**", "suite/ranking/**", "suite/reporting/**", "constraints.txt", "pyproject.toml"}
    needed |= {"reports/claims.yaml", "suite/spec/claims.py"}
    assert needed <= set(on["push"]["paths"])


def test_a_submission_is_recomputed_where_metrics_or_values_change_by_a_token_that_only_reads() -> None:
    """What it runs exists: its command takes these options, and what it compares with is there."""
    workflow = WORKFLOWS["submission.yml"]
    on = workflow[True]
    assert set(on) == {"pull_request"}, "pull_request_target would give a stranger's code a token that writes"
    assert {"suite/metrics/**", "reports/results/**"} <= set(on["pull_request"]["paths"])
    assert {"labeled", "opened", "synchronize"} <= set(on["pull_request"]["types"])
    steps = job("submission.yml", "check")["steps"]
    assert steps[0]["with"]["fetch-depth"] == 2, "HEAD^1 is what the changes are told from"
    ((check, shell),) = [(s["run"], s.get("shell")) for s in steps if "suite check" in s.get("run", "")]
    assert shell == "bash", "without pipefail tee's exit status would be the check's"
    assert f'tail -n 1 check.txt | grep "^{END}: "' in check, "a file that ends the process at import would be good"
    assert "--since HEAD^1 --against reports/results" in check
    assert "labels" in check.split("--against")[1]
    assert "github.event.pull_request.title" not in check, "text of a stranger's would be a part of the command"
    words = {option for command in get_command(app).commands["check"].params for option in command.opts}
    assert set(re.findall(r"--[a-z-]+", check.split("|")[0])) <= words
    assert any("suite leaderboard --check" in step.get("run", "") for step in steps)
