"""Steps that are made from a recording of kernel calls give the bits of those computed operation by operation."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from test_families import CASES, opened  # noqa: F401

import pyformer as pf
from pyformer import _core
from pyformer.generation import Decoder, Sampler
from pyformer.models import places
from pyformer.models.decoder_config import Rope

# Numbers that Python computes from the lengths of texts reach the kernels.
REFUSED = {"phi4-mini", "phi4-mini with a long text"}


class Notes(Sampler):
    """The likeliest token; keeps the logits."""

    def __init__(self):
        super().__init__(temperature=0)
        self.logits = []

    def __call__(self, logits, *where):
        self.logits.append(np.array(logits))
        return super().__call__(logits, *where)


def started(model, rows, record, tokens=3):
    """(a decoder of texts of different lengths, their samplers)."""
    decoder, notes = Decoder(model, record=record), [Notes() for _ in range(rows)]
    for i, note in enumerate(notes):
        decoder.add([(7 * i + j) % 50 for j in range(tokens + i)], note, 12)
    return decoder, notes


def both(model, rows, act=lambda step, decoder: None, steps=7, tokens=3):
    """The decoder that recorded, after asserting that its logits are those of one that doesn't."""
    found = []
    for record in (False, True):
        decoder, notes = started(model, rows, record, tokens)
        for step in range(steps):
            act(step, decoder)
            decoder.step()
        found.append((decoder, [np.stack(note.logits) for note in notes]))
    (_, plain), (decoder, recorded) = found
    for row, (a, b) in enumerate(zip(plain, recorded, strict=True)):
        np.testing.assert_array_equal(a, b, err_msg=f"row {row}")
    return decoder


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "q8", "q4"])
def test_every_family_gives_the_same_bits(case, kind, opened):  # noqa: F811
    model = pf.from_pretrained(opened(case)[0], dtype="bfloat16" if kind == "bfloat16" else "float32")
    if kind.startswith("q"):
        model.quantize(kind)
    for rows in (1, 3):
        steps = both(model, rows).steps
        assert (bool(steps.refused), steps.replayed) == ((True, 0) if case in REFUSED else (False, 4)), steps.refused


def tiny():
    """A decoder of two layers, two heads of keys for four of queries."""
    pf.manual_seed(0)
    sizes = {"vocab_size": 61, "context_length": 40, "num_layers": 2, "num_heads": 4, "embed_dim": 32}
    sizes |= {"num_kv_heads": 2, "family": "qwen2", "qkv_bias": True}
    return pf.models.Decoder(pf.models.DecoderConfig(**sizes))


def gpt():
    pf.manual_seed(0)
    return pf.models.GPT(pf.models.GPTConfig(61, 40, num_layers=2, num_heads=4, embed_dim=32, dropout=0.1))


@pytest.mark.parametrize("model", [tiny, gpt])
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_change_no_bit_and_may_change_between_steps(model, threads):
    before = pf.get_num_threads()

    def act(step, decoder):
        pf.set_num_threads(threads if step < 5 else 1)

    try:
        assert both(model(), 2, act).steps.replayed == 4
    finally:
        pf.set_num_threads(before)


def test_rows_join_and_leave_and_memory_grows():
    def act(step, decoder):
        if step in (4, 20):
            decoder.add([5, 6, 7, 8], Sampler(temperature=0))
        if step in (9, 22):
            decoder.remove(decoder.rows[-1])

    steps = both(tiny(), 2, act, steps=30).steps
    assert (steps.refused, steps.made) == ("", 29)
    assert 10 < steps.replayed < 27  # a change takes a step that is seen and one that is recorded


def with_lora(model):
    pf.lora.add(model, targets=("q_proj", "down_proj"))
    for name, parameter in model.named_parameters():
        if "lora" in name.lower():
            pf.nn.init.ones_(parameter)


@pytest.mark.parametrize(
    ("change", "replayed"),
    [
        (lambda model: pf.nn.init.zeros_(model.layers[0].mlp.up_proj.weight), 4),
        (lambda model: setattr(model.layers[1].mlp, "activation", "gelu"), 4),
        (lambda model: setattr(model.norm, "weight", pf.nn.Parameter(np.full(32, 0.5, np.float32))), 4),
        (lambda model: model.quantize("q8"), 4),
        (lambda model: model.to("bfloat16"), 4),
        (lambda model: model.layers[0].self_attn.q_proj.register_forward_hook(lambda module, args, out: out * 2.0), 2),
        (lambda model: model.layers[0].self_attn.q_proj.register_forward_pre_hook(lambda module, x: x[0] * 2.0), 2),
        (with_lora, 4),
    ],
    ids=["a write", "an attribute", "a parameter", "8 bits", "a dtype", "a hook", "a hook before", "lora"],
)
def test_a_change_of_the_model_is_noticed(change, replayed):
    """Between the fifth and the sixth step, of which two were replayed; of the four later ones two are."""
    models = {record: tiny() for record in (False, True)}
    found = {}
    for record, model in models.items():
        decoder, (note,) = started(model, 1, record)
        for step in range(9):
            if step == 5:
                change(model)
            decoder.step()
        found[record] = np.stack(note.logits)
    np.testing.assert_array_equal(found[False], found[True])
    assert not np.array_equal(found[True][5], both(tiny(), 1) and plain_logits(tiny(), 6)[5])
    assert decoder.steps.replayed == replayed


def plain_logits(model, steps):
    decoder, (note,) = started(model, 1, False)
    for _ in range(steps):
        decoder.step()
    return np.stack(note.logits)


def test_precision_and_instruction_set_are_followed():
    isas = [isa for isa in _core.supported_isas() if isa in ("portable", "avx2", _core.isa())]
    here = _core.isa()

    def act(step, decoder):
        _core.set_isa(isas[step // 4 % len(isas)])

    try:
        assert both(tiny(), 1, act, steps=12).steps.replayed > 0
    finally:
        _core.set_isa(here)
    found = {}
    for record in (False, True):
        decoder, (note,) = started(tiny(), 1, record)
        for step in range(10):
            with pf.autocast("bfloat16" if step >= 5 else "float32"):
                decoder.step()
        found[record] = np.stack(note.logits)
    np.testing.assert_array_equal(found[False], found[True])


def test_an_id_that_is_not_there_is_named_and_the_step_can_be_made_again():
    decoder = Decoder(tiny())
    ids = iter([1, 2, 3, 4, 5, 61, 6])
    row = decoder.add([1, 2, 3], lambda *where: next(ids), 20)
    for _ in range(6):
        decoder.step()
    assert decoder.steps.replayed == 3
    with pytest.raises(IndexError, match=r"embedding: ids must be within \[0, 61\), got 61"):
        decoder.step()
    decoder.remove(row)


def test_modules_of_others_are_called_each_step():
    calls = []

    class Mine(pf.nn.RMSNorm):
        def forward(self, x):
            calls.append(1)
            return super().forward(x)

    model = tiny()
    model.norm = Mine(32)
    steps = both(model, 1).steps
    assert (steps.replayed, len(calls)) == (0, 14)
    assert steps.refused == "Mine is no module of pyformer's own"


def test_methods_that_were_replaced_are_called_each_step(monkeypatch):
    """Numbers of Python in them may change between steps."""
    factor, model = [1.0], tiny()
    attention, mix = model.layers[0].self_attn, model.layers[0].self_attn.mix
    attention.mix = lambda *args: mix(*args) * factor[0]

    def change(step, decoder):
        factor[0] = 0.5 if step >= 5 else 1.0

    assert both(model, 1, change).steps.refused == "Attention is no module of pyformer's own"
    kind, model = type(tiny().layers[0].mlp), tiny()
    plain = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, x: plain(self, x) * factor[0])
    assert "no module of pyformer's own" in both(model, 1).steps.refused


def test_a_weight_that_is_no_parameter_is_watched():
    def change(step, decoder):
        layer = decoder.model.layers[0].mlp.up_proj
        if step == 0:
            weight = layer.weight.detach().numpy().copy()
            del layer.weight
            layer.weight = pf.tensor(weight)
        if step == 5:
            layer.weight[:] = 0.0

    found = {}
    for record in (False, True):
        decoder, (note,) = started(tiny(), 1, record)
        for step in range(9):
            change(step, decoder)
            decoder.step()
        found[record] = np.stack(note.logits)
    np.testing.assert_array_equal(found[False], found[True])
    assert decoder.steps.replayed > 0


def test_weights_that_are_packed_while_a_step_is_recorded_are_packed_once():
    model = tiny()
    fresh, _ = started(model, 1, True)
    for _ in range(5):
        fresh.step()
    written, _ = started(model, 1, True)
    for step in range(5):
        if step == 2:
            for parameter in model.parameters():
                pf.nn.init.normal_(parameter, std=0.02)
        written.step()
    assert len(written.steps.times()) == len(fresh.steps.times()) > 10


def test_a_models_own_ways_are_followed():
    class Scaled(pf.models.GPT):
        def logits(self, hidden):
            return super().logits(hidden) * 2.0

    pf.manual_seed(0)
    model = Scaled(pf.models.GPTConfig(61, 40, num_layers=1, num_heads=2, embed_dim=16))
    assert both(model, 2).steps.refused == "Scaled is no model of pyformer's own"
    model, calls = tiny(), []
    made = model.next_logits
    model.next_logits = lambda *args: calls.append(1) or made(*args)
    both(model, 1)
    assert len(calls) == 14


def test_two_threads_may_decode_with_one_model():
    model, found = tiny(), {}

    def decode(seed):
        decoder = Decoder(model)
        note = Notes()
        decoder.add([seed, 2, 3], note, 30)
        for _ in range(20):
            decoder.step()
        found[seed] = np.stack(note.logits)

    threads = [threading.Thread(target=decode, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = dict(found)
    for seed in (1, 2, 3):
        decode(seed)
        np.testing.assert_array_equal(together[seed], found[seed])


def test_what_turns_heads_is_made_once_even_by_two_threads():
    """Recorded calls hold its address: what one thread has stored must not give way to what another made meanwhile."""
    rope = Rope(1e4, None, 8)

    def slow():
        assert places._kept(rope, "key", lambda: 1) == 1
        return 2

    assert (places._kept(rope, "key", slow), places._kept(rope, "key", slow)) == (1, 1)


def test_the_memory_of_a_recording_goes_with_the_rows():
    decoder, _ = started(tiny(), 1, True)
    for _ in range(5):
        decoder.step()
    assert decoder.steps._replay is not None
    decoder.remove(0)
    assert decoder.steps._replay is None
    decoder, _ = started(tiny(), 2, True)
    for _ in range(5):
        decoder.step()
    decoder.remove(0)  # the other goes on in other memory
    assert (len(decoder.steps.times()), decoder.steps._replay) == (0, None)


# ---- what can be recorded -----------------------------------------------------------------------------------------


def recorded(function, *inputs):
    replay = _core.Replay(inputs, [])
    with pf.no_grad():
        try:
            replay.begin()
            replay.end(function(*inputs))
        finally:
            replay.cancel()
    return replay


def test_calls_are_made_again_with_other_numbers():
    weight = pf.randn(5, 3)
    replay = recorded(lambda x: pf.ops.softmax(pf.ops.linear(x, weight) * 2.0 + 1.0).transpose(0, 1), pf.randn(4, 3))
    assert replay.refused == ""
    with pf.no_grad():
        first, second = pf.randn(4, 3), pf.randn(4, 3)
        results = [replay([x]) for x in (first, second)]
        for x, result in zip((first, second), results, strict=True):
            wanted = pf.ops.softmax(pf.ops.linear(x, weight) * 2.0 + 1.0).transpose(0, 1)
            np.testing.assert_array_equal(result.numpy(), wanted.numpy())
    with pytest.raises(ValueError, match=r"replay: input 0 must be \(4, 3\), got \(3, 4\)"):
        replay([pf.randn(3, 4)])
    with pytest.raises(TypeError, match="replay: an input must be float32 as the one recorded is, got float64"):
        replay([pf.zeros(4, 3, dtype=pf.float64)])
    with pytest.raises(ValueError, match="replay: expected 1 inputs, got 2"):
        replay([first, first])


def chained_products(x, q, k, v, o):
    """Products of one x, one that needs another's result, and of that result."""
    first, second = q(x), k(x)
    third = v(x, residual=first, activation="silu")
    return pf.concatenate([o(first), second, third, k(x), o(x, residual=third)], dim=-1)


@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("kind", ["Q4_1", "q8"])
def test_products_with_the_same_x_are_one_loop_unless_one_needs_another(kind, rows):
    rng = np.random.default_rng(3)
    weights = [
        pf.QuantizedWeight.quantize(pf.tensor(rng.standard_normal((n, 64), dtype=np.float32)), kind)
        for n in (64, 40, 64, 64)
    ]
    texts = [pf.tensor(rng.standard_normal((rows, 64), dtype=np.float32)) for _ in range(3)]
    replay = recorded(lambda x: chained_products(x, *weights), texts[0].clone())
    assert replay.refused == ""
    with pf.no_grad():
        for x in texts:
            made, wanted = replay([x]).numpy(), chained_products(x, *weights).numpy()
            np.testing.assert_array_equal(made.view(np.int32), wanted.view(np.int32))
    # Loops, each after a rounding: q and k; v, which needs q's result; o of that; k and o.
    assert [name for name, _ in replay.times()].count("quantized_linear") == 2 * 4


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: x + pf.tensor([1.0, 2.0, 3.0]), "made of numbers of Python"),
        (lambda x: x * float(x.sum().item()), "numbers of an array are read"),
        (lambda x: x + x.numpy().sum(), "given to NumPy"),
        (lambda x: pf.ops.dropout(x, 0.5), "random numbers are drawn"),
        (lambda x: x + pf.randn(3), "random numbers are drawn"),
        (lambda x: x + pf.from_dlpack(np.ones(3, np.float32)), "memory of another library"),
        (lambda x: x + pf.from_dlpack(np.ones(6, np.float32)[::2]), "memory of another library"),
        (lambda x: x + pf.asarray(np.ones(3, np.float32)), "memory of another library"),
        (lambda x: x.to(pf.int64) // x.to(pf.int64), "numbers of an array are read"),
        (lambda x: x + pf.arange(3.0), "made of numbers of Python"),
    ],
    ids=["tensor", "item", "numpy", "dropout", "randn", "dlpack", "strided", "asarray", "division", "arange"],
)
def test_what_depends_on_more_than_the_inputs_is_refused(function, why):
    replay = recorded(function, pf.ones(3))
    assert why in replay.refused
    assert not replay.serves()
    with pytest.raises(RuntimeError, match="replay: nothing is recorded"):
        replay([pf.ones(3)])


def test_a_recording_is_one_threads_and_ends_with_an_exception():
    replay = _core.Replay([], [])
    replay.begin()
    with pytest.raises(RuntimeError, match="replay: this thread records already"):
        _core.Replay([], []).begin()
    other = []
    thread = threading.Thread(target=lambda: other.append(pf.ones(2).numpy()))
    thread.start()
    thread.join()
    replay.cancel()
    assert not replay.serves()
    assert "NumPy" not in replay.refused
    weight = pf.ones(3)
    with pf.no_grad():
        replay = _core.Replay([], [weight])
        replay.begin()
        replay.end(weight * 2.0)
        assert replay.serves()
        weight.zero_()
        assert not replay.serves()
