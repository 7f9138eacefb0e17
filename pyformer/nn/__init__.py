"""Modules: layers with parameters, and what holds them together."""

from pyformer.nn import init
from pyformer.nn.attention import alibi_bias, alibi_slopes, attention_weights, sinusoidal_positions, sinusoids
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
    ReLU,
    RMSNorm,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
)
from pyformer.nn.module import Module, Parameter
from pyformer.nn.recurrent import GRU, LSTM, CfC
from pyformer.nn.retention import MultiScaleRetention
from pyformer.nn.transformer import MLP, MultiHeadAttention, TransformerBlock

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
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "MultiHeadAttention",
    "MultiScaleRetention",
    "Parameter",
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
    "init",
    "sinusoidal_positions",
    "sinusoids",
]
