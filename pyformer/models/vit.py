"""ViT: Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words".

A picture is cut into patches, each a token; a learned first token gathers what the classifier reads. Files are those
of Hugging Face's ViTForImageClassification.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyformer as pf
from pyformer import _core, formats, nn, ops
from pyformer.formats import hf
from pyformer.models.inputs import read_labels, read_pictures
from pyformer.nn.layers import check_eps, check_probability, check_sizes
from pyformer.nn.transformer import check_activation

# config.json's name of each field that both have.
_HF_FIELDS = {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "num_channels": "num_channels",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "embed_dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "layer_norm_epsilon": "layer_norm_eps",
}
_HF_KNOWN = {"hidden_act", "attention_probs_dropout_prob", "encoder_stride", "pooler_act", "pooler_output_size"}
# The file's name of each part, the layers' within a layer.
_HF_PARTS = {
    "cls_token": "embeddings.cls_token",
    "positions": "embeddings.position_embeddings",
    "patches.": "embeddings.patch_embeddings.projection.",
    "norm.": "layernorm.",
}
_HF_LAYER_PARTS = {
    "attention_norm.": "layernorm_before.",
    "attention.q_proj.": "attention.attention.query.",
    "attention.k_proj.": "attention.attention.key.",
    "attention.v_proj.": "attention.attention.value.",
    "attention.out_proj.": "attention.output.dense.",
    "mlp_norm.": "layernorm_after.",
    "mlp.up.": "intermediate.dense.",
    "mlp.down.": "output.dense.",
}
_REDUNDANT = r"pooler\..*"


@dataclass(frozen=True)
class ViTConfig:
    """The shape of a ViT; `hidden_dim` is 4 * embed_dim unless given. Raises TypeError or ValueError."""

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

    def __post_init__(self) -> None:
        if self.hidden_dim == 0 and isinstance(self.embed_dim, int):
            object.__setattr__(self, "hidden_dim", 4 * self.embed_dim)
        sizes = ("image_size", "patch_size", "num_channels", "num_classes", "num_layers", "num_heads")
        check_sizes("ViTConfig", **{name: getattr(self, name) for name in (*sizes, "embed_dim", "hidden_dim")})
        if self.image_size % self.patch_size:
            raise ValueError(f"ViTConfig: patch_size ({self.patch_size}) must divide image_size ({self.image_size})")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"ViTConfig: num_heads ({self.num_heads}) must divide embed_dim ({self.embed_dim})")
        check_probability("ViTConfig", "dropout", self.dropout)
        check_eps("ViTConfig", self.layer_norm_epsilon)
        check_activation("ViTConfig", self.activation)

    @property
    def num_patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2

    def to_hf(self) -> dict[str, Any]:
        """The content of config.json as `transformers` reads it."""
        return {
            "architectures": ["ViTForImageClassification"],
            "model_type": "vit",
            **{theirs: getattr(self, ours) for ours, theirs in _HF_FIELDS.items()},
            "hidden_act": hf.OUR_ACTIVATIONS[self.activation],
            "attention_probs_dropout_prob": 0.0,
            "qkv_bias": True,
            "id2label": {str(i): f"LABEL_{i}" for i in range(self.num_classes)},
            "label2id": {f"LABEL_{i}": i for i in range(self.num_classes)},
        }

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> ViTConfig:
        """Reads the content of a ViT config.json; ValueError or TypeError if it isn't one that can be built."""
        fixed = {"model_type": "vit", "qkv_bias": True}
        required = ("image_size", "patch_size", "num_channels", "num_hidden_layers", "num_attention_heads")
        known = {*_HF_FIELDS.values(), *_HF_KNOWN}
        hf.check_config("ViT", config, fixed=fixed, required=(*required, "hidden_size"), known=known)
        activation = hf.read_activation("ViT", "hidden_act", config.get("hidden_act", "gelu"))
        values = {ours: config[theirs] for ours, theirs in _HF_FIELDS.items() if theirs in config}
        labels = config.get("id2label") or (0, 1)
        return cls(**values, activation=activation, num_classes=len(labels))


class ViT(nn.Module):
    """Patches and the first token through pre-norm blocks; a linear head reads the first token.

    Freshly initialised from `pf.manual_seed`'s stream, float32.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        if not isinstance(config, ViTConfig):
            raise TypeError(f"ViT: expected a ViTConfig, got {type(config).__name__}")
        self.config = config
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
        """Mean cross-entropy in nats of labels (B,), a scalar; raises as `forward` does, IndexError for a bad label."""
        scores = self(pictures)
        labels = read_labels("ViT", labels, *scores.shape, scores.device)
        return ops.cross_entropy(scores, labels, label_smoothing=label_smoothing)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes config.json and model.safetensors, which `transformers`' ViTForImageClassification opens."""
        hf.save(folder, self.config.to_hf(), self, lambda name: _prefix_of(name) + _file_name(name))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, *, dtype: Any = None) -> ViT:
        """Opens a folder of `save_pretrained` or ViTForImageClassification's, in evaluation mode.

        Raises:
            FileNotFoundError: config.json or model.safetensors is missing.
            ValueError: a file is damaged, or the two don't fit together.
            TypeError: a value in config.json or a tensor has the wrong type.
        """
        config = ViTConfig.from_hf(formats.read_config(folder))
        weights = hf.Weights(folder, "vit.")
        width, patch = config.embed_dim, config.patch_size
        anchors = {
            "embeddings.position_embeddings": (1, config.num_patches + 1, width),
            "embeddings.patch_embeddings.projection.weight": (width, config.num_channels, patch, patch),
            f"encoder.layer.{config.num_layers - 1}.intermediate.dense.weight": (config.hidden_dim, width),
            "classifier.weight": (config.num_classes, width),
        }
        weights.require(config.num_layers, anchors)
        with nn.init.skip():
            model = cls(config)
        return weights.fill(model, _file_name, _REDUNDANT, dtype)


def _file_name(name: str) -> str:
    """The name in a file, without `vit.`, of a parameter here."""
    return hf.encoder_name(name, _HF_PARTS, _HF_LAYER_PARTS)


def _prefix_of(name: str) -> str:
    return "" if name.startswith("classifier.") else "vit."


def _initialise(model: nn.Module) -> None:
    """Everything but norms normal with 0.02, biases zero."""
    if nn.init.skipped():
        return
    with pf.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                _core.zero_([parameter])
            elif parameter.ndim >= 2:
                _core.copy_([parameter], [pf.randn(*parameter.shape, dtype=parameter.dtype) * 0.02])
