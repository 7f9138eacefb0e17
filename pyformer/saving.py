"""pf.save and pf.load: tensors, numbers and text in nested dicts and lists, in one safetensors file."""

from __future__ import annotations

import os
from typing import Any


def save(value: Any, path: str | os.PathLike[str]) -> None:
    """Writes nested dicts and lists of Tensors, numbers, text, bools and None to one file, for `pf.load`.

    The state of a module or of an optimiser is such a value; that of a quantised model has no matrices, which
    `save_pretrained` writes. The file is safetensors inside, never a pickle: reading it
    runs no code. It is whole or not there. Tuples come back as lists, and keys as strings.

    Args:
        value: what to write.
        path: the file.

    Raises:
        TypeError: something is not one of these; a module's `state_dict()` is what to save of it.
        ValueError: two keys of a dict are the same as text, such as 1 and "1", or one is "$tensor".
        OSError: the file can't be written.

    Example:
        >>> pf.save({"weights": pf.ones(2), "step": 3}, folder / "state.safetensors")
        >>> pf.load(folder / "state.safetensors")
        {'weights': tensor([1., 1.], dtype=float32), 'step': 3}
    """
    from pyformer.formats.state import save_state

    try:
        save_state(path, {"value": value})
    except TypeError as error:
        raise TypeError(f"save: {error}; a module is saved by its state_dict()") from None
    except ValueError as error:
        raise ValueError(f"save: {error}") from None


def load(path: str | os.PathLike[str], map_location: Any = None, weights_only: bool = True) -> Any:
    """What `pf.save` wrote.

    Args:
        path: of the file.
        map_location: torch's word; None or "cpu", as what is loaded lies there.
        weights_only: torch's word, without effect: nothing that is loaded can run code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or no file of `pf.save`; or map_location is another device.

    Example:
        >>> pf.save([1, "two"], folder / "list.safetensors")
        >>> pf.load(folder / "list.safetensors")
        [1, 'two']
    """
    from pyformer.formats.state import load_state

    if map_location is not None and str(map_location) != "cpu":
        raise ValueError(
            f"load: expected map_location None or 'cpu', got {map_location!r}; move what was loaded by .to"
        )

    state = load_state(path)
    if set(state) != {"value"}:
        raise ValueError(f"{os.fspath(path)}: expected a file of pf.save, got another state")
    return state["value"]
