"""English verses into Spanish ones: the transformer of 2017, byte pairs, beam search, BLEU.

    pip install ".[translation]" && python examples/translation.py --out runs/verses

Run it again to go on from where it was stopped. Every 20th verse is held out: it is never trained on.
"""

from __future__ import annotations

import argparse
import logging
import signal
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import datasets, formats
from pyformer.models import EncoderDecoder, EncoderDecoderConfig
from pyformer.tokenizers import BPETokenizer
from pyformer.training import CHECKPOINT_NAME, TaskTrainer, TrainingOptions

HELD_OUT_EVERY = 20
MAX_TOKENS = 100
LABEL_SMOOTHING = 0.1
TRANSLATIONS_NAME = "translations.json"
# Batches are filled from this many at once, sorted by length, so that little of them is padding.
POOL = 32

Pair = tuple[list[int], list[int]]


class Corpus:
    """Pairs of verses as ids: targets start with `bos` and end with `eos`, the two ids after the tokenizer's own."""

    def __init__(self, pairs: list[tuple[str, str]], vocab: int) -> None:
        held_out = pairs[::HELD_OUT_EVERY]
        training = [pair for i, pair in enumerate(pairs) if i % HELD_OUT_EVERY]
        self.tokenizer = BPETokenizer.train("\n".join(text for pair in training for text in pair), vocab)
        self.bos, self.eos = self.tokenizer.vocab_size, self.tokenizer.vocab_size + 1
        self.train = [pair for pair in map(self._encode, training) if max(map(len, pair)) <= MAX_TOKENS]
        self.test = [pair for pair in map(self._encode, held_out) if max(map(len, pair)) <= MAX_TOKENS]

    def _encode(self, pair: tuple[str, str]) -> Pair:
        source, target = (self.tokenizer.encode(text).tolist() for text in pair)
        return source, [self.bos, *target, self.eos]

    def decode(self, ids: list[int]) -> str:
        """The text of ids, without the marks of start and end."""
        return self.tokenizer.decode([token for token in ids if token < self.bos])


def pad(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(ids (B, T), zeros on the right; lengths (B,)) of rows of different lengths."""
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.zeros((len(rows), int(lengths.max())), np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    return ids, lengths


def to_batch(pairs: list[Pair]) -> tuple[np.ndarray, ...]:
    """The arguments of the model's loss."""
    source, source_lengths = pad([pair[0] for pair in pairs])
    target, target_lengths = pad([pair[1] for pair in pairs])
    return source, target, source_lengths, target_lengths


def batch_at(pairs: list[Pair], batch: int, step: int, seed: int) -> tuple[np.ndarray, ...]:
    """Batch number `step`: pools of shuffled pairs, each cut by length into batches that come in random order."""
    pool = min(POOL * batch, len(pairs) // batch * batch)
    pools = len(pairs) // pool
    epoch, place = divmod(step, pools * (pool // batch))
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(len(pairs))
    number, turn = divmod(place, pool // batch)
    chosen = sorted(order[number * pool :][:pool], key=lambda i: (len(pairs[i][0]), i))
    turns = np.random.Generator(np.random.Philox(key=[seed + 1, epoch * pools + number])).permutation(pool // batch)
    start = int(turns[turn]) * batch
    return to_batch([pairs[i] for i in chosen[start : start + batch]])


def make_trainer(corpus: Corpus, args: argparse.Namespace) -> TaskTrainer:
    """Model, batches and options, at the run's checkpoint if it has one."""
    config = EncoderDecoderConfig(
        vocab_size=corpus.eos + 1,
        context_length=MAX_TOKENS + 28,
        num_layers=args.layers,
        num_heads=args.heads,
        embed_dim=args.width,
        dropout=args.dropout,
        bos_id=corpus.bos,
        eos_id=corpus.eos,
    )
    options = TrainingOptions(
        steps=args.steps,
        batch=args.batch,
        lr=args.lr,
        warmup=args.warmup,
        weight_decay=0.01,
        beta2=0.98,
        seed=args.seed,
        eval_every=250,
        save_every=250,
        sample_every=0,
    )
    pf.manual_seed(args.seed)
    model = EncoderDecoder(config)
    validation = [to_batch(corpus.test[i : i + args.batch]) for i in range(0, min(len(corpus.test), 512), args.batch)]
    trainer = TaskTrainer(
        model,
        lambda step: batch_at(corpus.train, args.batch, step, args.seed),
        validation,
        options,
        args.out,
        loss=lambda *batch: model.loss(*batch, label_smoothing=LABEL_SMOOTHING),
    )
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        corpus.tokenizer.save(args.out)
        if (args.out / CHECKPOINT_NAME).exists():
            trainer.restore()
    return trainer


def translate(model: EncoderDecoder, corpus: Corpus, pairs: list[Pair], beams: int) -> list[str]:
    """Spanish for the English of `pairs`, in their order."""
    model.eval()
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]))
    texts = [""] * len(pairs)
    for start in range(0, len(order), 32):
        chosen = order[start : start + 32]
        source, lengths = pad([pairs[i][0] for i in chosen])
        limit = min(model.config.context_length, 2 * source.shape[1] + 10)
        for i, ids in zip(chosen, model.translate(source, lengths, max_new_tokens=limit, beams=beams), strict=True):
            texts[i] = corpus.decode(ids)
    return texts


def load_sacrebleu() -> Any:
    """The module; ImportError, saying what to install, without it."""
    try:
        import sacrebleu
    except ImportError:
        raise ImportError("translation: BLEU needs sacrebleu: pip install 'pyformer[translation]'") from None
    return sacrebleu


def bleu(found: list[str], expected: list[str]) -> float:
    """BLEU of a corpus, by sacrebleu."""
    return float(load_sacrebleu().corpus_bleu(found, [expected]).score)


def judge(model: EncoderDecoder, corpus: Corpus, args: argparse.Namespace) -> None:
    """Prints BLEU on held-out verses and some translations; into the run's folder go the scores and all of them."""
    tests = corpus.test[: args.tests]
    english = [corpus.decode(source) for source, _ in tests]
    expected = [corpus.decode(target) for _, target in tests]
    scores, found = {}, {}
    for name, beams in (("greedy", 1), (f"beam of {args.beams}", args.beams)):
        found[name] = translate(model, corpus, tests, beams)
        scores[name] = bleu(found[name], expected)
        print(f"{name}: BLEU {scores[name]:.2f} on {len(tests)} held-out verses", flush=True)
    for source, spanish, wanted in list(zip(english, found[name], expected, strict=True))[:8]:
        print(f"\n  {source}\n  -> {spanish}\n     ({wanted})")
    if args.out is not None:
        formats.write_json_atomic(args.out / "result.json", scores)
        formats.write_json_atomic(args.out / TRANSLATIONS_NAME, {"english": english, "spanish": expected, **found})


def make_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the run; the same folder goes on with it")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocab", type=int, default=4000)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--tests", type=int, default=500, help="held-out verses to translate")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    args = make_parser(__doc__).parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    corpus = Corpus(datasets.verses(), args.vocab)
    load_sacrebleu()  # now, not after the training
    trainer = make_trainer(corpus, args)
    before = signal.signal(signal.SIGINT, lambda *_: trainer.request_stop())
    if not trainer.train(progress=True):
        raise SystemExit(f"stopped at step {trainer.step}: run this again to go on")
    signal.signal(signal.SIGINT, before)
    judge(trainer.model, corpus, args)


if __name__ == "__main__":
    try:
        main()
    except (datasets.DataUnavailable, ImportError) as error:
        raise SystemExit(str(error)) from None
