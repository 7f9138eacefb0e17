"""torch's names of learning-rate schedules: they hold the optimiser, and `step()` sets its learning rates.

`pf.optim.CosineSchedule` and its like have no state and suit a loop that resumes better.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pyformer.float_mode import in_default_float_mode
from pyformer.optim.optimizer import Optimizer


class LRScheduler:
    """The base: after n calls of `step()` the learning rates are those at first, times the factor of n.

    Attributes:
        last_epoch: how often `step` was called.

    Raises:
        TypeError: the optimiser is none.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=0.5)
        >>> issubclass(pf.optim.lr_scheduler.StepLR, pf.optim.lr_scheduler.LRScheduler)
        True
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: expected an optimiser, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self._go_to(0)

    def _factor(self, n: int) -> float:
        raise NotImplementedError

    @in_default_float_mode
    def _go_to(self, n: int) -> None:
        try:
            factor = self._factor(n)
        except OverflowError:
            factor = math.inf
        self._set(factor)
        self.last_epoch = n

    def _set(self, factor: float) -> None:
        self.optimizer.scale_lr(factor)

    def _check(self, name: str, value: Any, least: int = 0, whole: bool = False) -> None:
        """TypeError or ValueError unless it is a finite number, an int where `whole`, of `least` or more."""
        is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if is_number and not least <= value < math.inf:
            raise ValueError(f"{type(self).__name__}: {name} must be at least {least} and finite, got {value}")
        if not is_number or (whole and not isinstance(value, (int, np.integer))):
            wanted = "an int" if whole else "a number"
            raise TypeError(f"{type(self).__name__}: {name} must be {wanted}, got {type(value).__name__}")

    def step(self) -> None:
        """Sets the learning rates of the next step or epoch, after `optimizer.step()`."""
        self._go_to(self.last_epoch + 1)

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes; JSON values."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken; KeyError or ValueError if it is another state."""
        n = state["last_epoch"]
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise ValueError(f"{type(self).__name__}: last_epoch must be an int from 0, got {n!r}")
        self._go_to(int(n))


class LambdaLR(LRScheduler):
    """The factor is a function of how often `step` was called.

    Raises:
        TypeError: the optimiser is none, the function can't be called, or it gives no number.
        ValueError: the function gives a factor that is negative or not finite.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=0.5)
        >>> scheduler = pf.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 0.5**n)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.25]
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        if not callable(lr_lambda):
            raise TypeError(f"LambdaLR: lr_lambda must be a function, got {type(lr_lambda).__name__}")
        self._function = lr_lambda
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        factor = self._function(n)
        if isinstance(factor, bool) or not isinstance(factor, (int, float, np.integer, np.floating)):
            raise TypeError(f"LambdaLR: lr_lambda must give a number, got {type(factor).__name__}")
        return float(factor)


class StepLR(LRScheduler):
    """The factor is multiplied by gamma every step_size steps.

    Raises:
        TypeError: the optimiser is none, step_size is no int, or gamma no number.
        ValueError: step_size is below 1, or gamma negative or not finite; later, the factor is not finite.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = pf.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self._check("step_size", step_size, least=1, whole=True)
        self._check("gamma", gamma)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        return self.gamma ** (n // self.step_size)


class MultiStepLR(LRScheduler):
    """The factor is multiplied by gamma at each of some steps.

    Raises:
        TypeError: the optimiser is none, a milestone is no int, or gamma no number.
        ValueError: a milestone is negative, or gamma negative or not finite; later, the factor is not finite.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = pf.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 5], gamma=0.5)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        if not isinstance(milestones, Iterable):
            raise TypeError(f"MultiStepLR: milestones must be a list of ints, got {type(milestones).__name__}")
        milestones = list(milestones)  # once: a generator has nothing the second time
        for milestone in milestones:
            self._check("milestones", milestone, whole=True)
        self._check("gamma", gamma)
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        return self.gamma ** bisect.bisect_right(self.milestones, n)


class ExponentialLR(LRScheduler):
    """The factor is gamma to the power of how often `step` was called.

    Raises:
        TypeError: the optimiser is none, or gamma no number.
        ValueError: gamma is negative or not finite; later, the factor is not finite.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = pf.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self._check("gamma", gamma)
        self.gamma = gamma
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        return self.gamma**n


class LinearLR(LRScheduler):
    """The factor goes from start_factor to end_factor in a straight line of total_iters steps, and stays there.

    Raises:
        TypeError: the optimiser is none, total_iters is no int, or a factor no number.
        ValueError: total_iters is below 1, or a factor negative or not finite.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = pf.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.75]
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        self._check("start_factor", start_factor)
        self._check("end_factor", end_factor)
        self._check("total_iters", total_iters, least=1, whole=True)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        done = min(n, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the first learning rate down to eta_min over T_max steps, and up again after that.

    Raises:
        TypeError: the optimiser is none, T_max is no int, or eta_min no number.
        ValueError: T_max is below 1, or eta_min negative or not finite.

    Source: Loshchilov, Hutter 2017, "SGDR", eq. 5, without restarts.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = pf.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self._check("T_max", T_max, least=1, whole=True)
        self._check("eta_min", eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * n / self.T_max))

    def _set(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.eta_min + (group["base_lr"] - self.eta_min) * factor
