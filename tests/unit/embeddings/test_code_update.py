"""Updates of a table of codes on a device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_gradients import CITY, SIZE
from test_tables import moved

from p2prec.embeddings.code_update import (
    CodeUpdate,
    Mode,
    Versioned,
    apply_update,
    make_update,
    read_update,
    update_bytes,
    words_that_go,
)
from p2prec.embeddings.compositional_codes import CompositionalCodes
from p2prec.embeddings.table import Device, budget_bytes
from p2prec.errors import StoreError

TABLE = CompositionalCodes(CITY, SIZE, 4)
OLD = moved(TABLE, 1)
LIMIT = 5_500
MODES = pytest.mark.parametrize("mode", sorted(Mode))


def learned_more(device: Device, seed: int, n: int = 200) -> Device:
    """The owner has gone on: some rows are others."""
    rng = np.random.default_rng(seed)
    rows = device.rows.copy()
    rows[rng.choice(len(rows), n, replace=False)] += rng.normal(0.3, 0.2, (n, SIZE))
    return replace(device, rows=rows)


def fitted() -> Device:
    device = OLD
    for round_ in range(4):
        device = TABLE.searched(device, round_, lambda _: 0.0)
    return device


def error(device: Device, held: Versioned) -> float:
    packed = TABLE.packed(held.books)
    return float(np.square(packed.vectors(np.arange(TABLE.n_items)) - device.rows).mean())


@MODES
def test_an_update_follows_what_was_learned_in_less_than_a_table(mode: Mode) -> None:
    device = fitted()
    held = Versioned(books=TABLE.codebooks(device), version=0)
    for version in range(3):
        device = learned_more(device, version)
        update = make_update(TABLE, held, device, renewed=10, mode=mode, max_bytes=LIMIT)
        data = update_bytes(TABLE, update)
        assert len(data) <= LIMIT < 0.25 * TABLE.pack(device).nbytes
        assert len(update.items) > 0
        after = apply_update(TABLE, held, read_update(TABLE, data))
        assert after.version == version + 1
        assert error(device, after) < error(device, held)
        assert TABLE.packed(after.books).nbytes <= budget_bytes(TABLE)
        gone = words_that_go(
            version, n_words=1 << TABLE.bits, n_new=update.words.shape[1], mode=mode
        )
        stays = np.setdiff1d(np.arange(1 << TABLE.bits), gone)
        assert np.array_equal(after.books.words[:, stays], held.books.words[:, stays])
        same = np.setdiff1d(np.arange(TABLE.n_items), update.items)
        assert np.array_equal(after.books.codes[same], held.books.codes[same])
        held = after


def test_a_queue_comes_round_and_a_stack_replaces_its_top() -> None:
    gone = [words_that_go(v, n_words=10, n_new=3, mode=Mode.QUEUE).tolist() for v in range(4)]
    assert gone == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 0, 1]]
    assert words_that_go(5, n_words=10, n_new=3, mode=Mode.STACK).tolist() == [7, 8, 9]


def test_an_update_of_another_version_is_refused() -> None:
    held = Versioned(books=TABLE.codebooks(OLD), version=3)
    update = make_update(
        TABLE, held, learned_more(OLD, 1), renewed=8, mode=Mode.QUEUE, max_bytes=LIMIT
    )
    for version in (2, 4):
        with pytest.raises(StoreError, match="an update of version 3 cannot change version"):
            apply_update(TABLE, replace(held, version=version), update)


def test_bytes_that_are_no_such_update_are_refused() -> None:
    held = Versioned(books=TABLE.codebooks(OLD), version=0)
    update = make_update(
        TABLE, held, learned_more(OLD, 1), renewed=8, mode=Mode.QUEUE, max_bytes=LIMIT
    )
    data = update_bytes(TABLE, update)
    again = read_update(TABLE, data)
    assert np.array_equal(again.items, update.items)
    assert np.array_equal(again.codes, update.codes)
    assert np.array_equal(again.words, update.words)
    wrong = [b"", data[:-1], b"\xff" * 40, TABLE.pack(OLD).to_bytes(), data + bytes(10**6)]
    for bad in wrong:
        with pytest.raises(StoreError):
            read_update(TABLE, bad)
    with pytest.raises(StoreError):
        read_update(CompositionalCodes(CITY, SIZE, 10), data)


def _with(update: CodeUpdate, **changes: object) -> bytes:
    return update_bytes(TABLE, replace(update, **changes))


def test_what_an_update_names_must_be_there() -> None:
    held = Versioned(books=TABLE.codebooks(OLD), version=0)
    update = make_update(
        TABLE, held, learned_more(OLD, 1), renewed=8, mode=Mode.QUEUE, max_bytes=LIMIT
    )
    n = len(update.items)
    assert n > 1
    for bad in (
        {"items": update.items[::-1].copy()},
        {"items": update.items + TABLE.n_items},
        {"items": update.items[:-1]},
        {"codes": update.codes[:-1]},
        {"words": update.words[:, :0]},
        {"words": np.zeros((TABLE.n_books, (1 << TABLE.bits) + 1, SIZE), np.float32)},
        {"base_version": 2**31},
    ):
        with pytest.raises(StoreError):
            read_update(TABLE, _with(update, **bad))
