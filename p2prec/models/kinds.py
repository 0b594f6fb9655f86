"""Which kinds of places owners try: statistics that peers average by gossip, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.kernels import compiled
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

    def features(self, usual: Usual, moments: Sequence[Moment]) -> NDArray[np.float32]:
        """The features of each category: what others say of it, then the owner's habits.

        Args:
            usual: What others do.
            moments: ``n`` situations.

        Returns:
            Shape ``(len(ALL_KINDS), n, n_categories + 1)``.
        """
        now = _Now.of(usual, moments)
        features = np.empty((len(ALL_KINDS), len(moments), self._columns), np.float32)
        tries, few, now_here, *_ = features
        _scatter_own(moments, features)
        at_all = tries + usual.at_all
        at_all *= now.share[:, None]
        tries += usual.prior
        tries /= now.tries[:, None]
        few[...] = self._few
        now_here += now.by_hour
        now_here += now.hour_prior[:, None]
        now_here /= at_all
        np.log(tries, out=tries)
        np.log(now_here, out=now_here)
        return features

    def of_candidates(
        self,
        usual: Usual,
        moments: Sequence[Moment],
        columns: NDArray[np.int64],
        of: NDArray[np.int64],
        *,
        out: NDArray[np.float32],
    ) -> None:
        """The same for candidates.

        Args:
            usual: What others do, the same in all situations.
            moments: ``n`` situations.
            columns: Shape ``(n_candidates,)``, the category of each.
            of: Shape ``(n_candidates,)``, the situation of each.
            out: Shape ``(len(ALL_KINDS), n_candidates)``, written to.
        """
        kernels = compiled()
        if kernels is None:
            features = self.features(usual, moments).reshape(len(out), -1)
            features.take(of * self._columns + columns, axis=1, out=out, mode="clip")
            return
        now, habits = _Now.of(usual, moments), [m.habits for m in moments]
        kernels.kinds_of_candidates(
            columns,
            of,
            np.cumsum([0, *[len(h.kinds) for h in habits]]),
            np.concatenate([h.kinds for h in habits]),
            np.concatenate([h.by_kind for h in habits]),
            np.concatenate([h.no_kind for h in habits]).reshape(len(habits), -1),
            self._few,
            usual.prior[0],
            usual.at_all[0],
            now.by_hour,
            now.share,
            now.hour_prior,
            now.tries,
            out,
        )
        np.log(out[0], out=out[0])
        np.log(out[2], out=out[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What others do, in ``n`` situations, or one for all of them.

    Attributes:
        visits: Shape ``(n,)``, that they are worth where hours are compared.
        prior: Shape ``(n, n_categories + 1)``, first visits that they are worth.
        at_all: Likewise, visits and those at usual hours.
        by_hour: Shape ``(n, HOUR_BLOCKS, n_categories + 1)``, visits by block of hours.
        at_hour: Shape ``(n, HOUR_BLOCKS)``, their sum over categories.
    """

    visits: NDArray[np.float64]
    prior: NDArray[np.float32]
    at_all: NDArray[np.float32]
    by_hour: NDArray[np.float32]
    at_hour: NDArray[np.float64]

    @classmethod
    def of(cls, heard: NDArray[np.float32]) -> Usual:
        """What was heard, shape ``(n, n_categories + 1, HOUR_BLOCKS)``, on any scale."""
        n_columns = heard.shape[1]
        total = heard.sum((1, 2), dtype=np.float64)[:, None, None]
        listened = total > 0
        nothing = 1.0 / (n_columns * HOUR_BLOCKS)
        others = np.where(listened, heard / np.where(listened, total, 1.0), nothing)
        usual_kind = others.sum(2)
        visits = _HEARD_VISITS * listened[:, :, 0]
        by_hour = visits[:, :, None] * others
        prior = _KIND_PRIOR * (usual_kind + _UNHEARD) / (1 + _UNHEARD * n_columns)
        return cls(
            visits=visits[:, 0],
            prior=prior.astype(np.float32),
            at_all=(visits * usual_kind + _HOUR_PRIOR).astype(np.float32),
            by_hour=np.ascontiguousarray(by_hour.transpose(0, 2, 1), np.float32),
            at_hour=by_hour.sum(1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Now:
    """What others do in the block of hours of each of ``n`` situations.

    Attributes:
        by_hour: Shape ``(n, n_categories + 1)``, their visits.
        share: Shape ``(n,)``, of all first visits in this block of hours.
        hour_prior: Shape ``(n,)``, visits at usual hours that each category starts with.
        tries: Shape ``(n,)``, first visits and ``_KIND_PRIOR``.
    """

    by_hour: NDArray[np.float32]
    share: NDArray[np.float32]
    hour_prior: NDArray[np.float32]
    tries: NDArray[np.float32]

    @classmethod
    def of(cls, usual: Usual, moments: Sequence[Moment]) -> _Now:
        """Of what others do, and an owner's first visits."""
        hour = np.array([m.hour_block for m in moments])
        which = np.arange(len(hour)) if len(usual.visits) > 1 else np.zeros_like(hour)
        n_tried = np.array([len(m.tried) for m in moments], np.float64)
        n_now = np.array([m.habits.n_now for m in moments])
        share = usual.at_hour[which, hour] + n_now + 1.0
        share /= n_tried + usual.visits[which] + HOUR_BLOCKS
        return cls(
            by_hour=usual.by_hour[which, hour],
            share=share.astype(np.float32),
            hour_prior=(_HOUR_PRIOR * share).astype(np.float32),
            tries=(n_tried + _KIND_PRIOR).astype(np.float32),
        )


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
