"""Mixed precision: products round their operands to bfloat16 and give float32, all else is float32, and a model whose
weights are bfloat16 computes the same bits."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from case_runner import as_tuple, make_inputs, projections
from cases import TEST_CASES
from tolerance import same_bits

import pyformer as pf
from pyformer import _core, ops
from pyformer import models as m

VOCAB, TOKENS = 19, 7
SIZES = (VOCAB, 8, 2, 2, 8)  # vocabulary, context, layers, heads, width
KINDS = {
    "GPT": (lambda: m.GPT(m.GPTConfig(*SIZES)), "ids"),
    "GPT untied": (lambda: m.GPT(m.GPTConfig(*SIZES, tied=False)), "ids"),
    "GPT recomputed": (lambda: m.GPT(m.GPTConfig(*SIZES), recompute=True), "ids"),
    "GPT with dropout": (lambda: m.GPT(m.GPTConfig(*SIZES, dropout=0.2)), "ids"),
    "Llama": (lambda: m.Llama(m.LlamaConfig(*SIZES, num_kv_heads=1)), "ids"),
    "Llama with alibi": (lambda: m.Llama(m.LlamaConfig(*SIZES, positions="alibi")), "ids"),
    "RetNet": (lambda: m.RetNet(m.RetNetConfig(*SIZES)), "ids"),
    "LSTM": (lambda: m.LSTM(m.LSTMConfig(VOCAB, 8, 2, 8)), "ids"),
    "LSTM both ways": (lambda: m.LSTM(m.LSTMConfig(VOCAB, 8, 2, 8, bidirectional=True)), "ids"),
    "GRU": (lambda: m.LSTM(m.LSTMConfig(VOCAB, 8, 2, 8, cell="gru")), "ids"),
    "Liquid": (lambda: m.Liquid(m.LiquidConfig(VOCAB, 8, 2, 8)), "ids"),
    "MLP": (lambda: m.MLPLanguageModel(m.MLPLanguageModelConfig(VOCAB, 8, 2, 8, window=3)), "ids"),
    "KANTransformer": (lambda: m.KANTransformer(m.KANTransformerConfig(*SIZES)), "ids"),
    "BertClassifier": (lambda: m.BertClassifier(m.BertConfig(*SIZES, dropout=0.0)), "labels"),
    "EncoderDecoder": (lambda: m.EncoderDecoder(m.EncoderDecoderConfig(*SIZES, dropout=0.0)), "ids"),
    "T5": (lambda: m.T5(m.T5Config(SIZES[0], *SIZES[2:], dropout=0.0)), "ids"),
    "ViT": (lambda: m.ViT(m.ViTConfig(8, 4, num_layers=1, embed_dim=8, num_heads=2)), "pictures"),
    "ConvNet": (lambda: m.ConvNet(m.ConvNetConfig(8, 1, 10, widths=(4, 6))), "pictures"),
    "Autoencoder": (lambda: m.Autoencoder(m.AutoencoderConfig(8, 1, 5, widths=(4, 6))), "picture"),
    "GAN": (lambda: m.GAN(m.GANConfig(8, 1, 10, 5, widths=(8, 16))), "noise"),
    "DiT": (lambda: m.DiT(m.DiTConfig(8, 4, 1, 10, 1, 2, 8)), "times"),
    "KAN": (lambda: m.KAN(m.KANConfig((3, 4, 2))), "numbers"),
    "LiquidNetwork": (lambda: m.LiquidNetwork(m.LiquidNetworkConfig(3, 8, 2)), "series"),
}
LANGUAGE = [name for name, (_, kind) in KINDS.items() if kind == "ids" and name not in ("EncoderDecoder", "T5")]


def make(name):
    """A float32 model whose weights are bfloat16 numbers of a size that makes every path matter."""
    pf.manual_seed(0)
    model = KINDS[name][0]().to("bfloat16").to("float32")
    rng = np.random.default_rng(0)
    with pf.no_grad():
        for parameter in model.parameters():
            noise = 0.2 * rng.standard_normal(parameter.shape).astype(np.float32)
            parameter[...] = pf.tensor(parameter.numpy() + noise).to("bfloat16").to("float32")
    return model


def batch(name, rows=3):
    """Arguments of the model's loss."""
    rng, kind = np.random.default_rng(1), KINDS[name][1]
    pictures = rng.random((rows, 1, 8, 8)).astype(np.float32)
    labels = rng.integers(0, 10, rows)
    ids, targets = rng.integers(2, VOCAB, (2, rows, TOKENS))
    numbers = rng.standard_normal((rows, TOKENS, 3)).astype(np.float32)
    return {
        "ids": (ids, targets),
        "labels": (ids, np.arange(rows) % 2),
        "pictures": (pictures, labels),
        "picture": (pictures,),
        "noise": (pictures, labels, rng.standard_normal((rows, 5)).astype(np.float32)),
        "times": (pictures, labels, rng.random(rows).astype(np.float32), pictures[::-1].copy()),
        "numbers": (numbers[:, 0], numbers[:, 1, :2].copy()),
        "series": (numbers, numbers[..., :2].copy()),
    }[kind]


def losses_and_state(model, arguments, steps, autocast):
    """The loss and the gradients of each of some steps of AdamW, and what is there after them, by name."""
    pf.manual_seed(7)  # dropout
    optimizer = pf.optim.AdamW(model.parameters(), lr=1e-3)
    found = {}
    for step in range(steps):
        if autocast:
            with pf.autocast("bfloat16"):
                loss = model.loss(*arguments)
        else:
            loss = model.loss(*arguments)
        optimizer.zero_grad()
        loss.backward()
        found[f"loss {step}"] = loss.detach().numpy().copy()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[f"gradient {step} of {name}"] = parameter.grad.numpy().copy()
        optimizer.step()
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        found[name] = state.get("master", parameter.detach()).to("float32").numpy().copy()
    for name, buffer in model.named_buffers():
        found[name] = buffer.numpy().copy()
    return found


@pytest.mark.parametrize("name", KINDS)
def test_bfloat16_weights_compute_as_autocast_does(name):
    """One training step and the logits of every model."""
    wide, narrow = make(name), make(name).to("bfloat16")
    assert {p.dtype for p in narrow.parameters()} == {pf.bfloat16}
    arguments = batch(name)
    found = losses_and_state(wide, arguments, 1, autocast=True)
    same = losses_and_state(narrow, arguments, 1, autocast=False)
    assert found.keys() == same.keys()
    for key, value in found.items():
        assert value.dtype == np.float32, key
        assert np.isfinite(value).all(), key
        assert same_bits(value, same[key]), key
    plain = losses_and_state(make(name), arguments, 1, autocast=False)
    assert any(not same_bits(plain[key], value) for key, value in found.items()), "autocast changes nothing"


@pytest.mark.parametrize("name", ["GPT", "Llama", "KANTransformer", "EncoderDecoder", "ConvNet"])
def test_twenty_steps_with_float32_masters(name):
    """In each the bfloat16 model computes what autocast does of the same numbers, and its masters move as float32
    parameters with these gradients would."""
    narrow, wide, arguments = make(name).to("bfloat16"), make(name), batch(name)
    masters = [pf.nn.Parameter(p.detach()) for p in wide.parameters()]
    optimizers = [pf.optim.AdamW(list(parameters), lr=1e-2) for parameters in (narrow.parameters(), masters)]
    for _ in range(20):
        with pf.no_grad():
            for parameter, master in zip(wide.parameters(), masters, strict=True):
                parameter[...] = master.to("bfloat16").to("float32")
        wide.zero_grad()
        narrow.zero_grad()
        with pf.autocast("bfloat16"):
            expected = wide.loss(*arguments)
        loss = narrow.loss(*arguments)
        assert same_bits(loss.detach().numpy(), expected.detach().numpy())
        expected.backward()
        loss.backward()
        for a, b, master in zip(narrow.parameters(), wide.parameters(), masters, strict=True):
            assert same_bits(a.grad.numpy(), b.grad.numpy())
            master.grad = b.grad
        for optimizer in optimizers:
            optimizer.step()
    for parameter, master in zip(narrow.parameters(), masters, strict=True):
        assert same_bits(optimizers[0].state[parameter]["master"].numpy(), master.detach().numpy())


@pytest.mark.parametrize("name", LANGUAGE)
def test_logits_of_bfloat16_weights(name):
    """And, token by token, those of the whole text."""
    wide, narrow = make(name).eval(), make(name).to("bfloat16").eval()
    ids = batch(name)[0]
    with pf.autocast("bfloat16"):
        logits = wide(ids).detach().numpy()
    assert same_bits(narrow(ids).detach().numpy(), logits)
    assert not same_bits(wide(ids).detach().numpy(), logits)
    with pf.no_grad():
        assert same_bits(narrow(ids).numpy(), logits)
        cache, begin = narrow.new_cache(len(ids)), 0
        for end in (2, 3, TOKENS):
            counts = np.full(len(ids), end - begin)
            last = narrow.next_logits(ids[:, begin:end], counts, cache)
            assert same_bits(last.numpy(), logits[:, end - 1])
            begin = end
        assert same_bits(narrow(ids[:1]).numpy(), logits[:1])
    prompt = ids[:, :3]
    with pf.autocast("bfloat16"):
        expected = wide.generate(prompt, 4, temperature=0).numpy()
    assert np.array_equal(narrow.generate(prompt, 4, temperature=0).numpy(), expected)


PRODUCTS = (
    "attention",
    "attention_packed",
    "cfc",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "gru",
    "linear",
    "linear_cross_entropy",
    "lstm",
    "matmul",
    "mlp",
    "norm_linear",
)


def outputs_and_gradients(case, arrays, dtype="float32"):
    """Of a case under autocast, its backward outside of it."""
    tensors = {}
    for key, value in arrays.items():
        tensors[key] = pf.tensor(value).to(dtype) if value.dtype.kind == "f" else pf.tensor(value)
        tensors[key].requires_grad = key in case.grads
    with pf.autocast("bfloat16"):
        outputs = as_tuple(case.run(pf, **tensors))
    wanted = [o for o in outputs if o.requires_grad]
    douts = projections([o.detach().numpy() for o in wanted])
    _core.backward_many(wanted, [pf.tensor(d) for d in douts])
    return [o.detach().numpy() for o in outputs] + [tensors[key].grad.numpy() for key in case.grads]


@pytest.mark.parametrize("case", [c for c in TEST_CASES if c.op in PRODUCTS and c.grads], ids=lambda case: case.id)
def test_bits_do_not_depend_on_set_or_threads(case):
    _core.set_isa("ref")
    arrays = make_inputs(case, "float32")
    expected = outputs_and_gradients(case, arrays)
    for isa in _core.supported_isas():
        _core.set_isa(isa)
        for threads in (1, 2, 3, 7) if isa == _core.supported_isas()[-1] else (2,):
            pf.set_num_threads(threads)
            for a, b in zip(outputs_and_gradients(case, arrays), expected, strict=True):
                assert same_bits(a, b), f"{isa}, {threads} threads"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", [c for c in TEST_CASES if c.grads and c.op != "cast"], ids=lambda case: case.id)
def test_16_bit_operands_are_widened(case, dtype):
    """Whatever the operation, it gives what it gives of the same numbers in float32."""
    arrays = make_inputs(case, "float32")
    for key, value in arrays.items():
        if value.dtype.kind == "f":
            arrays[key] = pf.tensor(value).to(dtype).to("float32").numpy()
    expected = outputs_and_gradients(case, arrays)
    for a, b in zip(outputs_and_gradients(case, arrays, dtype), expected, strict=True):
        assert a.dtype == b.dtype
        assert same_bits(a, b)


def hard_to_round(rng, shape):
    """Ties, neighbours of ties, denormals of float32 that round to the smallest normal, infinities and NaN."""
    bits = rng.integers(0, 2**32, shape, dtype=np.uint32)
    kind = rng.integers(0, 5, shape)
    bits = np.where(kind < 3, bits & 0xBFFF0000 | 0x8000, bits)  # a tie, of a magnitude below 2
    bits = np.where(kind == 1, bits + 1, np.where(kind == 2, bits - 1, bits))
    bits = np.where(kind == 3, bits & 0x80000000 | 0x7FFFFF, bits)
    bits = np.where(kind == 4, bits & 0xBFFFFFFF, bits)
    bits[0, 0] = 0x7F800001  # NaN
    bits[1:2, -1] = 0xFF800000
    return bits.astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize(("m", "k", "n"), [(1, 70, 50), (33, 40, 65), (40, 33, 17), (5, 2100, 3)])
def test_operands_are_rounded_where_they_are_read_as_a_cast_rounds(isa, m, k, n):
    """Each operand along k and across it, in both places, by itself and beside one that is bfloat16."""
    _core.set_isa(isa)
    rng = np.random.default_rng(m)
    with np.errstate(invalid="ignore"):
        wide = [pf.tensor(hard_to_round(rng, shape)) for shape in ((m, k), (k, n))]
    for ta, tb in ((False, False), (True, True)):
        a, b = (pf.tensor(x.numpy().T.copy()) if t else x for x, t in zip(wide, (ta, tb), strict=True))
        with pf.autocast("bfloat16"):
            found = [
                ops.matmul(x, y, transpose_a=ta, transpose_b=tb).numpy()
                for x in (a, a.to("bfloat16"))
                for y in (b, b.to("bfloat16"))
            ]
        assert not np.isfinite(found[0]).all()
        assert m == 1 or np.isfinite(found[0]).any()
        for value in found[:3]:
            assert same_bits(value, found[3])


def product(x):
    """x * x rounded or not: 1.001 has no bfloat16."""
    return ops.matmul(x, x).item()


X = pf.tensor([1.001])
WIDE, NARROW = product(X), 1.0


def test_nests():
    assert product(X) == WIDE != NARROW
    with pf.autocast("bfloat16"):
        assert product(X) == NARROW
        with pf.autocast("float32"):
            assert product(X) == WIDE
            assert ops.matmul(X.to("bfloat16"), X).dtype == pf.float32
            with pf.autocast():
                assert product(X) == NARROW
            assert product(X) == WIDE
        assert product(X) == NARROW
    assert product(X) == WIDE
    with pytest.raises(ZeroDivisionError), pf.autocast(pf.bfloat16):
        raise ZeroDivisionError
    assert product(X) == WIDE


def test_decorates():
    @pf.autocast("bfloat16")
    def narrow(x, deeper=1):
        """doc"""
        return narrow(x, deeper - 1) if deeper else product(x)

    assert narrow(X) == NARROW
    assert narrow.__name__ == "narrow"
    assert narrow.__doc__ == "doc"
    assert product(X) == WIDE


def test_is_of_one_thread():
    found = []
    context = pf.autocast("bfloat16")
    with context:
        thread = threading.Thread(target=lambda: found.append(product(X)))
        thread.start()
        thread.join()

        def within():
            with context:
                found.append(product(X))
            found.append(product(X))

        thread = threading.Thread(target=within)
        thread.start()
        thread.join()
        assert product(X) == NARROW
    assert found == [WIDE, NARROW, WIDE]


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64", "float", pf.float64])
def test_another_dtype(dtype):
    name = getattr(dtype, "name", dtype)
    advice = r'; write model\.to\("float16"\), and pf\.optim\.GradScaler to train' if name == "float16" else ""
    with pytest.raises(ValueError, match=f"^autocast: expected bfloat16 or float32, got {name}{advice}$"):
        pf.autocast(dtype)
    for wrong in (None, 16, np.float32):
        with pytest.raises(TypeError, match=r"^autocast: expected bfloat16 or float32, got "):
            pf.autocast(wrong)


def gradient_of(run, dtype="float32"):
    x = pf.tensor(np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)).to(dtype)
    x.requires_grad = True
    run(x).backward()
    return x.grad.numpy().copy()


def test_backward_computes_as_forward_did():
    """In whichever mode and thread it runs, also where it computes again what was not kept, or is written in Python."""
    weight = pf.tensor(np.random.default_rng(1).standard_normal((40, 40)).astype(np.float32))

    def through(x):
        return ops.gelu(ops.linear(ops.matmul(x, weight), weight, activation="silu")).sum()

    class Square(pf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return ops.matmul(x, x, transpose_b=True)

        @staticmethod
        def backward(ctx, dout):
            (x,) = ctx.saved_tensors
            return ops.matmul(dout + dout.transpose(1, 0), x)

    for forward in (
        through,
        lambda x: pf.checkpoint(through, x),
        lambda x: (Square.apply(x) * 1.01).sum(),
    ):
        narrow = pf.autocast("bfloat16")(forward)
        plain, expected = gradient_of(forward), gradient_of(narrow)
        assert not same_bits(plain, expected)
        for mode in ("bfloat16", "float32"):
            x = pf.tensor(np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32), requires_grad=True)
            for run, gradient in ((forward, plain), (narrow, expected)):
                x.grad = None
                loss = run(x)
                with pf.autocast(mode):
                    thread = threading.Thread(target=loss.backward)
                    loss.backward() if mode == "bfloat16" else (thread.start(), thread.join())
                assert same_bits(x.grad.numpy(), gradient)


def test_a_module_of_both_dtypes():
    """Only what is bfloat16 rounds its operands, unless all of it does."""
    pf.manual_seed(0)
    model = pf.nn.Sequential(pf.nn.Linear(40, 40), pf.nn.LayerNorm(40), pf.nn.Linear(40, 40))
    model[2].to("bfloat16")
    x = pf.randn(3, 40)
    first = ops.layer_norm(ops.linear(x, model[0].weight, model[0].bias), model[1].weight, model[1].bias)
    with pf.autocast("bfloat16"):
        expected = ops.linear(first, model[2].weight.to("float32"), model[2].bias.to("float32"))
    assert same_bits(model(x).detach().numpy(), expected.detach().numpy())
    with pf.autocast("float32"):
        whole = ops.linear(first, model[2].weight.detach().to("float32"), model[2].bias.detach().to("float32"))
        assert same_bits(model(x).detach().numpy(), whole.detach().numpy())


def test_a_packed_weight_follows_the_mode():
    pf.manual_seed(0)
    layer, x = pf.nn.Linear(40, 70), pf.randn(3, 40)
    with pf.no_grad():
        plain = layer(x).numpy()
        with pf.autocast("bfloat16"):
            narrow = layer(x).numpy()
        assert not same_bits(plain, narrow)
        layer.pack()
        for _ in range(2):
            assert same_bits(layer(x).numpy(), plain)
            with pf.autocast("bfloat16"):
                assert same_bits(layer(x).numpy(), narrow)
                assert same_bits(layer(x, residual=pf.zeros(3, 70, dtype="bfloat16")).numpy(), narrow)


def test_parameters_that_are_no_operands_of_products():
    """A bfloat16 parameter's gradient comes through other operations in float32."""

    def run(p):
        table = p[1:, :3].reshape(-1).transpose()
        parts = ops.concat([table, pf.ones(2)]) * 1.1
        return (parts.sum() + ops.exp(p).mean() + ops.max(p * p) + ops.embedding(pf.tensor([1, 1, 2]), p).sum()) * 0.3

    start = pf.tensor(np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)).to("bfloat16")
    found = []
    for dtype in ("bfloat16", "float32"):
        p = start.to(dtype).detach()
        p.requires_grad = True
        with pf.autocast("bfloat16"):
            loss = run(p)
        loss.backward()
        assert (loss.dtype, p.grad.dtype) == (pf.float32, pf.float32)
        found.append((loss.detach().numpy(), p.grad.numpy()))
    assert all(same_bits(a, b) for a, b in zip(*found, strict=True))


def gates(cell, x, weights, h):
    """(x w_ih^T + b_ih, h w_hh^T + b_hh), each cut into its parts."""
    w_ih, w_hh, b_ih, b_hh = weights
    parts = {"lstm": 4, "gru": 3}[cell]
    widths = [w_hh.shape[1]] * parts
    return ops.split(ops.linear(x, w_ih, b_ih), widths, axis=-1), ops.split(ops.linear(h, w_hh, b_hh), widths, axis=-1)


def stepwise(cell, x, weights):
    """out (B, T, H), written out with linear."""
    h = c = pf.zeros(x.shape[0], weights[1].shape[1])
    outs = []
    for t in range(x.shape[1]):
        a, b = gates(cell, x[:, t], weights, h)
        if cell == "lstm":
            i, f, g, o = (one + two for one, two in zip(a, b, strict=True))
            c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
            h = ops.sigmoid(o) * ops.tanh(c)
        else:
            r, z = (ops.sigmoid(one + two) for one, two in zip(a[:2], b[:2], strict=True))
            n = ops.tanh(a[2] + r * b[2])
            h = (1.0 - z) * n + z * h
        outs.append(h)
    return ops.stack(outs, axis=1)


@pytest.mark.parametrize("reach", [1, 9])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_recurrent_layer_rounds_as_its_products_do(cell, reach):
    rng = np.random.default_rng(0)
    rows, width, hidden = {"lstm": 4, "gru": 3}[cell] * 24, 20, 24
    shapes = [(5, reach, width), (rows, width), (rows, hidden), (rows,), (rows,)]
    arrays = [0.4 * rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    dout = pf.tensor(rng.standard_normal((5, reach, hidden)).astype(np.float32))

    def results(run, mode):
        tensors = [pf.tensor(a, requires_grad=True) for a in arrays]
        with pf.autocast(mode):
            out = run(tensors[0], tensors[1:])
        out.backward(dout)
        return [out.detach().numpy(), *(t.grad.numpy() for t in tensors)]

    def fused(x, weights):
        return getattr(ops, cell)(x, *weights)[0]

    got = results(fused, "bfloat16")
    expected = results(lambda x, weights: stepwise(cell, x, weights), "bfloat16")
    for a, b, plain in zip(got, expected, results(fused, "float32"), strict=True):
        size = np.linalg.norm(b)
        # What is rounded at all differs by some 1e-3; another last bit before it is rounded seldom changes that.
        assert np.linalg.norm(a - b) <= 3e-4 * size
        assert (reach == 1 and a.shape == (rows, hidden)) or np.linalg.norm(a - plain) > 1e-3 * size  # h0 is 0


def unfolded(x, kernel, stride, padding):
    """(N, C, H, W) to (N, C kernel kernel, positions), zeros outside."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]
    n, c, rows, cols = windows.shape[:4]
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kernel * kernel, rows * cols).copy()


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (3, 2, 1), (2, 2, 0)])
def test_convolutions_are_the_products_of_their_terms(kernel, stride, padding):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 9, 8)).astype(np.float32)
    weight = pf.tensor(rng.standard_normal((7, 5, kernel, kernel)).astype(np.float32))
    bias = pf.tensor(rng.standard_normal(7).astype(np.float32))
    weight.requires_grad = True
    terms = unfolded(x, kernel, stride, padding)
    with pf.autocast("bfloat16"):
        out = ops.conv2d(pf.tensor(x), weight, bias, stride=stride, padding=padding)
        expected = ops.matmul(weight.detach().reshape(7, -1), pf.tensor(terms)) + bias.reshape(7, 1)
    assert same_bits(out.detach().numpy().reshape(expected.shape), expected.numpy())
    dout = rng.standard_normal(out.shape).astype(np.float32)
    out.backward(pf.tensor(dout))
    with pf.autocast("bfloat16"):  # each of so few images is a range of its own
        parts = ops.matmul(pf.tensor(dout.reshape(3, 7, -1)), pf.tensor(terms), transpose_b=True).numpy()
    assert same_bits(weight.grad.numpy().reshape(parts[0].shape), (parts[0] + parts[1]) + parts[2])


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_infinite_weights_do_not_meet_what_lies_outside(isa):
    """Neither in conv_transpose2d nor in gradients, as in float32."""
    _core.set_isa(isa)
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 5, 4), (3, 2, 3, 3))]
    values[1][0, 0, 0, 0] = np.inf
    values[1][1, 1, 2, 1] = 3.4e38  # infinite as bfloat16
    values[1][2, 1, 1, 2] = np.nan
    found = []
    for rounded in (False, True):  # the reference: float32 of the same numbers
        x, weight = (pf.tensor(v) for v in values)
        if not rounded:
            x, weight = x.to("bfloat16").to("float32"), weight.to("bfloat16").to("float32")
        x.requires_grad = weight.requires_grad = True
        with pf.autocast("bfloat16" if rounded else "float32"):
            out = ops.conv_transpose2d(x, weight, stride=2, padding=1, output_padding=1)
        dout = np.ones(out.shape, np.float32)
        dout[0, 0, 0, 0] = np.inf
        out.backward(pf.tensor(dout))
        found.append([out.detach().numpy(), x.grad.numpy(), weight.grad.numpy()])
    for wide, narrow in zip(*found, strict=True):
        assert not np.isfinite(wide).all()
        assert np.isfinite(wide).any()
        for test in (np.isnan, np.isposinf, np.isneginf):
            np.testing.assert_array_equal(test(narrow), test(wide))


def test_a_type_of_device_is_taken_as_torch_does():
    for scope in (
        pf.autocast(),
        pf.autocast("cpu"),
        pf.autocast("cuda", pf.bfloat16),
        pf.autocast(dtype="bfloat16"),
        pf.autocast(device_type="cpu", dtype=pf.bfloat16),
    ):
        with scope:
            assert product(X) != WIDE
    with pf.autocast("cpu"), pf.autocast("cpu", dtype="float32"):
        assert product(X) == WIDE
    with pytest.raises(ValueError, match="autocast: expected one dtype, got bfloat16 and float32"):
        pf.autocast("bfloat16", "float32")
