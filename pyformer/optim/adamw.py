"""AdamW."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pyformer as pf
from pyformer import _core
from pyformer.optim.optimizer import Optimizer, count_step, masters_of

# torch's options that are not taken, and why.
REFUSED = {
    "amsgrad": "the step is one kernel of two moments, and has no third",
    "maximize": "negate the loss",
}
# Of a step, in the order in which it is told them when it is replayed.
SETTINGS = ("lr", "beta1", "beta2", "eps", "weight_decay", "step")


class AdamW(Optimizer):
    """Adam with weight decay decoupled from the gradient.

    With gradient g, step t from 1: m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p -= lr *
    weight_decay * p; then p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps). Parameters without a
    gradient are left alone and don't count the step.

    A finite gradient beyond 2^63, about 9e18 (in float64 2^511), counts as that: its square would be infinite in v, and
    v for ever, so that the parameter would no longer move. Gradients that are not finite make parameters NaN; the
    `Trainer` stops before.

    Args:
        params: parameters or groups, as in `Optimizer`.
        lr: learning rate.
        betas: (beta1, beta2), in [0, 1).
        eps: keeps the division finite. With 0, or what the state's dtype rounds to 0, the step of an element whose
            gradients so far were all 0 is 0 / 0: NaN, as in torch.
        weight_decay: the part of a parameter that a step takes off, times lr.
        fused, foreach: torch's; they change nothing, as the step always is one kernel.
        amsgrad, maximize: torch's; only False is taken. The step is one kernel of two moments and has no third, the
            largest second moment so far; to climb, negate the loss.

    Raises:
        ValueError: an option is out of range or not known, or the parameters do not fit.
        TypeError: an option is no number, or a parameter no float Tensor.

    Source: Loshchilov, Hutter 2019, "Decoupled weight decay regularization", algorithm 2.

    Example:
        >>> w = pf.tensor([1.0, -1.0], requires_grad=True)
        >>> optimizer = pf.optim.AdamW([w], lr=0.1, weight_decay=0.0)
        >>> for _ in range(3):
        ...     optimizer.zero_grad()
        ...     w.square().sum().backward()
        ...     optimizer.step()
        >>> w.detach()
        tensor([ 0.7015863, -0.7015863], dtype=float32)
    """

    _state_names = _always = ("exp_avg", "exp_avg_sq")
    _waits_for_nobody = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        amsgrad: bool = False,
        maximize: bool = False,
        fused: bool | None = None,
        foreach: bool | None = None,
    ) -> None:
        for name, value in (("amsgrad", amsgrad), ("maximize", maximize)):
            if value:
                raise ValueError(f"{type(self).__name__}: expected {name}=False, got {value!r}: {REFUSED[name]}")
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        super()._check_options(options)
        self._check_range("eps", options["eps"], 0.0, math.inf)
        if not isinstance(options["betas"], (tuple, list)):
            raise TypeError(f"AdamW: betas must be a pair of numbers, got {type(options['betas']).__name__}")
        if len(options["betas"]) != 2:
            raise ValueError(f"AdamW: betas must be two numbers, got {options['betas']}")
        for beta in options["betas"]:
            self._check_range("betas", beta, 0.0, 1.0)

    def _update(self, group: dict[str, Any], params: list[pf.Tensor], grads: list[pf.Tensor]) -> None:
        by_step: dict[int, list[tuple[Any, ...]]] = {}
        for p, grad in zip(params, grads, strict=True):
            state = self._state_of(p, self._always)
            by_step.setdefault(state["step"] + 1, []).append((state, p, grad, state["exp_avg"], state["exp_avg_sq"]))
        for step, members in by_step.items():
            states, *tensors = (list(column) for column in zip(*members, strict=True))
            settings = functools.partial(self._settings, group)
            update = functools.partial(
                _core.adamw_step_,
                *tensors,
                **dict(zip(SETTINGS, settings(step), strict=True)),
                masters=masters_of(states),
                norm=self._norm,
                skipped=None if self._norm is None else self._skipped,
            )
            if _core.is_recording(params[0].device):
                update(next=self._at_replay(states, settings))
            else:
                count_step(states, update)

    def _settings(self, group: dict[str, Any], step: int) -> list[Any]:
        """The values of SETTINGS for a step."""
        numbers = (group["lr"], *group["betas"], group["eps"], self._decay_of(group))
        return [*map(float, numbers), step]

    def _decay_of(self, group: dict[str, Any]) -> float:
        return group["weight_decay"]
