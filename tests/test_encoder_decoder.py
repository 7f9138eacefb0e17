"""EncoderDecoder against torch's layers at equal weights; greedy and beam search against brute force."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from tolerance import MODEL_OPS, assert_close, by_rows

import pyformer as pf
from pyformer import nn
from pyformer.models import EncoderDecoder, EncoderDecoderConfig

CONFIG = EncoderDecoderConfig(37, 16, 2, 4, 16, hidden_dim=24, dropout=0.0)


def make(config=CONFIG, dtype="float64", seed=0):
    pf.manual_seed(seed)
    model = EncoderDecoder(config)
    # Zeros and ones would hide what biases and norms do.
    state = {n: t.numpy() + 0.1 * pf.randn(*t.shape).numpy() for n, t in model.state_dict().items()}
    model.load_state_dict(state)
    return model.to(getattr(pf, dtype)).eval()


class Twin(torch.nn.Module):
    """The same model of torch's layers."""

    def __init__(self, config, dtype):
        super().__init__()
        shape = (config.embed_dim, config.num_heads, config.hidden_dim)
        options = {"dropout": 0.0, "batch_first": True, "norm_first": config.norm_first}
        norms = [torch.nn.LayerNorm(config.embed_dim) if config.norm_first else None for _ in range(2)]
        self.tokens = torch.nn.Embedding(config.vocab_size, config.embed_dim)
        self.encoder = torch.nn.TransformerEncoder(
            torch.nn.TransformerEncoderLayer(*shape, **options),
            config.num_layers,
            norms[0],
            enable_nested_tensor=False,
        )
        self.decoder = torch.nn.TransformerDecoder(
            torch.nn.TransformerDecoderLayer(*shape, **options), config.num_layers, norms[1]
        )
        self.table = torch.tensor(nn.sinusoidal_positions(config.context_length, config.embed_dim))
        self.to(getattr(torch, dtype))

    def embed(self, ids):
        x = self.tokens(ids) * math.sqrt(self.tokens.embedding_dim)
        return x + self.table[: ids.shape[1]].to(x.dtype)

    def forward(self, source, target, source_padding, target_padding):
        memory = self.encoder(self.embed(source), src_key_padding_mask=source_padding)
        tokens = target.shape[1]
        out = self.decoder(
            self.embed(target),
            memory,
            tgt_mask=torch.ones(tokens, tokens, dtype=torch.bool).triu(1),
            tgt_key_padding_mask=target_padding,
            memory_key_padding_mask=source_padding,
        )
        return out @ self.tokens.weight.T


def twin_names(config):
    """(name here, name in torch, rows of a packed matrix or None)."""
    width = config.embed_dim
    yield "tokens.weight", "tokens.weight", None
    for stack, layer in itertools.product(("encoder", "decoder"), range(config.num_layers)):
        parts = {"attention.out_proj": "self_attn.out_proj", "mlp.up": "linear1", "mlp.down": "linear2"}
        parts |= {"attention_norm": "norm1", "mlp_norm": "norm2" if stack == "encoder" else "norm3"}
        attentions = {"attention": "self_attn"}
        if stack == "decoder":
            parts |= {"cross_norm": "norm2", "cross.out_proj": "multihead_attn.out_proj"}
            attentions["cross"] = "multihead_attn"
        for kind in ("weight", "bias"):
            start = f"{stack}.{layer}", f"{stack}.layers.{layer}"
            for ours, theirs in parts.items():
                yield f"{start[0]}.{ours}.{kind}", f"{start[1]}.{theirs}.{kind}", None
            for (ours, theirs), (i, p) in itertools.product(attentions.items(), enumerate("qkv")):
                rows = slice(i * width, (i + 1) * width)
                yield f"{start[0]}.{ours}.{p}_proj.{kind}", f"{start[1]}.{theirs}.in_proj_{kind}", rows
    if config.norm_first:
        for stack, kind in itertools.product(("encoder", "decoder"), ("weight", "bias")):
            yield f"{stack}_norm.{kind}", f"{stack}.norm.{kind}", None


def batch(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(2, 37, (3, 9)), rng.integers(2, 37, (3, 7)), np.array([9, 4, 6]), np.array([7, 5, 2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_logits_loss_and_all_gradients_equal_the_twin(norm_first, dtype):
    config = dataclasses.replace(CONFIG, norm_first=norm_first)
    model, twin = make(config, dtype), Twin(config, dtype)
    theirs = dict(twin.named_parameters())
    with torch.no_grad():
        for ours, name, rows in twin_names(config):
            target = theirs[name] if rows is None else theirs[name][rows]
            target.copy_(torch.tensor(model.state_dict()[ours].numpy()))
    source, target, source_lengths, target_lengths = batch()
    source_padding = torch.tensor(np.arange(9) >= source_lengths[:, None])
    input_lengths = np.maximum(target_lengths - 1, 1)
    target_padding = torch.tensor(np.arange(6) >= input_lengths[:, None])
    logits = twin(torch.tensor(source), torch.tensor(target[:, :-1]), source_padding, target_padding)
    got = model(source, target[:, :-1], source_lengths, input_lengths).numpy()
    for row, length in enumerate(input_lengths):
        expected = logits[row, :length].detach().numpy()
        assert_close(got[row, :length], by_rows(expected), "logits", additions=64, ops=MODEL_OPS)
    labels = np.where(np.arange(1, 7) < target_lengths[:, None], target[:, 1:], -100)
    other = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(labels).flatten(), label_smoothing=0.1)
    loss = model.loss(source, target, source_lengths, target_lengths, label_smoothing=0.1)
    assert_close(loss.numpy(), by_rows(other.detach().numpy()), "loss", additions=64, ops=MODEL_OPS)
    loss.backward()
    other.backward()
    ours = dict(model.named_parameters())
    assert {name for name, _, _ in twin_names(config)} == set(ours)
    for name, their_name, rows in twin_names(config):
        grad = theirs[their_name].grad
        expected = (grad if rows is None else grad[rows]).numpy()
        # The gradient of a key's bias is zero: what is left of it is rounding.
        assert_close(ours[name].grad.numpy(), by_rows(expected, least=1e-2), name, additions=128, ops=MODEL_OPS)


def test_padding_changes_no_bits_and_weights_come_along():
    model = make()
    source, target, source_lengths, target_lengths = batch()
    logits, weights = model(source, target, source_lengths, target_lengths, return_weights=True)
    assert [w.shape for w in weights["encoder"]] == [(3, 4, 9, 9)] * 2
    assert [w.shape for w in weights["decoder"]] == [(3, 4, 7, 7)] * 2
    assert [w.shape for w in weights["cross"]] == [(3, 4, 7, 9)] * 2
    for row, (s, t) in enumerate(zip(source_lengths, target_lengths, strict=True)):
        alone = model(source[row : row + 1, :s], target[row : row + 1, :t]).numpy()
        np.testing.assert_array_equal(logits.numpy()[row, :t], alone[0])


def log_probability(model, source, tokens):
    """Sum of the log-probabilities of `tokens` after bos_id, from one full pass."""
    logits = model(source[None], [[model.config.bos_id, *tokens]]).log_softmax().numpy()[0]
    return sum(logits[i, token] for i, token in enumerate(tokens))


def test_greedy_is_the_argmax_of_full_passes_and_rows_do_not_mix():
    model = make(dtype="float32")
    source, _, lengths, _ = batch()
    together = model.translate(source, lengths, max_new_tokens=12)
    for row, length in enumerate(lengths):
        tokens = []
        while len(tokens) < 12:
            logits = model(source[row : row + 1, :length], [[CONFIG.bos_id, *tokens]]).numpy()[0, -1]
            tokens.append(int(logits.argmax()))
            if tokens[-1] == CONFIG.eos_id:
                break
        assert together[row] == [token for token in tokens if token != CONFIG.eos_id]
    beams = model.translate(source, lengths, max_new_tokens=12, beams=3)
    alone = [model.translate(source[i : i + 1, :n], max_new_tokens=12, beams=3)[0] for i, n in enumerate(lengths)]
    assert beams == alone


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_as_wide_as_all_beginnings_finds_the_best_of_all(seed, penalty):
    config = EncoderDecoderConfig(5, 8, 1, 2, 8, dropout=0.0)
    model = make(config, seed=seed)
    model.load_state_dict({n: 1.5 * t.numpy() for n, t in model.state_dict().items()})
    source = np.array([2, 4, 3])
    words = [token for token in range(5) if token != config.eos_id]
    texts = [[*text, config.eos_id] for n in range(3) for text in itertools.product(words, repeat=n)]
    texts += [list(text) for text in itertools.product(words, repeat=3)]
    scores = [log_probability(model, source, text) / ((5 + len(text)) / 6) ** penalty for text in texts]
    best = [token for token in texts[int(np.argmax(scores))] if token != config.eos_id]
    assert model.translate(source[None], max_new_tokens=3, beams=16, length_penalty=penalty) == [best]


def test_penalties_of_lengths_that_no_float_holds_are_refused():
    model, source = make(), batch()[0]
    for penalty in (1e308, float("inf"), float("nan"), 10**400):
        with pytest.raises(ValueError, match=r"Decoder: length_penalty must be between .* for texts of 6 tokens"):
            model.translate(source, max_new_tokens=6, beams=2, length_penalty=penalty)
    with pytest.raises(ValueError, match="length_penalty must be 0 or above, got -1"):
        model.translate(source, max_new_tokens=6, length_penalty=-1)
    with pytest.raises(ValueError, match="beams must be at most 10000"):
        model.translate(source, max_new_tokens=6, beams=10**9)
    with pytest.raises(TypeError, match="length_penalty must be a number, got str"):
        model.translate(source, max_new_tokens=6, length_penalty="1")
    most = 100 / np.log10(6)
    assert len(model.translate(source, max_new_tokens=6, beams=2, length_penalty=0.999 * most)) == len(source)


def test_beam_scores_at_least_greedy_without_penalty():
    model = make()
    source = batch()[0]
    greedy = model.translate(source, max_new_tokens=6, length_penalty=0.0)
    beam = model.translate(source, max_new_tokens=6, beams=8, length_penalty=0.0)
    for row in range(3):
        scores = []
        for tokens in (greedy[row], beam[row]):
            end = [CONFIG.eos_id] if len(tokens) < 6 else []
            scores.append(log_probability(model, source[row], tokens + end))
        assert scores[1] >= scores[0] - 1e-9


def test_training_learns_to_reverse():
    config = EncoderDecoderConfig(12, 10, 1, 2, 32, dropout=0.1)
    pf.manual_seed(0)
    model = EncoderDecoder(config)
    optimizer = pf.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    rng = np.random.default_rng(0)
    for _ in range(150):
        source = rng.integers(2, 12, (32, 5))
        ends = np.full((32, 1), config.eos_id)
        target = np.concatenate([np.full((32, 1), config.bos_id), source[:, ::-1], ends], axis=1)
        optimizer.zero_grad()
        model.loss(source, target, label_smoothing=0.05).backward()
        optimizer.step()
    model.eval()
    source = rng.integers(2, 12, (16, 5))
    right = [text == row[::-1].tolist() for text, row in zip(model.translate(source), source, strict=True)]
    assert sum(right) >= 12


def test_saved_and_opened_again(tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    again = pf.from_pretrained(tmp_path)
    assert again.config == model.config
    source, target, _, _ = batch()
    np.testing.assert_array_equal(again(source, target).numpy(), model(source, target).numpy())


@pytest.mark.parametrize("beams", [1, 3])
def test_a_model_that_diverged_does_not_translate(beams):
    model = make()
    model.load_state_dict({name: t.numpy() * np.nan for name, t in model.state_dict().items()})
    with pytest.raises(ValueError, match="the logits of row 0 hold nan"):
        model.translate(batch()[0], beams=beams)


def test_a_long_context_costs_memory_only_where_it_is_used():
    source, target, _, _ = batch()
    long = make(dataclasses.replace(CONFIG, context_length=10**12))
    np.testing.assert_array_equal(long(source, target).numpy(), make()(source, target).numpy())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m([[1]], [[1], [2]]), ValueError, "1 rows"),
        (lambda m: m([1], [[1]]), ValueError, "source must be"),
        (lambda m: m([[1]], [[1] * 17]), ValueError, "context length 16"),
        (lambda m: m([[1]], [[37]]), IndexError, "37"),
        (lambda m: m([[1]], [[1]], [2]), ValueError, "source_lengths"),
        (lambda m: m.loss([[1]], [[1]]), ValueError, "T at least 2"),
        (lambda m: m.loss([[1]], [[1, 2]], None, [3]), ValueError, "target_lengths"),
        (lambda m: m.translate([[1]], beams=0), ValueError, "beams"),
        (lambda m: m.translate([[1]], max_new_tokens=17), ValueError, "max_new_tokens"),
        (lambda m: m.translate([[1]], length_penalty=-1.0), ValueError, "length_penalty"),
        (lambda m: EncoderDecoderConfig(37, 16, 2, 3, 16), ValueError, "num_heads"),
        (lambda m: EncoderDecoderConfig(37, 16, 2, 2, 16, eos_id=37), ValueError, "eos_id"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(make())
