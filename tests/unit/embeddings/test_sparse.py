"""Rows of which only some entries are kept: what is read is what was written, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from p2prec.embeddings.packing import packed_arrays
from p2prec.embeddings.quantised import (
    Reader,
    packed_ascending,
    quantised,
    read_ascending,
    scales_of,
)
from p2prec.embeddings.sparse import (
    Form,
    Shape,
    finest,
    fitted_entries,
    fitted_rows,
    packed_rows,
    read_rows,
)
from p2prec.errors import StoreError

N, SIZE = 3_000, 16


def form(shape: Shape, bits: int) -> Form:
    return Form(name="x", n_items=N, size=SIZE, shape=shape, bits=bits, width=7)


def drawn(shape: Shape, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    items = np.sort(rng.choice(N, n, replace=False))
    rows = (rng.normal(size=(n, SIZE)) * rng.exponential(1.0, (n, 1))).astype(np.float32)
    widths = {
        Shape.SAME: np.full(n, 7),
        Shape.PREFIX: rng.integers(0, SIZE + 1, n),
        Shape.FEW: rng.integers(0, 4, n),
        Shape.MASK: np.zeros(n, np.int64),
    }[shape]
    kept = np.arange(SIZE) < widths[:, None]
    if shape is Shape.MASK:
        kept = rng.random((n, SIZE)) < 0.3
    return items, rows, kept


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("n", [0, 1, 40, 2_500, N])
def test_what_is_kept_is_read_and_the_rest_is_zero(shape: Shape, bits: int, n: int) -> None:
    items, rows, kept = drawn(shape, n)
    packed = packed_rows(form(shape, bits), items, rows, kept)
    assert packed.nbytes <= form(shape, bits).nbytes(int(kept.any(1).sum()), int(kept.sum()))
    again = read_rows(form(shape, bits), packed.to_bytes())
    found = again.vectors(np.arange(N))
    assert not np.delete(found, items, axis=0).any()
    assert not found[items][~kept].any()
    largest = np.abs(np.where(kept, rows, 0.0)).max(1, keepdims=True)
    # Half a step of the scale, which is up to an eighth of an octave too large, and 2^-20 at least.
    step = largest * (2.0**-11 if bits == 16 else 0.5 * 2.0**0.125 / (2 ** (bits - 1) - 1))
    assert (np.abs(found[items] - rows) <= step * 1.01 + 2.0**-20)[kept].all()
    query = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    np.testing.assert_allclose(again.dots(query), found @ query, rtol=1e-3, atol=1e-3)
    some = np.random.default_rng(1).permutation(N)[:50]
    assert np.array_equal(again.vectors(some), found[some])


@pytest.mark.parametrize("n", [0, 1, 5, 300, N])
def test_ascending_numbers_take_no_more_than_a_bit_each_of_all(n: int) -> None:
    numbers = np.sort(np.random.default_rng(n).choice(N, n, replace=False))
    data = packed_ascending(numbers, N)
    assert len(data) <= 2 + N // 8
    reader = Reader(data)
    assert np.array_equal(read_ascending(reader, n, N), numbers)
    reader.end()
    with pytest.raises(StoreError):
        read_ascending(Reader(data), n + 1, N)


def test_a_row_of_zeros_stays_one() -> None:
    codes, scales = quantised(np.zeros(4, np.float32), np.zeros(1, np.int64), 8)
    assert not codes.any()
    assert np.isfinite(scales_of(scales)).all()


@pytest.mark.parametrize("shape", list(Shape))
def test_no_length_that_a_stranger_writes_is_believed(shape: Shape) -> None:
    items, rows, kept = drawn(shape, 50)
    kind = form(shape, 8)
    whole = packed_rows(kind, items, rows, kept)
    again = read_rows(kind, whole.to_bytes())
    assert np.array_equal(again.items, whole.items)
    blob = np.frombuffer(whole.to_bytes(), np.uint8)
    body = blob[8 + int.from_bytes(blob[:8].tobytes(), "little") :]
    for cut in (0, 3, 5, len(body) // 2, len(body) - 20):
        with pytest.raises(StoreError):
            read_rows(kind, packed_arrays({"rows": body[:cut]}, form=kind.name))
    for bits in (0, 1, 16, 32, 255):
        lying = body.copy()
        lying[4] = bits
        with pytest.raises(StoreError):
            read_rows(kind, packed_arrays({"rows": lying}, form=kind.name))
    for count in (0, 49, 51, N + 1, 2**32 - 1):
        lying = body.copy()
        lying[:4] = np.frombuffer(np.uint32(count).tobytes(), np.uint8)
        with pytest.raises(StoreError):
            read_rows(kind, packed_arrays({"rows": lying}, form=kind.name))


@pytest.mark.parametrize("budget", [200, 700, 3_000, 10**6])
def test_as_much_is_kept_as_fits_and_the_most_important_first(budget: int) -> None:
    importance = np.random.default_rng(2).random((400, SIZE)).astype(np.float32)
    kind = form(Shape.MASK, 8)
    kept = fitted_entries(kind, importance, np.zeros(importance.shape, np.bool_), budget)
    assert kind.nbytes(int(kept.any(1).sum()), int(kept.sum())) <= max(budget, kind.nbytes(0, 0))
    if kept.any() and not kept.all():
        assert importance[kept].min() >= importance[~kept].max()
        more = int(kept.sum()) + 1
        assert kind.nbytes(int(kept.any(1).sum()) + 1, more) > budget
    rows = fitted_rows(kind, np.ones(importance.shape, np.bool_), importance[:, 0], budget)
    whole = rows.all(1)
    assert np.array_equal(whole, rows.any(1))
    if whole.any() and not whole.all():
        assert importance[whole, 0].min() >= importance[~whole, 0].max()


def test_room_that_is_left_goes_into_finer_values() -> None:
    kind = form(Shape.PREFIX, 4)
    kept = np.ones((100, SIZE), np.bool_)
    for bits in (4, 8, 16):
        enough = replace(kind, bits=bits).nbytes(100, 100 * SIZE)
        assert finest(kind, kept, enough).bits == bits
        assert finest(kind, kept, enough - 1).bits == max(bits // 2, 4)
