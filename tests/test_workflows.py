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
    for used, release in re.findall(r"uses: (\S+)(.*)", (FOLDER / file).read_text()):
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", used), used
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", release), f"{used}: which release is that?"


def test_one_commit_of_an_action_is_used_everywhere() -> None:
    used = {name for file in WORKFLOWS for name in re.findall(r"uses: (\S+@\w+ # \S+)", (FOLDER / file).read_text())}
    assert len({name.partition("@")[0] for name in used}) == len(used), used


EVENTS = {"push", "pull_request", "schedule"}
"""pull_request_target and workflow_run give a stranger's code a token that writes; comments begin others at a word."""


@pytest.mark.parametrize("file", WORKFLOWS)
def test_pull_requests_get_no_secret_and_no_token_that_writes(file: str) -> None:
    workflow = WORKFLOWS[file]
    assert set(workflow[True]) <= EVENTS  # YAML 1.1 reads the key `on` as true
    text = (FOLDER / file).read_text()
    assert "secrets." not in text
    assert "github.token" not in text
    for name in workflow["jobs"]:
        if writes(file, name):
            assert pushed_only(file, name), f"{name} would run on a pull request"


def pushed_only(file: str, name: str) -> bool:
    """Whether a job runs on a push alone, by its own condition or by that of one that it needs."""
    one = job(file, name)
    if "pull_request" not in WORKFLOWS[file][True] or one.get("if") == "github.event_name == 'push'":
        return True
    needed = one.get("needs", [])
    assert "if" not in one, "a condition such as always() would not wait for what is needed"
    return any(pushed_only(file, other) for other in ([needed] if isinstance(needed, str) else needed))


SAFE_WORDS = {
    "github.event.pull_request.labels.*.name",
    "runner.temp",
    "matrix.python",
    "github.ref",
    "github.event_name",
}
"""What may stand in a `${{ }}`: nothing that a stranger writes."""


@pytest.mark.parametrize("file", WORKFLOWS)
def test_no_words_of_strangers_are_parts_of_commands(file: str) -> None:
    """A title or the name of a branch between `${{` and `}}` would be pasted into the shell's program."""
    for inside in re.findall(r"\$\{\{(.*?)\}\}", (FOLDER / file).read_text()):
        words = set(re.findall(r"[a-z][\w.*-]*\.[\w.*-]+", re.sub(r"'[^']*'", "", inside)))
        assert words <= SAFE_WORDS | {"steps.pages.outputs.page_url"}, words
    for name in WORKFLOWS[file]["jobs"]:
        assert job(file, name)["timeout-minutes"] <= 60
        commands = [step.get("run", "") for step in job(file, name)["steps"]]
        assert not any("github.event" in command.replace(LABELS, "") for command in commands)
        assert not any(re.search(r"\b(curl|wget)\b|sudo|ssh ", command) for command in commands)


LABELS = "contains(github.event.pull_request.labels.*.name, 'duplicate-allowed')"
"""True or false, whatever a label is called."""


def test_known_vulnerabilities_are_looked_for_every_week_and_apart_from_the_tests() -> None:
    assert WORKFLOWS["audit.yml"][True]["schedule"]
    assert [step["run"] for step in job("audit.yml", "audit")["steps"] if "run" in step] == ["make audit"]
    recipe = (FOLDER.parents[1] / "Makefile").read_text().partition("\naudit:")[2].partition("\n\n")[0]
    assert "pip-audit --strict" in recipe, "a package that could not be looked up would pass"
    assert "bandit" in recipe


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
