"""BERT: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2019), and a classifier on it.

An encoder: every token sees every other. Tokens, positions and segments are embedded and normalised; blocks
normalise after they add; the pooler looks at the first token. Files are those of Hugging Face's BertModel and
BertForSequenceClassification.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, formats, nn, ops
from pyformer.formats import hf
from pyformer.models.inputs import read_ids, read_int64, read_lengths
from pyformer.nn.layers import check_eps, check_probability, check_sizes
from pyformer.nn.transformer import check_activation

# config.json's name of each field that both have.
_HF_FIELDS = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "embed_dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "num_segments": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
    "layer_norm_epsilon": "layer_norm_eps",
}
_HF_FIXED = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
_HF_KNOWN = {"hidden_act", "attention_probs_dropout_prob", "classifier_dropout", "tie_word_embeddings"}
# The file's name of each part, the layers' within a layer.
_HF_PARTS = {
    "tokens.": "embeddings.word_embeddings.",
    "positions.": "embeddings.position_embeddings.",
    "segments.": "embeddings.token_type_embeddings.",
    "norm.": "embeddings.LayerNorm.",
    "pooler.": "pooler.dense.",
}
_HF_LAYER_PARTS = {
    "attention.q_proj.": "attention.self.query.",
    "attention.k_proj.": "attention.self.key.",
    "attention.v_proj.": "attention.self.value.",
    "attention.out_proj.": "attention.output.dense.",
    "attention_norm.": "attention.output.LayerNorm.",
    "mlp.up.": "intermediate.dense.",
    "mlp.down.": "output.dense.",
    "mlp_norm.": "output.LayerNorm.",
}
_REDUNDANT = r"embeddings\.position_ids|cls\..*"


@dataclass(frozen=True)
class BertConfig:
    """The shape of a BERT; `hidden_dim` is 4 * embed_dim unless given. Raises TypeError or ValueError."""

    vocab_size: int
    context_length: int
    num_layers: int
    num_heads: int
    embed_dim: int
    hidden_dim: int = 0
    num_segments: int = 2
    dropout: float = 0.1
    layer_norm_epsilon: float = 1e-12
    activation: str = "gelu"
    num_labels: int = 2

    def __post_init__(self) -> None:
        if self.hidden_dim == 0 and isinstance(self.embed_dim, int):
            object.__setattr__(self, "hidden_dim", 4 * self.embed_dim)
        sizes = ("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim", "hidden_dim")
        names = (*sizes, "num_segments", "num_labels")
        check_sizes("BertConfig", **{name: getattr(self, name) for name in names})
        if self.embed_dim % self.num_heads:
            raise ValueError(f"BertConfig: num_heads ({self.num_heads}) must divide embed_dim ({self.embed_dim})")
        check_probability("BertConfig", "dropout", self.dropout)
        check_eps("BertConfig", self.layer_norm_epsilon)
        check_activation("BertConfig", self.activation)

    def to_hf(self) -> dict[str, Any]:
        """The content of config.json as `transformers` reads it."""
        return {
            "model_type": "bert",
            **{theirs: getattr(self, ours) for ours, theirs in _HF_FIELDS.items()},
            "hidden_act": hf.OUR_ACTIVATIONS[self.activation],
            "attention_probs_dropout_prob": 0.0,
            "id2label": {str(i): f"LABEL_{i}" for i in range(self.num_labels)},
            "label2id": {f"LABEL_{i}": i for i in range(self.num_labels)},
        }

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> BertConfig:
        """Reads the content of a BERT config.json; ValueError or TypeError if it isn't one that can be built."""
        fixed = {"model_type": "bert", **_HF_FIXED}
        required = ("vocab_size", "max_position_embeddings", "num_hidden_layers", "num_attention_heads", "hidden_size")
        known = {*_HF_FIELDS.values(), *_HF_KNOWN}
        hf.check_config("BERT", config, fixed=fixed, required=required, known=known)
        activation = hf.read_activation("BERT", "hidden_act", config.get("hidden_act", "gelu"))
        values = {ours: config[theirs] for ours, theirs in _HF_FIELDS.items() if theirs in config}
        labels = config.get("id2label") or (0, 1)
        return cls(**values, activation=activation, num_labels=len(labels))


class BERT(nn.Module):
    """The encoder, freshly initialised from `pf.manual_seed`'s stream, float32."""

    def __init__(self, config: BertConfig, *, pooler: bool = True) -> None:
        super().__init__()
        if not isinstance(config, BertConfig):
            raise TypeError(f"BERT: expected a BertConfig, got {type(config).__name__}")
        self.config = config
        width = config.embed_dim
        self.tokens = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Embedding(config.context_length, width)
        self.segments = nn.Embedding(config.num_segments, width)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            nn.TransformerBlock(
                width,
                config.num_heads,
                hidden_dim=config.hidden_dim,
                activation=config.activation,
                norm_first=False,
                eps=config.layer_norm_epsilon,
                dropout=config.dropout,
            )
            for _ in range(config.num_layers)
        )
        self.pooler = nn.Linear(width, width) if pooler else None
        _initialise(self)

    def forward(self, ids: Any, segments: Any = None, lengths: Any = None, *, return_weights: bool = False) -> Any:
        """Each token in its context, (B, T, C).

        Args:
            ids: integers (B, T): a Tensor, NumPy array or nested list.
            segments: which text each token belongs to, integers (B, T); by default all to the first, 0.
            lengths: tokens of each row that count, (B,); the rest is padding on the right, of no meaning.
            return_weights: give (result, list of the attention weights (B, H, T, T) of each layer).

        Raises:
            ValueError: T is 0 or exceeds the context length, or a shape is wrong.
            TypeError: ids, segments or lengths are not integers.
            IndexError: an id or segment is out of range.
        """
        device = self.tokens.weight.device
        ids = read_ids("BERT", ids, self.config.context_length, device)
        if lengths is not None:
            lengths = pf.tensor(read_lengths("BERT", lengths, *ids.shape), device=device)
        segments = np.zeros(ids.shape, np.int64) if segments is None else read_int64("BERT", "segments", segments)
        if segments.shape != tuple(ids.shape):
            raise ValueError(f"BERT: segments must be {tuple(ids.shape)} as ids are, got {segments.shape}")
        places = pf.tensor(np.arange(ids.shape[1]), device=device)
        x = self.tokens(ids) + self.positions(places) + self.segments(pf.tensor(segments, device=device))
        x = self.dropout(self.norm(x))
        weights = []
        for layer in self.layers:
            x = layer(x, key_lengths=lengths, return_weights=return_weights)
            if return_weights:
                x, of_layer = x
                weights.append(of_layer)
        return (x, weights) if return_weights else x

    def pool(self, hidden: pf.Tensor) -> pf.Tensor:
        """tanh of a linear map of each row's first token: (B, T, C) -> (B, C). ValueError without a pooler."""
        if self.pooler is None:
            raise ValueError("BERT: this model has no pooler")
        return ops.tanh(self.pooler(hidden[:, 0]))

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes config.json and model.safetensors, which `transformers`' BertModel opens."""
        hf.save(folder, {"architectures": ["BertModel"], **self.config.to_hf()}, self, _file_name)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, *, dtype: Any = None) -> BERT:
        """Opens the encoder of a folder of BERT's, whatever stands on it there, in evaluation mode.

        Raises:
            FileNotFoundError: config.json or model.safetensors is missing.
            ValueError: a file is damaged, or the two don't fit together.
            TypeError: a value in config.json or a tensor has the wrong type.
        """
        config, weights = _open(folder)
        with nn.init.skip():
            model = cls(config, pooler="pooler.dense.weight" in weights.entries)
        return weights.fill(model, _file_name, rf"{_REDUNDANT}|classifier\..*", dtype)


class BertClassifier(nn.Module):
    """A BERT and a linear map of its pooled first token to the scores of `config.num_labels` classes."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = BERT(config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.embed_dim, config.num_labels)
        _initialise(self.classifier)

    def forward(self, ids: Any, segments: Any = None, lengths: Any = None, *, return_weights: bool = False) -> Any:
        """Scores (B, num_labels) from the arguments of `BERT.forward`, which says what is raised."""
        hidden = self.bert(ids, segments, lengths, return_weights=return_weights)
        hidden, weights = hidden if return_weights else (hidden, None)
        logits = self.classifier(self.dropout(self.bert.pool(hidden)))
        return (logits, weights) if return_weights else logits

    def loss(self, ids: Any, labels: Any, lengths: Any = None, segments: Any = None) -> pf.Tensor:
        """Mean cross-entropy in nats of labels (B,), a scalar; raises as `forward` does."""
        labels = pf.tensor(read_int64("BertClassifier", "labels", labels), device=self.classifier.weight.device)
        return ops.cross_entropy(self(ids, segments, lengths), labels)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes config.json and model.safetensors, which `transformers`' BertForSequenceClassification opens."""
        config = {"architectures": ["BertForSequenceClassification"], **self.config.to_hf()}
        hf.save(folder, config, self, lambda name: _prefix_of(name) + _file_name(name))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, *, dtype: Any = None) -> BertClassifier:
        """Opens a folder of `save_pretrained` or BertForSequenceClassification's; raises as BERT's does."""
        config, weights = _open(folder)
        weights.require(0, {"classifier.weight": (config.num_labels, config.embed_dim)})
        with nn.init.skip():
            model = cls(config)
        return weights.fill(model, _file_name, _REDUNDANT, dtype)


def from_pretrained(folder: str | os.PathLike, **options: Any) -> BERT | BertClassifier:
    """A BertClassifier if config.json says that the folder holds one, else a BERT."""
    kinds = formats.read_config(folder).get("architectures") or []
    cls = BertClassifier if "BertForSequenceClassification" in kinds else BERT
    return cls.from_pretrained(folder, **options)


def _open(folder: str | os.PathLike) -> tuple[BertConfig, hf.Weights]:
    config = BertConfig.from_hf(formats.read_config(folder))
    weights = hf.Weights(folder, "bert.")
    width = config.embed_dim
    anchors = {
        "embeddings.word_embeddings.weight": (config.vocab_size, width),
        "embeddings.position_embeddings.weight": (config.context_length, width),
        "embeddings.token_type_embeddings.weight": (config.num_segments, width),
        f"encoder.layer.{config.num_layers - 1}.intermediate.dense.weight": (config.hidden_dim, width),
    }
    weights.require(config.num_layers, anchors)
    return config, weights


def _file_name(name: str) -> str:
    """The name in a file, without `bert.`, of a parameter here."""
    return hf.encoder_name(name.removeprefix("bert."), _HF_PARTS, _HF_LAYER_PARTS)


def _prefix_of(name: str) -> str:
    return "bert." if name.startswith("bert.") else ""


def _initialise(module: nn.Module) -> None:
    """Matrices normal with 0.02, biases zero."""
    if nn.init.skipped():
        return
    with pf.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                _core.zero_([parameter])
            elif parameter.ndim == 2:
                _core.copy_([parameter], [pf.randn(*parameter.shape, dtype=parameter.dtype) * 0.02])
