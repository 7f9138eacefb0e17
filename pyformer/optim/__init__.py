"""Optimisers, gradient clipping and learning-rate schedules."""

from pyformer.optim import lr_scheduler
from pyformer.optim.adamw import AdamW
from pyformer.optim.clipping import clip_grad_norm_, clip_grad_value_
from pyformer.optim.muon import Muon
from pyformer.optim.names import Adafactor, Adagrad, Adam, Lion, RMSprop
from pyformer.optim.optimizer import Optimizer
from pyformer.optim.schedules import ConstantSchedule, CosineSchedule, LinearSchedule
from pyformer.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "ConstantSchedule",
    "CosineSchedule",
    "LinearSchedule",
    "Lion",
    "Muon",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm_",
    "clip_grad_value_",
    "lr_scheduler",
]
