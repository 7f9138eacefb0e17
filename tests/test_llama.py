"""Llama against the transformers models it shares its files with; other positions against a twin in torch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch_twins
from tolerance import MODEL_OPS, assert_close, by_rows
from transformers import LlamaConfig as TheirConfig
from transformers import LlamaForCausalLM, MistralConfig, MistralForCausalLM

import pyformer as pf
from pyformer.models import Llama, LlamaConfig

SIZES = {"vocab_size": 61, "context_length": 24, "num_layers": 2, "num_heads": 4, "embed_dim": 32}
CONFIG = LlamaConfig(**SIZES, num_kv_heads=2, hidden_dim=48)
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
VARIANTS = {
    "llama": {},
    "tied": {"tied": True},
    "one-kv-head": {"num_kv_heads": 1, "rope_base": 500.0},
    "wide-heads": {"head_dim": 12},
    "llama3": {"rope_scaling": LLAMA3},
    "mistral": {"window": 5},
}


OTHERS = {
    "alibi": {"positions": "alibi"},
    "alibi-of-six": {"positions": "alibi", "num_heads": 6, "num_kv_heads": 3, "embed_dim": 48},
    "alibi-window": {"positions": "alibi", "window": 5},
    "sinusoidal": {"positions": "sinusoidal"},
    "learned": {"positions": "learned", "tied": True},
    "none": {"positions": "none"},
}
ALL = {**VARIANTS, **OTHERS}


def config_of(variant):
    return dataclasses.replace(CONFIG, **{"head_dim": None, **ALL[variant]})


class ExactRotary(torch.nn.Module):
    """The twin's angles in float64: transformers computes them in float32 whatever the model's dtype."""

    def __init__(self, frequencies):
        super().__init__()
        self.frequencies = torch.tensor(frequencies)

    def forward(self, x, position_ids):
        angles = position_ids[..., None].double() * self.frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


def make_exact(twin, config):
    """transformers norms in float32, too."""
    twin.model.rotary_emb = ExactRotary(pf.ops.rope_frequencies(config.head_dim, config.rope_base, config.rope_scaling))
    for path, module in list(twin.named_modules()):
        if type(module).__name__.endswith("RMSNorm"):
            norm = torch.nn.RMSNorm(config.embed_dim, eps=config.norm_epsilon)
            norm.weight = module.weight
            twin.set_submodule(path, norm)


def make_twin(config, dtype="float64", seed=0):
    """A transformers model with random weights of a scale that makes every path matter."""
    torch.manual_seed(seed)
    options = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.hidden_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context_length,
        "tie_word_embeddings": config.tied,
        "rope_parameters": {"rope_theta": config.rope_base, **(config.rope_scaling or {"rope_type": "default"})},
        "attn_implementation": "sdpa",
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if config.window is None:
        twin = LlamaForCausalLM(TheirConfig(**options))
    else:
        twin = MistralForCausalLM(MistralConfig(**options, sliding_window=config.window))
    twin = twin.to(getattr(torch, dtype)).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return twin


def batch(seed=0):
    return np.random.default_rng(seed).integers(0, CONFIG.vocab_size, (2, 3, 11))


def make(config=CONFIG, dtype="float64", seed=0):
    pf.manual_seed(seed)
    return Llama(config).to(getattr(pf, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_loss_and_all_gradients_equal_the_twin(variant, dtype):
    config = config_of(variant)
    twin = make_twin(config, dtype)
    make_exact(twin, config)
    model = make(config, dtype)
    theirs = {name.removeprefix("model."): p for name, p in twin.named_parameters()}
    model.load_state_dict({name: p.detach().numpy() for name, p in theirs.items()})
    assert_same(model, theirs, lambda ids: twin(ids).logits, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", OTHERS)
def test_other_positions_equal_the_twin(variant, dtype):
    model = make(config_of(variant), dtype)
    rng = np.random.default_rng(1)
    state = {name: t.numpy() + 0.1 * rng.standard_normal(t.shape) for name, t in model.state_dict().items()}
    model.load_state_dict(state)
    theirs = {name: torch.tensor(t.numpy(), requires_grad=True) for name, t in model.state_dict().items()}
    assert_same(model, theirs, lambda ids: torch_twins.llama(theirs, ids, model.config), dtype)


def assert_same(model, theirs, twin, dtype):
    """Logits, loss and all gradients of `model` are those of twin(ids), whose parameters are `theirs`."""
    ids, targets = batch()
    logits = twin(torch.tensor(ids))
    assert_close(model(ids).numpy(), by_rows(logits.detach().numpy()), "logits", additions=128, ops=MODEL_OPS)
    other = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
    loss = model.loss(ids, targets)
    assert_close(loss.numpy(), by_rows(other.detach().numpy()), "loss", additions=61, ops=MODEL_OPS)
    loss.backward()
    other.backward()
    ours = dict(model.named_parameters())
    assert set(ours) == set(theirs)
    for name, parameter in ours.items():
        expected = theirs[name].grad.numpy()
        assert_close(parameter.grad.numpy(), by_rows(expected, least=1e-3), name, additions=128, ops=MODEL_OPS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_files_go_to_and_from_transformers(tmp_path, variant):
    config = config_of(variant)
    ids, _ = batch()
    twin = make_twin(config, "float32")
    twin.save_pretrained(tmp_path / "theirs")
    model = pf.from_pretrained(tmp_path / "theirs")
    assert model.config == config
    expected = twin(torch.tensor(ids)).logits.detach().numpy()
    assert_close(model(ids).numpy(), by_rows(expected), additions=128, ops=MODEL_OPS)
    model.save_pretrained(tmp_path / "ours")
    again = type(twin).from_pretrained(tmp_path / "ours", attn_implementation="sdpa")
    np.testing.assert_array_equal(again(torch.tensor(ids)).logits.detach().numpy(), expected)


@pytest.mark.parametrize("variant", ALL)
def test_cached_generation_is_the_argmax_of_full_passes(tmp_path, variant):
    config = config_of(variant)
    model = make(config, "float32")
    model.save_pretrained(tmp_path)
    model = pf.from_pretrained(tmp_path)
    assert model.config == config
    prompts = [[3, 7, 1], [5], [2, 2, 9, 4, 1, 8]]
    rows = model.generate(prompts, 8, temperature=0)
    for prompt, row in zip(prompts, rows, strict=True):
        expected = list(prompt)
        for _ in range(8):
            expected.append(int(model([expected]).numpy()[0, -1].argmax()))
        assert row == expected


@pytest.mark.parametrize("variant", ALL)
def test_padding_changes_no_bits_and_weights_come_along(variant):
    model = make(config_of(variant))
    ids, _ = batch()
    lengths = [11, 4, 7]
    logits, weights = model(ids, lengths=lengths, return_weights=True)
    np.testing.assert_array_equal(logits.numpy(), model(ids, lengths=lengths).numpy())
    assert [w.shape for w in weights] == [(3, model.config.num_heads, 11, 11)] * 2
    for row, length in enumerate(lengths):
        alone = model(ids[row : row + 1, :length]).numpy()
        np.testing.assert_array_equal(logits.numpy()[row, :length], alone[0])


def test_alibi_scores_fall_with_distance_and_order_matters_only_with_positions():
    ids = np.array([[1, 2, 3, 4]])
    swapped = np.array([[2, 1, 3, 4]])
    # One layer: with two, the causal mask alone tells the order of what came before.
    for positions in ("none", "alibi", "rotary", "sinusoidal", "learned"):
        model = make(dataclasses.replace(CONFIG, num_layers=1, positions=positions))
        model.load_state_dict({n: 5 * t.numpy() for n, t in model.state_dict().items()})
        change = np.abs(model(ids).numpy()[0, -1] - model(swapped).numpy()[0, -1]).max()
        assert (change < 1e-9) == (positions == "none"), positions


def test_learned_positions_learn():
    model = make(dataclasses.replace(CONFIG, positions="learned"))
    ids, targets = batch()
    model.loss(ids, targets).backward()
    grad = model.embed_positions.weight.grad.numpy()
    assert grad[:11].any(axis=1).all()
    assert not grad[11:].any()


def test_no_size_in_a_config_costs_memory_before_it_is_needed():
    ids, _ = batch()
    model = make(dataclasses.replace(CONFIG, window=2**63 - 1))
    np.testing.assert_array_equal(model(ids).numpy(), make()(ids).numpy())
    long = make(dataclasses.replace(CONFIG, positions="sinusoidal", context_length=10**12))
    short = make(dataclasses.replace(CONFIG, positions="sinusoidal"))
    np.testing.assert_array_equal(long(ids).numpy(), short(ids).numpy())
    LlamaConfig(**SIZES, head_dim=2**40)


def test_a_dropout_is_saved(tmp_path):
    config = dataclasses.replace(CONFIG, dropout=0.25)
    make(config).save_pretrained(tmp_path)
    assert pf.from_pretrained(tmp_path).config == config
    LlamaForCausalLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_kv_heads": 3}, ValueError, "num_kv_heads"),
        ({"num_heads": 5, "num_kv_heads": 5}, ValueError, "num_heads"),
        ({"positions": "polar"}, ValueError, "positions"),
        ({"window": 0}, ValueError, "window"),
        ({"head_dim": 7}, ValueError, "head_dim must be even"),
        ({"rope_scaling": {"rope_type": "dynamic"}}, ValueError, "rope_type"),
        ({"rope_scaling": {"rope_type": "linear", "factor": float("inf")}}, ValueError, "factor"),
        ({"rope_scaling": {**LLAMA3, "low_freq_factor": 4.0}}, ValueError, "must be below high_freq_factor"),
        ({"vocab_size": True}, TypeError, "vocab_size"),
        ({"dropout": 1.0}, ValueError, "dropout"),
    ],
)
def test_bad_config(changes, error, message):
    with pytest.raises(error, match=message):
        LlamaConfig(**{**SIZES, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10**9}, "layers"),
        ({"vocab_size": 10**9}, "embed_tokens"),
        ({"intermediate_size": 10**9}, "up_proj"),
        ({"num_hidden_layers": 1}, "unexpected"),
        ({"hidden_act": "mish"}, "hidden_act"),
        ({"attention_bias": True}, "q_proj.bias"),
    ],
)
def test_config_that_does_not_fit_its_file(tmp_path, changes, message):
    from pyformer import formats

    make().save_pretrained(tmp_path)
    formats.write_json_atomic(tmp_path / "config.json", {**formats.read_config(tmp_path), **changes})
    with pytest.raises(ValueError, match=message):
        pf.from_pretrained(tmp_path)
