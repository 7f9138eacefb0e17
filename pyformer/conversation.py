"""Conversation: messages become a prompt by the model's own template, and the answer comes piece by piece."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import weakref
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from pyformer import nn
from pyformer.generation.decoder import Decoder
from pyformer.generation.prompt_cache import PromptCache
from pyformer.generation.sampling import Sampler, check_int
from pyformer.generation.stopping import StopText
from pyformer.models.language_model import LanguageModel

# A template may take TEMPLATE_SECONDS of processor time. TEMPLATE_WAIT_S, by the clock, ends one on a system that can't
# limit processor time.
TEMPLATE_SECONDS, TEMPLATE_WAIT_S = 1, 10
MOST_CHARACTERS = 1 << 20
# Tokens that end a turn in one family or another, where a tokenizer has them.
END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>")


def render(template: str, values: dict[str, Any]) -> str:
    """What a Jinja template makes of values, in a process with limits; ValueError for what doesn't end well there."""
    found = [importlib.util.find_spec(name) for name in ("jinja2", "markupsafe")]
    if not all(found):
        raise ImportError("chat: needs Jinja: pip install 'pyformer[hf]'")
    folders = dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in found if spec is not None and spec.origin)
    work = {"template": template, "values": values, "most": MOST_CHARACTERS, "seconds": TEMPLATE_SECONDS}
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("template_worker.py")), *folders]
    try:
        ended = subprocess.run(
            command, input=json.dumps(work).encode(), capture_output=True, timeout=TEMPLATE_WAIT_S, check=False
        )
        result = json.loads(ended.stdout) if ended.returncode == 0 else {"error": "it takes too much time or memory"}
    except subprocess.TimeoutExpired:
        result = {"error": "it takes too much time"}
    if "text" not in result:
        raise ValueError(f"chat: the model's template can't write this conversation: {result['error']}")
    return str(result["text"])


class Conversation:
    """What `pf.chat` gives: called with what somebody says, it answers.

    Attributes:
        messages: all so far, dicts of "role" and "content"; a list of one's own may take its place.

    Raises:
        ValueError: the tokenizer has no chat template.
        TypeError: the model is no language model, or the tokenizer of another kind.

    Example:
        >>> tokenizer = pf.load_tokenizer(pf.datasets.smollm2())
        >>> conversation = pf.chat(pf.from_pretrained(pf.datasets.smollm2()), tokenizer)
        >>> type(conversation).__name__, conversation.messages
        ('Conversation', [])
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        system: str | None = None,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop_strings: str | Sequence[str] = (),
        speculate: bool = False,
        **penalties: Any,
    ) -> None:
        if not isinstance(model, LanguageModel):
            raise TypeError(f"chat: expected a language model, got {type(model).__name__}")
        if getattr(tokenizer, "chat_template", None) is None:
            raise ValueError(f"chat: the {type(tokenizer).__name__} has no chat template")
        if tokenizer.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"chat: the tokenizer has {tokenizer.vocab_size} tokens, the model {model.config.vocab_size}"
            )
        max_new_tokens = check_int("max_new_tokens", max_new_tokens, 1)
        self.model, self.tokenizer, self.max_new_tokens = model, tokenizer, max_new_tokens
        self._sampler = Sampler(temperature, top_k, top_p, seed, **penalties)
        self._stop_strings, self._speculate = StopText(stop_strings).strings, speculate
        # A turn reads only what is new since the turn before.
        self._read = PromptCache() if isinstance(model.new_cache(), nn.KVCache) else None
        Decoder(model, speculate=speculate)
        self.messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
        self._stops = self._end_tokens()
        # The answer that may be under way; a weak reference, so that one that is dropped ends at once.
        self._last: weakref.ref[Generator[str, None, None]] | None = None

    def _end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer."""
        names = [*END_OF_TURN, *(self.tokenizer.named_tokens.get(name) for name in ("eos_token", "eot_token"))]
        found = {self.tokenizer.token_id(name) for name in names if name}
        for said in (self.model.config.eos_token_id, (self.model.generation_config or {}).get("eos_token_id")):
            found |= set(said) if isinstance(said, list) else {said}
        return frozenset(token for token in found if token is not None)

    def prompt(self, messages: Sequence[dict[str, Any]] | None = None) -> str:
        """The text that the model reads: the messages, by default all so far, in the words of its template.

        ValueError where the template refuses them, takes too long or writes too much.
        """
        values = {"messages": list(self.messages if messages is None else messages), "add_generation_prompt": True}
        return render(self.tokenizer.chat_template, {**self.tokenizer.named_tokens, **values, "tools": None})

    def __call__(self, said: str | Sequence[dict[str, Any]]) -> Iterator[str]:
        """The pieces of the answer, as they come. An answer that was not read to its end ends here, as far as it came.

        Args:
            said: what the user says next, or messages that take the place of all so far.

        Raises:
            ValueError: the template refuses the messages, or they leave no room in the context.
            TypeError: messages are no dicts with "role" and "content".
        """
        last = None if self._last is None else self._last()
        if last is not None:
            last.close()  # which puts it behind its own question
        if isinstance(said, str):
            messages = [*self.messages, {"role": "user", "content": said}]
        else:
            messages = [_checked(message) for message in said]
        ids = self.tokenizer.encode(self.prompt(messages)).tolist()
        room = self.model.longest - len(ids)
        if room < 1:
            raise ValueError(
                f"chat: the conversation has {len(ids)} tokens, which fill the context length {self.model.longest}: "
                f"begin a new one or leave messages out"
            )
        self.messages = messages
        answer = self._answer(ids, min(room, self.max_new_tokens))
        self._last = weakref.ref(answer)
        return answer

    def _answer(self, ids: list[int], most: int) -> Generator[str, None, None]:
        decoder = Decoder(self.model, speculate=self._speculate, prompt_cache=self._read)
        shown, answer = StopText(self._stop_strings), []
        try:
            decoder.add(ids, self._sampler, most)
            for piece in self._pieces(decoder, most):
                answer.append(shown.push(piece))
                if answer[-1]:
                    yield answer[-1]
                if shown.ended:
                    return
            answer.append(shown.finish())
            if answer[-1]:
                yield answer[-1]
        finally:
            decoder.close()
            self.messages = [*self.messages, {"role": "assistant", "content": "".join(answer)}]

    def _pieces(self, decoder: Decoder, most: int) -> Iterator[str]:
        """The text that the decoder makes, at most so many tokens, up to the end of the turn."""
        text, made = self.tokenizer.stream_decoder(), 0
        while True:
            for token in next(iter(decoder.advance().values())):
                if token in self._stops or made == most:
                    yield text.finish()
                    return
                made += 1
                if token < self.tokenizer.vocab_size and token not in self.tokenizer.special_ids:
                    yield text.push(token)
            if made >= most:
                yield text.finish()
                return


def _checked(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict) or not {"role", "content"} <= set(message):
        raise TypeError(f"chat: a message must be a dict with 'role' and 'content', got {message!r}")
    return dict(message)


def chat(model: Any, tokenizer: Any, **options: Any) -> Conversation:
    """A conversation with a model that has learned one: its template writes the messages, its answers are streamed.

    The template comes with the model, so it runs in a process of its own, in Jinja's sandbox, with limits of time,
    memory and length.

    Args:
        model: a language model.
        tokenizer: its tokenizer, of `pf.load_tokenizer`, with a chat template.
        options: `system`, a text that comes first; `max_new_tokens` of an answer, 512 by default; `temperature`, 0 by
            default, `top_k`, `top_p`, `min_p`, `repetition_penalty`, `presence_penalty`, `frequency_penalty`, `seed`
            and `speculate` as in `generate`; `stop_strings` end an answer and are not shown.

    Returns:
        A Conversation; `conversation(text)` or `conversation(messages)` gives an iterator over the answer's pieces and
        keeps the answer in `conversation.messages`.

    Raises:
        ValueError: the tokenizer has no chat template, or more tokens than the model; a setting is out of range.
        TypeError: the model is no language model; a setting has the wrong type.
        ImportError: later, without the extra `[hf]`.

    Example:
        >>> path = pf.datasets.smollm2()
        >>> conversation = pf.chat(pf.from_pretrained(path), pf.load_tokenizer(path))
        >>> "".join(conversation("What is the capital of France?"))
        'The capital of France is Paris.'
        >>> [message["role"] for message in conversation.messages]
        ['user', 'assistant']
    """
    return Conversation(model, tokenizer, **options)
