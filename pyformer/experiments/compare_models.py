"""The models that take part in `pyformer compare` and are no models of `pf.models`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops

WINDOW = 16


def beside(model: nn.Module, values: Any) -> pf.Tensor:
    """An array as a Tensor where the model is; without a copy if it is there already."""
    device = next(model.parameters()).device
    values = pf.asarray(values)
    return values if values.device == device else values.to(device)


class MLP(nn.Module):
    """Linear maps with SiLU between them: (..., sizes[0]) -> (..., sizes[-1])."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            x = layer(x, activation=None if index == last else "silu")
        return x


class LSTMNetwork(nn.Module):
    """LSTM layers and a linear map: x (B, T, inputs) -> (B, T, outputs)."""

    def __init__(self, inputs: int, width: int, outputs: int, layers: int) -> None:
        super().__init__()
        self.cells = nn.LSTM(inputs, width, layers)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Any) -> pf.Tensor:
        return self.head(self.cells(beside(self, x))[0])

    def loss(self, x: Any, targets: Any, elapsed: Any = None) -> pf.Tensor:
        """Mean squared error against targets (B, T, outputs), a scalar; `elapsed` is among x already."""
        return ops.mse_loss(self(x), beside(self, targets))


class NumberByNumber(nn.Module):
    """A network on series that reads the numbers of a row one after the other: x (N, inputs) -> (N, outputs)."""

    def __init__(self, network: LSTMNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return self.network(x.reshape(*x.shape, 1))[:, -1]


class WindowMLP(nn.Module):
    """An MLP over the last `WINDOW` observations: x (B, T, inputs) -> (B, T, outputs)."""

    def __init__(self, inputs: int, width: int, outputs: int, layers: int) -> None:
        super().__init__()
        self.mlp = MLP([WINDOW * inputs, *[width] * layers, outputs])

    def forward(self, x: Any) -> pf.Tensor:
        x = beside(self, x)
        padded = ops.pad(x, [(0, 0), (WINDOW - 1, 0), (0, 0)])
        return self.mlp(ops.concat([padded[:, i : i + x.shape[1]] for i in range(WINDOW)], axis=-1))

    def loss(self, x: Any, targets: Any, elapsed: Any = None) -> pf.Tensor:
        """Mean squared error against targets (B, T, outputs), a scalar; `elapsed` is among x already."""
        return ops.mse_loss(self(x), beside(self, targets))


class RecurrentClassifier(nn.Module):
    """Words, recurrent layers in one direction or both, the mean over the words, scores (B, 2)."""

    def __init__(self, cell: type, vocab: int, width: int, layers: int, bidirectional: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab, width)
        self.dropout = nn.Dropout(0.3)
        self.cells = cell(width, width, layers, bidirectional=bidirectional)
        self.head = nn.Linear(width * (2 if bidirectional else 1), 2)

    def forward(self, ids: np.ndarray, lengths: np.ndarray) -> pf.Tensor:
        there = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.float64)[:, :, None]
        x = self.dropout(self.words(beside(self, ids)))
        weights = pf.tensor(there / lengths[:, None, None], dtype=x.dtype, device=x.device)
        mean = (self.cells(x, lengths=lengths)[0] * weights).sum(axis=1)
        return self.head(self.dropout(mean))

    def loss(self, ids: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> pf.Tensor:
        """Mean cross-entropy in nats of labels (B,), a scalar."""
        return ops.cross_entropy(self(ids, lengths), beside(self, labels))
