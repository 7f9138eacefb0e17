"""Attention weights: what the fused operation adds its values up by, whatever the options; models give them too."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from tolerance import assert_close, by_rows, probe

import pyformer as pf
from pyformer import models, nn, ops
from pyformer.models import GPT, GPTConfig

B, TQ, TK, H, HKV, D = 2, 5, 7, 4, 2, 8


def tensors(seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((B, TQ, H, D), (B, TK, HKV, D), (B, TK, HKV, D))
    return [pf.tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]


def masks():
    rng = np.random.default_rng(1)
    keep = rng.random((B, 1, TQ, TK)) < 0.6
    keep[0, 0, 2] = False
    return keep, np.where(keep, rng.standard_normal(keep.shape), -np.inf)


OPTIONS = {
    "plain": {},
    "scale": {"scale": 0.3},
    "causal": {"causal": True},
    "window": {"causal": True, "window": 2},
    "lengths": {"key_lengths": pf.tensor([4, 7])},
    "padded": {"causal": True, "key_lengths": pf.tensor([4, 7]), "query_offset": pf.tensor([0, 0])},
    "offset": {"causal": True, "query_offset": pf.tensor([0, 2])},
    "mask": {"mask": pf.tensor(masks()[0])},
    "bias": {"mask": pf.tensor(masks()[1]), "causal": True},
    "softcap": {"softcap": 0.5, "causal": True, "window": 2},
    "sinks": {"sinks": pf.tensor([0.5, -1.0, 2.0, 0.0], dtype="float64"), "mask": pf.tensor(masks()[0])},
    "sinks of minus infinity": {"sinks": pf.full((H,), -np.inf, dtype="float64"), "mask": pf.tensor(masks()[1])},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_weights_times_values_are_the_fused_result(name):
    q, k, v = tensors()
    weights = nn.attention_weights(q, k, **OPTIONS[name])
    assert weights.shape == (B, H, TQ, TK)
    sums = weights.numpy().sum(-1)
    assert np.all((np.abs(sums - 1) < 1e-12) | (sums == 0) | ((sums < 1) & (name == "sinks")))
    values = np.repeat(v.numpy(), H // HKV, axis=2).transpose(0, 2, 1, 3)
    expected = ops.attention(q, k, v, **OPTIONS[name]).numpy()
    assert_close((weights.numpy() @ values).transpose(0, 2, 1, 3), by_rows(expected), additions=TK)


@pytest.mark.parametrize("low", [-1e9, -1e30, -1e38, float(np.finfo(np.float32).min)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{"causal": True}, {"causal": True, "window": 1}, {"key_lengths": [1]}], ids=str)
def test_a_mask_lower_than_any_number_of_ours(options, dtype, low):
    """Where all that a query may see is masked by a finite number, it sees that: there is no lower number than -inf."""
    rng = np.random.default_rng(0)
    q, k, v = (pf.tensor(rng.standard_normal((1, 4, 1, 4)).astype(dtype)) for _ in range(3))
    q.requires_grad = True
    if "key_lengths" in options:
        options = {"key_lengths": pf.tensor(options["key_lengths"])}
    mask = np.zeros((1, 1, 1, 4), dtype)
    mask[..., 0] = low
    weights = nn.attention_weights(q, k, mask=pf.tensor(mask), **options)
    np.testing.assert_array_equal(weights.numpy()[0, 0, 0], [1, 0, 0, 0])
    out = ops.attention(q, k, v, mask=pf.tensor(mask), **options).numpy()
    mixed = np.einsum("bhij,bjhd->bihd", weights.numpy(), v.numpy())
    assert_close(mixed, by_rows(out), additions=4)
    (weights * weights).sum().backward()
    assert np.isfinite(q.grad.numpy()).all()


def test_scores_of_minus_infinity_alone():
    """As in ops.attention, a row of them has nothing to attend to."""
    q, k = pf.full((1, 2, 1, 1), 1e30), pf.full((1, 2, 1, 1), -1e30)
    weights = nn.attention_weights(q, k, causal=True)
    np.testing.assert_array_equal(weights.numpy(), np.zeros((1, 1, 2, 2)))
    np.testing.assert_array_equal(ops.attention(q, k, pf.ones(1, 2, 1, 1), causal=True).numpy(), np.zeros((1, 2, 1, 1)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_keys_that_are_not_seen_may_hold_anything(bad):
    q, k, _ = tensors()
    expected = nn.attention_weights(q, k, key_lengths=pf.tensor([4, 7])).numpy()
    values = k.numpy().copy()
    values[0, 4:] = bad
    got = nn.attention_weights(q, pf.tensor(values), key_lengths=pf.tensor([4, 7])).numpy()
    np.testing.assert_array_equal(got, expected)


def test_gradient_of_weights():
    q, k, _ = tensors()
    coefficients = np.random.default_rng(2).standard_normal((B, H, TQ, TK))
    bias = masks()[1]
    (nn.attention_weights(q, k, mask=pf.tensor(bias)) * pf.tensor(coefficients)).sum().backward()

    def in_torch():
        theirs = [torch.tensor(t.numpy(), requires_grad=True) for t in (q, k)]
        repeated = theirs[1].repeat_interleave(H // HKV, dim=2)
        scores = torch.einsum("bqhd,bkhd->bhqk", theirs[0], repeated) / D**0.5 + torch.tensor(bias)
        empty = torch.isinf(scores).all(-1, keepdim=True)
        weights = torch.softmax(torch.where(empty, torch.zeros(()), scores), -1) * ~empty
        (weights * torch.tensor(coefficients)).sum().backward()
        return [x.grad.numpy() for x in theirs]

    for ours, exact in zip((q, k), probe(in_torch), strict=True):
        assert_close(ours.grad.numpy(), exact, additions=TK * D)


@pytest.mark.parametrize("norm_first", [True, False])
def test_layers_give_weights_and_the_same_bits(norm_first):
    pf.manual_seed(0)
    block = nn.TransformerBlock(16, 4, cross_attention=True, causal=True, norm_first=norm_first)
    x, context = pf.randn(2, 5, 16), pf.randn(2, 3, 16)
    lengths = pf.tensor([2, 3])
    out, own, cross = block(x, context, context_lengths=lengths, return_weights=True)
    np.testing.assert_array_equal(out.numpy(), block(x, context, context_lengths=lengths).numpy())
    assert own.shape == (2, 4, 5, 5)
    assert cross.shape == (2, 4, 5, 3)
    assert not np.triu(own.numpy(), 1).any()
    assert not cross.numpy()[0, :, :, 2].any()


def test_a_layer_does_not_see_what_its_mask_leaves_out():
    pf.manual_seed(0)
    layer, x, context = nn.MultiHeadAttention(16, 4), pf.randn(2, 5, 16), pf.randn(2, 3, 16)
    mask = pf.tensor(np.broadcast_to([True, False, True], (2, 1, 5, 3)).copy())
    before = layer(x, context, mask=mask).numpy()
    values = context.numpy().copy()
    values[:, 1] += 1.0
    np.testing.assert_array_equal(layer(x, pf.tensor(values), mask=mask).numpy(), before)
    values[:, 2] += 1.0
    assert (layer(x, pf.tensor(values), mask=mask).numpy() != before).any(axis=-1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_post_norm_block_equals_torch(dtype):
    pf.manual_seed(0)
    block = nn.TransformerBlock(16, 4, hidden_dim=24, norm_first=False, dtype=dtype)
    twin = torch.nn.TransformerEncoderLayer(
        16, 4, 24, dropout=0.0, activation="gelu", batch_first=True, dtype=getattr(torch, dtype)
    )
    state = {name: torch.tensor(t.numpy()) for name, t in block.state_dict().items()}
    packed = {
        f"self_attn.in_proj_{kind}": torch.cat([state[f"attention.{p}_proj.{kind}"] for p in "qkv"])
        for kind in ("weight", "bias")
    }
    names = {"attention.out_proj": "self_attn.out_proj", "mlp.up": "linear1", "mlp.down": "linear2"}
    names |= {"attention_norm": "norm1", "mlp_norm": "norm2"}
    others = {f"{t}.{kind}": state[f"{o}.{kind}"] for o, t in names.items() for kind in ("weight", "bias")}
    twin.load_state_dict(packed | others)
    x = np.random.default_rng(0).standard_normal((2, 5, 16)).astype(dtype)
    assert_close(block(pf.tensor(x)).numpy(), by_rows(twin(torch.tensor(x)).detach().numpy()), additions=24)


def test_gpt_gives_weights_and_the_same_bits():
    pf.manual_seed(0)
    model = GPT(GPTConfig(31, 12, 3, 2, 8))
    ids = np.random.default_rng(0).integers(0, 31, (2, 9))
    for lengths in (None, [4, 9]):
        logits, weights = model(ids, lengths=lengths, return_weights=True)
        np.testing.assert_array_equal(logits.numpy(), model(ids, lengths=lengths).numpy())
        assert [w.shape for w in weights] == [(2, 2, 9, 9)] * 3
        assert_close(weights[0].numpy().sum(-1), by_rows(np.ones((2, 2, 9))), additions=16)


# Models in which no word looks at another.
WITHOUT_ATTENTION = [
    *("GAN", "KAN", "LSTM", "Autoencoder", "ConvNet", "Liquid", "LiquidNetwork", "MLPLanguageModel", "RetNet"),
]


def test_every_model_that_attends_gives_its_weights():
    classes = {name: getattr(models, name) for name in models.__all__ if name[0].isupper()}
    kinds = {name: cls for name, cls in classes.items() if issubclass(cls, nn.Module)}
    giving = {name for name, cls in kinds.items() if "return_weights" in inspect.signature(cls.forward).parameters}
    assert giving == set(kinds) - set(WITHOUT_ATTENTION)


def test_positions():
    table = nn.sinusoidal_positions(50, 8)
    assert table.shape == (50, 8)
    assert table[3, 0] == pytest.approx(np.sin(3.0))
    assert table[3, 3] == pytest.approx(np.cos(3.0 / 10000 ** (2 / 8)))
    with pytest.raises(ValueError, match="even"):
        nn.sinusoidal_positions(5, 7)
    np.testing.assert_allclose(nn.alibi_slopes(8), 0.5 ** np.arange(1, 9))
    # The slopes of the paper's own code for 12 heads.
    np.testing.assert_allclose(nn.alibi_slopes(12), [*0.5 ** np.arange(1, 9), *0.5 ** np.arange(0.5, 4.0, 1.0)])
    bias = nn.alibi_bias(np.array([0.5, 2.0]), np.array([[3, 4]]), 6)
    assert bias.shape == (1, 2, 2, 6)
    assert bias[0, 1, 0, 1] == -4.0


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0 + i / 16 for i in range(16)],
    "long_factor": [2.0**i for i in range(16)],
    "original_max_position_embeddings": 256,
}


@pytest.mark.parametrize(
    "scaling",
    [
        None,
        {"rope_type": "linear", "factor": 4.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256,
        },
        {**YARN},
        {**YARN, "beta_fast": 8, "beta_slow": 2, "truncate": False},
        {**YARN, "attention_factor": 1.25},
        {**YARN, "mscale": 0.7, "mscale_all_dim": 0.4},
        {**YARN, "factor": 0.5},
        LONGROPE,
        {**LONGROPE, "factor": 32.0},
        {**LONGROPE, "factor": 1.0},
        {**LONGROPE, "factor": 8.0, "attention_factor": 0.75},
    ],
)
def test_rope_frequencies_equal_transformers(scaling):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    scaling = scaling if scaling is None or "factor" in scaling else {**scaling, "factor": 16.0}
    parameters = {"rope_theta": 5000.0, **(scaling or {"rope_type": "default"})}
    config = LlamaConfig(
        hidden_size=64, num_attention_heads=2, max_position_embeddings=4096, rope_parameters=parameters
    )
    theirs = LlamaRotaryEmbedding(config)
    got = ops.rope_frequencies(32, 5000.0, scaling)
    assert got.dtype == pf.float64
    kind = "default" if scaling is None else scaling["rope_type"]
    steps = 4 if kind in ("yarn", "longrope") else 1  # products and quotients one after the other, in float32 there
    assert_close(got.numpy(), by_rows(theirs.inv_freq.double().numpy()), dtype="float32", ops=steps)
    assert ops.rope_magnitude(scaling) == pytest.approx(theirs.attention_scaling, rel=1e-14)
    if kind == "longrope":
        long = ops.rope_frequencies(32, 5000.0, scaling, length=257).numpy()
        np.testing.assert_array_equal(long * np.array(scaling["long_factor"]), ops.rope_frequencies(32, 5000.0).numpy())
        np.testing.assert_array_equal(ops.rope_frequencies(32, 5000.0, scaling, length=256).numpy(), got.numpy())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7,), "dim must be an even"),
        ((0,), "dim must be an even"),
        ((8, -1.0), "base"),
        ((8, 1e4, {"rope_type": "dynamic"}), "rope_type"),
        ((8, 1e4, {"rope_type": ["yarn"]}), "rope_type"),
        ((8, 1e4, {"rope_type": "yarn"}), "original_max_position_embeddings"),
        ((8, 1.0, YARN), "a base above 1"),
        ((8, 1e4, LONGROPE), "4 numbers for short_factor, got 16"),
        ((32, 1e4, {**LONGROPE, "long_factor": [0.0] * 16}), "above 0"),
        ((8, 1e4, {"rope_type": "linear"}), "factor"),
    ],
)
def test_bad_rope_frequencies(arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.rope_frequencies(*arguments)


def test_a_mask_of_integers_is_refused_as_by_attention():
    q, k = pf.ones(1, 2, 1, 4), pf.ones(1, 2, 1, 4)
    for mask in (pf.tensor([[1, 0], [1, 1]]), np.ones((2, 2), bool)):
        with pytest.raises(TypeError, match=r"^attention"):
            nn.attention_weights(q, k, mask=mask)
