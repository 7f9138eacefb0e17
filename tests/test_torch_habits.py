"""Lines that torch users write on the first day: each gives in pyformer what it gives in torch."""

from __future__ import annotations

import contextlib
import math
import time
import tracemalloc
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

import pyformer as pf

VALUES = np.array([[1.5, -2.0, 3.25, 0.5], [0.0, 4.0, -1.0, 2.0], [7.0, -3.0, 2.5, 1.0]], np.float32)


def names_of(library: Any) -> dict[str, Any]:
    tensor = library.tensor
    return {
        **{"T": library, "nn": library.nn, "F": library.nn.functional, "optim": library.optim, "np": np},
        **{"x": tensor(VALUES), "y": tensor(VALUES[::-1].copy() * 0.5), "m": tensor(VALUES > 1)},
        **{"i": tensor(np.array([0, 2, 1])), "labels": tensor(np.array([0, 3, 1]))},
        "v": tensor(np.array([3.0, 1.0, 2.0], np.float32)),
        "b": tensor(np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)),
        "img": tensor(np.linspace(-1, 1, 384, dtype=np.float32).reshape(2, 3, 8, 8)),
        "OrderedDict": OrderedDict,
    }


def plain(value: Any) -> Any:
    """A result as what both libraries have: arrays, lists, numbers."""
    if hasattr(value, "detach"):
        return np.asarray(value.detach().numpy())
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype.kind == theirs.dtype.kind
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-6)
    else:
        assert ours == theirs


EXPRESSIONS = """
x.view_as(y)
x.expand_as(b)
x.unflatten(1, (2, 2))
x.flatten(start_dim=0, end_dim=-1)
T.flatten(b, start_dim=1)
b.movedim(0, 1)
x.masked_select(m)
x.masked_select(T.tensor([True, False, False, True]))
x[0].masked_select(m)
T.tensor(2.0).masked_select(T.tensor(True))
T.roll(x, 1, dims=1)
T.roll(x, shifts=2, dims=0)
T.diag(v)
T.diag(x[:, :3])
T.trace(x[:, :3])
T.mv(x[:, :3], v)
T.addmm(T.ones(3, 3), x, y.T, beta=0.5, alpha=2)
T.addmm(T.tensor([float('nan'), 1.0, float('inf')]), x, y.T, beta=0)
T.log2(x.abs() + 1)
T.log10(x.abs() + 1)
T.log10(T.tensor([0.0, -1.0, float('inf'), float('nan'), 5e-324], dtype=T.float64))
x.median()
(x / 0).median()
T.tensor([1, 3, 2]).median()
x.var(1, unbiased=False)
x.std(dim=0, unbiased=True)
F.normalize(x, dim=1)
F.normalize(x, p=1, dim=0)
T.isclose(x, x + 1e-9)
T.isclose(x, y)
T.isclose(T.tensor([1.0, float("inf"), float("-inf")]), T.tensor([float("inf"), float("inf"), float("inf")]))
T.isclose(T.tensor([127, 3], dtype=T.int8), T.tensor([-1, 3], dtype=T.int8))
T.isclose(T.tensor([1, 1], dtype=T.uint8), T.tensor([2, 3], dtype=T.uint8), atol=1)
T.isclose(m, ~m)
T.allclose(T.tensor([1.0]), T.tensor([float("inf")]))
T.allclose(T.tensor([float("-inf")]), T.tensor([float("-inf")]))
T.nan_to_num(x / 0)
(x > 1).nonzero()
T.nonzero(x > 1, as_tuple=True)
T.tensor(3).nonzero().shape
T.tensor(0).nonzero().shape
T.nonzero(T.tensor(0), as_tuple=True)
T.tensor(3).nonzero(as_tuple=True)
x.count_nonzero()
T.count_nonzero(x, dim=1)
T.unique(x)
T.unique(i, True)
T.unique(T.tensor([float('nan'), 1.0, float('nan')]), return_inverse=True, return_counts=True)
T.unique(i, return_inverse=True, return_counts=True)
T.bincount(i)
T.bincount(i, minlength=6)
T.meshgrid(v, v, indexing="ij")
T.meshgrid([v, i.float()], indexing="xy")
x.new_zeros(2, 2)
x.new_ones((2,))
x.new_tensor([1, 2])
x.new_full((2,), 3.0)
T.hstack([x, y])
T.vstack((v, v))
x.type_as(i)
x.is_floating_point()
x.is_contiguous()
x.element_size()
x.nelement()
x.ndimension()
x.is_cuda
T.is_tensor(x)
T.numel(x)
m ^ ~m
m ^ True
True ^ m
T.logical_xor(i, T.tensor([0, 0, 1]))
m.logical_not()
T.lerp(x, y, 0.25)
T.lerp(T.tensor([1e8, 2.0]), T.tensor([1.0, 1e8]), 1.0)
T.lerp(T.tensor([1e8, 2.0, 3.0]), T.tensor([1.0, 1e8, 4.0]), T.tensor([1.0, 0.75, -2.0]))
T.sort(v).values
T.topk(v, 2).indices
x.topk(2, dim=1).values
T.cat([i, v])
x.to(device="cpu", dtype=T.float64)
x.to("cpu", T.int64)
i.to(x)
x[:, i]
x[:, [0, 2]]
x[:, T.tensor([[0, 1], [2, 3]])]
b[:, 1:, [0, 3]]
b[..., i]
b[:, :, T.tensor([True, False, True, True])]
b[1:, [0, 1], [2, 3]]
b[[0, 1], :, [2, 3]]
x[None, i]
F.one_hot(labels, num_classes=5)
F.one_hot(labels)
F.relu(x, inplace=False)
F.relu6(x)
F.mish(x)
F.hardswish(x)
F.hardsigmoid(x)
F.logsigmoid(x)
F.glu(x)
F.glu(b, dim=2)
F.leaky_relu(x, negative_slope=0.2)
F.dropout(x, p=0.5, training=False)
F.pad(x, (1, 2))
F.pad(x, (0, 0, 1, 0), value=5.0)
F.pad(img, (1, 2, 3, 0), mode="reflect")
F.pad(b, (2, 1), mode="replicate")
F.pad(b, (2, 1), mode="circular")
F.layer_norm(x, x.shape[-1:])
F.layer_norm(T.zeros(0, 8), (8,))
F.rms_norm(T.zeros(0, 8), (8,))
F.layer_norm(b, [3, 4], weight=T.ones(3, 4), bias=T.zeros(3, 4), eps=1e-6)
F.rms_norm(x, (4,))
F.max_pool2d(img, kernel_size=2, stride=2)
F.avg_pool2d(img, kernel_size=2)
F.adaptive_avg_pool2d(img, 1)
F.adaptive_avg_pool2d(img, (3, None))
F.binary_cross_entropy(x.sigmoid(), m.float())
F.binary_cross_entropy(T.tensor([0.0, 1.0]), T.tensor([1.0, 1.0]))
F.binary_cross_entropy_with_logits(x, m.float(), pos_weight=T.tensor([1.0, 2.0, 3.0, 4.0]))
F.cross_entropy(x, F.softmax(y, dim=1))
F.cross_entropy(x, F.softmax(y, dim=1), label_smoothing=0.1, weight=T.tensor([1.0, 2.0, 3.0, 4.0]))
nn.BCELoss()(x.sigmoid(), m.float())
nn.BCEWithLogitsLoss(pos_weight=T.tensor(2.0))(x, m.float())
nn.HuberLoss(delta=0.5)(x, y)
nn.SmoothL1Loss(reduction="sum")(x, y)
nn.KLDivLoss(reduction="batchmean")(F.log_softmax(x, -1), F.softmax(y, -1))
nn.NLLLoss()(F.log_softmax(x, dim=1), labels)
nn.CosineSimilarity(dim=1)(x, y)
[a()(x) for a in (nn.ELU, nn.ReLU6, nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.PReLU, nn.GLU)]
nn.PReLU(3, init=0.5)(img)
nn.LogSoftmax(dim=-1)(x)
nn.ReLU(inplace=True)(x)
nn.Embedding.from_pretrained(x, padding_idx=0)(i)
nn.Embedding.from_pretrained(x).weight.requires_grad
str(nn.Embedding(10, 4, padding_idx=0))
nn.utils.rnn.pad_sequence([v, v[:2]], batch_first=True)
nn.utils.rnn.pad_sequence([x, x[:2]], padding_value=-1.0)
nn.utils.parameters_to_vector([x, v])
nn.AdaptiveAvgPool2d((1, 1))(img)
nn.MaxPool2d(kernel_size=2, stride=2)(img)
nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1, bias=False)(img).shape
nn.GroupNorm(num_groups=1, num_channels=3)(img)
nn.LayerNorm(normalized_shape=4)(x)
nn.Upsample(scale_factor=2)(img)
nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)(img)
nn.Unflatten(1, (3, 1))(img).shape
nn.Flatten(start_dim=1)(img).shape
nn.LSTM(4, 5, batch_first=True, num_layers=2, bidirectional=True)(b)[0].shape
nn.GRU(input_size=4, hidden_size=5, batch_first=True)(b)[1].shape
list(nn.Sequential(OrderedDict([("a", nn.Linear(4, 2)), ("c", nn.ReLU())])).state_dict())
nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))[:2](x).shape
len(nn.Sequential(nn.Linear(4, 4), nn.ReLU())[-1:])
nn.Sequential(nn.Linear(4, 2)).get_submodule("0").out_features
nn.Linear(4, 2).get_parameter("weight").shape
nn.ParameterDict({"a": nn.Parameter(T.ones(2))})["a"]
nn.init.calculate_gain("leaky_relu", 0.2)
list(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))[1:].state_dict())
list(nn.Sequential(OrderedDict([("a", nn.Linear(4, 2)), ("c", nn.Linear(2, 2))]))[1:].state_dict())
list(nn.Sequential(OrderedDict([("a", nn.ReLU()), ("c", nn.Linear(2, 2))])).append(nn.Linear(2, 2)).state_dict())
nn.init.eye_(T.zeros(2, 3))
nn.init.uniform_(T.zeros(2, 3), a=1, b=1)
nn.init.trunc_normal_(T.zeros(2, 3), std=0.02, a=-0.04, b=0.04).shape
x.clone().pow_(2).sqrt_().neg_().abs_().exp_()
T.zeros(2, 3).normal_(0, 0.02).uniform_(-1, 1).shape
len(T.utils.data.Subset(range(10), [1, 2]))
[len(part) for part in T.utils.data.random_split(range(10), [7, 3])]
[list(a) for a in T.utils.data.DataLoader(T.utils.data.TensorDataset(x, labels), batch_size=2, num_workers=0)]
list(T.utils.data.DataLoader(list(range(5)), batch_size=2, collate_fn=lambda examples: sum(examples)))
""".strip().splitlines()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_gives_what_it_gives_in_torch(expression):
    ours, theirs = (plain(eval(expression, names_of(library))) for library in (pf, torch))
    assert_same(ours, theirs)


GRADIENTS = [
    "x[:, i]",
    "x[None, :, [1, 1]]",
    "T.hstack([x, x * 2])",
    "T.cat([x, i[:, None]], dim=1)",
    "T.diag(x[:, 0])",
    "T.trace(x)",
    "T.meshgrid(x[0], x[1], indexing='ij')[1] * x[0]",
    "x.median(dim=1) if T.__name__ == 'pyformer' else x.median(dim=1).values",
    "T.log2(x * x + 1)",
    "T.lerp(x, x * x, 0.25)",
    "T.lerp(x, x * x, 0.75)",
    "T.lerp(x, x * x, x.sigmoid())",
    "x.masked_select(m[0])",
    "T.addmm(x[:, :3], x, x.T, beta=0)",
    "F.binary_cross_entropy(x.sigmoid() * m.float(), m.float() + (~m).float(), reduction='sum') * 1e-15",
    "T.nan_to_num(x)",
    "T.addmm(T.ones(3, 3), x, x.T)",
    "F.normalize(x, dim=1)",
    "F.mish(x)",
    "F.hardswish(x)",
    "F.logsigmoid(x)",
    "F.glu(x)",
    "F.pad(x, (1, 2), mode='replicate')",
    "F.adaptive_avg_pool2d(x[None], (2, 3))",
    "F.binary_cross_entropy(x.sigmoid(), m.float(), reduction='none')",
    "F.binary_cross_entropy_with_logits(x, m.float(), pos_weight=T.tensor(3.0))",
    "F.cross_entropy(x, F.softmax(x * x, dim=1), label_smoothing=0.1)",
    "x.topk(2, dim=1).values",
]


@pytest.mark.parametrize("expression", GRADIENTS)
def test_gradients_are_torchs(expression):
    gradients = []
    for library in (pf, torch):
        names = names_of(library)
        names["x"].requires_grad_()
        result = eval(expression, names)
        (result * result).sum().backward()
        gradients.append(names["x"].grad.numpy())
    np.testing.assert_allclose(*gradients, rtol=2e-4, atol=1e-5)


def test_a_module_is_put_together_as_in_torch():
    for library in (pf, torch):
        nn = library.nn
        net = nn.Module()
        net.register_parameter("w", nn.Parameter(library.ones(2)))
        net.register_parameter("none", None)
        net.add_module("layer", nn.Linear(2, 2))
        assert list(net.state_dict()) == ["w", "layer.weight", "layer.bias"]
        assert net.none is None
        result = net.load_state_dict({"w": library.zeros(2), "other": library.zeros(1)}, strict=False)
        assert (result.missing_keys, result.unexpected_keys) == (["layer.weight", "layer.bias"], ["other"])
        layers = nn.ModuleList([nn.Linear(2, 2)])
        layers.extend([nn.ReLU()])
        layers.insert(0, nn.Identity())
        assert [type(layer).__name__ for layer in layers] == ["Identity", "Linear", "ReLU"]
        assert [name for name, _ in layers.named_children()] == ["0", "1", "2"]
        layers[1] = nn.Tanh()
        assert [type(layer).__name__ for layer in layers[1:]] == ["Tanh", "ReLU"]
        for call in (lambda net=net: net.get_submodule("nothing"), lambda net=net: net.get_parameter("layer")):
            with pytest.raises(AttributeError):
                call()


def test_a_hook_before_the_call_changes_what_is_given():
    for library in (pf, torch):
        layer = library.nn.Linear(3, 2)
        hook = layer.register_forward_pre_hook(lambda module, args: (args[0] * 0,))
        seen = []
        after = layer.register_forward_hook(lambda module, args, result, seen=seen: seen.append(args[0].sum().item()))
        x = library.ones(1, 3)
        assert (layer(x) == layer.bias).all()
        assert seen == [0.0]
        hook.remove()
        layer(x)
        assert seen == [0.0, 3.0]
        after.remove()
    # A layer with such a hook is called, also where an operation would do its work together with others.
    net = pf.nn.TransformerBlock(8, 2)
    x = pf.randn(1, 3, 8)
    before = net(x).numpy().copy()
    for module in list(net.modules())[1:]:
        module.register_forward_pre_hook(lambda module, args: tuple(a * 0 if hasattr(a, "shape") else a for a in args))
    assert not np.array_equal(net(x).numpy(), before)


def test_parameters_are_added_to_an_optimiser_and_steps_take_a_closure():
    results = []
    for library in (pf, torch):
        a, b = (library.ones(2, requires_grad=True) for _ in range(2))
        optimizer = library.optim.SGD([a], lr=0.5)
        optimizer.add_param_group({"params": [b], "lr": 0.25})

        def closure(a=a, b=b, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (a * a + b * b).sum()
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        with library.no_grad():
            loss = optimizer.step(closure)
            assert not (a * a).requires_grad
        results.append([loss.item(), *a.tolist(), *b.tolist()])
        with pytest.raises(ValueError, match="group"):
            optimizer.add_param_group({"params": [a]})
    assert results[0] == results[1]


def test_a_checkpoint_is_read_with_torchs_words(tmp_path):
    model = pf.nn.Linear(2, 2)
    pf.save({"epoch": 3, "model": model.state_dict()}, tmp_path / "checkpoint")
    checkpoint = pf.load(tmp_path / "checkpoint", map_location="cpu", weights_only=True)
    assert checkpoint["epoch"] == 3
    assert (checkpoint["model"]["weight"] == model.weight).all()
    with pytest.raises(ValueError, match="expected map_location None or 'cpu'"):
        pf.load(tmp_path / "checkpoint", map_location="cuda")


def test_what_is_asked_for_and_not_there_is_refused():
    with pytest.raises(ValueError, match="expected num_workers=0"):
        pf.data.DataLoader([1, 2], num_workers=2)
    with pytest.raises(ValueError, match="expected batch_first=True"):
        pf.nn.LSTM(2, 2, batch_first=False)
    with pytest.raises(ValueError, match="add up to 10"):
        pf.data.random_split(range(10), [3, 3])
    with pytest.raises(TypeError, match="to: expected a dtype, a device or a tensor"):
        pf.ones(1).to()
    with pytest.raises(TypeError, match="beside a tensor"):
        pf.ones(1).to(pf.ones(1), dtype="float64")
    with pytest.raises(ValueError, match=r"bool: expected a tensor of one element, got \(2,\); write .any\(\) or .all"):
        bool(pf.ones(2) > 0)
    with pytest.raises(IndexError, match="index: index 9 is out of bounds for axis 1"):
        pf.ones(2, 3)[:, [9]]
    with contextlib.suppress(IndexError):
        pf.ones(2, 3)[:, [0.5]]
        raise AssertionError("a float is no index")


def test_orthogonal_weights():
    for shape in ((3, 5), (5, 3), (4, 2, 2)):
        weight = pf.nn.init.orthogonal_(pf.zeros(*shape), gain=2.0).reshape(shape[0], -1)
        square = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        np.testing.assert_allclose(square.numpy(), 4.0 * np.eye(square.shape[0]), atol=1e-5)


def test_orthogonal_weights_take_no_copy_of_all_rows_for_each_row():
    weight = pf.zeros(1024, 1024, dtype=pf.float64)
    before = time.process_time()
    pf.nn.init.orthogonal_(weight)
    assert time.process_time() - before < 2.0
    np.testing.assert_allclose((weight @ weight.T).numpy(), np.eye(1024), atol=1e-13)


@pytest.mark.parametrize(
    "options",
    [
        {"nonlinearity": "leaky_relu"},
        {"nonlinearity": "leaky_relu", "a": 0.5},
        {"a": math.sqrt(5)},
        {"nonlinearity": "relu", "mode": "fan_out"},
        {"nonlinearity": "relu", "a": 0.5},
        {"nonlinearity": "tanh"},
        {"mode": "fan_out"},
    ],
)
def test_kaimings_words_mean_what_they_mean_in_torch(options):
    found = []
    for library in (pf, torch):
        library.manual_seed(0)
        init = library.nn.init
        even, normal = (
            fill(library.zeros(200, 500), **options) for fill in (init.kaiming_uniform_, init.kaiming_normal_)
        )
        found.append([even.max().item(), even.min().item(), even.numpy().std(), normal.numpy().std()])
    # 100,000 numbers: deviations are known to 1 in 400, the ends better.
    np.testing.assert_allclose(*found, rtol=0.01)
    gain = torch.nn.init.calculate_gain(options.get("nonlinearity", "leaky_relu"), options.get("a", 0))
    fan = options.get("mode", "fan_in")[len("fan_") :]
    for fill in (pf.nn.init.kaiming_uniform_, pf.nn.init.kaiming_normal_):
        drawn = []
        for words in (options, {"gain": gain, "fan": fan}):
            pf.manual_seed(0)
            drawn.append(fill(pf.zeros(20, 50, dtype=pf.float64), **words).numpy())
        np.testing.assert_allclose(*drawn, rtol=1e-12)


def test_names_of_arguments_are_torchs_where_the_layer_is_the_librarys():
    class Net(pf.nn.Module):
        def __init__(self, **config):
            super().__init__()
            self.config = config

    class Sized(pf.nn.MaxPool2d):
        def __init__(self, kernel, kernel_size):
            super().__init__(kernel)
            self.given = kernel, kernel_size

    class Act(pf.nn.ReLU):
        def __init__(self, inplace=False):
            super().__init__()
            self.given = inplace

    class Pool(pf.nn.MaxPool2d):
        pass

    config = {"hidden_size": 3, "kernel_size": 2, "inplace": True}
    assert Net(**config).config == config
    assert Sized(kernel=2, kernel_size=3).given == (2, 3)
    assert Act(inplace=True).given is True
    assert repr(Pool(kernel_size=2)) == repr(Pool(2))
    assert type("Own", (pf.nn.ReLU,), {})(inplace=True)(pf.ones(1)).item() == 1.0
    for call in (
        lambda: pf.nn.MaxPool2d(kernel=2, kernel_size=3),
        lambda: pf.nn.MaxPool2d(kernel_size=3, kernel=2),
        lambda: pf.nn.MaxPool2d(2, kernel_size=3),
        lambda: pf.nn.GroupNorm(1, num_features=3, num_channels=3),
        lambda: pf.nn.Linear(2, 2, hidden_size=3),
        lambda: pf.nn.Linear(2, 2, inplace=True),
    ):
        with pytest.raises(TypeError):
            call()
    assert "torch's" in (type(pf.nn.Module).__doc__ or "")


def test_members_that_were_given_names_are_members():
    nn = pf.nn
    net = nn.Sequential()
    assert not net
    net.add_module("a", nn.Linear(2, 3))
    net.add_module("b", nn.Tanh())
    assert (len(net), bool(net), net[0], net[-1]) == (2, True, net.a, net.b)
    assert net(pf.ones(1, 2)).shape == (1, 3)
    net.append(nn.ReLU())
    assert [name for name, _ in net.named_children()] == ["a", "b", "2"]
    with pytest.raises(ValueError, match="insert: expected members with numbers for names, got"):
        net.insert(0, nn.Tanh())
    assert [name for name, _ in net.named_children()] == ["a", "b", "2"]
    del net.a
    assert (len(net), net[0]) == (2, net.b)

    layers, first = nn.ModuleList(), nn.Tanh()
    layers.add_module("1", first)
    layers.append(nn.ReLU()).append(nn.GELU())
    assert len(layers) == 3
    assert layers[0] is first
    layers.insert(1, nn.Sigmoid())
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Tanh", "Sigmoid", "ReLU", "GELU"]
    assert [name for name, _ in layers.named_children()] == ["0", "1", "2", "3"]
    tail = nn.Sequential(*layers)[2:]
    tail.insert(0, nn.Tanh())
    assert [(name, type(layer).__name__) for name, layer in tail.named_children()] == list(
        zip("012", ("Tanh", "ReLU", "GELU"), strict=True)
    )
    with pytest.raises(TypeError, match="ModuleList: expected a Module"):
        tail.insert(0, 3)
    assert len(tail) == 3
    with pytest.raises(TypeError, match="ModuleList: expected a Module"):
        nn.Sequential({"a": None})


def test_a_name_that_modules_themselves_use_is_refused():
    parameter = pf.nn.Parameter([1.0])
    for name in ("_kinds", "training", "forward", "_forward_hooks"):
        for call in (
            lambda name=name: pf.nn.ParameterDict({name: parameter}),
            lambda name=name: pf.nn.Module().register_parameter(name, parameter),
            lambda name=name: pf.nn.Module().add_module(name, pf.nn.ReLU()),
            lambda name=name: pf.nn.Sequential({name: pf.nn.ReLU()}),
        ):
            with pytest.raises(KeyError, match="is a name that Module itself uses"):
                call()
    layer = pf.nn.Linear(2, 2)
    layer.register_parameter("bias", None)
    assert layer.bias is None


def test_a_given_table_draws_nothing_and_stays_where_it_is(monkeypatch):
    rows = pf.tensor(VALUES)
    pf.manual_seed(3)
    wanted = pf.rand(3).tolist()
    pf.manual_seed(3)
    moved = []
    move = pf.nn.Embedding.to
    monkeypatch.setattr(pf.nn.Embedding, "to", lambda table, device: (moved.append(device), move(table, device))[1])
    table = pf.nn.Embedding.from_pretrained(rows, padding_idx=1)
    assert pf.rand(3).tolist() == wanted
    assert (table.weight == rows).all()
    assert [str(device) for device in moved] == [str(rows.device)]


def test_a_vector_goes_back_into_parameters():
    model = pf.nn.Linear(3, 2)
    vector = pf.nn.utils.parameters_to_vector(model.parameters())
    pf.nn.utils.vector_to_parameters(vector * 2, model.parameters())
    assert (pf.nn.utils.parameters_to_vector(model.parameters()) == vector * 2).all()
    with pytest.raises(ValueError, match="expected as many elements"):
        pf.nn.utils.vector_to_parameters(vector[:3], model.parameters())


def test_a_dtype_is_printed_by_its_name():
    assert f"{pf.float32} {pf.ones(1).dtype}" == "pyformer.float32 pyformer.float32"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_numbers_that_are_drawn_evenly_stay_below_the_upper_end(dtype):
    for low, high in ((0.0, 1.0), (1.0, 2.0), (-3.0, -2.0)):
        x = pf.zeros(100_000, dtype=getattr(pf, dtype)).uniform_(low, high)
        assert ((x >= low) & (x < high)).all()
    assert (pf.zeros(3).uniform_(2.0, 2.0) == 2.0).all()
    for low, high in ((2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="uniform_: low must be at most high"):
            pf.zeros(3).uniform_(low, high)


def test_a_negative_deviation_is_refused():
    for std in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="normal_: std must be 0 or above"):
            pf.zeros(3).normal_(0.0, std)
    assert (pf.zeros(3).normal_(0.5, 0.0) == 0.5).all()


def test_a_logarithm_of_a_power_is_whole():
    tens = pf.tensor(np.array([float(f"1e{k}") for k in range(-9, 23)]), requires_grad=True)
    logs = pf.log10(tens)
    np.testing.assert_array_equal(logs.numpy(), np.arange(-9, 23))
    logs.sum().backward()
    np.testing.assert_allclose(tens.grad.numpy(), 1.0 / (tens.numpy() * np.log(10.0)), rtol=1e-15)
    twos = pf.tensor(2.0 ** np.arange(-1074, 1024))
    np.testing.assert_array_equal(pf.log2(twos).numpy(), np.arange(-1074, 1024))


def test_the_median_is_nan_where_there_is_one():
    gradients = []
    for library in (pf, torch):
        x = library.tensor([[1.0, float("nan"), 2.0, float("nan")], [4.0, 3.0, 9.0, 5.0]], requires_grad=True)
        found = x.median(dim=1)
        values = found if library is pf else found.values
        np.testing.assert_array_equal(values.detach().numpy(), [np.nan, 4.0])
        values.sum().backward()
        gradients.append(x.grad.numpy())
    np.testing.assert_array_equal(*gradients)


def test_the_gradient_of_a_sure_and_wrong_probability_is_torchs():
    gradients = []
    for library in (pf, torch):
        x = library.tensor([0.0, 1.0, 1e-13, 0.25], requires_grad=True)
        losses = library.nn.functional.binary_cross_entropy(x, library.tensor([1.0, 0.0, 1.0, 0.5]), reduction="none")
        losses.sum().backward()
        gradients.append(x.grad.numpy())
    np.testing.assert_allclose(*gradients, rtol=1e-6)
    assert gradients[0][0] == np.float32(-1e12)


@pytest.mark.parametrize(
    ("expression", "error", "message"),
    [
        ("T.tensor([5]) ^ T.tensor([3])", TypeError, r"\^: expected bools, got int64"),
        ("m ^ 1", TypeError, r"\^: expected bools, got int"),
        ("1 ^ m", TypeError, r"\^: expected bools, got int"),
        ("T.log2(i)", TypeError, "log2: expected floats, got int64"),
        ("T.log10(i)", TypeError, "log10: expected floats, got int64"),
        ("x.masked_select(T.ones(3) > 0)", ValueError, r"masked_select: a mask of \(3,\) does not broadcast with"),
        ("x.masked_select(i)", TypeError, "masked_select: expected a mask of bools, got int64"),
        ("nn.BCELoss()(x, m.float())", ValueError, "binary_cross_entropy: expected probabilities, 0 to 1"),
        ("nn.BCELoss()(x[0] / 0, m[0].float())", ValueError, "binary_cross_entropy: expected probabilities, 0 to 1"),
        ("nn.BCELoss()(T.tensor([-0.1]), T.ones(1))", ValueError, "binary_cross_entropy: expected probabilities"),
        ("nn.PReLU(3)(T.ones(2, 1))", ValueError, "PReLU: expected x with 3 elements along its second axis"),
        ("nn.PReLU(3)(T.ones(3))", ValueError, "PReLU: expected x with 3 elements along its second axis"),
    ],
)
def test_what_torch_refuses_is_refused(expression, error, message):
    with pytest.raises(error, match=message):
        eval(expression, names_of(pf))
    if not expression.startswith(("T.log", "T.tensor([5]) ^", "m ^", "1 ^")):  # torch takes integers there
        with pytest.raises((RuntimeError, TypeError)):
            eval(expression, names_of(torch))


def test_indexing_beside_slices_makes_no_array_of_all_places():
    x = pf.zeros(500, 1000)
    tracemalloc.start()
    try:
        for taken in (x[:, [1, 2]], x[..., [3]], x[:5, None, [4]]):
            assert taken.size
        assert tracemalloc.get_traced_memory()[1] < x.size
    finally:
        tracemalloc.stop()


def test_indexing_of_nothing_makes_no_array_of_an_axis():
    x = pf.zeros(0, 1 << 40)
    assert x[:, [0, 5]].shape == (0, 2)
    with pytest.raises(IndexError, match="out of bounds"):
        x[:, [1 << 40]]
