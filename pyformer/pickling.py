"""Teaches pickle and copy.deepcopy about Tensors: values, dtype, device, requires_grad; neither tape nor gradient.

A tensor of a device that is not there where it is read is a ValueError that names the device.
"""

from __future__ import annotations

import copyreg
from typing import Any

import numpy as np

from pyformer._core import DType, Tensor, _IndexCopy, tensor


def _restored(array: np.ndarray, dtype: str, requires_grad: bool, device: str = "cpu") -> Tensor:
    result = tensor(array, device="cpu").to(getattr(DType, dtype)).to(device)
    result.requires_grad = requires_grad
    return result


def _reduced(value: Tensor) -> tuple[Any, ...]:
    if not value.is_leaf:
        raise ValueError("pickle: a tensor whose gradient is recorded cannot be copied or pickled; use detach()")
    plain = value.detach().to("cpu")
    is_bfloat16 = plain.dtype == DType.bfloat16  # which NumPy does not have
    array = (plain.to(DType.float32) if is_bfloat16 else plain).numpy()
    return _restored, (array, "bfloat16" if is_bfloat16 else array.dtype.name, value.requires_grad, str(value.device))


copyreg.pickle(Tensor, _reduced)
copyreg.pickle(_IndexCopy, _reduced)
