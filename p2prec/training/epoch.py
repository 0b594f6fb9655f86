"""One pass over the examples of peers, batched: the same code for one peer and for many.

Every step takes one batch of each peer that still has one, gathers the rows that the batches need
from each peer's own table, runs one forward and backward over all of them, and updates each peer's
rows. No peer's numbers depend on who else is in the batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from p2prec.models.explored import Explored
from p2prec.models.model import Batch, Stack
from p2prec.training.knowledge import Knowledge


@dataclass(slots=True, kw_only=True)
class Pupil:
    """One peer in an epoch, and what the epoch brought.

    Attributes:
        knowledge: Changed in place.
        rng: The peer's own stream.
        lessons: A share of them joins every step.
        loss: Summed over the examples.
        n_examples: Of the pass.
    """

    knowledge: Knowledge
    rng: np.random.Generator
    lessons: Sequence[Explored] = ()
    loss: float = field(default=0.0, init=False)
    n_examples: int = field(default=0, init=False)


def train_epoch(pupils: Sequence[Pupil]) -> None:
    """One pass over the examples of each peer; peers of one model and one setting go together."""
    classes = defaultdict(list)
    for pupil in pupils:
        classes[pupil.knowledge.model.name, pupil.knowledge.config].append(pupil)
    for together in classes.values():
        for drawn in zip_longest(*map(_batches, together)):
            steps = [(p, b) for p, b in zip(together, drawn, strict=True) if b is not None]
            _step([pupil for pupil, _ in steps], [batch for _, batch in steps])


def _batches(pupil: Pupil) -> Iterator[Batch]:
    knowledge, rng = pupil.knowledge, pupil.rng
    examples, size = knowledge.examples(), knowledge.config.batch_size
    pupil.n_examples = len(examples)
    order = rng.permutation(len(examples))
    for step, start in enumerate(range(0, len(order), size)):
        at = examples[order[start : start + size]]
        sampled = knowledge.model.sample(
            knowledge.timeline, at, negatives=knowledge.config.negatives, rng=rng
        )
        lesson = pupil.lessons[step % len(pupil.lessons)] if pupil.lessons else None
        yield Batch(timeline=knowledge.timeline, at=at, sampled=sampled, lesson=lesson)


def _step(pupils: Sequence[Pupil], batches: Sequence[Batch]) -> None:
    peers = [pupil.knowledge for pupil in pupils]
    stack = Stack(
        [peer.table for peer in peers],
        dense=np.stack([peer.dense for peer in peers]),
        private=np.stack([peer.private for peer in peers]),
    )
    found = peers[0].model.gradients(stack, batches)
    for number, (pupil, peer, batch) in enumerate(zip(pupils, peers, batches, strict=True)):
        pupil.loss += float(found.loss[number])
        peer.update_dense(found.dense[number] / len(batch.at))
        peer.update_private(found.private[number] / len(batch.at))
    for part in found.rows:
        start = 0
        for peer, rows in zip(peers, stack.split(part.keys), strict=True):
            own = slice(start, start + len(rows))
            start += len(rows)
            if len(rows):
                peer.update_rows(
                    rows, part.gradient[own], seen=part.seen[own], known=part.known[own]
                )
