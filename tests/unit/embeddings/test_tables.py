"""What every item table promises; a new one inherits these tests."""

from __future__ import annotations

import numpy as np
import pytest

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.initial import initial_table
from p2prec.embeddings.table import COMPRESSIONS, Device, ItemTable, Stored, budget_bytes
from p2prec.embeddings.tables import TABLES, build_table, check_table
from p2prec.errors import ConfigError, StoreError

SIZE = 8
N = 20_000  # small tables have a floor: of a smaller catalogue some cannot be a hundredth
_DRAWN = np.random.default_rng(1)
CITY = Catalogue.build(
    item_ids=[str(i) for i in range(N)],
    latitude_deg=_DRAWN.uniform(50.0, 50.5, N),
    longitude_deg=_DRAWN.uniform(4.0, 4.5, N),
    category_names=[str(i) for i in _DRAWN.integers(0, 40, N)],
)
KINDS = [(name, c) for name, kind in TABLES.items() for c in COMPRESSIONS if c <= kind.smallest]
EACH = pytest.mark.parametrize(("name", "compression"), KINDS)
HALF = 2e-3  # what half precision may change, relatively


def built(name: str, compression: int, catalogue: Catalogue = CITY) -> ItemTable:
    return build_table(catalogue, table=name, size=SIZE, compression=compression)


def moved(table: ItemTable, seed: int, n_held: int = 0) -> Device:
    """A peer that has learned something about ``n_held`` items, or about all of them."""
    rng = np.random.default_rng(seed)
    n = n_held or table.n_items
    items = np.sort(rng.choice(table.n_items, n, replace=False))
    initial = initial_table(table.catalogue.digest, "items", table.n_items, table.row_width + 2)
    rows = initial[items, : table.row_width]
    return Device(
        items=items,
        rows=(rows + rng.normal(0.0, 0.2, rows.shape)).astype(np.float32),
        others=rng.random(n).astype(np.float32),
        pieces=(
            table.initial_pieces() + rng.normal(0.0, 0.05, table.n_pieces) * table.piece_rates()
        ).astype(np.float32),
    )


def stored(table: ItemTable, devices: list[Device], items: np.ndarray, owner: np.ndarray) -> Stored:
    rows = np.empty((len(items), table.row_width), np.float32)
    others = np.zeros(len(items), np.float32)
    whole = initial_table(table.catalogue.digest, "items", table.n_items, table.row_width + 2)
    for n, (item, of) in enumerate(zip(items, owner, strict=True)):
        device = devices[of]
        at = np.searchsorted(device.items, item)
        held = at < len(device.items) and device.items[at] == item
        rows[n] = device.rows[at] if held else whole[item, : table.row_width]
        others[n] = device.others[at] if held else 0.0
    pieces = np.stack([device.pieces for device in devices])
    return Stored(items=items, owner=owner, rows=rows, others=others, pieces=pieces)


@EACH
def test_the_start_is_the_same_in_all_peers_of_a_realm(name: str, compression: int) -> None:
    a, b = built(name, compression), built(name, compression)
    assert a.initial_pieces().shape == a.piece_rates().shape == (a.n_pieces,)
    assert a.initial_pieces().dtype == np.float32
    assert np.array_equal(a.initial_pieces(), b.initial_pieces())
    assert (a.piece_rates() >= 0).all()


@EACH
def test_a_peer_gets_the_same_alone_and_among_others(name: str, compression: int) -> None:
    table = built(name, compression)
    devices = [moved(table, seed, n_held=40) for seed in range(3)]
    items = np.concatenate([device.items[:10] for device in devices])
    owner = np.repeat(np.arange(3), 10)
    together, tape = table.compose(stored(table, devices, items, owner))
    by_rows, by_pieces = table.backward(tape, np.ones_like(together))
    assert together.shape == (30, SIZE)
    assert by_rows.shape == (30, table.row_width)
    assert by_pieces.shape == (3, table.n_pieces)
    for peer in range(3):
        part = slice(10 * peer, 10 * peer + 10)
        zeros = np.zeros(10, np.int64)
        one, tape = table.compose(stored(table, [devices[peer]], items[part], zeros))
        rows, pieces = table.backward(tape, np.ones_like(one))
        np.testing.assert_allclose(one, together[part], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(rows, by_rows[part], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(pieces[0], by_pieces[peer], rtol=1e-4, atol=1e-5)


@EACH
def test_packed_it_keeps_the_budget_and_says_the_same(name: str, compression: int) -> None:
    table = built(name, compression)
    device = moved(table, 3)
    packed = table.pack(device)
    data = packed.to_bytes()
    assert packed.nbytes == len(data)
    if compression > 1:
        assert len(data) <= budget_bytes(table)
    again = table.unpack(data)
    items = np.array([0, 5, 17, table.n_items - 1])
    assert np.array_equal(again.vectors(items), packed.vectors(items))
    assert again.vectors(items[:0]).shape == (0, SIZE)
    query = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    everything = again.vectors(np.arange(table.n_items))
    np.testing.assert_allclose(again.dots(query), everything @ query, rtol=1e-3, atol=1e-4)
    assert again.dots(query).shape == (table.n_items,)
    met = np.zeros(table.n_items, np.int64)
    for block, vectors in again.in_blocks():
        met[block] += 1
        np.testing.assert_allclose(vectors, everything[block], rtol=1e-5, atol=1e-6)
    assert (met == 1).all()


@EACH
def test_bytes_that_are_no_such_table_are_refused(name: str, compression: int) -> None:
    table = built(name, compression)
    data = table.pack(moved(table, 4)).to_bytes()
    other = build_table(CITY, table=name, size=2 * SIZE, compression=compression)
    for wrong in (b"", b"{}", data[:-1], data[: len(data) // 2], b"\xff" * 40):
        with pytest.raises(StoreError):
            table.unpack(wrong)
    with pytest.raises(StoreError):
        other.unpack(data)


def test_what_cannot_be_is_refused_with_what_can() -> None:
    with pytest.raises(ConfigError, match="unknown item table 'tiny'; there are: "):
        check_table(table="tiny", compression=1)
    with pytest.raises(ConfigError, match=r"take one of 1$"):
        check_table(table="full", compression=10)
    with pytest.raises(ConfigError, match="take one of 1, 2, 4, 10, 20, 50, 100"):
        check_table(table="qrt", compression=3)


def test_a_catalogue_that_is_too_small_for_a_compression_is_named() -> None:
    few = Catalogue.build(
        item_ids=[str(i) for i in range(30)],
        latitude_deg=[50.0] * 30,
        longitude_deg=[4.0] * 30,
        category_names=[""] * 30,
    )
    with pytest.raises(ConfigError, match="a catalogue of 30 items is too small"):
        built("qrt", 100, few)
