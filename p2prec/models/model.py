"""What every model family offers: how it starts, learns from a step, scores and explains.

A model is stateless: formulas for one realm and one size. What a peer has learned lies in three
places. *Rows* of the item table and *dense* parameters leave the device inside model updates;
*private* parameters, such as a user vector, never do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.models.explored import Explored
from p2prec.models.moments import Moment, Timeline
from p2prec.models.recommender import Task
from p2prec.models.sessions import NO_SESSIONS, Sessions
from p2prec.models.stack import Stack
from p2prec.training.config import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """One state of what a peer has learned, to score with.

    Attributes:
        table: Shape ``(n_items, width)``.
        dense: Shape ``(n_dense,)``.
        private: Shape ``(n_private,)``.
        sessions: Of others, as far as the peer has been told of them.
    """

    table: NDArray[np.float32]
    dense: NDArray[np.float32]
    private: NDArray[np.float32]
    sessions: Sessions = NO_SESSIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step of the first peers of a stack learns from: one batch of each.

    Attributes:
        timelines: The owners' histories, one a peer.
        owner: Shape ``(n,)``, the peer of each example, ascending.
        at: Shape ``(n,)``, positions in the owners' histories.
        item: Shape ``(n,)``.
        rating: Shape ``(n,)``.
        sampled: What ``Model.sample`` drew for the examples.
        lessons: What the collaboration method adds for each peer, if anything.
    """

    timelines: Sequence[Timeline]
    owner: NDArray[np.int64]
    at: NDArray[np.int64]
    item: NDArray[np.int32]
    rating: NDArray[np.float32]
    sampled: NDArray[np.int32]
    lessons: Sequence[Explored | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGradient:
    """Gradient of the rows that one part of a step has read.

    Attributes:
        keys: Shape ``(n,)``, of a ``Stack``, unique and ascending.
        gradient: Shape ``(n, width)``, summed over examples.
        seen: Shape ``(n,)``, how often a row was a right answer.
        known: Shape ``(n,)``, rows that the owner has met; others change only where somebody has
            told about them.
        slots: Shape ``(n,)``, where in the shelf's columns the rows lie, if all of them are held
            and all are to be changed; the keys need not ascend then.
    """

    keys: NDArray[np.int64]
    gradient: NDArray[np.float32]
    seen: NDArray[np.float32]
    known: NDArray[np.bool_]
    slots: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """What one step over several peers found.

    Attributes:
        loss: Shape ``(n_peers,)``, summed over examples, lessons left out.
        dense: Shape ``(n_peers, n_dense)``, summed over examples.
        private: Shape ``(n_peers, n_private)``, summed over examples.
        rows: Applied one after the other.
    """

    loss: NDArray[np.float64]
    dense: NDArray[np.float32]
    private: NDArray[np.float32]
    rows: Sequence[RowGradient]


class Outlook(Protocol):
    """One situation, looked at with one state of the parameters."""

    def scores(self) -> NDArray[np.float32]:
        """Scores of all items in the sense of the task, shape ``(n_items,)``."""
        ...

    def explore_log_probabilities(self) -> NDArray[np.float32]:
        """Logarithm of a softmax over all items that are new in this situation."""
        ...

    def reasons(self, item: int) -> dict[str, float]:
        """Contribution to the score of an item by named signal."""
        ...


EMBEDDING_SIZES: tuple[int, ...] = (
    4,
    8,
    12,
    16,
    24,
    32,
    48,
    64,
)  # of families whose rows hold an embedding
Looking = Callable[[Moment | None], Outlook]
Observer = Callable[[Parameters, Moment | None], Outlook]


class Model(Protocol):
    """A model family in one size, for one realm and one task.

    Attributes:
        family: Name in the registry.
        name: Names everything that two models must share to be averaged, such as
            ``"next_place/16"``.
        tasks: What the family can learn.
        sizes: Embedding sizes that peers of one realm may exchange: what a stranger sends is
            checked against them.
        task: What the scores of this model mean.
        width: Columns of an item row: the embedding, ``OTHERS`` and ``BIAS``.
        n_dense: Shared dense parameters.
        n_private: Parameters that never leave the device.
        statistics: Which of the dense parameters are not trained, but averaged by gossip.
        own_bent: Shape ``(n_dense,)``, how much of its own value a peer keeps in a merge, 0 to 1;
            what is all its own is not sent either.
        row_rate: Factor on the learning rate of rows and private parameters.
        first: How many interactions a history needs before the first that can be learned from.
        heeds_biases: How far biases of new items may follow what others decide, 0 to 1. Little
            where one score ranks known and new items: new ones would come before known ones.
    """

    family: str
    tasks: frozenset[Task]
    sizes: tuple[int, ...]
    name: str
    task: Task
    width: int
    n_dense: int
    n_private: int
    statistics: slice
    own_bent: NDArray[np.float32]
    row_rate: float
    first: int
    heeds_biases: float

    def __init__(self, catalogue: Catalogue, embedding_size: int, task: Task) -> None: ...

    @property
    def of_moments(self) -> bool:
        """Whether scores depend on the moment; else none has to be worked out for them."""
        ...

    @property
    def dense_accumulator(self) -> float | NDArray[np.float32]:
        """Adagrad's start for dense parameters, one for all or one each.

        Where it is large against squared gradients, parameters learn at one pace, which hardly
        falls.
        """
        ...

    def initial_dense(self) -> NDArray[np.float32]:
        """Shared dense parameters before any training, the same in all peers."""
        ...

    def initial_private(self, timeline: Timeline) -> NDArray[np.float32]:
        """Private parameters before any training; may depend on the owner's history."""
        ...

    def dense_rates(self, *, explore_rate: float) -> NDArray[np.float32]:
        """Factor on the learning rate of each dense parameter; 0 where it is not trained."""
        ...

    def own_statistics(self, timeline: Timeline) -> NDArray[np.float32]:
        """What one owner adds to the statistics, flat; not negative, with a sum of at most 1."""
        ...

    def sample(
        self,
        timelines: Sequence[Timeline],
        owner: NDArray[np.int64],
        at: NDArray[np.int64],
        *,
        negatives: int,
        keys: NDArray[np.uint64],
    ) -> NDArray[np.int32]:
        """Draw the items with which interactions are compared.

        Args:
            timelines: Of the peers.
            owner: As of ``Step``.
            at: As of ``Step``.
            negatives: Items an interaction.
            keys: Of one stream a peer; an interaction draws the same whatever goes with it.
        """
        ...

    def rows_of_example(self, negatives: int) -> int:
        """How many rows one example reads, or other memory worth as much: bounds a group."""
        ...

    def gradients(self, stack: Stack, step: Step) -> Gradients:
        """One step of the first ``len(step.timelines)`` peers of the stack."""
        ...

    def observer(self) -> Observer:
        """A way to look at situations (none at all: a newcomer's), the same for all who ask.

        It keeps what is dear to compute.
        """
        ...

    def at_rest(self, now: Snapshot) -> Looking:
        """A way to look at situations with one state; what is dear is computed here and now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One state of what a peer has learned, as small as what it has changed.

    Attributes:
        initial: Shape ``(n_items, width)``, of the realm.
        rows: Shape ``(n_held,)``.
        values: Shape ``(n_held, width)``.
        dense: Shape ``(n_dense,)``.
        private: Shape ``(n_private,)``.
        sessions: As of ``Parameters``.
    """

    initial: NDArray[np.float32]
    rows: NDArray[np.int32]
    values: NDArray[np.float32]
    dense: NDArray[np.float32]
    private: NDArray[np.float32]
    sessions: Sessions = NO_SESSIONS

    def parameters(self) -> Parameters:
        """All that scoring needs."""
        table = self.initial.copy()
        table[self.rows] = self.values
        return Parameters(
            table=table, dense=self.dense, private=self.private, sessions=self.sessions
        )


@runtime_checkable
class Searching(Protocol):
    """A family that looks for a better form of what it stores, once a round."""

    def searched(self, now: Snapshot, timeline: Timeline, round_: int) -> Snapshot | None:
        """What is to take the place of ``now``, which has the same rows; None for no change."""
        ...


@runtime_checkable
class WholePass(Protocol):
    """A family with a compiled form of whole passes over the owners' interactions."""

    def whole_pass(
        self,
        stack: Stack,
        config: TrainingConfig,
        items: NDArray[np.int32],
        ratings: NDArray[np.float32],
        counts: NDArray[np.int64],
    ) -> NDArray[np.float64] | None:
        """All steps of all peers; the summed loss of each, or None where it takes single steps.

        Args:
            stack: Its peers learn.
            config: Of its peers.
            items: In the order in which they are learned, one peer after the other.
            ratings: Of them.
            counts: Examples of each peer.
        """
        ...
