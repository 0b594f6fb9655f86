"""Interactions: who met which item when, in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One owner's interactions, oldest first; the only thing a peer learns from.

    Attributes:
        item: Shape ``(n,)``, rows of the realm's catalogue.
        timestamp_s: Shape ``(n,)``, UTC epoch seconds, not decreasing.
        rating: Shape ``(n,)``; 1.0 for a check-in or a click.
    """

    item: NDArray[np.int32]
    timestamp_s: NDArray[np.int64]
    rating: NDArray[np.float32]

    def __post_init__(self) -> None:
        if not self.item.shape == self.timestamp_s.shape == self.rating.shape:
            raise DataError("a history needs one time and one rating an interaction")
        if (np.diff(self.timestamp_s) < 0).any():
            raise DataError("a history is ordered by time")

    def __len__(self) -> int:
        return len(self.item)

    def head(self, n: int) -> History:
        """The oldest ``n`` interactions (all but the newest ``-n`` where ``n`` is negative)."""
        return History(item=self.item[:n], timestamp_s=self.timestamp_s[:n], rating=self.rating[:n])


def in_order(
    user: NDArray[np.integer], timestamp_s: NDArray[np.integer], item: NDArray[np.integer]
) -> NDArray[np.intp]:
    """Interactions by user, time and item; where all three are equal, the first one alone.

    So does a peer's store keep them: what is imported twice has happened once.
    """
    order = np.lexsort((item, timestamp_s, user))
    again = np.zeros(len(order), np.bool_)
    again[1:] = True
    for column in (user, timestamp_s, item):
        again[1:] &= column[order][1:] == column[order][:-1]
    return order[~again]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interactions:
    """Interactions of many users, sorted by user and then by time.

    Attributes:
        user_ids: External names; ``user`` indexes them.
        user: Shape ``(n,)``, not decreasing.
        item: Shape ``(n,)``, rows of the catalogue.
        timestamp_s: Shape ``(n,)``, UTC epoch seconds; not decreasing within a user.
        rating: Shape ``(n,)``; 1.0 for a check-in.
        friends: Pairs of users ``(n_pairs, 2)`` where the data has a social graph, else empty.
    """

    user_ids: tuple[str, ...]
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    timestamp_s: NDArray[np.int64]
    rating: NDArray[np.float32]
    friends: NDArray[np.int32]

    @classmethod
    def build(
        cls,
        *,
        users: Sequence[str],
        item: NDArray[np.int32],
        timestamp_s: NDArray[np.int64],
        rating: NDArray[np.float32],
    ) -> Interactions:
        """Number and sort interactions that come in any order, without a social graph.

        The same item at the same second is the same interaction, as of ``in_order``.

        Args:
            users: The user's name, one an interaction; numbers sort as numbers.
            item: Rows of the catalogue.
            timestamp_s: UTC epoch seconds.
            rating: 1.0 for a check-in.
        """
        names = sorted(set(users), key=lambda name: (len(name), name))
        index = {name: row for row, name in enumerate(names)}
        user = np.array([index[name] for name in users], np.int32)
        order = in_order(user, timestamp_s, item)
        return cls(
            user_ids=tuple(names),
            user=user[order],
            item=item[order],
            timestamp_s=timestamp_s[order],
            rating=rating[order],
            friends=np.empty((0, 2), np.int32),
        )

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """Users, those without an interaction included."""
        return len(self.user_ids)

    def history(self, user: int) -> History:
        """The interactions of one user, as views without a copy."""
        # Of the type of the users: else all of them are converted first, for each who asks.
        start, stop = np.searchsorted(self.user, np.array([user, user + 1], self.user.dtype))
        return History(
            item=self.item[start:stop],
            timestamp_s=self.timestamp_s[start:stop],
            rating=self.rating[start:stop],
        )
