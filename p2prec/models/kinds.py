"""Which kinds of places owners try: statistics that peers average by gossip, and what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.models.moments import HOUR_BLOCKS, Moment, category_columns

KINDS_OF_OTHERS = (
    "kind of place you try",
    "one of few of its kind",
    "kind of place for this hour",
)
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
        self._few = -np.log(n_places + 1.0)

    def features(
        self, heard: NDArray[np.float32], moments: Sequence[Moment]
    ) -> NDArray[np.float32]:
        """The three features of each category.

        Args:
            heard: Shape ``(n, n_categories + 1, HOUR_BLOCKS)``, what others try, on any scale; or
                one for all situations.
            moments: ``n`` situations.

        Returns:
            Shape ``(n, n_categories + 1, len(KINDS_OF_OTHERS))``.
        """
        n, columns = len(moments), self._columns
        total = heard.sum((1, 2), dtype=np.float64)[:, None, None]
        listened = total > 0
        others = np.where(
            listened, heard / np.where(listened, total, 1.0), 1.0 / (columns * HOUR_BLOCKS)
        )
        usual_kind = others.sum(2)
        heard_visits = _HEARD_VISITS * listened[:, :, 0]
        n_tried = np.array([len(m.tried) for m in moments])
        hour = np.array([m.hour_block for m in moments])
        kind, block = np.divmod(np.concatenate([m.tried for m in moments]), HOUR_BLOCKS)
        cell = np.repeat(np.arange(n) * columns, n_tried) + kind
        now = block == np.repeat(hour, n_tried)
        own = np.bincount(cell, minlength=n * columns).reshape(n, columns)
        own_now = np.bincount(cell[now], minlength=n * columns).reshape(n, columns)
        by_kind = own + _KIND_PRIOR * (usual_kind + _UNHEARD) / (1 + _UNHEARD * columns)
        tries = np.log(by_kind / (n_tried + _KIND_PRIOR)[:, None])
        which = np.arange(n) if len(heard) > 1 else np.zeros(n, np.int64)
        at_hour = own_now + heard_visits * others[which, :, hour]
        seen = n_tried[:, None] + heard_visits
        usual = (at_hour.sum(1, keepdims=True) + 1.0) / (seen + HOUR_BLOCKS)
        at_all = own + heard_visits * usual_kind
        now_here = np.log((at_hour + _HOUR_PRIOR * usual) / (at_all + _HOUR_PRIOR) / usual)
        few = np.broadcast_to(self._few, tries.shape)
        return np.stack([tries, few, now_here], axis=2).astype(np.float32)
