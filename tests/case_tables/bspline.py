"""Cases of bspline. The oracle is the recursion of Cox and de Boor over all knots."""

from __future__ import annotations

import numpy as np

from case_tables.case import Case


def _torch(low, high, intervals, order):
    def run(torch, x):
        width = (high - low) / intervals
        knots = low + width * torch.arange(-order, intervals + order + 1, dtype=x.dtype)
        x = x[..., None]
        bases = ((x >= knots[:-1]) & (x < knots[1:])).to(x.dtype)
        for d in range(1, order + 1):
            left = (x - knots[: -d - 1]) / (knots[d:-1] - knots[: -d - 1])
            right = (knots[d + 1 :] - x) / (knots[d + 1 :] - knots[1:-d])
            bases = left * bases[..., :-1] + right * bases[..., 1:]
        return bases

    return run


def _case(name, shape, low=-1.0, high=1.0, intervals=5, order=3, *, spread=0.9, values=None, bench=False):
    def inputs(rng):
        centre = (low + high) / 2
        x = centre + rng.standard_normal(shape) * spread * (high - low) / 2
        return {"x": x if values is None else np.array(values)}

    count = int(np.prod(shape)) if values is None else len(values)
    return Case(
        op="bspline",
        name=name,
        inputs=inputs,
        run=lambda pf, x: pf.ops.bspline(x, low, high, intervals, order),
        torch=_torch(low, high, intervals, order),
        grads=("x",),
        reduction=(order + 1) * intervals,
        flops=count * 3.0 * order * (order + 1),
        bytes=4.0 * count * (1 + intervals + order),
        bench=bench,
    )


CASES = [
    *(_case(f"count-{n}", (n,)) for n in (0, 1, 7, 8, 9, 15, 16, 17, 2049)),
    *(_case(f"order-{k}", (3, 37), order=k) for k in (2, 3, 4, 5, 8)),
    *(_case(f"intervals-{g}", (5, 13), intervals=g) for g in (1, 2, 20)),
    _case("order-1", (3, 37), order=1),
    _case("other-range", (4, 33), low=2.0, high=8.0, intervals=6, order=3),
    _case("far-outside", (40,), spread=10.0),
    # Knots, where the pieces meet; exactly representable, as the oracle's own knots are.
    _case("knots", (), intervals=4, order=3, values=[-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, -2.5, 2.5, 1e30, -1e30]),
    _case("512x128", (512, 128), bench=True),
]
