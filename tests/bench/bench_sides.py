"""How each library is asked for products and for a spectral density: as its own documentation does it.

Peers are imported inside their classes, so that the benchmarks of ours run without the `peers` extra.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from suite.curvature.hessian import HessianOperator
from suite.curvature.lanczos import Reorthogonalisation
from suite.curvature.measure import SpectralMeasure
from suite.curvature.quadrature import spectral_measure
from tests.bench.bench_nets import STEPS, BenchNet

WHY = "a peer: pip install -c constraints.txt -e '.[peers]'"


class Side(ABC):
    """One library on one net. Building it is what it does before the first product.

    Attributes:
        name: as in the tables.
        module: what must be importable; None for ours.
        choice: what it chose, in words.
    """

    name: ClassVar[str]
    module: ClassVar[str | None] = None
    choice = ""

    @classmethod
    def skip_without(cls) -> None:
        """Skip the test where the library is not installed."""
        if cls.module:
            pytest.importorskip(cls.module, reason=WHY)

    @abstractmethod
    def __init__(self, net: BenchNet) -> None: ...

    @abstractmethod
    def multiply(self, block: Tensor) -> Any:
        """H times each row of `[k, d]`: in one call where the library takes blocks, else one by one."""

    @abstractmethod
    def density(self, probes: int) -> Any:
        """Stochastic Lanczos quadrature of `probes` probes, `STEPS` steps each."""


class Ours(Side):
    """`Network`, `HessianOperator`, `spectral_measure`, everything at its default."""

    name = "ours"
    form: ClassVar[Reorthogonalisation] = "none"
    compiled: ClassVar[bool] = False

    def __init__(self, net: BenchNet) -> None:
        self.operator = HessianOperator(net.loss(), net.network.params, compiled=self.compiled)
        self.choice = self.operator.choice

    def multiply(self, block: Tensor) -> Tensor:
        return self.operator @ block

    def density(self, probes: int) -> SpectralMeasure:
        return spectral_measure(self.operator, probes, STEPS, reorthogonalisation=self.form)


class OursPartial(Ours):
    name, form = "ours, partial", "partial"


class OursFull(Ours):
    name, form = "ours, full", "full"


class OursCompiled(Ours):
    """For the transformer; needs a C++ compiler on a CPU."""

    name, compiled = "ours, compiled", True


class Curvlinops(Side):
    """Its spectral density first finds the spectrum's ends with scipy's eigsh; that is part of building it."""

    name, module = "curvlinops", "curvlinops"

    def __init__(self, net: BenchNet) -> None:
        import curvlinops

        self.library = curvlinops
        self.operator = curvlinops.HessianLinearOperator(
            net.module, nn.CrossEntropyLoss(), list(net.module.parameters()), [(net.inputs, net.targets)]
        )
        self._spectrum: Any = None

    def multiply(self, block: Tensor) -> Any:
        return self.operator @ block.T

    def density(self, probes: int) -> Any:
        if self._spectrum is None:
            self.find_ends()
        return self._spectrum.approximate_spectrum(num_repeats=probes)

    def find_ends(self) -> None:
        """With eigsh, as its `lanczos_approximate_spectrum` does; the class lets that be done once."""
        self._spectrum = self.library.LanczosApproximateSpectrumCached(self.operator, STEPS)


class Eigenthings(Side):
    name, module = "hessian-eigenthings", "hessian_eigenthings"

    def __init__(self, net: BenchNet) -> None:
        import hessian_eigenthings

        self.library = hessian_eigenthings
        loss = hessian_eigenthings.supervised_loss(cross_entropy)
        self.operator = hessian_eigenthings.HessianOperator(net.module, [(net.inputs, net.targets)], loss)

    def multiply(self, block: Tensor) -> Any:
        return [self.operator.matvec(row) for row in block]

    def density(self, probes: int) -> Any:
        return self.library.spectral_density(self.operator, num_runs=probes, lanczos_steps=STEPS, seed=0)


class PyHessian(Side):
    """Version 0.1 calls `torch.eig`, which torch has no more: it is given back here, for its tridiagonal matrices."""

    name, module = "PyHessian", "pyhessian"

    def __init__(self, net: BenchNet) -> None:
        import pyhessian

        self.library = pyhessian
        data, cuda = (net.inputs, net.targets), net.device.type == "cuda"
        self.peer = pyhessian.hessian(copy.deepcopy(net.module), nn.CrossEntropyLoss(), data=data, cuda=cuda)

    def multiply(self, block: Tensor) -> Any:
        out = []
        for row in block:
            pieces = torch.split(row, [p.numel() for p in self.peer.params])
            shaped = [piece.view_as(p) for piece, p in zip(pieces, self.peer.params, strict=True)]
            out.append(self.library.hessian_vector_product(self.peer.gradsH, self.peer.params, shaped))
        return out

    def density(self, probes: int) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "eig", _eig, raising=False)
            return self.peer.density(iter=STEPS, n_v=probes)


def _eig(matrix: Tensor, eigenvectors: bool) -> tuple[Tensor, Tensor]:
    """What torch.eig returned for a symmetric matrix: values `[m, 2]` (real, imaginary), vectors `[m, m]`."""
    assert eigenvectors
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], 1), vectors


PEERS: list[type[Side]] = [Curvlinops, Eigenthings, PyHessian]


def one_vector(side: Side, vectors: Tensor) -> Callable[[], Any]:
    """A product with one vector."""
    return lambda: side.multiply(vectors[:1])


def one_block(side: Side, vectors: Tensor) -> Callable[[], Any]:
    """A product with all of them."""
    return lambda: side.multiply(vectors)
