"""What a `tokenizer_config.json` says that the `tokenizer.json` beside it does not do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

# Keys that change no token and no text, or say what other programs shall do.
_NO_MATTER = {
    *("tokenizer_class", "auto_map", "backend", "name_or_path", "_name_or_path", "tokenizer_file", "vocab_file"),
    *("merges_file", "special_tokens_map_file", "_commit_hash", "transformers_version", "processor_class", "is_local"),
    *("model_max_length", "max_len", "max_length", "padding_side", "truncation_side", "truncation_strategy", "stride"),
    *("pad_to_multiple_of", "pad_token_type_id", "model_input_names", "chat_template", "use_default_system_prompt"),
    *("return_token_type_ids", "spaces_between_special_tokens", "errors", "local_files_only", "model_specific"),
    # Settings of tokenizers written in Python: the tokenizer.json that is made of one has their effect in it.
    *("legacy", "use_fast", "from_slow", "sp_model_kwargs", "do_basic_tokenize", "never_split", "init_inputs"),
    *("add_bos_token", "add_eos_token"),  # BPETokenizer compares these with the template
}
_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MORE_TOKENS = ("additional_special_tokens", "extra_special_tokens")
# The settings' names for the fields of BertNormalizer in tokenizer.json.
_BERT = {"strip_accents": "strip_accents", "tokenize_chinese_chars": "handle_chinese_chars"}


def not_done(settings: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """Each setting that would change tokens or text, as `name value`, and isn't so in `content`, a tokenizer.json."""
    found = []
    for name, value in settings.items():
        if name in _NO_MATTER or value is None:
            continue
        if name in (*_TOKENS, *_MORE_TOKENS, "added_tokens_decoder"):
            strange = [token for token in named_tokens(value) if token not in special_tokens(content)]
            if strange:
                found.append(f"{name} {json.dumps(strange)}")
        elif value != _done(name, content):
            found.append(f"{name} {json.dumps(value)}")
    return found


def _done(name: str, content: Mapping[str, Any]) -> Any:
    """The value of a setting that `content` stands for; None for an unknown one."""
    normalizer, pre_tokenizer = (list(_steps(content.get(part))) for part in ("normalizer", "pre_tokenizer"))
    if name == "add_prefix_space":
        return any(step.get("type") == "Prepend" for step in normalizer) or any(
            step.get("add_prefix_space") or step.get("prepend_scheme") in ("first", "always") for step in pre_tokenizer
        )
    if name == "do_lower_case":
        return any(step.get("type") == "Lowercase" or step.get("lowercase") for step in normalizer)
    if name in _BERT:
        return any(bool(step.get(_BERT[name])) for step in normalizer)
    return False if name in ("split_special_tokens", "clean_up_tokenization_spaces") else None


def _steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """A normalizer or pre-tokenizer, and what it is made of."""
    if isinstance(part, Mapping):
        yield part
        for name in ("normalizers", "pretokenizers"):
            for step in part.get(name) or []:
                yield from _steps(step)


def named_tokens(value: Any) -> list[str]:
    """The tokens that a setting names: a text, an added token, or some of them by number or name."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        content = value.get("content")
        return [content] if isinstance(content, str) else named_tokens(list(value.values()))
    return [token for item in value for token in named_tokens(item)] if isinstance(value, list) else []


def special_tokens(content: Mapping[str, Any]) -> set[str]:
    """Tokens that the library finds whole wherever they stand in a text."""
    return {token.get("content") for token in content.get("added_tokens") or []}
