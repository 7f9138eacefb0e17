"""The base of all models: made of a config, saved in a folder, opened again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import pyformer as pf
from pyformer import formats, nn
from pyformer.formats.folder import GENERATION_KEYS, naming_config
from pyformer.formats.quantized import quantized_config, read_quantized_config
from pyformer.models import quantization
from pyformer.models.config import Config, warn_of_tokens

log = logging.getLogger(__name__)

Self = TypeVar("Self", bound="Pretrained")


class Pretrained(nn.Module):
    """A model with `config`.

    `config_class` is the config's class, `layout` what a folder of such models looks like, and `model_type` names the
    kind in config.json where the layout is our own. `generation_keys` are those of generation_config.json that the
    model follows besides those of `generate`.
    """

    config: Any
    config_class: type[Config]
    model_type: str
    layout = formats.OWN
    generation_keys: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        if "config_class" in cls.__dict__ and "model_class" not in cls.config_class.__dict__:
            cls.config_class.model_class = cls

    def __init__(self, config: Any) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            wanted = self.config_class.__name__
            article = "an" if wanted[0] in "AEIOU" else "a"
            raise TypeError(f"{type(self).__name__}: expected {article} {wanted}, got {type(config).__name__}")
        self.config = config
        # What the files said besides, for `save_pretrained`.
        self.unread_config: dict[str, Any] = {}
        self.generation_config: dict[str, Any] | None = None

    def cache_bytes(self, rows: int = 1, tokens: int | None = None) -> int:
        """Memory that generating `rows` texts of `tokens` takes, by default of the longest; 0 where it takes none."""
        return 0

    def save_pretrained(
        self, folder: str | os.PathLike, *, shard_bytes: int = formats.SHARD_BYTES, tokenizer: Any = None
    ) -> None:
        """Writes config.json and model.safetensors, for `from_pretrained` and, where the family is theirs, for
        `transformers`; older files are replaced only when the new ones are complete. Weights of more than
        `shard_bytes` go to several files with an index. What the config.json that the model was opened from says
        besides, and its generation_config.json, are written again; a model without one leaves none in the folder. A
        path that ends in .gguf becomes a GGUF file, for the families in docs/checkpoints.md, and a `tokenizer` goes
        into it.

        Raises:
            OSError: the folder can't be written or the disk is full.
            TypeError: a tokenizer is given beside a folder, which has its own files: `tokenizer.save(folder)`.
            ValueError: GGUF doesn't have this family, or the model has LoRA layers, which `pf.lora.save` writes.
        """
        state = self.state_dict()
        if any(".lora_A." in name for name in state):
            raise ValueError("save_pretrained: the model has LoRA layers: pf.lora.save or pf.lora.merge first")
        quantized = quantization.matrices(self)
        shared_names = self.shared_names() | quantization.shared_names(self)
        if os.fspath(folder).endswith(".gguf"):
            tensors = {self.layout.stored_name(name): value for name, value in (state | quantized).items()}
            shared = {self.layout.stored_name(a): self.layout.stored_name(b) for a, b in shared_names.items()}
            formats.save_gguf(folder, self._gguf_config(folder), tensors, tokenizer, shared)
            return
        if tokenizer is not None:
            raise TypeError(
                "save_pretrained: tokenizer is for a .gguf file; tokenizer.save(folder) writes into a folder"
            )
        dtype = next(iter(state.values())).dtype.name
        names = {name: self.layout.written_name(name) for name in (*state, *quantized)}
        config = {**self.layout.write(self), **self.unread_config, "torch_dtype": dtype}
        config |= quantized_config({names[name]: matrix for name, matrix in quantized.items()})
        transposed = {names[name] for name in state if self.layout.is_transposed(name)}
        tensors: dict[str, Any] = {}
        for name, tensor in (state | {name: matrix.blocks() for name, matrix in quantized.items()}).items():
            stacked = tensors.get(names[name])
            parts = () if stacked is None else stacked.parts
            is_part = self.layout.stacked_name(name) is not None
            tensors[names[name]] = formats.Stacked((*parts, tensor)) if is_part else tensor
        shared = {names[name]: names[other] for name, other in shared_names.items()}
        formats.save_model(folder, config, tensors, transposed, shard_bytes, self.generation_config, shared)

    def _gguf_config(self, path: str | os.PathLike) -> dict[str, Any]:
        """What config.json would say, with all ends of a text; a warning names what GGUF has no place for."""
        values, said = dict(self.layout.write(self)), self.generation_config or {}
        ends: dict[int, None] = {}
        for end in (said.get("eos_token_id"), values.get("eos_token_id")):
            ends |= dict.fromkeys(end if isinstance(end, list) else [] if end is None else [end])
        values["eos_token_id"] = list(ends) if len(ends) > 1 else next(iter(ends), None)
        left = [k for k in GENERATION_KEYS if k != "eos_token_id" and said.get(k) is not None]
        if left:
            log.warning("%s: GGUF leaves out what %s says of %s", path, formats.GENERATION_NAME, ", ".join(left))
        return values

    def quantize(self: Self, how: str, where: Callable[[str], bool] | None = None) -> Self:
        """Puts matrices of 8 or 4 bits a number in the place of the float ones; returns self.

        They are those of Linear layers and the table of a language model's tokens. They are no parameters and can't be
        trained, but `pf.lora` can be trained beside them. What they compute follows one rule, "int8_int16" of
        `pf.QuantizedWeight`, on every machine, for one token or many.

        Args:
            how: "q8", 8.25 bits a number, or "q4", 5 bits: GGUF's Q4_1, with Q8_0 for the table of tokens and the last
                projection.
            where: where(name of a module) is true for those that are meant, all by default.

        Raises:
            ValueError: how is none of these, the model has LoRA layers, or a matrix is float64 or float16 or has
                numbers above 65504, infinities or NaN. The model is as it was then.

        Example:
            >>> config = pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8)
            >>> model = pf.models.Llama(config).quantize("q8", where=lambda name: name.endswith("q_proj"))
            >>> model.layers[0].self_attn.q_proj.quantized.format
            'q8'
        """
        quantization.quantize(self, how, where)
        return self

    @classmethod
    def from_pretrained(
        cls: type[Self],
        folder: str | os.PathLike,
        dtype: Any = None,
        device: Any = None,
        quantize: str | None = None,
        **options: Any,
    ) -> Self:
        """Opens a folder of `save_pretrained`, or of the same family in `transformers`, in evaluation mode.

        Names, shapes and dtypes are checked before memory is taken, and the weights are in memory once. What the
        folder says is followed, or refused, or a warning (logger "pyformer") names it; `generation_config` is the
        content of its generation_config.json, which `generate` follows where it is told nothing else. The path of a
        GGUF file opens, too.

        Args:
            dtype: of the parameters; by default float64 for a float64 file that is not to be quantised, and float32
                otherwise.
            device: where the model is to be; by default that of new tensors.
            quantize: "keep" leaves matrices of 8 or fewer bits a number as the file has them; "q8" or "q4" is what
                `quantize` makes of the model. By default a folder opens as it was saved, unless a dtype is given, and
                a GGUF file's matrices become floats.
            options: what the class itself takes beside its config.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged, or config.json and the weights don't fit together, or the device is not
                there.
            TypeError: a value in config.json or a tensor has the wrong type, or dtype is no float dtype.
        """
        # Module.to would take a name that is no dtype's for a device's.
        dtype = None if dtype is None else pf.zeros(0, dtype=dtype, device="cpu").dtype
        device = None if device is None else pf.device(device)
        quantization.check(quantize)
        values = formats.read_config(folder)
        with naming_config(folder):
            quantized = read_quantized_config(values)
            config = cls.read_config(values)
            layout = cls.layout_of(values)
        weights = formats.Weights(folder, layout, quantized)
        config = cls._untied(config, weights)
        weights.check_layers(getattr(config, "num_layers", 0))
        options = {**cls._options_of(weights), **options}
        with naming_config(folder), nn.init.outlines():
            shapes = cls(config, **options).shapes()
        weights.check(shapes)
        keeps = quantize == "keep" or (bool(quantized) and dtype is None and quantize is None)
        with nn.init.skip(untouched=keeps):
            model = cls(config, **options)
        own_dtype = pf.float32 if quantize in quantization.FORMATS else weights.dtype()
        model.to(own_dtype if dtype is None else dtype)
        if device is not None:
            model.to(device)
        weights.fill(model, quantized=keeps)
        if quantize not in (None, "keep"):
            model.quantize(quantize)
        model.unread_config = layout.unread(values)
        model.generation_config = formats.read_generation(folder, cls.generation_keys)
        if hasattr(config, "vocab_size"):
            warn_of_tokens(os.fspath(folder), values, config.vocab_size)
            warn_of_tokens(formats.GENERATION_NAME, model.generation_config or {}, config.vocab_size)
        return model.eval()

    @classmethod
    def read_config(cls, values: Mapping[str, Any]) -> Any:
        """The config that the content of a config.json means; ValueError or TypeError if it can't be built."""
        return cls.layout_of(values).read(cls, values)

    @classmethod
    def layout_of(cls, values: Mapping[str, Any]) -> formats.Layout:
        """What a folder with this config.json looks like."""
        return cls.layout

    @classmethod
    def _untied(cls, config: Any, weights: formats.Weights) -> Any:
        """The config, with a head of its own where the weights have one that isn't the embedding."""
        if weights.layout.tie is None or not config.tied or not weights.has_own_head():
            return config
        message = "%s: %s differs from %s, so it is taken as a head of its own, though config.json says they are one"
        log.warning(message, weights.path, *weights.layout.tie)
        return replace(config, tied=False)

    @classmethod
    def _options_of(cls, weights: formats.Weights) -> dict[str, Any]:
        """What the class must be told to fit these weights."""
        return {}
