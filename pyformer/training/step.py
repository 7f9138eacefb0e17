"""The gradient of one training step, formed from numbered micro-batches.

A step has micro-batches 0 .. M - 1. Each one's gradient is formed alone, with random numbers of its own, and the
gradients are added in one fixed binary tree over the numbers. So the sum has the same bits whichever process formed
which gradient, and in whatever order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core
from pyformer.arrays import plain_array
from pyformer.float_mode import in_default_float_mode
from pyformer.nn.precision import is_float

IGNORED = -100

# Tensors to add, place by place; None where there is nothing to add.
Terms = list[pf.Tensor | None]


class TreeSum:
    """Adds the lists of tensors numbered 0 .. `count` - 1, in the order of one binary tree.

    Node (level, index) of the tree is the sum of the lists from number index * 2**level up to the next node's first.
    It is the sum of nodes (level - 1, 2 * index) and (level - 1, 2 * index + 1), or the former alone where the latter
    would begin beyond `count`. Lists may be added in any order. In the order of their numbers, at most
    log2(count) sums wait for their other half.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.nodes: dict[tuple[int, int], Terms] = {}

    def add(self, number: int, terms: Terms) -> None:
        """Adds list `number`; the tree keeps it and may change it."""
        self.add_node(0, number, terms)

    def add_node(self, level: int, index: int, terms: Terms) -> None:
        """Adds a node, such as one of `nodes` of another process's tree of the same count."""
        while 1 << level < self.count:
            if index % 2 == 1 or (index + 1) << level < self.count:
                other = self.nodes.pop((level, index ^ 1), None)
                if other is None:
                    break
                _add_to(terms, other)
            level, index = level + 1, index // 2
        self.nodes[level, index] = terms

    def total(self) -> Terms:
        """The sum of all lists; ValueError if some have not been added."""
        root = ((self.count - 1).bit_length(), 0)
        if set(self.nodes) != {root}:
            raise ValueError(f"TreeSum: expected the lists 0 to {self.count - 1}, got nodes {sorted(self.nodes)}")
        return self.nodes[root]


def _add_to(terms: Terms, other: Terms) -> None:
    """Adds `other`, which is emptied on the way, to `terms`."""
    with pf.no_grad():
        for place, addend in enumerate(other):
            if addend is not None:
                own = terms[place]
                terms[place] = addend if own is None else own + addend
                other[place] = None


@dataclass(frozen=True)
class MicroBatches:
    """The micro-batches of one step, and which of them this process forms the gradients of.

    `counts` has the number of counted targets of each of the step's micro-batches, also of those of other processes.
    `loss` gives the mean loss of the counted targets of a micro-batch, by its number; `scaled` what gradients are
    formed of in its place.
    """

    seed: int
    step: int
    counts: Sequence[int]
    own: Iterable[int]
    loss: Callable[[int], pf.Tensor]
    scaled: Callable[[pf.Tensor], pf.Tensor] = lambda loss: loss

    def weight(self, number: int) -> float:
        """The part of the step's counted targets that are in this micro-batch."""
        return self.counts[number] / max(1, sum(self.counts))


@in_default_float_mode
def form_gradients(
    model: Any, micro_batches: MicroBatches, stopped: Callable[[], bool] = lambda: False
) -> TreeSum | None:
    """Adds up what this process's micro-batches have to give: gradients, losses, and what moved in the buffers.

    The gradients are those of the sum of the losses of all counted targets of the step, divided by their number. A
    list of the tree has the gradient of each parameter, the loss, and the move of each float buffer. With one
    micro-batch the buffers stay moved and are not listed. Parameters must have no gradient, and have none afterwards.
    Returns None, with the buffers as they were, if `stopped()` is true after one of the micro-batches.
    """
    count = len(micro_batches.counts)
    parameters, buffers = list(model.parameters()), _buffers(model)
    before = [pf.tensor(buffer) for buffer in buffers]
    tree = TreeSum(count)
    for number in micro_batches.own:
        draw = (micro_batches.seed, micro_batches.step, number)
        loss = _core.micro_batch_streams(*draw, _backward, micro_batches, number)
        terms: Terms = [*_take_gradients(parameters), wide(loss.detach())]
        if count > 1:
            terms += _moves(buffers, before, 1.0 / count)
        if stopped():
            _core.copy_(buffers, before)
            return None
        tree.add(number, terms)
    return tree


def _backward(micro_batches: MicroBatches, number: int) -> pf.Tensor:
    loss = micro_batches.loss(number)
    if len(micro_batches.counts) > 1:
        loss = loss * micro_batches.weight(number)
    micro_batches.scaled(loss).backward()
    return loss


def _take_gradients(parameters: list[pf.Tensor]) -> Terms:
    gradients = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    return gradients


def _buffers(model: Any) -> list[pf.Tensor]:
    return [buffer for _, buffer in model.named_buffers()]


def _moves(buffers: list[pf.Tensor], before: list[pf.Tensor], factor: float) -> Terms:
    """How far each float buffer was moved, times `factor`, in float32 or wider; those buffers go back, so each
    micro-batch starts alike."""
    moves: Terms = []
    with pf.no_grad():
        for now, then in zip(buffers, before, strict=True):
            if not is_float(now.dtype):
                moves.append(None)
                continue
            after, before_it = wide(now), wide(then)
            moved = pf.ops.where(pf.ops.equal(after, before_it), 0.0, after - before_it)  # infinity stays where it is
            moves.append(moved * factor)
            _core.copy_([now], [then])
    return moves


def wide(tensor: pf.Tensor) -> pf.Tensor:
    """A float tensor in float32, or in float64 if it is that: what is added up."""
    return tensor if tensor.dtype == pf.float64 else tensor.to(pf.float32)


@in_default_float_mode
def apply_sum(model: Any, terms: Terms) -> pf.Tensor:
    """Gives parameters their gradients and buffers their moves, from the sum of all lists; returns the step's loss, a
    number where the model is."""
    parameters = list(model.parameters())
    for p, gradient in zip(parameters, terms, strict=False):
        p.grad = gradient
    loss, *moves = terms[len(parameters) :]
    with pf.no_grad():
        for buffer, move in zip(_buffers(model), moves, strict=False):
            if move is not None:
                _core.copy_([buffer], [(wide(buffer) + move).to(buffer.dtype)])
    assert loss is not None
    return loss


def count_targets(model: Any, batch: Sequence[np.ndarray]) -> int:
    """How many targets of a batch count in the model's loss.

    The model says so if it has a method `count_targets`, which takes the arguments of its loss. Otherwise it is the
    size of the second array, the targets, or of the only one, without those that are -100 where they are integers.
    """
    own = getattr(model, "count_targets", None)
    if own is not None:
        return own(*batch)
    targets = plain_array("count_targets", batch[min(1, len(batch) - 1)])
    return int((targets != IGNORED).sum()) if targets.dtype.kind in "iu" else targets.size
