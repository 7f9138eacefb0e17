"""Where models draw dropout: each place takes one stream of random numbers in training, none in evaluation."""

from __future__ import annotations

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core, nn
from pyformer import models as m

LAYERS = 3
IDS = np.random.default_rng(0).integers(1, 23, (2, 6))
SIZES = (23, 8, LAYERS, 2, 8)  # vocabulary, context, layers, heads, width
PICTURES = np.random.default_rng(0).random((2, 1, 28, 28)).astype("f")


def call(*arguments):
    return lambda model: model(*arguments)


# name -> (make, use, the places of one forward pass in training)
PLACES = {
    "GPT": (lambda p: m.GPT(m.GPTConfig(*SIZES, dropout=p)), call(IDS), 1 + 2 * LAYERS),
    "GPT recomputed": (lambda p: m.GPT(m.GPTConfig(*SIZES, dropout=p), recompute=True), call(IDS), 1 + 2 * LAYERS),
    "Llama": (lambda p: m.Llama(m.LlamaConfig(*SIZES, dropout=p)), call(IDS), 1 + 2 * LAYERS),
    "BERT": (lambda p: m.BERT(m.BertConfig(*SIZES, dropout=p)), call(IDS), 1 + 2 * LAYERS),
    "BertClassifier": (lambda p: m.BertClassifier(m.BertConfig(*SIZES, dropout=p)), call(IDS), 2 + 2 * LAYERS),
    "EncoderDecoder": (
        lambda p: m.EncoderDecoder(m.EncoderDecoderConfig(*SIZES, dropout=p)),
        call(IDS, IDS),
        1 + 2 * LAYERS + 1 + 3 * LAYERS,
    ),
    "T5": (lambda p: m.T5(m.T5Config(23, LAYERS, 2, 8, dropout=p)), call(IDS, IDS), 2 + 2 * LAYERS + 2 + 3 * LAYERS),
    "ViT": (lambda p: m.ViT(m.ViTConfig(num_layers=LAYERS, dropout=p)), call(PICTURES), 1 + 2 * LAYERS),
    "ConvNet": (lambda p: m.ConvNet(m.ConvNetConfig(widths=(4,), dropout=p)), call(PICTURES), 1),
    "RetNet": (lambda p: m.RetNet(m.RetNetConfig(*SIZES, dropout=p)), call(IDS), 1 + 2 * LAYERS),
    "LSTM": (lambda p: m.LSTM(m.LSTMConfig(23, 8, LAYERS, 8, dropout=p)), call(IDS), 1 + LAYERS),
    "LSTM backward": (
        lambda p: m.LSTM(m.LSTMConfig(23, 8, LAYERS, 8, dropout=p, bidirectional=True)),
        lambda model: model.backward_hidden(IDS),
        1 + LAYERS,
    ),
    "Liquid": (lambda p: m.Liquid(m.LiquidConfig(23, 8, LAYERS, 8, dropout=p)), call(IDS), 1 + LAYERS),
    "MLPLanguageModel": (
        lambda p: m.MLPLanguageModel(m.MLPLanguageModelConfig(23, 8, LAYERS, 8, dropout=p)),
        call(IDS),
        1 + LAYERS,
    ),
    "KANTransformer": (
        lambda p: m.KANTransformer(m.KANTransformerConfig(*SIZES, dropout=p)),
        call(IDS),
        1 + 2 * LAYERS,
    ),
    "TransformerBlock": (lambda p: nn.TransformerBlock(8, 2, dropout=p), call(pf.ones(2, 3, 8)), 2),
    "TransformerBlock with cross-attention": (
        lambda p: nn.TransformerBlock(8, 2, cross_attention=True, dropout=p),
        call(pf.ones(2, 3, 8), pf.ones(2, 4, 8)),
        3,
    ),
}


def streams(use, model):
    before = _core.rng_state()
    use(model)
    seed, stream = _core.rng_state()
    assert seed == before[0]
    return stream - before[1]


@pytest.mark.parametrize("name", PLACES)
def test_places(name):
    make, use, places = PLACES[name]
    pf.manual_seed(0)
    model = make(0.25)
    assert streams(use, model.train()) == places
    assert streams(use, model.eval()) == 0
    assert streams(use, make(0.0).train()) == 0
