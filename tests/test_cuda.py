"""The CUDA kernels, run by the emulator: every case whose op has kernels, in three dtypes and under several schedules.

A result has the same bits under every schedule. Sums are taken in the order of the CPU's plain loops, so they are those
of `ref`; what tensor cores add up is judged element by element against float64."""

from __future__ import annotations

import os
import subprocess
import sys

import cuda_device
import numpy as np
import pytest
import test_half
from case_runner import as_tuple, make_inputs, projections
from cases import TEST_CASES
from tolerance import assert_close, same_bits

import pyformer as pf
from pyformer import _core

DEVICE = "cuda:emulated"
SCHEDULES = ("lowest,early", "highest,late", "drawn,late,seed=3")


@pytest.fixture(autouse=True, scope="module")
def _device():
    cuda_device.library()
    yield
    cuda_device.schedule("lowest,early")


def run(case, arrays, dtype, device):
    """Outputs and gradients as NumPy arrays, 16-bit floats widened."""
    tensors = {}
    for key, value in arrays.items():
        tensor = pf.tensor(value, device=device)
        tensors[key] = tensor.to(dtype) if value.dtype.kind == "f" else tensor
        if key in case.grads:
            tensors[key].requires_grad = True
    outputs = as_tuple(case.run(pf, **tensors))
    assert all(o.device == pf.device(device) for o in outputs), case.id
    wanted = [o for o in outputs if o.requires_grad]
    if case.grads:
        douts = projections([np.empty(o.shape) for o in wanted], np.float32)
        seeds = [pf.tensor(test_half.rounded(d, "bfloat16"), device=device) for d in douts]
        _core.backward_many(wanted, [s.to(o.dtype) for s, o in zip(seeds, wanted, strict=True)])
    return [as_numpy(t) for t in (*outputs, *(tensors[k].grad for k in case.grads))]


def as_numpy(tensor):
    here = tensor.detach().to("cpu")
    return (here.to("float32") if here.dtype in (pf.bfloat16, pf.float16) else here).numpy()


CASES = TEST_CASES
# Of 16-bit floats these ops' results are not those of the CPU, as tensor cores add in their own order. They are judged
# element by element. Products have kernels for sm_90a, which the emulator is unless told, and for sm_80: tensor cores
# of one kind add up alike in both, so the bits are the same.
OWN_SUMS = {*test_half.ROUNDS_BETWEEN, *(PRODUCTS := ("mm", "bmm", "mv"))}
# Finding out what may be expected takes a second for a case of attention: of those every fourth is judged, and those
# that are made for wgmma.
ATTENTION = [case.id for case in CASES if case.op in ("attention", "attention_packed")]
NOT_JUDGED = {case for i, case in enumerate(ATTENTION) if i % 4 and "bulk" not in case}
BETWEEN = {**test_half.ROUNDS_BETWEEN, **dict.fromkeys(PRODUCTS, 0.0)}


def inputs_of(case, dtype):
    return make_inputs(case, dtype) if dtype == "float32" else test_half.inputs_of(case, dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case, dtype):
    arrays, results = inputs_of(case, dtype), []
    schedules = SCHEDULES
    if case.op in OWN_SUMS and dtype != "float32":
        schedules += (f"{SCHEDULES[1]},sm80",)
    for words in schedules:
        cuda_device.schedule(words)
        results.append(run(case, arrays, dtype, DEVICE))
    for words, got in zip(schedules[1:], results[1:], strict=True):
        assert all(map(same_bits, got, results[0])), f"{case.id} in {dtype} under {words}"
    names = [f"result {i}" for i in range(len(results[0]))]
    if case.op in OWN_SUMS and dtype != "float32":
        if case.finite and case.id not in NOT_JUDGED:
            for name, got, exact in zip(names, results[0], test_half.exact_results(case, dtype), strict=True):
                what = f"{case.id} {name} in {dtype}"
                assert_close(got, exact, what, additions=case.reduction, between=BETWEEN[case.op], dtype=dtype)
        return
    _core.set_isa("ref")
    for name, got, expected in zip(names, results[0], run(case, arrays, dtype, "cpu"), strict=True):
        assert same_bits(got, expected), f"{case.id} {name} in {dtype}"


# Of these there are no kernels for float64.
WITHOUT_FLOAT64 = {"attention", "attention_packed", "scaled_dot_product_attention"}
FIRST_CASES = {case.op: case for case in reversed(CASES)}


@pytest.mark.parametrize("op", sorted(FIRST_CASES))
def test_float64(op):
    case = FIRST_CASES[op]
    arrays = make_inputs(case, "float64")
    cuda_device.schedule(f"{SCHEDULES[-1]},sm86")  # which has least shared memory
    if op in WITHOUT_FLOAT64:
        with pytest.raises(TypeError, match=rf"no kernel for float64 on {DEVICE} \(there are: .* on cpu\)"):
            run(case, arrays, "float64", DEVICE)
        return
    _core.set_isa("ref")
    got, expected = (run(case, arrays, "float64", device) for device in (DEVICE, "cpu"))
    assert all(map(same_bits, got, expected))


@pytest.mark.parametrize("tensor_core", ["ampere", "hopper"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_few_rows_have_the_bits_of_many(dtype, tensor_core):
    """Products of at most 16 rows have kernels of their own. 530 terms are two chains and a part of one."""
    cuda_device.schedule(f"{SCHEDULES[-1]},{tensor_core}")
    rng = np.random.default_rng(0)
    x, weight, bias = (
        pf.tensor(rng.standard_normal(shape), dtype="float32", device=DEVICE).to(dtype)
        for shape in ((20, 530), (19, 530), (19,))
    )
    together = as_numpy(pf.ops.linear(x, weight, bias))
    for rows in (1, 9, 16):
        alone = as_numpy(pf.ops.linear(x[2 : 2 + rows], weight, bias))
        assert same_bits(alone, together[2 : 2 + rows]), rows


@pytest.mark.parametrize("weights", ["bfloat16", "float32"])
def test_few_rows_of_float32_have_the_bits_of_many(weights):
    """As in a model of bfloat16, and under autocast: one is rounded where it is read; two, and many rows, before."""
    cuda_device.schedule(SCHEDULES[-1])
    rng = np.random.default_rng(0)
    x, weight = (pf.tensor(rng.standard_normal(s).astype(np.float32), device=DEVICE) for s in ((20, 530), (19, 530)))
    weight = weight.to(weights)
    with pf.autocast("bfloat16"):
        together = as_numpy(pf.ops.linear(x, weight))
        before = cuda_device.counts()
        for rows in (1, 16):
            assert same_bits(as_numpy(pf.ops.linear(x[2 : 2 + rows], weight)), together[2 : 2 + rows]), rows
    after = cuda_device.counts()
    assert after["mma"] > before["mma"]
    assert after["wgmma"] == before["wgmma"]


@pytest.mark.parametrize("count", [3, 2049, 70_000])
def test_long_rows_are_sorted(count):
    x = np.random.default_rng(0).integers(-1000, 1000, count).astype(np.float32)
    cuda_device.schedule(SCHEDULES[-1])
    for k in (2, count):
        found, expected = (pf.ops.topk(pf.tensor(x, device=device), k) for device in (DEVICE, "cpu"))
        assert all(same_bits(as_numpy(a), as_numpy(b)) for a, b in zip(found, expected, strict=True))


# ---- training -----------------------------------------------------------------------------------------------------


def gpt(device, dtype="float32"):
    pf.manual_seed(1)
    config = pf.models.GPTConfig(vocab_size=11, context_length=16, num_layers=2, num_heads=2, embed_dim=16, dropout=0.1)
    model = pf.models.GPT(config).to(device).to(dtype)
    return model, pf.optim.AdamW(model.parameters(), lr=1e-2)


def train(model, optimizer, count):
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


def state(model):
    return {key: as_numpy(value) for key, value in model.state_dict().items()}


@pytest.mark.parametrize("words", SCHEDULES)
def test_gpt_trains_as_on_the_cpu(words):
    """Dropout included: it is the CPU's random numbers, so losses and weights are the CPU's to the bit."""
    _core.set_isa("ref")
    cuda_device.schedule(words)
    runs = []
    for device in ("cpu", DEVICE):
        model, optimizer = gpt(device)
        runs.append((train(model, optimizer, 10), state(model)))
    (losses, expected), (losses_there, found) = runs
    assert losses == losses_there
    assert all(same_bits(found[key], value) for key, value in expected.items())


def test_gpt_trains_in_bfloat16():
    losses = [train(*gpt(device, "bfloat16"), 10) for device in ("cpu", DEVICE)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-3)


def test_text_is_generated_as_on_the_cpu():
    _core.set_isa("ref")
    texts = [gpt(device)[0].generate([[1, 2, 3]], 6, temperature=0).to("cpu").tolist() for device in ("cpu", DEVICE)]
    assert texts[0] == texts[1]


# ---- the device ---------------------------------------------------------------------------------------------------


def test_names():
    assert str(pf.device(DEVICE)) == DEVICE
    assert str(pf.device(DEVICE + ":1")) == DEVICE + ":1"
    with pytest.raises(ValueError, match="cuda:emulated has 2 devices"):
        pf.device(DEVICE + ":2")
    with pytest.raises(ValueError, match=r"'cuda' is not available: .*PYFORMER_CUDA=ON"):
        pf.device("cuda")
    assert not pf.cuda.is_available()
    assert "PYFORMER_CUDA=ON" in pf.cuda.why()
    assert pf.cuda.device_count() == 0
    with pytest.raises(ValueError, match="'cuda:0' is not available"):
        pf.cuda.synchronize()
    assert pf.cuda.get_device_properties(DEVICE).memory_bytes == 1 << 32
    for told in (pf.cuda.get_device_properties, pf.cuda.memory_stats):
        with pytest.raises(ValueError, match="expected the number or name of a CUDA device, got cpu"):
            told("cpu")


def test_what_the_host_cannot_read_or_mix():
    x = pf.ones(2, device=DEVICE)
    with pytest.raises(TypeError, match=r'use \.to\("cpu"\) first'):
        x.numpy()
    with pytest.raises(TypeError, match=rf"is on cpu, .* on {DEVICE}"):
        x + pf.ones(2)
    assert x[0].item() == 1.0
    assert "device='cuda:emulated'" in repr(x)


def test_memory_is_kept_counted_and_given_back():
    pf.cuda.synchronize(DEVICE)
    pf.cuda.empty_cache(DEVICE)
    before = pf.cuda.memory_stats(DEVICE)
    assert before["cached_bytes"] == 0
    x = pf.ones(1 << 20, device=DEVICE)
    held = pf.cuda.memory_stats(DEVICE)["in_use_bytes"] - before["in_use_bytes"]
    assert (1 << 22) <= held <= (1 << 22) * 5 // 4
    del x
    after = pf.cuda.memory_stats(DEVICE)
    assert after["in_use_bytes"] == before["in_use_bytes"]
    assert after["cached_bytes"] >= held
    assert after["peak_bytes"] >= before["in_use_bytes"] + held
    pf.cuda.empty_cache(DEVICE)
    assert pf.cuda.memory_stats(DEVICE)["cached_bytes"] == 0


def test_out_of_memory_is_told_and_work_goes_on():
    x = pf.ones(4, device=DEVICE)
    with pytest.raises(MemoryError, match="cuda:emulated: no memory for"):
        pf.zeros(1 << 40, device=DEVICE)
    # Three of 1.5 GiB do not fit into 4 GiB, unless what is kept of the first is given back.
    for _ in range(3):
        pf.zeros(3 << 27, device=DEVICE)
        pf.zeros((3 << 27) + (1 << 24), device=DEVICE)
    assert (x + x).sum().item() == 8.0
    pf.cuda.empty_cache(DEVICE)


def test_streams():
    x = pf.arange(4, device=DEVICE)
    with pf.cuda.stream(DEVICE):
        y = x + 1
        with pf.cuda.stream(DEVICE):
            z = y * 2
        z = z + y
        del y
    assert z.tolist() == [3, 6, 9, 12]


def test_ids_out_of_range_are_told_at_the_next_wait():
    pf.ops.embedding(pf.tensor([0, 7], device=DEVICE), pf.ones(3, 2, device=DEVICE))
    with pytest.raises(IndexError, match=r"embedding: ids must be within \[0, 3\), got 7 at position 1"):
        pf.cuda.synchronize(DEVICE)
    pf.cuda.synchronize(DEVICE)


def test_a_forked_child_is_told():
    x = pf.ones(2, device=DEVICE)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        for use in (lambda: x + x, lambda: pf.device(DEVICE)):
            try:
                use()
            except (RuntimeError, ValueError) as error:
                os.write(write, f"{error}\n".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as told:
        first, second = told.read().splitlines()
    assert first.startswith("cuda:emulated: the process was forked after it had used this device")
    assert second.startswith("device: 'cuda:emulated' is not available: the process was forked after")
    assert (x + x).tolist() == [2.0, 2.0]


def test_the_command_line_says_what_to_install():
    command = [sys.executable, "-m", "pyformer", "train", "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "PYFORMER_CUDA=ON" in done.stderr


def test_adamw_goes_on_after_gradients_whose_squares_are_infinite():
    gradient, steps = pf.tensor([1e30, -3e38, 1.0, np.inf, np.nan]), []
    for device in ("cpu", DEVICE):
        w = pf.zeros(5, device=device, requires_grad=True)
        optimizer = pf.optim.AdamW([w], lr=0.1)
        for _ in range(3):
            w.grad = gradient.to(device)
            optimizer.step()
        steps.append(w.detach().to("cpu").numpy())
    np.testing.assert_array_equal(*steps)
    assert np.isfinite(steps[1][:3]).all()
    assert steps[1][0] < -0.01
