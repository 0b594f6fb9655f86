"""Updates of a table of codes on a device: new words, and the codes that have changed.

Xia et al., CIKM 2023 (ODUpdate), section 3: the next table shares all words with the
device but ``1/l`` of them. In *queue* mode the oldest words give way, in *stack* mode the newest;
all others stay where they are. Only the new words and the changed codes travel.

Their list of words is shifted when the queue moves on. Here a word keeps its number and the new one
takes the place of one that goes, from which it starts, so that most items keep their codes. Which
words are the oldest follows from the version: word ``i`` of a book comes after ``i - 1``, and after
the last one the first. Codes are hard in training, in use and on the wire, and are counted: an
update has a bound in bytes, within which the changes that matter most are sent.

An update names the version that it changes; another one is refused, and so is a table of another
form. Groups' words, which the codes do not name, are sent whole: they are few.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.bases import summed
from p2prec.embeddings.compositional_codes import Codebooks, CompositionalCodes, encoded
from p2prec.embeddings.packed import bits_of, bytes_of_bits, codes_of
from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.table import Device, Floats
from p2prec.errors import StoreError

MAX_VERSION: Final = 2**31 - 1  # of a table; an update a round lasts for ever
_FITTED = 8  # steps in which new words and all codes find each other
_HEADER_BYTES = 1_024  # of an update, at most
_SPARE_BYTES = 16  # by which the header grows with the numbers that it names


class Mode(StrEnum):
    """Which words give way."""

    QUEUE = "queue"
    STACK = "stack"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeUpdate:
    """What turns one version of a table into the next.

    Attributes:
        base_version: That it changes, from 0; the new one is the next.
        mode: Which words gave way.
        words: Shape ``(n_books, n_new, size)``.
        groups: Shape ``(n_groups, size)``.
        items: Shape ``(n_changed,)``, ascending: items with other codes.
        codes: Shape ``(n_changed, n_books)``, theirs.
    """

    base_version: int
    mode: Mode
    words: Floats
    groups: Floats
    items: NDArray[np.int64]
    codes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned:
    """A table on a device and how often it has been updated."""

    books: Codebooks
    version: int


def words_that_go(version: int, *, n_words: int, n_new: int, mode: Mode) -> NDArray[np.int64]:
    """Numbers of the words of each book that the next update replaces, shape ``(n_new,)``."""
    if mode is Mode.STACK:
        return np.arange(n_words - n_new, n_words)
    return (version * n_new + np.arange(n_new)) % n_words


def make_update(
    table: CompositionalCodes,
    current: Versioned,
    device: Device,
    *,
    renewed: int,
    mode: Mode,
    max_bytes: int,
) -> CodeUpdate:
    """The update after which the device's table follows what has been learned since.

    The changes that bring items nearest to what they are to be go first, as many as fit.

    Args:
        table: Of both.
        current: As it lies on the device that is to be updated.
        device: What has been learned.
        renewed: The ``l``: one of so many words of each book is replaced, at least one.
        mode: Which.
        max_bytes: Of ``update_bytes``; words are sent in any case.
    """
    books = table.codebooks(device)
    rows = table.whole(device)
    words = current.books.words.copy()
    n_words = words.shape[1]
    n_new = max(n_words // renewed, 1)
    at = words_that_go(current.version, n_words=n_words, n_new=n_new, mode=mode)
    for _ in range(_FITTED):
        _fit(rows, words, at)
    words = words.astype(np.float16).astype(np.float32)
    codes = encoded(rows, words)[0]
    # An item that is as well off with its old codes keeps them: they need not be sent.
    old = current.books.codes
    before = np.square(rows - _said(words, old)).sum(1)
    after = np.square(rows - _said(words, codes)).sum(1)
    changed = np.flatnonzero((codes != old).any(1) & (after < before))
    changed = changed[np.argsort(after[changed] - before[changed], kind="stable")]
    update = CodeUpdate(
        base_version=current.version,
        mode=mode,
        words=words[:, at],
        groups=books.groups,
        items=changed[:0],
        codes=codes[changed[:0]],
    )
    room = max_bytes - len(update_bytes(table, update)) - _SPARE_BYTES
    most = 8 * max(room, 0) // (8 * _number(table).itemsize + table.n_books * table.bits)
    chosen = np.sort(changed[:most])
    return replace(update, items=chosen, codes=codes[chosen])


def apply_update(table: CompositionalCodes, current: Versioned, update: CodeUpdate) -> Versioned:
    """The next version.

    Raises:
        StoreError: The update changes another version, or has another shape than the table.
    """
    _check(table, update)
    if update.base_version != current.version:
        raise StoreError(
            f"an update of version {update.base_version} cannot change version {current.version}"
        )
    words, codes = current.books.words.copy(), current.books.codes.copy()
    at = words_that_go(
        current.version, n_words=words.shape[1], n_new=update.words.shape[1], mode=update.mode
    )
    words[:, at] = update.words
    codes[update.items] = update.codes
    books = Codebooks(groups=update.groups, words=words, codes=codes)
    return Versioned(books=books, version=current.version + 1)


def update_bytes(table: CompositionalCodes, update: CodeUpdate) -> bytes:
    """An update as it travels."""
    arrays: dict[str, NDArray[np.generic]] = {
        "version": np.array([update.base_version], np.uint32),
        "stack": np.array([update.mode is Mode.STACK], np.uint8),
        "words": update.words.astype(np.float16),
        "groups": update.groups.astype(np.float16),
        "items": update.items.astype(_number(table)),
        "codes": bits_of(update.codes, table.bits),
    }
    return packed_arrays(arrays, form=_form(table))


def read_update(table: CompositionalCodes, data: bytes) -> CodeUpdate:
    """Read ``update_bytes``; whatever a stranger sends, nothing larger than a table comes of it.

    Raises:
        StoreError: These are not the bytes of an update of such a table.
    """
    most = _HEADER_BYTES + 2 * table.n_pieces + table.n_items * (4 + table.n_books)
    if len(data) > most:
        raise StoreError(f"an update of {len(data)} bytes is larger than any of this table")
    half, octet, number = np.dtype(np.float16), np.dtype(np.uint8), np.dtype(np.uint32)
    parts: dict[str, tuple[np.dtype[np.generic], tuple[int | None, ...]]] = {
        "version": (number, (1,)),
        "stack": (octet, (1,)),
        "words": (half, (table.n_books, None, table.size)),
        "groups": (half, (table.n_groups, table.size)),
        "items": (_number(table), (None,)),
        "codes": (octet, (None,)),
    }
    arrays = read_arrays(data, parts, form=_form(table))
    n = len(arrays["items"])
    if len(arrays["codes"]) != bytes_of_bits(n * table.n_books * table.bits):
        raise StoreError("an update has other codes than its items need")
    found = CodeUpdate(
        base_version=int(arrays["version"].astype(np.int64)[0]),
        mode=Mode.STACK if int(arrays["stack"].astype(np.int64)[0]) else Mode.QUEUE,
        words=arrays["words"].astype(np.float32),
        groups=arrays["groups"].astype(np.float32),
        items=table.checked(arrays["items"], n),
        codes=codes_of(arrays["codes"], table.bits, n * table.n_books).reshape(n, -1),
    )
    _check(table, found)
    return found


def _check(table: CompositionalCodes, update: CodeUpdate) -> None:
    n_words = 1 << table.bits
    if not 0 <= update.base_version <= MAX_VERSION:
        raise StoreError(f"an update names the version {update.base_version}")
    if not 1 <= update.words.shape[1] <= n_words:
        raise StoreError(f"an update of {update.words.shape[1]} words to a book of {n_words}")


def _number(table: CompositionalCodes) -> np.dtype[np.generic]:
    return np.dtype(np.uint16 if table.n_items <= 1 << 16 else np.uint32)


def _form(table: CompositionalCodes) -> str:
    return f"update/{table.form}"


def _said(words: Floats, codes: NDArray[np.int64]) -> Floats:
    """Sums of words."""
    said: Floats = words[np.arange(len(words)), codes].sum(1)
    return said


def _fit(rows: Floats, words: Floats, at: NDArray[np.int64]) -> None:
    """New words move to the mean of what they stand for; the others stay. In place."""
    codes, said = encoded(rows, words)
    peer: NDArray[np.int64] = np.zeros(len(rows), np.int64)
    for book, options in enumerate(words):
        of: NDArray[np.integer[Any]] = codes[:, book]
        left = rows - said + options[of]
        count = np.bincount(of, minlength=len(options))[at].astype(np.float32)
        total = summed(peer, of, left, (1, len(options))).reshape(options.shape)[at]
        used = count > 0
        before = options[of]
        options[at[used]] = total[used] / count[used, None]
        said += options[of] - before
