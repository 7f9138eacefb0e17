"""Trains the model of the page "a transformer at work" and saves it beside this file: `python docs/explain/make.py`.

Its language has 21 words: some people take a thing each, and then it is told who has what. To know what comes after
"anna has the", a model has to look back to what anna took. It takes half a minute on two cores, and gives the same bits
on every CPU and any number of threads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import pyformer as pf

FOLDER = Path(__file__).parent
PEOPLE = ["anna", "ben", "carl", "dora", "emil", "fay", "gus", "hal"]
THINGS = ["ball", "book", "cup", "key", "hat", "lamp", "pen", "ring"]
WORDS = ["[unknown]", ".", "takes", "has", "the", *PEOPLE, *THINGS]
CONTEXT, BATCH, STEPS = 30, 64, 3000


def story(rng: np.random.Generator, facts: int) -> str:
    """Some people take a thing each; then, in another order, what each has."""
    people, things = rng.permutation(PEOPLE)[:facts], rng.permutation(THINGS)[:facts]
    told = [f"{who} takes the {what} ." for who, what in zip(people, things, strict=True)]
    asked = [f"{people[i]} has the {things[i]} ." for i in rng.permutation(facts)]
    return " ".join(told + asked)


def batch(tokenizer: pf.tokenizers.WordTokenizer, rng: np.random.Generator, rows: int = BATCH) -> np.ndarray:
    """Ids (rows, CONTEXT + 1) of stories, one after the other in a row."""

    def row() -> np.ndarray:
        stories = " ".join(story(rng, int(rng.integers(1, 4))) for _ in range(6))
        return tokenizer.encode(stories)[: CONTEXT + 1]

    return np.stack([row() for _ in range(rows)]).astype(np.int64)


def right_answers(model: pf.models.GPT, tokenizer: pf.tokenizers.WordTokenizer, stories: int = 200) -> float:
    """Of new stories of three facts, the part whose last three things the model names."""
    rng, right = np.random.default_rng(1), 0
    for _ in range(stories):
        ids = tokenizer.encode(story(rng, 3))
        best = model(pf.tensor(ids[None].astype(np.int64))).argmax(-1).numpy()[0]
        right += sum(int(best[i - 1] == ids[i]) for i in (18, 23, 28))
    return right / (3 * stories)


def main() -> None:
    tokenizer = pf.tokenizers.WordTokenizer(WORDS, unknown=0)
    pf.manual_seed(0)
    model = pf.models.GPT(pf.models.GPTConfig(len(WORDS), CONTEXT, num_layers=2, num_heads=2, embed_dim=32))
    optimizer = pf.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule, rng = pf.optim.CosineSchedule(STEPS, 100, 0.05), np.random.default_rng(0)
    for step in range(STEPS):
        ids = batch(tokenizer, rng)
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        pf.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.scale_lr(schedule(step))
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 250 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    model.eval()
    with pf.no_grad():
        print(f"right: {right_answers(model, tokenizer):.1%} of who has what in new stories")
    model.save_pretrained(FOLDER)
    tokenizer.save(FOLDER)


if __name__ == "__main__":
    main()
