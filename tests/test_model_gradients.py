"""Every model's gradient against differences of its own loss, and that no language model sees what comes later."""

from __future__ import annotations

import numpy as np
import pytest

import pyformer as pf
from pyformer import models as m
from pyformer import nn

VOCAB, TOKENS = 19, 7
SIZES = (VOCAB, 8, 2, 2, 8)  # vocabulary, context, layers, heads, width
LANGUAGE = {
    "GPT": lambda: m.GPT(m.GPTConfig(*SIZES)),
    "GPT recomputed": lambda: m.GPT(m.GPTConfig(*SIZES), recompute=True),
    "Llama": lambda: m.Llama(m.LlamaConfig(*SIZES, num_kv_heads=1)),
    "Llama with a window": lambda: m.Llama(m.LlamaConfig(*SIZES, window=3)),
    "RetNet": lambda: m.RetNet(m.RetNetConfig(*SIZES)),
    "LSTM": lambda: m.LSTM(m.LSTMConfig(VOCAB, 8, 2, 8)),
    "GRU": lambda: m.LSTM(m.LSTMConfig(VOCAB, 8, 2, 8, cell="gru")),
    "Liquid": lambda: m.Liquid(m.LiquidConfig(VOCAB, 8, 2, 8)),
    "MLP": lambda: m.MLPLanguageModel(m.MLPLanguageModelConfig(VOCAB, 8, 2, 8, window=3)),
    "KAN": lambda: m.KANTransformer(m.KANTransformerConfig(*SIZES)),
}
OTHERS = {
    "BertClassifier": (lambda: m.BertClassifier(m.BertConfig(*SIZES, dropout=0.0)), "labels"),
    "EncoderDecoder": (lambda: m.EncoderDecoder(m.EncoderDecoderConfig(*SIZES, dropout=0.0)), "pairs"),
    "T5": (lambda: m.T5(m.T5Config(VOCAB, 2, 2, 8, dropout=0.0, gated=True, activation="silu")), "pairs"),
    "ViT": (lambda: m.ViT(m.ViTConfig(num_layers=1, embed_dim=8, num_heads=2)), "pictures"),
}


def make(build):
    """A model in float64 with weights of a size that makes every path matter."""
    pf.manual_seed(0)
    model = build().to(pf.float64)
    rng = np.random.default_rng(0)
    with pf.no_grad():
        for parameter in model.parameters():
            parameter[...] = parameter.numpy() + 0.2 * rng.standard_normal(parameter.shape)
    return model


def batch(kind):
    rng = np.random.default_rng(1)
    if kind == "pictures":
        return rng.random((2, 1, 28, 28)), rng.integers(0, 10, 2)
    ids, targets = rng.integers(2, VOCAB, (2, 2, TOKENS))
    return (ids, np.array([0, 1])) if kind == "labels" else (ids, targets)


def assert_slope(model, arguments):
    """Along a random direction, the gradient is a five-point difference of the loss."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    model.loss(*arguments).backward()
    grads = [p.grad.numpy().copy() for p in parameters]
    values = [p.numpy().copy() for p in parameters]
    for seed in range(2):
        rng = np.random.default_rng(seed)
        directions = [rng.standard_normal(v.shape) / np.sqrt(v.size) for v in values]

        def at(step, directions=directions):
            with pf.no_grad():
                for p, v, d in zip(parameters, values, directions, strict=True):
                    p[...] = v + step * d
                return model.loss(*arguments).item()

        h = 1e-5  # small: ReLU has kinks
        slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        claimed = sum(float((g * d).sum()) for g, d in zip(grads, directions, strict=True))
        assert claimed == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", LANGUAGE)
def test_the_gradient_of_a_language_model(name):
    assert_slope(make(LANGUAGE[name]).train(), batch("ids"))


@pytest.mark.parametrize("name", OTHERS)
def test_the_gradient_of_another_model(name):
    build, kind = OTHERS[name]
    assert_slope(make(build).train(), batch(kind))


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_gradient_of_a_block_with_cross_attention(norm_first):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.TransformerBlock(8, 2, cross_attention=True, causal=True, norm_first=norm_first)

        def loss(self, x, context, weight):
            return (self.block(pf.tensor(x), pf.tensor(context)) * pf.tensor(weight)).sum()

    rng = np.random.default_rng(1)
    assert_slope(make(Reader), [rng.standard_normal(shape) for shape in ((2, 3, 8), (2, 5, 8), (2, 3, 8))])


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_token_changes_nothing_before_it_and_something_from_it_on(name):
    model = make(LANGUAGE[name]).eval()
    ids, _ = batch("ids")
    before = model(ids).numpy()
    for at in range(TOKENS):
        other = ids.copy()
        other[:, at] = (other[:, at] + 1) % VOCAB
        after = model(other).numpy()
        np.testing.assert_array_equal(after[:, :at], before[:, :at])
        assert (after[:, at] != before[:, at]).any(axis=-1).all()


@pytest.mark.parametrize("name", [n for n in LANGUAGE if n not in ("Llama with a window", "MLP")])
def test_the_last_place_sees_every_token(name):
    model = make(LANGUAGE[name]).eval()
    ids, _ = batch("ids")
    before = model(ids).numpy()[:, -1]
    for at in range(TOKENS):
        other = ids.copy()
        other[:, at] = (other[:, at] + 1) % VOCAB
        assert (model(other).numpy()[:, -1] != before).any(axis=-1).all(), at
