"""What can happen to simulated peers, beside the events of their lives, and when."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, NamedTuple

from peers import events as ev
from peers.messages import Message
from peers.simulator.meeting import Announcement
from peers.simulator.peer import SimulatedPeer

# Peers of one group are computed together, others never: the last bits of a sum depend on the
# shape of what it is computed in, and results must not depend on the number of shards.
GROUP: Final = 128


def group_of(index: int) -> int:
    """In which group a peer is."""
    return index // GROUP


def shard_of(index: int, shards: int) -> int:
    """In which shard a peer lives."""
    return group_of(index) % shards


class Parcel(NamedTuple):
    """A message on its way.

    Attributes:
        arrival_s: Virtual seconds.
        sender: Index.
        number: Of what this sender has set going.
        to: Index.
        way: ``"tcp"`` or ``"mqtt"``.
        n_bytes: Of all its envelopes.
        created_s: When it was made by the sender's clock, UTC epoch seconds.
        message: None for the news that a message of the recipient's was not delivered.
        envelopes: Where messages are really sealed.
        doubled: Whether the network has made two of it.
        copy: Whether it is the later one of these.
        missed: Pseudonym under which the recipient was written to.
    """

    arrival_s: float
    sender: int
    number: int
    to: int
    way: str
    n_bytes: int
    created_s: float
    message: Message | None
    envelopes: tuple[bytes, ...] = ()
    doubled: bool = False
    copy: bool = False
    missed: str = ""


class Timeout(NamedTuple):
    """A timer of a life runs out, unless it was set again since.

    Attributes:
        timer: Which.
        generation: How often it was set before and then.
    """

    timer: ev.Timer
    generation: int


@dataclass(frozen=True, slots=True)
class Seen:
    """Adverts that a discovery shows."""

    announced: tuple[Announcement, ...]


@dataclass(frozen=True, slots=True)
class Fate:
    """What befalls a peer from outside: joins, sleeps, wakes, crashes, restarts, leaves."""

    what: str


@dataclass(frozen=True, slots=True)
class CheckIn:
    """The owner's history has grown to so many interactions."""

    known: int


@dataclass(slots=True)
class Outgoing:
    """What a slice sends to other peers, whichever shard they are in."""

    parcels: list[Parcel] = field(default_factory=list)
    announcements: list[Announcement] = field(default_factory=list)


HAPPENINGS: Final = (Parcel, Timeout, Seen, Fate, CheckIn)  # all that is no event of a life

Item = tuple[float, int, int, int, int, object]  # time, source, number, peer, life, event
_IN_ORDER: Final = itemgetter(0, 1, 2, 3)


class Calendar:
    """What is to happen to the peers of one shard, by slices of virtual time.

    Args:
        slice_s: Length of a slice.

    Attributes:
        slice: The one that is lived through, or was last.
        end_s: Its end, virtual seconds.
    """

    def __init__(self, slice_s: float) -> None:
        self._slice_s = slice_s
        self._slices: dict[int, list[Item]] = {}
        self._ahead: list[int] = []  # a heap of their numbers
        self.slice = -1
        self.end_s = 0.0

    def next_slice(self) -> int | None:
        """The next slice in which something happens."""
        return self._ahead[0] if self._ahead else None

    def begin(self, number: int) -> list[Item]:
        """All that happens in a slice, in order; what is scheduled now comes later."""
        self.slice, self.end_s = number, (number + 1) * self._slice_s
        items = self._slices.pop(number, [])
        if self._ahead and self._ahead[0] == number:  # else only another shard has work in it
            heapq.heappop(self._ahead)
        items.sort(key=_IN_ORDER)
        return items

    def schedule(  # noqa: PLR0917
        self, time_s: float, source: int, number: int, index: int, life: int, event: object
    ) -> None:
        """Let something happen to a peer, in the next slice at the earliest.

        Args:
            time_s: Virtual seconds.
            source: Index of the peer that has set it going.
            number: Of what that peer has set going.
            index: Of the peer.
            life: The only one of its lives that it concerns; 0 for any.
            event: What happens.
        """
        at = int(time_s / self._slice_s)
        if at <= self.slice:
            at = self.slice + 1
        items = self._slices.get(at)
        if items is None:
            items = self._slices[at] = []
            heapq.heappush(self._ahead, at)
        items.append((time_s, source, number, index, life, event))

    def later(self, peer: SimulatedPeer, time_s: float, event: object) -> None:
        """Let something happen to a peer in this life that it has set going itself."""
        self.schedule(time_s, peer.index, peer.number(), peer.index, peer.lives, event)

    def items(self) -> Iterator[tuple[int, Item]]:
        """All that is to happen, with the slices."""
        for at, items in self._slices.items():
            for item in items:
                yield at, item

    def restore(self, at: int) -> None:
        """Go on after a slice, with nothing to happen."""
        self.slice, self.end_s = at, (at + 1) * self._slice_s
        self._slices, self._ahead = {}, []

    def put(self, at: int, item: Item) -> None:
        """One of ``items`` again."""
        if at not in self._slices:
            self._slices[at] = []
            heapq.heappush(self._ahead, at)
        self._slices[at].append(item)
