"""The tokenizer that a GGUF file carries, as the content of Hugging Face's tokenizer.json and tokenizer_config.json."""

from __future__ import annotations

import json
from collections.abc import Collection, Container
from typing import Any

import numpy as np

from pyformer.formats.gguf.reader import GGUFFile

# tokenizer.ggml.token_type
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
# tokenizer_config.json's names of tokens, and GGUF's.
_NAMED = {
    **{"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"},
    **{"cls": "cls", "sep": "seperator", "mask": "mask"},
}
# Word pieces, as llama.cpp has them: small letters without accents.
_WORD_PIECES = {
    "normalizer": {
        "type": "BertNormalizer",
        **{"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
}

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_GPT2 = {**_BYTES, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}


def _split(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _BYTES]}


def _words(digits: str, contraction: str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|") -> str:
    return contraction + r"[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


_SINGLE_DIGITS = {"type": "Sequence", "pretokenizers": [_DIGITS, _GPT2]}
_LLAMA3 = _split(_words(r"\p{N}{1,3}"))
_QWEN2 = _split(_words(r"\p{N}"))
# tokenizer.ggml.pre: how a text is cut into words before merges. A name that is not here is refused: with a guess the
# tokens would be others than the model has learned.
PRE_TOKENIZERS = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "exaone4", "granite-docling"), _GPT2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), _SINGLE_DIGITS),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "dbrx", "smaug-bpe"), _LLAMA3),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen"), _QWEN2),
}
# With these values of tokenizer.ggml.pre a word that is itself a token is not merged from its letters.
_WHOLE_WORDS = ("llama3", "llama-v3", "llama-bpe", "falcon3")
# With these values of tokenizer.ggml.pre a text is normalised to NFC before it is cut.
_NFC = ("qwen2", "deepseek-r1-qwen")


def read_tokenizer(file: GGUFFile) -> tuple[str, Collection[int] | None, dict[str, Any]]:
    """(the content of a tokenizer.json, the ids in it if they are known, the content of a tokenizer_config.json)."""
    metadata = file.metadata
    kind = metadata.text("tokenizer.ggml.model")
    tokens = metadata.texts("tokenizer.ggml.tokens")
    types = metadata.numbers("tokenizer.ggml.token_type", "i", np.ones(len(tokens), np.int32))
    if len(types) != len(tokens):
        raise ValueError(f"{file.path}: tokenizer.ggml.token_type must have {len(tokens)} elements, got {len(types)}")
    if len(set(tokens)) != len(tokens):
        raise ValueError(f"{file.path}: tokenizer.ggml.tokens must differ, got one twice")
    settings = _settings(file, tokens)
    if "tokenizer.huggingface.json" in metadata:
        return metadata.text("tokenizer.huggingface.json"), None, settings
    if kind == "gpt2":
        content = _byte_pairs(file, tokens)
    elif kind == "llama":
        content = _sentence_pieces(file, tokens, types)
    elif kind == "bert":
        tokens = [_word_piece(token, number) for token, number in zip(tokens, types.tolist(), strict=True)]
        settings = _settings(file, tokens)
        content = _word_pieces(file, tokens, settings)
    else:
        raise ValueError(f"{file.path}: tokenizer.ggml.model must be gpt2, llama or bert, got {kind!r}")
    content |= {"version": "1.0", "truncation": None, "padding": None, "added_tokens": _added(tokens, types)}
    content.setdefault("post_processor", _template(file, kind, tokens))
    return json.dumps(content, ensure_ascii=False), range(len(tokens)), settings


def _settings(file: GGUFFile, tokens: list[str]) -> dict[str, Any]:
    metadata, settings = file.metadata, {}
    is_bert = metadata.text("tokenizer.ggml.model") == "bert"  # there bos is a word for cls
    for name, key in _NAMED.items():
        if is_bert and name in ("bos", "eos"):
            continue
        number = metadata.integer(f"tokenizer.ggml.{key}_token_id", None, high=len(tokens) - 1)
        if number is not None:
            settings[f"{name}_token"] = tokens[number]
    template = metadata.text("tokenizer.chat_template", None)
    return settings if template is None else {**settings, "chat_template": template}


def _byte_pairs(file: GGUFFile, tokens: list[str]) -> dict[str, Any]:
    pre = file.metadata.text("tokenizer.ggml.pre", "default")
    if pre not in PRE_TOKENIZERS:
        known = ", ".join(sorted(PRE_TOKENIZERS))
        raise ValueError(f"{file.path}: tokenizer.ggml.pre must be one of {known}, got {pre!r}")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = file.metadata.texts("tokenizer.ggml.merges")
    # The library reads "left right", too, and refuses a merge of no tokens: tens of thousands need no second look.
    if any(merge.count(" ") != 1 or merge.startswith("#version") for merge in merges):
        merges = checked_merges(file, vocabulary)
    model = {"type": "BPE", "vocab": vocabulary, "merges": merges, "ignore_merges": pre in _WHOLE_WORDS}
    return {
        "normalizer": {"type": "NFC"} if pre in _NFC else None,
        "pre_tokenizer": PRE_TOKENIZERS[pre],
        "model": model,
        "decoder": {**_GPT2, "add_prefix_space": True},
    }


def checked_merges(file: GGUFFile, vocabulary: Container[str]) -> list[tuple[str, str]]:
    """The merges of byte pairs; ValueError for one whose parts, or what they make, are not in the vocabulary."""
    merges = []
    for merge in file.metadata.texts("tokenizer.ggml.merges", []):
        left, _, right = merge.partition(" ")
        if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise ValueError(f"{file.path}: tokenizer.ggml.merges has {merge[:80]!r}, which is of no tokens")
        merges.append((left, right))
    return merges


def _sentence_pieces(file: GGUFFile, tokens: list[str], types: np.ndarray) -> dict[str, Any]:
    """SentencePiece's byte pairs: of two neighbours those are joined first whose token has the highest score."""
    scores = file.metadata.numbers("tokenizer.ggml.scores", "f")
    if len(scores) != len(tokens):
        raise ValueError(f"{file.path}: tokenizer.ggml.scores must have {len(tokens)} elements, got {len(scores)}")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    ranked = []
    for number, (token, kind) in enumerate(zip(tokens, types.tolist(), strict=True)):
        if kind in (UNKNOWN, CONTROL, USER, BYTE) or len(token) > 256:
            continue
        for cut in range(1, len(token)):
            left, right = vocabulary.get(token[:cut]), vocabulary.get(token[cut:])
            if left is not None and right is not None:
                ranked.append((-float(scores[number]), left, right, token[:cut], token[cut:]))
    ranked.sort()
    unknown = [token for token, kind in zip(tokens, types.tolist(), strict=True) if kind == UNKNOWN]
    spaced = file.metadata.flag("tokenizer.ggml.add_space_prefix", True)
    prefix = [{"type": "Prepend", "prepend": "▁"}] if spaced else []
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if spaced else []
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prefix, replace]},
        "pre_tokenizer": None,
        "model": {
            "type": "BPE",
            "vocab": vocabulary,
            "merges": [[left, right] for *_, left, right in ranked],
            "unk_token": unknown[0] if unknown else None,
            "fuse_unk": True,
            "byte_fallback": True,
        },
        "decoder": {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
    }


def _word_piece(token: str, kind: int) -> str:
    """llama.cpp marks the pieces that begin a word, Hugging Face those that go on with one."""
    if token.startswith("▁"):
        return token[1:]
    is_special = kind in (CONTROL, UNKNOWN, USER) or (token[:1] == "[" and token[-1:] == "]")
    return token if is_special else f"##{token}"


def _marked(token: str, kind: int) -> str:
    """The reverse of `_word_piece`."""
    return token if kind in (CONTROL, UNKNOWN, USER) else token[2:] if token.startswith("##") else f"▁{token}"


def _word_pieces(file: GGUFFile, tokens: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    numbers = {token: i for i, token in enumerate(tokens)}
    if len(numbers) != len(tokens):
        raise ValueError(f"{file.path}: tokenizer.ggml.tokens has a word piece twice")
    ends = {"cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]"}
    ends = {name: settings.get(f"{name}_token", usual) for name, usual in ends.items()}
    for token in ends.values():
        if token not in numbers:
            raise ValueError(f"{file.path}: tokenizer.ggml.tokens must have {token}, got none")
    cls, sep = ([ends[name], numbers[ends[name]]] for name in ("cls", "sep"))
    model = {"type": "WordPiece", "unk_token": ends["unk"], "continuing_subword_prefix": "##"}
    return {
        **_WORD_PIECES,
        "model": {**model, "max_input_chars_per_word": 100, "vocab": numbers},
        "post_processor": {"type": "BertProcessing", "sep": sep, "cls": cls},
    }


def _added(tokens: list[str], types: np.ndarray) -> list[dict[str, Any]]:
    """The tokens that are found whole in a text before anything else."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    found = np.flatnonzero(np.isin(types, (UNKNOWN, CONTROL, USER))).tolist()
    return [{"id": i, "content": tokens[i], **plain, "special": bool(types[i] != USER)} for i in found]


def _template(file: GGUFFile, kind: str, tokens: list[str]) -> dict[str, Any] | None:
    """What is added before and after a text."""
    named = {}
    for name, default in (("bos", kind == "llama"), ("eos", False)):
        if file.metadata.flag(f"tokenizer.ggml.add_{name}_token", default):
            named[name] = file.metadata.integer(f"tokenizer.ggml.{name}_token_id", high=len(tokens) - 1)
    if not named:
        return None
    text = [{"Sequence": {"id": "A", "type_id": 0}}]
    special = {name: [{"SpecialToken": {"id": tokens[number], "type_id": 0}}] for name, number in named.items()}
    single = [*special.get("bos", []), *text, *special.get("eos", [])]
    tokens_of = {tokens[i]: {"id": tokens[i], "ids": [i], "tokens": [tokens[i]]} for i in named.values()}
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": tokens_of}


def tokenizer_keys(text: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A file's keys for the content of a tokenizer.json and of a tokenizer_config.json.

    The first goes into the file as it is; byte pairs of a cut that has a name are there for llama.cpp, too.
    """
    content = json.loads(text)
    model, added = content["model"], content.get("added_tokens") or []
    numbers = {**(model.get("vocab") or {}), **{token["content"]: token["id"] for token in added}}
    tokens = [f"[PAD{i}]" for i in range(max(numbers.values(), default=-1) + 1)]
    types = [UNUSED] * len(tokens)
    for token, number in numbers.items():
        tokens[number], types[number] = token, NORMAL
    for token in added:
        types[token["id"]] = CONTROL if token.get("special") else USER
    pre = next((name for name, cut in PRE_TOKENIZERS.items() if cut == _plain(content.get("pre_tokenizer"))), None)
    known = model.get("type") == "BPE" and pre is not None
    pieces = model.get("type") == "WordPiece" and all(content.get(k) == v for k, v in _WORD_PIECES.items())
    if pieces:
        tokens = [_marked(token, kind) for token, kind in zip(tokens, types, strict=True)]
    name = "gpt2" if known else "bert" if pieces else "none"
    keys: dict[str, Any] = {"model": name, "tokens": tokens, "token_type": np.int32(types)}
    if known:
        pairs = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        keys |= {"pre": pre, "merges": pairs}
    for name, key in _NAMED.items():
        token = settings.get(f"{name}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token in numbers:
            keys[f"{key}_token_id"] = numbers[token]
    if pieces and "cls_token_id" in keys:
        keys.setdefault("bos_token_id", keys["cls_token_id"])  # llama.cpp puts it before a text
    found = {f"tokenizer.ggml.{name}": value for name, value in keys.items()}
    if isinstance(settings.get("chat_template"), str):
        found["tokenizer.chat_template"] = settings["chat_template"]
    return {**found, "tokenizer.huggingface.json": text}


def _plain(part: Any) -> Any:
    """A pre-tokenizer without what changes offsets only."""
    if isinstance(part, list):
        return [_plain(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {name: True if name == "trim_offsets" else _plain(value) for name, value in part.items()}
