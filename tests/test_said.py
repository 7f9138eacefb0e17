"""What the files of a model say is followed, refused or named in a warning, and what was opened says it again."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tolerance import same_bits

import pyformer as pf
from pyformer.models import by_name
from pyformer.models.config import PROBLEMS

models = pf.models
IDS = [[1, 2, 3, 4]]


def read(folder, name="config.json"):
    return json.loads((folder / name).read_text())


def rewrite(folder, name="config.json", **changes):
    (folder / name).write_text(json.dumps({**read(folder, name), **changes}))


def rewrite_tensors(folder, **tensors):
    path = str(folder / "model.safetensors")
    save_file({**load_file(path), **tensors}, path, {"format": "pt"})


def saved_again(model, folder):
    model.save_pretrained(folder / "again")
    return folder / "again"


def tied_model(kind):
    if kind == "gpt":
        return models.GPT(models.GPTConfig(50, 16, num_layers=1, num_heads=2, embed_dim=16)).eval()
    return models.Llama(models.LlamaConfig(50, 16, num_layers=1, num_heads=2, embed_dim=16, tied=True)).eval()


HEAD = np.random.default_rng(0).standard_normal((50, 16)).astype(np.float32)


@pytest.mark.parametrize("kind", ["gpt", "llama"])
@pytest.mark.parametrize("shard_bytes", [1 << 30, 2000])
def test_a_head_of_its_own_is_used_though_the_config_says_tied(kind, shard_bytes, tmp_path, caplog):
    model = tied_model(kind)
    model.save_pretrained(tmp_path)
    rewrite_tensors(tmp_path, **{"lm_head.weight": HEAD})
    opened = pf.from_pretrained(tmp_path)
    assert "lm_head.weight differs" in caplog.text
    wanted = pf.ops.linear(model.hidden(IDS), pf.tensor(HEAD)).numpy()
    np.testing.assert_array_equal(opened(IDS).numpy(), wanted)
    assert not opened.config.tied
    opened.save_pretrained(tmp_path / "again", shard_bytes=shard_bytes)
    assert read(tmp_path / "again")["tie_word_embeddings"] is False
    caplog.clear()
    np.testing.assert_array_equal(pf.from_pretrained(tmp_path / "again")(IDS).numpy(), wanted)
    assert caplog.text == ""
    transformers = pytest.importorskip("transformers")

    with torch.no_grad():
        for folder in (tmp_path, tmp_path / "again"):
            theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()(torch.tensor(IDS)).logits
            np.testing.assert_allclose(theirs.numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt", "llama"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_head_that_repeats_the_embedding_stays_tied(kind, dtype, tmp_path, caplog):
    model = tied_model(kind)
    model.save_pretrained(tmp_path)
    embedding = next(iter(model.parameters())).detach().numpy()
    rewrite_tensors(tmp_path, **{"lm_head.weight": embedding.astype(dtype)})
    opened = pf.from_pretrained(tmp_path, dtype="float32")
    assert opened.config.tied
    assert caplog.text == ""
    np.testing.assert_array_equal(opened(IDS).numpy(), model(IDS).numpy())


def test_a_head_that_differs_in_its_last_row_alone_is_found(tmp_path, monkeypatch):
    model = tied_model("gpt")
    model.save_pretrained(tmp_path)
    head = model.wte.weight.detach().numpy().copy()
    head[-1, -1] += 1.0
    rewrite_tensors(tmp_path, **{"lm_head.weight": head})
    monkeypatch.setattr(pf.formats.weights, "CHUNK_BYTES", 256)
    assert not pf.from_pretrained(tmp_path).config.tied


def test_a_head_of_another_shape_is_refused(tmp_path):
    tied_model("gpt").save_pretrained(tmp_path)
    rewrite_tensors(tmp_path, **{"lm_head.weight": np.zeros((60, 16), np.float32)})
    with pytest.raises(ValueError, match=r"lm_head.weight must be \(50, 16\), got \(60, 16\)"):
        pf.from_pretrained(tmp_path)


def test_an_untied_gpt_is_trained_and_saved(tmp_path):
    model = models.GPT(models.GPTConfig(50, 16, num_layers=1, num_heads=2, embed_dim=16, tied=False))
    model.loss([[1, 2]], [[2, 3]]).backward()
    assert model.lm_head.weight.grad is not None
    model.eval().save_pretrained(tmp_path)
    np.testing.assert_array_equal(pf.from_pretrained(tmp_path)(IDS).numpy(), model(IDS).numpy())


BERT = {"vocab_size": 20, "context_length": 8, "num_layers": 1, "num_heads": 1, "embed_dim": 8}
VIT = {"image_size": 4, "patch_size": 2, "num_layers": 1, "num_heads": 1, "embed_dim": 8}


def classifier(kind, count, **options):
    if kind == "bert":
        return models.BertClassifier(models.BertConfig(**BERT, num_labels=count, dropout=0.0, **options))
    return models.ViT(models.ViTConfig(**VIT, num_classes=count, **options))


def examples(kind, batch=2):
    return [[1, 2, 3]] * batch if kind == "bert" else pf.ones(batch, 1, 4, 4)


CLASSIFIERS = ("bert", "vit")


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_names_of_labels_and_the_kind_of_problem_are_kept(kind, tmp_path):
    classifier(kind, 3).save_pretrained(tmp_path)
    assert read(tmp_path)["id2label"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
    said = {
        "id2label": {"2": "so so", "0": "sad", "1": "glad"},
        "label2id": {"sad": 0, "glad": 1, "so so": 2},
        "problem_type": "single_label_classification",
    }
    rewrite(tmp_path, **said)
    opened = pf.from_pretrained(tmp_path)
    assert opened.config.labels == ("sad", "glad", "so so")
    again = read(saved_again(opened, tmp_path))
    assert {name: again[name] for name in said} == said
    # Of the config alone, too.
    assert read(saved_again(type(opened)(opened.config), tmp_path))["id2label"] == said["id2label"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id2label": {"0": "a", "2": "b"}}, "id2label must have the keys '0' to '1'"),
        ({"id2label": {"a": 0, "b": 1}}, "id2label must have the keys"),
        ({"id2label": None, "label2id": {"a": 0, "b": 2}}, "or label2id these values, got"),
        ({"id2label": None, "label2id": {"a": 0, "b": 1, "c": 1}}, "label2id"),
        ({"id2label": None, "label2id": ["a", "b"]}, "label2id these values"),
        ({"label2id": {"a": 0, "b": 1, "c": 2}}, "label2id must have 2 names"),
        ({"id2label": None, "label2id": {"a": 0, "b": 1, "c": 2}, "num_labels": 2}, "num_labels must be 3"),
        ({"num_labels": 3}, "num_labels must be 2 as there are names"),
        ({"problem_type": "ranking"}, "problem_type must be one of"),
    ],
)
def test_labels_that_make_no_sense_are_refused(changes, message, tmp_path):
    classifier("bert", 2).save_pretrained(tmp_path)
    rewrite(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        pf.from_pretrained(tmp_path)


@pytest.mark.parametrize("numbers", [{"a": 1, "b": 0}, {"c": 0, "d": 1}, {"a": 0, "b": 1, "c": 2}])
def test_a_label2id_that_contradicts_is_named(numbers, tmp_path, caplog):
    classifier("bert", 2).save_pretrained(tmp_path)
    rewrite(tmp_path, id2label={"0": "a", "1": "b"}, label2id=numbers)
    assert pf.from_pretrained(tmp_path).config.labels == ("a", "b")
    assert "label2id" in caplog.text


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("names", [None, {}, {"0": "LABEL_0", "1": "LABEL_1"}])
@pytest.mark.parametrize("numbers", [{"sad": 1, "glad": 0}, {"sad": "1", "glad": "0"}])
def test_names_that_only_label2id_has_are_followed(numbers, names, kind, tmp_path, caplog):
    classifier(kind, 2).save_pretrained(tmp_path)
    rewrite(tmp_path, id2label=names, label2id=numbers)
    opened = pf.from_pretrained(tmp_path)
    assert opened.config.labels == ("glad", "sad")
    assert "label2id" not in caplog.text
    again = read(saved_again(opened, tmp_path))
    assert again["id2label"] == {"0": "glad", "1": "sad"}
    assert again["label2id"] == {"glad": 0, "sad": 1}


def test_num_labels_counts_where_there_are_no_names(tmp_path):
    classifier("bert", 3).save_pretrained(tmp_path)
    config = read(tmp_path)
    del config["id2label"], config["label2id"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_labels": 3}))
    assert pf.from_pretrained(tmp_path).config.num_labels == 3


YES_NO = [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize(
    ("count", "problem", "labels"),
    [
        (3, None, [2, 0]),
        (3, "single_label_classification", [2, 0]),
        (3, None, YES_NO),
        (3, "multi_label_classification", YES_NO),
        (3, "multi_label_classification", [[1, 0, 1], [0, 0, 1]]),
        (3, "regression", [[0.5, -2.0, 1.0], [0.0, 1.0, 3.0]]),
        (1, None, [0.5, -2.0]),
        (1, None, [1, 0]),
        (1, None, [[0.5], [-2.0]]),
        (1, "regression", [0.5, -2.0]),
        (1, "multi_label_classification", [[1.0], [0.0]]),
    ],
)
def test_the_loss_follows_the_kind_of_problem(kind, count, problem, labels, tmp_path):
    model = classifier(kind, count, problem_type=problem).eval()
    inputs = examples(kind)
    loss = model.loss(inputs, labels)
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model.save_pretrained(tmp_path)
    cls = transformers.BertForSequenceClassification if kind == "bert" else transformers.ViTForImageClassification
    theirs = cls.from_pretrained(tmp_path).eval()
    soft = problem in ("regression", "multi_label_classification") or count == 1
    given = torch.tensor(labels, dtype=torch.float32 if soft or labels is YES_NO else torch.int64)
    wanted = theirs(torch.tensor(np.asarray(inputs)), labels=given).loss
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    tensor = model.loss(inputs, pf.tensor(labels))
    assert tensor.item() == pytest.approx(loss.item(), rel=1e-6)
    loss.backward()
    assert all(p.grad is not None for p in model.classifier.parameters())


RAGGED = [[1], [1, 2]]


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("problem", [None, *PROBLEMS])
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (RAGGED, ValueError, "rows of labels differ in length"),
        (["a", "b"], TypeError, "labels must be (integers|numbers), got <U1"),
        (None, TypeError, "labels must be (integers|numbers), got object"),
        ([[0, 1], [1, 2]], ValueError, r"labels must be \("),
    ],
)
def test_errors_of_labels_name_them(labels, error, message, problem, kind):
    with pytest.raises(error, match=f"^(BertClassifier|ViT): {message}"):
        classifier(kind, 3, problem_type=problem).loss(examples(kind), labels)


def test_a_label_out_of_range_is_named():
    with pytest.raises(IndexError, match=r"^BertClassifier: labels must be in \[0, 3\), or -100 for none, got 3"):
        classifier("bert", 3).loss(examples("bert"), [-100, 3])


def test_other_arguments_that_are_ragged_or_no_numbers_are_named():
    dit = models.DiT(models.DiTConfig(4, 2, num_classes=3, num_layers=1, num_heads=1, embed_dim=8))
    pictures = np.zeros((2, 1, 4, 4), np.float32)
    for bad, error in ((RAGGED, ValueError), (["a", "b"], TypeError)):
        for call in (lambda: dit(pictures, bad, [0, 1]), lambda: dit.loss(pictures, [0, 1], bad, pictures)):  # noqa: B023
            with pytest.raises(error, match=r"^DiT: times must be numbers, in rows of one length: "):
                call()
        with pytest.raises(error, match=r"^DiT: pictures must be numbers, in rows of one length: "):
            dit(bad, [0.5, 0.5], [0, 1])
    with pytest.raises(ValueError, match=r"^BERT: rows of lengths differ in length; expected one shape for all$"):
        models.BERT(models.BertConfig(**BERT))([[1, 2]] * 2, lengths=RAGGED)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_one_label_of_which_the_number_is_asked_for_is_refused(kind):
    model = classifier(kind, 1, problem_type="single_label_classification")
    with pytest.raises(ValueError, match="problem_type must be 'regression'"):
        model.loss(examples(kind), [0, 0])
    with pytest.raises(ValueError, match=r"labels must be \(2, 3\), got \(2, 2\)"):
        classifier(kind, 3, problem_type="regression").loss(examples(kind), [[0.0, 1.0]] * 2)


def test_what_is_not_followed_is_written_again(tmp_path):
    classifier("bert", 2).save_pretrained(tmp_path)
    said = {
        "pad_token_id": 7,
        "classifier_dropout": 0.3,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.01,
        "task": {"name": "mood"},
    }
    rewrite(tmp_path, dtype="bfloat16", transformers_version="5.0", **said)
    again = read(saved_again(pf.from_pretrained(tmp_path), tmp_path))
    assert {name: again[name] for name in said} == said
    assert again["torch_dtype"] == "float32"
    assert not {"dtype", "transformers_version"} & set(again)


@pytest.mark.parametrize(("kind", "key"), [("gpt", "mood"), ("llama", "unsloth_version")])
def test_tokens_and_keys_without_a_meaning_are_written_again(kind, key, tmp_path, caplog):
    tied_model(kind).save_pretrained(tmp_path)
    said = {"bos_token_id": 3, "eos_token_id": [4, 5], "pad_token_id": 6, key: "glad"}
    rewrite(tmp_path, **said)
    opened = pf.from_pretrained(tmp_path)
    assert ("mood" in caplog.text) == (kind == "gpt")
    again = read(saved_again(opened, tmp_path))
    assert {name: again[name] for name in said} == said


def test_an_unknown_key_of_a_decoder_is_refused_unless_it_says_nothing(tmp_path):
    tied_model("llama").save_pretrained(tmp_path)
    rewrite(tmp_path, clip_qkv=None, use_parallel_residual=False)
    pf.from_pretrained(tmp_path)
    rewrite(tmp_path, clip_qkv=8.0)
    with pytest.raises(ValueError, match="unknown clip_qkv, which may change what is computed"):
        pf.from_pretrained(tmp_path)


def test_generation_config_is_read_and_written_again(tmp_path):
    tied_model("llama").save_pretrained(tmp_path)
    assert not (tmp_path / "generation_config.json").exists()
    said = {"eos_token_id": [4, 5], "temperature": 0.6}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    opened = pf.from_pretrained(tmp_path)
    assert opened.generation_config == said
    assert read(saved_again(opened, tmp_path), "generation_config.json") == said
    opened.generation_config = None  # forgets it, and no other model's is left in its place
    opened.save_pretrained(tmp_path)
    assert pf.from_pretrained(tmp_path).generation_config is None
    assert {path.name for path in tmp_path.iterdir()} == {"again", "config.json", "model.safetensors"}


TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "sep_token_id", "suppress_tokens")


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("kind", ["gpt", "llama"])
def test_tokens_outside_the_vocabulary_are_named_once_and_kept(kind, name, tmp_path, caplog):
    model = tied_model(kind)
    model.save_pretrained(tmp_path)
    for file in ("config.json", "generation_config.json"):
        if file != "config.json":
            (tmp_path / file).write_text(json.dumps({"temperature": 0.5}))
        kept = read(tmp_path, file)
        for inside, outside in ((49, 50), (0, -1), (7, 1 << 40)):
            several = name in ("suppress_tokens", "eos_token_id")
            for value, said in ((inside, False), (outside, True), *([([3, outside], True)] if several else [])):
                rewrite(tmp_path, file, **{name: value})
                caplog.clear()
                opened = pf.from_pretrained(tmp_path)
                named = [m for m in caplog.messages if f"outside the vocabulary of 50 tokens: {name} {outside}" in m]
                assert len(named) == said, caplog.messages
                assert read(saved_again(opened, tmp_path), file)[name] == value
                assert opened.generate(IDS, 3, seed=0).shape == (1, 7)
        (tmp_path / file).write_text(json.dumps(kept))


def test_an_end_that_no_text_has_is_named_whatever_the_model(tmp_path, caplog):
    sizes = {"vocab_size": 50, "context_length": 8, "num_layers": 1, "num_heads": 2, "embed_dim": 16}
    for kind in by_name.LANGUAGE_MODELS:
        config = dataclasses.replace(by_name.language_config(kind, **sizes), eos_token_id=50)
        by_name.language_model(kind, config).save_pretrained(tmp_path / kind)
        caplog.clear()
        pf.from_pretrained(tmp_path / kind)
        said = f"{tmp_path / kind}: outside the vocabulary of 50 tokens: eos_token_id 50"
        assert caplog.messages.count(said) == 1, (kind, caplog.messages)
        with pytest.raises(TypeError, match="eos_token_id must be an int"):
            dataclasses.replace(config, eos_token_id="x")


def test_generate_follows_generation_config(tmp_path, caplog):
    """Where it is told nothing else; what it does not follow is named when the folder is opened, and kept."""
    model = tied_model("llama")
    model.save_pretrained(tmp_path)
    ids = [[1, 2, 3]]

    def opened(**said):
        (tmp_path / "generation_config.json").write_text(json.dumps(said))
        return pf.from_pretrained(tmp_path)

    def rows(model, **options):
        return [model.generate(ids, 4, seed=seed, **options).tolist() for seed in range(8)]

    plain, greedy = rows(model), rows(model, temperature=0)
    assert plain != greedy
    assert rows(opened(do_sample=False, temperature=0.7)) == greedy
    assert rows(opened(do_sample=False), temperature=1.0) == plain
    assert rows(opened(do_sample=True, top_k=1)) == greedy
    assert rows(opened(top_p=1e-9)) == greedy
    assert rows(opened(top_p=1e-9), top_p=1.0) == plain
    assert rows(opened(top_k=0, eos_token_id=None, use_cache=True, transformers_version="5.0")) == plain
    assert rows(opened(temperature=0.3)) == rows(model, temperature=0.3)
    first = greedy[0][0][3]
    stopped = opened(do_sample=False, eos_token_id=[first], pad_token_id=0)
    assert rows(stopped) == rows(model, temperature=0, stop=first)
    assert rows(stopped, stop=()) == greedy
    padded = opened(do_sample=False, eos_token_id=[first], pad_token_id=5)
    assert padded.generate(ids, 4).tolist() == [[*ids[0], first, 5, 5, 5]]
    assert padded.generate(ids, 4, pad_id=0).tolist() == [[*ids[0], first, 0, 0, 0]]
    stopped.generation_config = None
    assert rows(stopped) == plain
    assert caplog.text == ""
    said = {"no_repeat_ngram_size": 3, "num_return_sequences": 4, "do_sample": False}
    model = opened(**said)
    assert "keys that are ignored: no_repeat_ngram_size, num_return_sequences" in caplog.text
    assert read(saved_again(model, tmp_path), "generation_config.json") == said
    with pytest.raises(TypeError, match="generate: temperature must be a number"):
        opened(temperature="hot").generate(ids, 1)


def test_what_a_decoders_config_says_of_generating_is_named(tmp_path, caplog):
    tied_model("llama").save_pretrained(tmp_path)
    nothing = {"do_sample": False, "top_k": 50, "temperature": 1.0, "num_beams": 1, "bad_words_ids": None}
    rewrite(tmp_path, **nothing, max_length=20, eos_token_id=3)
    pf.from_pretrained(tmp_path)
    assert caplog.text == ""
    said = {"do_sample": True, "repetition_penalty": 1.3, "suppress_tokens": [3]}
    rewrite(tmp_path, **said)
    opened = pf.from_pretrained(tmp_path)
    assert "config.json says do_sample True, repetition_penalty 1.3, suppress_tokens [3]: `generate` fol" in caplog.text
    again = read(saved_again(opened, tmp_path))
    assert {name: again[name] for name in said} == said


def test_a_llama_with_a_window_is_refused(tmp_path):
    """Mistral has the key; in a llama's file it may be meant or left over, and is not guessed."""
    model = tied_model("llama")
    model.save_pretrained(tmp_path)
    rewrite(tmp_path, sliding_window=2)
    with pytest.raises(ValueError, match="sliding_window"):
        pf.from_pretrained(tmp_path)
    rewrite(tmp_path, sliding_window=None)
    ids = [[1, 2, 3, 4, 5, 6]]
    assert same_bits(pf.from_pretrained(tmp_path)(ids).numpy(), model.eval()(ids).numpy())


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (lambda: tied_model("gpt"), "attn_pdrop", 0.1),
        (lambda: tied_model("gpt"), "embd_pdrop", 0.2),
        (lambda: classifier("bert", 2), "attention_probs_dropout_prob", 0.1),
        (lambda: classifier("bert", 2), "classifier_dropout", 0.2),
        (lambda: classifier("vit", 2), "attention_probs_dropout_prob", 0.1),
    ],
)
def test_dropout_that_is_not_done_is_named(make, name, value, tmp_path, caplog):
    make().save_pretrained(tmp_path)
    pf.from_pretrained(tmp_path)
    assert caplog.text == ""
    rewrite(tmp_path, **{name: value})
    opened = pf.from_pretrained(tmp_path)
    assert f"{name} {value}" in caplog.text
    assert read(saved_again(opened, tmp_path))[name] == value


@pytest.mark.parametrize(
    ("make", "tensor"),
    [
        (lambda: models.BERT(models.BertConfig(**BERT)), "cls.predictions.bias"),
        (lambda: models.BERT(models.BertConfig(**BERT)), "classifier.weight"),
        (lambda: classifier("bert", 2), "cls.seq_relationship.bias"),
        (lambda: classifier("vit", 2), "pooler.dense.bias"),
    ],
)
def test_parts_that_are_left_out_are_named(make, tensor, tmp_path, caplog):
    make().save_pretrained(tmp_path)
    rewrite_tensors(tmp_path, **{tensor: np.ones(3, np.float32)})
    pf.from_pretrained(tmp_path)
    assert tensor in caplog.text


def test_masks_of_old_files_say_nothing_new(tmp_path, caplog):
    tied_model("gpt").save_pretrained(tmp_path)
    rewrite_tensors(tmp_path, **{"transformer.h.0.attn.bias": np.tri(16, dtype=np.float32)[None, None]})
    pf.from_pretrained(tmp_path)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary",
        ),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1.0"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder must be False"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads must be {} or None"),
    ],
)
def test_what_would_compute_otherwise_is_refused(changes, message, tmp_path):
    tied_model("llama").save_pretrained(tmp_path)
    rewrite(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        pf.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", ["tf", "flax"])
def test_weights_of_another_library_are_refused(kind, tmp_path):
    tied_model("gpt").save_pretrained(tmp_path)
    path = str(tmp_path / "model.safetensors")
    save_file(load_file(path), path, {"format": kind})
    with pytest.raises(ValueError, match=f"format must be 'pt', got '{kind}'"):
        pf.from_pretrained(tmp_path)
