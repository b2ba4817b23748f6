"""A random Markov language: text whose best predictor, and whose whole test population, are known exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from suite.data.base import Dataset, Description
from suite.data.folders import checksum
from suite.spec.base import DataSpec, Shape
from suite.spec.seeds import seed_of

_MOST_SEQUENCES = 100_000
_LEAST_PROBABILITY = 1e-9
_MOST_CONTEXTS = 1024

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Markov(DataSpec):
    """Sequences of a stationary Markov chain of order k over V tokens; the next token is predicted at every position.

    The language: for each of the V^k contexts the next token's distribution is drawn from a symmetric Dirichlet
    distribution. Probabilities below 1e-9 are raised to it, so that every sequence is possible and the chain has one
    stationary distribution. A sequence starts from the stationary distribution of k tokens.

    Training: `sequences` independent samples of length + 1 tokens. Testing: the population itself, each of the
    V^length inputs with its probability (`test_weights`) and, at each position t, the exact distribution of the next
    token given the t tokens seen so far (`test_targets`). Where t < k, the tokens before the sequence are summed out.
    """

    kind: Literal["markov"] = "markov"
    vocabulary: Annotated[int, Field(ge=2, le=256, description="V, the number of distinct tokens")]
    order: PositiveInt = Field(description="k, how many tokens the next one depends on")
    length: PositiveInt = Field(description="tokens per input")
    sequences: Annotated[int, Field(ge=1, le=1_000_000, description="number of training inputs")]
    concentration: Annotated[float, Field(ge=0.001, le=1000)] = Field(
        description="of the Dirichlet distribution: 1 is uniform over distributions, less is more predictable text"
    )
    language_seed: Seed = Field(default=0, description="which language")
    sample_seed: Seed = Field(default=0, description="which training inputs of it")

    @model_validator(mode="after")
    def _small(self) -> Self:
        # a logarithm, since the power itself may have millions of digits
        if self.length * np.log(self.vocabulary) > np.log(_MOST_SEQUENCES) + 1e-9:
            raise ValueError(
                f"vocabulary ** length is {self.vocabulary} ** {self.length}, more than the {_MOST_SEQUENCES:,} test "
                f"inputs that are enumerated: lower length to {self._longest()}, or vocabulary"
            )
        if self.order > self.length:
            raise ValueError(
                f"order {self.order} is more than length {self.length}: no input would show a whole context; "
                "lower order or raise length"
            )
        if self.vocabulary**self.order > _MOST_CONTEXTS:
            raise ValueError(
                f"vocabulary ** order is {self.vocabulary} ** {self.order}, more than {_MOST_CONTEXTS} contexts: "
                "lower order or vocabulary"
            )
        return self

    def shape(self) -> Shape:
        """`length` tokens of `vocabulary`, as many classes, a target at every position."""
        return Shape(
            "tokens", features=self.length, outputs=self.vocabulary, vocabulary=self.vocabulary, every_position=True
        )

    def train_size(self) -> int:
        """`sequences`."""
        return self.sequences

    def load(self, folders: tuple[Path, ...], cache: Path) -> Dataset:
        """Inputs and training targets int64 `n × length`, test targets float32 `V^length × length × V`.

        Test inputs are in lexicographic order. Neither folders nor cache are looked at.
        """
        transitions = self.transitions()
        contexts = stationary(transitions)
        text = self._sample(transitions, contexts)
        inputs, weights, targets = population(transitions, contexts, self.length)
        entropies = -(targets * np.log(targets)).sum(-1).mean(-1)
        arrays = (text[:, :-1].copy(), text[:, 1:].copy(), inputs, targets.astype(np.float32))
        test_weights = weights.astype(np.float32)
        description = Description(
            n_train=self.sequences,
            n_test=len(inputs),
            d=self.length,
            classes=self.vocabulary,
            checksum=checksum((*arrays, test_weights)),
            origin=f"random Markov language of order {self.order} over {self.vocabulary} tokens",
            entropy=float(weights @ entropies),
        )
        return Dataset(*arrays, test_weights=test_weights, description=description)

    def transitions(self) -> NDArray[np.float64]:
        """P(next token | context), float64 with k + 1 axes of length V: k for the context, oldest first, then next."""
        generator = np.random.default_rng(seed_of("markov", "language", self.language_seed))
        drawn = generator.dirichlet(np.full(self.vocabulary, self.concentration), size=self.vocabulary**self.order)
        raised = np.maximum(drawn, _LEAST_PROBABILITY)
        raised /= raised.sum(1, keepdims=True)
        return raised.reshape([self.vocabulary] * (self.order + 1))

    def _sample(self, transitions: NDArray[np.float64], contexts: NDArray[np.float64]) -> NDArray[np.int64]:
        """Independent sequences, int64 `sequences × (length + 1)`, by inverting cumulative distributions."""
        generator = np.random.default_rng(seed_of("markov", "sample", self.sample_seed))
        cumulative = contexts.cumsum()
        start = np.searchsorted(cumulative[:-1], generator.random(self.sequences) * cumulative[-1], side="right")
        tokens = list(np.unravel_index(start, contexts.shape))
        steps = transitions.cumsum(-1)
        while len(tokens) <= self.length:
            following = steps[tuple(tokens[-self.order :])]
            uniform = generator.random((self.sequences, 1)) * following[:, -1:]
            tokens.append((uniform >= following[:, :-1]).sum(-1))
        return np.stack(tokens, 1).astype(np.int64)

    def _longest(self) -> int:
        return max(n for n in range(1, 17) if self.vocabulary**n <= _MOST_SEQUENCES)


def stationary(transitions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The stationary distribution of the contexts, by elimination of one context after the other.

    The algorithm of Grassmann, Taksar and Heyman (1985, Operations Research 33): nothing is ever subtracted, so each
    probability is accurate to rounding, however slowly the chain mixes. The work grows as V^3k.

    Args:
        transitions: positive, k + 1 axes of length V; sums to 1 over the last.

    Returns:
        float64, k axes of length V, oldest token first; sums to 1.
    """
    vocabulary, order = transitions.shape[-1], transitions.ndim - 1
    count = vocabulary**order
    old = np.arange(count)[:, None]
    new = old * vocabulary % count + np.arange(vocabulary)  # the oldest token leaves, the next one comes
    rates = np.zeros((count, count))
    rates[old, new] = transitions.reshape(count, vocabulary)
    for last in range(count - 1, 0, -1):
        rates[:last, last] /= rates[last, :last].sum()
        rates[:last, :last] += np.outer(rates[:last, last], rates[last, :last])
    weights = np.ones(count)
    for i in range(1, count):
        weights[i] = weights[:i] @ rates[:i, i]
    weights /= weights.sum()
    return weights.reshape(transitions.shape[:-1])


def population(
    transitions: NDArray[np.float64], contexts: NDArray[np.float64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Every sequence of `length` tokens in lexicographic order, and all there is to know about it.

    Args:
        transitions: as for `stationary`.
        contexts: what `stationary` returns, k axes of length V.
        length: at least k.

    Returns:
        The N = V^length sequences, int64 `N × length`; their probabilities, float64 `N`, summing to 1; and the
        distribution of the next token at each position given the tokens up to there, float64 `N × length × V`.
    """
    vocabulary, order = contexts.shape[0], contexts.ndim
    count = vocabulary**length
    inputs = np.stack(np.unravel_index(np.arange(count), [vocabulary] * length), 1).astype(np.int64)
    targets = np.empty((count, length, vocabulary))
    probabilities = np.ones(1)
    for t in range(length + 1):
        if t < order:  # fewer than k tokens seen: the stationary distribution of t + 1 tokens over that of t
            joint = contexts.sum(tuple(range(t + 1, order))).reshape(-1, vocabulary)
            following = joint / joint.sum(1, keepdims=True)
        else:
            following = np.tile(transitions.reshape(-1, vocabulary), (vocabulary ** (t - order), 1))
        if t > 0:  # row r of `following` belongs to the r-th prefix, which starts a run of sequences
            targets[:, t - 1] = np.repeat(following, count // len(following), 0)
        if t < length:
            probabilities = (probabilities[:, None] * following).ravel()
    return inputs, probabilities / probabilities.sum(), targets
