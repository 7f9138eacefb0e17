"""Does a film review's sentence praise or damn? A pretrained encoder learns it in minutes, to 80% and more.

pip install ".[hf]" && python examples/classify.py --out runs/praise
"""

from __future__ import annotations

import argparse

import pyformer as pf
from pyformer import datasets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="folder for the classifier")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--texts", type=int, default=None, help="learn from so many sentences only")
    args = parser.parse_args()
    texts, labels = datasets.movie_snippets()
    train, test = datasets.train_test_split(len(texts))
    train = train[: args.texts]
    pf.manual_seed(0)
    classifier = pf.TextClassifier.start(datasets.minilm(), ("damns", "praises"))
    classifier.fit([texts[i] for i in train], labels[train], epochs=args.epochs, progress=True)
    right = classifier.predict([texts[i] for i in test]).argmax(axis=1) == labels[test]
    print(f"{right.mean():.2%} of {len(test)} held-out sentences")
    if args.out:
        classifier.save_pretrained(args.out)


if __name__ == "__main__":
    try:
        main()
    except datasets.DataUnavailable as error:
        raise SystemExit(str(error)) from None
