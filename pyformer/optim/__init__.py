"""Optimisers, gradient clipping and learning-rate schedules."""

from pyformer.optim.adamw import AdamW
from pyformer.optim.clipping import clip_grad_norm_
from pyformer.optim.optimizer import Optimizer
from pyformer.optim.schedules import ConstantSchedule, CosineSchedule, LinearSchedule
from pyformer.optim.sgd import SGD

__all__ = [
    "SGD",
    "AdamW",
    "ConstantSchedule",
    "CosineSchedule",
    "LinearSchedule",
    "Optimizer",
    "clip_grad_norm_",
]
