"""GGUF's types of tensors: numbers come in blocks, and a block's bytes stand for these float32 numbers.

Each `unpack` is the type's definition, in the definition's own order of float32 operations, so its bits are those of
every other reader that keeps to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

F32 = np.float32
# What the 4 bits of MXFP4 (E2M1, doubled) and of IQ4_NL stand for.
_E2M1 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], F32)
_IQ4_NL = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], F32)


@dataclass(frozen=True)
class BlockType:
    """A type: its name, how many `numbers` a block has and how many bytes, and what a file calls it.

    `unpack` takes uint8 (blocks, bytes) and gives float32 (blocks, numbers).
    """

    name: str
    code: int
    numbers: int
    bytes: int
    unpack: Callable[[np.ndarray], np.ndarray]


def _half(blocks: np.ndarray, at: int) -> np.ndarray:
    """The float16 at byte `at` of each block, as float32 (blocks, 1)."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(F32)


def _nibbles(blocks: np.ndarray, at: int) -> np.ndarray:
    """The 32 numbers of 4 bits in the 16 bytes at `at`: all low ones, then all high ones."""
    packed = blocks[:, at : at + 16]
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def _five_bits(blocks: np.ndarray, at: int) -> np.ndarray:
    """32 numbers of 5 bits: the fifth bits in 4 bytes at `at`, the others after them."""
    fifth = np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little")
    return _nibbles(blocks, at + 4) | (fifth << 4)


def _f32(blocks: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(blocks).view("<f4").astype(F32)


def _f16(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks, 0)


def _bf16(blocks: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(blocks).view("<u2").astype(np.uint32) << 16).view(F32)


def _q8_0(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks, 0) * blocks[:, 2:].view(np.int8).astype(F32)


def _q4_0(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks, 0) * (_nibbles(blocks, 2).astype(F32) - F32(8))


def _q4_1(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks, 0) * _nibbles(blocks, 4).astype(F32) + _half(blocks, 2)


def _q5_0(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks, 0) * (_five_bits(blocks, 2).astype(F32) - F32(16))


def _q5_1(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks, 0) * _five_bits(blocks, 4).astype(F32) + _half(blocks, 2)


def _scales_and_mins(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q4_K's and Q5_K's 8 scales and 8 minima of 6 bits, of 12 bytes: float32 (blocks, 8) each."""
    a, b, c = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([a & 63, (c & 15) | ((a >> 6) << 4)], axis=1)
    mins = np.concatenate([b & 63, (c >> 4) | ((b >> 6) << 4)], axis=1)
    return scales.astype(F32), mins.astype(F32)


def _k_nibbles(packed: np.ndarray) -> np.ndarray:
    """(blocks, 8, 32): sub-blocks 2i and 2i + 1 are the low and the high halves of bytes 32i to 32i + 31."""
    rows = packed.reshape(-1, 4, 1, 32)
    return np.concatenate([rows & 15, rows >> 4], axis=2).reshape(-1, 8, 32)


def _scaled(blocks: np.ndarray, quants: np.ndarray) -> np.ndarray:
    """d sc q - dmin m of quants (blocks, 8, 32), for a block that begins with d, dmin and 12 bytes of scales."""
    scales, mins = _scales_and_mins(blocks[:, 4:16])
    d, m = _half(blocks, 0) * scales, _half(blocks, 2) * mins
    return (d[:, :, None] * quants.astype(F32) - m[:, :, None]).reshape(-1, 256)


def _q4_k(blocks: np.ndarray) -> np.ndarray:
    return _scaled(blocks, _k_nibbles(blocks[:, 16:]))


def _q5_k(blocks: np.ndarray) -> np.ndarray:
    fifth = np.unpackbits(blocks[:, 16:48].reshape(-1, 32, 1), axis=2, bitorder="little").transpose(0, 2, 1)
    return _scaled(blocks, _k_nibbles(blocks[:, 48:]) | (fifth << 4))


def _q6_k(blocks: np.ndarray) -> np.ndarray:
    low, high = blocks[:, :128].reshape(-1, 2, 1, 64), blocks[:, 128:192].reshape(-1, 2, 1, 32)
    low = np.concatenate([low & 15, low >> 4], axis=2).reshape(-1, 2, 4, 32)
    high = np.concatenate([(high >> shift) & 3 for shift in (0, 2, 4, 6)], axis=2)
    quants = ((low | (high << 4)).astype(np.int8) - np.int8(32)).reshape(-1, 16, 16).astype(F32)
    d = _half(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(F32)
    return (d[:, :, None] * quants).reshape(-1, 256)


def _mxfp4(blocks: np.ndarray) -> np.ndarray:
    # Half of 2^(e - 127), since the table holds the doubles; for e below 2 that is a subnormal number.
    e = blocks[:, :1].astype(np.uint32)
    bits = ((e - np.uint32(1)) << np.uint32(23)) * (e > 1) + (np.uint32(0x00200000) << (e & 1)) * (e < 2)
    return bits.astype(np.uint32).view(F32) * _E2M1[_nibbles(blocks, 1)]


def _iq4_nl(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks, 0) * _IQ4_NL[_nibbles(blocks, 2)]


_ALL = (
    BlockType("F32", 0, 1, 4, _f32),
    BlockType("F16", 1, 1, 2, _f16),
    BlockType("Q4_0", 2, 32, 18, _q4_0),
    BlockType("Q4_1", 3, 32, 20, _q4_1),
    BlockType("Q5_0", 6, 32, 22, _q5_0),
    BlockType("Q5_1", 7, 32, 24, _q5_1),
    BlockType("Q8_0", 8, 32, 34, _q8_0),
    BlockType("Q4_K", 12, 256, 144, _q4_k),
    BlockType("Q5_K", 13, 256, 176, _q5_k),
    BlockType("Q6_K", 14, 256, 210, _q6_k),
    BlockType("IQ4_NL", 20, 32, 18, _iq4_nl),
    BlockType("BF16", 30, 1, 2, _bf16),
    BlockType("MXFP4", 39, 32, 17, _mxfp4),
)
BY_CODE = {kind.code: kind for kind in _ALL}
BY_NAME = {kind.name: kind for kind in _ALL}


def dequantize(kind: str, data: np.ndarray) -> np.ndarray:
    """The float32 numbers (n,) that bytes uint8 (whole blocks) of the type called `kind` stand for."""
    block = BY_NAME[kind]
    with np.errstate(all="ignore"):  # infinite or NaN scales are what the file says
        return block.unpack(data.reshape(-1, block.bytes)).reshape(-1)
