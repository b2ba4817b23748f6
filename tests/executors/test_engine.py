"""What the words of a command line ask an engine for."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from suite import cli, pipeline
from suite.errors import BadInput
from suite.executors import LocalExecutor, Needs, engine
from suite.executors.engine import HERE, Engine, engine_of
from suite.measuring.devices import workers_here
from tests.command import TINY

GIB = 2**30


def test_words_become_an_engine() -> None:
    assert engine_of("local", "auto", []) == HERE
    assert engine_of("ray", "host:1", ["gpus=0.5", "memory=16"]) == Engine("ray", "host:1", gpus=0.5, memory=16 * GIB)
    words = ["cpus=4", "hours=1.5", "partition=gpu", "comment=a=b"]
    said = Engine("slurm", cpus=4, seconds=5400.0, sbatch=(("partition", "gpu"), ("comment", "a=b")))
    assert engine_of("slurm", "auto", words) == said


@pytest.mark.parametrize(
    ("kind", "address", "word", "what"),
    [
        ("dask", "auto", None, r"--executor dask: use local, ray, slurm"),
        ("slurm", "host:1", None, r"--address host:1: that of a Ray cluster; say --executor ray too"),
        ("local", "auto", "gpus=1", r"--need gpus=1: of workers on other machines"),
        ("ray", "auto", "gpus", r"--need gpus: KEY=VALUE is meant, such as memory=16"),
        ("ray", "auto", "=1", r"--need =1: KEY=VALUE is meant"),
        ("ray", "auto", "memory=0", r"--need memory=0: a number above 0 is meant"),
        ("ray", "auto", "memory=nan", r"--need memory=nan: a number above 0 is meant"),
        ("ray", "auto", "cpus=1.5", r"--need cpus=1\.5: a whole number above 0 is meant"),
        ("ray", "auto", "partition=gpu", r"--need partition=gpu: use cpus, gpus, memory \(GiB\) or hours"),
    ],
)
def test_other_words_are_bad_input(kind: str, address: str, word: str | None, what: str) -> None:
    with pytest.raises(BadInput, match=f"^{what}"):
        engine_of(kind, address, [word] if word else [])


def test_what_was_said_goes_before_what_was_estimated() -> None:
    estimated = Needs(memory=3 * GIB, seconds=100.0)
    assert Engine("ray").needs("cpu", estimated) == Needs(1, 0.0, 3 * GIB, 100.0)
    assert Engine("ray").needs("cuda:0", estimated) == Needs(1, 1.0, 3 * GIB, 100.0)
    said = Engine("ray", cpus=2, gpus=0.25, memory=GIB, seconds=5.0)
    assert said.needs("cuda:0", estimated) == Needs(2, 0.25, GIB, 5.0)


def test_the_device_of_other_machines_is_not_looked_for_here() -> None:
    assert Engine("ray").device("auto") == "cpu"
    assert Engine("ray", gpus=0.5).device("auto") == "cuda:0"
    assert Engine("slurm").device("cuda") == "cuda:0"
    with pytest.raises(BadInput, match=r"^--device cuda:3: use cpu or cuda; a worker of ray sees none but its own"):
        Engine("ray").device("cuda:3")


def test_a_gpu_of_this_machine_is_a_worker_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert workers_here("cuda") == (3, ("0", "1", "2"))
    assert workers_here("cuda:2") == (1, ())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-a,7")
    assert workers_here("auto") == (3, ("4", "GPU-a", "7"))
    assert workers_here("cpu")[1] == ()


def test_workers_are_where_they_were_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []
    for name in ("RayExecutor", "SlurmExecutor"):
        monkeypatch.setattr(engine, name, lambda *words, name=name: asked.append((name, *words)))
    devices, needs = lambda: (2, ()), lambda: Needs(memory=GIB)
    Engine("ray", "host:1").executor(3, {"A": "b"}, tmp_path, devices, needs)
    Engine("slurm", sbatch=(("qos", "low"),)).executor(None, {}, tmp_path, devices, needs)
    assert asked == [
        ("RayExecutor", "host:1", 3, {"A": "b"}, Needs(memory=GIB)),
        ("SlurmExecutor", tmp_path / "slurm", None, {}, Needs(memory=GIB), {"qos": "low"}),
    ]
    with HERE.executor(None, {}, tmp_path, devices, needs) as here:
        assert isinstance(here, LocalExecutor)
        assert here.workers == 2


def test_needs_are_estimated_from_the_tasks(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TINY)
    (tmp_path / "wide.yaml").write_text(TINY.replace("[4]", "[40000]").replace("tiny/digits", "tiny/wide"))
    options = pipeline.Options(tmp_path, engine=Engine("slurm"))
    small, wide = (pipeline._plans([tmp_path / f"{name}.yaml"], options) for name in ("small", "wide"))
    for training in (True, False):
        least, most = (
            options._needs([p.task for p in small], training),
            options._needs([p.task for p in wide], training),
        )
        assert least.memory is not None
        assert most.memory is not None
        assert 2 * GIB < least.memory < 2.1 * GIB
        # six cells of 2,960,000 weights, two copies and a gradient, in float32: 0.2 GB, doubled
        assert most.memory - least.memory > 0.4e9
        assert least.seconds == 1800.0
        assert most.seconds is not None
        assert most.seconds >= least.seconds


def test_time_is_asked_for_the_bundles_that_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sixteen workers take four bundles each unless it was said how many; on one machine nobody asks for time."""
    bundles = list[int]()
    monkeypatch.setattr("suite.estimating.needs.needed_seconds", lambda *words: bundles.append(words[3]) or 1.0)
    (tmp_path / "small.yaml").write_text(TINY)
    for kind, workers in (("slurm", None), ("slurm", 3), ("ray", 3)):
        options = pipeline.Options(tmp_path, engine=Engine(kind), workers=workers)
        options._needs([p.task for p in pipeline._plans([tmp_path / "small.yaml"], options)], training=True)
    assert bundles == [64, 12, 1]


@pytest.mark.parametrize("command", ["run", "train", "measure"])
def test_commands_take_the_words(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(TINY)
    seen: list[Engine] = []
    monkeypatch.setattr(pipeline, command, lambda tasks, options, console: seen.append(options.engine) or [])
    words = [command, "a.yaml", "--executor", "slurm", "--need", "partition=gpu", "--need", "memory=2"]
    # more workers than this machine could carry
    assert CliRunner().invoke(cli.app, [*words, "--workers", "5000"], catch_exceptions=False).exit_code == 0
    assert seen == [Engine("slurm", memory=2 * GIB, sbatch=(("partition", "gpu"),))]
