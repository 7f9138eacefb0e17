"""BERT: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2019), and a classifier on it.

An encoder: every token sees every other. Tokens, positions and segments are embedded and normalised; blocks
normalise after they add; the pooler looks at the first token. Files are those of Hugging Face's BertModel and
BertForSequenceClassification.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import formats, nn, ops
from pyformer.formats.hf import bert
from pyformer.models.classification import hard_loss, is_single_label, soft_loss
from pyformer.models.config import Config
from pyformer.models.inputs import read_ids, read_int64, read_lengths
from pyformer.models.pretrained import Pretrained
from pyformer.nn.attention import within_lengths
from pyformer.nn.layers import check_eps
from pyformer.nn.transformer import check_activation


@dataclass(frozen=True)
class BertConfig(Config):
    """The shape of a BERT.

    Args:
        vocab_size, context_length, num_layers, num_heads, embed_dim: as in `GPTConfig`.
        hidden_dim: of the MLP, 4 embed_dim by default.
        num_segments: how many kinds of text may stand side by side.
        dropout: probability.
        layer_norm_epsilon: added to variances.
        activation: "gelu", "gelu_tanh", "relu", "silu", "tanh" or "sigmoid".
        num_labels: classes of a BertClassifier.
        labels: their names, none by default.
        problem_type: what a BertClassifier answers, in the words of `transformers`: "single_label_classification",
            "multi_label_classification" or "regression". None means a number to come near to where num_labels is 1,
            else one class of all where labels are integers, and yes or no of each class where they are floats.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.BertConfig(100, 32, num_layers=2, num_heads=2, embed_dim=16).hidden_dim
        64
    """

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
    labels: tuple[str, ...] | None = None
    problem_type: str | None = None

    def __post_init__(self) -> None:
        self._default_hidden_dim()
        self._check_sizes("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim", "hidden_dim")
        self._check_sizes("num_segments", "num_labels")
        self._check_divides("num_heads", "embed_dim")
        self._check_probability("dropout")
        check_eps("BertConfig", self.layer_norm_epsilon)
        check_activation("BertConfig", self.activation)
        self._check_labels(self.num_labels)


class BERT(Pretrained):
    """An encoder: every token sees every other; (B, T) ids give (B, T, C).

    Freshly initialised from `pf.manual_seed`'s stream, float32. Its folders are those of Hugging Face's BertModel.

    Args:
        config: a BertConfig.
        pooler: whether there is the linear map that `pool` applies to the first token.

    Raises:
        TypeError: config is no BertConfig; later, ids are no integers.
        ValueError: later, a text exceeds the context length, or a shape does not fit.
        IndexError: later, an id is not in [0, V).

    Source: Devlin et al. 2019, "BERT: Pre-training of deep bidirectional transformers".

    Example:
        >>> model = pf.models.BERT(pf.models.BertConfig(100, 32, num_layers=1, num_heads=2, embed_dim=16))
        >>> hidden = model([[5, 6, 7]])
        >>> hidden.shape, model.pool(hidden).shape
        ((1, 3, 16), (1, 16))
    """

    config_class = BertConfig
    layout = bert.ENCODER_LAYOUT

    def __init__(self, config: BertConfig, *, pooler: bool = True) -> None:
        super().__init__(config)
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
        device = self.tokens.device
        ids = read_ids("BERT", ids, self.config.context_length, device)
        if lengths is not None:
            lengths = pf.tensor(read_lengths("BERT", lengths, *ids.shape), device=device)
        segments = np.zeros(ids.shape, np.int64) if segments is None else read_int64("BERT", "segments", segments, None)
        if segments.shape != tuple(ids.shape):
            raise ValueError(f"BERT: segments must be {tuple(ids.shape)} as ids are, got {segments.shape}")
        places = pf.tensor(np.arange(ids.shape[1]), device=device)
        x = self.tokens(ids) + self.positions(places) + self.segments(pf.tensor(segments, device=device))
        x = self.dropout(self.norm(within_lengths(x, lengths)))
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

    @classmethod
    def _options_of(cls, weights: formats.Weights) -> dict[str, Any]:
        return {"pooler": "pooler.dense.weight" in weights.entries}


class BertClassifier(Pretrained):
    """A BERT and a linear map of its pooled first token to the scores of classes: (B, T) ids give (B, num_labels).

    Its folders are those of Hugging Face's BertForSequenceClassification.

    Args:
        config: a BertConfig.

    Raises:
        TypeError: config is no BertConfig; later, ids are no integers.
        ValueError: later, a text exceeds the context length, or a shape does not fit.
        IndexError: later, an id or label is out of range.

    Example:
        >>> config = pf.models.BertConfig(100, 32, num_layers=1, num_heads=2, embed_dim=16, num_labels=3)
        >>> model = pf.models.BertClassifier(config)
        >>> model([[5, 6, 7]]).shape, model.loss([[5, 6, 7]], [2]).shape
        ((1, 3), ())
    """

    config_class = BertConfig
    layout = bert.CLASSIFIER_LAYOUT

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
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
        """A scalar by the config's `problem_type`; raises as `forward` does, ValueError for labels of another shape.

        The mean cross-entropy in nats of labels (B,), integers, the numbers of classes; the mean squared error of
        labels (B, num_labels), or (B,) if that is 1, in a regression; the mean binary cross-entropy of labels
        (B, num_labels) where each class is yes or no. With one label and no problem_type it is a regression; the
        cross-entropy of one label would be 0, whatever the text, and is refused.
        """
        problem, classes = self.config.problem_type, self.config.num_labels
        if not is_single_label("BertClassifier", problem, classes, labels):
            return soft_loss("BertClassifier", problem, self(ids, segments, lengths), labels)
        return hard_loss("BertClassifier", self(ids, segments, lengths), labels)


def from_pretrained(folder: str | os.PathLike, **options: Any) -> BERT | BertClassifier:
    """A BertClassifier if config.json says that the folder holds one, else a BERT."""
    kinds = formats.read_config(folder).get("architectures") or []
    cls = BertClassifier if isinstance(kinds, list) and bert.CLASSIFIER in kinds else BERT
    return cls.from_pretrained(folder, **options)


def _initialise(module: nn.Module) -> None:
    """Matrices normal with 0.02, biases zero."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.02)
