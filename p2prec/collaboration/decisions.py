"""What peers decide after reference sequences: computed for many peers, one sequence at a time.

What a model says of a whole catalogue is as long as the catalogue, and its parameters laid ready
are longer. Neither outlives the computation: of a decision that part is kept which its peer reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import ReferenceSequence, SoftPredictions
from p2prec.collaboration.references import moment_after
from p2prec.models.highest import highest
from p2prec.models.model import Looking
from p2prec.training.knowledge import Knowledge

FLOOR: Final = 1e-6  # of a probability
_READY_VALUES: Final = 1 << 20  # of the tables that lie ready at once: 4 MiB

References = Mapping[bytes, ReferenceSequence]


@dataclass(frozen=True, slots=True, kw_only=True)
class Soft:
    """A soft decision, as much of it as somebody needs.

    Attributes:
        items: Shape ``(n,)``, ascending.
        shares: Shape ``(n,)``, their probabilities.
    """

    items: NDArray[np.int64]
    shares: NDArray[np.float64]

    def of(self, items: NDArray[np.integer]) -> NDArray[np.float64]:
        """Probabilities of some of the items."""
        shares: NDArray[np.float64] = self.shares[np.searchsorted(self.items, items)]
        return shares


class Asked(Protocol):
    """A peer that is to decide after some reference sequences.

    Attributes:
        knowledge: Its own.
        after: The sequences.
    """

    @property
    def knowledge(self) -> Knowledge: ...

    @property
    def after(self) -> References: ...

    def take(self, name: bytes, own: NDArray[np.float64]) -> None:
        """Keep of a decision what is needed.

        Args:
            name: Of the sequence.
            own: Shape ``(n_items,)``, the explore softmax after it; may be written to.
        """
        ...


def decided(asked: Sequence[Asked]) -> Iterator[tuple[int, Looking]]:
    """Let peers decide; the answers of one do not depend on the others.

    Peers of one model decide after one sequence before the next one comes: what the model computes
    of a situation, such as how all places lie to it, it then computes once.

    Yields:
        In any order the number of each peer that has taken all its decisions, and a way to look at
        further situations as it was when it was asked.
    """
    alike = defaultdict(list)
    for number, each in enumerate(asked):
        alike[id(each.knowledge.model)].append(number)
    for numbers in alike.values():
        size = max(1, _READY_VALUES // asked[numbers[0]].knowledge.table.initial.size)
        for start in range(0, len(numbers), size):
            yield from _decided(asked, numbers[start : start + size])


def _decided(asked: Sequence[Asked], numbers: Sequence[int]) -> list[tuple[int, Looking]]:
    """Peers of one model, as many as may lie ready at once."""
    ready, asking = [], defaultdict(list)
    for number in numbers:
        knowledge = asked[number].knowledge
        look = knowledge.model.at_rest(knowledge.snapshot())
        ready.append((number, look))
        for name in asked[number].after:
            asking[name].append((asked[number], look))
    for name in sorted(asking):
        for each, look in asking[name]:
            moment = moment_after(each.knowledge.catalogue, each.after[name])
            logs = look(moment).explore_log_probabilities()
            each.take(name, np.exp(logs).astype(np.float64))
    return ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """What a peer is about to say of its decisions: the likeliest places of each.

    Attributes:
        knowledge: Its own.
        after: The sequences that it speaks of.
        top: Places of each.
        shown: Places that are favoured.
        favour: By so much, a logit.
        said: What it has decided.
    """

    knowledge: Knowledge
    after: References
    top: int
    shown: NDArray[np.int64]
    favour: float
    said: dict[bytes, Soft] = field(default_factory=dict)

    def take(self, name: bytes, own: NDArray[np.float64]) -> None:
        """As of ``Asked``."""
        own[self.shown] *= np.exp(self.favour)
        own /= own.sum()
        best = np.sort(highest(own, self.top))
        self.said[name] = Soft(items=best, shares=own[best])

    def payload(self, round_: int) -> SoftPredictions:
        """The message, after all was taken."""
        said = [self.said[name] for name in self.after]
        logs = [np.log(np.maximum(soft.shares, FLOOR)) for soft in said]
        return SoftPredictions(
            round=round_,
            references=tuple(self.after),
            items=np.stack([soft.items for soft in said]).astype(np.uint32),
            log_probabilities=np.stack(logs).astype(np.float32),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """A peer that listens to teachers: of its own decisions it reads what these speak of.

    Attributes:
        knowledge: Its own.
        after: The sequences that it compares decisions on.
        teachers: What each of them says, of these sequences and of others.
        speakers: Of each sequence, who speaks of it and in which row of the message.
        own: What it has decided.
        rejected: Why others do not teach.
    """

    knowledge: Knowledge
    after: References
    teachers: Mapping[str, SoftPredictions]
    speakers: Mapping[bytes, Sequence[tuple[str, int]]]
    rejected: Mapping[str, str]
    own: dict[bytes, Soft] = field(default_factory=dict)

    def take(self, name: bytes, own: NDArray[np.float64]) -> None:
        """As of ``Asked``."""
        named = [self.teachers[sender].items[row] for sender, row in self.speakers[name]]
        items = np.unique(np.concatenate(named)).astype(np.int64)
        self.own[name] = Soft(items=items, shares=own[items])
