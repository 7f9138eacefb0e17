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
from pyformer import _core, cli
from pyformer.experiments import derive
from pyformer.formats import read_json
from pyformer.models.derivation import POSITIONS, WORD_RUNGS, PictureConvolution, Size, make_rung

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
    assert pf.device() == "cpu"
    assert pf.device("second") == "second" == pf.ones(1, device="second:0").device
    assert pf.device("second:1") != "second"
    assert pf.device("second") != "cpu"
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
    for wrong in (x.__dlpack__, x.__dlpack_device__, lambda: pf.from_dlpack(x)):
        with pytest.raises(BufferError, match="second:0"):
            wrong()


@pytest.mark.parametrize("device", ["cpu", DEVICE])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int64", "bool"])
def test_writes_in_place_are_numpys(device, dtype):
    before = np.arange(24).reshape(2, 3, 4) % (2 if dtype == "bool" else 99)
    mask = before % 5 == 1
    keys = [
        0,
        (0, 0, 0),
        -1,
        slice(0, 1),
        (..., 1),
        (slice(None), slice(None, None, -2), None, 3),
        (1, slice(3, 1)),
        (),
    ]
    # These NumPy alone knows.
    keys += [mask, True, [1, 0], (np.array([0, 1]), np.array([2, 0])), (slice(None), [2, 0]), (0, mask[0])]
    for key in keys:
        there = pf.tensor(mask, device=device) if key is mask else key
        shape = before[key].shape
        values = np.arange(1, 1 + before[key].size).reshape(shape) % 2
        for value in (1, values, *((values[..., :1], values[None]) if shape and key is not mask else ())):
            expected = before.copy()
            expected[key] = value
            x = pf.tensor(before, dtype=dtype, device=device)
            x[there] = value
            assert x.tolist() == pf.tensor(expected, dtype=dtype).tolist(), (key, value)
        x = pf.tensor(before, dtype=dtype, device=device)
        x[there] = pf.tensor(values, dtype=dtype, device=device)
        expected = before.copy()
        expected[key] = values
        assert x.tolist() == pf.tensor(expected, dtype=dtype).tolist(), key


@pytest.mark.parametrize("device", ["cpu", DEVICE])
def test_writes_of_a_tensor_into_itself(device):
    for key in (slice(None, None, -1), np.arange(5, -1, -1)):
        x = pf.arange(6, device=device)
        x[key] = x
        assert x.tolist() == [5, 4, 3, 2, 1, 0]


def test_writes_that_do_not_fit():
    x = pf.zeros(2, 3, device=DEVICE)
    with pytest.raises(TypeError, match=r"^x\[i\] = v: v is on cpu, x on second:0"):
        x[0] = pf.ones(3)
    with pytest.raises(ValueError, match=r"^x\[i\] = v: expected v of a shape that broadcasts to \(3,\), got \(2,\)"):
        x[0] = [1, 2]
    for key in (2, (0, 0, 0), pf.zeros(1, device=DEVICE), "a"):
        with pytest.raises(IndexError, match=r"^x\[i\] = v: "):
            x[key] = 1.0
    assert x.tolist() == [[0.0] * 3] * 2


def test_indices_may_be_on_any_device():
    x = pf.arange(6, device=DEVICE).reshape(3, 2)
    for device in ("cpu", DEVICE, "second:1"):
        assert x[pf.tensor([2, 0], device=device)].tolist() == [[4, 5], [0, 1]]
        assert x[pf.tensor([True, False, True], device=device)].tolist() == [[0, 1], [4, 5]]
        x[pf.tensor([1], device=device)] = 9
        assert x[1].tolist() == [9, 9]
    assert x[x > 4].device == DEVICE
    with pytest.raises(IndexError, match="index: expected integers or booleans, got a tensor of float32"):
        x[pf.zeros(1, device=DEVICE)]


def test_a_write_in_place_there_is_noticed_by_backward():
    x = pf.ones(2, device=DEVICE, requires_grad=True)
    for key in (0, [0]):
        scale = pf.ones(2, device=DEVICE)
        y = (x * scale).sum()
        scale[key] = 2.0
        with pytest.raises(RuntimeError, match="in place"):
            y.backward()


def test_made_where_it_is_said():
    there = {"device": DEVICE}
    x = np.ones(2, np.float32)
    for made in (
        pf.asarray(x, **there),
        pf.asarray([1.0], **there),
        pf.from_dlpack(x, **there),
        pf.nn.Parameter(x, **there),
        pf.nn.init.normal(2, std=1.0, **there),
        pf.nn.init.zeros(2, **there),
        pf.ops.rope_frequencies(4, **there),
        pf.nn.Linear(2, 2, **there).weight,
        pf.nn.BatchNorm2d(2, **there).running_mean,
        pf.models.KAN(pf.models.KANConfig((2, 1)), **there)(x),
    ):
        assert made.device == DEVICE
    assert pf.asarray(x, device="cpu").numpy() is not x
    assert np.shares_memory(pf.asarray(x, device="cpu").numpy(), x)
    with pytest.raises(ValueError, match="device: expected"):
        pf.nn.Linear(2, 2, device="float32")


FILLS = [name for name in pf.nn.init.__dict__ if name.endswith("_") and not name.startswith("_") and name != "fill_"]


@pytest.mark.parametrize("fill", FILLS)
def test_first_values_are_drawn_there_as_on_the_cpu(fill):
    more = (0.5,) if fill == "constant_" else ()
    for dtype in ("float32", "bfloat16", "float16"):
        drawn = []
        for device in ("cpu", DEVICE):
            pf.manual_seed(1)
            tensor = getattr(pf.nn.init, fill)(pf.full((3, 4), 9.0, dtype=dtype, device=device), *more)
            assert (tensor.device, tensor.dtype.name) == (pf.device(device), dtype)
            drawn.append(tensor.tolist())
        assert drawn[0] == drawn[1]
        assert not (tensor == 9.0).to("cpu").numpy().any()


def test_models_take_numpy_there():
    x = np.ones((2, 3, 2), np.float32)
    for model in (
        pf.models.KAN(pf.models.KANConfig((2, 1))),
        pf.models.LiquidNetwork(pf.models.LiquidNetworkConfig(2, 4, 1)),
    ):
        expected = model(x).numpy()
        model.to(DEVICE)
        np.testing.assert_allclose(model(x).to("cpu").numpy(), expected, rtol=1e-5)
        assert model.loss(x, np.ones((2, 3, 1), np.float32)).device == DEVICE
    assert model(x, elapsed=np.ones((2, 3), np.float32)).device == DEVICE


@pytest.mark.parametrize("causal", [False, True])
def test_the_derivation_runs_there(causal):
    size = Size(vocab=7, length=4, outputs=3, causal=causal, width=8, heads=2)
    ids = np.random.default_rng(0).integers(0, 7, (2, 4))
    for name in WORD_RUNGS:
        model = make_rung(name, size)
        expected = model(ids).numpy()
        there = model.to(DEVICE)(ids)
        np.testing.assert_allclose(there.to("cpu").numpy(), expected, rtol=1e-3, atol=1e-5, err_msg=name)
        there.sum().backward()
    pictures = np.ones((2, 1, 28, 28), np.float32)
    assert PictureConvolution().to(DEVICE)(pictures).device == DEVICE
    for make in POSITIONS.values():
        assert make(4, 8).to(DEVICE)(pf.ones(2, 3, 8, device=DEVICE)).device == DEVICE


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


def test_optimizer_state_from_the_cpu_moves_to_its_parameters():
    state = gpt("cpu")
    steps(*state, 1)
    model, optimizer = gpt(DEVICE)
    optimizer.load_state_dict(state[1].state_dict())
    moments = [t for s in optimizer.state_dict()["state"].values() for t in s.values() if isinstance(t, pf.Tensor)]
    assert moments
    assert all(t.device == "second:0" for t in moments)
    assert all(np.isfinite(steps(model, optimizer, 1)))


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_parameters_of_a_group_are_on_one_device(name):
    def parameters(*devices):
        made = [pf.tensor(np.arange(1, 4, dtype=np.float32), device=device, requires_grad=True) for device in devices]
        for p in made:
            p.grad = p.detach() * 2
        return made

    make, apart = getattr(pf.optim, name), parameters("cpu", DEVICE)
    with pytest.raises(TypeError, match=f"(cpu.*{DEVICE}|{DEVICE}.*cpu)"):
        make(apart, lr=0.1).step()
    assert all(p.tolist() == [1.0, 2.0, 3.0] for p in apart)
    make([{"params": [p]} for p in apart], lr=0.1).step()
    together = parameters("cpu", "cpu")
    make(together, lr=0.1).step()
    assert [p.tolist() for p in apart] == [p.tolist() for p in together]
    assert apart[0].tolist() != [1.0, 2.0, 3.0]


def test_derive_runs_there_from_the_command_line(tmp_path, monkeypatch):
    """The command with one step a rung, on the rungs that plain loops do in seconds; what it records is the CPU's."""
    make_jobs, fit, places = derive.make_jobs, derive.fit, []

    def few(tasks, budget, seed, device):
        jobs = make_jobs({}, budget, seed, device)
        return {name: jobs[name] for name in ("lookup/importance/4", "lookup/attention/4", "growth/convolution")}

    def fit_and_tell(model, *args):
        result = fit(model, *args)
        places.append({str(parameter.device) for parameter in model.parameters()})
        return result

    monkeypatch.setattr(derive, "make_jobs", few)
    monkeypatch.setattr(derive, "fit", fit_and_tell)
    monkeypatch.setattr(cli.derive, "_load_tasks", lambda seed: {})
    _core.set_isa("ref")
    found = []
    for device in ("cpu", DEVICE):
        out = tmp_path / device
        assert cli.main(["derive", "--device", device, "--steps", "1", "--out", str(out), "--quiet"]) == 0
        record = read_json(out / "results.json")
        assert record["settings"]["device"] == device
        found.append({name: result.get("loss") for name, result in record["results"].items()})
        assert {path.name for path in out.iterdir()} >= {"results.json", "table.md"}
        measured = [result for result in record["results"].values() if "steps" in result]
        assert measured
        assert all(("peak_mb" in result) == (device == "cpu") for result in measured)
    assert places == [{"cpu"}] * 2 + [{"second:0"}] * 2
    assert found[0] == found[1]
    assert np.isfinite(found[0]["lookup/attention/4"])
