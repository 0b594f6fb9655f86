"""The modelled discovery: presence by mDNS on local networks, and on a broker by cell.

What a broker retains and a responder answers with is a table of adverts by topic; each shard of a
run keeps the whole table, and tells those of its own peers that look at a topic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from peers.events import Source
from peers.messages import Advert


class Topic(NamedTuple):
    """Where an advert is shown: a cell's label, and a part of it."""

    source: Source
    label: str
    part: int


@dataclass(frozen=True, slots=True)
class Announcement:
    """A peer shows its advert on a topic, or takes it back.

    Attributes:
        at_s: Virtual seconds.
        peer: Index.
        topic: Where.
        advert: What.
        gone: Whether it is taken back.
    """

    at_s: float
    peer: int
    topic: Topic
    advert: Advert
    gone: bool = False


class MeetingPlaces:
    """Who shows itself where, and who looks there."""

    def __init__(self) -> None:
        self._shown: dict[Topic, dict[int, Advert]] = defaultdict(dict)
        self._looking: dict[Topic, list[int]] = defaultdict(list)

    def take(self, said: Announcement) -> list[int]:
        """Note an announcement; returns those of this shard who hear of it."""
        shown = self._shown[said.topic]
        if said.gone:
            shown.pop(said.peer, None)
        else:
            shown[said.peer] = said.advert
        return [i for i in self._looking[said.topic] if i != said.peer]

    def look(self, peer: int, topic: Topic) -> list[tuple[int, Advert]]:
        """Let a peer of this shard look at a topic from now on; returns what is there."""
        looking = self._looking[topic]
        if peer in looking:
            return []
        looking.append(peer)
        return [(i, advert) for i, advert in self._shown[topic].items() if i != peer]

    def close_eyes(self, peer: int, topics: list[Topic]) -> None:
        """A peer looks there no longer."""
        for topic in topics:
            if peer in self._looking[topic]:
                self._looking[topic].remove(peer)

    def sweep(self, before_s: float) -> None:
        """Forget adverts that expired before a time, UTC epoch seconds, and topics without any."""
        for topic, shown in list(self._shown.items()):
            for peer in [i for i, advert in shown.items() if advert.expires_s < before_s]:
                del shown[peer]
            if not shown:
                del self._shown[topic]
        for topic in [topic for topic, looking in self._looking.items() if not looking]:
            del self._looking[topic]

    @property
    def shown(self) -> dict[Topic, dict[int, Advert]]:
        """Who shows which advert where; the same in every shard."""
        return dict(self._shown)

    def restore(self, shown: Mapping[Topic, Mapping[int, Advert]]) -> None:
        """Show what was shown; nobody looks."""
        self._shown = defaultdict(dict, {topic: dict(adverts) for topic, adverts in shown.items()})
        self._looking = defaultdict(list)
