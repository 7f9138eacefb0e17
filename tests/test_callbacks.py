"""Callbacks of a trainer, and what TensorBoard and Weights & Biases are handed."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

import pyformer as pf
from pyformer import training


class Recorder(training.Callback):
    def __init__(self):
        self.calls = []

    def on_start(self, trainer):
        self.calls.append(("start", trainer.step))

    def on_step(self, trainer, loss):
        self.calls.append(("step", trainer.step, loss))

    def on_metrics(self, trainer, metrics):
        self.calls.append(("metrics", metrics))

    def on_save(self, trainer):
        self.calls.append(("save", trainer.step))

    def on_end(self, trainer):
        self.calls.append(("end", trainer.step))


def make_trainer(callbacks, run=None, steps=4):
    pf.manual_seed(0)
    model = pf.models.GPT(pf.models.GPTConfig(10, 8, num_layers=1, num_heads=2, embed_dim=16))
    options = training.TrainingOptions(steps=steps, batch=2, log_every=2, eval_every=4, save_every=2)
    tokens = np.arange(400) % 10
    return training.Trainer(model, tokens[:300], tokens[300:], options, run, callbacks=callbacks)


def test_callbacks_see_every_step_line_and_checkpoint(tmp_path):
    recorder = Recorder()
    assert make_trainer([recorder], tmp_path).train()
    kinds = [call[0] for call in recorder.calls]
    assert kinds == [
        *("save", "start", "step", "step", "metrics", "save", "step", "step", "metrics", "metrics", "save", "end")
    ]
    lines = [call[1] for call in recorder.calls if call[0] == "metrics"]
    assert lines == training.read_metrics(tmp_path / "metrics.jsonl")


def test_a_callback_stops_training_and_changes_no_weights(tmp_path):
    class Stopper(training.Callback):
        def on_step(self, trainer, loss):
            if trainer.step == 3:
                trainer.request_stop()

    stopped, straight = make_trainer([Stopper()], tmp_path), make_trainer([])
    assert (stopped.train(), stopped.step, stopped.saved_step) == (False, 3, 3)
    straight.train()
    again = make_trainer([Recorder()], tmp_path)
    again.restore()
    again.train()
    for a, b in zip(again.model.parameters(), straight.model.parameters(), strict=True):
        assert a.tolist() == b.tolist()


def test_an_error_in_a_callback_ends_training_and_all_are_told():
    class Fails(training.Callback):
        def on_step(self, trainer, loss):
            raise KeyError("mine")

    recorder = Recorder()
    with pytest.raises(KeyError, match="mine"):
        make_trainer([Fails(), recorder]).train()
    assert recorder.calls[-1] == ("end", 1)


def test_task_trainer_takes_callbacks():
    recorder = Recorder()
    x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
    model = pf.models.KAN(pf.models.KANConfig((1, 1)))
    options = training.TrainingOptions(steps=2, warmup=0)
    training.TaskTrainer(model, lambda number: (x, x), [(x, x)], options, callbacks=[recorder]).train()
    assert [call[0] for call in recorder.calls].count("step") == 2


def as_module(monkeypatch, name, **contents):
    module = types.ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def test_tensorboard_gets_each_number_at_its_step(monkeypatch, tmp_path):
    made = []

    class Writer:  # the methods of tensorboard.summary.Writer, with their signatures
        def __init__(self, logdir, *, max_queue_size=10, flush_secs=120, filename_suffix=""):
            made.append(["open", logdir])

        def add_scalar(self, tag, data, step, *, wall_time=None, description=None):
            made.append([tag, data, step])

        def close(self):
            made.append(["close"])

    as_module(monkeypatch, "tensorboard")
    as_module(monkeypatch, "tensorboard.summary", Writer=Writer)
    make_trainer([training.TensorBoard()], tmp_path).train()
    assert made[0] == ["open", str(tmp_path / "tensorboard")]
    assert made[-1] == ["close"]
    lines = training.read_metrics(tmp_path / "metrics.jsonl")
    assert made[1:-1] == [[name, v, line["step"]] for line in lines for name, v in line.items() if name != "step"]
    with pytest.raises(ValueError, match="expected a folder"):
        make_trainer([training.TensorBoard()]).train()


def test_wandb_gets_each_line_at_its_step(monkeypatch, tmp_path):
    made = []

    class Run:
        def log(self, data, step=None):
            made.append((data, step))

        def finish(self):
            made.append("finish")

    def init(**options):
        made.append(options)
        return Run()

    as_module(monkeypatch, "wandb", init=init)
    trainer = make_trainer([training.WandB(project="p")], tmp_path)
    trainer.train()
    lines = training.read_metrics(tmp_path / "metrics.jsonl")
    assert made[0] == {"config": trainer.options.to_dict(), "project": "p"}
    assert made[1:-1] == [({k: v for k, v in line.items() if k != "step"}, line["step"]) for line in lines]
    assert made[-1] == "finish"


@pytest.mark.parametrize(("maker", "package"), [(training.TensorBoard, "tensorboard"), (training.WandB, "wandb")])
def test_a_missing_package_is_said(monkeypatch, maker, package):
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        maker()
