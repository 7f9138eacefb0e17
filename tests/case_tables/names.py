"""Cases of pyformer.names: compositions of operations that have cases of their own."""

from __future__ import annotations

import numpy as np

from case_tables.case import Case


def _of(*shape, positive=False):
    def make(rng):
        x = rng.standard_normal(shape)
        return {"x": np.abs(x) + 0.5 if positive else x}

    return make


def _pair(a_shape, b_shape):
    return lambda rng: {"a": rng.standard_normal(a_shape), "b": rng.standard_normal(b_shape)}


def _distinct(*shape):
    return lambda rng: {"x": rng.permutation(int(np.prod(shape))).reshape(shape) / 7.0 - 1.3}


def _case(op, run, torch, inputs=None, grads=("x",), name="one", reduction=64):
    inputs = inputs or _of(4, 5, 6)
    return Case(op=op, name=name, inputs=inputs, run=run, torch=torch, grads=grads, reduction=reduction)


def _method(op, *args, torch=None, inputs=None, name="one", **options):
    """x.op(*args) here and in torch, which takes dim for axis and so on: both are given torch's words."""
    other = torch or (lambda torch, x: getattr(x, op)(*args, **options))
    return _case(op, lambda pf, x: getattr(x, op)(*args, **options), other, inputs, name=name)


def _loss(op, target, **options):
    def inputs(rng):
        return {"x": rng.standard_normal((5, 6)), "target": target(rng)}

    return Case(
        op=op,
        name="-".join(map(str, options.values())) or "one",
        inputs=inputs,
        run=lambda pf, x, target: getattr(pf.ops, op)(x, target, **options),
        torch=lambda torch, x, target: getattr(torch.nn.functional, op)(x, target, **options),
        grads=("x",),
        reduction=64,
    )


def _classes(rng):
    return rng.integers(0, 6, 5)


def _classes_and_one_ignored(rng):
    return np.array([0, 5, -100, 2, 2])


def _placed(op, source_shape, **inputs):
    """x.op(1, index, source), each element once a row."""

    def make(rng):
        index = np.argsort(rng.random((4, 9)), axis=1)[:, :6]
        return {"x": rng.standard_normal((5, 9)), "index": index, "source": rng.standard_normal(source_shape), **inputs}

    return _case(
        op,
        lambda pf, x, index, source: getattr(x, op)(1, index, source),
        lambda torch, x, index, source: getattr(x, op)(1, index, source),
        make,
        ("x", "source"),
    )


def _resized(name, shape, **options):
    return _case(
        "interpolate",
        lambda pf, x: pf.ops.interpolate(x, **options),
        lambda torch, x: torch.nn.functional.interpolate(x, **options),
        _of(*shape),
        name=name,
    )


def _einsum(equation, *shapes):
    names = "abc"[: len(shapes)]
    return Case(
        op="einsum",
        name=equation.replace("...", "~").replace(">", ""),
        inputs=lambda rng: {n: rng.standard_normal(s) for n, s in zip(names, shapes, strict=True)},
        run=lambda pf, **xs: pf.einsum(equation, *xs.values()),
        torch=lambda torch, **xs: torch.einsum(equation, *xs.values()),
        grads=tuple(names),
        reduction=64,
    )


def _mask(rng):
    return {"x": rng.standard_normal((4, 5)), "mask": rng.random((4, 5)) < 0.5}


def _queries(rng):
    return {name: rng.standard_normal((2, 3, 5, 8)) for name in "qkv"}


CASES = [
    _method("view", 20, 6),
    _method("flatten", 1),
    _method("squeeze", 1, inputs=_of(4, 1, 6)),
    _method("unsqueeze", -1),
    _method("permute", 2, 0, 1),
    _method("swapaxes", 0, -1),
    _method("moveaxis", 0, -1),
    _method("t", inputs=_of(3, 4)),
    _method("expand", 3, -1, 5, inputs=_of(4, 1)),
    _method("tile", 2, 1, 3),
    _method("repeat_interleave", 3, dim=1),
    _method("flip", 1, torch=lambda torch, x: torch.flip(x, (1,))),
    _method("roll", 2, 1),
    _method("roll", -3, name="flat"),
    _case("chunk", lambda pf, x: tuple(x.chunk(2, -2)), lambda torch, x: x.chunk(2, -2)),
    _case("unbind", lambda pf, x: x.unbind(1), lambda torch, x: x.unbind(1)),
    _method("clone"),
    _method("diagonal", torch=lambda torch, x: torch.diagonal(x, dim1=-2, dim2=-1)),
    _method("tril", -1),
    _method("triu", 1),
    _case(
        "index_select",
        lambda pf, x: x.index_select(1, pf.tensor([3, 0, 3], device=x.device)),
        lambda torch, x: x.index_select(1, torch.tensor([3, 0, 3])),
    ),
    _case(
        "masked_fill",
        lambda pf, x, mask: x.masked_fill(mask, 2),
        lambda torch, x, mask: x.masked_fill(mask, 2),
        _mask,
    ),
    _method("clamp", -0.5, 0.7),
    _method("sort", dim=1, inputs=_distinct(4, 9)),
    _method("sort", dim=0, descending=True, inputs=_distinct(4, 9), name="descending"),
    _method("remainder", 0.75, inputs=_distinct(4, 9)),
    _method("rsqrt", inputs=_of(7, 5, positive=True)),
    _method("reciprocal", inputs=_of(7, 5, positive=True)),
    _case("tan", lambda pf, x: pf.tan(x), lambda torch, x: torch.sin(x) / torch.cos(x), _of(7, positive=True)),
    _method("erf"),
    _method("log1p", inputs=_of(7, 5, positive=True)),
    _method("expm1"),
    _placed("scatter", (4, 6)),
    _placed("scatter_add", (6, 8)),
    _case(
        "scatter_add",
        lambda pf, x, index: x.scatter_add(0, index, x * 2.0),
        lambda torch, x, index: x.scatter_add(0, index, x * 2.0),
        lambda rng: {"x": rng.standard_normal((6, 4)), "index": rng.integers(0, 6, (5, 3))},
        name="meeting",
    ),
    _case(
        "cdist", lambda pf, a, b: pf.cdist(a, b), lambda t, a, b: t.cdist(a, b), _pair((3, 4, 5), (6, 5)), ("a", "b")
    ),
    _case(
        "cdist",
        lambda pf, a, b: pf.cdist(a, b, p=1),
        lambda torch, a, b: torch.cdist(a, b, p=1),
        _pair((4, 5), (2, 6, 5)),
        ("a", "b"),
        name="one-norm",
    ),
    _resized("nearest", (2, 3, 7), size=4),
    _resized("nearest-exact", (2, 3, 7), size=10, mode="nearest-exact"),
    _resized("linear", (2, 3, 7), size=10, mode="linear"),
    _resized("bilinear", (2, 3, 5, 7), size=(9, 4), mode="bilinear"),
    _resized("bilinear-aligned", (2, 3, 5, 7), size=(9, 4), mode="bilinear", align_corners=True),
    _resized("bicubic", (1, 2, 5, 7), scale_factor=1.6, mode="bicubic"),
    _resized("bicubic-aligned", (1, 2, 5, 7), size=9, mode="bicubic", align_corners=True),
    _method("var", dim=1),
    _method("var", dim=(0, 2), correction=0, keepdim=True, name="axes-0-2"),
    _method("std", dim=-1),
    _method("prod", dim=1, inputs=_of(3, 7)),
    _case("prod", lambda pf, x: x.prod(), lambda torch, x: x.prod(), _of(3, 3), name="all"),
    _method("norm", 2, dim=1),
    _method("norm", 1, dim=1, name="one-norm"),
    _method("norm", 3, dim=1, inputs=_of(4, 5, positive=True), name="three-norm"),
    _method("logsumexp", dim=1),
    _case("outer", lambda pf, a, b: pf.outer(a, b), lambda torch, a, b: torch.outer(a, b), _pair(5, 7), ("a", "b")),
    _case(
        "cosine_similarity",
        lambda pf, a, b: pf.ops.cosine_similarity(a, b),
        lambda torch, a, b: torch.nn.functional.cosine_similarity(a, b),
        _pair((4, 6), (4, 6)),
        ("a", "b"),
    ),
    _einsum("ij,kj->ik", (4, 5), (6, 5)),
    _einsum("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)),
    _einsum("...ij,jk->...ik", (2, 3, 4), (4, 5)),
    _einsum("i,ij,j", (3,), (3, 4), (4,)),
    _einsum("ijk->kj", (2, 3, 4)),
    _case("leaky_relu", lambda pf, x: pf.ops.leaky_relu(x), lambda torch, x: torch.nn.functional.leaky_relu(x)),
    _case("elu", lambda pf, x: pf.ops.elu(x), lambda torch, x: torch.where(x > 0, x, torch.exp(x.clamp(max=0)) - 1)),
    _case("softplus", lambda pf, x: pf.ops.softplus(x), lambda torch, x: torch.nn.functional.softplus(x)),
    _loss("nll_loss", _classes),
    _loss("nll_loss", _classes_and_one_ignored, reduction="sum"),
    _loss("l1_loss", lambda rng: rng.standard_normal((5, 6))),
    _loss("huber_loss", lambda rng: rng.standard_normal((5, 6)), reduction="none", delta=0.7),
    _loss("kl_div", lambda rng: rng.random((5, 6)), reduction="batchmean"),
    Case(
        op="weighted_cross_entropy",
        name="one-ignored",
        inputs=lambda rng: {"x": rng.standard_normal((5, 6)), "targets": _classes_and_one_ignored(rng)},
        run=lambda pf, x, targets: pf.ops.cross_entropy(x, targets, weight=_weights(pf, x, device=x.device)),
        torch=lambda torch, x, targets: torch.nn.functional.cross_entropy(x, targets, weight=_weights(torch, x)),
        grads=("x",),
        reduction=64,
    ),
    Case(
        op="scaled_dot_product_attention",
        name="causal",
        inputs=_queries,
        run=lambda pf, q, k, v: pf.ops.scaled_dot_product_attention(q, k, v, is_causal=True),
        torch=lambda torch, q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True),
        grads=("q", "k", "v"),
        reduction=64,
    ),
]


def _weights(library, x, **options):
    return library.tensor([1.0, 0.5, 2.0, 1.0, 3.0, 0.25], dtype=x.dtype, **options)
