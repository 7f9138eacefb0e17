"""Modules: layers with parameters, and what holds them together."""

from pyformer.nn import init
from pyformer.nn.attention import alibi_bias, alibi_slopes, attention_weights, sinusoidal_positions, sinusoids
from pyformer.nn.cache import KVCache
from pyformer.nn.convolution import (
    AvgPool2d,
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
from pyformer.nn.recurrent import GRU, LSTM, CfC
from pyformer.nn.retention import MultiScaleRetention
from pyformer.nn.transformer import MLP, MultiHeadAttention, TransformerBlock, mlp

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "MLP",
    "AvgPool2d",
    "BatchNorm2d",
    "CfC",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Embedding",
    "GroupNorm",
    "KANLayer",
    "KVCache",
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "MultiHeadAttention",
    "MultiScaleRetention",
    "Parameter",
    "Projection",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Tanh",
    "TransformerBlock",
    "alibi_bias",
    "alibi_slopes",
    "attention_weights",
    "inference",
    "init",
    "mlp",
    "sinusoidal_positions",
    "sinusoids",
]
