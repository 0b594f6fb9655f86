"""Sessions: what somebody did at one stretch, as a set of items, and what many of them say together.

    score_j = b_j sum over s of [j in s] sum over i in s of b_i fading^age(i),   b_i = (c_i + few)^-1/2

with ``c_i`` sessions that hold item ``i`` and ``age(i)`` how many other items the owner has met
since: sessions that are like the owner's newest interactions vote for what else is in them. Ludewig
& Jannach, *Evaluation of session-based recommendation algorithms*, UMUAI 2018, section 3.2 (VSKNN),
here with all sessions for neighbours and, for their similarity, the cosine of items over sessions
(Sarwar et al., WWW 2001), so that what everybody meets is not what everybody is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_FADING = 0.75  # of an item, from each that the owner has met since
_FEW = 5.0  # sessions that every item has beside those that are held


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sessions:
    """Sessions, one after the other.

    Attributes:
        items: Shape ``(n_items_in_all,)``, ascending within each session.
        lengths: Shape ``(n,)``, items of each, at least one.
    """

    items: NDArray[np.int32]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, sessions: Sequence[NDArray[np.integer]]) -> Self:
        """Those that are not empty; items of each become unique and ascending."""
        parts = [np.unique(session) for session in sessions if len(session)]
        items = np.concatenate(parts) if parts else np.empty(0)
        lengths = np.array([len(part) for part in parts], np.int64)
        return cls(items=items.astype(np.int32), lengths=lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def counts(self, n_items: int) -> NDArray[np.float32]:
        """Shape ``(n_items,)``, sessions that hold each item."""
        return np.bincount(self.items, minlength=n_items).astype(np.float32)


NO_SESSIONS = Sessions.of(())


class Neighbours:
    """Sessions, laid out to be asked.

    Args:
        sessions: Of others.
        n_items: Of the realm.

    Attributes:
        counts: Shape ``(n_items,)``, sessions that hold each item.
    """

    def __init__(self, sessions: Sessions, n_items: int) -> None:
        self._sessions = sessions
        self._starts = np.cumsum(sessions.lengths) - sessions.lengths
        self.counts = sessions.counts(n_items)
        self._rarity = (self.counts + np.float32(_FEW)) ** np.float32(-0.5)

    def scores(self, newest_first: NDArray[np.integer]) -> NDArray[np.float32]:
        """The formula of the module, shape ``(n_items,)``.

        Args:
            newest_first: Items that the owner met lately, each once.
        """
        n_items = len(self.counts)
        if not len(self._sessions):
            return np.zeros(n_items, np.float32)
        asked = np.zeros(n_items, np.float32)
        asked[newest_first] = _FADING ** np.arange(len(newest_first))
        asked *= self._rarity
        sessions = self._sessions
        alike = np.add.reduceat(asked[sessions.items], self._starts)
        votes = np.bincount(
            sessions.items, weights=np.repeat(alike, sessions.lengths), minlength=n_items
        )
        return votes.astype(np.float32) * self._rarity


def stretches(
    items: NDArray[np.integer], length: int, *, since: int = 0
) -> list[NDArray[np.integer]]:
    """A history in sessions of ``length`` interactions; half of one is a session too, less waits.

    Args:
        items: In the order of time.
        length: Interactions of a session.
        since: Interactions that are in earlier sessions.
    """
    parts = [items[at : at + length] for at in range(since, len(items), length)]
    return [part for part in parts if 2 * len(part) >= length]


def lately(items: NDArray[np.integer], most: int = 32) -> NDArray[np.int64]:
    """The newest items of a history, each once, the newest first.

    Args:
        items: In the order of time.
        most: What is older weighs nothing.
    """
    backwards = items[::-1].astype(np.int64)
    first = np.sort(np.unique(backwards, return_index=True)[1])
    return backwards[first[:most]]
