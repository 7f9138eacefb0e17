"""Five models on Fashion-MNIST: two that name what is in a picture, one that squeezes it, two that make their own.

    python examples/pictures.py convnet --out runs/convnet
    python examples/pictures.py vit --out runs/vit
    python examples/pictures.py autoencoder --out runs/autoencoder
    python examples/pictures.py gan --out runs/gan --judge runs/convnet
    python examples/pictures.py dit --out runs/dit --judge runs/convnet

Stop a run with Ctrl-C; the same command goes on with it. When it is done, result.json holds what was measured on the
10,000 test pictures: accuracy of `convnet` and `vit`, mean squared error of a pixel (from 0 to 1) of `autoencoder`,
and of as many principal components. Of 1,000 pictures that `gan` or `dit` made it holds how many the judge, a finished
run of `convnet`, takes for the class they were to be of, and how far pictures of one class differ; pictures.png shows
some.
"""

from __future__ import annotations

import argparse
import logging
import signal
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import datasets, formats, optim
from pyformer.models import (
    GAN,
    Autoencoder,
    AutoencoderConfig,
    ConvNet,
    ConvNetConfig,
    DiT,
    DiTConfig,
    GANConfig,
    ViT,
    ViTConfig,
)
from pyformer.training import CHECKPOINT_NAME, TaskTrainer, TrainingOptions

CLASSES = len(datasets.FASHION_CLASSES)
MEAN, SPREAD = 0.286, 0.353  # of the training pictures' pixels, from 0 to 1
EVAL_BATCH = 250
CURVE_PICTURES = 2500  # test pictures whose loss the curve shows; nothing is chosen by it
SAMPLES = 100  # pictures of each class that the judge sees
SEEKING = 0.1  # weight of the term that keeps a GAN's pictures of one class apart
GUIDANCE = 2.0
SAMPLE_STEPS = 40
HIDE = 0.1  # part of the classes that a DiT does not see in training


@dataclass(frozen=True)
class Pictures:
    """uint8 (N, 28, 28) and their classes, int64 (N,), to learn from and to be judged on."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def load_pictures(limit: int | None = None) -> Pictures:
    """Fashion-MNIST, or the first `limit` pictures of both its parts."""
    return Pictures(*(array[:limit] for array in datasets.fashion_mnist()))


def normalised(pictures: np.ndarray) -> np.ndarray:
    """float32 (B, 1, 28, 28) of mean 0 and standard deviation 1, as classifiers see pictures."""
    return ((pictures[:, None] / np.float32(255) - MEAN) / SPREAD).astype(np.float32)


def signed(pictures: np.ndarray) -> np.ndarray:
    """float32 (B, 1, 28, 28) from -1 to 1, as GAN and DiT make pictures."""
    return (pictures[:, None] / np.float32(127.5) - 1).astype(np.float32)


def varied(pictures: np.ndarray, shift: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures, each moved by up to `shift` pixels both ways, and half of them mirrored."""
    count, height, width = pictures.shape
    padded = np.pad(pictures, ((0, 0), (shift, shift), (shift, shift)))
    tops, lefts = rng.integers(0, 2 * shift + 1, (2, count, 1))
    columns = np.arange(width) + np.zeros((count, 1), np.int64)
    columns = np.where(rng.random((count, 1)) < 0.5, columns[:, ::-1], columns) + lefts
    rows = np.arange(height) + tops
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def to_classify(pictures: np.ndarray, labels: np.ndarray, rng: np.random.Generator | None, shift: int) -> tuple:
    """Arguments of a classifier's loss; `rng` None means no variation."""
    return normalised(pictures if rng is None else varied(pictures, shift, rng)), labels


def to_reconstruct(pictures: np.ndarray, labels: np.ndarray, rng: np.random.Generator | None) -> tuple:
    """Arguments of an autoencoder's loss."""
    x = (pictures[:, None] / np.float32(255)).astype(np.float32)
    return x, x


def to_imitate(pictures: np.ndarray, labels: np.ndarray, rng: np.random.Generator | None) -> tuple:
    """Arguments of a GAN's loss."""
    rng = np.random.default_rng(0) if rng is None else rng
    return signed(pictures), labels, rng.standard_normal((len(labels), GANConfig().noise_dim), np.float32)


def to_denoise(pictures: np.ndarray, labels: np.ndarray, rng: np.random.Generator | None) -> tuple:
    """Arguments of a DiT's loss: times are mostly in the middle, where there is most to learn."""
    training = rng is not None
    rng = rng if training else np.random.default_rng(0)
    x = signed(varied(pictures, 0, rng) if training else pictures)
    times = 1 / (1 + np.exp(-rng.standard_normal(len(labels), np.float32)))
    noise = rng.standard_normal(x.shape, np.float32)
    hidden = rng.random(len(labels)) < HIDE
    return x, np.where(hidden & training, CLASSES, labels), times, noise


@dataclass(frozen=True)
class Task:
    """A model, how to train it, and the arguments of its loss from pictures, labels and random numbers."""

    make: Callable[[], Any]
    arguments: Callable[..., tuple]
    options: dict[str, Any]
    unit: str = "picture"
    measure: str = "nats"


TASKS = {
    "convnet": Task(
        lambda: ConvNet(ConvNetConfig()),
        partial(to_classify, shift=2),
        {"steps": 2800, "batch": 128, "lr": 4e-3, "final_lr": 0.01, "weight_decay": 0.05, "beta2": 0.999},
    ),
    "vit": Task(
        lambda: ViT(ViTConfig(embed_dim=64, num_layers=4, num_heads=2, patch_size=7)),
        partial(to_classify, shift=0),
        {"steps": 12000, "batch": 64, "lr": 1.5e-3, "final_lr": 0.01, "weight_decay": 0.05, "beta2": 0.99},
    ),
    "autoencoder": Task(
        lambda: Autoencoder(AutoencoderConfig()),
        to_reconstruct,
        {"steps": 3000, "batch": 128, "lr": 3e-3, "final_lr": 0.01, "weight_decay": 0.0, "beta2": 0.999},
        unit="pixel",
        measure="squared error",
    ),
    "gan": Task(
        lambda: GAN(GANConfig(widths=(32, 64))),
        to_imitate,
        {"steps": 8000, "batch": 64, "lr": 5e-4, "weight_decay": 0.0, "beta1": 0.5, "beta2": 0.999, "clip": 10.0},
    ),
    "dit": Task(
        lambda: DiT(DiTConfig(embed_dim=96, num_layers=4, num_heads=3)),
        to_denoise,
        {"steps": 2500, "batch": 128, "lr": 2e-3, "final_lr": 0.01, "weight_decay": 0.0, "beta2": 0.99},
        measure="squared error",
    ),
}


class GANTrainer(TaskTrainer):
    """Each step moves the discriminator, then the generator against it; the loss is the sum of both losses.

    The generator is made to seek modes (Mao et al. 2019, "Mode seeking generative adversarial networks"): fakes come in
    pairs of one class, and its loss grows where two noises that lie apart give pictures that do not.

    One AdamW holds the state of both, as it leaves parameters without a gradient alone. A stop waits for the end of
    the step.
    """

    def _train_step(self) -> float:
        model: GAN = self.model
        pictures, labels, noise = self._micro_batch(0)
        half = len(labels) // 2
        claimed, noise = np.tile(labels[:half], 2), noise[: 2 * half]
        fakes = model(noise, claimed)
        loss = self._descend(model.discriminator_loss(pictures, labels, fakes.detach(), claimed))
        critics = list(model.discriminator.parameters())
        for parameter in critics:
            parameter.requires_grad = False
        try:
            apart = pf.tensor(np.abs(noise[:half] - noise[half:]).mean(axis=1))
            seen_apart = (fakes[:half] - fakes[half:]).abs().mean(axis=(1, 2, 3))
            seeking = (apart / (seen_apart + 1e-3)).mean()
            loss += self._descend(model.generator_loss(fakes, claimed) + seeking * SEEKING)
        finally:
            for parameter in critics:
                parameter.requires_grad = True
        self.step += 1
        return loss

    def _descend(self, loss: pf.Tensor) -> float:
        loss.backward()
        self._check_finite("the loss", loss.item(), self.step + 1)
        norm = float(optim.clip_grad_norm_(self.model.parameters(), self.options.clip))
        self._check_finite("the norm of the gradient", norm, self.step + 1)
        self.optimizer.scale_lr(self.schedule(self.step))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


def make_trainer(name: str, data: Pictures, options: TrainingOptions, out: Path) -> TaskTrainer:
    """A trainer of the model called `name`, at the run's checkpoint if there is one."""
    task = TASKS[name]

    def batch_of(step: int) -> tuple:
        rng = np.random.Generator(np.random.Philox(key=[options.seed, step]))
        chosen = rng.integers(0, len(data.train), options.batch)
        return task.arguments(data.train[chosen], data.train_labels[chosen], rng)

    count = min(CURVE_PICTURES, len(data.test))
    starts = [slice(start, start + EVAL_BATCH) for start in range(0, count, EVAL_BATCH)]
    validation = [task.arguments(data.test[part], data.test_labels[part], None) for part in starts]
    pf.manual_seed(options.seed)
    cls = GANTrainer if name == "gan" else TaskTrainer
    trainer = cls(task.make(), batch_of, validation, options, out, unit=task.unit, measure=task.measure)
    out.mkdir(parents=True, exist_ok=True)
    if (out / CHECKPOINT_NAME).exists():
        trainer.restore()
    return trainer


def train(trainer: TaskTrainer) -> None:
    """Trains to the end, with a bar; SystemExit if it was stopped by Ctrl-C."""
    before = signal.signal(signal.SIGINT, lambda *_: trainer.request_stop())
    try:
        if not trainer.train(progress=True):
            raise SystemExit(f"stopped at step {trainer.step}: run this again to go on")
    finally:
        signal.signal(signal.SIGINT, before)


def accuracy(model: Any, pictures: np.ndarray, labels: np.ndarray) -> float:
    """The part of `pictures`, normalised, whose highest score is the one of their label."""
    right = 0
    with pf.no_grad():
        for start in range(0, len(labels), EVAL_BATCH):
            part = slice(start, start + EVAL_BATCH)
            right += int((model(pictures[part]).numpy().argmax(axis=1) == labels[part]).sum())
    return right / len(labels)


def squared_error(model: Autoencoder, pictures: np.ndarray) -> float:
    """Mean squared error of a pixel, from 0 to 1, of the reconstructions of uint8 pictures."""
    total = 0.0
    with pf.no_grad():
        for start in range(0, len(pictures), EVAL_BATCH):
            x, _ = to_reconstruct(pictures[start : start + EVAL_BATCH], None, None)
            total += model.loss(x).item() * len(x)
    return total / len(pictures)


def component_error(data: Pictures, count: int) -> float:
    """The same of the best linear autoencoder of `count` numbers, the training pictures' principal components."""
    train, test = (x.reshape(len(x), -1) / np.float32(255) for x in (data.train, data.test))
    components = np.linalg.eigh(np.cov(train.T))[1][:, -count:].astype(np.float32)
    centred = test - train.mean(axis=0)
    return float(np.square(centred - centred @ components @ components.T).mean())


def made_by(model: Any, labels: np.ndarray) -> np.ndarray:
    """Pictures (N, 1, 28, 28) from -1 to 1 that a GAN or DiT makes of classes `labels`."""
    options = {"steps": SAMPLE_STEPS, "guidance": GUIDANCE} if isinstance(model, DiT) else {}
    parts = [slice(start, start + EVAL_BATCH) for start in range(0, len(labels), EVAL_BATCH)]
    return np.concatenate([model.sample(labels[p], seed=p.start, **options).numpy() for p in parts])


def spread(pictures: np.ndarray, labels: np.ndarray) -> float:
    """Standard deviation of a pixel (from 0 to 1) over the pictures of one class, the mean of pixels and classes."""
    return float(np.mean([pictures[labels == label].std(axis=0).mean() for label in np.unique(labels)]))


def png(pixels: np.ndarray) -> bytes:
    """A grey picture, uint8 (height, width), as a PNG file (RFC 2083)."""
    height, width = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def grid(pictures: np.ndarray, columns: int, scale: int = 2) -> np.ndarray:
    """uint8 pixels of pictures (N, 28, 28), numbers from 0 to 1, row by row with white lines between them."""
    rows = len(pictures) // columns
    cells = np.rint(np.clip(pictures[: rows * columns], 0, 1) * 255).astype(np.uint8)
    cells = np.pad(cells.repeat(scale, axis=1).repeat(scale, axis=2), ((0, 0), (1, 1), (1, 1)), constant_values=255)
    height, width = cells.shape[1:]
    return cells.reshape(rows, columns, height, width).transpose(0, 2, 1, 3).reshape(rows * height, columns * width)


def report(model: Any, data: Pictures, judge: ConvNet | None, out: Path) -> dict[str, float]:
    """What `model` achieves; pictures go to pictures.png in the folder `out`."""
    if isinstance(model, (ConvNet, ViT)):
        return {"test accuracy": accuracy(model, normalised(data.test), data.test_labels)}
    if isinstance(model, Autoencoder):
        columns = min(10, len(data.test))
        shown, _ = to_reconstruct(data.test[: min(4, len(data.test) // columns) * columns], None, None)
        with pf.no_grad():
            both = np.stack([x.reshape(-1, columns, 28, 28) for x in (shown, model(shown).numpy())], axis=1)
        formats.write_bytes_atomic(out / "pictures.png", png(grid(both.reshape(-1, 28, 28), columns)))
        return {
            "test squared error": squared_error(model, data.test),
            "test squared error of principal components": component_error(data, model.config.code_dim),
        }
    labels = np.repeat(np.arange(CLASSES), SAMPLES)
    pictures = made_by(model, labels)[:, 0] * 0.5 + 0.5
    shown = pictures.reshape(CLASSES, SAMPLES, 28, 28)[:, :10]
    formats.write_bytes_atomic(out / "pictures.png", png(grid(shown.reshape(-1, 28, 28), shown.shape[1])))
    if judge is None:
        return {}
    return {
        "accuracy of the judge on made pictures": accuracy(judge, normalised(pictures * 255), labels),
        "accuracy of the judge on test pictures": accuracy(judge, normalised(data.test), data.test_labels),
        "spread of made pictures of a class": spread(pictures, labels),
        "spread of test pictures of a class": spread(data.test / 255, data.test_labels),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(TASKS))
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; the same folder goes on with it")
    parser.add_argument("--judge", type=Path, help="folder of a finished run of convnet, for gan and dit")
    parser.add_argument("--steps", type=int, help="default: by the model, minutes on two cores")
    parser.add_argument("--lr", type=float, help="default: by the model")
    parser.add_argument("--limit", type=int, help="use so many pictures only")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    judge = None if args.judge is None else ConvNet.from_pretrained(args.judge)
    chosen = {name: value for name in ("steps", "lr") if (value := getattr(args, name)) is not None}
    fixed = {"seed": args.seed, "sample_every": 0, "save_every": 500, "eval_every": 250}
    options = TrainingOptions(**{**TASKS[args.model].options, **fixed, **chosen})
    data = load_pictures(args.limit)
    trainer = make_trainer(args.model, data, options, args.out)
    train(trainer)
    scores = report(trainer.model.eval(), data, judge, args.out)
    for name, score in scores.items():
        print(f"{args.model}, {name}: {score:.5f}")
    formats.write_json_atomic(args.out / "result.json", {"steps": options.steps, **scores})


if __name__ == "__main__":
    try:
        main()
    except datasets.DataUnavailable as error:
        raise SystemExit(str(error)) from None
