"""`suite claims` as a user types it: a table, JSON for programs, and one clear error for a bad file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from suite import cli
from suite.errors import BadInput
from tests.command import suite
from tests.ranking.made_up import made_up

CLAIMS = """\
claims:
  - id: oracle-is-good
    statement: The oracle knows.
    source: us
    reading: Its τ is above 0.
    tasks: [b/trajectory]
    analogues: [a/grid]
    targets: [loss_gap]
    tests:
      - {metric: oracle, statistic: tau, above: 0}
  - id: wrong-way-is-good
    statement: So does its opposite.
    source: nobody
    reading: Its τ is above 0.
    tasks: [a/grid]
    targets: [loss_gap]
    tests:
      - {metric: wrong_way, statistic: tau, above: 0}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with results and claims in their usual places."""
    made_up(tmp_path / "reports/results")
    (tmp_path / "reports/claims.yaml").write_text(CLAIMS, encoding="utf-8")
    return tmp_path


def test_claims_have_verdicts_on_the_terminal(folder: Path) -> None:
    code, out, err = suite(folder, "claims")
    assert (code, err) == (0, "")
    words = " ".join(out.replace("│", " ").split())
    for word in ("oracle-is-good", "wrong-way-is-good", "undecided", "refuted", "supported"):
        assert word in words
    assert max(map(cell_len, out.splitlines())) <= 150


def test_claims_are_json_for_programs(folder: Path) -> None:
    code, out, err = suite(folder, "claims", "--json")
    assert (code, err) == (0, "")
    oracle, wrong = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert (oracle["id"], oracle["verdict"], oracle["in_small"]["verdict"]) == (
        "oracle-is-good",
        "undecided",
        "undecided",
    )
    assert oracle["why"] == "b/trajectory: 2 settings are too few, by chance alone they agree too often"
    assert oracle["decide"] == ["at least 6 settings of b/trajectory"]
    # with the rule the oracle is right about every network, without it wrong about two that did not learn
    assert oracle["in_small"]["with_rule"]["verdict"] == "supported"
    assert (wrong["verdict"], wrong["in_small"]) == ("refuted", None)
    (finding,) = wrong["with_rule"]["findings"]
    assert (finding["value"], finding["metric"], finding["task"]) == (-1, "wrong_way", "a/grid")


def test_another_file_and_other_results(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(CLAIMS.replace("oracle-is-good", "mine"), encoding="utf-8")
    code, out, _ = suite(
        tmp_path, "claims", "--json", "--file", str(file), "--results", str(folder / "reports/results/a")
    )
    assert code == 0
    mine = json.loads(out)[0]
    assert (mine["id"], mine["why"]) == ("mine", "b/trajectory: not published")
    assert mine["decide"] == ["`suite run tasks/b/trajectory.yaml`, then `suite publish tasks/b/trajectory.yaml`"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("metric: oracle", "metric: orakle", "reports/claims.yaml:10: claims[0].tests[0].metric: no published task has a metric orakle; did you mean oracle?"),  # noqa: E501
        ("above: 0}", "abov: 0}", "reports/claims.yaml:10: claims[0].tests[0].abov: unknown key; did you mean above?"),
        ("tests:\n", "tests: [\n", "reports/claims.yaml:10: not YAML"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_clear_error(
    folder: Path, old: str, new: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "reports/claims.yaml").write_text(CLAIMS.replace(old, new, 1), encoding="utf-8")
    monkeypatch.chdir(folder)
    for words in (["claims"], ["claims", "--json"]):
        done = CliRunner().invoke(cli.app, words)
        assert isinstance(done.exception, BadInput)
        assert (done.exit_code, done.output) == (1, "")
        assert str(done.exception).startswith(said)


def test_bad_files_end_a_command_with_a_line_each_and_status_2(folder: Path) -> None:
    (folder / "reports/claims.yaml").write_text(CLAIMS.replace("statistic: tau", "statistic: tao"), encoding="utf-8")
    code, out, err = suite(folder, "claims", "--json")
    assert (code, out) == (2, "")
    assert [line.split(": ")[0] for line in err.splitlines()] == [f"reports/claims.yaml:{line}" for line in (10, 18)]
    assert all("'tao' is not one of score, tau" in line and "did you mean tau?" in line for line in err.splitlines())


def test_a_file_that_is_not_there(folder: Path) -> None:
    code, out, err = suite(folder, "claims", "--file", "none.yaml")
    assert (code, out) == (2, "")
    assert "none.yaml: cannot be read (No such file or directory)" in err
    assert len(err.splitlines()) == 1
