"""PEP: a learned threshold prunes entries; what is left is trained again from the start.

    prune     v_xj = sign(e_xj) max(abs(e_xj) - g_xj, 0),   g_xj = sigmoid(s_j) / (4 known_x)
              until what is left fits the budget; then m_xj = [v_xj != 0]
    retrain   e <- e^0 * m with the threshold off

Liu et al., ICLR 2021 (plug-in embedding pruning), sections 3.2 and 3.3, with a
threshold a column.

Ours: the factor ``1 / (4 known_x)`` of an item (``p2prec.embeddings.prefixes``), without which the
initial noise of rows that nobody learned from outlives what was learned. In the paper weight decay
on ``s`` raises thresholds; here they are paid for, ``-a sigmoid(s_j)`` an item, since rows that are
absent decay nothing. When the budget is reached, or ``_LATEST`` rounds are over, the entries that
it has room for stay, ordered as ``magprune`` does. A peer with room for everything prunes nothing.

Thresholds are pieces and averaged. The mask lies in the rows: what is pruned is zero. It decays
against the pull to initial values, and is out of the vector as long as it is smaller than
``_GATE``; every search makes it exactly zero again. The mean of what one peer kept and another
pruned counts as kept where it is larger than that: masks grow by those of neighbours, and a device
cuts them to its budget once more. On a device: a bit an entry, and values in whole numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.bases import summed
from p2prec.embeddings.prefixes import known_of
from p2prec.embeddings.sparse import Shape, fitted_entries
from p2prec.embeddings.table import Device, Floats, Quality, Stored
from p2prec.embeddings.whole_rows import KeptEntries

_START = -3.0  # of s
_PAID = np.float32(0.05)  # ``a``
_RATE = np.float32(0.4)  # of s
_DECAY = np.float32(0.3)  # of what is pruned: against the pull to the initial values
_EARLIEST, _LATEST = 3, 6  # rounds of pruning: before, a peer has heard of few items
_PRUNED, _WHOLE = 1.0, 2.0  # how pruning has ended
_GATE = np.float32(0.01)  # far below what is kept, far above what a round's pull makes of zero
_LEAST_KNOWN = np.float32(0.125)  # thresholds are at most twice a sigmoid


class Thresholded(KeptEntries):
    """Pieces: ``s`` of each column, and whether and how pruning is over."""

    name: ClassVar[str] = "pep"
    shape: ClassVar[Shape] = Shape.MASK

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        self.n_pieces = size + 1

    def initial_pieces(self) -> Floats:
        """Hardly any threshold."""
        return np.append(np.full(self.size, _START), 0.0).astype(np.float32)

    def piece_rates(self) -> Floats:
        """Thresholds learn."""
        return np.append(np.full(self.size, _RATE), 0.0).astype(np.float32)

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """What is above the threshold; after pruning, what is not zero."""
        over = stored.pieces[stored.owner, -1:] >= _PRUNED / 2
        chance = 1.0 / (1.0 + np.exp(-stored.pieces[:, :-1]))
        share = np.float32(0.25) / np.maximum(known_of(self, stored), _LEAST_KNOWN)
        size = np.abs(stored.rows)
        threshold = np.where(over, np.float32(0.0), chance[stored.owner] * share[:, None])
        gate = np.where(stored.pieces[stored.owner, -1:] < (_PRUNED + _WHOLE) / 2, _GATE, 0.0)
        mask = size > np.where(over, gate, threshold)
        vectors = np.sign(stored.rows) * (size - threshold) * mask
        return vectors.astype(np.float32), (mask, over, chance, share, stored)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Of what is above the threshold; thresholds are paid for."""
        mask, over, chance, share, stored = tape
        by_rows = by_vectors * mask
        by_chance = -by_rows * np.sign(stored.rows) * share[:, None] - _PAID
        by_chance *= ~over
        shape = (len(stored.pieces), 1)
        by_pieces = summed(stored.owner, np.zeros_like(stored.owner), by_chance, shape)
        by_rows += _DECAY * stored.rows * (over & ~mask)
        return by_rows, np.pad(by_pieces * chance * (1.0 - chance), ((0, 0), (0, 1)))

    def kept(self, device: Device) -> NDArray[np.bool_]:
        """The most important ones of what is not pruned."""
        return self.fitted(device, self.compose(Stored.of_one(device))[0])

    def fitted(self, device: Device, vectors: Floats) -> NDArray[np.bool_]:
        """The most important entries of vectors that the budget has room for."""
        importance = np.abs(vectors) * self.moved(device.items, device.rows)[:, None]
        nothing = np.zeros(importance.shape, np.bool_)
        return fitted_entries(self.packed_form, importance, nothing, self.budget)

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """The end of pruning, or zeros that are zero."""
        del quality
        if device.pieces[-1] >= (_PRUNED + _WHOLE) / 2 or round_ + 1 < _EARLIEST:
            return None
        if device.pieces[-1] >= _PRUNED / 2:
            rows = np.where(np.abs(device.rows) < _GATE, np.float32(0.0), device.rows)
            return replace(device, rows=rows)
        n = len(device.items)
        if self.packed_form.nbytes(n, n * self.size) <= self.budget:
            return self._over(device, _WHOLE, device.rows)
        left = self.compose(Stored.of_one(device))[0] != 0
        nbytes = self.packed_form.nbytes(int(left.any(1).sum()), int(left.sum()))
        if nbytes > self.budget and round_ + 1 < _LATEST:
            return None
        left = self.fitted(device, device.rows)
        start = self.initial[device.items]
        least = np.copysign(np.maximum(np.abs(start), 2 * _GATE), start)
        return self._over(device, _PRUNED, (least * left).astype(np.float32))

    def _over(self, device: Device, how: float, rows: Floats) -> Device:
        pieces = device.pieces.copy()
        pieces[-1] = how
        return replace(device, rows=rows, pieces=pieces)
