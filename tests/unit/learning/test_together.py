"""One peer alone and the same peer among many compute the very same numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from p2prec.collaboration.methods import METHODS
from p2prec.models.recommender import Task
from tests.unit.learning.crowd import N_PEERS, NOW, learners, lived


@settings(max_examples=25, deadline=None)
@given(
    task=st.sampled_from(list(Task)),
    method=st.sampled_from(["epidemic", "metropolis_hastings", "dclr", "alone"]),
    lengths=st.lists(st.integers(0, 60), min_size=N_PEERS, max_size=N_PEERS),
    order=st.permutations(range(N_PEERS)),
    cut=st.integers(1, N_PEERS - 1),
    noise=st.sampled_from([0.0, 0.5]),
    share=st.sampled_from([1.0, 0.5, 0.01]),
)
def test_who_else_is_computed_changes_no_bit(
    *,
    task: Task,
    method: str,
    lengths: list[int],
    order: list[int],
    cut: int,
    noise: float,
    share: float,
) -> None:
    one_by_one = learners(task, method, lengths, noise, share=share)
    at_once = learners(task, method, lengths, noise, share=share)
    in_parts = learners(task, method, lengths, noise, share=share)
    lived(one_by_one, [[i] for i in range(N_PEERS)])
    lived(at_once, [list(range(N_PEERS))])
    lived(in_parts, [order[:cut], order[cut:]])
    for alone, *others in zip(one_by_one, at_once, in_parts, strict=True):
        for other in others:
            for name, value in alone.state().items():
                assert np.array_equal(value, other.state()[name]), name
            assert np.array_equal(alone.scores(NOW), other.scores(NOW))


@settings(max_examples=10, deadline=None)
@given(
    method=st.sampled_from([name for name, kind in METHODS.items() if kind.teaches]),
    model=st.sampled_from(["mf/4", "next_place/4", "ranker/8"]),
    lengths=st.lists(st.integers(0, 60), min_size=N_PEERS, max_size=N_PEERS),
    order=st.permutations(range(N_PEERS)),
    cut=st.integers(1, N_PEERS - 1),
)
def test_who_else_decides_and_is_taught_changes_no_bit(
    *, method: str, model: str, lengths: list[int], order: list[int], cut: int
) -> None:
    crowds = [learners(Task.RANKING, method, lengths, 0.0, model=model) for _ in range(3)]
    each = [[i] for i in range(N_PEERS)]  # steps of other families than mf differ by rounding
    ways = (each, [list(range(N_PEERS))], [order[:cut], order[cut:]])
    for crowd, parts in zip(crowds, ways, strict=True):
        lived(crowd, parts, trained=each)
    for alone, *others in zip(*crowds, strict=True):
        for other in others:
            for name, value in alone.state().items():
                assert np.array_equal(value, other.state()[name]), name
            assert np.array_equal(alone.scores(NOW), other.scores(NOW))
