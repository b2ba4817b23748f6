"""The time that a bundle of a batch system is asked for, from what is in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from suite import cli, pipeline
from suite.estimating import needs
from suite.estimating.devices import CPU
from suite.estimating.estimate import Measure, estimate
from suite.estimating.needs import needed_seconds
from suite.estimating.work import trained
from suite.executors.engine import Engine
from suite.spec.loading import load_task
from suite.spec.task import TaskSpec
from tests.command import TINY


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskSpec:
    """Twelve cells, in stacks of one."""
    monkeypatch.setattr(needs, "_LEAST", 0.0)
    (tmp_path / "tiny.yaml").write_text(TINY.replace("training:", "training:\n  stack_size: 1", 1))
    return load_task(tmp_path / "tiny.yaml")


def test_to_train_a_bundle_takes_what_its_stacks_take(task: TaskSpec) -> None:
    each = [CPU.seconds(one.work, "training") for one in trained(task)]
    assert len(each) == 12
    most = max(each)
    for bundles, stacks in ((1, 12), (4, 3), (5, 3), (12, 1), (64, 1)):
        found = needed_seconds([task], [], CPU, bundles, "float32", training=True)
        assert 3 * stacks * most == pytest.approx(found, rel=0.3)
    assert needed_seconds([task], [], CPU, 1, "float32", training=True) == pytest.approx(3 * sum(each))


def test_to_measure_a_bundle_takes_its_share_and_never_less_than_one_job(task: TaskSpec) -> None:
    metrics = [Measure("norms", "free", ()), Measure("sharpness", "gradient", ("spectrum",))]
    whole = estimate(task, metrics, CPU, 1, "float32")
    probes, values = whole.seconds["probes"], whole.seconds["metrics"]
    assert probes > values > 0
    one, two, many = (needed_seconds([task], metrics, CPU, n, "float32", training=False) for n in (1, 2, 10**6))
    assert 3 * probes < one < 6 * probes
    assert one - two == pytest.approx(3 * probes / 2, rel=0.2)
    spectra = round(whole.probes["spectrum"].jobs)
    assert many >= 3 * probes / spectra * 0.99
    assert many < one / 2


@pytest.mark.parametrize(("words", "device", "gpus"), [((), "cpu", 0), (("--device", "cuda"), "cuda", 1)])
def test_a_dry_run_asks_for_what_the_run_asks_for(
    words: tuple[str, ...], device: str, gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(needs, "_LEAST", 0.0)
    (tmp_path / "a.yaml").write_text(TINY)
    (tmp_path / "b.yaml").write_text(TINY.replace("[4]", "[40000]").replace("tiny/digits", "tiny/wide"))
    said = ["run", "a.yaml", "b.yaml", "--dry-run", "--executor", "slurm", *words]
    asked = [one["worker"] for one in json.loads(CliRunner().invoke(cli.app, [*said, "--json"]).stdout)]
    options = pipeline.Options(tmp_path, device=words[-1] if words else "auto", engine=Engine("slurm"))
    tasks = [p.task for p in pipeline._plans([tmp_path / "a.yaml", tmp_path / "b.yaml"], options)]
    to_train, to_measure = (options._needs(tasks, training) for training in (True, False))
    seconds = {"train": to_train.seconds, "measure": to_measure.seconds}
    worker = {"device": device, "cpus": 1, "gpus": gpus, "memory": to_train.memory, "seconds": seconds}
    assert asked == [worker, worker]
    shown = CliRunner().invoke(cli.app, said).stdout
    assert f"A worker is asked for with cpus=1, gpus={gpus}, memory=" in shown


def test_a_dry_run_of_this_machine_asks_for_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(TINY)
    (said,) = json.loads(CliRunner().invoke(cli.app, ["run", "a.yaml", "--dry-run", "--json"]).stdout)
    assert "worker" not in said
    found = CliRunner().invoke(cli.app, ["run", "a.yaml", "--dry-run", "--executor", "ray", "--device", "cuda:1"])
    assert "--device cuda:1: use cpu or cuda" in str(found.exception)
