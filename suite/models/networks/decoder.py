"""A causal transformer decoder whose every operation has a second derivative, under vmap and forward mode too."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Causal self-attention in its plain form softmax(QKᵀ/√d + mask) V: fused kernels have no second derivative."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """`n × t × width` → the same."""
        n, length, width = x.shape
        shape = (n, length, 3, self.heads, width // self.heads)
        query, key, value = self.inward(x).view(shape).permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-2, -1) / math.sqrt(width // self.heads)
        future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        mixed = scores.masked_fill(future, -math.inf).softmax(-1) @ value
        out: Tensor = self.outward(mixed.transpose(1, 2).reshape(n, length, width))
        return out


class Block(nn.Module):
    """Attention and a two-layer network, each added to the residual stream, each behind its normalisation."""

    def __init__(self, width: int, heads: int, hidden: int, activation: nn.Module, normalised: bool) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width) if normalised else nn.Identity()
        self.attention = Attention(width, heads)
        self.before_network = nn.LayerNorm(width) if normalised else nn.Identity()
        self.network = nn.Sequential(nn.Linear(width, hidden), activation, nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """`n × t × width` → the same."""
        x = x + self.attention(self.before_attention(x))
        out: Tensor = x + self.network(self.before_network(x))
        return out


class Decoder(nn.Module):
    """Embedding and learned positions, blocks, a final normalisation, an untied output head without bias.

    Args:
        vocabulary, length, outputs: of the data.
        width: of the residual stream.
        blocks: the blocks.
        normalised: whether there are normalisations.
        every_position: logits for each position, or for the last only.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        outputs: int,
        width: int,
        blocks: list[Block],
        normalised: bool,
        every_position: bool,
    ) -> None:
        super().__init__()
        self.every_position = every_position
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.empty(length, width))
        self.blocks = nn.Sequential(*blocks)
        self.final = nn.LayerNorm(width) if normalised else nn.Identity()
        self.head = nn.Linear(width, outputs, bias=False)
        # small tokens and positions, as in GPT-2: unit normal ones drown what the first block adds
        nn.init.normal_(self.embedding.weight, std=0.02 * math.sqrt(768 / width))
        nn.init.normal_(self.position, std=0.01 * math.sqrt(768 / width))

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 `n × t` → logits `n × t × outputs`, or `n × outputs` for the last position."""
        x = self.blocks(self.embedding(tokens) + self.position[: tokens.shape[1]])
        if not self.every_position:
            x = x[:, -1]
        logits: Tensor = self.head(self.final(x))
        return logits
