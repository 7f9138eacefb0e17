"""For tests of the emulated device, where what is queued runs only when somebody waits for it: a wait that is missing
is seen, and one too many is counted."""

from __future__ import annotations

import threading

import cuda_device
import numpy as np

import pyformer as pf
from pyformer import _core

DEVICE = "cuda:emulated"
waits = cuda_device.waits


def in_thread(function, *args):
    """What a function returns in a thread of its own, which has a stream of its own."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function(*args)))
    thread.start()
    thread.join()
    return found[0]


def changed():
    """A tensor of zeros that has become twos, if somebody waits for it."""
    x = pf.zeros(3, device=DEVICE)
    twos = pf.full((3,), 2.0, device=DEVICE)
    pf.cuda.synchronize(DEVICE)
    _core.copy_(x, twos)
    return x


class Prepared:
    """What this thread exported for a consumer's stream."""

    def __init__(self, tensor, stream):
        self.place, self.capsule = tensor.__dlpack_device__(), tensor.__dlpack__(stream=stream)

    def __dlpack_device__(self):
        return self.place

    def __dlpack__(self, **_):
        return self.capsule


class Counting(pf.training.Trainer):
    def _train_step(self):
        before = waits()
        loss = super()._train_step()
        self.found = [*getattr(self, "found", []), waits() - before]
        return loss


def trainer(device, dtype="float32", callbacks=(), **options):
    pf.manual_seed(1)
    model = pf.models.GPT(pf.models.GPTConfig(11, 8, 1, 2, 16, dropout=0.1)).to(device)
    tokens = np.random.default_rng(0).integers(0, 11, 200)
    chosen = {"steps": 12, "batch": 2, "warmup": 2, "lr": 1e-2, "log_every": 4, "dtype": dtype, **options}
    return Counting(model, tokens[:150], tokens[150:], pf.training.TrainingOptions(**chosen), callbacks=callbacks)
