"""A torch module as a function of one flat parameter vector, ready to be differentiated twice.

The caller's module is left as it is: the work is done on a copy of its structure that shares its tensors. In the copy,
dropout is off and batch normalisation uses its running statistics; fused attention, which has no second derivative, is
replaced by the plain form.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class BatchLoss:
    """The mean loss of one fixed batch as a function of the flat parameters, and its two halves.

    Attributes:
        predict: `[d] → outputs` of the network on the batch.
        criterion: outputs → scalar.
    """

    predict: Callable[[Tensor], Any]
    criterion: Callable[[Any], Tensor]

    def __call__(self, flat: Tensor) -> Tensor:
        """`[d] → scalar`."""
        return self.criterion(self.predict(flat))


class Network:
    """A module's forward pass under a flat vector of its trainable parameters.

    Parameters lie one after another in the order of `named_parameters()`, each row-major; tied ones once; those with
    `requires_grad=False` are constants and not among them. Parameters that the loss does not touch have zero rows.
    One thread at a time may evaluate it, or build an operator on it: torch lends the vector to the module meanwhile.

    Args:
        module: any module whose forward pass is a function of its inputs alone, in evaluation mode.

    Attributes:
        params: the module's parameters as a new vector `[d]`.
        names, shapes: of the parameters in it.

    Raises:
        ValueError: no trainable parameters, or of several dtypes or devices, or a batch normalisation without running
            statistics (its output would mix the batch's samples).

    >>> network = Network(nn.Linear(3, 2))
    >>> network.params.shape
    torch.Size([8])
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = _structural_copy(module)
        self._module.eval()
        _use_plain_attention(self._module)
        _check_normalisations(self._module)
        trainable = {n: p for n, p in self._module.named_parameters() if p.requires_grad}
        if not trainable:
            raise ValueError("the module has no trainable parameters")
        if len({(p.dtype, p.device) for p in trainable.values()}) > 1:
            raise ValueError("the module's parameters differ in dtype or device: convert them with module.to(…)")
        self.names, self.shapes = tuple(trainable), tuple(tuple(p.shape) for p in trainable.values())
        self.params = torch.cat([p.detach().reshape(-1) for p in trainable.values()])

    def __call__(self, flat: Tensor, inputs: Inputs) -> Any:
        """What the module returns for `inputs` (a tensor, a sequence of arguments, or a mapping of keywords)."""
        pieces = torch.split(flat, [p.numel() for p in self._named()])
        named = {n: piece.view(s) for n, piece, s in zip(self.names, pieces, self.shapes, strict=True)}
        args, kwargs = _arguments(inputs)
        with plain_attention():
            return functional_call(self._module, named, args, kwargs)

    def loss(self, criterion: Callable[[Any, Any], Tensor], inputs: Inputs, targets: Any) -> BatchLoss:
        """The loss `criterion(module(inputs), targets)` of this batch as a function of the flat parameters."""
        return BatchLoss(lambda flat: self(flat, inputs), lambda outputs: criterion(outputs, targets))

    def slices(self) -> dict[str, slice]:
        """Where each parameter lies in the flat vector."""
        ends = list(itertools.accumulate(p.numel() for p in self._named()))
        return {n: slice(e - p.numel(), e) for n, p, e in zip(self.names, self._named(), ends, strict=True)}

    def _named(self) -> Iterator[Tensor]:
        parameters = dict(self._module.named_parameters())
        return (parameters[name] for name in self.names)


@contextmanager
def plain_attention() -> Iterator[None]:
    """`scaled_dot_product_attention` and `nn.MultiheadAttention` in their plain, twice differentiable form."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _structural_copy(module: nn.Module) -> nn.Module:
    """Modules copied, tensors shared: nothing that is set on the copy reaches the original."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(t): t for t in tensors})


def _use_plain_attention(module: nn.Module) -> None:
    """Models of transformers choose their attention by name."""
    choose = getattr(module, "set_attn_implementation", None)
    if choose is not None:
        choose("eager")


def _check_normalisations(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise ValueError(
                f"{name or 'the module'}: batch normalisation without running statistics mixes the samples of a batch "
                "even in evaluation mode; build it with track_running_stats=True"
            )


def _arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Tensor):
        return (inputs,), {}
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return tuple(inputs), {}
