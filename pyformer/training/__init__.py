"""Training: `Trainer` for language models on text, `TaskTrainer` for anything else, and the folder of a run."""

from pyformer.training.callbacks import Callback, TensorBoard, WandB
from pyformer.training.checkpoint import CHECKPOINT_NAME, LOCK_NAME, locked, remove_leftovers
from pyformer.training.metrics import (
    CURVE_NAME,
    METRICS_NAME,
    loss_points,
    read_metrics,
    rewind_metrics,
    write_loss_curve,
)
from pyformer.training.options import MAX_COUNT, TrainingOptions
from pyformer.training.task_trainer import TaskTrainer
from pyformer.training.trainer import Trainer

__all__ = [
    "CHECKPOINT_NAME",
    "CURVE_NAME",
    "LOCK_NAME",
    "MAX_COUNT",
    "METRICS_NAME",
    "Callback",
    "TaskTrainer",
    "TensorBoard",
    "Trainer",
    "TrainingOptions",
    "WandB",
    "locked",
    "loss_points",
    "read_metrics",
    "remove_leftovers",
    "rewind_metrics",
    "write_loss_curve",
]
