"""Language models whose past is a state of fixed size: ids in, logits out, the loss, generation from the state."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, generation, nn, ops
from pyformer.models import inputs
from pyformer.models.language_model import IGNORED, TextGenerator
from pyformer.models.pretrained import Pretrained


class StateModel(Pretrained, TextGenerator):
    """A model of the next token whose past is a state of fixed size.

    A subclass has `wte`, an Embedding that is also the last projection, and `advance`. Neither `forward` nor
    `generate` has a longest sequence: config.context_length is the length of a training window.
    """

    wte: nn.Embedding

    def __init__(self, config: Any) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            raise TypeError(
                f"{type(self).__name__}: expected a {self.config_class.__name__}, got {type(config).__name__}"
            )
        self.config = config

    def advance(
        self, ids: pf.Tensor, states: list[pf.Tensor] | None, positions: pf.Tensor
    ) -> tuple[pf.Tensor, list[pf.Tensor]]:
        """Reads ids (B, T) that start at positions (B,) after `states`, each (B, ...); None is the start.

        Returns what the last projection sees, (B, T, C), and the states after it.
        """
        raise NotImplementedError

    def forward(self, ids: Any) -> pf.Tensor:
        """Logits (B, T, V) of the token after each position.

        Args:
            ids: integers (B, T): a Tensor, NumPy array or nested list. Padding on the right changes nothing before.

        Raises:
            ValueError: T is 0 or a shape is wrong.
            TypeError: ids are not integers.
            IndexError: an id is not in [0, V).
        """
        return ops.linear(self.hidden(ids), self.wte.weight)

    def hidden(self, ids: Any) -> pf.Tensor:
        """What the last projection sees, (B, T, C), from the arguments of `forward`."""
        ids = self.read_ids(ids)
        return self.advance(ids, None, pf.zeros(ids.shape[0], dtype=pf.int64, device=ids.device))[0]

    def loss(self, ids: Any, targets: Any) -> pf.Tensor:
        """Mean cross-entropy in nats, a scalar; the logits are never held whole.

        Args:
            ids: integers (B, T), as in `forward`.
            targets: integers (B, T), the token to predict at each position; -100 is ignored.

        Raises as `forward` does.
        """
        ids = self.read_ids(ids)
        return self.token_loss(self.hidden(ids), self.read_targets(targets, tuple(ids.shape)))

    def token_loss(self, hidden: pf.Tensor, targets: np.ndarray) -> pf.Tensor:
        """Mean cross-entropy of targets (B, T) given hidden (B, T, C)."""
        return ops.linear_cross_entropy(
            hidden.reshape(-1, hidden.shape[2]),
            self.wte.weight,
            self.to_device(targets.reshape(-1)),
            ignore_index=IGNORED,
        )

    @property
    def longest(self) -> int:
        """No end: the past is a state, so a token costs the same however many came before."""
        return sys.maxsize

    def decoder(self, rows: int, length: int, new_tokens: int) -> generation.Decoder:
        """Reads prompts into states and goes on from them."""
        return StateDecoder(self)

    def read_ids(self, ids: Any) -> pf.Tensor:
        """Ids of any accepted form as int64 (B, T)."""
        return inputs.read_ids(type(self).__name__, ids, sys.maxsize, self.wte.weight.device)

    def read_targets(self, targets: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Targets of any accepted form as an int64 array of `shape`."""
        targets = inputs.read_int64(type(self).__name__, "targets", targets)
        if targets.shape != shape:
            raise ValueError(f"{type(self).__name__}: targets must be {shape} as ids are, got {targets.shape}")
        return targets

    def to_device(self, array: np.ndarray) -> pf.Tensor:
        """An array as a Tensor where the model's parameters are."""
        return pf.tensor(array, device=self.wte.weight.device)


class StateDecoder:
    """A `generation.Decoder` over a StateModel. All state of a generation is here, none in the model."""

    def __init__(self, model: StateModel) -> None:
        self.model = model
        self.states: list[pf.Tensor] = []

    def extend(self, ids: np.ndarray, positions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Logits (B, V) after the last token of each row, as `generation.Decoder` says."""
        model = self.model
        if positions.any():
            hidden, self.states = model.advance(model.to_device(ids), self.states, model.to_device(positions))
            last = hidden[:, -1]
        else:
            last = self._encode(ids, lengths)
        return ops.linear(last, model.wte.weight).to("cpu").numpy()

    def _encode(self, ids: np.ndarray, lengths: np.ndarray) -> pf.Tensor:
        """Rows of equal length together: a state can't take back the padding that it read."""
        model = self.model
        order, parts = [], []
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            start = model.to_device(np.zeros(len(rows), np.int64))
            hidden, states = model.advance(model.to_device(ids[rows, :length]), None, start)
            order.append(rows)
            parts.append([hidden[:, -1], *states])
        if len(parts) == 1:
            last, *self.states = parts[0]
            return last
        back = model.to_device(np.argsort(np.concatenate(order)))
        last, *self.states = (_reordered(ops.concat(list(p)), back) for p in zip(*parts, strict=True))
        return last


def _reordered(x: pf.Tensor, rows: pf.Tensor) -> pf.Tensor:
    return ops.embedding(rows, x.reshape(x.shape[0], -1)).reshape(*x.shape)


def initialise(model: nn.Module, num_layers: int, residual: tuple[str, ...]) -> None:
    """GPT-2's first values: matrices normal with 0.02, divided by sqrt(2 L) where their name ends with one of
    `residual`, as what they give adds up along the residual stream; biases 0."""
    with pf.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                _core.zero_([parameter])
            elif parameter.ndim == 2:
                std = 0.02 / math.sqrt(2 * num_layers) if name.endswith(residual) else 0.02
                _core.copy_([parameter], [pf.randn(*parameter.shape, dtype=parameter.dtype) * std])
