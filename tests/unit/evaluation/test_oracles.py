"""Metrics against independent libraries: ir-measures, scikit-learn, and scipy's own tests."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats

from p2prec.evaluation.metrics import (
    auc,
    coverage_at_k,
    gini,
    hit_rate_at_k,
    log_loss,
    mae,
    mean_reciprocal_rank,
    ndcg_at_k,
    rank_of,
    rmse,
)
from p2prec.evaluation.statistics import by_user, interval, paired

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ir_measures
    from sklearn import metrics as sklearn_metrics


@pytest.mark.parametrize("seed", range(5))
def test_ranking_metrics_are_those_of_ir_measures(seed: int) -> None:
    """One relevant item a query, scores without ties."""
    rng = np.random.default_rng(seed)
    n_queries, n_items = 40, 60
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=np.float64), (n_queries, 1)), axis=1)
    right = rng.integers(0, n_items, n_queries)
    ranks = np.array([rank_of(s, int(i)) for s, i in zip(scores, right, strict=True)])
    qrels = [ir_measures.Qrel(str(q), str(i), 1) for q, i in enumerate(right.tolist())]
    run = [
        ir_measures.ScoredDoc(str(q), str(i), float(scores[q, i]))
        for q in range(n_queries)
        for i in range(n_items)
    ]
    wanted = [
        ir_measures.Success @ 10,
        ir_measures.R @ 10,
        ir_measures.nDCG @ 10,
        ir_measures.RR,
    ]
    found = ir_measures.calc_aggregate(wanted, qrels, run)
    assert hit_rate_at_k(ranks) == pytest.approx(found[wanted[0]])
    assert hit_rate_at_k(ranks) == pytest.approx(found[wanted[1]])  # recall of one relevant item
    assert ndcg_at_k(ranks) == pytest.approx(found[wanted[2]])
    assert mean_reciprocal_rank(ranks) == pytest.approx(found[wanted[3]])


@pytest.mark.parametrize("seed", range(5))
def test_clicks_and_ratings_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 2.0, 80).round(1)  # with ties
    clicked = rng.random(80) < 0.3
    clicked[:2] = [True, False]
    probability = 1.0 / (1.0 + np.exp(-logits))
    assert auc(logits, clicked) == pytest.approx(sklearn_metrics.roc_auc_score(clicked, logits))
    assert log_loss(logits, clicked) == pytest.approx(
        sklearn_metrics.log_loss(clicked, probability)
    )
    said, given_ = rng.uniform(1, 5, 50), rng.integers(1, 6, 50).astype(float)
    assert mae(said, given_) == pytest.approx(sklearn_metrics.mean_absolute_error(given_, said))
    assert rmse(said, given_) == pytest.approx(
        sklearn_metrics.root_mean_squared_error(given_, said)
    )


@given(st.lists(st.integers(0, 20), min_size=2, max_size=30).filter(any))
def test_gini_is_half_the_relative_mean_difference(counts: list[int]) -> None:
    values = np.array(counts)
    difference = np.abs(values[:, None] - values[None, :]).mean()
    assert gini(values) == pytest.approx(difference / (2 * values.mean()))


@pytest.mark.parametrize("seed", range(5))
def test_gini_and_coverage_are_those_of_scikit_learn_and_scipy(seed: int) -> None:
    """Twice the area between the line of equal shares and Lorenz's; columns that hold anything."""
    rng = np.random.default_rng(seed)
    n_items = 80
    shown = [rng.choice(n_items // 2, 10, replace=False).tolist() for _ in range(2 + 3 * seed)]
    rows = np.repeat(np.arange(len(shown)), 10)
    lists = sparse.coo_array(
        (np.ones(rows.size), (rows, np.concatenate(shown))), shape=(len(shown), n_items)
    ).tocsc()
    counts = np.diff(lists.indptr)
    lorenz = np.concatenate([[0.0], np.cumsum(np.sort(counts)) / counts.sum()])
    area = sklearn_metrics.auc(np.linspace(0.0, 1.0, n_items + 1), lorenz)
    assert gini(counts) == pytest.approx(1.0 - 2.0 * area)
    assert coverage_at_k(shown, n_items) == np.unique(lists.tocoo().col).size / n_items


@pytest.mark.parametrize("seed", range(3))
def test_reciprocal_rank_is_the_average_precision_of_scikit_learn(seed: int) -> None:
    """Of one right item, and an equal score counts against it there too."""
    rng = np.random.default_rng(seed)
    scores, right = rng.normal(size=(30, 50)).round(1), rng.integers(0, 50, 30)
    ranks = np.array([rank_of(s, int(i)) for s, i in zip(scores, right, strict=True)])
    found = sklearn_metrics.label_ranking_average_precision_score(np.eye(50)[right], scores)
    assert mean_reciprocal_rank(ranks) == pytest.approx(found)


def test_gini_and_coverage_at_their_ends() -> None:
    assert gini(np.full(10, 3)) == pytest.approx(0.0)
    assert gini(np.array([0] * 99 + [5])) == pytest.approx(0.99)
    assert gini(np.zeros(4, np.int64)) == 0.0
    assert coverage_at_k([[1, 2], [2, 3]], 6) == 0.5


def test_an_interval_is_that_of_a_t_test_over_users_not_answers() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(30)
    users = [f"u{i % 10}" for i in range(30)]
    means = np.array([values[i::10].mean() for i in range(10)])
    expected = stats.ttest_1samp(means, 0.0).confidence_interval(0.95)
    assert interval(values, users) == pytest.approx([expected.low, expected.high])
    assert np.allclose(np.sort(by_user(values, users)), np.sort(means))
    # The same answers once more are no more people.
    assert interval(np.tile(values, 2), users * 2) == pytest.approx(interval(values, users))


def test_an_interval_of_few_is_the_mean() -> None:
    assert interval(np.array([0.25, 0.75]), ["a", "a"]) == [0.5, 0.5]
    assert interval(np.empty(0), []) == [0.0, 0.0]


def test_paired_sees_a_small_steady_gain_that_an_unpaired_test_does_not() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.random(60)
    ours = theirs + rng.normal(0.02, 0.02, 60)
    users = [f"u{i:02}" for i in range(60)]
    found = paired(ours, theirs, users)
    assert stats.ttest_ind(ours, theirs).pvalue > 0.2
    assert found["p_t"] == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert found["p_wilcoxon"] < 0.001
    assert found["low"] < found["difference"] < found["high"]
    assert found["low"] > 0
    assert found["better"] + found["worse"] == 60


@pytest.mark.parametrize(
    ("ours", "theirs"), [([0.5] * 4, [0.5] * 4), ([1.0], [0.0]), ([1.0] * 3, [0.5] * 3), ([], [])]
)
def test_paired_without_spread_claims_nothing_by_t(ours: list[float], theirs: list[float]) -> None:
    users = [str(i) for i in range(len(ours))]
    found = paired(np.array(ours), np.array(theirs), users)
    assert found["p_t"] == 1.0
    assert found["low"] == found["difference"] == found["high"]
    assert 0.0 < found["p_wilcoxon"] <= 1.0
