"""What tables share whose items have vectors of different widths: the first columns of a row.

    v_x = m_x * e_x,   m_x = (1, ..., 1, 0, ..., 0) with w_x ones

The prefix masks of AMTL, OptEmbed and CIESS. ``w_x`` follows from how much is known of an item, as
a server would take its frequency:

    known_x = ||e_x - e_x^0|| / 0.5 + (share of others that met it)

How far a row has moved from where it started stands in for counts: it grows with the owner's own
interactions and with those of neighbours, whose rows are averaged into it. In training a width is
at least one, so that an item that becomes known can grow; on the device it may be none.

The mean of two peers' rows is a sensible row of both: each looks at it through its own widths.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.bases import OwnRows
from p2prec.embeddings.sparse import Shape, SparseRows, fitted_rows
from p2prec.embeddings.table import Device, Floats, Merge, Stored
from p2prec.embeddings.whole_rows import KeptEntries

Widths = NDArray[np.int64]

_LENGTH = 0.5  # of an initial row
_DIM = 2.0**-6  # known this little, an item is as good as unknown
_TRIES = 24  # halvings of the interval of tilts
_MOST_TILT = np.float32(64.0)
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

    merge: ClassVar[Merge] = Merge.MASKED
    shape: ClassVar[Shape] = Shape.PREFIX

    @abstractmethod
    def widths(self, stored: Stored) -> Widths:
        """Of items, shape ``(n,)``, from 0 to ``size``."""

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
        mask = self._mask(self.widths(self.of_one(device)))
        moved = self.moved(device.items, device.rows)
        return fitted_rows(self.packed_form, mask, moved, self.budget)

    def fits(self, widths: Widths) -> bool:
        """Whether rows of such widths fit the budget."""
        nbytes = self.packed_form.nbytes(int((widths > 0).sum()), int(widths.sum()))
        return nbytes <= self.budget

    def _mask(self, widths: Widths) -> NDArray[np.bool_]:
        return np.arange(self.size) < widths[:, None]


class TiltedWidths(PrefixRows):
    """Widths by the largest of several logits, one a candidate, which a member gives.

        w_x = candidate k with the largest  logit_k(x) + tilt * candidate_k / size

    The tilt, the last piece, is what the budget asks for: after each round of training it is the
    largest one with which the rows that a peer holds fit, found by halving intervals; a price of
    memory, so to speak (the multiplier of AMTL's loss would have to be searched for in the same
    way). Peers average it.

    Attributes:
        candidates: Ascending widths.
    """

    candidates: Widths

    @abstractmethod
    def logits(self, stored: Stored) -> Floats:
        """Shape ``(n, n_candidates)``, without the tilt."""

    def tilted(self, logits: Floats, tilt: Floats | np.float32) -> Floats:
        """With a tilt each, or one for all."""
        slope = (self.candidates / self.size).astype(np.float32)
        result: Floats = logits + np.asarray(tilt, np.float32).reshape(-1, 1) * slope
        return result

    def widths(self, stored: Stored) -> Widths:
        """The best candidate."""
        tilted = self.tilted(self.logits(stored), stored.pieces[stored.owner, -1])
        found: Widths = self.candidates[tilted.argmax(1)]
        return found

    def pack(self, device: Device) -> SparseRows:
        """With the tilt of the moment: rows have been averaged since the last search."""
        return super().pack(self.budgeted(device))

    def budgeted(self, device: Device) -> Device:
        """The device with the tilt that its budget asks for."""
        logits = self.logits(self.of_one(device))
        low, high = -_MOST_TILT, _MOST_TILT
        for _ in range(_TRIES):
            middle = np.float32((low + high) / 2)
            widths = self.candidates[self.tilted(logits, middle).argmax(1)]
            low, high = (middle, high) if self.fits(widths) else (low, middle)
        pieces = device.pieces.copy()
        pieces[-1] = low
        return replace(device, pieces=pieces)


class GroupWidths(PrefixRows):
    """A width for each of eight groups of items that are about equally known; the first pieces.

    They are what a search has found, are trained by no gradient, and peers average them.
    """

    def widths(self, stored: Stored) -> Widths:
        """Of the item's group."""
        found = stored.pieces[stored.owner, groups_of(known_of(self, stored))]
        return np.clip(np.rint(found), 0, self.size).astype(np.int64)

    def counts(self, device: Device) -> NDArray[np.int64]:
        """Items that a peer holds, of each group."""
        known = known_of(self, self.of_one(device))
        return np.bincount(groups_of(known), minlength=N_GROUPS)

    def within(self, widths: Widths, counts: NDArray[np.int64]) -> Widths:
        """The same widths, but of the least known groups less, as the budget asks for."""
        widths = widths.copy()
        for group in range(N_GROUPS):
            while widths[group] and not self.fits(np.repeat(widths, counts)):
                widths[group] -= 1
        return widths

    def with_widths(self, device: Device, widths: Widths) -> Device:
        """The device with other widths."""
        pieces = device.pieces.copy()
        pieces[:N_GROUPS] = widths
        return replace(device, pieces=pieces)
