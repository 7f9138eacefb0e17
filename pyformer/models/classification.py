"""The losses of models that classify, by their kind of problem."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyformer as pf
from pyformer import ops
from pyformer.arrays import plain_array
from pyformer.models.inputs import read_int64
from pyformer.nn.precision import is_float

IGNORED = -100


def is_single_label(owner: str, problem: str | None, classes: int, labels: Any) -> bool:
    """Whether labels are the numbers of classes; else they are numbers to come near to, or yes and no of each class.

    Where config.json says nothing, one class means a number, and rows of floats yes and no of each class. ValueError
    for one class whose number is asked for.
    """
    if problem == "single_label_classification" and classes == 1:
        raise ValueError(
            f"{owner}: with one label the cross-entropy is 0, whatever the text: problem_type must be 'regression' or "
            "'multi_label_classification', or None for a regression"
        )
    if problem is not None:
        return problem == "single_label_classification"
    return classes > 1 and not _are_rows_of_floats(owner, labels)


def soft_loss(owner: str, problem: str | None, scores: pf.Tensor, labels: Any) -> pf.Tensor:
    """The loss of all but a single label: mean squared error of a regression, else binary cross-entropy, in nats.

    `labels` are numbers (B, classes), or (B,) of one class. ValueError for another shape.
    """
    batch, classes = scores.shape
    if isinstance(labels, pf.Tensor):
        targets = labels.to(scores.device).to(scores.dtype)
    else:
        targets = pf.tensor(_numbers(owner, labels), dtype=scores.dtype, device=scores.device)
    if tuple(targets.shape) not in {(batch, classes), *([(batch,)] if classes == 1 else [])}:
        raise ValueError(f"{owner}: labels must be ({batch}, {classes}), got {tuple(targets.shape)}")
    targets = targets.reshape(batch, classes)
    regression = problem == "regression" or (problem is None and classes == 1)
    return ops.mse_loss(scores, targets) if regression else ops.bce_with_logits(scores, targets)


def hard_loss(owner: str, scores: pf.Tensor, labels: Any) -> pf.Tensor:
    """The mean cross-entropy in nats of labels (B,), the numbers of classes, or -100 where there is none.

    TypeError unless they are integers, ValueError for another shape, IndexError for another number.
    """
    batch, classes = scores.shape
    labels = read_int64(owner, "labels", labels, None)
    if labels.shape != (batch,):
        raise ValueError(f"{owner}: labels must be ({batch},), got {labels.shape}")
    wrong = labels[(labels != IGNORED) & ((labels < 0) | (labels >= classes))]
    if wrong.size:
        raise IndexError(f"{owner}: labels must be in [0, {classes}), or {IGNORED} for none, got {wrong[0]}")
    return ops.cross_entropy(scores, pf.tensor(labels, device=scores.device), ignore_index=IGNORED)


def _are_rows_of_floats(owner: str, labels: Any) -> bool:
    if isinstance(labels, pf.Tensor):
        return labels.ndim == 2 and is_float(labels.dtype)
    array = _numbers(owner, labels)
    return array.ndim == 2 and array.dtype.kind == "f"


def _numbers(owner: str, labels: Any) -> np.ndarray:
    """TypeError unless labels are numbers, ValueError where rows differ in length."""
    try:
        array = plain_array(owner, labels)
    except ValueError as error:
        raise ValueError(f"{owner}: rows of labels differ in length; expected one shape for all") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{owner}: labels must be numbers, got {array.dtype}")
    return array
