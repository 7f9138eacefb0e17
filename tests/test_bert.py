"""BERT and its classifier against the transformers models they share their files with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tolerance import MODEL_OPS, assert_close, by_rows
from transformers import BertConfig as TheirConfig
from transformers import BertForSequenceClassification, BertModel

import pyformer as pf
from pyformer.models import BERT, BertClassifier, BertConfig

CONFIG = BertConfig(61, 24, 2, 4, 32, hidden_dim=48, dropout=0.0, num_labels=3)


def their_config():
    return TheirConfig(
        vocab_size=61,
        max_position_embeddings=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        hidden_size=32,
        intermediate_size=48,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=3,
        attn_implementation="eager",
    )


def make_twin(cls, dtype="float32", seed=0):
    """A transformers model with random weights of a scale that makes every path matter."""
    torch.manual_seed(seed)
    twin = cls(their_config()).to(getattr(torch, dtype)).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return twin


def batch(seed=0):
    rng = np.random.default_rng(seed)
    # transformers gives the row of id 0, its padding, no gradient.
    ids, segments = rng.integers(1, 61, (3, 11)), rng.integers(0, 2, (3, 11))
    lengths = np.array([11, 4, 7])
    mask = torch.tensor((np.arange(11) < lengths[:, None]).astype(np.int64))
    return ids, segments, lengths, {"token_type_ids": torch.tensor(segments), "attention_mask": mask}


@pytest.mark.parametrize("pooler", [True, False])
def test_encoder_goes_to_and_from_transformers(tmp_path, pooler):
    twin = make_twin(lambda config: BertModel(config, add_pooling_layer=pooler))
    twin.save_pretrained(tmp_path / "theirs")
    model = pf.from_pretrained(tmp_path / "theirs")
    assert isinstance(model, BERT)
    ids, segments, lengths, options = batch()
    expected = twin(torch.tensor(ids), **options)
    hidden = model(ids, segments, lengths)
    for row, length in enumerate(lengths):
        wanted = expected.last_hidden_state[row, :length].detach().numpy()
        assert_close(hidden.numpy()[row, :length], by_rows(wanted), additions=128, ops=MODEL_OPS)
    if pooler:
        assert_close(
            model.pool(hidden).numpy(), by_rows(expected.pooler_output.detach().numpy()), additions=128, ops=MODEL_OPS
        )
    else:
        with pytest.raises(ValueError, match="no pooler"):
            model.pool(hidden)
    model.save_pretrained(tmp_path / "ours")
    again = BertModel.from_pretrained(tmp_path / "ours", add_pooling_layer=pooler, attn_implementation="eager")
    repeated = again(torch.tensor(ids), **options).last_hidden_state
    np.testing.assert_array_equal(repeated.detach().numpy(), expected.last_hidden_state.detach().numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_classifier_logits_loss_and_all_gradients_equal_the_twin(tmp_path, dtype):
    twin = make_twin(BertForSequenceClassification, dtype)
    twin.save_pretrained(tmp_path)
    model = pf.from_pretrained(tmp_path)
    assert isinstance(model, BertClassifier)
    assert model.config == CONFIG
    ids, segments, lengths, options = batch()
    labels = np.array([2, 0, 1])
    expected = twin(torch.tensor(ids), labels=torch.tensor(labels), **options)
    logits = model(ids, segments, lengths)
    assert_close(logits.numpy(), by_rows(expected.logits.detach().numpy()), "logits", additions=128, ops=MODEL_OPS)
    loss = model.loss(ids, labels, lengths, segments)
    assert_close(loss.numpy(), by_rows(expected.loss.detach().numpy()), "loss", additions=61, ops=MODEL_OPS)
    loss.backward()
    expected.loss.backward()
    theirs = dict(twin.named_parameters())
    ours = {BertClassifier.layout.written_name(name): p for name, p in model.named_parameters()}
    assert set(ours) == set(theirs)
    for name, parameter in ours.items():
        wanted = theirs[name].grad.numpy()
        assert_close(parameter.grad.numpy(), by_rows(wanted, least=1e-3), name, additions=128, ops=MODEL_OPS)


def test_classifier_goes_back_and_its_encoder_can_be_had_alone(tmp_path):
    twin = make_twin(BertForSequenceClassification)
    twin.save_pretrained(tmp_path / "theirs")
    pf.from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    again = BertForSequenceClassification.from_pretrained(tmp_path / "ours")
    for (name, one), two in zip(twin.state_dict().items(), again.state_dict().values(), strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=name)
    ids, segments, lengths, _ = batch()
    encoder, classifier = BERT.from_pretrained(tmp_path / "ours"), pf.from_pretrained(tmp_path / "ours")
    np.testing.assert_array_equal(
        encoder(ids, segments, lengths).numpy(), classifier.bert(ids, segments, lengths).numpy()
    )


def make(dtype="float64", **changes):
    pf.manual_seed(0)
    return BertClassifier(dataclasses.replace(CONFIG, **changes)).to(getattr(pf, dtype))


def test_padding_changes_no_bits_and_weights_come_along():
    model = make()
    ids, segments, lengths, _ = batch()
    logits, weights = model(ids, segments, lengths, return_weights=True)
    np.testing.assert_array_equal(logits.numpy(), model(ids, segments, lengths).numpy())
    assert [w.shape for w in weights] == [(3, 4, 11, 11)] * 2
    assert not weights[0].numpy()[1, :, :, 4:].any()
    for row, length in enumerate(lengths):
        alone = model(ids[row : row + 1, :length], segments[row : row + 1, :length]).numpy()
        np.testing.assert_array_equal(logits.numpy()[row], alone[0])


def test_training_learns_whether_a_token_is_there():
    model = make("float32", dropout=0.1, num_labels=2)
    optimizer = pf.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(80):
        ids = rng.integers(1, 61, (16, 6))
        labels = (ids == 7).any(1).astype(np.int64)
        labels[:8] = 1
        ids[np.arange(8), rng.integers(0, 6, 8)] = 7
        optimizer.zero_grad()
        loss = model.loss(ids, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.3 < losses[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m([1, 2]), ValueError, r"ids must be \(B, T\)"),
        (lambda m: m([[1] * 25]), ValueError, "context length 24"),
        (lambda m: m([[61]]), IndexError, "61"),
        (lambda m: m([[1, 2]], [[0]]), ValueError, "segments must be"),
        (lambda m: m([[1]], [[2]]), IndexError, "2"),
        (lambda m: m([[1, 2]], None, [3]), ValueError, "lengths must be in"),
        (lambda m: m.loss([[1]], [1.0]), TypeError, "labels must be integers"),
        (lambda m: m.loss([[1]], [3]), IndexError, "3"),
        (lambda m: BertConfig(61, 24, 2, 5, 32), ValueError, "num_heads"),
        (lambda m: BertConfig(61, 24, 2, 4, 32, activation="softplus"), ValueError, "activation"),
        (lambda m: BERT.read_config({"model_type": "gpt2"}), ValueError, "model_type"),
        (lambda m: BERT.read_config({"model_type": "bert"}), ValueError, "lacks"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(make())
