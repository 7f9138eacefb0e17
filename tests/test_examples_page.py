"""docs/examples.md: its figures are those of the runs' records beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "examples.md").read_text()
RUNS = json.loads((DOCS / "examples" / "results.json").read_text())


def percent(run, score):
    return f"{RUNS[run][score]:.1%}"


@pytest.mark.parametrize(
    "row",
    [
        f"| pyformer, BLEU | {RUNS['translation']['greedy']:.2f} | {RUNS['translation']['beam of 4']:.2f} |",
        f"| the torch twin, BLEU | {RUNS['translation-twin']['greedy']:.2f} "
        f"| {RUNS['translation-twin']['beam of 4']:.2f} |",
        f"| `ConvNet` | test accuracy | {percent('convnet', 'test accuracy')} |",
        f"| `ViT` | test accuracy | {percent('vit', 'test accuracy')} |",
        f"from 0 to 1 | {RUNS['autoencoder']['test squared error']:.5f} |",
        f"| as many principal components | the same "
        f"| {RUNS['autoencoder']['test squared error of principal components']:.5f} |",
        f"what they were to be | {percent('gan', 'accuracy of the judge on made pictures')} |",
        f"| `DiT` | the same | {percent('dit', 'accuracy of the judge on made pictures')} |",
        f"| logistic regression over words | {percent('sentiment', 'bag of words')} |",
        f"| the same, and over pairs of words | {percent('sentiment', 'bag of words and pairs')} |",
        f"| BERT from scratch, two layers of 64 | {percent('sentiment', 'BERT from scratch')} |",
    ],
)
def test_a_row_is_that_of_its_run(row):
    assert row in PAGE


def test_what_the_prose_concludes():
    ours, twin, sentiment = RUNS["translation"], RUNS["translation-twin"], RUNS["sentiment"]
    assert all(run["beam of 4"] > run["greedy"] for run in (ours, twin))
    beam = RUNS["comparison"]["beam of 4"]
    assert [beam[who]["bleu"] for who in ("pyformer", "torch")] == [round(run["beam of 4"], 2) for run in (ours, twin)]
    for who, words in (("pyformer", "from {:.2f} to {:.2f} (pyformer)"), ("torch", "from {:.2f} to {:.2f} (torch)")):
        assert words.format(*beam[who]["interval"]) in PAGE
    low, high = beam["difference"]["interval"]
    assert low < 0 < high
    assert f"their difference from {low:.2f} to {high:.2f}" in PAGE
    folds, earlier = RUNS["sentiment, mean of five folds"], RUNS["earlier runs"]
    assert f"where the bag of words had {100 * folds['bag of words']:.1f}%" in PAGE
    last, mean = (100 * folds[f"BERT, {which} weights"] for which in ("last", "mean of"))
    assert f"({last:.1f}% with the last weights, {mean:.1f}% with their mean)" in PAGE
    assert f"had {100 * earlier['sentiment, BERT from scratch']:.1f}% on the 2,114" in PAGE
    assert f"reached {100 * earlier['vit, test accuracy']:.1f}% of the test pictures" in PAGE
    assert f"deviation was {earlier['gan, spread of made pictures of a class']:.2f}" in PAGE
    made, real = (RUNS["gan"][f"spread of {which} pictures of a class"] for which in ("made", "test"))
    assert f"the deviation is {made:.3f}; over test pictures of a kind it is {real:.3f}" in PAGE
    behind = sentiment["bag of words"] - sentiment["BERT from scratch"]
    assert f"stays {100 * behind:.1f} points below" in PAGE


def test_curves_are_named_as_on_the_page():
    for curve in ("autoencoder", "convnet", "dit", "gan", "sentiment", "translation", "vit"):
        assert f'font-size="15">{curve}</text>' in (DOCS / "examples" / f"{curve}.svg").read_text()
