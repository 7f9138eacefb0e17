"""What bfloat16 costs in accuracy, beside what chance does: `python -m bench.accuracy`, a minute or so for each run.

Each seed's default run of `pyformer train` (4 layers of 128, Python's manual) is done in float32, in float32 from
weights moved by a unit in their last place, and in bfloat16. A moved run computes nothing but what float32 does, so
its distance from the first is what any other rounding may do to the validation loss.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

import pyformer as pf
from pyformer import _core, data, tokenizers
from pyformer.models import GPT, GPTConfig
from pyformer.training import Trainer, TrainingOptions

CONTEXT = 64


def move_weights(model: GPT, number: int) -> None:
    """Moves each weight up or down by a unit in its last place, by the seed `number`; 0 moves none."""
    if number == 0:
        return
    rng = np.random.default_rng(number)
    for parameter in model.parameters():
        weights = parameter.numpy()
        towards = np.where(rng.random(weights.shape) < 0.5, -np.inf, np.inf).astype(np.float32)
        _core.copy_(parameter, pf.tensor(np.nextafter(weights, towards)))


def validation_loss(text: str, seed: int, steps: int, dtype: str, moved: int) -> float:
    """The loss at the end of a run."""
    tokenizer = tokenizers.ByteTokenizer()
    train, validation = (tokenizer.encode(part) for part in data.split_text(text, seed))
    pf.manual_seed(seed)
    model = GPT(GPTConfig(tokenizer.vocab_size, CONTEXT, 4, 4, 128))
    move_weights(model, moved)
    options = TrainingOptions(steps=steps, dtype=dtype, seed=seed, eval_every=steps, save_every=steps, sample_every=0)
    trainer = Trainer(model, train, validation, options)
    trainer.train()
    loss = trainer.validation_loss
    assert loss is not None
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--moved", type=int, default=2, help="runs of each seed from moved weights")
    arguments = parser.parse_args()
    text = data.python_manual()
    differences: dict[str, list[float]] = {"moved": [], "bfloat16": []}
    print(f"{'seed':6}{'run':12}{'loss':>9}{'to float32':>12}")
    for seed in range(arguments.seeds):
        first = validation_loss(text, seed, arguments.steps, "float32", 0)
        print(f"{seed:<6}{'float32':12}{first:9.5f}", flush=True)
        runs = [("moved", "float32", number + 1) for number in range(arguments.moved)]
        for name, dtype, moved in [*runs, ("bfloat16", "bfloat16", 0)]:
            loss = validation_loss(text, seed, arguments.steps, dtype, moved)
            differences[name].append(100 * (loss / first - 1))
            print(f"{seed:<6}{name:12}{loss:9.5f}{differences[name][-1]:+11.2f}%", flush=True)
    for name, found in differences.items():
        if found:
            size = statistics.fmean(d * d for d in found) ** 0.5
            print(f"{name}: mean {statistics.fmean(found):+.2f}%, root mean square {size:.2f}%, of {len(found)}")


if __name__ == "__main__":
    main()
