"""How the folder of a model says what it holds: the content of config.json and the names of the tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

# Written for readers of the file; `dtype` of what is opened comes from the tensors.
_NOT_IN_CONFIG = ("model_type", "torch_dtype")


@dataclass(frozen=True)
class Layout:
    """One family's folder.

    `read(model_class, values)` makes a config of config.json's content, `write(model)` the reverse. Tensors are renamed
    by `parts`, beginnings of our names and what stands for them, and within layer N by `layer_parts`; `layers` is what
    comes before N, here and there. In files `prefix` comes before every name that doesn't begin with one of `bare`; it
    may be missing there, and is not written if `bare` is (""). `inner` is a prefix of ours that files don't have.
    `transposed` matches names here whose matrices are stored (in, out), `redundant` names in files that say nothing
    new, `unused` names of parts that aren't here, which a warning names. `tie` are the stored names of the last
    projection and of the embedding that may take its place. `stacked` are beginnings, within layer N, of names in files
    whose tensor is several of ours, row upon row, and of the names of those. `followed` are config.json's keys that the
    config holds or that are written anew, None for all: what the others say is kept for the next file.

    Raises:
        ValueError: by `read`, for a config.json that is not of this family.

    Example:
        >>> layout = pf.formats.Layout(None, None, prefix="transformer.", parts={"wte.": "tokens."})
        >>> layout.written_name("wte.weight")
        'transformer.tokens.weight'
    """

    read: Callable[[Any, Mapping[str, Any]], Any]
    write: Callable[[Any], dict[str, Any]]
    prefix: str = ""
    bare: tuple[str, ...] = ()
    inner: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    layer_parts: Mapping[str, str] = field(default_factory=dict)
    stacked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    layers: tuple[str, str] = ("layers.", "layers.")
    transposed: str = "$^"
    redundant: str = "$^"
    unused: str = "$^"
    tie: tuple[str, str] | None = None
    followed: Collection[str] | None = None

    def unread(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What config.json says besides what the config holds."""
        return {} if self.followed is None else {k: v for k, v in values.items() if k not in self.followed}

    def parts_of(self, stored: str) -> list[str]:
        """Our names of what a tensor in files, named without `prefix`, holds row upon row; none where it is one."""
        ours, theirs = self.layers
        layer = re.match(rf"{re.escape(theirs)}(\d+)\.", stored)
        rest = stored[layer.end() :] if layer else ""
        for part, names in self.stacked.items():
            if rest.startswith(part):
                return [f"{ours}{layer.group(1)}.{name}{rest[len(part) :]}" for name in names]
        return []

    def stacked_name(self, name: str) -> str | None:
        """The name in files, without `prefix`, of the tensor that a tensor of ours is a part of, or None."""
        ours, theirs = self.layers
        layer = re.match(rf"{re.escape(ours)}(\d+)\.", name)
        rest = name[layer.end() :] if layer else ""
        for part, names in self.stacked.items():
            for own in names:
                if rest.startswith(own):
                    return f"{theirs}{layer.group(1)}.{part}{rest[len(own) :]}"
        return None

    def stored_name(self, name: str) -> str:
        """The name in files, without `prefix`, of a tensor of ours."""
        name = name.removeprefix(self.inner)
        ours, theirs = self.layers
        layer = re.match(rf"{re.escape(ours)}(\d+)\.", name)
        rest = name[layer.end() :] if layer else name
        start = f"{theirs}{layer.group(1)}." if layer else ""
        for part, stored in (self.layer_parts if layer else self.parts).items():
            if rest.startswith(part):
                return start + stored + rest[len(part) :]
        return start + rest

    def written_name(self, name: str) -> str:
        """The name under which a tensor of ours is written."""
        stored = self.stacked_name(name) or self.stored_name(name)
        return stored if stored.startswith(self.bare) else self.prefix + stored

    def is_transposed(self, name: str) -> bool:
        """Whether files hold the transpose of a tensor of ours."""
        return re.search(self.transposed, name) is not None


def _read_own(cls: Any, values: Mapping[str, Any]) -> Any:
    if values.get("model_type") != cls.model_type:
        raise ValueError(f"{cls.__name__}: model_type must be {cls.model_type!r}, got {values.get('model_type')!r}")
    values = {name: value for name, value in values.items() if name not in _NOT_IN_CONFIG}
    known = {field.name for field in fields(cls.config_class)}
    if set(values) != known:
        missing, extra = sorted(known - set(values)), sorted(set(values) - known)
        raise ValueError(f"{cls.__name__}: config.json lacks {missing[:5]} and has unknown {extra[:5]}")
    return cls.config_class(**values)


def _write_own(model: Any) -> dict[str, Any]:
    return {"model_type": model.model_type, **asdict(model.config)}


# config.json is the config, field by field, beside the model's `model_type`.
OWN = Layout(_read_own, _write_own)
