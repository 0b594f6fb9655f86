"""What matrix factorisation by gossip is held against on MovieLens.

Own means need nobody. The others read everybody's history, which no peer can.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.data.interactions import History
from p2prec.evaluation.baselines import BASELINES
from p2prec.models.recommender import Context, Task
from tests.benchmarks.films_asked import NEGATIVES, Films, quality

_SIMPLE = ("popular", "last_category_markov", "item_knn")  # films lie nowhere and do not return
_SHRINKAGE = 5.0
# Chosen on validation among 0.08, 0.12 and 5, 8, 12 without the factor, with 8 and 16 columns.
_RIDGE = 0.12
_SWEEPS = 10

Ratings = Sequence[NDArray[np.floating]]


def yardsticks(films: Films, *, seed: int) -> dict[str, dict[str, float]]:
    """Quality of each, by name.

    Args:
        films: What is asked.
        seed: Of the factors' starting values.
    """
    known, n = [p.known for p in films.people], len(films.catalogue)
    if films.task is not Task.RATING:
        return _simple(films, known)
    mean = float(np.concatenate([h.rating for h in known]).mean())
    film = _film_means(n, known, mean)
    rows: dict[str, Ratings] = {
        "global mean (centralised)": [np.full(n, mean)] * len(known),
        "own mean": [np.full(n, float(h.rating.mean())) for h in known],
        "film mean (centralised)": [film] * len(known),
        "user and film means (centralised)": factorised(n, known, columns=0, seed=seed),
        "MF 8 (centralised)": factorised(n, known, columns=8, seed=seed),
        "MF 16 (centralised)": factorised(n, known, columns=16, seed=seed),
    }
    return {name: quality(films, said) for name, said in rows.items()}


def _simple(films: Films, known: Sequence[History]) -> dict[str, dict[str, float]]:
    rows = {}
    for name in _SIMPLE:
        scores = BASELINES[name](films.catalogue, known).scores
        counted = quality(films, [scores(h, Context(timestamp_s=0)) for h in known])
        counted.pop("log_loss", None)  # counts are no logits
        rows[f"{name} (centralised)"] = counted
    if films.task is Task.CLICK:  # one film of five, whichever
        same = np.full(len(films.catalogue), -np.log(NEGATIVES))
        rate = quality(films, [same] * len(known))
        rows["base rate"] = {"log_loss": rate["log_loss"]}
    return rows


def _film_means(n_films: int, known: Sequence[History], mean: float) -> NDArray[np.float64]:
    film = np.concatenate([h.item for h in known])
    above = np.concatenate([h.rating for h in known]) - mean
    total = np.bincount(film, above, minlength=n_films)
    shrunk: NDArray[np.float64] = total / (np.bincount(film, minlength=n_films) + _SHRINKAGE)
    return mean + shrunk


def factorised(n_films: int, known: Sequence[History], *, columns: int, seed: int) -> Ratings:
    """``mu + b_u + b_i + <p_u, q_i>`` by alternating ridge regression over all ratings at once.

    The ridge grows with the number of ratings of a user or film (ALS-WR: Zhou, Wilkinson,
    Schreiber & Pan, AAIM 2008). Without columns only the means of users and films are left.
    """
    user = np.repeat(np.arange(len(known)), [len(h) for h in known])
    film = np.concatenate([h.item for h in known])
    rating = np.concatenate([h.rating for h in known]).astype(np.float64)
    above = rating - rating.mean()
    films = np.random.default_rng(seed).normal(0.0, 0.1, (n_films, columns + 1))
    films[:, -1] = 0.0
    for _ in range(_SWEEPS):
        users = _ridge(user, films[film], above - films[film, -1], len(known))
        films = _ridge(film, users[user], above - users[user, -1], n_films)
    taste, bias = users[:, :-1], users[:, -1:]
    return list(rating.mean() + bias + films[:, -1] + taste @ films[:, :-1].T)


def _ridge(
    of: NDArray[np.integer],
    other: NDArray[np.float64],
    wanted: NDArray[np.float64],
    n: int,
) -> NDArray[np.float64]:
    """One regression for each of ``n`` users or films; the last column is the own bias.

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
