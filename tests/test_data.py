"""Text, its split, and batches."""

import contextlib
import os
import threading

import numpy as np
import pytest

from pyformer import data


def test_python_manual_is_long_and_always_the_same():
    text = data.python_manual()
    assert len(text) > 200_000
    assert "The for statement" in text or '"for" statement' in text
    assert text == data.python_manual()


def test_files_are_joined(tmp_path):
    (tmp_path / "a").write_bytes("ä\r\n".encode())
    (tmp_path / "b").write_bytes(b"\xef\xbb\xbfb")
    assert data.read_text([tmp_path / "a", str(tmp_path / "b")]) == "ä\r\n\nb"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"ab\xffcd", "byte 0xff at byte 2"),
        (b"\xef\xbb\xbfab\xff", "byte 0xff at byte 5"),
        (b"ab\xe4\xb8", "byte 0xe4 at byte 2"),
        (b"\xc0\x80", "byte 0xc0 at byte 0"),
        (b"PK\x03\x00abc", "binary file .zero byte at byte 3"),
    ],
)
def test_bad_content_is_named(tmp_path, content, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.txt.*" + message):
        data.read_text([path])


def test_bad_paths(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        data.read_text([tmp_path])
    with pytest.raises(FileNotFoundError):
        data.read_text([tmp_path / "none"])
    if os.path.exists("/dev/zero"):
        with pytest.raises(ValueError, match="is a device"):
            data.read_text(["/dev/zero"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_endless_pipes_are_left_early(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MAX_TEXT_BYTES", 3 * data.CHUNK_BYTES)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def feed(block):
        with contextlib.suppress(BrokenPipeError), open(pipe, "wb") as file:
            while True:
                file.write(block)

    for byte, message in ((b"\0", "zero byte at byte 0"), (b"a", "is too long")):
        writer = threading.Thread(target=feed, args=(byte * 65536,))
        writer.start()
        with pytest.raises(ValueError, match=message):
            data.read_text([pipe])
        writer.join(timeout=600)
        assert not writer.is_alive()


def test_a_zero_byte_is_found_in_any_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK_BYTES", 2)
    (tmp_path / "text").write_bytes("\ufeffäöü".encode())
    assert data.read_text([tmp_path / "text"]) == "äöü"
    (tmp_path / "binary").write_bytes(b"abcde\0")
    with pytest.raises(ValueError, match="zero byte at byte 5"):
        data.read_text([tmp_path / "binary"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_unreadable_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0)
    with pytest.raises(PermissionError):
        data.read_text([path])


def test_split_is_the_last_tenth():
    tokens = np.arange(1000, dtype=np.int32)
    train, validation = data.split(tokens, 8)
    assert np.array_equal(np.concatenate([train, validation]), tokens)
    assert validation.size == 100


def test_short_text_is_refused():
    data.split(np.zeros(90, np.int32), 8)
    with pytest.raises(ValueError, match=r"context \+ 1 = 9.*at least 90"):
        data.split(np.zeros(89, np.int32), 8)


def test_batches_depend_on_seed_and_step_only():
    tokens = np.arange(500, dtype=np.int32)

    def batch(seed, step):
        return data.sample_batch(tokens, seed=seed, step=step, batch=4, context_length=7)

    ids, targets = batch(1, 2)
    assert ids.shape == targets.shape == (4, 7)
    assert ids.dtype == targets.dtype == np.int64
    assert np.array_equal(ids + 1, targets)
    assert np.array_equal(batch(1, 2)[0], ids)
    assert not np.array_equal(batch(1, 3)[0], ids)
    assert not np.array_equal(batch(2, 2)[0], ids)
    assert batch(2**63 - 1, 2**31 - 1)[0].shape == (4, 7)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5])
def test_batches_of_a_step_can_be_drawn_one_at_a_time(batch):
    tokens = np.arange(5000, dtype=np.int32)
    options = {"seed": 3, "step": 9, "context_length": 7}
    whole, _ = data.sample_batch(tokens, batch=6 * batch, **options)
    parts = [data.sample_batch(tokens, batch=batch, first=i * batch, **options)[0] for i in range(6)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_batches_reach_both_ends():
    tokens = np.arange(10, dtype=np.int32)
    ids, targets = data.sample_batch(tokens, seed=0, step=0, batch=200, context_length=8)
    assert set(ids[:, 0]) == {0, 1}
    assert targets.max() == 9


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_validation_batches_are_fixed_and_apart(count):
    tokens = np.arange(1001, dtype=np.int32)
    batches = data.validation_batches(tokens, batch=6, context_length=10, count=count)
    starts = np.concatenate([ids[:, 0] for ids, _ in batches])
    assert len(batches) == min(count, 17)
    assert len(starts) == min(6 * count, 100)
    assert (np.diff(starts) >= 10).all()
    assert all(np.array_equal(ids + 1, targets) for ids, targets in batches)
