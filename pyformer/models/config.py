"""What the shapes of models have in common: checks of their fields, and how many numbers they mean."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pyformer import nn
from pyformer.names.arguments import Explained
from pyformer.nn import layers

log = logging.getLogger(__name__)

TOKEN_LISTS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")  # settings of tokens, beside *_token_id

# What a classifier answers: a number, one class of all, or each class yes or no; the words are those of `transformers`.
PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")


@dataclass(frozen=True)
class Config(metaclass=Explained):
    """Base of the shapes of models. Checks raise TypeError or ValueError that names class and field."""

    model_class: ClassVar[Any]  # set by the first model that has this class as its config_class

    def parameter_count(self) -> int:
        """How many numbers the parameters of such a model hold; none is made."""
        with nn.init.outlines():
            return self.model_class(self).num_parameters()

    def kept_bytes(self, batch: int) -> int:
        """Of what forward keeps for backward at a batch of this size and full length, what is known: at least this."""
        return 0

    def _default(self, name: str, value: Any) -> None:
        """Sets a field that was not given."""
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)

    def _default_hidden_dim(self) -> None:
        """4 * embed_dim, unless hidden_dim was given."""
        if self.hidden_dim == 0 and isinstance(self.embed_dim, int):
            object.__setattr__(self, "hidden_dim", 4 * self.embed_dim)

    def _check_sizes(self, *names: str) -> None:
        layers.check_sizes(type(self).__name__, **{name: getattr(self, name) for name in names})

    def _check_divides(self, divisor: str, name: str) -> None:
        small, large = getattr(self, divisor), getattr(self, name)
        if large % small:
            raise ValueError(f"{type(self).__name__}: {divisor} ({small}) must divide {name} ({large})")

    def _check_one_of(self, name: str, choices: Collection[str]) -> None:
        if getattr(self, name) not in choices:
            raise ValueError(f"{type(self).__name__}: {name} must be one of {choices}, got {getattr(self, name)!r}")

    def _check_probability(self, name: str) -> None:
        layers.check_probability(type(self).__name__, name, getattr(self, name))

    def _check_number(self, name: str) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{type(self).__name__}: {name} must be a number, got {type(value).__name__}")
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            bits = value.bit_length()
            raise ValueError(f"{type(self).__name__}: {name} must fit a float, got an integer of {bits} bits")

    def _check_labels(self, count: int) -> None:
        """Of a classifier: the names of its classes, if it has some, and its kind of problem."""
        labels, problem = self.labels, self.problem_type
        if labels is not None:
            self._check_names(labels)
            if len(labels) != count:
                raise ValueError(f"{type(self).__name__}: labels must be {count} names, got {len(labels)}")
            object.__setattr__(self, "labels", tuple(labels))
        if problem is not None and problem not in PROBLEMS:
            raise ValueError(f"{type(self).__name__}: problem_type must be one of {PROBLEMS}, got {problem!r}")

    def _check_names(self, labels: Any) -> None:
        if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) for label in labels):
            raise TypeError(f"{type(self).__name__}: labels must be a list of names, got {labels!r}")

    def _check_tokens(self, *names: str) -> None:
        """Fields that may name tokens: TypeError if one is no int. Where a file says them, `warn_of_tokens` looks."""
        for name in names:
            token = getattr(self, name)
            several = name == "eos_token_id" and isinstance(token, list)
            for each in token if several else [token]:
                if each is not None and (isinstance(each, bool) or not isinstance(each, int)):
                    raise TypeError(f"{type(self).__name__}: {name} must be an int, got {type(each).__name__}")

    def _check_ids(self, *names: str) -> None:
        """Fields that are tokens of the vocabulary."""
        for name in names:
            token, owner = getattr(self, name), type(self).__name__
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < self.vocab_size:
                raise ValueError(f"{owner}: {name} must be in [0, {self.vocab_size}), got {token!r}")


def warn_of_tokens(where: str, said: Mapping[str, Any], vocab_size: int) -> None:
    """Names the settings of `said` whose tokens are outside the vocabulary: they end, begin and fill no text."""
    found = []
    for name, value in said.items():
        if name.endswith("_token_id") or name in TOKEN_LISTS:
            outside = [token for token in _tokens(value) if not 0 <= token < vocab_size]
            found += [f"{name} {', '.join(map(str, outside[:5]))}"] if outside else []
    if found:
        log.warning("%s: outside the vocabulary of %d tokens: %s", where, vocab_size, "; ".join(found))


def _tokens(value: Any) -> Iterator[int]:
    """The integers of a setting: of one token, a list, or a list of lists."""
    if isinstance(value, list):
        for each in value:
            yield from _tokens(each)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value
