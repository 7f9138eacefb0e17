"""Sums of products."""

from __future__ import annotations

import math

from pyformer import _core
from pyformer._core import DType, Tensor, ops
from pyformer.names.arguments import check_tensors, rounded, torch_words, wide, zero_of
from pyformer.names.choosing import clamp
from pyformer.names.reductions import norm
from pyformer.names.shapes import unsqueeze


def outer(a: Tensor, b: Tensor) -> Tensor:
    """a[i] * b[j] of two vectors: (m, n).

    Raises:
        ValueError: one is no vector.

    Example:
        >>> pf.ops.outer(pf.tensor([1, 2]), pf.tensor([3, 4]))
        tensor([[3, 4],
                [6, 8]], dtype=int64)
    """
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError(f"outer: expected two vectors, got {a.shape} and {b.shape}")
    return a.reshape(-1, 1) * b


@torch_words
def cosine_similarity(a: Tensor, b: Tensor, axis: int = 1, eps: float = 1e-8) -> Tensor:
    """sum(a b) / (|a| |b|) along an axis, each norm at least eps; computed in float64.

    Raises:
        IndexError: the axis is not there.
        ValueError: the shapes do not broadcast.

    Example:
        >>> pf.ops.cosine_similarity(pf.tensor([1.0, 0.0]), pf.tensor([3.0, 4.0]), axis=0)
        tensor(0.6, dtype=float32)
    """
    one, other = (x / clamp(norm(x, 2, axis, True), min=eps) for x in (wide(a), wide(b)))
    return rounded(ops.sum(one * other, axis), a, b)


def mv(a: Tensor, x: Tensor) -> Tensor:
    """A matrix times a vector: a @ x.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> pf.mv(pf.eye(2), pf.tensor([1.0, 2.0]))
        tensor([1., 2.], dtype=float32)
    """
    return ops.matmul(a, x)


def addmm(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta x + alpha a @ b; with beta 0, x gives its shape alone: NaN and infinities in it do not count.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the dtypes differ.

    Example:
        >>> pf.addmm(pf.ones(2, 2), pf.eye(2), pf.eye(2), alpha=2)
        tensor([[3., 1.],
                [1., 3.]], dtype=float32)
    """
    product = ops.matmul(a, b)
    if beta == 0:
        x = ops.where(_core.zeros(1, dtype=DType.bool, device=x.device), x, zero_of(x))
    return (x if beta in (0, 1) else x * beta) + (product if alpha == 1 else product * alpha)


def cdist(a: Tensor, b: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference of each vector of a and each of b, computed in float64.

    Args:
        a: (..., m, C), float.
        b: (..., n, C), whose leading axes broadcast with a's.
        p: above 0; see `norm`.

    Returns:
        Tensor (..., m, n). All m n differences are held at once. The gradient
            of a distance that is 0 is 0.

    Raises:
        ValueError: the shapes do not fit, or p is not above 0.
        TypeError: p is a tensor that requires a gradient.

    Example:
        >>> pf.cdist(pf.tensor([[0.0, 0.0], [3.0, 0.0]]), pf.tensor([[0.0, 4.0]]))
        tensor([[4.],
                [5.]], dtype=float32)
    """
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-1]:
        raise ValueError(f"cdist: expected (..., m, C) and (..., n, C), got {a.shape} and {b.shape}")
    apart = unsqueeze(wide(a), -2) - unsqueeze(wide(b), -3)
    return rounded(norm(apart, p, -1), a, b)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Sums of products by the letters of the axes, "ij,kj->ik"; "..." stands for leading axes that broadcast.

    Operands are taken in from left to right, two at a time, by `matmul`. A letter may stand once in an operand.

    Raises:
        ValueError: letters and shapes do not fit, or a letter stands twice in an operand.
        TypeError: the equation is no str, or an operand no Tensor.

    Example:
        >>> a = pf.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> pf.einsum("ij,kj->ik", a, a)
        tensor([[ 5., 11.],
                [11., 25.]], dtype=float32)
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum: the equation must be a str, got {type(equation).__name__}")
    check_tensors("einsum", *operands)
    terms, out = _einsum_letters(equation, operands)
    sizes: dict[str, int] = {}
    for letters, x in zip(terms, operands, strict=True):
        for letter, n in zip(letters, x.shape, strict=True):
            if sizes.setdefault(letter, n) != n:
                raise ValueError(f"einsum: axis {letter} is {sizes[letter]} and {n} in {equation!r}")
    result, have = operands[0], terms[0]
    for i in range(1, len(terms)):
        wanted = set(out).union(*terms[i + 1 :])
        result, have = _einsum_pair(result, have, operands[i], terms[i], wanted)
    result, have = _einsum_reduced(result, have, set(out))
    return ops.transpose(result, [have.index(letter) for letter in out]) if have != out else result


def _einsum_letters(equation: str, operands: tuple[Tensor, ...]) -> tuple[list[str], str]:
    left, arrow, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {equation!r} has {len(terms)} operands, got {len(operands)}")
    free = [c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in equation]
    spread = "".join(
        reversed(free[: max(x.ndim - len(t.replace("...", "")) for t, x in zip(terms, operands, strict=True))])
    )
    filled = []
    for term, x in zip(terms, operands, strict=True):
        count = x.ndim - len(term.replace("...", ""))
        if count < 0 or (count and "..." not in term):
            raise ValueError(f"einsum: {term!r} does not fit the shape {x.shape}")
        term = term.replace("...", spread[len(spread) - count :])
        if len(set(term)) != len(term):
            raise ValueError(f"einsum: a letter stands twice in {term!r}")
        filled.append(term)
    once = "".join(sorted(c for c in set("".join(terms)) - {"."} if left.count(c) == 1))
    out = out.replace("...", spread) if arrow else (spread if "..." in left else "") + once
    if not set(out) <= set("".join(filled)) or len(set(out)) != len(out):
        raise ValueError(f"einsum: the result's letters {out!r} must stand once each, and in an operand")
    return filled, out


def _einsum_reduced(x: Tensor, letters: str, wanted: set[str]) -> tuple[Tensor, str]:
    summed = [i for i, c in enumerate(letters) if c not in wanted]
    return (ops.sum(x, summed), "".join(c for c in letters if c in wanted)) if summed else (x, letters)


def _einsum_pair(a: Tensor, a_has: str, b: Tensor, b_has: str, wanted: set[str]) -> tuple[Tensor, str]:
    a, a_has = _einsum_reduced(a, a_has, wanted | set(b_has))
    b, b_has = _einsum_reduced(b, b_has, wanted | set(a_has))
    both = [c for c in a_has if c in b_has]
    batch, summed = [c for c in both if c in wanted], [c for c in both if c not in wanted]
    rows, columns = [c for c in a_has if c not in both], [c for c in b_has if c not in both]
    a_size, b_size = dict(zip(a_has, a.shape, strict=True)), dict(zip(b_has, b.shape, strict=True))
    left = a.transpose([a_has.index(c) for c in batch + rows + summed])
    right = b.transpose([b_has.index(c) for c in batch + summed + columns])
    shape = [a_size[c] for c in batch]
    inner = math.prod(a_size[c] for c in summed)
    left = left.reshape(*shape, math.prod(a_size[c] for c in rows), inner)
    right = right.reshape(*shape, inner, math.prod(b_size[c] for c in columns))
    product = ops.matmul(left, right)
    return product.reshape(*shape, *(a_size[c] for c in rows), *(b_size[c] for c in columns)), "".join(
        batch + rows + columns
    )


bmm = mm = dot = ops.matmul

__all__ = [
    "addmm",
    "bmm",
    "cdist",
    "cosine_similarity",
    "dot",
    "einsum",
    "mm",
    "mv",
    "outer",
]
