"""A convolutional autoencoder: a picture through a few numbers and back.

Sources: Hinton and Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks"; Vincent et al. 2008,
"Extracting and composing robust features with denoising autoencoders" (`loss` with `targets`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyformer as pf
from pyformer import nn, ops
from pyformer.models.config import Config
from pyformer.models.convnet import check_halvings, check_widths
from pyformer.models.inputs import read_pictures
from pyformer.models.pretrained import Pretrained


@dataclass(frozen=True)
class AutoencoderConfig(Config):
    """The shape of an Autoencoder.

    Args:
        image_size: height and width of a picture, which the widths halve.
        num_channels: of the pictures.
        code_dim: how many numbers a picture is squeezed into.
        widths: channels at each half of the size.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.AutoencoderConfig(image_size=28, code_dim=16).inner_shape
        (32, 7, 7)
    """

    image_size: int = 28
    num_channels: int = 1
    code_dim: int = 32
    widths: tuple[int, ...] = (16, 32)

    def __post_init__(self) -> None:
        self._check_sizes("image_size", "num_channels", "code_dim")
        object.__setattr__(self, "widths", check_widths("AutoencoderConfig", self.widths))
        check_halvings("AutoencoderConfig", self.image_size, len(self.widths))

    @property
    def inner_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of what the code is read from."""
        size = self.image_size // 2 ** len(self.widths)
        return self.widths[-1], size, size


class Autoencoder(Pretrained):
    """Strided convolutions and a linear map to a code; a linear map and transposed convolutions back to the picture.

    Pictures (B, num_channels, image_size, image_size) hold numbers from 0 to 1. Freshly initialised from
    `pf.manual_seed`'s stream, float32.

    Args:
        config: an AutoencoderConfig.

    Raises:
        TypeError: config is no AutoencoderConfig; later, pictures have another dtype than the parameters.
        ValueError: later, a shape does not fit.

    Source: Hinton, Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks"; Vincent et al.
    2008, "Extracting and composing robust features with denoising autoencoders" (`loss` with `targets`).

    Example:
        >>> model = pf.models.Autoencoder(pf.models.AutoencoderConfig(image_size=8, code_dim=4, widths=(4,)))
        >>> model.encode(pf.zeros(2, 1, 8, 8)).shape, model.loss(pf.zeros(2, 1, 8, 8)).shape
        ((2, 4), ())
    """

    model_type = "autoencoder"
    config_class = AutoencoderConfig

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        channels = (config.num_channels, *config.widths)
        pairs = list(zip(channels, config.widths, strict=False))
        inner, height, width = config.inner_shape
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.to_code = nn.Linear(inner * height * width, config.code_dim)
        self.from_code = nn.Linear(config.code_dim, inner * height * width)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 4, stride=2, padding=1) for a, b in reversed(pairs))

    def encode(self, pictures: Any) -> pf.Tensor:
        """The code (B, code_dim) of each picture.

        Args:
            pictures: (B, num_channels, image_size, image_size) in the dtype of the parameters, a Tensor or array.

        Raises:
            ValueError: the shape is another.
            TypeError: the dtype is another.
        """
        x = self._read(pictures, "pictures")
        for layer in self.down:
            x = ops.relu(layer(x))
        return self.to_code(x.reshape(x.shape[0], -1))

    def decode(self, codes: Any) -> pf.Tensor:
        """The picture (B, num_channels, image_size, image_size), numbers from 0 to 1, of each code (B, code_dim).

        Raises as `encode` does.
        """
        codes = read_pictures("Autoencoder", codes, (self.config.code_dim,), self.from_code, "codes")
        x = ops.relu(self.from_code(codes)).reshape(-1, *self.config.inner_shape)
        for i, layer in enumerate(self.up):
            x = layer(ops.relu(x) if i else x)
        return ops.sigmoid(x)

    def reconstruct(self, pictures: Any) -> pf.Tensor:
        """decode(encode(pictures)), of the shape of `pictures`; raises as `encode` does."""
        return self.decode(self.encode(pictures))

    def forward(self, pictures: Any) -> pf.Tensor:
        return self.reconstruct(pictures)

    def loss(self, pictures: Any, targets: Any = None) -> pf.Tensor:
        """Mean squared error of a number of the reconstruction, a scalar.

        `targets` are the pictures that should come out, by default those that went in. Raises as `encode` does.
        """
        targets = self._read(pictures if targets is None else targets, "targets")
        out = self.reconstruct(pictures)
        if out.shape != targets.shape:
            raise ValueError(f"Autoencoder: targets must be {tuple(out.shape)}, got {tuple(targets.shape)}")
        return ops.mse_loss(out, targets)

    def _read(self, pictures: Any, name: str) -> pf.Tensor:
        size = self.config.image_size
        return read_pictures("Autoencoder", pictures, (self.config.num_channels, size, size), self.to_code, name)
