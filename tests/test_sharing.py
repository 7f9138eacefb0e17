"""What copying, moving, sharing and loading leave of modules and optimisers."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import pyformer as pf
from pyformer import nn, optim
from pyformer.identity import TensorMap, distinct, is_same

PACKAGE = Path(pf.__file__).parent


def test_nothing_is_keyed_by_id():
    paths = [path for path in PACKAGE.rglob("*.py") if "_bench" not in path.parts]  # a copy of bench/ and test cases
    assert paths
    found = [path for path in paths if re.search(r"(?<![\w.])id\(", path.read_text())]
    assert not found, found


def values(module):
    return {name: t.to(pf.float64).numpy().copy() for name, t in module.state_dict().items()}


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


class Tied(nn.Module):
    """One embedding in both stacks, its matrix the last projection; one batch norm twice."""

    def __init__(self):
        super().__init__()
        embedding, norm = nn.Embedding(10, 4), nn.BatchNorm2d(3)
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.embed = self.decoder.embed = embedding
        self.encoder.norm = self.decoder.norm = norm
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = embedding.weight

    def assert_tied(self):
        assert is_same(self.head.weight, self.encoder.embed.weight)
        assert is_same(self.head.weight, self.decoder.embed.weight)
        assert is_same(self.encoder.norm.running_mean, self.decoder.norm.running_mean)
        assert self.num_parameters() == 46
        assert len(list(self.named_buffers())) == 2
        with pf.no_grad():  # and not only by name
            nn.init.fill_(self.head.weight, lambda w: w + 1.0)
        np.testing.assert_array_equal(*(m.weight.to(pf.float32).numpy() for m in (self.head, self.encoder.embed)))


COPIES = {
    "to device": lambda m: m.to("cpu"),
    "to float64": lambda m: m.to(pf.float64),
    "to bfloat16": lambda m: m.to("bfloat16"),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "parts in turn": lambda m: [part.to(pf.float64) for part in (m.encoder, m.decoder, m.head)] and m,
}


@pytest.mark.parametrize("how", COPIES)
def test_what_is_shared_stays_shared(how):
    COPIES[how](Tied()).assert_tied()


def test_loading_keeps_what_is_shared():
    model, state = Tied(), Tied().state_dict()
    assert set(state) > {"head.weight", "encoder.embed.weight", "decoder.embed.weight"}
    model.load_state_dict(state)
    np.testing.assert_array_equal(model.head.weight.numpy(), state["head.weight"].numpy())
    del state["head.weight"]  # another name of it is there
    model.load_state_dict(state)
    model.assert_tied()
    before = values(model)
    with pytest.raises(ValueError, match=r"head.weight and encoder.embed.weight are one tensor here|encoder.embed"):
        model.load_state_dict({**state, "head.weight": np.zeros((10, 4), np.float32)})
    assert_equal(values(model), before)
    with pytest.raises(KeyError, match="missing"):
        model.load_state_dict({name: value for name, value in state.items() if not name.endswith("weight")})


@pytest.mark.parametrize("target", ["cpu", pf.float64, "float32"])
def test_to_keeps_the_values_of_a_block_that_is_used_often(target):
    for seed in range(10):
        pf.manual_seed(seed)
        block = nn.Sequential(nn.Linear(8, 8), nn.TransformerBlock(8, 2), nn.Linear(8, 8))
        before = values(block)
        nn.ModuleList([block] * 4).to(target)
        assert_equal(values(block), before)


def test_to_keeps_the_tensors_their_gradients_and_their_views_of_packed_weights():
    layer = nn.Linear(3, 2)
    weight, x = layer.weight, pf.ones(1, 3)
    layer(x).sum().backward()
    assert layer.to("cpu").weight is weight
    assert layer.to(pf.float32).weight is weight
    assert weight.grad is not None
    with pf.no_grad():
        layer.pack()
        layer(x)
    layer.to(pf.float64)
    assert layer.weight is weight
    assert weight.dtype == weight.grad.dtype == pf.float64
    assert weight.requires_grad
    with nn.inference():
        expected = pf.ops.linear(x.to(pf.float64), layer.weight, layer.bias)
        np.testing.assert_array_equal(layer(x.to(pf.float64)).numpy(), expected.numpy())
    layer.to(pf.bfloat16)
    assert weight.dtype == pf.bfloat16
    assert weight.grad.dtype == pf.float32


def test_to_between_forward_and_backward_gives_a_gradient_that_fits():
    layer = nn.Linear(3, 2)
    loss = layer(pf.ones(1, 3)).sum()
    layer.to(pf.float64)
    loss.backward()
    assert layer.weight.grad.dtype == pf.float64


def steps(model, optimizer, numbers):
    for i in numbers:
        optimizer.zero_grad()
        x = pf.tensor(np.random.default_rng(i).standard_normal((4, 6)), dtype=model.weight.dtype)
        model(x).square().mean().backward()
        optimizer.step()


MAKERS = {
    "adamw": lambda p: optim.AdamW(p, lr=1e-2),
    "sgd": lambda p: optim.SGD(p, lr=1e-2, momentum=0.9),
}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [pf.float32, pf.bfloat16])
@pytest.mark.parametrize("how", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copied_pair_goes_on(make, dtype, how):
    pf.manual_seed(0)
    model = nn.Linear(6, 3).to(dtype)
    optimizer = MAKERS[make](model.parameters())
    steps(model, optimizer, range(5))
    other = how((model, optimizer))
    for pair in ((model, optimizer), other):
        steps(*pair, range(5, 10))
    assert_equal(values(other[0]), values(model))
    assert [s["step"] for s in other[1].state_dict()["state"].values()] == [10, 10]
    other[1].load_state_dict(optimizer.state_dict())


def test_an_optimiser_follows_its_parameters():
    pf.manual_seed(0)
    model = nn.Linear(6, 3)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    steps(model, optimizer, range(3))
    for dtype in (pf.float64, pf.bfloat16, pf.float32):
        model.to(dtype)
        before = values(model)
        steps(model, optimizer, range(3, 6))
        assert not np.array_equal(values(model)["weight"], before["weight"])
        state = optimizer.state[model.weight]
        assert state["exp_avg"].dtype == (pf.float64 if dtype == pf.float64 else pf.float32)
        assert ("master" in state) == (dtype == pf.bfloat16)
    assert optimizer.state[model.weight]["step"] == 12


def test_a_master_follows_weights_that_are_loaded():
    pf.manual_seed(0)
    model = nn.Linear(6, 3).to(pf.bfloat16)
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    steps(model, optimizer, range(3))
    model.load_state_dict({"weight": np.full((3, 6), 5.0, np.float32), "bias": np.zeros(3, np.float32)})
    steps(model, optimizer, range(1))
    np.testing.assert_allclose(values(model)["weight"], 5.0, atol=0.1)
    master = optimizer.state[model.weight]["master"]
    steps(model, optimizer, range(1))
    assert optimizer.state[model.weight]["master"] is master  # not rounded again where nobody wrote


def test_a_parameter_that_is_listed_twice_is_one():
    def trained(listed):
        w = pf.tensor([3.0, 4.0], requires_grad=True)
        alias = w.to(pf.float32)  # another object for the same tensor
        optimizer = optim.SGD(listed(w, alias), lr=0.5, momentum=0.9)
        (w.square().sum() * 0.5).backward()
        norm = optim.clip_grad_norm_(listed(w, alias), 1.0).item()
        optimizer.step()
        return norm, w.detach().numpy().tolist(), len(optimizer.state_dict()["state"])

    once = trained(lambda w, alias: [w])
    assert once[0] == 5.0
    assert trained(lambda w, alias: [w, w]) == trained(lambda w, alias: [w, alias]) == once
    w = pf.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="in two groups"):
        optim.SGD([{"params": [w]}, {"params": [w.to(pf.float32)], "lr": 1.0}])


def test_tensors_as_keys():
    a, b = pf.ones(2), pf.ones(2)
    found = TensorMap()
    found[a] = 1
    found[a.to(pf.float32)] = 2
    assert found[a] == 2
    assert b not in found
    assert len(found) == 1
    assert distinct([a, b, a, a.to("cpu")]) == [a, b] or len(distinct([a, b, a, a.to("cpu")])) == 2
    one, also = copy.deepcopy((a, found))
    assert also[one] == 2
    assert a not in also
    del found[a]
    assert not found


def test_a_shallow_copy_has_its_own_register():
    for model in (nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2), nn.BatchNorm2d(2)):
        names = list(model.state_dict())
        other = copy.copy(model)
        other.extra = nn.Linear(3, 3)
        other.register_buffer("count", pf.zeros(1))
        assert list(model.state_dict()) == names
        del other.extra, other.count
        assert list(other.state_dict()) == names


def test_a_shallow_copy_has_its_own_hooks():
    model, calls = nn.Linear(2, 2), []
    model.register_forward_hook(lambda *_: calls.append("both"))
    other = copy.copy(model)
    other.register_forward_hook(lambda *_: calls.append("copy"))
    model(pf.ones(1, 2))
    assert calls == ["both"]
    other(pf.ones(1, 2))
    assert calls == ["both", "both", "copy"]


def test_a_shallow_copy_has_its_own_hooks_before_the_call():
    model, calls = nn.Linear(2, 2), []
    model.register_forward_pre_hook(lambda *_: calls.append("both"))
    other = copy.copy(model)
    other.register_forward_pre_hook(lambda *_: calls.append("copy"))
    model(pf.ones(1, 2))
    assert calls == ["both"]
    other(pf.ones(1, 2))
    assert calls == ["both", "both", "copy"]


def scaled(model):
    model.weight = model.weight * 0.5


def scaled_without_gradient(model):
    with pf.no_grad():
        model.weight = model.weight * 0.5


def array(model):
    model.weight = np.zeros((2, 3), np.float32)


def child(model):
    model.weight = nn.Linear(3, 2)


def buffer(model):
    model.register_buffer("weight", pf.zeros(2, 3))


@pytest.mark.parametrize("change", [scaled, scaled_without_gradient, array, child, buffer])
def test_what_is_no_parameter_is_not_assigned_over_one(change):
    model = nn.Linear(3, 2)
    weight = model.weight
    with pytest.raises(TypeError, match="weight is a parameter"):
        change(model)
    assert model.weight is weight
    assert "weight" in model.state_dict()


def test_what_may_be_assigned_over_what_is_registered():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm2d(2))
    linear, norm = model
    linear.weight = fresh = nn.Parameter(np.zeros((2, 3), np.float32))
    assert dict(model.named_parameters())["0.weight"] is fresh
    linear.weight.requires_grad = False
    linear.weight = pf.ones(2, 3)  # frozen as the one before
    assert "0.weight" in dict(model.named_parameters())
    with pytest.raises(TypeError, match="weight is a parameter"):
        linear.weight = pf.zeros(2, 3, dtype=pf.int64)
    linear.bias = None
    assert "0.bias" not in model.state_dict()
    norm.running_mean = pf.ones(2)
    assert model.state_dict()["1.running_mean"].numpy().tolist() == [1.0, 1.0]
    for name, value in (("running_mean", nn.Parameter([1.0, 2.0])), ("running_mean", 3.0)):
        with pytest.raises(TypeError, match="running_mean is a buffer"):
            setattr(norm, name, value)
    for value in (lambda x: x, pf.ones(2), nn.Parameter([1.0])):
        with pytest.raises(TypeError, match="0 is a module"):
            setattr(model, "0", value)
    del linear.weight
    linear.weight = pf.ones(2, 3)
    assert "0.weight" not in model.state_dict()


def test_state_dicts_are_no_snapshots_and_say_so():
    model = nn.Linear(2, 2)
    optimizer = optim.AdamW(model.parameters())
    for text in (nn.Module.state_dict.__doc__, optim.Optimizer.state_dict.__doc__):
        assert "is no\n        snapshot" in text or "is no snapshot" in text
    state, kept = model.state_dict(), copy.deepcopy(model.state_dict())
    model(pf.ones(1, 2)).sum().backward()
    optimizer.step()
    assert np.array_equal(state["weight"].numpy(), model.weight.numpy())
    assert not np.array_equal(kept["weight"].numpy(), model.weight.numpy())


@pytest.mark.parametrize("shard_bytes", [1 << 30, 600])
def test_what_is_shared_stays_shared_through_a_folder(tmp_path, shard_bytes):
    pf.manual_seed(0)
    model = pf.models.Llama(pf.models.LlamaConfig(12, 8, num_layers=3, num_heads=2, embed_dim=8))
    model.lm_head.weight = model.embed_tokens.weight
    model.layers[2].mlp = model.layers[0].mlp
    model.save_pretrained(tmp_path, shard_bytes=shard_bytes)
    other = pf.models.Llama.from_pretrained(tmp_path)
    assert other.shared_names() == model.shared_names()
    assert len(other.shared_names()) == 4
    assert other.num_parameters() == model.num_parameters()
    assert_equal(values(other), values(model))
    np.testing.assert_array_equal(other([[1, 2]]).numpy(), model([[1, 2]]).numpy())
    with pytest.raises(ValueError, match=r"share: lm_head\.weight is"):
        other.share("lm_head.weight", "norm.weight")
