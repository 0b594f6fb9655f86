"""One pass over the examples of peers, batched: the same code for one peer and for many.

Every step takes one batch of each peer that still has one, gathers the rows that the batches need
from each peer's own table, runs one forward and backward over all of them, and updates each peer's
rows. No peer's numbers depend on who else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from p2prec.draws import bits, stream
from p2prec.models.explored import Explored
from p2prec.models.model import Model, Step, WholePass
from p2prec.models.moments import Timeline
from p2prec.training.adagrad import per_example, update_rows, update_vectors
from p2prec.training.config import TrainingConfig
from p2prec.training.divergence import set_back
from p2prec.training.knowledge import ROW_ACCUMULATOR, Group, Knowledge, grouped

_ORDER, _SAMPLE = 0, 1  # purposes of streams within an epoch
_PLACE_BITS, _PEER_BITS = 20, 16  # of a place in one epoch, and of a peer in a group
_SIDE_BY_SIDE = 16  # owners whose places are sorted at once; they have about as many
_LAST = np.uint64((1 << 64) - 1)


@dataclass(slots=True, kw_only=True)
class Pupil:
    """One peer in an epoch, and what the epoch brought.

    Attributes:
        knowledge: Changed in place.
        key: Of the peer's own stream in this epoch, as of ``p2prec.draws``.
        lessons: A share of them joins every step.
        loss: Summed over the examples.
        n_examples: Of the pass.
        diverged: Whether anything had to go back to its start after it.
    """

    knowledge: Knowledge
    key: np.uint64
    lessons: Sequence[Explored] = ()
    loss: float = field(default=0.0, init=False)
    n_examples: int = field(default=0, init=False)
    diverged: bool = field(default=False, init=False)


def train_epoch(pupils: Sequence[Pupil]) -> None:
    """One pass over the examples of each peer."""
    for pupil in pupils:
        pupil.n_examples = pupil.knowledge.n_in_pass
    # Those with the most steps first: whoever goes on in a group is at its front.
    going = sorted((p for p in pupils if p.n_examples), key=lambda p: -p.n_examples)
    peers = [pupil.knowledge for pupil in going]
    reading = [
        min(p.n_examples, p.config.batch_size) * p.model.rows_of_example(p.config.negatives)
        for p in peers
    ]
    for group in grouped(peers, more_rows=reading):
        learning = [going[i] for i in group.members]
        examples = Examples.of([pupil.knowledge for pupil in learning])
        drawn = examples.drawn(np.array([pupil.key for pupil in learning]))
        loss = learn(group, drawn, lessons=[pupil.lessons for pupil in learning])
        for pupil, total in zip(learning, loss.tolist(), strict=True):
            pupil.loss = total
        diverged = mended(group)
        if diverged is not None:
            for i in np.flatnonzero(diverged).tolist():
                learning[i].diverged = True


def learn(
    group: Group, drawn: Pass, *, lessons: Sequence[Sequence[Explored]]
) -> NDArray[np.float64]:
    """One pass over the examples of a group; the summed loss of each peer, lessons left out.

    Args:
        group: Its peers learn; those with more examples come first.
        drawn: What they learn from, at least one example each.
        lessons: Of each peer.
    """
    model, config, stack = group.model, group.config, group.stack
    total = None
    if isinstance(model, WholePass) and not any(lessons):
        total = model.whole_pass(stack, config, drawn.items, drawn.ratings, drawn.counts)
    if total is None:
        total = np.zeros(len(stack))
        for step in _steps(group, drawn, lessons):
            n_peers = len(step.timelines)
            found = model.gradients(stack, step)
            size = np.bincount(step.owner, minlength=n_peers).astype(np.float32)[:, None]
            total[:n_peers] += found.loss
            dense = per_example(model, found.dense, size)
            update_vectors(stack, model, config, dense=dense, private=found.private / size)
            for part in found.rows:
                update_rows(stack, model, config, part)
    stack.store()
    return total


def mended(group: Group) -> NDArray[np.bool_] | None:
    """Let what has diverged in the group's last pass begin anew, as of ``set_back``."""
    return set_back(group.stack, group.model, accumulator=ROW_ACCUMULATOR, rows=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What some peers can learn from, one peer after the other.

    Attributes:
        timelines: Of the peers.
        counts: Shape ``(n_peers,)``, examples.
        in_pass: Shape ``(n_peers,)``, how many of them one pass uses.
        first: Shape ``(n_peers,)``, the position in the owner's history of each peer's first one.
        items: Shape ``(n,)``, the oldest of each peer first.
        ratings: Shape ``(n,)``.
    """

    timelines: Sequence[Timeline]
    counts: NDArray[np.int64]
    in_pass: NDArray[np.int64]
    first: NDArray[np.int64]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]

    @classmethod
    def of(cls, peers: Sequence[Knowledge]) -> Examples:
        """The newest ones of each."""
        counts = [peer.n_examples for peer in peers]
        histories = [peer.history for peer in peers]
        n = np.array(counts)
        newest = list(zip(histories, counts, strict=True))
        return cls(
            timelines=[peer.timeline for peer in peers],
            counts=n,
            in_pass=np.array([peer.n_in_pass for peer in peers]),
            first=np.array([len(history.item) for history in histories]) - n,
            items=np.concatenate([history.item[-m:] for history, m in newest]),
            ratings=np.concatenate([history.rating[-m:] for history, m in newest]),
        )

    def drawn(self, keys: NDArray[np.uint64]) -> Pass:
        """Those of one pass, in random order.

        Args:
            keys: Of a stream of each peer.
        """
        owner, place, starts = _one_after_the_other(self.counts)
        shuffled = _shuffled(owner, place, stream(keys, _ORDER).repeat(self.counts))
        which = starts.repeat(self.in_pass)
        if (self.in_pass < self.counts).any():
            shuffled = shuffled[place < self.in_pass[owner]]
            owner, place, starts = _one_after_the_other(self.in_pass)
        which += shuffled
        return Pass(
            timelines=self.timelines,
            counts=self.in_pass,
            owner=owner,
            place=place,
            starts=starts,
            first=self.first,
            sampling=stream(keys, _SAMPLE),
            shuffled=shuffled,
            items=self.items.take(which),
            ratings=self.ratings.take(which),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What some peers learn from in one pass, in its order, one peer after the other.

    Attributes:
        timelines: Of the peers.
        counts: Shape ``(n_peers,)``, examples of each.
        owner: Shape ``(n,)``, the peer of each example.
        place: Shape ``(n,)``, its place in the order of its peer.
        starts: Shape ``(n_peers,)``, the first example of each.
        first: As of ``Examples``.
        sampling: Key of each peer's stream of samples.
        shuffled: Shape ``(n,)``, the place of each among all examples of its peer.
        items: Shape ``(n,)``.
        ratings: Shape ``(n,)``.
    """

    timelines: Sequence[Timeline]
    counts: NDArray[np.int64]
    owner: NDArray[np.int64]
    place: NDArray[np.int64]
    starts: NDArray[np.int64]
    first: NDArray[np.int64]
    sampling: NDArray[np.uint64]
    shuffled: NDArray[np.int64]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]

    def step(
        self,
        model: Model,
        config: TrainingConfig,
        members: NDArray[np.int64],
        *,
        part: NDArray[np.int64],
        lessons: Sequence[Explored | None],
    ) -> Step:
        """One step of some peers.

        Args:
            model: Of all of them.
            config: Of all of them.
            members: The peers, ascending.
            part: Which examples, ascending by peer.
            lessons: One for each of the members.
        """
        timelines = [self.timelines[i] for i in members.tolist()]
        owner = np.searchsorted(members, self.owner[part])
        at = self.shuffled[part] + self.first[self.owner[part]]
        keys = self.sampling[members]
        return Step(
            timelines=timelines,
            owner=owner,
            at=at,
            item=self.items[part],
            rating=self.ratings[part],
            sampled=model.sample(timelines, owner, at, negatives=config.negatives, keys=keys),
            lessons=lessons,
        )


def _steps(group: Group, drawn: Pass, lessons: Sequence[Sequence[Explored]]) -> Iterator[Step]:
    model, config = group.model, group.config
    step = drawn.place // config.batch_size
    by_step = np.argsort(step, kind="stable")  # peers stay in order within a step
    ends = np.cumsum(np.bincount(step))
    for number, (start, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        part = by_step[start:stop]
        n_peers = int(drawn.owner[part[-1]]) + 1
        going = [own[number % len(own)] if own else None for own in lessons[:n_peers]]
        yield drawn.step(model, config, np.arange(n_peers), part=part, lessons=going)


def _one_after_the_other(
    counts: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of so many examples of each peer: the peer, the place among its own, and where they begin."""
    starts = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - starts[owner], starts


def _shuffled(
    owner: NDArray[np.int64], place: NDArray[np.int64], keys: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """The places of each owner in random order; owners ascend; the keys are those of each place.

    One sort of whole numbers: the owner, then random bits, then the place.
    """
    packed = bits(keys, place)
    packed >>= np.uint64(_PLACE_BITS + _PEER_BITS)
    packed <<= np.uint64(_PLACE_BITS)
    packed |= owner.view(np.uint64) << np.uint64(64 - _PEER_BITS)
    packed |= place.view(np.uint64)
    _sort_each(packed, np.bincount(owner))
    packed &= np.uint64((1 << _PLACE_BITS) - 1)
    return packed.view(np.int64)


def _sort_each(packed: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
    """Sort the numbers of each owner, in place; some owners side by side.

    Short rows are sorted in registers, ten times as fast as all of the numbers at once.
    """
    ends = np.cumsum(counts)
    for first in range(0, len(counts), _SIDE_BY_SIDE):
        lengths = counts[first : first + _SIDE_BY_SIDE]
        part = packed[ends[first] - counts[first] : ends[first + len(lengths) - 1]]
        held = np.arange(lengths.max()) < lengths[:, None]
        rows = np.full(held.shape, _LAST)
        rows[held] = part
        rows.sort(axis=1)
        part[:] = rows[held]
