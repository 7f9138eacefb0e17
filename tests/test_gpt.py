"""GPT against the transformers model it shares its files with: logits, gradients, training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerance import MODEL_OPS, assert_close, by_rows
from transformers import GPT2Config, GPT2LMHeadModel

import pyformer as pf
from pyformer.models import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=61, context_length=24, num_layers=2, num_heads=4, embed_dim=32)
STORED_TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


def make(config=CONFIG, dtype="float32", seed=0, **options):
    pf.manual_seed(seed)
    return GPT(config, **options).to(getattr(pf, dtype))


def batch(rows=3, tokens=11, seed=0):
    rng = np.random.default_rng(seed)
    ids, targets = rng.integers(0, CONFIG.vocab_size, (2, rows, tokens))
    return ids, targets


def make_twin(dtype, seed=0):
    """A transformers GPT-2 with random weights of a scale that makes every path matter."""
    torch.manual_seed(seed)
    twin = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=CONFIG.vocab_size,
            n_positions=CONFIG.context_length,
            n_layer=CONFIG.num_layers,
            n_head=CONFIG.num_heads,
            n_embd=CONFIG.embed_dim,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
            attn_implementation="eager",
        )
    ).to(getattr(torch, dtype))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return twin


def load_twin(twin, dtype):
    state = {name.removeprefix("transformer."): tensor.detach().numpy() for name, tensor in twin.named_parameters()}
    model = make(dtype=dtype)
    model.load_state_dict({n: v.T.copy() if n.endswith(STORED_TRANSPOSED) else v for n, v in state.items()})
    return model


def twin_loss(twin, ids, targets):
    logits = twin(torch.tensor(ids)).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())


def assert_parameters_close(model, twin, additions, take):
    others = {n.removeprefix("transformer."): t for n, t in twin.named_parameters()}
    for name, parameter in model.named_parameters():
        expected = take(others[name]).detach().numpy()
        expected = expected.T if name.endswith(STORED_TRANSPOSED) else expected
        got = take(parameter)
        assert_close(got.numpy(), by_rows(expected, least=1e-3), name, additions=additions, ops=MODEL_OPS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_loss_and_all_gradients_equal_the_twin(dtype):
    twin = make_twin(dtype)
    model = load_twin(twin, dtype)
    ids, targets = batch()
    targets[0, 3:6] = -100
    with torch.no_grad():
        expected = twin(torch.tensor(ids)).logits.numpy()
    assert_close(model(ids).numpy(), by_rows(expected), "logits", additions=128, ops=MODEL_OPS)
    loss, other = model.loss(ids, targets), twin_loss(twin, ids, targets)
    assert loss.shape == ()
    assert_close(loss.numpy(), by_rows(other.detach().numpy()), "loss", additions=61, ops=MODEL_OPS)
    loss.backward()
    other.backward()
    assert_parameters_close(model, twin, 128, lambda p: p.grad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_steps_equal_the_twin(dtype):
    twin = make_twin(dtype)
    model = load_twin(twin, dtype)
    # A large epsilon: with a small one, the sign of a gradient near 0 decides a whole step.
    options = {"lr": 1e-2, "eps": 1e-2, "weight_decay": 0.1}
    ours = pf.optim.AdamW(model.parameters(), **options)
    theirs = torch.optim.AdamW(twin.parameters(), **options)
    for step in range(10):
        ids, targets = batch(seed=step)
        loss, other = model.loss(ids, targets), twin_loss(twin, ids, targets)
        for optimizer, value in ((ours, loss), (theirs, other)):
            optimizer.zero_grad()
            value.backward()
        norm = pf.optim.clip_grad_norm_(model.parameters(), 1.0).item()
        expected = float(torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0))
        assert_close(norm, by_rows(expected), f"norm {step}", additions=128, ops=MODEL_OPS, dtype=dtype)
        assert_close(loss.numpy(), by_rows(other.detach().numpy()), f"{step}", additions=61, ops=MODEL_OPS)
        ours.step()
        theirs.step()
    assert_parameters_close(model, twin, 128, lambda p: p.detach())


def test_initial_values_are_gpt2s():
    model = make(GPTConfig(500, 64, 8, 4, 128))
    for name, parameter in model.named_parameters():
        values = parameter.numpy()
        if name.endswith("bias"):
            assert not values.any(), name
        elif ".ln_" in name or name.startswith("ln_f"):
            assert (values == 1).all(), name
        else:
            expected = 0.02 / 4 if name.endswith("c_proj.weight") else 0.02
            assert abs(values.std() / expected - 1) < 0.05, name
    ids = np.arange(64)[None]
    assert abs(model.loss(ids, ids + 100).item() - np.log(500)) < 0.3


def test_manual_seed_decides_initial_values():
    for (name, one), two in zip(make().named_parameters(), make().parameters(), strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=name)


def test_padding_changes_no_bits():
    model = make()
    ids, targets = batch()
    lengths = np.array([11, 4, 7])
    padded = model(ids, lengths=lengths).numpy()
    for row, length in enumerate(lengths):
        alone = model(ids[row : row + 1, :length]).numpy()
        np.testing.assert_array_equal(padded[row, :length], alone[0])
    masked = np.where(np.arange(11) < lengths[:, None], targets, -100)
    expected = model.loss(ids, masked).item()
    assert model.loss(ids, targets, lengths=lengths).item() == pytest.approx(expected, rel=1e-6)


def test_all_forms_of_ids_mean_the_same():
    model = make()
    ids, _ = batch()
    expected = model(ids).numpy()
    for form in (ids.tolist(), ids.astype(np.int32), pf.tensor(ids), ids[:, ::-1][:, ::-1]):
        np.testing.assert_array_equal(model(form).numpy(), expected)


def test_recompute_gives_the_same_bits():
    ids, targets = batch()
    plain, saving = make(), make(recompute=True)
    for model in (plain, saving):
        model.loss(ids, targets).backward()
    for (name, one), two in zip(plain.named_parameters(), saving.parameters(), strict=True):
        np.testing.assert_array_equal(one.grad.numpy(), two.grad.numpy(), err_msg=name)


def test_recompute_repeats_dropout():
    config = GPTConfig(61, 24, 2, 4, 32, dropout=0.3)
    ids, targets = batch()
    grads = []
    for recompute in (False, True):
        model = make(config, recompute=recompute)
        pf.manual_seed(9)
        model.loss(ids, targets).backward()
        grads.append([p.grad.numpy() for p in model.parameters()])
    for one, two in zip(*grads, strict=True):
        np.testing.assert_array_equal(one, two)


def test_training_learns_a_pattern():
    model = make()
    optimizer = pf.optim.AdamW(model.parameters(), lr=3e-3)
    ids = np.tile(np.arange(6), (4, 4))
    first = model.loss(ids[:, :-1], ids[:, 1:]).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 < first


@pytest.mark.parametrize(
    ("ids", "lengths", "error", "message"),
    [
        ([1, 2], None, ValueError, r"ids must be \(B, T\)"),
        ([[]], None, ValueError, r"ids must be \(B, T\)"),
        ([], None, ValueError, r"ids must be \(B, T\)"),
        ([[1, 2], [3]], None, ValueError, "rows of ids differ in length"),
        ([[1.0, 2.0]], None, TypeError, "ids must be integers"),
        ([[True]], None, TypeError, "ids must be integers"),
        ([[1, 61]], None, IndexError, "61"),
        ([[-1]], None, IndexError, "-1"),
        ([[2**63]], None, IndexError, "9223372036854775808"),
        (np.full((1, 2), 2**64 - 1, np.uint64), None, IndexError, "18446744073709551615"),
        ([[1] * 25], None, ValueError, "exceed the context length 24"),
        ([[1, 2]], [3], ValueError, "lengths must be in"),
        ([[1, 2]], [0], ValueError, "lengths must be in"),
        ([[1, 2]], [1, 1], ValueError, r"lengths must be \(1,\)"),
        ([[1, 2]], [1.5], TypeError, "lengths must be integers"),
    ],
)
def test_bad_ids(ids, lengths, error, message):
    with pytest.raises(error, match=message):
        make()(ids, lengths=lengths)


def test_bad_targets():
    model = make()
    with pytest.raises(ValueError, match="targets must be"):
        model.loss([[1, 2]], [[1, 2, 3]])
    with pytest.raises(TypeError, match="targets must be integers"):
        model.loss([[1, 2]], [[1.0, 2.0]])
    with pytest.raises(IndexError):
        model.loss([[1, 2]], [[1, 61]])
    assert model.loss([[1, 2]], [[-100, -100]]).item() == 0.0


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"vocab_size": 0}, ValueError),
        ({"num_layers": True}, TypeError),
        ({"embed_dim": 32.0}, TypeError),
        ({"num_heads": 5}, ValueError),
        ({"dropout": 1.0}, ValueError),
        ({"layer_norm_epsilon": 0.0}, ValueError),
        ({"layer_norm_epsilon": float("nan")}, ValueError),
        ({"layer_norm_epsilon": 10**400}, ValueError),
        ({"activation": "swoosh"}, ValueError),
        ({"eos_token_id": "x"}, TypeError),
    ],
)
def test_bad_config(changes, error):
    values = {
        "vocab_size": 61,
        "context_length": 24,
        "num_layers": 2,
        "num_heads": 4,
        "embed_dim": 32,
    }
    with pytest.raises(error, match=next(iter(changes))):
        GPTConfig(**{**values, **changes})
