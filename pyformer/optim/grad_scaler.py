"""Scaling of losses, without which small gradients vanish in float16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core
from pyformer.float_mode import in_default_float_mode
from pyformer.optim.optimizer import Optimizer

LARGEST, LARGEST_IN_FLOAT16 = 2.0**127, 2.0**15


class GradScaler:
    """Multiplies the loss, so that gradients do not vanish in float16, and finds the largest factor that does.

    A step whose gradients are not all finite is left out, and the factor becomes smaller; after many steps that were
    taken it becomes larger. On a device nothing waits for the host, if the optimiser is AdamW or SGD. `Trainer` has one
    of its own for `TrainingOptions(dtype="float16")`.

    The gradient of the loss is the factor itself, so that of a float16 loss, as float16 models have it, the factor is
    at most 32768, also at first: with torch's 65536 the first step would always be left out, and one after each time
    that the factor had grown.

    Args:
        init_scale: the factor at first, if the loss's dtype holds it.
        growth_factor: what it is multiplied by after `growth_interval` steps one after another that were taken.
        backoff_factor: what it is multiplied by after a step that was not.
        growth_interval: a number of steps.

    Raises:
        ValueError: a number is out of range.

    Source: Micikevicius et al. 2018, "Mixed Precision Training", section 3.2; names and defaults are torch's.

    Example:
        >>> w = pf.tensor([3.0], requires_grad=True)
        >>> optimizer, scaler = pf.optim.SGD([w], lr=0.1), pf.optim.GradScaler()
        >>> for factor in (1.0, float("inf")):
        ...     optimizer.zero_grad()
        ...     scaler.scale((w * factor).sum()).backward()
        ...     scaler.step(optimizer)
        ...     scaler.update()
        >>> w.detach(), scaler.get_scale()
        (tensor([2.9], dtype=float32), 32768.0)
    """

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not 0.0 < init_scale <= LARGEST:
            raise ValueError(f"GradScaler: init_scale must be above 0 and at most 2**127, got {init_scale}")
        if not 1.0 < growth_factor <= LARGEST:
            raise ValueError(f"GradScaler: growth_factor must be above 1 and finite, got {growth_factor}")
        if not 0.0 < backoff_factor < 1.0:
            raise ValueError(f"GradScaler: backoff_factor must be above 0 and below 1, got {backoff_factor}")
        if not growth_interval >= 1:
            raise ValueError(f"GradScaler: growth_interval must be at least 1, got {growth_interval}")
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self._largest = LARGEST
        self._scale = pf.tensor(float(init_scale), dtype=pf.float64, device="cpu")
        self._taken = pf.tensor(0, dtype=pf.int64, device="cpu")  # steps, since one was not or the factor grew
        self._norms: list[tuple[Optimizer, pf.Tensor]] = []  # of the gradients of this step, of each optimiser
        self._stepped: list[Optimizer] = []  # in this step

    @in_default_float_mode
    def scale(self, loss: pf.Tensor) -> pf.Tensor:
        """The loss times the factor, in float32 or wider: what `backward` is to be called on."""
        if self._scale.device != loss.device:
            self._scale, self._taken = self._scale.to(loss.device), self._taken.to(loss.device)
        if loss.dtype == pf.float16 and self._largest > LARGEST_IN_FLOAT16:
            self._largest = LARGEST_IN_FLOAT16
            with pf.no_grad():
                _core.copy_(self._scale, pf.ops.minimum(self._scale, self._largest))
        wide = loss if loss.dtype == pf.float64 else loss.to(pf.float32)
        return wide * self._scale.to(wide.dtype)

    @in_default_float_mode
    def unscale_(self, optimizer: Optimizer) -> None:
        """Divides the gradients of an optimiser's parameters by the factor, as clipping needs it.

        Raises:
            RuntimeError: it was done before in this step.
        """
        if self._norm_of(optimizer) is not None:
            raise RuntimeError("GradScaler: these gradients were unscaled already; update() ends a step")
        with pf.no_grad():
            gradients = [g for group in optimizer.param_groups for p in group["params"] if (g := p.grad) is not None]
            self._norms.append((optimizer, _core.global_norm(gradients).to(self._scale.device)))
            if gradients:
                _core.scale_(gradients, 1.0 / self._scale)

    def _norm_of(self, optimizer: Optimizer) -> pf.Tensor | None:
        return next((norm for other, norm in self._norms if other is optimizer), None)

    def step(self, optimizer: Optimizer) -> None:
        """A step of the optimiser, unless a gradient is not finite; before it `unscale_`, unless that was done.

        Raises:
            RuntimeError: there was a step of this optimiser since the last `update()`.
        """
        if any(other is optimizer for other in self._stepped):
            raise RuntimeError("GradScaler: this optimiser has made its step already; update() ends a step")
        if self._norm_of(optimizer) is None:
            self.unscale_(optimizer)
        optimizer._step_where_finite(self._norm_of(optimizer))
        self._stepped.append(optimizer)

    @in_default_float_mode
    def update(self) -> None:
        """Ends a step: the factor becomes smaller or larger."""
        if not self._norms:
            return
        with pf.no_grad():
            norm = self._norms[0][1]
            for _, other in self._norms[1:]:
                norm = norm + other
            is_finite = norm - norm == 0.0
            taken = pf.ops.where(is_finite, self._taken + 1, 0)
            grows = taken == self.growth_interval
            grown = pf.ops.minimum(self._scale * self.growth_factor, self._largest)
            kept = pf.ops.where(grows, grown, self._scale)
            scale = pf.ops.where(is_finite, kept, self._scale * self.backoff_factor)
            _core.copy_([self._scale], [scale])
            _core.copy_([self._taken], [pf.ops.where(grows, 0, taken)])
        self._norms, self._stepped = [], []

    def get_scale(self) -> float:
        """The factor; waits for the device."""
        return self._scale.item()

    def state_dict(self) -> dict[str, Any]:
        """All that it knows, by torch's names: JSON values."""
        return {
            "scale": self.get_scale(),
            "growth_factor": self.growth_factor,
            "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval,
            "_growth_tracker": int(self._taken.item()),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            ValueError: something is not there or out of range.
        """
        names = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
        missing = [name for name in names if name not in state_dict]
        if missing:
            raise ValueError(f"GradScaler: expected {missing} in the state dict")
        *options, taken = (state_dict[name] for name in names)
        if isinstance(taken, bool) or not isinstance(taken, (int, np.integer)) or taken < 0:
            raise ValueError(f"GradScaler: _growth_tracker must be an int from 0, got {taken!r}")
        place = self._scale.device
        self.__init__(*options)  # type: ignore[misc]
        self._scale = self._scale.to(place)
        self._taken = pf.tensor(int(taken), dtype=pf.int64, device=place)
