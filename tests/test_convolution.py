"""Layers for pictures against torch's, running statistics, refusals, and bits that do not depend on the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerance import assert_close, by_rows, same_bits

import pyformer as pf
from pyformer import _core, nn, ops

LAYERS = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1, groups=2), lambda: torch.nn.Conv1d(4, 6, 3, padding=1, groups=2)),
    "conv2d": (
        lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0)),
        lambda: torch.nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0)),
    ),
    "conv2d_plain": (lambda: nn.Conv2d(4, 6, 3, bias=False), lambda: torch.nn.Conv2d(4, 6, 3, bias=False)),
    "conv_transpose2d": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        lambda: torch.nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
    ),
    "max_pool2d": (lambda: nn.MaxPool2d(2), lambda: torch.nn.MaxPool2d(2)),
    "avg_pool2d": (lambda: nn.AvgPool2d(3, 1, 1), lambda: torch.nn.AvgPool2d(3, 1, 1)),
    "group_norm": (lambda: nn.GroupNorm(2, 4), lambda: torch.nn.GroupNorm(2, 4)),
    "batch_norm2d": (lambda: nn.BatchNorm2d(4), lambda: torch.nn.BatchNorm2d(4)),
    "batch_norm2d_eval": (lambda: nn.BatchNorm2d(4).eval(), lambda: torch.nn.BatchNorm2d(4).eval()),
}


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def twins(name):
    make, make_twin = LAYERS[name]
    module, twin = make().to(pf.float64), make_twin().double()
    twin.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in module.state_dict().items()}, strict=False)
    return module, twin


@pytest.mark.parametrize("name", LAYERS)
def test_layer_equals_torch(name):
    module, twin = twins(name)
    x = random(3, 4, 9) if name == "conv1d" else random(3, 4, 9, 8)
    ours, theirs = pf.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    for _ in range(2):  # running statistics move twice
        out, expected = module(ours), twin(theirs)
    assert_close(out.numpy(), by_rows(expected.detach().numpy()), name, additions=200)
    projection = random(*out.shape, seed=1)
    out.backward(pf.tensor(projection))
    expected.backward(torch.tensor(projection))
    assert_close(ours.grad.numpy(), by_rows(theirs.grad.numpy()), name, additions=200)
    for parameter, other in zip(module.parameters(), twin.parameters(), strict=True):
        assert_close(parameter.grad.numpy(), by_rows(other.grad.numpy()), name, additions=200)
    for key, buffer in module.named_buffers():
        assert_close(buffer.numpy(), by_rows(twin.state_dict()[key].numpy()), key, additions=200)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_pooling_takes_one_picture(name):
    module, twin = twins(name)
    x = random(4, 9, 8)
    ours, theirs = pf.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    out, expected = module(ours), twin(theirs)
    assert out.shape == tuple(expected.shape)
    np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), rtol=1e-12)
    (out * out).sum().backward()
    (expected * expected).sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12)


def test_running_statistics_are_saved_moved_and_not_trained():
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    module(pf.randn(4, 1, 8, 8)).sum().backward()
    state = module.state_dict()
    assert {"1.running_mean", "1.running_var"} <= set(state)
    assert not any("running" in name for name, _ in module.named_parameters())
    other = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    other.load_state_dict(state)
    x = pf.randn(2, 1, 8, 8)
    np.testing.assert_array_equal(other.eval()(x).numpy(), module.eval()(x).numpy())
    assert module.to(pf.float64)(x.to(pf.float64)).dtype == pf.float64


def test_backward_after_the_running_statistics_moved():
    x, mean, var = pf.tensor(random(3, 2, 4), requires_grad=True), pf.tensor(random(2)), pf.tensor(np.ones(2))
    evaluated = ops.batch_norm(x, mean, var)
    ops.batch_norm(x, mean, var, training=True, momentum=1.0)
    evaluated.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 / np.sqrt(1 + 1e-5))
    np.testing.assert_allclose(mean.numpy(), x.numpy().mean((0, 2)))
    np.testing.assert_allclose(var.numpy(), x.numpy().var((0, 2), ddof=1))


@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_an_image_does_not_see_its_neighbours(op):
    x, weight = pf.tensor(random(5, 32, 15, 14).astype("float32")), pf.tensor(random(32, 32, 3, 3).astype("float32"))
    bias = pf.tensor(random(32).astype("float32"))
    convolve = getattr(ops, op)
    together = convolve(x, weight, bias, stride=2, padding=1).numpy()
    for i in range(5):
        assert same_bits(together[i : i + 1], convolve(x[i : i + 1], weight, bias, stride=2, padding=1).numpy())


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_what_lies_outside_counts_as_zero(dtype, isa):
    """As after `pad`, and as torch's: the zeros are numbers, which an infinite weight or gradient makes NaN."""
    _core.set_isa(isa)
    weight = np.ones((2, 1, 3, 3))
    weight[0, 0, 0, 1], gradient = np.inf, np.ones((1, 2, 4, 4))
    gradient[0, 1, 0, 0] = -np.inf
    results = []
    for pad in (True, False):
        x, w = (pf.tensor(pf.tensor(a).to(dtype), requires_grad=True) for a in (random(1, 1, 4, 4), weight))
        around = ops.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))) if pad else x
        out = ops.conv2d(around, w, padding=0 if pad else 1)
        out.backward(pf.tensor(gradient).to(dtype))
        results.append([t.detach().to(pf.float64).numpy() for t in (out, w.grad)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    out, dweight = results[0]
    assert np.isnan(out[0, 0, 0]).all()
    assert np.isfinite(out[0, 1]).all()
    assert np.isnan(dweight[1, 0, 0]).all()
    assert np.isinf(dweight[1, 0, 1:, 1:]).all()


def pairs_that_meet(size, positions, kernel, stride, padding, dilation):
    """(where in the image, where in the result, where in the kernel) of one axis, where all three are there."""
    for at in range(positions):
        for k in range(kernel):
            if 0 <= at * stride - padding + k * dilation < size:
                yield at * stride - padding + k * dilation, at, k


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (1, 1, 1), (2, 1, 1), (3, 2, 2)])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_is_not_there_meets_no_infinity(bad, stride, padding, dilation, dtype, isa):
    """The transposed convolution and the gradients of x are sums over what is there; zeros around x are there."""
    _core.set_isa(isa)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    rng, kernel, size = np.random.default_rng(0), 3, 9
    weight = rng.integers(1, 4, (2, 2, kernel)).astype("float64")
    weight[0, 1, 0], weight[1, 0, 2] = bad, -bad
    image = rng.integers(1, 4, (2, size)).astype("float64")

    def leaf(array):
        return pf.tensor(pf.tensor(array).to(dtype), requires_grad=True)

    def plain(tensor):
        return tensor.detach().to("float64").numpy()

    x, w = leaf(image[None]), leaf(weight)
    out = ops.conv1d(x, w, **options)
    positions = out.shape[2]
    result = rng.integers(1, 4, (2, positions)).astype("float64")
    meeting = list(pairs_that_meet(size, positions, kernel, stride, padding, dilation))
    dx, dresult, dweight = np.zeros((2, size)), np.zeros((2, positions)), np.zeros((2, 2, kernel))
    with np.errstate(invalid="ignore"):
        for y, i, k in meeting:
            dx[:, y] += (weight[:, :, k] * result[:, i, None]).sum(0)
            dresult[:, i] += (weight[:, :, k] * image[None, :, y]).sum(1)
    out.backward(pf.tensor(result[None]).to(dtype))
    np.testing.assert_array_equal(plain(x.grad)[0], dx)

    x, w = leaf(result[None, :, :, None]), leaf(weight[:, :, :, None])
    apart = {"stride": (stride, 1), "padding": (padding, 0), "dilation": (dilation, 1)}
    extra = size - ((positions - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1)
    back = ops.conv_transpose2d(x, w, output_padding=(extra, 0), **apart)
    np.testing.assert_array_equal(plain(back)[0, :, :, 0], dx)
    back.backward(pf.tensor(image[None, :, :, None]).to(dtype))
    np.testing.assert_array_equal(plain(x.grad)[0, :, :, 0], dresult)

    result[1, 0] = bad
    x, w = leaf(result[None, :, :, None]), leaf(np.ones_like(weight)[:, :, :, None])
    ops.conv_transpose2d(x, w, output_padding=(extra, 0), **apart).backward(
        pf.tensor(image[None, :, :, None]).to(dtype)
    )
    for y, i, k in meeting:
        dweight[:, :, k] += result[:, i, None] * image[None, :, y]
    np.testing.assert_array_equal(plain(w.grad)[:, :, :, 0], dweight)


@pytest.mark.parametrize("n", [65_536, 65_537, 131_073, 200_000, 400_001])
@pytest.mark.parametrize("k", [1, 70, 65_536, 150_000])
def test_topk_of_long_rows(n, k):
    """Rows longer than a block: as a stable sort of the whole, ties and NaN included."""
    k = min(k, n)
    x = np.random.default_rng(n + k).integers(0, 50_000, (2, n)).astype(np.float32)
    x[0, [3, n - 1]] = np.nan
    key = np.where(np.isnan(x), np.inf, x)
    wanted = np.argsort(-key, axis=1, kind="stable")[:, :k]
    for axis, array in ((1, x), (0, x.T.copy())):
        values, indices = (t.numpy() for t in ops.topk(pf.tensor(array), k, axis=axis))
        got = indices if axis == 1 else indices.T
        np.testing.assert_array_equal(got, wanted)
        np.testing.assert_array_equal(values if axis == 1 else values.T, np.take_along_axis(x, wanted, axis=1))


def test_topk_takes_the_lower_index_first():
    values, indices = ops.topk(pf.tensor([[1.0, 3.0, 3.0, 1.0, 3.0]]), 4)
    np.testing.assert_array_equal(values.numpy(), [[3.0, 3.0, 3.0, 1.0]])
    np.testing.assert_array_equal(indices.numpy(), [[1, 2, 4, 0]])
    np.testing.assert_array_equal(ops.topk(pf.tensor([5, 9, 7]), 2)[0].numpy(), [9, 7])


X = pf.ones(2, 4, 5, 5)
W = pf.ones(6, 4, 3, 3)
REFUSED = [
    (lambda: ops.conv2d(pf.ones(4, 5, 5), W), ValueError, "conv2d: x must be"),
    (lambda: ops.conv2d(X, pf.ones(6, 4)), ValueError, "conv2d: weight must be"),
    (lambda: ops.conv2d(X, pf.ones(6, 3, 3, 3)), ValueError, "conv2d: x .* 4 channels"),
    (lambda: ops.conv2d(X, W, groups=4), ValueError, "conv2d: .* groups"),
    (lambda: ops.conv2d(X, W, groups=0), ValueError, "conv2d: groups"),
    (lambda: ops.conv2d(X, W, pf.ones(4)), ValueError, r"conv2d: bias must be \(6,\)"),
    (lambda: ops.conv2d(X, W, stride=0), ValueError, "conv2d: stride"),
    (lambda: ops.conv2d(X, W, padding=-1), ValueError, "conv2d: padding"),
    (lambda: ops.conv2d(X, W, padding=2**62), ValueError, "conv2d: padding"),
    (lambda: ops.conv2d(X, W, dilation=(1, 0)), ValueError, "conv2d: dilation"),
    (lambda: ops.conv2d(X, W, dilation=5), ValueError, "conv2d: nothing is left"),
    (lambda: ops.conv2d(X, W, stride="2"), TypeError, "conv2d: expected an int or a pair"),
    (lambda: ops.conv2d(X, W, stride=(1, 2, 3)), TypeError, "conv2d: expected an int or a pair"),
    (lambda: ops.conv2d(X, W.to(pf.float64)), TypeError, "conv2d: weight must be float32"),
    (lambda: ops.conv2d(X.to(pf.int64), W), TypeError, "conv2d"),
    (lambda: ops.conv2d(X, pf.ones(6, 4, 0, 3)), ValueError, "conv2d: an empty kernel"),
    (lambda: ops.conv1d(X, W), ValueError, "conv1d: x must be"),
    (lambda: ops.conv1d(pf.ones(1, 2, 3), pf.ones(1, 2, 4)), ValueError, "conv1d: nothing is left"),
    (lambda: ops.conv_transpose2d(X, W), ValueError, "conv_transpose2d: x .* 4 channels"),
    (lambda: ops.conv_transpose2d(X, pf.ones(4, 2, 1, 1), padding=3), ValueError, "conv_transpose2d: nothing is left"),
    (lambda: ops.conv_transpose2d(X, pf.ones(4, 2, 3, 3), output_padding=1), ValueError, "output_padding must be"),
    (lambda: ops.max_pool2d(X, 2, padding=2), ValueError, "max_pool2d: padding"),
    (lambda: ops.max_pool2d(X, 6), ValueError, "max_pool2d: the kernel"),
    (lambda: ops.max_pool2d(pf.ones(1, 1, 0, 4), 2, padding=1), ValueError, "max_pool2d: the kernel"),
    (lambda: ops.avg_pool2d(X, 0), ValueError, "avg_pool2d: kernel"),
    (lambda: ops.avg_pool2d(X, 2, stride=0), ValueError, "avg_pool2d: stride"),
    (lambda: ops.avg_pool2d(pf.ones(5, 5), 2), ValueError, "avg_pool2d: x must be"),
    (lambda: ops.group_norm(X, 3), ValueError, "group_norm: groups must divide"),
    (lambda: ops.group_norm(X, 0), ValueError, "group_norm: groups must divide"),
    (lambda: ops.group_norm(pf.ones(3), 1), ValueError, "group_norm: x must be"),
    (lambda: ops.group_norm(X, 2, pf.ones(3)), ValueError, "group_norm: weight must be"),
    (lambda: ops.group_norm(X, 2, eps=-1.0), ValueError, "group_norm: eps"),
    (lambda: ops.batch_norm(X), ValueError, "batch_norm: without training"),
    (lambda: ops.batch_norm(X, pf.ones(4), training=True), ValueError, "batch_norm: expected both"),
    (lambda: ops.batch_norm(pf.ones(1, 4), training=True), ValueError, "batch_norm: training needs"),
    (lambda: ops.batch_norm(X, training=True, momentum=2.0), ValueError, "batch_norm: momentum"),
    (lambda: ops.batch_norm(X, pf.ones(4, requires_grad=True), pf.ones(4)), ValueError, "running statistics"),
    (lambda: ops.mse_loss(pf.ones(2), pf.ones(2, 1)), ValueError, "mse_loss: target must be"),
    (lambda: ops.mse_loss(pf.ones(2), pf.ones(2), reduction="all"), ValueError, "mse_loss: reduction"),
    (lambda: ops.bce_with_logits(pf.ones(2), pf.ones(3)), ValueError, "bce_with_logits: target must be"),
    (lambda: ops.bce_with_logits(pf.ones(2), pf.tensor([1, 0])), TypeError, "bce_with_logits: target must be"),
    (lambda: ops.topk(pf.ones(3), 4), ValueError, "topk: k must be"),
    (lambda: ops.topk(pf.ones(3), 1, 1), IndexError, "topk: axis"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "Conv2d: groups must divide"),
    (lambda: nn.Conv2d(3, 4, (3, 3, 3)), TypeError, "Conv2d: kernel must be"),
    (lambda: nn.Conv2d(3, 4, 0), ValueError, "Conv2d: kernel must be"),
    (lambda: nn.MaxPool2d("2"), TypeError, "MaxPool2d: kernel must be"),
    (lambda: nn.GroupNorm(3, 4), ValueError, "GroupNorm: groups must divide"),
    (lambda: nn.BatchNorm2d(4, momentum=None), ValueError, "BatchNorm2d: momentum"),
    (lambda: nn.BatchNorm2d(4)(pf.ones(2, 4)), ValueError, "BatchNorm2d: x must be"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
