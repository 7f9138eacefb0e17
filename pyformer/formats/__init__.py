"""Files of models and checkpoints, written whole or not at all, checked before memory is taken for them."""

from pyformer.formats.atomic import (
    atomic_files,
    display_name,
    read_json,
    write_bytes_atomic,
    write_json_atomic,
)
from pyformer.formats.folder import (
    CONFIG_NAME,
    GENERATION_NAME,
    INDEX_NAME,
    SHARD_BYTES,
    WEIGHTS_NAME,
    read_config,
    read_generation,
    save_gguf,
    save_model,
)
from pyformer.formats.layout import OWN, Layout
from pyformer.formats.safetensors import Entry, read_header, read_safetensors, read_tensor, write_safetensors
from pyformer.formats.state import load_state, save_state
from pyformer.formats.weights import Weights

__all__ = [
    "CONFIG_NAME",
    "GENERATION_NAME",
    "INDEX_NAME",
    "OWN",
    "SHARD_BYTES",
    "WEIGHTS_NAME",
    "Entry",
    "Layout",
    "Weights",
    "atomic_files",
    "display_name",
    "load_state",
    "read_config",
    "read_generation",
    "read_header",
    "read_json",
    "read_safetensors",
    "read_tensor",
    "save_gguf",
    "save_model",
    "save_state",
    "write_bytes_atomic",
    "write_json_atomic",
    "write_safetensors",
]
