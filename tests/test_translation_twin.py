"""bench.translation_twin beside examples/translation.py, for seconds, on made-up text. Runs on a checkout."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from pyformer.training import METRICS_NAME, read_metrics

STEPS = 8


@pytest.fixture
def twin(monkeypatch):
    pytest.importorskip("tokenizers")
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)
    import bench.translation_twin

    return bench.translation_twin


def made_corpus(example):
    rng = np.random.default_rng(0)
    words = {"one": "uno", "two": "dos", "three": "tres", "four": "cuatro"}
    english = [list(rng.choice(list(words), rng.integers(1, 9))) for _ in range(200)]
    return example.Corpus([(" ".join(e), " ".join(words[w] for w in e)) for e in english], 300)


def options(dropout, out=None):
    sizes = {"layers": 2, "heads": 2, "width": 32, "steps": STEPS, "batch": 16, "lr": 5e-3, "warmup": 3, "seed": 0}
    return argparse.Namespace(**sizes, dropout=dropout, out=out, tests=10, beams=2)


def make(twin, dropout, out=None):
    example = twin.load_example()
    corpus = made_corpus(example)
    fresh = example.make_trainer(corpus, options(dropout))
    if out is not None:
        out.mkdir(exist_ok=True)
    return corpus, twin.TwinTrainer(fresh, example.LABEL_SMOOTHING, out)


def test_without_dropout_the_losses_are_ours(twin):
    _, other = make(twin, dropout=0.0)
    ours = other.trainer
    found = [(other.train_step(), ours._train_step()) for _ in range(STEPS)]
    theirs, own = map(np.array, zip(*found, strict=True))
    assert own[-1] < own[0] - 1.0
    np.testing.assert_allclose(theirs, own, rtol=1e-4)
    np.testing.assert_allclose(other.evaluate(), ours.evaluate(), rtol=1e-4)
    for name, weight in other.to_pyformer().state_dict().items():
        # The gradient of a key's bias is zero: what is left of it is rounding, which AdamW makes as large as any.
        if not name.endswith("k_proj.bias"):
            np.testing.assert_allclose(weight.numpy(), ours.model.state_dict()[name].numpy(), atol=1e-3, err_msg=name)


def test_a_stopped_twin_goes_on_with_the_same_bits(twin, tmp_path):
    corpus, straight = make(twin, 0.1, tmp_path / "straight")
    assert straight.train()
    _, stopped = make(twin, 0.1, tmp_path / "stopped")
    batch_of = stopped.trainer.batch_of

    def stop_at_three(step):
        if step == 3:
            stopped.request_stop()
        return batch_of(step)

    stopped.trainer.batch_of = stop_at_three
    assert not stopped.train()
    _, resumed = make(twin, 0.1, tmp_path / "stopped")
    assert resumed.step == 4
    assert resumed.train()
    for (name, one), two in zip(straight.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=name)
    metrics = [read_metrics(tmp_path / run / METRICS_NAME) for run in ("straight", "stopped")]
    assert metrics[0] == metrics[1]
    assert metrics[0][-1].keys() == {"step", "validation_loss"}
    pytest.importorskip("sacrebleu")
    twin.load_example().judge(straight.to_pyformer(), corpus, options(0.1, tmp_path / "straight"))
    assert (tmp_path / "straight" / "result.json").exists()


def test_intervals_of_bleu(twin):
    sacrebleu = pytest.importorskip("sacrebleu")
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(50)])
    spanish = [" ".join(rng.choice(words, rng.integers(8, 30))) for _ in range(200)]

    def spoilt(part):
        return [" ".join(w for w in text.split() if rng.random() > part) or "a" for text in spanish]

    good, bad, same = spoilt(0.1), spoilt(0.2), spoilt(0.1)
    made = {"english": ["a"] * 200, "spanish": spanish}
    result = twin.compare({**made, "x": good, "y": good}, {**made, "x": bad, "y": same})
    assert result["x"]["pyformer"]["bleu"] == round(sacrebleu.corpus_bleu(good, [spanish]).score, 2)
    assert result["x"]["torch"]["bleu"] == round(sacrebleu.corpus_bleu(bad, [spanish]).score, 2)
    for which in result.values():
        assert all(each["interval"][0] < each["bleu"] < each["interval"][1] for each in which.values())
    assert result["x"]["difference"]["interval"][0] > 0
    assert result["y"]["difference"]["interval"][0] < 0 < result["y"]["difference"]["interval"][1]
    # sacrebleu's own bootstrap of one system.
    score = sacrebleu.metrics.BLEU().corpus_score(good, [spanish], n_bootstrap=500)
    low, high = result["x"]["pyformer"]["interval"]
    assert (high - low) / 2 == pytest.approx(score._ci, rel=0.2)
    with pytest.raises(ValueError, match="different verses"):
        twin.compare({**made, "x": good}, {**made, "english": ["b"] * 200, "x": bad})
