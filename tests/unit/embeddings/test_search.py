"""What tables look for between rounds of training, and what a merge makes of it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from test_gradients import CITY, SIZE, N
from test_tables import moved

from p2prec.embeddings.arrangement import cut, kindred_order, random_order
from p2prec.embeddings.dcf import delegates, solved_bits
from p2prec.embeddings.packed import bits_of, codes_of
from p2prec.embeddings.table import Device, ItemTable, budget_bytes
from p2prec.embeddings.tables import TABLES, build_table


def built(name: str, compression: int) -> ItemTable:
    return build_table(CITY, table=name, size=SIZE, compression=compression)


def after(table: ItemTable, device: Device, rounds: int) -> Device:
    """A device after the searches of so many rounds in which nothing is learned."""
    for round_ in range(rounds):
        device = table.searched(device, round_, lambda d: float(d.pieces.sum())) or device
    return device


def merged(a: Device, b: Device) -> Device:
    return replace(a, rows=(a.rows + b.rows) / 2, pieces=(a.pieces + b.pieces) / 2)


def vectors(table: ItemTable, device: Device) -> np.ndarray:
    return table.pack(device).vectors(np.arange(table.n_items))


@pytest.mark.parametrize(
    ("name", "compression"),
    [(n, c) for c in (4, 20) for n in sorted(set(TABLES) - {"full"}) if c <= TABLES[n].smallest],
)
def test_a_merge_of_two_peers_is_near_to_both(name: str, compression: int) -> None:
    """Two that have learned nearly the same, each searched for itself, then averaged."""
    table = built(name, compression)
    one = moved(table, 1)
    noise = np.random.default_rng(2)
    trained = (table.piece_rates() > 0).astype(np.float32)
    other = replace(
        one,
        rows=one.rows + noise.normal(0, 0.01, one.rows.shape).astype(np.float32),
        pieces=one.pieces + trained * noise.normal(0, 0.01, one.pieces.shape).astype(np.float32),
    )
    one, other = after(table, one, 8), after(table, other, 8)
    both = merged(one, other)
    for round_ in (8, 9):
        both = table.searched(both, round_, lambda _: 0.0) or both
    assert table.pack(both).nbytes <= budget_bytes(table)
    a, b, c = (vectors(table, device).ravel() for device in (one, other, both))
    assert np.corrcoef(a, b)[0, 1] > 0.8
    assert np.corrcoef(a, c)[0, 1] > 0.8
    assert np.corrcoef(b, c)[0, 1] > 0.8


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"full"}))
def test_searching_keeps_items_and_is_exact_in_single_precision(name: str) -> None:
    table = built(name, min(10, TABLES[name].smallest))
    start = moved(table, 3, n_held=900)
    device, again = after(table, start, 7), after(table, start, 7)
    assert np.array_equal(device.items, start.items)
    assert device.rows.shape == start.rows.shape
    assert device.rows.dtype == device.pieces.dtype == np.float32
    assert np.isfinite(device.rows).all()
    assert np.isfinite(device.pieces).all()
    assert np.array_equal(device.rows, again.rows)
    assert np.array_equal(device.pieces, again.pieces)


def test_cerp_prunes_to_the_budget_and_starts_anew_under_the_mask() -> None:
    table = built("cerp", 4)
    start = table.initial_pieces()
    device = Device(
        items=np.arange(0),
        rows=np.zeros((0, 0), np.float32),
        others=np.zeros(0, np.float32),
        pieces=start + np.where(np.arange(table.n_pieces) < table.n_values, 0.05, 0.0).astype("f4"),
    )
    shares = []
    for round_ in range(5):
        device = table.searched(device, round_, lambda _: 0.0) or device
        thresholds = device.pieces[table.n_values : -1]
        values = device.pieces[: table.n_values]
        height = np.where(thresholds > 0, np.inf, 1 / (1 + np.exp(-thresholds.astype(float))))
        shares.append(float((np.abs(values) > height).mean()))
    assert all(a >= b for a, b in itertools.pairwise(shares))
    assert shares[0] < 1.0
    assert shares[-1] == pytest.approx(table.n_kept / table.n_values, abs=1e-3)
    assert np.array_equal(device.pieces[: table.n_values], start[: table.n_values])
    kept = np.count_nonzero(device.pieces[table.n_values : -1] < 0)
    assert kept == table.n_kept


def test_cerp_peers_with_different_masks_agree_on_what_most_of_them_keep() -> None:
    table = built("cerp", 10)
    device = after(table, moved(table, 1, n_held=1), 5)
    other = after(table, moved(table, 9, n_held=1), 5)
    mean = replace(device, pieces=(2 * device.pieces + other.pieces) / 3)
    found = table.searched(mean, 5, lambda _: 0.0)
    of = slice(table.n_values, -1)
    assert np.array_equal(found.pieces[of] < 0, device.pieces[of] < 0)
    late = replace(device, pieces=(3 * device.pieces + table.initial_pieces()) / 4)
    joined = table.searched(late, 0, lambda _: 0.0)  # its own round says that it is to prune
    assert np.array_equal(joined.pieces[of] < 0, device.pieces[of] < 0)


def test_codes_stand_for_rows_the_better_the_longer_words_are_fitted() -> None:
    table = built("codes", 4)
    device = moved(table, 1)
    apart = []
    for round_ in range(4):
        said = vectors(table, device)
        apart.append(float(np.square(said - device.rows).mean()))
        device = table.searched(device, round_, lambda _: 0.0)
    assert all(a > b for a, b in itertools.pairwise(apart))
    assert apart[-1] < 0.25 * float(np.square(device.rows).mean())


def test_bits_are_solved_one_by_one_to_where_no_turn_helps() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 6)).astype(np.float32)
    root = rng.normal(size=(6, 6))
    gram = (root @ root.T + np.eye(6)).astype(np.float32)
    scales = rng.uniform(0.5, 1.0, 6).astype(np.float32)
    bits = solved_bits(rows, scales, gram)

    def cost(codes: np.ndarray) -> np.ndarray:
        apart = rows - scales * codes
        pull = 0.02 * scales.mean() * delegates(np.where(rows >= 0, 1.0, -1.0).astype("f4"))
        return np.einsum("nk,kl,nl->n", apart, gram, apart) - 2 * (scales * codes * pull).sum(1)

    least = cost(bits)
    for k in range(6):
        turned = bits.copy()
        turned[:, k] *= -1
        assert (cost(turned) >= least - 1e-3).all()
    assert (least <= cost(np.where(rows >= 0, 1.0, -1.0)) + 1e-3).all()
    assert (bits != np.where(rows >= 0, 1.0, -1.0)).any()


def test_delegates_are_balanced_and_uncorrelated() -> None:
    bits = np.where(np.random.default_rng(0).normal(size=(50, 4)) > 0.3, 1.0, -1.0)
    y = delegates(bits.astype(np.float32))
    np.testing.assert_allclose(y.sum(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(y.T @ y, 50 * np.eye(4), atol=1e-2)


def test_a_solved_assignment_is_taken_only_where_the_owner_finds_it_no_worse() -> None:
    table = built("legcf", 4)
    device = moved(table, 1)
    assert table.searched(device, 1, lambda d: -float(d is not device)) is None
    found = table.searched(device, 1, lambda d: float(d is not device))
    assert found is not None
    whole = np.arange(N)
    roughness = []
    for held in (device, found):
        v = vectors(table, held)[whole[np.argsort(kindred_order(CITY))]]
        roughness.append(float(np.square(np.diff(v, axis=0)).mean()))
    assert roughness[1] < roughness[0]  # kindred items have come nearer to each other


@pytest.mark.parametrize("name", ["rule", "pee"])
@pytest.mark.parametrize("compression", [2, 10, 50])
def test_any_choice_of_blocks_keeps_the_budget_and_leaves_little_of_it(
    name: str, compression: int
) -> None:
    table = built(name, compression)
    rng = np.random.default_rng(compression)
    for _ in range(5):
        kept = table.kept(rng.random(16).astype(np.float32))
        assert table.fits(kept)
        for block in np.flatnonzero(~kept):
            more = kept.copy()
            more.flat[block] = True
            assert not table.fits(more)


def test_an_elastic_search_finds_the_blocks_that_pay() -> None:
    """Only the second block of the least popular group is of any use to this owner."""
    table = built("rule", 10)
    device = moved(table, 1)

    def quality(asked: Device) -> float:
        return float(table.present(asked.pieces)[3, 1])

    for round_ in range(40):
        device = table.searched(device, round_, quality) or device
    assert table.kept(device.pieces[:16])[3, 1]
    worth = device.pieces[16:32]
    assert worth.argmax() == 13


def test_orders_are_permutations_and_kindred_items_are_near() -> None:
    order = kindred_order(CITY)
    assert np.array_equal(np.sort(order), np.arange(N))
    assert np.array_equal(np.sort(random_order(CITY, "x")), np.arange(N))
    assert not np.array_equal(random_order(CITY, "x"), random_order(CITY, "y"))
    by_place = np.argsort(order)
    assert (np.diff(CITY.category[by_place]) >= 0).all()
    same = np.diff(CITY.category[by_place]) == 0
    xy = np.stack([CITY.latitude_deg, CITY.longitude_deg])[:, by_place]
    apart = np.abs(np.diff(xy)).sum(0)[same].mean()
    assert (
        apart < 0.2 * np.abs(xy[:, 1:][:, same] - np.roll(xy, 77, 1)[:, 1:][:, same]).sum(0).mean()
    )
    runs = np.bincount(cut(order, 7))
    assert runs.max() - runs.min() <= 1


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 12])
def test_codes_lie_without_gaps(width: int) -> None:
    codes = np.random.default_rng(width).integers(0, 1 << width, 101)
    data = bits_of(codes, width)
    assert len(data) == -(-101 * width // 8)
    assert np.array_equal(codes_of(data, width, 101), codes)


def test_sseds_keeps_columns_where_peers_keep_few_and_not_the_same() -> None:
    """No column has a majority: what most want is kept, or no row would learn or be stored."""
    table = built("sseds", 50)
    masks = np.zeros((9, table.n_pieces), np.float32)
    for peer in range(9):
        columns = masks[peer, : table.n_pieces // 2].reshape(-1, SIZE)
        columns[:, peer % 3] = 1.0
        columns[:, SIZE - 1] = peer == 0
    device = replace(moved(table, 1), pieces=masks.mean(0))
    assert budget_bytes(table) / 2 < table.pack(device).nbytes <= budget_bytes(table)
    assert set(np.flatnonzero(vectors(table, device).any(0))) == {0, 1, 2}
