"""What the benchmarks rest on: the nets, the limit, the memory watch, and the report. Runs with the ordinary tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bench.bench_nets import Flat, matmul_rate, mlp3, mlp5, peak_memory, transformer
from tests.bench.report import markdown, results, write


def test_nets_are_what_the_issue_names() -> None:
    assert mlp3().size == 12_960
    net = mlp5()
    assert net.size == 278_800
    assert net.inputs.shape == (128, 784)
    # two operations a weight and sample
    assert net.forward_flops == 2 * 128 * 278_800
    assert net.limit(6e9) == pytest.approx(1e9 / net.forward_flops)
    assert all(p.grad is None for p in net.module.parameters())


def test_the_transformer_predicts_every_position(monkeypatch: pytest.MonkeyPatch) -> None:
    net = transformer(batch=4)
    assert isinstance(net.module, Flat)
    assert 460_000 < net.size < 500_000
    assert net.module(net.inputs).shape == (4 * 16, 256)
    assert net.targets.shape == (4 * 16,)
    weights = sum(p.numel() for n, p in net.module.named_parameters() if p.ndim == 2 and "embedding" not in n)
    positions = 16 * 128
    attention = 2 * 2 * (2 * 4 * 4 * 16 * 16 * 32)  # layers; QKᵀ and PV; samples, heads, positions squared, width
    assert net.forward_flops == 2 * 4 * 16 * (weights - positions) + attention


def test_a_forward_pass_is_held_to_the_same_rate() -> None:
    net = mlp3()
    # a network of this size is far below the rate of a large product, and never above it
    assert 0 < net.forward_flops / net.forward_seconds(5) < 1.2 * matmul_rate(seconds=0.05)


def test_the_rate_is_that_of_a_product() -> None:
    assert 1e8 < matmul_rate(seconds=0.02) < 1e15


def test_peak_memory_sees_what_is_gone_again() -> None:
    with peak_memory() as peak:
        block = torch.ones(2**24)  # 64 MiB
        del block
    if peak.mib is None:
        pytest.skip("this system has no high-water mark to reset")
    assert 60 < peak.mib < 120
    with peak_memory() as nothing:
        pass
    assert nothing.mib is not None
    assert nothing.mib < 8


def written_benchmark(quick: bool) -> dict[str, Any]:
    """What pytest-benchmark writes, as far as it is read."""
    common = {"device": "A Device (R)", "quick": quick, "net": "mlp5", "parameters": 278_800}
    products = {"side": "ours", "block": 16, "products_per_second": 1234.5, "fraction_of_limit": 0.81}
    products["forward_fraction_of_limit"] = 0.57
    density = {"side": "peer", "seconds": 21.04, "extrapolated": True, "peak_memory_mib": 816.2}
    ours = {"side": "ours", "seconds": 6.4, "moments_relative_error": [1e-5, 2e-4], "codimension_relative_error": 1e-3}
    rows = [("products: mlp5", products), ("spectral density: mlp5", density), ("spectral density: mlp5", ours)]
    stored = [{"group": g, "name": "x", "stats": {"rounds": 3}, "extra_info": {**common, **e}} for g, e in rows]
    other = {"group": "training", "name": "y", "stats": {"rounds": 2}, "extra_info": {}}
    machine = {"system": "Linux", "release": "6", "machine": "x86_64", "python_version": "3.11.7"}
    commit = {"id": "0123456789abcdef", "dirty": False}
    when = "2026-11-24T12:00:00"
    return {"benchmarks": [*stored, other], "machine_info": machine, "commit_info": commit, "datetime": when}


def test_the_report_keeps_provenance_and_what_was_not_measured_again(tmp_path: Path) -> None:
    (path,) = write(written_benchmark(False), tmp_path)
    assert path.name == "a-device-r.json"
    stored = json.loads(path.read_text())
    assert list(stored) == ["products: mlp5", "spectral density: mlp5"]
    made = stored["products: mlp5"]["provenance"]
    assert made["commit"] == "0123456789abcdef"
    assert made["packages"]["torch"] == torch.__version__
    again = written_benchmark(False)
    again["benchmarks"] = again["benchmarks"][:1]
    again["commit_info"]["id"] = "fedcba"
    write(again, tmp_path)
    kept = json.loads(path.read_text())
    assert kept["products: mlp5"]["provenance"]["commit"] == "fedcba"
    assert kept["spectral density: mlp5"] == stored["spectral density: mlp5"]


def test_the_tables(tmp_path: Path) -> None:
    text = markdown(write(written_benchmark(False), tmp_path)[0])
    assert "| ours | 16 | 1,234 | 81 % | 57 % |" in text or "| ours | 16 | 1,235 | 81 % | 57 % |" in text
    assert "| peer | 21 * | 816 |  |  |" in text
    assert "| ours | 6.4 |  | 2e-04 | 1e-03 |" in text
    assert "(A Device (R); 2026-11-24, 0123456)" in text
    assert "from fewer probes" in text


def test_numbers_of_a_quick_run_are_refused() -> None:
    with pytest.raises(ValueError, match="no more"):
        results(written_benchmark(True))
