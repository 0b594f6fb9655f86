"""What has been learned as it lies on a device that only recommends: small, and read in no time.

A model with a compact table is packed (``p2prec.models.packed``), in half precision. All others
keep the rows that differ from the realm's initial ones. What training needs besides (sums of
Adagrad, evidence) is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.packing import packed_arrays
from p2prec.embeddings.table import FLOAT_BYTES, budget_bytes, full_bytes
from p2prec.limits import MAX_SESSION_ITEMS
from p2prec.models.model import Model
from p2prec.models.packed import packed_model
from p2prec.models.table import OTHERS
from p2prec.models.tabled import Tabled
from p2prec.training.knowledge import Knowledge

_NUMBER_BYTES, _HALF_BYTES = 4, 2
_OVERHEAD_BYTES: Final = 1_024  # of names and shapes, at most


@dataclass(frozen=True, slots=True)
class OnDevice:
    """One model as it lies on a device.

    Attributes:
        data: All that recommending needs.
        table_bytes: What the embeddings in it take; 0 of a model that has none.
    """

    data: bytes
    table_bytes: int


def on_device(knowledge: Knowledge) -> OnDevice:
    """What one peer has learned, packed."""
    now, model = knowledge.snapshot(), knowledge.model
    if isinstance(model, Tabled) and model.compact:
        table = model.table.pack(model.device(now))
        return OnDevice(packed_model(model, now, table=table), table.nbytes)
    arrays: dict[str, NDArray[Any]] = {
        "items": now.rows.astype(np.uint32),
        "rows": now.values,
        "dense": now.dense,
        "private": now.private,
    }
    if len(now.sessions):
        arrays |= {"sessions": now.sessions.items, "lengths": now.sessions.lengths.astype(np.uint8)}
    size = max(model.width + OTHERS, 0)
    changed = len(now.rows) * (_NUMBER_BYTES + FLOAT_BYTES * size) if size else 0
    whole = full_bytes(len(knowledge.catalogue), size)
    return OnDevice(packed_arrays(arrays, form=model.name), min(whole, changed))


def most_bytes(catalogue: Catalogue, model: Model, *, n_held: int, n_sessions: int = 0) -> int:
    """The most that the data of ``on_device`` can take.

    Args:
        catalogue: Of the realm.
        model: The formulas.
        n_held: Items that the peer has met or heard of, at most.
        n_sessions: Sessions of others that it holds, at most.
    """
    n_items = len(catalogue)
    n_held = min(n_held, n_items)
    if isinstance(model, Tabled) and model.compact:
        own: int = _HALF_BYTES * (model.layout.part("pieces").start + model.n_private)
        named = min(_NUMBER_BYTES * n_held, -(-n_items // 8))  # by numbers, or a bit an item
        known = named + 2 * _HALF_BYTES * n_held
        return _OVERHEAD_BYTES + own + known + budget_bytes(model.table)
    fixed = FLOAT_BYTES * (model.n_dense + model.n_private) + _OVERHEAD_BYTES
    fixed += n_sessions * (1 + _NUMBER_BYTES * MAX_SESSION_ITEMS)
    return fixed + n_held * (_NUMBER_BYTES + FLOAT_BYTES * model.width)
