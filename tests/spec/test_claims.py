"""reports/claims.yaml has what paper.md lists; every mistake in a file of claims has its line and field."""

# ruff: noqa: E501  # a table of mistakes and messages

from __future__ import annotations

import re
from pathlib import Path

import pytest

from suite import arguments
from suite.errors import BadInput
from suite.ranking.tables import read_results
from suite.spec.claims import Claim, Published, check_claims, load_claims
from suite.spec.loading import find_tasks

ROOT = Path(__file__).parents[2]
GOOD = """\
claims:
  - id: one
    statement: It grows.
    source: Somebody 2020
    reading: Its τ is above 0.
    tasks: [a/grid]
    targets: [loss_gap]
    tests:
      - {metric: oracle, statistic: tau, above: 0}
"""
PUBLISHED = {
    "a/grid": Published("grid", {"oracle": "made up", "noise": "made up", "rate": "hyperparameters"},
                        ("training.optimizer.learning_rate", "training.batch_size"), ("accuracy_gap", "loss_gap")),
    "b/trajectory": Published("trajectory", {"oracle": "made up"}, ("training.optimizer.learning_rate",), ("loss_gap",)),
}  # fmt: skip


def said(text: str | bytes) -> str:
    """The problems of a file's content, a line each."""
    claims, problems = check_claims(text.encode() if isinstance(text, str) else text, PUBLISHED)
    assert not (claims and problems), "a half-read file"
    return "\n".join(problem.text("x.yaml") for problem in problems)


@pytest.mark.slow  # `suite leaderboard --check` reads them too, in `.ci/run`
def test_the_published_claims_load_and_are_unique() -> None:
    claims = arguments.claims(ROOT / "reports/claims.yaml", read_results(ROOT / "reports/results"))
    ids = [claim.id for claim in claims]
    assert len(ids) == len(set(ids)) > 0


@pytest.mark.parametrize(
    ("ids", "tasks", "metrics"),
    [  # paper.md §4, in its order, and whom issue 5 and paper.md ask for besides
        (["mlp3-exact-sd-first", "mlp3-sd-slq-second", "mlp3-ph-dimensions-fail", "mlp3-lifetime-sums-weak",
          "mlp3-rds-sharpness-weakly-negative"], ["mnist/mlp3"],
         ["sharpness_dimension", "slq_sharpness_dimension", "ph_dimension_forward", "lifetime_sum_forward",
          "rds_sharpness"]),
        (["mlp5-sd-slq-first", "mlp5-backward-ph-first-when-granulated", "mlp5-sd-slq-granulated-positive"],
         ["mnist/mlp5"], ["slq_sharpness_dimension", "ph_dimension_backward", "slq_sharpness_dimension"]),
        (["grokking-sd-best", "grokking-trace-unstable", "grokking-sharpness-unstable", "grokking-sd-drops"],
         ["grokking/mlp2-gelu", "grokking/mlp3-relu"],
         ["sharpness_dimension", "hessian_trace", "largest_eigenvalue", "sharpness_dimension"]),
        (["gpt2-sharpness-negative-under-adamw"], ["lm/gpt2-nano-adamw"], ["largest_eigenvalue"]),
        (["gpt2-sharpness-unreliable", "gpt2-sd-kde-sd-ps-most-consistent", "gpt2-sd-kde-positive",
          "gpt2-sd-ps-positive"], ["lm/gpt2-nano-sgd", "lm/gpt2-nano-momentum", "lm/gpt2-nano-adamw"],
         ["largest_eigenvalue", "kde_sharpness_dimension", "kde_sharpness_dimension",
          "pseudo_spectrum_sharpness_dimension"]),
        (["sd-below-d-at-the-edge"], ["mnist/mlp3", "mnist/mlp5"], ["codimension"]),
        (["jiang-pac-bayes-flatness", "andriushchenko-adaptive-sharpness-no-predictor",
          "kwon-adaptive-beats-plain", "tan-ph-dimensions-confounded", "andreeva-lifetime-sums-and-magnitude",
          "ours-sd-knows-more-than-batch-size", "ours-sd-beats-trivial"], ["mnist/mlp3", "mnist/mlp5"],
         ["pac_bayes_flatness", "adaptive_average_sharpness", "adaptive_sam_sharpness", "ph_dimension_backward",
          "lifetime_sum_backward", "sharpness_dimension", "sharpness_dimension"]),
    ],
)  # fmt: skip
def test_every_claim_of_the_paper_is_there(ids: list[str], tasks: list[str], metrics: list[str]) -> None:
    claims = {claim.id: claim for claim in load_claims(ROOT / "reports/claims.yaml", {})}
    assert not set(ids) - set(claims)
    for name, metric in zip(ids, metrics, strict=True):
        assert claims[name].tasks == tasks
        assert re.search(rf"\b{metric}\b", repr(claims[name].tests))


def test_a_good_file_is_its_claims() -> None:
    (claim,), problems = check_claims(GOOD.encode(), PUBLISHED)
    assert (problems, claim.id, claim.tests[0].subject, claim.tests[0].above) == ([], "one", "oracle", 0)
    assert isinstance(claim, Claim)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ("metric: orakle, statistic: tau, above: 0", r"metric: no published task has a metric orakle; did you mean oracle\?"),
        ("metric: zzz, statistic: tau, above: 0", r"metric zzz: `suite metrics` lists"),
        ("every: [oracle, nois], statistic: tau, above: 0", r"every\[1\]: .*nois; did you mean noise"),
        ("metric: oracle, statistic: tau, beats: [rat]", r"beats\[0\]: .*rat; did you mean rate"),
        ("metric: oracle, statistic: score, beats: family:made", r"beats: no published task has a metric of family:made; did you mean family:made up"),
        ("metric: oracle, statistic: score, beats: trivials", r"beats: 'trivials': all, trivial, family:NAME or a list"),
        ("metric: oracle, statistic: score, beats: []", r"beats: names no metric"),
        ("metric: oracle, statistic: score, beats: [noise, oracle]", r"beats: oracle cannot beat itself"),
        ("every: [oracle], statistic: score, beats: [oracle]", r"beats: oracle cannot beat itself"),
        ("metric: oracle, statistic: agreement, other: nose, above: 0", r"other: .*nose; did you mean noise"),
        ("metric: oracle, statistic: cells, where: {metric: nose, above: 1}, above: 0", r"where.metric: .*nose; did you mean noise"),
        ("metric: oracle, statistic: cells, where: {metric: noise, above: 1, below: 2}, above: 0", r"where: one of above and below is meant"),
        ("metric: oracle, statistic: cells, where: {metric: noise}, above: 0", r"where: one of above and below is meant"),
        ("metric: oracle, statistic: cells, above: 0", r"statistic cells needs where"),
        ("metric: oracle, statistic: tau, abov: 0", r"abov: unknown key; did you mean above"),
        ("metric: oracle, statistic: taau, above: 0", r"statistic: 'taau' is not one of score, tau, .*; did you mean tau\?"),
        ("metric: oracle, statistic: tau, above: 0, below: 1", r"one comparison is meant: above, below, between, beats"),
        ("metric: oracle, statistic: tau", r"one comparison is meant"),
        ("metric: oracle, every: all, statistic: tau, above: 0", r"one of metric, every and some is meant"),
        ("statistic: tau, above: 0", r"one of metric, every and some is meant"),
        ("metric: oracle, statistic: psi, above: 0", r"statistic psi needs hyperparameter"),
        ("metric: oracle, statistic: tau, hyperparameter: batch_size, above: 0", r"statistic tau has no use for hyperparameter"),
        ("metric: oracle, statistic: psi, hyperparameter: batch_siz, above: 0", r"hyperparameter: a/grid does not vary batch_siz; did you mean batch_size"),
        ("metric: oracle, statistic: psi, hyperparameter: rate, above: 0", r"a/grid does not vary rate; known are batch_size, learning_rate"),
        ("metric: oracle, statistic: agreement, above: 0", r"statistic agreement needs other"),
        ("metric: oracle, statistic: transition, change: drop, above: 0.5", r"statistic transition needs near"),
        ("metric: oracle, statistic: transition, near: 0.1, above: 0.5", r"statistic transition needs change"),
        ("metric: oracle, statistic: transition, change: fall, near: 0.1, above: 0.5", r"change: 'fall' is not one of drop, rise"),
        ("metric: oracle, statistic: transition, change: drop, near: 2, above: 0.5", r"near: 2 is greater than 1"),
        ("metric: oracle, statistic: transition, change: drop, near: 0.1, above: 0.5", r"statistic: transition is of trajectory tasks, and a/grid is a grid task"),
        ("metric: oracle, statistic: instability, above: 0.5", r"statistic: instability is of trajectory tasks, and a/grid"),
        ("metric: oracle, statistic: worst_psi, beats: all", r"statistic worst_psi is compared with a number"),
        ("metric: oracle, statistic: worst_psi, between: [0, 1]", r"statistic worst_psi is above or below a number, not between"),
        ("metric: oracle, statistic: tau, between: [1, 0]", r"between: the first number must be less"),
        ("metric: oracle, statistic: tau, between: [1]", r"between: 1 entries are fewer than 2"),
        ("metric: oracle, statistic: tau, above: .nan", r"above: nan is not a finite number"),
        ("metric: oracle, statistic: tau, above: high", r"above: 'high' is text, a number is meant"),
        ("metric: oracle, statistic: tau, above: 0, over: minimum", r"over minimum compares score, tau or Psi"),
        ("metric: oracle, statistic: psi, hyperparameter: batch_size, beats: all, over: minimum", r"over minimum compares"),
    ],
)  # fmt: skip
def test_mistakes_in_a_test_have_line_field_and_what_is_meant(new: str, expected: str) -> None:
    told = said(GOOD.replace("metric: oracle, statistic: tau, above: 0", new))
    assert re.match(r"x.yaml:9: claims\[0\].tests\[0\].*" + expected, told), told
    assert "\n" not in told, told


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("tasks: [a/grid]", "tasks: [a/grid, a/grid]", r"x.yaml:2: claims\[0\]: a/grid is named twice"),
        ("tasks: [a/grid]", "tasks: [a/grid]\n    analogues: [a/grid]", r"x.yaml:2: claims\[0\]: a/grid is named twice"),
        ("tasks: [a/grid]", "tasks: []", r"x.yaml:6: claims\[0\].tasks: 0 entries are fewer than 1"),
        ("[loss_gap]", "[loss_gap, loss_gap]", r"x.yaml:2: claims\[0\]: loss_gap is named twice"),
        ("[loss_gap]", "[los_gap]", r"x.yaml:7: claims\[0\].targets\[0\]: .*did you mean loss_gap"),
        ("[loss_gap]", "[signed_loss_gap]", r"x.yaml:7: claims\[0\].targets: a/grid has no target signed_loss_gap; did you mean loss_gap"),
        ("    source: Somebody 2020\n", "", r"x.yaml:2: claims\[0\].source: is missing"),
        ("source:", "sourc:", r"x.yaml:4: claims\[0\].sourc: unknown key; did you mean source\?$"),
        ("statement: It grows.", "statement: ''", r"x.yaml:3: claims\[0\].statement: is empty: words are meant"),
        ("It grows.", "It grows." * 100, r"x.yaml:3: claims\[0\].statement: is longer than 600 characters"),
        ("id: one", "id: One claim", r"x.yaml:2: claims\[0\].id: 'One claim' cannot be "),
        ("claims:", "claim:", r"x.yaml:1: claim: unknown key; did you mean claims\?$"),
        ("reading: Its τ is above 0.", "reading: 'Its", r"x.yaml:\d+: not YAML"),
        ("id: one", "id: &a one", r"x.yaml:2: anchors and aliases are not allowed"),
        ("id: one", "id: one\n    id: two", r"x.yaml:3: claims\[0\].id: given twice, first in line 2"),
    ],
)  # fmt: skip
def test_mistakes_in_a_claim(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert re.match(expected, said(GOOD.replace(old, new, 1))), said(GOOD.replace(old, new, 1))


def test_an_id_is_of_one_claim() -> None:
    assert said(GOOD + GOOD.removeprefix("claims:\n")) == (
        "x.yaml:10: claims[1].id: one is the id of the claim in line 2 too"
    )


def test_all_problems_are_said_in_the_order_of_lines() -> None:
    told = said(GOOD.replace("loss_gap", "signed_loss_gap").replace("oracle", "orakle")).splitlines()
    assert [line.split(":")[1] for line in told] == ["7", "9"]


def test_a_grid_statistic_of_a_trajectory() -> None:
    text = GOOD.replace("a/grid", "b/trajectory").replace("statistic: tau", "statistic: Psi")
    assert said(text) == (
        "x.yaml:9: claims[0].tests[0].statistic: Psi is of grid tasks, and b/trajectory is a trajectory task"
    )


def test_names_of_tasks_that_are_not_published_are_not_looked_up() -> None:
    assert said(GOOD.replace("a/grid", "c/coming").replace("oracle", "coming")) == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", r"x.yaml:1: the file is empty"),
        (b"claims: []\n", r"x.yaml:1: claims: 0 entries are fewer than 1"),
        (b"claims:\n", r"x.yaml:1: claims: is empty, a list is meant"),
        (b"- one\n", r"x.yaml:1: the file is a list"),
        (b"claims: [\n", r"x.yaml:\d+: not YAML"),
        (b"claims: \xff\n", r"x.yaml:1: byte 8 is not UTF-8"),
        (b"#" * 1_000_001, r"x.yaml:1: the file is too long"),
    ],
)
def test_files_that_hold_no_claims(content: bytes, expected: str) -> None:
    assert re.match(expected, said(content)), said(content)


def test_a_file_that_cannot_be_read_and_one_that_is_wrong(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(BadInput, match=rf"{path}: cannot be read \({reason}"):
            load_claims(path, PUBLISHED)
    file = tmp_path / "claims.yaml"
    file.write_text(GOOD.replace("oracle", "orakle").replace("targets: [loss_gap]", "targets: [signed_loss_gap]"))
    with pytest.raises(BadInput) as raised:
        load_claims(file, PUBLISHED)
    assert [line.split(": ")[0] for line in str(raised.value).splitlines()] == [f"{file}:7", f"{file}:9"]


def test_tasks_that_are_neither_published_nor_described() -> None:
    content = GOOD.replace("tasks: [", "tasks: [mnist/mlp4, ", 1).encode()
    assert check_claims(content, PUBLISHED)[1] == []
    assert check_claims(content, PUBLISHED, ["mnist/mlp4"])[1] == []
    (problem,) = check_claims(content, PUBLISHED, ["mnist/mlp5"])[1]
    assert problem.text("f").startswith("f:")
    meant = "mnist/mlp4 is no published task, and there is no tasks/mnist/mlp4.yaml; did you mean mnist/mlp5?"
    assert problem.text("f").endswith(f"claims[0].tasks[0]: {meant}")


def test_our_own_claims_are_about_tasks_that_there_are() -> None:
    tasks = {path.relative_to(ROOT / "tasks").with_suffix("").as_posix() for path in find_tasks(ROOT / "tasks")}
    load_claims(ROOT / "reports/claims.yaml", {}, tasks)
