"""lstm, gru, cfc, retention and bspline: carrying state on, equal forms, bits, and errors."""

from __future__ import annotations

import numpy as np
import pytest
from tolerance import MODEL_OPS, assert_close, by_rows, same_bits

import pyformer as pf
from pyformer import _core, ops

GATES = {"lstm": 4, "gru": 3, "cfc": 3}


def normal(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def weights(op, inputs=6, hidden=10):
    rows = GATES[op] * hidden
    return [pf.tensor(normal(*shape, seed=i) * 0.3) for i, shape in enumerate([(rows, inputs), (rows, hidden)])]


def states(op):
    return ("h0", "c0") if op == "lstm" else ("h0",)


@pytest.mark.parametrize("op", GATES)
def test_a_sequence_in_two_parts_has_the_same_bits(op):
    """Where a sequence is cut, the state carries on; one step at a time is what generation does."""
    x, (w_ih, w_hh) = normal(3, 12, 6), weights(op)
    run = getattr(ops, op)
    whole, *last = run(pf.tensor(x), w_ih, w_hh)
    for cuts in ((5,), (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)):
        parts, state = [], {}
        for piece in np.split(x, cuts, axis=1):
            out, *state = run(pf.tensor(piece), w_ih, w_hh, **dict(zip(states(op), state, strict=False)))
            parts.append(out.numpy())
        assert same_bits(np.concatenate(parts, axis=1), whole.numpy())
        assert all(same_bits(a.numpy(), b.numpy()) for a, b in zip(state, last, strict=True))


@pytest.mark.parametrize("op", GATES)
def test_long_walks_over_threads(op):
    """Long enough for a walk to be cut into several pieces."""
    x, (w_ih, w_hh) = normal(20, 300, 6), weights(op, hidden=160)
    results = []
    for threads in (1, 2, 5):
        pf.set_num_threads(threads)
        tensors = [pf.tensor(t, requires_grad=True) for t in (x, w_ih.numpy(), w_hh.numpy())]
        out = getattr(ops, op)(*tensors)[0]
        out.backward(pf.tensor(normal(20, 300, 160, seed=3)))
        results.append([out.numpy().tobytes(), *(t.grad.numpy().tobytes() for t in tensors)])
    assert all(r == results[0] for r in results[1:])


def test_empty_arrays_of_absurd_extent():
    empty = pf.zeros(2**40, 2**62, 1, 0)
    out, state = ops.retention(empty, empty, empty, pf.ones(1))
    assert out.shape == (2**40, 2**62, 1, 0)
    assert state.shape == (2**40, 1, 0, 0)


@pytest.mark.parametrize("op", GATES)
def test_a_row_does_not_see_its_neighbours(op):
    x, (w_ih, w_hh) = normal(33, 5, 6), weights(op)
    run = getattr(ops, op)
    together = run(pf.tensor(x), w_ih, w_hh)[0].numpy()
    for i in (0, 7, 32):
        assert same_bits(run(pf.tensor(x[i : i + 1]), w_ih, w_hh)[0].numpy(), together[i : i + 1])


@pytest.mark.parametrize("op", GATES)
def test_reverse_is_forward_on_the_flipped_sequence(op):
    x, (w_ih, w_hh) = normal(2, 9, 6), weights(op)
    run = getattr(ops, op)
    backward, *last = run(pf.tensor(x), w_ih, w_hh, reverse=True)
    flipped, *expected = run(pf.tensor(x[:, ::-1].copy()), w_ih, w_hh)
    assert same_bits(backward.numpy(), flipped.numpy()[:, ::-1])
    assert all(same_bits(a.numpy(), b.numpy()) for a, b in zip(last, expected, strict=True))


def test_unused_outputs_cost_nothing_and_weights_alone_get_gradients():
    x, (w_ih, w_hh) = normal(2, 5, 6), weights("lstm")
    w_hh.requires_grad = True
    _, h, _ = ops.lstm(pf.tensor(x), w_ih, w_hh)
    h.sum().backward()
    assert w_hh.grad is not None
    assert w_ih.grad is None


def test_a_saved_output_that_was_changed_is_noticed():
    x, (w_ih, w_hh) = pf.tensor(normal(2, 5, 6)), weights("gru")
    w_hh.requires_grad = True
    out, _ = ops.gru(x, w_ih, w_hh)
    x[0] = 0.0
    with pytest.raises(RuntimeError, match="changed in place"):
        out.sum().backward()


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": normal(2, 6)}, ValueError, r"x must be \(B, T, C\) with T >= 1, got \(2, 6\)"),
        ({"x": normal(2, 0, 6)}, ValueError, r"x must be \(B, T, C\) with T >= 1, got \(2, 0, 6\)"),
        ({"x": np.zeros((2, 3, 6), np.int64)}, TypeError, "expected floats, got int64"),
        ({"x": normal(2, 3, 5)}, ValueError, r"w_ih must be \(. H, C\) = \(.0, 5\), got \(.0, 6\)"),
        ({"w_hh": normal(11, 10)}, ValueError, r"w_hh must be \(. H, H\) with H >= 1, got \(11, 10\)"),
        ({"w_hh": np.zeros((0, 2**58), "f")}, ValueError, r"w_hh must be \(. H, H\) with H >= 1"),
        ({"w_hh": normal(10)}, ValueError, r"w_hh must be \(. H, H\) with H >= 1, got \(10,\)"),
        ({"w_ih": normal(40, 6, dtype="float64")}, TypeError, "w_ih must be float32 as x is, got float64"),
        ({"b_ih": normal(7)}, ValueError, r"b_ih must be \(. H,\) = \(.0,\), got \(7,\)"),
        ({"b_hh": normal(7)}, ValueError, r"b_hh must be \(. H,\) = \(.0,\), got \(7,\)"),
        ({"h0": normal(2, 11)}, ValueError, r"h0 must be \(B, H\) = \(2, 10\), got \(2, 11\)"),
        ({"h0": normal(2, 10, dtype="float64")}, TypeError, "h0 must be float32 as x is, got float64"),
    ],
)
def test_recurrent_errors(op, change, error, message):
    w_ih, w_hh = weights(op)
    arguments = {"x": normal(2, 3, 6), "w_ih": w_ih, "w_hh": w_hh, **change}
    with pytest.raises(error, match=rf"^{op}: {message}"):
        getattr(ops, op)(**{k: pf.tensor(v) for k, v in arguments.items()})


def test_errors_of_one_op_only():
    w_ih, w_hh = weights("lstm")
    with pytest.raises(ValueError, match=r"^lstm: c0 must be \(B, H\) = \(2, 10\)"):
        ops.lstm(pf.tensor(normal(2, 3, 6)), w_ih, w_hh, c0=pf.zeros(2, 9))
    w_ih, w_hh = weights("cfc")
    with pytest.raises(ValueError, match=r"^cfc: elapsed must be \(B, T\) = \(2, 3\)"):
        ops.cfc(pf.tensor(normal(2, 3, 6)), w_ih, w_hh, elapsed=pf.ones(2, 4))
    with pytest.raises(ValueError, match=r"^cfc: elapsed has no gradient"):
        ops.cfc(pf.tensor(normal(2, 3, 6)), w_ih, w_hh, elapsed=pf.ones(2, 3, requires_grad=True))


def retention_inputs(steps, dtype="float64"):
    shapes = ((2, steps, 3, 8), (2, steps, 3, 8), (2, steps, 3, 12))
    return [normal(*shape, seed=i, dtype=dtype) / 3 for i, shape in enumerate(shapes)]


def parallel_form(q, k, v, decay):
    """Written with ops of its own, so that gradients of the two can be compared."""
    steps = q.shape[1]
    distance = np.arange(steps)[:, None] - np.arange(steps)[None]
    powers = np.where(distance >= 0, decay.numpy()[:, None, None] ** np.maximum(distance, 0), 0.0)
    q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))
    scores = ops.matmul(q, k, transpose_b=True) * pf.tensor(powers.astype(str(q.numpy().dtype)))
    return ops.matmul(scores, v).transpose(0, 2, 1, 3)


def recurrent_form(q, k, v, decay):
    outs, state = [], None
    for t in range(q.shape[1]):
        out, state = ops.retention(q[:, t : t + 1], k[:, t : t + 1], v[:, t : t + 1], decay, state)
        outs.append(out)
    return ops.concat(outs, axis=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_three_forms_of_retention_are_equal(dtype):
    """Values and gradients, to 1e-5 in float32 as the paper's forms must be."""
    decay = pf.tensor((1 - 2.0 ** (-2.0 - np.arange(3))).astype(dtype))
    dout = normal(2, 150, 3, 12, seed=9, dtype=dtype)
    results = []
    for form in (lambda *a: ops.retention(*a)[0], parallel_form, recurrent_form):
        tensors = [pf.tensor(a, requires_grad=True) for a in retention_inputs(150, dtype)]
        out = form(*tensors, decay)
        out.backward(pf.tensor(dout))
        results.append([out.numpy(), *(t.grad.numpy() for t in tensors)])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert_close(one, by_rows(two), additions=256, ops=MODEL_OPS)


SPLITS = [(1, 70, 150), (64, 128, 150), (5, 5, 7, 150), tuple(range(1, 151)), (149, 150)]


def in_parts(tensors, decay, ends, state=None):
    parts, start = [], 0
    for end in ends:
        out, state = ops.retention(*(t[:, start:end] for t in tensors), decay, state)
        parts.append(out)
        start = end
    return ops.concat(parts, axis=1), state


def exact(x):
    return x.detach().to("float32" if x.dtype in (pf.bfloat16, pf.float16) else x.dtype).numpy()


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("ends", SPLITS, ids=str)
def test_retention_in_parts_has_the_bits_of_the_whole(ends, dtype, isa):
    _core.set_isa(isa)
    tensors = [pf.tensor(a).to(dtype) for a in retention_inputs(150)]
    decay = pf.tensor(1 - 2.0 ** (-2.0 - np.arange(3))).to(dtype)
    whole, last = ops.retention(*tensors, decay)
    out, state = in_parts(tensors, decay, ends)
    assert out.dtype == whole.dtype == tensors[0].dtype
    assert same_bits(exact(out), exact(whole))
    assert same_bits(exact(state), exact(last))


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_a_long_running_sum_errs_by_its_own_rounding(isa):
    """With decay 1 retention is a running sum: float32 ones would stop at 2^24."""
    _core.set_isa(isa)
    one = pf.ones(1, 3, 1, 1)
    out, state = ops.retention(one, one, one, pf.tensor([1.0]), pf.full((1, 1, 1, 1), 2.0**24))
    np.testing.assert_array_equal(state.numpy().ravel(), [2**24 + 3])
    np.testing.assert_array_equal(out.numpy().ravel(), np.float32([2**24, 2**24 + 2, 2**24 + 4]))


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_two_tokens_of_retention_one_by_one(isa):
    """The smallest call that a walk in chunks got wrong."""
    _core.set_isa(isa)
    for seed in range(50):
        tensors = [pf.tensor(normal(1, 2, 1, 1, seed=seed + i)) for i in range(3)]
        decay = pf.tensor([0.96875])
        assert same_bits(in_parts(tensors, decay, (1, 2))[0].numpy(), ops.retention(*tensors, decay)[0].numpy())


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_gradients_of_retention_in_parts_have_the_bits_of_the_whole(isa):
    _core.set_isa(isa)
    decay, dout = pf.tensor(np.float32([0.5, 0.9, 1.0])), pf.tensor(normal(2, 150, 3, 12, seed=9))
    results = []
    for ends in ((150,), (1, 70, 150), (64, 150)):
        tensors = [pf.tensor(a, requires_grad=True) for a in retention_inputs(150, "float32")]
        tensors.append(pf.tensor(normal(2, 3, 8, 12, seed=5), requires_grad=True))
        out, _ = in_parts(tensors[:3], decay, ends, tensors[3])
        out.backward(dout)
        results.append([t.grad.numpy() for t in tensors])
    for other in results[1:]:
        assert all(same_bits(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("steps", [3, 70])
def test_what_is_not_finite_reaches_no_earlier_token(steps, bad, isa):
    _core.set_isa(isa)
    decay, at = pf.tensor(np.full(3, 0.9)), steps - 2
    clean = [pf.tensor(a) for a in retention_inputs(steps)]
    expected = ops.retention(*clean, decay)[0].numpy()
    for which in range(3):
        arrays = [a.numpy().copy() for a in clean]
        arrays[which][:, at, 1, 3] = bad
        out = ops.retention(*map(pf.tensor, arrays), decay)[0].numpy()
        assert same_bits(out[:, :at], expected[:, :at])
        assert same_bits(out[:, :, [0, 2]], expected[:, :, [0, 2]])
        assert not np.isfinite(out[:, at, 1]).all()


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_gradient_that_is_not_finite_reaches_no_later_token(bad, isa):
    """dk and dv of a token are sums over later outputs, dq over earlier keys."""
    _core.set_isa(isa)
    decay, at = pf.tensor(np.full(3, 0.9)), 20

    def gradients(dout):
        tensors = [pf.tensor(a, requires_grad=True) for a in retention_inputs(70)]
        ops.retention(*tensors, decay)[0].backward(pf.tensor(dout))
        return [t.grad.numpy() for t in tensors]

    dout = normal(2, 70, 3, 12, seed=9, dtype="float64")
    dq, dk, dv = gradients(dout)
    dout[:, at, 1, 3] = bad
    bad_dq, bad_dk, bad_dv = gradients(dout)
    others = np.arange(70) != at
    assert same_bits(bad_dq[:, others], dq[:, others])
    assert same_bits(bad_dk[:, at + 1 :], dk[:, at + 1 :])
    assert same_bits(bad_dv[:, at + 1 :], dv[:, at + 1 :])
    assert not np.isfinite(bad_dv[:, at, 1]).all()


def test_a_state_of_retention_of_the_wrong_dtype():
    q, decay = pf.ones(1, 2, 1, 4, dtype=pf.bfloat16), pf.tensor([0.5]).to("bfloat16")
    out, state = ops.retention(q, q, q, decay)
    assert out.dtype == pf.bfloat16
    assert state.dtype == pf.float64
    for dtype in ("bfloat16", "float32"):
        start = state.to(dtype).detach()
        start.requires_grad = True
        out, state = ops.retention(q, q, q, decay, start)
        out.sum().backward()
        assert state.dtype == pf.float64
        assert start.grad.dtype == pf.float32
    with pytest.raises(TypeError, match=r"^retention: state must be bfloat16 as q is, got float16"):
        ops.retention(q, q, q, decay, state.to("float16"))


def test_a_token_does_not_see_what_comes_later():
    q, k, v = retention_inputs(130)
    decay = pf.tensor(np.full(3, 0.9))
    whole = ops.retention(*(pf.tensor(a) for a in (q, k, v)), decay)[0].numpy()
    for length in (1, 63, 64, 65, 129):
        part = ops.retention(*(pf.tensor(a[:, :length]) for a in (q, k, v)), decay)[0].numpy()
        assert same_bits(part, whole[:, :length])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q": normal(2, 5, 8)}, ValueError, r"q must be \(B, T, H, D\), got \(2, 5, 8\)"),
        ({"v": normal(2, 5, 8)}, ValueError, r"v must be \(B, T, H, Dv\), got \(2, 5, 8\)"),
        ({"k": normal(2, 5, 3, 7)}, ValueError, r"k must be \(B, T, H, D\) = \(2, 5, 3, 8\), got \(2, 5, 3, 7\)"),
        ({"v": normal(2, 6, 3, 4)}, ValueError, r"v must be \(B, T, H, Dv\) = \(2, 5, 3, 4\), got \(2, 6, 3, 4\)"),
        ({"q": np.ones((2, 5, 3, 8), np.int64)}, TypeError, "k must be int64 as q is, got float32"),
        ({"k": normal(2, 5, 3, 8, dtype="float64")}, TypeError, "k must be float32 as q is, got float64"),
        ({"decay": np.ones(2, np.float32)}, ValueError, r"decay must be \(H,\) = \(3,\), got \(2,\)"),
        ({"decay": np.ones(3)}, TypeError, "decay must be float32 as q is, got float64"),
        ({"decay": np.float32([0.5, 0.0, 0.5])}, ValueError, r"decay must be in \(0, 1\], got 0 for head 1"),
        ({"decay": np.float32([0.5, 0.5, 1.5])}, ValueError, r"decay must be in \(0, 1\], got 1.5 for head 2"),
        ({"decay": np.float32([np.nan] * 3)}, ValueError, r"decay must be in \(0, 1\], got nan"),
        ({"state": normal(2, 3, 8, 5)}, ValueError, r"state must be \(B, H, D, Dv\) = \(2, 3, 8, 4\)"),
    ],
)
def test_retention_errors(change, error, message):
    arguments = {
        "q": normal(2, 5, 3, 8),
        "k": normal(2, 5, 3, 8),
        "v": normal(2, 5, 3, 4),
        "decay": np.full(3, 0.5, np.float32),
        **change,
    }
    with pytest.raises(error, match=f"^retention: {message}"):
        ops.retention(**{k: pf.tensor(v) for k, v in arguments.items()})


def test_decay_that_wants_a_gradient_is_refused():
    q = pf.tensor(normal(1, 2, 1, 4))
    with pytest.raises(ValueError, match=r"^retention: decay has no gradient"):
        ops.retention(q, q, q, pf.tensor([0.5], dtype=pf.float32, requires_grad=True))


def test_bspline_sums_to_one_inside_and_is_zero_far_outside():
    x = np.linspace(-3.0, 3.0, 1001)
    for order in (1, 3, 8):
        bases = ops.bspline(pf.tensor(x), low=-1.0, high=1.0, intervals=7, order=order).numpy()
        assert bases.shape == (1001, 7 + order)
        assert (bases >= -1e-15).all()
        inside = (x >= -1) & (x < 1)
        np.testing.assert_allclose(bases[inside].sum(-1), 1.0, atol=1e-13)
        assert not bases[np.abs(x) > 1 + order * 2 / 7 + 1e-9].any()


def test_bspline_of_what_is_not_finite():
    x = pf.tensor(np.array([np.inf, -np.inf, np.nan, 0.0]), requires_grad=True)
    bases = ops.bspline(x)
    assert not bases.numpy()[:2].any()
    assert np.isnan(bases.numpy()[2]).all()
    bases.sum().backward()
    assert np.isnan(x.grad.numpy()[2])
    assert np.isfinite(x.grad.numpy()[3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 1.0, "high": 1.0}, "expected finite low < high, got 1 and 1"),
        ({"low": float("nan")}, "expected finite low < high, got nan and 1"),
        ({"high": float("inf")}, "expected finite low < high, got -1 and inf"),
        ({"intervals": 0}, "intervals must be from 1 to 1048576, got 0"),
        ({"intervals": 2**40}, "intervals must be from 1 to 1048576, got 1099511627776"),
        ({"order": 0}, "order must be from 1 to 8, got 0"),
        ({"order": 9}, "order must be from 1 to 8, got 9"),
    ],
)
def test_bspline_errors(options, message):
    with pytest.raises(ValueError, match=f"^bspline: {message}"):
        ops.bspline(pf.zeros(3), **options)


def test_bspline_of_integers():
    with pytest.raises(TypeError, match=r"^bspline: no kernel for int64 on cpu"):
        ops.bspline(pf.zeros(3, dtype=pf.int64))
