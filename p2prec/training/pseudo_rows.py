"""Rows of items that an owner never met, as they would be had its peer learned of them.

A peer shows made-up places beside those that its owner goes to (``p2prec.privacy.protection``). To
look like a place that was learned of, a made-up one has to live like it: each round of training
moves it by as much as the place that it stands beside, and each merge averages it as it averages
all rows. The peer's own table holds nothing of this, so that its recommendations do not suffer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from p2prec.limits import LARGEST_VALUE
from p2prec.models.shelf import Shelf
from p2prec.models.stack import Stack, found
from p2prec.models.table import OTHERS, RowTable

_NOTHING = -1  # what an item that waits stands beside
_UNFIT = "they do not fit each other, or belong to another model or realm"
_STATE = ("pseudo_rows", "pseudo_like", "pseudo_values", "pseudo_evidence")


class PseudoRows:
    """Those of one peer.

    Beside them stand rows of items that the owner has met and that nobody has been told of yet, as
    they would be had the peer *not* learned of them: what such an item has moved by is what a
    made-up one has to have moved by when both are told of at last.

    Args:
        initial: Shape ``(n_items, width)``, the realm's initial rows.

    Attributes:
        table: Of the made-up items, and of those that wait.
        like: Shape ``(n,)``, the item that each row stands beside; -1 for one that waits.
    """

    __slots__ = ("_before", "like", "table")

    def __init__(self, initial: NDArray[np.float32]) -> None:
        shelf = Shelf(initial, n_dense=0, n_private=0, accumulator=0.0)
        self.table = RowTable(shelf, int(shelf.open(1)[0]))
        self.like = np.empty(0, np.int64)
        self._before: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def stack(self) -> Stack:
        """Of the one table."""
        return Stack(self.table.shelf, np.array([self.table.seat]))

    @property
    def is_made_up(self) -> NDArray[np.bool_]:
        """Shape ``(n,)``; the others wait."""
        made_up: NDArray[np.bool_] = self.like != _NOTHING
        return made_up

    @property
    def made_up(self) -> NDArray[np.int64]:
        """Items, ascending."""
        return self.table.rows[self.is_made_up].astype(np.int64)

    @property
    def waiting(self) -> NDArray[np.int64]:
        """Items, ascending."""
        return self.table.rows[~self.is_made_up].astype(np.int64)

    def wait(self, items: NDArray[np.int64], learned: RowTable) -> None:
        """The owner has met more items, of which nothing has been learned yet.

        Args:
            items: Unique ones, none of them here.
            learned: Of the peer.
        """
        nothing = np.full(len(items), _NOTHING, np.int64)
        self._add(items, nothing, learned.gather(items), learned.evidence_of(items))

    def show(self, made_up: NDArray[np.int64], like: NDArray[np.int64], learned: RowTable) -> None:
        """Made-up items come to stand beside items that wait.

        Args:
            made_up: Shape ``(n,)``, unique ones, none of them here.
            like: Shape ``(n,)``, the item that each stands beside.
            learned: Of the peer.
        """
        at = found(self.table.rows, like)[0]
        moved = _moved(self.table.whole_rows[at], learned.gather(like))
        gained = learned.evidence_of(like) - self.table.evidence[at]
        evidence = np.maximum(learned.evidence_of(made_up), 1.0)  # as of who has met it once
        self._add(made_up, like, learned.gather(made_up) + moved, evidence + gained)

    def move_in(self, items: NDArray[np.int64], learned: RowTable) -> None:
        """The owner has come to visit made-up items: their rows are the peer's own from now on.

        Had it gone on from its own rows, all that was made up of them would be gone at once, and
        everybody would see that they had been made up, and that what they stood beside was not.

        Args:
            items: Ascending, all of them here.
            learned: Of the peer.
        """
        here, there = found(self.table.rows, items)[0], learned.touch(items)
        learned.values[there] = self.table.values[here]
        learned.evidence[there] = np.maximum(learned.evidence[there], self.table.evidence[here])

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Let go all other rows.

        Args:
            kept: Shape ``(n,)``.
        """
        table = self.table
        self._replace(table.rows[kept], table.whole_rows[kept], table.evidence[kept])
        self.like = self.like[kept]

    def before_training(self, learned: RowTable) -> None:
        """Training of the peer is about to begin."""
        like = self.like[self.is_made_up]
        self._before = learned.gather(like), learned.evidence_of(like)

    def after_training(self, learned: RowTable) -> None:
        """It has ended: all has been learned of the made-up items as of those they stand beside."""
        if self._before is None:
            return
        (values, evidence), made_up = self._before, self.is_made_up
        like = self.like[made_up]
        self.table.values[made_up] += _moved(values, learned.gather(like))
        self.table.evidence[made_up] += learned.evidence_of(like) - evidence
        self._before = None
        self._mend()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays, enough for ``restore``; copies."""
        held = self.table.state()
        arrays = held["rows"], self.like.copy(), held["values"], held["evidence"]
        return dict(zip(_STATE, arrays, strict=True))

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from ``state``; what is no number begins anew.

        Raises:
            KeyError: An array is missing.
            ValueError: They do not fit each other, or the realm.
        """
        self.restore_items(state)
        values, evidence = (np.array(state[name], np.float32) for name in _STATE[2:])
        if values.shape != self.table.values.shape or evidence.shape != self.like.shape:
            raise ValueError(_UNFIT)
        self._replace(self.table.rows.copy(), values, evidence)
        self._mend()

    def restore_items(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """The items of ``state``, at the realm's initial rows.

        Raises:
            KeyError: An array is missing.
            ValueError: They do not fit each other, or the realm.
        """
        initial = self.table.initial
        rows, like = (np.array(state[name], np.int64) for name in _STATE[:2])
        fits = (
            rows.shape == like.shape == (len(rows),)
            and (np.diff(rows, prepend=-1, append=len(initial)) > 0).all()
            and ((like >= _NOTHING) & (like < len(initial))).all()
        )
        if not fits:
            raise ValueError(_UNFIT)
        self._replace(rows, initial.take(rows, axis=0), np.ones(len(rows), np.float32))
        self.like = like

    def _mend(self) -> None:
        """Let rows begin anew that nobody would take, as those of a training that diverged."""
        table = self.table
        # The comparison is false for NaN.
        taken = (np.abs(table.values) <= LARGEST_VALUE).all(axis=1)
        taken &= (table.evidence >= 0.0) & np.isfinite(table.evidence)
        if not taken.all():
            table.values[~taken] = table.initial[table.rows[~taken]]
            table.evidence[~taken] = 1.0

    def _add(
        self,
        rows: NDArray[np.int64],
        like: NDArray[np.int64],
        values: NDArray[np.float32],
        evidence: NDArray[np.float32],
    ) -> None:
        table = self.table
        rows = np.concatenate([table.rows, rows])
        order = np.argsort(rows)
        self._replace(
            rows[order],
            np.concatenate([table.whole_rows, values])[order],
            np.concatenate([table.evidence, evidence])[order],
        )
        self.like = np.concatenate([self.like, like])[order]

    def _replace(
        self,
        rows: NDArray[np.integer],
        values: NDArray[np.float32],
        evidence: NDArray[np.float32],
    ) -> None:
        unused = np.zeros(len(rows), np.float32)
        self.table.restore(rows=rows, values=values, accumulator=unused, evidence=evidence)
        self.table.own[:] = True  # of what is said of them


def _moved(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """By what rows have moved through training, which does not move what others say."""
    moved = after - before
    moved[:, OTHERS] = 0.0
    return moved
