"""Optimisers beside AdamW and SGD, written with operations on tensors: Adam, Adagrad, Adafactor, RMSprop
and Lion."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core
from pyformer.optim.adamw import AdamW
from pyformer.optim.optimizer import Optimizer, count_step


class Adam(AdamW):
    """AdamW with weight_decay * p added to the gradient, as L2 regularisation does; 0 by default; `options` as AdamW.

    Args:
        params: parameters, or groups of them, as in `Optimizer`.
        lr: learning rate.
        betas: (beta1, beta2), in [0, 1).
        eps: keeps the division finite; see `AdamW`.
        weight_decay: this times the parameter is added to the gradient; 0 by default.
        options: fused, foreach, amsgrad and maximize, as in `AdamW`.

    Raises:
        ValueError: an option is out of range, or the parameters do not fit.
        TypeError: an option is no number, or a parameter no float Tensor.

    Source: Kingma, Ba 2014, "Adam: A Method for Stochastic Optimization".

    Example:
        >>> w = pf.tensor([1.0], requires_grad=True)
        >>> optimizer = pf.optim.Adam([w], lr=0.5)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([0.50000006], dtype=float32)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, **options)

    def _update(self, group: dict[str, Any], params: list[pf.Tensor], grads: list[pf.Tensor]) -> None:
        decay = float(group["weight_decay"])
        if decay:
            grads = [g + p.detach().to(g.dtype) * decay for p, g in zip(params, grads, strict=True)]
        super()._update(group, params, grads)

    def _decay_of(self, group: dict[str, Any]) -> float:
        return 0.0


class _Plain(Optimizer):
    """One parameter at a time: `_step` gives the new value and the new state from the old ones and the gradient."""

    def _update(self, group: dict[str, Any], params: list[pf.Tensor], grads: list[pf.Tensor]) -> None:
        for p, grad in zip(params, grads, strict=True):
            state = self._state_of(p, self._always_of(p))
            value = state.get("master", p).detach()
            new, kept = self._step(group, value, grad, state)
            targets = [p, *(state[name] for name in kept)] + ([state["master"]] if "master" in state else [])
            sources = [new.to(p.dtype), *kept.values()] + ([new] if "master" in state else [])
            count_step([state], lambda t=targets, s=sources: _core.copy_(t, s))

    def _step(
        self, group: dict[str, Any], p: pf.Tensor, grad: pf.Tensor, state: Mapping[str, Any]
    ) -> tuple[pf.Tensor, dict[str, pf.Tensor]]:
        raise NotImplementedError

    def _check_beta(self, name: str, beta: Any) -> None:
        self._check_range(name, beta, 0.0, 1.0)


def _squarable(grad: pf.Tensor) -> pf.Tensor:
    """grad, of which a finite element whose square would be infinite counts as the largest whose square is not."""
    most = 2.0**511 if grad.dtype == pf.float64 else 2.0**63
    return pf.where(pf.isfinite(grad), pf.clamp(grad, -most, most), grad)


class RMSprop(_Plain):
    """v = alpha * v + (1 - alpha) * g^2; p -= lr * g / (sqrt(v) + eps), weight_decay * p being added to g.

    A finite g beyond 2^63, about 9e18 (in float64 2^511), counts as that, as in `AdamW`. With eps 0 an element whose
    gradients so far were all 0 becomes NaN, as in torch.

    Args:
        params: parameters, or groups of them, as in `Optimizer`.
        lr: learning rate.
        alpha: how much of v is kept at each step, in [0, 1).
        eps: keeps the division finite, 0 or more.
        weight_decay: this times the parameter is added to the gradient; 0 by default.

    Raises:
        ValueError: an option is out of range, or the parameters do not fit.
        TypeError: an option is no number, or a parameter no float Tensor.

    Source: Tieleman, Hinton 2012, lecture 6.5 of "Neural Networks for Machine Learning".

    Example:
        >>> w = pf.tensor([1.0], requires_grad=True)
        >>> optimizer = pf.optim.RMSprop([w], lr=0.01, alpha=0.0)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([0.99], dtype=float32)
    """

    _state_names = _always = ("square_avg",)

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        super()._check_options(options)
        self._check_beta("alpha", options["alpha"])
        self._check_range("eps", options["eps"], 0.0, math.inf)

    def _step(self, group: Any, p: Any, grad: Any, state: Any) -> Any:
        alpha = float(group["alpha"])
        grad = grad + p * float(group["weight_decay"])
        grad = _squarable(grad)
        square_avg = state["square_avg"] * alpha + grad.square() * (1.0 - alpha)
        step = grad / (square_avg.sqrt() + float(group["eps"]))
        return p - step * float(group["lr"]), {"square_avg": square_avg}


class Adagrad(_Plain):
    """v = v + g^2; p -= lr * g / (sqrt(v) + eps), weight_decay * p being added to g.

    A finite g beyond 2^63, about 9e18 (in float64 2^511), counts as that, as in `AdamW`; a v beyond the largest float
    as that float. With eps 0 an element whose gradients so far were all 0 becomes NaN, as in torch.

    Args:
        params: parameters, or groups of them, as in `Optimizer`.
        lr: learning rate.
        eps: keeps the division finite, 0 or more.
        weight_decay: this times the parameter is added to the gradient; 0 by default.

    Raises:
        ValueError: an option is out of range, or the parameters do not fit.
        TypeError: an option is no number, or a parameter no float Tensor.

    Source: Duchi, Hazan, Singer 2011, "Adaptive Subgradient Methods for Online Learning".

    Example:
        >>> w = pf.tensor([1.0], requires_grad=True)
        >>> optimizer = pf.optim.Adagrad([w], lr=0.25)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([0.75], dtype=float32)
    """

    _state_names = _always = ("sum",)

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, eps: float = 1e-10, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, eps=eps, weight_decay=weight_decay)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        super()._check_options(options)
        self._check_range("eps", options["eps"], 0.0, math.inf)

    def _step(self, group: Any, p: Any, grad: Any, state: Any) -> Any:
        grad = grad + p * float(group["weight_decay"])
        grad = _squarable(grad)
        total = state["sum"] + grad.square()
        largest = sys.float_info.max if total.dtype == pf.float64 else float(np.finfo(np.float32).max)
        total = pf.where(pf.isfinite(state["sum"] + grad), pf.clamp(total, max=largest), total)
        return p - grad / (total.sqrt() + float(group["eps"])) * float(group["lr"]), {"sum": total}


class Adafactor(_Plain):
    """Divides the gradient by its running root mean square, of which a matrix keeps a row and a column only.

    With step t, b = t^beta2_decay and r = min(lr, 1 / sqrt(t)): v = v + b (g^2 - v), of a tensor (..., m, n) as a
    column of row means times a row of column means, over the mean of these. u = g / max(sqrt(v), eps[0]) is divided by
    max(1, rms(u) / d), and p -= max(eps[1], rms(p)) * r * u. Before that, p is multiplied by 1 - lr * weight_decay.

    Args:
        params: parameters, or groups of them.
        lr, beta2_decay, d, weight_decay: as above.
        eps: a pair; None in its place stands for the distance from 1 to the next number of the parameter's dtype.

    Raises:
        ValueError: an option is out of range, or the parameters do not fit.
        TypeError: an option is no number, or a parameter no float Tensor.

    Source: Shazeer, Stern 2018, "Adafactor: Adaptive learning rates with sublinear memory cost".

    Example:
        >>> w = pf.tensor([[3.0, -3.0], [3.0, -3.0]], requires_grad=True)
        >>> optimizer = pf.optim.Adafactor([w], lr=0.5)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([[ 1.5, -1.5],
                [ 1.5, -1.5]], dtype=float32)
        >>> [tuple(optimizer.state[w][name].shape) for name in ("row_var", "col_var")]
        [(2, 1), (1, 2)]
    """

    _state_names = ("row_var", "col_var", "variance")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, beta2_decay=beta2_decay, eps=eps, d=d, weight_decay=weight_decay)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        super()._check_options(options)
        self._check_range("-beta2_decay", -options["beta2_decay"], 0.0, math.inf)
        self._check_range("d", options["d"], 1.0, math.inf)
        if not isinstance(options["eps"], (tuple, list)) or len(options["eps"]) != 2:
            raise ValueError(f"Adafactor: eps must be a pair, got {options['eps']!r}")
        for eps in options["eps"]:
            if eps is not None:
                self._check_range("eps", eps, 0.0, math.inf)

    def _always_of(self, p: pf.Tensor) -> tuple[str, ...]:
        return ("row_var", "col_var") if p.ndim > 1 else ("variance",)

    def _shape_of(self, p: pf.Tensor, name: str) -> tuple[int, ...]:
        shape = tuple(p.shape)
        return {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, *shape[-1:])}.get(name, shape)

    def _step(self, group: Any, p: Any, grad: Any, state: Any) -> Any:
        lr, t = float(group["lr"]), state["step"] + 1
        tiny, least = (pf.finfo(p.dtype).eps if eps is None else float(eps) for eps in group["eps"])
        part, grad = t ** float(group["beta2_decay"]), _squarable(grad)
        square = grad.square()
        if p.ndim > 1:
            rows, columns = state["row_var"], state["col_var"]
            rows = rows + (square.mean(-1, keepdims=True) - rows) * part
            columns = columns + (square.mean(-2, keepdims=True) - columns) * part
            kept = {"row_var": rows, "col_var": columns}
            variance = rows / rows.mean(-2, keepdims=True).clamp(min=tiny) * columns
        else:
            variance = state["variance"] + (square - state["variance"]) * part
            kept = {"variance": variance}
        update = grad * variance.clamp(min=tiny * tiny).rsqrt()
        count = max(p.size, 1) ** 0.5
        size = (p.norm() / count).clamp(min=least) * min(lr, t**-0.5)
        size = size / (update.norm() / (count * float(group["d"]))).clamp(min=1.0)
        return p * (1.0 - lr * float(group["weight_decay"])) - update * size, kept


class Lion(_Plain):
    """p -= lr * (sign(b1 * m + (1 - b1) * g) + weight_decay * p); then m = b2 * m + (1 - b2) * g.

    Args:
        params: parameters, or groups of them, as in `Optimizer`.
        lr: learning rate. A step moves each element by it, whatever the gradient: take a third to a tenth of AdamW's.
        betas: (b1, b2), in [0, 1): for the step, and for m.
        weight_decay: the part of a parameter that a step takes off, times lr.

    Raises:
        ValueError: an option is out of range, or the parameters do not fit.
        TypeError: an option is no number, or a parameter no float Tensor.

    Source: Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms".

    Example:
        >>> w = pf.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = pf.optim.Lion([w], lr=0.5)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([ 0.5, -1.5], dtype=float32)
    """

    _state_names = _always = ("exp_avg",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        super()._check_options(options)
        if not isinstance(options["betas"], (tuple, list)) or len(options["betas"]) != 2:
            raise ValueError(f"Lion: betas must be two numbers, got {options['betas']!r}")
        for beta in options["betas"]:
            self._check_beta("betas", beta)

    def _step(self, group: Any, p: Any, grad: Any, state: Any) -> Any:
        first, second = (float(beta) for beta in group["betas"])
        average = state["exp_avg"]
        direction = pf.sign(average * first + grad * (1.0 - first)) + p * float(group["weight_decay"])
        return p - direction * float(group["lr"]), {"exp_avg": average * second + grad * (1.0 - second)}
