"""The training loop: a stopped, killed or full-disk run goes on as if nothing had happened."""

import dataclasses
import errno
import json
import math
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core, data, formats, optim, svg, tokenizers, training
from pyformer.models import GPT, ConvNet, ConvNetConfig, GPTConfig
from pyformer.training import CHECKPOINT_NAME, Trainer, TrainingOptions
from pyformer.training.average import WeightMean

CONTEXT = 8
OPTIONS = TrainingOptions(
    steps=12,
    batch=3,
    accumulate=2,
    warmup=3,
    seed=7,
    log_every=5,
    eval_every=4,
    eval_batches=2,
    save_every=4,
    sample_every=6,
)


class Interruption(Exception):
    """Stands for the death of the process."""


def make_trainer(run, options=OPTIONS, embed=16, tokenizer=None):
    tokens = np.frombuffer(b"the quick brown fox jumps over the lazy dog. " * 8, np.uint8)
    tokens = tokens.astype(np.int32)
    pf.manual_seed(options.seed)
    model = GPT(GPTConfig(256, CONTEXT, 2, 2, embed, dropout=0.2))
    if run is not None:
        run.mkdir(exist_ok=True)
    tokenizer = tokenizer or tokenizers.ByteTokenizer()
    return Trainer(model, tokens[:300], tokens[300:], options, run, tokenizer)


def at_call(trainer, number, action):
    """Runs `action` at the model's `number`-th loss."""
    loss, calls = trainer.model.loss, [0]

    def counted(ids, targets):
        calls[0] += 1
        if calls[0] == number:
            action()
        return loss(ids, targets)

    object.__setattr__(trainer.model, "loss", counted)


def die():
    raise Interruption


def same_result(run, other):
    for name in (formats.WEIGHTS_NAME, CHECKPOINT_NAME):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    first, second = (training.read_metrics(r / training.METRICS_NAME) for r in (run, other))
    for entry in [*first, *second]:
        entry.pop("tokens_per_second", None)
    assert first == second


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "straight"
    assert make_trainer(run).train()
    return run


def test_straight_run_leaves_everything(straight):
    names = {path.name for path in straight.iterdir()}
    assert {"config.json", "model.safetensors", "metrics.jsonl", "loss_curve.svg"} <= names
    entries = training.read_metrics(straight / training.METRICS_NAME)
    assert [s for s, _ in training.loss_points(entries, "loss")] == [5, 10, 12]
    assert [s for s, _ in training.loss_points(entries, "validation_loss")] == [4, 8, 12]
    assert pf.from_pretrained(straight).num_parameters() > 0


def test_straight_runs_are_equal(straight, tmp_path):
    assert make_trainer(tmp_path / "run").train()
    same_result(straight, tmp_path / "run")


# Two micro-batches a step, and two batches of evaluation after steps 4, 8 and 12.
@pytest.mark.parametrize("call", [1, 2, 7, 8, 9, 10, 11, 25, 28, 30])
def test_stopped_run_goes_on_exactly(straight, tmp_path, call):
    run = tmp_path / "run"
    first = make_trainer(run)
    at_call(first, call, first.request_stop)
    finished = first.train()
    assert finished == (call > 28)
    assert first.saved_step == first.step
    second = make_trainer(run)
    pf.manual_seed(99)
    second.restore()
    assert second.step == first.step
    assert second.train()
    same_result(straight, run)


@pytest.mark.parametrize("call", [1, 8, 10, 13, 26])
def test_killed_run_goes_on_exactly(straight, tmp_path, call):
    run = tmp_path / "run"
    first = make_trainer(run)
    at_call(first, call, die)
    with pytest.raises(Interruption):
        first.train()
    (run / "checkpoint" / ".state.safetensors.1-abc.tmp").write_bytes(b"cut off")
    with open(run / training.METRICS_NAME, "a") as file:
        file.write('{"step": 1')
    second = make_trainer(run)
    second.restore()
    assert second.step == first.saved_step
    assert second.train()
    same_result(straight, run)
    assert not list(run.glob("**/*.tmp"))


def test_full_disk_keeps_the_last_checkpoint(straight, tmp_path, monkeypatch):
    run = tmp_path / "run"
    first = make_trainer(run)
    first.save()
    before = (run / CHECKPOINT_NAME).read_bytes()
    write = formats.write_safetensors

    def full(file, *args, **options):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pyformer.formats.state.write_safetensors", full)
    with pytest.raises(OSError, match="No space left"):
        first.train()
    assert (run / CHECKPOINT_NAME).read_bytes() == before
    assert not list(run.glob("**/*.tmp"))
    monkeypatch.setattr("pyformer.formats.state.write_safetensors", write)
    second = make_trainer(run)
    second.restore()
    assert second.train()
    same_result(straight, run)


def test_evaluation_leaves_no_trace():
    trainer = make_trainer(None)
    trainer.model.train()
    state = _core.rng_state()
    assert trainer.evaluate() == trainer.evaluate()
    assert trainer.sample() == trainer.sample()
    assert _core.rng_state() == state
    assert trainer.model.training


def test_loss_falls_in_memory():
    options = TrainingOptions(steps=60, batch=8, lr=1e-2, warmup=5, eval_every=60)
    trainer = make_trainer(None, options)
    before = trainer.evaluate()
    assert trainer.train()
    assert trainer.validation_loss < before - 1.0


def test_loss_that_is_not_finite_stops_the_run(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    loss = trainer.model.loss
    object.__setattr__(trainer.model, "loss", lambda ids, targets: loss(ids, targets) * math.nan)
    with pytest.raises(FloatingPointError, match=r"nan at step 1.*checkpoint of step 0"):
        trainer.train()


def test_gradient_that_is_not_finite_stops_the_run(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    weight = next(trainer.model.parameters())
    clip = optim.clip_grad_norm_

    def broken(parameters, max_norm):
        weight.grad = weight.grad * math.inf
        return clip(parameters, max_norm)

    before = weight.numpy().copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optim, "clip_grad_norm_", broken)
        with pytest.raises(FloatingPointError, match=r"gradient is (nan|inf) at step 1.*checkpoint of step 0"):
            trainer.train()
    assert np.array_equal(weight.numpy(), before)


def break_weights(trainer):
    state = trainer.model.state_dict()
    trainer.model.load_state_dict({name: pf.tensor(w.numpy() * np.float32(math.nan)) for name, w in state.items()})


# A step that is evaluated before it is saved, and one that is only saved.
@pytest.mark.parametrize(("save_every", "eval_every"), [(4, 4), (2, 100)])
def test_broken_weights_never_replace_a_checkpoint(tmp_path, save_every, eval_every):
    run = tmp_path / "run"
    values = {**OPTIONS.to_dict(), "save_every": save_every, "eval_every": eval_every}
    trainer = make_trainer(run, TrainingOptions(**values))
    trainer.save()
    before = {path: path.read_bytes() for path in (run / CHECKPOINT_NAME, run / formats.WEIGHTS_NAME)}
    step = trainer.optimizer.step

    def diverge():
        step()
        if trainer.step + 1 == save_every:
            break_weights(trainer)

    trainer.optimizer.step = diverge
    with pytest.raises(FloatingPointError, match=r"is nan at step \d.*checkpoint of step 0 is kept"):
        trainer.train()
    assert {path: path.read_bytes() for path in before} == before
    assert "NaN" not in (run / training.METRICS_NAME).read_text()


@pytest.mark.parametrize("name", [formats.WEIGHTS_NAME, training.CURVE_NAME])
@pytest.mark.parametrize("left", [None, b"stale"])
def test_run_killed_before_its_last_export_is_exported(straight, tmp_path, name, left):
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    (run / name).unlink()
    if left is not None:
        (run / name).write_bytes(left)
    trainer = make_trainer(run)
    trainer.restore()
    assert trainer.train()
    same_result(straight, run)
    assert ElementTree.parse(run / training.CURVE_NAME)


def test_flipped_bits_of_a_checkpoint_are_noticed(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    trainer.save()
    path = tmp_path / "run" / CHECKPOINT_NAME
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"state\.safetensors: damaged"):
        trainer.restore()


def test_checkpoint_of_another_model_is_refused(straight, tmp_path):
    run = tmp_path / "run"
    make_trainer(run, embed=32).save()
    with pytest.raises(ValueError, match="belong"):
        make_trainer(run).restore()


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_truncated_checkpoint_is_refused(straight, tmp_path, part):
    run = tmp_path / "run"
    trainer = make_trainer(run)
    trainer.save()
    path = run / CHECKPOINT_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ValueError, match=r"state\.safetensors"):
        trainer.restore()


def test_missing_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError):
        make_trainer(tmp_path / "run").restore()


def test_frozen_layers_stay_and_the_rest_is_tuned(tmp_path):
    def frozen_trainer(run, options=OPTIONS):
        trainer = make_trainer(run)
        for name, parameter in trainer.model.named_parameters():
            parameter.requires_grad = name.startswith(("h.1.", "ln_f."))
        return Trainer(trainer.model, trainer.train_tokens, np.tile(trainer.train_tokens, 2), options, run)

    trainer = frozen_trainer(tmp_path / "run")
    before = {name: p.numpy().copy() for name, p in trainer.model.named_parameters()}
    at_call(trainer, 11, trainer.request_stop)
    assert not trainer.train()
    changed = {name for name, p in trainer.model.named_parameters() if not np.array_equal(p.numpy(), before[name])}
    assert changed == {name for name in before if name.startswith(("h.1.", "ln_f."))}
    again = frozen_trainer(tmp_path / "run")
    again.restore()
    assert again.train()
    straight = frozen_trainer(tmp_path / "straight")
    assert straight.train()
    same_result(tmp_path / "run", tmp_path / "straight")


def test_a_model_that_is_all_frozen_is_refused():
    trainer = make_trainer(None)
    for parameter in trainer.model.parameters():
        parameter.requires_grad = False
    with pytest.raises(ValueError, match="all are frozen"):
        Trainer(trainer.model, trainer.train_tokens, trainer.train_tokens, OPTIONS)


@pytest.mark.parametrize(("text", "unit"), [(None, "byte"), ("ab", "character")])
def test_curve_names_the_unit_of_the_losses(tmp_path, text, unit, caplog):
    tokenizer = tokenizers.CharTokenizer(text) if text else tokenizers.ByteTokenizer()
    trainer = make_trainer(tmp_path / "run", tokenizer=tokenizer)
    with caplog.at_level("INFO"), trainer._metrics_file() as metrics:
        trainer._evaluate_and_report(metrics)
    assert f"nats per {unit}" in caplog.text
    assert f"loss (nats per {unit}, lower is better)" in (tmp_path / "run" / training.CURVE_NAME).read_text()


def test_a_step_holds_one_micro_batch_at_a_time(monkeypatch):
    rows = []
    windows = data._windows
    monkeypatch.setattr(data, "_windows", lambda t, s, c: rows.append(len(s)) or windows(t, s, c))
    make_trainer(None, TrainingOptions(steps=1, batch=2, accumulate=50, eval_batches=1, sample_every=0)).train()
    assert max(rows) == 2
    assert rows.count(2) >= 50


@pytest.mark.skipif(os.name == "nt", reason="locks of POSIX")
def test_lock_of_a_run_is_held_by_one(tmp_path):
    path = tmp_path / training.LOCK_NAME
    path.write_bytes(b"left by a process that was killed")
    with training.locked(tmp_path):
        with pytest.raises(RuntimeError, match="another process is training in"), training.locked(tmp_path):
            pass
        assert path.exists()
    assert not path.exists()
    with pytest.raises(Interruption), training.locked(tmp_path):
        die()
    assert not path.exists()
    with training.locked(tmp_path):
        pass


@pytest.mark.filterwarnings("error")
def test_the_mean_of_the_last_weights_is_kept(tmp_path):
    options = dataclasses.replace(OPTIONS, average=0.3)  # of 12 steps the last 4
    trainer, seen = make_trainer(tmp_path / "run", options), []
    step = trainer.optimizer.step

    def recorded():
        step()
        seen.append([p.numpy().astype(np.float64) for p in trainer.model.parameters()])

    trainer.optimizer.step = recorded
    assert trainer.train()
    model = pf.from_pretrained(tmp_path / "run")
    for p, *weights in zip(model.parameters(), *seen[-4:], strict=True):
        np.testing.assert_allclose(p.numpy(), np.mean(weights, axis=0), rtol=0, atol=3e-7)
    assert trainer.evaluate() == trainer.validation_loss


@pytest.mark.parametrize("call", [9, 19, 21, 27])  # in steps 5, 9, 10 and 12
def test_stopped_run_with_a_mean_goes_on_exactly(tmp_path, call):
    options = dataclasses.replace(OPTIONS, average=0.3)
    assert make_trainer(tmp_path / "straight", options).train()
    first = make_trainer(tmp_path / "run", options)
    at_call(first, call, first.request_stop)
    assert not first.train()
    second = make_trainer(tmp_path / "run", options)
    second.restore()
    assert second.train()
    same_result(tmp_path / "straight", tmp_path / "run")


@pytest.mark.parametrize("call", [9, 10, 19])
def test_stopped_run_in_bfloat16_goes_on_exactly(tmp_path, call):
    options = dataclasses.replace(OPTIONS, dtype="bfloat16")
    straight = make_trainer(tmp_path / "straight", options)
    assert straight.train()
    assert {p.dtype for p in straight.model.parameters()} == {pf.float32}
    first = make_trainer(tmp_path / "run", options)
    at_call(first, call, first.request_stop)
    assert not first.train()
    second = make_trainer(tmp_path / "run", options)
    second.restore()
    assert second.train()
    same_result(tmp_path / "straight", tmp_path / "run")


def test_bfloat16_computes_every_loss_in_autocast(tmp_path):
    """Those of training steps, of evaluations and of samples, and nothing else."""
    trainer, seen = make_trainer(None, dataclasses.replace(OPTIONS, dtype="bfloat16")), []
    for name in ("loss", "hidden"):
        method = getattr(trainer.model, name)

        def noted(*args, method=method, **kwargs):
            seen.append(_core.precision())
            return method(*args, **kwargs)

        object.__setattr__(trainer.model, name, noted)
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda: (seen.append(("step", _core.precision())), step())
    assert trainer.train()
    trainer.sample()
    assert set(seen) == {pf.bfloat16, ("step", None)}
    plain = make_trainer(None)
    assert plain.train()
    assert abs(plain.validation_loss - trainer.validation_loss) < 0.02 * plain.validation_loss
    with pf.autocast("bfloat16"):
        narrow = make_trainer(None)
        assert narrow.train()
    weights = [[p.numpy() for p in t.model.parameters()] for t in (trainer, narrow, plain)]
    assert all(np.array_equal(a, b) for a, b in zip(*weights[:2], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(*weights[::2], strict=True))


def test_a_mean_of_another_model_is_refused(tmp_path):
    options = dataclasses.replace(OPTIONS, average=1.0 - 1e-9)
    assert make_trainer(tmp_path, options).train()
    trainer = make_trainer(tmp_path, options)
    state = formats.load_state(tmp_path / CHECKPOINT_NAME)
    for change in (
        {"mean": state["mean"][1:]},
        {"mean": []},
        {"step": 13},
        {"step": -1},
        {"mean_start": 5},
        {"random_state": [0, -1]},
    ):
        formats.save_state(tmp_path / CHECKPOINT_NAME, {**state, **change})
        with pytest.raises(ValueError, match=r"doesn't belong to this run: .*(mean of|step|stream)"):
            trainer.restore()


def test_a_run_of_an_adapter_exports_it_and_goes_on(tmp_path):
    def trainer(run, **changes):
        pf.manual_seed(3)
        model = pf.models.Llama(pf.models.LlamaConfig(40, 16, num_layers=1, num_heads=2, embed_dim=16))
        pf.lora.add(model, rank=2)
        tokens = np.random.default_rng(0).integers(0, 40, 2000)
        return Trainer(model, tokens[:1500], tokens[1500:], dataclasses.replace(OPTIONS, **changes), run)

    def logits(model):
        return model.eval()([[1, 2, 3]]).numpy()

    whole, kept = trainer(None), trainer(tmp_path)
    assert whole.train()
    assert kept.train()
    np.testing.assert_array_equal(logits(whole.model), logits(kept.model))
    plain = trainer(None).model
    pf.lora.merge(plain)
    pf.lora.load(plain, tmp_path)
    np.testing.assert_array_equal(logits(plain), logits(kept.model))
    again = trainer(tmp_path)
    again.restore()
    np.testing.assert_array_equal(logits(again.model), logits(kept.model))


def test_what_is_refused_by_one_part_changes_no_other(tmp_path):
    assert make_trainer(tmp_path).train()
    state = formats.load_state(tmp_path / CHECKPOINT_NAME)
    short = {**state["optimizer"], "param_groups": state["optimizer"]["param_groups"][1:]}
    no_model = {**state["model"], next(reversed(state["model"])): pf.zeros(1)}
    for change in ({"optimizer": short}, {"model": no_model}, {"random_state": [0, -1]}):
        trainer = make_trainer(tmp_path)
        before = (
            [p.numpy().copy() for p in trainer.model.parameters()],
            pf.random.get_state(),
            len(trainer.optimizer.state),
        )
        formats.save_state(tmp_path / CHECKPOINT_NAME, {**state, **change})
        with pytest.raises(ValueError, match="doesn't belong to this run"):
            trainer.restore()
        after = [p.numpy() for p in trainer.model.parameters()]
        assert all(np.array_equal(a, b) for a, b in zip(after, before[0], strict=True))
        assert (pf.random.get_state(), len(trainer.optimizer.state)) == before[1:]


@pytest.mark.parametrize("tokens", [[1, 2, 3] * 20, np.zeros(60), np.zeros((6, 10), np.int32), None])
def test_tokens_must_be_an_array_of_integers(tokens):
    model = make_trainer(None).model
    with pytest.raises(TypeError, match="one-dimensional NumPy arrays of integers"):
        Trainer(model, tokens, np.zeros(60, np.int32), OPTIONS)


def test_no_mean_of_weights_with_running_statistics():
    model = ConvNet(ConvNetConfig(widths=(4,)))
    batch = (np.zeros((2, 1, 28, 28), np.float32), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="average must be 0"):
        training.TaskTrainer(model, lambda step: batch, [batch], TrainingOptions(average=0.5))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_mean_of_16_bit_weights_is_taken_in_float32(dtype):
    model = pf.nn.Linear(1, 1, bias=False).to(dtype)
    mean = WeightMean(model, TrainingOptions(steps=400, average=1.0 - 1e-9))
    for step in range(1, 401):
        model.load_state_dict({"weight": np.full((1, 1), 1 + (step > 200), np.float32)})
        mean.take(step)
    assert model.weight.dtype == getattr(pf, dtype)
    assert model.weight.item() == 1.5
    assert mean.checked({"mean": mean.mean, "mean_start": 0}, 400) == mean.mean


def test_only_matrices_decay():
    groups = make_trainer(None).optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all(p.ndim == 2 for p in groups[0]["params"])
    assert all(p.ndim == 1 for p in groups[1]["params"])


def test_learning_rate_warms_up_and_falls_to_a_tenth():
    trainer = make_trainer(None, TrainingOptions(steps=1000, warmup=100, lr=1.0))
    rates = [trainer.schedule(step) for step in (0, 49, 99, 100, 550, 999)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 1.0, 0.55, 0.1], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch", -1),
        ("accumulate", 0),
        ("lr", 0.0),
        ("lr", math.nan),
        ("lr", math.inf),
        ("weight_decay", -0.1),
        ("beta1", 1.0),
        ("beta2", -0.5),
        ("clip", 0.0),
        ("seed", -1),
        ("seed", 2**63),
        ("eval_every", 0),
        ("final_lr", 2.0),
        ("average", 1.0),
        ("dtype", "float64"),
    ],
)
def test_options_are_checked(name, value):
    with pytest.raises(ValueError, match=name):
        TrainingOptions(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("steps", 1.5), ("lr", "1"), ("seed", True), ("dtype", pf.bfloat16)])
def test_option_types_are_checked(name, value):
    with pytest.raises(TypeError, match=name):
        TrainingOptions(**{name: value})


def test_options_may_be_numbers_of_numpy():
    given = TrainingOptions(steps=np.int64(30), seed=np.uint8(3), lr=np.float32(0.5), beta1=np.float64(0.5))
    assert given == TrainingOptions(steps=30, seed=3, lr=0.5, beta1=0.5)
    assert TrainingOptions(**json.loads(json.dumps(given.to_dict()))) == given
    for name, value in (("seed", np.True_), ("seed", np.float64(1.0)), ("lr", np.True_)):
        with pytest.raises(TypeError, match=name):
            TrainingOptions(**{name: value})


def test_options_survive_json():
    values = json.loads(json.dumps(OPTIONS.to_dict()))
    assert TrainingOptions.from_dict(values) == OPTIONS
    with pytest.raises(ValueError, match="unknown"):
        TrainingOptions.from_dict({"stepz": 1})


def test_rewinding_drops_later_and_broken_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 2}\n\xff[[[\n[]\n{"step": 3}\n{"step": 2}\n{"st')
    training.rewind_metrics(path, 2)
    assert path.read_text() == '{"step": 1, "loss": 2}\n{"step": 2}\n'


def test_impossible_metrics_are_skipped(tmp_path):
    path = tmp_path / training.METRICS_NAME
    huge = "1" + "0" * 400
    lines = [f'{{"step": {huge}, "loss": 1}}', f'{{"step": 1, "loss": {huge}}}']
    lines += ['{"step": 2, "loss": NaN}', '{"step": 3, "loss": 1e999}', '{"step": -1}', '{"step": true}']
    path.write_text("\n".join([*lines, '{"step": 4, "loss": 2.5}', ""]))
    assert training.loss_points(training.read_metrics(path), "loss") == [(4.0, 2.5)]
    training.write_loss_curve(tmp_path)
    training.rewind_metrics(path, 4)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "loss": 2.5}\n'


@pytest.mark.skipif(sys.platform != "linux", reason="names of files that are not UTF-8")
def test_folder_whose_name_is_not_utf8(tmp_path):
    run = tmp_path / os.fsdecode(b"caf\xe9\x01")
    trainer = make_trainer(run)
    trainer.save()
    trainer.restore()
    assert ElementTree.parse(run / training.CURVE_NAME)


def test_one_point_is_visible():
    for points, count in (([(1.0, 2.0)], 1), ([(1.0, 2.0), (2.0, 1.0)], 0)):
        assert svg.line_chart("a", "step", "loss", {"a": points}).count("<circle") == count


@pytest.mark.parametrize(
    "lines",
    [
        {},
        {"a": []},
        {"a": [(1.0, 2.0)]},
        {"<a>": [(0.0, 5.0), (10.0, 1.3), (20.0, math.nan)], "b": [(5.0, math.inf)]},
        {"a": [(0.0, 1e-30), (1e9, 1e30)]},
        {"a": [(0.0, 0.0), (0.0, 0.0)]},
    ],
)
def test_chart_is_well_formed(lines):
    root = ElementTree.fromstring(svg.line_chart("a & b", "step", "loss", lines))
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == len(lines)
    assert "nan" not in ElementTree.tostring(root, "unicode")


def test_training_is_imported_when_it_is_asked_for():
    code = (
        "import sys, pyformer as pf; assert 'pyformer.training' not in sys.modules; print(pf.training.Trainer.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.stdout == "Trainer\n", done.stderr
    with pytest.raises(AttributeError, match="module 'pyformer' has no attribute 'trainings'"):
        pf.trainings  # noqa: B018


def test_a_restored_trainer_keeps_to_its_own_options(tmp_path):
    run = tmp_path / "run"
    first = make_trainer(run, dataclasses.replace(OPTIONS, lr=1e-2))
    at_call(first, 10, first.request_stop)
    first.train()
    options = dataclasses.replace(OPTIONS, lr=1e-5, weight_decay=0.5, beta1=0.5, beta2=0.7, final_lr=0.5)
    second = make_trainer(run, options)
    second.restore()
    second.train()
    decayed, plain = second.optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.5, 0.0)
    assert decayed["betas"] == plain["betas"] == (0.5, 0.7)
    assert decayed["lr"] == pytest.approx(1e-5 * second.schedule(11))
    assert second.optimizer.state_dict()["state"][0]["step"] == 12
