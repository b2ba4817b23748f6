"""Arithmetic modulo p: the data of grokking (Power et al. 2022, arXiv:2201.02177)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from suite.data.base import Dataset, Description
from suite.data.folders import checksum
from suite.spec.base import DataSpec, Shape
from suite.spec.seeds import seed_of

Operation = Literal["add", "subtract", "multiply", "divide", "sum_of_squares"]


class Modular(DataSpec):
    """Every pair (a, b) of residues modulo p and the answer c, a part of the pairs for training, the rest for testing.

    a + b, a − b, a · b, a / b (b ≠ 0: the c with c · b = a) or a² + b², modulo p. Inputs are `one_hot` (a, then b: 2p
    numbers) or `tokens` (a, b and the sign `=`, which is token p). One target per input.
    """

    kind: Literal["modular"] = "modular"
    # the bound keeps all one-hot pairs within a gigabyte
    modulus: Annotated[int, Field(ge=3, le=499, description="p; prime for divide")]
    operation: Operation
    encoding: Literal["one_hot", "tokens"]
    train_fraction: Annotated[float, Field(gt=0, lt=1, description="part of all pairs that is trained on")]
    split_seed: Annotated[int, Field(ge=0, lt=2**31, description="which pairs are trained on")] = 0

    @model_validator(mode="after")
    def _possible(self) -> Self:
        factor = next((q for q in range(2, self.modulus) if self.modulus % q == 0), None)
        if self.operation == "divide" and factor:
            raise ValueError(
                f"divide needs a prime modulus, {self.modulus} = {factor} · {self.modulus // factor}: "
                "not every number has an inverse; take a prime such as 97"
            )
        if not 1 <= self.train_size() < self._pairs():
            raise ValueError(
                f"train_fraction {self.train_fraction} gives {self.train_size()} of {self._pairs()} pairs to "
                "training: at least one must be trained on and at least one left for testing"
            )
        return self

    def shape(self) -> Shape:
        """Vectors of 2p numbers, or 3 tokens of p + 1; p classes."""
        if self.encoding == "one_hot":
            return Shape("vectors", features=2 * self.modulus, outputs=self.modulus)
        return Shape("tokens", features=3, outputs=self.modulus, vocabulary=self.modulus + 1)

    def train_size(self) -> int:
        """round(train_fraction · number of pairs); there are p² pairs, p (p − 1) for divide."""
        return round(self.train_fraction * self._pairs())

    def load(self, folders: tuple[Path, ...], cache: Path) -> Dataset:
        """Inputs float32 `n × 2p` or int64 `n × 3`, targets int64 `n`. Neither folders nor cache are looked at."""
        a, b, answer = self._table()
        inputs = self._encode(a, b)
        order = np.random.default_rng(seed_of("modular", self.split_seed)).permutation(len(a))
        train, test = order[: self.train_size()], order[self.train_size() :]
        arrays = (inputs[train], answer[train], inputs[test], answer[test])
        origin = f"all pairs, {self.operation} modulo {self.modulus}"
        width = self.shape().features
        description = Description(len(train), len(test), width, self.modulus, checksum(arrays), origin)
        return Dataset(*arrays, test_weights=None, description=description)

    def _pairs(self) -> int:
        return self.modulus * (self.modulus - (self.operation == "divide"))

    def _table(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Every a, b and c, int64, a varying slowest."""
        p, divide = self.modulus, self.operation == "divide"
        a, b = (m.ravel() for m in np.meshgrid(np.arange(p), np.arange(int(divide), p), indexing="ij"))
        if self.operation == "add":
            c = a + b
        elif self.operation == "subtract":
            c = a - b
        elif self.operation == "multiply":
            c = a * b
        elif self.operation == "divide":
            inverse = np.array([0, *(pow(n, -1, p) for n in range(1, p))])
            c = a * inverse[b]
        else:
            c = a * a + b * b
        return a.astype(np.int64), b.astype(np.int64), (c % p).astype(np.int64)

    def _encode(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float32] | NDArray[np.int64]:
        if self.encoding == "tokens":
            return np.stack([a, b, np.full_like(a, self.modulus)], 1)
        inputs = np.zeros((len(a), 2 * self.modulus), np.float32)
        rows = np.arange(len(a))
        inputs[rows, a] = 1
        inputs[rows, self.modulus + b] = 1
        return inputs
