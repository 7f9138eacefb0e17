"""x += y and its like: they write in place or raise, and nothing is left as it was without a word."""

from __future__ import annotations

import operator
import re

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core, nn, ops

OPERATORS = {
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": operator.itruediv,
    "**=": operator.ipow,
    "//=": operator.ifloordiv,
    "%=": operator.imod,
}


@pytest.mark.parametrize("symbol", OPERATORS)
def test_writes_in_place_and_raises_the_version(symbol):
    x = pf.tensor([4.0, 9.0])
    alias, version, array = x.reshape(2, 1), _core.version(x), np.array([4.0, 9.0], np.float32)
    result = OPERATORS[symbol](x, 2.0)
    assert result is x
    assert _core.version(x) > version
    assert x.tolist() == alias.reshape(2).tolist() == OPERATORS[symbol](array, np.float32(2)).tolist()


@pytest.mark.parametrize("symbol", OPERATORS)
def test_a_leaf_that_needs_a_gradient_is_written_under_no_grad_only(symbol):
    x = pf.tensor([4.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"leaf that requires a gradient.*no_grad"):
        OPERATORS[symbol](x, 2.0)
    assert x.tolist() == [4.0]
    with pf.no_grad():
        OPERATORS[symbol](x, 2.0)
    assert x.requires_grad
    assert x.is_leaf
    assert x.tolist() == [OPERATORS[symbol](4.0, 2.0)]


@pytest.mark.parametrize("symbol", OPERATORS)
def test_a_recorded_value_says_what_to_write(symbol):
    y = pf.ones(2, requires_grad=True) * 2.0
    for within in (pf.enable_grad(), pf.no_grad()):
        with within, pytest.raises(RuntimeError, match=re.escape(f"write x = x {symbol[:-1]} y")):
            OPERATORS[symbol](y, 2.0)


def test_an_operand_that_needs_a_gradient_is_refused():
    x, y = pf.zeros(2), pf.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="y requires a gradient"):
        x += y
    with pf.no_grad():
        x += y
    assert (x.tolist(), x.requires_grad) == ([1.0, 1.0], False)


def test_what_backward_needs_is_guarded():
    x, w = pf.ones(2), pf.ones(2, requires_grad=True)
    loss = (x * w).sum()
    x += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_descent_by_hand_trains():
    pf.manual_seed(0)
    model, x = nn.Linear(3, 1), pf.randn(32, 3)
    target = x @ pf.tensor([[1.0], [-2.0], [0.5]])
    losses = []
    for _ in range(60):
        loss = ops.mse_loss(model(x), target)
        model.zero_grad()
        loss.backward()
        with pf.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]


def test_shapes_and_dtypes_that_do_not_fit():
    x, i = pf.zeros(2), pf.zeros(2, dtype=pf.int64)
    with pytest.raises(ValueError, match=r"\(2,\), got a result of \(3, 2\)"):
        x += pf.zeros(3, 2)
    with pytest.raises(TypeError, match="expected a result of int64, got float32"):
        i += 0.5
    with pytest.raises(TypeError):
        x += "text"
    assert (x.tolist(), i.tolist()) == ([0.0, 0.0], [0, 0])


def test_integers_and_other_dtypes():
    for dtype in (pf.int64, pf.int32, pf.float64, pf.bfloat16, pf.float16):
        x = pf.ones(2, dtype=dtype)
        x += 2
        x *= x
        assert (x.tolist(), x.dtype) == ([9, 9], dtype)


# ---- copies that indexing makes --------------------------------------------------------------------------------------


def matrix():
    return pf.tensor([[1.0, 2.0], [3.0, 4.0]])


COPIES = {
    **{"row": lambda a: a[0], "slice": lambda a: a[:], "column": lambda a: a[..., 0], "new axis": lambda a: a[None]},
    **{"T": lambda a: a.T, "permute": lambda a: a.permute(1, 0), "swapaxes": lambda a: a.swapaxes(0, 1)},
    **{"split": lambda a: a.split(1)[0], "chunk": lambda a: a.chunk(2)[0], "unbind": lambda a: a.unbind()[0]},
    **{"diagonal": lambda a: a.diagonal(), "expand": lambda a: a.expand(2, 2), "expand_as": lambda a: a.expand_as(a)},
}


@pytest.mark.parametrize("take", COPIES.values(), ids=COPIES)
def test_a_write_into_a_copy_is_refused(take):
    a = matrix()
    for method in ("add_", "copy_", "fill_"):
        with pytest.raises(RuntimeError, match=r"copy that indexing, split or a transpose made.*a\[0\] = y.*clone"):
            getattr(take(a), method)(1)
    with pytest.raises(RuntimeError, match=r"a\[0, 1\] = v.*clone"):
        take(a)[0] = 5
    assert a.tolist() == matrix().tolist()


@pytest.mark.parametrize("take", [lambda a: a[0], lambda a: a.T, lambda a: next(iter(a)), lambda a: a.split(1)[0]])
def test_writing_into_a_copy_that_has_a_name_raises_at_once(take):
    a = matrix()
    row = kept = take(a)
    message = r"write a\[0\] {} y into that in one step, or row = a\[0\].clone\(\)"
    with pytest.raises(RuntimeError, match=message.format(r"\+=")):
        row += 1
    with pytest.raises(RuntimeError, match=message.format(r"\*=")):
        exec("row *= 2", {"row": row})

    def every():
        for row in a:
            row -= 1

    def enclosed():
        nonlocal kept
        kept /= 2

    with pytest.raises(RuntimeError, match=message.format("-=")):
        every()
    with pytest.raises(RuntimeError, match=message.format("/=")):
        enclosed()
    assert row.tolist() == take(a).tolist()
    assert a.tolist() == matrix().tolist()


@pytest.mark.parametrize("take", [lambda a: a[0], lambda a: a.T, lambda a: next(iter(a))])
def test_a_copy_that_was_added_to_is_refused_where_it_is_used(take):
    a = matrix()
    row = operator.iadd(take(a), 1)  # no byte code says whether the result will be written into a
    message = r"write a\[0\] \+= y into that in one step, or row = a\[0\].clone\(\)"
    assert "clone" in repr(row)
    uses = (
        lambda: row.sum(),
        lambda: row + 1,
        lambda: 1 + row,
        lambda: row[0],
        lambda: row == row,
        lambda: len(row),
        lambda: np.asarray(row),
    )
    for use in uses:
        with pytest.raises(RuntimeError, match=message):
            use()
    with pytest.raises(TypeError, match=message):
        ops.relu(row)
    assert a.tolist() == matrix().tolist()


class _Holder:
    __slots__ = ("__dict__", "slot")


@pytest.mark.parametrize("take", [lambda a: a[0], lambda a: a.T, lambda a: next(iter(a)), lambda a: a.split(1)[0]])
def test_writing_into_a_copy_that_an_attribute_or_a_container_holds_raises_at_once(take):
    a = matrix()
    holder, module, rows, named = _Holder(), pf.nn.Module(), [take(a)], {"row": take(a)}
    holder.row = holder.slot = module.row = take(a)
    message = r"write a\[0\] {} y into that in one step, or row = a\[0\].clone\(\)"
    for _ in range(20):  # until the interpreter has specialised the byte code
        with pytest.raises(RuntimeError, match=message.format(r"\+=")):
            holder.row += 1
        with pytest.raises(RuntimeError, match=message.format("-=")):
            holder.slot -= take(a)
        with pytest.raises(RuntimeError, match=message.format(r"\*=")):
            module.row *= 2
        with pytest.raises(RuntimeError, match=message.format("/=")):
            rows[0] /= 2
        with pytest.raises(RuntimeError, match=message.format(r"\*\*=")):
            named["row"] **= 2
    assert rows[0].tolist() == holder.row.tolist() == take(a).tolist()
    assert a.tolist() == matrix().tolist()


def test_an_attribute_that_writes_into_the_tensor_is_added_to():
    class View:
        a = matrix()

        @property
        def row(self):
            return self.a[0]

        @row.setter
        def row(self, value):
            self.a[0] = value

    view = View()
    for _ in range(20):
        view.row += 1
        view.a[1] += view.a[0]
    assert view.a[0].tolist() == [21.0, 22.0]


def test_an_element_is_added_to_in_one_step():
    a = matrix()
    a[0] += 1
    a[1, 1] *= 2
    a[:, 0] -= 1
    a[a > 7] /= 8
    rows = {"a": a}
    rows["a"][1] **= 2
    assert a.tolist() == [[1.0, 3.0], [4.0, 1.0]]


def test_copies_are_tensors_in_every_other_way():
    a = matrix()
    row = a[0]
    assert isinstance(row, pf.Tensor)
    assert type(row).__name__ == "Tensor"
    assert (row + 1).tolist() == [2.0, 3.0]
    row = row.clone()
    row += 1
    row[0] = 7
    b = a[0] * 1
    b += 1
    assert (row.tolist(), b.tolist(), a.tolist()) == ([7.0, 3.0], [2.0, 3.0], matrix().tolist())
    picked = a[[0, 1]]  # as in NumPy and torch, a copy of its own
    picked += 1
    assert pf.tensor(a[0]).tolist() == a[0].numpy().tolist() == [1.0, 2.0]


def test_copies_are_pickled_and_copied_as_tensors():
    import copy
    import pickle

    row = matrix()[0]
    for again in (copy.deepcopy(row), pickle.loads(pickle.dumps(row))):
        again += 1
        assert again.tolist() == [2.0, 3.0]


def test_gradients_pass_through_copies():
    a = pf.tensor([[1.0, 2.0]], requires_grad=True)
    (a[0] * a.T.reshape(2)).sum().backward()
    assert a.grad.tolist() == [[2.0, 4.0]]
