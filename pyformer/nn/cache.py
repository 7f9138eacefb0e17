"""What a transformer remembers of the tokens it has read: keys and values, of every layer, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, ops
from pyformer.arrays import plain_array
from pyformer.nn.layers import check_sizes


class LayerCache:
    """One layer of a KVCache, within a step."""

    __slots__ = ("cache", "layer")

    def __init__(self, cache: KVCache, layer: int) -> None:
        self.cache, self.layer = cache, layer

    def append(self, k: pf.Tensor, v: pf.Tensor) -> tuple[pf.Tensor, pf.Tensor]:
        """Writes this step's keys and values (B, T, Hkv, D); returns all of the layer's, (B, capacity, Hkv, D).

        ValueError unless T is what `begin` was told. A bfloat16 cache rounds float32 ones, as attention in autocast
        does.
        """
        if k.shape[1] != self.cache.tokens or v.shape[1] != self.cache.tokens:
            raise ValueError(
                f"KVCache: keys and values must be of the {self.cache.tokens} tokens that the step began with, "
                f"got {k.shape[1]} and {v.shape[1]}"
            )
        keys, values = self.cache.keys[self.layer], self.cache.values[self.layer]
        _core.cache_append_(keys, k, self.cache.starts)
        _core.cache_append_(values, v, self.cache.starts)
        return keys, values

    @property
    def reach(self) -> dict[str, pf.Tensor]:
        """What `ops.attention` is to be told of this step: key_lengths and query_offset."""
        return self.cache.reach


class KVCache:
    """Keys and values of the tokens that some texts hold so far, for attention one token at a time.

    A step is `begin`, then every layer's `append`, then `pf.ops.attention(q, keys, values, causal=True, **reach)`.
    Rows join and leave between steps. What attention gives for a row has the same bits whatever the others are, and
    whatever memory there is.

    Args:
        num_layers, num_kv_heads, head_dim: of the model.
        rows: how many texts there are at first.
        capacity: for how many tokens of a row there is memory at first; `begin` makes more.
        dtype: float32 by default.
        device: "cpu" by default, or PYFORMER_DEVICE.

    Raises:
        ValueError: a size, a step's tokens or counts, or a length to go back to, are out of range.
        IndexError: a row to keep is not there.
        TypeError: what must be integers is not.

    Example:
        >>> cache = pf.nn.KVCache(num_layers=1, num_kv_heads=1, head_dim=2, rows=1)
        >>> q = k = v = pf.ones(1, 3, 1, 2)
        >>> cache.begin(tokens=3)
        >>> keys, values = cache[0].append(k, v)
        >>> pf.ops.attention(q, keys, values, causal=True, **cache[0].reach).shape, cache.rows
        ((1, 3, 1, 2), 1)
    """

    def __init__(
        self,
        num_layers: int,
        num_kv_heads: int,
        head_dim: int,
        *,
        rows: int = 0,
        capacity: int = 0,
        dtype: Any = None,
        device: Any = None,
    ) -> None:
        check_sizes("KVCache", num_layers=num_layers, num_kv_heads=num_kv_heads, head_dim=head_dim)
        rows, capacity = _count("rows", rows), _count("capacity", capacity)
        self.dtype, self.device = pf.float32 if dtype is None else dtype, pf.device(device)
        self.tokens = 0  # of the step that was begun last
        self._set_length(np.zeros(rows, np.int64))
        shape = (rows, capacity, num_kv_heads, head_dim)
        self.keys, self.values = ([self._zeros(shape) for _ in range(num_layers)] for _ in range(2))
        self.starts = self.ends

    @property
    def rows(self) -> int:
        """How many texts there are."""
        return len(self.length)

    @property
    def capacity(self) -> int:
        """For how many tokens of a row there is memory; `begin` makes more."""
        return self.keys[0].shape[1]

    def __getitem__(self, layer: int) -> LayerCache:
        return LayerCache(self, layer)

    @property
    def reach(self) -> dict[str, pf.Tensor]:
        """What `ops.attention` is to be told of this step: key_lengths and query_offset."""
        return {"key_lengths": self.ends, "query_offset": self.starts}

    def begin(self, tokens: int, counts: Any = None) -> None:
        """Starts a step of `tokens` new tokens in each row, of which the first counts[b] count; by default all.

        ValueError unless `tokens` is at least 0 and each count from 0 to `tokens`.
        """
        tokens = _count("tokens", tokens)
        if counts is not None:
            counts = _integers("counts", counts)
            if counts.shape != (self.rows,) or (self.rows and not 0 <= counts.min() <= counts.max() <= tokens):
                raise ValueError(f"KVCache: counts must be ({self.rows},) from 0 to {tokens}, got {counts.tolist()}")
        self.reserve(self.longest + tokens)
        self.tokens = tokens
        self.starts = self.ends
        if counts is not None:
            self._set_length(self.length + counts)
            return
        # What most steps are: one token more in each row, without a look at the lengths.
        self.length, self.longest, self.ends = self.length + tokens, self.longest + tokens, self.starts + tokens

    def truncate(self, length: Any) -> None:
        """Takes rows back to `length` tokens, an int or integers (rows,); ValueError where there are fewer."""
        length = np.broadcast_to(_integers("length", length), self.length.shape)
        if (length < 0).any() or (length > self.length).any():
            raise ValueError(f"KVCache: length must be from 0 to {self.length.tolist()}, got {length.tolist()}")
        self._set_length(length.copy())

    def mark(self) -> np.ndarray:
        """What `go_back` takes the cache back to, after steps, while no row joins or leaves."""
        return self.length

    def go_back(self, mark: np.ndarray) -> None:
        """Takes the rows back to where they were at `mark`."""
        self._set_length(mark)
        self.starts = self.ends

    def keep(self, rows: Any) -> None:
        """Goes on with these rows in this order; the others leave, and one that is named twice is there twice.

        IndexError unless each is from 0 to rows - 1.
        """
        rows = _integers("rows", rows)
        if rows.ndim != 1 or (rows.size and not 0 <= rows.min() <= rows.max() < self.rows):
            raise IndexError(f"KVCache: rows must be (n,) from 0 to {self.rows - 1}, got {rows.tolist()}")
        if np.array_equal(rows, np.arange(self.rows)):
            return
        index = self._indices(rows)
        self._replace(lambda x: ops.embedding(index, x.reshape(x.shape[0], -1)).reshape(len(rows), *x.shape[1:]))
        self._set_length(self.length[rows])

    def part(self, row: int, length: int) -> KVCache:
        """A cache of one row's first `length` tokens, with memory of its own; IndexError or ValueError where they are
        not there."""
        if not 0 <= row < self.rows:
            raise IndexError(f"KVCache: row must be from 0 to {self.rows - 1}, got {row}")
        if not 0 <= length <= self.length[row]:
            raise ValueError(f"KVCache: length must be from 0 to {self.length[row]}, got {length}")
        found = KVCache(len(self.keys), *self.keys[0].shape[2:], dtype=self.dtype, device=self.device)
        found.keys, found.values = ([x[row : row + 1, :length] for x in side] for side in (self.keys, self.values))
        found._set_length(np.array([length]))
        return found

    def join(self, other: KVCache) -> None:
        """Adds the rows of `other`, which is not to be used afterwards, behind those here."""
        if self.rows == 0:
            self.keys, self.values = other.keys, other.values
            self._set_length(other.length)
            return
        self.reserve(other.capacity)
        other._extend(self.capacity)
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            mine[:] = [ops.concat([x, y]) for x, y in zip(mine, theirs, strict=True)]
        self._set_length(np.concatenate([self.length, other.length]))

    def reserve(self, capacity: int) -> None:
        """Makes memory for `capacity` tokens a row, at least twice what there was if there was too little."""
        if capacity > self.capacity:
            self._extend(max(capacity, 2 * self.capacity))

    def _extend(self, capacity: int) -> None:
        """Makes memory for exactly `capacity` tokens a row, which is no less than there was."""
        more = capacity - self.capacity
        if more:
            self._replace(lambda x: ops.pad(x, [(0, 0), (0, more), (0, 0), (0, 0)]))

    def _replace(self, change: Callable[[pf.Tensor], pf.Tensor]) -> None:
        for tensors in (self.keys, self.values):
            # One after the other, so that only one of them is there twice.
            for layer, tensor in enumerate(tensors):
                tensors[layer] = change(tensor)

    def _set_length(self, length: np.ndarray) -> None:
        """How many tokens each row holds (rows,), the most of them, and the same as a Tensor."""
        self.length, self.longest, self.ends = length, int(length.max(initial=0)), self._indices(length)

    def _zeros(self, shape: tuple[int, ...]) -> pf.Tensor:
        return pf.zeros(shape, dtype=self.dtype, device=self.device)

    def _indices(self, values: np.ndarray) -> pf.Tensor:
        return pf.tensor(values, device=self.device)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"KVCache: {name} must be an int, got {type(value).__name__}")
    if value < 0:
        raise ValueError(f"KVCache: {name} must be 0 or above, got {value}")
    return int(value)


def _integers(name: str, values: Any) -> np.ndarray:
    array = plain_array("KVCache", values)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"KVCache: {name} must be integers, got {array.dtype}")
    return array.astype(np.int64)
