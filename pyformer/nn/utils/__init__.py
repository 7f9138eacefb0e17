"""torch's place of gradient clipping, which is `pf.optim`'s here, and of parameters as one vector."""

from __future__ import annotations

from collections.abc import Iterable

from pyformer import _core
from pyformer._core import Tensor, ops
from pyformer.nn.utils import rnn
from pyformer.optim.clipping import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "rnn", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of all parameters, one after the other, as one vector; gradients pass through.

    Args:
        parameters: tensors, one or more.

    Raises:
        ValueError: there is none.

    Example:
        >>> layer = pf.nn.Linear(3, 2)
        >>> pf.nn.utils.parameters_to_vector(layer.parameters()).shape
        (8,)
    """
    return ops.concat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vector: Tensor, parameters: Iterable[Tensor]) -> None:
    """Writes what `parameters_to_vector` gave into parameters.

    Raises:
        ValueError: the vector has not as many elements as the parameters.

    Example:
        >>> w, b = pf.zeros(2, 1), pf.zeros(1)
        >>> pf.nn.utils.vector_to_parameters(pf.tensor([1.0, 2.0, 3.0]), [w, b])
        >>> w.tolist(), b.tolist()
        ([[1.0], [2.0]], [3.0])
    """
    parameters = list(parameters)
    if vector.shape != (sum(parameter.numel() for parameter in parameters),):
        raise ValueError(f"vector_to_parameters: expected as many elements as the parameters have, got {vector.shape}")
    parts = ops.split(vector.detach(), [parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        _core.copy_(parameter.detach(), part.reshape(*parameter.shape))
