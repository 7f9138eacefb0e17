"""ViT: Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words".

A picture is cut into patches, each a token; a learned first token gathers what the classifier reads. Files are those
of Hugging Face's ViTForImageClassification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyformer as pf
from pyformer import nn, ops
from pyformer.formats.hf import vit
from pyformer.models.classification import is_single_label, soft_loss
from pyformer.models.config import Config
from pyformer.models.inputs import read_labels, read_pictures
from pyformer.models.pretrained import Pretrained
from pyformer.nn.layers import check_eps
from pyformer.nn.transformer import check_activation


@dataclass(frozen=True)
class ViTConfig(Config):
    """The shape of a ViT.

    Args:
        image_size, patch_size: patch_size divides image_size; each patch is a token.
        num_channels, num_classes: of the pictures, and of the answer.
        num_layers, num_heads, embed_dim: as in `GPTConfig`.
        hidden_dim: of the MLPs, 4 embed_dim by default.
        dropout: probability.
        layer_norm_epsilon: added to variances.
        activation: "gelu", "gelu_tanh", "relu", "silu", "tanh" or "sigmoid".
        labels, problem_type: the names of the classes, and what is answered, as in `BertConfig`.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.ViTConfig(image_size=28, patch_size=4).num_patches
        49
    """

    image_size: int = 28
    patch_size: int = 4
    num_channels: int = 1
    num_classes: int = 10
    num_layers: int = 4
    num_heads: int = 4
    embed_dim: int = 64
    hidden_dim: int = 0
    dropout: float = 0.0
    layer_norm_epsilon: float = 1e-12
    activation: str = "gelu"
    labels: tuple[str, ...] | None = None
    problem_type: str | None = None

    def __post_init__(self) -> None:
        self._default_hidden_dim()
        sizes = ("image_size", "patch_size", "num_channels", "num_classes", "num_layers", "num_heads")
        self._check_sizes(*sizes, "embed_dim", "hidden_dim")
        self._check_divides("patch_size", "image_size")
        self._check_divides("num_heads", "embed_dim")
        self._check_probability("dropout")
        check_eps("ViTConfig", self.layer_norm_epsilon)
        check_activation("ViTConfig", self.activation)
        self._check_labels(self.num_classes)

    @property
    def num_patches(self) -> int:
        """How many patches a picture has."""
        return (self.image_size // self.patch_size) ** 2


class ViT(Pretrained):
    """A vision transformer: patches and a learned first token through pre-norm blocks; a linear head reads the first
    token.

    Pictures (B, num_channels, image_size, image_size) give scores (B, num_classes). Freshly initialised from
    `pf.manual_seed`'s stream, float32. Its folders are those of Hugging Face's ViTForImageClassification.

    Args:
        config: a ViTConfig.

    Raises:
        TypeError: config is no ViTConfig; later, pictures have another dtype than the parameters.
        ValueError: later, a shape does not fit.

    Source: Dosovitskiy et al. 2020, "An image is worth 16x16 words".

    Example:
        >>> model = pf.models.ViT(pf.models.ViTConfig(image_size=8, num_layers=1, num_heads=2, embed_dim=8))
        >>> model(pf.zeros(2, 1, 8, 8)).shape
        (2, 10)
    """

    config_class = ViTConfig
    layout = vit.LAYOUT

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        width = config.embed_dim
        self.cls_token = nn.init.normal(1, 1, width, std=0.02)
        self.positions = nn.init.normal(1, config.num_patches + 1, width, std=0.02)
        self.patches = nn.Conv2d(config.num_channels, width, config.patch_size, stride=config.patch_size)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            nn.TransformerBlock(
                width,
                config.num_heads,
                hidden_dim=config.hidden_dim,
                activation=config.activation,
                eps=config.layer_norm_epsilon,
                dropout=config.dropout,
            )
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
        self.classifier = nn.Linear(width, config.num_classes)
        _initialise(self)

    def forward(self, pictures: Any, *, return_weights: bool = False) -> Any:
        """Scores (B, num_classes).

        Args:
            pictures: (B, num_channels, image_size, image_size) in the dtype of the parameters, a Tensor or array.
            return_weights: give (scores, list of the attention weights (B, H, T, T) of each layer). T is one more
                than there are patches: the first token, then row by row.

        Raises:
            ValueError: the shape is another.
            TypeError: the dtype is another.
        """
        size = self.config.image_size
        pictures = read_pictures("ViT", pictures, (self.config.num_channels, size, size), self.cls_token)
        tokens = self.patches(pictures)
        batch, width = tokens.shape[:2]
        tokens = tokens.reshape(batch, width, -1).transpose(0, 2, 1)
        first = self.cls_token + pf.zeros(batch, 1, width, dtype=tokens.dtype, device=tokens.device)
        x = self.dropout(ops.concat([first, tokens], axis=1) + self.positions)
        weights = []
        for layer in self.layers:
            x = layer(x, return_weights=return_weights)
            if return_weights:
                x, of_layer = x
                weights.append(of_layer)
        scores = self.classifier(self.norm(x[:, 0]))
        return (scores, weights) if return_weights else scores

    def loss(self, pictures: Any, labels: Any, label_smoothing: float = 0.0) -> pf.Tensor:
        """Mean cross-entropy in nats of labels (B,), a scalar; raises as `forward` does, IndexError for a bad label.

        Where the config's `problem_type` says otherwise, or there is one class, the loss is that of
        `BertClassifier.loss`, without smoothing.
        """
        problem = self.config.problem_type
        if not is_single_label("ViT", problem, self.config.num_classes, labels):
            if label_smoothing:
                raise ValueError("ViT: label_smoothing is for classes of which one is right")
            return soft_loss("ViT", problem, self(pictures), labels)
        scores = self(pictures)
        labels = read_labels("ViT", labels, *scores.shape, scores.device)
        return ops.cross_entropy(scores, labels, label_smoothing=label_smoothing)


def _initialise(model: nn.Module) -> None:
    """Everything but norms normal with 0.02, biases zero."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim >= 2:
            nn.init.normal_(parameter, std=0.02)
