"""Predictors of ratings against scikit-learn and their definitions; what a comparison says."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from p2prec.data.interactions import History
from p2prec.evaluation import frame
from p2prec.evaluation.answers import Question, answered
from p2prec.evaluation.rating_baselines import biases, factorised, global_mean, item_mean, user_mean
from p2prec.evaluation.ratings import RatingComparison

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sklearn.linear_model import Ridge

N_ITEMS, N_USERS = 12, 20
RNG = np.random.default_rng(4)


def history(items: list[int], ratings: list[float]) -> History:
    return History(
        item=np.array(items, np.int32),
        timestamp_s=np.arange(len(items)),
        rating=np.array(ratings, np.float32),
    )


KNOWN = [
    history(RNG.permutation(N_ITEMS)[:8].tolist(), RNG.integers(1, 6, 8).astype(float).tolist())
    for _ in range(N_USERS)
]


def test_means_are_means() -> None:
    known = [history([0, 1], [4.0, 2.0]), history([0], [5.0])]
    assert global_mean(3, known)[0] == pytest.approx([11 / 3] * 3)
    assert user_mean(3, known)[0] == pytest.approx([3.0] * 3)
    found = item_mean(3, known)[1]
    # Five ratings at the mean of all beside an item's own.
    assert found == pytest.approx([(9 + 55 / 3) / 7, (2 + 55 / 3) / 6, 11 / 3])


def test_biases_are_those_of_one_ridge_regression_over_all() -> None:
    """scikit-learn's, of users and items at once; a penalty by count is a scale of the column."""
    rows = [
        (user, N_USERS + int(item), float(rating))
        for user, known in enumerate(KNOWN)
        for item, rating in zip(known.item, known.rating, strict=True)
    ]
    one_hot = np.zeros((len(rows), N_USERS + N_ITEMS))
    for row, (user, item, _) in enumerate(rows):
        one_hot[row, [user, item]] = 1.0
    scale = 1.0 / np.sqrt(one_hot.sum(0))
    ratings = np.array([rating for *_, rating in rows])
    fitted = Ridge(alpha=0.12, fit_intercept=False, tol=1e-10)
    fitted.fit(one_hot * scale, ratings - ratings.mean())
    of = fitted.coef_ * scale
    expected = ratings.mean() + of[:N_USERS, None] + of[N_USERS:]
    assert np.stack(biases(N_ITEMS, KNOWN)) == pytest.approx(expected, abs=1e-3)


def test_factors_fit_better_what_was_rated() -> None:
    def error(said: list[np.ndarray[tuple[int], np.dtype[np.float64]]]) -> float:
        errors = [s[h.item] - h.rating for s, h in zip(said, KNOWN, strict=True)]
        return float(np.square(np.concatenate(errors)).mean())

    assert error(factorised(N_ITEMS, KNOWN, columns=3, seed=0)) < error(biases(N_ITEMS, KNOWN))


def test_a_comparison_of_ratings_says_errors_and_who_is_better() -> None:
    questions = [
        Question(user=str(u), item=0, is_new=True, visits=5, popularity=1, rating=float(1 + u % 5))
        for u in range(20)
    ]

    def said(offset: float) -> list[object]:
        return [
            answered(
                np.array([q.rating + offset, 0.0], np.float32),
                0,
                own=np.array([], int),
                competitors=None,
            )
            for q in questions
        ]

    comparison = RatingComparison(lowest=1.0, highest=5.0)
    comparison.add(0, questions, {"alone": said(-0.5), "good": said(0.1)})
    found = comparison.summary()
    # Below 1 and above 5 nothing is said, so that a fifth of the users has no error.
    assert found["figures"]["alone"]["rmse"] == pytest.approx(np.sqrt(0.25 * 0.8))
    assert found["figures"]["good"]["mae"] == pytest.approx(0.1 * 0.8, abs=1e-4)
    assert found["paired"]["good"]["difference"] < 0
    assert found["paired"]["good"]["p_t"] < 0.001
    table = frame({"ratings": found}, table="ratings")
    rmse = (table.assign(squared=table["error"] ** 2).groupby("method")["squared"].mean()) ** 0.5
    assert rmse["alone"] == pytest.approx(found["figures"]["alone"]["rmse"], abs=1e-3)
