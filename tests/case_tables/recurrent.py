"""Cases of lstm, gru and cfc. The oracles are torch's own lstm and gru; cfc is written out."""

from __future__ import annotations

import numpy as np

from case_tables.case import Case

GATES = {"lstm": 4, "gru": 3, "cfc": 3}


def _inputs(op, batch, steps, inputs, hidden, *, biases, state, elapsed):
    def make(rng):
        rows = GATES[op] * hidden
        arrays = {
            "x": rng.standard_normal((batch, steps, inputs)),
            "w_ih": rng.standard_normal((rows, inputs)) / np.sqrt(max(1, inputs)),
            "w_hh": rng.standard_normal((rows, hidden)) / np.sqrt(hidden),
        }
        if biases:
            arrays |= {name: rng.standard_normal(rows) * 0.5 for name in ("b_ih", "b_hh")}
        if state:
            names = ("h0", "c0") if op == "lstm" else ("h0",)
            arrays |= {name: rng.standard_normal((batch, hidden)) for name in names}
        if elapsed:
            arrays["elapsed"] = rng.exponential(size=(batch, steps))
        return arrays

    return make


def _torch_cell(torch, x, w_ih, w_hh, b_ih, b_hh, h, elapsed):
    outs = []
    for t in range(x.shape[1]):
        gates = x[:, t] @ w_ih.T + h @ w_hh.T
        for bias in (b_ih, b_hh):
            gates = gates if bias is None else gates + bias
        f, g, k = gates.chunk(3, dim=1)
        d = 1.0 if elapsed is None else elapsed[:, t, None]
        s = torch.sigmoid(-f * d)
        h = s * torch.tanh(g) + (1 - s) * torch.tanh(k)
        outs.append(h)
    return torch.stack(outs, dim=1), h


def _torch(op, reverse):
    def run(torch, x, w_ih, w_hh, b_ih=None, b_hh=None, h0=None, c0=None, elapsed=None):
        zeros = x.new_zeros((x.shape[0], w_hh.shape[1]))
        h0, c0 = (zeros if state is None else state for state in (h0, c0))
        x = x.flip(1) if reverse else x
        if op == "cfc":
            elapsed = elapsed.flip(1) if reverse and elapsed is not None else elapsed
            out, h = _torch_cell(torch, x, w_ih, w_hh, b_ih, b_hh, h0, elapsed)
            return out.flip(1) if reverse else out, h
        weights = [w for w in (w_ih, w_hh, b_ih, b_hh) if w is not None]
        state = (h0[None], c0[None]) if op == "lstm" else h0[None]
        out, *last = getattr(torch, op)(x, state, weights, b_ih is not None, 1, 0.0, False, False, True)
        return out.flip(1) if reverse else out, *(s[0] for s in last)

    return run


def _case(
    op, name, batch, steps, inputs, hidden, *, biases=True, state=True, elapsed=False, reverse=False, bench=False
):
    make = _inputs(op, batch, steps, inputs, hidden, biases=biases, state=state, elapsed=elapsed)
    rows = GATES[op] * hidden
    return Case(
        op=op,
        name=name,
        inputs=make,
        run=lambda pf, **tensors: getattr(pf.ops, op)(**tensors, reverse=reverse),
        torch=_torch(op, reverse),
        grads=tuple(k for k in make(np.random.default_rng(0)) if k != "elapsed") if not bench else (),
        reduction=max(rows, inputs, batch * steps),
        flops=2.0 * batch * steps * rows * (inputs + hidden),
        bytes=4.0 * (batch * steps * (inputs + hidden) + rows * (inputs + hidden)),
        bench=bench,
    )


def _cases(op):
    return [
        *(_case(op, f"hidden-{h}", 3, 5, 7, h) for h in (1, 3, 7, 8, 9, 15, 16, 17, 33, 65)),
        *(_case(op, f"batch-{b}", b, 6, 5, 12) for b in (0, 1, 8, 9, 17, 33)),
        *(_case(op, f"steps-{t}", 2, t, 9, 20) for t in (1, 2, 3, 4, 60)),
        _case(op, "one-input", 2, 5, 1, 10),
        _case(op, "wide", 2, 3, 260, 270),
        _case(op, "reverse", 3, 11, 6, 18, reverse=True),
        _case(op, "reverse-of-one", 3, 1, 6, 18, reverse=True),
        _case(op, "no-state", 3, 7, 6, 18, state=False),
        _case(op, "no-state-reverse", 3, 7, 6, 18, state=False, reverse=True),
        _case(op, "no-biases", 3, 7, 6, 18, biases=False),
        _case(op, "B32-T128-H256", 32, 128, 256, 256, state=False, bench=True),
    ]


CASES = [
    *_cases("lstm"),
    *_cases("gru"),
    *_cases("cfc"),
    _case("cfc", "elapsed", 4, 9, 5, 19, elapsed=True),
    _case("cfc", "elapsed-reverse", 4, 9, 5, 19, elapsed=True, reverse=True),
]
