"""Curvature matrices of the form Jᵀ M J: generalized Gauss–Newton, true and empirical Fisher.

J is the Jacobian of the network's outputs (or of its per-sample losses) and M acts on the outputs. Both directions of
J are linearised once: the pullback u ↦ Jᵀu from one reverse pass, and v ↦ Jv as the transpose of that pullback, so
that no forward-mode rule of any operation is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from suite.curvature.hessian import check_loss
from suite.curvature.operator import MEMORY, SymmetricOperator

Predict = Callable[[Tensor], Tensor]
Pull = Callable[[Tensor], tuple[Tensor]]


class SandwichOperator(SymmetricOperator):
    """Jᵀ M J at `params`, for J the Jacobian of `predict` and M a symmetric map on its outputs.

    Args:
        predict: `[d] → outputs` of any shape.
        middle: of the outputs: gives M as a function of a tensor of the outputs' shape.
        params: where, `[d]`.
        rows, memory: as for `HessianOperator`.

    Raises:
        ValueError: the outputs are not finite, or differ between two evaluations.
    """

    def __init__(
        self,
        predict: Predict,
        middle: Callable[[Tensor], Callable[[Tensor], Tensor]],
        params: Tensor,
        rows: int | None = None,
        memory: int = MEMORY,
    ) -> None:
        params = params.detach()
        check_loss(lambda w: predict(w).double().square().sum(), params)
        super().__init__(len(params), params.dtype, params.device)
        outputs, self._pull = cast(tuple[Tensor, Pull], vjp(predict, params))
        self._push = cast(Pull, vjp(lambda u: self._pull(u)[0], torch.zeros_like(outputs))[1])
        self._middle = middle(outputs)
        self._choose_rows(rows, memory)

    def _one(self, vector: Tensor) -> Tensor:
        return self._pull(self._middle(self._push(vector)[0]))[0]

    def _product(self, block: Tensor) -> Tensor:
        return self._one(block[0])[None] if len(block) == 1 else vmap(self._one)(block)


def gauss_newton(
    predict: Predict, criterion: Callable[[Tensor], Tensor], params: Tensor, rows: int | None = None
) -> SandwichOperator:
    """Generalized Gauss–Newton matrix Jᵀ (∇² criterion) J (Schraudolph 2002), J of `predict`.

    Args:
        predict: `[d] → outputs`.
        criterion: outputs → scalar (the batch's mean loss), convex for the matrix to be positive semidefinite.
        params: `[d]`.
        rows: as for `HessianOperator`.
    """

    def middle(outputs: Tensor) -> Callable[[Tensor], Tensor]:
        pull = cast(Pull, vjp(grad(criterion), outputs)[1])
        return lambda u: pull(u)[0]

    return SandwichOperator(predict, middle, params, rows)


def true_fisher(
    predict: Predict, likelihood: Literal["categorical", "gaussian"], params: Tensor, rows: int | None = None
) -> SandwichOperator:
    """Fisher information of the model's own predictive distribution, its expectation over labels taken exactly.

    F = mean over predictions of Jᵢᵀ E_{y∼p}[∇ln p ∇ln pᵀ] Jᵢ (Martens 2020): diag(p) − ppᵀ in the middle for logits
    (`categorical`, classes last), the identity for the mean of a unit-variance Gaussian (`gaussian`). It equals the
    Gauss–Newton matrix of the mean cross-entropy, or of the mean of ½ ‖output − target‖².

    Raises:
        ValueError: another likelihood.
    """
    if likelihood not in ("categorical", "gaussian"):
        raise ValueError(f"likelihood {likelihood!r}: categorical or gaussian is meant")

    def middle(outputs: Tensor) -> Callable[[Tensor], Tensor]:
        count = outputs.numel() // outputs.shape[-1]
        if likelihood == "gaussian":
            return lambda u: u / count
        p = outputs.detach().softmax(-1)
        return lambda u: p * (u - (p * u).sum(-1, keepdim=True)) / count

    return SandwichOperator(predict, middle, params, rows)


def empirical_fisher(sample_losses: Predict, params: Tensor, rows: int | None = None) -> SandwichOperator:
    """(1/n) Σ gᵢ gᵢᵀ over per-sample gradients gᵢ: `sample_losses` gives `[d] → [n]`, the loss of every sample."""
    return SandwichOperator(sample_losses, lambda losses: lambda u: u / losses.numel(), params, rows)
