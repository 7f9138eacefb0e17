"""Gradient descent with momentum."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pyformer as pf
from pyformer import _core
from pyformer.optim.optimizer import Optimizer, count_step, masters_of


class SGD(Optimizer):
    """Gradient descent, with momentum where it is asked for.

    g += weight_decay * p; buffer = momentum * buffer + g; p -= lr * buffer. With `nesterov`, p -= lr * (g + momentum
    * buffer). Buffers start as zeros when they are first needed.

    Args:
        params: parameters or groups, as in `Optimizer`.
        lr: learning rate.
        momentum: the part of the buffer that stays.
        weight_decay: times p, added to the gradient.
        nesterov: look ahead; needs a momentum.

    Raises:
        ValueError: an option is out of range, or the parameters do not fit.
        TypeError: an option is no number, or a parameter no float Tensor.

    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".

    Example:
        >>> w = pf.tensor([1.0], requires_grad=True)
        >>> optimizer = pf.optim.SGD([w], lr=0.25)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([0.5], dtype=float32)
    """

    _state_names = ("momentum",)
    _waits_for_nobody = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        super()._check_options(options)
        self._check_range("momentum", options["momentum"], 0.0, math.inf)
        if not isinstance(options["nesterov"], bool):
            raise TypeError(f"SGD: nesterov must be a bool, got {type(options['nesterov']).__name__}")
        if options["nesterov"] and options["momentum"] == 0.0:
            raise ValueError("SGD: nesterov needs a momentum above 0")

    def _update(self, group: dict[str, Any], params: list[pf.Tensor], grads: list[pf.Tensor]) -> None:
        names = self._state_names if group["momentum"] > 0.0 else ()
        states = [self._state_of(p, names) for p in params]
        momenta = [s["momentum"] for s in states] if names else []
        update = functools.partial(
            _core.sgd_step_,
            params,
            grads,
            momenta,
            lr=float(group["lr"]),
            momentum=float(group["momentum"]),
            weight_decay=float(group["weight_decay"]),
            nesterov=bool(group["nesterov"]),
            masters=masters_of(states),
            norm=self._norm,
        )
        if _core.is_recording(params[0].device):
            update(next=self._at_replay(states, lambda step: float(group["lr"])))
        else:
            count_step(states, update)
