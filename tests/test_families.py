"""Each family of decoders against the model of `transformers` that it shares its files with."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tolerance import MODEL_OPS, assert_close, by_rows
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

import pyformer as pf
from pyformer.generation import Decoder

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 24,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 6}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.1, 1.3],
    "long_factor": [1.5, 4.0, 9.0],
    "partial_rotary_factor": 0.75,
}
# A row a case: the family's model_type, and what its config says beside SIZES.
CASES = {
    "llama": ("llama", {}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"}),
    "mistral": ("mistral", {"sliding_window": 5}),
    "mistral with yarn": ("mistral", {"sliding_window": None, "head_dim": 16, "rope_parameters": YARN}),
    "qwen2": ("qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2 with a window": ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen2 with yarn": ("qwen2", {"rope_parameters": {**YARN, "beta_fast": 4.0, "beta_slow": 2.0, "truncate": False}}),
    "qwen3": ("qwen3", {"head_dim": 12, "tie_word_embeddings": True}),
    "qwen3 with biases": ("qwen3", {"head_dim": 8, "attention_bias": True}),
    "smollm3": ("smollm3", {"num_hidden_layers": 4}),
    "smollm3 with a window": (
        "smollm3",
        {"no_rope_layers": [0, 1], "use_sliding_window": True, "sliding_window": 4, "tie_word_embeddings": False},
    ),
    "gemma2": (
        "gemma2",
        {"head_dim": 12, "query_pre_attn_scalar": 24, "sliding_window": 4, "attn_logit_softcapping": 2.0},
    ),
    "gemma2 without caps": (
        "gemma2",
        {"head_dim": 8, "attn_logit_softcapping": None, "final_logit_softcapping": None, "attention_bias": True},
    ),
    "gemma3": (
        "gemma3_text",
        {
            "head_dim": 12,
            "query_pre_attn_scalar": 20,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        },
    ),
    "olmo2": ("olmo2", {}),
    "granite": (
        "granite",
        {
            "attention_multiplier": 0.3,
            "embedding_multiplier": 5.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 3.0,
            "tie_word_embeddings": True,
        },
    ),
    "phi3": ("phi3", {"sliding_window": 6}),
    "phi4-mini": (
        "phi3",
        {"original_max_position_embeddings": 12, "rope_parameters": LONG, "tie_word_embeddings": True},
    ),
    "phi4-mini with a long text": (
        "phi3",
        {"original_max_position_embeddings": 5, "rope_parameters": LONG, "tie_word_embeddings": True},
    ),
}


def theirs_of(case, seed=0, dtype=torch.float32):
    """A model of `transformers` whose random weights make every part matter."""
    kind, says = CASES[case]
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **{**SIZES, **json.loads(json.dumps(says))})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def ids_and_targets(rows=3, tokens=11, seed=0):
    return np.random.default_rng(seed).integers(0, SIZES["vocab_size"], (2, rows, tokens))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """(the folder that `transformers` saved, their model, ours) of a case; nobody changes them."""
    made = {}

    def of(case):
        if case not in made:
            folder = tmp_path_factory.mktemp("family")
            theirs = theirs_of(case)
            theirs.save_pretrained(folder)
            made[case] = folder, theirs, pf.from_pretrained(folder)
        return made[case]

    return of


def gradients(model):
    """Gradients by the names in files; what is stacked there is stacked."""
    found = {}
    for name, parameter in model.named_parameters():
        grad = parameter.grad.numpy()
        written = model.layout.written_name(name)
        found[written] = np.concatenate([found[written], grad]) if written in found else grad
    return found


@pytest.mark.parametrize("case", CASES)
def test_logits_loss_and_all_gradients_equal_transformers(case, opened):
    """Ours in float64 is what both are measured by: each has its own roundings to float32 only."""
    folder, theirs, model = opened(case)
    exact = pf.from_pretrained(folder, dtype="float64")
    ids, targets = ids_and_targets()
    logits = theirs(torch.tensor(ids)).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
    loss.backward()
    wanted, grads = {}, {}
    for each, kept in ((exact, wanted), (model, grads)):
        each.zero_grad()
        kept["logits"], mean = each(ids).numpy(), each.loss(ids, targets)
        mean.backward()
        kept |= {"loss": mean.numpy(), **gradients(each)}
    there = {"logits": logits, "loss": loss, **{name: p.grad for name, p in theirs.named_parameters()}}
    assert set(there) == set(grads)
    for name, value in wanted.items():
        # Rows of small numbers are sums of terms that are as large as those of other rows.
        close = {"exact": by_rows(value, least=float(np.sqrt(np.mean(np.square(value)))))}
        assert_close(there[name].detach().numpy(), **close, what=name, additions=128, ops=MODEL_OPS)
        assert_close(grads[name], **close, what=f"ours: {name}", additions=128, ops=MODEL_OPS)


@pytest.mark.parametrize("case", CASES)
def test_what_is_saved_here_opens_there(case, opened, tmp_path):
    _, theirs, model = opened(case)
    model.save_pretrained(tmp_path, shard_bytes=20_000)
    assert (tmp_path / "model.safetensors.index.json").exists()
    again = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    assert type(again) is type(theirs)
    ids = torch.tensor(ids_and_targets()[0])
    np.testing.assert_array_equal(again(ids).logits.detach().numpy(), theirs(ids).logits.detach().numpy())
    same = pf.from_pretrained(tmp_path)
    assert same.config == model.config
    np.testing.assert_array_equal(same(ids.numpy()).numpy(), model(ids.numpy()).numpy())


@pytest.mark.parametrize("case", CASES)
def test_a_model_can_be_pickled(case, opened):
    model = opened(case)[2]
    again = pickle.loads(pickle.dumps(model))
    ids = ids_and_targets()[0]
    assert again.config == model.config
    np.testing.assert_array_equal(again(ids).numpy(), model(ids).numpy())


@pytest.mark.parametrize("case", CASES)
def test_generation_with_a_cache_equals_full_passes_bit_for_bit(case, opened):
    """Rows of three lengths together, and each of them read whole, alone, for each of its tokens."""
    _, _, model = opened(case)
    seen = []

    def sampler(logits, row, text, start):
        seen.append((row, logits.copy()))
        return int(logits.argmax())

    decoder = Decoder(model)
    texts = [[3, 7, 1], [5], [2, 2, 9, 4, 1, 8]]
    for text in texts:
        decoder.add(text, sampler)
    for _ in range(8):
        decoder.step()
    assert len(seen) == 24
    for row, logits in seen:
        np.testing.assert_array_equal(logits, model([texts[row]]).numpy()[0, -1])
        texts[row].append(int(logits.argmax()))


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] != "phi3"])
def test_a_text_read_in_parts_has_the_bits_of_the_whole(case, opened):
    _, _, model = opened(case)
    ids = ids_and_targets(rows=2, tokens=12)[0]
    with pf.nn.inference():
        cache = model.new_cache(rows=2)
        parts = [model(ids[:, a:b], cache=cache).numpy() for a, b in ((0, 5), (5, 6), (6, 12))]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), model(ids).numpy())


def test_a_text_that_outgrows_longropes_length_is_to_be_read_again(opened):
    _, _, model = opened("phi4-mini with a long text")
    with pf.nn.inference():
        cache = model.new_cache(rows=1)
        model([[1, 2, 3]], cache=cache)
        with pytest.raises(ValueError, match="grows past 5 tokens"):
            model([[4, 5, 6]], cache=cache)
        model([[4, 5]], cache=cache)
        assert cache.length.tolist() == [5]
        fresh = model.new_cache(rows=1)
        model([[1, 2, 3, 4, 5, 6]], cache=fresh)
        model([[7]], cache=fresh)


@pytest.mark.parametrize("case", CASES)
def test_padding_changes_no_bits_and_weights_come_along(case, opened):
    _, _, model = opened(case)
    ids, _ = ids_and_targets()
    lengths = [11, 4, 7]
    logits, weights = model(ids, lengths=lengths, return_weights=True)
    np.testing.assert_array_equal(logits.numpy(), model(ids, lengths=lengths).numpy())
    assert [w.shape for w in weights] == [(3, 4, 11, 11)] * model.config.num_layers
    for row, length in enumerate(lengths):
        alone = model(ids[row : row + 1, :length]).numpy()
        np.testing.assert_array_equal(logits.numpy()[row, :length], alone[0])


@pytest.mark.parametrize("case", ["qwen2", "gemma2", "phi4-mini"])
def test_bfloat16_weights_are_opened_and_compute_as_in_autocast(case, opened, tmp_path):
    folder, _, model = opened(case)
    small = pf.from_pretrained(folder, dtype="bfloat16")
    assert {p.dtype for p in small.parameters()} == {pf.bfloat16}
    rounded = pf.from_pretrained(folder)
    rounded.load_state_dict({n: t.to(pf.bfloat16).to(pf.float32).numpy() for n, t in model.state_dict().items()})
    ids = ids_and_targets()[0]
    with pf.autocast("bfloat16"):
        np.testing.assert_array_equal(small(ids).numpy(), rounded(ids).numpy())
    small.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == "bfloat16"
    again = pf.from_pretrained(tmp_path, dtype="bfloat16")
    np.testing.assert_array_equal(again(ids).numpy(), small(ids).numpy())
    text = small.generate([[1, 2, 3]], 6, temperature=0).numpy()[0].tolist()
    assert text[-1] == int(small([text[:-1]]).numpy()[0, -1].argmax())


@pytest.mark.parametrize("case", ["qwen3", "phi3"])
def test_weights_that_do_not_fit_are_named(case, opened, tmp_path):
    folder, _, _ = opened(case)
    stacked = case == "phi3"
    weights = load_file(folder / "model.safetensors")
    wide = "model.layers.1.self_attn.qkv_proj.weight" if stacked else "model.layers.1.self_attn.q_norm.weight"
    for name, change, message in (
        ("missing", lambda w: w.pop(wide), rf"missing tensors \['{wide.removeprefix('model.')}'\]"),
        ("extra", lambda w: w.update({"model.layers.1.self_attn.k_proj.bias": w[wide]}), r"unexpected .*k_proj\.bias"),
        ("cut", lambda w: w.update({wide: w[wide][:-1].copy()}), rf"{wide.removeprefix('model.')} must be \("),
        ("whole", lambda w: w.update({wide: w[wide].astype(np.int32)}), "must be of a float dtype, got I32"),
        ("again", lambda w: w.update({wide.removeprefix("model."): w[wide]}), "with and without the prefix"),
    ):
        to = tmp_path / name
        to.mkdir()
        (to / "config.json").write_text((folder / "config.json").read_text())
        changed = dict(weights)
        change(changed)
        save_file(changed, to / "model.safetensors", {"format": "pt"})
        with pytest.raises((ValueError, TypeError), match=message):
            pf.from_pretrained(to)


def test_a_part_beside_the_whole_is_refused(opened, tmp_path):
    folder, _, _ = opened("phi3")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] = weights["model.layers.0.mlp.gate_up_proj.weight"][:48].copy()
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"mlp\.up_proj\.weight is there twice, by itself and in .*gate_up_proj"):
        pf.from_pretrained(tmp_path)


ODD = (None, True, -1, 0, 7, 2.5, 1e308, float("nan"), 10**30, "x", [], [1], ["x"] * 2, {}, {"a": 1}, [[]] * 2)


@pytest.mark.parametrize("case", CASES)
def test_no_value_of_a_config_fails_otherwise_than_by_name(case, opened):
    """Whatever stands for a key: the config is read, or an error of ours says why not."""
    folder, _, _ = opened(case)
    said = json.loads((folder / "config.json").read_text())
    changes = [(key, value) for key in (*said, "rope_scaling", "rope_theta", "layer_types") for value in ODD]
    for key, value in [*changes, *((f"rope_parameters/{k}", v) for k in said["rope_parameters"] for v in ODD)]:
        values = {**said, "rope_parameters": dict(said["rope_parameters"])}
        target, name = (values["rope_parameters"], key.split("/")[1]) if "/" in key else (values, key)
        target[name] = value
        message = error_of(values)
        assert message is None or re.match(r"(Decoder|DecoderConfig|rope_frequencies): ", message), (
            key,
            value,
            message,
        )


def error_of(values):
    """What is said of a config.json that can't be read, or None."""
    try:
        pf.models.Decoder.read_config(values)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("case", CASES)
def test_a_key_of_another_family_is_refused(case, opened):
    folder, _, _ = opened(case)
    said = json.loads((folder / "config.json").read_text())
    for key, value in (("clip_qkv", 8.0), ("num_local_experts", 8), ("quantization_config", {"bits": 4})):
        with pytest.raises(ValueError, match=key):
            pf.models.Decoder.read_config({**said, key: value})


def test_a_config_that_its_family_cannot_say_makes_no_model():
    sizes = {"vocab_size": 10, "context_length": 8, "num_layers": 1, "num_heads": 2, "embed_dim": 8}
    for family, says in (("llama", {"qk_norm": "head"}), ("qwen2", {}), ("mistral", {"qkv_bias": True})):
        config = pf.models.DecoderConfig(**sizes, family=family, **says)
        with pytest.raises(ValueError, match=f"family '{family}' doesn't have"):
            pf.models.Decoder(config)
    with pytest.raises(ValueError, match="model_type must be one of"):
        pf.models.Decoder(pf.models.DecoderConfig(**sizes, family="gpt-5"))


def test_the_page_of_models_that_open_has_each_family_with_its_class():
    page = (Path(__file__).parent.parent / "docs" / "open.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    said = {row[1].strip("`"): re.findall(r"\w+", row[2]) for row in rows[2:]}
    own = {model.model_type for model in pf.models._OWN_LAYOUT} | {"pyformer_llama"}
    assert set(said) == set(pf.models._BY_TYPE) - own
    for kind, classes in said.items():
        opener = pf.models._BY_TYPE[kind]
        assert opener.__self__.__name__ == classes[0] if hasattr(opener, "__self__") else classes[0] == "BERT"
    tested = {kind for kind, _ in CASES.values()}
    assert tested == {kind for kind, classes in said.items() if classes[0] in ("Llama", "Decoder")}


MODERN = {
    "modernbert": {"local_attention": 6, "num_hidden_layers": 4},
    "modernbert with biases": {
        "local_attention": 4,
        "attention_bias": True,
        "mlp_bias": True,
        "hidden_activation": "silu",
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
    },
}


@pytest.mark.parametrize("case", MODERN)
def test_an_encoder_equals_transformers_and_goes_back(case, tmp_path, caplog):
    torch.manual_seed(0)
    sizes = {key: value for key, value in SIZES.items() if key != "num_key_value_heads"}
    config = AutoConfig.for_model("modernbert", **{**sizes, **MODERN[case]})
    theirs = AutoModelForMaskedLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path / "theirs")
    model = pf.from_pretrained(tmp_path / "theirs")
    assert "head.dense.weight" in caplog.text
    exact = pf.from_pretrained(tmp_path / "theirs", dtype="float64")
    ids, _ = ids_and_targets()
    inner = theirs.model
    hidden = inner(torch.tensor(ids)).last_hidden_state
    factors = np.random.default_rng(1).standard_normal(hidden.shape).astype(np.float32)
    (hidden * torch.tensor(factors)).sum().backward()
    there = {name: p.grad.numpy() for name, p in inner.named_parameters()} | {"hidden": hidden.detach().numpy()}
    found = []
    for each in (exact, model):
        out = each(ids)
        (out * pf.tensor(factors.astype(out.numpy().dtype if each is model else np.float64))).sum().backward()
        found.append({**gradients(each), "hidden": out.detach().numpy()})
    assert set(found[1]) == set(there)
    for name, value in found[0].items():
        close = {"exact": by_rows(value, least=float(np.sqrt(np.mean(np.square(value)))))}
        assert_close(there[name], **close, what=name, additions=128, ops=MODEL_OPS)
        assert_close(found[1][name], **close, what=f"ours: {name}", additions=128, ops=MODEL_OPS)
    lengths = [11, 4, 7]
    padded, weights = model(ids, lengths=lengths, return_weights=True)
    assert [w.shape for w in weights] == [(3, 4, 11, 11)] * config.num_hidden_layers
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(padded.numpy()[row, :length], model(ids[row : row + 1, :length]).numpy()[0])
    model.save_pretrained(tmp_path / "ours")
    again = AutoModel.from_pretrained(tmp_path / "ours", attn_implementation="eager")
    assert type(again) is type(inner)
    np.testing.assert_array_equal(again(torch.tensor(ids)).last_hidden_state.detach().numpy(), there["hidden"])
    assert pf.from_pretrained(tmp_path / "ours").config == model.config


def test_an_embedding_model_without_a_prefix_and_a_head_opens(tmp_path):
    """As Qwen 3 Embedding's folders are; the last token's vector stands for the text."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("qwen3", **SIZES, head_dim=8, tie_word_embeddings=True)
    theirs = AutoModel.from_config(config, attn_implementation="eager").eval()
    theirs.save_pretrained(tmp_path)
    assert not any(name.startswith("model.") for name in load_file(tmp_path / "model.safetensors"))
    model = pf.from_pretrained(tmp_path)
    ids, _ = ids_and_targets()
    lengths = np.array([11, 4, 7])
    hidden = model.hidden(ids, lengths).numpy()
    for row, length in enumerate(lengths):
        expected = theirs(torch.tensor(ids[row : row + 1, :length])).last_hidden_state[0, -1].detach().numpy()
        assert_close(hidden[row, length - 1], by_rows(expected), additions=128, ops=MODEL_OPS)


# What says enough of a model; what it doesn't say, `transformers` takes to be something.
SHORT = {key: value for key, value in SIZES.items() if not key.endswith("_token_id") and "key_value" not in key}


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in CASES.values()} | {"modernbert"}))
def test_what_config_json_leaves_out_is_what_transformers_takes(kind):
    short = {**SHORT, "model_type": kind, "num_hidden_layers": 8, "num_attention_heads": 32, "hidden_size": 64}
    opener = pf.models.Encoder if kind == "modernbert" else pf.models.Llama
    opener = opener if kind in ("modernbert", "llama", "mistral") else pf.models.Decoder
    whole = AutoConfig.for_model(kind, **{key: value for key, value in short.items() if key != "model_type"}).to_dict()
    ours, theirs = opener.read_config(short), opener.read_config(json.loads(json.dumps(whole)))
    tokens = {"bos_token_id": None, "eos_token_id": None}
    assert replace(ours, **tokens) == replace(theirs, **tokens)


# What llama.cpp's files have no key for; the others go there and back.
NOT_IN_GGUF = {
    "llama with biases": "hidden_act must be 'silu'",
    "qwen2 with a window": "use_sliding_window must be False",
    "qwen2 with yarn": "rope_scaling of yarn must say",
    "smollm3 with a window": "use_sliding_window must be False",
    "gemma2 without caps": "attn_logit_softcapping must be a number",
}


def exact_in_float32(model):
    """The model, with what its config says rounded to float32, as GGUF's keys are."""
    scaling = model.config.rope_scaling
    if scaling is not None:
        rounded = {
            key: [float(np.float32(v)) for v in value] if isinstance(value, (list, tuple)) else value
            for key, value in scaling.items()
        }
        model = pf.models.Decoder(replace(model.config, rope_scaling=rounded))
    names = ("attention_scale", "residual_scale", "embed_scale", "logit_divisor")
    factors = {name: getattr(model.config, name) for name in names}
    rounded = {name: None if value is None else float(np.float32(value)) for name, value in factors.items()}
    if model.config.family == "granite":
        model = pf.models.Decoder(replace(model.config, **rounded))
    return model


@pytest.mark.parametrize("case", CASES)
def test_ours_to_gguf_to_ours(case, opened, tmp_path):
    """Equal weights and logits; the file's names are those that the gguf package has for the family."""
    gguf = pytest.importorskip("gguf", reason="the gguf package, the oracle, is not installed")
    _, _, said = opened(case)
    if case in NOT_IN_GGUF:
        with pytest.raises(ValueError, match=f"GGUF: {NOT_IN_GGUF[case]}"):
            said.save_pretrained(tmp_path / "m.gguf")
        return
    model = exact_in_float32(said)
    if model is not said:
        model.load_state_dict(said.state_dict())
    model.eval().save_pretrained(tmp_path / "m.gguf")
    again = pf.from_pretrained(tmp_path / "m.gguf")
    # A scale is its inverse square in config.json.
    scale = model.config.attention_scale
    assert again.config.attention_scale == (scale if scale is None else pytest.approx(scale, rel=1e-6))
    again_as = replace(
        again.config, norm_epsilon=model.config.norm_epsilon, attention_scale=scale, family=model.config.family
    )
    assert again_as == model.config
    if model.config.centred_norms:
        # 1 + weight is what there is, and what is computed with.
        model.load_state_dict(
            {n: ((t + 1.0) - 1.0).numpy() if "norm" in n else t.numpy() for n, t in model.state_dict().items()}
        )
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name].numpy(), tensor.numpy(), err_msg=name)
    ids = ids_and_targets()[0]
    close = model(ids).numpy()
    if scale in (None, again.config.attention_scale):
        np.testing.assert_array_equal(again(ids).numpy(), close)
    np.testing.assert_allclose(again(ids).numpy(), close, rtol=1e-5, atol=1e-5)

    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    arch = reader.fields["general.architecture"].contents()
    kind = next(kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[kind]} | {"output"}
    for tensor in reader.tensors:
        assert re.sub(r"^blk\.\d+", "blk.{bid}", tensor.name).removesuffix(".weight").removesuffix(".bias") in known
    keys = {
        value.replace("{arch}", arch)
        for group in (gguf.Keys.LLM, gguf.Keys.Attention, gguf.Keys.Rope, gguf.Keys.General)
        for value in vars(group).values()
        if isinstance(value, str)
    }
    assert {key for key in reader.fields if not key.startswith(("GGUF.", "tokenizer."))} <= keys


def test_gemma_files_without_a_scale_mean_that_of_their_size(opened, tmp_path):
    """The largest of each kind scales scores by the width of a head of the embedding."""
    from pyformer.formats.gguf.families import read_config
    from pyformer.formats.gguf.reader import GGUFFile

    _, _, model = opened("gemma2")
    for layers, wanted in ((2, 12), (46, 8)):
        config = replace(
            model.config, num_layers=layers, layer_types=("sliding_attention", "full_attention") * (layers // 2),
            attention_scale=wanted**-0.5,
        )  # fmt: skip
        pf.models.Decoder(config).save_pretrained(tmp_path / "m.gguf")
        file = GGUFFile(tmp_path / "m.gguf")
        assert "gemma2.attention.scale" not in file.metadata
        assert read_config(file)["query_pre_attn_scalar"] == wanted


def test_a_pattern_of_ones_own_is_written(opened, tmp_path):
    _, _, model = opened("gemma2")
    config = replace(model.config, layer_types=("full_attention", "sliding_attention"))
    ours = pf.models.Decoder(config).eval()
    ours.save_pretrained(tmp_path / "m.gguf")
    assert pf.from_pretrained(tmp_path / "m.gguf").config.layer_types == config.layer_types


def test_the_usual_scale_of_scores_is_written_out(tmp_path):
    """`transformers` refuses null for it, and takes 1 where it is not said; a GGUF file without it means the usual."""
    pf.manual_seed(0)
    config = pf.models.DecoderConfig(40, 64, num_layers=1, num_heads=2, embed_dim=64, family="granite")
    assert config.attention_scale is None
    model, ids = pf.models.Decoder(config).eval(), np.array([[1, 2, 3, 4]])
    for parameter in model.parameters():
        pf.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path / "model.gguf")
    wanted = model(ids).detach().numpy()
    np.testing.assert_array_equal(pf.from_pretrained(tmp_path)(ids).detach().numpy(), wanted)
    np.testing.assert_allclose(pf.from_pretrained(tmp_path / "model.gguf")(ids).detach().numpy(), wanted, atol=1e-4)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        np.testing.assert_allclose(theirs(torch.tensor(ids)).logits.numpy(), wanted, atol=1e-4)


LLAMA3 = {
    **{"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 8,
}


@pytest.mark.parametrize(
    "beside",
    [
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        {"rope_theta": 50.0},
        {"rope_parameters": LLAMA3, "original_max_position_embeddings": 64},
    ],
)
def test_where_a_file_says_positions_twice_transformers_is_followed_and_the_other_named(beside, tmp_path, caplog):
    kind = dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=16, intermediate_size=16, vocab_size=30)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **kind)).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    said = json.loads(path.read_text())
    assert said["rope_parameters"]["rope_type"] == "default"
    path.write_text(json.dumps({**said, **beside}))
    ids = np.arange(20).reshape(1, 20)
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path)(torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(pf.from_pretrained(tmp_path)(ids).detach().numpy(), theirs, atol=1e-4)
    assert "is followed" in caplog.text
