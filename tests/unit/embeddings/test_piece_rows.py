"""Rows that items share: what reads them, how a step changes them, and whom a merge listens to."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2prec.collaboration.averaging import Average, average_together
from p2prec.collaboration.payload import ModelUpdate
from p2prec.data.city import generate_city
from p2prec.embeddings.table import ItemTable, PieceRows, Stored
from p2prec.embeddings.tables import TABLES, build_table
from p2prec.kernels import compiled, use_compiled
from p2prec.models.families import build_model
from p2prec.models.recommender import Task
from p2prec.models.tabled import SharedRows, Tabled, shared_rows
from p2prec.training.adagrad import per_example, update_vectors
from p2prec.training.config import TrainingConfig
from p2prec.training.knowledge import Knowledge, grouped

SHARING = ("cerp", "legcf", "qrt", "stp", "tt")
SIZE = 8
CITY = generate_city(rng=np.random.default_rng(5), n_users=4, n_places=500, days=60)
N_ITEMS = len(CITY.catalogue)


def rows_of(table: ItemTable) -> PieceRows:
    assert table.piece_rows is not None
    return table.piece_rows


def known(user: int, table: str, length: int = 30) -> Knowledge:
    model = build_model(
        CITY.catalogue,
        family="mf",
        embedding_size=SIZE,
        task=Task.RANKING,
        table=table,
        compression=4,
    )
    return Knowledge(
        CITY.catalogue, model, TrainingConfig(), CITY.interactions.history(user).head(length)
    )


def shared_of(peer: Knowledge) -> SharedRows:
    found = shared_rows(peer.model)
    assert found is not None
    return found


def vectors_of(table: ItemTable, items: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    n = len(items)
    return table.compose(
        Stored(
            items=items,
            owner=np.zeros(n, np.int64),
            rows=np.zeros((n, table.row_width), np.float32),
            others=np.zeros(n, np.float32),
            pieces=pieces[None],
        )
    )[0]


def test_all_tables_without_rows_of_their_own_say_what_items_read() -> None:
    for name in TABLES:
        smallest = 1 if TABLES[name].smallest == 1 else 4
        table = build_table(CITY.catalogue, table=name, size=SIZE, compression=smallest)
        assert (table.piece_rows is not None) == (name in SHARING)
        assert table.piece_rows is not None or table.row_width > 0


@pytest.mark.parametrize("name", SHARING)
def test_a_vector_is_made_of_the_rows_that_its_item_reads(name: str) -> None:
    table = build_table(CITY.catalogue, table=name, size=SIZE, compression=4)
    rows, start = rows_of(table), table.initial_pieces()
    assert rows.bounds[0] == 0
    assert (rows.widths > 0).all()
    assert rows.bounds[-1] <= table.n_pieces
    for item in (0, 17, N_ITEMS - 1):
        asked = np.array([item])
        before = vectors_of(table, asked, start)
        read = np.zeros(len(rows.widths), np.bool_)
        read[rows.of_item[item]] = True
        inside = np.zeros(table.n_pieces, np.bool_)
        inside[: rows.bounds[-1]] = np.repeat(read, rows.widths)
        elsewhere = ~inside
        elsewhere[rows.bounds[-1] :] = False
        assert np.array_equal(
            vectors_of(table, asked, start + elsewhere.astype(np.float32)), before
        )
        for row in rows.of_item[item]:
            moved = start.copy()
            moved[rows.bounds[row] : rows.bounds[row + 1]] += 0.5
            assert not np.allclose(vectors_of(table, asked, moved), before)


@pytest.mark.parametrize("compression", [4, 10, 20])
def test_quotients_of_one_row_start_in_all_directions(compression: int) -> None:
    """Factors near one would leave items that share a row of the first table alike."""
    table = build_table(CITY.catalogue, table="qrt", size=64, compression=compression)
    vectors = vectors_of(table, np.arange(N_ITEMS), table.initial_pieces())
    length = np.linalg.norm(vectors, axis=1)
    assert abs(length.mean() - 0.5) < 0.05
    first = rows_of(table).of_item[:, 0]
    cosines = (vectors @ vectors.T) / np.outer(length, length)
    kin = (first[:, None] == first) & ~np.eye(N_ITEMS, dtype=np.bool_)
    assert np.abs(cosines[kin]).mean() < 0.4


@pytest.mark.parametrize("row_optimizer", ["adagrad", "sgd"])
@pytest.mark.parametrize("name", SHARING)
def test_a_step_changes_what_it_has_read(
    name: str, row_optimizer: Literal["adagrad", "sgd"]
) -> None:
    """Against loops over rows in double precision; two peers at once."""
    peers = [known(user, name) for user in (0, 1)]
    shared, config = shared_of(peers[0]), replace(peers[0].config, row_optimizer=row_optimizer)
    rng = np.random.default_rng(3)
    [group] = grouped(peers)
    stack = group.stack
    n_dense = stack.dense.shape[1]
    stack.dense[:, shared.part] += rng.normal(0, 0.1, shared.start.shape).astype(np.float32)
    summed = rng.normal(0, 0.1, (2, n_dense)).astype(np.float32)
    widths = shared.rows.widths
    read = rng.random((2, len(widths))) < 0.4
    summed[:, shared.part] *= np.repeat(read, widths, axis=1)
    before = stack.dense.copy()
    sums = stack.shelf.dense_accumulator[stack.seats].astype(np.float64)
    sizes = np.array([[4.0], [8.0]], np.float32)
    gradient = per_example(group.model, summed, sizes)
    plain = np.ones(n_dense, np.bool_)
    plain[shared.part] = False
    assert np.array_equal(gradient[:, plain], (summed / sizes)[:, plain])
    private = np.zeros((2, stack.private.shape[1]), np.float32)
    update_vectors(stack, group.model, config, dense=gradient, private=private)
    rate = config.learning_rate * group.model.row_rate
    first = shared.part.start
    for peer in range(2):
        for row, (begin, end) in enumerate(pairwise((shared.rows.bounds + first).tolist())):
            now, then = stack.dense[peer, begin:end], before[peer, begin:end]
            if not read[peer, row]:
                assert np.array_equal(now, then)  # nothing pulls it back
                continue
            start = shared.start[begin - first : end - first]
            whole = summed[peer, begin:end] + config.reg * (then - start).astype(np.float64)
            total, step = (
                sums[peer, begin],
                rate * shared.rates[begin - first : end - first] * whole,
            )
            if row_optimizer == "adagrad":
                total += np.square(whole).mean()
                step /= np.sqrt(total)
            np.testing.assert_allclose(now, then - step, rtol=1e-4, atol=1e-6)
            accumulated = stack.shelf.dense_accumulator[stack.seats[peer], begin:end]
            np.testing.assert_allclose(accumulated, total, rtol=1e-5)


def said(peer: Knowledge, rows: np.ndarray, evidence: np.ndarray, dense: np.ndarray) -> ModelUpdate:
    values = np.zeros((len(rows), peer.model.width), np.float32)
    return ModelUpdate(
        round=0,
        model=peer.model.name,
        rows=rows.astype(np.uint32),
        values=values,
        evidence=evidence.astype(np.float32),
        dense=dense.astype(np.float32),
        degree=2,
    )


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(SHARING),
    seed=st.integers(0, 2**31),
    dilution=st.sampled_from([0.0, 0.5, 1.0]),
    own=st.sampled_from([0.0, 0.2, 0.5]),
)
def test_who_knows_no_item_of_a_row_is_not_listened_to(
    name: str, seed: int, dilution: float, own: float
) -> None:
    """Against loops over rows; compiled or not, byte for byte."""
    rng, before = np.random.default_rng(seed), compiled() is not None
    weights = [(1.0 - own) * 0.4, (1.0 - own) * 0.6]
    updates, results = [], []
    try:
        for wanted in (False, True):
            use_compiled(wanted=wanted)
            peer = known(2, name)
            shared = shared_of(peer)
            mine = dict(zip(peer.table.rows.tolist(), peer.table.evidence.tolist(), strict=True))
            if not updates:
                for _ in weights:
                    rows = np.sort(rng.choice(N_ITEMS, 25, replace=False))
                    dense = peer.dense + rng.normal(0, 0.1, peer.dense.shape)
                    updates.append(said(peer, rows, rng.integers(0, 40, 25), dense))
            peer.dense[shared.part] += np.float32(0.05)
            own_values = peer.dense[shared.part].astype(np.float64)
            average = Average(
                knowledge=peer,
                updates=updates,
                weights=weights,
                own_weight=own,
                dilution=dilution,
                max_hearsay=1_000,
            )
            average_together([average])
            results.append(peer.dense.copy())
    finally:
        use_compiled(wanted=before)
    assert np.array_equal(*results)
    voices = [(own, mine, own_values)]
    for weight, update in zip(weights, updates, strict=True):
        told = np.minimum(update.evidence, 16.0).tolist()
        voices.append(
            (
                weight,
                dict(zip(update.rows.tolist(), told, strict=True)),
                update.dense[shared.part].astype(np.float64),
            )
        )
    readers: list[list[int]] = [[] for _ in shared.rows.widths]
    for item, read in enumerate(shared.rows.of_item.tolist()):
        for row in read:
            readers[row].append(item)
    for row, (begin, end) in enumerate(pairwise(shared.rows.bounds.tolist())):
        mass = [w * sum(knows.get(item, 0.0) for item in readers[row]) for w, knows, _ in voices]
        parts = [values[begin:end] for _, _, values in voices]
        if sum(mass) == 0:
            wanted_row = sum(w * part for (w, _, _), part in zip(voices, parts, strict=True))
        else:
            mean = sum(m * part for m, part in zip(mass, parts, strict=True)) / sum(mass)
            present = sum(w for (w, _, _), m in zip(voices, mass, strict=True) if m > 0)
            share = present / (present + dilution * (1.0 - present))
            wanted_row = share * mean + (1.0 - share) * shared.start[begin:end]
        found = results[0][shared.part][begin:end]
        np.testing.assert_allclose(found, wanted_row, rtol=1e-4, atol=1e-5)


def test_models_without_such_rows_have_none() -> None:
    for table, compression in (("full", 1), ("codes", 4), ("hashgnn", 4)):
        model = build_model(
            CITY.catalogue,
            family="fm",
            embedding_size=SIZE,
            task=Task.RANKING,
            table=table,
            compression=compression,
        )
        assert isinstance(model, Tabled)
        assert shared_rows(model) is None
        summed, sizes = np.ones((1, model.n_dense), np.float32), np.full((1, 1), 4.0, np.float32)
        assert (per_example(model, summed, sizes) == 0.25).all()
