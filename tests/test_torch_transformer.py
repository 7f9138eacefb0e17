"""torch's transformer layers: the same values, gradients and masks with the same parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyformer as pf
from pyformer import nn
from pyformer.nn.attention import attention_of_weights

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((3, 5, 8)), RNG.standard_normal((3, 4, 8))
CAUSAL = np.triu(np.ones((5, 5), bool), 1)
PADDING = np.arange(5) >= np.array([[5], [3], [1]])


def twins(name, *args, **options):
    """The module and torch's, in float64, with the same values."""
    pf.manual_seed(0)
    ours = getattr(nn, name)(*args, **options, dtype=pf.float64)
    theirs = getattr(torch.nn, name)(*args, **options, dtype=torch.float64)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    return ours, theirs


def compare(ours, theirs, *arrays, **masks):
    """Results, gradients of what came in, and of all parameters."""
    xs = [pf.tensor(a, requires_grad=True) for a in arrays]
    ys = [torch.tensor(a, requires_grad=True) for a in arrays]
    options = {k: pf.tensor(v) if isinstance(v, np.ndarray) else v for k, v in masks.items()}
    words = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in masks.items()}
    got, wanted = ours(*xs, **options), theirs(*ys, **words)
    if isinstance(got, tuple):
        assert (got[1] is None) == (wanted[1] is None)
        if got[1] is not None:
            near(got[1], wanted[1])
        got, wanted = got[0], wanted[0]
    near(got, wanted)
    (got * got).sum().backward()
    (wanted * wanted).sum().backward()
    for x, y in zip(xs, ys, strict=True):
        near(x.grad, y.grad)
    parameters = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        near(parameter.grad, parameters[name].grad)


def near(got, wanted):
    np.testing.assert_allclose(got.detach().numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-10)


MASKS = {
    "none": {},
    "causal": {"attn_mask": CAUSAL},
    "padding": {"key_padding_mask": PADDING},
    "both": {"attn_mask": CAUSAL, "key_padding_mask": PADDING},
    "floats": {"attn_mask": RNG.standard_normal((5, 5)), "key_padding_mask": np.where(PADDING, -np.inf, 0.5)},
    "mixed": {"attn_mask": RNG.standard_normal((5, 5)), "key_padding_mask": PADDING},
    "heads": {"attn_mask": RNG.random((6, 5, 5)) > 2.0, "need_weights": True, "average_attn_weights": False},
}


@pytest.mark.filterwarnings("ignore:Support for mismatched")
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("mask", MASKS)
def test_attention_is_torchs(mask, need_weights):
    ours, theirs = twins("MultiheadAttention", 8, 2, batch_first=True)
    compare(ours, theirs, X, X, X, **{"need_weights": need_weights, **MASKS[mask]})


@pytest.mark.parametrize("bias", [True, False])
def test_attention_to_another_sequence_with_time_first(bias):
    ours, theirs = twins("MultiheadAttention", 8, 2, bias=bias)
    compare(ours, theirs, Y.swapaxes(0, 1), X.swapaxes(0, 1), X.swapaxes(0, 1))


def test_causal_without_a_mask_and_rows_that_see_nothing():
    ours = nn.MultiheadAttention(8, 2, batch_first=True)
    x = pf.tensor(X.astype(np.float32))
    whole = ours(x, x, x, is_causal=True)[0].numpy()
    np.testing.assert_allclose(whole, ours(x, x, x, attn_mask=pf.tensor(CAUSAL))[0].numpy(), rtol=1e-6, atol=1e-7)
    blind = ours(x, x, x, key_padding_mask=pf.ones(3, 5, dtype=pf.bool))[0].numpy()
    assert np.array_equal(blind, np.broadcast_to(ours.out_proj.bias.numpy(), blind.shape))


def test_dropped_weights_are_those_that_come_back():
    pf.manual_seed(1)
    layer = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    x = pf.tensor(X.astype(np.float32))
    weights = layer(x, x, x, average_attn_weights=False)[1].numpy()
    assert 0.3 < (weights == 0).mean() < 0.7
    assert (layer.eval()(x, x, x)[1].numpy() > 0).all()


@pytest.mark.parametrize("options", [{}, {"norm_first": True, "activation": "gelu"}, {"bias": False}], ids=str)
def test_an_encoder_layer_is_torchs(options):
    ours, theirs = twins("TransformerEncoderLayer", 8, 2, 12, dropout=0.0, batch_first=True, **options)
    compare(ours, theirs, X, src_mask=CAUSAL, src_key_padding_mask=PADDING)


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_decoder_layer_is_torchs(norm_first):
    ours, theirs = twins("TransformerDecoderLayer", 8, 2, 12, dropout=0.0, batch_first=True, norm_first=norm_first)
    compare(ours, theirs, Y, X, tgt_mask=CAUSAL[:4, :4], memory_key_padding_mask=PADDING)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_the_whole_is_torchs():
    ours, theirs = twins("Transformer", 8, 2, 2, 1, 12, dropout=0.0)
    compare(ours, theirs, X.swapaxes(0, 1), Y.swapaxes(0, 1), tgt_mask=CAUSAL[:4, :4], src_key_padding_mask=PADDING)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    np.testing.assert_array_equal(mask.numpy(), torch.nn.Transformer.generate_square_subsequent_mask(4).numpy())


def test_stacked_layers_learn_apart():
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    stack = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))
    first, second = (stack.layers[i].linear1.weight for i in range(2))
    assert first is not second
    assert (first == second).all().item()
    assert stack.num_parameters() == 2 * layer.num_parameters() + 16
    assert stack(pf.tensor(X.astype(np.float32))).shape == X.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: nn.MultiheadAttention(8, 3), r"num_heads \(3\) must divide embed_dim \(8\)"),
        (lambda x: nn.MultiheadAttention(6, 2)(x, x, x), "expected query, key and value of three axes, the last of 6"),
        (lambda x: nn.MultiheadAttention(8, 2)(x, x, x, pf.ones(2, 2)), r"key_padding_mask must be \(5, 3\), got"),
        (lambda x: nn.MultiheadAttention(8, 2)(x, x, x, attn_mask=pf.ones(2, 2)), r"must be \(3, 3\) or \(10, 3, 3\)"),
        (
            lambda x: nn.TransformerEncoderLayer(8, 2, activation="elu"),
            "activation must be 'relu', 'gelu' or a function",
        ),
    ],
)
def test_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call(pf.tensor(X.astype(np.float32)))


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("kind", ["int64", "uint8", "array", "list"])
def test_a_mask_of_neither_bools_nor_floats_is_refused(kind, need_weights):
    layer, x = nn.MultiheadAttention(8, 2, batch_first=True), pf.tensor(X, dtype=pf.float32)
    masks = {"array": lambda m: m, "list": lambda m: m.tolist()}
    made = masks.get(kind, lambda m: pf.tensor(m.astype(kind)))
    for name, mask in (("attn_mask", CAUSAL), ("key_padding_mask", PADDING)):
        with pytest.raises(TypeError, match=f"MultiheadAttention: {name} must be"):
            layer(x, x, x, need_weights=need_weights, **{name: made(mask)})


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("need_weights", [True, False])
def test_what_is_masked_may_hold_anything(need_weights, dropout, dtype):
    """Later tokens, and one that no query sees; the gradients of those that see it are their own."""
    layer = nn.MultiheadAttention(8, 2, dropout, batch_first=True, dtype=dtype)
    results, unseen = [], np.arange(5) == 4
    for last in (1.0, np.nan, np.inf):
        pf.manual_seed(0)
        x = X.copy()
        x[:, -1] = last
        x, query = pf.tensor(x).to(dtype), pf.tensor(X).to(dtype)
        x.requires_grad = query.requires_grad = True
        later, _ = layer(x, x, x, attn_mask=pf.tensor(CAUSAL), need_weights=need_weights)
        mask = pf.tensor(np.tile(unseen, (5, 1)))
        out, _ = layer(query, x, x, attn_mask=mask, need_weights=need_weights)
        out.float().sum().backward()
        results.append([t.float().numpy() for t in (later[:, :-1], out, query.grad, x.grad[:, :-1])])
    assert np.isfinite(results[0][0]).all()
    for other in results[1:]:
        for one, two in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("is_float", [False, True])
def test_a_gradient_that_is_not_finite_reaches_what_its_query_sees_alone(is_float, bad, dtype):
    layer, results = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True, dtype=dtype), []
    mask = pf.tensor(np.where(CAUSAL, -np.inf, 0.0) if is_float else CAUSAL)
    for value in (1.0, bad):
        q, k, v = (pf.tensor(X, dtype=dtype, requires_grad=True) for _ in range(3))
        pf.manual_seed(0)
        out, _ = layer(q, k, v, attn_mask=mask.to(dtype) if is_float else mask)
        dout = np.ones_like(X)
        dout[0, 1] = value
        out.backward(pf.tensor(dout, dtype=dtype))
        results.append([t.grad.numpy() for t in (q, k, v)])
    for which, (before, after) in enumerate(zip(*results, strict=True)):
        others = [0, 2, 3, 4] if which == 0 else [2, 3, 4]
        np.testing.assert_array_equal(before[0, others], after[0, others])
        np.testing.assert_array_equal(before[1:], after[1:])
        assert not np.isfinite(after[0, 1]).all()


def test_a_second_attention_is_computed_only_for_values_that_are_not_finite(monkeypatch):
    calls, attend = [], pf.ops.attention
    monkeypatch.setattr(pf.ops, "attention", lambda *args, **where: calls.append(1) or attend(*args, **where))
    mask = pf.tensor([[True, False]])
    for last, count in ((3.0, 0), (np.nan, 1)):
        weights = pf.tensor([[[[0.5, 0.0]]]], requires_grad=True)
        v = pf.tensor([[[[4.0]], [[last]]]], requires_grad=True)
        out = attention_of_weights(weights, v, mask=mask)
        out.sum().backward()
        assert (out.item(), v.grad.flatten().tolist(), weights.grad[0, 0, 0, 0].item()) == (2.0, [0.5, 0.0], 4.0)
        assert len(calls) == count


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_mask_of_floats_gets_torchs_gradient(need_weights):
    ours, theirs = twins("MultiheadAttention", 8, 2, batch_first=True)
    bias = RNG.standard_normal((5, 5))
    mask, other = pf.tensor(bias, requires_grad=True), torch.tensor(bias, requires_grad=True)
    got = ours(*[pf.tensor(X)] * 3, attn_mask=mask, need_weights=need_weights)[0]
    wanted = theirs(*[torch.tensor(X)] * 3, attn_mask=other, need_weights=need_weights)[0]
    (got * got).sum().backward()
    (wanted * wanted).sum().backward()
    near(mask.grad, other.grad)


@pytest.mark.parametrize("mask", [None, [True, False, True]])
@pytest.mark.parametrize(("heads", "value_heads"), [(3, 1), (1, 3)])
def test_one_head_of_weights_or_values_serves_all_of_the_others(mask, heads, value_heads):
    weights, v = pf.rand(2, heads, 4, 3, requires_grad=True), pf.randn(2, 3, value_heads, 5, requires_grad=True)
    mask = None if mask is None else pf.tensor(mask)
    out = attention_of_weights(weights, v, mask=mask)
    dout = pf.randn(*out.shape)
    out.backward(dout)
    w, x, d = (torch.tensor(t.detach().numpy()) for t in (weights, v, dout))
    w.requires_grad, x.requires_grad = True, True
    (w @ x.transpose(1, 2)).transpose(1, 2).backward(d)
    np.testing.assert_allclose(v.grad.numpy(), x.grad.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(weights.grad.numpy(), w.grad.numpy(), rtol=1e-5, atol=1e-5)
