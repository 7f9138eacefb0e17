"""Models, one file each, and `from_pretrained`, which opens any of them."""

from __future__ import annotations

import os
from typing import Any

from pyformer import formats
from pyformer.formats.folder import reading_once
from pyformer.formats.hf.decoder import DECODER_TYPES
from pyformer.formats.hf.t5 import T5_TYPES
from pyformer.models import bert
from pyformer.models.autoencoder import Autoencoder, AutoencoderConfig
from pyformer.models.bert import BERT, BertClassifier, BertConfig
from pyformer.models.convnet import ConvNet, ConvNetConfig
from pyformer.models.decoder import Decoder
from pyformer.models.decoder_config import DecoderConfig
from pyformer.models.dit import DiT, DiTConfig
from pyformer.models.encoder import Encoder, EncoderConfig
from pyformer.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from pyformer.models.gan import GAN, GANConfig
from pyformer.models.gpt import GPT, GPTConfig
from pyformer.models.kan import KAN, KANConfig, KANTransformer, KANTransformerConfig
from pyformer.models.liquid import Liquid, LiquidConfig, LiquidNetwork, LiquidNetworkConfig
from pyformer.models.llama import Llama, LlamaConfig
from pyformer.models.lstm import LSTM, LSTMConfig
from pyformer.models.mlp import MLPLanguageModel, MLPLanguageModelConfig
from pyformer.models.retnet import RetNet, RetNetConfig
from pyformer.models.t5 import T5, T5Config
from pyformer.models.vit import ViT, ViTConfig

__all__ = [
    "BERT",
    "GAN",
    "GPT",
    "KAN",
    "LSTM",
    "T5",
    "Autoencoder",
    "AutoencoderConfig",
    "BertClassifier",
    "BertConfig",
    "ConvNet",
    "ConvNetConfig",
    "Decoder",
    "DecoderConfig",
    "DiT",
    "DiTConfig",
    "Encoder",
    "EncoderConfig",
    "EncoderDecoder",
    "EncoderDecoderConfig",
    "GANConfig",
    "GPTConfig",
    "KANConfig",
    "KANTransformer",
    "KANTransformerConfig",
    "LSTMConfig",
    "Liquid",
    "LiquidConfig",
    "LiquidNetwork",
    "LiquidNetworkConfig",
    "Llama",
    "LlamaConfig",
    "MLPLanguageModel",
    "MLPLanguageModelConfig",
    "RetNet",
    "RetNetConfig",
    "T5Config",
    "ViT",
    "ViTConfig",
    "from_pretrained",
]

_OWN_LAYOUT = (
    Autoencoder,
    ConvNet,
    DiT,
    EncoderDecoder,
    GAN,
    KAN,
    KANTransformer,
    LSTM,
    Liquid,
    LiquidNetwork,
    MLPLanguageModel,
    RetNet,
)
_BY_TYPE = {
    "bert": bert.from_pretrained,
    "gpt2": GPT.from_pretrained,
    "llama": Llama.from_pretrained,
    "mistral": Llama.from_pretrained,
    "pyformer_llama": Llama.from_pretrained,
    "modernbert": Encoder.from_pretrained,
    "vit": ViT.from_pretrained,
    **dict.fromkeys(T5_TYPES, T5.from_pretrained),
    **dict.fromkeys(DECODER_TYPES, Decoder.from_pretrained),
    **{model.model_type: model.from_pretrained for model in _OWN_LAYOUT},
}


def from_pretrained(
    folder: str | os.PathLike, dtype: Any = None, device: Any = None, quantize: str | None = None, **options: Any
) -> Any:
    """Opens a saved model, whichever kind: its class comes from `model_type` in config.json.

    Args:
        folder: a folder of `save_pretrained`, or of a family of `transformers` in docs/open.md, or a GGUF file of a
            family in docs/checkpoints.md.
        dtype: of the parameters; by default float64 for a float64 file that is not to be quantised, and float32
            otherwise.
        device: where the model is to be; by default that of new tensors.
        quantize: "keep" leaves matrices of 8 or fewer bits a number as the file has them; "q8" or "q4" is what
            `quantize` makes of the model. By default a folder opens as it was saved, unless a dtype is given, and a
            GGUF file's matrices become floats.
        options: what the class of the model takes beside its config.

    Returns:
        The model, a `pf.nn.Module`, in evaluation mode.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, the kind of model is not known, or the device is not there.
        TypeError: a value in config.json or a tensor has the wrong type, or dtype is no float dtype.

    Example:
        >>> model = pf.models.GPT(pf.models.GPTConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> model.save_pretrained(folder)
        >>> again = pf.from_pretrained(folder)
        >>> type(again).__name__, (again([[1, 2]]) == model([[1, 2]])).numpy().all().item()
        ('GPT', True)
    """
    with reading_once():
        kind = formats.read_config(folder).get("model_type")
        if not isinstance(kind, str) or kind not in _BY_TYPE:
            raise ValueError(f"{folder}: config.json: model_type must be one of {sorted(_BY_TYPE)}, got {kind!r}")
        return _BY_TYPE[kind](folder, dtype=dtype, device=device, quantize=quantize, **options)
