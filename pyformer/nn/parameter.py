"""What makes parameters, and isinstance(x, Parameter)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyformer as pf


class _IsParameter(type):
    """isinstance(x, Parameter): a tensor that nothing computed and that requires a gradient."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, pf.Tensor) and value.is_leaf and value.requires_grad


if TYPE_CHECKING:

    class Parameter(pf.Tensor):
        def __init__(self, data: Any, dtype: Any = None, device: Any = None, *, requires_grad: bool = True) -> None: ...

else:

    class Parameter(metaclass=_IsParameter):
        """A copy of data that requires a gradient; a Module registers it when it is assigned to an attribute.

        It is a Tensor. `isinstance(x, Parameter)` is True of every leaf that requires a gradient, and so not of frozen
        parameters.

        Args:
            data: an array, list or Tensor of floats.
            dtype: the data's by default; Python floats become float32.
            device: where it shall lie; where the data is by default if that is a Tensor, else "cpu".
            requires_grad: True. To freeze a parameter, assign it and then set its `requires_grad` to False.

        Returns:
            Tensor of the data's shape, a leaf.

        Raises:
            TypeError: the data is not float, or has no counterpart here.
            ValueError: the data is ragged or no numbers, the device is not there, or requires_grad is False.

        Example:
            >>> pf.nn.Parameter([1.0, 2.0])
            tensor([1., 2.], dtype=float32, requires_grad=True)
            >>> isinstance(pf.nn.Linear(2, 3).weight, pf.nn.Parameter)
            True
        """

        def __new__(cls, data: Any, dtype: Any = None, device: Any = None, *, requires_grad: bool = True) -> pf.Tensor:
            if not requires_grad:
                raise ValueError("Parameter: assign it to the module first, then set its requires_grad to False")
            if isinstance(data, pf.Tensor):
                data = data.detach()
            return pf.tensor(data, dtype=dtype, device=device, requires_grad=True)
