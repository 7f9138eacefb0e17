"""No result depends on padding, and every mean weighs by what counts; what a loss of nothing is."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

import pyformer as pf
from pyformer import _core, nn, ops
from pyformer.experiments import derive
from pyformer.experiments.compare_models import RecurrentClassifier
from pyformer.models.derivation import WORD_RUNGS, Size, make_rung
from pyformer.sentences import mean_of_tokens
from pyformer.training import TaskTrainer, TrainingOptions, step

LENGTHS = np.array([3, 6, 1, 5])
CELLS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN, "CfC": nn.CfC}
DIRECTIONS = [{}, {"bidirectional": True}, {"reverse": True}]


def series(rng, lengths=LENGTHS, width=4, beyond=np.nan):
    x = rng.standard_normal((len(lengths), max(lengths), width))
    x[np.arange(max(lengths)) >= lengths[:, None]] = beyond
    return x


def states_of(cell, rng, rows):
    count = cell.num_layers * (2 if cell.bidirectional else 1)
    return [rng.standard_normal((count, rows, cell.hidden_dim)) for _ in cell.state_names]


def given(cell, states, rows=slice(None)):
    tensors = [pf.tensor(np.ascontiguousarray(s[:, rows]), requires_grad=True) for s in states]
    return tuple(tensors) if len(tensors) == 2 else tensors[0], tensors


def all_of(out, last):
    return [out, *(last if isinstance(last, tuple) else (last,))]


@pytest.mark.parametrize("options", DIRECTIONS, ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_a_row_that_ends_early_is_read_as_alone(name, options):
    """Outputs, last states and all gradients, with NaN beyond the ends, and states to go on from."""
    pf.manual_seed(0)
    cell = CELLS[name](4, 5, 2, **options, dtype=pf.float64)
    rng = np.random.default_rng(0)
    x, states = series(rng), states_of(cell, rng, len(LENGTHS))
    elapsed = rng.uniform(0.1, 3.0, x.shape[:2])
    elapsed[np.isnan(x[:, :, 0])] = np.nan
    extra = {"elapsed": pf.tensor(elapsed)} if name == "CfC" else {}
    batch, (state, leaves) = pf.tensor(x, requires_grad=True), given(cell, states)
    results = all_of(*cell(batch, state, lengths=LENGTHS, **extra))
    weights = [rng.standard_normal(r.shape) for r in results]
    sum((r * pf.tensor(w)).sum() for r, w in zip(results, weights, strict=True)).backward()
    gradients = {k: p.grad.numpy().copy() for k, p in cell.named_parameters()}
    cell.zero_grad()
    for row, length in enumerate(LENGTHS):
        alone, (state, own) = pf.tensor(x[row : row + 1, :length], requires_grad=True), given(cell, states, [row])
        more = {"elapsed": pf.tensor(elapsed[row : row + 1, :length])} if extra else {}
        expected = all_of(*cell(alone, state, **more))
        for i, (one, two) in enumerate(zip(results, expected, strict=True)):
            got = one.numpy()[row : row + 1, :length] if i == 0 else one.numpy()[:, row : row + 1]
            np.testing.assert_array_equal(got, two.numpy())
        parts = [weights[0][row : row + 1, :length], *(w[:, row : row + 1] for w in weights[1:])]
        sum((r * pf.tensor(np.ascontiguousarray(w))).sum() for r, w in zip(expected, parts, strict=True)).backward()
        np.testing.assert_allclose(batch.grad.numpy()[row, :length], alone.grad.numpy()[0], rtol=1e-12, atol=1e-14)
        assert not batch.grad.numpy()[row, length:].any()
        for leaf, mine in zip(leaves, own, strict=True):
            np.testing.assert_allclose(leaf.grad.numpy()[:, [row]], mine.grad.numpy(), rtol=1e-12, atol=1e-14)
    assert not results[0].numpy()[np.arange(6) >= LENGTHS[:, None]].any()
    for key, parameter in cell.named_parameters():
        np.testing.assert_allclose(gradients[key], parameter.grad.numpy(), rtol=1e-11, atol=1e-13, err_msg=key)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_lengths_equal_torch_packed_sequences(name):
    pf.manual_seed(0)
    ours = CELLS[name](4, 5, 2, bidirectional=True, dtype=pf.float64)
    theirs = getattr(torch.nn, name)(4, 5, 2, bidirectional=True, batch_first=True).double()
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    x = series(np.random.default_rng(0), beyond=0.0)
    rnn = torch.nn.utils.rnn
    packed = rnn.pack_padded_sequence(torch.tensor(x), torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    expected, last = theirs(packed)
    expected = rnn.pad_packed_sequence(expected, batch_first=True)[0]
    got, state = ours(pf.tensor(x), lengths=pf.tensor(LENGTHS))
    for one, two in zip(all_of(got, state), all_of(expected, last), strict=True):
        np.testing.assert_allclose(one.numpy(), two.detach().numpy(), atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_bad_lengths_and_states_name_the_argument(name):
    cell, x = CELLS[name](4, 5), pf.zeros(2, 3, 4)
    for lengths, error in (([1, 4], ValueError), ([0, 1], ValueError), ([1], ValueError), ([1.0, 2.0], TypeError)):
        with pytest.raises(error, match=f"{name}: lengths must be"):
            cell(x, lengths=lengths)
    h = pf.zeros(1, 2, 5)
    wrong = [h, (h,), (h, None), [h, h, h]] if name == "LSTM" else [(h,), (h, h), np.zeros((1, 2, 5))]
    for state in wrong:
        with pytest.raises(TypeError, match=f"{name}: state must be a"):
            cell(x, state)
    state = pf.zeros(2, 2, 5)
    with pytest.raises(ValueError, match=f"{name}: state h must be"):
        cell(x, (state, h) if name == "LSTM" else state)
    with pytest.raises(TypeError, match=f"{name}: x must be a Tensor"):
        cell([[1.0]])


def test_the_op_of_an_lstm_refuses_lengths_that_do_not_fit():
    operands = pf.ones(2, 3, 2), pf.ones(4, 2), pf.zeros(4, 1)
    for lengths in ([1], [0, 1], [1, 4]):
        with pytest.raises(ValueError, match="lstm: lengths must be"):
            ops.lstm(*operands, lengths=lengths)
    with pytest.raises(ValueError, match="lengths are for reading forward"):
        ops.lstm(*operands, lengths=[1, 2], reverse=True)


@pytest.mark.parametrize("tokens", [1, 2, 6])
@pytest.mark.parametrize("first", [1.0, 0.25])
@pytest.mark.parametrize("padding", [0, 3])
def test_reading_backwards_takes_the_gap_to_the_next_in_time(tokens, first, padding):
    """A series read backwards is the series with time running backwards, read forwards."""
    pf.manual_seed(0)
    rng = np.random.default_rng(0)
    backward, forward = nn.CfC(3, 4, reverse=True, dtype=pf.float64), nn.CfC(3, 4, dtype=pf.float64)
    both = nn.CfC(3, 4, bidirectional=True, dtype=pf.float64)
    forward.load_state_dict(backward.state_dict())
    both.load_state_dict({f"{k}{s}": v for k, v in backward.state_dict().items() for s in ("", "_reverse")})
    x, gaps = rng.standard_normal((1, tokens, 3)), rng.uniform(0.1, 3.0, (1, tokens))
    gaps[:, 0] = first
    turned = np.concatenate([gaps[:, :1], gaps[:, :0:-1]], axis=1)
    want = forward(pf.tensor(x[:, ::-1].copy()), elapsed=pf.tensor(turned))[0].numpy()[:, ::-1]
    x, gaps = (np.concatenate([a, np.full((1, padding, *a.shape[2:]), 9.0)], axis=1) for a in (x, gaps))
    more = {"lengths": [tokens]} if padding else {}
    got = backward(pf.tensor(x), elapsed=pf.tensor(gaps), **more)[0].numpy()[:, :tokens]
    np.testing.assert_array_equal(got, want)
    beside = both(pf.tensor(x), elapsed=pf.tensor(gaps), **more)[0].numpy()[:, :tokens]
    np.testing.assert_array_equal(beside[:, :, 4:], want)


def heads():
    layer = nn.MultiHeadAttention(8, 2, 1, causal=True)
    return layer, lambda x, other, lengths: layer(x, key_lengths=lengths)


def heads_to_another():
    layer = nn.MultiHeadAttention(8, 2)
    return layer, lambda x, other, lengths: layer(other, x, key_lengths=lengths)


def block(**options):
    layer = nn.TransformerBlock(8, 2, **options)
    return layer, lambda x, other, lengths: layer(x, key_lengths=lengths)


def block_to_another():
    layer = nn.TransformerBlock(8, 2, cross_attention=True)
    return layer, lambda x, other, lengths: layer(other, x, context_lengths=lengths)


def t5_block(*, decodes):
    from pyformer.models.t5_block import T5Block

    sizes = {"num_layers": 1, "num_heads": 2, "embed_dim": 8, "head_dim": 4, "hidden_dim": 8, "dropout": 0.0}
    layer = T5Block(pf.models.T5Config(20, **sizes), decodes=decodes, first=True)

    def call(x, other, lengths):
        bias = layer.attention.score_bias(np.arange(6), 6)
        if decodes:
            return layer(other, x, context_lengths=lengths, mask=bias)
        return layer(x, key_lengths=lengths, mask=bias)

    return layer, call


def torch_attention(**options):
    layer = nn.MultiheadAttention(8, 2, batch_first=True, **options)
    return layer, lambda x, other, lengths: layer(x, x, x, hidden_keys(lengths))[0]


def torch_attention_to_another():
    layer = nn.MultiheadAttention(8, 2)

    def call(x, other, lengths):
        added = pf.zeros(len(LENGTHS), 6, dtype=x.dtype).masked_fill(hidden_keys(lengths), -np.inf)
        other, x = other.swapaxes(0, 1), x.swapaxes(0, 1)
        return layer(other, x, x, added)[0].swapaxes(0, 1)

    return layer, call


def torch_encoder(**options):
    layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, **options), 2)

    def call(x, other, lengths):
        if options.get("batch_first"):
            return layer(x, src_key_padding_mask=hidden_keys(lengths))
        return layer(x.swapaxes(0, 1), src_key_padding_mask=hidden_keys(lengths)).swapaxes(0, 1)

    return layer, call


def torch_decoder():
    layer = nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    padding = {"tgt_key_padding_mask": 0, "memory_key_padding_mask": 0}
    return layer, lambda x, other, lengths: layer(x, x, **dict.fromkeys(padding, hidden_keys(lengths)))


def hidden_keys(lengths):
    return pf.arange(6) >= lengths.reshape(-1, 1)


def with_lengths():
    """Layers and calls of (x with padding, another sequence, lengths): by what is padded, the results or not."""
    own = [
        heads,
        lambda: block(causal=True),
        lambda: block(norm_first=False),
        lambda: t5_block(decodes=False),
        torch_attention,
        lambda: torch_attention(dropout=0.5),
        torch_encoder,
        lambda: torch_encoder(batch_first=True, norm_first=True),
        torch_decoder,
    ]
    others = [heads_to_another, block_to_another, lambda: t5_block(decodes=True), torch_attention_to_another]
    return [(make, True) for make in own] + [(make, False) for make in others]


@pytest.mark.parametrize(("make", "padded"), with_lengths())
def test_what_stands_in_padding_reaches_no_result_and_no_gradient(make, padded):
    """Neither those of the inputs nor those of norms and projections, which multiply 0 by what they read."""
    lengths, results = pf.tensor(LENGTHS), []
    there = pf.tensor((np.arange(6) < LENGTHS[:, None])[:, :, None])
    for beyond in (0.0, np.nan, -np.inf):
        rng = np.random.default_rng(0)
        pf.manual_seed(0)
        layer, call = make()
        layer.to(pf.float64)
        x = pf.tensor(series(rng, width=8, beyond=beyond), requires_grad=True)
        other = pf.tensor(rng.standard_normal((4, 6, 8)), requires_grad=True)
        out = call(x, other, lengths)
        if padded:
            out = ops.where(there, out, 0.0)
        (out * pf.tensor(rng.standard_normal(out.shape))).sum().backward()
        own = {name: p.grad.numpy() for name, p in layer.named_parameters() if p.grad is not None}
        results.append({"out": out.numpy(), "dx": ops.where(there, x.grad, 0.0).numpy(), **own})
        if not padded:
            results[-1]["dother"] = other.grad.numpy()
    for result in results:
        assert result.keys() == results[0].keys()
        for name, value in result.items():
            assert np.isfinite(value).all(), name
            np.testing.assert_array_equal(value, results[0][name], err_msg=name)


def bert():
    sizes = {"num_layers": 2, "num_heads": 2, "embed_dim": 8, "dropout": 0.0}
    model = pf.models.BERT(pf.models.BertConfig(20, 8, **sizes))
    return model, model.tokens


def encoder():
    config = pf.models.EncoderConfig(20, 8, num_layers=2, num_heads=2, embed_dim=8)
    model = pf.models.Encoder(config)
    return model, model.embed_tokens


@pytest.mark.parametrize("make", [bert, encoder])
def test_a_token_that_stands_in_padding_only_may_be_anything(make):
    """Hidden states, their mean and all gradients but its own are those of a row of zeros."""
    from pyformer.sentences import mean_of_tokens

    ids = np.random.default_rng(0).integers(1, 20, (4, 6))
    ids[np.arange(6) >= LENGTHS[:, None]] = 0
    results = []
    for row in (0.0, np.nan, np.inf):
        pf.manual_seed(0)
        model, table = make()
        model.eval()
        nn.init.fill_(table.weight, lambda t, row=row: ops.where(pf.arange(20).reshape(-1, 1) == 0, row, t))
        hidden = model(ids, lengths=LENGTHS)
        pooled = mean_of_tokens(hidden, LENGTHS)
        (pooled * pooled).sum().backward()
        results.append([pooled.numpy(), *(p.grad.numpy() for p in model.parameters() if p.grad is not None)])
    for result in results:
        for one, two in zip(result, results[0], strict=True):
            assert np.isfinite(one).all()
            np.testing.assert_array_equal(one, two)


def bidirectional(cell="lstm"):
    pf.manual_seed(0)
    config = pf.models.LSTMConfig(20, 8, num_layers=2, embed_dim=8, cell=cell, bidirectional=True)
    return pf.models.LSTM(config).to(pf.float64)


def padded_ids(rng, lengths, tokens):
    ids = rng.integers(0, 20, (len(lengths), tokens))
    targets = np.roll(ids, -1, axis=1)
    targets[np.arange(tokens) >= np.array(lengths)[:, None] - 1] = -100
    return ids, targets


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_bidirectional_language_model_counts_what_counts(cell):
    rng, lengths, model = np.random.default_rng(0), [6, 3, 1], bidirectional(cell)
    ids, targets = padded_ids(rng, lengths, 6)
    loss = model.loss(ids, targets)
    other = np.where(np.arange(6) < np.array(lengths)[:, None], ids, (ids + 7) % 20)
    assert model.loss(other, targets).item() == loss.item()
    assert model.loss(other, targets, lengths=lengths).item() == loss.item()
    assert model.count_targets(ids, targets) == 2 * 5 + 2 * 2
    alone = [(ids[i : i + 1, :n], targets[i : i + 1, :n]) for i, n in enumerate(lengths)]
    counts = [model.count_targets(*row) for row in alone]
    losses = [model.loss(*row).item() for row in alone]
    assert counts == [10, 4, 0]
    assert losses[2] == 0.0
    np.testing.assert_allclose(loss.item(), np.dot(losses, counts) / sum(counts), rtol=1e-12)
    # And by hand: each token from those before it, and from those after it.
    found = []
    for row, n in zip(ids, lengths, strict=True):
        forward, backward = model.hidden(row[None, :n]), model.backward_hidden(row[None, :n])
        for hidden, place, wanted in [
            *((forward, p, row[p + 1]) for p in range(n - 1)),
            *((backward, p + 1, row[p]) for p in range(n - 1)),
        ]:
            logits = model.head.as_linear(hidden[:, place]).numpy()[0]
            found.append(np.log(np.exp(logits).sum()) - logits[wanted])
    np.testing.assert_allclose(loss.item(), np.mean(found), rtol=1e-10)
    masked = targets.copy()
    masked[0, :2] = -100  # a prompt: neither stack is asked for its tokens
    assert model.count_targets(ids, masked) == 2 * 3 + 2 * 2
    both = model.representations(other, lengths).numpy()
    np.testing.assert_array_equal(both[1, :3], model.representations(ids[1:2, :3]).numpy()[0])


@pytest.mark.parametrize("name", ["lstm", "elmo", "retnet", "mlp", "liquid", "gpt"])
def test_language_models_take_lengths_and_their_mean_is_that_of_any_split(name):
    from pyformer.models import by_name

    pf.manual_seed(0)
    sizes = {"vocab_size": 20, "context_length": 8, "num_layers": 1, "num_heads": 2, "embed_dim": 8}
    model = bidirectional() if name == "elmo" else by_name.language_model(name, by_name.language_config(name, **sizes))
    model.to(pf.float64)
    rng = np.random.default_rng(0)
    ids, targets, lengths = rng.integers(0, 20, (4, 6)), rng.integers(0, 20, (4, 6)), [6, 2, 5, 1]
    beyond = np.arange(6) >= np.array(lengths)[:, None]
    whole = model.loss(ids, targets, lengths=lengths).item()
    assert model.loss(np.where(beyond, 3, ids), np.where(beyond, 3, targets), lengths=lengths).item() == whole
    assert model(ids, lengths=lengths).shape == (4, 6, 20)
    rows = [(ids[i : i + 1], targets[i : i + 1], lengths[i : i + 1]) for i in range(4)]
    counts = [model.count_targets(*row) for row in rows]
    losses = [model.loss(*row).item() for row in rows]
    np.testing.assert_allclose(whole, np.dot(losses, counts) / sum(counts), rtol=1e-12)
    with pytest.raises(ValueError, match="lengths must be"):
        model.loss(ids, targets, lengths=[7, 1, 1, 1])


def test_a_liquid_network_takes_lengths():
    pf.manual_seed(0)
    model = pf.models.LiquidNetwork(pf.models.LiquidNetworkConfig(4, 5, 2, num_layers=2)).to(pf.float64)
    rng = np.random.default_rng(0)
    x, y = series(rng), series(rng, width=2)
    gaps = np.where(np.isnan(x[:, :, 0]), np.nan, 0.5)
    whole = model.loss(x, y, gaps, LENGTHS)
    whole.backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters())
    rows = [(x[[i], :n], y[[i], :n], gaps[[i], :n]) for i, n in enumerate(LENGTHS)]
    counts = [model.count_targets(*row) for row in rows]
    losses = [model.loss(*row).item() for row in rows]
    assert counts == (2 * LENGTHS).tolist()
    assert model.count_targets(x, y, gaps, LENGTHS) == sum(counts)
    np.testing.assert_allclose(whole.item(), np.dot(losses, counts) / sum(counts), rtol=1e-12)


@pytest.mark.parametrize(("cell", "both"), [(cell, both) for cell in (nn.LSTM, nn.GRU) for both in (False, True)])
def test_a_recurrent_classifier_reads_no_padding(cell, both):
    pf.manual_seed(0)
    model = RecurrentClassifier(cell, 11, 6, 2, both).eval()
    ids, lengths = np.random.default_rng(0).integers(0, 11, (4, 7)), np.array([7, 1, 4, 6])
    together = model(ids, lengths).numpy()
    for row, n in enumerate(lengths):
        np.testing.assert_allclose(together[row], model(ids[[row], :n], lengths[[row]]).numpy()[0], atol=1e-6)


@pytest.mark.parametrize("name", WORD_RUNGS)
def test_a_rung_reads_no_padding(name):
    pf.manual_seed(0)
    model = make_rung(name, Size(11, 7, 2, causal=False, width=8, layers=2, heads=2))
    ids, lengths = np.random.default_rng(0).integers(0, 11, (4, 7)), np.array([7, 1, 4, 6])
    together = model(ids, lengths).numpy()
    for row, n in enumerate(lengths):
        np.testing.assert_allclose(together[row], model(ids[[row], :n], lengths[[row]]).numpy()[0], atol=1e-5)


def test_a_mean_of_tokens_reads_no_padding():
    rng, lengths = np.random.default_rng(0), np.array([3, 6, 1, 5])
    hidden = series(rng).astype(np.float32)
    x = pf.tensor(hidden, requires_grad=True)
    mean = mean_of_tokens(x, lengths)
    mean.sum().backward()
    for row, n in enumerate(lengths):
        alone = mean_of_tokens(pf.tensor(hidden[[row], :n]), lengths[[row]])
        np.testing.assert_allclose(mean.detach().numpy()[row], alone.numpy()[0], rtol=1e-6)
        np.testing.assert_allclose(x.grad.numpy()[row, :n], 1 / n, rtol=1e-6)
        assert not x.grad.numpy()[row, n:].any()


def text_batches():
    rng = np.random.default_rng(0)

    def batch(valid, token):
        targets = np.full((4, 8), -100)
        targets[:, :valid] = token
        return rng.integers(0, 20, (4, 8)), targets

    return [batch(8, 3), batch(1, 5), batch(0, 5), batch(3, 7)]


def small_gpt():
    pf.manual_seed(0)
    return pf.models.GPT(pf.models.GPTConfig(20, 8, 1, 1, 8))


@pytest.mark.parametrize("make", [small_gpt, bidirectional])
def test_validation_and_logged_losses_weigh_by_targets(make, tmp_path):
    model, batches = make(), text_batches()
    options = TrainingOptions(steps=4, lr=1e-30, weight_decay=0.0, warmup=0, log_every=4)
    trainer = TaskTrainer(model, lambda number: batches[number], batches, options, run=tmp_path)
    losses = [model.loss(*batch).item() for batch in batches]
    counts = [step.count_targets(model, batch) for batch in batches]
    assert counts[2] == 0
    assert len(set(counts)) == 4
    expected = np.dot(losses, counts) / sum(counts)
    np.testing.assert_allclose(trainer.evaluate(), expected, rtol=1e-5)
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([line["loss"] for line in lines if "loss" in line], [expected], rtol=1e-5)


def test_losses_of_nothing_are_zero():
    def leaf(*shape):
        return pf.zeros(*shape, requires_grad=True)

    none = pf.zeros(0, dtype="int64")
    ignored = pf.tensor([-100, -100])
    for reduction in ("mean", "sum"):
        for loss, x in (
            (lambda x: ops.cross_entropy(x, ignored, reduction=reduction), leaf(2, 3)),  # noqa: B023
            (lambda x: ops.cross_entropy(x, none, reduction=reduction), leaf(0, 3)),  # noqa: B023
            (lambda x: ops.linear_cross_entropy(x, leaf(3, 4), ignored, reduction=reduction), leaf(2, 4)),  # noqa: B023
            (lambda x: ops.linear_cross_entropy(x, leaf(3, 4), none, reduction=reduction), leaf(0, 4)),  # noqa: B023
            (lambda x: ops.mse_loss(x, pf.zeros(0, 4), reduction=reduction), leaf(0, 4)),  # noqa: B023
            (lambda x: ops.bce_with_logits(x, pf.zeros(0, 4), reduction=reduction), leaf(0, 4)),  # noqa: B023
        ):
            out = loss(x)
            out.backward()
            assert out.item() == 0.0
            assert not x.grad.numpy().any()
    ids, targets = np.zeros((2, 3), np.int64), np.full((2, 3), -100)
    for model in (small_gpt(), bidirectional()):
        assert model.loss(ids, targets).item() == 0.0
        options = TrainingOptions(steps=1)
        assert TaskTrainer(model, lambda number: (ids, targets), [(ids, targets)], options).evaluate() == 0.0
    classifier = pf.models.BertClassifier(pf.models.BertConfig(10, 8, 1, 2, 8))
    assert classifier.loss([[1]], [-100]).item() == 0.0
    rung = make_rung("attention", Size(11, 7, 2, causal=True, width=8))
    assert derive.evaluate(rung, [((ids,), targets)])["loss"] == 0.0


def test_models_refuse_a_batch_without_rows():
    ids, pictures = np.zeros((0, 3), np.int64), np.zeros((0, 1, 8, 8), np.float32)
    floats = np.zeros((0, 3, 2), np.float32)
    for run in (
        lambda: small_gpt().loss(ids, ids),
        lambda: bidirectional().loss(ids, ids),
        lambda: pf.models.BertClassifier(pf.models.BertConfig(10, 8, 1, 2, 8)).loss(ids, []),
        lambda: pf.models.EncoderDecoder(pf.models.EncoderDecoderConfig(10, 8, 1, 2, 8)).loss(ids, ids),
        lambda: pf.models.ViT(pf.models.ViTConfig(8, 4, 1, 2, 1, 2, 8)).loss(pictures, []),
        lambda: pf.models.Autoencoder(pf.models.AutoencoderConfig(8, 1, 4, (4,))).loss(pictures),
        lambda: pf.models.KAN(pf.models.KANConfig((2, 1))).loss(floats, floats[:, :, :1]),
        lambda: pf.models.LiquidNetwork(pf.models.LiquidNetworkConfig(2, 4, 1)).loss(floats, floats[:, :, :1]),
    ):
        with pytest.raises(ValueError, match="at least"):
            run()


def test_one_array_a_batch_is_its_own_target():
    pf.manual_seed(0)
    model = pf.models.Autoencoder(pf.models.AutoencoderConfig(8, 1, 4, (4,)))
    pictures = np.random.default_rng(0).random((3, 1, 8, 8)).astype(np.float32)
    trainer = TaskTrainer(model, lambda number: (pictures,), [(pictures,)], TrainingOptions(steps=2, accumulate=2))
    np.testing.assert_allclose(trainer.evaluate(), model.loss(pictures).item(), rtol=1e-6)
    assert trainer.train()


def test_ragged_rows_and_labels_name_the_argument():
    translator = pf.models.EncoderDecoder(pf.models.EncoderDecoderConfig(10, 8, 1, 2, 8))
    ragged, even = [[1, 2], [3]], [[1, 2], [3, 4]]
    for run, words in (
        (lambda: translator.translate(ragged), "rows of source differ in length; pad them and pass source_lengths="),
        (lambda: translator.loss(even, ragged), "rows of target differ in length; pad them and pass target_lengths="),
        (lambda: small_gpt().loss(ragged, even), "rows of ids differ in length; pad them and pass lengths="),
    ):
        with pytest.raises(ValueError, match=words):
            run()
    dit = pf.models.DiT(pf.models.DiTConfig(8, 4, 1, 2, 1, 2, 8))
    gan = pf.models.GAN(pf.models.GANConfig(8, 1, 2, 4, (8, 8)))
    for model, name in ((dit, "DiT"), (gan, "GAN")):
        for labels, error in (
            (3, ValueError),
            ([], ValueError),
            ([[0]], ValueError),
            (None, TypeError),
            (1.5, TypeError),
        ):
            with pytest.raises(error, match=f"{name}: labels must be"):
                model.sample(labels)
        for seed, error in ((True, TypeError), (1.5, TypeError), (-1, ValueError)):
            with pytest.raises(error, match=f"{name}: seed must be"):
                model.sample([0], seed=seed)
        assert model.sample([0], seed=np.int64(3)).shape == (1, 1, 8, 8)


def test_schedules_refuse_what_is_no_length():
    for make in (pf.optim.CosineSchedule, pf.optim.LinearSchedule):
        for bad in ({"total_steps": -1}, {"warmup_steps": -1}, {"final": float("nan")}, {"final": float("inf")}):
            with pytest.raises(ValueError, match=f"{make.__name__}: {next(iter(bad))} must be at least 0"):
                make(**{"total_steps": 10, **bad})
        for bad in ({"total_steps": float("nan")}, {"total_steps": 2.5}, {"warmup_steps": True}, {"final": "1"}):
            with pytest.raises(TypeError, match=f"{make.__name__}: {next(iter(bad))} must be"):
                make(**{"total_steps": 10, **bad})
        assert make(total_steps=np.int64(10))(0) == 1.0
    with pytest.raises(ValueError, match="ConstantSchedule: warmup_steps must be at least 0"):
        pf.optim.ConstantSchedule(-1)


def test_seeds():
    drawn = []
    for seed in (7, np.int64(7), np.uint8(7)):
        pf.manual_seed(seed)
        drawn.append(pf.rand(3).numpy().tolist())
    assert drawn[0] == drawn[1] == drawn[2]
    for seed in (True, np.True_, 7.0, "7", None):
        with pytest.raises(TypeError, match="manual_seed: expected an integer, got"):
            pf.manual_seed(seed)


def draws_of_a_child(seed=None):
    """What a forked child draws."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        if seed is not None:
            pf.manual_seed(seed)
        os.write(write, pf.rand(4, dtype=pf.float64).numpy().tobytes())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found = np.frombuffer(pipe.read())
    os.waitpid(child, 0)
    return found.tolist()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_children_draw_numbers_of_their_own():
    pf.manual_seed(3)
    children = [draws_of_a_child() for _ in range(3)]
    own = pf.rand(4, dtype=pf.float64).numpy().tolist()
    assert len({tuple(numbers) for numbers in (*children, own)}) == 4
    assert all(len(c) == 4 for c in children)
    pf.manual_seed(3)
    assert pf.rand(4, dtype=pf.float64).numpy().tolist() == own  # forks leave the parent alone
    assert draws_of_a_child(seed=3) == own
    # After a seed it is as if none had been forked: the same children, in a parent that forks and draws as before.
    for _ in range(2):
        pf.manual_seed(3)
        assert [draws_of_a_child() for _ in range(3)] == children
    # A state that is gone back to is no seed: two children of one state differ.
    pf.manual_seed(3)
    state = _core.rng_state()
    first = draws_of_a_child()
    _core.set_rng_state(*state)
    assert draws_of_a_child() != first


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_relu_that_grows_without_bound_in_padding_leaves_gradients(dtype):
    results = []
    for tokens in (3, 120):  # 4 ** 120 is no float
        cell = nn.RNN(1, 1, nonlinearity="relu", bidirectional=True)
        for parameter in cell.parameters():
            nn.init.constant_(parameter, 4.0)
        cell.to(dtype)
        x = pf.ones(1, tokens, 1, dtype=dtype)
        x.requires_grad = True
        out, last = cell(x, lengths=[2])
        (out.float().sum() + last.float().sum()).backward()
        grads = [x.grad[:, :2], *(parameter.grad for parameter in cell.parameters())]
        results.append([t.float().numpy() for t in (out.detach()[:, :2], last.detach(), *grads)])
    for few, many in zip(*results, strict=True):
        assert np.isfinite(few).all()
        np.testing.assert_array_equal(few, many)
