"""Sessions: what somebody did at one stretch, as a set of items, and what many of them say.

    score_j = b_j sum over s of [j in s] sum over i in s of b_i fading^age(i)
    b_i     = (c_i + few)^-1/2

with ``c_i`` sessions that hold item ``i`` and ``age(i)`` how many other items the owner has met
since: sessions that are like the owner's newest interactions vote for what else is in them. Ludewig
& Jannach, *Evaluation of session-based recommendation algorithms*, UMUAI 2018, section 3.2 (VSKNN),
here with all sessions for neighbours and, for their similarity, the cosine of items over sessions
(Sarwar et al., WWW 2001), so that what everybody meets is not what everybody is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from p2prec.limits import MAX_SESSION_ITEMS

_ITEM_BYTES = 4
SESSION_LENGTH: Final = 16  # interactions of a session, where nothing else is said
_FADING = 0.75  # of an item, from each that the owner has met since
_LITTLE = 0.01  # of what is popular: all that counts where no session is like the newest one
_NOBODY = 1e-6  # share of all meetings that every item has
_FEW = 5.0  # sessions that every item has beside those that are held


Told = bytes
"""Items of a session, ascending, as 32-bit numbers: what is equal is the same session.

Peers of one process share what they have told each other, and a session is looked up by it.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """Sessions of many.

    Attributes:
        told: Each of them, none empty.
    """

    told: tuple[Told, ...]

    @classmethod
    def of(cls, sessions: Iterable[NDArray[np.integer]]) -> Self:
        """Those that are not empty; items of each become unique and ascending."""
        return cls(tuple(session_of(session) for session in sessions if len(session)))

    def __len__(self) -> int:
        return len(self.told)

    @property
    def items(self) -> NDArray[np.int32]:
        """Shape ``(n_items_in_all,)``, of one session after the other; a copy."""
        return np.frombuffer(b"".join(self.told), "<u4").astype(np.int32)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Shape ``(n,)``, items of each."""
        return np.fromiter(map(len, self.told), np.int64, len(self.told)) // _ITEM_BYTES

    def counts(self, n_items: int) -> NDArray[np.float32]:
        """Shape ``(n_items,)``, sessions that hold each item."""
        return np.bincount(self.items, minlength=n_items).astype(np.float32)


def session_of(items: NDArray[np.integer]) -> Told:
    """Some items as one session."""
    return np.unique(items).astype("<u4").tobytes()


def sessions_of(items: bytes, lengths: NDArray[np.integer]) -> list[Told]:
    """Sessions that lie one after the other.

    Args:
        items: Of all of them.
        lengths: Shape ``(n,)``, items of each.
    """
    ends = np.cumsum(_ITEM_BYTES * lengths.astype(np.int64)).tolist()
    return [items[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def are_sessions(items: NDArray[np.integer], lengths: NDArray[np.integer], n_items: int) -> bool:
    """Whether items are those of a realm, and ascend in each session, of which none is empty.

    Args:
        items: Shape ``(n_items_in_all,)``.
        lengths: Shape ``(n,)``.
        n_items: Of the realm.
    """
    if int(lengths.sum(dtype=np.int64)) != len(items):
        return False
    if not len(lengths):
        return True
    if not lengths.all() or int(lengths.max()) > MAX_SESSION_ITEMS or int(items.max()) >= n_items:
        return False
    rising = np.diff(items.astype(np.int64)) > 0
    rising[np.cumsum(lengths, dtype=np.int64)[:-1] - 1] = True  # from one session to the next
    return bool(rising.all())


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
        self._items, self._lengths = sessions.items, sessions.lengths
        self._starts = np.cumsum(self._lengths) - self._lengths
        self.counts = np.bincount(self._items, minlength=n_items).astype(np.float32)
        self._rarity = (self.counts + np.float32(_FEW)) ** np.float32(-0.5)

    def scores(self, newest_first: NDArray[np.integer]) -> NDArray[np.float32]:
        """The formula of the module, shape ``(n_items,)``.

        Args:
            newest_first: Items that the owner met lately, each once.
        """
        n_items = len(self.counts)
        if not len(self._lengths):
            return np.zeros(n_items, np.float32)
        asked = np.zeros(n_items, np.float32)
        asked[newest_first] = _FADING ** np.arange(len(newest_first))
        asked *= self._rarity
        alike = np.add.reduceat(asked[self._items], self._starts)
        votes = np.bincount(self._items, weights=np.repeat(alike, self._lengths), minlength=n_items)
        return votes.astype(np.float32) * self._rarity

    def shares(
        self, newest_first: NDArray[np.integer], popular: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """How likely each item is next by votes, and by popularity; together they sum to one.

        Args:
            newest_first: As of ``scores``.
            popular: Shape ``(n_items,)``, not negative; on any scale.
        """
        votes = self.scores(newest_first)
        total = float(votes.sum())
        little = _LITTLE if total > 0 else 1.0
        met = popular + max(float(popular.sum()), 1.0) * _NOBODY
        by_votes = votes * np.float32((1.0 - little) / max(total, 1e-30))
        return by_votes, (little / met.sum() * met).astype(np.float32)


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


def first_met(items: NDArray[np.integer]) -> NDArray[np.integer]:
    """The items of a history, each where it was met first."""
    first: NDArray[np.integer] = items[np.sort(np.unique(items, return_index=True)[1])]
    return first


def lately(items: NDArray[np.integer], most: int = 32) -> NDArray[np.integer]:
    """The newest items of a history, each once, the newest first.

    Args:
        items: In the order of time.
        most: What is older weighs nothing.
    """
    return first_met(items[::-1])[:most]
