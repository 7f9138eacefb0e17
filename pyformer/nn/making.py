"""How modules are made: on a device, and with torch's words for arguments."""

from __future__ import annotations

import inspect
from typing import Any

import pyformer as pf
from pyformer.float_mode import in_default_float_mode
from pyformer.names.arguments import Explained

# torch's names of arguments of layers.
_OWN_NAMES = {
    "kernel_size": "kernel",
    "num_features": "channels",
    "num_channels": "channels",
    "num_groups": "groups",
    "normalized_shape": "dim",
    "negative_slope": "slope",
    "input_size": "input_dim",
    "hidden_size": "hidden_dim",
    "start_dim": "start",
    "end_dim": "end",
}


class MadeOn(Explained):
    """The class of Module and its subclasses: each takes `device=`, whatever else its `__init__` takes, and those whose
    `__init__` is pyformer's take torch's words for its arguments."""

    # Whether torch's `inplace` is taken, without effect: an activation makes a new tensor, as values do not show.
    _takes_inplace = False

    @in_default_float_mode
    def __call__(cls, *args: Any, **options: Any) -> Any:
        if "inplace" in options or not _OWN_NAMES.keys().isdisjoint(options):
            options = cls._in_own_words(options)
        if "device" not in options or "device" in inspect.signature(cls.__init__).parameters:
            return super().__call__(*args, **options)
        device = pf.device(options.pop("device"))
        return super().__call__(*args, **options).to(device)

    def _in_own_words(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Arguments by the names that `__init__` has for them; those of a user's `__init__` stay as they are."""
        if not (getattr(cls.__init__, "__module__", None) or "").startswith("pyformer."):
            return options
        own, found = inspect.signature(cls.__init__).parameters, {}
        for name, value in options.items():
            other = _OWN_NAMES.get(name, name)
            known = other if name not in own and other in own else name
            if known in found or (known != name and known in options):
                raise TypeError(f"{cls.__name__}: got {known} twice, once as {name}")
            if known in own or known != "inplace" or not cls._takes_inplace:
                found[known] = value
        return found
