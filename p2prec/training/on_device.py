"""What has been learned as it lies on a device that only recommends: small, and read in no time.

A model with a compact table is packed (``p2prec.models.packed``), in half precision. All others
keep the rows that differ from the realm's initial ones. What training needs besides (sums of
Adagrad, evidence) is not in it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.packing import packed_arrays
from p2prec.embeddings.table import FLOAT_BYTES, budget_bytes, full_bytes
from p2prec.models.model import Model
from p2prec.models.packed import PackedModel
from p2prec.models.table import OTHERS
from p2prec.models.tabled import Tabled
from p2prec.training.knowledge import Knowledge

_NUMBER_BYTES, _HALF_BYTES = 4, 2
_OVERHEAD_BYTES: Final = 1_024  # of names and shapes, at most


def on_device(knowledge: Knowledge) -> bytes:
    """All that recommending needs."""
    table, model = knowledge.table, knowledge.model
    if isinstance(model, Tabled) and model.compact:
        return PackedModel.of(model, knowledge.held()).to_bytes()
    arrays: dict[str, NDArray[Any]] = {
        "items": table.rows.astype(np.uint32),
        "rows": table.whole_rows,
        "dense": knowledge.dense.copy(),
        "private": knowledge.private.copy(),
    }
    return packed_arrays(arrays, form=model.name)


def table_bytes(knowledge: Knowledge) -> int:
    """What the embeddings alone take on the device: 0 of a model that has none."""
    model, n_held = knowledge.model, len(knowledge.table.rows)
    if isinstance(model, Tabled) and model.compact:
        return model.packed(knowledge.parameters()).nbytes
    size = model.width + OTHERS
    whole = full_bytes(len(knowledge.catalogue), size)
    return min(whole, n_held * (_NUMBER_BYTES + FLOAT_BYTES * size)) if size > 0 else 0


def most_bytes(catalogue: Catalogue, model: Model, *, n_held: int) -> int:
    """The most that ``on_device`` can take.

    Args:
        catalogue: Of the realm.
        model: The formulas.
        n_held: Items that the peer has met or heard of, at most.
    """
    n_held = min(n_held, len(catalogue))
    fixed = FLOAT_BYTES * (model.n_dense + model.n_private) + _OVERHEAD_BYTES
    if isinstance(model, Tabled) and model.compact:
        shared = FLOAT_BYTES * model.table.n_pieces
        known = n_held * (_NUMBER_BYTES + 2 * _HALF_BYTES)
        return fixed - shared + budget_bytes(model.table) + known
    return fixed + n_held * (_NUMBER_BYTES + FLOAT_BYTES * model.width)
