"""The model that learns (torch) and the model that recommends (NumPy) are one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from steps import step_of

from p2prec.data.catalogue import Catalogue
from p2prec.data.city import generate_city
from p2prec.data.interactions import History
from p2prec.embeddings.initial import initial_table
from p2prec.embeddings.quotient_remainder import QuotientRemainder
from p2prec.models.explored import Explored, together
from p2prec.models.moments import Timeline
from p2prec.models.next_place_features import Surroundings
from p2prec.models.next_place_model import NextPlaceModel
from p2prec.models.popularity import share_of
from p2prec.models.recommender import Task
from p2prec.models.shelf import Shelf
from p2prec.models.table import BIAS, OTHERS, RowTable
from p2prec.models.tabled import Composed, Ready
from p2prec.training.config import TrainingConfig
from p2prec.training.knowledge import Knowledge, grouped


@pytest.fixture
def world() -> tuple[Catalogue, History]:
    rng = np.random.default_rng(3)
    n = 60
    catalogue = Catalogue.build(
        item_ids=[str(i) for i in range(n)],
        latitude_deg=rng.normal(40.7, 0.05, n),
        longitude_deg=rng.normal(-74.0, 0.05, n),
        category_names=[["Bar", "Office", "Park", ""][i % 4] for i in range(n)],
    )
    times = np.sort(rng.integers(1_600_000_000, 1_606_000_000, 50))
    history = History(
        item=rng.integers(0, 12, 50).astype(np.int32),
        timestamp_s=times.astype(np.int64),
        rating=np.ones(50, np.float32),
    )
    return catalogue, history


def test_scores_equal_the_training_formula(world: tuple[Catalogue, History]) -> None:
    catalogue, history = world
    model = NextPlaceModel(catalogue, 8, Task.RANKING)
    rng = np.random.default_rng(0)
    table = np.abs(rng.normal(0, 0.5, (len(catalogue), model.width))).astype(np.float32)
    dense = rng.normal(0, 0.5, model.n_dense).astype(np.float32)
    dense[model.statistics] = np.abs(dense[model.statistics])  # counts are not negative
    now = int(history.timestamp_s[-1]) + 7_200
    moment = Timeline(catalogue, history).moment(len(history), now)
    view = Surroundings(catalogue).of(moment)
    heard = dense[model.statistics].sum()
    ready = Ready(
        source=Composed(table[:, :OTHERS]),
        bias=table[:, BIAS],
        shares=share_of(table[:, OTHERS], heard),
        dense=dense,
        private=np.empty(0, np.float32),
    )
    scores = model.scores(ready, moment, view)
    assert np.exp(scores).sum() == pytest.approx(1.0, abs=1e-4)

    stranger = next(i for i in range(len(catalogue)) if i not in moment.own)
    everything = np.arange(len(catalogue), dtype=np.int32)[None]
    allowed = ~np.isin(everything, moment.own)
    target = (everything == stranger).astype(np.float32)
    example = Explored(
        moments=[moment],
        candidates=everything,
        target=target,
        allowed=allowed,
        weight=np.ones(1, np.float32),
    )
    several = together([example], n_items=len(catalogue))
    assert several is not None
    d = torch.from_numpy(dense)[None]
    explore = model.explore_loss(torch.from_numpy(table[several.keys]), d, several)
    gate_new = model.return_loss(d, [moment], np.array([stranger], np.int32))
    assert float(scores[stranger]) == pytest.approx(-float(explore + gate_new), abs=1e-4)
    known = int(moment.own[0])
    assert float(scores[known]) == pytest.approx(
        -float(model.return_loss(d, [moment], np.array([known], np.int32))), abs=1e-4
    )


def test_initial_rows_are_a_pure_function_of_the_realm() -> None:
    small = initial_table(b"x" * 32, "items", 10, 9)
    large = initial_table(b"x" * 32, "items", 3_000, 9)
    assert (large[:10] == small).all()
    assert (initial_table(b"y" * 32, "items", 10, 9) != small)[:, :-2].all()
    assert (small[:, -1] == 0).all()


def test_a_row_table_holds_only_what_was_touched() -> None:
    initial = initial_table(b"x" * 32, "items", 50, 5)
    shelf = Shelf(initial, n_dense=0, n_private=0, accumulator=0.1)
    table, other = (RowTable(shelf, int(seat)) for seat in shelf.open(2))
    slots = table.touch(np.array([7, 3]))
    table.values[slots] += 1.0
    assert len(table.rows) == 2
    assert np.allclose(table.gather(np.array([3, 4, 7])), table.dense()[[3, 4, 7]])
    assert np.allclose(table.gather(np.array([4])), table.initial[4])
    other.restore(**table.state())  # type: ignore[arg-type]
    assert (other.dense() == table.dense()).all()


def test_a_moment_never_sees_the_future(world: tuple[Catalogue, History]) -> None:
    catalogue, history = world
    now = float(history.timestamp_s[20])
    late = Timeline(catalogue, history).moment(20, now)
    early = Timeline(catalogue, history.head(20)).moment(20, now)
    assert (late.own == early.own).all()
    assert np.allclose(late.returning, early.returning)
    assert np.allclose(late.gate, early.gate)
    assert (late.tried == early.tried).all()


def test_over_a_compact_table_gradients_are_those_of_differences() -> None:
    city = generate_city(rng=np.random.default_rng(1), n_users=1, n_places=120, days=120)
    table = QuotientRemainder(city.catalogue, 8, 4)
    model = NextPlaceModel(city.catalogue, 8, Task.RANKING, table)
    peer = Knowledge(city.catalogue, model, TrainingConfig(), city.interactions.history(0).head(40))
    step = step_of([peer], [np.arange(3, 30)], [None], negatives=6)
    pieces = model.layout.part("pieces")

    def loss(change: np.ndarray) -> tuple[float, np.ndarray]:
        [group] = grouped([peer])
        group.stack.dense[0, pieces] += change
        found = model.gradients(group.stack, step)
        return float(found.loss[0]), found.dense[0, pieces]

    gradient = loss(np.zeros(table.n_pieces, np.float32))[1]
    assert np.abs(gradient).max() > 0.01
    for seed in range(3):
        way = np.random.default_rng(seed).normal(0, 1e-2, table.n_pieces).astype(np.float32)
        measured = (loss(way)[0] - loss(-way)[0]) / 2
        assert measured == pytest.approx(float(gradient @ way), rel=0.05, abs=2e-3)
