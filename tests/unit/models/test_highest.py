"""The few highest scores are those of a whole sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2prec.models.highest import highest


@given(
    n=st.integers(1, 3_000),
    k=st.integers(1, 40),
    levels=st.integers(1, 50),  # few: many are equal
    seed=st.integers(0, 2**16),
)
def test_they_are_those_of_a_whole_sort(n: int, k: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, n).astype(np.float32)
    scores[rng.random(n) < 0.2] = -np.inf
    whole = np.argsort(-scores, kind="stable")[:k]
    assert np.array_equal(highest(scores, k), whole)


@pytest.mark.parametrize("n", [5, 5_000])
def test_what_is_no_number_comes_last(n: int) -> None:
    scores = np.full(n, np.nan, np.float32)
    scores[3] = 1.0
    assert highest(scores, 4)[0] == 3
    assert len(highest(scores, 4)) == 4
