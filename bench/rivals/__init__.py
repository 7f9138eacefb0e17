"""Rivals that take part where they are installed: JAX, MLX and llm.c in training, llama.cpp in decoding.

Each lives in a process of its own that does its work once for every line it is sent, in turn with the other
contenders: its threads are set before it is imported, and a crash ends only itself. One that is not installed is
absent; one that fails, answers something else or is too slow to be repeated shows as an error in its row.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import ROOT
from bench.measure import Settings, check_close
from bench.rivals.job import LLMC, Job

if TYPE_CHECKING:
    import pyformer as pf

FIRST_ANSWER_S = 120.0  # import, moving the weights, compiling and the work itself
SLOW_S = 20.0  # work that takes longer is not repeated


@dataclass(frozen=True)
class Rival:
    """`python -m module JOB` is its process; it is there if all `imports` are, or the variable names a checkout."""

    module: str
    work: str
    imports: tuple[str, ...] = ()
    distribution: str = ""
    variable: str = ""

    def is_found(self) -> bool:
        if self.variable:
            return bool(os.environ.get(self.variable))
        return all(importlib.util.find_spec(name) is not None for name in self.imports)

    def version(self) -> str:
        """Of the installed distribution, or the commit of the checkout; "unknown" where neither is to be had."""
        if not self.variable:
            return _distribution_version(self.distribution)
        command = ["git", "-C", os.environ[self.variable], "rev-parse", "--short=10", "HEAD"]
        try:
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return "unknown"


def _distribution_version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


RIVALS = {
    "jax": Rival("bench.rivals.jax_gpt", "training", ("jax",), "jax"),
    "mlx": Rival("bench.rivals.mlx_gpt", "training", ("mlx",), "mlx"),
    "llm.c": Rival("bench.rivals.llmc_gpt", "training", variable=LLMC),
    "llama.cpp": Rival("bench.rivals.llama_gpt", "decoding", ("llama_cpp", "gguf"), "llama-cpp-python"),
}

# llama.cpp again, on a file as others made it.
OPENERS = {"llama.cpp": Rival("bench.rivals.llama_file", "opening", ("llama_cpp", "gguf"), "llama-cpp-python")}


def versions() -> dict[str, str]:
    """The rivals that are there, with their versions."""
    return {name: rival.version() for name, rival in RIVALS.items() if rival.is_found()}


class Process:
    """A rival at work: a call has it do the work once and returns its answer."""

    def __init__(self, module: str, job: Path, threads: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed in close()
        # JAX reads NPROC, MLX's matrix products the next two, llm.c the last.
        names = ("NPROC", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", **dict.fromkeys(names, str(threads))}
        command = [sys.executable, "-m", module, str(job)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=self._errors, text=True
        )

    def __call__(self) -> Any:
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(self._last_words())
        return json.loads(line)

    def answer_within(self, seconds: float) -> Any:
        """A call that ends the process when it takes longer, with TimeoutError."""
        late = threading.Event()
        timer = threading.Timer(seconds, lambda: (late.set(), self._process.kill()))
        timer.start()
        try:
            return self()
        except RuntimeError:
            if late.is_set():
                raise TimeoutError(f"no answer within {seconds:.0f} s") from None
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else f"exit code {code}"


Running = tuple[dict[str, Process], dict[str, str]]


@contextmanager
def _running(work: str, job: Job, threads: int, check: Callable[[Process], None]) -> Iterator[Running]:
    """The found rivals that pass the check, and what became of the others."""
    processes: dict[str, Process] = {}
    errors: dict[str, str] = {}
    rivals = OPENERS if work == "opening" else RIVALS
    found = {name: rival for name, rival in rivals.items() if rival.work == work and rival.is_found()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.safetensors"
        if found:
            job.save(file)
        try:
            for name, rival in found.items():
                processes[name] = Process(rival.module, file, threads)
                try:
                    check(processes[name])
                except Exception as error:
                    processes.pop(name).close()
                    errors[name] = str(error) or type(error).__name__
            yield processes, errors
        finally:
            for process in processes.values():
                process.close()


def training(
    model: pf.models.GPT, batch: tuple[np.ndarray, np.ndarray], losses: list[float], settings: Settings, **options: Any
) -> Any:
    """The training step: `model` before its first step, the batch's ids and targets, pyformer's first losses.

    A context manager that gives the rivals' steps and the errors by name. Options: learning_rate and clip.
    """

    def check(process: Process) -> None:
        for number, ours in enumerate(losses, 1):
            start = time.perf_counter()
            loss = process.answer_within(FIRST_ANSWER_S)
            seconds = time.perf_counter() - start
            check_close(f"loss of step {number}", ours, loss, 1e-3)
            if number > 1 and seconds > SLOW_S:
                raise TimeoutError(f"a step took {seconds:.0f} s, more than {SLOW_S:.0f} s is not repeated")

    job = _job(model, {"ids": batch[0], "targets": batch[1]}, settings, options)
    return _running("training", job, settings.threads, check)


def decoding(
    model: pf.models.GPT, ids: np.ndarray, verify: Callable[[np.ndarray], None], settings: Settings, **options: Any
) -> Any:
    """Greedy decoding of (B, T) ids; `verify` raises unless the answer with its prompt (B, T + new) is right.

    A context manager that gives the rivals' calls and the errors by name. Option: new_tokens.
    """

    def check(process: Process) -> None:
        answer = np.asarray(process.answer_within(FIRST_ANSWER_S))
        if answer.shape != (len(ids), options["new_tokens"]):
            raise ValueError(f"shape {answer.shape} of the new tokens")
        verify(np.concatenate([ids, answer], axis=1))

    return _running("decoding", _job(model, {"ids": ids}, settings, options), settings.threads, check)


def opening(
    path: Path, ids: np.ndarray, verify: Callable[[np.ndarray], None], settings: Settings, **options: Any
) -> Any:
    """Greedy decoding, by a GGUF file, of (B, T) ids, as `decoding`, whose answer says the seconds of each step, too.

    A context manager that gives the rivals' calls and the errors by name. Option: new_tokens.
    """

    def check(process: Process) -> None:
        answer = np.asarray(process.answer_within(FIRST_ANSWER_S)["tokens"])
        if answer.shape != (len(ids), options["new_tokens"]):
            raise ValueError(f"shape {answer.shape} of the new tokens")
        verify(answer)

    job = Job({}, {"ids": ids}, {"path": str(path), "threads": settings.threads, **options})
    return _running("opening", job, settings.threads, check)


def _job(model: pf.models.GPT, arrays: dict[str, np.ndarray], settings: Settings, options: dict[str, Any]) -> Job:
    weights = {name: p.detach().numpy() for name, p in model.state_dict().items()}
    return Job(weights, arrays, {**asdict(model.config), "threads": settings.threads, **options})
