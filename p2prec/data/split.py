"""Chronological leave-one-out: the last interaction tests, the one before validates."""

from __future__ import annotations

from dataclasses import dataclass

from p2prec.data.interactions import History

MIN_HISTORY = 3  # one interaction at least to learn from, one to validate, one to test


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One owner's interactions; ``validation`` and ``test`` hold one each, or none."""

    train: History
    validation: History
    test: History


def leave_one_out(history: History) -> Split:
    """Split by time; a history of fewer than three interactions is all for training."""

    def part(start: int, stop: int) -> History:
        return History(
            item=history.item[start:stop],
            timestamp_s=history.timestamp_s[start:stop],
            rating=history.rating[start:stop],
        )

    n = len(history)
    cut = n - 2 if n >= MIN_HISTORY else n
    return Split(train=part(0, cut), validation=part(cut, cut + 1), test=part(cut + 1, cut + 2))
