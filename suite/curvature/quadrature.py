"""From operators to a spectral measure: probes, deflation, known zeros, Lanczos runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from suite.curvature.combined import DeflatedOperator
from suite.curvature.eigenpairs import top_eigenpairs
from suite.curvature.hessian import StackedHessian
from suite.curvature.lanczos import Reorthogonalisation, lanczos_quadrature, rademacher
from suite.curvature.measure import SpectralMeasure
from suite.curvature.operator import SymmetricOperator

Draw = Callable[[int], SymmetricOperator]


def spectral_measure(
    operator: SymmetricOperator | Draw,
    runs: int,
    steps: int = 100,
    *,
    probes_per_draw: int = 1,
    deflate: int = 0,
    reorthogonalisation: Reorthogonalisation = "none",
    seed: int = 0,
    first: int = 0,
) -> SpectralMeasure:
    """Stochastic Lanczos quadrature: `runs` runs of one Rademacher probe and one fixed operator each.

    Args:
        operator: one operator for all runs, or a function of the draw's number (0, 1, …) that gives the operator of
            that minibatch; draw k then has the runs k·probes_per_draw … (k + 1)·probes_per_draw − 1, which advance as
            one block. One run a draw is SD-SLQ as the paper has it; several a draw are what `sd_quantile` wants.
        runs: R ≥ 1.
        steps: Lanczos steps a run.
        probes_per_draw: runs that share a minibatch (and so its graph).
        deflate: so many eigenpairs of largest size are found first (`top_eigenpairs`), enter the measure exactly and
            leave the probes' space (the probes are then Gaussian): less variance where few directions decide, as for
            d − SD.
        reorthogonalisation: as for `lanczos`.
        seed: of the probes; run r's probe depends on the seed, its draw and its place in the draw alone.
        first: number of the first draw, for drawing further runs of the same sequence; of one operator, where the
            sequence of probes begins (any number that was not used before: its runs are all of one draw).

    Returns:
        A measure of mass `operator.size + operator.zeros` a run, with the draws' numbers.

    Raises:
        ValueError: no runs, or what `lanczos` and `top_eigenpairs` raise.

    >>> from suite.curvature.hessian import HessianOperator
    >>> operator = HessianOperator(lambda w: (torch.arange(4.0) * w * w).sum(), torch.zeros(4), rows=8)
    >>> spectral_measure(operator, runs=2).trace().value
    12.0
    """
    if runs < 1 or probes_per_draw < 1:
        raise ValueError(f"{runs} runs, {probes_per_draw} a draw: both are at least 1")
    if isinstance(operator, SymmetricOperator):
        found = _of_draw(operator, runs, steps, first, deflate, reorthogonalisation, seed)
        # one minibatch, however often it is asked: runs that came in parts are not several draws of it
        return SpectralMeasure(found.nodes, found.masses, torch.zeros(runs, dtype=torch.int64))
    parts = []
    for start in range(0, runs, probes_per_draw):
        draw, count = first + start // probes_per_draw, min(probes_per_draw, runs - start)
        parts.append(_of_draw(operator(draw), count, steps, draw, deflate, reorthogonalisation, seed))
    return SpectralMeasure.concatenate(parts)


def stacked_measure(operator: StackedHessian, runs: int, steps: int = 100, seed: int = 0) -> list[SpectralMeasure]:
    """The measures of the S networks of a `StackedHessian`, `runs` probes each, all advanced together.

    Every network meets the same probes, so that they are not told apart by the luck of the draw.
    """
    probes, stack = _probes(operator, runs, seed, 0), operator.stack
    nodes, weights = lanczos_quadrature(operator, probes.repeat(stack, 1), steps)
    size, draws = operator.size + operator.zeros, torch.zeros(runs, dtype=torch.int64)
    parts = zip(nodes.view(stack, runs, -1), weights.view(stack, runs, -1), strict=True)
    return [SpectralMeasure.of_quadrature(n, w, size, draws, operator.zeros) for n, w in parts]


def _of_draw(
    operator: SymmetricOperator,
    runs: int,
    steps: int,
    draw: int,
    deflate: int,
    reorthogonalisation: Reorthogonalisation,
    seed: int,
) -> SpectralMeasure:
    if isinstance(operator, StackedHessian):
        raise ValueError("a stack of networks has one measure each: use stacked_measure")
    draws, size = torch.full((runs,), draw), operator.size + operator.zeros
    if not deflate:
        probes = _probes(operator, runs, seed, draw)
        nodes, weights = lanczos_quadrature(operator, probes, steps, reorthogonalisation)
        return SpectralMeasure.of_quadrature(nodes, weights, size, draws, operator.zeros)
    pairs = top_eigenpairs(operator, deflate, seed=seed)
    rest = DeflatedOperator(operator, pairs.vectors)
    # a projected Gaussian has every direction of the subspace alike; projected signs have not
    probes = rest.project(_gaussian(operator, runs, seed, draw))
    nodes, weights = lanczos_quadrature(rest, probes, steps, reorthogonalisation)
    return SpectralMeasure.of_quadrature(nodes, weights, size - deflate, draws, operator.zeros).with_exact(pairs.values)


def _probes(operator: SymmetricOperator, runs: int, seed: int, draw: int) -> Tensor:
    return rademacher(runs, operator.size, _seed(seed, draw), operator.dtype, operator.device)


def _gaussian(operator: SymmetricOperator, runs: int, seed: int, draw: int) -> Tensor:
    generator = torch.Generator().manual_seed(_seed(seed, draw))
    rows = [torch.randn(operator.size, generator=generator, dtype=torch.float32) for _ in range(runs)]
    return torch.stack(rows).to(operator.device, operator.dtype)


def _seed(seed: int, draw: int) -> int:
    digest = hashlib.sha256(f"probes/{seed}/{draw}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
