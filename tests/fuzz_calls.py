"""Random calls of the public operations, and what fuzz_bits.py may expect of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from cases import TEST_CASES
from fuzz_draw import Draw

import pyformer as pf
from pyformer import _core


@dataclass(frozen=True)
class Apart:
    """An axis along which elements do not see each other, as {input or result: its axis}.

    A result is "out0", or "dx" for the gradient of x. The gradients of `inputs` have the inputs' axes.
    """

    inputs: dict[str, int]
    outputs: dict[str, int]

    @property
    def results(self) -> dict[str, int]:
        return self.outputs | {f"d{name}": axis for name, axis in self.inputs.items()}


@dataclass(frozen=True)
class InOrder:
    """An axis of time: outputs see what is not later. `before` are gradients that don't see later inputs, `after`
    gradients that don't see dout of earlier elements."""

    inputs: dict[str, int]
    outputs: dict[str, int]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """An expression of Python over arrays.

    setup: statements before it. grads: the arrays that get a gradient. same: other expressions that must give the same
    bits, each with the results that are compared (none: all). unseen: elements of arrays that must not matter.
    dout_kind: of gradients of outputs, a kind of fuzz_draw.KINDS.
    """

    expression: str
    arrays: dict[str, np.ndarray]
    dtype: str = "float32"
    grads: tuple[str, ...] = ()
    setup: str = ""
    apart: tuple[Apart, ...] = ()
    in_order: InOrder | None = None
    same: tuple[tuple[str, tuple[str, ...]], ...] = ()
    unseen: dict[str, np.ndarray] | None = None
    dout_kind: str = "plain"


def _call(draw: Draw, function: str, given: dict, options: str = "", **rest) -> Call:
    """function(name=name, ..., options) with a float array for each shape in `given`, which all get a gradient."""
    dtype = draw.dtype()
    arrays = {k: _held(v, dtype) if isinstance(v, np.ndarray) else draw.array(k, v, dtype) for k, v in given.items()}
    arguments = [*(f"{k}={k}" for k in given), *([options] if options else [])]
    grads = tuple(k for k, v in arrays.items() if v.dtype.kind == "f")
    return Call(f"{function}({', '.join(arguments)})", arrays, dtype, **{"grads": grads, **rest})


def _held(array: np.ndarray, dtype: str) -> np.ndarray:
    return array.astype("float64" if dtype == "float64" else "float32") if array.dtype.kind == "f" else array


def _each_axis(rank: int, names=("x",), outputs=("out0",), but=()) -> tuple[Apart, ...]:
    axes = [axis for axis in range(rank) if axis not in but]
    return tuple(Apart(dict.fromkeys(names, axis), dict.fromkeys(outputs, axis)) for axis in axes)


def case(name: str):
    """The row of the case table."""
    return next(c for c in TEST_CASES if c.id == name)


def case_of_the_table(draw: Draw) -> Call:
    row = TEST_CASES[draw.number("case", 0, len(TEST_CASES) - 1)]
    arrays = row.inputs(draw.numpy("inputs"))
    dtype = draw.choice("float64", ("float32", "float64"))
    arrays = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in arrays.items()}
    arguments = ", ".join(f"{name}={name}" for name in arrays)
    return Call(f"case({row.id!r}).run(pf, {arguments})", arrays, dtype, row.grads)


UNARY = ("negate", "exp", "log", "sqrt", "abs", "sin", "cos", "square", "tanh", "sigmoid", "relu", "silu", "gelu")


def unary(draw: Draw) -> Call:
    op = draw.choice("op", UNARY)
    shape = draw.shape("x", draw.number("rank", 1, 3))
    options = "approximate='tanh'" if op == "gelu" and draw.flag("tanh") else ""
    return _call(draw, f"pf.ops.{op}", {"x": shape}, options, apart=_each_axis(len(shape)))


BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power")
COMPARE = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


def _broadcast(draw: Draw, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to `shape`."""
    kept = tuple(1 if draw.flag(f"{name} is 1 in {axis}", 0.3) else size for axis, size in enumerate(shape))
    return kept[draw.number(f"{name} lacks axes", 0, len(shape)) if draw.flag(f"{name} is short", 0.3) else 0 :]


def _axes_of_broadcast(shape: tuple[int, ...], arrays: dict[str, tuple[int, ...]]) -> tuple[Apart, ...]:
    result = []
    for axis, size in enumerate(shape):
        places = {k: axis - len(shape) + len(s) for k, s in arrays.items()}
        inputs = {k: p for k, p in places.items() if p >= 0 and (arrays[k][p] > 1 or size == 1)}
        result.append(Apart(inputs, {"out0": axis}))
    return tuple(result)


def _elementwise(draw: Draw, op: str, names: tuple[str, ...], **rest) -> Call:
    wide = draw.shape("out", draw.number("rank", 1, 4), 17)
    shapes = {name: _broadcast(draw, name, wide) for name in names}
    apart = _axes_of_broadcast(np.broadcast_shapes(*shapes.values()), shapes)
    given = {k: draw.ids(k, s, 2).astype(bool) if k == "cond" else s for k, s in shapes.items()}
    return _call(draw, f"pf.ops.{op}", given, apart=apart, **rest)


def binary(draw: Draw) -> Call:
    return _elementwise(draw, draw.choice("op", BINARY), ("a", "b"))


def compare(draw: Draw) -> Call:
    return _elementwise(draw, draw.choice("op", COMPARE), ("a", "b"), grads=())


def where(draw: Draw) -> Call:
    return _elementwise(draw, "where", ("cond", "a", "b"))


def reduction(draw: Draw) -> Call:
    op = draw.choice("op", ("sum", "mean", "max", "min"))
    shape = draw.shape("x", draw.number("rank", 1, 4), 17)
    axes = tuple(axis for axis in range(len(shape)) if draw.flag(f"over {axis}")) or (0,)
    keepdims = draw.flag("keepdims")
    left = [axis for axis in range(len(shape)) if axis not in axes]
    apart = tuple(Apart({"x": axis}, {"out0": axis if keepdims else place}) for place, axis in enumerate(left))
    return _call(draw, f"pf.ops.{op}", {"x": shape}, f"axis={axes}, keepdims={keepdims}", apart=apart)


def along_axis(draw: Draw) -> Call:
    op = draw.choice("op", ("softmax", "log_softmax", "cumsum"))
    shape = draw.shape("x", draw.number("rank", 1, 4), 33)
    axis = draw.number("axis", 0, len(shape) - 1)
    order = InOrder({"x": axis}, {"out0": axis}, (), ("x",)) if op == "cumsum" else None
    return _call(
        draw, f"pf.ops.{op}", {"x": shape}, f"axis={axis}", apart=_each_axis(len(shape), but=(axis,)), in_order=order
    )


def which(draw: Draw) -> Call:
    op = draw.choice("op", ("argmax", "argmin"))
    shape = draw.shape("x", draw.number("rank", 1, 3), 33)
    axis = draw.number("axis", 0, len(shape) - 1)
    left = [a for a in range(len(shape)) if a != axis]
    apart = tuple(Apart({"x": a}, {"out0": place}) for place, a in enumerate(left))
    return _call(draw, f"pf.ops.{op}", {"x": shape}, f"axis={axis}", grads=(), apart=apart)


def topk(draw: Draw) -> Call:
    shape = draw.shape("x", draw.number("rank", 1, 3), 33)
    axis = draw.number("axis", 0, len(shape) - 1)
    k = draw.number("k", 1, shape[axis])
    apart = _each_axis(len(shape), outputs=("out0", "out1"), but=(axis,))
    return _call(draw, "pf.ops.topk", {"x": shape}, f"k={k}, axis={axis}", apart=apart)


def _optional(draw: Draw, **shapes) -> dict:
    return {name: shape for name, shape in shapes.items() if draw.flag(name)}


EPSILONS = ("1e-5", "1e-6", "0.0", "1e-12", "0.1")


def row_norm(draw: Draw) -> Call:
    op = draw.choice("op", ("layer_norm", "rms_norm"))
    shape = draw.shape("x", draw.number("rank", 1, 3), 33)
    names = {"weight": shape[-1:]} | ({"bias": shape[-1:]} if op == "layer_norm" else {})
    given = {"x": shape, **_optional(draw, **names)}
    if "bias" in given:
        given["weight"] = shape[-1:]
    options = f"eps={draw.choice('eps', EPSILONS)}"
    return _call(draw, f"pf.ops.{op}", given, options, apart=_each_axis(len(shape) - 1))


def group_norm(draw: Draw) -> Call:
    groups = draw.number("groups", 1, 4)
    channels = groups * draw.number("channels", 1, 5)
    shape = (draw.size("n", 5), channels, *draw.shape("x", draw.number("rank", 0, 2), 17, 600))
    given = {"x": shape, **_optional(draw, weight=(channels,), bias=(channels,))}
    options = f"groups={groups}, eps={draw.choice('eps', EPSILONS)}"
    return _call(draw, "pf.ops.group_norm", given, options, apart=_each_axis(1))


def batch_norm(draw: Draw) -> Call:
    channels = draw.size("channels", 17)
    training = draw.flag("training")  # it needs two values a channel
    shape = (training + draw.size("n", 9), channels, *draw.shape("x", draw.number("rank", 0, 2), 17, 600))
    names = ("weight", "bias")
    given = {"x": shape, **_optional(draw, weight=(channels,), bias=(channels,))}
    if not training or draw.flag("running"):
        given |= {"running_mean": (channels,), "running_var": (channels,)}
    outputs = [name for name in given if name.startswith("running")]
    one_each = [name for name in given if name != "x"]
    apart = [
        Apart({"x": 1, **dict.fromkeys(one_each, 0)}, {"out0": 1} | {f"out{1 + i}": 0 for i in range(len(outputs))})
    ]
    if not training:
        apart += _each_axis(1)
    call = _call(
        draw,
        "pf.ops.batch_norm",
        given,
        f"training={training}, eps={draw.choice('eps', EPSILONS)}, momentum={draw.choice('momentum', (0.1, 0.3, 1.0))}",
        grads=("x", *(name for name in names if name in given)),
        apart=tuple(apart),
    )
    return replace(call, expression=f"({call.expression}, {', '.join(outputs)})") if outputs else call


def matmul(draw: Draw) -> Call:
    m, k, n = draw.size("m", 33), draw.size("k", 65, 1200), draw.size("n", 33, 300)
    ta, tb = draw.flag("ta"), draw.flag("tb")
    lead = (draw.size("batch", 3),) if draw.flag("batched", 0.3) else ()
    given = {"a": (*lead, *((k, m) if ta else (m, k))), "b": (*lead, *((n, k) if tb else (k, n)))}
    rank = len(lead) + 2
    apart = [Apart({"a": rank - 1 if ta else rank - 2}, {"out0": rank - 2})]
    apart += [Apart({"b": rank - 2 if tb else rank - 1}, {"out0": rank - 1})]
    apart += _each_axis(len(lead), ("a", "b"))
    return _call(draw, "pf.ops.matmul", given, f"transpose_a={ta}, transpose_b={tb}", apart=tuple(apart))


def linear(draw: Draw) -> Call:
    lead, k, n = draw.shape("rows", draw.number("rank", 1, 2), 33, 300), draw.size("k", 65, 600), draw.size("n", 33)
    given = {"x": (*lead, k), "weight": (n, k), **_optional(draw, bias=(n,), residual=(*lead, n))}
    activation = draw.choice("activation", _core.activations())
    rows = {"x": 0, "residual": 0}
    columns = {"weight": 0, "bias": 0, "residual": len(lead)}
    apart = [
        Apart({k: v for k, v in rows.items() if k in given}, {"out0": 0}),
        Apart({k: v for k, v in columns.items() if k in given}, {"out0": len(lead)}),
    ]
    pieces = ", ".join(name for name in given if name != "residual")
    apart_too = f"{activated(activation, f'pf.ops.linear({pieces})')}{' + residual' if 'residual' in given else ''}"
    call = _call(draw, "pf.ops.linear", given, f"activation={activation!r}", apart=tuple(apart))
    return replace(call, same=((apart_too, ()),)) if "16" not in call.dtype else call  # 16 bits round in between


def activated(activation: str, x: str) -> str:
    if activation == "none":
        return x
    return f"pf.ops.gelu({x}, 'tanh')" if activation == "gelu_tanh" else f"pf.ops.{activation}({x})"


def _norm_arrays(draw: Draw, norm: str, width: int) -> dict:
    names = {"none": (), "rms": ("norm_weight",), "layer": ("norm_weight", "norm_bias")}[norm]
    return dict.fromkeys(names, (width,))


def _normed(norm: str) -> str:
    return {
        "none": "x",
        "rms": "pf.ops.rms_norm(x, norm_weight, eps=1e-5)",
        "layer": "pf.ops.layer_norm(x, norm_weight, norm_bias, eps=1e-5)",
    }[norm]


def norm_linear(draw: Draw) -> Call:
    rows, width, n = draw.size("rows", 33, 300), draw.size("width", 65, 600), draw.size("n", 33)
    norm = draw.choice("norm", ("none", "rms", "layer"))
    given = {"x": (rows, width), "weight": (n, width), **_optional(draw, bias=(n,)), **_norm_arrays(draw, norm, width)}
    rest = "" if norm == "layer" else "norm_bias=None, " if norm == "rms" else "norm_weight=None, norm_bias=None, "
    bias = ", bias" if "bias" in given else ""
    call = _call(draw, "pf.ops.norm_linear", given, f"{rest}norm={norm!r}, eps=1e-5", apart=_each_axis(1))
    same = ((f"pf.ops.linear({_normed(norm)}, weight{bias})", ()),)
    return replace(call, same=same) if "16" not in call.dtype else call


def mlp(draw: Draw) -> Call:
    rows, width, hidden = draw.size("rows", 33, 200), draw.size("width", 33, 300), draw.size("hidden", 33, 300)
    norm, activation = draw.choice("norm", ("none", "rms", "layer")), draw.choice("activation", _core.activations())
    given = {"x": (rows, width), "up": (hidden, width), "down": (width, hidden), **_norm_arrays(draw, norm, width)}
    if draw.flag("biases"):
        given |= {"up_bias": (hidden,), "down_bias": (width,)}
    given |= _optional(draw, residual=(rows, width))
    missing = "" if "up_bias" in given else "up_bias=None, down_bias=None, "
    options = f"{missing}activation={activation!r}, norm={norm!r}, eps=1e-5"
    kept = {"x": 0} | ({"residual": 0} if "residual" in given else {})
    call = _call(draw, "pf.ops.mlp", given, options, apart=(Apart(kept, {"out0": 0}),))
    up, down = (", up_bias", ", down_bias") if "up_bias" in given else ("", "")
    inner = f"pf.ops.linear({_normed(norm)}, up{up}, activation={activation!r})"
    added = ", residual=residual" if "residual" in given else ""
    same = ((f"pf.ops.linear({inner}, down{down}{added})", ()),)
    return replace(call, same=same) if "16" not in call.dtype else call


def _mask(draw: Draw, b: int, h: int, tq: int, tk: int, dtype: str) -> dict:
    kind = draw.choice("mask", ("none", "none", "boolean", "added"))
    if kind == "none":
        return {}
    shape = (draw.choice("mask rows", (1, b)), draw.choice("mask heads", (1, h)), tq, tk)
    held = draw.numpy("mask").random(shape)
    if kind == "boolean":
        return {"mask": held < 0.6}
    return {"mask": _held(np.where(held < 0.3, -np.inf, held), dtype)}


def attention(draw: Draw) -> Call:
    b, tq, tk = draw.size("b", 3), draw.size("tq", 33, 300), draw.size("tk", 65, 700)
    group, hkv, d = draw.number("group", 1, 3), draw.number("hkv", 1, 2), draw.size("d", 33)
    dtype = draw.dtype()
    arrays = {"q": draw.array("q", (b, tq, group * hkv, d), dtype)}
    arrays |= {name: draw.array(name, (b, tk, hkv, d), dtype) for name in ("k", "v")}
    arrays |= _mask(draw, b, group * hkv, tq, tk, dtype)
    unseen = {}
    if draw.flag("key_lengths", 0.3):
        lengths = draw.ids("key_lengths", (b,), tk + 1)
        arrays["key_lengths"] = lengths
        beyond = np.broadcast_to((np.arange(tk) >= lengths[:, None])[:, :, None, None], arrays["k"].shape)
        unseen = {"k": beyond, "v": beyond}
    causal = draw.flag("causal")
    window = draw.number("window", 1, tk) if draw.flag("has window", 0.25) else None
    softcap = 2.0 if draw.flag("softcap", 0.15) else None
    sinks = {"sinks": draw.array("sinks", (group * hkv,), dtype)} if draw.flag("sinks", 0.15) else {}
    excludes = softcap is None and not sinks  # what isn't attended; else it is multiplied by 0
    order = None
    if causal and tq == tk and excludes and "mask" not in arrays and "key_lengths" not in arrays:
        order = InOrder({"q": 1, "k": 1, "v": 1}, {"out0": 1}, ("q",), ("q", "k", "v"))
    shared = {k: 0 for k, v in arrays.items() if v.shape[0] == b and (b > 1 or k != "mask")}
    apart = [Apart(shared, {"out0": 0})]
    if "mask" not in arrays:
        apart += [] if group > 1 else [Apart({"q": 2, "k": 2, "v": 2} | dict.fromkeys(sinks, 0), {"out0": 2})]
        apart += [] if causal or window else [Apart({"q": 1}, {"out0": 1})]
    arrays |= sinks
    arguments = ", ".join(f"{k}={k}" if i > 2 else k for i, k in enumerate(arrays))
    expression = f"pf.ops.attention({arguments}, causal={causal}, window={window}, softcap={softcap})"
    grads = ("q", "k", "v", *sinks)
    return Call(expression, arrays, dtype, grads, apart=tuple(apart), in_order=order, unseen=unseen or None)


def attention_packed(draw: Draw) -> Call:
    shape = (draw.size("b", 3), draw.size("t", 33, 300), 3, draw.number("h", 1, 3), draw.size("d", 33))
    causal = draw.flag("causal")
    return _call(
        draw,
        "pf.ops.attention_packed",
        {"qkv": shape},
        f"causal={causal}",
        apart=(Apart({"qkv": 0}, {"out0": 0}), Apart({"qkv": 3}, {"out0": 2})),
        in_order=InOrder({"qkv": 1}, {"out0": 1}, (), ("qkv",)) if causal else None,
        same=((f"pf.ops.attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], causal={causal})", ("out0",)),),
    )


def rope(draw: Draw) -> Call:
    b, t, h, d = draw.size("b", 3), draw.size("t", 17, 100), draw.number("h", 1, 3), draw.size("d", 65)
    rotated = draw.number("rotated", 0, d // 2)
    batched = draw.flag("batched")
    dtype = draw.dtype()
    arrays = {
        "x": draw.array("x", (b, t, h, d), dtype),
        "positions": draw.ids("positions", (b, t) if batched else (t,), 5000),
        "frequencies": 10000.0 ** (-np.arange(rotated) / max(1, rotated)),
    }
    rows = {"x": 0, "positions": 0} if batched else {"x": 0}
    places = {"x": 1, "positions": 1 if batched else 0}
    apart = (Apart(rows, {"out0": 0}), Apart(places, {"out0": 1}), Apart({"x": 2}, {"out0": 2}))
    expression = f"pf.ops.rope(x, positions, frequencies, interleaved={draw.flag('interleaved')})"
    return Call(expression, arrays, dtype, ("x",), apart=apart)


def retention(draw: Draw) -> Call:
    b, t, h = draw.size("b", 3), draw.size("t", 33, 200), draw.number("h", 1, 3)
    d, dv = draw.size("d", 33), draw.size("dv", 33)
    given = {"q": (b, t, h, d), "k": (b, t, h, d), "v": (b, t, h, dv)}
    given["decay"] = 1 - 2.0 ** (-1.0 - draw.number("first decay", 0, 6) - np.arange(h))
    given |= _optional(draw, state=(b, h, d, dv))
    has = [name for name in given if name != "decay"]
    rows = Apart(dict.fromkeys(has, 0), {"out0": 0, "out1": 0})
    heads = {name: 1 if name == "state" else 0 if name == "decay" else 2 for name in given}
    columns = {name: 3 for name in ("v", "state") if name in given}
    apart = (rows, Apart(heads, {"out0": 2, "out1": 1}), Apart(columns, {"out0": 3, "out1": 3}))
    order = InOrder({"q": 1, "k": 1, "v": 1}, {"out0": 1}, ("q",), ("q", "k", "v"))
    return _call(draw, "pf.ops.retention", given, grads=tuple(has), apart=apart, in_order=order)


def recurrent(draw: Draw) -> Call:
    op = draw.choice("op", ("lstm", "gru", "cfc"))
    gates = 4 if op == "lstm" else 3
    b, t, width, hidden = draw.size("b", 5), draw.size("t", 9, 40), draw.size("width", 33), draw.size("hidden", 33)
    given = {"x": (b, t, width), "w_ih": (gates * hidden, width), "w_hh": (gates * hidden, hidden)}
    if draw.flag("biases"):
        given |= {"b_ih": (gates * hidden,), "b_hh": (gates * hidden,)}
    states = ("h0", "c0") if op == "lstm" else ("h0",)
    if draw.flag("state"):
        given |= dict.fromkeys(states, (b, hidden))
    if op == "cfc" and draw.flag("elapsed"):
        given["elapsed"] = draw.numpy("elapsed").exponential(size=(b, t))
    reverse = draw.flag("reverse", 0.3)
    outputs = ("out0", *(f"out{1 + i}" for i in range(len(states))))
    rows = {name: 0 for name in given if name in ("x", "elapsed", *states)}
    apart = (Apart(rows, dict.fromkeys(outputs, 0)),)
    grads = tuple(name for name in given if name != "elapsed")
    call = _call(draw, f"pf.ops.{op}", given, f"reverse={reverse}", grads=grads, apart=apart)
    if reverse:
        return call
    times = {name: 1 for name in given if name in ("x", "elapsed")}
    order = InOrder(times, {"out0": 1}, (), ("x",))
    arguments = ", ".join(f"{name}={name}" for name in given)
    pieces = f"in_pieces(pf.ops.{op}, {draw.number('piece', 1, 8)}, {arguments})"
    same = ((pieces, (*outputs, "dx")),) if "16" not in call.dtype else ()
    return replace(call, in_order=order, same=same)


def in_pieces(op, length: int, x, elapsed=None, h0=None, c0=None, **weights):
    """A recurrent op over `length` elements at a time, each piece from the state after the one before."""
    outs, states = [], [s for s in (h0, c0) if s is not None]
    sizes = [min(length, x.shape[1] - begin) for begin in range(0, x.shape[1], length)]
    # Gradients of slices would be added up, and -0 + 0 is 0.
    parts, gaps = (None if each is None else pf.ops.split(each, sizes, 1) for each in (x, elapsed))
    for i, part in enumerate(parts):
        more = {} if gaps is None else {"elapsed": gaps[i]}
        out, *states = op(part, **weights, **more, **dict(zip(("h0", "c0"), states, strict=False)))
        outs.append(out)
    return (pf.ops.concat(outs, axis=1), *states)


def convolution(draw: Draw) -> Call:
    op = draw.choice("op", ("conv1d", "conv2d", "conv_transpose2d"))
    rank = 1 if op == "conv1d" else 2
    groups = draw.choice("groups", (1, 1, 2, 3))
    inner, outer = draw.size("inner", 9), draw.size("outer", 9)
    kernel = tuple(draw.number(f"kernel {axis}", 1, 4) for axis in range(rank))
    stride, dilation = draw.number("stride", 1, 3), draw.number("dilation", 1, 3)
    size = draw.shape("x", rank, 17, 300)
    size = tuple(max(s, dilation * (k - 1) + 1) for s, k in zip(size, kernel, strict=True))
    transposed = op == "conv_transpose2d"
    padding = draw.number("padding", 0, 0 if transposed else 3)
    inputs, outputs = groups * inner, groups * outer
    weight = (inputs, outer, *kernel) if transposed else (outputs, inner, *kernel)
    given = {"x": (draw.size("n", 5), inputs, *size), "weight": weight, **_optional(draw, bias=(outputs,))}
    apart = [*_each_axis(1)]
    if groups == 1:
        channels = {"weight": 1 if transposed else 0} | ({"bias": 0} if "bias" in given else {})
        apart.append(Apart(channels, {"out0": 1}))
    options = f"stride={stride}, padding={padding}, dilation={dilation}, groups={groups}"
    return _call(draw, f"pf.ops.{op}", given, options, apart=tuple(apart))


def pool(draw: Draw) -> Call:
    op = draw.choice("op", ("max_pool2d", "avg_pool2d"))
    kernel, stride = draw.number("kernel", 1, 4), draw.number("stride", 1, 4)
    size = tuple(max(s, kernel) for s in draw.shape("x", 2, 17, 300))
    shape = (draw.size("n", 3), draw.size("channels", 5), *size)
    options = f"kernel={kernel}, stride={stride}, padding={draw.number('padding', 0, kernel // 2)}"
    return _call(draw, f"pf.ops.{op}", {"x": shape}, options, apart=_each_axis(2))


def bspline(draw: Draw) -> Call:
    shape = draw.shape("x", draw.number("rank", 1, 2), 33, 3000)
    options = f"intervals={draw.number('intervals', 1, 7)}, order={draw.number('order', 1, 5)}"
    return _call(draw, "pf.ops.bspline", {"x": shape}, options, apart=_each_axis(len(shape)))


def _targets(draw: Draw, rows: int, classes: int) -> np.ndarray:
    targets = draw.ids("targets", (rows,), classes)
    targets[draw.numpy("ignored").random(rows) < draw.choice("ignored", (0.0, 0.3, 1.0))] = -100
    return targets


def cross_entropy(draw: Draw) -> Call:
    rows, classes = draw.size("rows", 33, 500), draw.size("classes", 65, 5000)
    reduction = draw.choice("reduction", ("none", "sum", "mean"))
    given = {"logits": (rows, classes), "targets": _targets(draw, rows, classes)}
    options = f"reduction={reduction!r}, label_smoothing={draw.choice('smoothing', (0.0, 0.1))}"
    apart = (Apart({"logits": 0, "targets": 0}, {"out0": 0}),) if reduction == "none" else ()
    ignored = np.broadcast_to((given["targets"] == -100)[:, None], (rows, classes))
    return _call(draw, "pf.ops.cross_entropy", given, options, apart=apart, unseen={"logits": ignored})


def linear_cross_entropy(draw: Draw) -> Call:
    rows, width, classes = draw.size("rows", 33, 700), draw.size("width", 33), draw.size("classes", 65, 500)
    reduction = draw.choice("reduction", ("none", "sum", "mean"))
    given = {"x": (rows, width), "weight": (classes, width), "targets": _targets(draw, rows, classes)}
    given |= _optional(draw, bias=(classes,))
    options = f"reduction={reduction!r}, label_smoothing={draw.choice('smoothing', (0.0, 0.1))}"
    apart = (Apart({"x": 0, "targets": 0}, {"out0": 0}),) if reduction == "none" else ()
    return _call(draw, "pf.ops.linear_cross_entropy", given, options, apart=apart)


def loss(draw: Draw) -> Call:
    op = draw.choice("op", ("mse_loss", "bce_with_logits"))
    shape = draw.shape("x", draw.number("rank", 1, 2))
    reduction = draw.choice("reduction", ("none", "sum", "mean"))
    apart = _each_axis(len(shape), ("x", "target")) if reduction == "none" else ()
    return _call(draw, f"pf.ops.{op}", {"x": shape, "target": shape}, f"reduction={reduction!r}", apart=apart)


def embedding(draw: Draw) -> Call:
    rows, width = draw.size("rows", 33, 300), draw.size("width", 65)
    ids = draw.ids("ids", draw.shape("ids", draw.number("rank", 1, 2), 33, 3000), rows)
    apart = (Apart({"ids": 0}, {"out0": 0}), Apart({"weight": 1}, {"out0": ids.ndim}))
    return _call(draw, "pf.ops.embedding", {"ids": ids, "weight": (rows, width)}, apart=apart)


def gather(draw: Draw) -> Call:
    shape = draw.shape("x", 2, 33, 300)
    axis = draw.number("axis", 0, 1)
    index = draw.ids(
        "index", tuple(draw.size("count", 17) if a == axis else s for a, s in enumerate(shape)), shape[axis]
    )
    apart = _each_axis(2, ("x", "index"), but=(axis,))
    return _call(draw, "pf.ops.gather", {"x": shape, "index": index}, f"axis={axis}", apart=apart)


MOVES = (
    "pf.ops.transpose(x, (1, 2, 0))",
    "x.reshape(-1)",
    "x[::-1, 1:]",
    "x[0]",
    "x[np.array([0, -1, 0])]",
    "pf.ops.concat([x, x], axis=1)",
    "pf.ops.stack([x, x], axis=-1)",
    "tuple(pf.ops.split(x, [1, x.shape[1] - 1], axis=1))",
    "pf.ops.pad(x, [(1, 0), (0, 2), (3, 1)])",
    "pf.ops.cast(x, 'float64')",
    "pf.ops.cast(x, 'float32')",
    "pf.ops.cast(x, 'bfloat16')",
    "pf.ops.cast(x, 'float16')",
)


def move(draw: Draw) -> Call:
    expression = draw.choice("move", MOVES)
    return replace(_call(draw, "", {"x": draw.shape("x", 3, 17)}), expression=expression)


def dropout(draw: Draw) -> Call:
    shape = draw.shape("x", draw.number("rank", 1, 2))
    probability = draw.choice("p", (0.1, 0.5, 0.0, 0.9))
    return _call(draw, "pf.ops.dropout", {"x": shape}, f"p={probability}", setup="pf.manual_seed(5)")


OPTIMIZERS = (
    "AdamW, lr=0.01",
    "AdamW, lr=0.01, betas=(0.8, 0.95), eps=0.0, weight_decay=0.0",
    "SGD, lr=0.1",
    "SGD, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True",
)


def optimizer(draw: Draw) -> Call:
    shape = draw.shape("w", draw.number("rank", 1, 2))
    options = f"pf.optim.{draw.choice('optimizer', OPTIMIZERS)}, steps={draw.number('steps', 1, 4)}"
    given = {"w": shape, "g": shape}
    apart = _each_axis(len(shape), ("w", "g"), ("out0",))
    clip = draw.flag("clip", 0.3)
    return replace(
        _call(draw, "", given, grads=(), apart=() if clip else apart),
        expression=f"stepped(w, g, {options}{', clip=0.5' if clip else ''})",
    )


def stepped(w, g, kind, steps: int, clip: float = 0.0, **options):
    """The weight, its gradient and the norm after some steps along g."""
    w = w.detach()
    w.requires_grad = True
    optimizer, norms = kind([w], **options), []
    for _ in range(steps):
        w.grad = g.to("float32") * 1.0 if "16" in g.dtype.name else g * 1.0
        if clip:
            norms.append(pf.optim.clip_grad_norm_([w], clip))
        optimizer.step()
    return (w.detach(), w.grad, *norms)


MADE = (  # of numbers of the host
    *("pf.tensor(x.numpy(), dtype=dtype)", "pf.tensor(x.tolist(), dtype=dtype)", "written(x.tolist(), dtype)"),
    *("pf.asarray(x.tolist())", "pf.nn.Parameter(x.tolist()).detach()", "pf.full((2,), x.tolist()[0], dtype=dtype)"),
    *("pf.tensor([2**24 + 1, 2**53 + 1, -(2**62) - 1], dtype=dtype)", "pf.ops.where(x > 0.0, x.tolist()[0], x)"),
    *("pf.tensor(pf.nn.sinusoids(np.arange(x.size), 6))", "pf.tensor(pf.nn.alibi_slopes(x.size))"),
    *("pf.tensor(pf.nn.MultiScaleRetention(8, 2).decay)", "initialised(x.size)", "scheduled(x.size)"),
)


def made(draw: Draw) -> Call:
    expression = draw.choice("expression", MADE)
    x = draw.array("x", draw.shape("x", 1, 65, 500), "float64")
    return Call(expression, {"x": x}, "float64", setup=f"dtype = {draw.dtype()!r}")


def written(values: list[float], dtype: str):
    out = pf.zeros(len(values), dtype=dtype)
    with np.errstate(over="ignore"):
        out[...] = values
        out[0] = values[0]
    return out


def initialised(width: int):
    pf.manual_seed(1)
    init, zeros = pf.nn.init, pf.zeros(3, width)
    drawn = [init.xavier_uniform_, init.xavier_normal_, init.kaiming_uniform_, init.kaiming_normal_]
    made = [f(pf.tensor(zeros)) for f in (*drawn, init.trunc_normal_)]
    return (*made, pf.nn.Linear(width, 3).weight.detach(), pf.nn.LSTM(width, 3).weight_ih_l0.detach())


def scheduled(steps: int):
    """Learning rates after a warm-up, and weights that took them."""
    weight, rates = pf.ones(3, requires_grad=True), []
    optimizer = pf.optim.AdamW([weight], lr=0.0123)
    for schedule in (pf.optim.LinearSchedule(steps, 3, 0.7), pf.optim.CosineSchedule(steps, 7)):
        for step in range(steps):
            optimizer.scale_lr(schedule(step))
            rates.append(optimizer.param_groups[0]["lr"])
    weight.grad = pf.ones(3)
    optimizer.step()
    return pf.tensor(rates, dtype="float64"), weight.detach()


OPS = (
    *(case_of_the_table, unary, binary, compare, where, reduction, along_axis, which, topk, row_norm, group_norm),
    *(batch_norm, matmul, linear, norm_linear, mlp, attention, attention_packed, rope, retention, recurrent),
    *(convolution, pool, bspline, cross_entropy, linear_cross_entropy, loss, embedding, gather, move, dropout),
    *(optimizer, made),
)
