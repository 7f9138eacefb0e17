"""`pyformer explain`: a page on which a small model computes, every matrix in sight."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyformer as pf
from pyformer import formats, models, nn, tokenizers
from pyformer.cli import pages
from pyformer.cli.arguments import add_common, any_text, open_tokenizer, prompt_ids, whole
from pyformer.cli.attend import is_special, shown_token
from pyformer.cli.explain_models import RUNGS, can_explain, steps_of
from pyformer.cli.explain_steps import compute
from pyformer.experiments import derive, derive_tasks
from pyformer.models.derivation import make_rung
from pyformer.terminal import announce

# A page holds every weight, and computes anew at each change of the text.
MAX_PARAMETERS, MAX_TOKENS = 4_000_000, 64
OWN_TOKENS = 24  # of a text that the model writes itself
TEXTS = ("The for statement", "A class is", "If the value")
RUNG_TEXTS = ("to be or not to be", "the king is dead , long live the", "i will not go to the")


def add_command(commands: Any) -> None:
    """Adds `explain` to the command line."""
    parser = commands.add_parser(
        "explain",
        help="write a page on which a small model computes, step by step",
        description="Write a page, to open in a browser without a network, on which a small model computes: tokens, "
        "vectors, queries and keys, scores, softmax, each head, the residual stream, logits and the next token, each "
        "matrix with its numbers. With --rung, a rung of docs/derivation.md is trained for it on the next word "
        "of Shakespeare, which takes seconds; the text is fetched once, 5 MB.",
    )
    parser.texts = ("--text",)
    parser.add_argument(
        "folder", nargs="?", type=Path, metavar="RUN", help="folder of a GPT's or LLaMA's run, runs/NAME"
    )
    parser.add_argument("--rung", choices=RUNGS, help="a rung of the derivation instead")
    parser.add_argument("--steps", type=whole(1), default=300, metavar="N", help="its training steps (default 300)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (RUN/explain.html, or explain-RUNG.html)")
    parser.add_argument(
        "--text", type=any_text, action="append", metavar="TEXT", help="a text to choose on the page; may be repeated"
    )
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the page; 0."""
    if (args.folder is None) == (args.rung is None):
        raise ValueError("expected a RUN or --rung NAME, and not both")
    if args.rung is not None:
        model, tokenizer = trained_rung(args.rung, args.steps)
        out, name = Path(f"explain-{args.rung}.html"), f"the rung {args.rung}"
    else:
        model = models.from_pretrained(args.folder, dtype="float32")
        if not can_explain(model):
            where = formats.display_name(args.folder)
            kind, shown = type(model).__name__, ", ".join(RUNGS)
            raise ValueError(
                f"{where}: expected a GPT or a LLaMA, as `pyformer train` makes without --model and with --model "
                f"llama, got a {kind}, whose steps no page shows; `explain --rung` shows {shown}, `attend` the "
                "attention of every model"
            )
        tokenizer = open_tokenizer(args.folder, model.config)
        out, name = args.folder / "explain.html", formats.display_name(args.folder.resolve().name)
    out = args.out or out
    texts = args.text or (RUNG_TEXTS if args.rung else texts_for(model, tokenizer))
    formats.write_bytes_atomic(out, page(f"How a model computes: {name}", model, tokenizer, texts).encode("utf-8"))
    announce(f"saved {formats.display_name(out)}")
    return 0


def trained_rung(name: str, steps: int) -> tuple[Any, tokenizers.Tokenizer]:
    """A rung of the derivation, trained on the next word of Shakespeare as docs/derivation.md does, and its words."""
    task = derive_tasks.next_word_task(pf.datasets.shakespeare())
    pf.manual_seed(0)
    model = make_rung(name, task.size)
    derive.fit(model, task, derive.Budget(steps), lambda done, text: None)
    return model.eval(), task.tokenizer


def texts_for(model: Any, tokenizer: tokenizers.Tokenizer) -> list[str]:
    """Texts for a page: those of TEXTS that the tokenizer knows, else three that the model writes itself."""
    context = model.config.context_length
    unknown = getattr(tokenizer, "unknown", None)
    starts = [id for id in range(tokenizer.vocab_size) if id != unknown][:3]
    return fitting(TEXTS, tokenizer, context) or [
        tokenizer.decode(model.generate([[start]], min(OWN_TOKENS, context) - 1, temperature=0.8, seed=0)[0].numpy())
        for start in starts
    ]


def fitting(texts: Sequence[str], tokenizer: tokenizers.Tokenizer, limit: int) -> list[str]:
    """The texts that the tokenizer knows, their beginnings where they are longer than `limit` tokens."""
    found = []
    for text in texts:
        try:
            while text and len(prompt_ids(tokenizer, text)) > limit:
                text = text[:-1]
        except ValueError:
            continue
        if text and getattr(tokenizer, "unknown", None) not in prompt_ids(tokenizer, text):
            found.append(text)
    return found


def page(title: str, model: Any, tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> str:
    """One HTML page that needs nothing else.

    ValueError where the model is too large for one, or a text is empty or too long.
    """
    parameters = model.num_parameters()
    if parameters > MAX_PARAMETERS:
        raise ValueError(f"explain: the model has {parameters:,} parameters, a page holds at most {MAX_PARAMETERS:,}")
    found = steps_of(model)
    limit = min(MAX_TOKENS, found.length)
    vocabulary = len(found.weights["token table"])
    names = [shown_token(tokenizer, token) for token in range(vocabulary)]
    examples = [_example(model, found, text, prompt_ids(tokenizer, text), limit) for text in texts]
    data = {
        "title": title,
        "about": f"{type(model).__name__}, {parameters:,} parameters, {vocabulary:,} tokens in its vocabulary, texts "
        f"of up to {limit} tokens here. Numbers are computed in this page from the weights.",
        "unit": tokenizer.unit,
        "limit": limit,
        "vocabulary": names,
        "special": [token for token in range(vocabulary) if is_special(tokenizer, token)],
        "tokenizer": _tokenizer(tokenizer),
        "steps": [_step(step) for step in found.steps],
        "stream": found.stream,
        "weights": {
            name: {"shape": list(weight.shape), "data": pages.packed(weight)} for name, weight in found.weights.items()
        },
        "examples": examples,
    }
    return pages.filled("explain.html", data)


def _step(step: Any) -> dict[str, Any]:
    values = dataclasses.asdict(step)
    return {**values, **values.pop("settings")}


def _tokenizer(tokenizer: tokenizers.Tokenizer) -> dict[str, Any]:
    """What a page needs to cut a text itself; of a BPE tokenizer nothing: there tokens are chosen, not typed."""
    if isinstance(tokenizer, tokenizers.WordTokenizer):
        return {"kind": "word", "unknown": tokenizer.unknown, "cut": tokenizer.cut, "keys": tokenizer.words}
    if isinstance(tokenizer, tokenizers.CharTokenizer):
        return {"kind": "char", "keys": list(tokenizer.characters)}
    return {"kind": tokenizer.kind}


def _example(model: Any, found: Any, text: str, ids: list[int], limit: int) -> dict[str, Any]:
    """A text, its ids, and what the library says of it: the model's logits, and each layer's weights of attention."""
    if not 0 < len(ids) <= limit:
        raise ValueError(f"explain: expected a text of 1 to {limit} tokens, {text!r} has {len(ids)}")
    with nn.inference():
        logits = model(pf.tensor([ids]))
    values = compute(found, ids)
    numbers = {step.out: values[step.out] for step in found.steps if step.op == "softmax"} | {"logits": logits[0]}
    packed = {name: pages.packed(value.to("cpu").numpy()) for name, value in numbers.items()}
    return {"text": text, "ids": list(map(int, ids)), "numbers": packed}
