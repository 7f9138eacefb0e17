"""Everything that knows where values live, on a device that is not the CPU: host memory under another name, with the
plain kernels. So a result there has the bits of `ref` on the CPU."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import second_device
from case_runner import as_tuple, make_inputs, projections
from cases import TEST_CASES
from tolerance import same_bits

import pyformer as pf
from pyformer import _core

DEVICE = "second"


@pytest.fixture(autouse=True, scope="module")
def _device():
    second_device.library()


def run(case, arrays, device):
    """Outputs and gradients as NumPy arrays, of inputs on that device."""
    tensors = {k: pf.tensor(v, device=device, requires_grad=k in case.grads) for k, v in arrays.items()}
    outputs = as_tuple(case.run(pf, **tensors))
    for output in outputs:
        assert output.device == pf.device(device), case.id
    wanted = [o for o in outputs if o.requires_grad]
    douts = projections([o.detach().to("cpu").numpy() for o in wanted])
    if case.grads:
        _core.backward_many(wanted, [pf.tensor(d, device=device) for d in douts])
    grads = {k: tensors[k].grad for k in case.grads}
    assert all(g.device == pf.device(device) for g in grads.values()), case.id
    return [o.detach().to("cpu").numpy() for o in outputs], {k: g.to("cpu").numpy() for k, g in grads.items()}


@pytest.mark.parametrize("case", TEST_CASES, ids=lambda case: case.id)
def test_case_has_the_bits_of_ref(case):
    arrays = make_inputs(case, "float32")
    _core.set_isa("ref")
    expected, expected_grads = run(case, arrays, "cpu")
    got, grads = run(case, arrays, DEVICE)
    assert all(same_bits(a, b) for a, b in zip(got, expected, strict=True))
    assert all(same_bits(grads[k], expected_grads[k]) for k in case.grads)


def _one_per_op():
    """The first case of each op that has two tensors or more."""
    seen = {}
    for case in TEST_CASES:
        if len(case.inputs(np.random.default_rng(7))) > 1:
            seen.setdefault(case.op, case)
    return list(seen.values())


@pytest.mark.parametrize("case", _one_per_op(), ids=lambda case: case.id)
def test_operands_on_two_devices_are_one_type_error(case):
    arrays = make_inputs(case, "float32")
    for stays in arrays:
        tensors = {k: pf.tensor(v, device="cpu" if k == stays else DEVICE) for k, v in arrays.items()}
        with pytest.raises(TypeError) as error:
            case.run(pf, **tensors)
        text = str(error.value)
        assert all(part in text for part in ("cpu", "second:0", " on ")), (stays, text)


def test_names():
    assert str(pf.device("second")) == "second:0"
    assert pf.device("second:1").type == "second"
    assert pf.device("second:1").index == 1
    assert pf.device("cpu") == "cpu"
    assert pf.device("second") != pf.device("second:1")
    assert {pf.device("cpu"): 1}[pf.device("cpu")] == 1
    assert pickle.loads(pickle.dumps(pf.device("second:1"))) == "second:1"
    with pytest.raises(ValueError, match="second has 2 devices"):
        pf.device("second:2")
    with pytest.raises(ValueError, match="expected 'cpu' or 'cuda', got 'gpu'"):
        pf.device("gpu")
    with pytest.raises(ValueError, match="'cuda' is not available"):
        pf.device("cuda")
    with pytest.raises(TypeError, match="device"):
        pf.zeros(2, device=3)


def test_made_moved_and_shown():
    x = pf.tensor([[1.0, 2.0]], device=DEVICE)
    assert x.device == "second:0"
    assert "device='second:0'" in repr(x)
    assert "1., 2." in repr(x)
    assert x[0, 1].item() == 2.0
    assert x.to("cpu").numpy().tolist() == [[1.0, 2.0]]
    assert x.to("second:1").device == "second:1"
    assert x.to(pf.device("cpu")).device == "cpu"
    assert x.to("second:0") is x or x.to("second:0").device == x.device
    for made in (pf.zeros(2, device=DEVICE), pf.ones(2, device=DEVICE), pf.full((2,), 3.0, device=DEVICE)):
        assert made.device == "second:0"
    assert pf.arange(3, device=DEVICE).to("cpu").numpy().tolist() == [0, 1, 2]
    pf.manual_seed(3)
    there = pf.randn(5, device=DEVICE).to("cpu").numpy()
    pf.manual_seed(3)
    assert np.array_equal(there, pf.randn(5).numpy())


def test_refused_where_memory_is_not_the_hosts():
    x = pf.ones(2, device=DEVICE)
    for wrong in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(TypeError, match=r'use \.to\("cpu"\) first'):
            wrong()
    with pytest.raises(BufferError, match="second:0"):
        x.__dlpack__()


def test_gradients_cross_devices():
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    (x.to(DEVICE) * 3.0).to("cpu").sum().backward()
    assert x.grad.device == "cpu"
    assert x.grad.numpy().tolist() == [3.0, 3.0]
    y = pf.tensor([1.0], device=DEVICE, requires_grad=True)
    with pytest.raises(TypeError, match="on cpu"):
        y.grad = pf.ones(1)


def test_ids_out_of_range_are_told_at_the_next_wait():
    weight = pf.ones(3, 2, device=DEVICE)
    pf.ops.embedding(pf.tensor([0, 7], device=DEVICE), weight)
    with pytest.raises(IndexError, match=r"embedding: ids must be within \[0, 3\), got 7 at position 1"):
        _core.synchronize(DEVICE)
    _core.synchronize(DEVICE)


def test_other_numbers_out_of_range_too():
    there = {"device": DEVICE}
    q = pf.ones(2, 3, 1, 4, **there)
    calls = {
        r"cross_entropy: targets\[1\] is 9, expected 0 <= target < 3 or ignore_index = -100": lambda: (
            pf.ops.cross_entropy(pf.zeros(2, 3, **there), pf.tensor([1, 9], **there))
        ),
        "attention: key_lengths must be from 0 to Tk = 3, got 4 for row 1": lambda: pf.ops.attention(
            q, q, q, key_lengths=pf.tensor([3, 4], **there)
        ),
        r"retention: decay must be in \(0, 1\], got 1.5 for head 0": lambda: pf.ops.retention(
            q, q, q, pf.tensor([1.5], **there)
        ),
    }
    for text, call in calls.items():
        call()
        with pytest.raises((IndexError, ValueError), match=text):
            _core.synchronize(DEVICE)
        _core.synchronize(DEVICE)


def test_copies_and_pickles_stay_there():
    x = pf.tensor([1.0, 2.0], device="second:1", requires_grad=True)
    for again in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert again.device == "second:1"
        assert again.requires_grad
        assert again.detach().to("cpu").numpy().tolist() == [1.0, 2.0]
    half = pf.tensor([1.0, 2.5], device=DEVICE).to("bfloat16")
    assert pickle.loads(pickle.dumps(half)).to("cpu").to("float32").numpy().tolist() == [1.0, 2.5]


def test_memory_returns_and_running_out_is_no_end():
    before = second_device.live_bytes()
    x = pf.ones(1000, device=DEVICE)
    assert second_device.live_bytes() == before + 4000
    with pytest.raises(MemoryError, match="second:0"):
        pf.zeros(1 << 40, device=DEVICE)
    assert (x + x).sum().item() == 2000.0
    del x
    assert second_device.live_bytes() == before


def gpt(device):
    pf.manual_seed(1)
    config = pf.models.GPTConfig(vocab_size=11, context_length=16, num_layers=2, num_heads=2, embed_dim=16, dropout=0.1)
    model = pf.models.GPT(config).to(device)
    return model, pf.optim.AdamW(model.parameters(), lr=1e-2)


def steps(model, optimizer, count):
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(count):
        ids = rng.integers(0, 11, (3, 17))
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        pf.optim.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_gpt_trains_as_on_the_cpu(tmp_path):
    _core.set_isa("ref")
    results = []
    for device in ("cpu", DEVICE):
        model, optimizer = gpt(device)
        losses = steps(model, optimizer, 5)
        results.append((losses, {k: v.to("cpu").numpy().copy() for k, v in model.state_dict().items()}))
        assert all(p.device == pf.device(device) for p in model.parameters())
    (losses, state), (losses_there, state_there) = results
    assert losses == losses_there
    assert all(same_bits(state[k], state_there[k]) for k in state)


def test_saved_and_loaded(tmp_path):
    model, optimizer = gpt(DEVICE)
    steps(model, optimizer, 2)
    model.eval()
    model.save_pretrained(tmp_path / "model")
    again = pf.from_pretrained(tmp_path / "model", device=DEVICE)
    assert all(p.device == "second:0" for p in again.parameters())
    ids = [[1, 2, 3]]
    expected = model.generate(ids, 6, temperature=0).to("cpu").numpy()
    assert np.array_equal(again.generate(ids, 6, temperature=0).to("cpu").numpy(), expected)
    here = pf.from_pretrained(tmp_path / "model")
    _core.set_isa("ref")
    assert np.array_equal(here.generate(ids, 6, temperature=0).numpy(), expected)


def test_optimizer_state_follows_its_parameters():
    model, optimizer = gpt(DEVICE)
    steps(model, optimizer, 2)
    state = optimizer.state_dict()
    other, restored = gpt(DEVICE)
    other.load_state_dict(model.state_dict())
    restored.load_state_dict(state)
    assert steps(other, restored, 2) != []
    tensors = [t for s in restored.state_dict()["state"].values() for t in s.values() if isinstance(t, pf.Tensor)]
    assert tensors
    assert all(t.device == "second:0" for t in tensors)
