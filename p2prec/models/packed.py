"""A whole recommender as it lies on a device: the packed table, and all else that scores need.

Everything is in half precision. Beside the table (``p2prec.embeddings``) there are, for each item
that the peer has met or heard of, its bias and the share of others that know it; which items these
are says a list of numbers, or a bit for every item of the catalogue, whatever is shorter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.table import Packed
from p2prec.errors import StoreError
from p2prec.models.model import Looking, Snapshot
from p2prec.models.popularity import share_of
from p2prec.models.table import BIAS, OTHERS
from p2prec.models.tabled import Floats, Ready, Tabled

_HALF, _BYTE, _NUMBER = np.dtype(np.float16), np.dtype(np.uint8), np.dtype(np.uint32)


@dataclass(frozen=True, slots=True)
class PackedModel:
    """A recommender that only answers.

    Attributes:
        at: What it says in one situation; None of a newcomer's.
        data: As it lies on the device.
    """

    at: Looking
    data: bytes

    @classmethod
    def of(cls, model: Tabled, now: Snapshot) -> PackedModel:
        """What one peer has learned, packed and read again."""
        return cls.read(model, packed_model(model, now, table=model.table.pack(model.device(now))))

    @classmethod
    def read(cls, model: Tabled, data: bytes) -> PackedModel:
        """What ``to_bytes`` gave.

        Raises:
            StoreError: These are not the bytes of such a model.
        """
        n, whole = len(model.catalogue), b'"marks"' in data[:1_024]
        named = {"marks": (_BYTE, (-(-n // 8),))} if whole else {"items": (_NUMBER, (None,))}
        arrays = read_arrays(
            data,
            {
                **named,
                "bias": (_HALF, (None,)),
                "shares": (_HALF, (None,)),
                "dense": (_HALF, (_n_own(model),)),
                "private": (_HALF, (model.n_private,)),
                "table": (_BYTE, (None,)),
            },
            form=model.name,
        )
        if whole:
            items = np.flatnonzero(np.unpackbits(arrays["marks"].astype(np.uint8), count=n))
        else:
            items = arrays["items"].astype(np.int64)
            if len(items) and (items.max() >= n or (np.diff(items) <= 0).any()):
                raise StoreError("the items of a packed model are not in order, or unknown")
        if not len(items) == len(arrays["bias"]) == len(arrays["shares"]):
            raise StoreError("a packed model has not one bias and one share an item")
        dense = np.zeros(model.layout.size, np.float32)
        dense[: _n_own(model)] = arrays["dense"]
        ready = Ready(
            source=model.table.unpack(arrays["table"].tobytes()),
            bias=_spread(n, items, arrays["bias"]),
            shares=_spread(n, items, arrays["shares"]),
            dense=dense,
            private=arrays["private"].astype(np.float32),
        )
        return cls(model.opened(ready), data)

    def to_bytes(self) -> bytes:
        """As it lies on the device."""
        return self.data


def packed_model(model: Tabled, now: Snapshot, *, table: Packed) -> bytes:
    """The bytes of what one peer has learned.

    Args:
        model: The formulas.
        now: What has been learned.
        table: Of it, packed.
    """
    n, listened = len(model.catalogue), now.dense[model.statistics].sum()
    items, marks = now.rows.astype(np.uint32), np.zeros(n, np.bool_)
    marks[now.rows] = True
    named = {"items": items} if items.nbytes < n // 8 else {"marks": np.packbits(marks)}
    arrays: dict[str, NDArray[np.generic]] = {
        **named,
        "bias": now.values[:, BIAS].astype(_HALF),
        "shares": share_of(now.values[:, OTHERS], listened).astype(_HALF),
        "dense": now.dense[: _n_own(model)].astype(_HALF),
        "private": now.private.astype(_HALF),
        "table": np.frombuffer(table.to_bytes(), np.uint8),
    }
    return packed_arrays(arrays, form=model.name)


def _n_own(model: Tabled) -> int:
    """Shared parameters that are no pieces of the table."""
    return int(model.layout.part("pieces").start)


def _spread(n: int, items: NDArray[np.integer], values: NDArray[np.generic]) -> Floats:
    whole = np.zeros(n, np.float32)
    whole[items] = values
    return whole
