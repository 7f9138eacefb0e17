"""Looks for differing bits: random calls and models, each computed in ways that must give the same.

`python tests/fuzz_bits.py --seconds 3600` prints its seed and goes on until the time is over or something differs:
then it prints the smallest call that it can find, as a program, and exits with 1. A call is computed with other
instruction sets, numbers of threads, alignments of memory and float modes of the host; with a part of its elements
alone; with NaN, infinities, the smallest and largest numbers in its other elements; and by other calls that promise
the same. What may be expected of which op is in fuzz_calls.py and fuzz_models.py.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import itertools
import platform
import random
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import fuzz_calls
import fuzz_models
import numpy as np
from case_runner import as_tuple
from fuzz_calls import Apart, Call
from fuzz_draw import Draw, specials, values
from tolerance import same_bits

import pyformer as pf
from pyformer import _core

RECIPES: dict[str, Callable[[Draw], Call]] = {r.__name__: r for r in (*fuzz_calls.OPS, *fuzz_models.MODELS)}
SCOPE = {**vars(fuzz_calls), **vars(fuzz_models), "pf": pf, "np": np}

# The bits of MXCSR that a mode sets: rounding, flush to zero, denormals are zero.
MODES = {"": 0, "up": 0x4000, "down": 0x2000, "toward zero": 0x6000, "FTZ": 0x8000, "DAZ": 0x40, "FTZ, DAZ": 0x8040}
LIBM = ctypes.CDLL("libm.so.6") if platform.machine() == "x86_64" and sys.platform.startswith("linux") else None
if LIBM is None:
    MODES = {"": 0, "the same": 0}


@dataclass(frozen=True)
class Settings:
    """What must not matter. `offset`: by how many elements arrays lie beside where an allocator puts them. `guarded`:
    memory holds NaN before it is written, and bands around it are watched."""

    isa: str = "ref"
    threads: int = 1
    offset: int = 0
    mode: str = ""
    guarded: bool = False


def draw_settings(draw: Draw, name: str, isas: Sequence[str], modes: Sequence[str]) -> Settings:
    odd = draw.flag(f"{name} mode", 0.4)
    return Settings(
        draw.choice(f"{name} isa", isas),
        draw.choice(f"{name} threads", (1, 1, 1, 2, 3, 7)),  # 1 is the quickest by far
        draw.number(f"{name} offset", 0, 3),
        draw.choice(f"{name} which mode", modes) if odd else "",
        draw.flag(f"{name} guarded", 0.2),
    )


@contextmanager
def float_mode(name: str) -> Iterator[None]:
    """The host's float mode, by the word that glibc's fegetenv keeps of it."""
    if not MODES[name]:
        yield
        return
    before, changed = ctypes.create_string_buffer(32), ctypes.create_string_buffer(32)
    LIBM.fegetenv(before)
    mxcsr = int.from_bytes(before.raw[28:32], "little") | MODES[name]
    changed.raw = before.raw[:28] + mxcsr.to_bytes(4, "little")
    LIBM.fesetenv(changed)
    try:
        yield
    finally:
        LIBM.fesetenv(before)


@contextmanager
def applied(settings: Settings) -> Iterator[None]:
    _core.set_isa(settings.isa)
    if settings.threads != pf.get_num_threads():
        pf.set_num_threads(settings.threads)
    _core.set_guard_mode(settings.guarded)
    try:
        with float_mode(settings.mode):
            yield
    finally:
        _core.set_guard_mode(False)


def as_tensor(array: np.ndarray, dtype: str, offset: int) -> pf.Tensor:
    if "16" in dtype and array.dtype == np.float32:
        return pf.tensor(array).to(dtype)
    if not offset or not array.ndim:
        return pf.tensor(array)
    memory = np.empty(array.size + offset, array.dtype)
    memory[offset:] = array.reshape(-1)
    return pf.asarray(memory[offset:].reshape(array.shape))


def as_array(tensor: pf.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.to("float32") if "16" in tensor.dtype.name else tensor).numpy().copy()


# Not in a float mode: it reads numbers.
compiled = lru_cache(lambda text, kind="eval": compile(text, "call", kind))


@dataclass
class Run:
    """A call computed with settings; gradients of its outputs that `douts` lacks are drawn."""

    call: Call
    settings: Settings
    douts: dict[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def results(self) -> dict[str, np.ndarray]:
        """Outputs by the names out0, out1, ..., the gradient of x by dx; or what was raised."""
        try:
            return self._computed()
        except Exception as error:  # any exception is a result that must be the same
            return {"raised": np.array(f"{type(error).__name__}: {error}")}

    def _computed(self) -> dict[str, np.ndarray]:
        call, code = self.call, compiled(self.call.expression)
        tensors = {k: as_tensor(v, call.dtype, self.settings.offset) for k, v in call.arrays.items()}
        for name in call.grads:
            tensors[name].requires_grad = True
        scope = {**SCOPE, **tensors}
        setup = compiled(call.setup, "exec")
        with applied(self.settings), np.errstate(all="ignore"):
            exec(setup, scope)
            outputs = {f"out{i}": out for i, out in enumerate(as_tuple(eval(code, scope)))}
        with applied(replace(self.settings, mode="")):
            wanted = [name for name, out in outputs.items() if out.requires_grad]
            douts = [pf.tensor(self._dout(n, outputs[n].shape)).to(outputs[n].dtype) for n in wanted]
        if wanted:
            with applied(self.settings):
                _core.backward_many([outputs[name] for name in wanted], douts)
        grads = {f"d{name}": tensors[name].grad for name in call.grads}
        if _core.guard_violations():
            return {"raised": np.array("wrote outside of an array")}
        return {name: as_array(tensor) for name, tensor in (outputs | grads).items() if tensor is not None}

    def _dout(self, name: str, shape: Sequence[int]) -> np.ndarray:
        if name not in self.douts:
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            self.douts[name] = values(rng, tuple(shape), self.call.dout_kind, self.call.dtype)
        return self.douts[name]


@dataclass
class Pair:
    """Two runs, and which elements of which results must be the same: {name: (axis, of the one, of the other)}."""

    what: str
    one: Run
    other: Run
    compared: dict[str, tuple[int, np.ndarray, np.ndarray] | None]

    @property
    def difference(self) -> str | None:
        """The first result that differs, if any does."""
        one, other = self.one.results, self.other.results
        if "raised" in one or "raised" in other:
            return "raised"
        return next((name for name in self.compared if name in one and not same_bits(*self.parts(name))), None)

    def parts(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        one, other, cut = self.one.results.get(name), self.other.results.get(name), self.compared.get(name)
        if cut is None or one is None or other is None:
            return one, other
        axis, of_one, of_other = cut
        return one.take(of_one, axis), other.take(of_other, axis)


def pairs(call: Call, draw: Draw) -> Iterator[Pair]:
    """All that the call is expected to hold to."""
    isas, modes = _core.supported_isas(), list(MODES)[1:]
    base = Run(call, draw_settings(draw, "base", isas, modes))
    other = draw_settings(draw, "other", isas, modes)
    for isa in isas:
        settings = draw_settings(draw, f"with {isa}", [isa], modes)
        yield Pair("settings", base, Run(call, settings, base.douts), everything(base))
    for number, apart in enumerate(call.apart):
        size = min((call.arrays[name].shape[axis] for name, axis in apart.inputs.items()), default=0)
        if size:
            yield some_alone(base, other, apart, size, draw, f"apart {number}")
            yield some_planted(base, other, apart, size, draw, f"apart {number}")
    if call.in_order:
        yield from in_order(base, other, draw)
    for expression, names in call.same:
        again = Run(replace(call, expression=expression), other, base.douts)
        yield Pair("another call", base, again, everything(base, names))
    if call.unseen:
        yield unseen_planted(base, other, draw)


def everything(base: Run, names: Sequence[str] = ()) -> dict[str, None]:
    return dict.fromkeys(names or base.results)


def some_alone(base: Run, other: Settings, apart: Apart, size: int, draw: Draw, name: str) -> Pair:
    first = draw.number(f"{name} first", 0, size - 1)
    kept = np.arange(first, draw.number(f"{name} last", first, size - 1 if draw.flag(f"{name} several") else first) + 1)
    names = {k: axis for k, axis in apart.results.items() if k in base.results}
    return Pair(
        "alone",
        base,
        part_of(base, other, apart.inputs, apart.outputs, kept),
        {k: (axis, kept, np.arange(len(kept))) for k, axis in names.items()},
    )


def part_of(base: Run, settings: Settings, inputs: dict, outputs: dict, kept: np.ndarray) -> Run:
    arrays = {k: v.take(kept, inputs[k]) if k in inputs else v for k, v in base.call.arrays.items()}
    douts = {k: v.take(kept, outputs[k]) if k in outputs else v for k, v in base.douts.items()}
    return Run(replace(base.call, arrays=arrays), settings, douts)


def some_planted(base: Run, other: Settings, apart: Apart, size: int, draw: Draw, name: str) -> Pair:
    at = draw.number(f"{name} planted", 0, size - 1)
    left = np.delete(np.arange(size), at)
    names = {k: axis for k, axis in apart.results.items() if k in base.results}
    planted = planted_at(base, other, apart.inputs, apart.outputs, at, draw)
    return Pair("planted", base, planted, {k: (axis, left, left) for k, axis in names.items()})


def planted_at(base: Run, settings: Settings, inputs: dict, outputs: dict, at: int, draw: Draw) -> Run:
    """Hostile numbers at one place of axes of inputs, and of gradients of outputs."""
    call, rng = base.call, draw.numpy("planted")
    base.results  # noqa: B018  # makes douts
    floats = [k for k in inputs if call.arrays[k].dtype.kind == "f" and (k in call.grads or not call.grads)]
    arrays = call.arrays | {k: hostile(rng, call.arrays[k], inputs[k], at, call.dtype) for k in floats}
    douts = base.douts | {k: hostile(rng, v, outputs[k], at, call.dtype) for k, v in base.douts.items() if k in outputs}
    return Run(replace(call, arrays=arrays), settings, douts)


def hostile(rng: np.random.Generator, array: np.ndarray, axis: int, at: int, dtype: str) -> np.ndarray:
    result = array.copy()
    place = (slice(None),) * axis + (at,)
    result[place] = rng.choice(specials(dtype), result[place].shape if rng.random() < 0.5 else ())
    return result


def in_order(base: Run, other: Settings, draw: Draw) -> Iterator[Pair]:
    """What comes later, and gradients of what came before, change nothing."""
    order, results = base.call.in_order, base.results
    if "raised" in results:
        return
    name, axis = next(iter(order.outputs.items()))
    steps = results[name].shape[axis]
    at = draw.number("time", 0, steps - 1)
    early, late = np.arange(at), np.arange(at + 1, steps)
    compared = {k: (axis, early, early) for k, axis in order.outputs.items()}
    if at:
        yield Pair("time cut", base, part_of(base, other, order.inputs, order.outputs, early), compared)
    compared = compared | {f"d{k}": (order.inputs[k], early, early) for k in order.before}
    yield Pair("later planted", base, planted_at(base, other, order.inputs, {}, at, draw), compared)
    compared = {f"d{k}": (order.inputs[k], late, late) for k in order.after}
    yield Pair("earlier gradient planted", base, planted_at(base, other, {}, order.outputs, at, draw), compared)


def unseen_planted(base: Run, other: Settings, draw: Draw) -> Pair:
    call, rng, planted = base.call, draw.numpy("unseen"), dict(base.call.arrays)
    for name, mask in call.unseen.items():
        planted[name] = planted[name].copy()
        planted[name][mask] = rng.choice(specials(call.dtype), int(mask.sum()))
    return Pair("unseen planted", base, Run(replace(call, arrays=planted), other, base.douts), everything(base))


@dataclass
class Finding:
    recipe: str
    draw: Draw
    pair: Pair
    result: str


def look(recipe: str, seed: int, fixed: dict[str, int] | None = None, what: str = "") -> tuple[Finding | None, int]:
    """One random call; the first of its pairs that differs, and how many were compared."""
    draw, count = Draw(seed, fixed), 0
    call = RECIPES[recipe](draw)
    call = replace(call, dout_kind=draw.choice("dout", ("plain", "plain", "plain", "zeros", "specials", "scaled rows")))
    for pair in pairs(call, draw):
        count += 1
        if what in ("", pair.what):
            result = pair.difference
            if result:
                return Finding(recipe, draw, pair, result), count
    return None, count


def smallest(finding: Finding, seconds: float = 20.0) -> Finding:
    """Fixes one choice after the other to a smaller one, as long as something differs in the same way."""
    end, last = time.monotonic() + seconds, None
    while finding is not last:
        last = finding
        for name, (low, value) in last.draw.made.items():
            for smaller in sorted({low, (low + value) // 2, value - 1} - {value}):
                found = smaller >= low and with_choice(finding, name, smaller)
                if time.monotonic() > end:
                    return found or finding
                if found:
                    finding = found
                    break
    return finding


def with_choice(finding: Finding, name: str, value: int) -> Finding | None:
    """What differs in the same way when one choice is another."""
    fixed = {k: v for k, (_, v) in finding.draw.made.items()} | {name: value}
    found, _ = look(finding.recipe, finding.draw.seed, fixed, finding.pair.what)
    return found if found and (found.result == "raised") == (finding.result == "raised") else None


def literal(array: np.ndarray) -> str:
    return f"np.array({array.tolist()}, {array.dtype.name!r}).reshape{array.shape!r}".replace("(,)", "()")


def arrays_literal(arrays: dict[str, np.ndarray]) -> str:
    return "{" + ", ".join(f"{k!r}: {literal(v)}" for k, v in arrays.items()) + "}"


def run_literal(run: Run) -> str:
    call = run.call
    text = f"Run(Call({call.expression!r},\n    {arrays_literal(call.arrays)},\n    {call.dtype!r}, {call.grads!r}"
    text += f", setup={call.setup!r}" if call.setup else ""
    return f"{text}),\n    {run.settings},\n    {arrays_literal(run.douts)})"


def part_literal(run: str, name: str, axis: int, kept: np.ndarray) -> str:
    return f"{run}.results[{name!r}].take({kept.tolist()}, {axis})"


def program(finding: Finding) -> str:
    """Python that computes the two results that differ."""
    pair, name = finding.pair, finding.result
    lines = ["from numpy import inf, nan", "from fuzz_bits import *  # in tests/", f"one = {run_literal(pair.one)}"]
    lines.append(f"other = {run_literal(pair.other)}")
    cut = pair.compared.get(name)
    if cut:
        axis, of_one, of_other = cut
        shown = (part_literal("one", name, axis, of_one), part_literal("other", name, axis, of_other))
    else:
        shown = (f"one.results.get({name!r})", f"other.results.get({name!r})")
    return "\n".join([*lines, f"print({shown[0]})", f"print({shown[1]})"])


def report(finding: Finding, seed: int, trial: int) -> str:
    pair = finding.pair
    sizes = {k: v.shape for k, v in pair.one.call.arrays.items()}
    elements = sum(v.size for v in (*pair.one.call.arrays.values(), *pair.other.call.arrays.values()))
    text = f"{finding.recipe}: {finding.result} differs ({pair.what}) in {pair.one.call.expression}\nshapes {sizes}"
    text += f"\n{pair.one.settings}\n{pair.other.settings}\nagain: fuzz_bits.py --seed {seed} --trial {trial}"
    one, other = pair.parts(finding.result)
    with np.printoptions(threshold=20):
        text += f"\none {one}\nother {other}"
    return text + (f"\n\n{program(finding)}" if elements <= 2000 else "\n(arrays too large to print)")


def fuzz(seconds: float, seed: int, recipes: Sequence[str], trial: int | None = None) -> int:
    """How many calls differed: it stops at the first."""
    begin, said, calls, checks = time.monotonic(), 0.0, 0, 0
    for number in itertools.count() if trial is None else [trial]:
        spent = time.monotonic() - begin
        if spent > seconds:
            break
        if spent > said + 60.0:
            said = spent
            print(f"{spent:.0f} s, {calls} calls, {checks} checks", flush=True)
        one = random.Random(f"{seed} {number}")
        recipe = one.choice(list(RECIPES))
        if recipe not in recipes:
            continue
        found, count = look(recipe, one.getrandbits(32))
        calls, checks = calls + 1, checks + count
        if found:
            print(f"after {spent:.1f} s, {calls} calls, {checks} checks:")
            print(report(smallest(found), seed, number))
            return 1
    print(f"{calls} calls, {checks} checks: the same bits")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="by default a new one")
    parser.add_argument("--trial", type=int, default=None, help="this call of the seed's only")
    parser.add_argument("--only", nargs="*", default=list(RECIPES), choices=list(RECIPES), metavar="RECIPE")
    parser.add_argument("--without", nargs="*", default=[], choices=list(RECIPES), metavar="RECIPE")
    options = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    faulthandler.enable()
    recipes = [name for name in options.only if name not in options.without]
    return fuzz(options.seconds, seed, recipes, options.trial)


if __name__ == "__main__":
    sys.exit(main())
