"""The simple predictors of ratings that every table of errors must hold.

All but ``user_mean`` read the ratings of all users, which no peer can: they are yardsticks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.data.interactions import History

Ratings = Sequence[NDArray[np.floating]]  # of all items, one array a user
_SHRINKAGE = 5.0  # ratings at the mean of all that every item has beside its own
# Chosen on validation of MovieLens 100K among 0.08, 0.12 and 5, 8, 12 without the factor.
_RIDGE = 0.12
_SWEEPS = 10


def global_mean(n_items: int, known: Sequence[History]) -> Ratings:
    """The mean of all ratings, for everybody and everything."""
    return [np.full(n_items, _mean(known))] * len(known)


def user_mean(n_items: int, known: Sequence[History]) -> Ratings:
    """Each user's own mean; the middle of nothing for a user without a rating."""
    middle = _mean(known)
    return [np.full(n_items, float(h.rating.mean()) if len(h) else middle) for h in known]


def item_mean(n_items: int, known: Sequence[History]) -> Ratings:
    """The mean of each item's ratings, shrunk towards the mean of all."""
    middle = _mean(known)
    item = np.concatenate([h.item for h in known])
    above = np.concatenate([h.rating for h in known]) - middle
    total = np.bincount(item, above, minlength=n_items)
    mean = middle + total / (np.bincount(item, minlength=n_items) + _SHRINKAGE)
    return [mean] * len(known)


def biases(n_items: int, known: Sequence[History]) -> Ratings:
    """``mu + b_u + b_i`` (Koren et al., IEEE Computer 2009), by alternating ridge regression."""
    return factorised(n_items, known, columns=0, seed=0)


def factorised(n_items: int, known: Sequence[History], *, columns: int, seed: int) -> Ratings:
    """``mu + b_u + b_i + <p_u, q_i>`` by alternating ridge regression over all ratings at once.

    The ridge grows with the number of ratings of a user or item (ALS-WR: Zhou, Wilkinson,
    Schreiber & Pan, AAIM 2008). Without columns only the biases are left.

    Args:
        n_items: Of the catalogue.
        known: Ratings of each user, at least one in all.
        columns: Of the factors.
        seed: Of their starting values.
    """
    user = np.repeat(np.arange(len(known)), [len(h) for h in known])
    item = np.concatenate([h.item for h in known])
    rating = np.concatenate([h.rating for h in known]).astype(np.float64)
    above = rating - rating.mean()
    items = np.random.default_rng(seed).normal(0.0, 0.1, (n_items, columns + 1))
    items[:, -1] = 0.0
    for _ in range(_SWEEPS):
        users = _ridge(user, items[item], above - items[item, -1], len(known))
        items = _ridge(item, users[user], above - users[user, -1], n_items)
    taste, bias = users[:, :-1], users[:, -1:]
    return list(rating.mean() + bias + items[:, -1] + taste @ items[:, :-1].T)


def _mean(known: Sequence[History]) -> float:
    return float(np.concatenate([h.rating for h in known]).mean())


def _ridge(
    of: NDArray[np.integer],
    other: NDArray[np.float64],
    wanted: NDArray[np.float64],
    n: int,
) -> NDArray[np.float64]:
    """One regression for each of ``n`` users or items; the last column is the own bias.

    Args:
        of: Shape ``(n_ratings,)``, whose regression a rating belongs to.
        other: Shape ``(n_ratings, columns + 1)``, factors of the other side.
        wanted: Shape ``(n_ratings,)``, what the own factors must give.
        n: Regressions.
    """
    features = other.copy()
    features[:, -1] = 1.0
    order = np.argsort(of, kind="stable")
    starts = np.searchsorted(of[order], np.arange(n + 1))
    found = np.zeros((n, features.shape[1]))
    for one in np.flatnonzero(np.diff(starts)):
        at = order[starts[one] : starts[one + 1]]
        a = features[at]
        ridge = _RIDGE * len(at) * np.eye(a.shape[1])
        found[one] = np.linalg.solve(a.T @ a + ridge, a.T @ wanted[at])
    return found


RATING_BASELINES: dict[str, Callable[[int, Sequence[History]], Ratings]] = {
    "global_mean": global_mean,
    "user_mean": user_mean,
    "item_mean": item_mean,
    "biases": biases,
}
