"""What tables share that train a whole row an item and keep some of its entries on a device."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.bases import OwnRows
from p2prec.embeddings.sparse import Form, Shape, SparseRows, finest, packed_rows, read_rows
from p2prec.embeddings.table import Device, Floats, Stored, budget_bytes

BYTE_BITS: Final = 8
NIBBLE_BITS: Final = 4
_BYTE_COMPRESSION: Final = 4  # up to here values have eight bits, beyond it four


class KeptEntries(OwnRows):
    """Trains as a full table; a member says what of it a device keeps.

    Attributes:
        packed_form: On the device.
        budget: In bytes.
    """

    shape: ClassVar[Shape]
    bits: ClassVar[int] = (
        0  # of a value; 0: eight at low compressions, else four, or as many as fit
    )

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        chosen = BYTE_BITS if compression <= _BYTE_COMPRESSION else NIBBLE_BITS
        self.budget = budget_bytes(self)
        self.packed_form = Form(
            name=self.form,
            n_items=self.n_items,
            size=size,
            shape=self.shape,
            bits=self.bits or chosen,
            width=size,
        )

    @abstractmethod
    def kept(self, device: Device) -> NDArray[np.bool_]:
        """Entries that are kept, shape ``(n_held, size)``, within the budget."""

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """The row."""
        return stored.rows, len(stored.pieces)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """The row's."""
        return by_vectors, np.zeros((tape, self.n_pieces), np.float32)

    def pack(self, device: Device) -> SparseRows:
        """Kept entries of the vectors that the rows are composed to."""
        vectors, kept = self.compose(Stored.of_one(device))[0], self.kept(device)
        form = self.packed_form if self.bits else finest(self.packed_form, kept, self.budget)
        return packed_rows(form, device.items, vectors, kept)

    def unpack(self, data: bytes) -> SparseRows:
        """Read them."""
        return read_rows(self.packed_form, data)
