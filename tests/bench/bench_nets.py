"""The networks that are benchmarked, what a product on them can cost at best, and how memory is watched.

`SUITE_BENCH_QUICK=1` cuts a benchmark to a few steps, to see that it runs; `tests.bench.report` refuses its numbers.
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from suite.curvature.network import Network
from suite.models.gpt2 import GPT2
from suite.models.mlp import MLP
from suite.models.transformer import Transformer
from suite.spec.base import ModelSpec, Shape

QUICK = bool(os.environ.get("SUITE_BENCH_QUICK"))
PROBES, STEPS = (3, 6) if QUICK else (20, 100)

CPU = torch.device("cpu")
VECTORS = Shape(features=784, outputs=10, encoding="vectors")
TOKENS = Shape(features=16, outputs=256, encoding="tokens", vocabulary=256, every_position=True)


class Flat(nn.Module):
    """Logits with samples and positions in one axis: what cross-entropy, and every peer, takes without arguments."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        return self.module(inputs).flatten(0, -2)


@dataclass
class BenchNet:
    """A network at a point of its training, and the batch whose Hessian is asked for.

    Attributes:
        name: of the net.
        module: gives logits `[n, classes]`; the loss is their mean cross-entropy.
        inputs, targets: the batch.
    """

    name: str
    module: nn.Module
    inputs: Tensor
    targets: Tensor

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    @cached_property
    def network(self) -> Network:
        return Network(self.module)

    @property
    def size(self) -> int:
        return len(self.network.params)

    def loss(self) -> Callable[[Tensor], Tensor]:
        """As our library takes it."""
        return self.network.loss(cross_entropy, self.inputs, self.targets)

    @cached_property
    def forward_flops(self) -> int:
        """F: matrix-multiply operations of one evaluation of the network on the batch."""
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.module(self.inputs)
        return int(counter.get_total_flops())

    def limit(self, rate: float) -> float:
        """Products a second that 6 F operations each allow at this rate."""
        return rate / (6 * self.forward_flops)

    def forward_seconds(self, rounds: int = 3 if QUICK else 30) -> float:
        """Of one evaluation of the module as it is, no gradient kept: the best of the rounds, after two unmeasured."""
        with torch.no_grad():
            times = [timed(lambda: self.module(self.inputs), self.device) for _ in range(2 + rounds)]
        return min(times[2:])


def mlp5(device: torch.device = CPU, batch: int = 128) -> BenchNet:
    """784-200-200-200-200-10, ReLU, no biases: 278,800 parameters."""
    module = _built(MLP(widths=[200] * 4, bias=False), VECTORS)
    return _trained("mlp5", module, *_blobs(10 * batch), batch, 100, device)


def mlp3(device: torch.device = CPU, batch: int = 128, seed: int = 0) -> BenchNet:
    """784-16-16-10, ReLU, no biases: 12,960 parameters."""
    module = _built(MLP(widths=[16, 16], bias=False), VECTORS, seed)
    return _trained("mlp3", module, *_blobs(10 * batch, seed), batch, 20 + 20 * seed, device)


def transformer(device: torch.device = CPU, batch: int = 128) -> BenchNet:
    """2 layers, width 128, 4 heads, 256 tokens, length 16: about half a million parameters."""
    module = Flat(_built(Transformer(layers=2, width=128, heads=4), TOKENS))
    tokens, following = _chains(2 * batch, 16, 256)
    return _trained("transformer", module, tokens, following, batch, 20, device)


def gpt2(device: torch.device, length: int = 512, batch: int = 1) -> BenchNet:
    """GPT-2 small, 124 million parameters, as it is initialised."""
    shape = Shape(features=length, outputs=50_257, encoding="tokens", vocabulary=50_257, every_position=True)
    with torch.device(device):
        module = Flat(_built(GPT2(), shape))
    tokens, following = _chains(batch, length, 50_257)
    return BenchNet("gpt2", module, tokens.to(device), following.flatten().to(device))


NETS = {"mlp5": mlp5, "transformer": transformer}


def _built(spec: ModelSpec, shape: Shape, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return spec.build(shape)


def _blobs(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Ten noisy classes in 784 dimensions: something to learn, without a download."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(10, 784, generator=generator)
    targets = torch.randint(0, 10, (count,), generator=generator)
    return centres[targets] + 0.5 * torch.randn(count, 784, generator=generator), targets


def _chains(count: int, length: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Sequences in which a token is three times the last one, or, one time in four, any; and what follows each."""
    generator = torch.Generator().manual_seed(1)
    tokens = [torch.randint(0, vocabulary, (count,), generator=generator)]
    for _ in range(length):
        anything = torch.randint(0, vocabulary, (count,), generator=generator)
        jump = torch.rand(count, generator=generator) < 0.25
        tokens.append(torch.where(jump, anything, 3 * tokens[-1] % vocabulary))
    chain = torch.stack(tokens, 1)
    return chain[:, :-1].contiguous(), chain[:, 1:].contiguous()


def _trained(
    name: str, module: nn.Module, inputs: Tensor, targets: Tensor, batch: int, steps: int, device: torch.device
) -> BenchNet:
    """After some steps of SGD at η = 0.1 on the CPU, the same on every device; the batch is the first one."""
    parts = list(zip(inputs.split(batch), targets.split(batch), strict=True))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for step in range(steps):
        x, y = parts[step % len(parts)]
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(module(x), y.flatten()).backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    x, y = parts[0]
    return BenchNet(name, module.to(device), x.to(device), y.flatten().to(device))


def matmul_rate(device: torch.device = CPU, seconds: float = 0.05 if QUICK else 0.4) -> float:
    """Operations a second of the best square float32 matrix product: the device's own limit, as it is just now."""
    sizes = (768, 1024, 2048) if device.type == "cpu" else (768, 1024, 2048, 4096, 8192)
    return max(_rate_of(size, device, seconds) for size in sizes)


def _rate_of(size: int, device: torch.device, seconds: float) -> float:
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    out, best, stop = torch.empty_like(a), float("inf"), time.perf_counter() + seconds
    torch.mm(a, b, out=out)
    while time.perf_counter() < stop:
        best = min(best, timed(lambda: torch.mm(a, b, out=out), device))
    return 2 * size**3 / best


def timed(function: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    synchronise(device)
    start = time.perf_counter()
    function()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Peak:
    """Bytes at the highest point inside the block, above what was there at its start; None where it cannot be told."""

    bytes: int | None = field(default=None)

    @property
    def mib(self) -> float | None:
        return None if self.bytes is None else round(self.bytes / 2**20, 1)


@contextmanager
def peak_memory(device: torch.device = CPU) -> Iterator[Peak]:
    """Memory that the block takes at most: of the process (Linux: its high-water mark, reset) or of the CUDA device."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    known = _reset_high_water()
    before = _status("VmRSS") if known else 0
    yield peak
    peak.bytes = _status("VmHWM") - before if known else None


def _reset_high_water() -> bool:
    """Give freed memory back and start the high-water mark anew; False where the system has none to reset."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return False
    return True


def _status(field_name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field_name + ":"))


def device_name(device: torch.device = CPU) -> str:
    """The processor's or the card's own name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {torch.get_num_threads()} threads"


def about(net: BenchNet) -> dict[str, Any]:
    """What every result of a benchmark is told with."""
    return {"net": net.name, "parameters": net.size, **conditions(net.device)}


def conditions(device: torch.device = CPU) -> dict[str, Any]:
    """On what, and whether it was in earnest."""
    return {"device": device_name(device), "quick": QUICK}
