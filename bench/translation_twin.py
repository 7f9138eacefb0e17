"""examples/translation.py with torch: the same weights at first, the same batches and options, torch's dropout.

    python -m bench.translation_twin --out runs/twin --beside runs/verses

takes the example's arguments. What it has learnt is copied into a pyformer model, so that both are judged by the same
search. Run it again to go on from where it was stopped. Beside a finished run of the example, comparison.json tells
both BLEU and how far their difference can be trusted, and comparison.svg shows both losses.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

import pyformer as pf
from bench import ROOT
from pyformer import datasets, formats, svg, training
from pyformer.models import EncoderDecoder, EncoderDecoderConfig
from pyformer.models.encoder_decoder import IGNORED

CHECKPOINT_NAME = "checkpoint.pt"
RESAMPLES = 1000


def load_example() -> ModuleType:
    """examples/translation.py as a module."""
    spec = importlib.util.spec_from_file_location("examples_translation", ROOT / "examples" / "translation.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Attention(nn.Module):
    """Multi-head attention of x (B, T, C) to `context` (B, S, C)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(width, width))

    def forward(self, x: torch.Tensor, context: torch.Tensor, **where: Any) -> torch.Tensor:
        q, k, v = self.q_proj(x), self.k_proj(context), self.v_proj(context)
        q, k, v = (y.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for y in (q, k, v))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, **where).transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    """Two linear layers around a ReLU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.relu(self.up(x)))


class Block(nn.Module):
    """norm(x + dropout(part(x))) for each part: attention, in the decoder attention to the source, MLP."""

    def __init__(self, config: EncoderDecoderConfig, cross: bool) -> None:
        super().__init__()
        width = config.embed_dim
        self.dropout = nn.Dropout(config.dropout)
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, config.num_heads)
        if cross:
            self.cross_norm, self.cross = nn.LayerNorm(width), Attention(width, config.num_heads)
        self.mlp_norm, self.mlp = nn.LayerNorm(width), FeedForward(width, config.hidden_dim)

    def encode(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, x, attn_mask=mask)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))

    def decode(self, x: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        # Padding is on the right, where no token that counts can see it.
        x = self.attention_norm(x + self.dropout(self.attention(x, x, is_causal=True)))
        x = self.cross_norm(x + self.dropout(self.cross(x, memory, attn_mask=mask)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


class TorchEncoderDecoder(nn.Module):
    """The transformer of 2017 with pyformer's names of parameters; its forward pass is the loss of a batch."""

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        if config.norm_first:
            raise ValueError("TorchEncoderDecoder: expected norm_first=False")
        self.tokens = nn.Embedding(config.vocab_size, config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = nn.ModuleList(Block(config, cross=False) for _ in range(config.num_layers))
        self.decoder = nn.ModuleList(Block(config, cross=True) for _ in range(config.num_layers))
        places = torch.arange(config.context_length, dtype=torch.float64)[:, None]
        angles = places * 10000.0 ** (-torch.arange(0, config.embed_dim, 2, dtype=torch.float64) / config.embed_dim)
        table = torch.stack([angles.sin(), angles.cos()], -1).flatten(1).float()
        self.register_buffer("positions", table, persistent=False)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) * math.sqrt(self.tokens.embedding_dim)
        return self.dropout(x + self.positions[: ids.shape[1]])

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        source_lengths: torch.Tensor,
        target_lengths: torch.Tensor,
        label_smoothing: float = 0.0,
    ) -> torch.Tensor:
        mask = (torch.arange(source.shape[1]) < source_lengths[:, None])[:, None, None]
        memory = self.embed(source)
        for block in self.encoder:
            memory = block.encode(memory, mask)
        x = self.embed(target[:, :-1])
        for block in self.decoder:
            x = block.decode(x, memory, mask)
        counted = torch.arange(1, target.shape[1]) < target_lengths[:, None]
        labels = target[:, 1:].masked_fill(~counted, IGNORED).flatten()
        logits = F.linear(x.flatten(0, 1), self.tokens.weight)
        return F.cross_entropy(logits, labels, ignore_index=IGNORED, label_smoothing=label_smoothing)


class TwinTrainer:
    """Trains a twin of `trainer.model` as `trainer`, fresh from the example's make_trainer, would train the model."""

    def __init__(self, trainer: training.TaskTrainer, label_smoothing: float, run: Path | None) -> None:
        self.trainer, self.label_smoothing, self.run = trainer, label_smoothing, run
        self.step, self.stopped, self.recent = 0, False, []
        options = trainer.options
        torch.manual_seed(options.seed)
        self.model = TorchEncoderDecoder(trainer.model.config)
        self.model.load_state_dict({name: torch.tensor(p.numpy()) for name, p in trainer.model.state_dict().items()})
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": options.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        betas = options.beta1, options.beta2
        self.optimizer = torch.optim.AdamW(groups, lr=options.lr, betas=betas, eps=1e-8, fused=True)
        if run is not None and (run / CHECKPOINT_NAME).exists():
            self._restore(run)

    def request_stop(self) -> None:
        """Makes `train` save and return after the step it is in."""
        self.stopped = True

    def train(self) -> bool:
        """Trains until the last step (True) or until asked to stop (False)."""
        options = self.trainer.options
        with tqdm(total=options.steps, initial=self.step, unit="step", mininterval=10.0) as bar:
            while self.step < options.steps and not self.stopped:
                self.recent.append(self.train_step())
                bar.set_postfix_str(f"loss {self.recent[-1]:.3f}", refresh=False)
                bar.update()
                self._report()
                if self.step % options.save_every == 0:
                    self._save()
        self._save()
        return self.step == options.steps

    def train_step(self) -> float:
        """The loss before the step."""
        options = self.trainer.options
        for group in self.optimizer.param_groups:
            group["lr"] = options.lr * self.trainer.schedule(self.step)
        batch = self.trainer.batch_of(self.step)
        loss = self.model.train()(*map(torch.from_numpy, batch), label_smoothing=self.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), options.clip)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def evaluate(self) -> float:
        """As pyformer's trainer does: without dropout and smoothing, weighed by the number of counted targets."""
        self.model.eval()
        batches: Sequence[tuple[np.ndarray, ...]] = self.trainer.validation
        losses = [self.model(*map(torch.from_numpy, batch)).item() for batch in batches]
        return float(np.average(losses, weights=[self.trainer.model.count_targets(*b) for b in batches]))

    def to_pyformer(self) -> EncoderDecoder:
        """A pyformer model with the twin's weights."""
        model = EncoderDecoder(self.trainer.model.config)
        model.load_state_dict({name: pf.tensor(p.numpy()) for name, p in self.model.state_dict().items()})
        return model.eval()

    def _report(self) -> None:
        options, last = self.trainer.options, self.step == self.trainer.options.steps
        if self.step % options.log_every == 0 or last:
            self._write(loss=sum(self.recent) / len(self.recent), lr=self.optimizer.param_groups[0]["lr"])
            self.recent = []
        if self.step % options.eval_every == 0 or last:
            self._write(validation_loss=self.evaluate())
            if self.run is not None:
                training.write_loss_curve(self.run)

    def _write(self, **values: float) -> None:
        if self.run is not None:
            with open(self.run / training.METRICS_NAME, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.step, **values}) + "\n")

    def _save(self) -> None:
        if self.run is None:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "recent": self.recent,
            "random_state": torch.get_rng_state(),
        }
        path = self.run / CHECKPOINT_NAME
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def _restore(self, run: Path) -> None:
        state = torch.load(run / CHECKPOINT_NAME, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random_state"])
        self.step, self.recent = state["step"], state["recent"]
        training.rewind_metrics(run / training.METRICS_NAME, self.step)


def statistics(found: list[str], expected: list[str]) -> np.ndarray:
    """What BLEU adds up over sentences: matches and totals of 1- to 4-grams, both lengths; (N, 10)."""
    from sacrebleu import corpus_bleu

    scores = [corpus_bleu([text], [[wanted]]) for text, wanted in zip(found, expected, strict=True)]
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], np.float64)


def bleu_of(sums: np.ndarray) -> np.ndarray:
    """BLEU (...,) of summed statistics (..., 10)."""
    precisions = np.log(sums[..., :4] / sums[..., 4:8]).mean(axis=-1)
    return 100.0 * np.exp(precisions + np.minimum(0.0, 1.0 - sums[..., 9] / sums[..., 8]))


def compare(ours: dict[str, list[str]], theirs: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """BLEU of both, by kind of search, and 95% intervals of each and of their difference by paired bootstrap.

    Source: Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation".
    """
    if ours["english"] != theirs["english"]:
        raise ValueError("compare: the two have translated different verses")
    count = len(ours["english"])
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    result = {}
    for name in (name for name in ours if name not in ("english", "spanish")):
        one, two = (statistics(run[name], run["spanish"]) for run in (ours, theirs))
        resampled = [bleu_of(draws @ each) for each in (one, two)]
        values = {"pyformer": resampled[0], "torch": resampled[1], "difference": resampled[0] - resampled[1]}
        scores = [float(bleu_of(each.sum(axis=0))) for each in (one, two)]
        result[name] = {
            who: {"bleu": round(score, 2), "interval": np.percentile(values[who], [2.5, 97.5]).round(2).tolist()}
            for who, score in zip(values, (*scores, scores[0] - scores[1]), strict=True)
        }
    return result


def report(ours: Path, theirs: Path) -> None:
    """Compares two finished runs; comparison.json and comparison.svg go to `theirs`."""
    result = compare(*(formats.read_json(run / load_example().TRANSLATIONS_NAME) for run in (ours, theirs)))
    print(json.dumps(result, indent=2))
    formats.write_json_atomic(theirs / "comparison.json", result)
    lines = {}
    for who, run in (("pyformer", ours), ("torch", theirs)):
        entries = training.read_metrics(run / training.METRICS_NAME)
        for what, name in (("training", "loss"), ("validation", "validation_loss")):
            lines[f"{who}, {what}"] = training.loss_points(entries, name)
    picture = svg.line_chart("verses", "step", "loss (nats per token)", lines)
    formats.write_bytes_atomic(theirs / "comparison.svg", picture.encode())


def main() -> None:
    example = load_example()
    parser = example.make_parser(__doc__)
    parser.add_argument("--beside", type=Path, help="folder of the example's run, to compare with when both are done")
    args = parser.parse_args()
    corpus = example.Corpus(datasets.verses(), args.vocab)
    fresh = example.make_trainer(corpus, argparse.Namespace(**{**vars(args), "out": None}))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
    twin = TwinTrainer(fresh, example.LABEL_SMOOTHING, args.out)
    before = signal.signal(signal.SIGINT, lambda *_: twin.request_stop())
    if not twin.train():
        raise SystemExit(f"stopped at step {twin.step}: run this again to go on")
    signal.signal(signal.SIGINT, before)
    model = twin.to_pyformer()
    if args.out is not None:
        model.save_pretrained(args.out)
    example.judge(model, corpus, args)
    if args.out is not None and args.beside is not None:
        report(args.beside, args.out)


if __name__ == "__main__":
    main()
