"""What the commands share: checked numbers, devices, errors on one line, messages on stderr."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import pyformer as pf
from pyformer import tokenizers
from pyformer.terminal import steady, write_above_bar

# Comes before a text of the command line while argparse looks at it: no argument can have it.
SHIELD = "\0"


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line; options can't be shortened.

    `texts` are the options whose value may be any text, also one that begins with a dash; with `text_arguments` so may
    the arguments that no option stands before. Their type is `any_text`.
    """

    texts: tuple[str, ...] = ()
    text_arguments = False
    commands: Mapping[str, Parser] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._shielded(given), namespace)

    def _shielded(self, given: list[str]) -> list[str]:
        if not self.texts and not self.text_arguments:
            return given
        result, rest, missing = [], iter(given), len(self._get_positional_actions())
        alone = False  # whether the last argument is an option without a value of its own
        for argument in rest:
            name, equals, value = argument.partition("=")
            alone, length = name in self._option_string_actions, len(result)
            if argument == "--" and self.text_arguments:
                result += [SHIELD + text for text in rest]
                missing -= len(result) - length
            elif name in self.texts:
                text = value if equals else next(rest, None)
                result.append(argument if text is None else f"{name}={SHIELD}{text}")
            elif name in self._option_string_actions:
                result.append(argument)
                if not equals and self._option_string_actions[name].nargs != 0:
                    result += [text for text in [next(rest, None)] if text is not None]
                    alone = len(result) == length + 1
            else:
                result.append(SHIELD + argument if self.text_arguments else argument)
                missing -= 1
        if self.text_arguments and alone and missing == 1 and given[-1] not in ("-h", "--help"):
            result[-1] = SHIELD + result[-1]  # the text that is missing otherwise, though it looks like an option
        return result

    def error(self, message: str) -> NoReturn:
        message = " ".join(message.replace(SHIELD, "").split())
        wrong = re.search(r"argument COMMAND: invalid choice: '([^']*)'", message)
        if wrong:
            message += did_you_mean(wrong[1], self.commands)
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


# What other programs call an option.
OTHER_NAMES = {
    "--learning-rate": "--lr",
    "--batch-size": "--batch",
    "--max-steps": "--steps",
    "--max-iters": "--steps",
    "--epochs": "--steps",
    "--n-layer": "--layers",
    "--n-head": "--heads",
    "--n-embd": "--embed",
    "--hidden-size": "--embed",
    "--d-model": "--embed",
    "--dim": "--embed",
    "--n-ctx": "--context",
    "--seq-len": "--context",
    "--block-size": "--context",
    "--context-length": "--context",
    "--max-tokens": "--tokens",
    "--max-new-tokens": "--tokens",
    "--n-predict": "--tokens",
    "--temp": "--temperature",
    "--num-samples": "--samples",
    "--output": "--out",
    "--output-dir": "--out",
    "--weight-average": "--average",
    "--precision": "--dtype",
}


@contextlib.contextmanager
def opening(path: Path) -> Iterator[None]:
    """Within it, a TypeError is of a model of another kind at `path`: a ValueError that names it."""
    try:
        yield
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean X?", or nothing where no known word is near."""
    from difflib import get_close_matches

    known, word = list(known), word.partition("=")[0]
    same = OTHER_NAMES.get(word.replace("_", "-"))
    bare = {option.lstrip("-"): option for option in known}  # the dashes would make any two options alike
    near = [same] if same in known else [bare[name] for name in get_close_matches(word.lstrip("-"), bare, 1, 0.6)]
    return f"; did you mean {near[0]}?" if near else ""


def any_text(text: str) -> str:
    """An argparse type: any text, in UTF-8 whatever the locale; U+FFFD for bytes that are not UTF-8, as from stdin."""
    text = text.removeprefix(SHIELD)
    # Python gives bytes that the locale has no letters for as lone surrogates, which fsencode turns back.
    is_text = not any("\udc80" <= letter <= "\udcff" for letter in text)
    return text if is_text else os.fsencode(text).decode("utf-8", errors="replace")


def any_path(text: str) -> Path:
    """An argparse type: a path beside texts that may be any."""
    return Path(text.removeprefix(SHIELD))


def whole(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}, got {text}")
        return value

    return parse


def real(low: float, high: float = math.inf, *, above: bool = False) -> Callable[[str], float]:
    """An argparse type: a finite number from `low`, or above it, to `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
        fits = value > low if above else value >= low
        if not (fits and value <= high and math.isfinite(value)):
            start = f"above {low:g}" if above else f"at least {low:g}"
            end = "finite" if high == math.inf else f"at most {high:g}"
            raise argparse.ArgumentTypeError(f"must be {start} and {end}, got {text}")
        return value

    return parse


DEVICE_HELP = "cpu, cuda or cuda:N (default: $PYFORMER_DEVICE, or cpu)"


def device(text: str) -> str:
    """An argparse type: a device that tensors can be made on, as the core says."""
    try:
        pf.zeros(0, device=text)
    except (ValueError, RuntimeError) as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("device: ")) from None
    return text


def default_device() -> str:
    """The device that tensors are made on where none is named."""
    return str(pf.zeros(0).device)


def move(model: Any, wanted: str | None) -> None:
    """Moves a model to a device; None leaves it where it was made."""
    if wanted is not None and wanted != default_device():
        model.to(wanted)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Adds what chooses among the likeliest tokens, and what ends a text."""
    parser.add_argument("--top-k", type=whole(1), metavar="K", help="choose among the K likeliest tokens")
    parser.add_argument(
        "--top-p",
        type=real(0.0, 1.0, above=True),
        metavar="P",
        help="choose among the fewest likeliest tokens that together have probability P",
    )
    parser.add_argument(
        "--min-p",
        type=real(0.0, 1.0),
        metavar="P",
        help="choose among tokens that are at least P times as likely as the likeliest",
    )
    parser.add_argument(
        "--repetition-penalty",
        type=real(0.0, above=True),
        metavar="X",
        help="above 1: tokens that are in the text already become less likely",
    )
    for name, often in (("presence", "if"), ("frequency", "for each time that")):
        said = f"subtracted from the logit of a token, {often} it was written already"
        parser.add_argument(f"--{name}-penalty", type=float, default=0.0, metavar="X", help=said)
    parser.add_argument(
        "--stop",
        type=any_text,
        action="append",
        default=[],
        metavar="TEXT",
        help="end before this text; may be repeated",
    )
    parser.add_argument(
        "--speculate", action="store_true", help="guess tokens from the text so far: the same text, sooner"
    )


def add_common(parser: argparse.ArgumentParser, quiet: str = "") -> None:
    """Adds --threads, --verbose and --debug, and --quiet where the command has something to be quiet about."""
    parser.add_argument("--threads", type=whole(1, 1024), metavar="N", help="threads (default: all cores)")
    if quiet:
        parser.add_argument("-q", "--quiet", action="store_true", help=quiet)
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="begin with what this build is, and show every message"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def check_setting(path: Path, name: str, value: Any, kind: Callable[[str], Any] | Sequence[str]) -> Any:
    """A setting of the record at `path`, checked as on the command line: by its argparse type, or among choices.

    ValueError names the file and the setting.
    """
    if not callable(kind):
        if value not in kind:
            raise ValueError(f"{path}: {name} must be one of {', '.join(kind)}, got {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{path}: {name} can't be {value!r}")
    try:
        return kind(str(value))
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{path}: {name}: {error}") from None


def standard_input() -> BinaryIO | None:
    """The bytes of stdin, if the process has one."""
    return getattr(sys.stdin, "buffer", None)


def open_tokenizer(folder: Path, config: Any) -> tokenizers.Tokenizer:
    """A run's tokenizer; ValueError if the model of that config doesn't know all of its tokens."""
    tokenizer = tokenizers.load(folder)
    if tokenizer.vocab_size > getattr(config, "vocab_size", math.inf):
        raise ValueError(f"{folder}: its tokenizer has {tokenizer.vocab_size} tokens, its model {config.vocab_size}")
    return tokenizer


def prompt_ids(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    """The ids of a text that a model is to read: with the tokens that the tokenizer's file wants around it."""
    if isinstance(tokenizer, tokenizers.BPETokenizer):
        return tokenizer.encode(text, special_tokens=True).tolist()
    return tokenizer.encode(text).tolist()


class _Handler(logging.Handler):
    """Writes above the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            write_above_bar(self.format(record))
        except Exception:
            self.handleError(record)


def say(text: str) -> None:
    """Prints a line on stderr, if the process has one."""
    if sys.stderr is not None:
        print(text, file=steady(sys.stderr))


def say_above_bar(text: str) -> None:
    """`say`, where a progress bar may be; from a signal handler it may be lost, if stderr is being written to."""
    with contextlib.suppress(RuntimeError):
        write_above_bar(text)


def show_messages(level: int = logging.INFO) -> None:
    """Sends the library's log messages to stderr, if the process has one."""
    if sys.stderr is None:
        return
    logger = logging.getLogger("pyformer")
    for handler in [h for h in logger.handlers if isinstance(h, _Handler)]:
        logger.removeHandler(handler)
    logger.addHandler(_Handler())
    logger.setLevel(level)
    logger.propagate = False
