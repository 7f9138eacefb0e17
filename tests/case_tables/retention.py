"""Cases of retention. The oracle is the parallel form: (T, T) scores times powers of the decay."""

from __future__ import annotations

import numpy as np

from case_tables.case import Case


def _torch(torch, q, k, v, decay, state=None):
    steps = q.shape[1]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    distance = torch.arange(steps)[:, None] - torch.arange(steps)[None]
    powers = decay[:, None, None] ** distance.clamp(min=0) * (distance >= 0)
    out = (q @ k.transpose(-1, -2) * powers.to(q.dtype)) @ v
    fading = decay[:, None] ** torch.arange(steps - 1, -1, -1)
    last = (k * fading[..., None]).transpose(-1, -2) @ v
    if state is not None:
        growing = decay[:, None] ** torch.arange(1, steps + 1)
        out = out + (q * growing[..., None]) @ state
        last = last + decay[:, None, None] ** steps * state
    return out.transpose(1, 2), last


def _case(name, b, t, h, d, dv, *, state=True, decay=None, bench=False):
    def inputs(rng):
        arrays = {
            "q": rng.standard_normal((b, t, h, d)) / np.sqrt(max(1, d)),
            "k": rng.standard_normal((b, t, h, d)),
            "v": rng.standard_normal((b, t, h, dv)),
            "decay": 1 - 2.0 ** (-1.0 - np.arange(h)) if decay is None else np.full(h, decay),
        }
        return arrays | ({"state": rng.standard_normal((b, h, d, dv))} if state else {})

    return Case(
        op="retention",
        name=name,
        inputs=inputs,
        run=lambda pf, **tensors: pf.ops.retention(**tensors),
        torch=_torch,
        grads=("q", "k", "v", *(("state",) if state else ())) if not bench else (),
        reduction=max(t, d, dv),
        flops=2.0 * b * h * t * (64 * (d + dv) + 2 * d * dv),
        bytes=4.0 * b * h * t * 2 * (d + dv),
        bench=bench,
    )


CASES = [
    *(_case(f"tokens-{t}", 2, t, 3, 8, 12) for t in (0, 1, 2, 63, 64, 65, 130, 200)),
    *(_case(f"width-{d}x{dv}", 1, 20, 2, d, dv) for d, dv in ((1, 1), (3, 17), (16, 16), (33, 7), (64, 128))),
    _case("no-state", 2, 100, 2, 16, 16, state=False),
    _case("no-decay", 2, 70, 1, 8, 8, decay=1.0),
    _case("fast-decay", 1, 140, 2, 8, 8, decay=0.01),
    _case("empty-batch", 0, 5, 2, 4, 4),
    _case("B32-T128-H4-D64", 32, 128, 4, 64, 128, state=False, bench=True),
]
