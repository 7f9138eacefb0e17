"""GPT-2 in plain PyTorch: what training is compared with. Parameter names are pyformer's."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

import pyformer as pf


class Attention(nn.Module):
    """The two projections of a block's self-attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)


class FeedForward(nn.Module):
    """The two projections of a block's MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.shape
        heads = self.attn.c_attn(self.ln_1(x)).view(B, T, 3, self.num_heads, C // self.num_heads)
        q, k, v = (heads[:, :, i].transpose(1, 2) for i in range(3))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn.c_proj(mixed.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x)), approximate="tanh"))


class TorchGPT(nn.Module):
    """(B, T) ids and targets -> mean cross-entropy."""

    def __init__(self, config: pf.models.GPTConfig) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.embed_dim)
        self.wpe = nn.Embedding(config.context_length, config.embed_dim)
        self.h = nn.ModuleList(Block(config.embed_dim, config.num_heads) for _ in range(config.num_layers))
        self.ln_f = nn.LayerNorm(config.embed_dim)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.h:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def next_ids(
    twin: TorchGPT, ids: torch.Tensor, end: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    """A greedy step: (B, 1) ids at position `end`, (1,), join keys and values (layers, B, heads, context, D) in place.
    As torch.compile wants it: no shape depends on the position."""
    x = twin.wte(ids) + twin.wpe(end)
    mask = (torch.arange(keys.shape[3], device=ids.device) <= end)[None]
    for i, block in enumerate(twin.h):
        B, T, C = x.shape
        q, k, v = block.attn.c_attn(block.ln_1(x)).view(B, T, 3, block.num_heads, C // block.num_heads).unbind(2)
        keys[i].index_copy_(2, end, k.transpose(1, 2))
        values[i].index_copy_(2, end, v.transpose(1, 2))
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), keys[i], values[i], attn_mask=mask)
        x = x + block.attn.c_proj(mixed.transpose(1, 2).reshape(B, T, C))
        x = x + block.mlp.c_proj(F.gelu(block.mlp.c_fc(block.ln_2(x)), approximate="tanh"))
    return F.linear(twin.ln_f(x), twin.wte.weight).argmax(-1)


def twin_of(model: pf.models.GPT) -> TorchGPT:
    """The same model with a copy of the same weights."""
    with torch.device("meta"):
        twin = TorchGPT(model.config)
    twin.to_empty(device="cpu")
    state = {name: torch.tensor(p.detach().numpy()) for name, p in model.state_dict().items()}
    twin.load_state_dict(state)
    return twin
