"""A cohort's rounds are those of its learners with a message for each who hears another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from p2prec.data.city import generate_city
from p2prec.errors import ConfigError
from p2prec.kernels import compiled, use_compiled
from p2prec.models.recommender import Task
from p2prec.training import knowledge
from p2prec.training.cohort import Cohort
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.local import LocalLearner, payloads_together, train_together
from scenarios.in_step import exchange

N = 7
CITY = generate_city(rng=np.random.default_rng(3), n_users=N, n_places=90, days=60)


def learners(
    task: Task,
    lengths: list[int],
    *,
    method: str = "epidemic",
    table: str = "full",
    compression: int = 1,
    share: float = 1.0,
    **options: float,
) -> list[LocalLearner]:
    config = LearnerConfig(
        model=ModelConfig(
            family="mf", embedding_size=4, task=task, table=table, compression=compression
        ),
        training=TrainingConfig(
            epochs=2, example_share=share, batch_size=7, negatives=3, max_examples=30
        ),
        collaboration=CollaborationConfig(method=method, options=options),
        protection=ProtectionConfig(method="none"),
    )
    return [
        LocalLearner(
            CITY.catalogue, config, history=CITY.interactions.history(user).head(n), seed=user
        )
        for user, n in enumerate(lengths)
    ]


def arrows(hears: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    firsts = np.cumsum([0, *map(len, hears)])
    return firsts, np.array([j for heard in hears for j in heard], np.int64)


def same(some: LocalLearner, other: LocalLearner) -> None:
    theirs = other.state()
    for name, value in some.state().items():
        assert value.tobytes() == theirs[name].tobytes(), name


@pytest.fixture(params=[False, True], ids=["numpy", "compiled"])
def _loops(request: Any) -> Any:
    before = compiled() is not None
    if use_compiled(wanted=request.param) is not request.param:
        pytest.skip("numba is not installed")
    yield
    use_compiled(wanted=before)


HEARS = st.lists(
    st.lists(st.integers(0, N - 1), max_size=3, unique=True), min_size=N, max_size=N
).map(lambda hears: [[j for j in heard if j != i] for i, heard in enumerate(hears)])


@pytest.mark.usefixtures("_loops")
@settings(max_examples=25, deadline=None)
@given(
    task=st.sampled_from(list(Task)),
    lengths=st.lists(st.integers(0, 60), min_size=N, max_size=N),
    rounds=st.lists(HEARS, min_size=1, max_size=3),
    max_rows=st.sampled_from([10.0, 90.0]),
    max_hearsay=st.sampled_from([4.0, 90.0]),
    dilution=st.sampled_from([0.0, 0.5]),
    share=st.sampled_from([1.0, 0.4]),
    longer=st.booleans(),
    seats=st.sampled_from([2, 128]),
)
def test_a_round_in_arrays_is_a_round_of_messages_bit_for_bit(
    *,
    task: Task,
    lengths: list[int],
    rounds: list[list[list[int]]],
    max_rows: float,
    max_hearsay: float,
    dilution: float,
    share: float,
    longer: bool,
    seats: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knowledge, "MAX_SEATS", seats)  # of a shelf: peers sit on several
        options = {"max_rows": max_rows, "max_hearsay": max_hearsay, "dilution": dilution}
        told, counted = (learners(task, lengths, share=share, **options) for _ in range(2))
        cohort = Cohort(counted)
        for round_, hears in enumerate(rounds):
            exchange(told, round_, hears, degree=1)
            cohort.round(round_, *arrows(hears))
            said = cohort.said(round_)
            assert sum(len(part.counts) for part in said) == N
            assert sorted(cohort.spoken.tolist()) == list(range(N))
            if longer:  # the owner of one goes on meeting items between two rounds
                for peers in (told, counted):
                    peers[2].add(CITY.interactions.history(2).head(60 + round_))
        for some, other in zip(told, counted, strict=True):
            same(some, other)


@pytest.mark.parametrize("table", ["pep", "amtl", "codes"])
def test_tables_are_searched_for_as_by_learners_one_by_one(table: str) -> None:
    told, counted = (learners(Task.CLICK, [40] * N, table=table, compression=2) for _ in range(2))
    cohort, hears = Cohort(counted), [[(i + 1) % N, (i + 3) % N] for i in range(N)]
    for round_ in range(4):
        exchange(told, round_, hears, degree=1)
        cohort.round(round_, *arrows(hears))
    for some, other in zip(told, counted, strict=True):
        same(some, other)


def test_what_was_said_is_what_the_messages_hold() -> None:
    told, counted = (learners(Task.CLICK, [30] * N, max_rows=20.0) for _ in range(2))
    cohort = Cohort(counted)
    train_together(told, [0] * N)
    messages = payloads_together(told, [0] * N, degrees=[1] * N)
    cohort.round(0, *arrows([[]] * N))
    said = cohort.said(0)
    updates = [u for part in said for u in part.updates([0] * len(part.counts), [1] * N)]
    for i, update in zip(cohort.spoken.tolist(), updates, strict=True):
        [message] = messages[i]
        assert np.array_equal(update.rows, message.rows)  # type: ignore[union-attr]
        assert update.values.tobytes() == message.values.tobytes()  # type: ignore[union-attr]


def test_who_does_not_average_with_equal_weights_is_no_cohort() -> None:
    with pytest.raises(ConfigError, match="equal weights"):
        Cohort(learners(Task.CLICK, [30] * N, method="metropolis_hastings"))
    mixed = learners(Task.CLICK, [30] * N)[:-1] + learners(Task.RATING, [30] * N)[-1:]
    with pytest.raises(ConfigError, match="one model"):
        Cohort(mixed)
