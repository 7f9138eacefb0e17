"""What a rival's process is handed, and how it answers. Imports nothing of pyformer."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

# AdamW's settings that pyformer, torch and the rivals share.
BETAS, EPSILON, WEIGHT_DECAY = (0.9, 0.999), 1e-8, 0.01

LLMC = "LLMC_DIR"  # the variable that names a checkout of llm.c


@dataclass(frozen=True)
class Job:
    """The work of one item.

    weights: under pyformer's names, matrices (out, in), float32. arrays: `ids` (B, T) and in training `targets`
    (B, T). settings: the fields of GPTConfig, threads, and what the work needs besides.
    """

    weights: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]

    def save(self, path: Path) -> None:
        """One file with all of it."""
        tensors = {f"arrays/{name}": array for name, array in self.arrays.items()}
        tensors |= {f"weights/{name}": array for name, array in self.weights.items()}
        save_file(tensors, path, metadata={"settings": json.dumps(self.settings)})

    @classmethod
    def load(cls, path: Path) -> Job:
        """What `save` wrote."""
        parts: dict[str, dict[str, np.ndarray]] = {"weights": {}, "arrays": {}}
        with safe_open(path, "numpy") as file:
            for key in file.keys():  # noqa: SIM118, the file is no dict
                kind, name = key.split("/", 1)
                parts[kind][name] = file.get_tensor(key)
            return cls(**parts, settings=json.loads(file.metadata()["settings"]))


def answer_lines(prepare: Callable[[Job], Callable[[], Any]]) -> None:
    """The main program of a rival in Python: does the prepared work for each line, until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    work = prepare(Job.load(Path(sys.argv[1])))
    for _ in sys.stdin:
        print(json.dumps(work()), file=answers, flush=True)
