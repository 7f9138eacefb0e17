"""torch's names of learning-rate schedules: they hold the optimiser, and `step()` sets its learning rates.

`pf.optim.CosineSchedule` and its like have no state and suit a loop that resumes better.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
        self.last_epoch = 0
        self._set()

    def _factor(self, n: int) -> float:
        raise NotImplementedError

    def _set(self) -> None:
        self.optimizer.scale_lr(self._factor(self.last_epoch))

    def step(self) -> None:
        """Sets the learning rates of the next step or epoch, after `optimizer.step()`."""
        self.last_epoch += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes; JSON values."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken; KeyError or ValueError if it is another state."""
        n = state["last_epoch"]
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ValueError(f"{type(self).__name__}: last_epoch must be an int from 0, got {n!r}")
        self.last_epoch = n
        self._set()


class LambdaLR(LRScheduler):
    """The factor is a function of how often `step` was called.

    Raises:
        TypeError: the optimiser is none.
        ValueError: the function gives a factor that is negative or not finite.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=0.5)
        >>> scheduler = pf.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 0.5**n)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.25]
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        self._function = lr_lambda
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        return self._function(n)


class StepLR(LRScheduler):
    """The factor is multiplied by gamma every step_size steps.

    Raises:
        TypeError: the optimiser is none.
        ZeroDivisionError: step_size is 0.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = pf.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        return self.gamma ** (n // self.step_size)


class MultiStepLR(LRScheduler):
    """The factor is multiplied by gamma at each of some steps.

    Raises:
        TypeError: the optimiser is none.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = pf.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 5], gamma=0.5)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        return self.gamma ** bisect.bisect_right(self.milestones, n)


class ExponentialLR(LRScheduler):
    """The factor is gamma to the power of how often `step` was called.

    Raises:
        TypeError: the optimiser is none.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = pf.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        return self.gamma**n


class LinearLR(LRScheduler):
    """The factor goes from start_factor to end_factor in a straight line of total_iters steps, and stays there.

    Raises:
        TypeError: the optimiser is none.
        ZeroDivisionError: total_iters is 0.

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
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        done = min(n, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the first learning rate down to eta_min over T_max steps, and up again after that.

    Raises:
        TypeError: the optimiser is none.
        ZeroDivisionError: T_max is 0.

    Source: Loshchilov, Hutter 2017, "SGDR", eq. 5, without restarts.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = pf.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def _factor(self, n: int) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * n / self.T_max))

    def _set(self) -> None:
        factor = self._factor(self.last_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.eta_min + (group["base_lr"] - self.eta_min) * factor
