"""Muon, an optimiser of matrices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyformer as pf
from pyformer.autograd import autocast
from pyformer.optim.names import _Plain

COEFFICIENTS = (3.4445, -4.775, 2.0315)


class Muon(_Plain):
    """Momentum whose steps are made orthogonal: m = momentum * m + (1 - momentum) * g; p -= lr * s * orthogonal(m).

    For the matrices inside a model; biases, gains, embeddings and the output layer are AdamW's. orthogonal(m) brings
    all singular values of m near 1 by `ns_steps` Newton-Schulz steps, products in the gradient's dtype. With nesterov
    it takes momentum * m + (1 - momentum) * g in place of m. s is sqrt(max(1, rows / columns)). Before the step, p is
    multiplied by 1 - lr * weight_decay.

    Args:
        params: matrices, or groups of them.
        lr, weight_decay, momentum, nesterov: as above.
        ns_steps: how often.

    Raises:
        ValueError: a parameter is no matrix, an option is out of range, or the parameters do not fit.
        TypeError: an option is of the wrong type, or a parameter no float Tensor.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

    Example:
        >>> w = pf.tensor([[1.0, 0.0], [0.0, 2.0]], requires_grad=True)
        >>> optimizer = pf.optim.Muon([w], lr=0.5, weight_decay=0.0)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> bool((w < pf.tensor([[0.8, 0.1], [0.1, 1.8]])).all())
        True
    """

    _state_names = _always = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
    ) -> None:
        options = {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps}
        super().__init__(params, lr=lr, weight_decay=weight_decay, **options)
        for p in self._all():
            if p.ndim != 2:
                raise ValueError(f"Muon: expected matrices, got a parameter of shape {p.shape}; give it to AdamW")

    def _check_options(self, options: Mapping[str, Any]) -> None:
        super()._check_options(options)
        self._check_beta("momentum", options["momentum"])
        if not isinstance(options["nesterov"], bool):
            raise TypeError(f"Muon: nesterov must be a bool, got {type(options['nesterov']).__name__}")
        steps = options["ns_steps"]
        if isinstance(steps, bool) or not isinstance(steps, int):
            raise TypeError(f"Muon: ns_steps must be an int, got {type(steps).__name__}")
        if not 0 < steps < 100:
            raise ValueError(f"Muon: ns_steps must be from 1 to 99, got {steps}")

    def _step(self, group: Any, p: Any, grad: Any, state: Any) -> Any:
        lr, momentum = float(group["lr"]), float(group["momentum"])
        buffer = state["momentum_buffer"] * momentum + grad * (1.0 - momentum)
        update = buffer * momentum + grad * (1.0 - momentum) if group["nesterov"] else buffer
        step = orthogonal(update, group["ns_steps"]) * (lr * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)
        return p * (1.0 - lr * float(group["weight_decay"])) - step, {"momentum_buffer": buffer}


def orthogonal(x: pf.Tensor, steps: int) -> pf.Tensor:
    """A matrix with x's singular vectors, and singular values near 1 where x has some: a quintic Newton-Schulz step."""
    a, b, c = COEFFICIENTS
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for size in (pf.max, pf.norm) if x.size else ():  # a norm may be too large for a float where all numbers are not
        largest = size(x.abs())
        x = x / pf.where(largest == 0, 1.0, largest)
    with autocast("float32"):
        for _ in range(steps):
            square = x @ x.T
            x = x * a + (square * b + (square @ square) * c) @ x
    return x.T if tall else x
