"""Names of torch and NumPy: arguments, dtypes that meet, errors, signatures; values are in the case table."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
import typing

import numpy as np
import pytest
import torch

import pyformer as pf
from pyformer import names, ops
from pyformer.nn import margins as nn_margins

VALUES = np.array([[3.0, -1.5, 0.5], [2.5, float("nan"), -0.5]], np.float32)


def both(values=VALUES):
    return pf.tensor(values), torch.tensor(values)


def equal(a, b):
    assert str(a.dtype).split(".")[1] == str(b.dtype).split(".")[1]
    np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    "name", ["floor", "ceil", "trunc", "round", "isnan", "isinf", "isfinite", "all", "any", "sign"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_elementwise_names_give_what_torch_gives(name, dtype):
    values = np.array([-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 1e30, -1e30, 7.0])
    x, y = both(values.clip(-9, 9).astype(dtype) if dtype is np.int64 else values.astype(dtype))
    equal(getattr(x, name)(), getattr(y, name)())


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round", "isnan", "isinf", "isfinite"])
def test_infinities_and_nan(name, value):
    x, y = both(np.array([value], np.float32))
    equal(getattr(x, name)(), getattr(y, name)())


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
@pytest.mark.parametrize("name", ["all", "any", "prod"])
def test_reductions_of_nothing(name, shape):
    x, y = both(np.zeros(shape, np.float32))
    equal(getattr(x, name)(), getattr(y, name)())
    equal(getattr(x, name)(dim=0, keepdim=True), getattr(y, name)(dim=0, keepdim=True))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("values", [VALUES, np.array([2, 1, 2, 1]), np.array([True, False, True])], ids=str)
def test_sort_is_torchs_stable_sort(values, descending):
    x, y = both(values)
    for a, b in zip(x.sort(descending=descending), y.sort(descending=descending, stable=True), strict=True):
        equal(a, b)
    equal(x.argsort(0, descending), y.argsort(dim=0, descending=descending, stable=True))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, axis, keep: x.sum(**{axis: 1, keep: True}),
        lambda x, axis, keep: x.mean(-1, **{keep: True}),
        lambda x, axis, keep: x.max(**{axis: 0}),
        lambda x, axis, keep: x.argmax(**{axis: 0, keep: True}),
        lambda x, axis, keep: x.softmax(**{axis: 0}),
        lambda x, axis, keep: ops.cumsum(x, **{axis: 0}),
        lambda x, axis, keep: ops.concat([x, x], **{axis: 1}),
        lambda x, axis, keep: ops.topk(x, 1, **{axis: 1})[0],
        lambda x, axis, keep: x.var(**{axis: 1, keep: True}),
        lambda x, axis, keep: x.norm(**{axis: (0, 1), keep: True}),
        lambda x, axis, keep: x.squeeze(**{axis: 0}),
        lambda x, axis, keep: x.chunk(2, **{axis: 1})[0],
    ],
)
def test_torchs_words_for_axis_and_keepdims(call):
    x = pf.randn(3, 4)
    equal(call(x, "dim", "keepdim"), call(x, "axis", "keepdims"))


META = [pf.bool, pf.int32, pf.int64, pf.float32, pf.float64, pf.bfloat16]


@pytest.mark.parametrize("a", META, ids=str)
@pytest.mark.parametrize("b", META, ids=str)
@pytest.mark.parametrize("name", ["add", "multiply", "divide", "maximum", "less"])
def test_dtypes_meet_as_torchs_do(a, b, name):
    x, y = pf.ones(2, dtype=a), pf.ones(2, dtype=b)
    floats = [d for d in (a, b) if d in (pf.float32, pf.float64, pf.bfloat16)]
    if len(floats) == 2 and a != b:
        with pytest.raises(TypeError, match="expected both operands to be"):
            getattr(ops, name)(x, y)
        return
    if a == b == pf.bool and name in ("add", "multiply", "maximum"):  # no kernel: & and | are for bools
        return
    wanted = getattr(torch, name)(*(torch.ones(2, dtype=getattr(torch, d.name)) for d in (a, b)))
    assert getattr(ops, name)(x, y).dtype.name == str(wanted.dtype).split(".")[1]


def test_numbers_beside_integers_and_bools():
    i, b = pf.arange(3), pf.tensor([True, False])
    assert ((i * 0.5).tolist(), (i * 0.5).dtype) == ([0.0, 0.5, 1.0], pf.float32)
    assert ((0.5 - i).tolist(), (i / 2).tolist(), (1 / (i + 1))[0].item()) == ([0.5, -0.5, -1.5], [0.0, 0.5, 1.0], 1.0)
    assert ((b + 1).tolist(), (b * 0.5).tolist(), (i > 0.5).tolist()) == ([2, 1], [0.5, 0.0], [False, True, True])
    assert (pf.ones(2, dtype=pf.bfloat16) * 0.5).dtype == pf.bfloat16
    assert ((i == i).mean().item(), i.mean().item(), b.mean().item()) == (1.0, 1.0, 0.5)
    assert i.to(pf.int32).mean().dtype == pf.float32


def test_numpys_functions_give_the_right_numbers():
    x = pf.randn(3, 4)
    for function in (np.mean, np.sum, np.max, np.std, np.median, np.sort, np.cumsum, np.transpose):
        np.testing.assert_array_equal(function(x), function(x.numpy()))
    np.testing.assert_array_equal(np.concatenate([x, x], axis=1), np.concatenate([x.numpy()] * 2, axis=1))
    np.testing.assert_allclose(x, x.numpy())
    with pytest.raises(TypeError, match="requires a gradient"):
        np.mean(pf.ones(2, requires_grad=True))


def test_making():
    equal(pf.eye(2, 3), torch.eye(2, 3))
    equal(pf.linspace(0, 1, 7, dtype=pf.float64), torch.tensor(np.linspace(0, 1, 7)))
    equal(pf.linspace(3, 5, 1), torch.linspace(3, 5, 1))
    equal(pf.full_like(pf.zeros(2, dtype=pf.int32), 7), torch.full((2,), 7, dtype=torch.int32))
    assert sorted(pf.randperm(50).tolist()) == list(range(50))
    drawn = pf.randint(-2, 3, (2000,))
    assert (drawn.min().item(), drawn.max().item()) == (-2, 2)
    assert abs(pf.bernoulli(pf.full((20000,), 0.3)).mean().item() - 0.3) < 0.02


@pytest.mark.parametrize("replacement", [False, True])
def test_multinomial_draws_in_proportion(replacement):
    pf.manual_seed(3)
    weights = pf.tensor([1.0, 0.0, 3.0]).expand(20000, 3)
    first = pf.multinomial(weights, 2, replacement)[:, 0]
    assert abs((first == 2).mean().item() - 0.75) < 0.02
    drawn = pf.multinomial(weights, 2, replacement)
    assert not (drawn == 1).any().item()
    assert replacement or bool((drawn[:, 0] != drawn[:, 1]).all())


def test_methods_of_dtype_device_and_count():
    x = pf.zeros(2, 3)
    assert (x.size, x.size(), x.size(0), x.numel(), x.dim(), len(x)) == (6, (2, 3), 2, 6, 2, 2)
    dtypes = [x.float(), x.double(), x.half(), x.bfloat16(), x.long(), x.int(), x.bool(), x.astype(np.int32)]
    assert [d.dtype.name for d in dtypes] == (
        ["float32", "float64", "float16", "bfloat16", "int64", "int32", "bool", "int32"]
    )
    assert x.contiguous() is x
    assert x.cpu().device == "cpu"
    w = pf.ones(2, requires_grad=True)
    w.data = pf.zeros(2)
    w.data += 3
    assert (w.tolist(), w.requires_grad, w.is_leaf) == ([3.0, 3.0], True, True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.squeeze(5), IndexError, "squeeze: axis 5 is out of range for 2 axes"),
        (lambda x: x.unsqueeze(1.5), TypeError, "unsqueeze: axis must be an int, got float"),
        (lambda x: x.expand(5, 5), ValueError, r"expand: \(2, 3\) does not broadcast to \(5, 5\)"),
        (lambda x: x.clamp(), ValueError, "clamp: expected min or max"),
        (lambda x: x.var(foo=1), TypeError, r"^var: expected \(x: Tensor, axis: .*unexpected keyword argument 'foo'"),
        (lambda x: x.mean(dims=1), TypeError, r"^mean: expected .*\(2, 3\), dims=1; did you mean dim for dims"),
        (lambda x: x.softmax(axes=1), TypeError, "did you mean axis for axes"),
        (lambda x: x.softmax(dimm=1), TypeError, "did you mean dim for dimm"),
        (lambda x: x.softmax(dim=1, axis=1), TypeError, "^softmax: expected .*; axis is given twice"),
        (
            lambda x: ops.cross_entropy(x, [0, 1], weights=x),
            TypeError,
            "^cross_entropy: expected .*did you mean weight for",
        ),
        (lambda x: pf.eye(2, dtypes=1), TypeError, r"^eye: expected \(n: int.*did you mean dtype for dtypes"),
        (lambda x: pf.nn.Linear(2, 3, biass=False), TypeError, r"^Linear: expected \(in.*did you mean bias for biass"),
        (lambda x: pf.optim.AdamW([x], learning_rate=1), TypeError, "^AdamW: .*did you mean lr for learning_rate"),
        (
            lambda x: pf.models.GPTConfig(9, 8, n_layer=1),
            TypeError,
            "^GPTConfig: .*did you mean num_layers for n_layer",
        ),
        (lambda x: x.std(dim=1, axis=1), TypeError, "^std: one argument is given twice, among dim, axis"),
        (lambda x: pf.max(x, x), TypeError, r"^max: expected .*; maximum\(x, y\) takes two tensors"),
        (lambda x: x.min(x), TypeError, r"^min: expected .*; minimum\(x, y\) takes two tensors"),
        (lambda x: x.std(dims_=1), TypeError, "std: expected .*did you mean dim for dims_"),
        (lambda x: x.logsumexp(1, keepdimz=True), TypeError, "did you mean keepdim for keepdimz"),
        (lambda x: ops.relu(x.numpy()), TypeError, r"got ndarray float32 \(2, 3\); pyformer.tensor"),
        (lambda x: ops.relu([1.5, 2.5]), TypeError, r"got \[float, float\]; pyformer.tensor\(...\) makes a Tensor"),
        (lambda x: pf.einsum("ij,jk->ik", x, x), ValueError, "einsum: axis j is 3 and 2"),
        (lambda x: pf.einsum("ii->i", x), ValueError, "einsum: a letter stands twice"),
        (lambda x: pf.einsum("ijk->i", x), ValueError, "einsum: 'ijk' does not fit"),
        (lambda x: pf.outer(x, x), ValueError, "outer: expected two vectors"),
        (lambda x: pf.ops.l1_loss(x, x, "men"), ValueError, "l1_loss: reduction must be"),
        (lambda x: pf.ops.cross_entropy(x, [0, 1], weight=x), ValueError, r"weight must be \(3,\), got \(2, 3\)"),
        (lambda x: x.norm(0), ValueError, "norm: p must be above 0"),
        (lambda x: x.norm("nuc"), ValueError, "norm: p must be a number or 'fro', got 'nuc'"),
        (lambda x: pf.eye(-1), ValueError, "eye: extents must not be negative, got -1 and -1"),
        (lambda x: pf.eye(2, -1), ValueError, "eye: extents must not be negative, got 2 and -1"),
        (lambda x: pf.linspace(0, 1, -1), ValueError, "linspace: count must not be negative, got -1"),
        (lambda x: pf.randperm(-1), ValueError, "randperm: n must not be negative, got -1"),
        (lambda x: pf.onse, AttributeError, "no attribute 'onse'. Did you mean: 'ones'"),
        (lambda x: pf.seed(0), AttributeError, r"no attribute 'seed': pf.manual_seed\(n\) sets the seed"),
        (lambda x: x.repeat(2, 1), AttributeError, "no attribute 'repeat'; tile repeats the whole"),
        (lambda x: x.rehsape, AttributeError, "^'Tensor' object has no attribute 'rehsape'$"),
        (lambda x: f"{x:.3f}", TypeError, r"format: '.3f' needs a tensor of one element, got \(2, 3\)"),
        (
            lambda x: pf.cdist(x, pf.ones(4)),
            ValueError,
            r"cdist: expected \(..., m, C\) and \(..., n, C\), got \(2, 3\)",
        ),
    ],
)
def test_errors_say_what_was_expected(call, error, message):
    with pytest.raises(error, match=message) as raised:
        call(pf.ones(2, 3))
    assert len(str(raised.value)) < 400


def test_words_of_numpy_and_torch_for_spreads_and_norms():
    x = pf.tensor([[3.0, 4.0], [6.0, 8.0]])
    for name in ("std", "var"):
        for ddof in (0, 1):
            expected = getattr(np, name)(x.numpy(), axis=1, ddof=ddof)
            np.testing.assert_allclose(getattr(x, name)(axis=1, ddof=ddof).numpy(), expected, rtol=1e-6)
            np.testing.assert_allclose(getattr(pf, name)(x, 1, ddof=ddof).numpy(), expected, rtol=1e-6)
    assert x.norm("fro", 1).tolist() == pf.norm(x, p="fro", dim=1).tolist() == [5.0, 10.0]


def test_what_stands_elsewhere_is_not_here():
    assert all(not hasattr(pf, name) for name in pf._ELSEWHERE)


def test_names_in_place_write():
    x = pf.tensor([-1.0, 0.5, 3.0])
    alias = x
    x.clamp_(0, 2).masked_fill_(x == 0.5, 7)
    assert alias.tolist() == [0.0, 7.0, 2.0]
    with pytest.raises(RuntimeError, match="clamp_: x is a leaf that requires a gradient"):
        pf.ones(2, requires_grad=True).clamp_(0, 1)
    with pytest.raises(RuntimeError, match="scatter_add_: y requires a gradient"):
        pf.zeros(2).scatter_add_(0, pf.tensor([0]), pf.ones(1, requires_grad=True))


def test_errors_show_no_values():
    with pytest.raises(TypeError) as raised:
        pf.full((500, 500), 0.125).sum(axes=1, keepdim=[pf.full((9,), 0.125)] * 9)
    assert "0.125" not in str(raised.value)


def callables():
    for room in (pf, ops, pf.Tensor):
        for name in dir(room):
            thing = getattr(room, name)
            if (
                not name.startswith("_")
                and callable(thing)
                and not inspect.isclass(thing)
                and not inspect.ismodule(thing)
            ):
                yield f"{room.__name__}.{name}", thing


def test_from_pretrained_names_what_every_kind_of_model_takes():
    opened = inspect.signature(pf.from_pretrained).parameters
    assert list(opened) == list(inspect.signature(pf.models.GPT.from_pretrained).parameters)
    assert list(opened) == ["folder", "dtype", "device", "quantize", "options"]


@pytest.mark.parametrize(("name", "thing"), list(callables()), ids=[name for name, _ in callables()])
def test_every_function_has_a_signature_and_help(name, thing):
    parameters = inspect.signature(thing).parameters
    assert "kwargs" not in parameters, parameters
    assert (thing.__doc__ or "").strip()
    assert "pybind11" not in thing.__doc__


def test_names_are_in_both_rooms_and_public_names_only_are_listed():
    for name in names.__all__:
        assert getattr(ops, name) is getattr(names, name)
    rooms = {"amp", "data", "datasets", "generation", "lora", "tokenizers", "training", "utils"}
    assert set(dir(pf)) == {*pf.__all__, *rooms}
    for name in dir(pf):
        getattr(pf, name)


def test_torchs_rooms_and_the_default_dtype():
    assert pf.amp.autocast is pf.autocast
    assert pf.utils.data is pf.data
    pf.set_default_dtype(pf.float32)
    pf.set_default_dtype("float32")
    assert pf.get_default_dtype() == pf.ones(1).dtype == pf.float32
    for other in (pf.float64, "bfloat16", 1, None):
        with pytest.raises(ValueError, match=r"set_default_dtype: expected float32, got .*Module\.to changes"):
            pf.set_default_dtype(other)


def test_import_loads_no_lazy_room():
    script = (
        "import sys; import pyformer as pf; pf.tensor([1.0]).softmax(dim=0); "
        "late = {'pyformer.training', 'pyformer.tokenizers', 'pyformer.data', 'difflib', 'tqdm'}; "
        "assert not late & set(sys.modules), late & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "rsqrt", "tan"])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8, np.bool_])
def test_functions_of_integers_are_floats(name, dtype):
    x, y = both(np.array([0, 1, 1, 2, 5]).astype(dtype))
    for got in (getattr(x, name)(), getattr(ops, name)(x)):
        assert got.dtype == pf.float32
        np.testing.assert_allclose(got.numpy(), getattr(y.float(), name)().numpy(), rtol=1e-6)


def test_integers_have_norms_and_spreads():
    x, y = both(np.array([[3, -4, 12], [1, 2, 2]]))
    for got, wanted in (
        (x.norm(dim=1), y.float().norm(dim=1)),
        (x.std(), y.float().std()),
        (x.logsumexp(1), y.float().logsumexp(1)),
        (x.reciprocal(), y.float().reciprocal()),
    ):
        assert got.dtype == pf.float32
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-6)


def test_bools_add_by_or_and_multiply_by_and():
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    x, y = pf.tensor(a), pf.tensor(b)
    for got, wanted in (
        (x + y, a + b),
        (x * y, a * b),
        (pf.add(x, y), a + b),
        (pf.multiply(x, y.reshape(4, 1)), a * b[:, None]),
        (pf.maximum(x, y), np.maximum(a, b)),
        (pf.minimum(x, y), np.minimum(a, b)),
        (x + True, a + True),
        (x * False, a * False),
        (x + 1, a + 1),
        (x * 2.5, (a * 2.5).astype(np.float32)),
        (x + pf.tensor([1, 2, 3, 4]), a + np.arange(1, 5)),
    ):
        assert got.dtype.name == wanted.dtype.name
        np.testing.assert_array_equal(got.numpy(), wanted)
    with pytest.raises(TypeError, match="subtract"):
        x - y  # as NumPy and torch


def test_powers_of_integers_and_truth_of_numbers_are_numpys():
    values = np.array([-3, -1, 0, 2, 7, 2**40])
    for dtype in (np.int64, np.int32, np.uint8):
        x = pf.tensor(values.astype(dtype))
        for power in (0, 1, 2, 3, 5, 64):
            for got in (x**power, pf.power(x, power)):
                assert got.dtype.name == np.dtype(dtype).name
                np.testing.assert_array_equal(got.numpy(), x.numpy() ** np.array(power, dtype))
        for power in (-1, 2**70):
            with pytest.raises(ValueError, match=r"power: expected an integer from 0 for u?int\d+, got"):
                x**power
    x, y = np.array([0.0, -0.0, np.nan, 0.5]), np.array([1.0, 0.0, 0.0, -2.0])
    for a, b in ((x, y), (x.astype(np.float32), y.astype(np.float32)), (np.array([0, 5]), np.array([3, 0]))):
        p, q = pf.tensor(a), pf.tensor(b)
        np.testing.assert_array_equal(ops.logical_and(p, q).numpy(), np.logical_and(a, b))
        np.testing.assert_array_equal(ops.logical_or(p, q).numpy(), np.logical_or(a, b))
        np.testing.assert_array_equal(ops.logical_not(p).numpy(), np.logical_not(a))
        np.testing.assert_array_equal(ops.logical_or(p, 0).numpy(), np.logical_or(a, 0))


def test_the_angle_of_zeros_and_infinities_is_that_of_numpy():
    values = np.array([0.0, -0.0, 1.0, -3.0, 1e-300, np.inf, -np.inf, np.nan])
    got = pf.atan2(pf.tensor(values[:, None]), pf.tensor(values)).numpy()
    expected = np.arctan2(values[:, None], values)
    np.testing.assert_allclose(got, expected, rtol=1e-15, atol=0)
    is_number = ~np.isnan(expected)
    assert np.array_equal(np.signbit(got)[is_number], np.signbit(expected)[is_number])


@pytest.mark.parametrize("name", ["atan", "acosh", "lgamma", "sinh", "log1p", "expm1", "erf"])
def test_what_is_no_tensor_is_named(name):
    for given in (1.0, np.ones(2)):
        with pytest.raises(TypeError, match=f"expected a Tensor, got {type(given).__name__}; pyformer.tensor"):
            getattr(pf, name)(given)
    with pytest.raises(TypeError, match="expected a Tensor, got float"):
        pf.atan2(pf.ones(2), 1.0)


def _required(function):
    """Tensors for each argument that a function cannot do without, but for the first."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [pf.ones(2) for p in parameters if p.default is p.empty and p.kind in kinds]


# What takes numbers, shapes or a dtype first; operations of two take a number beside a tensor.
TAKE_NUMBERS = {
    *("add", "div", "divide", "eq", "equal", "floor_divide", "ge", "greater", "greater_equal", "gt", "le", "less"),
    *("less_equal", "logical_and", "logical_or", "lt", "maximum", "minimum", "mod", "mul", "multiply", "ne"),
    *("not_equal", "pow", "power", "remainder", "sub", "subtract", "true_divide", "where", "eye", "linspace"),
    *("normal", "empty", "rand", "randint", "randn", "randperm", "get_default_dtype", "set_default_dtype"),
    "rope_frequencies",
}


@pytest.mark.parametrize("name", sorted({*names.METHODS, *dir(ops)}))
def test_a_number_in_the_place_of_a_tensor_is_told_of(name):
    function = getattr(names, name, None) or getattr(ops, name)
    if name.startswith("_") or not callable(function) or name in TAKE_NUMBERS:
        return
    for rest in ([], _required(function)):
        with pytest.raises(TypeError, match=r"expected|must be|not iterable|missing"):
            function(1.0, *rest)
    if inspect.isfunction(function) and next(iter(typing.get_type_hints(function).values())) is pf.Tensor:
        with pytest.raises(TypeError, match=r"expected a Tensor, got float; pyformer\.tensor\(\.\.\.\) makes one"):
            function(1.0)


def test_names_that_check_their_tensors_are_pickled_and_keep_their_signature():
    for function in (pf.std, pf.floor, pf.ops.one_hot):
        assert pickle.loads(pickle.dumps(function)) is function
    assert str(inspect.signature(pf.floor)) == "(x: 'Tensor') -> 'Tensor'"
    assert pf.clip is pf.clamp
    for call in (
        lambda: pf.gather(pf.ones(2), [0], 0.0),
        lambda: pf.masked_select(pf.ones(2), [True, False]),
        lambda: pf.std(x=1.0),
        lambda: pf.cat([pf.ones(1), 1.0]),
        lambda: pf.vstack([1.0]),
        lambda: pf.meshgrid([1.0]),
        lambda: pf.einsum("i,i->", pf.ones(1), 1.0),
        lambda: pf.einsum(pf.ones(1), pf.ones(1)),
    ):
        with pytest.raises(TypeError, match=r"expected|must be"):
            call()


@pytest.mark.parametrize("name", ["add", "sub", "subtract"])
def test_sums_take_torchs_alpha(name):
    ours, theirs = getattr(pf, name), getattr(torch, name)
    x, y = np.array([1.0, 2.0], np.float32), np.array([3.0, -5.0], np.float32)
    for alpha in (1, 2, 0.5, -1):
        expected = theirs(torch.tensor(x), torch.tensor(y), alpha=alpha).numpy()
        a, b = pf.tensor(x, requires_grad=True), pf.tensor(y, requires_grad=True)
        got = ours(a, b, alpha=alpha)
        np.testing.assert_array_equal(got.detach().numpy(), expected)
        np.testing.assert_array_equal(getattr(a, name)(b, alpha=alpha).detach().numpy(), expected)
        got.sum().backward()
        assert b.grad.tolist() == [alpha if name == "add" else -alpha] * 2
    assert ours(pf.tensor([1]), 3, alpha=2).tolist() == theirs(torch.tensor([1]), 3, alpha=2).tolist()
    with pytest.raises(TypeError, match="alpha"):
        ours(a, b, 2)


def test_hardtanh_refuses_ends_in_the_wrong_order():
    for call in (lambda: pf.ops.hardtanh(pf.ones(1), 1.0, -1.0), lambda: pf.nn.Hardtanh(1.0, -1.0)):
        with pytest.raises(ValueError, match="min_val must be at most max_val"):
            call()


def test_docstrings_of_margins_name_every_argument():
    for name in names.margins.__all__:
        words = pf.ops.__dict__[name].__doc__
        for argument in list(inspect.signature(getattr(ops, name)).parameters)[1:]:
            assert re.search(rf"^ +(\w+, )*{argument}(, \w+)*: ", words, re.M), (name, argument)
    for name, cls in vars(nn_margins).items():
        if inspect.isclass(cls) and cls.__module__ == nn_margins.__name__:
            for argument in inspect.signature(cls).parameters:
                assert re.search(rf"^ +(\w+, )*{argument}(, \w+)*: ", cls.__doc__, re.M), (name, argument)
