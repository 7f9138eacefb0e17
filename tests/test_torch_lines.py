"""Lines of torch's tutorials and papers' repositories: layers, losses, masks, hooks and batches as they are written."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from test_torch_habits import VALUES, assert_same, names_of, plain

import pyformer as pf

EXPRESSIONS = """
x.transpose(0, 1)
b.transpose(1, 2)
b.transpose(-2, -1)
b @ b.transpose(-2, -1) * b.size(-1) ** -0.5
b.transpose(dim0=0, dim1=2)
T.transpose(b, 1, 2)
b.permute(0, 2, 1)
T.where(m, 1, 0)
T.where(m, 1.0, 0)
T.where(m)
T.triu(T.ones(4, 4), diagonal=1).bool()
x.tril(diagonal=-1)
x.clone().add_(y, alpha=0.5)
x.clone().sub_(y, alpha=2)
x.clone().lerp_(y, 0.25)
x.clone().addcmul_(x, y, value=0.5)
x.clone().addcdiv_(x, y.abs() + 1, value=-0.5)
T.addcmul(x, x, y)
T.addcdiv(x, x, y.abs() + 1)
T.stack([T.arange(20)[k:k + 3] for k in i])
[10, 20, 30][i[1]]
T.atan2(x, y)
T.asin(x / 8) + T.acos(x / 8) + T.atan(x)
T.sinh(x) + T.cosh(x) + T.asinh(x) + T.acosh(x.abs() + 1) + T.atanh(x / 8)
x.abs().add(0.5).lgamma()
F.selu(x) + F.softsign(x) + F.hardtanh(x)
nn.SELU()(x) + nn.Softsign()(x) + nn.Hardtanh(-2, 2)(x)
nn.LayerNorm(4, elementwise_affine=False)(x)
nn.LayerNorm((3, 4), elementwise_affine=False)(x)
nn.RMSNorm(4, eps=1e-6, elementwise_affine=False)(x)
nn.GroupNorm(1, 3, affine=False)(img)
nn.BatchNorm2d(3, affine=False)(img)
nn.BatchNorm1d(4, affine=False)(x)
len(list(nn.LayerNorm(4, elementwise_affine=False).parameters()))
isinstance(nn.Parameter(x), nn.Parameter)
isinstance(nn.Linear(4, 2).weight, nn.Parameter)
isinstance(x, nn.Parameter)
isinstance(nn.Linear(4, 2).weight * 2, nn.Parameter)
nn.PoissonNLLLoss()(x, y.abs())
F.poisson_nll_loss(x.abs(), y.abs(), log_input=False)
nn.GaussianNLLLoss()(x, y, x.abs() + 1)
nn.GaussianNLLLoss(full=True, reduction="sum")(x, y, x.abs() + 1)
nn.TripletMarginLoss(margin=2.0)(x, y, x + 1)
nn.CosineEmbeddingLoss(margin=0.1)(x, y, v.sign())
nn.MarginRankingLoss(margin=0.5)(x, y, x.sign())
nn.HingeEmbeddingLoss()(x, y.sign() * 2 - y.sign())
nn.SoftMarginLoss(reduction="sum")(x, (m * 2 - 1).float())
nn.MultiMarginLoss()(x, labels)
nn.MultiLabelSoftMarginLoss()(x, m.float())
""".strip().split("\n")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_gives_what_it_gives_in_torch(expression):
    ours, theirs = (eval(expression, names_of(library)) for library in (pf, torch))
    assert_same(plain(ours), plain(theirs))


def test_numpys_order_of_axes_stays_numpys():
    x = pf.zeros(2, 3, 4)
    assert x.transpose((1, 2, 0)).shape == x.transpose(1, 2, 0).shape == pf.ops.transpose(x, axes=[1, 2, 0]).shape
    assert x.transpose().shape == (4, 3, 2)
    assert pf.zeros(2, 3).transpose((0, 1)).shape == pf.zeros(2, 3).permute(0, 1).shape == (2, 3)
    with pytest.raises(IndexError, match="transpose: axis 3 is out of range"):
        x.transpose(0, 3)
    with pytest.raises(TypeError, match="transpose: expected axes, or dim0 and dim1, got dim"):
        x.transpose(dim=0)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("register_hook", "autograd.grad"),
        ("retain_grad", "autograd.grad"),
        ("register_post_accumulate_grad_hook", "after backward"),
        ("values", "argmax"),
        ("indices", "argmax"),
        ("repeat", "tile"),
        ("grad_fn", "is_leaf"),
    ],
)
def test_a_name_of_tensors_that_is_left_out_says_what_to_write(name, says):
    with pytest.raises(AttributeError, match=says):
        getattr(pf.zeros(2), name)


def test_hooks_of_backward_say_what_to_write():
    with pytest.raises(AttributeError, match=r"'Linear' object has no attribute .* autograd\.Function"):
        pf.nn.Linear(2, 2).register_full_backward_hook(print)
    assert not hasattr(pf.nn.Linear(2, 2), "foo")


def test_a_property_that_fails_says_why():
    class Broken(pf.nn.Module):
        @property
        def size(self) -> int:
            return self.missing

    with pytest.raises(AttributeError, match="missing"):
        _ = Broken().size


def test_a_module_lacks_what_only_classes_have():
    layer = pf.nn.Linear(2, 2)
    assert not any(hasattr(layer, name) for name in ("__name__", "__qualname__", "__bases__", "mro"))
    assert functools.wraps(layer)(lambda x: x).__wrapped__ is layer


def test_a_parameter_that_is_frozen_from_the_start_is_refused():
    with pytest.raises(ValueError, match="assign it to the module first"):
        pf.nn.Parameter([1.0], requires_grad=False)


@pytest.mark.parametrize("library", [pf, torch])
def test_a_loader_hands_rows_of_tensors_to_collate_fn(library):
    data = library.utils.data.TensorDataset(library.tensor(VALUES), library.arange(3))
    loader = library.utils.data.DataLoader(
        data, batch_size=2, collate_fn=lambda rows: (len(rows), library.stack([row[0] for row in rows]), rows[0][1])
    )
    batches = list(loader)
    assert [batch[0] for batch in batches] == [2, 1]
    np.testing.assert_array_equal(batches[0][1].numpy(), VALUES[:2])
    assert (int(batches[1][2]), len(loader.dataset)) == (2, 3)


def test_rows_of_an_array_and_of_a_dict_are_handed_over_too():
    assert list(pf.data.DataLoader(np.arange(3), 2, collate=len)) == [2, 1]
    rows = list(pf.data.DataLoader({"a": np.arange(3)}, 3, collate=lambda rows: [int(row["a"]) for row in rows]))
    assert rows == [[0, 1, 2]]


def test_only_an_integer_is_an_index():
    for x in (pf.tensor(1.0), pf.tensor([1]), pf.tensor(True)):
        with pytest.raises(TypeError, match="index: expected a tensor of one integer"):
            [1, 2][x]


def test_autocast_that_is_not_enabled_changes_nothing():
    x = pf.tensor([1.001])
    with pf.autocast("cpu", enabled=False):
        assert (x @ x).item() == (x * x).item()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["atan", "asin", "acos", "sinh", "cosh", "asinh", "acosh", "atanh"])
def test_functions_of_angles_are_right_to_the_last_digits_and_at_their_ends(name, dtype):
    values = [-np.inf, -700.0, -5.5, -1.0, -0.99, -1e-9, 0.0, 1e-30, 0.3, 0.999, 1.0, 2.0, 80.0, 1e9, np.inf, np.nan]
    x = np.array(values, dtype)
    numpys = {"atan": "arctan", "asin": "arcsin", "acos": "arccos", "asinh": "arcsinh", "acosh": "arccosh"}
    with np.errstate(all="ignore"):
        expected = getattr(np, numpys.get(name, name.replace("atanh", "arctanh")))(x.astype(np.float64)).astype(dtype)
    np.testing.assert_allclose(getattr(pf, name)(pf.tensor(x)).numpy(), expected, rtol=4 * np.finfo(dtype).eps)


def test_lgamma_of_what_is_near_far_and_below_0():
    values = [-5.5, -0.5, 1e-3, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 10.0, 19.9, 20.1, 1e6, 1e300]
    expected = [math.lgamma(value) for value in values]
    np.testing.assert_allclose(pf.lgamma(pf.tensor(np.array(values))).numpy(), expected, rtol=1e-14, atol=1e-14)
    assert pf.lgamma(pf.tensor([0.0, -1.0, math.inf])).tolist() == [math.inf] * 3


def test_acosh_below_1_is_nan_however_far():
    x = pf.tensor([0.5, -1.0, -5.0, -1e9, -1e20, -np.inf], dtype="float64")
    assert np.isnan(pf.acosh(x).numpy()).all()


def test_atanh_near_minus_1_is_that_near_1():
    x = pf.tensor([1 - 1e-12, 0.9999999, 0.5], dtype="float64")
    np.testing.assert_array_equal(pf.atanh(-x).numpy(), -pf.atanh(x).numpy())


def test_lgamma_just_below_0_and_far_below():
    values = [-1e-300, -1e-20, -1e-14, -1e-10, -1e-3, -3 + 1e-9, -0.49999999999999994]
    x = pf.tensor(values, dtype="float64", requires_grad=True)
    y = pf.lgamma(x)
    np.testing.assert_allclose(y.detach().numpy(), [math.lgamma(value) for value in values], rtol=1e-14)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy()[:5], [-1 / value for value in values[:5]], rtol=1e-3)
    assert pf.lgamma(pf.tensor([-np.inf, -1e307, -1e20], dtype="float64")).tolist() == [np.inf] * 3


@pytest.mark.parametrize(
    ("name", "end"),
    [("asin", 1.0), ("acos", -1.0), ("acosh", 1.0), ("atanh", 1.0), ("log1p", -1.0), ("lgamma", -1.0)],
)
def test_a_branch_that_is_not_chosen_has_no_gradient_where_its_slope_is_infinite(name, end):
    x = pf.tensor([end, 0.5], requires_grad=True)
    pf.where(x == end, 2.0 * x, getattr(pf, name)(x)).sum().backward()
    assert x.grad.numpy()[0] == 2.0


@pytest.mark.parametrize("var", [-1e4, 0.0, np.inf])
def test_the_least_variance_is_taken_for_any_below(var):
    x = pf.zeros(1)
    wanted = (math.log(max(var, 1e-6)) + 1.0 / max(var, 1e-6)) / 2
    loss = pf.ops.gaussian_nll_loss(x, x + 1.0, pf.tensor([var]))
    assert loss.item() == pytest.approx(wanted, rel=1e-6)
