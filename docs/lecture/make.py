"""The numbers of docs/lecture.md, computed by the library: `python docs/lecture/make.py` writes them into the page.

Each function below makes the block between the marks `<!-- numbers: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np

import pyformer as pf
from pyformer import nn, ops
from pyformer.models import derivation

sys.path.insert(0, str(Path(__file__).parent))
from lecture_drawings import block, masks

PAGE = Path(__file__).parents[1] / "lecture.md"
SENTENCE = ["the", "cat", "chased", "it"]
X = pf.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [1.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
W_QUERY = pf.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
W_KEY = pf.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
W_VALUE = pf.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, -1.0, 1.0]])


def table(name: str, matrix: pf.Tensor, columns: list[str] | None = None) -> str:
    """A matrix with its shape and a word before each row."""
    rows, width = matrix.shape
    lines = [f"{name} ({rows} x {width})" + ("" if columns is None else "".join(f"{c:>8}" for c in columns))]
    for word, row in zip(SENTENCE, matrix.tolist(), strict=True):
        lines.append(f"{word:>{len(lines[0]) if columns is None else len(f'{name} ({rows} x {width})')}}")
        lines[-1] += "".join(f"{number:8.3f}" for number in row)
    return "\n".join(lines)


def heads_of(x: pf.Tensor) -> pf.Tensor:
    return x.reshape(1, x.shape[0], 1, x.shape[1])


def worked_example() -> str:
    q, k, v = X @ W_QUERY, X @ W_KEY, X @ W_VALUE
    products = q @ k.T
    scores = products / math.sqrt(3)
    seen = pf.tensor(np.tri(4, dtype=bool))
    weights = ops.softmax(ops.where(seen, scores, -float("inf")))
    out = weights @ v
    fused = ops.attention(heads_of(q), heads_of(k), heads_of(v), causal=True).reshape(4, 3)
    assert np.allclose(out.numpy(), fused.numpy(), atol=1e-6)
    parts = [table("X", X), table("Q = X Wq", q), table("K = X Wk", k), table("V = X Wv", v)]
    parts += [table("Q Kᵀ", products, SENTENCE), table("Q Kᵀ / √3", scores, SENTENCE)]
    parts += [table("softmax, causal", weights, SENTENCE), table("output = weights V", out)]
    return "\n\n".join(parts)


def root() -> str:
    """What the square root is for, on random queries and keys of variance 1."""
    pf.manual_seed(0)
    lines = ["    C   spread of q·k   of q·k / √C   largest of 16 weights   the same with √C"]
    for width in (4, 16, 64, 256, 1024):
        q, k = pf.randn(1024, width), pf.randn(16, width)
        scores = q @ k.T
        scaled = scores / math.sqrt(width)
        largest = [ops.max(ops.softmax(s), axis=-1).mean().item() for s in (scores, scaled)]
        spread = [s.std().item() for s in (scores, scaled)]
        lines.append(f"{width:5}{spread[0]:16.2f}{spread[1]:14.2f}{largest[0]:24.2f}{largest[1]:19.2f}")
    return "\n".join(lines)


def gradients() -> str:
    """How a wish about the output of the last word reaches its scores."""
    v = X @ W_VALUE
    lines = []
    for factor in (1.0, 2.0, 4.0):
        scores = ((X @ W_QUERY)[3:] @ (X @ W_KEY).T / math.sqrt(3) * factor).detach()
        scores.requires_grad = True
        weights = ops.softmax(scores)
        wish = pf.tensor([[1.0, 0.0, 0.0]])  # of the first number of the output: more
        (weights @ v * wish).sum().backward()
        gain = (v @ wish.T).reshape(1, 4)
        by_hand = weights * (gain - (weights * gain).sum())
        assert np.allclose(by_hand.detach().numpy(), scores.grad.numpy(), atol=1e-6)
        rows = {"score": scores, "weight p": weights, "value · wish g": gain, "gradient p (g - Σ p g)": scores.grad}
        lines.append(f"scores times {factor:g}" + " " * 10 + "".join(f"{word:>9}" for word in SENTENCE))
        lines += [f"{name:24}" + "".join(f"{x:9.2g}" for x in row.tolist()[0]) for name, row in rows.items()]
    return "\n".join(lines)


class PostNorm(derivation.Residual):
    """norm(x + attention(x)), then norm(x + mlp(x)), as in the first paper."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        x = self.norms[0](x + self.attention(x, seen))
        return self.norms[1](x + self.mlp(x))


def depth() -> str:
    """How long vectors and gradients are in 24 fresh layers: mean and spread over three seeds."""
    layers, width, n = 24, 64, 16
    kinds = {"plain": derivation.AttentionMLP, "residual": derivation.Residual}
    kinds |= {"residual, norm before": derivation.Normalised, "residual, norm after": PostNorm}
    seen = pf.tensor(np.tri(n, dtype=bool)[None])
    places = (1, 8, 16, 24)
    lines = ["what enters layer" + " " * 10 + "".join(f"{p:>12}" for p in places)]
    found: dict[str, dict[str, list[list[float]]]] = {"vector": {}, "gradient": {}}
    for name, kind in kinds.items():
        for seed in range(3):
            pf.manual_seed(seed)
            stack = [kind(width) for _ in range(layers)]
            x = pf.randn(1, n, width, requires_grad=True)
            inputs = []
            for layer in stack:
                inputs.append(x)
                x = layer(x, seen)
            grads = pf.autograd.grad((x * pf.randn(1, n, width)).sum(), inputs)
            lengths = [[math.sqrt((t**2).mean().item()) for t in kept] for kept in (inputs, grads)]
            for what, row in zip(found, lengths, strict=True):
                found[what].setdefault(name, []).append([row[p - 1] for p in places])
    for what, rows in found.items():
        for name, seeds in rows.items():
            mean = np.mean(seeds, axis=0)
            lines.append(f"{what + ', ' + name:31}" + "".join(f"{x:12.2g}" for x in mean))
    return "\n".join(lines)


def pairs() -> str:
    """Byte pair encoding by hand: the commonest pair of neighbours becomes a token, again and again."""
    words = Counter({"low": 5, "lower": 2, "newest": 6, "widest": 3})
    cut = {word: list(word) for word in words}
    lines = ["letters:  " + "  ".join(" ".join(parts) for parts in cut.values())]
    for number in range(1, 5):
        counts: Counter[tuple[str, str]] = Counter()
        for word, parts in cut.items():
            for pair in itertools.pairwise(parts):
                counts[pair] += words[word]
        best = max(counts, key=lambda pair: (counts[pair], pair))
        for word, parts in cut.items():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i : i + 2] = ["".join(best)]
                i += 1
            cut[word] = parts
        merged = "  ".join(" ".join(parts) for parts in cut.values())
        lines.append(f"merge {number}: {best[0]} + {best[1]}, seen {counts[best]} times:  {merged}")
    return "\n".join(lines)


def nats() -> str:
    """Cross-entropy of a prediction that gives the right token probability p."""
    lines = ["probability of what came    loss in nats    in bits    perplexity"]
    for name, p in (("1", 1.0), ("1/2", 0.5), ("1/e", 1 / math.e), ("1/10", 0.1), ("1/256, a guess of bytes", 1 / 256)):
        logits = pf.tensor([[math.log(p), math.log(max(1 - p, 1e-30))]], dtype=pf.float64)
        loss = ops.cross_entropy(logits, pf.tensor([0])).item()
        lines.append(f"{name:27}{loss:13.3f}{loss / math.log(2):11.3f}{math.exp(loss):14.1f}")
    return "\n".join(lines)


def two_sides() -> str:
    """What looks at what in a model that translates five tokens into three."""
    pf.manual_seed(0)
    config = pf.models.EncoderDecoderConfig(12, 8, num_layers=1, num_heads=2, embed_dim=8, bos_id=10, eos_id=11)
    _, weights = pf.models.EncoderDecoder(config).eval()([[1, 2, 3, 4, 5]], [[10, 6, 7]], return_weights=True)
    asks = {"encoder": "source to source, all of it", "decoder": "target to target, what came before"}
    asks["cross"] = "target to source, all of it"
    names = {name: weights[name][0].shape for name in asks}
    return "\n".join(f"{name:8} weights {shape}: {asks[name]}" for name, shape in names.items())


def parameters() -> str:
    """Where the parameters of a GPT are, of `pyformer train`'s and of GPT-2's smallest."""
    lines = [" " * 29 + "   pyformer train        GPT-2"]
    sizes = {"train": (256, 64, 4, 4, 128), "gpt2": (50257, 1024, 12, 12, 768)}
    parts = {}
    for name, (vocabulary, context, layers, _, width) in sizes.items():
        parts[name] = {
            "token table, V C": vocabulary * width,
            "place table, T C": context * width,
            "attention, L (4 C² + 4 C)": layers * (4 * width**2 + 4 * width),
            "MLP, L (8 C² + 5 C)": layers * (8 * width**2 + 5 * width),
            "norms, (2 L + 1) 2 C": (2 * layers + 1) * 2 * width,
        }
    small = pf.models.GPT(pf.models.GPTConfig(*sizes["train"]))
    assert sum(parts["train"].values()) == small.num_parameters()
    for part, number in parts["train"].items():
        lines.append(f"{part:29}{number:17,}{parts['gpt2'][part]:13,}")
    lines.append(f"{'all':29}{sum(parts['train'].values()):17,}{sum(parts['gpt2'].values()):13,}")
    return "\n".join(lines)


def choices() -> str:
    """Four logits as probabilities at three temperatures."""
    logits = pf.tensor([[3.0, 2.0, 1.0, -1.0]])
    lines = ["logits           " + "".join(f"{x:8.1f}" for x in logits.tolist()[0])]
    for temperature in (0.5, 1.0, 2.0):
        chances = ops.softmax(logits / temperature).tolist()[0]
        lines.append(f"temperature {temperature:<5g}" + "".join(f"{x:8.3f}" for x in chances))
    return "\n".join(lines)


def cache() -> str:
    """How many tokens go through the blocks to write 8 after a prompt of 8, and that the logits are the same."""
    pf.manual_seed(0)
    model = pf.models.GPT(pf.models.GPTConfig(10, 16, num_layers=2, num_heads=2, embed_dim=16)).eval()
    ids = model.generate([[1, 2, 3, 4, 5, 6, 7, 8]], max_new_tokens=8, temperature=0).numpy()[0].tolist()
    anew = []
    with pf.no_grad():
        for end in range(8, 16):
            anew.append(int(model([ids[:end]])[0, -1].argmax().item()))
    assert anew == ids[8:]
    without, kept = sum(range(8, 16)), 8 + 7
    return (
        f"all anew each time: {without} tokens\nkeys and values kept: {kept} tokens\nthe same text: {anew == ids[8:]}"
    )


def answers() -> str:
    """The exercises whose answers are numbers."""
    uniform = ops.cross_entropy(pf.zeros(1, 65), pf.tensor([0])).item()
    twice = ops.softmax(pf.tensor([[0.0, math.log(2.0)]])).tolist()[0]
    long = pf.models.GPT(pf.models.GPTConfig(256, 128, 4, 4, 128)).num_parameters()
    short = pf.models.GPT(pf.models.GPTConfig(256, 64, 4, 4, 128)).num_parameters()
    return (
        f"2: ln 65 = {uniform:.3f} nats\n"
        f"4: weights {twice[0]:.3f} and {twice[1]:.3f}\n"
        f"6: {long - short:,} = 64 x 128: only the place table grows"
    )


BLOCKS = {
    "worked example": worked_example,
    "root": root,
    "gradients": gradients,
    "depth": depth,
    "pairs": pairs,
    "nats": nats,
    "two sides": two_sides,
    "parameters": parameters,
    "choices": choices,
    "cache": cache,
    "answers": answers,
}
DRAWINGS = {"block.svg": block, "masks.svg": masks}


def filled(page: str) -> str:
    """The page with each block computed anew."""
    for name, make in BLOCKS.items():
        mark = f"<!-- numbers: {name} -->\n"
        pattern = re.escape(mark) + r".*?<!-- end -->"
        new = f"{mark}```text\n{make()}\n```\n<!-- end -->"
        page, count = re.subn(pattern, lambda _, new=new: new, page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{PAGE.name}: expected the mark {mark.strip()} once, found it {count} times")
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
    for name, draw in DRAWINGS.items():
        (Path(__file__).parent / name).write_text(draw())
