"""Sequence models written out in torch, on parameters by name: the twins of pyformer's."""

from __future__ import annotations

import math

import torch
from case_tables.bspline import _torch as _bspline
from case_tables.recurrent import _torch_cell
from case_tables.retention import _torch as _retention

F = torch.nn.functional


def bspline(x, low, high, intervals, order):
    return _bspline(low, high, intervals, order)(torch, x)


def cfc_layer(x, p, suffix, elapsed=None):
    """(out, last h) of the layer whose names end in _{suffix}."""
    weights = [p[f"{kind}_{suffix}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    return _torch_cell(torch, x, *weights, x.new_zeros((x.shape[0], weights[1].shape[1])), elapsed)


def recurrent_layer(op, x, p, prefix):
    """out of torch's lstm or gru with the weights {prefix}weight_ih_l0 and so on."""
    weights = [p[f"{prefix}{kind}_l0"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    h = x.new_zeros((1, x.shape[0], weights[1].shape[1]))
    return getattr(torch, op)(x, (h, h) if op == "lstm" else h, weights, True, 1, 0.0, False, False, True)[0]


def turn(x):
    """Rotary positions of x (B, T, H, D), pairs (i, i + D / 2)."""
    half = x.shape[-1] // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * frequencies
    cos, sin = (f(angles).to(x.dtype)[None, :, None] for f in (torch.cos, torch.sin))
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def retention(x, p, prefix, heads):
    """Multi-scale retention of x (B, T, C) in the parallel form."""
    q, k, v, gate = (x @ p[f"{prefix}{name}_proj.weight"].T for name in "qkvg")
    q, k, v = (y.unflatten(-1, (heads, -1)) for y in (q, k, v))
    decay = (1 - 2.0 ** (-5.0 - torch.arange(heads, dtype=torch.float64))).to(x.dtype)
    out, _ = _retention(torch, turn(q), turn(k) * q.shape[-1] ** -0.5, v, decay)
    out = F.layer_norm(out, out.shape[-1:]).flatten(-2)
    return (F.silu(gate) * out) @ p[f"{prefix}out_proj.weight"].T


def layer_norm(x, p, prefix):
    return F.layer_norm(x, x.shape[-1:], p[f"{prefix}.weight"], p[f"{prefix}.bias"])


def linear(x, p, prefix):
    return F.linear(x, p[f"{prefix}.weight"], p[f"{prefix}.bias"])


def retnet(p, ids, config):
    x = F.embedding(ids, p["wte.weight"])
    for i in range(config.num_layers):
        x = x + retention(layer_norm(x, p, f"blocks.{i}.retention_norm"), p, f"blocks.{i}.retention.", config.num_heads)
        h = F.gelu(linear(layer_norm(x, p, f"blocks.{i}.mlp_norm"), p, f"blocks.{i}.mlp.up"))
        x = x + linear(h, p, f"blocks.{i}.mlp.down")
    return layer_norm(x, p, "norm") @ p["wte.weight"].T


def lstm(p, ids, config, layers="layers"):
    x = F.embedding(ids, p["wte.weight"])
    for i in range(config.num_layers):
        x = recurrent_layer(config.cell, x, p, f"{layers}.{i}.")
    return x @ p["wte.weight"].T


def mlp(p, ids, config):
    x = F.pad(F.embedding(ids, p["wte.weight"]), (0, 0, config.window - 1, 0))
    h = x.unfold(1, config.window, 1).mT.flatten(2)
    for i in range(config.num_layers):
        h = linear(h, p, f"layers.{i}").tanh()
    return linear(h, p, "out") @ p["wte.weight"].T


def liquid(p, ids, config):
    x = F.embedding(ids, p["wte.weight"])
    for i in range(config.num_layers):
        prefix = f"layers.{i}."
        x = cfc_layer(x, {k.removeprefix(prefix): v for k, v in p.items() if k.startswith(prefix)}, "l0")[0]
    return x @ p["wte.weight"].T


def alibi_slopes(heads):
    """As in the code of the paper: for no power of two, every other slope of the next one."""

    def of_power(n):
        return [2.0 ** (-8.0 / n * (i + 1)) for i in range(n)]

    below = 2 ** math.floor(math.log2(heads))
    return torch.tensor((of_power(below) + of_power(2 * below)[::2])[:heads], dtype=torch.float64)


def llama(p, ids, config):
    """A Llama whose positions are not rotary."""
    places = torch.arange(ids.shape[1])
    x = F.embedding(ids, p["embed_tokens.weight"])
    distance = places[:, None] - places
    seen = (distance >= 0) & (distance < (config.window or len(places)))
    bias = torch.zeros(distance.shape, dtype=torch.float64)
    if config.positions == "learned":
        x = x + p["embed_positions.weight"][places]
    elif config.positions == "sinusoidal":
        angles = places[:, None] / 10000 ** (torch.arange(0, config.embed_dim, 2).double() / config.embed_dim)
        x = x + torch.stack([angles.sin(), angles.cos()], -1).flatten(1).to(x.dtype)
    elif config.positions == "alibi":
        bias = -alibi_slopes(config.num_heads)[:, None, None] * distance
    bias = bias.masked_fill(~seen, -torch.inf).to(x.dtype)

    def norm(x, name):
        return F.rms_norm(x, x.shape[-1:], p[f"{name}.weight"], config.norm_epsilon)

    for i in range(config.num_layers):
        at = f"layers.{i}"
        h = norm(x, f"{at}.input_layernorm")
        q, k, v = (h @ p[f"{at}.self_attn.{name}_proj.weight"].T for name in "qkv")
        q, k, v = (y.unflatten(-1, (-1, config.head_dim)).transpose(1, 2) for y in (q, k, v))
        k, v = (y.repeat_interleave(config.num_heads // config.num_kv_heads, 1) for y in (k, v))
        weights = (q @ k.mT / config.head_dim**0.5 + bias).softmax(-1)
        x = x + (weights @ v).transpose(1, 2).flatten(2) @ p[f"{at}.self_attn.o_proj.weight"].T
        h = norm(x, f"{at}.post_attention_layernorm")
        gate, up = (h @ p[f"{at}.mlp.{name}_proj.weight"].T for name in ("gate", "up"))
        x = x + (F.silu(gate) * up) @ p[f"{at}.mlp.down_proj.weight"].T
    return norm(x, "norm") @ p["embed_tokens.weight" if config.tied else "lm_head.weight"].T


def kan_layer(x, p, prefix, config):
    bases = bspline(x, config.low, config.high, config.intervals, config.order).flatten(-2)
    return F.silu(x) @ p[f"{prefix}.base_weight"].T + bases @ p[f"{prefix}.spline_weight"].T


def kan(p, x, config):
    for i in range(len(config.sizes) - 1):
        x = kan_layer(x, p, f"layers.{i}", config)
    return x


def kan_transformer(p, ids, config):
    tokens = ids.shape[1]
    x = F.embedding(ids, p["wte.weight"]) + p["wpe.weight"][:tokens]
    for i in range(config.num_layers):
        h = layer_norm(x, p, f"blocks.{i}.attention_norm")
        q, k, v = (
            linear(h, p, f"blocks.{i}.attention.{name}_proj").unflatten(-1, (config.num_heads, -1)).transpose(1, 2)
            for name in "qkv"
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)
        x = x + linear(mixed, p, f"blocks.{i}.attention.out_proj")
        x = x + kan_layer(layer_norm(x, p, f"blocks.{i}.mlp_norm"), p, f"blocks.{i}.mlp", config)
    return layer_norm(x, p, "norm") @ p["wte.weight"].T


def cross_entropy(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def both_directions_loss(p, logits, ids, targets, config):
    """The mean over what both stacks of a bidirectional model predict.

    The backward one predicts the token at each position whose target counts, from those after it.
    """
    behind = lstm(p, ids[:, 1:].flip(1), config, layers="backward_layers").flip(1)
    before = torch.where(targets[:, :-1] == -100, -100, ids[:, :-1])
    return cross_entropy(torch.cat([logits, behind], 1), torch.cat([targets, before], 1))


def batch_norm(x, p, prefix, training):
    weight, bias = p[f"{prefix}.weight"], p[f"{prefix}.bias"]
    if training:
        return F.batch_norm(x, None, None, weight, bias, True)
    mean, variance = p[f"{prefix}.running_mean"].detach(), p[f"{prefix}.running_var"].detach()
    return F.batch_norm(x, mean, variance, weight, bias)


def convnet(p, x, config, training=True):
    for i in range(len(config.widths)):
        x = F.max_pool2d(x, 2) if i else x
        for j in (1, 2):
            x = F.conv2d(x, p[f"stages.{i}.conv{j}.weight"], padding=1)
            x = F.relu(batch_norm(x, p, f"stages.{i}.norm{j}", training))
    return linear(x.mean((2, 3)), p, "head")


def autoencoder(p, x, config):
    layers = range(len(config.widths))
    for i in layers:
        x = F.relu(F.conv2d(x, p[f"down.{i}.weight"], p[f"down.{i}.bias"], stride=2, padding=1))
    inner = x.shape[1:]
    x = linear(linear(x.flatten(1), p, "to_code"), p, "from_code").unflatten(1, inner)
    for i in layers:
        x = F.conv_transpose2d(F.relu(x), p[f"up.{i}.weight"], p[f"up.{i}.bias"], stride=2, padding=1)
    return x.sigmoid()


def generator(p, noise, labels, config, training=True):
    x = torch.cat([noise, p["generator.classes.weight"][labels]], 1) @ p["generator.start.weight"].T
    size = config.image_size // 2 ** len(config.widths)
    x = x.unflatten(1, (config.widths[-1], size, size))
    for i in range(len(config.widths)):
        x = F.relu(batch_norm(x, p, f"generator.norms.{i}", training))
        x = F.conv_transpose2d(x, p[f"generator.up.{i}.weight"], p.get(f"generator.up.{i}.bias"), stride=2, padding=1)
    return x.tanh()


def discriminator(p, x, labels, config):
    for i, width in enumerate(config.widths):
        at = f"discriminator.down.{i}"
        x = F.conv2d(x, p[f"{at}.weight"], p[f"{at}.bias"], stride=2, padding=1)
        if i:
            at = f"discriminator.norms.{i - 1}"
            x = F.group_norm(x, width // 8, p[f"{at}.weight"], p[f"{at}.bias"])
        x = F.leaky_relu(x, 0.2)
    x = x.flatten(1)
    return linear(x, p, "discriminator.head")[:, 0] + (x * p["discriminator.classes.weight"][labels]).sum(1)


def dit(p, x, times, labels, config):
    side, patch, width = config.image_size // config.patch_size, config.patch_size, config.embed_dim
    dtype = x.dtype

    def modulated(x, shift, scale):
        return F.layer_norm(x, (width,), eps=1e-6) * (1 + scale) + shift

    frequencies = 10000.0 ** (-torch.arange(128, dtype=torch.float64) / 128)
    angles = 1000.0 * times.double()[:, None] * frequencies
    waves = torch.cat([angles.cos(), angles.sin()], 1).to(dtype)
    condition = linear(F.silu(linear(waves, p, "time_in")), p, "time_out") + p["classes.weight"][labels]
    condition = F.silu(condition)[:, None]
    half = width // 2
    angles = torch.arange(side, dtype=torch.float64)[:, None] / 10000 ** (torch.arange(0, half, 2) / half)
    waves = torch.stack([angles.sin(), angles.cos()], -1).flatten(1).to(dtype)
    places = torch.cat([waves[:, None].expand(-1, side, -1), waves.expand(side, -1, -1)], -1).flatten(0, 1)
    x = linear(F.unfold(x, patch, stride=patch).mT, p, "patches") + places
    for i in range(config.num_layers):
        at = f"blocks.{i}"
        shift, scale, gate, shift2, scale2, gate2 = linear(condition, p, f"{at}.modulation").chunk(6, -1)
        h = modulated(x, shift, scale)
        q, k, v = (
            linear(h, p, f"{at}.attention.{name}_proj").unflatten(-1, (config.num_heads, -1)).transpose(1, 2)
            for name in "qkv"
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        x = x + gate * linear(mixed, p, f"{at}.attention.out_proj")
        h = F.gelu(linear(modulated(x, shift2, scale2), p, f"{at}.mlp.up"), approximate="tanh")
        x = x + gate2 * linear(h, p, f"{at}.mlp.down")
    x = linear(modulated(x, *linear(condition, p, "modulation").chunk(2, -1)), p, "head")
    return F.fold(x.mT, config.image_size, patch, stride=patch)
