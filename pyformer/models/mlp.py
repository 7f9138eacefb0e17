"""A language model of linear maps alone: the last tokens of a fixed window, side by side, through an MLP.

Source: Bengio, Ducharme, Vincent, Jauvin 2003, "A Neural Probabilistic Language Model", section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyformer as pf
from pyformer import nn, ops
from pyformer.models.config import Config
from pyformer.models.state_model import StateModel


@dataclass(frozen=True)
class MLPLanguageModelConfig(Config):
    """The shape of an MLPLanguageModel.

    Args:
        vocab_size, context_length, embed_dim, dropout, eos_token_id: as in `GPTConfig`.
        num_layers: tanh layers.
        window: how many tokens the model sees.
        hidden_dim: of the layers, 4 embed_dim by default.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.MLPLanguageModelConfig(10, 8, num_layers=1, embed_dim=8, window=4).hidden_dim
        32
    """

    vocab_size: int
    context_length: int
    num_layers: int
    embed_dim: int
    window: int = 16
    hidden_dim: int = 0
    dropout: float = 0.0
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        self._default_hidden_dim()
        self._check_sizes("vocab_size", "context_length", "num_layers", "embed_dim", "window", "hidden_dim")
        self._check_probability("dropout")
        self._check_tokens("eos_token_id")


class MLPLanguageModel(StateModel):
    """The neural language model before recurrent ones: the embeddings of the last `window` tokens end to end, tanh
    layers, a linear map, and the embedding as the last projection. Before the start there are zeros.

    The paper has one tanh layer, a last projection of its own, and may add a linear map past the layer. Freshly
    initialised from `pf.manual_seed`'s stream, float32.

    Args:
        config: an MLPLanguageModelConfig.

    Raises:
        TypeError: config is no MLPLanguageModelConfig; later, ids are no integers.
        ValueError: later, a shape does not fit.
        IndexError: later, an id is not in [0, V).

    Source: Bengio et al. 2003, "A neural probabilistic language model".

    Example:
        >>> config = pf.models.MLPLanguageModelConfig(10, 8, num_layers=1, embed_dim=8, window=4)
        >>> pf.models.MLPLanguageModel(config)([[1, 2, 3]]).shape
        (1, 3, 10)
    """

    model_type = "mlp"
    config_class = MLPLanguageModelConfig

    def __init__(self, config: MLPLanguageModelConfig) -> None:
        super().__init__(config)
        width, hidden = config.embed_dim, config.hidden_dim
        self.wte = nn.Embedding(config.vocab_size, width)
        self.dropout = nn.Dropout(config.dropout)
        inputs = [config.window * width, *[hidden] * (config.num_layers - 1)]
        self.layers = nn.ModuleList(nn.Linear(size, hidden) for size in inputs)
        self.out = nn.Linear(hidden, width)
        for parameter in self.wte.parameters():
            nn.init.fill_(parameter, lambda table: table / math.sqrt(width))

    def advance(
        self, ids: pf.Tensor, states: list[pf.Tensor] | None, positions: pf.Tensor
    ) -> tuple[pf.Tensor, list[pf.Tensor]]:
        """As `StateModel.advance`; the state is the embeddings of the last window - 1 tokens, (B, window - 1, C)."""
        x, before = self.dropout(self.wte(ids)), self.config.window - 1
        x = ops.pad(x, [(0, 0), (before, 0), (0, 0)]) if states is None else ops.concat([states[0], x], axis=1)
        tokens = ids.shape[1]
        h = ops.concat([x[:, i : i + tokens] for i in range(before + 1)], axis=-1)
        for layer in self.layers:
            h = self.dropout(ops.tanh(layer(h)))
        return self.out(h), [x[:, tokens:]]
