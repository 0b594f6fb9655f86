"""What one peer has learned: its rows, its dense and private parameters, and from what."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.embeddings.initial import initial_table
from p2prec.models.model import Model, Parameters, Searching, Snapshot
from p2prec.models.moments import Timeline
from p2prec.models.sessions import NO_SESSIONS
from p2prec.models.shelf import MAX_SEATS, Shelf
from p2prec.models.stack import Stack
from p2prec.models.table import RowTable
from p2prec.training.config import TrainingConfig
from p2prec.training.divergence import set_back
from p2prec.training.pseudo_rows import PseudoRows

ROW_ACCUMULATOR = 1e-3  # Adagrad's start for rows: the first step of a row is a large one
# Held rows that are worked on at once: what is computed about them stays in a core's cache.
_ROWS_TOGETHER = 1 << 18


class Knowledge:
    """The learnable state of one peer.

    Attributes:
        model: The formulas.
        table: Item rows. Their evidence says how often a row was a target or part of a sequence,
            by this peer or by those it listened to.
        timeline: The owner's history.
        n_examples: How many of the newest interactions can be learned from.
        pseudo_rows: Of the items that are shown beside the owner's; None until
            ``p2prec.privacy.protection`` shows some.
        sessions: Of others, as far as the collaboration method has gathered any.
    """

    __slots__ = (
        "catalogue", "config", "history", "model", "n_examples", "pseudo_rows", "sessions", "table",
        "timeline",
    )  # fmt: skip

    def __init__(
        self, catalogue: Catalogue, model: Model, config: TrainingConfig, history: History
    ) -> None:
        self.catalogue = catalogue
        self.model = model
        self.config = _one_of_equal(config)
        initial = initial_table(catalogue.digest, "items", len(catalogue), model.width)
        shelf = Shelf(
            initial,
            n_dense=model.n_dense,
            n_private=model.n_private,
            n_statistics=model.statistics.stop - model.statistics.start,
            accumulator=ROW_ACCUMULATOR,
        )
        self.table = RowTable(shelf, int(shelf.open(1)[0]))
        self.pseudo_rows: PseudoRows | None = None
        self.sessions = NO_SESSIONS
        self.reset_history(history)
        self.dense = model.initial_dense()
        self.dense_accumulator = np.full(model.n_dense, model.dense_accumulator, np.float32)
        self.private = self._row("private_start")
        self.private_accumulator = np.full(model.n_private, ROW_ACCUMULATOR, np.float32)

    def __del__(self) -> None:
        table = getattr(self, "table", None)  # none where the constructor has failed
        if table is not None:
            table.shelf.close(table.seat)

    @property
    def n_in_pass(self) -> int:
        """How many interactions one pass learns from."""
        wanted = self.n_examples * self.config.example_share
        return math.ceil(round(wanted, 9))  # 7 of 100 are 7, whatever the last bit says

    @property
    def dense(self) -> NDArray[np.float32]:
        """Shape ``(n_dense,)``, shared with others; may be written to."""
        return self._row("dense")

    @dense.setter
    def dense(self, values: NDArray[np.floating]) -> None:
        self._row("dense")[:] = values

    @property
    def dense_accumulator(self) -> NDArray[np.float32]:
        """Shape ``(n_dense,)``, of Adagrad."""
        return self._row("dense_accumulator")

    @dense_accumulator.setter
    def dense_accumulator(self, values: NDArray[np.floating]) -> None:
        self._row("dense_accumulator")[:] = values

    @property
    def private(self) -> NDArray[np.float32]:
        """Shape ``(n_private,)``; no payload is made of it. May be written to."""
        return self._row("private")

    @private.setter
    def private(self, values: NDArray[np.floating]) -> None:
        self._row("private")[:] = values

    @property
    def private_accumulator(self) -> NDArray[np.float32]:
        """Shape ``(n_private,)``, of Adagrad."""
        return self._row("private_accumulator")

    @private_accumulator.setter
    def private_accumulator(self, values: NDArray[np.floating]) -> None:
        self._row("private_accumulator")[:] = values

    def _row(self, name: str) -> NDArray[np.float32]:
        row: NDArray[np.float32] = getattr(self.table.shelf, name)[self.table.seat]
        return row

    def reset_history(self, history: History) -> None:
        """Learn from ``history`` from now on."""
        self.history = history
        self.timeline = Timeline(self.catalogue, history)
        usable = len(self.timeline) - self.model.first
        self.n_examples = max(0, min(usable, self.config.max_examples))
        self._row("private_start")[:] = self.model.initial_private(self.timeline)
        self._row("said")[:] = self.model.own_statistics(self.timeline)
        self.hold_own()

    def hold_own(self) -> None:
        """Hold the rows of all that the owner has met."""
        at = self.table.touch(self.timeline.own)
        # A visit alone is evidence, so that places older than the oldest example are spoken of too.
        self.table.evidence[at] = np.maximum(self.table.evidence[at], 1.0)
        self.table.own[:] = False
        self.table.own[at] = True

    @contextmanager
    def mirrored(self) -> Iterator[None]:
        """Let pseudo items move with the places that they stand beside, by whatever moves these.

        All that moves rows but averaging belongs in here: what moves alone is seen to be real.
        """
        shown = self.pseudo_rows
        if shown is not None:
            shown.before_training(self.table)
        yield
        if shown is not None:
            shown.after_training(self.table)

    def mend(self) -> None:
        """Let what is no number begin anew, as it may be in what an earlier run has stored."""
        stack = Stack(self.table.shelf, np.array([self.table.seat]))
        set_back(stack, self.model, accumulator=ROW_ACCUMULATOR, rows=True)

    def search(self, round_: int) -> None:
        """Let a family that looks for a better form of what it stores take a step."""
        if not isinstance(self.model, Searching):
            return
        found = self.model.searched(self.snapshot(), self.timeline, round_)
        if found is not None:
            self.table.values[:] = found.values
            self.dense = found.dense

    def parameters(self) -> Parameters:
        """A copy of all that scoring needs."""
        return self.snapshot().parameters()

    def snapshot(self) -> Snapshot:
        """A copy of what differs from the start; it no longer changes."""
        return Snapshot(
            initial=self.table.initial,
            rows=self.table.rows.copy(),
            values=self.table.whole_rows,
            dense=self.dense.copy(),
            private=self.private.copy(),
            sessions=self.sessions,
        )


@lru_cache(maxsize=64)
def _one_of_equal(config: TrainingConfig) -> TrainingConfig:
    """The same object for equal settings, so that peers are told apart without comparing them."""
    return config


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Peers that are worked on at once.

    Attributes:
        members: Their places in what was grouped.
        model: Of all of them.
        config: Of all of them.
        stack: Their rows and vectors; its peer ``i`` is ``members[i]``.
    """

    members: list[int]
    model: Model
    config: TrainingConfig
    stack: Stack


def grouped(
    peers: Sequence[Knowledge], *, more_rows: Sequence[int] | None = None
) -> Iterator[Group]:
    """All peers in groups of one model and setting, each group small enough for a cache.

    Peers that are worked on together come to sit together. A group is laid out when it is reached:
    until the next one, no row of these peers may be inserted but through its stack.

    Args:
        peers: Different ones; the order within a group is theirs.
        more_rows: Of each peer, beside those that it holds.
    """
    more = np.array(more_rows if more_rows is not None else np.zeros(len(peers)), np.int64)
    for numbers in _apart(range(len(peers)), [(id(p.model), id(p.config)) for p in peers]):
        for members in shelved(peers, numbers):
            first = peers[members[0]]
            shelf = first.table.shelf
            seats = np.array([peers[i].table.seat for i in members])
            for part in _parts(shelf.length[seats] + more[members]):
                yield Group(
                    members=members[part],
                    model=first.model,
                    config=first.config,
                    stack=Stack(shelf, seats[part]),
                )


def shelved(peers: Sequence[Knowledge], numbers: Sequence[int]) -> Iterable[list[int]]:
    """Let some peers, all of one model and setting, sit together: the numbers on each shelf."""
    _seat_together([peers[i] for i in numbers])
    return _apart(numbers, [id(peers[i].table.shelf) for i in numbers])


def _apart(numbers: Sequence[int], kinds: Sequence[Hashable]) -> Iterable[list[int]]:
    """Numbers of each kind; nearly always there is one kind only."""
    if len(set(kinds)) == 1:
        return [list(numbers)]
    found = defaultdict(list)
    for number, kind in zip(numbers, kinds, strict=True):
        found[kind].append(number)
    return found.values()


def _parts(rows: NDArray[np.int64]) -> Iterator[slice]:
    """Slices of peers with so many rows each."""
    ends, start = np.cumsum(rows), 0
    while start < len(rows):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + _ROWS_TOGETHER, side="right")), start + 1)
        yield slice(start, stop)
        start = stop


def _seat_together(peers: Sequence[Knowledge]) -> None:
    """Move peers of one model to the largest of their shelves, as far as it has room."""
    shelves = {id(peer.table.shelf): peer.table.shelf for peer in peers}
    if len(shelves) == 1:
        return
    # Shelves that are more than half full are good as they are: nobody moves again and again.
    small = [s for s in shelves.values() if s.n_seats <= MAX_SEATS // 2]
    target = max(small, key=lambda s: s.n_seats, default=None)
    if target is None:
        return
    away = {id(shelf) for shelf in small if shelf is not target}
    moving = [peer for peer in peers if id(peer.table.shelf) in away]
    room = MAX_SEATS - target.n_seats
    moving, rest = moving[:room], moving[room:]
    if not moving:
        return
    seats = target.open(len(moving))
    target.take_over(seats, [(peer.table.shelf, peer.table.seat) for peer in moving])
    for peer, seat in zip(moving, seats.tolist(), strict=True):
        peer.table.shelf.close(peer.table.seat)
        peer.table = RowTable(target, seat)
    if rest:
        _seat_together(rest)
