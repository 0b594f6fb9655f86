"""Ascending numbers, and rows with a scale each, in few bytes.

A row of ``b`` bits (16 are half precision, without a scale) is

    v ~ s q,   q = round(v / s),  abs(q) <= 2^(b - 1) - 1,   s = 2^((e - 160) / 8),  e a byte

Symmetric quantisation with one scale a row, after training, as of Jacob et al. (CVPR 2018, section
2.1) with a zero point of 0. Ours: the scale is the next power of ``2^(1/8)``, one byte a row: at
most an eighth of an octave of the range is given away.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.packed import bits_of, bytes_of_bits, codes_of
from p2prec.embeddings.table import Floats
from p2prec.errors import StoreError

HALF_BITS: Final = 16  # of a value that needs no scale
_SCALE_STEPS, _SCALE_ONE = 8, 160  # steps an octave, and the byte of the scale 1
_MOST_HALF = np.float32(65_504.0)  # the largest number of half precision
_BITMAP, _GAPS = 0, 1  # how ascending numbers are written
_FAR = 255  # a gap that goes on in the next byte

Numbers = NDArray[np.integer[Any]]
Bytes = NDArray[np.uint8]


class Reader:
    """Bytes from the front, never beyond the end."""

    def __init__(self, data: Bytes) -> None:
        self._data, self._at = data, 0

    def take(self, n: int) -> Bytes:
        """The next ``n``.

        Raises:
            StoreError: There are not so many.
        """
        if self._at + n > len(self._data):
            raise StoreError("a packed table ends too early")
        self._at += n
        return self._data[self._at - n : self._at]

    def end(self) -> None:
        """Nothing is to be left.

        Raises:
            StoreError: Something is.
        """
        if self._at != len(self._data):
            raise StoreError("a packed table is longer than what it holds")


def packed_ascending(numbers: Numbers, below: int) -> Bytes:
    """Different numbers in ascending order: a bit each of all that may be, or gaps, if smaller."""
    bitmap = np.zeros(below, np.uint8)
    bitmap[numbers] = 1
    gaps = np.diff(numbers, prepend=-1) - 1
    far, rest = np.divmod(gaps, _FAR)
    ends = np.cumsum(far + 1) - 1
    n_gaps = int(ends[-1]) + 1 if len(ends) else 0
    if bytes_of_bits(below) <= n_gaps:
        return np.concatenate([np.array([_BITMAP], np.uint8), np.packbits(bitmap)])
    steps = np.full(n_gaps, _FAR, np.uint8)
    steps[ends] = rest
    return np.concatenate([np.array([_GAPS], np.uint8), steps])


def read_ascending(reader: Reader, n: int, below: int) -> NDArray[np.int64]:
    """``n`` numbers of ``packed_ascending``.

    Raises:
        StoreError: There are others than ``n``, or some are not ``below``.
    """
    if reader.take(1)[0] == _BITMAP:
        found = np.flatnonzero(np.unpackbits(reader.take(bytes_of_bits(below)), count=below))
    else:
        steps: list[int] = []
        missing = n
        while missing:
            part = reader.take(missing)  # as many as there must be at least
            steps += part.tolist()
            missing -= int((part != _FAR).sum())
        gaps = np.array(steps, np.int64)
        found = (np.cumsum(gaps) + np.cumsum(gaps != _FAR) - 1)[gaps != _FAR]
    if len(found) != n or (n and found[-1] >= below):
        raise StoreError("a packed table names items that there are not")
    return found.astype(np.int64)


def at_most(n: int, below: int) -> int:
    """Bytes that ``packed_ascending`` of ``n`` numbers takes at most."""
    return 1 + min(bytes_of_bits(below), n + below // _FAR)


def quantised(
    values: Floats, starts: NDArray[np.int64], bits: int
) -> tuple[NDArray[np.generic], Bytes]:
    """Values of rows, one after the other, as codes.

    Args:
        values: Shape ``(n,)``.
        starts: Shape ``(n_rows,)``, where each row begins; none is empty.
        bits: Of a value.

    Returns:
        Codes, half precision or whole numbers, and the byte of each row's scale.
    """
    if bits == HALF_BITS:
        halves = np.clip(values, -_MOST_HALF, _MOST_HALF).astype(np.float16)
        return halves, np.zeros(0, np.uint8)
    most = 2 ** (bits - 1) - 1
    largest = np.maximum.reduceat(np.abs(values), starts) if len(starts) else values
    smallest = np.float32(2.0 ** (-_SCALE_ONE / _SCALE_STEPS))
    steps = np.ceil(_SCALE_STEPS * np.log2(np.maximum(largest / most, smallest)) - 1e-4)
    scales = np.clip(steps + _SCALE_ONE, 0, 255).astype(np.uint8)
    lengths = np.diff(starts, append=len(values))
    codes = np.rint(values / np.repeat(scales_of(scales), lengths))
    return np.clip(codes, -most, most).astype(np.int8), scales


def scales_of(codes: Bytes) -> Floats:
    """What the bytes of scales mean."""
    return np.exp2((codes.astype(np.float32) - _SCALE_ONE) / _SCALE_STEPS).astype(np.float32)


def packed_codes(codes: NDArray[np.generic], bits: int) -> Bytes:
    """The bytes of ``quantised`` codes."""
    if bits == HALF_BITS:
        return np.frombuffer(codes.astype("<f2").tobytes(), np.uint8)
    return bits_of(codes.astype(np.int64) + 2 ** (bits - 1), bits)


def read_codes(reader: Reader, n: int, bits: int) -> NDArray[np.generic]:
    """``n`` codes.

    Raises:
        StoreError: They are not there, or one is no number.
    """
    data = reader.take(bytes_of_bits(n * bits))
    if bits == HALF_BITS:
        halves = np.frombuffer(data.tobytes(), "<f2").astype(np.float16)
        if not np.isfinite(halves).all():
            raise StoreError("a packed table holds what is no number")
        return halves
    whole: NDArray[np.generic] = (codes_of(data, bits, n) - 2 ** (bits - 1)).astype(np.int8)
    return whole
