"""Votes of sessions against a plain computation, and what is asked where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.evaluation.baselines import BASELINES
from p2prec.limits import MAX_SESSION_ITEMS
from p2prec.models.families import build_model
from p2prec.models.model import Parameters
from p2prec.models.moments import Timeline
from p2prec.models.recommender import Context, Task
from p2prec.models.sessions import (
    NO_SESSIONS,
    Neighbours,
    Sessions,
    are_sessions,
    first_met,
    lately,
    session_of,
    sessions_of,
    stretches,
)

N = 12
SETS = st.lists(st.sets(st.integers(0, N - 1), min_size=1, max_size=6), max_size=9)
HISTORIES = st.lists(st.integers(0, N - 1), min_size=1, max_size=40)
CATALOGUE = Catalogue.build(
    item_ids=[str(i) for i in range(N)],
    latitude_deg=[float("nan")] * N,
    longitude_deg=[float("nan")] * N,
    category_names=["Film"] * N,
)


def plain_votes(sessions: list[set[int]], newest_first: list[int]) -> list[float]:
    """The formula of ``p2prec.models.sessions``, term by term."""
    rarity = [(sum(i in s for s in sessions) + 5.0) ** -0.5 for i in range(N)]
    return [
        rarity[j]
        * sum(
            rarity[i] * 0.75 ** newest_first.index(i)
            for s in sessions
            if j in s
            for i in s
            if i in newest_first
        )
        for j in range(N)
    ]


@given(SETS, HISTORIES)
def test_votes_are_those_of_the_formula(sessions: list[set[int]], history: list[int]) -> None:
    held = Sessions.of([np.array(sorted(s)) for s in sessions])
    newest = lately(np.array(history))
    assert newest.tolist() == list(dict.fromkeys(history[::-1]))
    found = Neighbours(held, N).scores(newest)
    assert np.allclose(found, plain_votes(sessions, newest.tolist()), rtol=1e-5, atol=1e-7)


@given(SETS, HISTORIES)
def test_shares_are_probabilities(sessions: list[set[int]], history: list[int]) -> None:
    held = Neighbours(Sessions.of([np.array(sorted(s)) for s in sessions]), N)
    votes, popular = held.shares(lately(np.array(history)), held.counts)
    assert (votes >= 0).all()
    assert (popular > 0).all()
    assert float(votes.sum() + popular.sum()) == pytest.approx(1.0, abs=1e-5)


@given(st.integers(1, 70), st.integers(0, 50), st.integers(1, 40))
def test_a_history_falls_into_stretches_and_less_than_half_a_one_waits(
    n: int, since: int, length: int
) -> None:
    since = min(since, n)
    parts = stretches(np.arange(n), length, since=since)
    told = [i for part in parts for i in part.tolist()]
    assert told == list(range(since, since + len(told)))
    assert all(len(part) == length for part in parts[:-1])
    assert all(2 * len(part) >= length for part in parts)
    assert 2 * (n - since - len(told)) < length


@given(SETS)
def test_sessions_that_were_joined_come_apart_again(sessions: list[set[int]]) -> None:
    held = Sessions.of([np.array(list(s)) for s in sessions])
    assert len(held) == len(sessions)
    assert are_sessions(held.items, held.lengths, N)
    assert tuple(sessions_of(b"".join(held.told), held.lengths)) == held.told


@pytest.mark.parametrize(
    ("items", "lengths"),
    [
        ([1, 1], [2]),
        ([2, 1], [2]),
        ([1, 2], [1]),
        ([1, 2], [2, 0]),
        ([1, N], [2]),
        ([], [1]),
        (list(range(MAX_SESSION_ITEMS + 1)), [MAX_SESSION_ITEMS + 1]),
    ],
)
def test_what_is_no_session_is_seen(items: list[int], lengths: list[int]) -> None:
    n_items = N if len(items) <= N else 1_000
    assert not are_sessions(np.array(items, np.uint32), np.array(lengths, np.uint8), n_items)


def look(sessions: Sessions, history: list[int], popular: list[float]) -> np.ndarray:
    model = build_model(CATALOGUE, family="session_knn", embedding_size=8, task=Task.RANKING)
    past = History(
        item=np.array(history, np.int32),
        timestamp_s=np.arange(len(history), dtype=np.int64) * 1_000,
        rating=np.ones(len(history), np.float32),
    )
    table = np.zeros((N, 2), np.float32)
    table[:, 0] = popular
    parameters = Parameters(
        table=table,
        dense=np.zeros(0, np.float32),
        private=np.zeros(0, np.float32),
        sessions=sessions,
    )
    moment = Timeline(CATALOGUE, past).moment(len(history), 1e6) if history else None
    return model.observer()(parameters, moment).scores()


def test_the_model_ranks_as_the_baseline_with_the_same_sessions() -> None:
    rng = np.random.default_rng(0)
    pasts = [
        History(
            item=rng.integers(0, N, 40).astype(np.int32),
            timestamp_s=np.arange(40, dtype=np.int64),
            rating=np.ones(40, np.float32),
        )
        for _ in range(6)
    ]
    baseline = BASELINES["session_knn"](CATALOGUE, pasts)
    told = Sessions.of([part for past in pasts for part in stretches(first_met(past.item), 16)])
    assert len(told) > 3
    asked = [3, 5, 3, 7, 1]
    history = History(
        item=np.array(asked, np.int32),
        timestamp_s=np.arange(5, dtype=np.int64),
        rating=np.ones(5, np.float32),
    )
    expected = baseline.scores(history, Context(timestamp_s=9))
    found = look(told, asked, told.counts(N).tolist())
    assert np.allclose(np.exp(found), expected, atol=1e-6)


def test_who_was_told_of_nothing_is_shown_what_is_popular() -> None:
    popular = [float(i) for i in range(N)]
    for sessions, history in (
        (NO_SESSIONS, [0, 1]),
        (Sessions.of([np.array([2, 3])]), [0, 1]),  # none of it is in a session
        (NO_SESSIONS, []),
    ):
        assert look(sessions, history, popular).argmax() == N - 1


def test_a_session_that_is_like_the_newest_interactions_counts_most() -> None:
    sessions = Sessions((session_of(np.array([0, 5])), session_of(np.array([1, 6]))))
    assert look(sessions, [0, 1], [0.0] * N)[[5, 6]].argmax() == 1
    assert look(sessions, [1, 0], [0.0] * N)[[5, 6]].argmax() == 0
