"""LSTM, GRU, RNN, CfC, MultiScaleRetention and KANLayer beside their torch twins: values and all gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from tolerance import MODEL_OPS, assert_close, by_rows, same_bits
from torch_twins import bspline, cfc_layer, retention

import pyformer as pf
from pyformer import nn, ops


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def randomised(module):
    rng = np.random.default_rng(4)
    module.to(pf.float64)
    module.load_state_dict({name: rng.standard_normal(t.shape) * 0.3 for name, t in module.state_dict().items()})
    return module


def torch_parameters(module):
    return {name: torch.tensor(t.numpy(), requires_grad=True) for name, t in module.state_dict().items()}


def compare(ours, theirs, parameters, twins, inputs):
    """Outputs, and the gradients of a random projection of all of them."""
    for i, (one, two) in enumerate(zip(ours, theirs, strict=True)):
        assert_close(one.numpy(), by_rows(two.detach().numpy()), f"output {i}", additions=64, ops=MODEL_OPS)
    projections = [random(*one.shape, seed=20 + i) for i, one in enumerate(ours)]
    total = sum((one * pf.tensor(p)).sum() for one, p in zip(ours, projections, strict=True))
    total.backward()
    sum((two * torch.tensor(p)).sum() for two, p in zip(theirs, projections, strict=True)).backward()
    for name, parameter in parameters.items():
        expected = twins[name].grad.numpy()
        assert_close(parameter.grad.numpy(), by_rows(expected), name, additions=256, ops=MODEL_OPS)
    for one, two in inputs:
        assert_close(one.grad.numpy(), by_rows(two.grad.numpy()), "input", additions=256, ops=MODEL_OPS)


def both(array):
    return pf.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_recurrent_layer_equals_torch(kind, bidirectional, bias):
    module = randomised(getattr(nn, kind)(7, 9, 2, bidirectional=bidirectional, bias=bias))
    twin = getattr(torch.nn, kind)(7, 9, 2, bidirectional=bidirectional, bias=bias, batch_first=True)
    twin.to(torch.float64).load_state_dict({k: torch.tensor(v.numpy()) for k, v in module.state_dict().items()})
    count = 4 if bidirectional else 2
    pairs = [both(random(3, 6, 7)), *(both(random(count, 3, 9, seed=i)) for i in range(2 if kind == "LSTM" else 1))]
    (x, *state), (tx, *tstate) = zip(*pairs, strict=True)
    out, last = module(x, tuple(state) if kind == "LSTM" else state[0])
    expected, tlast = twin(tx, tuple(tstate) if kind == "LSTM" else tstate[0])
    ours = (out, *(last if kind == "LSTM" else (last,)))
    theirs = (expected, *(tlast if kind == "LSTM" else (tlast,)))
    compare(ours, theirs, dict(module.named_parameters()), dict(twin.named_parameters()), pairs)
    assert same_bits(module(x)[0].numpy(), module(x)[0].numpy())


def test_relu_in_the_place_of_tanh():
    module = randomised(nn.RNN(7, 9, nonlinearity="relu"))
    twin = torch.nn.RNN(7, 9, nonlinearity="relu", batch_first=True).to(torch.float64)
    twin.load_state_dict({k: torch.tensor(v.numpy()) for k, v in module.state_dict().items()})
    x, tx = both(random(3, 6, 7))
    (out, last), (expected, tlast) = module(x), twin(tx)
    compare((out, last), (expected, tlast), dict(module.named_parameters()), dict(twin.named_parameters()), [(x, tx)])
    with pytest.raises(ValueError, match="RNN: nonlinearity must be 'tanh' or 'relu', got 'gelu'"):
        nn.RNN(3, 4, nonlinearity="gelu")


def test_cfc_equals_its_twin():
    module = randomised(nn.CfC(7, 9, 2))
    twins = torch_parameters(module)
    x, tx = both(random(3, 6, 7))
    elapsed = np.abs(random(3, 6, seed=2))
    out, last = module(x, elapsed=pf.tensor(elapsed))
    first, end = cfc_layer(tx, twins, "l0", torch.tensor(elapsed))
    second, end2 = cfc_layer(first, twins, "l1", torch.tensor(elapsed))
    theirs = (second, torch.stack([end, end2]))
    compare((out, last), theirs, dict(module.named_parameters()), twins, [(x, tx)])


def test_kan_layer_equals_its_twin():
    module = randomised(nn.KANLayer(5, 4, intervals=6, order=3, low=-2.0, high=2.0))
    twins = torch_parameters(module)
    x, tx = both(random(3, 7, 5))
    bases = bspline(tx, -2.0, 2.0, 6, 3).flatten(-2)
    expected = torch.nn.functional.silu(tx) @ twins["base_weight"].T + bases @ twins["spline_weight"].T
    compare((module(x),), (expected,), dict(module.named_parameters()), twins, [(x, tx)])


@pytest.mark.parametrize("form", ["chunked", "parallel", "recurrent"])
def test_retention_equals_its_twin(form):
    module = randomised(nn.MultiScaleRetention(16, 2))
    twins = torch_parameters(module)
    x, tx = both(random(2, 70, 16))
    expected = retention(tx, twins, "", 2)
    compare((module(x, form=form)[0],), (expected,), dict(module.named_parameters()), twins, [(x, tx)])


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 7, 8, 13])
def test_the_parallel_form_takes_any_number_of_tokens(tokens):
    layer, x = randomised(nn.MultiScaleRetention(16, 2)), pf.tensor(random(2, tokens, 16))
    chunked, parallel = (layer(x, form=form)[0].numpy() for form in ("chunked", "parallel"))
    np.testing.assert_allclose(parallel, chunked, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", ["chunked", "parallel", "recurrent"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", range(4))
def test_retention_keeps_what_is_not_finite_from_tokens_that_do_not_see_it(form, bad, which):
    """In a query, key, value or gradient at one place, and in another head or row."""
    layer, place, results = nn.MultiScaleRetention(16, 2), 5, []
    for value in (1.0, bad):
        *given, dout = [random(2, 11, 2, width, seed=i) for i, width in enumerate((8, 8, 16, 16))]
        (*given, dout)[which][0, place, 1] = value
        tensors = [pf.tensor(x, requires_grad=True) for x in given]
        out, _ = getattr(layer, f"_{form}")(*tensors, None)
        out.backward(pf.tensor(dout))
        results.append([t.numpy() for t in (out, *(x.grad for x in tensors))])
    before, after = results
    row = range(place, 11) if which in (1, 2) else [place]  # the queries that meet it
    others = [i for i in range(11) if i not in row]
    for i, (a, b) in enumerate(zip(before, after, strict=True)):
        assert same_bits(a[1], b[1])
        assert same_bits(a[0, :, 0], b[0, :, 0])
        kept = others if i < 2 else slice(max(row) + 1, None)  # out and dq; dk and dv
        assert same_bits(a[0, kept], b[0, kept])
    if which < 3:
        assert not np.isfinite(after[0][0, row, 1]).all(axis=-1).any()
    else:
        assert not np.isfinite(after[3][0, : place + 1, 1]).all(axis=-1).any()


def test_reverse_layer_is_the_second_direction():
    whole, back = randomised(nn.LSTM(5, 4, bidirectional=True)), nn.LSTM(5, 4, reverse=True).to(pf.float64)
    back.load_state_dict({k.removesuffix("_reverse"): v for k, v in whole.state_dict().items() if "reverse" in k})
    x = pf.tensor(random(2, 6, 5))
    assert same_bits(whole(x)[0].numpy()[..., 4:], back(x)[0].numpy())


def test_first_values_are_torchs():
    pf.manual_seed(0)
    for name, parameter in nn.GRU(30, 100).named_parameters():
        values = parameter.numpy()
        assert np.abs(values).max() <= 0.1, name
        assert abs(values.std() / (0.1 / np.sqrt(3)) - 1) < 0.1, name


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.LSTM(0, 3), ValueError, "LSTM: input_dim must be at least 1"),
        (lambda: nn.GRU(3, 2.0), TypeError, "GRU: hidden_dim must be an int"),
        (lambda: nn.CfC(3, 4, bidirectional=True, reverse=True), ValueError, "CfC: expected bidirectional or reverse"),
        (
            lambda: nn.LSTM(3, 4)(pf.zeros(2, 5, 4)),
            ValueError,
            r"LSTM: x must be \(B, T, 3\) with T at least 1, got",
        ),
        (
            lambda: nn.GRU(3, 4)(pf.zeros(5, 3)),
            ValueError,
            r"GRU: x must be \(B, T, 3\) with T at least 1, got",
        ),
        (
            lambda: nn.GRU(3, 4, 2)(pf.zeros(2, 5, 3), pf.zeros(1, 2, 4)),
            ValueError,
            r"GRU: state h must be \(2, 2, 4\), got \(1, 2, 4\)",
        ),
        (lambda: nn.MultiScaleRetention(12, 4), ValueError, "MultiScaleRetention: twice num_heads"),
        (
            lambda: nn.MultiScaleRetention(8, 2)(pf.zeros(1, 2, 8), form="serial"),
            ValueError,
            "MultiScaleRetention: form must be one of",
        ),
        (
            lambda: nn.MultiScaleRetention(8, 2)(pf.zeros(1, 2, 8), pf.zeros(1, 2, 4, 8), form="parallel"),
            ValueError,
            "MultiScaleRetention: the parallel form starts without a state",
        ),
        (lambda: nn.MultiScaleRetention(8, 2)(pf.zeros(2, 8)), ValueError, r"MultiScaleRetention: x must be \(B, T"),
        (lambda: nn.KANLayer(3, 4, intervals=0), ValueError, "KANLayer: intervals must be at least 1"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "CfC"])
def test_a_sequence_in_parts_has_the_bits_of_the_whole(kind, dtype):
    """From the state before it, also with lengths, and in 16 bits, whose states are float32."""
    pf.manual_seed(0)
    module = getattr(nn, kind)(5, 7, 2).to(dtype)
    x = pf.tensor(random(3, 9, 5)).to(dtype)
    with pf.no_grad():
        whole, end = module(x)
        ends = end if kind == "LSTM" else (end,)
        for cuts in ([0, 4, 9], [0, 1, 2, 8, 9]):
            state, outs = None, []
            for start, stop in itertools.pairwise(cuts):
                out, state = module(x[:, start:stop], state)
                outs.append(out)
            assert same_bits(ops.concat(outs, axis=1).to(pf.float32).numpy(), whole.to(pf.float32).numpy())
            for a, b in zip(state if kind == "LSTM" else (state,), ends, strict=True):
                assert a.dtype == pf.float32
                assert same_bits(a.numpy(), b.numpy())
        _, early = module(x, lengths=[9, 4, 4])
        _, alone = module(x[1:, :4])
        for a, b in zip(*((s if kind == "LSTM" else (s,)) for s in (early, alone)), strict=True):
            assert same_bits(a[:, 1:].numpy(), b.numpy())


@pytest.mark.parametrize("op", ["lstm", "gru", "cfc"])
def test_recurrent_ops_of_16_bits_take_states_of_either_dtype(op):
    gates, names = {"lstm": (4, ("h0", "c0")), "gru": (3, ("h0",)), "cfc": (3, ("h0",))}[op]
    x, w, u = (pf.tensor(random(*s)).to(pf.float16) for s in ((2, 3, 4), (gates * 5, 4), (gates * 5, 5)))
    for dtype in (pf.float16, pf.float32):
        states = {n: pf.zeros(2, 5, dtype=dtype, requires_grad=True) for n in names}
        out, *ends = getattr(ops, op)(x, w, u, **states)
        assert [out.dtype, *(e.dtype for e in ends)] == [pf.float16] + [pf.float32] * len(names)
        (out.to(pf.float32).sum() + ends[0].sum()).backward()
        assert all(s.grad.numpy().any() for s in states.values())
    with pytest.raises(TypeError, match=f"{op}: h0 must be float16 as x is, got float64"):
        getattr(ops, op)(x, w, u, h0=pf.zeros(2, 5, dtype=pf.float64))
