"""Magnitude pruning: after training, only the largest entries of the table stay. A baseline.

    keep the entries with the largest  abs(v_xj) ||v_x - v_x^0||,  v^0 the realm's initial rows

One-shot magnitude pruning (Han et al., NeurIPS 2015, section 3) of an embedding table, with the
``k`` largest entries of each row before all others, as far as they are a small part of what fits.
Ours: the factor of how far the row has moved from where it started, since half of a magnitude may
be that of the initial noise; and what is kept is quantised. Training, merging and messages are
those of a full table.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.sparse import Shape, fitted_entries
from p2prec.embeddings.table import Device
from p2prec.embeddings.whole_rows import KeptEntries

_PROTECTED = 2  # entries of each row
_SMALL_PART = 0.5  # of the budget, which those may take


class MagnitudePruned(KeptEntries):
    """The largest entries."""

    name: ClassVar[str] = "magprune"
    shape: ClassVar[Shape] = Shape.MASK

    def kept(self, device: Device) -> NDArray[np.bool_]:
        """As many as fit."""
        size = np.abs(device.rows)
        n = len(size)
        first = np.zeros(size.shape, np.bool_)
        protected = self.packed_form.nbytes(n, n * _PROTECTED)
        if protected <= _SMALL_PART * self.budget:
            largest = np.argpartition(-size, _PROTECTED - 1, axis=1)[:, :_PROTECTED]
            np.put_along_axis(first, largest, values=True, axis=1)
        moved = self.moved(device.items, device.rows)
        return fitted_entries(self.packed_form, size * moved[:, None], first, self.budget)
