"""How simulated peers show themselves, and where they look for others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from p2prec.errors import RemoteProtocolError
from peers import events as ev
from peers.adverts import check_times
from peers.discovery.labels import WEEK_S, cell_label, cells_around
from peers.simulator import draws
from peers.simulator.happenings import Calendar, Seen
from peers.simulator.meeting import Announcement, MeetingPlaces, Topic
from peers.simulator.peer import SimulatedPeer
from peers.simulator.world import World
from topology.cells import NOWHERE


class Presence:
    """Discovery of the peers of one shard.

    Args:
        world: They live in.
        calendar: Of their shard.

    Attributes:
        announcements: What this slice has announced.
        places: Who shows itself where.
    """

    def __init__(self, world: World, calendar: Calendar) -> None:
        self._world, self._calendar = world, calendar
        self.announcements: list[Announcement] = []
        self.places = MeetingPlaces()
        self._labels: dict[tuple[str, int], str] = {}

    def advertise(self, peer: SimulatedPeer, effect: ev.Advertise, time_s: float) -> None:
        """Show the own advert, renewed, and look where it is shown."""
        now_s = peer.clock_s(self._world.epoch_s + time_s)
        if effect.rotate:
            self.withdraw(peer, time_s)
            peer.papers.rotate(now_s)
        label = self._label(peer.cell, now_s)
        if label not in peer.around:  # in a new week nobody shows itself under the old names
            self.close_eyes(peer)
            peer.around.clear()
        advert, binding = peer.papers.advert(
            endpoints=peer.endpoints,
            cell_label=label,
            now_s=now_s,
            lifetime_s=peer.config.network.advert_lifetime_s,
        )
        peer.advert, peer.binding = advert, binding
        self.announcements += [
            Announcement(time_s, peer.index, topic, advert)
            for topic in self._topics(peer, peer.cell, now_s, shown=True)
        ]
        self.look(peer, peer.cell, time_s)
        for ring in range(1, peer.rings + 1):
            self.look_around(peer, ring, time_s)
        if peer.elsewhere not in {NOWHERE, peer.cell}:
            self._look(peer, self._elsewhere(peer, now_s), time_s)

    def withdraw(self, peer: SimulatedPeer, time_s: float) -> None:
        """Take the own advert back everywhere."""
        if peer.advert is None:
            return
        now_s = peer.clock_s(self._world.epoch_s + time_s)
        self.announcements += [
            Announcement(time_s, peer.index, topic, peer.advert, gone=True)
            for topic in self._topics(peer, peer.cell, now_s, shown=True)
        ]

    def look_around(self, peer: SimulatedPeer, ring: int, time_s: float) -> None:
        """Look into the cells of a ring around the own one from now on."""
        peer.rings = max(peer.rings, ring)
        for cell in cells_around(peer.cell, ring):
            self.look(peer, cell, time_s)

    def look(self, peer: SimulatedPeer, cell: str, time_s: float) -> None:
        """Look into a cell from now on; it is one around the own one."""
        now_s = peer.clock_s(self._world.epoch_s + time_s)
        peer.around.add(self._label(cell, now_s))
        self._look(peer, self._topics(peer, cell, now_s, shown=False), time_s)

    def _look(self, peer: SimulatedPeer, topics: list[Topic], time_s: float) -> None:
        for topic in topics:
            if topic not in peer.topics:
                peer.topics.append(topic)
                self._look_at(peer, topic, time_s)

    def _look_at(self, peer: SimulatedPeer, topic: Topic, time_s: float) -> None:
        shown = self.places.look(peer.index, topic)
        if shown:
            announced = tuple(Announcement(time_s, i, topic, a) for i, a in shown)
            self._calendar.later(peer, time_s, Seen(announced))

    def doze(self, peer: SimulatedPeer) -> None:
        """See nothing for a while; a broker keeps no more for a peer than what is shown then."""
        self.places.close_eyes(peer.index, peer.topics)

    def look_anew(self, peer: SimulatedPeer, time_s: float) -> None:
        """See what is shown by now where the peer looked before."""
        for topic in peer.topics:
            self._look_at(peer, topic, time_s)

    def close_eyes(self, peer: SimulatedPeer) -> None:
        """Look nowhere any longer."""
        self.places.close_eyes(peer.index, peer.topics)
        peer.topics = []

    def _elsewhere(self, peer: SimulatedPeer, now_s: float) -> list[Topic]:
        """A part, drawn at random, of what brokers show of the cell that was drawn."""
        if not peer.config.network.mqtt:
            return []
        label = self._label(peer.elsewhere, now_s)
        return [Topic(ev.Source.MQTT, label, self._drawn_part(peer))]

    def seen(
        self, peer: SimulatedPeer, announced: Sequence[Announcement], time_s: float
    ) -> Iterator[ev.AdvertSeen | ev.AdvertGone]:
        """What a life hears of adverts; nothing of those that do not hold by its clock."""
        now_s = peer.clock_s(self._world.epoch_s + time_s)
        for said in announced:
            if said.gone:
                yield ev.AdvertGone(pseudonym=said.advert.pseudonym)
                continue
            try:
                check_times(said.advert, now_s)
            except RemoteProtocolError as error:
                peer.counters[f"dropped.{error.reason}"] += 1
                continue
            yield ev.AdvertSeen(advert=said.advert, source=self._source(peer, said.topic))

    def _source(self, peer: SimulatedPeer, topic: Topic) -> ev.Source:
        """How a peer came to see what is shown there."""
        elsewhere = topic.label not in peer.around and topic.source is ev.Source.MQTT
        return ev.Source.ELSEWHERE if elsewhere else topic.source

    def _drawn_part(self, peer: SimulatedPeer) -> int:
        return draws.bits(self._world.seed, draws.BUCKET, peer.index) % self._world.buckets

    def _topics(self, peer: SimulatedPeer, cell: str, now_s: float, *, shown: bool) -> list[Topic]:
        """Where a peer shows itself, or where it looks: there one part more, drawn at random."""
        label, network, world = self._label(cell, now_s), peer.config.network, self._world
        topics = []
        if network.mdns:
            lan = peer.index // world.settings.network.lan_peers
            topics.append(Topic(ev.Source.MDNS, label, lan))
        if network.mqtt:
            own = int(peer.endpoints.mqtt_inbox[:8], 16) % world.buckets
            parts = {own}
            if not shown:
                parts.add(self._drawn_part(peer))
            topics += [Topic(ev.Source.MQTT, label, part) for part in sorted(parts)]
        return topics

    def _label(self, cell: str, now_s: float) -> str:
        key = (cell, int(now_s // WEEK_S))
        if key not in self._labels:
            self._labels[key] = cell_label(self._world.realm.catalogue.digest, cell, now_s=now_s)
        return self._labels[key]
