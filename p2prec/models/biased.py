"""What families share whose scores are a mean, biases, popularity, and a taste of the owner's own.

    s(u, i) = mu + b_u + b_i + w log(1 + share_i / 0.03) + taste

Koren, Bell & Volinsky (IEEE Computer, 2009), with what others say of an item (``share_i``, counted
by gossip) as a further term, which is ours: one owner's history cannot tell what is popular.
``mu``, a scale for folding in and ``w`` are the first dense parameters; ``b_u`` is the last
private one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.draws import integers
from p2prec.models.moments import Timeline
from p2prec.models.recommender import Task

MU, FOLD, WEIGHT, LISTENED = range(4)  # mu, c, w, and a statistic
N_BASE = 4
FRESH_ACCUMULATOR = 0.1  # Adagrad's start of these: they start from reasonable values
_MIDDLE_RATING = 3.0  # of a scale of 1 to 5: where mu starts, before anybody has rated
_SHRINKAGE = 1.0  # ratings in the middle that every owner has given, so to speak
_FOLD = 4.0
_WEIGHT = 1.0

Floats = NDArray[np.float32]


class Biased:
    """How such families start, sample, and count; they say ``task``, ``n_private``, ``n_items``."""

    task: Task
    n_private: int
    n_items: int
    statistics = slice(LISTENED, LISTENED + 1)
    first = 0
    row_rate = 20.0  # linear in each factor: it bears long steps, and a few hundred must do

    def initial_base(self) -> Floats:
        """``mu``, ``c``, ``w``, and no one listened to."""
        if self.task is Task.RATING:
            return np.array([_MIDDLE_RATING, _FOLD, 0.0, 0.0], np.float32)
        return np.array([0.0, _FOLD, _WEIGHT, 0.0], np.float32)

    @staticmethod
    def base_rates(*, explore_rate: float) -> Floats:
        """``w`` stays: an owner's own visits come back as gossip, and it would learn the echo."""
        return np.array([1.0, explore_rate, 0.0, 0.0], np.float32)

    def initial_private(self, timeline: Timeline) -> Floats:
        """No taste; whoever rates starts where the owner's ratings lie, shrunk towards ``mu``."""
        private = np.zeros(self.n_private, np.float32)
        if self.task is Task.RATING:
            above = timeline.rating - np.float32(_MIDDLE_RATING)
            private[-1] = above.sum() / (len(timeline) + _SHRINKAGE)
        return private

    def own_statistics(self, timeline: Timeline) -> Floats:
        """One owner, whose items are counted in the rows."""
        return np.array([float(len(timeline) > 0)], np.float32)

    def sample(
        self,
        timelines: Sequence[Timeline],
        owner: NDArray[np.int64],
        at: NDArray[np.int64],
        *,
        negatives: int,
        keys: NDArray[np.uint64],
    ) -> NDArray[np.int32]:
        """Items of which the owner chose none; a rating is compared with nothing."""
        del timelines
        if self.task is Task.RATING:
            return np.empty((len(at), 0), np.int32)
        counters = at[:, None] * negatives + np.arange(negatives)
        return integers(keys[owner, None], counters, self.n_items)
