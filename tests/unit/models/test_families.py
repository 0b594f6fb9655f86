"""What every model family promises to the rest; a new one inherits these tests."""

from __future__ import annotations

import numpy as np
import pytest
from steps import step_of

from p2prec.data.city import generate_city
from p2prec.models.families import EMBEDDED, build_model
from p2prec.models.families import FAMILIES as KNOWN
from p2prec.models.model import Model
from p2prec.models.recommender import Task
from p2prec.models.table import OTHERS
from p2prec.training.adagrad import update_rows
from p2prec.training.config import TrainingConfig
from p2prec.training.epoch import Pupil, train_epoch
from p2prec.training.knowledge import Knowledge, grouped

CITY = generate_city(rng=np.random.default_rng(1), n_users=2, n_places=120, days=120)
FAMILIES = [
    (name, task, table)
    for name, family in KNOWN.items()
    for task in sorted(family.tasks)
    for table in ("full-1", "qrt-4")
    if table == "full-1" or name in EMBEDDED
]
pytestmark = pytest.mark.parametrize(("family", "task", "table"), FAMILIES)


def built(family: str, task: Task, table: str) -> Model:
    name, compression = table.split("-")
    return build_model(
        CITY.catalogue,
        family=family,
        embedding_size=8,
        task=task,
        table=name,
        compression=int(compression),
    )


def trained(family: str, task: Task, table: str) -> Knowledge:
    history = CITY.interactions.history(0).head(40)
    peer = Knowledge(
        CITY.catalogue, built(family, task, table), TrainingConfig(negatives=6), history
    )
    for epoch in range(3):
        train_epoch([Pupil(knowledge=peer, key=np.uint64(epoch))])
    return peer


def test_the_starting_point_is_the_same_for_all(family: str, task: Task, table: str) -> None:
    a, b = built(family, task, table), built(family, task, table)
    assert np.array_equal(a.initial_dense(), b.initial_dense())
    assert a.initial_dense().shape == a.dense_rates(explore_rate=0.3).shape == (a.n_dense,)
    assert a.initial_dense().dtype == np.float32
    assert a.own_bent.shape == (a.n_dense,)
    assert ((a.own_bent >= 0) & (a.own_bent <= 1)).all()
    assert a.name == b.name
    assert a.name.startswith(f"{family}/8")


def test_statistics_are_shares_that_training_leaves_alone(
    family: str, task: Task, table: str
) -> None:
    peer = trained(family, task, table)
    model = peer.model
    assert model.initial_private(peer.timeline).shape == peer.private.shape
    said = model.own_statistics(peer.timeline)
    assert said.shape == peer.dense[model.statistics].shape
    assert (said >= 0).all()
    assert said.sum() <= 1 + 1e-5
    assert np.array_equal(peer.dense[model.statistics], model.initial_dense()[model.statistics])
    assert not model.dense_rates(explore_rate=1.0)[model.statistics].any()


def test_gradients_name_what_they_are_about(family: str, task: Task, table: str) -> None:
    peer = trained(family, task, table)
    step = step_of([peer], [np.arange(peer.model.first, 11)], [None], negatives=6)
    before = peer.table.dense()
    [group] = grouped([peer])
    found = peer.model.gradients(group.stack, step)
    assert found.loss.shape == (1,)
    assert found.dense.shape == (1, peer.model.n_dense)
    assert found.private.shape == (1, peer.model.n_private)
    for part in found.rows:
        assert (np.diff(part.keys) > 0).all()
        assert part.gradient.shape == (len(part.keys), peer.model.width)
        assert part.known[part.seen > 0].all()
    assert np.array_equal(peer.table.dense(), before)  # a step is applied by others


def test_a_step_on_rows_is_that_on_a_whole_table(family: str, task: Task, table: str) -> None:
    """What a step names are all rows that the loss depends on; they go as dense Adagrad would.

    A ranker names none: the biases that it reads are what others have taught. Sessions are
    remembered, not learned by steps.
    """
    model, history = built(family, task, table), CITY.interactions.history(0).head(40)
    peer = Knowledge(CITY.catalogue, model, TrainingConfig(negatives=6, reg=0.05), history)
    peer.table.touch(np.arange(len(CITY.catalogue)))
    step = step_of([peer], [np.arange(model.first, 30)], [None], negatives=6)

    def loss(change: np.ndarray) -> float:
        peer.table.values[:] += change
        [group] = grouped([peer])
        found = float(model.gradients(group.stack, step).loss[0])
        peer.table.values[:] -= change
        return found

    [group] = grouped([peer])
    found = model.gradients(group.stack, step)
    dense = np.zeros((len(CITY.catalogue), model.width), np.float32)
    for part in found.rows:
        dense[part.keys] += part.gradient
    assert bool(found.rows) == (family not in {"ranker", "session_knn"})
    for seed in range(3 if found.rows else 0):
        way = np.random.default_rng(seed).normal(0, 1e-2, dense.shape).astype(np.float32)
        way[:, OTHERS] = 0.0  # a statistic
        measured = (loss(way) - loss(-way)) / 2
        assert measured == pytest.approx(float((dense * way).sum()), rel=0.05, abs=5e-3)
    before = peer.table.values.copy()
    [group] = grouped([peer])
    for part in found.rows:
        update_rows(group.stack, model, peer.config, part)
    group.stack.store()
    change = peer.table.values - before
    met = np.isin(np.arange(len(dense)), peer.timeline.own)
    sums = 1e-3 + np.square(dense).mean(1, keepdims=True)
    expected = -peer.config.learning_rate * model.row_rate * dense / np.sqrt(sums)
    np.testing.assert_allclose(change[met], expected[met], rtol=1e-2, atol=1e-4)
    assert not change[~met].any()
    assert dense[met].any() == bool(found.rows)


def test_an_outlook_scores_decides_and_explains(family: str, task: Task, table: str) -> None:
    peer = trained(family, task, table)
    observe, n = peer.model.observer(), len(CITY.catalogue)
    moment = peer.timeline.moment(len(peer.timeline), float(peer.timeline.time_s[-1] + 3_600))
    for situation in (moment, None):
        outlook = observe(peer.parameters(), situation)
        scores = outlook.scores()
        assert scores.shape == (n,)
        assert np.isfinite(scores).all()
        logs = outlook.explore_log_probabilities()
        assert np.exp(logs).sum() == pytest.approx(1.0, abs=1e-4)
        reasons = outlook.reasons(int(scores.argmax()))
        assert reasons
        assert all(np.isfinite(weight) for weight in reasons.values())
    assert not np.exp(observe(peer.parameters(), moment).explore_log_probabilities())[
        moment.own
    ].any()
