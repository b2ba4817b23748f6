"""transformers' GPT-2 as a module from tokens to logits that can be differentiated twice, batched and traced."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel


class Logits(nn.Module):
    """Tokens to logits; causal mask and positions are handed over, so that no branch depends on the data."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 `n × t` → `n × t × vocabulary`."""
        length = tokens.shape[1]
        positions = torch.arange(length, device=tokens.device).unsqueeze(0)
        dtype = self.model.transformer.wte.weight.dtype
        hidden = torch.full((length, length), torch.finfo(dtype).min, dtype=dtype, device=tokens.device).triu(1)
        mask = hidden.view(1, 1, length, length)
        logits: Tensor = self.model(tokens, attention_mask=mask, position_ids=positions, use_cache=False).logits
        return logits


def network(layers: int, width: int, heads: int, length: int, vocabulary: int) -> nn.Module:
    """A freshly initialised GPT-2 with dropout off."""
    attention: dict[str, Any] = {"attn_implementation": "eager"}  # fused attention has no second derivative
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=length,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=vocabulary - 1,
        eos_token_id=vocabulary - 1,
        **attention,
    )
    return Logits(GPT2LMHeadModel(config))
