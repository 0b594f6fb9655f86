"""Integer tables: a full table whose rows lie on the device as small whole numbers.

    v ~ s q,   q of 8 bits (``int8``) or 4 bits (``int4``), one scale a row

Symmetric quantisation after training (Jacob et al., CVPR 2018, section 2.1); see
``p2prec.embeddings.quantised``. Training, merging and messages are those of a full table. At a
compression of 4 eight bits and a scale are a little more than a quarter of a full table: where a
peer holds nearly all items, rows that have moved least from the start are left out. Ours: that
choice, and the form of the scale.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.sparse import Shape, fitted_rows
from p2prec.embeddings.table import Device
from p2prec.embeddings.whole_rows import BYTE_BITS, NIBBLE_BITS, KeptEntries


class EightBits(KeptEntries):
    """Whole rows of whole numbers."""

    name: ClassVar[str] = "int8"
    smallest: ClassVar[int] = 4
    shape: ClassVar[Shape] = Shape.SAME
    bits: ClassVar[int] = BYTE_BITS

    def kept(self, device: Device) -> NDArray[np.bool_]:
        """All entries of rows, of those that moved most where not all rows fit."""
        everything = np.ones(device.rows.shape, np.bool_)
        moved = self.moved(device.items, device.rows)
        return fitted_rows(self.packed_form, everything, moved, self.budget)


class FourBits(EightBits):
    """The same with half as many bits."""

    name: ClassVar[str] = "int4"
    bits: ClassVar[int] = NIBBLE_BITS
