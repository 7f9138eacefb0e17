"""One list of activations: the same function, name and rule wherever one is applied."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerance import same_bits

import pyformer as pf
from pyformer import _core, nn, ops

NAMES = _core.activations()
ALONE = {
    "none": lambda x: x * 1.0,
    "gelu": ops.gelu,
    "gelu_tanh": lambda x: ops.gelu(x, approximate="tanh"),
    "relu": ops.relu,
    "silu": ops.silu,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
}
TRICKY = [0.0, -0.0, 1e-30, -1e-30, 1e-45, -1e-45, np.nan, -np.nan, 3.0, -3.0, 30.0, -30.0, 0.7]


@pytest.fixture(params=_core.supported_isas())
def isa(request):
    _core.set_isa(request.param)


TORCHS = {
    "none": lambda x: x * 1.0,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "relu": lambda x: torch.relu(x) + 0.0,  # of -0 ours is +0
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("isa")
def test_zeros_have_torchs_signs(name, dtype):
    values = np.array([-0.0, 0.0, -1e-45, 1e-45, -1e-7, -13.0, -17.0, -40.0, -104.0, -200.0, -3e4] * 5)
    x = pf.tensor(values, dtype=dtype)
    separate = ALONE[name](x)
    # A bias of -0 lets a sum of -0 be what it is at a fused one.
    minus, one = pf.tensor([-0.0], dtype=dtype), pf.ones(1, 1, dtype=dtype)
    before = ops.linear(x.reshape(-1, 1), one, minus)
    for given, found in ((x, separate), (before, ops.linear(x.reshape(-1, 1), one, minus, activation=name))):
        # In float64: its gelu of float32 gives +0 for -0 on a CPU without AVX-512.
        wanted, found = TORCHS[name](torch.tensor(given.to("float64").numpy())).numpy(), found.to("float64").numpy()
        zeros = found == 0
        assert zeros.sum() >= (0 if name == "sigmoid" else 10)
        np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(wanted[zeros]))


def columns(dtype, values=TRICKY):
    """(n, 1): a linear layer with weight 1 then gives the activation of each element."""
    return np.array(values, dtype)[:, None]


def with_gradient(run, array, dtype):
    x = pf.tensor(array, requires_grad=True)
    out = run(x)
    out.backward(pf.tensor(np.full(array.shape, 0.75, dtype)))
    return out.detach().numpy(), x.grad.numpy()


def fused(name, dtype):
    one = pf.ones(1, 1).to(dtype)
    return lambda x: ops.linear(x, one, activation=name)


def test_every_activation_is_tested_here():
    assert NAMES[0] == "none"
    assert list(ALONE) == list(NAMES)
    assert NAMES[1:] == nn.transformer.ACTIVATIONS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("isa")
def test_fused_is_the_separate_operation(name, dtype):
    values = with_gradient(fused(name, dtype), columns(dtype), dtype)
    expected = with_gradient(ALONE[name], columns(dtype) + np.array(0.0, dtype), dtype)  # a sum from +0 turns -0 to +0
    assert same_bits(values[0], expected[0])
    # A product with a derivative of 0 keeps the gradient's sign, which the separate ReLU does not.
    assert same_bits(values[1] + np.array(0.0, dtype), expected[1] + np.array(0.0, dtype))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("isa")
def test_nan_passes_on(name):
    out, dx = with_gradient(fused(name, "float32"), columns("float32", [np.nan]), "float32")
    alone, alone_dx = with_gradient(ALONE[name], columns("float32", [np.nan]), "float32")
    assert np.isnan(out).all()
    assert np.isnan(alone).all()
    expected = 0.75 if name in ("none", "relu") else np.nan  # torch's: what is constant hands the gradient on
    np.testing.assert_array_equal(dx, [[expected]])
    np.testing.assert_array_equal(alone_dx, [[expected]])


@pytest.mark.usefixtures("isa")
def test_relu_gives_no_negative_zero():
    """-1e-30 * 1e-30 rounds to -0."""
    x, weight = pf.tensor([[-1e-30]] * 40, dtype="float32"), pf.tensor([[1e-30]] * 40, dtype="float32")
    out = ops.linear(x, weight, activation="relu").numpy()
    assert not np.signbit(out).any()
    assert not np.signbit(ops.relu(pf.tensor([-0.0, -1.0])).numpy()).any()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
@pytest.mark.usefixtures("isa")
def test_the_limits_at_infinity(name, dtype):
    """0 at -inf, not -inf times 0; slopes 0 and 1 there."""
    ends = np.array([-np.inf, np.inf, -3e38, 3e38, -1e5, 1e5])[:, None]
    for run in (fused(name, dtype), ALONE[name]):
        x = pf.tensor(ends).to(dtype)
        x.requires_grad = True
        out = run(x)
        out.backward(pf.tensor(np.full(ends.shape, 0.75)).to(dtype))
        values, x_values = out.detach().to("float64").numpy(), x.detach().to("float64").numpy()
        np.testing.assert_array_equal(values, np.where(ends < 0, 0.0, x_values))
        np.testing.assert_array_equal(x.grad.to("float64").numpy(), np.where(ends < 0, 0.0, 0.75))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.usefixtures("isa")
def test_a_closed_relu_keeps_back_what_is_not_finite(bad, dtype):
    """0 times infinity is NaN: what stands for "nothing passes here" is not multiplied."""
    one = pf.tensor(np.ones((1, 1), dtype))
    forms = [
        fused("relu", dtype),
        ops.relu,
        lambda x: ops.mlp(x, one, None, one, None, activation="relu"),
    ]
    for run in forms:
        x = pf.tensor(columns(dtype, [-1.0, 0.0, 2.0]), requires_grad=True)
        run(x).backward(pf.tensor(np.full((3, 1), bad, dtype)))
        np.testing.assert_array_equal(x.grad.numpy(), columns(dtype, [0.0, 0.0, bad]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("isa")
def test_a_gradient_of_zero_passes_no_nan_on(name):
    values = columns("float32", [np.nan, np.inf, -np.inf, 1.0])
    for run in (fused(name, "float32"), ALONE[name]):
        x = pf.tensor(values, requires_grad=True)
        run(x).backward(pf.tensor(np.zeros_like(values)))
        np.testing.assert_array_equal(x.grad.numpy(), np.zeros_like(values))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_an_answer_that_is_sure_and_right_costs_nothing(dtype):
    """bce_with_logits is 0 there, and infinite where it is sure and wrong; NaN stays NaN."""
    x = pf.tensor(pf.tensor([-np.inf, np.inf, -np.inf, np.inf, np.nan, np.nan]).to(dtype), requires_grad=True)
    target = pf.tensor([0.0, 1.0, 1.0, 0.0, 0.0, 1.0]).to(dtype)
    losses = pf.ops.bce_with_logits(x, target, reduction="none")
    np.testing.assert_array_equal(losses.detach().to("float32").numpy(), [0.0, 0.0, np.inf, np.inf, np.nan, np.nan])
    losses.backward(pf.ones(6, dtype=dtype))
    np.testing.assert_array_equal(x.grad.to("float32").numpy(), [0.0, 0.0, -1.0, 1.0, np.nan, np.nan])
    assert pf.ops.bce_with_logits(x[:2], target[:2]).item() == 0.0


def test_an_unknown_name_is_refused_with_the_list():
    x = pf.tensor([[1.0]])
    with pytest.raises(ValueError, match="expected none, gelu, gelu_tanh, relu, silu, tanh or sigmoid, got 'swoosh'"):
        ops.linear(x, x, activation="swoosh")
