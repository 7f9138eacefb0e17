"""Saving and opening models whose config.json is their config, field by field, beside `model_type`."""

from __future__ import annotations

import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyformer as pf
from pyformer import _core, formats, nn

# Written for readers of the file; `dtype` of what is opened comes from the tensors.
_NOT_IN_CONFIG = ("model_type", "torch_dtype")


class Pretrained(nn.Module):
    """Base of models with `config`, a dataclass, and these class attributes:

    model_type names the kind in config.json; config_class is the config's class, whose `least_parameters()` says
    how many numbers the model holds at least, so that a file too short is refused before memory is taken.
    """

    model_type: str
    config_class: type
    config: Any

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes config.json and model.safetensors; both replace older files only when complete.

        Raises:
            OSError: the folder can't be written or the disk is full.
        """
        state = self.state_dict()
        dtype = next(iter(state.values())).dtype.name
        config = {"model_type": self.model_type, **asdict(self.config), "torch_dtype": dtype}
        formats.save_model(folder, config, state)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, *, dtype: Any = None) -> Pretrained:
        """Opens a folder of `save_pretrained`, in evaluation mode.

        `dtype` defaults to float64 for a float64 file and to float32 otherwise.

        Raises:
            FileNotFoundError: config.json or model.safetensors is missing.
            ValueError: a file is damaged, or the two don't fit together.
            TypeError: a value in config.json or a tensor has the wrong type.
        """
        config = cls._read_config(folder)
        path = Path(folder) / formats.WEIGHTS_NAME
        if not path.is_file():
            raise FileNotFoundError(f"{folder}: no {formats.WEIGHTS_NAME} here")
        entries, _ = formats.read_header(path)
        _check_size(path, config, entries)
        with nn.init.skip():
            model = cls(config)
        own = model.state_dict()
        missing, extra = sorted(set(own) - set(entries)), sorted(set(entries) - set(own))
        if missing or extra:
            raise ValueError(f"{path}: missing tensors {missing[:5]}, unexpected {extra[:5]}")
        for name, tensor in own.items():
            if entries[name].shape != tuple(tensor.shape):
                raise ValueError(f"{path}: {name} must be {tuple(tensor.shape)}, got {entries[name].shape}")
            if entries[name].dtype not in ("F64", "F32", "F16", "BF16"):
                raise TypeError(f"{path}: {name} must be of a float dtype, got {entries[name].dtype}")
        if dtype is None:
            dtype = pf.float64 if any(entry.dtype == "F64" for entry in entries.values()) else pf.float32
        model.to(dtype)
        with pf.no_grad(), open(path, "rb") as file:
            for name, tensor in model.state_dict().items():
                _core.copy_([tensor], [formats.read_tensor(file, entries[name]).to(tensor.dtype)])
        return model.eval()

    @classmethod
    def _read_config(cls, folder: str | os.PathLike) -> Any:
        values = formats.read_config(folder)
        if values.get("model_type") != cls.model_type:
            raise ValueError(f"{cls.__name__}: model_type must be {cls.model_type!r}, got {values.get('model_type')!r}")
        values = {name: value for name, value in values.items() if name not in _NOT_IN_CONFIG}
        known = {field.name for field in fields(cls.config_class)}
        if set(values) != known:
            missing, extra = sorted(known - set(values)), sorted(set(values) - known)
            raise ValueError(f"{cls.__name__}: config.json lacks {missing[:5]} and has unknown {extra[:5]}")
        return cls.config_class(**values)


def _check_size(path: Path, config: Any, entries: dict[str, formats.Entry]) -> None:
    held = 0
    for entry in entries.values():
        count = 1
        for extent in entry.shape:
            count *= extent
        held += count
    if config.least_parameters() > held:
        raise ValueError(f"{path}: config.json means {config.least_parameters()} numbers or more, got {held}")
