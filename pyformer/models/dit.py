"""DiT: a transformer that turns noise into pictures of a class; the class DiT names the sources."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops
from pyformer.models.config import Config
from pyformer.models.inputs import noise_rows, read_labels, read_pictures
from pyformer.models.pretrained import Pretrained
from pyformer.nn.layers import check_sizes

EPS = 1e-6
TIME_WAVES = 128  # frequencies a time is told by
TIME_SCALE = 1000.0  # a time from 0 to 1 turns the fastest of them by so much


@dataclass(frozen=True)
class DiTConfig(Config):
    """The shape of a DiT.

    Args:
        image_size, patch_size: patch_size divides image_size; each patch is a token.
        num_channels, num_classes: of the pictures.
        num_layers, num_heads, embed_dim: as in `GPTConfig`; 4 divides embed_dim.
        hidden_dim: of the MLPs, 4 embed_dim by default.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.DiTConfig(image_size=28, patch_size=4).patch_dim
        16
    """

    image_size: int = 28
    patch_size: int = 4
    num_channels: int = 1
    num_classes: int = 10
    num_layers: int = 4
    num_heads: int = 4
    embed_dim: int = 128
    hidden_dim: int = 0

    def __post_init__(self) -> None:
        self._default_hidden_dim()
        self._check_sizes(*(field.name for field in fields(self)))
        self._check_divides("patch_size", "image_size")
        if self.embed_dim % self.num_heads or self.embed_dim % 4:
            raise ValueError(f"DiTConfig: num_heads ({self.num_heads}) and 4 must divide embed_dim ({self.embed_dim})")

    @property
    def patch_dim(self) -> int:
        """How many numbers a patch has."""
        return self.num_channels * self.patch_size**2


class DiTBlock(nn.Module):
    """Attention and MLP whose normalised inputs are shifted and scaled, and whose results are gated, by a condition.

    Gates start at 0: a fresh block changes nothing.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.attention = nn.MultiHeadAttention(config.embed_dim, config.num_heads)
        self.mlp = nn.MLP(config.embed_dim, config.hidden_dim, activation="gelu_tanh")
        self.modulation = nn.Linear(config.embed_dim, 6 * config.embed_dim)

    def forward(self, x: pf.Tensor, condition: pf.Tensor, *, return_weights: bool = False) -> Any:
        """(B, T, C) of x (B, T, C) and condition (B, 1, C); with `return_weights` also the weights (B, H, T, T)."""
        width = x.shape[2]
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = ops.split(self.modulation(condition), [width] * 6, axis=2)
        mixed = self.attention(_modulated(x, shift, scale), return_weights=return_weights)
        mixed, weights = mixed if return_weights else (mixed, None)
        x = x + gate * mixed
        x = x + mlp_gate * self.mlp(_modulated(x, mlp_shift, mlp_scale))
        return (x, weights) if return_weights else x


class DiT(Pretrained):
    """A transformer that turns noise (time 1) into pictures (time 0) of a class, by `sample`.

    Pictures (B, num_channels, image_size, image_size) hold numbers from -1 to 1. Class `num_classes` means none, for
    guidance. Freshly initialised from `pf.manual_seed`'s stream, float32.

    Args:
        config: a `DiTConfig`.

    Raises:
        TypeError: config is no DiTConfig; later, a dtype does not fit.
        ValueError: later, a shape does not fit.
        IndexError: later, a label is out of range.

    Source: Peebles, Xie 2023, "Scalable diffusion models with transformers"; Liu et al. 2023, "Flow straight and
    fast"; Ho, Salimans 2022, "Classifier-free diffusion guidance".

    Example:
        >>> config = pf.models.DiTConfig(image_size=8, num_classes=2, num_layers=1, num_heads=2, embed_dim=8)
        >>> pf.models.DiT(config).sample([0, 1], steps=2).shape
        (2, 1, 8, 8)
    """

    model_type = "dit"
    config_class = DiTConfig

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(config)
        width = config.embed_dim
        self.patches = nn.Linear(config.patch_dim, width)
        self.time_in = nn.Linear(2 * TIME_WAVES, width)
        self.time_out = nn.Linear(width, width)
        self.classes = nn.Embedding(config.num_classes + 1, width)
        self.blocks = nn.ModuleList(DiTBlock(config) for _ in range(config.num_layers))
        self.modulation = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, config.patch_dim)
        _initialise(self)

    def forward(self, pictures: Any, times: Any, labels: Any, *, return_weights: bool = False) -> Any:
        """Velocities, of the shape of `pictures`: how these change as the time grows.

        Args:
            pictures: (B, num_channels, image_size, image_size) in the dtype of the parameters, a Tensor or array.
            times: from 0, picture, to 1, noise: (B,) in the dtype of the parameters; no gradient flows to them.
            labels: the class of each, integers (B,); num_classes means none.
            return_weights: give (velocities, list of each block's weights (B, H, T, T)), T patches row by row.
        """
        x = self._read(pictures, "pictures")
        times = self._read_times(times, x.shape[0])
        labels = read_labels("DiT", labels, x.shape[0], self.config.num_classes + 1, x.device)
        condition = self.time_out(ops.silu(self.time_in(_time_waves(times)))) + self.classes(labels)
        condition = ops.silu(condition).reshape(x.shape[0], 1, -1)
        x = self.patches(self._to_patches(x)) + self._places(x)
        weights = []
        for block in self.blocks:
            x = block(x, condition, return_weights=return_weights)
            if return_weights:
                x, of_block = x
                weights.append(of_block)
        shift, scale = ops.split(self.modulation(condition), [self.config.embed_dim] * 2, axis=2)
        velocities = self._to_pictures(self.head(_modulated(x, shift, scale)))
        return (velocities, weights) if return_weights else velocities

    def loss(self, pictures: Any, labels: Any, times: Any, noise: Any) -> pf.Tensor:
        """Mean squared error of the velocity noise - pictures at (1 - times) pictures + times noise, a scalar.

        `noise`, normally distributed, has the shape of `pictures`; the others are as in `forward`.
        """
        pictures, noise = self._read(pictures, "pictures"), self._read(noise, "noise")
        if pictures.shape != noise.shape:
            raise ValueError(f"DiT: noise must be {tuple(pictures.shape)}, got {tuple(noise.shape)}")
        part = self._read_times(times, pictures.shape[0]).reshape(-1, 1, 1, 1)
        velocities = self(pictures * (1.0 - part) + noise * part, times, labels)
        return ops.mse_loss(velocities, noise - pictures)

    def sample(self, labels: Any, steps: int = 50, guidance: float = 1.0, seed: int = 0) -> pf.Tensor:
        """Pictures (B, num_channels, image_size, image_size) of the classes `labels` (B,), by Euler's method.

        Picture i is made of seed + i and its label alone.

        Args:
            labels: integers (B,); num_classes means any class.
            steps: how many straight pieces the way from noise has.
            guidance: velocities are those of no class plus so many times the difference that the class makes: 1 is
                the model's own, more is clearer and less varied, at twice the time.

        Raises:
            ValueError: a shape is wrong, or `steps` is below 1.
            TypeError: labels are not integers, or `steps` no int.
            IndexError: a label is not in [0, num_classes].
        """
        check_sizes("DiT.sample", steps=steps)
        size = self.config.image_size
        labels = read_labels("DiT", labels, None, self.config.num_classes + 1, "cpu").numpy()
        none = np.full_like(labels, self.config.num_classes)
        x = noise_rows("DiT", seed, len(labels), (self.config.num_channels, size, size), self.head)
        with nn.inference():
            for step in range(steps):
                times = pf.full((len(labels),), 1.0 - step / steps, dtype=x.dtype, device=x.device)
                velocity = self(x, times, labels)
                if guidance != 1.0:
                    free = self(x, times, none)
                    velocity = free + (velocity - free) * guidance
                x = x - velocity * (1.0 / steps)
        return x

    def _read(self, pictures: Any, name: str) -> pf.Tensor:
        size = self.config.image_size
        return read_pictures("DiT", pictures, (self.config.num_channels, size, size), self.head, name)

    def _read_times(self, times: Any, batch: int) -> pf.Tensor:
        times = read_pictures("DiT", times, (), self.head, "times")
        if times.shape[0] != batch:
            raise ValueError(f"DiT: times must be ({batch},), got {tuple(times.shape)}")
        return times

    def _to_patches(self, x: pf.Tensor) -> pf.Tensor:
        """(B, C, H, W) -> (B, T, numbers of a patch)."""
        c = self.config
        side = c.image_size // c.patch_size
        x = x.reshape(-1, c.num_channels, side, c.patch_size, side, c.patch_size)
        return x.transpose(0, 2, 4, 1, 3, 5).reshape(-1, side * side, c.patch_dim)

    def _to_pictures(self, x: pf.Tensor) -> pf.Tensor:
        """(B, T, numbers of a patch) -> (B, C, H, W)."""
        c = self.config
        side = c.image_size // c.patch_size
        x = x.reshape(-1, side, side, c.num_channels, c.patch_size, c.patch_size)
        return x.transpose(0, 3, 1, 4, 2, 5).reshape(-1, c.num_channels, c.image_size, c.image_size)

    def _places(self, like: pf.Tensor) -> pf.Tensor:
        """(1, T, C): one half of C tells the row of a patch, the other its column."""
        side, width = self.config.image_size // self.config.patch_size, self.config.embed_dim
        waves = nn.sinusoidal_positions(side, width // 2)
        rows, columns = np.repeat(waves, side, axis=0), np.tile(waves, (side, 1))
        return pf.tensor(np.concatenate([rows, columns], axis=1)[None], dtype=like.dtype, device=like.device)


def _modulated(x: pf.Tensor, shift: pf.Tensor, scale: pf.Tensor) -> pf.Tensor:
    return ops.layer_norm(x, None, None, eps=EPS) * (scale + 1.0) + shift


def _time_waves(times: pf.Tensor) -> pf.Tensor:
    """(B, 2 TIME_WAVES): cos and sin of each time at TIME_WAVES frequencies."""
    frequencies = ops.exp(pf.tensor(-math.log(10000.0) * np.arange(TIME_WAVES) / TIME_WAVES, device="cpu"))
    angles = times.detach().to("cpu").to(pf.float64).reshape(-1, 1) * TIME_SCALE * frequencies
    return ops.concat([ops.cos(angles), ops.sin(angles)], axis=1).to(times.dtype).to(times.device)


def _initialise(model: DiT) -> None:
    """Biases 0; modulations and the head 0, so that every block starts as the identity; the rest as in the paper."""
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or "modulation" in name or name.startswith("head"):
            nn.init.zeros_(parameter)
        elif name.startswith(("classes", "time")):
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.fill_(parameter, _evenly)


def _evenly(w: pf.Tensor) -> pf.Tensor:
    """As nn.init.xavier_uniform_, whose last bits are others."""
    return (pf.rand(*w.shape, dtype=w.dtype, device=w.device) * 2.0 - 1.0) * math.sqrt(6.0 / sum(w.shape))
