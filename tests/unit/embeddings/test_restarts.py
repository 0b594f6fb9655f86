"""A search that is stopped goes on where it was, and every device keeps its budget."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from p2prec.data.city import generate_city
from p2prec.embeddings.initial import initial_table
from p2prec.embeddings.table import COMPRESSIONS, Device, ItemTable, budget_bytes
from p2prec.embeddings.tables import TABLES, build_table

SIZE = 8
CITY = generate_city(rng=np.random.default_rng(3), n_users=12, n_places=1_500, days=60)
COMPACT = sorted(set(TABLES) - {"full"})
KINDS = pytest.mark.parametrize(
    ("name", "compression"),
    [
        (name, c)
        for name in COMPACT
        for c in COMPRESSIONS
        if 1 < c <= min(TABLES[name].smallest, 50)
    ],
)


def met(table: ItemTable, seed: int, n: int = 400) -> Device:
    """A peer that has learned much about few items and little about many."""
    rng = np.random.default_rng(seed)
    items = np.sort(rng.choice(table.n_items, n, replace=False))
    start = initial_table(CITY.catalogue.digest, "items", table.n_items, table.row_width + 2)
    rows = start[items, : table.row_width]
    moved = rng.normal(0.0, 1.0, rows.shape) * rng.exponential(0.1, (n, 1))
    return Device(
        items=items,
        rows=(rows + moved).astype(np.float32),
        others=(rng.random(n) ** 3).astype(np.float32),
        pieces=table.initial_pieces(),
    )


def length(device: Device) -> float:
    """A quality that prefers some pieces and rows to others."""
    return 1.0 / (1.0 + float(np.abs(device.pieces).sum() + np.abs(device.rows).sum()))


def searched(table: ItemTable, device: Device, rounds: range) -> Device:
    for round_ in rounds:
        found = table.searched(device, round_, length)
        device = device if found is None else found
    return device


@KINDS
def test_a_search_can_be_stopped_and_goes_on_where_it_was(name: str, compression: int) -> None:
    table, again = (
        build_table(CITY.catalogue, table=name, size=SIZE, compression=compression)
        for _ in range(2)
    )
    device = met(table, 1)
    whole = searched(table, device, range(12))
    half = searched(table, device, range(5))
    stored = replace(half, rows=half.rows.copy(), pieces=half.pieces.copy())
    rest = searched(again, stored, range(5, 12))
    assert np.array_equal(whole.pieces, rest.pieces)
    assert np.array_equal(whole.rows, rest.rows)
    assert whole.pieces.dtype == whole.rows.dtype == np.float32
    assert np.array_equal(whole.items, device.items)
    assert np.isfinite(whole.pieces).all()
    packed = table.pack(whole)
    assert packed.nbytes <= budget_bytes(table)
