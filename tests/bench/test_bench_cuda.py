"""The same on a CUDA device: products against its limit, stacks of small nets, and GPT-2 without a kept basis."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.nn.functional import cross_entropy

from suite.curvature.estimators import sd_quadrature
from suite.curvature.hessian import HessianOperator, StackedHessian
from suite.curvature.jacobian import Step
from suite.curvature.lanczos import lanczos_quadrature, rademacher
from suite.curvature.measure import SpectralMeasure
from suite.curvature.quadrature import stacked_measure
from tests.bench.bench_nets import NETS, QUICK, STEPS, BenchNet, about, gpt2, mlp3, peak_memory, synchronise
from tests.bench.bench_sides import PEERS, Ours, OursCompiled, PyHessian, Side
from tests.bench.test_bench_products import BLOCK, WAYS, measure_products
from tests.bench.test_bench_slq import moments

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("asked_for"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

CUDA = torch.device("cuda")
STACK = 4 if QUICK else 25
RUNS = 2 if QUICK else 10
GIB = 2**30


@cache
def net_of(name: str) -> BenchNet:
    return gpt2(CUDA) if name == "gpt2" else NETS[name](CUDA)


@cache
def networks() -> list[BenchNet]:
    """A grid of 5 × 5: MLP-3 at 25 points of training, each with its own batch of 128."""
    return [mlp3(CUDA, seed=k) for k in range(STACK)]


# --- products --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("side", "block"), WAYS)
def test_products(benchmark: BenchmarkFixture, name: str, side: type[Side], block: int) -> None:
    side.skip_without()
    benchmark.group = f"products: {name} (CUDA)"
    measure_products(benchmark, net_of(name), side, block, 20)


@pytest.mark.parametrize(("side", "block"), [(Ours, 1), (Ours, BLOCK), (OursCompiled, 1), (PyHessian, 1)])
def test_products_of_gpt2(benchmark: BenchmarkFixture, side: type[Side], block: int) -> None:
    side.skip_without()
    benchmark.group = "products: gpt2 (CUDA)"
    measure_products(benchmark, net_of("gpt2"), side, block, 5)


# --- a stack of small networks ---------------------------------------------------------------------------------------


@pytest.mark.benchmark(group="25 spectra of mlp3 (CUDA)")
def test_stack_of_spectra(benchmark: BenchmarkFixture) -> None:
    nets = networks()
    params = torch.stack([net.network.params for net in nets])
    inputs, targets = torch.stack([net.inputs for net in nets]), torch.stack([net.targets for net in nets])
    network = nets[0].network

    def loss(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(network(flat, x), y)

    def spectra() -> list[SpectralMeasure]:
        operator = StackedHessian(loss, params, inputs, targets)
        found = stacked_measure(operator, RUNS, STEPS)
        synchronise(CUDA)
        return found

    spectra()
    with peak_memory(CUDA) as peak:
        stack = benchmark.pedantic(spectra, rounds=1 if QUICK else 3)
    _record(benchmark, "ours, stacked", len(nets), benchmark.stats.stats.min, peak.mib)
    alone = Ours(nets[-1]).density(RUNS)
    assert stack[-1].trace().value == pytest.approx(alone.trace().value, rel=1e-3)  # the same probes


@pytest.mark.benchmark(group="25 spectra of mlp3 (CUDA)")
@pytest.mark.parametrize("side", [Ours, *PEERS], ids=lambda side: side.name)
def test_loop_of_spectra(benchmark: BenchmarkFixture, side: type[Side]) -> None:
    """One network of the 25; the loop takes 25 times that."""
    side.skip_without()
    net = networks()[-1]
    side(net).density(1)

    def spectrum() -> Any:
        found = side(net).density(RUNS)
        synchronise(CUDA)
        return found

    with peak_memory(CUDA) as peak:
        benchmark.pedantic(spectrum, rounds=1)
    _record(benchmark, f"{side.name}, in a loop", 1, benchmark.stats.stats.min, peak.mib)


def _record(benchmark: BenchmarkFixture, side: str, measured: int, seconds: float, mib: float | None) -> None:
    benchmark.extra_info.update(about(networks()[0]))
    benchmark.extra_info.update(
        side=side,
        networks=STACK,
        networks_measured=measured,
        extrapolated=measured != STACK,
        probes=RUNS,
        steps=STEPS,
        seconds=seconds * STACK / measured,
        peak_memory_mib=mib,
    )


# --- GPT-2, 124 million parameters, sequences of 512 -----------------------------------------------------------------


@pytest.mark.benchmark(group="spectral density: gpt2 (CUDA)")
@pytest.mark.parametrize("form", ["none", "partial", "full"])
def test_density_of_gpt2(benchmark: BenchmarkFixture, form: str) -> None:
    """One probe. Memory beyond the product: what Lanczos takes on top of one product's own peak."""
    net = net_of("gpt2")
    kept = 0 if form == "none" else 4 * STEPS * net.size
    if kept > 0.8 * torch.cuda.mem_get_info(CUDA)[0]:
        pytest.skip(f"a basis of {kept / GIB:.0f} GiB does not fit on this card")
    operator = HessianOperator(net.loss(), net.network.params, rows=1)
    probe = rademacher(1, net.size, 0, torch.float32, CUDA)
    with peak_memory(CUDA) as product:
        operator @ probe

    def run() -> tuple[Tensor, Tensor]:
        found = lanczos_quadrature(operator, probe, STEPS, form)  # type: ignore[arg-type]
        synchronise(CUDA)
        return found

    with peak_memory(CUDA) as peak:
        nodes, weights = benchmark.pedantic(run, rounds=1)
    assert product.bytes is not None
    assert peak.bytes is not None
    beyond = peak.bytes - product.bytes
    measure = SpectralMeasure.of_quadrature(nodes, weights, net.size)
    benchmark.extra_info.update(about(net))
    benchmark.extra_info.update(
        side=f"ours, {form}",
        probes=1,
        steps=STEPS,
        seconds=benchmark.stats.stats.min,
        product_memory_mib=product.mib,
        beyond_product_mib=round(beyond / 2**20, 1),
        moments=moments(measure).tolist(),
        codimension=net.size - sd_quadrature(measure, Step(0.1)),
    )
    if form == "none":
        assert beyond < 20 * GIB
