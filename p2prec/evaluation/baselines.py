"""The simple recommenders that every table must hold; each sees what its name says.

``popular``, ``popular_nearby``, ``last_category_markov``, ``item_knn`` and ``session_knn`` read the
histories of all users, which no peer can: they are yardsticks, not competitors under the same
rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.models.geo import distance_km
from p2prec.models.recommender import Context, Recommender
from p2prec.models.sessions import (
    SESSION_LENGTH,
    Neighbours,
    Sessions,
    first_met,
    lately,
    stretches,
)

Scores = NDArray[np.float32]
_TIE = np.float32(1e-4)  # popularity decides between what is else equal


def visits(histories: Sequence[History], n_items: int) -> Scores:
    """How often each item was met, shape ``(n_items,)``."""
    counts = np.zeros(n_items)
    for history in histories:
        counts += np.bincount(history.item, minlength=n_items)
    return counts.astype(np.float32)


class Popular:
    """Items by the number of interactions of all users."""

    def __init__(self, catalogue: Catalogue, histories: Sequence[History]) -> None:
        self._counts = visits(histories, len(catalogue))

    def scores(self, history: History, context: Context) -> Scores:
        """The same for everybody."""
        del history, context
        return self._counts.copy()


class PopularNearby(Popular):
    """Popularity times closeness to where the user is: ``count / (0.5 + km)^1.5``."""

    def __init__(self, catalogue: Catalogue, histories: Sequence[History]) -> None:
        super().__init__(catalogue, histories)
        self._catalogue = catalogue

    def scores(self, history: History, context: Context) -> Scores:
        """Popularity alone where nothing is known of the user."""
        del context
        if not len(history):
            return self._counts.copy()
        result: Scores = self._counts * (0.5 + _km(self._catalogue, history)) ** np.float32(-1.5)
        return result


class Nearest:
    """Items by distance from the user's last one."""

    def __init__(self, catalogue: Catalogue, histories: Sequence[History]) -> None:
        del histories
        self._catalogue = catalogue

    def scores(self, history: History, context: Context) -> Scores:
        """Minus kilometres; zeros for a newcomer."""
        del context
        if not len(history):
            return np.zeros(len(self._catalogue), np.float32)
        return -_km(self._catalogue, history)


class MostFrequent:
    """The user's own items by count, the newer one first where counts are equal."""

    def __init__(self, catalogue: Catalogue, histories: Sequence[History]) -> None:
        self._counts = visits(histories, len(catalogue))

    def scores(self, history: History, context: Context) -> Scores:
        """Own counts; popularity fills up behind them."""
        del context
        n = len(self._counts)
        result = np.bincount(history.item, minlength=n).astype(np.float32)
        result[history.item] += 0.5 * np.arange(len(history)) / max(1, len(history))
        result += _TIE * self._counts / max(1.0, float(self._counts.max()))
        return result


class LastCategoryMarkov:
    """Transition from the category of the last item to the next one's, then popularity in it."""

    def __init__(self, catalogue: Catalogue, histories: Sequence[History]) -> None:
        self._counts = visits(histories, len(catalogue))
        self._column = np.where(
            catalogue.category < 0, len(catalogue.categories), catalogue.category
        )
        n = len(catalogue.categories) + 1
        self._transition = np.full((n, n), 0.1)
        for history in histories:
            column = self._column[history.item]
            np.add.at(self._transition, (column[:-1], column[1:]), 1.0)
        self._transition /= self._transition.sum(1, keepdims=True)
        total = np.bincount(self._column, weights=self._counts, minlength=n)
        self._share = self._counts / np.maximum(total[self._column], 1.0)

    def scores(self, history: History, context: Context) -> Scores:
        """P(category | last category) P(item | category)."""
        del context
        if not len(history):
            return self._counts.copy()
        row = self._transition[self._column[history.item[-1]]]
        result: Scores = (row[self._column] * self._share).astype(np.float32)
        return result


class ItemKNN:
    """Cosine of item columns over users, summed over the user's own items (Sarwar, 2001)."""

    def __init__(self, catalogue: Catalogue, histories: Sequence[History]) -> None:
        from scipy.sparse import csr_array  # only here: a device does not load it

        met = [np.unique(history.item) for history in histories]
        ends = np.cumsum([0, *map(len, met)])
        items = np.concatenate(met) if met else np.empty(0, np.int32)
        ones = np.ones(len(items), np.float32)
        self._met = csr_array((ones, items, ends), shape=(len(met), len(catalogue)))
        self._of_item = self._met.tocsc()
        self._length = np.sqrt(np.maximum(self._met.sum(axis=0), 1.0)).astype(np.float32)

    def scores(self, history: History, context: Context) -> Scores:
        """Sum over own items of their likeness to each item."""
        del context
        own = np.unique(history.item)
        per_user = self._of_item[:, own] @ (1.0 / self._length[own])
        result: Scores = ((self._met.T @ per_user) / self._length).astype(np.float32)
        return result


class SessionNeighbours:
    """What others met at a stretch with what the user met lately (Ludewig & Jannach, 2018).

    The model ``session_knn`` with all sessions of all users, none of them hidden.
    """

    def __init__(self, catalogue: Catalogue, histories: Sequence[History]) -> None:
        told = [
            part
            for history in histories
            for part in stretches(first_met(history.item), SESSION_LENGTH)
        ]
        self._neighbours = Neighbours(Sessions.of(told), len(catalogue))

    def scores(self, history: History, context: Context) -> Scores:
        """As the model's."""
        del context
        votes, popular = self._neighbours.shares(lately(history.item), self._neighbours.counts)
        return votes + popular


def _km(catalogue: Catalogue, history: History) -> Scores:
    last = int(history.item[-1])
    lat, lon = catalogue.latitude_deg, catalogue.longitude_deg
    km: Scores = distance_km(lat, lon, lat[last], lon[last])
    return km


BASELINES: dict[str, Callable[[Catalogue, Sequence[History]], Recommender]] = {
    "popular": Popular,
    "popular_nearby": PopularNearby,
    "most_frequent": MostFrequent,
    "nearest": Nearest,
    "last_category_markov": LastCategoryMarkov,
    "item_knn": ItemKNN,
    "session_knn": SessionNeighbours,
}
