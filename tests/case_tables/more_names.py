"""Cases of names that test_half.py need not round once: aliases, choices, comparisons and draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from case_tables.case import Case
from case_tables.names import _case, _distinct, _loss, _method, _of, _pair


def _alias(op: str, torch: str = "", inputs: Any = None, grads: tuple[str, ...] = ("a", "b")) -> Case:
    """pf.op(a, b) or pf.op(x), which torch has under the same name."""
    return _case(
        op,
        lambda pf, **xs: getattr(pf, op)(*xs.values()),
        lambda library, **xs: getattr(library, torch or op)(*xs.values()),
        inputs or _pair((4, 5), (1, 5)),
        grads,
    )


def _activation(op: str) -> Case:
    return _case(op, lambda pf, x: getattr(pf.ops, op)(x), lambda torch, x: getattr(torch.nn.functional, op)(x))


def _chosen(op: str, run: Callable[..., Any], inputs: Any = None, name: str = "one") -> Case:
    """What gives no gradient; `run(library, x)` is the same line here and in torch."""
    return _case(op, run, run, inputs, grads=(), name=name)


def _drawn(op: str, run: Callable[..., Any], grads: tuple[str, ...] = ()) -> Case:
    """A draw after the same seed: torch draws others."""

    def seeded(pf: Any, x: Any) -> Any:
        pf.manual_seed(5)
        return run(pf, x)

    return _case(op, seeded, None, _of(5, 6, positive=True), grads)


def _joined(op: str) -> Case:
    def run(library: Any, a: Any, b: Any) -> Any:
        return getattr(library, op)([a, b, a])

    return _case(op, run, run, _pair((2, 5), (2, 5)), ("a", "b"))


def _shaped_as(op: str, a_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> Case:
    def run(library: Any, a: Any, b: Any) -> Any:
        return getattr(a, op)(b) * b

    return _case(op, run, run, _pair(a_shape, b_shape), ("a", "b"))


def _integers(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": rng.integers(0, 5, (4, 6))}


def _bools(*names: str) -> Callable[[np.random.Generator], dict[str, np.ndarray]]:
    return lambda rng: {name: rng.random((4, 5)) < 0.5 for name in names}


def _logical(op: str, *names: str) -> Case:
    def run(library: Any, **xs: Any) -> Any:
        return getattr(library, op)(*xs.values())

    return _case(op, run, run, _bools(*names), grads=())


def _with_nan(rng: np.random.Generator) -> dict[str, np.ndarray]:
    x = rng.standard_normal((4, 5))
    x[1, 2], x[2, 3], x[3, 0] = np.nan, np.inf, -np.inf
    return {"x": x}


def _near(rng: np.random.Generator) -> dict[str, np.ndarray]:
    a = rng.standard_normal((4, 5))
    return {"a": a, "b": a + np.where(rng.random((4, 5)) < 0.5, 1e-3, 1e-7)}


def _mask(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": rng.standard_normal((4, 5)), "mask": rng.random((4, 5)) < 0.5}


def _probabilities(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": rng.random((5, 6)) * 0.8 + 0.1, "target": rng.random((5, 6))}


_VECTOR, _MATRICES = _of(7), _pair((4, 5), (5, 6))

ALIASES = [
    *(_alias(op) for op in ("sub", "mul", "div", "true_divide")),
    _alias("pow", inputs=lambda rng: {"a": rng.random((4, 5)) + 0.5, "b": rng.standard_normal((4, 5))}),
    *(_alias(op, inputs=_of(4, 5), grads=("x",)) for op in ("absolute", "neg", "negative")),
    _alias("mm", inputs=_MATRICES),
    _alias("bmm", inputs=_pair((3, 4, 5), (3, 5, 6))),
    _alias("mv", inputs=_pair((4, 5), (5,))),
    _alias("dot", inputs=_pair((7,), (7,))),
    *(_alias(op, inputs=_near, grads=()) for op in ("eq", "ne", "lt", "le", "gt", "ge", "isclose")),
    *(_alias(op, inputs=_of(7, 5, positive=True), grads=("x",)) for op in ("log2", "log10")),
    *(_logical(op, "a", "b") for op in ("logical_and", "logical_or", "logical_xor")),
    _logical("logical_not", "a"),
    _method("amax", 1, inputs=_distinct(4, 9)),
    _method("amin", 0, inputs=_distinct(4, 9)),
    _case("cast", lambda pf, x: pf.ops.cast(x, x.dtype) * 2.0, lambda torch, x: x * 2.0),
]

SHAPES = [
    *(_joined(op) for op in ("cat", "concatenate", "hstack", "vstack")),
    _method("unflatten", 1, (5, 1)),
    _shaped_as("view_as", (4, 6), (8, 3)),
    _shaped_as("reshape_as", (4, 6), (8, 3)),
    _shaped_as("expand_as", (4, 1), (3, 4, 5)),
    _method("trace", inputs=_of(5, 4)),
    _case("diag", lambda pf, x: pf.diag(x), lambda torch, x: torch.diag(x), _of(5, 4)),
    _case("diag", lambda pf, x: pf.diag(x), lambda torch, x: torch.diag(x), _of(5), name="of-a-vector"),
    _case(
        "meshgrid",
        lambda pf, a, b: pf.meshgrid(a, b, indexing="ij"),
        lambda torch, a, b: torch.meshgrid(a, b, indexing="ij"),
        _pair((4,), (3,)),
        ("a", "b"),
    ),
]


def _further_loss(op: str, inputs: Any, grads: tuple[str, ...] = ("x",), **options: Any) -> Case:
    return _case(
        op,
        lambda pf, **xs: getattr(pf.ops, op)(*xs.values(), **options),
        lambda torch, **xs: getattr(torch.nn.functional, op)(*xs.values(), **options),
        inputs,
        grads,
    )


def _signs(rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random((5, 6)) < 0.5, -1.0, 1.0)


def _beside(**more: Any) -> Any:
    return lambda rng: {"x": rng.standard_normal((5, 6)), **{name: make(rng) for name, make in more.items()}}


def _same_shape(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((5, 6))


LOSSES = [
    _further_loss("poisson_nll_loss", _beside(target=lambda rng: rng.random((5, 6)) * 4)),
    _further_loss(
        "gaussian_nll_loss",
        _beside(target=_same_shape, var=lambda rng: rng.random((5, 6)) + 0.1),
        ("x", "target", "var"),
    ),
    _further_loss("soft_margin_loss", _beside(target=_signs)),
    _further_loss("hinge_embedding_loss", _beside(target=_signs), margin=0.7),
    _further_loss("margin_ranking_loss", _beside(y=_same_shape, target=_signs), ("x", "y"), margin=0.3),
    _further_loss(
        "cosine_embedding_loss",
        _beside(y=_same_shape, target=lambda rng: _signs(rng)[:, 0]),
        ("x", "y"),
        margin=0.1,
    ),
    _further_loss("triplet_margin_loss", _beside(near=_same_shape, far=_same_shape), ("x", "near", "far")),
    _further_loss("multilabel_soft_margin_loss", _beside(target=lambda rng: (_signs(rng) + 1) / 2)),
    _further_loss("multi_margin_loss", _beside(target=lambda rng: rng.integers(0, 6, 5))),
]

LAYERS = [
    *(_activation(op) for op in ("selu", "softsign", "hardtanh")),
    *(_activation(op) for op in ("logsigmoid", "mish", "glu", "relu6")),
    # torch's gradients of these two have the digits of float32.
    _case("hardsigmoid", lambda pf, x: pf.ops.hardsigmoid(x), lambda torch, x: (x + 3).clamp(0, 6) / 6),
    _case("hardswish", lambda pf, x: pf.ops.hardswish(x), lambda torch, x: x * (x + 3).clamp(0, 6) / 6),
    _case(
        "normalize",
        lambda pf, x: pf.nn.functional.normalize(x, dim=1),
        lambda torch, x: torch.nn.functional.normalize(x, dim=1),
    ),
    _case(
        "adaptive_avg_pool2d",
        lambda pf, x: pf.ops.adaptive_avg_pool2d(x, 2),
        lambda torch, x: torch.nn.functional.adaptive_avg_pool2d(x, 2),
        _of(2, 3, 6, 4),
    ),
    _case(
        "binary_cross_entropy",
        lambda pf, x, target: pf.ops.binary_cross_entropy(x, target),
        lambda torch, x, target: torch.nn.functional.binary_cross_entropy(x, target),
        _probabilities,
    ),
    _loss("binary_cross_entropy_with_logits", lambda rng: rng.random((5, 6))),
    _case(
        "addmm",
        lambda pf, x, a, b: pf.addmm(x, a, b, beta=0.5, alpha=2.0),
        lambda torch, x, a, b: torch.addmm(x, a, b, beta=0.5, alpha=2.0),
        lambda rng: {"x": rng.standard_normal((4, 6)), **_MATRICES(rng)},
        ("x", "a", "b"),
    ),
    *(
        _case(
            op,
            lambda pf, x, a, b, op=op: getattr(pf, op)(x, a, b, value=0.5),
            lambda torch, x, a, b, op=op: getattr(torch, op)(x, a, b, value=0.5),
            lambda rng: {"x": rng.standard_normal((4, 5)), "a": rng.standard_normal((4, 5)), "b": rng.random(5) + 1},
            ("x", "a", "b"),
        )
        for op in ("addcmul", "addcdiv")
    ),
    _case(
        "lerp",
        lambda pf, a, b: pf.lerp(a, b, 0.3),
        lambda torch, a, b: torch.lerp(a, b, 0.3),
        _pair((4, 5), (4, 5)),
        ("a", "b"),
    ),
]


def _inside(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": rng.uniform(-0.95, 0.95, (7, 5))}


def _smooth(op: str, inputs: Any, name: str = "one") -> Case:
    return _case(op, lambda pf, x: getattr(pf, op)(x), lambda torch, x: getattr(torch, op)(x), inputs, name=name)


SMOOTH = [
    *(_smooth(op, _inside) for op in ("asin", "acos", "atanh", "arcsin", "arccos", "arctanh")),
    *(_smooth(op, _of(7, 5)) for op in ("atan", "sinh", "cosh", "asinh", "arctan", "arcsinh")),
    *(_smooth(op, lambda rng: {"x": rng.uniform(1.1, 9.0, (7, 5))}) for op in ("acosh", "arccosh")),
    _smooth("lgamma", lambda rng: {"x": rng.uniform(2.5, 30.0, (7, 5))}),
    _smooth("lgamma", lambda rng: {"x": rng.uniform(-2.9, -2.1, (7, 5))}, name="below-0"),
    *(_alias(op, inputs=_pair((7, 5), (7, 5))) for op in ("atan2", "arctan2")),
]

CHOICES = [
    *(_chosen(op, lambda library, x, op=op: getattr(x, op)(), _with_nan) for op in ("isnan", "isinf", "isfinite")),
    *(_chosen(op, lambda library, x, op=op: getattr(x * 3, op)()) for op in ("round", "ceil", "floor", "trunc")),
    *(_chosen(op, lambda library, x, op=op: getattr(x > 0, op)(1)) for op in ("all", "any")),
    _chosen("where_numbers", lambda library, x: library.where(x > 1, 2.5, 0.5)),
    _chosen("where_alone", lambda library, x: library.where(x > 1)),
    _chosen("count_nonzero", lambda library, x: library.count_nonzero(x, 1), _integers),
    _chosen("nonzero", lambda library, x: library.nonzero(x), _integers),
    _chosen("unique", lambda library, x: library.unique(x), _integers),
    _chosen("bincount", lambda library, x: library.bincount(x.reshape(-1)), _integers),
    _chosen("one_hot", lambda library, x: library.nn.functional.one_hot(x, 5), _integers),
    _chosen("full_like", lambda library, x: library.full_like(x, 2.5)),
    _chosen("eye", lambda library, x: library.eye(3, 4, dtype=x.dtype, device=x.device)),
    _chosen("linspace", lambda library, x: library.linspace(-1.0, 2.0, 7, dtype=x.dtype, device=x.device)),
    _chosen("empty", lambda library, x: library.empty(0, 3, dtype=x.dtype, device=x.device)),
    _case(
        "masked_select",
        lambda pf, x, mask: x.masked_select(mask),
        lambda torch, x, mask: x.masked_select(mask),
        _mask,
    ),
    _case("median", lambda pf, x: x.median(), lambda torch, x: x.median(), _distinct(3, 5)),
    Case(
        op="nan_to_num",
        name="one",
        inputs=_with_nan,
        run=lambda pf, x: x.nan_to_num(0.5, 2.0, -2.0),
        torch=lambda torch, x: x.nan_to_num(0.5, 2.0, -2.0),
        grads=("x",),
        finite=False,
    ),
]

DRAWS = [
    _drawn("rand", lambda pf, x: pf.rand(4, 5, device=x.device)),
    _drawn("randn", lambda pf, x: pf.randn(4, 5, device=x.device)),
    _drawn("rand_like", lambda pf, x: pf.rand_like(x)),
    _drawn("randn_like", lambda pf, x: pf.randn_like(x)),
    _drawn("normal", lambda pf, x: pf.normal(1.0, 0.5, (4, 5), device=x.device)),
    _drawn("randint", lambda pf, x: pf.randint(2, 9, (4, 5), device=x.device)),
    _drawn("randperm", lambda pf, x: pf.randperm(20, device=x.device)),
    _drawn("bernoulli", lambda pf, x: pf.bernoulli(x / 5.0)),
    _drawn("multinomial", lambda pf, x: pf.multinomial(x, 3)),
    _drawn("dropout", lambda pf, x: pf.ops.dropout(x, 0.4), ("x",)),
]

CASES = [*ALIASES, *SHAPES, *LAYERS, *LOSSES, *SMOOTH, *CHOICES, *DRAWS]
