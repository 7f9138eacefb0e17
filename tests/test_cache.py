"""nn.KVCache, and what a projection keeps of its weight."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pyformer as pf
from pyformer import nn, ops

LAYERS, HEADS, DIM = 2, 2, 8


def tokens(rows, count, seed):
    rng = np.random.default_rng(seed)
    return [pf.tensor(rng.standard_normal((rows, count, HEADS, DIM), np.float32)) for _ in range(3)]


def attend(cache, layer, q, k, v):
    keys, values = cache[layer].append(k, v)
    return ops.attention(q, keys, values, causal=True, **cache[layer].reach).numpy()


def test_steps_give_the_bits_of_attention_at_once():
    cache = nn.KVCache(LAYERS, HEADS, DIM, rows=2)
    pieces = [tokens(2, count, seed) for seed, count in enumerate((5, 1, 3))]
    whole = ops.attention(*(ops.concat(list(parts), axis=1) for parts in zip(*pieces, strict=True)), causal=True)
    out = []
    for piece in pieces:
        cache.begin(piece[0].shape[1])
        out.append(attend(cache, 1, *piece))
    np.testing.assert_array_equal(np.concatenate(out, axis=1), whole.numpy())
    assert cache.length.tolist() == [9, 9]


@pytest.mark.parametrize(("room", "late_room"), [(4, 9), (4, 5), (9, 3)])
def test_rows_of_unequal_length_join_leave_and_go_back(room, late_room):
    a, b = tokens(2, 4, 0), tokens(1, 3, 1)
    step = tokens(3, 1, 2)
    cache, late = (nn.KVCache(1, HEADS, DIM, rows=n, capacity=c) for n, c in ((2, room), (1, late_room)))
    cache.begin(4, [4, 2])
    attend(cache, 0, *a)
    late.begin(3)
    attend(late, 0, *b)
    cache.join(late)
    assert cache.length.tolist() == [4, 2, 3]
    cache.begin(1)
    together = attend(cache, 0, *step)
    for row, (_, k, v), count in ((0, a, 4), (1, a, 2), (2, b, 3)):
        source = 0 if row == 2 else row
        keys, values = (
            ops.concat([x[source : source + 1, :count], y[row : row + 1]], axis=1)
            for x, y in ((k, step[1]), (v, step[2]))
        )
        expected = ops.attention(step[0][row : row + 1], keys, values, causal=True)
        np.testing.assert_array_equal(together[row], expected.numpy()[0])
    cache.truncate([4, 2, 3])
    cache.keep([2, 0])
    assert cache.length.tolist() == [3, 4]
    cache.begin(1)
    again = attend(cache, 0, *(x[np.array([2, 0])] for x in step))
    np.testing.assert_array_equal(again, together[[2, 0]])
    cache.keep([1, 1, 0])
    assert cache.length.tolist() == [5, 5, 4]
    np.testing.assert_array_equal(cache.keys[0].numpy()[0], cache.keys[0].numpy()[1])
    cache.keep([])
    assert cache.rows == 0


def test_room_is_made():
    cache = nn.KVCache(1, HEADS, DIM, rows=1, capacity=2)
    for step in range(9):
        cache.begin(1)
        q, k, v = tokens(1, 1, step)
        attend(cache, 0, q, k, v)
    assert cache.capacity >= 9
    np.testing.assert_array_equal(cache.keys[0].numpy()[0, 8], k.numpy()[0, 0])
    np.testing.assert_array_equal(cache.keys[0].numpy()[0, 0], tokens(1, 1, 0)[1].numpy()[0, 0])


def test_wrong_counts_and_lengths():
    cache = nn.KVCache(1, HEADS, DIM, rows=2)
    for counts in ([1], [1, 4], [-1, 1]):
        with pytest.raises(ValueError, match="KVCache: counts must be"):
            cache.begin(3, counts)
    cache.begin(3, [3, 1])
    for length in (2, [3, 2], -1):
        with pytest.raises(ValueError, match="KVCache: length must be"):
            cache.truncate(length)


def test_wrong_steps_and_rows():
    cache = nn.KVCache(1, HEADS, DIM, rows=3)
    for call, error in (
        (lambda: cache.begin(-1), ValueError),
        (lambda: cache.begin(1.0), TypeError),
        (lambda: cache.begin(1, [0.5, 1.0, 1.0]), TypeError),
        (lambda: cache.begin(1, [True, True, True]), TypeError),
        (lambda: cache.keep([0.9]), TypeError),
        (lambda: cache.keep([True, False, True]), TypeError),
        (lambda: cache.keep([3]), IndexError),
        (lambda: cache.keep([-1]), IndexError),
        (lambda: cache.keep(0), IndexError),
        (lambda: cache.truncate(0.0), TypeError),
        (lambda: nn.KVCache(0, HEADS, DIM), ValueError),
        (lambda: nn.KVCache(1, HEADS, DIM, rows=-1), ValueError),
        (lambda: nn.KVCache(1, HEADS, DIM, capacity=0.5), TypeError),
        (lambda: nn.KVCache(1, HEADS, DIM, device="gpu"), ValueError),
    ):
        with pytest.raises(error, match=r"KVCache|device: expected"):
            call()
    assert cache.length.tolist() == [0, 0, 0]
    cache.begin(1)
    for count in (2, 0):
        with pytest.raises(ValueError, match="KVCache: keys and values must be of the 1 tokens"):
            cache[0].append(*tokens(3, count, 0)[1:])
    cache.keep(pf.tensor([2, 0]))
    assert cache.rows == 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_a_models_cache_is_of_its_dtype(dtype):
    model = pf.models.GPT(pf.models.GPTConfig(31, 16, 2, 2, 16)).to(dtype)
    assert {t.dtype.name for t in (*model.new_cache(1).keys, *model.new_cache(1).values)} == {dtype}
    assert model.generate([[1, 2]], 3, temperature=0).shape == (1, 5)


def test_a_model_takes_a_cache():
    model = pf.models.GPT(pf.models.GPTConfig(31, 16, 2, 2, 16)).eval()
    ids = np.array([[1, 2, 3, 4, 5]])
    cache = model.new_cache(rows=1)
    with pf.no_grad():
        parts = [model(part, cache=cache).numpy() for part in (ids[:, :3], ids[:, 3:4], ids[:, 4:])]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), model(ids).numpy())
        assert model.cache_bytes(rows=3, tokens=7) == 2 * 4 * 2 * 3 * 7 * 16
        with pytest.raises(ValueError, match="exceed the context length 16"):
            model(np.ones((1, 12), np.int64), cache=cache)


@pytest.fixture(params=["linear", "embedding"])
def projection(request):
    pf.manual_seed(0)
    return nn.Linear(24, 40) if request.param == "linear" else nn.Embedding(40, 24)


def same(projection, x):
    with pf.no_grad():
        return np.array_equal(
            projection.as_linear(x).numpy(), ops.linear(x, projection.weight, projection.bias).numpy()
        )


def test_a_packed_weight_gives_the_same_bits_and_follows_the_weight(projection):
    x = pf.randn(3, 24)
    projection.eval().pack()
    assert same(projection, x)
    with pf.no_grad():
        packed = projection.packed()
        projection.weight[2:5] = 7.0
    assert same(projection, x)
    with pf.no_grad():
        assert projection.packed() is packed
    projection.load_state_dict({n: t.numpy() + 1 for n, t in projection.state_dict().items()})
    assert same(projection, x)
    projection.weight = nn.Parameter(np.ones((40, 24), np.float32))
    assert same(projection, x)
    projection.to(pf.float64)
    assert same(projection, pf.randn(3, 24, dtype=pf.float64))


def test_a_packed_weight_serves_inference_only(projection):
    x = pf.randn(3, 24, requires_grad=True)
    projection.pack()
    projection.as_linear(x).sum().backward()
    assert projection.weight.grad is not None
    with pf.no_grad():
        assert projection.packed() is None, "it goes when training goes on"
    projection.eval().pack()
    projection.as_linear(x).sum().backward()
    with pf.no_grad():
        assert projection.packed() is not None


def test_a_packed_weight_is_neither_copied_nor_pickled(projection):
    projection.pack()
    x = pf.randn(3, 24)
    for other in (copy.deepcopy(projection), pickle.loads(pickle.dumps(projection))):
        with pf.no_grad():
            assert other.packed() is None
            projection.weight[0] = 5.0
            assert not np.array_equal(other.as_linear(x).numpy(), projection.as_linear(x).numpy())
        assert same(other, x)
        assert sorted(other.state_dict()) == sorted(projection.state_dict())


def test_threads_share_one_packed_weight(projection):
    projection.eval()
    with ThreadPoolExecutor(8) as pool:
        assert len({id(packed) for packed in pool.map(lambda _: projection.pack(), range(64))}) == 1


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_a_linear_map_with_a_norm_before_it(kind):
    norm = nn.LayerNorm(24) if kind == "layer" else nn.RMSNorm(24)
    linear, x = nn.Linear(24, 40), pf.randn(2, 3, 24)
    expected = linear(norm(x)).numpy()
    np.testing.assert_array_equal(linear(x, norm=norm).numpy(), expected)
    np.testing.assert_array_equal(linear(x, "relu", norm=norm).numpy(), np.maximum(expected, 0))
    linear.eval().pack()
    with pf.no_grad():
        np.testing.assert_array_equal(linear(x, norm=norm).numpy(), expected)
        fc, out = nn.Linear(24, 40).eval(), nn.Linear(40, 24).eval()
        plain = nn.mlp(x, fc, out, "gelu", norm=norm, residual=x).numpy()
        fc.pack()
        np.testing.assert_array_equal(nn.mlp(x, fc, out, "gelu", norm=norm, residual=x).numpy(), plain)


def test_inference_is_evaluation_on_this_thread_alone():
    dropout, norm = nn.Dropout(0.5), nn.BatchNorm2d(3)
    x, pictures = pf.ones(100), pf.randn(2, 3, 4, 4)
    with nn.inference():
        np.testing.assert_array_equal(dropout(x).numpy(), x.numpy())
        before = norm.running_mean.numpy().copy()
        norm(pictures)
        np.testing.assert_array_equal(norm.running_mean.numpy(), before)
        assert not (x * nn.Parameter(np.ones(100, np.float32))).requires_grad
        with ThreadPoolExecutor(1) as pool:
            assert (pool.submit(lambda: dropout(x).numpy()).result() == 0).any()
    assert dropout.training
    assert (dropout(x).numpy() == 0).any()
    with pytest.raises(KeyError), nn.inference():
        raise KeyError
    assert (dropout(x).numpy() == 0).any()
