"""Updates of a table of codes that others hold: new words, and the codes that have changed.

Xia et al., CIKM 2023 (ODUpdate), section 3: the next table shares all words with the one that is
held but ``1/l`` of them. In *queue* mode the oldest words give way, in *stack* mode the newest;
all others stay where they are. Only the new words and the changed codes travel.

Their list of words is shifted when the queue moves on. Here a word keeps its number and the new one
takes the place of one that goes, from which it starts, so that most items keep their codes. Codes
are hard in training, in use and on the wire, and are counted.

Their device holds every item and hears every update. A peer that speaks names the items that it has
met or heard of, and a message may be lost: so a table here is of some items, an update names all
that the next one is of, and it changes a *whole* table that was sent before, not the last update:
the ``k``-th after it brings ``k`` times ``1/l`` of the words. In a whole table words are as old as
their numbers are small. What an update changes is named by a hash of its content, so that words and
codes of different tables never meet. Groups' words, which the codes do not name, are no part of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.bases import summed
from p2prec.embeddings.compositional_codes import encoded
from p2prec.embeddings.table import Floats
from p2prec.errors import StoreError

DIGEST_BYTES: Final = 8
_FITTED = 8  # steps in which new words and all codes find each other


class Mode(StrEnum):
    """Which words give way."""

    WHOLE = "whole"  # all: nothing is changed, a table begins
    QUEUE = "queue"
    STACK = "stack"


@dataclass(frozen=True, kw_only=True)
class HeldTable:
    """A table of codes, of some items, as others hold it.

    Attributes:
        words: Shape ``(n_books, n_words, size)``.
        items: Shape ``(n,)``, ascending.
        codes: Shape ``(n, n_books)``.
    """

    words: Floats
    items: NDArray[np.int64]
    codes: NDArray[np.uint8]

    @cached_property
    def digest(self) -> bytes:
        """What an update calls it, ``DIGEST_BYTES`` long."""
        sha = hashlib.sha256(b"p2prec/codes/1")
        for part, kind in ((self.words, "<f2"), (self.items, "<u4"), (self.codes, "u1")):
            sha.update(part.astype(kind).tobytes())
        return sha.digest()[:DIGEST_BYTES]

    def rows(self) -> Floats:
        """What the codes of each item say, shape ``(n, size)``."""
        return _said(self.words, self.codes)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeUpdate:
    """What turns a table that is held into the next one.

    Attributes:
        base: Digest of the table that is changed; empty where none is.
        mode: Which words gave way.
        words: Shape ``(n_books, n_new, size)``.
        items: Shape ``(n,)``, ascending: all items of the next table.
        changed: Shape ``(n,)``, those with other codes than before.
        codes: Shape ``(n_changed, n_books)``, theirs.
    """

    base: bytes
    mode: Mode
    words: Floats
    items: NDArray[np.int64]
    changed: NDArray[np.bool_]
    codes: NDArray[np.uint8]


def words_that_go(n: int, *, n_words: int, mode: Mode) -> slice:
    """The ``n`` words of each book that give way."""
    return slice(n_words - n, n_words) if mode is Mode.STACK else slice(0, n)


def whole_table(rows: Floats, items: NDArray[np.int64], known: Floats) -> CodeUpdate:
    """A table that begins.

    Args:
        rows: Shape ``(n, size)``, what codes are to say.
        items: Shape ``(n,)``, of them.
        known: Words as they were published before, or as the realm has them.
    """
    words = known.copy()
    _fit(rows, words, slice(None))
    return CodeUpdate(
        base=b"",
        mode=Mode.WHOLE,
        words=words,
        items=items,
        changed=np.ones(len(items), np.bool_),
        codes=encoded(rows, words)[0].astype(np.uint8),
    )


def make_update(
    held: HeldTable,
    rows: Floats,
    items: NDArray[np.int64],
    *,
    renewed: int,
    steps: int,
    mode: Mode,
) -> CodeUpdate:
    """The update after which what others hold follows what has been learned since.

    Args:
        held: What they hold.
        rows: As of ``whole_table``.
        items: Likewise.
        renewed: The ``l``: one of so many words of each book is replaced a step, at least one.
        steps: Updates since the table that is held, with this one.
        mode: Which.
    """
    n_words = held.words.shape[1]
    at = words_that_go(min(steps * max(n_words // renewed, 1), n_words), n_words=n_words, mode=mode)
    words = held.words.copy()
    _fit(rows, words, at)
    codes = encoded(rows, words)[0].astype(np.uint8)
    # An item that is as well off with its old codes keeps them: they need not be sent.
    place, known = _found(held.items, items)
    old = held.codes[place[known]]
    before = np.square(rows[known] - _said(words, old)).sum(1)
    after = np.square(rows[known] - _said(words, codes[known])).sum(1)
    changed = ~known
    changed[known] = (codes[known] != old).any(1) & (after < before)
    return CodeUpdate(
        base=held.digest,
        mode=mode,
        words=words[:, at],
        items=items,
        changed=changed,
        codes=codes[changed],
    )


def apply_update(held: HeldTable | None, update: CodeUpdate) -> HeldTable:
    """The next table.

    Args:
        held: The whole one that came last from the sender.
        update: Of a sender who may lie; its shapes are those of the table.

    Raises:
        StoreError: It changes another table than the one that is held, or what cannot be.
    """
    if update.mode is Mode.WHOLE:
        if not update.changed.all():
            raise StoreError("a whole table of codes leaves some out")
        words, codes = update.words, update.codes
    else:
        if held is None or update.base != held.digest:
            raise StoreError("an update of another table of codes than the one that is held")
        words, codes = _changed(held, update)
    return HeldTable(words=words, items=update.items, codes=codes)


def _changed(held: HeldTable, update: CodeUpdate) -> tuple[Floats, NDArray[np.uint8]]:
    n_words, n_new = held.words.shape[1], update.words.shape[1]
    place, known = _found(held.items, update.items)
    if not (known | update.changed).all():
        raise StoreError("an update of codes leaves out those of an item that is new")
    if not 1 <= n_new <= n_words:
        raise StoreError(f"an update of {n_new} words to a book of {n_words}")
    words = held.words.copy()
    words[:, words_that_go(n_new, n_words=n_words, mode=update.mode)] = update.words
    codes = np.empty((len(update.items), len(words)), np.uint8)
    codes[known] = held.codes[place[known]]
    codes[update.changed] = update.codes
    return words, codes


def _found(
    items: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where items stand among ascending ones, and which do."""
    if not len(items):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    place = np.minimum(np.searchsorted(items, wanted), len(items) - 1)
    return place, items[place] == wanted


def _half(values: Floats) -> Floats:
    """As they travel."""
    return values.astype(np.float16).astype(np.float32)


def _said(words: Floats, codes: NDArray[np.integer[Any]]) -> Floats:
    """Sums of words."""
    said: Floats = words[np.arange(len(words)), codes].sum(1)
    return said


def _fit(rows: Floats, words: Floats, at: slice) -> None:
    """New words move to the mean of what they stand for; the others stay. In place.

    From words that are known already they are fitted to rows as they may be known, made-up ones
    among them: as they were learned they lie where the owner's rows are, and would tell these from
    the made-up ones.
    """
    for _ in range(_FITTED):
        _fit_once(rows, words, at)
    words[:, at] = _half(words[:, at])


def _fit_once(rows: Floats, words: Floats, at: slice) -> None:
    codes, said = encoded(rows, words)
    peer: NDArray[np.int64] = np.zeros(len(rows), np.int64)
    for book, options in enumerate(words):
        of: NDArray[np.integer[Any]] = codes[:, book]
        left = rows - said + options[of]
        count = np.bincount(of, minlength=len(options))[at].astype(np.float32)
        total = summed(peer, of, left, (1, len(options))).reshape(options.shape)[at]
        used = count > 0
        before = options[of]
        options[at][used] = total[used] / count[used, None]
        said += options[of] - before
