"""`python -m bench.rivals.llmc_gpt JOB`: a training step of GPT-2 in llm.c's train_gpt2.c.

LLMC_DIR names a checkout of llm.c. Its functions are compiled with llmc_step.c, which adds clipping, and with the
flags of llm.c's Makefile by the compiler that CC names (cc); then the program takes this process's place.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench.rivals.job import BETAS, EPSILON, LLMC, WEIGHT_DECAY, Job

FLAGS = ("-Ofast", "-march=native", "-fopenmp", "-DOMP", "-DTESTING", "-w")
MAGIC, VERSION, HEADER_INTS, VOCABULARY_MULTIPLE = 20240326, 3, 256, 128
LAYER_PARAMETERS = (
    *("ln_1.weight", "ln_1.bias", "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight", "attn.c_proj.bias"),
    *("ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"),
)


def write_checkpoint(job: Job, path: Path) -> None:
    """llm.c's own format: a header, then each parameter of all layers together; the vocabulary is padded."""
    s, weights = job.settings, job.weights
    padding = -s["vocab_size"] % VOCABULARY_MULTIPLE
    header = np.zeros(HEADER_INTS, np.int32)
    sizes = [s[name] for name in ("context_length", "vocab_size", "num_layers", "num_heads", "embed_dim")]
    header[:8] = [MAGIC, VERSION, *sizes, s["vocab_size"] + padding]
    with path.open("wb") as file:
        header.tofile(file)
        weights["wte.weight"].tofile(file)
        np.zeros((padding, s["embed_dim"]), np.float32).tofile(file)
        weights["wpe.weight"].tofile(file)
        for name in LAYER_PARAMETERS:
            for layer in range(s["num_layers"]):
                weights[f"h.{layer}.{name}"].tofile(file)
        weights["ln_f.weight"].tofile(file)
        weights["ln_f.bias"].tofile(file)


def main() -> None:
    """Compiles the program, writes what it reads beside the job and becomes it."""
    path = Path(sys.argv[1])
    folder, job = path.parent, Job.load(path)
    program, checkpoint, batch = folder / "llmc_step", folder / "llmc.bin", folder / "llmc_batch.bin"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    source = Path(__file__).with_name("llmc_step.c")
    subprocess.run([*compiler, *FLAGS, f"-I{os.environ[LLMC]}", str(source), "-o", str(program), "-lm"], check=True)
    write_checkpoint(job, checkpoint)
    ids, targets = job.arrays["ids"], job.arrays["targets"]
    np.stack([ids, targets]).astype(np.int32).tofile(batch)
    numbers = (*ids.shape, job.settings["learning_rate"], job.settings["clip"], *BETAS, EPSILON, WEIGHT_DECAY)
    arguments = [str(program), str(checkpoint), str(batch), *map(str, numbers)]
    os.execv(program, arguments)


if __name__ == "__main__":
    main()
