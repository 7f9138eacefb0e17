"""One list of activations: the same function, name and rule wherever one is applied."""

from __future__ import annotations

import numpy as np
import pytest
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


def columns(dtype, values=TRICKY):
    """(n, 1): a linear layer with weight 1 then gives the activation of each element."""
    return np.array(values, dtype)[:, None]


def with_gradient(run, array, dtype):
    x = pf.tensor(array, requires_grad=True)
    out = run(x)
    out.backward(pf.tensor(np.full(array.shape, 0.75, dtype)))
    return out.detach().numpy(), x.grad.numpy()


def fused(name, dtype):
    one = pf.tensor(np.ones((1, 1), dtype))
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


def test_an_unknown_name_is_refused_with_the_list():
    x = pf.tensor([[1.0]])
    with pytest.raises(ValueError, match="expected none, gelu, gelu_tanh, relu, silu, tanh or sigmoid, got 'swoosh'"):
        ops.linear(x, x, activation="swoosh")
