"""Random numbers: distribution, known answers, and independence of threads and instruction sets."""

from __future__ import annotations

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core


def philox_4x32_10(counter: int, stream: int, seed: int) -> list[int]:
    """Salmon, Moraes, Dror, Shaw 2011; NumPy's Philox is the 64-bit one, so this is written out."""
    c = [counter & 0xFFFFFFFF, counter >> 32, stream & 0xFFFFFFFF, stream >> 32]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def test_the_papers_known_answers():
    assert philox_4x32_10(0, 0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = 2**64 - 1
    assert philox_4x32_10(ones, ones, ones) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def words(seed: int, stream: int, count: int) -> np.ndarray:
    blocks = [philox_4x32_10(c, stream, seed) for c in range(-(-count // 4))]
    return np.array(blocks, np.uint64).ravel()[:count]


@pytest.mark.parametrize(("seed", "stream"), [(0, 0), (2**63 + 12345, 2**40 + 7)])
def test_elements_are_those_of_the_stream(seed, stream):
    n = 150
    raw = words(seed, stream, 2 * n)
    wide = raw[0::2] | raw[1::2] << np.uint64(32)
    _core.set_rng_state(seed, stream)
    np.testing.assert_array_equal(pf.rand(n).numpy(), (raw[:n] >> np.uint64(8)) * 2.0**-24)
    _core.set_rng_state(seed, stream)
    np.testing.assert_array_equal(pf.rand(n, dtype=pf.float64).numpy(), (wide >> np.uint64(11)) * 2.0**-53)
    _core.set_rng_state(seed, stream)
    radius = np.sqrt(-2 * np.log((raw[0:n:2] >> np.uint64(1)) * 2.0**-31 + 2.0**-32))
    angle = raw[1:n:2].astype(np.uint32).astype(np.int32) * (2 * np.pi / 2**32)
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()
    np.testing.assert_allclose(pf.randn(n).numpy(), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "below"), [(pf.bfloat16, 1 - 2**-8), (pf.float16, 1 - 2**-11)])
def test_16_bit_numbers_are_float32s_and_below_1(dtype, below):
    pf.manual_seed(0)
    wide = pf.rand(100_000).to(dtype).to(pf.float32).numpy()
    pf.manual_seed(0)
    narrow = pf.rand(100_000, dtype=dtype).to(pf.float32).numpy()
    assert wide.max() == 1.0
    np.testing.assert_array_equal(narrow, np.minimum(wide, np.float32(below)))


@pytest.mark.parametrize("dtype", [pf.float32, pf.float64])
def test_rand_is_even(dtype):
    pf.manual_seed(0)
    x = pf.rand(200_000, dtype=dtype).numpy()
    assert x.min() >= 0
    assert x.max() < 1
    assert abs(x.mean() - 0.5) < 5 * np.sqrt(1 / 12 / x.size)
    counts = np.histogram(x, 100, (0, 1))[0]
    chi_square = ((counts - x.size / 100) ** 2 / (x.size / 100)).sum()
    assert chi_square < 99 + 6 * np.sqrt(2 * 99)
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 5 / np.sqrt(x.size)


@pytest.mark.parametrize("dtype", [pf.float32, pf.float64])
def test_randn_is_normal(dtype):
    pf.manual_seed(0)
    x = pf.randn(400, 500, dtype=dtype).numpy().ravel().astype(np.float64)
    assert abs(x.mean()) < 5 / np.sqrt(x.size)
    assert abs(x.var() - 1) < 5 * np.sqrt(2 / x.size)
    assert abs((x**3).mean()) < 5 * np.sqrt(15 / x.size)
    assert abs((x**4).mean() - 3) < 5 * np.sqrt(96 / x.size)
    assert abs((x > 1.959964).mean() - 0.025) < 5 * np.sqrt(0.025 / x.size)
    assert 4 < np.abs(x).max() < 7
    for lag in (1, 16, 32):
        assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 5 / np.sqrt(x.size)


@pytest.mark.parametrize("draw", [pf.rand, pf.randn])
@pytest.mark.parametrize("dtype", [pf.float32, pf.float64])
def test_same_bits_on_threads_and_sets(draw, dtype):
    threads, isa = pf.get_num_threads(), _core.isa()
    results = set()
    try:
        for name in _core.supported_isas():
            _core.set_isa(name)
            for count in (1, 2, 3):
                pf.set_num_threads(count)
                pf.manual_seed(5)
                results.add(draw(60_003, dtype=dtype).numpy().tobytes())
    finally:
        pf.set_num_threads(threads)
        _core.set_isa(isa)
    assert len(results) == 1


@pytest.mark.parametrize("draw", [pf.rand, pf.randn])
def test_an_element_depends_on_its_index_only(draw):
    for size in (0, 1, 2, 15, 16, 17, 63, 64, 65, 1000):
        pf.manual_seed(9)
        short = draw(size).numpy()
        pf.manual_seed(9)
        np.testing.assert_array_equal(draw(5000).numpy()[:size], short)


def test_seed_and_state():
    pf.manual_seed(11)
    assert _core.rng_state() == (11, 0)
    a, state = pf.rand(10).numpy(), _core.rng_state()
    b = pf.rand(10).numpy()
    assert (a != b).any()
    _core.set_rng_state(*state)
    np.testing.assert_array_equal(pf.rand(10).numpy(), b)
    pf.manual_seed(2**64 - 1)
    assert _core.rng_state() == (2**64 - 1, 0)


def test_shapes_and_errors():
    assert pf.rand().shape == ()
    assert pf.rand(2, 3).shape == pf.randn((2, 3)).shape == (2, 3)
    assert pf.randn(3, requires_grad=True).requires_grad
    with pytest.raises(ValueError, match="rand: "):
        pf.rand(-1)
    with pytest.raises(TypeError, match="rand: no kernel for int64 on cpu"):
        pf.rand(3, dtype=pf.int64)
    with pytest.raises(TypeError):
        pf.rand("3")


@pytest.mark.parametrize("dtype", [pf.bfloat16, pf.float16], ids=str)
def test_16_bit_numbers_are_the_float32_ones_rounded(dtype):
    pf.manual_seed(3)
    expected = pf.randn(1000).to(dtype).to(pf.float32).numpy()
    pf.manual_seed(3)
    np.testing.assert_array_equal(pf.randn(1000, dtype=dtype).to(pf.float32).numpy(), expected)
    x = pf.ones(1000, dtype=dtype)
    pf.manual_seed(3)
    expected = pf.ops.dropout(pf.ones(1000), 0.3).to(dtype).to(pf.float32).numpy()
    pf.manual_seed(3)
    np.testing.assert_array_equal(pf.ops.dropout(x, 0.3).to(pf.float32).numpy(), expected)


def test_a_generator_draws_apart_from_the_process():
    pf.manual_seed(11)
    expected = [pf.randn(3), pf.rand(2, dtype=pf.float64), pf.randint(5, 9, (4,)), pf.randperm(6), pf.normal(1, 2, 3)]
    half, weights = pf.full((8,), 0.5), pf.tensor([1.0, 2.0, 3.0])
    expected += [pf.bernoulli(half), pf.multinomial(weights, 2), pf.multinomial(weights, 5, replacement=True)]
    pf.manual_seed(3)
    before = pf.random.get_state()
    g = pf.Generator("cpu").manual_seed(11)
    draws = [
        lambda: pf.randn(3, generator=g),
        lambda: pf.rand(2, dtype=pf.float64, generator=g),
        lambda: pf.randint(5, 9, (4,), generator=g),
        lambda: pf.randperm(6, generator=g),
        lambda: pf.normal(1, 2, 3, generator=g),
        lambda: half.bernoulli(generator=g),
        lambda: pf.multinomial(weights, 2, generator=g),
        lambda: weights.multinomial(5, replacement=True, generator=g),
    ]
    for draw, wanted in zip(draws, expected, strict=True):
        state = g.get_state()
        np.testing.assert_array_equal(draw().numpy(), wanted.numpy())
        assert g.get_state()[1] > state[1]
        g.set_state(state)
        np.testing.assert_array_equal(draw().numpy(), wanted.numpy())
    assert pf.random.get_state() == before
    assert (g.initial_seed(), g.seed() != g.seed()) == (11, True)


def test_a_generator_that_is_none_or_a_draw_that_fails_leaves_the_process_as_it_was():
    before, g = pf.random.get_state(), pf.Generator()
    with pytest.raises(TypeError, match=r"generator: expected a pf\.Generator, got int"):
        pf.randn(2, generator=3)
    with pytest.raises((TypeError, ValueError)):
        pf.randn(-2, generator=g)
    with pytest.raises(TypeError, match="set_state: expected"):
        g.set_state(5)
    assert pf.random.get_state() == before


def test_a_generator_takes_the_integers_that_manual_seed_takes():
    first = pf.randn(3, generator=pf.Generator().manual_seed(7)).numpy()
    for seed in (np.int64(7), np.uint8(7)):
        np.testing.assert_array_equal(pf.randn(3, generator=pf.Generator().manual_seed(seed)).numpy(), first)
    for wrong in (True, np.bool_(True), 7.0, "7", None):
        with pytest.raises(TypeError, match="manual_seed: expected an integer, got"):
            pf.Generator().manual_seed(wrong)
    for wrong in (-1, 2**64):
        with pytest.raises(ValueError, match="manual_seed: expected a seed from 0"):
            pf.Generator().manual_seed(wrong)
    generator = pf.Generator()
    for state in (np.array([7, 2]), (np.int64(7), np.uint64(2))):
        generator.set_state(state)
        assert repr(generator.get_state()) == "(7, 2)"
