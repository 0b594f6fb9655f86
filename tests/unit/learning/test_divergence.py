"""Trainings that diverge: what is no number any more begins anew, the rest stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from p2prec.data.city import generate_city
from p2prec.kernels import compiled, use_compiled
from p2prec.models.recommender import Context, Task
from p2prec.training.cohort import Cohort
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.local import LocalLearner, train_together

N = 4
CITY = generate_city(rng=np.random.default_rng(3), n_users=N, n_places=90, days=60)
NOW = Context(timestamp_s=1_800_000_000)


def learners(task: Task = Task.RATING, *, learning_rate: float = 0.01) -> list[LocalLearner]:
    config = LearnerConfig(
        model=ModelConfig(family="mf", embedding_size=4, task=task),
        training=TrainingConfig(
            epochs=2, negatives=3, learning_rate=learning_rate, row_optimizer="sgd"
        ),
        collaboration=CollaborationConfig(method="epidemic"),
        protection=ProtectionConfig(method="none"),
    )
    return [
        LocalLearner(CITY.catalogue, config, history=CITY.interactions.history(i), seed=i)
        for i in range(N)
    ]


def finite(peer: LocalLearner) -> bool:
    return all(np.isfinite(part).all() for part in peer.state().values())


def same(some: LocalLearner, other: LocalLearner) -> bool:
    theirs = other.state()
    return all(part.tobytes() == theirs[name].tobytes() for name, part in some.state().items())


def spoil(peer: LocalLearner) -> None:
    """Let the next steps diverge by what one of the owner's rows is."""
    table = peer.knowledge.table
    table.values[np.flatnonzero(table.own)[0]] = np.inf


@pytest.fixture(params=[False, True], ids=["numpy", "compiled"])
def _loops(request: Any) -> Any:
    before = compiled() is not None
    if use_compiled(wanted=request.param) is not request.param:
        pytest.skip("numba is not installed")
    with np.errstate(over="ignore", invalid="ignore"):
        yield
    use_compiled(wanted=before)


@pytest.mark.usefixtures("_loops")
@pytest.mark.parametrize("task", list(Task))
def test_who_diverges_begins_anew_and_nobody_else_does(task: Task) -> None:
    peers, alone = learners(task), learners(task)
    train_together(peers, [0] * N)
    train_together(alone, [0] * N)
    spoil(peers[1])
    reports = train_together(peers, [1] * N)
    train_together(alone, [1] * N)
    assert [report.diverged for report in reports] == [i == 1 for i in range(N)]
    assert finite(peers[1])
    assert [same(*both) for both in zip(peers, alone, strict=True)] == [i != 1 for i in range(N)]
    [report] = train_together([peers[1]], [2])
    assert not report.diverged
    assert np.isfinite(report.loss)
    assert len(peers[1].recommend(NOW, len(CITY.catalogue), new_only=False)) == len(CITY.catalogue)


@pytest.mark.usefixtures("_loops")
def test_rates_that_are_too_high_leave_numbers_after_each_round() -> None:
    peers = learners(learning_rate=10.0)
    diverged = 0
    for round_ in range(6):
        diverged += sum(report.diverged for report in train_together(peers, [round_] * N))
        assert all(finite(peer) for peer in peers)
    assert diverged


@pytest.mark.usefixtures("_loops")
def test_a_row_that_diverged_alone_is_as_one_that_was_only_visited() -> None:
    [peer, *_] = learners()
    peer.train(0)
    others = np.setdiff1d(np.arange(len(CITY.catalogue)), peer.knowledge.table.rows)
    [heard] = peer.knowledge.table.touch(others[:1])
    table = peer.knowledge.table
    for place, left in ((int(heard), 0.0), (int(np.flatnonzero(table.own)[0]), 1.0)):
        table.evidence[place] = 7.0
        table.values[place, 0] = np.inf
        peer.knowledge.mend()
        assert np.array_equal(table.values[place], table.initial[table.rows[place]])
        assert table.evidence[place] == left


@pytest.mark.usefixtures("_loops")
def test_a_cohort_spreads_nothing_that_is_no_number() -> None:
    peers = learners()
    cohort, firsts = Cohort(peers), np.arange(0, 2 * N + 1, 2)
    senders = np.array([[(i + 1) % N, (i + 2) % N] for i in range(N)]).ravel()
    cohort.round(0, firsts, senders)
    spoil(peers[0])
    cohort.round(1, firsts, senders)
    assert all(finite(peer) for peer in peers)


@pytest.mark.parametrize(
    "name",
    ["values", "accumulator", "evidence", "dense", "dense_accumulator", "private",
     "private_accumulator"],
)  # fmt: skip
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_an_earlier_run_stored_is_mended(name: str, number: float) -> None:
    peer, again = learners()[0], learners()[0]
    peer.train(0)
    state = peer.state()
    state[name].ravel()[-1:] = number
    again.restore(state)
    assert finite(again)
    assert not again.train(1).diverged
    state = peer.state()
    again.restore(state)  # what is all numbers stays as it is
    assert same(peer, again)
