"""Modules: layers with parameters, and what holds them together."""

from pyformer.nn import init
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
from pyformer.nn.transformer import MLP, MultiHeadAttention, TransformerBlock

__all__ = [
    "GELU",
    "MLP",
    "Dropout",
    "Embedding",
    "LayerNorm",
    "Linear",
    "Module",
    "ModuleList",
    "MultiHeadAttention",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Tanh",
    "TransformerBlock",
    "init",
]
