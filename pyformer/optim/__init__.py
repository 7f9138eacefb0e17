"""Optimisers, gradient clipping and learning-rate schedules."""

from pyformer.optim.adamw import AdamW
from pyformer.optim.clipping import clip_grad_norm_
from pyformer.optim.names import Adam, Lion, RMSprop
from pyformer.optim.optimizer import Optimizer
from pyformer.optim.schedules import ConstantSchedule, CosineSchedule, LinearSchedule
from pyformer.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "ConstantSchedule",
    "CosineSchedule",
    "LinearSchedule",
    "Lion",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm_",
]
