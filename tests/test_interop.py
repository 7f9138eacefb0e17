"""Arrays in and out: NumPy, lists, DLPack, the buffer protocol; what can't be read is refused."""

from __future__ import annotations

import array
import gc
import pickle

import numpy as np
import pytest
import torch

import pyformer as pf
from pyformer import _core

DTYPES = ["float32", "float64", "float16", "int64", "int32", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_round_trip_copies_in_and_shares_out(dtype):
    a = np.arange(6).reshape(2, 3).astype(dtype)
    t = pf.tensor(a)
    assert t.shape == (2, 3)
    assert t.dtype == getattr(pf, dtype)
    assert t.ndim == 2
    assert t.size == 6
    a[0, 0] = 1
    np.testing.assert_array_equal(t.numpy(), np.arange(6).reshape(2, 3).astype(dtype))
    view = t.numpy()
    view[1, 2] = 0
    assert t[1, 2].item() == 0
    del t
    gc.collect()
    assert view[1, 0] == np.array(3).astype(dtype)


def test_python_numbers_and_lists():
    assert pf.tensor(1.5).dtype == pf.float32
    assert pf.tensor([1.0, 2]).dtype == pf.float32
    assert pf.tensor([1, 2]).dtype == pf.int64
    assert pf.tensor([True, False]).dtype == pf.bool
    assert pf.tensor(np.float64(1.5)).dtype == pf.float64
    assert pf.tensor([np.float64(1.5)]).dtype == pf.float64
    assert pf.tensor([]).shape == (0,)
    assert pf.tensor([[1, 2], [3, 4]], dtype=pf.float64).numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert pf.tensor([1.5], dtype="bfloat16").dtype == pf.bfloat16
    assert pf.tensor(np.float32([1, 2]), dtype=np.int32).dtype == pf.int32


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a[::2],
        lambda a: a[::-1],
        lambda a: a.T,
        lambda a: np.asfortranarray(a),
        lambda a: a.astype(">f4"),
        lambda a: a[:, 1:2],
        lambda a: np.broadcast_to(a[:1], (4, 6)),
    ],
)
def test_odd_layouts_are_read_right(make):
    odd = make(np.arange(24, dtype=np.float32).reshape(4, 6))
    np.testing.assert_array_equal(pf.tensor(odd).numpy(), odd)
    shared = pf.asarray(odd)
    np.testing.assert_array_equal(shared.numpy(), odd)


def test_asarray_shares_only_what_it_may():
    a = np.zeros(4, np.float32)
    t = pf.asarray(a)
    a[1] = 5
    assert t[1].item() == 5
    readonly = np.zeros(4, np.float32)
    readonly.flags.writeable = False
    t = pf.asarray(readonly)
    with pf.no_grad():
        t[0] = 7.0
    assert readonly[0] == 0
    base = np.zeros(17, np.uint8)
    misaligned = base[1:].view(np.float32)
    np.testing.assert_array_equal(pf.asarray(misaligned).numpy(), misaligned)


def test_integers_without_a_counterpart_widen():
    assert pf.tensor(np.uint8([255])).dtype == pf.uint8
    assert pf.tensor(np.int8([-128])).numpy().dtype == np.int8
    assert pf.tensor(np.uint16([65535])).dtype == pf.int32
    assert pf.tensor(np.int16([-3])).dtype == pf.int32
    assert pf.tensor(np.uint32([2**32 - 1])).numpy()[0] == 2**32 - 1


@pytest.mark.parametrize(
    "bad",
    [
        np.array([1 + 2j]),
        np.array(["a"]),
        np.array([object()]),
        np.array(["2020-01-01"], "datetime64[D]"),
        np.zeros(2, [("a", "f4")]),
        np.uint64([1]),
        "text",
        None,
        object(),
    ],
)
def test_foreign_dtypes_are_refused(bad):
    with pytest.raises((TypeError, ValueError)):
        pf.tensor(bad)


def test_ragged_lists_are_refused():
    with pytest.raises(ValueError, match="tensor"):
        pf.tensor([[1, 2], [3]])


def test_buffer_protocol_and_array_protocol():
    np.testing.assert_array_equal(pf.tensor(array.array("d", [1.0, 2.0])).numpy(), [1.0, 2.0])
    np.testing.assert_array_equal(pf.tensor(memoryview(array.array("i", [3, 4]))).numpy(), [3, 4])
    np.testing.assert_array_equal(np.asarray(pf.tensor([1.0, 2.0])), np.float32([1, 2]))
    assert np.asarray(pf.tensor([1.0]), dtype=np.float64).dtype == np.float64
    assert pf.tensor([1.0]).__array__(np.float32, copy=False).dtype == np.float32
    with pytest.raises(ValueError, match="copy=False"):
        pf.tensor([1.0]).__array__(np.float64, copy=False)

    class Foreign:
        def __array__(self, dtype=None, copy=None):
            return np.float32([1, 2, 3])

    np.testing.assert_array_equal(pf.tensor(Foreign()).numpy(), [1, 2, 3])


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
def test_dlpack_with_torch_both_ways(dtype):
    theirs = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    ours = pf.from_dlpack(theirs)
    assert ours.dtype == getattr(pf, dtype)
    back = torch.from_dlpack(ours)
    assert torch.equal(back, theirs)
    theirs.zero_()
    assert torch.equal(back, theirs), "the memory is shared"
    del ours, theirs
    gc.collect()
    assert back.sum() == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_buffer_protocol_outward_shares_memory(dtype):
    t = pf.tensor(np.arange(6).reshape(2, 3).astype(dtype))
    view = memoryview(t)
    assert (view.shape, view.readonly, view.nbytes) == ((2, 3), False, t.numpy().nbytes)
    assert np.shares_memory(np.asarray(view), t.numpy())
    assert np.asarray(view).dtype == dtype
    del t
    gc.collect()
    np.testing.assert_array_equal(view, np.arange(6).reshape(2, 3).astype(dtype))
    assert memoryview(pf.tensor(2.5)).tolist() == 2.5
    with pytest.raises(BufferError):
        memoryview(pf.ones(2).to(pf.bfloat16))


MASKED = np.ma.array([1.0, 2.0], mask=[False, True])
MASKED_IDS = np.ma.array([[1, 2]], mask=[[0, 1]])


class GivesMasked:
    def __array__(self, dtype=None, copy=None):
        return MASKED


def small_gpt():
    return pf.models.GPT(pf.models.GPTConfig(9, 4, num_layers=1, num_heads=1, embed_dim=4))


@pytest.mark.parametrize(
    "read",
    [
        lambda: pf.tensor(MASKED),
        lambda: pf.tensor(MASKED, dtype=pf.float32),
        lambda: pf.asarray(MASKED),
        lambda: pf.from_dlpack(MASKED),
        lambda: pf.tensor([[1.0, 2.0], MASKED]),
        lambda: pf.tensor([1.0, np.ma.masked]),
        lambda: pf.tensor(GivesMasked()),
        lambda: pf.full(2, np.ma.masked),
        lambda: pf.arange(np.ma.array(3, mask=True)),
        lambda: pf.ones(2) + MASKED,
        lambda: MASKED + pf.ones(2),
        lambda: pf.ones(2, dtype=pf.float64) @ MASKED,
        lambda: np.add(MASKED, pf.ones(2)),
        lambda: np.maximum(pf.ones(2), MASKED),
        lambda: np.matmul(MASKED, pf.ones(2)),
        lambda: np.less(MASKED, pf.ones(2)),
        lambda: np.divmod(pf.ones(2), MASKED),
        lambda: pf.ones(np.ma.array(3, mask=True)),
        lambda: pf.zeros(2, np.ma.array(3, mask=True)),
        lambda: pf.ones(np.ma.array([3, 2], mask=[1, 0])),
        lambda: pf.full((np.ma.array(3, mask=True),), 1.0),
        lambda: pf.rand(np.ma.array(3, mask=True)),
        lambda: pf.manual_seed(np.ma.array(3, mask=True)),
        lambda: pf.ones(3)[MASKED_IDS],
        lambda: pf.ones(2)[np.ma.array([True, False], mask=[0, 1])],
        lambda: pf.ones(2).__setitem__(slice(None), MASKED),
        lambda: pf.ones(2).__setitem__(MASKED_IDS, 1.0),
        lambda: pf.ones(2).__setitem__(slice(None), [1.0, np.ma.masked]),
        lambda: pf.nn.Parameter(MASKED),
        lambda: pf.nn.Linear(2, 1).load_state_dict({"weight": MASKED[None], "bias": np.zeros(1)}),
        lambda: small_gpt()(MASKED_IDS),
        lambda: small_gpt()([MASKED_IDS[0]]),
        lambda: small_gpt().loss([[1, 2]], MASKED_IDS),
        lambda: small_gpt().count_targets([[1, 2]], MASKED_IDS),
        lambda: small_gpt()([[1, 2]], lengths=MASKED_IDS[0, :1]),
        lambda: small_gpt().generate(MASKED_IDS, 1),
        lambda: small_gpt().generate([MASKED_IDS[0]], 1),
        lambda: pf.models.KAN(pf.models.KANConfig((2, 1)))(MASKED[None]),
        lambda: pf.training.Trainer(
            small_gpt(), np.ma.zeros(90, np.int64), np.zeros(90, np.int64), pf.training.TrainingOptions(steps=1)
        ),
        lambda: pf.data.sample_batch(np.ma.zeros(90, np.int64), seed=0, step=0, batch=1, context_length=4),
        lambda: pf.data.validation_batches(np.ma.zeros(90, np.int64), batch=1, context_length=4, count=1),
        lambda: pf.tokenizers.ByteTokenizer().decode(MASKED_IDS[0]),
        lambda: pf.tokenizers.ByteTokenizer().decode([1, np.ma.masked]),
    ],
)
def test_a_mask_is_never_dropped(read):
    with pytest.raises(TypeError, match="MaskedArray"):
        read()


def test_a_masked_axis_is_no_integer():
    with pytest.raises(TypeError, match="axis"):
        pf.ones(2).sum(axis=np.ma.array(0, mask=True))


def test_numpy_gives_arrays_and_numbers_of_tensors():
    x = pf.tensor([1.0, 4.0])
    for made in (np.sqrt(x), np.add(x, np.ones(2)), np.reshape(x, (2, 1)), np.clip(x, 0, 2), np.round(x)):
        assert type(made) is np.ndarray
    assert isinstance(np.exp(pf.tensor(1.0)), np.float32)
    assert np.add.reduce(x) == 5.0
    out = np.zeros(2, np.float32)
    assert np.add(x, x, out=out) is out


def test_filled_arrays_are_read():
    for read in (pf.tensor, pf.asarray):
        assert read(MASKED.filled(0.0)).numpy().tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "give",
    [
        np.exp,
        np.asarray,
        lambda w: np.add(np.ones(2), w),
        lambda w: np.stack([w, w]),
        lambda w: np.float64(2.0) * np.array(w),
        lambda w: pf.tensor([w, w]),
        lambda w: pf.asarray([[1.0, w[0]]]),
        lambda w: pf.ones(2).__setitem__(slice(None), [w[0], w[1]]),
        lambda w: pf.full((2,), w[0]),
        lambda w: pf.arange(w[0]),
    ],
)
def test_a_tensor_that_requires_a_gradient_is_not_handed_to_numpy(give):
    for leaf in (pf.ones(2, requires_grad=True), pf.ones(2, requires_grad=True) * 2.0):
        with pytest.raises(TypeError, match="require"):
            give(leaf)
    with pytest.raises(BufferError):
        memoryview(pf.ones(2, requires_grad=True))
    give(pf.ones(2))
    give(pf.ones(2, requires_grad=True).detach())
    np.testing.assert_array_equal(np.exp(pf.ones(2, requires_grad=True).numpy()), np.exp(np.float32([1, 1])))


def test_operators_with_numpy_keep_the_gradient():
    w = pf.ones(2, requires_grad=True)
    total = np.zeros(2, np.float32)
    total += np.float32([2, 3]) * w + np.float64(4.0) * w
    total.sum().backward()
    assert w.grad.numpy().tolist() == [6.0, 7.0]


def test_dlpack_with_numpy_and_strides():
    t = pf.from_dlpack(np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(np.from_dlpack(t), np.arange(12.0).reshape(3, 4))
    theirs = torch.arange(12.0).reshape(3, 4).T
    np.testing.assert_array_equal(pf.tensor(theirs).numpy(), theirs.numpy())
    np.testing.assert_array_equal(pf.from_dlpack(theirs).numpy(), theirs.numpy())


def test_dlpack_refuses_what_it_cannot_carry():
    with pytest.raises(TypeError, match="requires grad"):
        torch.from_dlpack(pf.tensor([1.0], requires_grad=True))
    with pytest.raises(TypeError, match="from_dlpack"):
        pf.from_dlpack(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(TypeError, match=r"from_dlpack: expected .* got int"):
        pf.from_dlpack(3)
    with pytest.raises(BufferError, match="is on cpu"):
        pf.ones(2).__dlpack__(dl_device=(2, 0))


def test_capsule_that_nobody_takes_is_freed():
    before = _core.memory_stats()["live_arrays"]
    for _ in range(10):
        pf.zeros(1000).__dlpack__()
    gc.collect()
    assert _core.memory_stats()["live_arrays"] == before


def test_bfloat16_has_no_numpy():
    t = pf.tensor([1.0, 2.5]).to(pf.bfloat16)
    with pytest.raises(TypeError, match="bfloat16"):
        t.numpy()
    assert t.to(pf.float32).numpy().tolist() == [1.0, 2.5]
    assert repr(t) == "tensor([1. , 2.5], dtype=bfloat16)"
    assert t.tolist() == [1.0, 2.5]
    again = pickle.loads(pickle.dumps(t))
    assert (again.dtype, again.tolist()) == (pf.bfloat16, [1.0, 2.5])


def test_tolist():
    for values in ([[1, 2], [3, 4]], [], 2.5, [True]):
        assert pf.tensor(values).tolist() == values
    assert [type(v) for v in (pf.ones(1).tolist()[0], pf.tensor([1]).tolist()[0])] == [float, int]


def test_the_public_modules_show_nothing_of_others():
    assert {name for name in dir(pf.ops) if not name.startswith("_")} == {*pf.ops.__all__, "np"}


def test_wrong_arguments_of_a_device_are_told_on_one_line():
    with pytest.raises(TypeError, match=r"^device: expected \(name: .*, got 1, Tensor float32 \(500,\)$") as raised:
        pf.device(1, pf.ones(500))
    assert "\n" not in str(raised.value)


def test_creation():
    assert pf.zeros(2, 3).shape == (2, 3)
    assert pf.ones((2, 3), dtype=pf.int32).numpy().sum() == 6
    assert pf.full((2,), 2.5, dtype=pf.float64).numpy().tolist() == [2.5, 2.5]
    assert pf.zeros().shape == ()
    assert pf.arange(3).numpy().tolist() == [0, 1, 2]
    assert pf.arange(1, 2, 0.25).numpy().tolist() == [1.0, 1.25, 1.5, 1.75]
    with pytest.raises(ValueError, match="step"):
        pf.arange(0, 1, 0)
    with pytest.raises(ValueError, match="negative"):
        pf.zeros(-1)
    with pytest.raises(TypeError, match="integers"):
        pf.zeros(1.5)
    with pytest.raises(ValueError, match="CUDA"):
        pf.zeros(1, device="cuda")
    with pytest.raises(ValueError, match="device"):
        pf.zeros(1, device="tpu")


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: pf.zeros(2, 3, **o),
        lambda **o: pf.ones((2, 3), **o),
        lambda **o: pf.full((2, 3), 2.5, **o),
        lambda **o: pf.rand(2, 3, **o),
        lambda **o: pf.randn((2, 3), **o),
        lambda **o: pf.arange(6, **o),
        lambda **o: pf.tensor([[1.0, 2.0]], **o),
    ],
)
def test_creators_take_the_same_options(make):
    t = make(dtype=pf.float64, device="cpu", requires_grad=True)
    assert (t.dtype, t.device, t.requires_grad, t.is_leaf) == (pf.float64, "cpu", True, True)
    assert make(dtype="float64", device=None).dtype == pf.float64
    with pytest.raises(ValueError, match="device"):
        make(device="tpu")


NUMBERS = [5, 5.0, 2.5, True, np.int32(5), np.float32(2), np.bool_(True), np.array(5), np.array(2.5)]


@pytest.mark.parametrize(
    "arguments",
    [
        *((number,) for number in NUMBERS),
        *[(0.0, 4.0, 1.0), (0.0, 4.0, 0.5), (0, 4.0), (0.0, 4), (0, 4, 1.0), (0, 4, 2), (np.array(0), np.float32(4))],
        *[(0, 1, 0.25), (4.0, 0.0, -1), (0.0,)],
    ],
)
def test_arange_is_of_floats_if_an_argument_is(arguments):
    got, wanted = pf.arange(*arguments), np.arange(*arguments)
    assert got.dtype == (pf.float32 if wanted.dtype.kind == "f" else pf.int64)
    assert got.numpy().tolist() == wanted.tolist()


@pytest.mark.parametrize("value", NUMBERS)
def test_full_is_of_the_dtype_of_its_value(value):
    got, wanted = pf.full((2,), value), np.full((2,), value)
    assert got.dtype == {"f": pf.float32, "i": pf.int64, "b": pf.bool}[wanted.dtype.kind]
    assert got.numpy().tolist() == wanted.tolist()
    assert pf.full((2,), value, dtype=pf.float64).dtype == pf.float64


def test_dtypes_of_tensors_as_numbers():
    assert pf.arange(pf.tensor(3)).dtype == pf.int64
    assert pf.arange(pf.tensor(3.0)).dtype == pf.float32
    for number in (pf.tensor(3), pf.tensor(3.0), pf.tensor(3.0, dtype=pf.float64), pf.tensor(True)):
        assert pf.full((2,), number).dtype == number.dtype


def test_dtypes_where_no_number_says_one():
    for made in (pf.zeros(2), pf.ones(2), pf.rand(2), pf.randn(2), pf.tensor([]), pf.tensor([1, 2.0]), pf.tensor(1.0)):
        assert made.dtype == pf.float32
    for made in (pf.tensor([1, True]), pf.tensor(1), pf.zeros(2, dtype=int)):
        assert made.dtype == pf.int64
    assert pf.tensor([True]).dtype == pf.zeros(2, dtype=bool).dtype == pf.bool


def test_arange_of_integers_requires_no_gradient():
    with pytest.raises((TypeError, ValueError), match="grad"):
        pf.arange(3, requires_grad=True)


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([pf.tensor(1.5), 2.5], "float32"),
        ([2.5, pf.tensor(1.5)], "float32"),
        ([2, pf.tensor(1.5)], "float32"),
        ([[pf.tensor(1.5), 1], (2, 2.5)], "float32"),
        ([pf.tensor([1.0, 2.0]), [3.0, 4.0]], "float32"),
        ([pf.tensor(1.5, dtype=pf.float64), 0.1], "float64"),
        ([pf.tensor(1.5, dtype=pf.float16), 0.5], "float16"),
        ([pf.tensor(1), 2.5], "float32"),
        ([pf.tensor(1), 2], "int64"),
        ([pf.tensor(1, dtype=pf.int32), pf.tensor(2, dtype=pf.int32)], "int32"),
        ([np.float64(0.1), 2.0], "float64"),
    ],
)
def test_lists_of_tensors_and_numbers(data, dtype):
    for read in (pf.tensor, pf.asarray):
        t = read(data)
        assert t.dtype == getattr(pf, dtype)
        np.testing.assert_array_equal(t.numpy(), np.asarray(data).astype(dtype))


def test_lists_of_tensors_of_two_dtypes_need_a_dtype():
    data = [pf.tensor(1.5), 2, pf.tensor(0.1, dtype=pf.float64)]
    with pytest.raises(TypeError, match="one dtype in a list, got float32 and float64"):
        pf.tensor(data)
    assert pf.tensor(data, dtype=pf.float64).numpy().tolist() == [1.5, 2.0, 0.1]


@pytest.mark.parametrize("size", [2**45, 2**62])
def test_absurd_sizes_are_a_memory_error(size):
    with pytest.raises(MemoryError):
        pf.zeros(size)
    with pytest.raises(MemoryError):
        pf.zeros(2**40, 2**40, 2**40)


def test_writes_in_place():
    t = pf.zeros(3, 4)
    t[1] = 2.0
    t[:, 3] = np.arange(3)
    t[0, :2] = pf.tensor([5.0, 6.0])
    assert t.numpy().tolist() == [[5, 6, 0, 0], [2, 2, 2, 1], [0, 0, 0, 2]]
    w = pf.zeros(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="in place"):
        w[0] = 1.0
    with pf.no_grad():
        w[0] = 1.0
    assert w.numpy()[0] == 1
    with pytest.raises((ValueError, IndexError)):
        t[5] = 1.0


def test_item_len_repr_bool():
    assert pf.tensor([[2.5]]).item() == 2.5
    with pytest.raises(ValueError, match="one element"):
        pf.tensor([1.0, 2.0]).item()
    assert len(pf.zeros(4, 2)) == 4
    with pytest.raises(TypeError):
        len(pf.tensor(1.0))
    assert "float32" in repr(pf.zeros(2))
    assert repr(pf.float32) == "pyformer.float32"
    assert "requires_grad" in repr(pf.zeros(2, requires_grad=True))
    assert "(0, 3)" in repr(pf.zeros(0, 3))
    loss = pf.tensor(1.23456)
    assert (f"{loss:.3f}", f"{pf.tensor([[7]]):04d}", f"{loss}") == ("1.235", "0007", repr(loss))
    with pytest.raises((TypeError, ValueError)):
        format(pf.zeros(2), ".3f")
    assert bool(pf.tensor(1.0))
    assert type(int(pf.tensor(True))) is int
    assert int(pf.tensor(-1.7)) == -1
    assert float(pf.tensor(2)) == 2.0


def test_dtypes_out_of_range_are_refused():
    with pytest.raises(ValueError, match="DType"):
        pf.DType(99)
    with pytest.raises(ValueError, match="DType"):
        pf.DType(-1)
    assert pf.DType(0) == pf.float32
    for refused in (lambda: pf.zeros(2).to(None), lambda: pf.ops.cast(pf.zeros(2), None)):
        with pytest.raises(TypeError, match="dtype"):
            refused()
    assert pf.ops.cast(pf.zeros(2), pf.int32).dtype == pf.int32


def test_tensors_come_from_functions_only():
    class Derived(pf.Tensor):
        pass

    with pytest.raises(TypeError, match=r"pyformer\.tensor"):
        pf.Tensor()
    for kind in (pf.Tensor, Derived):
        for new in (kind.__new__, pf.Tensor.__mro__[1].__new__):
            with pytest.raises(TypeError):
                new(kind)


def test_integers_stay_exact():
    assert pf.arange(2**53, 2**53 + 4).numpy().tolist() == [2**53 + i for i in range(4)]
    assert pf.arange(2**63 - 3, 2**63 - 1).numpy().tolist() == [2**63 - 3, 2**63 - 2]
    assert pf.arange(2**63 - 1, -(2**63), -(2**63 - 1)).numpy().tolist() == [2**63 - 1, 0, -(2**63 - 1)]
    assert pf.arange(np.int64(5), 0, -2).numpy().tolist() == [5, 3, 1]
    assert pf.arange(3, 3).shape == (0,)
    assert pf.full((2,), 2**60 + 1, dtype=pf.int64).numpy().tolist() == [2**60 + 1] * 2
    assert pf.tensor([0.1], dtype=pf.float64).item() == 0.1
    assert pf.full(2, -0.0).numpy().tobytes() == np.full(2, -0.0, np.float32).tobytes()


@pytest.mark.parametrize(("dtype", "digits"), [("bfloat16", 8), ("float32", 24), ("float64", 53)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("power", [70, 100, 127])
def test_integers_beyond_int64_are_rounded_once(dtype, digits, sign, power):
    """A little more than the middle of two neighbours: rounded to a double first, it would be the middle itself."""
    step = 2 ** (power + 1 - digits)
    for value, expected in ((2**power + step // 2 + 1, 2**power + step), (2**power + step // 2, 2**power)):
        for x in (pf.full((1,), sign * value, dtype=dtype), pf.zeros(1, dtype=dtype) + sign * value):
            assert int(x.to("float64").item()) == sign * expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: pf.full(2, 2**31, dtype=pf.int32),
        lambda: pf.full(2, 2**70, dtype=pf.int64),
        lambda: pf.full(2, 2.5, dtype=pf.int64),
        lambda: pf.full(2, float("nan"), dtype=pf.int32),
        lambda: pf.tensor([2**31], dtype=pf.int32),
        lambda: pf.tensor([2**63]),
        lambda: pf.tensor([1, 2**63]),
        lambda: pf.tensor([[True, -1], [0, 2**63]]),
        lambda: pf.tensor([1.5], dtype=pf.int64),
        lambda: pf.tensor([float("inf")], dtype=pf.int64),
        lambda: pf.tensor(1e30, dtype=pf.int64),
        lambda: pf.arange(2**40, 2**40 + 2, dtype=pf.int32),
        lambda: pf.arange(2**70, 2**70 + 2),
    ],
)
def test_numbers_that_do_not_fit_are_refused(make):
    with pytest.raises(ValueError, match="fit"):
        make()


def test_a_size_beyond_64_bits_is_a_memory_error():
    with pytest.raises(MemoryError):
        pf.zeros(2**70)
    with pytest.raises(ValueError, match="negative"):
        pf.zeros(-(2**70))


def test_power_of_a_huge_exponent():
    with pytest.raises(ValueError, match="power"):
        pf.tensor([2]) ** 2**70
    assert (pf.tensor([3]) ** 2).item() == 9


def test_index_arrays():
    x = pf.arange(300)
    assert x[np.array([100, -1], np.int8)].numpy().tolist() == [100, 299]
    assert x[[]].shape == (0,)
    assert pf.zeros(3, 4)[[]].shape == (0, 4)
    for mask in ([True, False], np.ones(301, bool), np.ones((300, 1), bool), True):
        with pytest.raises(IndexError, match="mask"):
            x[mask]
    y = pf.arange(6).reshape(2, 3)
    assert y[np.array([[True, False, True], [False, True, False]])].numpy().tolist() == [0, 2, 4]
    assert y[np.array([False, True])].numpy().tolist() == [[3, 4, 5]]
    with pytest.raises(IndexError, match="range"):
        x[np.array([2**64 - 1], np.uint64)]
    with pytest.raises(IndexError, match="index: expected"):
        x[[0, [1]]]


def test_written_values_keep_to_the_dtype():
    x = pf.zeros(3)
    with pytest.raises(TypeError, match="float64"):
        x[0] = pf.tensor(1.0, dtype=pf.float64)
    v = pf.tensor([2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="requires grad"):
        x[:1] = v
    with pf.no_grad():
        x[:1] = v
    x[1] = pf.tensor(7)
    assert x.numpy().tolist() == [2, 7, 0]
    for value in (None, "3", [1, None], 1j, np.array([1j]), [10**30]):
        with pytest.raises(TypeError, match=r"x\[i\] = v: expected numbers"):
            x[0] = value
    refused = ((0, [1, 2], ValueError), (5, 1, IndexError), ("a", 1, IndexError), (0, [[1], 2], ValueError))
    for key, value, error in refused:
        with pytest.raises(error, match=r"^x\[i\] = v: "):
            x[key] = value
    assert x.numpy().tolist() == [2, 7, 0]


def test_iteration():
    assert [row.numpy().tolist() for row in pf.arange(4).reshape(2, 2)] == [[0, 1], [2, 3]]
    with pytest.raises(TypeError, match="iteration"):
        iter(pf.tensor(1.0))


@pytest.mark.parametrize(
    ("op", "call"),
    [
        ("reshape", lambda x: x.reshape("a")),
        ("transpose", lambda x: x.transpose("a")),
        ("split", lambda x: pf.ops.split(x, "a")),
        ("split", lambda x: pf.ops.split(x, 2**70)),
        ("pad", lambda x: pf.ops.pad(x, 1)),
        ("arange", lambda x: pf.arange(0, "a")),
        ("arange", lambda x: pf.arange(0, 1, None)),
        ("full", lambda x: pf.full(2, "a")),
        ("pad", lambda x: pf.ops.pad(x, pf.zeros(2**50, 0))),
        ("split", lambda x: pf.ops.split(x, 10**5000)),
        ("dtype", lambda x: pf.zeros(1, dtype="float31")),
        ("dtype", lambda x: pf.ops.cast(x, x)),
        ("dtype", lambda x: x.to([None])),
        ("__dlpack__", lambda x: x.__dlpack__(max_version=1)),
    ],
)
def test_foreign_arguments_are_a_type_error_with_the_name_of_the_op(op, call):
    with pytest.raises(TypeError, match=f"^{op}: expected"):
        call(pf.zeros(4))
