"""The cost model: counts against torch's own, memory against what a stack holds, hours against recorded runs."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.func import grad, vjp
from torch.utils.flop_counter import FlopCounterMode

from suite.curvature import reduction
from suite.curvature.hessian import dense_hessian
from suite.curvature.subspace import reduced_size
from suite.errors import BadInput
from suite.estimating import passes
from suite.estimating import work as counts
from suite.estimating.counting import _Entries
from suite.estimating.devices import COMPARED, CPU, DEVICES, LOADED, PILOTS, WORST, device_named
from suite.estimating.estimate import SUPERSEDED, _measured, estimate, known_metrics, recorded_parts, stack_memory
from suite.estimating.networks import network_of
from suite.estimating.work import Work, _ranged, decomposed, probed, trained
from suite.measuring.measure import applies, probes_read
from suite.measuring.probes import asked, exponents, gradients, probe_key, spectrum
from suite.metrics import find_metrics
from suite.models.flat import flat_model, initial_weights
from suite.models.gpt2 import GPT2
from suite.models.mlp import MLP
from suite.models.transformer import Transformer
from suite.models.uniform_mlp import UniformMLP
from suite.spec.base import ModelSpec, Shape
from suite.spec.loading import load_task
from suite.spec.task import TaskSpec
from suite.training.problem import load_problem, load_test_split
from suite.training.stacked import _Trainer
from tests.command import TINY, suite, workplace

ROOT = Path(__file__).parents[2]
VECTORS, TOKENS = Shape("vectors", features=64, outputs=10), Shape("tokens", features=5, outputs=23, vocabulary=23)
TEXT = Shape("tokens", features=16, outputs=50, vocabulary=50, every_position=True)
NETWORKS: dict[str, tuple[ModelSpec, Shape]] = {
    "mlp": (MLP(widths=[16, 16], bias=False), VECTORS),
    "mlp with biases": (MLP(widths=[30, 20], activation="gelu"), VECTORS),
    "transformer": (Transformer(layers=2, width=32, heads=2), TOKENS),
    "transformer at every position": (Transformer(layers=1, width=32, heads=4, normalisation="none"), TEXT),
    "gpt2": (GPT2(layers=2, width=32, heads=2), TEXT),
}
QUICK = sorted((ROOT / "tasks/quick").glob("*.yaml"))


def flops(function: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", NETWORKS)
def test_operations_are_those_that_torch_counts(name: str) -> None:
    spec, shape = NETWORKS[name]
    model, weights, found = flat_model(spec, shape), initial_weights(spec, shape, 0), network_of(spec, shape)
    tokens = torch.randint(max(1, shape.vocabulary), (4, shape.features))
    inputs = torch.randn(4, shape.features) if shape.encoding == "vectors" else tokens

    def loss(flat: torch.Tensor) -> torch.Tensor:
        return model(flat, inputs).square().mean()

    assert found.parameters == model.size
    assert 4 * found.forward == pytest.approx(flops(lambda: model(weights, inputs)), rel=0.1)
    assert 4 * found.gradient == pytest.approx(flops(lambda: grad(loss)(weights)), rel=0.1)
    pull = vjp(grad(loss), weights)[1]
    assert 4 * found.product == pytest.approx(flops(lambda: pull(torch.ones_like(weights))), rel=0.1)


@pytest.mark.parametrize("name", ["mlp", "transformer"])
def test_an_architecture_from_outside_is_counted_on_the_meta_device(name: str) -> None:
    spec, shape = NETWORKS[name]
    outside = type("Outside", (type(spec),), {"__module__": __name__, "__annotations__": {}})
    found, formula = network_of(outside(**spec.model_dump()), shape), network_of(spec, shape)
    assert (found.counted, formula.counted) == ("meta device", "formulas")
    assert found.parameters == formula.parameters
    assert found.forward == pytest.approx(formula.forward, rel=0.1)
    assert 0.3 < found.operations / formula.operations < 3
    assert 0.2 < found.numbers / formula.numbers < 5
    assert (found.head, found.widest) == (formula.head, formula.widest)
    if name == "mlp":
        small, meant = found.in_span(8), formula.in_span(8)
        assert (small.parameters, small.features, small.hidden) == (meant.parameters, 8, 16)
        assert small.product == pytest.approx(meant.product, rel=0.1)


def test_a_network_on_the_span_of_few_inputs() -> None:
    whole = network_of(MLP(widths=[16, 16], bias=False), VECTORS)
    small = network_of(MLP(widths=[16, 16], bias=False), Shape("vectors", features=8, outputs=10))
    span = whole.in_span(8)
    assert (span.parameters, span.forward, span.product) == (small.parameters, small.forward, small.product)
    assert whole.in_span(64) == whole


def test_uniform_perceptrons_are_counted_as_perceptrons() -> None:
    spec = UniformMLP(width=16, depth=2, scale=3.0, bias=False)
    assert network_of(spec, VECTORS) == network_of(MLP(widths=[16, 16], bias=False), VECTORS)


@pytest.mark.parametrize("name", ["mlp", "mlp with biases", "transformer", "gpt2"])
def test_numbers_are_those_that_torch_writes(name: str) -> None:
    spec, shape = NETWORKS[name]
    model, weights, found = flat_model(spec, shape), initial_weights(spec, shape, 0), network_of(spec, shape)
    tokens = torch.randint(max(1, shape.vocabulary), (256, shape.features))
    inputs = torch.randn(256, shape.features) if shape.encoding == "vectors" else tokens

    def loss(flat: torch.Tensor) -> torch.Tensor:
        return model(flat, inputs).log_softmax(-1)[..., 0].mean()

    pull = vjp(grad(loss), weights)[1]
    for function, times in ((lambda: grad(loss)(weights), 2), (lambda: pull(torch.ones_like(weights)), found.bend)):
        with _Entries() as entries:
            function()
        written = entries.numbers - 3 * found.parameters
        assert written / 256 == pytest.approx(times * found.numbers, rel=0.4)


OPTIMIZERS = {
    "plain": {"kind": "sgd", "learning_rate": 0.1},
    "momentum": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    "adamw": {"kind": "adamw", "learning_rate": 0.001},
}


def tiny(**training: Any) -> TaskSpec:
    return TaskSpec.model_validate(
        {
            "name": "tiny", "title": "tiny", "kind": "grid", "data": {"kind": "digits"},
            "model": {"kind": "mlp", "widths": [12]}, "grid": {"seed": [0, 1, 2]},
            "training": {"optimizer": OPTIMIZERS["plain"], "batch_size": 32, "epochs": 2, **training},
        }
    )  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_memory_is_that_of_what_a_stack_holds(optimizer: str) -> None:
    task = tiny(optimizer=OPTIMIZERS[optimizer], trajectory={"points": 10})
    (found,) = trained(task)
    cpu = torch.device("cpu")
    problem, test = load_problem(task, cpu, torch.float32), load_test_split(task, cpu, torch.float32)
    live, _ = _Trainer(found.stack, problem, test)._start()
    parts = stack_memory(found)
    held = {
        "weights": live.weights.nbytes + live.before.nbytes,
        "optimizer": sum(part.nbytes for part in live.state),
        "trajectory": 0 if live.recent is None else live.recent.nbytes,
        "training set": problem.train.inputs.nbytes,
    }
    for name, size in held.items():
        assert parts[name] == pytest.approx(size, rel=0.01, abs=100), name  # AdamW keeps two powers a cell besides
    assert parts["gradient"] == live.weights.nbytes
    double = stack_memory(found, "float64")
    assert double["weights"] == 2 * parts["weights"]


def test_steps_and_samples_of_training_by_hand() -> None:
    (found,) = trained(tiny())
    assert found.work.counts == {"steps": 3 * 2 * (1438 // 32), "samples seen": 3 * 2 * (1438 // 32) * 32}
    weights = 64 * 12 + 12 * 10
    forward, gradient = 2 * weights, 6 * weights - 2 * 64 * 12
    # and a look at the whole training set in the end
    assert found.work.flops == found.work.counts["samples seen"] * gradient + 3 * 1438 * forward


def test_looks_at_the_sharpness_are_counted() -> None:
    task = tiny(sharpness={"count": 4, "iterations": 7, "samples": 100})
    looks = len(task.training.sharpness_steps(task.data.train_size()))
    assert trained(task)[0].work.counts["Hessian products"] == 3 * looks * 7


def test_products_of_probes_by_hand() -> None:
    task = load_task(ROOT / "tasks/quick/modular-grokking.yaml")
    total: dict[str, Work] = {}
    for one in trained(task):
        for name, work in probed(one.stack.cells[0].task, one).items():
            total[name] = total.get(name, Work()) + work
    assert total["spectrum"].counts["Hessian products"] == 8 * 20 * 4 * 40
    assert total["common"].counts["Hessian products"] == 8 * 20 * 4 * 60
    assert "whole" not in total, "it is the same as the spectrum, training being on all inputs"


def test_numbers_that_are_copied_from_elsewhere_are_theirs() -> None:
    there = {
        "_BLOCK_NUMBERS": spectrum._BLOCK_NUMBERS, "_MATRIX": spectrum._MATRIX, "_PIECE": gradients._NUMBERS,
        "_TALL": reduction._TALL, "_OUTPUTS": gradients._OUTPUTS, "_VECTORS": gradients._VECTORS,
        "_WARMUP": 1 + exponents._WARMUP, "_COLUMNS": inspect.signature(dense_hessian).parameters["chunk"].default,
    }  # fmt: skip
    assert {name: getattr(counts, name) for name in there} == there


def test_unknowns_in_the_range_are_half_of_the_engines_bound() -> None:
    shapes = ((200, 784), (200, 200), (200, 200), (200, 200), (10, 200))
    network = network_of(MLP(widths=[200] * 4, bias=False), Shape("vectors", features=784, outputs=10))
    assert network.shapes == shapes
    assert network.in_range(8) == reduced_size(shapes, 8) // 2


@pytest.mark.parametrize(("batch", "unknowns", "seconds"), [(4, 3258, 6), (8, 6518, 27), (16, 12625, 190)])
def test_spectra_by_way_of_the_range_take_what_was_measured(batch: int, unknowns: int, seconds: float) -> None:
    """Of the paper's MLP-5 on one minibatch of MNIST, on a core of two at work."""
    network = network_of(MLP(widths=[200] * 4, bias=False), Shape("vectors", features=784, outputs=10))
    assert network.in_range(batch) == pytest.approx(unknowns, rel=0.1)
    assert 1 / LOADED < CPU.seconds(_ranged(network, batch), "probe") / seconds < LOADED


def test_whole_training_set_is_decomposed_once_by_each_worker() -> None:
    task = load_task(ROOT / "tasks/mnist/mlp3.yaml")
    once = decomposed(task, trained(task)[0], {"whole"})
    # R-SVD, by Golub & Van Loan's count; 11 s were measured on a quiet core
    assert once.eigen == 2 * (6 * 60_000 * 784**2 + 20 * 784**3)
    assert 11 / 1.5 < CPU.seconds(once, "probe") < 11 * 1.5
    assert decomposed(task, trained(task)[0], {"spectrum"}) == Work()


@pytest.mark.parametrize("file", QUICK, ids=lambda file: file.stem)
def test_probes_and_values_are_as_many_as_the_laboratory_makes(file: Path) -> None:
    task, metrics = load_task(file), find_metrics()
    size = task.data.train_size()
    for one in trained(task):
        cell = one.stack.cells[0].task
        points = cell.training.checkpoint_steps(size)
        keys = {
            probe_key("a run", step, cell, name)
            for name in probes_read(metrics.values())
            for step in points
            if asked(cell, name, step == points[-1]) is not None
        }
        made = probed(cell, one, {name for metric in metrics.values() for name in metric.probes})
        assert sum(work.jobs for work in made.values()) == len(keys) * len(one.stack.cells)
        for asked_for in known_metrics():
            own = metrics[asked_for.name]
            meant = sum(applies(own, cell, step == points[-1]) for step in points)
            if own.applies(cell):
                assert _measured(cell, asked_for, len(points)) == meant, own.name


def test_every_metric_that_passes_inputs_through_the_network_has_its_count() -> None:
    metrics = find_metrics()
    assert passes.known() <= set(metrics)
    dear = {name for name, one in metrics.items() if one.cost != "free" and not one.probes and one.origin is None}
    assert dear <= passes.known()


def recorded(folder: str) -> list[dict[str, Any]]:
    """What was published from this kind of machine."""
    found = [json.loads(file.read_text()) for file in sorted((ROOT / "reports" / folder).rglob("provenance.json"))]
    return [provenance for provenance in found if provenance["device"] == "cpu"]


def in_comparison(provenance: dict[str, Any]) -> bool:
    """Whether the constants were fitted to it: another recording of the same task is a new one."""
    return bool(provenance["commit"][:8] == COMPARED.get(provenance["task"]))


def by_stage(provenance: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Seconds estimated and taken; those taken are all that were recorded, but for superseded probes."""
    found, stages = dict.fromkeys(WORST, (0.0, 0.0)), {"training": "training", "probe": "probes", "metric": "metrics"}
    for kind, _, work, seconds in recorded_parts(provenance):
        before = found[stages[kind]]
        found[stages[kind]] = before[0] + CPU.seconds(work, kind), before[1] + seconds
    said, task, commit = provenance["seconds"], provenance["task"], provenance["commit"]
    left_out = sum(
        said[f"probe {name}"] * (1 - stands)
        for (named, by, name), stands in SUPERSEDED.items()
        if (named, by) == (task, commit)
    )
    assert found["training"][1] == said["training"]
    assert found["probes"][1] == pytest.approx(said["probes"] - left_out, rel=0.01)
    assert found["metrics"][1] == pytest.approx(said["metrics"], rel=0.25)  # one digit of each is kept
    return found


@pytest.mark.parametrize("provenance", recorded("results"), ids=lambda provenance: provenance["task"])
def test_recorded_runs_are_estimated_as_well_as_is_said(provenance: dict[str, Any]) -> None:
    # what was not fitted to may have been recorded beside other work: it then takes up to LOADED times as long
    slack = 1.0 if in_comparison(provenance) else LOADED
    for stage, (estimated, taken) in by_stage(provenance).items():
        assert WORST[stage] <= 2
        most = WORST[stage] if in_comparison(provenance) else max(WORST.values())
        assert 1 / (WORST[stage] * slack) <= estimated / taken <= most, stage


@pytest.mark.parametrize("provenance", recorded("pilots"), ids=lambda provenance: provenance["task"])
def test_pilots_of_gpt2_that_nothing_was_fitted_to_took_as_long_as_is_said(provenance: dict[str, Any]) -> None:
    if "gpt2-nano" in provenance["task"]:
        for stage, (estimated, taken) in by_stage(provenance).items():
            assert 1 / PILOTS <= estimated / taken <= 1.1, stage


def test_more_workers_take_less_but_no_less_than_the_longest_stack() -> None:
    task = load_task(ROOT / "tasks/quick/digits-mlp3.yaml")
    one, two, many = (estimate(task, known_metrics(), CPU, workers) for workers in (1, 2, 10_000))
    assert one.hours == pytest.approx(sum(one.seconds.values()) / 3600)
    assert one.hours / 2 <= two.hours < one.hours
    longest = max(CPU.seconds(stack.work, "training") for stack in trained(task))
    once = CPU.seconds(decomposed(task, trained(task)[0], {"whole"}), "probe")
    others = sum(one.seconds[stage] for stage in ("probes", "metrics")) - once
    assert many.hours == pytest.approx((longest + once + others / 10_000) / 3600)


def test_metrics_beyond_their_limit_are_named_and_given_up_after_three_values() -> None:
    task, metrics = load_task(ROOT / "tasks/quick/digits-mlp3.yaml"), known_metrics()
    free = estimate(task, metrics, CPU, 1)
    assert (free.too_long, free.limit) == ((), 120.0)
    assert free.seconds["metrics"] == pytest.approx(sum(CPU.seconds(work, "metric") for work in free.metrics.values()))
    longest = [metric for metric in metrics if metric.name == "local_learning_coefficient"]
    alone = estimate(task, longest, CPU, 1)
    each = alone.seconds["metrics"] / alone.values
    short = estimate(task, longest, CPU, 1, metric_limit=each / 2)
    assert short.too_long == ("local_learning_coefficient",)
    assert short.seconds["metrics"] == pytest.approx(3 * each / 2)
    assert short.metrics == alone.metrics


def test_float64_takes_longer() -> None:
    single, double = (estimate(tiny(), (), CPU, 1, dtype) for dtype in ("float32", "float64"))
    assert double.seconds["training"] > single.seconds["training"]
    assert double.training.operations == single.training.operations


def test_what_is_assumed_is_not_called_measured() -> None:
    assert [name for name, device in DEVICES.items() if device.measured] == ["cpu"]
    with pytest.raises(BadInput, match="--on tpu: there are constants for cpu, h100, h200, a100"):
        device_named("tpu")


GPT = """\
name: lm/gpt2
title: GPT-2 124M on WikiText-2
kind: grid
data: {kind: wikitext-2, tokens: gpt2, length: 1024}
model: {kind: gpt2}
training:
  optimizer: {kind: adamw, learning_rate: 0.0001}
  batch_size: 8
  epochs: 3
  stack_size: 2
grid:
  training.optimizer.learning_rate: [0.0001, 0.0003]
  training.batch_size: [4, 8]
probes:
  spectrum: {kind: lanczos, runs: 4, steps: 30}
  gradients: null
"""


def test_gpt2_is_estimated_without_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_DATA_DIR", str(tmp_path / "nowhere"))
    (tmp_path / "gpt2.yaml").write_text(GPT)
    code, out, err = suite(tmp_path, "run", "gpt2.yaml", "--dry-run", "--on", "h100", "--cost", "search", "--json")
    assert code == 0, err
    (said,) = json.loads(out)
    assert said["parameters"] == 124_439_808
    assert (said["cells"], said["stacks"], said["train_size"]) == (
        4,
        2,
        load_task(tmp_path / "gpt2.yaml").data.train_size(),
    )
    assert said["training"]["steps"] == sum(2 * 3 * (said["train_size"] // batch) for batch in (4, 8))
    # 2 d a token forward and 4 d back (positions are added, the embedding is the head), attention besides:
    # scores and mixing, 2 · 2 · t · width a token, layer and pass; and each cell is evaluated once in the end
    forward = 1024 * (2 * (124_439_808 - 1024 * 768) + 12 * 4 * 1024 * 768)
    meant = forward * (3 * said["training"]["samples seen"] + 4 * said["train_size"])
    assert said["training"]["flops"] == pytest.approx(meant, rel=0.01)
    assert said["device"]["measured"] is False
    assert any("ASSUMED, NOT MEASURED" in note for note in said["notes"])
    assert said["hours"] > 0.1
    assert any("would take longer than 120 s" in note for note in said["notes"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpt2.yaml"]


def test_a_dry_run_says_what_a_worker_on_another_machine_is_asked_for(tmp_path: Path) -> None:
    folder = workplace(tmp_path)
    words = ("run", "tasks/tiny", "--dry-run", "--executor", "slurm", "--need")
    code, out, err = suite(folder, *words, "cpus=3")
    assert code == 0, err
    asked = (
        "A worker is asked for with cpus=3, gpus=0, memory=2.0 (GiB), 0.5 h to train and 0.5 h to measure for a job."
    )
    assert asked in out
    code, out, err = suite(folder, *words, "memory=abc")
    assert (code, out) == (2, "")
    assert err == "--need memory=abc: a number above 0 is meant\n"


def test_a_dry_run_says_what_there_is_to_do_and_makes_nothing(tmp_path: Path) -> None:
    folder = workplace(tmp_path)
    code, out, err = suite(folder, "run", "tasks/tiny", "--dry-run", "--workers", "1")
    assert code == 0, err
    words = " ".join(out.replace("│", " ").split())
    assert "cells, in stacks 12, in 2" in words
    assert "optimizer steps, all cells " + f"{6 * 3 * (1438 // 32 + 1438 // 64):,}" in words
    assert "Estimates of 9 recorded tasks were off by at most × 1.7" in words
    assert "2 tasks:" in words
    assert sorted(path.name for path in folder.iterdir()) == ["tasks"]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("--on", "tpu"), "--on tpu"),
        (("--cost", "cheap"), "--cost cheap"),
        (("--cells", "2"), "give one of them"),
        (("--dtype", "float16"), "--dtype float16"),
    ],
)
def test_bad_words_are_one_line(words: tuple[str, ...], meant: str, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(TINY)
    code, _, err = suite(tmp_path, "run", "one.yaml", "--dry-run", *words)
    assert (code, err.count("\n")) == (2, 1), err
    assert meant in err


def test_the_largest_recorded_networks_are_as_large_as_is_said() -> None:
    compared = [provenance for provenance in recorded("results") if in_comparison(provenance)]
    assert max(provenance["parameters"] for provenance in compared) <= 15_000
    assert max(provenance["data"]["n_train"] for provenance in compared) <= 60_000
    assert {p["parameters"] for p in recorded("pilots") if "gpt2-nano" in p["task"]} <= {478_272}
