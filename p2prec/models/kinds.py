"""Which kinds of places owners try: statistics that peers average by gossip, and what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.models.habits import KIND_FEATURES
from p2prec.models.moments import HOUR_BLOCKS, Moment, category_columns

KINDS_OF_OTHERS = (
    "kind of place you try",
    "one of few of its kind",
    "kind of place for this hour",
)
ALL_KINDS = KINDS_OF_OTHERS + KIND_FEATURES
_KIND_PRIOR = 20.0  # first visits that the habits of others are worth
_HEARD_VISITS = 200.0  # and where hours of a category are compared
_HOUR_PRIOR = 2.0  # visits at usual hours that each category starts with
_UNHEARD = 1e-5  # share of a category that nobody has tried


def tried_shares(catalogue: Catalogue, tried: NDArray[np.int32]) -> NDArray[np.float32]:
    """Share of first visits by category and block of hours, sums to 1 (0 where there are none).

    Returns:
        Shape ``(n_categories + 1, HOUR_BLOCKS)``.
    """
    columns = len(catalogue.categories) + 1
    counts = np.bincount(tried, minlength=columns * HOUR_BLOCKS).reshape(columns, HOUR_BLOCKS)
    return (counts / max(1, len(tried))).astype(np.float32)


class Kinds:
    """What speaks for each category of places that an owner may try next.

    Own first visits are few, so that they are blended with those of others: a Dirichlet prior
    worth ``_KIND_PRIOR`` visits, as smoothing of a language model by its collection (Zhai &
    Lafferty, TOIS 2004, section 3).
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._columns = len(catalogue.categories) + 1
        n_places = np.bincount(category_columns(catalogue), minlength=self._columns)
        self._few = -np.log(n_places + 1.0).astype(np.float32)

    def features(
        self, heard: NDArray[np.float32], moments: Sequence[Moment]
    ) -> NDArray[np.float32]:
        """The features of each category: what others say of it, then the owner's habits.

        Args:
            heard: Shape ``(n, n_categories + 1, HOUR_BLOCKS)``, what others try, on any scale; or
                one for all situations.
            moments: ``n`` situations.

        Returns:
            Shape ``(len(ALL_KINDS), n, n_categories + 1)``.
        """
        n = len(moments)
        features = np.empty((len(ALL_KINDS), n, self._columns), np.float32)
        tries, few, now_here, *_ = features
        _scatter_own(moments, features)
        others, visits = self._usual(heard)
        usual_kind = others.sum(2)
        n_tried = np.array([len(m.tried) for m in moments], np.float32)[:, None]
        at_all = tries + (visits * usual_kind + _HOUR_PRIOR).astype(np.float32)
        prior = _KIND_PRIOR * (usual_kind + _UNHEARD) / (1 + _UNHEARD * self._columns)
        tries += prior.astype(np.float32)
        tries /= n_tried + np.float32(_KIND_PRIOR)
        few[...] = self._few
        hour = np.array([m.hour_block for m in moments])
        by_hour = (visits[:, :, None] * others).transpose(0, 2, 1).astype(np.float32)
        now_here += by_hour[np.arange(n) if len(heard) > 1 else 0, hour]
        seen = n_tried + visits.astype(np.float32)
        usual = (now_here.sum(1, keepdims=True) + np.float32(1.0)) / (seen + HOUR_BLOCKS)
        now_here += np.float32(_HOUR_PRIOR) * usual
        at_all *= usual
        now_here /= at_all
        np.log(tries, out=tries)
        np.log(now_here, out=now_here)
        return features

    def _usual(self, heard: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shares of what others try, and visits that they are worth, shape ``(n, 1)``."""
        total = heard.sum((1, 2), dtype=np.float64)[:, None, None]
        listened = total > 0
        nothing = 1.0 / (self._columns * HOUR_BLOCKS)
        others = np.where(listened, heard / np.where(listened, total, 1.0), nothing)
        return others, _HEARD_VISITS * listened[:, :, 0]


def _scatter_own(moments: Sequence[Moment], features: NDArray[np.float32]) -> None:
    """Write the owner's habits, and first visits where features of others will stand."""
    (_, n, columns), first_habit = features.shape, len(KINDS_OF_OTHERS)
    none = np.concatenate([m.habits.no_kind for m in moments]).reshape(n, -1)
    features[0] = features[2] = 0.0
    features[first_habit:] = none.T[2:, :, None]
    at = np.repeat(np.arange(n) * columns, [len(m.habits.kinds) for m in moments])
    at += np.concatenate([m.habits.kinds for m in moments])
    rows = np.concatenate([m.habits.by_kind for m in moments])
    flat = features.reshape(len(features), -1)
    flat[0, at], flat[2, at] = rows[:, 0], rows[:, 1]
    flat[first_habit:, at] = rows[:, 2:].T
