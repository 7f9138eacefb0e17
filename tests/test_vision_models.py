"""ConvNet, ViT, Autoencoder, GAN and DiT: twins, files, bits, samples, bad input, training."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch_twins
from tolerance import MODEL_OPS, assert_close, by_rows, same_bits
from transformers import ViTConfig as TheirConfig
from transformers import ViTForImageClassification

import pyformer as pf
from pyformer.models import (
    GAN,
    Autoencoder,
    AutoencoderConfig,
    ConvNet,
    ConvNetConfig,
    DiT,
    DiTConfig,
    GANConfig,
    ViT,
    ViTConfig,
)
from pyformer.training import TaskTrainer, TrainingOptions

F = torch.nn.functional
SIZE, CHANNELS, CLASSES = 8, 2, 3
KINDS = {
    "convnet": (ConvNet, ConvNetConfig(SIZE, CHANNELS, CLASSES, widths=(6, 8))),
    "vit": (ViT, ViTConfig(SIZE, 4, CHANNELS, CLASSES, 2, 2, 16, hidden_dim=24)),
    "autoencoder": (Autoencoder, AutoencoderConfig(SIZE, CHANNELS, 5, widths=(4, 6))),
    "gan": (GAN, GANConfig(SIZE, CHANNELS, CLASSES, 5, widths=(8, 16))),
    "dit": (DiT, DiTConfig(SIZE, 4, CHANNELS, CLASSES, 2, 2, 16, hidden_dim=24)),
}


def make(kind, dtype="float32", **changes):
    """A model with weights large enough for every path to matter."""
    cls, config = KINDS[kind]
    pf.manual_seed(1)
    model = cls(replace(config, **changes)).to(getattr(pf, dtype))
    rng = np.random.default_rng(2)
    state = {k: t.numpy() + 0.1 * rng.standard_normal(t.shape) for k, t in model.state_dict().items()}
    model.load_state_dict({k: np.abs(v) if k.endswith("running_var") else v for k, v in state.items()})
    return model


def batch(dtype="float32", rows=5, seed=0):
    """(pictures, labels, times, noise of pictures, noise of codes)"""
    rng = np.random.default_rng(seed)
    pictures, noise = rng.uniform(0.0, 1.0, (2, rows, CHANNELS, SIZE, SIZE)).astype(dtype)
    labels = rng.integers(0, CLASSES, rows)
    return pictures, labels, rng.random(rows).astype(dtype), noise, rng.standard_normal((rows, 5)).astype(dtype)


def ours(case, model, arrays):
    """(what comes out, the loss)"""
    pictures, labels, times, noise, codes = arrays
    if case == "convnet":
        return model(pictures), model.loss(pictures, labels, 0.1)
    if case == "vit":
        return model(pictures), model.loss(pictures, labels)
    if case == "autoencoder":
        return model(pictures), model.loss(pictures)
    if case == "dit":
        return model(pictures, times, labels), model.loss(pictures, labels, times, noise)
    fakes = model(codes, labels)
    if case == "generator":
        return fakes, model.generator_loss(fakes, labels)
    return model.score(pictures, labels), model.discriminator_loss(pictures, labels, fakes.detach(), labels[::-1])


def theirs(case, p, arrays, config):
    pictures, labels, times, noise, codes = (torch.tensor(np.ascontiguousarray(a)) for a in arrays)
    if case == "convnet":
        scores = torch_twins.convnet(p, pictures, config)
        return scores, F.cross_entropy(scores, labels, label_smoothing=0.1)
    if case == "autoencoder":
        out = torch_twins.autoencoder(p, pictures, config)
        return out, F.mse_loss(out, pictures)
    if case == "dit":
        part = times[:, None, None, None]
        velocities = torch_twins.dit(p, (1 - part) * pictures + part * noise, times, labels, config)
        out = torch_twins.dit(p, pictures, times, labels, config)
        return out, F.mse_loss(velocities, noise - pictures)
    fakes = torch_twins.generator(p, codes, labels, config)
    if case == "generator":
        return fakes, -F.logsigmoid(torch_twins.discriminator(p, fakes, labels, config)).mean()
    real = torch_twins.discriminator(p, pictures, labels, config)
    fake = torch_twins.discriminator(p, fakes.detach(), labels.flip(0), config)
    return real, -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()


def torch_parameters(model):
    return {k: torch.tensor(t.numpy(), dtype=torch.float64, requires_grad=True) for k, t in model.state_dict().items()}


def in_float64(arrays):
    return [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ["convnet", "autoencoder", "generator", "discriminator", "dit"])
def test_outputs_loss_and_all_gradients_equal_the_twin(case, dtype):
    model = make("gan" if case in ("generator", "discriminator") else case, dtype)
    parameters = torch_parameters(model)
    out, loss = ours(case, model, batch(dtype))
    expected, expected_loss = theirs(case, parameters, in_float64(batch(dtype)), model.config)
    assert_close(out.numpy(), by_rows(expected.detach().numpy()), "output", additions=256, ops=MODEL_OPS)
    assert loss.shape == ()
    assert_close(loss.numpy(), by_rows(expected_loss.detach().numpy()), "loss", additions=256, ops=MODEL_OPS)
    loss.backward()
    expected_loss.backward()
    for key, parameter in model.named_parameters():
        if case == "discriminator" and key.startswith("generator"):
            assert parameter.grad is None
            continue
        gradient = parameters[key].grad.numpy()
        assert gradient.any(), key
        least = 1e-2 if case == "dit" else 1e-3  # sines of angles up to 1000 know three digits less
        assert_close(parameter.grad.numpy(), by_rows(gradient, least), key, additions=256, ops=MODEL_OPS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_evaluation_uses_the_running_statistics(dtype):
    pictures, labels, _, _, codes = batch(dtype)
    for kind, twin, arguments in (
        ("convnet", torch_twins.convnet, (pictures,)),
        ("gan", torch_twins.generator, (codes, labels)),
    ):
        model = make(kind, dtype).eval()
        parameters = torch_parameters(model)
        expected = twin(parameters, *map(torch.tensor, in_float64(arguments)), model.config, training=False)
        assert_close(model(*arguments).numpy(), by_rows(expected.detach().numpy()), kind, additions=256, ops=MODEL_OPS)


def make_vit_twin(dtype="float32"):
    """A transformers model with random weights of a scale that makes every path matter."""
    torch.manual_seed(0)
    config = TheirConfig(
        image_size=SIZE,
        patch_size=4,
        num_channels=CHANNELS,
        num_hidden_layers=2,
        num_attention_heads=2,
        hidden_size=16,
        intermediate_size=24,
        num_labels=CLASSES,
        attn_implementation="sdpa",
    )
    twin = ViTForImageClassification(config).to(getattr(torch, dtype)).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return twin


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vit_equals_the_transformers_model_and_goes_back(dtype, tmp_path):
    twin = make_vit_twin(dtype)
    twin.save_pretrained(tmp_path / "theirs")
    model = pf.from_pretrained(tmp_path / "theirs")
    assert isinstance(model, ViT)
    assert model.config == KINDS["vit"][1]
    pictures, labels, *_ = batch(dtype)
    expected = twin(torch.tensor(pictures))
    scores, weights = model(pictures, return_weights=True)
    assert_close(scores.numpy(), by_rows(expected.logits.detach().numpy()), "scores", additions=64, ops=MODEL_OPS)
    twin.set_attn_implementation("eager")  # The one that gives weights: always by a float32 softmax.
    attentions = twin(torch.tensor(pictures), output_attentions=True).attentions
    assert len(weights) == len(attentions) == 2
    for one, two in zip(weights, attentions, strict=True):
        assert_close(
            one.numpy(), by_rows(two.detach().numpy()), "weights", additions=64, ops=MODEL_OPS, dtype="float32"
        )
    twin.set_attn_implementation("sdpa")
    assert same_bits(scores.numpy(), model(pictures).numpy())
    loss, expected_loss = model.loss(pictures, labels), F.cross_entropy(expected.logits, torch.tensor(labels))
    loss.backward()
    expected_loss.backward()
    assert_close(loss.numpy(), by_rows(expected_loss.detach().numpy()), "loss", additions=64, ops=MODEL_OPS)
    model.save_pretrained(tmp_path / "ours")
    again = ViTForImageClassification.from_pretrained(tmp_path / "ours", dtype=getattr(torch, dtype))
    repeated = again(torch.tensor(pictures)).logits.detach().numpy()
    assert_close(
        repeated, by_rows(expected.logits.detach().numpy()), "logits after the way back", additions=64, ops=MODEL_OPS
    )
    # Its names in memory differ from version to version, those of its files don't: gradients travel in a file.
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.copy_(parameter.grad)
    twin.save_pretrained(tmp_path / "gradients")
    from safetensors.numpy import load_file

    gradients = load_file(tmp_path / "gradients" / "model.safetensors")
    own = {ViT.layout.written_name(name): p.grad.numpy() for name, p in model.named_parameters()}
    assert set(own) == set(gradients)
    for name, gradient in own.items():
        wanted = gradients[name]
        rows = wanted.shape if wanted.ndim < 3 else (wanted.shape[0], -1)  # of patches: all that one channel reads
        exact = by_rows(wanted.reshape(rows), least=1e-3)
        assert_close(gradient.reshape(rows), exact, name, additions=64, ops=MODEL_OPS)


@pytest.mark.parametrize("case", ["convnet", "vit", "autoencoder", "generator", "discriminator", "dit"])
def test_same_bits_whatever_the_threads(case):
    results = []
    for threads in (1, 2, 3, 7):
        pf.set_num_threads(threads)
        model = make("gan" if case in ("generator", "discriminator") else case)
        out, loss = ours(case, model, batch(rows=9))
        loss.backward()
        gradients = [p.grad.numpy().tobytes() for p in model.parameters() if p.grad is not None]
        results.append([out.numpy().tobytes(), *gradients])
    assert all(r == results[0] for r in results[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_does_not_depend_on_its_neighbours(kind):
    model = make(kind).eval()
    case = "generator" if kind == "gan" else kind
    whole = ours(case, model, batch(rows=9))[0].numpy()
    alone = ours(case, model, [array[3:4] for array in batch(rows=9)])[0].numpy()
    assert same_bits(whole[3:4], alone)


@pytest.mark.parametrize("kind", ["gan", "dit"])
def test_a_sample_is_made_of_its_seed_and_label(kind):
    model = make(kind)
    options = {"steps": 3} if kind == "dit" else {}
    labels = np.array([2, 0, 1, 0])
    together = model.sample(labels, seed=5, **options)
    assert together.shape == (4, CHANNELS, SIZE, SIZE)
    assert model.training
    assert same_bits(model.sample(labels[2:], seed=7, **options).numpy(), together.numpy()[2:])
    assert not np.array_equal(model.sample(labels, seed=6, **options).numpy(), together.numpy())
    assert not np.array_equal(model.sample([1, 1, 1, 1], seed=5, **options).numpy(), together.numpy())


def test_euler_steps_and_guidance():
    model = make("dit", "float64")
    start = model.sample([1], steps=1, guidance=0.0, seed=3).numpy()
    noise = np.random.Generator(np.random.Philox(3)).standard_normal((1, CHANNELS, SIZE, SIZE))
    time = np.ones(1)
    free, held = (model(noise, time, [label]).numpy() for label in (CLASSES, 1))
    np.testing.assert_array_equal(start, noise - (free + (held - free) * 0.0))
    np.testing.assert_allclose(
        model.sample([1], 1, 2.5, seed=3).numpy(), noise - free - 2.5 * (held - free), rtol=1e-12
    )
    np.testing.assert_array_equal(model.sample([1], 1, 1.0, seed=3).numpy(), noise - held)
    half = noise - 0.5 * held
    two = half - 0.5 * model(half, np.full(1, 0.5), [1]).numpy()
    np.testing.assert_allclose(model.sample([1], 2, seed=3).numpy(), two, rtol=1e-12)


def test_weights_of_a_dit_come_along():
    model = make("dit")
    pictures, labels, times, *_ = batch()
    out, weights = model(pictures, times, labels, return_weights=True)
    assert same_bits(out.numpy(), model(pictures, times, labels).numpy())
    assert [w.shape for w in weights] == [(5, 2, 4, 4)] * 2
    np.testing.assert_allclose(weights[1].numpy().sum(-1), 1.0, rtol=1e-5)


def test_fresh_blocks_of_a_dit_are_the_identity():
    model = DiT(KINDS["dit"][1])
    pictures, labels, times, *_ = batch()
    assert not model(pictures, times, labels).numpy().any()
    x, condition = pf.randn(2, 4, 16), pf.randn(2, 1, 16)
    assert same_bits(model.blocks[0](x, condition).numpy(), x.numpy())


def test_codes_and_pictures_of_an_autoencoder():
    model = make("autoencoder")
    pictures, _, _, noise, _ = batch()
    codes = model.encode(pictures)
    assert codes.shape == (5, 5)
    out = model.decode(codes)
    assert same_bits(out.numpy(), model.reconstruct(pictures).numpy())
    assert out.numpy().min() >= 0.0
    assert out.numpy().max() <= 1.0
    assert model.loss(pictures, noise).item() == pytest.approx(float(((out.numpy() - noise) ** 2).mean()), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_files_round_trip(kind, dtype, tmp_path):
    model = make(kind, dtype)
    model.save_pretrained(tmp_path)
    again = pf.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert again.config == model.config
    assert not again.training
    state, other = model.state_dict(), again.state_dict()
    assert list(state) == list(other)
    assert all(same_bits(state[name].numpy(), other[name].numpy()) for name in state)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("convnet", {"widths": [6, 10**6]}, "config.json means"),
        ("convnet", {"num_classes": 10**9}, "config.json means"),
        ("convnet", {"widths": [6, 8, 8]}, "missing tensors|config.json means"),
        ("autoencoder", {"code_dim": 10**9}, "config.json means"),
        ("autoencoder", {"image_size": 2**30}, "config.json means"),
        ("gan", {"noise_dim": 10**9}, "config.json means"),
        ("gan", {"image_size": 2**30}, "config.json means"),
        ("dit", {"num_layers": 9999}, "config.json means"),
        ("dit", {"num_layers": 10**9}, "num_layers must be at most"),
        ("dit", {"embed_dim": 2**24}, "config.json means"),
        ("dit", {"num_classes": 10**9}, "config.json means"),
        ("vit", {"num_hidden_layers": 9999}, "config.json means"),
        ("vit", {"num_hidden_layers": 10**9}, "num_layers must be at most"),
        ("vit", {"hidden_size": 2**24}, "must be"),
        ("vit", {"image_size": 2**30}, "must be"),
        ("vit", {"intermediate_size": 10**9}, "must be"),
        ("vit", {"qkv_bias": False}, "qkv_bias must be True"),
        ("vit", {"hidden_act": "softplus"}, "hidden_act must be one of"),
    ],
)
def test_config_that_does_not_fit_its_weights(kind, changes, message, tmp_path):
    make(kind).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=message):
        pf.from_pretrained(tmp_path)


OTHER = np.zeros((2, CHANNELS, SIZE, SIZE + 1), "f")
GOOD = np.zeros((2, CHANNELS, SIZE, SIZE), "f")
HALF = np.zeros(2, "f")


@pytest.mark.parametrize(
    ("kind", "call", "error", "message"),
    [
        *((kind, lambda m: m(OTHER), ValueError, r"pictures must be \(B, 2, 8, 8\)") for kind in ("convnet", "vit")),
        *((kind, lambda m: m(GOOD[0]), ValueError, r"got \(2, 8, 8\)") for kind in ("convnet", "vit", "autoencoder")),
        *((kind, lambda m: m(GOOD[:0]), ValueError, "B at least 1") for kind in ("convnet", "vit", "autoencoder")),
        ("convnet", lambda m: m(GOOD.astype("u1")), TypeError, "pictures must be float32, got uint8"),
        ("vit", lambda m: m(GOOD.astype("d")), TypeError, "pictures must be float32, got float64"),
        ("convnet", lambda m: m.loss(GOOD, [0]), ValueError, r"labels must be \(2,\), got \(1,\)"),
        ("vit", lambda m: m.loss(GOOD, [0, 3]), IndexError, r"labels must be in \[0, 3\), got 0 to 3"),
        ("convnet", lambda m: m.loss(GOOD, [0, -100]), IndexError, "labels must be in"),
        ("vit", lambda m: m.loss(GOOD, [0.0, 1.0]), TypeError, "labels must be integers"),
        ("autoencoder", lambda m: m.decode(GOOD), ValueError, r"codes must be \(B, 5\)"),
        ("autoencoder", lambda m: m.loss(GOOD, GOOD[:1]), ValueError, r"targets must be \(2, 2, 8, 8\)"),
        ("gan", lambda m: m(HALF, [0, 1]), ValueError, r"noise must be \(B, 5\)"),
        ("gan", lambda m: m(np.zeros((2, 5), "f"), [0]), ValueError, "labels must be"),
        ("gan", lambda m: m.sample([CLASSES]), IndexError, "labels must be in"),
        ("gan", lambda m: m.discriminator_loss(OTHER, [0, 1], GOOD), ValueError, "pictures must be"),
        ("dit", lambda m: m(GOOD, HALF[:1], [0, 1]), ValueError, r"times must be \(2,\)"),
        ("dit", lambda m: m(GOOD, GOOD, [0, 1]), ValueError, r"times must be \(B,\)"),
        ("dit", lambda m: m(GOOD, HALF, [0, CLASSES + 1]), IndexError, r"labels must be in \[0, 4\)"),
        ("dit", lambda m: m.loss(GOOD, [0, 1], HALF, GOOD[:1]), ValueError, "noise must be"),
        ("dit", lambda m: m.sample([0], steps=0), ValueError, "steps must be at least 1"),
        ("dit", lambda m: m.sample([]), ValueError, "B at least 1|at least one|stack"),
        ("gan", lambda m: ConvNet(m.config), TypeError, "ConvNet: expected a ConvNetConfig, got GANConfig"),
        ("gan", lambda m: ConvNetConfig(widths=()), ValueError, "widths must hold"),
        ("gan", lambda m: ConvNetConfig(widths=8), TypeError, "widths must be a tuple"),
        ("gan", lambda m: ConvNetConfig(30, widths=(8, 8, 8)), ValueError, "2\\^2 must divide image_size, got 30"),
        ("gan", lambda m: GANConfig(widths=(8, 12)), ValueError, "8 must divide widths"),
        ("gan", lambda m: ViTConfig(patch_size=5), ValueError, r"patch_size \(5\) must divide"),
        ("gan", lambda m: DiTConfig(embed_dim=6, num_heads=2), ValueError, "must divide embed_dim"),
    ],
)
def test_bad_input(kind, call, error, message):
    with pytest.raises(error, match=message):
        call(make(kind))


def test_a_nan_stays_in_its_picture():
    for kind in ("convnet", "vit", "autoencoder"):
        model, pictures = make(kind).eval(), batch()[0].copy()
        clean = model(pictures).numpy().copy()
        pictures[2, 0, 3, 3] = np.nan
        out = model(pictures).numpy()
        assert np.isnan(out[2]).any()
        assert same_bits(np.delete(out, 2, 0), np.delete(clean, 2, 0))


def shapes(rows, seed):
    """Bars, up or across, in noise; and which."""
    rng = np.random.default_rng(seed)
    labels, places = rng.integers(0, 2, rows), rng.integers(0, SIZE, rows)
    pictures = 0.2 * rng.random((rows, CHANNELS, SIZE, SIZE), "f")
    for picture, label, place in zip(pictures, labels, places, strict=True):
        picture[(slice(None), place) if label else (slice(None), slice(None), place)] += 0.7
    return pictures, labels


@pytest.mark.parametrize("kind", ["convnet", "vit", "autoencoder", "dit"])
def test_training_lowers_the_loss(kind):
    cls, config = KINDS[kind]
    pf.manual_seed(0)
    model = cls(config)
    optimizer = pf.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for step in range(60):
        pictures, labels = shapes(32, step)
        rng = np.random.default_rng(step)
        more = {"dit": (rng.random(32, "f"), rng.standard_normal(pictures.shape, "f"))}.get(kind, ())
        optimizer.zero_grad()
        loss = model.loss(pictures) if kind == "autoencoder" else model.loss(pictures, labels, *more)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.75 * losses[0]


def test_a_gan_learns_where_the_light_is():
    pf.manual_seed(0)
    model = GAN(replace(KINDS["gan"][1], num_classes=2))
    rates = {"lr": 2e-3, "betas": (0.5, 0.999), "weight_decay": 0.0}
    halves = [(part, pf.optim.AdamW(part.parameters(), **rates)) for part in (model.discriminator, model.generator)]
    for step in range(80):
        rng = np.random.default_rng(step)
        labels = rng.integers(0, 2, 32)
        pictures = np.where(labels[:, None, None, None] == 1, 0.7, -0.7) + 0.1 * rng.standard_normal(GOOD.shape[1:])
        fakes = model(rng.standard_normal((32, 5)).astype("f"), labels)
        losses = (
            lambda p=pictures, y=labels, f=fakes: model.discriminator_loss(p.astype("f"), y, f.detach()),
            lambda y=labels, f=fakes: model.generator_loss(f, y),
        )
        for (_, optimizer), loss in zip(halves, losses, strict=True):
            model.zero_grad()
            loss().backward()
            optimizer.step()
    dark, light = model.sample([0] * 8).numpy().mean(), model.sample([1] * 8).numpy().mean()
    assert dark < -0.3
    assert light > 0.3


def test_a_stop_takes_back_what_batch_norms_saw(tmp_path):
    """A resumed run has the bits of one that never stopped, running statistics included."""

    def trainer(run):
        pf.manual_seed(0)
        (tmp_path / run).mkdir(exist_ok=True)
        options = TrainingOptions(steps=5, warmup=1, save_every=3, eval_every=5)
        return TaskTrainer(
            ConvNet(KINDS["convnet"][1]), lambda s: shapes(8, s), [shapes(8, 99)], options, tmp_path / run
        )

    straight = trainer("a")
    assert straight.train()
    stopped = trainer("b")

    def stop_at_two(step):
        if step == 2:
            stopped.request_stop()
        return shapes(8, step)

    stopped.batch_of = stop_at_two
    assert not stopped.train()
    resumed = trainer("b")
    resumed.restore()
    assert resumed.step == 2
    assert resumed.train()
    for (name, one), two in zip(straight.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert same_bits(one.numpy(), two.numpy()), name


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_precision_model_takes_pictures_of_numpy(dtype):
    model = ConvNet(KINDS["convnet"][1]).to(dtype).eval()
    pictures = np.random.default_rng(0).random((2, CHANNELS, SIZE, SIZE), np.float32)
    wanted, other = {"bfloat16": ("float32", "float16"), "float16": ("float16", "float32")}[dtype]  # of activations
    scores = model(pictures)
    assert scores.dtype.name == wanted
    assert scores.tolist() == model(pf.tensor(pictures).to(wanted)).tolist()
    if dtype == "bfloat16":
        rounded = pf.tensor(pictures).to(dtype)
        assert model(rounded).tolist() == model(rounded.to(wanted)).tolist()
    for wrong in (pf.tensor(pictures).to(other), pictures.astype(np.float64)):
        with pytest.raises(TypeError, match=f"must be {wanted}"):
            model(wrong)


def test_a_convnet_of_one_class_has_no_loss():
    model = ConvNet(ConvNetConfig(SIZE, CHANNELS, 1, widths=(4,)))
    with pytest.raises(ValueError, match="ConvNet: with one class the cross-entropy is 0"):
        model.loss(pf.zeros(2, CHANNELS, SIZE, SIZE), [0, 0])
