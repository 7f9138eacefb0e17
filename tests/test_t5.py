"""T5 and mT5 against the models of `transformers` that they share their files with."""

from __future__ import annotations

import json
import pickle
import re
import shutil

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.numpy import load_file
from tolerance import MODEL_OPS, assert_close, by_rows
from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationConfig
from transformers.models.t5.modeling_t5 import T5Attention

import pyformer as pf
from pyformer.models.t5_block import buckets

SIZES = {
    "vocab_size": 61,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.0,
    # So that texts of a dozen tokens come to the wide groups.
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
}
# A row a case: model_type, whether the last projection is of its own, what the config says beside SIZES.
CASES = {
    "t5": ("t5", False, {"num_decoder_layers": 3}),
    "t5 v1.1": ("t5", True, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "gated silu": ("t5", False, {"feed_forward_proj": "gated-silu"}),
    "mt5": ("mt5", True, {}),
}
SOURCE_LENGTHS = np.array([13, 4, 9])


def texts(seed=0):
    rng = np.random.default_rng(seed)
    source, target = rng.integers(2, 61, (3, 13)), rng.integers(2, 61, (3, 12))
    target[:, 0] = 0
    return source, target


def seen():
    return torch.tensor(np.arange(13) < SOURCE_LENGTHS[:, None]).long()


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """(the folder that `transformers` saved, their model, ours) of a case; nobody changes them."""
    made = {}

    def of(case):
        if case not in made:
            kind, own_head, says = CASES[case]
            torch.manual_seed(0)
            config = AutoConfig.for_model(kind, **{**SIZES, **says})
            theirs = AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager").eval()
            if own_head:
                theirs.lm_head.weight = torch.nn.Parameter(0.3 * torch.randn(61, 32))
            with torch.no_grad():
                for parameter in theirs.parameters():
                    parameter += 0.1 * torch.randn_like(parameter)
                for stack in (theirs.encoder, theirs.decoder):
                    stack.block[0].layer[0].SelfAttention.relative_attention_bias.weight.normal_()
                for block in theirs.decoder.block:  # so that the source matters
                    block.layer[1].EncDecAttention.o.weight *= 8.0
                theirs.lm_head.weight[1] *= 0.5  # and texts don't end at once
            folder = tmp_path_factory.mktemp("t5")
            theirs.save_pretrained(folder)
            made[case] = folder, theirs, pf.from_pretrained(folder)
        return made[case]

    return of


def of_theirs(model, source, target, **more):
    ids = {"input_ids": torch.tensor(source), "decoder_input_ids": torch.tensor(target)}
    return model(**ids, attention_mask=seen(), **more).logits


@pytest.mark.parametrize("case", CASES)
def test_logits_loss_and_all_gradients_equal_transformers(case, opened):
    folder, theirs, model = opened(case)
    exact = pf.from_pretrained(folder, dtype="float64")
    assert type(model) is pf.models.T5
    assert model.config.tied == (not CASES[case][1])
    source, target = texts()
    logits = of_theirs(theirs, source, target[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(target[:, 1:]).flatten())
    theirs.zero_grad()
    loss.backward()
    wanted, ours = {}, {}
    for each, kept in ((exact, wanted), (model, ours)):
        each.zero_grad()
        kept["logits"] = each(source, target[:, :-1], SOURCE_LENGTHS).numpy()
        mean = each.loss(source, target, SOURCE_LENGTHS)
        mean.backward()
        kept["loss"] = mean.numpy()
        kept |= {each.layout.written_name(name): p.grad.numpy() for name, p in each.named_parameters()}
    there = {"logits": logits, "loss": loss, **{name: p.grad for name, p in theirs.named_parameters()}}
    assert set(there) == set(ours)
    for name, value in wanted.items():
        close = {"exact": by_rows(value, least=float(np.sqrt(np.mean(np.square(value)))))}
        assert_close(there[name].detach().numpy(), **close, what=name, additions=128, ops=MODEL_OPS)
        assert_close(ours[name], **close, what=f"ours: {name}", additions=128, ops=MODEL_OPS)


@pytest.mark.parametrize("case", CASES)
def test_what_is_saved_here_opens_there(case, opened, tmp_path):
    folder, theirs, model = opened(case)
    model.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == set(load_file(folder / "model.safetensors"))
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, attn_implementation="eager")
    assert type(again) is type(theirs)
    source, target = texts()
    logits = of_theirs(theirs, source, target).detach().numpy()
    np.testing.assert_array_equal(of_theirs(again, source, target).detach().numpy(), logits)
    for same in (pf.from_pretrained(tmp_path), pickle.loads(pickle.dumps(model))):
        assert same.config == model.config
        np.testing.assert_array_equal(same(source, target).numpy(), model(source, target).numpy())


@pytest.mark.parametrize("case", CASES)
def test_translations_are_those_of_transformers(case, opened):
    _, theirs, model = opened(case)
    source, _ = texts()
    ours = model.translate(source, SOURCE_LENGTHS, max_new_tokens=15)
    # Their cache has as many layers as the encoder.
    options = {"max_new_tokens": 15, "do_sample": False, "num_beams": 1, "use_cache": False}
    out = theirs.generate(torch.tensor(source), attention_mask=seen(), **options)
    rows = [row[1:].tolist() for row in out]
    assert ours == [row[: row.index(1)] if 1 in row else row for row in rows]
    assert len({tuple(row) for row in ours}) > 1


GENERATION = {"num_beams": 3, "length_penalty": 0.5, "max_length": 9, "decoder_start_token_id": 5}
GENERATION |= {"eos_token_id": [1, 7, 11], "pad_token_id": 0, "early_stopping": True}


@pytest.mark.parametrize("says", [{}, {"early_stopping": False, "length_penalty": 2.0}, {"num_beams": 1}])
def test_generation_config_is_followed_as_transformers_does(says, opened, tmp_path, caplog):
    folder, theirs, _ = opened("t5")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    says = {**GENERATION, **says}
    (tmp_path / "generation_config.json").write_text(json.dumps(says))
    model, (source, _) = pf.from_pretrained(tmp_path), texts()
    assert "generation_config" not in caplog.text
    ours = model.translate(source, SOURCE_LENGTHS)
    settings = GenerationConfig(**says, use_cache=False)
    out = theirs.generate(torch.tensor(source), attention_mask=seen(), generation_config=settings)
    ends = set(says["eos_token_id"])
    for row, text in zip(out.tolist(), ours, strict=True):
        assert row[0] == 5
        whole = [token for token in row[1:] if token]
        assert text == (whole[:-1] if whole[-1] in ends else whole)
    assert model.translate(source, SOURCE_LENGTHS, beams=1, max_new_tokens=2) != ours
    for key, value in (("do_sample", True), ("repetition_penalty", 2.0)):
        model.generation_config = {**says, key: value}
        with pytest.raises(ValueError, match=rf"generation_config.json: T5.translate doesn't do what {key} say"):
            model.translate(source)
    for key, value in (("decoder_start_token_id", 61), ("decoder_start_token_id", "x"), ("num_beams", 0)):
        model.generation_config = {**says, key: value}
        with pytest.raises((ValueError, TypeError), match=f"generation_config.json: .*{key} must be"):
            model.translate(source)


@pytest.mark.parametrize("case", ["t5", "t5 v1.1"])
def test_translating_with_a_cache_equals_full_passes_bit_for_bit(case, opened):
    _, _, model = opened(case)
    from pyformer.models.translation import Translation

    source, target = texts()
    with pf.nn.inference():
        memory, lengths = model.encode(source, SOURCE_LENGTHS)
        state = Translation(model, memory, lengths, 1, 4)
        logits = model(source, target, SOURCE_LENGTHS).to(pf.float64)
        whole = pf.ops.log_softmax(logits).numpy()
        for step in range(target.shape[1]):
            got = state.extend(target[:, step], np.arange(3))
            np.testing.assert_array_equal(got, whole[:, step])


def test_beams_find_what_is_at_least_as_likely(opened):
    _, _, model = opened("t5")
    source, _ = texts()

    def score(row, text):
        whole = np.array([[0, *text, 1]])
        return -model.loss(source[row : row + 1], whole).item() * (len(text) + 1)

    greedy = model.translate(source, max_new_tokens=6)
    beams = model.translate(source, max_new_tokens=6, beams=3, length_penalty=0.0)
    ended = [row for row in range(3) if len(greedy[row]) < 6 and len(beams[row]) < 6]
    assert all(score(row, beams[row]) >= score(row, greedy[row]) - 1e-4 for row in ended)
    assert beams == [
        model.translate(source[i : i + 1], max_new_tokens=6, beams=3, length_penalty=0.0)[0] for i in range(3)
    ]


def test_padding_changes_no_bits_and_weights_come_along(opened):
    _, _, model = opened("t5")
    source, target = texts()
    ends = np.array([12, 5, 7])
    logits, weights = model(source, target, SOURCE_LENGTHS, ends, return_weights=True)
    np.testing.assert_array_equal(logits.numpy(), model(source, target, SOURCE_LENGTHS, ends).numpy())
    assert [w.shape for w in weights["encoder"]] == [(3, 4, 13, 13)] * 2
    assert [w.shape for w in weights["cross"]] == [(3, 4, 12, 13)] * 3
    for row, (length, end) in enumerate(zip(SOURCE_LENGTHS, ends, strict=True)):
        alone = model(source[row : row + 1, :length], target[row : row + 1, :end]).numpy()
        np.testing.assert_array_equal(logits.numpy()[row, :end], alone[0])


@pytest.mark.parametrize(("count", "farthest"), [(32, 128), (8, 10), (64, 500), (32, 100), (4, 8)])
@pytest.mark.parametrize("both_sides", [True, False])
def test_groups_of_distances_are_those_of_transformers(count, farthest, both_sides):
    positions = np.array([0, 3, 700])
    distance = torch.arange(1500)[None] - torch.tensor(positions)[:, None]
    wanted = T5Attention._relative_position_bucket(distance, both_sides, count, farthest).numpy()
    np.testing.assert_array_equal(buckets(positions, 1500, both_sides, count, farthest).numpy(), wanted)


def test_training_learns_and_drops_out():
    pf.manual_seed(0)
    model = pf.models.T5(pf.models.T5Config(12, 1, 2, 16, gated=True, activation="gelu_tanh")).train()
    source = np.random.default_rng(0).integers(2, 12, (8, 5))
    target = np.concatenate([np.zeros((8, 1), int), source, np.ones((8, 1), int)], axis=1)
    assert model.loss(source, target).item() != model.loss(source, target).item()
    optimizer, losses = pf.optim.AdamW(model.parameters(), lr=1e-2), []
    for _ in range(60):
        loss = model.loss(source, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
    assert model.encoder[0].attention.distances.weight.grad.numpy().any()


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ({"feed_forward_proj": "mish", "dense_act_fn": "mish"}, "feed_forward_proj must be one of"),
        ({"feed_forward_proj": 3}, "feed_forward_proj must be a string"),
        ({"dense_act_fn": "silu"}, "dense_act_fn must be 'relu'"),
        ({"is_gated_act": True}, "is_gated_act must be False"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder must be True"),
        ({"eos_token_id": [1, 2]}, r"eos_id must be in \[0, 61\), got \[1, 2\]"),
        ({"decoder_start_token_id": 61}, "bos_id must be in"),
        ({"relative_attention_num_buckets": 7}, "num_buckets must be even"),
        ({"relative_attention_max_distance": 4}, "max_distance must be above"),
        ({"scale_decoder_outputs": "yes"}, "scaled must be a bool"),
        ({"alpha": 2.0}, "unknown alpha"),
        ({"model_type": "umt5"}, "model_type must be one of"),
        ({"d_kv": 5}, "must be"),
        ({"num_layers": 1}, "unexpected"),
    ],
)
def test_what_is_not_followed_is_refused(says, message, opened, tmp_path):
    folder, _, _ = opened("t5")
    values = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, **says}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises((ValueError, TypeError), match=message):
        pf.models.T5.from_pretrained(tmp_path)


ODD = (None, True, -1, 0, 7, 2.5, 1e308, float("nan"), 10**30, "x", [], [1], {}, {"a": 1}, [[]] * 2)


def test_no_value_of_a_config_fails_otherwise_than_by_name(opened):
    folder, _, _ = opened("t5")
    said = json.loads((folder / "config.json").read_text())
    for key in said:
        for value in ODD:
            message = error_of({**said, key: value})
            assert message is None or re.match(r"T5(Config)?: ", message), (key, value, message)


def error_of(values):
    """What is said of a config.json that can't be read, or None."""
    try:
        pf.models.T5.read_config(values)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("case", ["t5", "t5 v1.1"])
def test_matrices_of_8_bits_translate_and_are_saved(case, opened, tmp_path):
    model = pf.from_pretrained(opened(case)[0], quantize="q8")
    assert model.head.quantized is not None
    source, _ = texts()
    model.save_pretrained(tmp_path)
    found = model.translate(source, SOURCE_LENGTHS, max_new_tokens=5)
    assert pf.from_pretrained(tmp_path).translate(source, SOURCE_LENGTHS, max_new_tokens=5) == found


def test_its_tokenizer_needs_tokenizer_json_only(tmp_path):
    """T5's is a unigram: whole texts have the likeliest pieces, a space is a letter, and the end is added."""
    words = [(piece, -float(i % 5) - 2) for i, piece in enumerate(["▁", "▁the", "▁cat", "s", *"acehtd"])]
    theirs = tokenizers.Tokenizer(
        tokenizers.models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *words], unk_id=2)
    )
    theirs.pre_tokenizer, theirs.decoder = tokenizers.pre_tokenizers.Metaspace(), tokenizers.decoders.Metaspace()
    theirs.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    theirs.add_special_tokens(["<pad>", "</s>", "<unk>"])
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = pf.load_tokenizer(tmp_path)
    for text in ("the cats chat", "a  dead cat é the", "", " that"):
        ids = ours.encode(text).tolist()
        assert [*ours.template[0], *ids, *ours.template[1]] == theirs.encode(text).ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)
        stream = ours.stream_decoder()
        assert "".join(map(stream.push, ids)) + stream.finish() == theirs.decode(ids, skip_special_tokens=False)


def test_what_is_done_otherwise_is_named(opened, tmp_path, caplog):
    folder, _, _ = opened("t5")
    values = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "dropout_rate": 0.1, "num_beams": 4}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    pf.from_pretrained(tmp_path)
    assert "dropout_rate 0.1" in caplog.text
    assert "num_beams 4" in caplog.text


def test_configs_that_files_can_not_say_are_refused():
    for says, message in (
        ({"gated": True, "activation": "gelu"}, "must not be 'gelu'"),
        ({"family": "mt5"}, "scaled must be False"),
        ({"family": "t6"}, "family must be one of"),
        ({"num_heads": 3}, "must divide"),
    ):
        with pytest.raises(ValueError, match=message):
            pf.models.T5Config(**{"vocab_size": 20, "num_layers": 1, "num_heads": 2, "embed_dim": 8, **says})
