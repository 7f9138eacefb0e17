"""What a model has read, kept from one call to the next: a prompt is read from where it differs from earlier texts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from pyformer import _core, nn
from pyformer.identity import is_same
from pyformer.nn.layers import check_sizes


class PromptCache:
    """Keys and values of the texts that a model has made, for `model.generate(prompt_cache=...)` and `pf.chat`.

    No bit depends on it. It forgets everything when the model's parameters, buffers, quantised matrices, hooks, the
    scale of its LoRA layers or the precision of products (`pf.autocast`) have changed. It can't see what is written
    through NumPy's view of a parameter, nor what a hook comes to do otherwise: `clear()` then. It holds the parameters
    of the model that it was last used with; what another model was reading meanwhile is not kept.

    Args:
        most_tokens: of all texts together; the oldest leave first.

    Raises:
        ValueError: most_tokens is below 1; later, a model keeps a state instead of its tokens' keys and values.
        TypeError: most_tokens is no int.

    Example:
        >>> model = pf.models.GPT(pf.models.GPTConfig(10, 16, num_layers=1, num_heads=2, embed_dim=8))
        >>> cache = pf.generation.PromptCache()
        >>> text = model.generate([[1, 2, 3]], 3, temperature=0, prompt_cache=cache).numpy()[0].tolist()
        >>> cache.tokens
        5
        >>> again = model.generate([[*text, 4]], 3, prompt_cache=cache)  # reads the last two tokens of its prompt
    """

    def __init__(self, most_tokens: int = 1 << 15) -> None:
        check_sizes("PromptCache", most_tokens=most_tokens)
        self.most_tokens = most_tokens
        self._texts: list[tuple[list[int], nn.KVCache]] = []  # the oldest first
        self._computed_by: list[Any] = []
        self._lock = threading.Lock()

    @property
    def tokens(self) -> int:
        """How many tokens are kept."""
        return sum(len(text) for text, _ in self._texts)

    def clear(self) -> None:
        """Forgets all texts."""
        with self._lock:
            self._texts = []

    def check(self, model: Any) -> list[Any]:
        """Forgets what other weights have read; ValueError where the model has no keys and values.

        Gives what texts that begin to be read now are computed by, for `add`.
        """
        if not isinstance(model.new_cache(), nn.KVCache):
            raise ValueError(f"PromptCache: {type(model).__name__} keeps a state, which can't go back to a text's part")
        computed_by = _computed_by(model)
        with self._lock:
            if not _are_same(computed_by, self._computed_by):
                self._texts, self._computed_by = [], computed_by
            return self._computed_by

    def find(self, model: Any, tokens: Sequence[int]) -> nn.KVCache | None:
        """A cache of one row with the longest beginning of `tokens` that is kept, but for the last token; or None."""
        cache = model.new_cache()
        with self._lock:
            found = [
                (self._common(model, text, tokens), kept) for text, kept in self._texts if kept.dtype == cache.dtype
            ]
        length, kept = max(found, key=lambda pair: pair[0], default=(0, None))
        return kept.part(0, length) if kept is not None and length else None

    def _common(self, model: Any, text: list[int], tokens: Sequence[int]) -> int:
        """How many tokens both begin with; 0 where other frequencies turn one of them."""
        if model.reread_at is not None and (len(text) > model.reread_at) != (len(tokens) > model.reread_at):
            return 0
        most = min(len(text), len(tokens) - 1)
        return next((i for i in range(most) if text[i] != tokens[i]), most)

    def add(self, computed_by: list[Any], text: list[int], cache: nn.KVCache, row: int) -> None:
        """Keeps what a row of a cache has read, which is `text`, unless others have used this cache since `check`."""
        with self._lock:
            if (
                computed_by is not self._computed_by
                or not text
                or any(kept[: len(text)] == text for kept, _ in self._texts)
            ):
                return
            self._texts = [(kept, of_it) for kept, of_it in self._texts if kept != text[: len(kept)]]
            self._texts.append((text, cache.part(row, len(text))))
            while self.tokens > self.most_tokens:
                del self._texts[0]


def _computed_by(model: Any) -> list[Any]:
    """All that decides what a model makes of a text: tensors and matrices themselves, and numbers."""
    modules = list(model.modules())
    matrices = [module.quantized for module in modules if getattr(module, "quantized", None) is not None]
    scales = [module.scale for module in modules if isinstance(getattr(module, "scale", None), float)]
    # A hook's key, which no other one has, stands for where it is and whether it comes before or after the call.
    kinds = ("_forward_hooks", "_forward_pre_hooks")
    hooks = [x for m in modules for kind in kinds for pair in m.__dict__.get(kind, {}).items() for x in pair]
    tensors = [*model.parameters(), *(buffer for _, buffer in model.named_buffers())]
    return [_core.precision(), *scales, *hooks, *map(_core.version, tensors), *matrices, *tensors]


def _are_same(now: list[Any], before: list[Any]) -> bool:
    return len(now) == len(before) and all(map(is_same, now, before))
