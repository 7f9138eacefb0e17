"""The rungs of the derivation against torch twins, and what the story says about them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerance import MODEL_OPS, assert_close, by_rows
from torch.nn import functional as F

import pyformer as pf
from pyformer.models import derivation
from pyformer.models.derivation import WORD_RUNGS, PictureConvolution, RotaryPosition, Size, make_rung

SENTENCES = Size(vocab=11, length=9, outputs=3, causal=False, width=8, layers=2, heads=2)
NEXT_WORDS = Size(vocab=11, length=9, outputs=11, causal=True, width=8, layers=2, heads=2)
IDS = np.random.default_rng(0).integers(0, 11, (3, 7))
LENGTHS = np.array([7, 1, 4])


def make(name, size=SENTENCES, dtype="float64", seed=0):
    pf.manual_seed(seed)
    return make_rung(name, size).to(getattr(pf, dtype))


class Twin:
    """A word rung in plain torch, written from the formulas of the page, with the parameters of ours."""

    def __init__(self, name, model, size, dtype):
        self.name, self.size, self.dtype = name, size, getattr(torch, dtype)
        self.p = {n: torch.tensor(np.array(t.numpy()), requires_grad=True) for n, t in model.state_dict().items()}

    def linear(self, name, x):
        return F.linear(x, self.p[f"{name}.weight"], self.p.get(f"{name}.bias"))

    def norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def __call__(self, ids, lengths):
        ids = torch.tensor(ids)
        batch, n = ids.shape
        ends = torch.full((batch,), n) if lengths is None else torch.tensor(lengths)
        seen = (torch.arange(n) < ends[:, None])[:, None].expand(batch, n, n)
        if self.size.causal:
            seen = torch.ones(n, n).tril().bool().expand(batch, n, n)
        x = self.words(ids)
        for number in range(1 if self.name == "pairs" else self.size.layers):
            x = self.layer(f"layers.{number}", x, seen)
        if self.size.causal:
            rows = [[x[b, i, : i + 1].mean(0) for i in range(n)] for b in range(batch)] if x.ndim == 4 else None
            return self.linear("head", torch.stack([torch.stack(r) for r in rows]) if rows else x)
        kept = [x[b, : ends[b], : ends[b]] if x.ndim == 4 else x[b, : ends[b]] for b in range(batch)]
        if x.ndim == 4:
            kept = [x[b, :, : ends[b]].mean(1)[: ends[b]] for b in range(batch)]
        return self.linear("head", torch.stack([rows.mean(0) for rows in kept]))

    def words(self, ids):
        if self.name == "convolution":
            return F.one_hot(ids, self.size.vocab).to(self.dtype)
        x, n = self.p["words.0.table"][ids], ids.shape[1]
        position = WORD_RUNGS[self.name][1]
        width = x.shape[-1]
        angles = torch.arange(n, dtype=torch.float64)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
        if position == "one-hot":
            places = torch.eye(self.size.length, dtype=self.dtype)[:n].expand(len(ids), n, -1)
            return self.linear("words.1.join", torch.cat([x, places], -1))
        if position == "sinusoidal":
            waves = torch.zeros(n, width, dtype=torch.float64)
            waves[:, 0::2], waves[:, 1::2] = angles.sin(), angles.cos()
            return x + (derivation.SPREAD * waves.float()).to(self.dtype)
        if position == "learned":
            return x + self.p["words.1.places"][:n]
        if position == "rotary":
            turns = torch.polar(torch.ones_like(angles), angles)
            turned = torch.complex(*x.double().chunk(2, -1)) * turns
            return torch.cat([turned.real, turned.imag], -1).to(self.dtype)
        return x

    def layer(self, at, x, seen):
        mean = seen.to(self.dtype) / seen.sum(-1, keepdim=True)
        if self.name == "convolution":
            if not self.size.causal:
                x = x * seen[:, 0, :, None]  # no word sees padding
            x = F.pad(x.mT, (2, 0) if self.size.causal else (1, 1))
            return F.conv1d(x, self.p[f"{at}.conv.weight"], self.p[f"{at}.conv.bias"]).relu().mT
        if self.name == "pairs":
            return self.pairs(f"{at}.pairs", x)
        if self.name.startswith("sum"):
            return torch.einsum("bij,bijc->bic", mean, self.pairs(f"{at}.pairs", x))
        if self.name == "importance":
            scores = self.pairs(f"{at}.scores", x)[..., 0].masked_fill(~seen, -torch.inf)
            return torch.einsum("bij,bijc->bic", scores.softmax(-1), self.pairs(f"{at}.pairs", x))
        if self.name == "attention":
            return self.attention(at, x, seen, 1)
        if self.name == "mlp":
            return self.mlp(at, self.attention(f"{at}.attention", x, seen, 1))
        norm = self.norm if self.name in ("norm", "transformer") else lambda name, x: x
        heads = self.size.heads if self.name == "transformer" else 1
        x = x + self.attention(f"{at}.attention", norm(f"{at}.attention_norm", x), seen, heads)
        return x + self.mlp(at, norm(f"{at}.mlp_norm", x))

    def pairs(self, at, x):
        n = x.shape[1]
        pairs = torch.cat([x[:, :, None].expand(-1, -1, n, -1), x[:, None].expand(-1, n, -1, -1)], -1)
        both = torch.cat([self.p[f"{at}.left.weight"], self.p[f"{at}.right.weight"]], 1)
        return self.linear(f"{at}.out", F.linear(pairs, both, self.p[f"{at}.left.bias"]).relu())

    def attention(self, at, x, seen, heads):
        q, k, v = (self.linear(f"{at}.{name}", x).unflatten(-1, (heads, -1)) for name in ("query", "key", "value"))
        scores = torch.einsum("bihd,bjhd->bhij", q, k) / q.shape[-1] ** 0.5
        weights = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)
        gathered = torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2)
        return self.linear(f"{at}.mix", gathered) if f"{at}.mix.weight" in self.p else gathered

    def mlp(self, at, x):
        return self.linear(f"{at}.mlp.down", F.gelu(self.linear(f"{at}.mlp.up", x)))


def assert_same(model, twin_parameters, scores, expected, dtype):
    """Outputs, and after a random projection of both all gradients, are those of the twin."""
    weights = np.random.default_rng(1).standard_normal(scores.shape).astype(dtype)
    assert_close(scores.numpy(), by_rows(expected.detach().numpy()), "scores", additions=256, ops=MODEL_OPS)
    (scores * pf.tensor(weights)).sum().backward()
    (expected * torch.tensor(weights)).sum().backward()
    names = dict(model.named_parameters())
    assert names.keys() == twin_parameters.keys()
    for name, parameter in names.items():
        want = twin_parameters[name].grad
        want = torch.zeros(parameter.shape) if want is None else want
        assert_close(parameter.grad.numpy(), by_rows(want.numpy(), least=0.1), name, additions=256, ops=MODEL_OPS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "lengths"), [(SENTENCES, None), (SENTENCES, LENGTHS), (NEXT_WORDS, None)])
@pytest.mark.parametrize("name", WORD_RUNGS)
def test_outputs_and_all_gradients_equal_the_twin(name, size, lengths, dtype):
    model = make(name, size, dtype)
    twin = Twin(name, model, size, dtype)
    assert_same(model, twin.p, model(IDS, lengths), twin(IDS, lengths), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pictures_equal_the_twin(dtype):
    pf.manual_seed(0)
    model = PictureConvolution(10).to(getattr(pf, dtype))
    p = {n: torch.tensor(np.array(t.numpy()), requires_grad=True) for n, t in model.state_dict().items()}
    pictures = np.random.default_rng(0).random((2, 1, 28, 28)).astype(dtype)
    x = torch.tensor(pictures)
    for name in ("first", "second"):
        x = F.max_pool2d(F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=1).relu(), 2)
    expected = F.linear(x.flatten(1), p["head.weight"], p["head.bias"])
    assert_same(model, p, model(pf.tensor(pictures)), expected, dtype)


@pytest.mark.parametrize("name", WORD_RUNGS)
def test_a_word_sees_no_later_word(name):
    model = make(name, NEXT_WORDS)
    changed = IDS.copy()
    changed[:, 4] = (changed[:, 4] + 1) % 11
    one, two = model(IDS).numpy(), model(changed).numpy()
    np.testing.assert_array_equal(one[:, :4], two[:, :4])
    assert np.abs(one[:, 4:] - two[:, 4:]).max() > 1e-7


@pytest.mark.parametrize("name", [name for name in WORD_RUNGS if name != "convolution"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_later_word_that_is_not_finite_changes_no_bit(name, bad):
    model = make(name, NEXT_WORDS)
    ids = np.array([[1, 2, 3, 4]])
    before = model(ids).numpy()
    with pf.no_grad():
        model.words[0].table[4] = bad
    after = model(ids).numpy()
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert not np.isfinite(after[:, 3]).all()


@pytest.mark.parametrize("name", WORD_RUNGS)
def test_a_short_sentence_is_what_it_is_alone(name):
    model = make(name)
    scores = model(IDS, LENGTHS).numpy()
    for row, length in enumerate(LENGTHS):
        assert_close(
            model(IDS[row : row + 1, :length]).numpy()[0],
            by_rows(scores[row]),
            str(length),
            additions=256,
            ops=MODEL_OPS,
        )


@pytest.mark.parametrize("name", [name for name in WORD_RUNGS if name != "convolution"])
def test_without_places_order_is_lost(name):
    model = make(name)
    moved = np.abs(model(IDS).numpy() - model(IDS[:, ::-1].copy()).numpy()).max()
    assert moved < 1e-12 if WORD_RUNGS[name][1] is None else moved > 1e-7


def test_a_convolution_sees_as_far_as_its_window():
    model = make("convolution", Size(11, 9, 11, causal=True, width=8))
    for place, far in [(2, True), (1, False)]:
        changed = IDS.copy()
        changed[:, place] = (changed[:, place] + 1) % 11
        difference = np.abs(model(IDS).numpy() - model(changed).numpy())[:, 6]
        assert (difference.max() > 0) == far


def test_a_one_hot_word_through_a_matrix_is_an_embedding():
    weight = pf.randn(11, 8)
    one_hot = derivation.OneHot(11)(pf.tensor(IDS))
    np.testing.assert_array_equal((one_hot @ weight).numpy(), pf.ops.embedding(pf.tensor(IDS), weight).numpy())


def test_a_one_hot_place_is_a_learned_one():
    """W [x; e_i] + b = W_x x + w_i + b."""
    layer = derivation.OneHotPosition(9, 8)
    x = pf.randn(2, 7, 8)
    weight = layer.join.weight.numpy()
    expected = x.numpy() @ weight[:, :8].T + weight[:, 8:].T[:7] + layer.join.bias.numpy()
    assert_close(layer(x).numpy(), by_rows(expected), additions=17, ops=MODEL_OPS)


def test_rotary_products_know_the_distance_only():
    q, k = pf.randn(1, 1, 8, dtype=pf.float64), pf.randn(1, 1, 8, dtype=pf.float64)
    turn = RotaryPosition(9, 8)
    same = pf.zeros(1, 9, 1, dtype=pf.float64)
    products = (turn(q + same) @ turn(k + same).transpose(0, 2, 1)).numpy()[0]
    for distance in range(-8, 9):
        diagonal = np.diag(products, distance)
        assert_close(
            diagonal, by_rows(np.full_like(diagonal, diagonal[0])), str(distance), additions=256, ops=MODEL_OPS
        )
    assert np.ptp(products) > 0.1


def test_the_last_rung_is_the_transformer_block():
    layer, block = derivation.Transformer(8, 2), pf.nn.TransformerBlock(8, 2)
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "mix": "out_proj"}
    state = {}
    for name, value in layer.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
        state[name] = value
    block.load_state_dict(state)
    x, seen = pf.randn(2, 7, 8), pf.tensor(np.tri(7, dtype=bool)[None])
    expected = block(x, mask=seen.reshape(1, 1, 7, 7)).numpy()
    assert_close(layer(x, seen).numpy(), by_rows(expected), additions=32, ops=MODEL_OPS)


def test_bad_rungs_and_sizes():
    with pytest.raises(ValueError, match="make_rung: expected one of convolution"):
        make_rung("recurrence", SENTENCES)
    with pytest.raises(ValueError, match="Size: width must be at least 1"):
        Size(5, 5, 2, causal=True, width=0)
    with pytest.raises(ValueError, match="divide width"):
        Size(5, 5, 2, causal=True, width=10, heads=4)
