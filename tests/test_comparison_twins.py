"""The models that `pyformer compare` alone has, against torch: same weights, same batch, outputs and all gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch_twins
from tolerance import MODEL_OPS, assert_close, by_rows

import pyformer as pf
from pyformer import nn
from pyformer.experiments import compare_models, compare_tasks
from pyformer.experiments.compare_models import WINDOW, LSTMNetwork, RecurrentClassifier, WindowMLP
from pyformer.experiments.compare_tasks import SideBySide
from pyformer.models import KAN, KANConfig

F = torch.nn.functional
GRID = KANConfig((2, 4, 1), 5, low=-1.5, high=1.5)


class RecurrentTwin(torch.nn.Module):
    """Torch's own layers under the names of ours."""

    def __init__(self, cell, inputs, width, outputs, layers, bidirectional=False, vocab=0):
        super().__init__()
        if vocab:
            self.words = torch.nn.Embedding(vocab, inputs)
        self.cells = cell(inputs, width, layers, batch_first=True, bidirectional=bidirectional)
        self.head = torch.nn.Linear(width * (2 if bidirectional else 1), outputs)


def series(twin, x):
    return twin.head(twin.cells(x)[0])


def sentences(twin, ids, lengths):
    packed = torch.nn.utils.rnn.pack_padded_sequence(twin.words(ids), lengths, batch_first=True, enforce_sorted=False)
    out = torch.nn.utils.rnn.pad_packed_sequence(twin.cells(packed)[0], batch_first=True, total_length=ids.shape[1])[0]
    return twin.head(torch.stack([row[:length].mean(0) for row, length in zip(out, lengths, strict=True)]))


def mlp(p, prefix, x):
    layers = sum(name.startswith(prefix) and name.endswith("weight") for name in p)
    for i in range(layers):
        x = torch_twins.linear(x, p, f"{prefix}layers.{i}")
        x = F.silu(x) if i < layers - 1 else x
    return x


def window_mlp(p, x):
    rows = [x.new_zeros(x.shape[0], WINDOW - 1, x.shape[2]), x]
    windows = torch.cat(rows, 1).unfold(1, WINDOW, 1).transpose(2, 3).flatten(2)
    return mlp(p, "mlp.", windows)


def side_by_side(p, x, network):
    return torch.cat([network(p, f"networks.{i}.", x[:, i]) for i in range(len(compare_tasks.FORMULAS))], 1)


def kan(p, prefix, x):
    own = {name.removeprefix(prefix): tensor for name, tensor in p.items() if name.startswith(prefix)}
    return torch_twins.kan(own, x, GRID)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


REGRESSION = {
    "mlp": (lambda: SideBySide(lambda: compare_models.MLP([2, 6, 5, 1])), lambda p, x: side_by_side(p, x, mlp)),
    "kan": (lambda: SideBySide(lambda: KAN(GRID)), lambda p, x: side_by_side(p, x, kan)),
    "window": (lambda: WindowMLP(2, 6, 2, 2), window_mlp),
}


def assert_same(model, twin_gradients, out, expected, loss, expected_loss, dtype):
    assert_close(out.numpy(), by_rows(expected.detach().numpy()), "output", additions=64, ops=MODEL_OPS)
    assert_close(loss.numpy(), by_rows(expected_loss.detach().numpy()), "loss", additions=64, ops=MODEL_OPS)
    loss.backward()
    expected_loss.backward()
    names = dict(model.named_parameters())
    gradients = twin_gradients()
    assert names.keys() == gradients.keys()
    for name, parameter in names.items():
        wanted = gradients[name].numpy()
        assert wanted.any(), name
        assert_close(parameter.grad.numpy(), by_rows(wanted, least=1e-2), name, additions=128, ops=MODEL_OPS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", REGRESSION)
def test_networks_equal_their_twins(name, dtype):
    make, twin = REGRESSION[name]
    pf.manual_seed(0)
    model = make().to(getattr(pf, dtype))
    p = {key: torch.tensor(t.numpy(), requires_grad=True) for key, t in model.state_dict().items()}
    x = numbers(3, 20, 2) if name == "window" else numbers(30, len(compare_tasks.FORMULAS), 2)
    x = x.astype(dtype)
    expected = twin(p, torch.tensor(x))
    y = numbers(*expected.shape, seed=1).astype(dtype)
    losses = model.loss(x, y), F.mse_loss(expected, torch.tensor(y))
    assert_same(model, lambda: {key: t.grad for key, t in p.items()}, model(x), expected, *losses, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("layers", "kind"), list(itertools.product((1, 2), ("bilstm", "gru", "series"))))
def test_recurrent_networks_equal_their_twins(kind, layers, dtype):
    pf.manual_seed(0)
    torch.manual_seed(0)
    if kind == "series":
        model, twin = LSTMNetwork(2, 6, 2, layers), RecurrentTwin(torch.nn.LSTM, 2, 6, 2, layers)
        inputs, y = (numbers(3, 9, 2).astype(dtype),), numbers(3, 9, 2, seed=1).astype(dtype)
        forward, loss = series, F.mse_loss
    else:
        both, cell = kind == "bilstm", "LSTM" if kind == "bilstm" else "GRU"
        model = RecurrentClassifier(getattr(nn, cell), 11, 6, layers, both).eval()
        twin = RecurrentTwin(getattr(torch.nn, cell), 6, 6, 2, layers, both, vocab=11)
        inputs = (np.random.default_rng(0).integers(0, 11, (4, 7)), np.array([7, 1, 4, 6]))
        y, forward, loss = np.array([1, 0, 0, 1]), sentences, F.cross_entropy
    model.to(getattr(pf, dtype))
    twin.to(getattr(torch, dtype))
    twin.load_state_dict({name: torch.tensor(t.numpy()) for name, t in model.state_dict().items()})
    expected = forward(twin, *map(torch.tensor, inputs))
    losses = model.loss(inputs[0], y, *inputs[1:]), loss(expected, torch.tensor(y))
    gradients = lambda: {name: p.grad for name, p in twin.named_parameters()}  # noqa: E731
    assert_same(model, gradients, model(*inputs), expected, *losses, dtype)
