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


def _check(owner: str, name: str, value: Any, least: int = 0, whole: bool = False) -> None:
    """TypeError or ValueError unless it is a finite number, an int where `whole`, of `least` or more."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if is_number and not least <= value < math.inf:
        raise ValueError(f"{owner}: {name} must be at least {least} and finite, got {value}")
    if not is_number or (whole and not isinstance(value, (int, np.integer))):
        wanted = "an int" if whole else "a number"
        raise TypeError(f"{owner}: {name} must be {wanted}, got {type(value).__name__}")


class LRScheduler:
    """The base: after n calls of `step()` the learning rates are those at first, times the factor of n.

    Unlike torch's, whose step changes the rate that it finds: of several schedules of one optimiser the last to step
    decides, and a rate that is written by hand lasts until the next step. There is no `last_epoch` argument;
    `load_state_dict` goes on.

    Attributes:
        last_epoch: how often `step` was called.

    Args:
        optimizer: whose learning rates it sets.

    Raises:
        TypeError: optimizer is not an Optimizer.

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
        _check(type(self).__name__, name, value, least, whole)

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

    Args:
        optimizer: whose learning rates it sets.
        lr_lambda: a function of n, how often `step` was called, that gives the factor, 0 or more.

    Raises:
        TypeError: optimizer is not an Optimizer, the function can't be called, or it gives no number.
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

    Args:
        optimizer: whose learning rates it sets.
        step_size: steps from one change to the next, from 1.
        gamma: what the factor is multiplied with, 0 or more.

    Raises:
        TypeError: optimizer is not an Optimizer, step_size is no int, or gamma no number.
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

    Args:
        optimizer: whose learning rates it sets.
        milestones: the numbers of the steps, in any order; one that is there twice counts twice.
        gamma: what the factor is multiplied with, 0 or more.

    Raises:
        TypeError: optimizer is not an Optimizer, a milestone is no int, or gamma no number.
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

    Args:
        optimizer: whose learning rates it sets.
        gamma: what the factor is multiplied with at each step, 0 or more.

    Raises:
        TypeError: optimizer is not an Optimizer, or gamma no number.
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

    Args:
        optimizer: whose learning rates it sets.
        start_factor: the factor at first, 0 or more.
        end_factor: the factor after total_iters steps, 0 or more.
        total_iters: steps of the line, from 1.

    Raises:
        TypeError: optimizer is not an Optimizer, total_iters is no int, or a factor no number.
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

    Args:
        optimizer: whose learning rates it sets.
        T_max: steps from the first learning rate to eta_min, from 1.
        eta_min: the lowest learning rate, for all groups.

    Raises:
        TypeError: optimizer is not an Optimizer, T_max is no int, or eta_min no number.
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


class CosineAnnealingWarmRestarts(CosineAnnealingLR):
    """Half a cosine down to eta_min over T_0 steps, then from the start again over T_mult times as many, and so on.

    Args:
        optimizer: whose learning rates it sets.
        T_0: steps of the first half cosine, from 1.
        T_mult: how many times as long each one is as the one before, an int from 1.
        eta_min: the lowest learning rate, for all groups.

    Raises:
        TypeError: optimizer is not an Optimizer, T_0 or T_mult no int, or eta_min no number.
        ValueError: T_0 or T_mult is below 1, or eta_min negative or not finite.

    Source: Loshchilov, Hutter 2017, "SGDR", eq. 5.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = pf.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
        >>> rates = []
        >>> for _ in range(4):
        ...     rates += scheduler.get_last_lr()
        ...     scheduler.step()
        >>> rates
        [1.0, 0.5, 1.0, 0.5]
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        self._check("T_0", T_0, least=1, whole=True)
        self._check("T_mult", T_mult, least=1, whole=True)
        self.T_0, self.T_mult = T_0, T_mult
        super().__init__(optimizer, T_0, eta_min)

    def _factor(self, n: int) -> float:
        length = self.T_0
        if self.T_mult == 1:
            n %= length
        while n >= length:  # cycles that grow: as many as the logarithm of n
            n, length = n - length, length * self.T_mult
        return 0.5 * (1.0 + math.cos(math.pi * n / length))


class SequentialLR(LRScheduler):
    """One schedule after the other: that of schedulers[i] from milestones[i - 1] on, counted from there.

    Args:
        optimizer: whose learning rates it sets.
        schedulers: schedules of this optimiser, in order.
        milestones: the step at which each but the first begins, rising.

    Raises:
        TypeError: optimizer is not an Optimizer, or a scheduler is not one of this module.
        ValueError: there is not one milestone less than schedulers, they do not rise, or a scheduler has another
            optimiser.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> warmup = pf.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=1)
        >>> cosine = pf.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
        >>> scheduler = pf.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], milestones=[1])
        >>> rates = []
        >>> for _ in range(3):
        ...     rates += scheduler.get_last_lr()
        ...     scheduler.step()
        >>> rates
        [0.5, 1.0, 0.5]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Iterable[LRScheduler], milestones: Iterable[int]) -> None:
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        for scheduler in self._schedulers:
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(f"SequentialLR: expected schedulers, got {type(scheduler).__name__}")
            if scheduler.optimizer is not optimizer:
                raise ValueError("SequentialLR: expected schedulers of this optimiser, got one of another")
        for milestone in self._milestones:
            self._check("milestones", milestone, whole=True)
        if len(self._schedulers) != len(self._milestones) + 1 or sorted(set(self._milestones)) != self._milestones:
            raise ValueError(
                f"SequentialLR: expected rising milestones, one less than schedulers, got {self._milestones} for "
                f"{len(self._schedulers)}"
            )
        super().__init__(optimizer)

    def _go_to(self, n: int) -> None:
        index = bisect.bisect_right(self._milestones, n)
        self._schedulers[index]._go_to(n - (self._milestones[index - 1] if index else 0))
        self.last_epoch = n


class OneCycleLR(LRScheduler):
    """Up to max_lr and down again within total_steps, in two half cosines; momentum goes the other way round.

    The last `step()` of a loop, the one after which no step of the optimiser follows, changes nothing; torch's goes on
    beyond the end of the cosine. One more raises. Where exactly one step goes up it starts at max_lr, and where all do
    it ends there; torch divides by 0 in both cases. torch's `anneal_strategy`, `three_phase` and lists with a value for
    each group are not taken. Other schedules of the same optimiser, in `SequentialLR` too, still begin at its own first
    rate; in torch at max_lr / div_factor.

    Args:
        optimizer: whose learning rates it sets.
        max_lr: the highest learning rate, that of each group.
        total_steps: steps of the cycle.
        epochs, steps_per_epoch: in place of total_steps, whose product it is.
        pct_start: the part of the steps that go up.
        cycle_momentum: whether momentum, or the first of betas, goes from max_momentum to base_momentum and back.
        base_momentum, max_momentum: the least and the most that it is.
        div_factor, final_div_factor: it starts at max_lr / div_factor and ends at the start / final_div_factor.

    Raises:
        TypeError: optimizer is not an Optimizer, or an option of another type.
        ValueError: an option is out of range, total_steps is not known, or cycle_momentum is asked of an optimiser
            with neither betas nor momentum; by `step`, more than total_steps times.

    Source: Smith, Topin 2018, "Super-Convergence".

    Example:
        >>> optimizer = pf.optim.AdamW([pf.zeros(1, requires_grad=True)])
        >>> scheduler = pf.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=5, pct_start=0.4)
        >>> rates = []
        >>> for _ in range(5):
        ...     rates += [round(rate, 3) for rate in scheduler.get_last_lr()]
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.04, 1.0, 0.75, 0.25, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: expected total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        self._check("total_steps", total_steps, least=1, whole=True)
        for name, value in (("max_lr", max_lr), ("base_momentum", base_momentum), ("max_momentum", max_momentum)):
            self._check(name, value)
        for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            self._check(name, value, least=1)
        self._check("pct_start", pct_start)
        if pct_start > 1:
            raise ValueError(f"OneCycleLR: pct_start must be at most 1, got {pct_start}")
        self.total_steps, self._top, self._momenta = total_steps, max_lr, (max_momentum, base_momentum)
        self._start, self._up_to = max_lr / div_factor, pct_start * total_steps - 1.0
        self._end, self._cycle_momentum = self._start / final_div_factor, cycle_momentum
        if cycle_momentum and isinstance(optimizer, Optimizer):
            self._check_momentum(optimizer)
        super().__init__(optimizer)

    def _check_momentum(self, optimizer: Optimizer) -> None:
        if not {"betas", "momentum"} & set(optimizer.param_groups[0]):
            raise ValueError(
                f"OneCycleLR: {type(optimizer).__name__} has neither betas nor momentum, give cycle_momentum=False"
            )

    @in_default_float_mode
    def _go_to(self, n: int) -> None:
        if n > self.total_steps:
            raise ValueError(f"OneCycleLR: its cycle has {self.total_steps} steps, got one more")
        at = min(n, self.total_steps - 1)  # the step after the last one keeps what was
        if at <= self._up_to:
            lr, momentum, way = (self._start, self._top), self._momenta, at / self._up_to if self._up_to else 1.0
        else:
            lr, momentum = (self._top, self._end), self._momenta[::-1]
            way = (at - self._up_to) / (self.total_steps - 1.0 - self._up_to)
        rest = 0.5 * (1.0 + math.cos(math.pi * way))
        for group in self.optimizer.param_groups:
            group["lr"] = lr[1] + (lr[0] - lr[1]) * rest
            if self._cycle_momentum:
                now = momentum[1] + (momentum[0] - momentum[1]) * rest
                if "betas" in group:
                    group["betas"] = (now, *group["betas"][1:])
                elif "momentum" in group:
                    group["momentum"] = now
        self.last_epoch = n


class ReduceLROnPlateau:
    """Multiplies the learning rates by `factor` when a value that should fall, or rise, has not for a while.

    Args:
        optimizer: whose learning rates it sets.
        mode: "min" if the value should fall, "max" if it should rise.
        factor: below 1.
        patience: how many calls of `step` without a better value are let pass.
        threshold: by which part of the best value, or how much where threshold_mode is "abs", a value must be better;
            a part of its size where it is negative, for which torch takes a value that is worse by that for a better.
        threshold_mode: "rel" for a part of the best value, "abs" for a difference.
        cooldown: calls after a reduction in which nothing is counted.
        min_lr: the learning rates stay at or above it; one that is below it stays as it is. A number, not torch's list.
        eps: a reduction by no more than that is not made.

    Attributes:
        best: the best value so far.

    Raises:
        TypeError: optimizer is not an Optimizer, patience or cooldown no int, or another option no number.
        ValueError: an option is not one of those, or out of range.

    Example:
        >>> optimizer = pf.optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = pf.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        >>> for loss in (2.0, 1.0, 1.0, 1.0):
        ...     scheduler.step(loss)
        >>> scheduler.get_last_lr()
        [0.5]
    """

    _STATE = ("best", "bad", "cooling", "last_epoch")

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"ReduceLROnPlateau: expected an optimiser, got {type(optimizer).__name__}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: expected mode min or max and threshold_mode rel or abs, got {mode!r} and "
                f"{threshold_mode!r}"
            )
        if not 0.0 <= factor < 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must be from 0 to below 1, got {factor}")
        for name, count in (("patience", patience), ("cooldown", cooldown)):
            _check("ReduceLROnPlateau", name, count, whole=True)
        for name, value in (("threshold", threshold), ("min_lr", min_lr), ("eps", eps)):
            _check("ReduceLROnPlateau", name, value)
        self.optimizer, self.factor, self.patience, self.cooldown = optimizer, factor, patience, cooldown
        self.threshold, self.min_lr, self.eps = threshold, min_lr, eps
        self._sign, self._is_relative = (1.0 if mode == "min" else -1.0), threshold_mode == "rel"
        self.best, self.bad, self.cooling, self.last_epoch = self._sign * math.inf, 0, 0, 0

    @in_default_float_mode
    def step(self, value: Any) -> None:
        """Takes the newest value, a number or a Tensor of one element."""
        value = float(value)
        self.best, self.bad = (value, 0) if self._is_better(value) else (self.best, self.bad + 1)
        self.last_epoch += 1
        if self.cooling:
            self.cooling, self.bad = self.cooling - 1, 0
        if self.bad > self.patience:
            self._reduce()
            self.cooling, self.bad = self.cooldown, 0

    def _is_better(self, value: float) -> bool:
        limit = self.best
        if math.isfinite(limit) and self._is_relative:
            limit *= 1.0 - self._sign * math.copysign(self.threshold, limit)
        elif math.isfinite(limit):
            limit -= self._sign * self.threshold
        return self._sign * value < self._sign * limit

    def _reduce(self) -> None:
        for group in self.optimizer.param_groups:
            lr = float(group["lr"])
            reduced = max(lr * self.factor, self.min_lr)
            if lr - reduced > self.eps:
                group["lr"] = reduced

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes; the learning rates are in the optimiser's."""
        return {name: getattr(self, name) for name in self._STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken; KeyError if something is missing."""
        for name, value in {name: state[name] for name in self._STATE}.items():
            setattr(self, name, value)
