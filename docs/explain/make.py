"""Trains the model of the page "A transformer at work" and saves it beside this file: `python docs/explain/make.py`.

Its language has 33 words. Which animal a sentence is about decides its verb, however many others stand between: "the
dog behind the small birds barks". It takes half a minute on two cores, and gives the same bits on every CPU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import pyformer as pf

FOLDER = Path(__file__).parent
VERBS = {"dog": "bark", "cat": "purr", "bird": "sing", "frog": "jump", "horse": "run", "goat": "climb"}
BETWEEN, KINDS = ["behind", "near", "beside"], ["small", "old", "black"]
NOUNS = [noun + s for noun in VERBS for s in ("", "s")]
WORDS = ["[unknown]", ".", "the", *KINDS, *BETWEEN, *NOUNS, *(verb + s for verb in VERBS.values() for s in ("s", ""))]
CONTEXT, BATCH, STEPS = 24, 64, 1500


def sentence(rng: np.random.Generator) -> tuple[str, str]:
    """All but the verb, and the verb: one animal does not bark, it barks; two do not barks, they bark."""
    nouns = [str(rng.choice(NOUNS)) for _ in range(int(rng.integers(1, 4)))]
    parts = ["the " + (f"{rng.choice(KINDS)} {noun}" if rng.random() < 0.3 else noun) for noun in nouns]
    words = f" {rng.choice(BETWEEN)} ".join(parts)
    one = nouns[0].removesuffix("s")
    return words, VERBS[one] + ("" if nouns[0].endswith("s") else "s")


def right_verbs(model: pf.models.GPT, tokenizer: pf.tokenizers.WordTokenizer, sentences: int = 300) -> float:
    """Of new sentences, the part whose verb is the likeliest of all verbs."""
    rng, right = np.random.default_rng(1), 0
    first_verb = len(WORDS) - 2 * len(VERBS)
    for _ in range(sentences):
        words, verb = sentence(rng)
        logits = model(pf.tensor(tokenizer.encode(words)[None].astype(np.int64)))[0, -1].tolist()
        right += WORDS[first_verb + int(np.argmax(logits[first_verb:]))] == verb
    return right / sentences


def main() -> None:
    tokenizer = pf.tokenizers.WordTokenizer(WORDS, unknown=0)
    rng = np.random.default_rng(0)
    sentences = [tokenizer.encode(" ".join([*sentence(rng), "."])) for _ in range(20000)]
    starts = np.cumsum([0, *(len(s) for s in sentences[:-1])])
    starts, tokens = starts[:-CONTEXT], np.concatenate(sentences).astype(np.int64)
    pf.manual_seed(0)
    model = pf.models.GPT(pf.models.GPTConfig(len(WORDS), CONTEXT, num_layers=2, num_heads=2, embed_dim=32))
    for parameter in (model.wte.weight, model.wpe.weight):
        pf.nn.init.normal_(parameter, std=0.2)
    optimizer = pf.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
    schedule = pf.optim.CosineSchedule(STEPS, 100, 0.05)
    for step in range(STEPS):
        ids = tokens[rng.choice(starts, (BATCH, 1)) + np.arange(CONTEXT + 1)]
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
        print(f"right: {right_verbs(model, tokenizer):.1%} of the verbs of new sentences")
    model.save_pretrained(FOLDER)
    tokenizer.save(FOLDER)


if __name__ == "__main__":
    main()
