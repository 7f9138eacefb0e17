"""Recurrent layers over whole sequences: LSTM, GRU, and the liquid cell CfC."""

from __future__ import annotations

import math
from typing import Any

import pyformer as pf
from pyformer import ops
from pyformer.nn import init
from pyformer.nn.layers import check_sizes
from pyformer.nn.module import Module


class Recurrent(Module):
    """What the three share: layers, directions, and parameters under torch's names.

    Layer l of direction d has weight_ih_l{l}, weight_hh_l{l}, bias_ih_l{l}, bias_hh_l{l}, with the suffix
    `_reverse` for the direction from the last token to the first. A layer reads what the layer before gives, of
    both directions side by side. With `reverse` there is one direction, that one, under the plain names.
    """

    gates: int
    state_names: tuple[str, ...] = ("h0",)

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        bidirectional: bool = False,
        reverse: bool = False,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_sizes(name, input_dim=input_dim, hidden_dim=hidden_dim, num_layers=num_layers)
        if bidirectional and reverse:
            raise ValueError(f"{name}: expected bidirectional or reverse, got both")
        self.input_dim, self.hidden_dim, self.num_layers = input_dim, hidden_dim, num_layers
        self.bidirectional, self.reverse, self.has_bias = bidirectional, reverse, bias
        bound, rows = 1.0 / math.sqrt(hidden_dim), self.gates * hidden_dim
        for layer, suffix in self._directions():
            inputs = input_dim if layer == 0 else hidden_dim * (2 if bidirectional else 1)
            shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, hidden_dim)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for kind, shape in shapes.items():
                setattr(self, f"{kind}_l{layer}{suffix}", init.uniform(*shape, bound=bound, dtype=dtype))

    def _directions(self) -> list[tuple[int, str]]:
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        return [(layer, suffix) for layer in range(self.num_layers) for suffix in suffixes]

    def _run(self, op: Any, x: pf.Tensor, states: tuple[pf.Tensor, ...] | None, **options: Any) -> Any:
        """(out, last states as a list of (layers * directions, B, H))."""
        directions = self._directions()
        self._check_states(states, x, len(directions))
        last: list[list[pf.Tensor]] = []
        outs: list[pf.Tensor] = []
        for index, (layer, suffix) in enumerate(directions):
            names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if self.has_bias else ()))
            parameters = [getattr(self, f"{kind}_l{layer}{suffix}") for kind in names]
            start = {} if states is None else dict(zip(self.state_names, (s[index] for s in states), strict=True))
            out, *ends = op(x, *parameters, **start, **options, reverse=self.reverse or suffix != "")
            outs.append(out)
            last.append(ends)
            if suffix or not self.bidirectional:
                x = outs[0] if len(outs) == 1 else ops.concat(outs, axis=-1)
                outs = []
        return x, [ops.stack(list(ends)) for ends in zip(*last, strict=True)]

    def _check_states(self, states: tuple[pf.Tensor, ...] | None, x: pf.Tensor, count: int) -> None:
        name = type(self).__name__
        if x.ndim != 3 or x.shape[2] != self.input_dim:
            raise ValueError(f"{name}: x must be (B, T, {self.input_dim}), got {tuple(x.shape)}")
        expected = (count, x.shape[0], self.hidden_dim)
        for state in states or ():
            if tuple(state.shape) != expected:
                raise ValueError(f"{name}: each state must be {expected}, got {tuple(state.shape)}")

    def extra_repr(self) -> str:
        return f"{self.input_dim}, {self.hidden_dim}, num_layers={self.num_layers}, bidirectional={self.bidirectional}"


class LSTM(Recurrent):
    """Long short-term memories, one above the other: (B, T, C) -> (B, T, H), or 2 H wide if bidirectional.

    Layer l has `weight_ih_l{l}` (4 H, inputs), `weight_hh_l{l}` (4 H, H), `bias_ih_l{l}` and `bias_hh_l{l}` (4 H,),
    named and laid out as torch's; the backward direction's names end in `_reverse`. Parameters are drawn evenly from
    +-1 / sqrt(H).

    Args:
        input_dim, hidden_dim: C and H.
        num_layers: how many; each reads what the one before gives, of both directions side by side.
        bias: whether there are biases.
        bidirectional: read in both directions.
        reverse: read from the last token to the first only.
        dtype: of the parameters, float32 by default.

    Raises:
        ValueError: a size is below 1, both bidirectional and reverse, or a shape does not fit (when called).
        TypeError: a size is no int.

    Source: Hochreiter, Schmidhuber 1997, "Long short-term memory".

    Example:
        >>> out, (h, c) = pf.nn.LSTM(4, 8, num_layers=2)(pf.zeros(3, 5, 4))
        >>> out.shape, h.shape, c.shape
        ((3, 5, 8), (2, 3, 8), (2, 3, 8))
    """

    gates = 4
    state_names = ("h0", "c0")

    def forward(
        self, x: pf.Tensor, state: tuple[pf.Tensor, pf.Tensor] | None = None
    ) -> tuple[pf.Tensor, tuple[pf.Tensor, pf.Tensor]]:
        """Runs over x (B, T, C) from a state, zeros by default.

        Returns:
            (out, (h, c)): out (B, T, H or 2 H); h and c (layers * directions, B, H), the state after the last token
            read, which can be given as `state` to go on.

        Raises:
            ValueError: a shape does not fit.
        """
        out, last = self._run(ops.lstm, x, state)
        return out, tuple(last)


class GRU(Recurrent):
    """Gated recurrent units, one above the other: (B, T, C) -> (B, T, H), or 2 H wide if bidirectional.

    Layer l has `weight_ih_l{l}` (3 H, inputs), `weight_hh_l{l}` (3 H, H), `bias_ih_l{l}` and `bias_hh_l{l}` (3 H,),
    named and laid out as torch's; the backward direction's names end in `_reverse`. Parameters are drawn evenly from
    +-1 / sqrt(H).

    Args:
        input_dim, hidden_dim: C and H.
        num_layers: how many; each reads what the one before gives, of both directions side by side.
        bias: whether there are biases.
        bidirectional: read in both directions.
        reverse: read from the last token to the first only.
        dtype: of the parameters, float32 by default.

    Raises:
        ValueError: a size is below 1, both bidirectional and reverse, or a shape does not fit (when called).
        TypeError: a size is no int.

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder".

    Example:
        >>> out, h = pf.nn.GRU(4, 8, bidirectional=True)(pf.zeros(3, 5, 4))
        >>> out.shape, h.shape
        ((3, 5, 16), (2, 3, 8))
    """

    gates = 3

    def forward(self, x: pf.Tensor, state: pf.Tensor | None = None) -> tuple[pf.Tensor, pf.Tensor]:
        """Runs over x (B, T, C) from a state, zeros by default.

        Returns:
            (out, h): out (B, T, H or 2 H); h (layers * directions, B, H), the state after the last token read,
            which can be given as `state` to go on.

        Raises:
            ValueError: a shape does not fit.
        """
        out, last = self._run(ops.gru, x, None if state is None else (state,))
        return out, last[0]


class CfC(Recurrent):
    """Closed-form continuous-time (liquid) cells, one above the other: (B, T, C) -> (B, T, H), or 2 H wide if
    bidirectional.

    Layer l has `weight_ih_l{l}` (3 H, inputs), `weight_hh_l{l}` (3 H, H), `bias_ih_l{l}` and `bias_hh_l{l}` (3 H,);
    the backward direction's names end in `_reverse`. Parameters are drawn evenly from +-1 / sqrt(H). `pf.ops.cfc`
    has the formula.

    Args:
        input_dim, hidden_dim: C and H.
        num_layers: how many; each reads what the one before gives, of both directions side by side.
        bias: whether there are biases.
        bidirectional: read in both directions.
        reverse: read from the last token to the first only.
        dtype: of the parameters, float32 by default.

    Raises:
        ValueError: a size is below 1, both bidirectional and reverse, or a shape does not fit (when called).
        TypeError: a size is no int.

    Source: Hasani et al. 2022, "Closed-form continuous-time neural networks".

    Example:
        >>> out, h = pf.nn.CfC(2, 8)(pf.zeros(1, 4, 2), elapsed=pf.tensor([[1.0, 1.0, 5.0, 1.0]]))
        >>> out.shape, h.shape
        ((1, 4, 8), (1, 1, 8))
    """

    gates = 3

    def forward(
        self, x: pf.Tensor, state: pf.Tensor | None = None, elapsed: pf.Tensor | None = None
    ) -> tuple[pf.Tensor, pf.Tensor]:
        """Runs over x (B, T, C) from a state, zeros by default.

        Args:
            x: (B, T, C).
            state: (layers * directions, B, H), or None.
            elapsed: (B, T), the time since the observation before, ones by default.

        Returns:
            (out, h): out (B, T, H or 2 H); h (layers * directions, B, H), the state after the last token read,
            which can be given as `state` to go on.

        Raises:
            ValueError: a shape does not fit.
        """
        out, last = self._run(ops.cfc, x, None if state is None else (state,), elapsed=elapsed)
        return out, last[0]
