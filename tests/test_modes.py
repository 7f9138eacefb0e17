"""Inference leaves modes as they are and computes as in evaluation; computing again changes nothing more."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import pyformer as pf
from pyformer import nn, ops
from pyformer.models import by_name
from pyformer.training import Callback, TaskTrainer, Trainer, TrainingOptions

SIZES = {"vocab_size": 50, "context_length": 32, "num_layers": 2, "num_heads": 2, "embed_dim": 16, "dropout": 0.5}


def modes(module):
    return [m.__dict__["training"] for m in module.modules()]


def mixed(model):
    """Every second module in evaluation mode."""
    for i, module in enumerate(model.modules()):
        module.training = i % 2 == 0
    return modes(model)


class Seen(nn.Module):
    """A layer of a user's own that looks at its mode."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(self.training)
        return x


@pytest.mark.parametrize("name", by_name.LANGUAGE_MODELS)
def test_generation_in_any_mode(name):
    pf.manual_seed(1)
    model = by_name.language_model(name, by_name.language_config(name, **SIZES))
    expected = model.eval().generate([[1, 2, 3]], 6, seed=7).numpy()
    before = mixed(model)
    np.testing.assert_array_equal(model.generate([[1, 2, 3]], 6, seed=7).numpy(), expected)
    with pytest.raises(KeyError):
        model.generate([[1, 2, 3]], 6, stream=lambda row, token: {}[token])
    assert modes(model) == before


def test_translation_and_samples_in_any_mode():
    sizes = {k: v for k, v in SIZES.items() if k != "context_length"}
    model = pf.models.EncoderDecoder(pf.models.EncoderDecoderConfig(context_length=16, **sizes))
    gan = pf.models.GAN(pf.models.GANConfig(8, 1, 2, 4, (8, 8)))
    dit = pf.models.DiT(pf.models.DiTConfig(8, 4, 1, 2, 1, 2, 8))
    for module, run in (
        (model, lambda: model.translate([[5, 6, 7]], beams=2)),
        (gan, lambda: gan.sample([0, 1]).numpy().tolist()),
        (dit, lambda: dit.sample([0, 1], steps=2).numpy().tolist()),
    ):
        module.eval()
        expected, buffers = run(), [b.numpy().copy() for _, b in module.named_buffers()]
        before = mixed(module)
        assert run() == expected
        assert modes(module) == before
        np.testing.assert_equal([b.numpy() for _, b in module.named_buffers()], buffers)
    with pytest.raises(IndexError):
        gan.sample([5])
    with pytest.raises(IndexError):
        model.translate([[99]])


def test_a_module_of_ones_own_sees_evaluation_within_inference():
    module = Seen()
    module(1)
    with nn.inference():
        module(1)
        assert not module.training
    module(1)
    assert module.seen == [True, False, True]
    with pytest.raises(KeyError), nn.inference():
        raise KeyError
    assert module.training


def pictures_trainer(model, **options):
    rng = np.random.default_rng(0)
    batch = (rng.standard_normal((4, 1, 8, 8)).astype(np.float32) * 5 + 3, rng.integers(0, 3, 4))
    return TaskTrainer(model, lambda step: batch, [batch], TrainingOptions(steps=3, warmup=0, **options))


def convnet():
    pf.manual_seed(0)
    return pf.models.ConvNet(pf.models.ConvNetConfig(8, 1, 3, widths=(4, 8), dropout=0.5))


def test_a_trainer_keeps_the_modes_of_parts():
    model = convnet()
    model.stages.eval()
    trainer, before = pictures_trainer(model), modes(model)
    statistics = [b.numpy().copy() for _, b in model.named_buffers()]
    trainer.evaluate()
    assert modes(model) == before
    trainer.train()
    assert modes(model) == before
    np.testing.assert_equal([b.numpy() for _, b in model.named_buffers()], statistics)


def test_an_infinite_statistic_stays_so_over_micro_batches():
    model = convnet()
    statistic = next(buffer for name, buffer in model.named_buffers() if name.endswith("running_var"))
    statistic[0] = np.inf
    pictures_trainer(model, accumulate=2).train()
    found = statistic.numpy()
    assert found[0] == np.inf
    assert np.isfinite(found[1:]).all()


def test_a_trainer_keeps_modes_when_evaluation_raises():
    model = convnet()
    before = mixed(model)
    trainer = pictures_trainer(model)
    trainer.validation = [(np.zeros((4, 1, 8, 8), np.float32), np.array([0, 1, 2, 9]))]
    with pytest.raises(IndexError):
        trainer.evaluate()
    assert modes(model) == before


def test_a_trainer_trains_what_was_opened_but_for_frozen_parts():
    model = convnet().eval()
    for parameter in model.stages[0].parameters():
        parameter.requires_grad = False
    trainer, seen = pictures_trainer(model), []
    trainer.callbacks.append(Noting(seen))
    before = modes(model)
    trainer.train()
    assert seen[-1] == (True, True, True, False)
    assert modes(model) == before


class Noting(Callback):
    """Notes which parts are in training mode at each step."""

    def __init__(self, seen):
        self.seen = seen

    def on_step(self, trainer, loss):
        model = trainer.model
        self.seen.append(
            (model.training, model.dropout.training, model.stages[1].norm1.training, any(modes(model.stages[0])))
        )


def test_training_that_raises_keeps_modes():
    model = convnet().eval()
    trainer, before = pictures_trainer(model), modes(model)
    trainer.batch_of = lambda step: (np.zeros((4, 1, 8, 8), np.float32), np.array([0, 1, 2, 9]))
    with pytest.raises(IndexError):
        trainer.train()
    assert modes(model) == before


def test_a_sample_of_a_trainer_keeps_modes():
    tokens = np.arange(400) % 10
    model = pf.models.GPT(pf.models.GPTConfig(256, 8, 1, 2, 8, dropout=0.5))
    trainer = Trainer(model, tokens, tokens, TrainingOptions(), tokenizer=pf.tokenizers.ByteTokenizer())
    before = mixed(model)
    assert trainer.sample() == trainer.sample()
    assert modes(model) == before


class Counting(nn.Module):
    """Effects of all kinds: an attribute, a buffer that is written, one that is replaced, one that is made; a tensor
    that is no buffer, an array and containers."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.tensor, self.array, self.list, self.dict, self.set = pf.zeros(2), np.zeros(2), [], {"calls": 0}, set()
        self.register_buffer("written", pf.zeros(2))
        self.register_buffer("replaced", pf.zeros(2))
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x):
        self.calls += 1
        self.last = x.shape
        with pf.no_grad():
            self.written[:] = self.written + 1.0
            self.replaced = self.replaced + 1.0
            self.tensor += 1.0
        self.array += 1.0
        self.list.append(len(self.list))
        self.dict["calls"] += 1
        self.set.add(self.calls)
        x = x * (self.tensor.sum().item() + self.array.sum() + sum(self.list) + self.dict["calls"] + len(self.set))
        return self.norm(x) * self.written.reshape(1, 2, 1, 1) * float(self.calls)


def pictures():
    values = np.random.default_rng(0).standard_normal((4, 2, 3, 3))
    return pf.tensor(values, dtype=pf.float32, requires_grad=True)


def plainly(fn, x):
    return fn(x)


def nested(fn, x):
    return pf.checkpoint(lambda y: pf.checkpoint(fn, y) * 1.0, x)


@pytest.mark.parametrize("how", [pf.checkpoint, nested])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: lambda x: m(x), lambda m: partial(m.forward)], ids=range(3))
def test_recomputation_has_no_second_effect(how, wrap):
    results = []
    for run in (plainly, how):
        module, x = Counting(), pictures()
        for _ in range(2):
            out = run(wrap(module), x)
            module.eval()  # a mode that changes in between
            out.sum().backward()
            module.train()
        state = {name: t.numpy().copy() for name, t in module.named_buffers()}
        held = module.tensor.numpy().tolist(), module.array.tolist(), module.list, module.dict, module.set
        results.append((state, held, module.calls, module.last, x.grad.numpy(), module.norm.weight.grad.numpy()))
    np.testing.assert_equal(results[1], results[0])


def test_recomputation_of_the_op_and_of_a_part_moves_statistics_once():
    for moved in ("op", "method"):
        states = []
        for run in (plainly, pf.checkpoint):
            x, module = pictures(), nn.Sequential(nn.BatchNorm2d(2))
            mean, var = module[0].running_mean, module[0].running_var
            op = partial(ops.batch_norm, running_mean=mean, running_var=var, training=True)
            run(op if moved == "op" else module.forward, x).sum().backward()
            states.append((mean.numpy().copy(), var.numpy().copy(), x.grad.numpy()))
        np.testing.assert_equal(states[1], states[0])


def test_recomputation_may_come_twice():
    results = []
    for run in (plainly, pf.checkpoint):
        module, x = Counting(), pictures()
        loss = run(module, x).sum()
        loss.backward(retain_graph=True)
        loss.backward()
        results.append((x.grad.numpy(), module.tensor.numpy(), module.list, module.written.numpy()))
    np.testing.assert_equal(results[1], results[0])


def test_a_recomputation_that_raises_leaves_modules_as_they_are():
    module, runs = Counting(), []

    def broken(x):
        runs.append(module.calls)
        out = module(x)
        if len(runs) == 2:
            raise KeyError
        return out

    out = pf.checkpoint(broken, pictures())
    module.calls = 7
    with pytest.raises(KeyError):
        out.sum().backward()
    assert runs == [0, 0]
    assert module.calls == 7
    assert module.written.numpy().tolist() == [1.0, 1.0]
