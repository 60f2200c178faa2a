"""Hashes of 64 bits that stay the same: in every version of every library, on every machine, and for equal numbers of any type.

Those of Polars and DuckDB change from version to version, and sketches are kept for years. The functions are whole-column NumPy; a call a
value, as libraries of hashes have it, takes four times as long.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Hashes = npt.NDArray[np.uint64]

_LONG_BYTES = 256
"""Texts from this length on are hashed one by one, which costs little beside their length."""

_SIGNIFICANT = 2**53
_WORD = np.dtype("<u8")


def mixed(words: Hashes) -> Hashes:
    """Spreads words over all bits: SplitMix64 (Steele, Lea, Flood 2014), of which no two words give the same."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def hashes_of_integers(values: npt.NDArray[Any]) -> Hashes:
    """Hashes whole numbers.

    Args:
        values: ``(n,)``; any type of integers but uint64 beyond 2^63.
    """
    return mixed(values.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15))


def hashes_of_floats(values: npt.NDArray[np.float64]) -> Hashes:
    """Hashes floats without NaN: those without a fraction as the integers that they are.

    Args:
        values: ``(n,)``.
    """
    fits = np.abs(values) < 2.0**63
    whole = np.where(fits, values, 0.0).astype(np.int64)
    is_whole = fits & (whole == values)
    return np.where(is_whole, hashes_of_integers(whole), mixed(values.view(np.uint64)))


def hashes_of_decimals(array: pa.Array) -> Hashes:
    """Hashes decimals of 128 bits without nulls: those of up to 53 bits as the floats next to them, which are all different.

    Args:
        array: The decimals.
    """
    words = np.frombuffer(array.buffers()[1], _WORD)[2 * array.offset : 2 * (array.offset + len(array))]
    low, high = words[0::2].view(np.int64), words[1::2].view(np.int64)
    is_small = (high == low >> np.int64(63)) & (np.abs(low) < _SIGNIFICANT)
    small = np.where(is_small, low, 0).astype(np.float64) / 10.0**array.type.scale
    scale = np.uint64(array.type.scale)
    return np.where(is_small, hashes_of_floats(small), mixed(mixed(words[0::2]) ^ (words[1::2] + scale)))


def hashes_of_bytes(array: pa.Array) -> Hashes:
    """Hashes texts or bytes without nulls.

    Args:
        array: Of type `large_binary`.
    """
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    starts, lengths = offsets[:-1] - offsets[0], np.diff(offsets)
    data = array.buffers()[2]
    # Zeros behind the end, so that each word can be read whole.
    padded = np.zeros(int(offsets[-1] - offsets[0]) + 8, np.uint8)
    padded[:-8] = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]] if data is not None else 0
    words = np.ndarray((len(padded) - 7,), _WORD, padded, strides=(1,))
    hashes = mixed(lengths.view(np.uint64) + np.uint64(0xD6E8FEB86659FD93))
    open_rows = np.flatnonzero((lengths > 0) & (lengths < _LONG_BYTES))
    place = 0
    while len(open_rows):
        left = lengths[open_rows] - place
        taken = words[starts[open_rows] + place]
        tail = left < 8
        taken[tail] &= (np.uint64(1) << (left[tail].view(np.uint64) * np.uint64(8))) - np.uint64(1)
        hashes[open_rows] = mixed((hashes[open_rows] ^ taken) * np.uint64(0x9FB21C651E98DF25))
        open_rows = open_rows[left > 8]
        place += 8
    for row in np.flatnonzero(lengths >= _LONG_BYTES):
        begin = int(starts[row])
        hashes[row] = int.from_bytes(blake2b(padded[begin : begin + int(lengths[row])].data, digest_size=8).digest(), "little")
    return hashes


def as_large_binary(array: pa.Array) -> pa.Array:
    """Returns texts or bytes in the layout that `hashes_of_bytes` reads."""
    # Between texts and bytes of the same width of offsets nothing is copied.
    return pc.cast(pc.cast(array, pa.binary()) if pa.types.is_string(array.type) else array, pa.large_binary())
