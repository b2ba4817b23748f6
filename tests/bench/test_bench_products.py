"""Hessian–vector products a second against the peers and against the device's limit, float32.

The limit is 6 F operations a product (F: one evaluation of the network) at the rate of the best square matrix product,
measured right before and after. Seconds are the best of the rounds, as the rate is the best of its own. Beside each
product the network's forward pass alone is held to the same rate: what its shapes and its element-wise passes let torch
reach where no derivative is asked for.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from tests.bench.bench_nets import NETS, QUICK, BenchNet, about, matmul_rate
from tests.bench.bench_sides import Curvlinops, Eigenthings, Ours, OursCompiled, PyHessian, Side

pytestmark = pytest.mark.usefixtures("asked_for")

BLOCK = 16
ROUNDS = {"mlp5": 100, "transformer": 6}
WAYS = [
    pytest.param(Ours, BLOCK, id="ours-block"),
    pytest.param(Ours, 1, id="ours-one"),
    pytest.param(Curvlinops, BLOCK, id="curvlinops-block"),
    pytest.param(Curvlinops, 1, id="curvlinops-one"),
    pytest.param(Eigenthings, 1, id="eigenthings"),
    pytest.param(PyHessian, 1, id="pyhessian"),
]


@cache
def net_of(name: str) -> BenchNet:
    return NETS[name]()


def vectors_for(net: BenchNet, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, net.size, generator=generator).to(net.device)


def measure_products(benchmark: BenchmarkFixture, net: BenchNet, side: type[Side], block: int, rounds: int) -> None:
    """Time products and record them beside the limit."""
    before, asked, vectors = matmul_rate(net.device), side(net), vectors_for(net, block)

    def products() -> None:
        asked.multiply(vectors)
        if net.device.type == "cuda":
            torch.cuda.synchronize(net.device)

    benchmark.pedantic(products, rounds=2 if QUICK else rounds, warmup_rounds=1 if QUICK else 2)
    forward = net.forward_seconds()
    rate = max(before, matmul_rate(net.device))
    times = benchmark.stats.stats
    best, median = block / times.min, block / times.median
    benchmark.extra_info.update(about(net))
    benchmark.extra_info.update(
        side=side.name,
        block=block,
        choice=asked.choice,
        products_per_second=best,
        median_products_per_second=median,
        fraction_of_limit=best / net.limit(rate),
        matmul_gflops=rate / 1e9,
        forward_fraction_of_limit=net.forward_flops / forward / rate,
        forward_gflop=net.forward_flops / 1e9,
    )


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("side", "block"), WAYS)
def test_products(benchmark: BenchmarkFixture, name: str, side: type[Side], block: int) -> None:
    side.skip_without()
    benchmark.group = f"products: {name}"
    rounds = ROUNDS[name] if block == 1 else max(3, ROUNDS[name] // 4)
    measure_products(benchmark, net_of(name), side, block, rounds)


def test_compiled_products(benchmark: BenchmarkFixture) -> None:
    benchmark.group = "products: transformer"
    measure_products(benchmark, net_of("transformer"), OursCompiled, 1, ROUNDS["transformer"])
