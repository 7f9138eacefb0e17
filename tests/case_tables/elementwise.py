"""Cases of the elementwise ops, where, cast and gelu."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from case_tables.case import Case

EDGES = np.array(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -2.5,
        3.0,
        np.inf,
        -np.inf,
        np.nan,
        1e5,
        -1e5,
        1e-30,
        -1e-30,
        88.0,
        -90.0,
        30.0,
    ]
)
SIZES = (1, 7, 8, 9, 15, 16, 17, 31, 257)


def _normal(shape):
    return lambda rng: {"x": np.asarray(rng.standard_normal(shape))}


def _positive(shape):
    return lambda rng: {"x": np.asarray(rng.uniform(0.1, 4.0, shape))}


def _away_from_zero(shape):
    """Nowhere near 0, where relu and abs have a kink that differences would straddle."""
    return lambda rng: {"x": np.asarray(rng.uniform(0.1, 2.0, shape) * rng.choice([-1.0, 1.0], shape))}


def written_gelu(torch, x, approximate="none"):
    """GELU as kernels compute it: a probe of torch's own would not see what 1 + erf loses far below 0."""
    x = x.masked_fill(x == -math.inf, 0.0)  # where the limit is 0, and torch's own gives NaN
    if approximate == "tanh":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + torch.erf(x * math.sqrt(0.5)))


def written_silu(torch, x):
    x = x.masked_fill(x == -math.inf, 0.0)
    return x * torch.sigmoid(x)


def torch_activation(torch, name):
    """torch's own function of that name."""
    f = torch.nn.functional
    functions = {"gelu": f.gelu, "gelu_tanh": partial(f.gelu, approximate="tanh"), "relu": f.relu, "silu": f.silu}
    return {**functions, "none": lambda x: x, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[name]


def written_activation(torch, name):
    """The same, written out."""
    functions = {
        "gelu": partial(written_gelu, torch),
        "gelu_tanh": partial(written_gelu, torch, approximate="tanh"),
        "relu": torch.relu,
        "silu": partial(written_silu, torch),
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "none": lambda x: x,
    }
    return functions[name]


# op -> (inputs of a shape, torch function, flops an element)
UNARY = {
    "negate": (_normal, lambda torch, x: -x, 1),
    "exp": (_normal, lambda torch, x: torch.exp(x), 15),
    "log": (_positive, lambda torch, x: torch.log(x), 20),
    "sqrt": (_positive, lambda torch, x: torch.sqrt(x), 1),
    "abs": (_away_from_zero, lambda torch, x: torch.abs(x), 1),
    "sin": (_normal, lambda torch, x: torch.sin(x), 20),
    "cos": (_normal, lambda torch, x: torch.cos(x), 20),
    "square": (_normal, lambda torch, x: torch.square(x), 1),
    "tanh": (_normal, lambda torch, x: torch.tanh(x), 25),
    "sigmoid": (_normal, lambda torch, x: torch.sigmoid(x), 20),
    "relu": (_away_from_zero, lambda torch, x: torch.relu(x), 1),
    "silu": (_normal, lambda torch, x: torch.nn.functional.silu(x), 20),
    "gelu": (_normal, lambda torch, x: torch.nn.functional.gelu(x), 30),
}


WRITTEN = {"gelu": written_gelu, "silu": written_silu}


def _unary(op: str, shape, *, name: str = "", edges: bool = False, bench: bool = False) -> Case:
    make, torch_fn, flops = UNARY[op]
    size = int(np.prod(shape))
    return Case(
        op=op,
        name=name or "x".join(map(str, shape)) or "scalar",
        inputs=(lambda rng: {"x": EDGES.copy()}) if edges else make(shape),
        run=lambda pf, x: getattr(pf.ops, op)(x),
        torch=torch_fn if bench else WRITTEN.get(op, torch_fn),
        grads=() if edges else ("x",),
        finite=not edges,
        flops=float(flops * size),
        bytes=8.0 * size,
        bench=bench,
    )


def _pair(a_shape, b_shape, kind):
    def make(rng):
        if kind == "positive":
            a, b = rng.uniform(0.2, 3.0, a_shape), rng.uniform(0.5, 2.5, b_shape)
        else:
            a, b = rng.standard_normal(a_shape), rng.standard_normal(b_shape)
        if kind == "apart":  # no two closer than 0.05: differences must not straddle the kink
            a, b = np.round(a, 1), np.round(b, 1) + 0.05
        return {"a": np.asarray(a), "b": np.asarray(b)}

    return make


# op -> (kind of inputs, torch function)
BINARY = {
    "add": ("normal", lambda torch, a, b: a + b),
    "subtract": ("normal", lambda torch, a, b: a - b),
    "multiply": ("normal", lambda torch, a, b: a * b),
    "divide": ("positive", lambda torch, a, b: a / b),
    "maximum": ("apart", lambda torch, a, b: torch.maximum(a, b)),
    "minimum": ("apart", lambda torch, a, b: torch.minimum(a, b)),
    "power": ("positive", lambda torch, a, b: a**b),
}

BROADCASTS = [
    ((3, 17), (3, 17)),
    ((3, 17), ()),
    ((), (3, 17)),
    ((5, 33), (33,)),
    ((5, 33), (5, 1)),
    ((1, 33), (5, 1)),
    ((2, 3, 1, 5), (3, 4, 1)),
    ((2, 1, 4, 1), (1, 3, 1, 5)),
    ((3, 1, 7), (1, 70, 1)),
    ((0, 4), (4,)),
    ((4, 0), (1, 1)),
]


def _reduction(a_shape, b_shape) -> int:
    out = int(np.prod(np.broadcast_shapes(a_shape, b_shape)))
    smaller = max(1, min(int(np.prod(a_shape)), int(np.prod(b_shape))))
    return max(1, out // smaller)


def _binary(op: str, a_shape, b_shape, *, bench: bool = False, name: str = "") -> Case:
    kind, torch_fn = BINARY[op]
    text = ["x".join(map(str, s)) or "scalar" for s in (a_shape, b_shape)]
    size = float(np.prod(np.broadcast_shapes(a_shape, b_shape)))
    return Case(
        op=op,
        name=name or f"{text[0]}-with-{text[1]}",
        inputs=_pair(a_shape, b_shape, kind),
        run=lambda pf, a, b: getattr(pf.ops, op)(a, b),
        torch=torch_fn,
        grads=("a", "b"),
        reduction=_reduction(a_shape, b_shape),
        flops=size,
        bytes=12.0 * size,
        bench=bench,
    )


def _edge_pairs(rng):
    return {"a": np.repeat(EDGES, EDGES.size), "b": np.tile(EDGES, EDGES.size)}


def _binary_edges(op: str) -> Case:
    return Case(
        op=op,
        name="edges",
        inputs=_edge_pairs,
        run=lambda pf, a, b: getattr(pf.ops, op)(a, b),
        torch=BINARY[op][1],
        finite=False,
    )


COMPARE = {
    "equal": lambda torch, a, b: a == b,
    "not_equal": lambda torch, a, b: a != b,
    "less": lambda torch, a, b: a < b,
    "less_equal": lambda torch, a, b: a <= b,
    "greater": lambda torch, a, b: a > b,
    "greater_equal": lambda torch, a, b: a >= b,
}


def _compare(op: str) -> Case:
    return Case(
        op=op,
        name="edges",
        inputs=_edge_pairs,
        run=lambda pf, a, b: getattr(pf.ops, op)(a, b),
        torch=COMPARE[op],
        finite=False,
    )


def _where(cond_shape, a_shape, b_shape) -> Case:
    text = "-".join("x".join(map(str, s)) or "scalar" for s in (cond_shape, a_shape, b_shape))
    return Case(
        op="where",
        name=text,
        inputs=lambda rng: {
            "cond": np.asarray(rng.random(cond_shape) < 0.5),
            "a": np.asarray(rng.standard_normal(a_shape)),
            "b": np.asarray(rng.standard_normal(b_shape)),
        },
        run=lambda pf, cond, a, b: pf.ops.where(cond, a, b),
        torch=lambda torch, cond, a, b: torch.where(cond, a, b),
        grads=("a", "b"),
        reduction=64,
    )


def _operators(name: str, run, **shapes) -> Case:
    """The same expression in pyformer and torch."""
    return Case(
        op="operators",
        name=name,
        inputs=lambda rng: {k: rng.uniform(0.5, 2.0, s) for k, s in shapes.items()},
        run=lambda pf, **t: run(**t),
        torch=lambda torch, **t: run(**t),
        grads=tuple(shapes),
        reduction=40,
    )


def _sum_lengths():
    """Gradients of broadcast operands around the constants of the summation order."""
    for length in (255, 256, 257, 600):
        yield _binary("multiply", (length, 19), (19,), name=f"columns-of-{length}")
    for length in (4095, 4096, 4097, 12_500):
        yield _binary("multiply", (2, length), (2, 1), name=f"rows-of-{length}")
    yield _binary("multiply", (70, 130), (130,), name="three-strips")
    yield _binary("add", (300, 129), (129,), name="strip-and-one")
    yield _binary("add", (40_000,), (), name="several-tasks")


CASES = [
    *(_unary(op, (n,)) for op in UNARY for n in SIZES),
    *(_unary(op, shape) for op in UNARY for shape in ((), (0,), (3, 0, 2), (4, 33))),
    *(_unary(op, (17,), name="edges", edges=True) for op in UNARY),
    *(_unary(op, (20_011,), name="two-tasks") for op in UNARY),
    *(_unary(op, (4096, 768), bench=True) for op in ("exp", "gelu", "silu", "relu")),
    _unary("gelu", (4096, 3072), bench=True),
    *(_binary(op, a, b) for op in BINARY for a, b in BROADCASTS),
    *(_binary(op, (n,), (n,)) for op in BINARY for n in SIZES),
    *(_binary_edges(op) for op in BINARY),
    *_sum_lengths(),
    *(_binary(op, (4096, 768), s, bench=True) for op in ("add", "multiply") for s in ((4096, 768), (768,), (4096, 1))),
    _binary("add", (1,), (1,), bench=True, name="one-element"),
    *(_compare(op) for op in COMPARE),
    *(
        _where(*s)
        for s in (
            ((3, 17), (3, 17), (3, 17)),
            ((17,), (3, 17), ()),
            ((3, 1), (1, 17), (3, 17)),
            ((), (4,), (4,)),
        )
    ),
    _where((0, 3), (3,), ()),
    Case(
        op="gelu",
        name="tanh-257",
        inputs=lambda rng: {"x": rng.standard_normal(257) * 3},
        run=lambda pf, x: pf.ops.gelu(x, approximate="tanh"),
        torch=lambda torch, x: written_gelu(torch, x, "tanh"),
        grads=("x",),
    ),
    Case(
        op="gelu",
        name="tanh-4096x3072",
        inputs=lambda rng: {"x": rng.standard_normal((4096, 3072))},
        run=lambda pf, x: pf.ops.gelu(x, approximate="tanh"),
        torch=lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
        grads=("x",),
        flops=30.0 * 4096 * 3072,
        bytes=8.0 * 4096 * 3072,
        bench=True,
    ),
    _operators("numbers", lambda x: (2 * x + 1) / 3 - (1.5 - x) * x / (x + 0.25), x=(3, 19)),
    _operators("reflected", lambda x: 1 / x + 2.0**x + (-x) ** 2, x=(3, 19)),
    _operators("powers", lambda x: x**2 + x**3 + x**-1 + x**0.5, x=(17,)),
    _operators("two-tensors", lambda a, b: (a + b) * a - b / a + a**b, a=(4, 1, 9), b=(5, 1)),
    _operators("same-twice", lambda x: x * x + x / x, x=(33,)),
]
