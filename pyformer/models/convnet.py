"""A convolutional network for pictures: stages of convolutions, each stage at half the size of the one before.

Sources: LeCun et al. 1998, "Gradient-based learning applied to document recognition" (convolve, pool, repeat);
Simonyan and Zisserman 2015, "Very deep convolutional networks" (pairs of 3x3); Ioffe and Szegedy 2015, "Batch
normalization".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyformer as pf
from pyformer import nn, ops
from pyformer.models.config import Config
from pyformer.models.inputs import read_labels, read_pictures
from pyformer.models.pretrained import Pretrained
from pyformer.nn.layers import check_sizes


def check_widths(owner: str, widths: Any) -> tuple[int, ...]:
    """`widths` as a tuple; TypeError or ValueError unless it is a list or tuple of sizes."""
    if not isinstance(widths, (list, tuple)):
        raise TypeError(f"{owner}: widths must be a tuple of ints, got {type(widths).__name__}")
    if not widths:
        raise ValueError(f"{owner}: widths must hold at least one size, got none")
    check_sizes(owner, **{f"widths[{i}]": width for i, width in enumerate(widths)})
    return tuple(widths)


def check_halvings(owner: str, image_size: int, halvings: int) -> None:
    """ValueError unless pictures of this size can be halved so often."""
    if image_size % 2**halvings:
        raise ValueError(f"{owner}: 2^{halvings} must divide image_size, got {image_size}")


@dataclass(frozen=True)
class ConvNetConfig(Config):
    """The shape of a ConvNet.

    Args:
        image_size: height and width of a picture; each stage after the first halves it.
        num_channels, num_classes: of the pictures, and of the answer.
        widths: channels of each stage.
        dropout: probability, before the head.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.ConvNetConfig(image_size=28).widths
        (16, 32, 64)
    """

    image_size: int = 28
    num_channels: int = 1
    num_classes: int = 10
    widths: tuple[int, ...] = (16, 32, 64)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        self._check_sizes("image_size", "num_channels", "num_classes")
        object.__setattr__(self, "widths", check_widths("ConvNetConfig", self.widths))
        check_halvings("ConvNetConfig", self.image_size, len(self.widths) - 1)
        self._check_probability("dropout")


class ConvStage(nn.Module):
    """Twice a 3x3 convolution, batch norm and ReLU: (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        x = ops.relu(self.norm1(self.conv1(x)))
        return ops.relu(self.norm2(self.conv2(x)))


class ConvNet(Pretrained):
    """Convolutional stages with max pooling between them, the mean over all places, a linear head.

    Pictures (B, num_channels, image_size, image_size) give scores (B, num_classes). In training the batch's own
    statistics normalise, in evaluation the running ones, and then a picture's scores do not depend on its
    neighbours.

    Args:
        config: a ConvNetConfig.

    Raises:
        TypeError: config is no ConvNetConfig; later, pictures have another dtype than the parameters.
        ValueError: later, a shape does not fit.

    Example:
        >>> model = pf.models.ConvNet(pf.models.ConvNetConfig(image_size=8, widths=(4, 8)))
        >>> model(pf.zeros(2, 1, 8, 8)).shape
        (2, 10)
    """

    model_type = "convnet"
    config_class = ConvNetConfig

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__(config)
        channels = (config.num_channels, *config.widths)
        self.stages = nn.ModuleList(ConvStage(a, b) for a, b in zip(channels, config.widths, strict=False))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.widths[-1], config.num_classes)

    def forward(self, pictures: Any) -> pf.Tensor:
        """Scores (B, num_classes).

        Args:
            pictures: (B, num_channels, image_size, image_size) in the dtype of the parameters, a Tensor or array.

        Raises:
            ValueError: the shape is another.
            TypeError: the dtype is another.
        """
        size = self.config.image_size
        x = read_pictures("ConvNet", pictures, (self.config.num_channels, size, size), self.head)
        for i, stage in enumerate(self.stages):
            x = stage(ops.max_pool2d(x, 2) if i else x)
        return self.head(self.dropout(x.mean(axis=(2, 3))))

    def loss(self, pictures: Any, labels: Any, label_smoothing: float = 0.0) -> pf.Tensor:
        """Mean cross-entropy in nats of labels (B,), a scalar; raises as `forward` does, IndexError for a bad label,
        ValueError for one class, whose cross-entropy would be 0, whatever the picture."""
        if self.config.num_classes == 1:
            raise ValueError("ConvNet: with one class the cross-entropy is 0, whatever the picture")
        scores = self(pictures)
        labels = read_labels("ConvNet", labels, *scores.shape, scores.device)
        return ops.cross_entropy(scores, labels, label_smoothing=label_smoothing)
