"""The one interface of baselines, and what all recommenders share: the task and the moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p2prec.data.interactions import History


class Task(StrEnum):
    """What the scores mean, and with which loss they are learned."""

    RANKING = "ranking"  # BPR or the likelihood of what came next: only the order matters
    CLICK = "click"  # log loss: the sigmoid of a score is a probability
    RATING = "rating"  # squared loss: a score is a rating


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """When a recommendation is asked for; where is the last item of the history."""

    timestamp_s: int


class Recommender(Protocol):
    """Scores every item of the realm for one owner."""

    def scores(self, history: History, context: Context) -> NDArray[np.float32]:
        """Scores of all items, shape ``(n_items,)``, higher is better.

        Works for an empty history and for items that were never trained.
        """
        ...
