"""The folder of a model: config.json beside model.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyformer as pf
from pyformer.formats.atomic import PathLike, atomic_files, json_bytes, read_json
from pyformer.formats.safetensors import write_safetensors

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def read_config(folder: PathLike) -> dict[str, Any]:
    """config.json of a model's folder; errors as in `read_json`."""
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no {CONFIG_NAME} here; is it a model's folder?")
    return read_json(path)


def save_model(folder: PathLike, config: Mapping[str, Any], tensors: Mapping[str, pf.Tensor]) -> None:
    """Writes config.json and model.safetensors into `folder`, which is made if need be.

    Both files are complete on the disk before either replaces an older one.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_files(folder / WEIGHTS_NAME, folder / CONFIG_NAME) as (weights, text):
        write_safetensors(weights, tensors, {"format": "pt"})
        text.write(json_bytes(dict(config)))
