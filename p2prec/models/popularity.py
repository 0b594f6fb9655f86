"""What others say about places: the feature, and what a newcomer is told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2prec.models.softmax import log_softmax

RARE = 0.03  # a place that one of thirty knows is not yet popular


def popularity(
    others: NDArray[np.float32], listened: float | NDArray[np.float32]
) -> NDArray[np.float32]:
    """The feature "others go there".

    Args:
        others: What gossip has gathered about a place.
        listened: What it would have gathered about a place that everybody knows.
    """
    return popularity_of(share_of(others, listened))


def share_of(
    others: NDArray[np.float32], listened: float | NDArray[np.float32]
) -> NDArray[np.float32]:
    """Share of others that knows an item; arguments as of ``popularity``."""
    # Of honest peers it is at most 1; nobody can claim that more than all go there.
    share: NDArray[np.float32] = np.minimum(others / np.maximum(listened, 1e-6), 1.0)
    return share


def popularity_of(share: NDArray[np.float32]) -> NDArray[np.float32]:
    """The feature, from the share of others that knows an item."""
    feature: NDArray[np.float32] = np.log1p(share / RARE).astype(np.float32)
    return feature


class Newcomer:
    """Nothing is known of the owner: what others go to.

    Args:
        others: Shape ``(n_items,)``, what gossip has gathered about each.
        bias: Shape ``(n_items,)``.
    """

    def __init__(self, others: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        self._others, self._bias = others, bias

    def scores(self) -> NDArray[np.float32]:
        """Popularity among others and bias."""
        return self._others + self._bias

    def explore_log_probabilities(self) -> NDArray[np.float32]:
        """All places are new."""
        return log_softmax(self.scores())

    def reasons(self, item: int) -> dict[str, float]:
        """Only one."""
        return {"others go there": float(self._others[item])}
