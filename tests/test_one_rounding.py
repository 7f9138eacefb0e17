"""A number becomes one of a narrower dtype in one rounding, to nearest even, whichever way it comes in. Judged by what
is right by construction: half-way between two neighbours lies the even one, a hair to either side the nearer one."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from safetensors.numpy import save_file

import pyformer as pf
from pyformer import nn
from pyformer.formats.safetensors import read_safetensors

INFINITE = {"bfloat16": 0x7F80, "float16": 0x7C00}  # bits; what is below is finite


def numbers_of(bits: np.ndarray, dtype: str) -> np.ndarray:
    """float64; infinity as the number that would come there."""
    if dtype == "float16":
        return np.where(bits == INFINITE[dtype], 2.0**16, bits.astype(np.uint16).view(np.float16).astype(np.float64))
    wide = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return np.where(bits == INFINITE[dtype], 2.0**128, wide)


def bits_of(tensor: pf.Tensor) -> np.ndarray:
    wide = tensor.to("float32").numpy()
    return wide.astype(np.float16).view(np.uint16) if tensor.dtype == pf.float16 else wide.view(np.uint32) >> 16


@cache
def around_halves(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """(float64 numbers half-way between all neighbours and beside it, the bits that they round to)."""
    low = np.arange(INFINITE[dtype])
    half = (numbers_of(low, dtype) + numbers_of(low + 1, dtype)) / 2
    assert np.all((numbers_of(low, dtype) < half) & (half < numbers_of(low + 1, dtype)))
    x = np.concatenate([np.nextafter(half, 0), half, np.nextafter(half, np.inf), half * (1 + 2.0**-26)])
    bits = np.concatenate([low, low + low % 2, low + 1, low + 1])
    return np.concatenate([x, -x]), np.concatenate([bits, bits | 0x8000])


def written(x, dtype):
    out = pf.zeros(len(x), dtype=dtype)
    out[...] = x
    return out


def loaded(x, dtype):
    layer = nn.Linear(1, len(x), bias=False).to(dtype)
    layer.load_state_dict({"weight": pf.tensor(x[:, None])})
    return layer.weight.detach().reshape(-1)


ARRAYS = {
    "to": lambda x, dtype: pf.tensor(x).to(dtype),
    "cast": lambda x, dtype: pf.ops.cast(pf.tensor(x), dtype),
    "tensor of an array": lambda x, dtype: pf.tensor(x, dtype=dtype),
    "tensor of a list": lambda x, dtype: pf.tensor(x.tolist(), dtype=dtype),
    "module.to": lambda x, dtype: nn.Sequential(*[parameter(x)]).to(dtype)[0].x.detach(),
    "load_state_dict": loaded,
    "x[...] = array": written,
    "x[...] = list": lambda x, dtype: written(x.tolist(), dtype),
}


def parameter(x):
    module = nn.Module()
    module.x = nn.Parameter(pf.tensor(x))
    return module


@pytest.mark.parametrize("dtype", INFINITE)
@pytest.mark.parametrize("way", ARRAYS)
@pytest.mark.filterwarnings("ignore:overflow encountered")  # NumPy's, of what becomes infinite in float16
def test_float64_is_rounded_once(way, dtype):
    x, bits = around_halves(dtype)
    got = ARRAYS[way](x, dtype)
    assert got.dtype == getattr(pf, dtype)
    wrong = bits_of(got) != bits
    assert not wrong.any(), (
        f"{wrong.sum()} of {len(x)}: {x[wrong][:3]} gave {bits_of(got)[wrong][:3]}, not {bits[wrong][:3]}"
    )


@pytest.mark.parametrize("dtype", INFINITE)
def test_what_is_no_number_and_what_is_exact(dtype):
    every = np.arange(INFINITE[dtype])
    x = np.concatenate([numbers_of(every, dtype), -numbers_of(every, dtype), [np.inf, -np.inf, 1e300, 5e-324, -5e-324]])
    infinite = INFINITE[dtype]
    bits = np.concatenate([every, every | 0x8000, [infinite, infinite | 0x8000, infinite, 0, 0x8000]])
    assert np.array_equal(bits_of(pf.tensor(x).to(dtype)), bits)
    assert np.isnan(pf.tensor([np.nan], dtype="float64").to(dtype).to("float32").numpy()).all()


def assigned(x, like):
    out = pf.zeros(1, dtype=like.dtype)
    out[0] = x
    return out[0]


SCALARS = {
    "full": lambda x, like: pf.full((), x, dtype=like.dtype),
    "tensor": lambda x, like: pf.tensor(x, dtype=like.dtype),
    "x[i] = v": assigned,
    "operand": lambda x, like: like * x,
    "where": lambda x, like: pf.ops.where(pf.tensor(True), x, like),
}


@pytest.mark.parametrize("way", SCALARS)
@pytest.mark.parametrize("dtype", INFINITE)
def test_pythons_floats_are_rounded_once(way, dtype):
    step = 2.0**-7 if dtype == "bfloat16" else 2.0**-10
    one = pf.ones((), dtype=dtype)
    for value, expected in ((1 + step / 2 + 2.0**-40, 1 + step), (1 + 1.5 * step - 2.0**-40, 1 + step)):
        for kind in (float, np.float64):
            assert SCALARS[way](kind(value), one).item() == expected, (kind, value)


def integers_around_halves(mantissa: int) -> tuple[list[int], list[int]]:
    """Integers below 2^63 around the halves of a float with so many bits, and the nearest of that float."""
    x, expected = [], []
    for exponent in range(mantissa, 63):
        step = 1 << (exponent - mantissa + 1)
        for low in {1 << exponent, (1 << exponent) + 5 * step, (1 << exponent + 1) - step}:
            even = low if low // step % 2 == 0 else low + step
            half = [(low + step // 2, even)]
            near = [(low + step // 2 - 1, low), (low + step // 2 + 1, low + step)] if step > 2 else []
            for value, rounded in half + near:
                x += [value, -value]
                expected += [rounded, -rounded]
    return x, expected


INTEGER_WAYS = {way: ARRAYS[way] for way in ("to", "tensor of a list", "x[...] = array", "x[...] = list")}


@pytest.mark.parametrize(("dtype", "mantissa"), [("bfloat16", 8), ("float16", 11), ("float32", 24), ("float64", 53)])
@pytest.mark.parametrize("way", INTEGER_WAYS)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_integers_are_rounded_once(way, dtype, mantissa):
    x, expected = integers_around_halves(mantissa)
    largest = 65504 if dtype == "float16" else 2**64
    expected = [e if abs(e) <= largest else np.copysign(np.inf, e) for e in expected]
    got = INTEGER_WAYS[way](np.array(x), dtype).to("float64").numpy()
    wrong = got != np.array(expected, np.float64)
    assert not wrong.any(), f"{wrong.sum()} of {len(x)}: {np.array(x)[wrong][:3]} gave {got[wrong][:3]}"
    small = [i for i, value in enumerate(x) if abs(value) < 2**31]
    if small:
        got = pf.tensor(np.array(x, np.int64)[small].astype(np.int32)).to(dtype).to("float64").numpy()
        assert np.array_equal(got, np.array(expected, np.float64)[small])


@pytest.mark.parametrize("way", SCALARS)
@pytest.mark.parametrize(("dtype", "mantissa"), [("bfloat16", 8), ("float32", 24)])
def test_pythons_integers_are_rounded_once(way, dtype, mantissa):
    one = pf.ones((), dtype=dtype)
    for value, expected in zip(*integers_around_halves(mantissa), strict=True):
        assert SCALARS[way](value, one).item() == expected, value


@pytest.mark.parametrize("dtype", INFINITE)
def test_a_file_of_float64_fills_a_module_in_one_rounding(dtype, tmp_path):
    x, bits = around_halves(dtype)
    save_file({"weight": x[:, None]}, tmp_path / "x.safetensors")
    layer = nn.Linear(1, len(x), bias=False).to(dtype)
    layer.load_state_dict(read_safetensors(tmp_path / "x.safetensors")[0])
    assert np.array_equal(bits_of(layer.weight.detach().reshape(-1)), bits)
