"""Modules: what registers, what is saved and moved, and each layer against its torch twin."""

from __future__ import annotations

import re
import time
import tracemalloc

import numpy as np
import pytest
import torch
from tolerance import assert_close, by_rows

import pyformer as pf
from pyformer import effects, models, nn

LAYERS = {
    "linear": (lambda: nn.Linear(12, 20), lambda: torch.nn.Linear(12, 20)),
    "linear_no_bias": (
        lambda: nn.Linear(12, 20, bias=False),
        lambda: torch.nn.Linear(12, 20, bias=False),
    ),
    "layer_norm": (lambda: nn.LayerNorm(12), lambda: torch.nn.LayerNorm(12)),
    "rms_norm": (lambda: nn.RMSNorm(12), lambda: torch.nn.RMSNorm(12, eps=1e-6)),
    "gelu": (nn.GELU, torch.nn.GELU),
    "gelu_tanh": (lambda: nn.GELU("tanh"), lambda: torch.nn.GELU(approximate="tanh")),
    "relu": (nn.ReLU, torch.nn.ReLU),
    "silu": (nn.SiLU, torch.nn.SiLU),
    "sigmoid": (nn.Sigmoid, torch.nn.Sigmoid),
    "tanh": (nn.Tanh, torch.nn.Tanh),
    "sequential": (
        lambda: nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)),
        lambda: torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)),
    ),
}


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def randomise(module, seed=0):
    rng = np.random.default_rng(seed)
    module.load_state_dict({name: rng.standard_normal(t.shape) * 0.3 for name, t in module.state_dict().items()})
    return module


def copy_to_torch(module, twin):
    state = {name: torch.tensor(t.numpy().copy()) for name, t in module.state_dict().items()}
    twin.to(next(iter(state.values())).dtype if state else torch.float64)
    twin.load_state_dict(state)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.scale = nn.Parameter([1.0, 2.0])
        self.plain = pf.tensor([5.0])
        self.register_buffer("counts", pf.tensor([1, 2, 3]))
        self.register_buffer("scratch", pf.tensor([1.0]), persistent=False)
        self.rest = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.LayerNorm(4)])

    def forward(self, x):
        return self.first(x)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_equals_torch(name):
    make, make_twin = LAYERS[name]
    module, twin = randomise(make().to(pf.float64)), make_twin()
    copy_to_torch(module, twin)
    x, projection = random(2, 5, 12), random(2, 5, 1, seed=1)
    ours = pf.tensor(x, requires_grad=True)
    theirs = torch.tensor(x, requires_grad=True)
    out, expected = module(ours), twin(theirs)
    assert_close(out.numpy(), by_rows(expected.detach().numpy()), name, additions=12)
    (out * pf.tensor(projection)).sum().backward()
    (expected * torch.tensor(projection)).sum().backward()
    assert_close(ours.grad.numpy(), by_rows(theirs.grad.numpy(), least=1.0), name, additions=20)
    for parameter, other in zip(module.parameters(), twin.parameters(), strict=True):
        assert_close(parameter.grad.numpy(), by_rows(other.grad.numpy()), name, additions=20)


def test_embedding():
    layer = nn.Embedding(7, 5)
    ids = np.array([[0, 6, 6], [1, 2, 3]])
    np.testing.assert_array_equal(layer(pf.tensor(ids)).numpy(), layer.weight.numpy()[ids])
    with pytest.raises(IndexError, match="embedding"):
        layer(pf.tensor([7]))


def test_registration_and_names():
    module = Small()
    names = [name for name, _ in module.named_parameters()]
    assert names == [
        "scale",
        "first.weight",
        "first.bias",
        "rest.0.weight",
        "rest.1.weight",
        "rest.1.bias",
    ]
    assert list(module.state_dict()) == [
        "scale",
        "counts",
        *[n for n in names if n != "scale"],
    ]
    assert module.num_parameters() == 2 + 12 + 4 + 16 + 8
    assert [name for name, _ in module.named_buffers()] == ["counts", "scratch"]
    assert len(module.rest) == 2
    assert module.rest[-1] is module.rest[1]
    with pytest.raises(IndexError):
        module.rest[2]
    del module.scale
    assert "scale" not in module.state_dict()


def test_activation_kept_as_attribute_is_no_parameter():
    module = Small()
    before = module.num_parameters()
    module.last = module(pf.tensor(random(2, 3).astype(np.float32)))
    assert module.num_parameters() == before


def test_attribute_before_init_is_refused():
    class Late(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

    with pytest.raises(AttributeError, match="super"):
        Late()


def test_shared_parameter_counts_once_and_stays_shared():
    module = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    module[1].weight = module[0].weight
    assert module.num_parameters() == 16
    assert len(module.state_dict()) == 2
    module.to(pf.float64)
    assert module[1].weight is module[0].weight


def test_state_dict_round_trip():
    one, two = Small(), Small()
    assert two.load_state_dict(one.state_dict()) == ([], [])
    for name, tensor in one.state_dict().items():
        np.testing.assert_array_equal(two.state_dict()[name].numpy(), tensor.numpy())


def test_load_state_dict_checks_before_it_writes():
    module = Small()
    before = {n: t.numpy().copy() for n, t in module.state_dict().items()}
    good = {n: np.zeros(t.shape) for n, t in module.state_dict().items()}
    good["counts"] = np.zeros(3, np.int64)
    with pytest.raises(KeyError, match=r"missing rest\.1\.bias"):
        module.load_state_dict({n: v for n, v in good.items() if n != "rest.1.bias"})
    with pytest.raises(KeyError, match="unexpected other"):
        module.load_state_dict({**good, "other": np.zeros(1)})
    with pytest.raises(ValueError, match=r"rest\.1\.bias must have shape \(4,\), got \(5,\)"):
        module.load_state_dict({**good, "rest.1.bias": np.zeros(5)})
    with pytest.raises(TypeError, match="counts must be"):
        module.load_state_dict({**good, "counts": np.zeros(3)})
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])
    missing, unexpected = module.load_state_dict({"other": np.zeros(1)}, strict=False)
    assert len(missing) == len(good)
    assert unexpected == ["other"]


def test_to_dtype_moves_floats_only():
    module = Small().to(pf.float64)
    assert all(p.dtype == pf.float64 and p.requires_grad for p in module.parameters())
    assert module.counts.dtype == pf.int64
    assert module.scratch.dtype == pf.float64
    with pytest.raises(TypeError, match=r"Module\.to"):
        module.to(pf.int64)


def test_train_and_eval_reach_everything():
    module = Small()
    assert all(m.training for m in module.modules())
    assert module.eval() is module
    assert not any(m.training for m in module.modules())
    assert module.train().rest[0].training


def test_dropout():
    layer, x = nn.Dropout(0.25), pf.ones(100, 100)
    pf.manual_seed(3)
    out = layer(x).numpy()
    assert set(np.unique(out)) == {0.0, np.float32(1 / 0.75)}
    assert abs((out == 0).mean() - 0.25) < 0.02
    assert layer.eval()(x) is x
    for p in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="Dropout"):
            nn.Dropout(p)


def test_manual_seed_decides_initial_values():
    def weights():
        pf.manual_seed(5)
        return nn.Linear(7, 9).weight.numpy()

    first = weights()
    np.testing.assert_array_equal(first, weights())
    assert np.abs(first).max() <= 1 / np.sqrt(7)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_torch(causal):
    module = randomise(nn.MultiHeadAttention(12, 3, causal=causal).to(pf.float64))
    twin = torch.nn.MultiheadAttention(12, 3, batch_first=True).double()
    state = module.state_dict()

    def joined(kind):
        return torch.tensor(np.concatenate([state[f"{n}_proj.{kind}"].numpy() for n in "qkv"]))

    twin.load_state_dict(
        {
            "in_proj_weight": joined("weight"),
            "in_proj_bias": joined("bias"),
            "out_proj.weight": torch.tensor(state["out_proj.weight"].numpy().copy()),
            "out_proj.bias": torch.tensor(state["out_proj.bias"].numpy().copy()),
        }
    )
    x = random(2, 5, 12)
    mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1) if causal else None
    expected, _ = twin(*[torch.tensor(x)] * 3, attn_mask=mask, need_weights=False)
    got = module(pf.tensor(x)).numpy()
    assert_close(got, by_rows(expected.detach().numpy()), additions=12)


def test_attention_ignores_keys_past_the_lengths():
    module = nn.MultiHeadAttention(8, 4, num_kv_heads=2, causal=True)
    x = random(2, 6, 8).astype(np.float32)
    whole = module(pf.tensor(x[1:, :4])).numpy()
    x[1, 4:] = np.nan
    padded = module(pf.tensor(x), key_lengths=pf.tensor([6, 4])).numpy()
    np.testing.assert_array_equal(padded[1, :4], whole[0])


def test_cross_attention_block():
    block = nn.TransformerBlock(8, 2, cross_attention=True, norm="rms", dropout=0.1).eval()
    x, context = (pf.tensor(random(2, n, 8).astype(np.float32)) for n in (3, 5))
    lengths = pf.tensor([5, 2])
    out = block(x, context, context_lengths=lengths).numpy()
    changed = context.numpy().copy()
    changed[1, 2:] = 7.0
    again = block(x, pf.tensor(changed), context_lengths=lengths).numpy()
    np.testing.assert_array_equal(out, again)
    with pytest.raises(ValueError, match="expected a context"):
        block(x)


def test_block_drops_only_in_training():
    pf.manual_seed(0)
    block, x = nn.TransformerBlock(8, 2, dropout=0.5), pf.tensor(random(1, 3, 8).astype(np.float32))
    assert not np.array_equal(block(x).numpy(), block(x).numpy())
    block.eval()
    np.testing.assert_array_equal(block(x).numpy(), block(x).numpy())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Linear(0, 3), ValueError, "in_features must be at least 1"),
        (
            lambda: pf.models.GPTConfig(8, 8, 2**40, 1, 8),
            ValueError,
            "num_layers must be at most 10000, got 1099511627776",
        ),
        (lambda: nn.Linear(3.0, 3), TypeError, "in_features must be an int"),
        (lambda: nn.MultiHeadAttention(10, 3), ValueError, "must divide embed_dim"),
        (lambda: nn.MultiHeadAttention(12, 6, num_kv_heads=4), ValueError, "must divide"),
        (lambda: nn.MLP(4, activation="swoosh"), ValueError, "activation"),
        (lambda: nn.TransformerBlock(4, 2, norm="batch"), ValueError, "norm"),
        (lambda: nn.GELU("sigmoid"), ValueError, "approximate"),
        (lambda: nn.ModuleList([3]), TypeError, "expected a Module"),
        (lambda: nn.MultiHeadAttention(4, 2)(pf.ones(3, 4)), ValueError, "expected .B, T, C."),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_lists_of_modules_are_made_in_linear_time():
    before = time.process_time()
    layers = nn.ModuleList(nn.ReLU() for _ in range(20_000))
    assert time.process_time() - before < 5  # 0.3 s here, and four minutes where each member counted those before it
    assert len(layers) == 20_000


@pytest.mark.parametrize(
    "thing",
    [nn.Linear.forward, nn.mlp, nn.MLP, nn.TransformerBlock, models.BertConfig, models.ViTConfig],
    ids=lambda t: t.__qualname__,
)
def test_docstrings_name_every_activation(thing):
    (line,) = [line for line in thing.__doc__.splitlines() if line.strip().startswith("activation: ")]
    named = set(re.findall(r'"(\w+)"', line))
    assert named == set(nn.transformer.ACTIVATIONS)


def test_hooks_are_called_where_one_operation_does_the_work_of_several_modules():
    pf.manual_seed(0)
    model = models.GPT(models.GPTConfig(20, 8, num_layers=1, num_heads=2, embed_dim=8, tied=False)).eval()
    ids = np.arange(6).reshape(1, 6)
    before, loss = model(ids).numpy(), model.loss(ids, ids).item()
    seen = []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda module, args, result, name=name: seen.append(name))
    np.testing.assert_array_equal(model(ids).numpy(), before)
    for name in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"):
        assert f"h.0.{name}" in seen, seen
    assert "lm_head" in seen, seen
    assert model.loss(ids, ids).item() == pytest.approx(loss, rel=1e-6)
    model.h[0].mlp.c_fc.register_forward_hook(lambda module, args, result: result * 0.0)
    assert np.abs(model(ids).numpy() - before).max() > 0


@pytest.mark.parametrize(
    "array",
    [
        *[np.arange(24).astype(t).reshape(2, 3, 4) for t in ("f8", "f4", "f2", "i1", "c16", "U3", "O", "?", "M8[s]")],
        np.asfortranarray(np.arange(12.0).reshape(3, 4))[::2],
        np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
        np.ma.masked_array(np.arange(4.0), [0, 1, 0, 0]),
        np.array(3.0),
        np.array([np.nan, 0.0]),
        np.zeros((0, 3)),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_a_write_into_an_array_is_noticed_by_its_bits(array):
    kept = effects._Written(array)
    assert not kept.is_written()
    if array.size:
        array[(0,) * array.ndim] = array.flat[-1] if array.ndim else 4.0
        assert kept.is_written()


def test_the_arrays_of_a_module_are_compared_without_copies():
    array = np.zeros(1 << 20)
    kept = effects._Written(array)
    tracemalloc.start()
    try:
        assert not kept.is_written()
        assert tracemalloc.get_traced_memory()[1] < array.nbytes // 4
    finally:
        tracemalloc.stop()
    array[-1] = -0.0
    assert kept.is_written()


def test_a_last_projection_whose_forward_takes_nothing_but_x_is_called():
    class Doubled(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2.0

    pf.manual_seed(0)
    model = pf.models.GPT(pf.models.GPTConfig(12, 8, 1, 2, 8, tied=False))
    ids = [[1, 2, 3]]
    before, head = model(ids).numpy(), model.lm_head
    model.lm_head = Doubled(8, 12, bias=False)
    model.lm_head.load_state_dict(head.state_dict())
    np.testing.assert_array_equal(model(ids).numpy(), 2.0 * before)


def test_a_layer_with_a_forward_of_its_own_is_called():
    class Doubled(nn.Linear):
        def forward(self, x, *args, **kwargs):
            return super().forward(x, *args, **kwargs) * 2.0

    pf.manual_seed(0)
    layer, x = nn.MLP(4), pf.randn(2, 4)
    before = layer(x).numpy()
    layer.down = Doubled(16, 4)
    with pf.no_grad():
        layer.down.load_state_dict({"weight": pf.zeros(4, 16), "bias": pf.ones(4)})
    np.testing.assert_array_equal(layer(x).numpy(), np.full((2, 4), 2.0, np.float32))
    assert before.shape == (2, 4)
