"""Metrics of ratings and clicks against scipy and against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import mannwhitneyu

from p2prec.evaluation.metrics import auc, log_loss, rmse

# Few different values, so that ties are common.
SCORED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=40)


@given(SCORED)
def test_auc_is_the_share_of_pairs_in_the_right_order(scored: list[tuple[int, bool]]) -> None:
    scores = np.array([s for s, _ in scored], np.float32)
    relevant = np.array([r for _, r in scored])
    pairs = list(itertools.product(scores[relevant], scores[~relevant]))
    if not pairs:
        assert auc(scores, relevant) == 0.5
        return
    right = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs)
    assert auc(scores, relevant) == pytest.approx(right / len(pairs))
    statistic = mannwhitneyu(scores[relevant], scores[~relevant], method="asymptotic").statistic
    assert auc(scores, relevant) == pytest.approx(statistic / len(pairs))


@given(SCORED)
def test_log_loss_is_the_surprise_of_the_clicks(scored: list[tuple[int, bool]]) -> None:
    logits = np.array([s for s, _ in scored], np.float32)
    clicked = np.array([c for _, c in scored])
    probability = expit(logits.astype(np.float64))
    surprise = [-math.log(p if c else 1 - p) for p, c in zip(probability, clicked, strict=True)]
    assert log_loss(logits, clicked) == pytest.approx(sum(surprise) / len(surprise))


def test_log_loss_of_certainty_is_finite_where_a_probability_would_not_be() -> None:
    assert log_loss(np.array([1_000.0, -1_000.0]), np.array([True, False])) == 0.0
    assert log_loss(np.array([1_000.0]), np.array([False])) == 1_000.0


@given(st.lists(st.tuples(st.floats(1, 5), st.floats(1, 5)), min_size=1, max_size=30))
def test_rmse_is_the_root_of_the_mean_square(pairs: list[tuple[float, float]]) -> None:
    predicted, actual = np.array(pairs).T
    expected = math.sqrt(sum((p - a) ** 2 for p, a in pairs) / len(pairs))
    assert rmse(predicted, actual) == pytest.approx(expected)


def test_nothing_to_measure_is_no_error() -> None:
    none = np.empty(0)
    assert rmse(none, none) == 0.0
    assert log_loss(none, none.astype(bool)) == 0.0
    assert auc(none, none.astype(bool)) == 0.5
