"""A class-conditional GAN: a generator makes pictures of noise and a class, a discriminator tells them from real ones.

Sources: Goodfellow et al. 2014, "Generative adversarial nets" (the loss, non-saturating); Radford et al. 2016,
"Unsupervised representation learning with deep convolutional GANs" (the layers); Miyato and Koyama 2018, "cGANs with
projection discriminator" (how the discriminator sees the class); Wu and He 2018, "Group normalization" (in the
discriminator, so that it judges each picture by itself).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyformer as pf
from pyformer import nn, ops
from pyformer.models.config import Config
from pyformer.models.convnet import check_halvings, check_widths
from pyformer.models.inputs import noise_rows, read_labels, read_pictures
from pyformer.models.pretrained import Pretrained

SLOPE = 0.2  # of the discriminator's activation below 0
GROUP = 8  # channels that are normalised together


@dataclass(frozen=True)
class GANConfig(Config):
    """The shape of a GAN.

    Args:
        image_size: height and width of a picture, which the widths halve.
        num_channels, num_classes: of the pictures.
        noise_dim: numbers that a picture is made of, besides its class.
        widths: channels at half of the size, a quarter and so on, of both networks; 8 divides those after the first.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.GANConfig(image_size=28).inner_shape
        (64, 7, 7)
    """

    image_size: int = 28
    num_channels: int = 1
    num_classes: int = 10
    noise_dim: int = 64
    widths: tuple[int, ...] = (32, 64)

    def __post_init__(self) -> None:
        self._check_sizes("image_size", "num_channels", "num_classes", "noise_dim")
        object.__setattr__(self, "widths", check_widths("GANConfig", self.widths))
        check_halvings("GANConfig", self.image_size, len(self.widths))
        if any(width % GROUP for width in self.widths[1:]):
            raise ValueError(f"GANConfig: {GROUP} must divide widths beyond the first, got {self.widths}")

    @property
    def inner_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the smallest layer."""
        size = self.image_size // 2 ** len(self.widths)
        return self.widths[-1], size, size


class Generator(nn.Module):
    """Noise and a vector of the class through a linear map and transposed convolutions with batch norm."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config = config
        inner, height, width = config.inner_shape
        self.classes = nn.Embedding(config.num_classes, config.noise_dim)
        self.start = nn.Linear(2 * config.noise_dim, inner * height * width, bias=False)
        wide = config.widths[::-1]
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in wide)
        last = len(wide) - 1
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=i == last)
            for i, (a, b) in enumerate(zip(wide, (*wide[1:], config.num_channels), strict=True))
        )

    def forward(self, noise: pf.Tensor, labels: pf.Tensor) -> pf.Tensor:
        """Pictures (B, num_channels, image_size, image_size) from -1 to 1 of noise (B, noise_dim) and labels (B,)."""
        x = self.start(ops.concat([noise, self.classes(labels)], axis=1)).reshape(-1, *self.config.inner_shape)
        for norm, layer in zip(self.norms, self.up, strict=True):
            x = layer(ops.relu(norm(x)))
        return ops.tanh(x)


class Discriminator(nn.Module):
    """Strided convolutions; the score is linear in what they find, by weights of the class and weights of all."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        channels = (config.num_channels, *config.widths)
        inner, height, width = config.inner_shape
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in zip(channels, config.widths, strict=False)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(b // GROUP, b) for b in config.widths[1:])
        self.head = nn.Linear(inner * height * width, 1)
        self.classes = nn.Embedding(config.num_classes, inner * height * width)

    def forward(self, pictures: pf.Tensor, labels: pf.Tensor) -> pf.Tensor:
        """Scores (B,), high for what looks real, of pictures (B, C, H, W) that claim to be of classes labels (B,)."""
        x = _leaky_relu(self.down[0](pictures))
        for i, norm in enumerate(self.norms):
            x = _leaky_relu(norm(self.down[i + 1](x)))
        x = x.reshape(x.shape[0], -1)
        return self.head(x)[:, 0] + (x * self.classes(labels)).sum(axis=1)


class GAN(Pretrained):
    """A class-conditional GAN: `generator` and `discriminator`, trained in turn by two losses.

    `gan(noise, labels)` gives pictures (B, num_channels, image_size, image_size), numbers from -1 to 1. Freshly
    initialised from `pf.manual_seed`'s stream, float32.

    Args:
        config: a GANConfig.

    Raises:
        TypeError: config is no GANConfig; later, a dtype does not fit.
        ValueError: later, a shape does not fit.
        IndexError: later, a label is out of range.

    Source: Goodfellow et al. 2014, "Generative adversarial nets"; Miyato, Koyama 2018, "cGANs with projection
    discriminator".

    Example:
        >>> gan = pf.models.GAN(pf.models.GANConfig(image_size=8, num_classes=2, noise_dim=4, widths=(8, 8)))
        >>> pictures = gan(pf.zeros(3, 4), [0, 1, 1])
        >>> pictures.shape, gan.score(pictures, [0, 1, 1]).shape
        ((3, 1, 8, 8), (3,))
    """

    model_type = "gan"
    config_class = GANConfig

    def __init__(self, config: GANConfig) -> None:
        super().__init__(config)
        self.generator = Generator(config)
        self.discriminator = Discriminator(config)
        _initialise(self)

    def forward(self, noise: Any, labels: Any) -> pf.Tensor:
        """Pictures (B, num_channels, image_size, image_size) from -1 to 1.

        In training mode the generator's batch norms use the statistics of this batch.

        Args:
            noise: (B, noise_dim) in the dtype of the parameters, normally distributed.
            labels: the class of each picture, integers (B,).

        Raises:
            ValueError: a shape is wrong.
            TypeError: a dtype is wrong.
            IndexError: a label is not in [0, num_classes).
        """
        noise = read_pictures("GAN", noise, (self.config.noise_dim,), self.generator.start, "noise")
        return self.generator(noise, self._labels(labels, noise))

    def score(self, pictures: Any, labels: Any) -> pf.Tensor:
        """The discriminator's scores (B,) of pictures (B, num_channels, image_size, image_size) of classes labels (B,).

        Raises as `forward` does.
        """
        shape = (self.config.num_channels, self.config.image_size, self.config.image_size)
        pictures = read_pictures("GAN", pictures, shape, self.discriminator.head)
        return self.discriminator(pictures, self._labels(labels, pictures))

    def discriminator_loss(self, pictures: Any, labels: Any, fakes: Any, fake_labels: Any = None) -> pf.Tensor:
        """-mean log sigmoid(score) of real pictures, -mean log(1 - sigmoid(score)) of fakes, added: a scalar, in nats.

        `fakes` should be detached. `fake_labels` are `labels` unless given. Raises as `forward` does.
        """
        fake_labels = labels if fake_labels is None else fake_labels
        return _nats_of(self.score(pictures, labels), 1.0) + _nats_of(self.score(fakes, fake_labels), 0.0)

    def generator_loss(self, fakes: pf.Tensor, labels: Any) -> pf.Tensor:
        """-mean log sigmoid(score) of fakes, pictures of the generator: a scalar, in nats. Raises as `forward` does.

        Its gradient also reaches the discriminator's parameters that require one.
        """
        return _nats_of(self.score(fakes, labels), 1.0)

    def loss(self, pictures: Any, labels: Any, noise: Any) -> pf.Tensor:
        """The discriminator's loss on pictures and on fakes made of `noise`, both of classes `labels`, a scalar.

        Its gradient does not reach the generator. Raises as `forward` does.
        """
        return self.discriminator_loss(pictures, labels, self(noise, labels).detach())

    def sample(self, labels: Any, seed: int = 0) -> pf.Tensor:
        """Pictures of the classes `labels` (B,), in evaluation mode: picture i is made of seed + i and its label alone.

        Raises as `forward` does.
        """
        labels = read_labels("GAN", labels, None, self.config.num_classes, "cpu")
        noise = noise_rows("GAN", seed, labels.size, (self.config.noise_dim,), self.generator.start)
        with nn.inference():
            return self(noise, labels)

    def _labels(self, labels: Any, rows: pf.Tensor) -> pf.Tensor:
        return read_labels("GAN", labels, rows.shape[0], self.config.num_classes, rows.device)


def _leaky_relu(x: pf.Tensor) -> pf.Tensor:
    return ops.maximum(x, x * SLOPE)


def _nats_of(scores: pf.Tensor, target: float) -> pf.Tensor:
    wanted = pf.full(tuple(scores.shape), target, dtype=scores.dtype, device=scores.device)
    return ops.bce_with_logits(scores, wanted)


def _initialise(model: nn.Module) -> None:
    """Radford et al.: all weights but those of norms and classes normal with 0.02; a class starts with no say."""
    for name, parameter in model.named_parameters():
        if name == "discriminator.classes.weight":
            nn.init.zeros_(parameter)
        elif parameter.ndim >= 2 and name != "generator.classes.weight":
            nn.init.normal_(parameter, std=0.02)
