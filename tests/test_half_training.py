"""A GPT trains in bfloat16 and float16 on the plain kernels: 16-bit weights, gradients of them and AdamW's masters in
float32."""

from __future__ import annotations

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core


def trained(dtype: str, steps: int = 60) -> tuple[list[float], pf.models.GPT, pf.optim.AdamW]:
    """Losses of a GPT that learns to count in circles."""
    pf.manual_seed(0)
    config = pf.models.GPTConfig(vocab_size=10, context_length=16, num_layers=2, num_heads=2, embed_dim=32)
    model = pf.models.GPT(config).to(dtype)
    optimizer = pf.optim.AdamW(model.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(steps):
        ids = (rng.integers(0, 10, (8, 1)) + np.arange(17)) % 10
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        pf.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses, model, optimizer


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_learns_as_float32_does(dtype):
    _core.set_isa("ref")
    wide, _, _ = trained("float32")
    narrow, model, optimizer = trained(dtype)
    assert wide[-1] < 0.5 < wide[0]
    assert abs(narrow[0] - wide[0]) < 0.02 * wide[0]
    assert narrow[-1] < 1.15 * wide[-1] + 0.02
    for parameter in model.parameters():
        assert parameter.dtype == getattr(pf, dtype)
        assert parameter.grad.dtype == pf.float32
    masters = [state["master"] for state in optimizer.state_dict()["state"].values()]
    assert len(masters) == len(list(model.parameters()))
    for parameter, master in zip(model.parameters(), masters, strict=True):
        assert master.dtype == pf.float32
        stored = parameter.detach().to("float32").numpy()
        assert np.array_equal(master.to(dtype).to("float32").numpy(), stored)
        # Most updates are far below a 16-bit number's spacing: masters keep what the parameters can't show.
    assert any(
        not np.array_equal(m.numpy(), p.detach().to("float32").numpy())
        for p, m in zip(model.parameters(), masters, strict=True)
    )


def test_bits_do_not_depend_on_set_or_threads():
    results = []
    for isa, threads in (("ref", 1), (_core.supported_isas()[-1], 3)):
        _core.set_isa(isa)
        pf.set_num_threads(threads)
        losses, model, _ = trained("bfloat16", steps=4)
        state = [v.to("float32").numpy().copy() for v in model.state_dict().values()]
        results.append((losses, state))
    assert results[0][0] == results[1][0]
    assert all(np.array_equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))
