"""What the readers of Hugging Face's config.json have in common."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

log = logging.getLogger(__name__)

# Keys of config.json that say nothing about the computation here.
IGNORED_KEYS = {
    *("architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "initializer_range"),
    *("use_cache", "_name_or_path", "gradient_checkpointing", "pretraining_tp", "chunk_size_feed_forward"),
    *("output_attentions", "output_hidden_states", "return_dict", "problem_type", "is_encoder_decoder"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "id2label", "label2id"),
}

HF_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
}
OUR_ACTIVATIONS = {ours: theirs for theirs, ours in reversed(HF_ACTIVATIONS.items())}


def read_activation(owner: str, key: str, name: Any) -> str:
    """Our name of an activation in config.json; ValueError, naming the `key`, for one that isn't here."""
    if not isinstance(name, str) or name not in HF_ACTIVATIONS:
        raise ValueError(f"{owner}: {key} must be one of {sorted(HF_ACTIVATIONS)}, got {name!r}")
    return HF_ACTIVATIONS[name]


def check_config(
    owner: str,
    config: Mapping[str, Any],
    *,
    fixed: Mapping[str, Any],
    required: Collection[str],
    known: Collection[str],
) -> None:
    """Raises ValueError if a key of `required` is missing or one of `fixed` has another value; logs unknown ones."""
    for name, value in fixed.items():
        if config.get(name, value) != value:
            raise ValueError(f"{owner}: {name} must be {value!r}, got {config[name]!r}")
    missing = [name for name in required if name not in config]
    if missing:
        raise ValueError(f"{owner}: config.json lacks {', '.join(missing)}")
    unknown = sorted(set(config) - {*fixed, *required, *known} - IGNORED_KEYS)
    if unknown:
        log.warning("config.json has keys that are ignored: %s", ", ".join(unknown[:20]))


def label_names(count: int) -> dict[str, dict[str, Any]]:
    """id2label and label2id of a classifier whose classes have no names."""
    return {
        "id2label": {str(i): f"LABEL_{i}" for i in range(count)},
        "label2id": {f"LABEL_{i}": i for i in range(count)},
    }


def count_labels(values: Mapping[str, Any]) -> int:
    """How many classes config.json means; two if it doesn't say."""
    return len(values.get("id2label") or (0, 1))
