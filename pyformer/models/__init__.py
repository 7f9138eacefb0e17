"""Models, one file each, and `from_pretrained`, which opens any of them."""

from __future__ import annotations

import os
from typing import Any

from pyformer import files
from pyformer.models.gpt import GPT, GPTConfig

__all__ = ["GPT", "GPTConfig", "from_pretrained"]

_BY_TYPE = {"gpt2": GPT}


def from_pretrained(folder: str | os.PathLike, **options: Any) -> GPT:
    """Opens a saved model; the class comes from `model_type` in config.json.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or the kind of model is not known.
    """
    kind = files.read_config(folder).get("model_type")
    if not isinstance(kind, str) or kind not in _BY_TYPE:
        raise ValueError(f"from_pretrained: model_type must be one of {sorted(_BY_TYPE)}, got {kind!r}")
    return _BY_TYPE[kind].from_pretrained(folder, **options)
