"""Matrices of 8 and fewer bits: every instruction set gives the bits of the rule, and models keep to it."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import real_data
from case_runner import VECTOR_ISAS

import pyformer as pf
from pyformer import _core, datasets
from pyformer.formats.gguf.blocks import BY_NAME, dequantize
from pyformer.formats.gguf.reader import GGUFFile
from pyformer.models import Llama, LlamaConfig

FORMATS = _core.quantized_formats()
MADE = ("q8", "Q8_0", "Q4_1")  # of float matrices
HALVES = {"Q6_K": (208,), "MXFP4": (), **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2))}
SIZES = {"vocab_size": 48, "context_length": 64, "num_layers": 2, "num_heads": 4, "embed_dim": 64, "num_kv_heads": 2}
X_GROUP, UNIT = 32, 2.0**-24


@pytest.fixture(autouse=True)
def same_set_and_threads_after():
    isa, threads = _core.isa(), pf.get_num_threads()
    yield
    _core.set_isa(isa)
    pf.set_num_threads(threads)


def blocks_of(name: str, n: int, k: int, seed: int = 0) -> np.ndarray:
    """Random blocks (n, bytes of a row) whose scales are moderate numbers."""
    rng = np.random.default_rng(seed)
    numbers, size = FORMATS[name]
    blocks = rng.integers(0, 256, (n, -(-k // numbers), size), dtype=np.uint8)
    for at in HALVES.get(name, (0,)):
        scales = rng.uniform(0.01, 0.1, (*blocks.shape[:2], 1)) * rng.choice([-1, 1], (*blocks.shape[:2], 1))
        blocks[:, :, at : at + 2] = scales.astype("<f2").view(np.uint8)
    if name == "MXFP4":
        blocks[:, :, 0] = rng.integers(118, 130, blocks.shape[:2])
    return blocks.reshape(n, -1)


def matrix(name: str, n: int = 37, k: int = 512) -> pf.QuantizedWeight:
    return pf.QuantizedWeight(name, k, pf.tensor(blocks_of(name, n, k)))


def numbers(rows: int, k: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, k)) * rng.choice([0.01, 1, 30], (rows, k))).astype(np.float32)


def uneven(rows: int, k: int, seed: int = 1) -> np.ndarray:
    """Such numbers with groups that stand out."""
    out = np.random.default_rng(seed).choice([1, 40], (rows, -(-k // X_GROUP)), p=[0.8, 0.2]).repeat(X_GROUP, 1)
    return numbers(rows, k, seed) * out[:, :k].astype(np.float32)


def rounded_x(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x in 8 or 16 bits, and of each group of 32 the scale and the largest number: the rule, in NumPy's float32."""
    groups = np.pad(x, ((0, 0), (0, -x.shape[1] % X_GROUP))).reshape(len(x), -1, X_GROUP)
    most = np.abs(groups).max(-1, keepdims=True)
    mean = np.cumsum(most, 1, dtype=np.float32)[:, -1:] / np.float32(groups.shape[1])
    steps = np.where(most > 2 * mean, np.float32(127 * 254), np.float32(127))
    return np.rint(groups * (steps / most)), most / steps, most


@pytest.mark.parametrize("name", FORMATS)
def test_blocks_stand_for_the_numbers_of_their_definition(name):
    w = matrix(name)
    raw = blocks_of(name, 37, 512)
    assert w.format == name
    assert w.shape == (37, 512)
    np.testing.assert_array_equal(w.blocks().numpy(), raw)
    found = w.dequantize().numpy()
    if name in BY_NAME:
        np.testing.assert_array_equal(found, dequantize(name, raw.reshape(-1)).reshape(37, 512))
    ids = pf.tensor([[3, 36], [0, 3]])
    np.testing.assert_array_equal(w.rows(ids).numpy(), found[ids.numpy()])
    again = pickle.loads(pickle.dumps(copy.deepcopy(w)))
    np.testing.assert_array_equal(again.blocks().numpy(), raw)


@pytest.mark.parametrize("name", FORMATS)
def test_every_set_gives_the_bits_of_the_plain_loops_for_any_rows_and_threads(name):
    w, x = matrix(name), pf.tensor(uneven(300, 512))
    bias, residual = pf.tensor(numbers(1, 37, 2)[0]), pf.tensor(numbers(300, 37, 3))
    _core.set_isa("ref")
    wanted = w(x, bias, "silu", residual).numpy()
    assert np.isfinite(wanted).all()
    for isa in VECTOR_ISAS:
        _core.set_isa(isa)
        for rows in (1, 2, 3, 7, 8, 15, 300):
            pf.set_num_threads(1 + rows % 2)
            got = w(pf.tensor(x.numpy()[:rows]), bias, "silu", pf.tensor(residual.numpy()[:rows])).numpy()
            np.testing.assert_array_equal(got.view(np.int32), wanted[:rows].view(np.int32), err_msg=f"{isa} {rows}")


@pytest.mark.parametrize("k", [64, 192, 320])
@pytest.mark.parametrize("name", ["q8", "Q8_0", "Q4_0", "Q4_1"])
def test_panels_of_an_odd_number_of_groups_lie_side_by_side(name, k):
    """Two groups share a head where there are no minima; the last head may be of one."""
    k = k if name == "q8" else k // 2
    raw, x = blocks_of(name, 37, k), uneven(5, k)
    w = pf.QuantizedWeight(name, k, pf.tensor(raw))
    np.testing.assert_array_equal(w.blocks().numpy(), raw)
    _core.set_isa("ref")
    wanted = w(pf.tensor(x)).numpy()
    for isa in VECTOR_ISAS:
        _core.set_isa(isa)
        for rows in (1, 5):
            got = w(pf.tensor(x[:rows])).numpy()
            np.testing.assert_array_equal(got.view(np.int32), wanted[:rows].view(np.int32), err_msg=f"{isa} {rows}")


@pytest.mark.parametrize("name", FORMATS)
def test_the_largest_integers_of_weight_and_x_add_up_exactly(name):
    """Sums of products in 16 bits would not hold one number more."""
    numbers_of_block, size = FORMATS[name]
    groups = np.random.default_rng(5).choice([1, -1], (8, 512 // X_GROUP)).repeat(X_GROUP, 1)
    x = pf.tensor((groups * np.random.default_rng(6).choice([1, 40], (8, 1))).astype(np.float32))
    for byte in (0, 127, 128, 255):
        raw = np.full((16, 512 // numbers_of_block, size), byte, np.uint8)
        for at in HALVES.get(name, (0,)):
            raw[:, :, at : at + 2] = np.array([0.05], "<f2").view(np.uint8)
        if name == "MXFP4":
            raw[:, :, 0] = 120
        w = pf.QuantizedWeight(name, 512, pf.tensor(raw.reshape(16, -1)))
        _core.set_isa("ref")
        wanted = w(x).numpy()
        for isa in VECTOR_ISAS:
            _core.set_isa(isa)
            np.testing.assert_array_equal(w(x).numpy().view(np.int32), wanted.view(np.int32), err_msg=f"{isa} {byte}")


@pytest.mark.parametrize("k", [1, 31, 64, 65, 100, 130])
@pytest.mark.parametrize("name", MADE)
def test_matrices_that_are_made_take_any_width(name, k):
    w, x = pf.QuantizedWeight.quantize(pf.tensor(numbers(19, k)), name), pf.tensor(uneven(5, k))
    _core.set_isa("ref")
    wanted = w(x).numpy()
    for isa in VECTOR_ISAS:
        _core.set_isa(isa)
        np.testing.assert_array_equal(w(x).numpy().view(np.int32), wanted.view(np.int32))
    groups = np.pad(w.dequantize().numpy(), ((0, 0), (0, -k % X_GROUP))).reshape(19, -1, X_GROUP)
    q, scales, _ = rounded_x(x.numpy())
    x_numbers = q.astype("d") * scales
    exact = np.einsum("mgk,ngk->mn", x_numbers, groups.astype("d"))
    size = np.einsum("mgk,ngk->mn", np.abs(x_numbers), 2 * np.abs(groups).max(-1, keepdims=True) + 0 * groups)
    assert (np.abs(wanted - exact) <= 2 * groups.shape[1] * UNIT * size).all()


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q4_1"])
def test_the_sum_is_the_documented_one(name):
    """An FMA a group, and one for the minimum, in order: emulated in longer numbers."""
    raw, x = blocks_of(name, 9, 256), uneven(4, 256)
    got = pf.QuantizedWeight(name, 256, pf.tensor(raw))(pf.tensor(x)).numpy()
    blocks = raw.reshape(9, 8, -1)
    half = [blocks[:, :, at : at + 2].copy().view("<f2").astype(np.float32)[..., 0] for at in (0, 2)]
    if name == "Q8_0":
        values = blocks[:, :, 2:].view(np.int8).astype("d")
    else:
        packed = blocks[:, :, 4 if name == "Q4_1" else 2 :]
        values = np.concatenate([packed & 15, packed >> 4], -1).astype("d") - (8 if name == "Q4_0" else 0)
    q, scales, _ = rounded_x(x)
    assert 127 < q.max() <= 127 * 254
    total = np.zeros((4, 9), np.float32)
    for g in range(8):
        for factor, dots in ((half[0], q[:, g].astype("d") @ values[:, g].T), (half[1], q[:, g].sum(-1)[:, None])):
            if factor is half[0] or name == "Q4_1":
                scale = (factor[:, g] * scales[:, g]).astype(np.longdouble)  # float32, then longer
                total = (dots.astype(np.float32) * scale + total).astype(np.float32)
    assert np.mean(got == total) > 0.95  # two roundings may differ from one now and then
    np.testing.assert_allclose(got, total, rtol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_a_product_is_as_near_to_the_numbers_as_rounding_x_allows(name):
    """Half a step of x each, and the roundings of two sums of groups, of their scales and of a wide group's sum."""
    w, x = matrix(name), uneven(20, 512)
    exact = w.dequantize().numpy().astype("d")
    got = w(pf.tensor(x)).numpy()
    size = np.abs(exact).reshape(37, -1, X_GROUP)
    _, scales, most = rounded_x(x)
    half_steps = np.einsum("mg,ng->mn", scales[..., 0].astype("d") / 2, size.sum(-1))
    terms = np.einsum("mg,ng->mn", most[..., 0].astype("d"), size.sum(-1))
    if name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K"):  # scale q and minimum are larger than their sum
        terms = terms * 40
    runs = 2 * 512 / 16
    bound = half_steps * (1 + 2.0**-20) + UNIT * (runs + 4) * terms
    error = np.abs(got - x.astype("d") @ exact.T)
    assert (error <= bound).all()
    assert error.max() > half_steps.max() / 1000  # it is not the float32 product


def test_what_is_not_finite_stays_in_its_row_and_zeros_give_the_bias():
    w, x = matrix("Q4_1"), numbers(6, 512)
    x[1, 40], x[2, 7], x[3] = np.nan, -np.inf, 0
    x[4] = 1e-38
    for isa in ("ref", *VECTOR_ISAS):
        _core.set_isa(isa)
        got = w(pf.tensor(x), pf.ones(37)).numpy()
        assert np.isnan(got[1:3]).all()
        assert np.isfinite(got[[0, 3, 4, 5]]).all()
        np.testing.assert_array_equal(got[3:5], np.ones((2, 37)))


def test_a_weight_in_8_bits_is_within_half_a_step_and_in_4_near():
    values = numbers(40, 200)
    groups = np.abs(np.pad(values, ((0, 0), (0, 56))).reshape(40, 4, 64)).max(-1)
    found = pf.QuantizedWeight.quantize(pf.tensor(values), "q8").dequantize().numpy()
    steps = np.repeat(groups / 127, 64, 1)[:, :200]
    assert (np.abs(found - values) <= steps * (0.5 + 127 * 2.0**-11)).all()
    normal = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    ranges = np.ptp(normal.reshape(64, 8, 32), axis=-1)
    error = pf.QuantizedWeight.quantize(pf.tensor(normal), "Q4_1").dequantize().numpy() - normal
    even = np.sqrt((ranges**2).mean() / 15**2 / 12)  # 16 even steps from the least to the most
    assert 0.8 * even < np.sqrt((error**2).mean()) < 0.99 * even
    zero = pf.QuantizedWeight.quantize(pf.zeros(2, 64), "Q4_1")
    assert not zero.dequantize().numpy().any()


def test_numbers_of_16_even_steps_stay_what_they_are():
    steps = np.random.default_rng(4).integers(0, 16, (8, 128))
    steps[:, ::32], steps[:, 1::32] = 0, 15
    exact = (steps * 0.125 - 0.5).astype(np.float32)
    np.testing.assert_array_equal(pf.QuantizedWeight.quantize(pf.tensor(exact), "Q4_1").dequantize().numpy(), exact)


def test_gradients_are_those_of_the_dequantised_matrix():
    w, x, bias = matrix("Q4_K"), pf.tensor(numbers(5, 512) / 30), pf.tensor(numbers(1, 37)[0])
    residual, plain = pf.tensor(numbers(5, 37, 4)), w.dequantize()
    dout = pf.tensor(numbers(5, 37, 5))
    for activation in (None, "gelu"):
        given = [pf.nn.Parameter(t) for t in (x, bias, residual)]
        out = w(given[0], given[1], activation, given[2])
        with pf.no_grad():
            np.testing.assert_array_equal(out.numpy(), w(x, bias, activation, residual).numpy())
        out.backward(dout)
        wanted = [pf.nn.Parameter(t) for t in (x, bias, residual)]
        # The slope is taken where the product is, which isn't where the float32 one is.
        before = w(x, bias)
        shift = pf.ops.linear(wanted[0], plain, wanted[1])
        shift = shift + (before - shift).detach()
        y = shift if activation is None else pf.ops.gelu(shift)
        (y + wanted[2]).backward(dout)
        for one, other in zip(given, wanted, strict=True):
            np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pf.QuantizedWeight("Q3_K", 32, pf.zeros(1, 34)), ValueError, "format must be one of q8, Q8_0, Q4_0"),
        (
            lambda: pf.QuantizedWeight("Q8_0", 32, pf.zeros(1, 34)),
            TypeError,
            r"must be uint8 \(n, bytes\), got float32",
        ),
        (lambda: pf.QuantizedWeight("Q8_0", 33, pf.zeros(1, 34, dtype=pf.uint8)), ValueError, "must take 68 bytes"),
        (lambda: pf.QuantizedWeight("q8", 65, pf.zeros(1, 66, dtype=pf.uint8)), ValueError, "must take 132 bytes"),
        (lambda: pf.QuantizedWeight("q8", 0, pf.zeros(1, 66, dtype=pf.uint8)), ValueError, r"got \(1, 0\)"),
        (
            lambda: pf.QuantizedWeight.quantize(pf.ones(2, 2), "Q4_0"),
            ValueError,
            "must be q8, Q8_0 or Q4_1, got 'Q4_0'",
        ),
        (lambda: pf.QuantizedWeight.quantize(pf.ones(2), "q8"), TypeError, r"expected a float matrix \(n, k\)"),
        (lambda: matrix("Q8_0")(pf.ones(2, 511)), ValueError, r"x must be \(..., 512\) as weight is \(37, 512\)"),
        (lambda: matrix("Q8_0")(pf.ones(2, 512, dtype=pf.float64)), TypeError, "x must be float32, got float64"),
        (lambda: matrix("Q8_0")(pf.ones(2, 512), pf.ones(36)), ValueError, r"bias must be \(37"),
        (lambda: matrix("Q8_0")(pf.ones(2, 512), residual=pf.ones(37)), ValueError, r"residual must be \(2, 37\)"),
        (lambda: matrix("Q8_0")(pf.ones(2, 512), activation="x"), ValueError, "activation"),
        (lambda: matrix("Q8_0").rows(pf.tensor([37])), IndexError, "37"),
        (
            lambda: pf.nn.Linear(4, 4).quantize(matrix("Q8_0")),
            ValueError,
            r"expected a matrix \(4, 4\), got \(37, 512\)",
        ),
    ],
)
def test_what_a_matrix_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- models -----------------------------------------------------------------------------------------------------

IDS = [[1, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5, 4, 3, 2]]


def model(**changes) -> Llama:
    pf.manual_seed(3)
    return Llama(LlamaConfig(**{**SIZES, **changes})).eval()


def logits(model) -> np.ndarray:
    with pf.no_grad():
        return model(IDS).numpy()


def formats_of(model) -> dict[str, str]:
    return {name: m.quantized.format for name, m in model.named_modules() if getattr(m, "quantized", None) is not None}


@pytest.mark.parametrize("how", ["q8", "q4"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_model_in_8_or_4_bits_is_saved_with_its_rule(tmp_path, how, tied):
    whole = logits(model(tied=tied))
    quantized = model(tied=tied).quantize(how)
    table = "embed_tokens" if tied else "lm_head"
    assert formats_of(quantized)["layers.1.mlp.down_proj"] == {"q8": "q8", "q4": "Q4_1"}[how]
    assert formats_of(quantized)[table] == {"q8": "q8", "q4": "Q8_0"}[how]
    assert not any("proj.weight" in name or "embed" in name for name in quantized.state_dict())
    error = np.abs(logits(quantized) - whole).mean() / np.abs(whole).mean()
    assert 1e-4 < error < (0.05 if how == "q8" else 0.3)
    quantized.save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert said["quant_method"] == "pyformer"
    assert said["rule"] == "int8_int16"
    again = pf.from_pretrained(tmp_path)
    assert formats_of(again) == formats_of(quantized)
    np.testing.assert_array_equal(logits(again), logits(quantized))
    opened = pf.from_pretrained(save(model(tied=tied), tmp_path / "float"), quantize=how)
    np.testing.assert_array_equal(logits(opened), logits(again))
    plain = pf.from_pretrained(tmp_path, dtype="float32")
    assert not formats_of(plain)
    down = quantized.layers[1].mlp.down_proj.quantized.dequantize().numpy()
    np.testing.assert_array_equal(plain.layers[1].mlp.down_proj.weight.detach().numpy(), down)


def save(model, folder):
    model.save_pretrained(folder)
    return folder


def test_other_families_are_saved_too(tmp_path):
    """Matrices that files have transposed, or one upon the other."""
    pf.manual_seed(1)
    sizes = {"vocab_size": 48, "context_length": 16, "num_layers": 1, "num_heads": 2, "embed_dim": 32}
    gpt = pf.models.GPT(pf.models.GPTConfig(**sizes))
    phi = pf.models.Decoder(pf.models.DecoderConfig(**sizes, family="phi3"))
    for number, whole in enumerate((gpt, phi)):
        before = logits(whole)
        quantized = whole.eval().quantize("q8")
        assert np.abs(logits(quantized) - before).max() < 0.1 * np.abs(before).max()
        again = pf.from_pretrained(save(quantized, tmp_path / str(number)))
        assert formats_of(again) == formats_of(quantized) != {}
        np.testing.assert_array_equal(logits(again), logits(quantized))


def test_decoding_gives_the_bits_of_a_full_pass_and_of_a_batch():
    quantized = model().quantize("q4")
    whole = logits(quantized)
    cache = quantized.new_cache(2, 16)
    with pf.no_grad():
        for t in range(8):
            step = quantized(np.array(IDS)[:, t : t + 1], cache=cache).numpy()
            np.testing.assert_array_equal(step[:, 0], whole[:, t])
        np.testing.assert_array_equal(quantized(IDS[:1]).numpy()[0], whole[0])


def gguf_file(path, kind: str):
    """A model whose matrices are blocks of a type, in a file."""
    whole = model(embed_dim=256, hidden_dim=256)
    for number, module in enumerate(m for m in whole.modules() if isinstance(m, pf.nn.Projection)):
        n, k = module.weight.shape
        blocks = blocks_of(kind, n, k, number)
        module.quantize(pf.QuantizedWeight(kind, k, pf.tensor(blocks)))
    whole.save_pretrained(path)
    return whole


@pytest.mark.parametrize("kind", [name for name in FORMATS if name != "q8"])
def test_matrices_of_gguf_stay_as_they_are(tmp_path, kind):
    written = gguf_file(tmp_path / "m.gguf", kind)
    read = pf.from_pretrained(tmp_path / "m.gguf", quantize="keep")
    assert set(formats_of(read).values()) == {kind}
    assert formats_of(read).keys() == formats_of(written).keys()
    for one, other in zip(written.modules(), read.modules(), strict=True):
        if isinstance(one, pf.nn.Projection):
            np.testing.assert_array_equal(one.quantized.blocks().numpy(), other.quantized.blocks().numpy())
    read.save_pretrained(tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "m.gguf").read_bytes()
    plain = pf.from_pretrained(tmp_path / "m.gguf")
    assert not formats_of(plain)
    q = read.layers[0].self_attn.q_proj.quantized.dequantize().numpy()
    np.testing.assert_array_equal(plain.layers[0].self_attn.q_proj.weight.detach().numpy(), q)
    np.testing.assert_array_equal(logits(pf.from_pretrained(save(read, tmp_path / "folder"))), logits(read))


def test_matrices_that_gguf_has_as_one_are_written_and_read_so(tmp_path):
    """Phi 3's q, k and v, gate and up."""

    def phi():
        pf.manual_seed(1)
        return pf.models.Decoder(pf.models.DecoderConfig(**SIZES, family="phi3")).eval()

    quantized = phi().quantize("q4")
    quantized.save_pretrained(tmp_path / "m.gguf")
    entries = GGUFFile(tmp_path / "m.gguf").entries
    assert {entries[f"blk.1.{name}.weight"].dtype for name in ("attn_qkv", "ffn_up", "attn_output")} == {"Q4_1"}
    again = pf.from_pretrained(tmp_path / "m.gguf", quantize="keep")
    assert formats_of(again) == formats_of(quantized)
    np.testing.assert_array_equal(logits(again), logits(quantized))
    np.testing.assert_array_equal(logits(pf.from_pretrained(save(again, tmp_path / "folder"))), logits(quantized))
    part = phi().quantize("q4", where=lambda name: name.endswith("k_proj"))
    with pytest.raises(ValueError, match=r"qkv_proj must be of one format, got .'None', 'Q4_1'."):
        part.save_pretrained(tmp_path / "part.gguf")


def test_what_gguf_does_not_have_is_refused(tmp_path):
    with pytest.raises(ValueError, match="of the format q8, which GGUF doesn't have"):
        model().quantize("q8").save_pretrained(tmp_path / "m.gguf")
    with pytest.raises(ValueError, match="rows of whole blocks of 32"):
        model(hidden_dim=72).quantize("q4", where=lambda name: "down" in name).save_pretrained(tmp_path / "m.gguf")


def test_lora_trains_beside_4_bits_and_merges(tmp_path):
    quantized = model().quantize("q4")
    before, blocks = logits(quantized), quantized.layers[0].self_attn.q_proj.quantized.blocks().numpy()
    adapter = pf.lora.add(quantized, rank=4)
    assert len(adapter.parameters()) == 2 * len(adapter.layers) == 8  # no two layers share theirs
    np.testing.assert_array_equal(logits(quantized), before)
    optimiser = pf.optim.AdamW(adapter.parameters(), lr=1e-2)
    targets, losses = np.roll(IDS, -1, 1), []
    for _ in range(8):
        loss = quantized.loss(IDS, targets)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0] - 0.05
    assert all(p.grad is not None and np.abs(p.grad.numpy()).max() > 0 for p in adapter.parameters())
    trained = {id(p) for p in quantized.parameters() if p.requires_grad}
    assert trained == {id(p) for p in adapter.parameters()}
    np.testing.assert_array_equal(quantized.layers[0].self_attn.q_proj.quantized.blocks().numpy(), blocks)
    adapter.save(tmp_path)
    after = logits(quantized)
    other = model().quantize("q4")
    pf.lora.load(other, tmp_path)
    np.testing.assert_array_equal(logits(other), after)
    with pytest.raises(ValueError, match="has LoRA layers"):
        other.quantize("q8")
    merged = logits(pf.lora.merge(quantized))
    assert np.abs(merged - after).mean() < np.abs(after - before).mean() / 2


def test_a_strict_state_dict_of_a_quantised_model_is_refused_since_it_has_no_matrices():
    model, other = (Llama(LlamaConfig(**SIZES)).quantize("q8") for _ in range(2))
    pf.nn.init.fill_(other.norm.weight, 3.0)
    own, before = model.norm.weight, model([[1, 2]]).numpy()
    with pytest.raises(ValueError, match=r"no quantised matrices, .*layers\.0\.self_attn\.q_proj.* save_pretrained"):
        model.load_state_dict(other.state_dict())
    assert (model([[1, 2]]).numpy() == before).all()
    assert model.load_state_dict(other.state_dict(), strict=False) == ([], [])
    assert (own.detach().numpy() == 3.0).all()


def test_a_run_with_lora_beside_quantised_matrices_goes_on_from_its_checkpoint(tmp_path):
    tokens = np.random.default_rng(0).integers(0, 48, 500)
    base = Llama(LlamaConfig(**SIZES)).quantize("q8")

    def trainer():
        model = copy.deepcopy(base)
        pf.lora.add(model, rank=2)
        options = pf.training.TrainingOptions(steps=2, batch=2, lr=1e-2, warmup=1, sample_every=0)
        return pf.training.Trainer(model, tokens[:400], tokens[400:], options, run=tmp_path)

    first, second = trainer(), trainer()
    first.train()
    second.restore()
    assert second.step == 2
    assert (second.model([[1, 2]]) == first.model([[1, 2]])).numpy().all()
    assert not (trainer().model([[1, 2]]) == first.model([[1, 2]])).numpy().all()


def test_where_says_which_and_what_is_unknown_is_refused(tmp_path):
    part = model().quantize("q4", where=lambda name: name.endswith("up_proj"))
    assert formats_of(part) == {f"layers.{i}.mlp.up_proj": "Q4_1" for i in range(2)}
    with pytest.raises(ValueError, match="expected 'q8' or 'q4', got 'q5'"):
        model().quantize("q5")
    save(part, tmp_path)
    with pytest.raises(ValueError, match="quantize must be 'keep', 'q8' or 'q4', got 'q5'"):
        pf.from_pretrained(tmp_path, quantize="q5")
    config = json.loads((tmp_path / "config.json").read_text())
    matrices = config["quantization_config"]["matrices"]
    name = next(iter(matrices))
    for changes, message in (
        ({"rule": "int7"}, "rule must be 'int8_int16', got 'int7'; quantise the model again"),
        ({"matrices": 3}, "formats and widths by name"),
        ({"matrices": {**matrices, name: ["Q4_1", "64"]}}, "must be .format, width."),
        ({"matrices": {**matrices, name: ["Q9", 64]}}, "must be .format, width."),
        ({"matrices": {**matrices, name: ["Q4_1", -1]}}, "must be .format, width."),
        ({"matrices": {**matrices, name: ["Q4_1", 65]}}, "doesn't fit"),
        ({"matrices": {**matrices, name: ["Q4_1", 63]}}, "must be"),
        ({"matrices": {**matrices, "x": ["Q4_1", 64]}}, "expected blocks of bytes"),
        ({"matrices": {}}, "must be"),
        ({"quant_method": "gptq"}, "quantization_config"),
    ):
        changed = {**config, "quantization_config": {**config["quantization_config"], **changes}}
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises((ValueError, TypeError), match=message):
            pf.from_pretrained(tmp_path)


def test_the_command_line_quantises(tmp_path):
    save(model(), tmp_path / "in")
    command = [sys.executable, "-m", "pyformer", "quantize", tmp_path / "in", tmp_path / "out"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "as q8" in ended.stderr
    assert set(formats_of(pf.from_pretrained(tmp_path / "out")).values()) == {"q8"}
    subprocess.run([*command[:-1], tmp_path / "four", "--to", "q4"], check=True, capture_output=True)
    assert set(formats_of(pf.from_pretrained(tmp_path / "four")).values()) == {"Q8_0", "Q4_1"}
    subprocess.run([*command[:-1], tmp_path / "four.gguf", "--to", "q4"], check=True, capture_output=True)
    np.testing.assert_array_equal(
        *(logits(pf.from_pretrained(tmp_path / name, quantize="keep")) for name in ("four", "four.gguf"))
    )
    ended = subprocess.run([*command, "--to", "q5"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "q5" in ended.stderr


def test_smollm2_in_8_and_4_bits():
    """Its file stays as it is. `python -m bench.quantization` compares perplexities, which takes more text."""
    from pydoc_data import topics

    path = real_data.load(datasets.smollm2)
    tokenizer = pf.load_tokenizer(path)
    ids = np.array(tokenizer.encode(topics.topics["assignment"]).tolist())[None, :128]

    def log_probabilities(model) -> np.ndarray:
        with pf.no_grad():
            return pf.ops.log_softmax(model(ids)).numpy()[0]

    wanted = log_probabilities(pf.from_pretrained(path, dtype="float32"))
    for quantize, most_bytes in (("keep", 97e6), ("q4", 97e6)):
        model = pf.from_pretrained(path, quantize=quantize)
        assert sum(m.quantized.nbytes for m in model.modules() if getattr(m, "quantized", None)) < most_bytes
        got = log_probabilities(model)
        assert (np.exp(wanted) * (wanted - got)).sum(-1).mean() < 0.01  # the mean Kullback-Leibler divergence
        assert (wanted.argmax(-1) == got.argmax(-1)).mean() > 0.92


def test_one_weight_is_one_matrix_also_in_files_and_beside_lora(tmp_path):
    """Two layers of one weight: quantised, copied, pickled, saved, adapted and merged they stay one."""
    tied = model()
    tied.layers[1].mlp.up_proj.weight = tied.layers[0].mlp.up_proj.weight

    def are_one(found) -> bool:
        first, second = (layer.mlp.up_proj for layer in found.layers)
        return first.quantized is second.quantized and first.weight is second.weight

    tied.quantize("q4")
    folders = save(tied, tmp_path / "folder"), save(tied, tmp_path / "model.gguf")
    opened = [pf.from_pretrained(path, quantize="keep") for path in folders]
    for found in (tied, copy.deepcopy(tied), pickle.loads(pickle.dumps(tied)), *opened):
        assert found.layers[0].mlp.up_proj.quantized is not None
        assert are_one(found)
        np.testing.assert_array_equal(logits(found), logits(tied))
    adapter = pf.lora.add(opened[0], rank=2, targets=("up_proj",))
    assert len(adapter.parameters()) == 2
    assert are_one(pf.lora.merge(opened[0]))


def test_quantised_models_are_float32_or_bfloat16(tmp_path):
    for name in ("float64", "float16"):
        with pytest.raises(ValueError, match=f"float32 or bfloat16 weight, got {name}"):
            model().to(name).quantize("q8")
        with pytest.raises(ValueError, match=f"float32 or bfloat16 for quantised matrices, got {name}"):
            model().quantize("q8").to(name)
        with pytest.raises(ValueError, match=f"float32 or bfloat16 weight, got {name}"):
            pf.from_pretrained(save(model().quantize("q8"), tmp_path), dtype=name, quantize="keep")
    linear = pf.nn.Linear(32, 4)
    linear.quantize("q8")
    with pytest.raises(ValueError, match="quantised already, as q8"):
        linear.quantize("Q4_1")
    wide = pf.from_pretrained(save(model().to("float64"), tmp_path), quantize="q8")
    np.testing.assert_array_equal(logits(wide), logits(model().quantize("q8")))


@pytest.mark.parametrize("how", ["q8", "q4"])
@pytest.mark.parametrize("number", [1e30, 65536.0, -np.inf, np.nan])
def test_numbers_beyond_a_blocks_scale_are_refused(number, how):
    quantized = model()
    with pf.no_grad():
        quantized.layers[1].mlp.down_proj.weight[3, 4] = number
    before = logits(quantized)
    with pytest.raises(ValueError, match="quantize: expected finite numbers of at most 65504, got "):
        quantized.quantize(how)
    assert not any(getattr(module, "quantized", None) for module in quantized.modules())  # all of it, or nothing
    np.testing.assert_array_equal(logits(quantized), before)
    matrix = pf.tensor([[1.0, -2.0], [3.0, 4.0]])
    matrix[1, 0] = number
    for format in ("q8", "Q8_0", "Q4_1"):
        with pytest.raises(ValueError, match="quantize: expected finite numbers of at most 65504, got "):
            pf.QuantizedWeight.quantize(matrix, format)


def test_a_model_of_which_one_matrix_is_refused_stays_as_it_was():
    mixed = model()
    mixed.layers[1].mlp.down_proj.to(pf.float16)
    with pytest.raises(ValueError, match="expected a float32 or bfloat16 weight, got float16"):
        mixed.quantize("q8")
    assert not any(getattr(module, "quantized", None) for module in mixed.modules())


@pytest.mark.parametrize("format", ["q8", "Q8_0", "Q4_1"])
def test_the_largest_scale_is_finite(format):
    largest = pf.tensor([[65504.0, -65504.0]])
    found = pf.QuantizedWeight.quantize(largest, format).dequantize().numpy()
    np.testing.assert_allclose(found, largest.numpy(), rtol=1e-3)
