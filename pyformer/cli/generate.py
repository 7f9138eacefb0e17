"""`pyformer generate`: continues a text, printed as it comes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyformer as pf
from pyformer import models, tokenizers
from pyformer.cli.arguments import (
    DEVICE_HELP,
    add_common,
    add_sampling,
    any_text,
    device,
    move,
    open_tokenizer,
    prompt_ids,
    real,
    say,
    standard_input,
    whole,
)
from pyformer.generation import StopText
from pyformer.generation.generate import said_of_generation
from pyformer.models.language_model import LanguageModel


def add_command(commands: Any) -> None:
    """Adds `generate` to the command line."""
    parser = commands.add_parser(
        "generate",
        help="continue a text with a trained model",
        description="Continue a text with a trained model.",
    )
    parser.texts = ("--prompt", "--stop")
    parser.add_argument(
        "folder", type=Path, metavar="RUN", help="folder of a run, runs/NAME, or of a model, or a GGUF file"
    )
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--prompt", type=any_text, metavar="TEXT", help="text to continue (default: what is piped in)")
    given.add_argument(
        "--prompt-file", type=Path, metavar="FILE", help="text to continue, without its last line end; - for stdin"
    )
    given.add_argument("-i", "--interactive", action="store_true", help="continue each line that is typed in")
    parser.add_argument("--samples", type=whole(1), default=1, metavar="N", help="texts from one prompt (default 1)")
    parser.add_argument("--tokens", type=whole(1), default=200, metavar="N", help="tokens to write (default 200)")
    parser.add_argument(
        "--temperature",
        type=real(0.0),
        metavar="X",
        help="0 always takes the likeliest token (default: generation_config.json's, or 0.8)",
    )
    add_sampling(parser)
    parser.add_argument(
        "--beams", type=whole(1), metavar="N", help="look for the likeliest text as a whole, following N beginnings"
    )
    parser.add_argument(
        "--log-probabilities",
        type=whole(0),
        metavar="N",
        help="with --json: those of each token and of the N likeliest",
    )
    parser.add_argument(
        "--seed", type=whole(0, 2**63 - 1), metavar="N", help="the same seed gives the same text; sample i takes N + i"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per sample, each on a line")
    parser.add_argument("--device", type=device, help=DEVICE_HELP)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints prompts and their continuations; 0."""
    model = models.from_pretrained(args.folder)
    if not isinstance(model, LanguageModel):
        raise ValueError(f"{args.folder}: holds a {type(model).__name__}, which does not continue texts")
    tokenizer = open_tokenizer(args.folder, model.config)
    move(model, args.device)
    model.eval()
    said = said_of_generation(model)
    options = {
        "temperature": _or(args.temperature, said.get("temperature"), 0.8),
        "top_k": args.top_k,
        "top_p": args.top_p,
        "min_p": args.min_p,
        "repetition_penalty": args.repetition_penalty,
        "presence_penalty": args.presence_penalty,
        "frequency_penalty": args.frequency_penalty,
        "speculate": args.speculate,
        "stop": None if "eos_token_id" in said else _ends(model.config),
        "stop_strings": args.stop,
        "tokenizer": tokenizer,
        "overflow": "slide",
    }
    if args.log_probabilities is not None:
        if not args.json:
            raise ValueError("--log-probabilities: goes with --json")
        options["log_probabilities"] = args.log_probabilities
    if (args.beams or 1) > 1:  # what doesn't go with it and was asked for is refused by generate
        options |= {"beams": args.beams, "overflow": "error", "temperature": args.temperature}
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    show = _as_json if args.json else _as_text
    for prompt in _typed() if args.interactive else [_prompt(args)]:
        for number in range(args.samples):
            if args.samples > 1 and not args.json:
                print(f"--- {number + 1} of {args.samples}", flush=True)
            of_sample = args.seed if "beams" in options else (seed + number) % 2**63
            show(model, tokenizer, prompt, args.tokens, {**options, "seed": of_sample})
        seed += args.samples
    return 0


def _ends(config: Any) -> list[int]:
    """The tokens of the vocabulary that end a text."""
    said = config.eos_token_id
    tokens = said if isinstance(said, list) else [] if said is None else [said]
    return [token for token in tokens if 0 <= token < config.vocab_size]


def _prompt(args: argparse.Namespace) -> str:
    if args.prompt is not None:
        return args.prompt
    if args.prompt_file is not None:
        return pf.data.read_text([args.prompt_file], standard_input()).removesuffix("\n")
    if _is_piped():
        raw = standard_input()
        data = raw.read() if raw is not None else b""
        return data.decode("utf-8-sig", errors="replace").removesuffix("\n")
    return ""


def _is_piped() -> bool:
    """Whether stdin is a pipe or a file, not a terminal or /dev/null."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        mode = os.fstat(sys.stdin.fileno()).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)
    return False


def _typed() -> Iterator[str]:
    """The lines that are typed in, to the end of stdin; on a terminal they can be edited."""
    terminal = sys.stdin is not None and sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401
        say("a line is continued at Enter; Ctrl-D ends")
    while True:
        try:
            line = input("> " if terminal else "")
        except EOFError:
            return
        if line:
            yield line


def _as_text(model: Any, tokenizer: tokenizers.Tokenizer, prompt: str, tokens: int, options: dict[str, Any]) -> None:
    """Prints the prompt, and what follows as it comes."""
    ids = prompt_ids(tokenizer, prompt) or _start_of_text(tokenizer)
    write, decoder = writer(), tokenizer.stream_decoder()
    if prompt:
        _read(decoder, ids)
    write(prompt)
    shown = StopText(options["stop_strings"])

    def stream(row: int, token: int) -> None:
        if _is_text(tokenizer, token):
            write(shown.push(decoder.push(token)))

    _generate(model, ids, tokens, stream, options)
    write(shown.push(decoder.finish()) + shown.finish() + "\n")


def _as_json(model: Any, tokenizer: tokenizers.Tokenizer, prompt: str, tokens: int, options: dict[str, Any]) -> None:
    """Prints one line: prompt, continuation, seed, how many tokens of each, and log-probabilities if wanted."""
    ids = prompt_ids(tokenizer, prompt) or _start_of_text(tokenizer)
    decoder, parts, new = tokenizer.stream_decoder(), [], []
    if prompt:
        _read(decoder, ids)
    shown = StopText(options["stop_strings"])

    def stream(row: int, token: int) -> None:
        new.append(token)
        if _is_text(tokenizer, token):
            parts.append(shown.push(decoder.push(token)))

    found = _generate(model, ids, tokens, stream, options)
    text = "".join(parts) + shown.push(decoder.finish()) + shown.finish()
    sample = {"prompt": prompt, "text": text, "seed": options["seed"], "prompt_tokens": len(ids), "tokens": len(new)}
    if found is not None:
        sample["log_probabilities"] = [[*chosen[:2], dict(chosen.likeliest)] for chosen in found]
    print(json.dumps(sample), flush=True)


def _generate(model: Any, ids: list[int], tokens: int, stream: Any, options: dict[str, Any]) -> Any:
    """Tells `stream` each new token, of beams at the end; the log-probabilities, or None."""
    if "beams" not in options:
        made = model.generate([ids], tokens, stream=stream, **options)
        return made[1][0] if "log_probabilities" in options else None
    (row,) = model.generate([ids], tokens, pad_id=-1, **options).tolist()
    for token in row[len(ids) :]:
        if token >= 0:
            stream(0, token)
    return None


def _or(*values: Any) -> Any:
    """The first value that is given."""
    return next((value for value in values if value is not None), None)


def _start_of_text(tokenizer: tokenizers.Tokenizer) -> Any:
    """What an empty prompt stands for: the start of a line, where the tokenizer knows lines."""
    try:
        ids = tokenizer.encode("\n")
    except ValueError:
        return [0]
    return ids if len(ids) else [0]


def _read(decoder: tokenizers.StreamDecoder, ids: list[int]) -> None:
    """Makes the decoder go on from a prompt: a first word's space may depend on it."""
    for token in ids:
        decoder.push(token)
    decoder.finish()


def _is_text(tokenizer: tokenizers.Tokenizer, token: int) -> bool:
    """Whether a token is to be shown: not one that marks a start or end, nor a spare one of a padded vocabulary."""
    return token < tokenizer.vocab_size and token not in getattr(tokenizer, "special_ids", ())


def writer() -> Any:
    """A function that writes text on stdout at once."""
    out = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    if hasattr(out, "reconfigure"):
        out.reconfigure(errors="replace")

    def write(text: str) -> None:
        if text:
            out.write(text)
            out.flush()

    return write
