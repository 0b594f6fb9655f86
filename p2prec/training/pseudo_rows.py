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

from p2prec.models.shelf import Shelf
from p2prec.models.stack import Stack, found
from p2prec.models.table import OTHERS, RowTable

_ROW, _LIKE = "pseudo_rows", "pseudo_like"
_PREFIX = "pseudo_"


class PseudoRows:
    """Those of one peer.

    Args:
        initial: Shape ``(n_items, width)``, the realm's initial rows.

    Attributes:
        table: Of the made-up items alone.
        like: Shape ``(n,)``, the item that each row stands beside.
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

    def show(self, made_up: NDArray[np.int64], like: NDArray[np.int64], learned: RowTable) -> None:
        """Other items from now on; those that were shown before stay as they are.

        Args:
            made_up: Shape ``(n,)``, ascending.
            like: Shape ``(n,)``, the item that each stands beside.
            learned: What the peer has heard of those that are new.
        """
        values = learned.gather(made_up)
        evidence = np.maximum(learned.evidence_of(made_up), 1.0)  # as of who has met it once
        at, shown = found(self.table.rows, made_up)
        values[shown] = self.table.whole_rows[at[shown]]
        evidence[shown] = self.table.evidence[at[shown]]
        self._replace(made_up, values, evidence)
        self.like = like

    def before_training(self, learned: RowTable) -> None:
        """Training of the peer is about to begin."""
        self._before = learned.gather(self.like), learned.evidence_of(self.like)

    def after_training(self, learned: RowTable) -> None:
        """It has ended: all has been learned of the made-up items as of those they stand beside."""
        if self._before is None:
            return
        values, evidence = self._before
        moved = learned.gather(self.like) - values
        moved[:, OTHERS] = 0.0  # which training does not move
        self.table.values[:] += moved
        self.table.evidence[:] += learned.evidence_of(self.like) - evidence
        self._before = None

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays, enough for ``restore``; copies."""
        held = self.table.state()
        return {
            _ROW: held["rows"],
            _LIKE: self.like.astype(np.uint32),
            _PREFIX + "values": held["values"],
            _PREFIX + "evidence": held["evidence"],
        }

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from ``state``; what is no number begins anew.

        Raises:
            KeyError: An array is missing.
            ValueError: They do not fit each other, or the realm.
        """
        initial = self.table.initial
        rows, like = (np.asarray(state[name], np.int64) for name in (_ROW, _LIKE))
        values = np.array(state[_PREFIX + "values"], np.float32)
        evidence = np.array(state[_PREFIX + "evidence"], np.float32)
        if not (
            rows.shape == like.shape == evidence.shape == (len(rows),)
            and values.shape == (len(rows), initial.shape[1])
            and (np.diff(rows) > 0).all()
            and all(
                items.min() >= 0 and items.max() < len(initial)
                for items in (rows, like)
                if len(rows)
            )
        ):
            raise ValueError("the stored rows of pseudo items do not fit each other or the realm")
        strayed = ~(np.isfinite(values).all(axis=1) & np.isfinite(evidence))
        values[strayed], evidence[strayed] = initial[rows[strayed]], 1.0
        self._replace(rows, values, evidence)
        self.like = like

    def _replace(
        self,
        rows: NDArray[np.int64],
        values: NDArray[np.float32],
        evidence: NDArray[np.float32],
    ) -> None:
        columns: dict[str, NDArray[np.generic]] = {
            "rows": rows,
            "values": values,
            "others": values[:, OTHERS],
            "accumulator": np.zeros(len(rows), np.float32),
            "evidence": evidence,
            "own": np.ones(len(rows), np.bool_),
        }
        self.table.shelf.replace(self.table.seat, columns)
