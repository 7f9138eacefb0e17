"""Recurrent layers over whole sequences: LSTM, GRU, the plain RNN, and the liquid cell CfC."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, ops
from pyformer.arrays import plain_array
from pyformer.nn import init
from pyformer.nn.layers import check_sizes
from pyformer.nn.module import Module


class Ends:
    """Rows (B, T, ...) that end at lengths (B,), each from 1 to T, and the order in which they are read backwards."""

    def __init__(self, lengths: np.ndarray, tokens: int, device: str) -> None:
        self.lengths, self.tokens, self.device = lengths, tokens, device
        self._places, self._ends = np.arange(tokens), lengths[:, None]
        self.there = self._tensor((self._places < self._ends)[:, :, None])

    def zeroed(self, x: pf.Tensor) -> pf.Tensor:
        """x (B, T, n) with zeros beyond the ends, whatever was there."""
        return ops.where(self.there, x, 0.0)

    def flipped(self, x: pf.Tensor) -> pf.Tensor:
        """x (B, T, n), each row turned round within its length."""
        return self._taken(x, np.where(self._places < self._ends, self._ends - 1 - self._places, self._places))

    def gaps_backwards(self, gaps: pf.Tensor) -> pf.Tensor:
        """Gaps (B, T) of `flipped` rows: there the observation before is the one that follows in time."""
        return self._taken(gaps.reshape(*gaps.shape, 1), (self._ends - self._places) % self._ends)[:, :, 0]

    def last(self, x: pf.Tensor) -> pf.Tensor:
        """(B, n): the element of x (B, T, n) at each row's end."""
        return self._taken(x, self._ends - 1)[:, 0]

    def _taken(self, x: pf.Tensor, places: np.ndarray) -> pf.Tensor:
        """(B, m, n): the elements of each row of x (B, T, n) that stand at `places` (B, m)."""
        batch, tokens, width = x.shape
        index = self._tensor((np.arange(batch)[:, None] * tokens + places).reshape(-1))
        return ops.embedding(index, x.reshape(batch * tokens, width)).reshape(batch, places.shape[1], width)

    def _tensor(self, array: np.ndarray) -> pf.Tensor:
        return pf.tensor(np.ascontiguousarray(array), device=self.device)


class Recurrent(Module):
    """What the four share: layers, directions, and parameters under torch's names.

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
        batch_first: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not batch_first:
            raise ValueError(f"{name}: expected batch_first=True, x is (B, T, C) always; x.swapaxes(0, 1) makes it so")
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

    def _run(self, x: pf.Tensor, state: Any, lengths: Any, **options: Any) -> Any:
        """(out, last states as a list of (layers * directions, B, H))."""
        directions = self._directions()
        self._check_x(x)
        states, ends = self._read_states(state, x, len(directions)), self._read_ends(lengths, x)
        last: list[list[pf.Tensor]] = []
        outs: list[pf.Tensor] = []
        for index, (layer, suffix) in enumerate(directions):
            names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if self.has_bias else ()))
            parameters = [getattr(self, f"{kind}_l{layer}{suffix}") for kind in names]
            start = dict(zip(self.state_names, (s[index] for s in states), strict=False))
            backwards = self.reverse or suffix != ""
            if ends is None:
                out, *after = self._read(x, parameters, backwards, **start, **options)
            else:
                out, after = self._read_to(ends, x, parameters, backwards, **start, **options)
            outs.append(out)
            last.append(after)
            if suffix or not self.bidirectional:
                x = outs[0] if len(outs) == 1 else ops.concat(outs, axis=-1)
                outs = []
        return x, [ops.stack(list(after)) for after in zip(*last, strict=True)]

    def _read(self, x: pf.Tensor, parameters: list[pf.Tensor], backwards: bool, **options: Any) -> tuple:
        """One layer in one direction over whole rows: (out, state after the last token read ...)."""
        raise NotImplementedError

    def _read_to(
        self, ends: Ends, x: pf.Tensor, parameters: list[pf.Tensor], backwards: bool, **options: Any
    ) -> tuple[pf.Tensor, list[pf.Tensor]]:
        """The same over rows that end before T: backwards they are turned round and read forwards."""
        x = ends.zeroed(ends.flipped(x) if backwards else x)
        if "lengths" in options:
            out, *after = self._read(x, parameters, False, **options)
        else:  # the state at a row's end is read off out, which 16 bits would have rounded
            is_narrow = x.dtype in (pf.bfloat16, pf.float16) and _core.precision() is None
            wide = [t.to(pf.float32) if is_narrow else t for t in (x, *parameters)]
            if is_narrow:
                options = {k: v.to(pf.float32) if _is_of(x.dtype, v) else v for k, v in options.items()}
            out, _ = self._read(wide[0], wide[1:], False, **options)
            out, after = (out.to(x.dtype) if is_narrow else out), [ends.last(out)]
        return ends.zeroed(ends.flipped(out) if backwards else out), after

    def _check_x(self, x: Any) -> None:
        name = type(self).__name__
        if not isinstance(x, pf.Tensor):
            raise TypeError(f"{name}: x must be a Tensor (B, T, {self.input_dim}), got {type(x).__name__}")
        if x.ndim != 3 or x.shape[1] == 0 or x.shape[2] != self.input_dim:
            raise ValueError(f"{name}: x must be (B, T, {self.input_dim}) with T at least 1, got {tuple(x.shape)}")

    def _read_states(self, state: Any, x: pf.Tensor, count: int) -> tuple[pf.Tensor, ...]:
        """The tensors of `state`, checked; () for None."""
        if state is None:
            return ()
        name, expected = type(self).__name__, (count, x.shape[0], self.hidden_dim)
        if len(self.state_names) == 1:
            wanted, states = "a Tensor", (state,)
        else:
            wanted, states = "a pair of Tensors (h, c)", state
        is_fit = isinstance(states, (tuple, list)) and all(isinstance(s, pf.Tensor) for s in states)
        if not is_fit or len(states) != len(self.state_names):
            raise TypeError(f"{name}: state must be {wanted}, each {expected}, got {_described(state)}")
        for letter, tensor in zip("hc", states, strict=False):
            if tuple(tensor.shape) != expected:
                raise ValueError(f"{name}: state {letter} must be {expected}, got {tuple(tensor.shape)}")
        return tuple(states)

    def _read_ends(self, lengths: Any, x: pf.Tensor) -> Ends | None:
        if lengths is None:
            return None
        name, (batch, tokens) = type(self).__name__, x.shape[:2]
        array = plain_array(name, lengths)
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"{name}: lengths must be integers, got {array.dtype}")
        if array.shape != (batch,):
            raise ValueError(f"{name}: lengths must be ({batch},), got {array.shape}")
        if batch and (array.min() < 1 or array.max() > tokens):
            raise ValueError(f"{name}: lengths must be from 1 to {tokens}, got {array.tolist()}")
        return Ends(array.astype(np.int64), tokens, x.device)

    def extra_repr(self) -> str:
        return f"{self.input_dim}, {self.hidden_dim}, num_layers={self.num_layers}, bidirectional={self.bidirectional}"


def _is_of(dtype: pf.DType, value: Any) -> bool:
    return isinstance(value, pf.Tensor) and value.dtype == dtype


def _described(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {', '.join(type(v).__name__ for v in value) or 'nothing'}"
    return f"a {type(value).__name__}"


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
        batch_first: torch's word; only True is taken, as x is (B, T, C) always.

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
        self, x: pf.Tensor, state: tuple[pf.Tensor, pf.Tensor] | None = None, lengths: Any = None
    ) -> tuple[pf.Tensor, tuple[pf.Tensor, pf.Tensor]]:
        """Runs over x (B, T, C) from a state, zeros by default.

        Args:
            x: (B, T, C).
            state: (h, c), each (layers * directions, B, H), or None.
            lengths: tokens of each row that count, integers (B,) from 1 to T; the rest is padding on the right, and
                may hold anything. Reading backwards begins at a row's own end, and out is 0 beyond it. All by default.

        Returns:
            (out, (h, c)): out (B, T, H or 2 H); h and c (layers * directions, B, H), the state after the last token
            read, which can be given as `state` to go on. Of 16-bit x it is float32, so that a sequence in parts has the
            bits of the whole.

        Raises:
            ValueError: a shape does not fit, or a length is out of range.
            TypeError: x is no Tensor, state no pair of them, or lengths are no integers.
        """
        out, last = self._run(x, state, lengths)
        return out, tuple(last)

    def _read(self, x: pf.Tensor, parameters: list[pf.Tensor], backwards: bool, **options: Any) -> tuple:
        return ops.lstm(x, *parameters, **options, reverse=backwards)

    def _read_to(self, ends: Ends, *args: Any, **options: Any) -> tuple[pf.Tensor, list[pf.Tensor]]:
        return super()._read_to(ends, *args, **options, lengths=ends.lengths.tolist())


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
        batch_first: torch's word; only True is taken, as x is (B, T, C) always.

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

    def forward(self, x: pf.Tensor, state: pf.Tensor | None = None, lengths: Any = None) -> tuple[pf.Tensor, pf.Tensor]:
        """Runs over x (B, T, C) from a state, zeros by default.

        Args:
            x: (B, T, C).
            state: (layers * directions, B, H), or None.
            lengths: tokens of each row that count, integers (B,) from 1 to T; the rest is padding on the right, and
                may hold anything. Reading backwards begins at a row's own end, and out is 0 beyond it. All by default.

        Returns:
            (out, h): out (B, T, H or 2 H); h (layers * directions, B, H), the state after the last token read,
            which can be given as `state` to go on. Of 16-bit x it is float32, so that a sequence in parts has the bits
            of the whole.

        Raises:
            ValueError: a shape does not fit, or a length is out of range.
            TypeError: x or state is no Tensor, or lengths are no integers.
        """
        out, last = self._run(x, state, lengths)
        return out, last[0]

    def _read(self, x: pf.Tensor, parameters: list[pf.Tensor], backwards: bool, **options: Any) -> tuple:
        return ops.gru(x, *parameters, **options, reverse=backwards)


class RNN(Recurrent):
    """Plain recurrent units, one above the other: (B, T, C) -> (B, T, H), or 2 H wide if bidirectional.

    h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh). Layer l has `weight_ih_l{l}` (H, inputs), `weight_hh_l{l}`
    (H, H), `bias_ih_l{l}` and `bias_hh_l{l}` (H,), named and laid out as torch's; the backward direction's names end in
    `_reverse`. Parameters are drawn evenly from +-1 / sqrt(H). It is made of one product a token, without a kernel of
    its own: `LSTM` and `GRU` are quicker.

    Args:
        input_dim, hidden_dim: C and H.
        num_layers: how many; each reads what the one before gives, of both directions side by side.
        nonlinearity: "tanh", or "relu" in its place.
        options: the following, by name.
        bias: whether there are biases.
        bidirectional: read in both directions.
        reverse: read from the last token to the first only.
        dtype: of the parameters, float32 by default.
        batch_first: torch's word; only True is taken, as x is (B, T, C) always.

    Raises:
        ValueError: a size is below 1, both bidirectional and reverse, the nonlinearity is another, or a shape does not
            fit (when called).
        TypeError: a size is no int.

    Source: Elman 1990, "Finding structure in time".

    Example:
        >>> out, h = pf.nn.RNN(4, 8, num_layers=2)(pf.zeros(3, 5, 4))
        >>> out.shape, h.shape
        ((3, 5, 8), (2, 3, 8))
    """

    gates = 1

    def __init__(
        self, input_dim: int, hidden_dim: int, num_layers: int = 1, nonlinearity: str = "tanh", **options: Any
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(input_dim, hidden_dim, num_layers, **options)
        self.nonlinearity = nonlinearity

    forward = GRU.forward

    def _read_to(self, ends: Ends, *args: Any, **options: Any) -> tuple[pf.Tensor, list[pf.Tensor]]:
        return super()._read_to(ends, *args, **options, there=ends.there)

    def _read(
        self,
        x: pf.Tensor,
        parameters: list[pf.Tensor],
        backwards: bool,
        h0: pf.Tensor | None = None,
        there: pf.Tensor | None = None,
    ) -> tuple[pf.Tensor, pf.Tensor]:
        """As everywhere; the state stays where `there` (B, T, 1) is False: in padding relu could grow without bound,
        and the gradient of what came before it would be 0 times infinity."""
        if x.dtype in (pf.bfloat16, pf.float16) and _core.precision() is None:  # the state is kept in float32
            wide = x.float(), [p.float() for p in parameters]
            out, h = self._read(*wide, backwards, h0 if h0 is None else h0.float(), there)
            return out.to(x.dtype), h
        w_ih, w_hh, *biases = parameters
        b_ih, b_hh = biases or (None, None)
        activation = getattr(ops, self.nonlinearity)
        inputs = ops.split(ops.linear(x, w_ih, b_ih), [1] * x.shape[1], 1)
        h = pf.zeros(x.shape[0], self.hidden_dim, dtype=inputs[0].dtype, device=x.device) if h0 is None else h0
        kept = [None] * len(inputs) if there is None else ops.split(there, [1] * x.shape[1], 1)
        steps = list(zip(inputs, kept, strict=True))
        outs = []
        for part, is_there in reversed(steps) if backwards else steps:
            after = activation(part.reshape(h.shape) + ops.linear(h, w_hh, b_hh))
            h = after if is_there is None else ops.where(is_there.reshape(-1, 1), after, h)
            outs.append(h)
        return ops.stack(outs[::-1] if backwards else outs, 1), h


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
        batch_first: torch's word; only True is taken, as x is (B, T, C) always.

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
        self, x: pf.Tensor, state: pf.Tensor | None = None, elapsed: pf.Tensor | None = None, lengths: Any = None
    ) -> tuple[pf.Tensor, pf.Tensor]:
        """Runs over x (B, T, C) from a state, zeros by default.

        Args:
            x: (B, T, C).
            state: (layers * directions, B, H), or None.
            elapsed: (B, T), the time since the observation before in time, ones by default. Reading backwards, the
                observation before is the next in time, so each takes that one's gap, and the last, which then has none
                before it, the gap that is given for the first.
            lengths: observations of each row that count, integers (B,) from 1 to T; the rest is padding on the right,
                and may hold anything. Reading backwards begins at a row's own end, and out is 0 beyond it. All by
                default.

        Returns:
            (out, h): out (B, T, H or 2 H); h (layers * directions, B, H), the state after the last token read,
            which can be given as `state` to go on. Of 16-bit x it is float32, so that a sequence in parts has the bits
            of the whole.

        Raises:
            ValueError: a shape does not fit, or a length is out of range.
            TypeError: x, state or elapsed is no Tensor, or lengths are no integers.
        """
        if elapsed is not None:
            self._check_elapsed(elapsed, x)
        out, last = self._run(x, state, lengths, elapsed=elapsed)
        return out, last[0]

    def _check_elapsed(self, elapsed: Any, x: Any) -> None:
        self._check_x(x)
        if not isinstance(elapsed, pf.Tensor):
            raise TypeError(f"CfC: elapsed must be a Tensor (B, T), got {type(elapsed).__name__}")
        if elapsed.shape != x.shape[:2]:
            raise ValueError(f"CfC: elapsed must be {tuple(x.shape[:2])}, got {tuple(elapsed.shape)}")

    def _read(self, x: pf.Tensor, parameters: list[pf.Tensor], backwards: bool, **options: Any) -> tuple:
        elapsed = options["elapsed"]
        if backwards and elapsed is not None:
            options["elapsed"] = ops.concat([elapsed[:, 1:], elapsed[:, :1]], axis=1)
        return ops.cfc(x, *parameters, **options, reverse=backwards)

    def _read_to(
        self, ends: Ends, x: pf.Tensor, parameters: list[pf.Tensor], backwards: bool, **options: Any
    ) -> tuple[pf.Tensor, list[pf.Tensor]]:
        elapsed = options["elapsed"]
        if elapsed is not None:
            gaps = ends.gaps_backwards(elapsed) if backwards else elapsed
            options["elapsed"] = ends.zeroed(gaps.reshape(*gaps.shape, 1))[:, :, 0]
        return super()._read_to(ends, x, parameters, backwards, **options)
