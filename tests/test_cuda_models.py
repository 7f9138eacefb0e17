"""Every model of the library trains ten steps on the emulated device beside its CPU self, to the same bits; in mixed
precision, whose products tensor cores add up in their own order, to nearly the same losses."""

from __future__ import annotations

from contextlib import nullcontext

import cuda_device
import numpy as np
import pytest
from tolerance import same_bits

import pyformer as pf
from pyformer import _core
from pyformer import models as m
from pyformer.nn.precision import is_float

DEVICE = "cuda:emulated"
VOCAB, STEPS = 11, 10
SIZES = (VOCAB, 8, 1, 2, 8)  # vocabulary, context, layers, heads, width


@pytest.fixture(autouse=True, scope="module")
def _device():
    cuda_device.library()
    cuda_device.schedule("drawn,late,seed=5")
    yield
    cuda_device.schedule("lowest,early")


def ids(rng):
    return rng.integers(2, VOCAB, (2, 5)), rng.integers(2, VOCAB, (2, 5))


def labels(rng):
    return rng.integers(2, VOCAB, (2, 5)), np.array([0, 1])


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def pictures(rng):
    return floats(rng, 2, 1, 8, 8), np.array([0, 2])


# How each is made, and what its loss takes.
MODELS = {
    "GPT": (lambda: m.GPT(m.GPTConfig(*SIZES, dropout=0.1)), ids),
    "Llama": (lambda: m.Llama(m.LlamaConfig(*SIZES, num_kv_heads=1, window=3)), ids),
    "Decoder": (lambda: m.Decoder(m.DecoderConfig(*SIZES)), ids),
    "RetNet": (lambda: m.RetNet(m.RetNetConfig(*SIZES)), ids),
    "LSTM": (lambda: m.LSTM(m.LSTMConfig(VOCAB, 8, 1, 8)), ids),
    "LSTM of GRUs": (lambda: m.LSTM(m.LSTMConfig(VOCAB, 8, 1, 8, cell="gru")), ids),
    "Liquid": (lambda: m.Liquid(m.LiquidConfig(VOCAB, 8, 1, 8)), ids),
    "MLPLanguageModel": (lambda: m.MLPLanguageModel(m.MLPLanguageModelConfig(VOCAB, 8, 1, 8, window=3)), ids),
    "KANTransformer": (lambda: m.KANTransformer(m.KANTransformerConfig(*SIZES)), ids),
    "BertClassifier": (lambda: m.BertClassifier(m.BertConfig(*SIZES)), labels),
    "EncoderDecoder": (lambda: m.EncoderDecoder(m.EncoderDecoderConfig(*SIZES)), ids),
    "T5": (lambda: m.T5(m.T5Config(VOCAB, 1, 2, 8)), ids),
    "ViT": (lambda: m.ViT(m.ViTConfig(8, 4, 1, 3, 1, 2, 8)), pictures),
    "ConvNet": (lambda: m.ConvNet(m.ConvNetConfig(8, 1, 3, (3, 4), dropout=0.1)), pictures),
    "Autoencoder": (lambda: m.Autoencoder(m.AutoencoderConfig(8, 1, 3, (3,))), lambda rng: pictures(rng)[:1]),
    "GAN": (lambda: m.GAN(m.GANConfig(8, 1, 3, 4, (3, 8))), lambda rng: (*pictures(rng), floats(rng, 2, 4))),
    "DiT": (
        lambda: m.DiT(m.DiTConfig(8, 4, 1, 3, 1, 2, 8)),
        lambda rng: (*pictures(rng), rng.random(2).astype(np.float32), floats(rng, 2, 1, 8, 8)),
    ),
    "KAN": (lambda: m.KAN(m.KANConfig((3, 4, 2))), lambda rng: (floats(rng, 5, 3), floats(rng, 5, 2))),
    "LiquidNetwork": (
        lambda: m.LiquidNetwork(m.LiquidNetworkConfig(3, 4, 2)),
        lambda rng: (floats(rng, 2, 4, 3), floats(rng, 2, 4, 2)),
    ),
}


def test_every_model_is_here():
    models = {name for name in m.__all__ if name != "from_pretrained" and not name.endswith("Config")}
    without_a_loss = {"BERT", "Encoder"}
    assert {name.split()[0] for name in MODELS} == models - without_a_loss
    assert not any(hasattr(getattr(m, name), "loss") for name in without_a_loss)


def train(build, batch, device, precision=nullcontext):
    """Losses, and all weights and buffers at the end."""
    pf.manual_seed(1)
    model, rng = build().to(device).train(), np.random.default_rng(0)
    optimizer, losses = pf.optim.AdamW(model.parameters(), lr=1e-2), []
    for _ in range(STEPS):
        with precision():
            loss = model.loss(*batch(rng))
        optimizer.zero_grad()
        loss.backward()
        pf.optim.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 0.5)
        optimizer.step()
        losses.append(loss.item())
    state = model.state_dict()
    assert all(value.device == pf.device(device) for value in state.values())
    return losses, {key: value.to("cpu").numpy() for key, value in state.items() if is_float(value.dtype)}


@pytest.mark.parametrize("name", MODELS)
def test_trains_as_on_the_cpu(name):
    _core.set_isa("ref")
    (losses, expected), (there, found) = (train(*MODELS[name], device) for device in ("cpu", DEVICE))
    assert losses == there
    assert len(set(losses)) == STEPS
    for key, value in expected.items():
        assert same_bits(found[key], value), key


@pytest.mark.parametrize("name", ["ConvNet", "LSTM", "LSTM of GRUs", "Llama"])
def test_trains_in_mixed_precision(name):
    losses, there = (train(*MODELS[name], device, lambda: pf.autocast("bfloat16"))[0] for device in ("cpu", DEVICE))
    np.testing.assert_allclose(there, losses, rtol=2e-3)
    assert there != train(*MODELS[name], DEVICE)[0]


def test_convolution_in_mixed_precision_rounds_its_operands():
    arrays = [floats(np.random.default_rng(0), *shape) for shape in ((2, 3, 5, 6), (9, 3, 3, 2), (9,))]
    x, weight, bias = (pf.tensor(a, device=DEVICE) for a in arrays)
    with pf.autocast("bfloat16"):
        found = pf.ops.conv2d(x, weight, bias, padding=1)
    x, weight = (t.to("bfloat16").to("float32") for t in (x, weight))
    assert same_bits(found.to("cpu").numpy(), pf.ops.conv2d(x, weight, bias, padding=1).to("cpu").numpy())


def test_a_quantised_model_stays_on_the_cpu():
    model = m.GPT(m.GPTConfig(VOCAB, 8, 1, 2, 32)).quantize("q8")
    with pytest.raises(ValueError, match=f"quantised matrices are on the CPU only, got {DEVICE}"):
        model.to(DEVICE)
    assert all(value.device == pf.device("cpu") for value in model.state_dict().values())
    assert model.to("cpu")([[1, 2]]).shape == (1, 2, VOCAB)
