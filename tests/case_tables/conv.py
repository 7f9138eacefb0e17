"""Cases of conv1d, conv2d and conv_transpose2d."""

from __future__ import annotations

import math

from case_tables.case import Case


def _positions(x, weight, options) -> int:
    """How many positions of a convolution's result."""

    def option(name, axis, default):
        value = options.get(name, default)
        return value[axis] if isinstance(value, tuple) else value

    total = 1
    for axis, (size, kernel) in enumerate(zip(x[2:], weight[2:], strict=True)):
        span = option("dilation", axis, 1) * (kernel - 1) + 1
        total *= (size + 2 * option("padding", axis, 0) - span) // option("stride", axis, 1) + 1
    return total


def _conv(x, weight, name="", *, op="conv2d", bias=True, bench=False, **options) -> Case:
    """x and weight are shapes; options go to both libraries."""
    groups = options.get("groups", 1)
    transposed = op == "conv_transpose2d"
    out_channels = weight[1] * groups if transposed else weight[0]
    tags = [f"{k}{v}".replace(" ", "") for k, v in options.items()]
    positions = math.prod(x[2:]) if transposed else _positions(x, weight, options)

    def inputs(rng):
        arrays = {"x": rng.standard_normal(x), "weight": rng.standard_normal(weight)}
        if bias:
            arrays["bias"] = rng.standard_normal(out_channels)
        return arrays

    return Case(
        op=op,
        name=name or "-".join(["x".join(map(str, x)), "x".join(map(str, weight)), *tags]),
        inputs=inputs,
        run=lambda pf, **tensors: getattr(pf.ops, op)(**tensors, **options),
        torch=lambda torch, x, **others: getattr(torch.nn.functional, op)(x, **others, **options),
        grads=("x", "weight", "bias") if bias else ("x", "weight"),
        reduction=max(math.prod(weight[1:]), math.prod(weight) // weight[1], x[0] * math.prod(x[2:])),
        flops=2.0 * x[0] * positions * math.prod(weight),
        bytes=4.0 * (math.prod(x) + x[0] * out_channels * positions),
        bench=bench,
    )


def _transpose(x, weight, name="", **options) -> Case:
    return _conv(x, weight, name, op="conv_transpose2d", **options)


def _conv1d(x, weight, name="", **options) -> Case:
    return _conv(x, weight, name, op="conv1d", **options)


CASES = [
    _conv((2, 3, 7, 9), (5, 3, 3, 3), padding=1),
    _conv((2, 3, 7, 9), (5, 3, 3, 3), name="no-bias", bias=False),
    _conv((1, 1, 1, 1), (1, 1, 1, 1)),
    _conv((1, 1, 1, 1), (2, 1, 3, 3), padding=1),
    _conv((0, 2, 5, 5), (3, 2, 3, 3)),
    _conv((3, 2, 5, 5), (17, 2, 5, 5)),
    _conv((2, 4, 6, 6), (15, 4, 1, 1)),
    _conv((2, 4, 6, 6), (7, 4, 1, 1), stride=2),
    _conv((2, 3, 9, 8), (4, 3, 3, 2), stride=(2, 3), padding=(2, 1)),
    _conv((2, 3, 11, 10), (4, 3, 3, 3), stride=(3, 2), padding=(1, 4), dilation=(2, 3)),
    _conv((2, 2, 12, 12), (3, 2, 2, 2), stride=5, dilation=3),
    _conv((1, 2, 3, 40), (3, 2, 2, 5), padding=(4, 0), dilation=(1, 7)),
    _conv((2, 6, 8, 8), (9, 2, 3, 3), groups=3, padding=1),
    _conv((3, 33, 6, 6), (33, 1, 3, 3), groups=33, padding=1),
    _conv((2, 4, 6, 5), (8, 1, 3, 3), groups=4, stride=2),
    _conv((2, 29, 5, 5), (31, 29, 3, 3), name="more-than-a-chain", padding=1),
    _conv((1, 64, 4, 4), (16, 64, 2, 2), name="one-chain"),
    _conv((11, 2, 20, 18), (14, 2, 3, 3), name="several-chains-and-ranges", padding=1),
    _conv((2, 1, 3, 300), (2, 1, 3, 3), name="row-longer-than-a-chain"),
    _conv((1, 16, 40, 130), (3, 16, 5, 5), name="blocks-of-rows", padding=2),
    _transpose((2, 3, 5, 4), (3, 5, 3, 3)),
    _transpose((2, 3, 5, 4), (3, 5, 3, 3), name="no-bias", bias=False, padding=1),
    _transpose((2, 4, 5, 6), (4, 3, 4, 4), stride=2, padding=1),
    _transpose((2, 4, 5, 6), (4, 3, 3, 3), stride=2, padding=1, output_padding=1),
    _transpose((2, 4, 3, 4), (4, 3, 2, 2), stride=(3, 2), output_padding=(2, 1)),
    _transpose((2, 4, 5, 5), (4, 3, 3, 2), stride=(1, 2), dilation=(2, 3), padding=(1, 2)),
    _transpose((2, 6, 4, 4), (6, 3, 4, 4), groups=2, stride=2, padding=1),
    _transpose((1, 2, 1, 1), (2, 1, 1, 1)),
    _transpose((0, 2, 3, 3), (2, 4, 2, 2)),
    _transpose((9, 33, 6, 6), (33, 15, 3, 3), name="more-than-a-chain", padding=1),
    _conv1d((2, 3, 20), (5, 3, 3), padding=1),
    _conv1d((2, 3, 1), (5, 3, 1), bias=False),
    _conv1d((2, 4, 31), (6, 2, 5), groups=2, stride=2, padding=3, dilation=2),
    _conv1d((3, 2, 700), (17, 2, 4), name="several-chains"),
    _conv1d((2, 40, 300), (40, 1, 4), name="depthwise", groups=40, padding=3),
    _conv((64, 1, 28, 28), (32, 1, 3, 3), padding=1, bench=True),
    _conv((64, 32, 28, 28), (64, 32, 3, 3), padding=1, bench=True),
    _conv((64, 64, 14, 14), (128, 64, 3, 3), padding=1, bench=True),
    _conv((64, 32, 28, 28), (64, 32, 3, 3), padding=1, stride=2, bench=True),
    _conv((64, 64, 28, 28), (64, 1, 3, 3), padding=1, groups=64, bench=True),
    _conv((64, 1, 28, 28), (128, 1, 4, 4), stride=4, bench=True),
    _transpose((64, 64, 14, 14), (64, 32, 4, 4), stride=2, padding=1, bench=True),
    _conv1d((16, 256, 256), (256, 256, 3), padding=1, bench=True),
]
