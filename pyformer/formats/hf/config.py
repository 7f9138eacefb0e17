"""What the readers of Hugging Face's config.json have in common."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Mapping
from typing import Any

log = logging.getLogger(__name__)

# Keys that are written anew with each file.
WRITTEN_KEYS = {"architectures", "model_type", "torch_dtype", "dtype", "transformers_version"}
# Keys of config.json that don't change what a model computes.
IGNORED_KEYS = WRITTEN_KEYS | {
    *("initializer_range", "use_cache", "_name_or_path", "gradient_checkpointing", "pretraining_tp"),
    *("chunk_size_feed_forward", "output_attentions", "output_hidden_states", "return_dict"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
}
# More such keys, of decoders. Their lengths and sampling settings concern `generate` alone.
HARMLESS_KEYS = IGNORED_KEYS | {
    *("sep_token_id", "decoder_start_token_id", "tokenizer_class", "prefix", "task_specific_params", "finetuning_task"),
    *("torchscript", "use_bfloat16", "tf_legacy_loss", "output_past", "auto_map", "attn_implementation", "mup_base"),
    *("_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "transformers.js_config"),
    *("is_llama_config", "rope_interleaved", "unsloth_fixed", "unsloth_version", "id2label", "label2id", "num_labels"),
    *("problem_type", "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups"),
    *("diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences"),
    *("output_scores", "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens"),
    *("begin_suppress_tokens", "remove_invalid_values", "exponential_decay_length_penalty", "use_return_dict"),
    *("cross_attention_hidden_size", "tie_encoder_decoder", "ignore_keys_at_rope_validation"),
}
# The keys of HARMLESS_KEYS that would change what is generated, each with the value that changes nothing.
SAMPLING_DEFAULTS = {
    **{"do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0, "num_beams": 1},
    **{"num_beam_groups": 1, "diversity_penalty": 0.0, "repetition_penalty": 1.0, "length_penalty": 1.0},
    **{"no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "bad_words_ids": None, "min_length": 0},
    **{"forced_bos_token_id": None, "forced_eos_token_id": None, "suppress_tokens": None, "early_stopping": False},
    **{"begin_suppress_tokens": None, "remove_invalid_values": False, "exponential_decay_length_penalty": None},
}
# The values that these keys must have, unless a family says otherwise: most families have no encoder beside the
# decoder, and turn all of a head by rotary positions.
FIXED = {"is_encoder_decoder": False, "partial_rotary_factor": 1.0}
LABEL_KEYS = {"id2label", "label2id", "num_labels", "problem_type"}

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
    for name, value in {**FIXED, **fixed}.items():
        if config.get(name, value) != value:
            raise ValueError(f"{owner}: {name} must be {value!r}, got {config[name]!r}")
    missing = [name for name in required if name not in config]
    if missing:
        raise ValueError(f"{owner}: config.json lacks {', '.join(missing)}")
    unknown = sorted(set(config) - {*FIXED, *fixed, *required, *known} - IGNORED_KEYS)
    if unknown:
        log.warning("config.json has keys that are ignored: %s", ", ".join(unknown[:20]))


def is_number(value: Any) -> bool:
    """Whether this is a finite number above 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= sys.float_info.max


def check_known(
    owner: str,
    config: Mapping[str, Any],
    *,
    fixed: Mapping[str, Collection[Any]],
    required: Collection[str],
    known: Collection[str],
) -> None:
    """Raises ValueError if a key of `required` is missing, one of `fixed` has another value than its own, or there is
    one that is not `known`: it might change what is computed. One that is None or False says nothing."""
    always = {"is_encoder_decoder": (False,), "is_decoder": (False, True), "quantization_config": (None,)}
    fixed = {**always, "pruned_heads": ({}, None), **fixed}
    for name, allowed in fixed.items():
        if name in config and config[name] not in allowed:
            raise ValueError(f"{owner}: {name} must be {' or '.join(map(repr, allowed))}, got {config[name]!r}")
    missing = [name for name in required if name not in config]
    if missing:
        raise ValueError(f"{owner}: config.json lacks {', '.join(missing)}")
    settled = {*fixed, *required, *known, *HARMLESS_KEYS}
    unknown = sorted(name for name, value in config.items() if name not in settled and value not in (None, False))
    if unknown:
        raise ValueError(
            f"{owner}: config.json has unknown {', '.join(unknown[:20])}, which may change what is computed; "
            f"take out what doesn't"
        )


def warn_of_sampling(values: Mapping[str, Any]) -> None:
    """Names what config.json, where older files have it, says of how to generate."""
    said = [name for name, default in SAMPLING_DEFAULTS.items() if values.get(name) not in (None, default)]
    if said:
        names = ", ".join(f"{name} {values[name]!r}"[:80] for name in said)
        log.warning("config.json says %s: `generate` follows generation_config.json only", names)


def warn_of_dropout(owner: str, values: Mapping[str, Any], **done: float) -> None:
    """Names each dropout of config.json that training here does otherwise."""
    for name, value in done.items():
        if values.get(name) not in (None, value):
            log.warning("%s: config.json says %s %s; training here takes %s", owner, name, values[name], value)


def write_labels(count: int, config: Any) -> dict[str, Any]:
    """The names of a classifier's classes, LABEL_0 and so on if they have none, and its kind of problem if known."""
    names = config.labels or default_labels(count)
    values: dict[str, Any] = {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }
    return values if config.problem_type is None else {**values, "problem_type": config.problem_type}


def default_labels(count: int) -> tuple[str, ...]:
    """What `transformers` calls classes without names."""
    return tuple(f"LABEL_{i}" for i in range(count))


def read_labels(owner: str, values: Mapping[str, Any], count_name: str) -> dict[str, Any]:
    """Of a classifier's config: how many classes config.json means, two if it doesn't say, their names and its problem.

    Names of its own in label2id count where id2label has none. ValueError unless the names are numbered from 0.
    """
    found: dict[str, Any] = {"problem_type": values.get("problem_type"), "labels": None}
    names, numbers = values.get("id2label") or {}, values.get("label2id") or {}
    if not isinstance(names, Mapping) or not isinstance(numbers, Mapping):
        kinds = f"{type(names).__name__} and {type(numbers).__name__}"
        raise ValueError(f"{owner}: id2label must map numbers to names, and label2id these values back, got {kinds}")
    if _says_nothing(names) and numbers and not _says_nothing(_reversed(numbers)):
        if names and len(names) != len(numbers):
            raise ValueError(f"{owner}: label2id must have {len(names)} names as id2label has, got {len(numbers)}")
        names = _reversed(numbers)
    if not names:
        return {**found, count_name: values.get("num_labels", 2)}
    count = len(names)
    if set(names) != {str(i) for i in range(count)}:
        raise ValueError(
            f"{owner}: id2label must have the keys '0' to '{count - 1}', or label2id these values, "
            f"got {sorted(map(str, names))[:5]}"
        )
    if values.get("num_labels", count) != count:
        raise ValueError(f"{owner}: num_labels must be {count} as there are names, got {values['num_labels']!r}")
    labels = tuple(names[str(i)] for i in range(count))
    if not all(isinstance(label, str) for label in labels):
        raise TypeError(f"{owner}: id2label must have names, got {labels}")
    differs = any(str(numbers.get(label, i)) != str(i) for i, label in enumerate(labels) if labels.count(label) == 1)
    if differs or set(numbers) - set(labels):
        log.warning("%s: config.json's label2id is not the reverse of its id2label, which is followed", owner)
    return {**found, count_name: count, "labels": None if labels == default_labels(count) else labels}


def _says_nothing(names: Any) -> bool:
    """Whether an id2label is not there, or has the names that `transformers` gives to classes without any."""
    return not names or names == {str(i): name for i, name in enumerate(default_labels(len(names)))}


def _reversed(numbers: Any) -> Any:
    """A label2id as an id2label; as it is where it can't be one."""
    names = {str(number): name for name, number in numbers.items()} if isinstance(numbers, Mapping) else {}
    return names if len(names) == len(numbers) else numbers
