"""Four ways to tell a layer where a word stands."""

from __future__ import annotations

import numpy as np

import pyformer as pf
from pyformer import nn, ops
from pyformer.models.derivation.frame import SPREAD


class OneHotPosition(nn.Module):
    """The place as n more numbers, all 0 but one, and a matrix back to C: (B, n, C) -> (B, n, C)."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("eye", pf.tensor(np.eye(length, dtype=np.float32)), persistent=False)
        self.join = nn.Linear(width + length, width)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        batch, n, _ = x.shape
        places = pf.zeros(batch, n, self.eye.shape[0], dtype=x.dtype, device=x.device) + self.eye[:n]
        return self.join(ops.concat([x, places], axis=2))


class SinusoidalPosition(nn.Module):
    """x plus sines and cosines of the place, wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017, 3.5)."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        angles = pf.tensor(np.arange(length)[:, None] * frequencies(width), device="cpu")
        waves = ops.stack([ops.sin(angles), ops.cos(angles)], axis=2).reshape(length, -1)
        self.register_buffer("waves", pf.tensor((SPREAD * waves.to(pf.float32)).numpy()), persistent=False)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return x + self.waves[: x.shape[1]]


class LearnedPosition(nn.Module):
    """x plus a learned vector of the place."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.places = nn.init.normal(length, width, std=SPREAD)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return x + self.places[: x.shape[1]]


class RotaryPosition(nn.Module):
    """x turned, two numbers at a time, by an angle that grows with the place (Su et al. 2021)."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", pf.tensor(frequencies(width)), persistent=False)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        batch, n, width = x.shape
        turned = ops.rope(x.reshape(batch, n, 1, width), pf.arange(n, device=x.device), self.frequencies)
        return turned.reshape(batch, n, width)


def frequencies(width: int, base: float = 10000.0) -> np.ndarray:
    """base^(-2r / C) for r from 0 to C / 2 - 1, float64."""
    return ops.power(base, pf.tensor(-2.0 * np.arange(width // 2) / width, device="cpu")).numpy()
