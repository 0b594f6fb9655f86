"""What a family of recommenders over item vectors says: its taste, and the gradient by hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.models.context import Surrounded
from p2prec.models.layout import DenseLayout
from p2prec.models.moments import Moment, Timeline
from p2prec.models.tabled import Floats, Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What tastes are computed from; ``n`` situations with ``k`` candidates each.

    Attributes:
        vectors: Shape ``(n, k, size)``, of the candidates.
        user: Shape ``(n, n_user)``.
        owner: Shape ``(n,)``, the peer of each situation, ascending.
        dense: Shape ``(n_peers, n_own)``, what the family shares, as its ``shapes`` say.
        past: Shape ``(n, length, size)``, vectors of the recent items, newest last, zeros in front;
            of no length where the family does not read them.
        held: Shape ``(n, length)``, false where there is no such item.
        shares: Shape ``(n, length)``, of others that know each of the recent items.
        context: What else is known; no fields where the family does not ask.
    """

    vectors: Floats
    user: Floats
    owner: NDArray[np.int64]
    dense: Floats
    past: Floats
    held: NDArray[np.bool_]
    shares: Floats
    context: Surrounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Gradients by what a ``Batch`` holds; of the same shapes.

    Attributes:
        vectors: By the candidates' vectors.
        user: By the users' vectors.
        dense: By what the family shares.
        past: By the recent items' vectors, if they were read.
    """

    vectors: Floats
    user: Floats
    dense: Floats
    past: Floats | None = None


class Taste(ABC):
    """What is a family's own.

    Attributes:
        reads_past: Whether taste comes from the recent items: nobody's user vector is folded in.
        reads_context: Whether it depends on when and where a recommendation is asked for.
        own_layout: Where in its part of the dense parameters each of ``shapes`` lies.
        own_accumulator: Adagrad's start for them.
        own_rate: Factor on their learning rate.
    """

    reads_past: ClassVar[bool] = False
    reads_context: ClassVar[bool] = False
    own_accumulator: ClassVar[float] = 0.1
    own_rate: float = 1.0
    size: int
    own_layout: DenseLayout

    def user_size(self, size: int) -> int:
        """Length of the user's own vector; 0 where the recent items take its place."""
        return 0 if self.reads_past else size

    def shapes(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """What the family shares, by name; none here."""
        del size
        return {}

    def initial_own(self, rng: np.random.Generator) -> Floats:
        """What it starts from, flat; the same in all peers of a realm."""
        del rng
        return np.zeros(self.own_layout.size, np.float32)

    def context_of(
        self,
        timelines: Sequence[Timeline],
        owner: NDArray[np.int64],
        at: NDArray[np.int64],
        items: NDArray[np.int32],
    ) -> Surrounded:
        """What else is known before interactions.

        Args:
            timelines: Of the peers.
            owner: Shape ``(n,)``, ascending.
            at: Shape ``(n,)``, positions in the owners' histories.
            items: Shape ``(n, k)``.
        """
        del timelines, owner, at
        return Surrounded.nothing(items.shape)

    def context_now(
        self, moments: Sequence[Moment | None], items: NDArray[np.integer[Any]]
    ) -> Surrounded:
        """The same of ``n`` situations."""
        del moments
        return Surrounded.nothing(items.shape)

    @abstractmethod
    def taste(self, batch: Batch) -> tuple[Floats, Any]:
        """Shape ``(n, k)``, and what ``taste_back`` needs."""

    @abstractmethod
    def taste_back(self, batch: Batch, tape: Any, errors: Floats) -> Parts:
        """Gradients by everything in the batch.

        Args:
            batch: As before.
            tape: Of ``taste``.
            errors: Shape ``(n, k)``, derivatives by tastes.
        """

    @abstractmethod
    def tastes(self, asked: Batch, source: Vectors, moment: Moment | None, n: int) -> Floats:
        """As ``taste``, of all items in one situation, shape ``(n,)``.

        Args:
            asked: One situation without candidates.
            source: Their vectors.
            moment: The situation; None of a newcomer.
            n: How many items there are.
        """


def by_peer(owner: NDArray[np.int64], values: Floats, n_peers: int) -> Floats:
    """Sums over the examples of each peer; owners ascend.

    Args:
        owner: Shape ``(n,)``.
        values: Shape ``(n, ...)``.
        n_peers: How many there are.

    Returns:
        Shape ``(n_peers, ...)``.
    """
    total = np.zeros((n_peers, *values.shape[1:]), np.float32)
    firsts = np.flatnonzero(np.diff(owner, prepend=-1))
    if len(firsts):
        total[owner[firsts]] = np.add.reduceat(values, firsts, axis=0)
    return total
