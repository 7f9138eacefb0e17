"""LSTM, GRU, RetNet, KAN, liquid and MLP models: twins, forms, generation, files, bits, training."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch_twins
from tolerance import MODEL_OPS, assert_close, by_rows, probe, same_bits

import pyformer as pf
from pyformer import _core, tokenizers
from pyformer.models import (
    KAN,
    LSTM,
    KANConfig,
    KANTransformer,
    KANTransformerConfig,
    Liquid,
    LiquidConfig,
    LiquidNetwork,
    LiquidNetworkConfig,
    LSTMConfig,
    MLPLanguageModel,
    MLPLanguageModelConfig,
    RetNet,
    RetNetConfig,
)
from pyformer.training import Trainer, TrainingOptions

VOCAB = 23
LANGUAGE = {
    "lstm": (LSTM, LSTMConfig(VOCAB, 90, 2, 16), torch_twins.lstm),
    "gru": (LSTM, LSTMConfig(VOCAB, 90, 2, 16, cell="gru"), torch_twins.lstm),
    "elmo": (LSTM, LSTMConfig(VOCAB, 90, 2, 16, bidirectional=True), torch_twins.lstm),
    "retnet": (RetNet, RetNetConfig(VOCAB, 90, 2, 2, 16), torch_twins.retnet),
    "liquid": (Liquid, LiquidConfig(VOCAB, 90, 2, 16), torch_twins.liquid),
    "mlp": (MLPLanguageModel, MLPLanguageModelConfig(VOCAB, 90, 2, 16, window=7), torch_twins.mlp),
    "kan_transformer": (KANTransformer, KANTransformerConfig(VOCAB, 90, 2, 2, 16), torch_twins.kan_transformer),
}
WITH_STATE = [name for name in LANGUAGE if name != "kan_transformer"]


def make(name, dtype="float32", **changes):
    """A model with weights large enough for every path to matter."""
    cls, config, _ = LANGUAGE[name]
    pf.manual_seed(1)
    model = cls(replace(config, **changes)).to(getattr(pf, dtype))
    rng = np.random.default_rng(2)
    state = {k: t.numpy() + 0.2 * rng.standard_normal(t.shape) for k, t in model.state_dict().items()}
    model.load_state_dict(state)
    return model


def batch(rows=3, tokens=70, seed=0):
    return np.random.default_rng(seed).integers(0, VOCAB, (2, rows, tokens))


def torch_parameters(model):
    return {k: torch.tensor(t.numpy(), requires_grad=True) for k, t in model.state_dict().items()}


def equals_the_twin(model, name):
    """Logits, loss and all gradients."""
    twin = LANGUAGE[name][2]
    ids, targets = batch()
    targets[0, 3:6] = -100

    def in_float64():
        parameters = {k: p.detach().double().requires_grad_() for k, p in torch_parameters(model).items()}
        logits = twin(parameters, torch.tensor(ids), model.config)
        expected = torch_twins.cross_entropy(logits, torch.tensor(targets))
        if name == "elmo":
            backward = torch_twins.backward_loss(parameters, torch.tensor(ids), model.config)
            tokens = ids.shape[1]  # of which the backward stack can't predict the last
            expected = (expected * tokens + backward * (tokens - 1)) / (2 * tokens - 1)
        expected.backward()
        gradients = [parameters[key].grad.numpy() for key, _ in model.named_parameters()]
        return [logits.detach().numpy(), expected.detach().numpy(), *gradients]

    logits, expected, *gradients = probe(in_float64)
    assert_close(model(ids).numpy(), logits, "logits", additions=256)
    loss = model.loss(ids, targets)
    assert loss.shape == ()
    assert_close(loss.numpy(), expected, "loss", additions=256)
    loss.backward()
    for (key, parameter), gradient in zip(model.named_parameters(), gradients, strict=True):
        assert_close(parameter.grad.numpy(), gradient, key, additions=256)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LANGUAGE)
def test_logits_loss_and_all_gradients_equal_the_twin(name, dtype):
    equals_the_twin(make(name, dtype), name)


@pytest.mark.parametrize("name", LANGUAGE)
def test_gradient_by_difference_quotient(name):
    model = make(name, "float64")
    ids, targets = batch(rows=2, tokens=9)
    model.loss(ids, targets).backward()
    rng = np.random.default_rng(5)
    state = {k: t.numpy().copy() for k, t in model.state_dict().items()}
    direction = {k: rng.standard_normal(v.shape) for k, v in state.items()}
    norm = np.sqrt(sum((d**2).sum() for d in direction.values()))
    claimed = sum((p.grad.numpy() * direction[k]).sum() for k, p in model.named_parameters()) / norm

    def at(step):
        model.load_state_dict({k: v + step / norm * direction[k] for k, v in state.items()})
        with pf.no_grad():
            return model.loss(ids, targets).item()

    h = 1e-3
    slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert abs(slope - claimed) <= 1e-7 * (1 + abs(slope))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_parallel_form_of_retnet_equals_the_twin(dtype):
    model = make("retnet", dtype)
    model.form = "parallel"
    equals_the_twin(model, "retnet")


@pytest.mark.parametrize("form", ["parallel", "recurrent"])
def test_retnet_forms_are_equal(form):
    """To 1e-5 in float32, logits and all gradients."""
    ids, targets = batch()
    results = []
    for which in ("chunked", form):
        model = make("retnet")
        model.form = which
        model.loss(ids, targets).backward()
        results.append([model(ids).numpy(), *(p.grad.numpy() for p in model.parameters())])
    for one, two in zip(*results, strict=True):
        assert_close(one, by_rows(two), additions=256, ops=MODEL_OPS)


def test_token_by_token_a_retnet_has_the_same_bits():
    """Logits and all gradients."""
    ids, targets = batch()
    results = []
    for form in ("chunked", "recurrent"):
        model = make("retnet")
        model.form = form
        model.loss(ids, targets).backward()
        results.append([model(ids).numpy(), *(p.grad.numpy() for p in model.parameters())])
    assert all(same_bits(one, two) for one, two in zip(*results, strict=True))


@pytest.mark.parametrize("name", LANGUAGE)
def test_same_bits_whatever_the_threads(name):
    ids, targets = batch(rows=9, tokens=33)
    results = []
    for threads in (1, 2, 3, 7):
        pf.set_num_threads(threads)
        model = make(name, dropout=0.1)
        pf.manual_seed(9)
        model.loss(ids, targets).backward()
        results.append([p.grad.numpy().tobytes() for p in model.parameters()])
    assert all(r == results[0] for r in results[1:])


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_position_does_not_see_what_comes_later_nor_a_row_its_neighbours(name):
    model, (ids, _) = make(name).eval(), batch()
    whole = model(ids).numpy()
    for length in (1, 2, 63, 65):
        assert same_bits(model(ids[:, :length]).numpy(), whole[:, :length])
    assert same_bits(model(ids[1:2]).numpy(), whole[1:2])


@pytest.mark.parametrize("name", LANGUAGE)
def test_greedy_generation_is_the_likeliest_of_forward(name):
    model, (ids, _) = make(name).eval(), batch(rows=2, tokens=5)
    out = model.generate(ids, 70, temperature=0.0).numpy()
    assert out.shape == (2, 75)
    np.testing.assert_array_equal(out[:, :5], ids)
    np.testing.assert_array_equal(out[:, 5:], model(out).numpy()[:, 4:-1].argmax(-1))


@pytest.mark.parametrize("name", LANGUAGE)
def test_rows_of_a_ragged_batch_are_as_if_alone(name):
    model, (ids, _) = make(name).eval(), batch()
    prompts = [ids[0, :7].tolist(), ids[1, :2].tolist(), ids[2, :7].tolist(), ids[0, :1].tolist()]
    together = model.generate(prompts, 12, temperature=0.8, top_k=9, seed=3, stop=4)
    for row, prompt in enumerate(prompts):
        assert (
            together[row]
            == model.generate([prompt], 12, 0.8, 9, seed=3 + row, stop=4).numpy()[0].tolist()[: len(together[row])]
        )


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name in WITH_STATE for dtype in ("float32", "float64")] + [("retnet", "bfloat16")],
)
def test_a_cached_text_has_the_bits_of_the_whole(name, dtype, isa):
    """Whatever the lengths in which it comes, and beside rows that stand elsewhere."""
    _core.set_isa(isa)
    model, (ids, _) = make(name).eval().to(dtype), batch(rows=2, tokens=80)

    def bits(x):
        return x.to("float32").numpy() if dtype == "bfloat16" else x.numpy()

    with pf.no_grad():
        whole = bits(model(ids))
        for ends in ((1, 2, 3, 70, 80), (63, 64, 65, 80), (64, 80), tuple(range(5, 81))):
            cache, start = model.new_cache(2), 0
            for end in ends:
                counts = np.array([end - start] * 2)
                logits = model.next_logits(ids[:, start:end], counts, cache)
                assert same_bits(bits(logits), whole[:, end - 1]), (ends, end)
                start = end
        one, two = model.new_cache(1), model.new_cache(1)
        model.next_logits(ids[:1, :10], np.array([10]), one)
        model.next_logits(ids[1:, :67], np.array([67]), two)
        one.join(two)
        step = np.stack([ids[0, 10:11], ids[1, 67:68]])
        logits = bits(model.next_logits(step, np.array([1, 1]), one))
        assert same_bits(logits, np.stack([whole[0, 10], whole[1, 67]]))


@pytest.mark.parametrize("name", WITH_STATE)
def test_generation_goes_past_the_training_window(name):
    model, (ids, _) = make(name).eval(), batch(rows=1, tokens=80)
    assert model.generate(ids, 40, temperature=0.0).shape == (1, 120)


def test_kan_transformer_keeps_to_its_context():
    model, (ids, _) = make("kan_transformer").eval(), batch(rows=1, tokens=80)
    with pytest.raises(ValueError, match="exceed the context length 90"):
        model.generate(ids, 40)
    assert model.generate(ids, 15, temperature=0.0, overflow="slide").shape == (1, 95)
    with pytest.raises(ValueError, match=r"KANTransformer: 91 tokens exceed"):
        model(np.zeros((1, 91), np.int64))


def test_weights_of_a_kan_transformer_come_along():
    model, (ids, _) = make("kan_transformer").eval(), batch()
    logits, weights = model(ids, return_weights=True)
    assert same_bits(logits.numpy(), model(ids).numpy())
    assert [w.shape for w in weights] == [(3, 2, 70, 70)] * 2
    assert not np.triu(weights[1].numpy(), 1).any()
    np.testing.assert_allclose(weights[1].numpy().sum(-1), 1.0, rtol=1e-5)


def test_representations_of_both_directions():
    model, (ids, _) = make("elmo").eval(), batch()
    both = model.representations(ids).numpy()
    assert both.shape == (3, 70, 32)
    changed = ids.copy()
    changed[:, 30] = (changed[:, 30] + 1) % VOCAB
    other = model.representations(changed).numpy()
    assert same_bits(both[:, :30, :16], other[:, :30, :16])
    assert same_bits(both[:, 31:, 16:], other[:, 31:, 16:])
    assert not np.array_equal(both[:, 31:, :16], other[:, 31:, :16])
    with pytest.raises(ValueError, match="expected a bidirectional model"):
        make("lstm").representations(ids)


@pytest.mark.parametrize("name", LANGUAGE)
def test_training_learns_a_pattern(name):
    cls, config, _ = LANGUAGE[name]
    pf.manual_seed(0)
    model = cls(config)
    optimizer = pf.optim.AdamW(model.parameters(), lr=1e-2)
    ids = np.tile(np.arange(6), (4, 4))
    for _ in range(250):
        optimizer.zero_grad()
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3


@pytest.mark.parametrize("name", LANGUAGE)
def test_trainer_runs_stops_and_resumes_with_the_same_bits(name, tmp_path):
    tokens = np.random.default_rng(0).integers(0, VOCAB, 400).astype(np.int32)
    cls, config, _ = LANGUAGE[name]
    config = replace(config, vocab_size=256, context_length=8, dropout=0.1)
    options = TrainingOptions(steps=4, batch=3, warmup=1, eval_every=2, eval_batches=1, save_every=2, sample_every=4)

    def trainer(run):
        pf.manual_seed(0)
        run.mkdir(exist_ok=True)
        return Trainer(cls(config), tokens[:300], tokens[300:], options, run, tokenizers.ByteTokenizer())

    straight = trainer(tmp_path / "a")
    assert straight.train()
    first = trainer(tmp_path / "b")
    first._after_step, after = lambda *args: (after(*args), first.request_stop()), first._after_step
    assert not first.train()
    second = trainer(tmp_path / "b")
    second.restore()
    assert second.train()
    for one, two in zip(straight.model.parameters(), second.model.parameters(), strict=True):
        assert same_bits(one.numpy(), two.numpy())
    opened = pf.from_pretrained(tmp_path / "a")
    assert type(opened) is cls
    ids = tokens[None, :8].astype(np.int64)
    assert same_bits(opened(ids).numpy(), straight.model.eval()(ids).numpy())


ALL = {
    **{name: (cls, config) for name, (cls, config, _) in LANGUAGE.items()},
    "kan": (KAN, KANConfig((3, 5, 2))),
    "liquid_network": (LiquidNetwork, LiquidNetworkConfig(3, 8, 2, 2)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ALL)
def test_files_round_trip(name, dtype, tmp_path):
    cls, config = ALL[name]
    model = cls(config).to(getattr(pf, dtype))
    model.save_pretrained(tmp_path)
    again = pf.from_pretrained(tmp_path)
    assert type(again) is cls
    assert again.config == config
    assert not again.training
    for (key, one), (other, two) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert key == other
        assert same_bits(one.numpy(), two.numpy())
        assert two.requires_grad
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["torch_dtype"] == dtype
    assert set(asdict(config)) <= set(content)
    wide = cls.from_pretrained(tmp_path, dtype=pf.float64)
    assert next(wide.parameters()).dtype == pf.float64


def edit(folder, **changes):
    path = folder / "config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_layers": 10**9}, ValueError, "num_layers must be at most"),
        ({"num_layers": 10_000}, ValueError, "config.json means"),
        ({"embed_dim": 10**7}, ValueError, "config.json means"),
        ({"num_layers": 3}, ValueError, "missing tensors"),
        ({"num_layers": 1}, ValueError, "unexpected"),
        ({"vocab_size": 22}, ValueError, r"wte.weight must be \(22, 16\), got \(23, 16\)"),
        ({"cell": "rnn"}, ValueError, "cell must be one of"),
        ({"cell": "gru"}, ValueError, "must be"),
        ({"dropout": "x"}, TypeError, "dropout must be a number"),
        ({"width": 3}, ValueError, r"unknown \['width'\]"),
        ({"embed_dim": ...}, ValueError, r"lacks \['embed_dim'\]"),
        ({"model_type": "rnn"}, ValueError, "model_type must be one of"),
        ({"model_type": "retnet"}, ValueError, "config.json lacks"),
    ],
)
def test_config_that_does_not_fit_its_weights(changes, error, message, tmp_path):
    make("lstm").save_pretrained(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(error, match=message):
        pf.from_pretrained(tmp_path)


def test_missing_and_cut_weights(tmp_path):
    make("retnet").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        pf.from_pretrained(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        pf.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([1, 2], ValueError, r"ids must be \(B, T\)"),
        ([[]], ValueError, r"ids must be \(B, T\)"),
        ([[1, 2], [3]], ValueError, "rows of ids differ in length"),
        ([[1.0, 2.0]], TypeError, "ids must be integers"),
        ([[1, VOCAB]], IndexError, str(VOCAB)),
        ([[-1]], IndexError, "-1"),
        (np.full((1, 1), 2**63, np.uint64), IndexError, "doesn't fit in int64"),
    ],
)
@pytest.mark.parametrize("name", LANGUAGE)
def test_bad_ids(name, ids, error, message):
    with pytest.raises(error, match=message):
        make(name)(ids)


@pytest.mark.parametrize("name", LANGUAGE)
def test_bad_targets(name):
    model = make(name)
    with pytest.raises(ValueError, match="targets must be"):
        model.loss([[1, 2]], [[1, 2, 3]])
    with pytest.raises(TypeError, match="targets must be integers"):
        model.loss([[1, 2]], [[1.0, 2.0]])
    assert model.loss([[1]], [[-100]]).item() == 0.0


@pytest.mark.parametrize(
    ("cls", "values", "error", "message"),
    [
        (LSTMConfig, (0, 8, 1, 4), ValueError, "LSTMConfig: vocab_size"),
        (RetNetConfig, (9, 8, 1, 3, 16), ValueError, "RetNetConfig: twice num_heads"),
        (MLPLanguageModelConfig, (9, 8, 1, 4, -1), ValueError, "MLPLanguageModelConfig: window"),
        (LiquidConfig, (9, 8, 1, 4, 1.0), ValueError, "LiquidConfig: dropout"),
        (LiquidNetworkConfig, (3, 4, True), TypeError, "LiquidNetworkConfig: output_dim"),
        (KANConfig, ((3,),), ValueError, "KANConfig: sizes"),
        (KANConfig, (3,), TypeError, "KANConfig: sizes"),
        (KANConfig, ((3, 0),), ValueError, r"KANConfig: sizes\[1\]"),
        (KANConfig, ((3, 1), 5, 9), ValueError, "KANConfig: order must be at most 8"),
        (KANConfig, ((3, 1), 5, 3, 1.0, 1.0), ValueError, r"KANConfig: low \(1.0\) must be below"),
        (KANConfig, ((3, 1), 5, 3, "0"), TypeError, "KANConfig: low must be a number"),
        (KANTransformerConfig, (9, 8, 1, 3, 16), ValueError, "KANTransformerConfig: num_heads"),
    ],
)
def test_bad_configs(cls, values, error, message):
    with pytest.raises(error, match=message):
        cls(*values)


@pytest.mark.parametrize("cls", [KAN, LSTM, Liquid, LiquidNetwork, KANTransformer, MLPLanguageModel, RetNet])
def test_a_config_of_another_kind(cls):
    with pytest.raises(TypeError, match=f"^{cls.__name__}: expected a {cls.__name__}Config, got dict"):
        cls({})


def test_kan_equals_its_twin():
    for dtype in ("float32", "float64"):
        pf.manual_seed(0)
        model = KAN(KANConfig((3, 6, 2), intervals=4, low=-1.5, high=1.5)).to(getattr(pf, dtype))
        parameters = torch_parameters(model)
        x, targets = (np.random.default_rng(i).standard_normal((40, n)).astype(dtype) for i, n in ((0, 3), (1, 2)))
        out = torch_twins.kan(parameters, torch.tensor(x), model.config)
        assert_close(model(x).numpy(), by_rows(out.detach().numpy()), additions=64, ops=MODEL_OPS)
        loss, expected = model.loss(x, targets), (out - torch.tensor(targets)).square().mean()
        loss.backward()
        expected.backward()
        for key, parameter in model.named_parameters():
            assert_close(
                parameter.grad.numpy(), by_rows(parameters[key].grad.numpy()), key, additions=64, ops=MODEL_OPS
            )


def test_liquid_network_equals_its_twin():
    pf.manual_seed(0)
    model = LiquidNetwork(LiquidNetworkConfig(3, 8, 2)).to(pf.float64)
    parameters = torch_parameters(model)
    x, targets = (np.random.default_rng(i).standard_normal((4, 9, n)) for i, n in ((0, 3), (1, 2)))
    elapsed = np.random.default_rng(2).exponential(size=(4, 9))
    cells = {k.removeprefix("cells."): v for k, v in parameters.items()}
    h, _ = torch_twins.cfc_layer(torch.tensor(x), cells, "l0", torch.tensor(elapsed))
    expected = (torch_twins.linear(h, parameters, "head") - torch.tensor(targets)).square().mean()
    loss = model.loss(x, targets, elapsed)
    assert_close(loss.numpy(), by_rows(expected.detach().numpy()), additions=72, ops=MODEL_OPS)
    loss.backward()
    expected.backward()
    for key, parameter in model.named_parameters():
        assert_close(parameter.grad.numpy(), by_rows(parameters[key].grad.numpy()), key, additions=72, ops=MODEL_OPS)


def test_regression_learns():
    """A KAN fits exp(sin(pi x) + y^2), the paper's first example; a liquid network sums over uneven times."""
    rng = np.random.default_rng(0)
    pf.manual_seed(0)
    x = rng.uniform(-1, 1, (256, 2)).astype("f")
    y = np.exp(np.sin(np.pi * x[:, :1]) + x[:, 1:] ** 2)
    kan = KAN(KANConfig((2, 5, 1), low=-2.0, high=2.0, intervals=10))
    elapsed = rng.exponential(size=(32, 10)).astype("f")
    values = rng.standard_normal((32, 10, 1)).astype("f")
    decayed = np.zeros_like(values)
    for t in range(10):
        before = decayed[:, t - 1] * np.exp(-elapsed[:, t, None]) if t else 0.0
        decayed[:, t] = before + 0.5 * values[:, t]
    liquid = LiquidNetwork(LiquidNetworkConfig(1, 24, 1))
    cases = ((kan, (x, y), 0.02, 300), (liquid, (values, decayed, elapsed), 0.01, 200))
    for model, arguments, rate, steps in cases:
        optimizer = pf.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
        first = model.loss(*arguments).item()
        for _ in range(steps):
            optimizer.zero_grad()
            loss = model.loss(*arguments)
            loss.backward()
            optimizer.step()
        assert loss.item() < 0.05 * first


def test_targets_of_regression_must_fit():
    with pytest.raises(ValueError, match=r"^KAN: targets must be \(4, 1\), got \(4,\)"):
        KAN(KANConfig((2, 1))).loss(np.zeros((4, 2), "f"), np.zeros(4, "f"))
    with pytest.raises(ValueError, match=r"^LiquidNetwork: targets must be \(4, 3, 1\), got \(4, 3\)"):
        LiquidNetwork(LiquidNetworkConfig(2, 4, 1)).loss(np.zeros((4, 3, 2), "f"), np.zeros((4, 3), "f"))
