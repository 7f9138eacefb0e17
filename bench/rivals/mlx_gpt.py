"""`python -m bench.rivals.mlx_gpt JOB`: a training step of GPT-2 in MLX on the CPU, one compiled function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import mlx.core as mx
import numpy as np
from mlx import nn, optimizers

from bench.rivals.job import BETAS, EPSILON, WEIGHT_DECAY, Job, answer_lines


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

    def __init__(self, width: int, num_heads: int, epsilon: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.ln_1 = nn.LayerNorm(width, eps=epsilon)
        self.attn = Attention(width)
        self.ln_2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = FeedForward(width)

    def __call__(self, x: mx.array) -> mx.array:
        B, T, C = x.shape
        size = C // self.num_heads
        parts = mx.split(self.attn.c_attn(self.ln_1(x)), 3, axis=-1)
        q, k, v = (part.reshape(B, T, self.num_heads, size).transpose(0, 2, 1, 3) for part in parts)
        mixed = mx.fast.scaled_dot_product_attention(q, k, v, scale=size**-0.5, mask="causal")
        x = x + self.attn.c_proj(mixed.transpose(0, 2, 1, 3).reshape(B, T, C))
        return x + self.mlp.c_proj(nn.gelu_approx(self.mlp.c_fc(self.ln_2(x))))


class MlxGPT(nn.Module):
    """(B, T) ids and targets -> mean cross-entropy. Parameter names are pyformer's."""

    def __init__(self, vocab_size: int, context: int, layers: int, heads: int, width: int, epsilon: float) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab_size, width)
        self.wpe = nn.Embedding(context, width)
        self.h = [Block(width, heads, epsilon) for _ in range(layers)]
        self.ln_f = nn.LayerNorm(width, eps=epsilon)

    def __call__(self, ids: mx.array, targets: mx.array) -> mx.array:
        x = self.wte(ids) + self.wpe(mx.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return nn.losses.cross_entropy(self.wte.as_linear(self.ln_f(x)), targets, reduction="mean")


def prepare(job: Job) -> Callable[[], float]:
    """The step: takes it and returns the loss before it."""
    mx.set_default_device(mx.cpu)
    names = ("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim", "layer_norm_epsilon")
    model = MlxGPT(*(job.settings[name] for name in names))
    model.load_weights([(name, mx.array(w)) for name, w in job.weights.items()])
    optimizer = optimizers.AdamW(
        job.settings["learning_rate"], betas=BETAS, eps=EPSILON, weight_decay=WEIGHT_DECAY, bias_correction=True
    )
    optimizer.init(model.trainable_parameters())
    ids, targets = (mx.array(job.arrays[name].astype(np.int32)) for name in ("ids", "targets"))
    state = [model.state, optimizer.state]
    loss_and_grads = nn.value_and_grad(model, model)

    @partial(mx.compile, inputs=state, outputs=state)
    def step(ids: mx.array, targets: mx.array) -> mx.array:
        loss, grads = loss_and_grads(ids, targets)
        grads, _ = optimizers.clip_grad_norm(grads, max_norm=job.settings["clip"])
        optimizer.update(model, grads)
        return loss

    def work() -> float:
        loss = step(ids, targets)
        mx.eval(state, loss)
        return loss.item()

    return work


if __name__ == "__main__":
    answer_lines(prepare)
