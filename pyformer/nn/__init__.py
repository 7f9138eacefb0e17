"""Modules: layers with parameters, and what holds them together."""

from pyformer.nn import init
from pyformer.nn.attention import alibi_bias, alibi_slopes, attention_weights, sinusoidal_positions, sinusoids
from pyformer.nn.cache import KVCache
from pyformer.nn.convolution import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    GroupNorm,
    MaxPool2d,
)
from pyformer.nn.kan import KANLayer
from pyformer.nn.layers import (
    GELU,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    ModuleList,
    Projection,
    ReLU,
    RMSNorm,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
)
from pyformer.nn.module import Module, Parameter, inference
from pyformer.nn.names import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    Flatten,
    Identity,
    L1Loss,
    LeakyReLU,
    ModuleDict,
    MSELoss,
    ParameterList,
    Softmax,
    Softplus,
)
from pyformer.nn.recurrent import GRU, LSTM, RNN, CfC
from pyformer.nn.retention import MultiScaleRetention
from pyformer.nn.torch_transformer import (
    MultiheadAttention,
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from pyformer.nn.transformer import MLP, MultiHeadAttention, TransformerBlock, mlp

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "MLP",
    "RNN",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "CfC",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GroupNorm",
    "Identity",
    "KANLayer",
    "KVCache",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiHeadAttention",
    "MultiScaleRetention",
    "MultiheadAttention",
    "Parameter",
    "ParameterList",
    "Projection",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Transformer",
    "TransformerBlock",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "alibi_bias",
    "alibi_slopes",
    "attention_weights",
    "inference",
    "init",
    "mlp",
    "sinusoidal_positions",
    "sinusoids",
]


def __getattr__(name: str) -> object:
    if name in ("functional", "utils"):
        from importlib import import_module

        return import_module(f"pyformer.nn.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
