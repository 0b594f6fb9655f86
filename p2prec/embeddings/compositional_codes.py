"""Compositional codes: an item's vector is the sum of a few words from small codebooks.

    v_x = g[k(x)] + (1 - h) e_x + h sum_j C_j[c_j(x)],     c_j(x) = argmin_k |e_x - ... - C_j[k]|

Shu & Nakayama (ICLR 2018); Xia et al., TOIS 2023 (EODRec), section 4: m codebooks of
K words and one code an item in each. There, codes come from an auto-encoder over a teacher's
table. Ours: the teacher is the item's own row ``e_x``, which is trained through the words as if it
stood in their place (straight-through: Oord et al., NeurIPS 2017) and held near to them
(their commitment loss); codes are the nearest words, one book after the other on what the former
ones left over. After each round words move to the mean of what they stand for (Lloyd's step), and
``h`` rises from 0 to 1, so that vectors are the rows' at first and the words' in the end. One more
code comes from the realm and costs nothing: the group of kindred items
(``p2prec.embeddings.arrangement``), with words ``g`` of their own.

Rows and words are averaged; codes never are: whoever has averaged the same rows and words finds the
same codes. On a device lie the words in half precision and ``m log2 K`` bits an item;
``p2prec.embeddings.code_update`` says how such a table is brought up to date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.arrangement import cut, kindred_order
from p2prec.embeddings.bases import OwnRows, summed
from p2prec.embeddings.initial import realm_generator
from p2prec.embeddings.packed import (
    HALF_BYTES,
    OVERHEAD_BYTES,
    PIECES_AT_MOST,
    PackedTable,
    bits_of,
    bytes_of_bits,
    codes_of,
)
from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.table import Device, Floats, Quality, Stored, budget_bytes
from p2prec.errors import ConfigError
from p2prec.limits import MAX_BOOKS

_BITS = 8  # of a code, at most
_GROUPS = 256  # at most, and no more than a quarter of the items
_COMMITMENT = 0.1
_HARD_AFTER = 6  # rounds
_LLOYD = 2  # steps a round


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The words of a table of codes.

    Attributes:
        groups: Shape ``(n_groups, size)``, words of the realm's groups.
        words: Shape ``(n_books, n_words, size)``.
    """

    groups: Floats
    words: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Codebooks(Books):
    """All that a table of codes is.

    Attributes:
        codes: Shape ``(n_items, n_books)``.
    """

    codes: NDArray[np.int64]


class CompositionalCodes(OwnRows):
    """A row an item while it is learned, a few codes an item on the device.

    Attributes:
        n_books: ``m``.
        bits: ``log2 K``.
        n_groups: Words of the realm's groups.
        group: Shape ``(n_items,)``.
    """

    name: ClassVar[str] = "codes"

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        room = budget_bytes(self) - OVERHEAD_BYTES
        self.n_books, self.bits = _books(self.n_items, size, room)
        spare = (room - _bytes(self.n_items, size, self.n_books, self.bits)) // (HALF_BYTES * size)
        self.n_groups = int(min(spare, _GROUPS, max(self.n_items // 4, 1)))
        if self.n_books == 0 or self.n_groups < 1:
            raise ConfigError(
                f"a catalogue of {self.n_items} items is too small for a table of codes of {room} "
                "bytes; take a smaller compression, or a larger embedding_size"
            )
        self.n_words = self.n_books << self.bits
        self.n_pieces = (self.n_groups + self.n_words) * size + 1
        self.group = cut(kindred_order(catalogue), self.n_groups)

    def initial_pieces(self) -> Floats:
        """Groups speak of nothing yet; words are as long as what the former books leave over."""
        rng = realm_generator(self.catalogue.digest, f"codes/{self.size}/{self.n_words}")
        words = rng.normal(0.0, 0.5 / np.sqrt(self.size), (self.n_books, 1 << self.bits, self.size))
        words *= 0.7 ** np.arange(self.n_books)[:, None, None]
        nothing = np.zeros(self.n_groups * self.size)
        return np.concatenate([nothing, words.ravel(), [0.0]]).astype(np.float32)

    def piece_rates(self) -> Floats:
        """``h`` follows the rounds."""
        rates = np.ones(self.n_pieces, np.float32)
        rates[-1] = 0.0
        return rates

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """Rows at first, words in the end."""
        groups, words, hardness = self._parts(stored.pieces)
        codes = np.empty((len(stored.items), self.n_books), np.int64)
        sums = np.empty_like(stored.rows)
        for peer in range(len(stored.pieces)):  # each has its own words
            of = np.flatnonzero(stored.owner == peer)
            codes[of], sums[of] = encoded(stored.rows[of], words[peer])
        at = self.group[stored.items]
        h = hardness[stored.owner, None]
        vectors = groups[stored.owner, at] + (1.0 - h) * stored.rows + h * sums
        return vectors, (stored, at, codes, stored.rows - sums, h)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Straight through to the row, and to the words that were taken."""
        stored, at, codes, apart, h = tape
        n_peers = len(stored.pieces)
        by_rows = by_vectors + (_COMMITMENT * h) * apart
        parts = [summed(stored.owner, at, by_vectors, (n_peers, self.n_groups))]
        by_words = h * by_vectors
        for book in range(self.n_books):
            shape = (n_peers, 1 << self.bits)
            parts.append(summed(stored.owner, codes[:, book], by_words, shape))
        parts.append(np.zeros((n_peers, 1), np.float32))
        return by_rows, np.concatenate(parts, axis=1)

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """Words move to what they stand for."""
        del quality
        pieces = device.pieces.copy()
        words = self._parts(pieces[None])[1][0]
        if len(device.items):
            for _ in range(_LLOYD):
                _lloyd_step(device.rows, words)
        pieces[-1] = min(1.0, (round_ + 1) / _HARD_AFTER)
        return Device(items=device.items, rows=device.rows, others=device.others, pieces=pieces)

    def codebooks(self, device: Device) -> Codebooks:
        """What a device's rows and pieces come to; words as they are in half precision."""
        half = device.pieces.astype(np.float16).astype(np.float32)
        groups, words, _ = self._parts(half[None])
        return Codebooks(
            groups=groups[0], words=words[0], codes=encoded(self.whole(device), words[0])[0]
        )

    def books(self, pieces: Floats) -> Books:
        """Words among pieces, shape ``(n_pieces,)``."""
        groups, words, _ = self._parts(pieces[None])
        return Books(groups=groups[0], words=words[0])

    def pack(self, device: Device) -> PackedTable:
        """Words and codes."""
        return self.packed(self.codebooks(device))

    def packed(self, books: Codebooks) -> PackedTable:
        """The bytes of words and codes."""
        arrays: dict[str, NDArray[np.generic]] = {
            "groups": books.groups.astype(np.float16),
            "words": books.words.astype(np.float16),
            "codes": bits_of(books.codes, self.bits),
        }
        return self._packed(books, packed_arrays(arrays, form=self.form))

    def unpack(self, data: bytes) -> PackedTable:
        """Read them."""
        return self._packed(self.read(data), data)

    def read(self, data: bytes) -> Codebooks:
        """Words and codes from packed bytes.

        Raises:
            StoreError: These are not the bytes of such a table.
        """
        half, n = np.dtype(np.float16), self.n_items * self.n_books
        parts: dict[str, tuple[np.dtype[np.generic], tuple[int | None, ...]]] = {
            "groups": (half, (self.n_groups, self.size)),
            "words": (half, (self.n_books, 1 << self.bits, self.size)),
            "codes": (np.dtype(np.uint8), (bytes_of_bits(n * self.bits),)),
        }
        arrays = read_arrays(data, parts, form=self.form)
        return Codebooks(
            groups=arrays["groups"].astype(np.float32),
            words=arrays["words"].astype(np.float32),
            codes=codes_of(arrays["codes"], self.bits, n).reshape(-1, self.n_books),
        )

    def _packed(self, books: Codebooks, data: bytes) -> PackedTable:
        # A code has at most eight bits; those of one book lie together.
        groups, words = books.groups, books.words
        codes = np.ascontiguousarray(books.codes.T, np.uint8)

        def of(items: NDArray[np.integer[Any]]) -> Floats:
            found: Floats = groups.take(self.group[items], axis=0)
            for book, of_items in zip(words, codes, strict=True):
                found += book.take(of_items[items], axis=0)
            return found

        def products(query: Floats) -> Floats:
            # Each word is asked once; an item's product is a sum of looked-up numbers.
            found: Floats = (groups @ query)[self.group]
            for asked, of_items in zip(words @ query, codes, strict=True):
                found += asked.take(of_items)
            return found

        return PackedTable(data=data, of=of, products=products, n_items=self.n_items)

    def _parts(self, pieces: Floats) -> tuple[Floats, Floats, Floats]:
        n, split = len(pieces), self.n_groups * self.size
        words = pieces[:, split:-1].reshape(n, self.n_books, 1 << self.bits, self.size)
        return pieces[:, :split].reshape(n, -1, self.size), words, pieces[:, -1]


def encoded(rows: Floats, words: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The nearest words, book after book, and their sums.

    Args:
        rows: Shape ``(n, size)``.
        words: Shape ``(n_books, n_words, size)``.

    Returns:
        Shapes ``(n, n_books)`` and ``(n, size)``.
    """
    codes = np.empty((len(rows), len(words)), np.int64)
    rest = rows.copy()
    for book, options in enumerate(words):
        length = 0.5 * np.einsum("kd,kd->k", options, options)
        codes[:, book] = (rest @ options.T - length).argmax(1)
        rest -= options[codes[:, book]]
    return codes, rows - rest


def _lloyd_step(rows: Floats, words: Floats) -> None:
    """Each word moves to the mean of what it stands for; in place."""
    rest = rows.copy()
    for options in words:
        codes = encoded(rest, options[None])[0][:, 0]
        count = np.bincount(codes, minlength=len(options)).astype(np.float32)
        total = summed(np.zeros_like(codes), codes, rest, (1, len(options)))
        used = count > 0
        options[used] = total.reshape(options.shape)[used] / count[used, None]
        rest -= options[codes]


def _bytes(n_items: int, size: int, n_books: int, bits: int) -> int:
    return HALF_BYTES * (n_books << bits) * size + bytes_of_bits(n_items * n_books * bits)


def _books(n_items: int, size: int, room: int) -> tuple[int, int]:
    """Number of books and bits of a code: most bits an item, then fewest books."""
    found = (0, 0)
    for bits in range(_BITS, 0, -1):
        for n_books in range(MAX_BOOKS, 0, -1):
            fits = _bytes(n_items, size, n_books, bits) + HALF_BYTES * size <= room
            if fits and ((n_books << bits) + _GROUPS) * size < PIECES_AT_MOST:
                if n_books * bits > found[0] * found[1]:
                    found = (n_books, bits)
                break
    return found
