"""A whole run on another engine has the leaderboard and the values of one here, byte for byte."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from suite import pipeline
from suite.executors import engine
from suite.executors.engine import Engine
from suite.executors.slurm import SlurmExecutor
from tests.command import suite, workplace

pytestmark = pytest.mark.slow
TASK = "tasks/tiny/digits.yaml"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = workplace(tmp_path_factory.mktemp("here"))
    code, _, err = suite(place, "run", TASK, "--quiet", "--cost", "gradient")
    assert code == 0, err
    return place


def same(here: Path, there: Path) -> None:
    """Everything but what says when and for how long."""
    reports = [place / ".suite/reports" for place in (here, there)]
    files = {path.relative_to(reports[0]) for path in reports[0].rglob("*.csv")} | {Path("leaderboard.md")}
    assert len(files) > 30
    for file in sorted(files):
        assert (reports[0] / file).read_bytes() == (reports[1] / file).read_bytes(), file


def test_on_ray(here: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    place, one = workplace(tmp_path), {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster: Any = Cluster(initialize_head=True, head_node_args=one)
    try:
        cluster.add_node(**one)
        where = ("--executor", "ray", "--address", cluster.address)
        code, _, err = suite(place, "run", TASK, "--quiet", "--cost", "gradient", *where)
    finally:
        cluster.shutdown()
    assert code == 0, err
    same(here, place)


def test_in_bundles(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    place = workplace(tmp_path)
    monkeypatch.setattr(engine, "SlurmExecutor", partial(SlurmExecutor, cluster="local"))
    options = pipeline.Options(
        place / ".suite", device="cpu", workers=2, quiet=True, cost="gradient", engine=Engine("slurm")
    )
    assert pipeline.run([place / TASK], options, Console(quiet=True)) == []
    same(here, place)
