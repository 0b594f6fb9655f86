"""What tables share whose items have vectors of different widths: the first columns of a row.

    v_x = m_x * e_x,   m_x = (1, ..., 1, 0, ..., 0) with w_x ones

The prefix masks of AMTL, OptEmbed and CIESS. ``w_x`` follows from how much is known of an item, as
a server would take its frequency:

    known_x = ||e_x - e_x^0|| / 0.5 + (share of others that met it)

How far a row has moved from where it started stands in for counts: it grows with the owner's own
interactions and with those of neighbours, whose rows are averaged into it. In training a width is
at least one, so that an item that becomes known can grow; on the device it may be none.

A member's widths grow with its last piece, the *price*: after each round of training it becomes
the largest one with which the rows that a peer holds fit the budget, found by halving an interval.
So a budget is kept to the end whatever a search says, and peers average the price as any piece.

The mean of two peers' rows is a sensible row of both: each looks at it through its own widths.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.bases import OwnRows
from p2prec.embeddings.sparse import Shape, SparseRows, fitted_rows
from p2prec.embeddings.table import Device, Floats, Stored
from p2prec.embeddings.whole_rows import KeptEntries

Widths = NDArray[np.int64]

_LENGTH = 0.5  # of an initial row
_DIM = 2.0**-6  # known this little, an item is as good as unknown
_TRIES = 24  # halvings of the interval of prices
_MOST_PRICE = 64.0
ROOM_FOR_ALL: Final = 32.0  # the price before the first search
# How much is known, half an octave apart; whoever is below the first is in group 0.
_EDGES: Final = 0.125 * 2.0 ** (np.arange(7) / 2)
N_GROUPS: Final = len(_EDGES) + 1


def groups_of(known: Floats) -> NDArray[np.int64]:
    """Shape ``(n,)``, from 0, the least known items, to ``N_GROUPS - 1``."""
    groups: NDArray[np.int64] = np.searchsorted(_EDGES, known, side="right")
    return groups


def known_of(table: OwnRows, stored: Stored) -> Floats:
    """How much is known of items, shape ``(n,)``."""
    return table.moved(stored.items, stored.rows) / np.float32(_LENGTH) + stored.others


def features_of(known: Floats, others: Floats) -> Floats:
    """What a controller sees of items, shape ``(n, 3)``: two logarithms, about -1 to 1, and one."""
    columns = [np.log2(part + _DIM) / 3.0 + 1.0 for part in (known, others)]
    return np.stack([*columns, np.ones_like(known)], axis=1).astype(np.float32)


class PrefixRows(KeptEntries):
    """A member says how wide items are."""

    shape: ClassVar[Shape] = Shape.PREFIX

    @abstractmethod
    def chooser(self, stored: Stored) -> Callable[[Floats], Widths]:
        """Widths of items, shape ``(n,)``, from 0 to ``size``, for a price each."""

    def widths(self, stored: Stored) -> Widths:
        """Of items, shape ``(n,)``, at the stored price."""
        return self.chooser(stored)(stored.pieces[stored.owner, -1])

    def budgeted(self, device: Device) -> Device:
        """The device with the price that its budget asks for."""
        choose, n = self.chooser(Stored.of_one(device)), len(device.items)
        low, high = -_MOST_PRICE, _MOST_PRICE
        for _ in range(_TRIES):
            middle = (low + high) / 2
            widths = choose(np.full(n, middle, np.float32))
            nbytes = self.packed_form.nbytes(int((widths > 0).sum()), int(widths.sum()))
            low, high = (middle, high) if nbytes <= self.budget else (low, middle)
        pieces = device.pieces.copy()
        pieces[-1] = low
        return replace(device, pieces=pieces)

    def pack(self, device: Device) -> SparseRows:
        """At the price of the moment: rows have been averaged since the last search."""
        return super().pack(self.budgeted(device))

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """The first columns."""
        mask = self._mask(np.maximum(self.widths(stored), 1))
        return stored.rows * mask, (mask, len(stored.pieces))

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Of the first columns."""
        mask, n_peers = tape
        return by_vectors * mask, np.zeros((n_peers, self.n_pieces), np.float32)

    def kept(self, device: Device) -> NDArray[np.bool_]:
        """The first columns, of rows that moved most where not all fit."""
        mask = self._mask(self.widths(Stored.of_one(device)))
        moved = self.moved(device.items, device.rows)
        return fitted_rows(self.packed_form, mask, moved, self.budget)

    def _mask(self, widths: Widths) -> NDArray[np.bool_]:
        return np.arange(self.size) < widths[:, None]


class TiltedWidths(PrefixRows):
    """Widths by the largest of several logits, one a candidate, which a member gives.

        w_x = candidate k with the largest  logit_k(x) + price * candidate_k / size

    Attributes:
        candidates: Ascending widths.
    """

    candidates: Widths

    @abstractmethod
    def logits(self, stored: Stored) -> Floats:
        """Shape ``(n, n_candidates)``, without the price."""

    def tilted(self, logits: Floats, price: Floats) -> Floats:
        """With the price, shape ``(n,)``."""
        slope = (self.candidates / self.size).astype(np.float32)
        result: Floats = logits + price[:, None] * slope
        return result

    def chooser(self, stored: Stored) -> Callable[[Floats], Widths]:
        """The best candidate."""
        logits = self.logits(stored)

        def choose(price: Floats) -> Widths:
            found: Widths = self.candidates[self.tilted(logits, price).argmax(1)]
            return found

        return choose


class GroupWidths(PrefixRows):
    """A width for each of eight groups of items that are about equally known; the first pieces.

        w_x = width_g,   g the group of  known_x 2^price

    They are what a search has found, are trained by no gradient, and peers average them. Better
    known items are at least as wide, and the least known group is not stored at all.
    """

    def groups(self, stored: Stored) -> NDArray[np.int64]:
        """Of items, shape ``(n,)``, at the stored price."""
        return groups_of(known_of(self, stored) * np.exp2(stored.pieces[stored.owner, -1]))

    def chooser(self, stored: Stored) -> Callable[[Floats], Widths]:
        """Of the item's group."""
        known = known_of(self, stored)

        def choose(price: Floats) -> Widths:
            widths = stored.pieces[stored.owner, groups_of(known * np.exp2(price))]
            found: Widths = np.clip(np.rint(widths), 0, self.size).astype(np.int64)
            return found

        return choose

    def all_wide(self) -> Widths:
        """Of groups: whole rows, but for the least known items."""
        return self.ordered(np.full(N_GROUPS, self.size))

    def current(self, device: Device) -> Widths:
        """Of groups, as they are stored."""
        return self.ordered(np.clip(np.rint(device.pieces[:N_GROUPS]), 0, self.size))

    def ordered(self, widths: NDArray[Any]) -> Widths:
        """The same, but never less for better known groups, and none for the least known one."""
        widths = np.maximum.accumulate(widths.astype(np.int64))
        widths[0] = 0
        return widths

    def with_widths(self, device: Device, widths: Widths) -> Device:
        """The device with other widths, at the price that its budget asks for then."""
        pieces = device.pieces.copy()
        pieces[:N_GROUPS] = widths
        return self.budgeted(replace(device, pieces=pieces))
