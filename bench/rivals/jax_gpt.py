"""`python -m bench.rivals.jax_gpt JOB`: a training step of GPT-2 in JAX, one jitted function.

Linear weights are kept (in, out), as Flax keeps them. XLA has as many threads as there are cores to run on, so the
process is held to as many cores as it may have threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench.rivals.job import BETAS, EPSILON, WEIGHT_DECAY, Job, answer_lines

LINEAR = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


def _layer_norm(x: Any, weight: Any, bias: Any, epsilon: float) -> Any:
    import jax

    mean = x.mean(axis=-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(x.var(axis=-1, keepdims=True) + epsilon) * weight + bias


def _block(x: Any, p: dict[str, Any], num_heads: int, epsilon: float) -> Any:
    import jax

    B, T, C = x.shape
    norm = _layer_norm(x, p["ln_1.weight"], p["ln_1.bias"], epsilon)
    qkv = norm @ p["attn.c_attn.weight"] + p["attn.c_attn.bias"]
    q, k, v = (part.reshape(B, T, num_heads, C // num_heads) for part in jax.numpy.split(qkv, 3, axis=-1))
    mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(B, T, C)
    x = x + mixed @ p["attn.c_proj.weight"] + p["attn.c_proj.bias"]
    norm = _layer_norm(x, p["ln_2.weight"], p["ln_2.bias"], epsilon)
    hidden = jax.nn.gelu(norm @ p["mlp.c_fc.weight"] + p["mlp.c_fc.bias"], approximate=True)
    return x + hidden @ p["mlp.c_proj.weight"] + p["mlp.c_proj.bias"]


def _loss(params: dict[str, Any], ids: Any, targets: Any, settings: dict[str, Any]) -> Any:
    import jax

    epsilon = settings["layer_norm_epsilon"]
    x = params["wte.weight"][ids] + params["wpe.weight"][: ids.shape[1]]
    for layer in range(settings["num_layers"]):
        start = f"h.{layer}."
        block = {name[len(start) :]: p for name, p in params.items() if name.startswith(start)}
        x = _block(x, block, settings["num_heads"], epsilon)
    logits = _layer_norm(x, params["ln_f.weight"], params["ln_f.bias"], epsilon) @ params["wte.weight"].T
    chosen = jax.numpy.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - chosen).mean()


def _step(state: tuple[Any, Any, Any, Any], ids: Any, targets: Any, settings: dict[str, Any]) -> Any:
    """((params, first moments, second moments, steps done), loss) after a step of AdamW on clipped gradients."""
    import jax
    from jax import numpy as jnp

    params, m, v, count = state
    loss, grads = jax.value_and_grad(_loss)(params, ids, targets, settings)
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(grads)))
    scale = jnp.minimum(1.0, settings["clip"] / (norm + 1e-6))
    beta1, beta2 = BETAS
    count = count + 1
    m = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * scale * g, m, grads)
    v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * (scale * g) ** 2, v, grads)
    rate = settings["learning_rate"]

    def update(p: Any, m: Any, v: Any) -> Any:
        direction = (m / (1 - beta1**count)) / (jnp.sqrt(v / (1 - beta2**count)) + EPSILON)
        return p - rate * WEIGHT_DECAY * p - rate * direction

    return (jax.tree.map(update, params, m, v), m, v, count), loss


def _hold_to_cores(count: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def prepare(job: Job) -> Callable[[], float]:
    """The step: takes it and returns the loss before it."""
    _hold_to_cores(job.settings["threads"])
    import jax
    from jax import numpy as jnp

    params = {name: jnp.array(w.T if name.endswith(LINEAR) else w) for name, w in job.weights.items()}
    zeros = partial(jax.tree.map, jnp.zeros_like)
    state = (params, zeros(params), zeros(params), jnp.zeros((), jnp.float32))
    ids, targets = (jnp.array(job.arrays[name].astype(np.int32)) for name in ("ids", "targets"))
    step = jax.jit(partial(_step, settings=job.settings), donate_argnums=0)

    def work() -> float:
        nonlocal state
        state, loss = jax.block_until_ready(step(state, ids, targets))
        return float(loss)

    return work


if __name__ == "__main__":
    answer_lines(prepare)
