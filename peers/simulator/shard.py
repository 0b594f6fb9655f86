"""Some of the peers of a world, in virtual time.

Time goes in slices of equal length. In a slice each peer handles its own events in their order; it
meets others only by what was sent in earlier slices, so that peers of one slice are independent of
each other. What is to be computed in a slice (training, payloads, merges) is computed at its end,
all peers together; the outcome reaches a peer when its device would have finished.
"""

from __future__ import annotations

import gc
import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from p2prec.errors import LocalProtocolError, RemoteProtocolError
from p2prec.kernels import use_compiled
from p2prec.privacy.ledger import release_budget
from p2prec.training.local import LocalLearner, merge_together, payloads_together, train_together
from peers import events as ev
from peers.codec import decode_message, encode_message
from peers.discovery.labels import WEEK_S, cell_label, cells_around
from peers.keys import Keyring
from peers.messages import Message, PeerId, Pseudonym, Share
from peers.replay import BoundedReplayMemory
from peers.sealing import Opener, seal, sealed_bytes
from peers.simulator import draws
from peers.simulator.examiner import Examiner
from peers.simulator.meeting import Announcement, MeetingPlaces, Topic
from peers.simulator.papers import peer_id
from peers.simulator.peer import Saved, SimulatedPeer
from peers.simulator.states import peer_state, restore_peer
from peers.simulator.world import World
from peers.sizes import body_bytes

_HOUR_S: Final = 3_600.0
# Peers of one group are computed together, others never: the last bits of a sum depend on the
# shape of what it is computed in, and results must not depend on the number of shards.
_GROUP: Final = 128
_COLLECT: Final = (100_000, 20, 100)  # thresholds of the collector of cycles
_WORLD = -1  # source of what no peer has set going


class Parcel(NamedTuple):
    """A message on its way.

    Attributes:
        arrival_s: Virtual seconds.
        sender: Index.
        number: Of what this sender has set going.
        to: Index.
        way: ``"tcp"`` or ``"mqtt"``.
        n_bytes: Of all its envelopes.
        message: None for the news that a message of the recipient's was not delivered.
        envelopes: Where messages are really sealed.
        copy: Whether the network made it out of another one.
        missed: Pseudonym of whom the recipient could not reach.
    """

    arrival_s: float
    sender: int
    number: int
    to: int
    way: str
    n_bytes: int
    message: Message | None
    envelopes: tuple[bytes, ...] = ()
    copy: bool = False
    missed: str = ""


class _Timer(NamedTuple):
    timer: ev.Timer
    generation: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """Adverts that a discovery shows."""

    announced: tuple[Announcement, ...]


@dataclass(frozen=True, slots=True)
class _Fate:
    """What befalls a peer from outside: joins, sleeps, wakes, crashes, restarts, leaves."""

    what: str


@dataclass(frozen=True, slots=True)
class _CheckIn:
    """The owner's history has grown to so many interactions."""

    known: int


def shard_of(index: int, shards: int) -> int:
    """In which shard a peer lives."""
    return index // _GROUP % shards


_Item = tuple[float, int, int, int, int, object]  # time, source, number, peer, life, event
_IN_ORDER: Final = itemgetter(0, 1, 2, 3)
Part = tuple[Literal["world", "counts", "group"], int]  # of what is saved, and its number
HAPPENINGS: Final = (Parcel, _Timer, _Seen, _Fate, _CheckIn)  # all that is no event of a life

_FIRED: Final = {timer: ev.TimerFired(timer=timer) for timer in ev.Timer}

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class _Job(Generic[W]):
    """Something that a device has begun to compute."""

    peer: SimulatedPeer
    learner: LocalLearner
    effect: W
    time_s: float

    @classmethod
    def of(cls, peer: SimulatedPeer, effect: W, time_s: float) -> _Job[W]:
        """Of a peer that lives."""
        assert peer.learner is not None  # noqa: S101 - only a life asks for work
        return cls(peer, peer.learner, effect, time_s)


def _groups(jobs: Sequence[_Job[W]]) -> Iterator[list[_Job[W]]]:
    """Jobs of each group of peers whose life still waits for them."""
    groups: dict[int, list[_Job[W]]] = defaultdict(list)
    for job in jobs:
        if job.learner is job.peer.learner:  # else it has crashed since
            groups[job.peer.index // _GROUP].append(job)
    yield from groups.values()


@dataclass(slots=True)
class Outgoing:
    """What a slice sends to other peers, whichever shard they are in."""

    parcels: list[Parcel] = field(default_factory=list)
    announcements: list[Announcement] = field(default_factory=list)


class Shard:
    """Every ``shards``-th group of peers of a world.

    Args:
        world: They live in.
        number: Of this shard.
        shards: How many there are.
    """

    def __init__(self, world: World, number: int = 0, shards: int = 1) -> None:
        use_compiled()
        self.world = world
        self.number = number
        self.members = [i for i in range(world.n) if shard_of(i, shards) == number]
        self.peers = {i: SimulatedPeer(world, i) for i in self.members}
        self.examiner = Examiner(world)
        self._slices: dict[int, list[_Item]] = {}
        self._ahead: list[int] = []  # a heap of their numbers
        self._slice = -1
        self._end_s = 0.0
        self._places = MeetingPlaces()
        self._index_of: dict[Pseudonym, int] = {}
        self._labels: dict[tuple[str, int], str] = {}
        self._training: list[_Job[int]] = []
        self._publishing: list[_Job[ev.MakePayloads]] = []
        self._merging: list[_Job[ev.Merge]] = []
        self._longer: list[tuple[SimulatedPeer, int]] = []
        self._bodies: dict[int, tuple[Message, bytes, Message]] = {}
        self._openers: dict[int, Opener] = {}
        self._names: dict[int, PeerId] = {}
        self._away: dict[int, Iterator[tuple[float, float]]] = {}
        self._crashes: dict[int, Iterator[float]] = {}
        self._out = Outgoing()
        self.peer_rounds = 0
        for peer in self.peers.values():
            self._fates(peer)
        # Nearly all objects live as long as the run: to look for dead cycles among them again and
        # again would cost each peer the more, the more of them there are.
        gc.set_threshold(*_COLLECT)
        gc.freeze()

    # --- what the driver of the run calls ------------------------------------------------------

    def next_slice(self) -> int | None:
        """The next slice in which something happens here."""
        return self._ahead[0] if self._ahead else None

    def advance(self, number: int) -> Outgoing:
        """Live through a slice."""
        self._slice, self._end_s = number, (number + 1) * self.world.slice_s
        self._out = Outgoing()
        items = self._slices.pop(number, [])
        if self._ahead and self._ahead[0] == number:  # else only another shard has work in it
            heapq.heappop(self._ahead)
        items.sort(key=_IN_ORDER)
        for time_s, _, order, index, life, event in items:
            peer = self.peers[index]
            if life and life != peer.lives:
                continue
            self._happen(peer, event, time_s, order)
        self._compute()
        self._bodies.clear()
        return self._out

    def deliver(self, parcels: Sequence[Parcel], announcements: Sequence[Announcement]) -> None:
        """Take in what the slice has sent to peers of this shard, and everybody's adverts."""
        for parcel in parcels:
            self._schedule(parcel.arrival_s, parcel.sender, parcel.number, parcel.to, 0, parcel)
        for said in announcements:
            self._index_of[said.advert.pseudonym] = said.peer
        for said in announcements:
            for i in self._places.take(said):
                peer = self.peers[i]
                self._schedule(said.at_s, said.peer, 0, i, peer.lives, _Seen((said,)))

    @property
    def unfinished(self) -> int:
        """Peers that are not over yet."""
        return sum(not peer.over for peer in self.peers.values())

    def finish(self) -> None:
        """The end of the run: who has no result yet is examined now."""
        for peer in self.peers.values():
            if peer.result is None and peer.learner is not None:
                self.examiner.last(peer)

    # --- saving, between two slices ------------------------------------------------------------

    def parts(self) -> Iterator[tuple[Part, Any]]:
        """All that ``restore`` needs, on any number of shards; what all have in common first."""
        if self.number == 0:
            yield (
                ("world", 0),
                {
                    "slice": self._slice,
                    "shown": self._places.shown,
                    "index_of": self._index_of,
                },
            )
        yield (
            ("counts", self.number),
            {"peer_rounds": self.peer_rounds, "sizes": dict(self.examiner.sizes)},
        )
        groups: dict[int, list[int]] = defaultdict(list)
        for i in self.members:
            groups[i // _GROUP].append(i)
        events: dict[int, list[tuple[int, _Item]]] = defaultdict(list)
        for at, items in self._slices.items():
            for item in items:
                events[item[3] // _GROUP].append((at, item))
        for group, members in groups.items():
            yield (
                ("group", group),
                {
                    "peers": {i: peer_state(self.peers[i]) for i in members},
                    "events": events[group],
                    "opened": {i: self._openers[i].replay for i in members if i in self._openers},
                    "examined": self.examiner.of(members),
                },
            )

    def restore(self, part: Part, state: Mapping[str, Any]) -> None:
        """Go on from one of the parts, of which the world's comes first."""
        match part[0]:
            case "world":
                self._slice = state["slice"]
                self._slices, self._ahead = {}, []  # what the beginning held is over
                self._places.restore(state["shown"])
                self._index_of = dict(state["index_of"])
            case "counts":
                self.peer_rounds += state["peer_rounds"]
                for kind, sizes in state["sizes"].items():
                    self.examiner.sizes[kind].update(sizes)
            case "group":
                for i, held in state["peers"].items():
                    self._restore_peer(self.peers[i], held)
                for i, replay in state["opened"].items():
                    self._openers[i] = Opener(self._keyring(self.peers[i]), replay)
                for at, item in state["events"]:
                    self._put(at, item)
                self.examiner.restore(state["examined"])

    def _restore_peer(self, peer: SimulatedPeer, held: Mapping[str, Any]) -> None:
        restore_peer(peer, held, self.world)
        for topic in peer.topics:
            self._places.look(peer.index, topic)
        devices, i = self.world.devices, peer.index
        away = devices.away(i, self.world.epoch_s)
        self._away[i] = islice(away, peer.n_pauses_drawn, None)
        self._crashes[i] = islice(devices.crashes_s(i), peer.n_crashes_drawn, None)

    # --- events --------------------------------------------------------------------------------

    def _schedule(  # noqa: PLR0917
        self, time_s: float, source: int, number: int, index: int, life: int, event: object
    ) -> None:
        at = max(int(time_s / self.world.slice_s), self._slice + 1)
        self._put(at, (time_s, source, number, index, life, event))

    def _put(self, at: int, item: _Item) -> None:
        if at not in self._slices:
            self._slices[at] = []
            heapq.heappush(self._ahead, at)
        self._slices[at].append(item)

    def _later(self, peer: SimulatedPeer, time_s: float, event: object) -> None:
        self._schedule(time_s, peer.index, peer.number(), peer.index, peer.lives, event)

    def _happen(  # noqa: C901
        self, peer: SimulatedPeer, event: object, time_s: float, order: int
    ) -> None:
        if isinstance(event, _Fate):
            self._befall(peer, event.what, time_s)
        elif isinstance(event, _CheckIn):
            peer.known = max(peer.known, event.known)
            if peer.life is not None:
                self._longer.append((peer, event.known))
                self._handle(peer, ev.InteractionsAdded(n=1), time_s)
        elif isinstance(event, Parcel):
            self._arrive(peer, event, time_s)
        elif peer.asleep:
            by_mdns = isinstance(event, _Seen) and event.announced[0].topic.source == "mdns"
            if not by_mdns:
                peer.missed.append((time_s, order, event))
        elif isinstance(event, _Timer):
            if peer.generation.get(event.timer) == event.generation:
                self._handle(peer, _FIRED[event.timer], time_s)
        elif isinstance(event, _Seen):
            for said in event.announced:
                self._handle(
                    peer,
                    ev.AdvertGone(pseudonym=said.advert.pseudonym)
                    if said.gone
                    else ev.AdvertSeen(advert=said.advert, source=said.topic.source),
                    time_s,
                )
        else:
            self._handle(peer, event, time_s)  # type: ignore[arg-type]  # an event of the life

    def _handle(self, peer: SimulatedPeer, event: ev.Event, time_s: float) -> None:
        if peer.life is None:
            return
        now = self.world.epoch_s + time_s + peer.skew_s
        for effect in peer.life.handle(event, now):
            self._perform(peer, effect, time_s)

    def _perform(self, peer: SimulatedPeer, effect: ev.Effect, time_s: float) -> None:  # noqa: C901
        match effect:
            case ev.Send():
                self._send(peer, effect, time_s)
            case ev.SetTimer():
                generation = peer.generation.get(effect.timer, 0) + 1
                peer.generation[effect.timer] = generation
                self._later(peer, time_s + effect.delay_s, _Timer(effect.timer, generation))
            case ev.Train():
                self._training.append(_Job.of(peer, effect.round, time_s))
            case ev.MakePayloads():
                self._publishing.append(_Job.of(peer, effect, time_s))
            case ev.Merge():
                self._merging.append(_Job.of(peer, effect, time_s))
            case ev.Tell():
                self._told(peer, effect, time_s)
            case ev.Persist():
                self._persist(peer, effect)
            case ev.Advertise():
                self._advertise(peer, effect, time_s)
            case ev.LookFurther():
                for cell in cells_around(peer.cell, effect.ring):
                    self._look(peer, cell, time_s)
            case ev.Withdraw():
                self._withdraw(peer, time_s)
            case ev.Halt():
                self._close_eyes(peer)

    def _told(self, peer: SimulatedPeer, told: ev.Tell, time_s: float) -> None:
        match told.what:
            case "dropped":
                peer.counters[f"dropped.{told.fields['reason']}"] += 1
            case "neighbours_chosen":
                wanted = self.world.scenario.schedule.min_neighbours
                if peer.ready_s < 0 and int(str(told.fields["n"])) >= wanted:
                    peer.ready_s = time_s
            case "round_finished":
                self.peer_rounds += 1
                self.examiner.round(peer, int(str(told.fields["round"])), time_s)
            case "resting":
                self.examiner.last(peer)

    # --- computing -----------------------------------------------------------------------------

    def _compute(self) -> None:
        """Everything that fell due in this slice, until nothing is left to do in it."""
        while self._training or self._publishing or self._merging or self._longer:
            training, self._training = self._training, []
            for trained in _groups(training):
                self._train(trained)
            merging, self._merging = self._merging, []
            for merged in _groups(merging):
                self._merge(merged)
            publishing, self._publishing = self._publishing, []
            for published in _groups(publishing):
                self._publish(published)
            longer, self._longer = self._longer, []
            for peer, known in longer:
                if peer.learner is not None:
                    peer.learner.add(self.world.split(peer.index).train.head(known))

    def _train(self, jobs: Sequence[_Job[int]]) -> None:
        reports = train_together([job.learner for job in jobs], [job.effect for job in jobs])
        for job, report in zip(jobs, reports, strict=True):
            cost_s = (
                self.world.settings.devices.seconds_per_example
                * report.n_examples
                * job.peer.config.learner.training.epochs
            )
            self._done(job, ev.Trained(round=job.effect, report=report), cost_s)

    def _merge(self, jobs: Sequence[_Job[ev.Merge]]) -> None:
        reports = merge_together(
            [job.learner for job in jobs],
            [job.effect.round for job in jobs],
            [job.effect.received for job in jobs],
        )
        cost_s = self.world.settings.devices.merge_s
        for job, report in zip(jobs, reports, strict=True):
            self._done(job, ev.Merged(round=job.effect.round, report=report), cost_s)

    def _publish(self, jobs: Sequence[_Job[ev.MakePayloads]]) -> None:
        made = payloads_together(
            [job.learner for job in jobs],
            [job.effect.round for job in jobs],
            degrees=[max(1, len(job.effect.recipients)) for job in jobs],
        )
        cost_s = self.world.settings.devices.publish_s
        for job, payloads in zip(jobs, made, strict=True):
            may = tuple(payloads) if self._may_leave(job.peer, job.time_s) else ()
            if may:
                job.peer.released_round = job.effect.round
            self._done(job, ev.PayloadsReady(round=job.effect.round, payloads=may), cost_s)

    def _may_leave(self, peer: SimulatedPeer, time_s: float) -> bool:
        budget = release_budget(peer.released, peer.config.learner.protection, now_s=time_s)
        if budget.left == 0:
            peer.counters["withheld"] += 1
            return False
        peer.released = peer.released[-max(budget.used, 1) :]  # what is older counts no more
        peer.released.append(time_s)
        return True

    def _done(self, job: _Job[Any], event: ev.Event, cost_s: float) -> None:
        peer, time_s = job.peer, job.time_s
        cost_s /= peer.speed
        if peer.battery is not None:
            time_s = peer.battery.ready_s(cost_s, time_s)
        finished_s = time_s + cost_s
        if finished_s <= self._end_s and not peer.asleep:
            self._handle(peer, event, self._end_s)
        else:
            self._later(peer, finished_s, event)

    def _persist(self, peer: SimulatedPeer, effect: ev.Persist) -> None:
        if not self.world.settings.devices.crashes_per_day or peer.learner is None:
            return
        peer.saved = Saved(
            round=effect.round,
            merged_rounds=effect.merged_rounds,
            learner={name: value.copy() for name, value in peer.learner.state().items()},
        )

    # --- messages ------------------------------------------------------------------------------

    def _send(self, peer: SimulatedPeer, effect: ev.Send, time_s: float) -> None:
        to = self._index_of.get(effect.to.pseudonym)
        both = peer.endpoints.tcp and effect.to.endpoints.tcp
        way = "tcp" if both else "mqtt"
        try:
            body, n_bytes, message = self._encoded(effect.message)
        except LocalProtocolError:  # a training that diverged; the next one may not
            peer.counters["not_sendable"] += 1
            return
        if to is None:
            self._later(
                peer, time_s, ev.SendFailed(to=effect.to.pseudonym, reason="nobody is there")
            )
            return
        envelopes: tuple[bytes, ...] = ()
        if peer.papers.keyring is not None:
            now = self.world.epoch_s + time_s
            body = body or encode_message(message)
            sealed = seal(body, keyring=peer.papers.keyring, to=effect.to, now_s=now)
            envelopes = tuple(sealed)
            n_bytes = sum(map(len, envelopes))
        peer.counters[f"sent.{way}"] += 1
        peer.counters[f"said.{type(message).__name__.lower()}"] += 1
        peer.counters[f"sent_bytes.{way}"] += n_bytes
        if isinstance(message, Share):
            peer.counters["payload_bytes"] += n_bytes
            self.examiner.size(type(message.payload).__name__, n_bytes)
        number = peer.number()
        left_s = max(time_s, peer.uplink_free_s) + self.world.network.upload_s(way, n_bytes)
        peer.uplink_free_s = left_s
        passage = self.world.network.passage(
            way, sender=peer.index, to=to, number=number, left_s=left_s
        )
        for i, arrival_s in enumerate(passage.arrivals_s):
            self._out.parcels.append(
                Parcel(arrival_s, peer.index, number, to, way, n_bytes, message, envelopes, i > 0)
            )

    def _encoded(self, message: Message) -> tuple[bytes, int, Message]:
        """The body of a payload, how long a sealed message is, what its recipients will read."""
        if not isinstance(message, Share):
            return b"", sealed_bytes(body_bytes(message)), message
        held = self._bodies.get(id(message.payload))
        if held is None:
            body = encode_message(message)
            held = (message, body, decode_message(body, schema=self.world.schema))
            self._bodies[id(message.payload)] = held
        return held[1], sealed_bytes(len(held[1])), held[2]

    def _arrive(self, peer: SimulatedPeer, parcel: Parcel, time_s: float) -> None:
        if parcel.message is None:
            failed = ev.SendFailed(to=Pseudonym(parcel.missed), reason="it does not answer")
            self._handle(peer, failed, time_s)
            return
        unreachable = (
            peer.asleep
            or peer.life is None
            or self.world.network.cut(parcel.sender, peer.index, time_s)
        )
        if unreachable:
            if parcel.way == "tcp" and not parcel.copy and peer.advert is not None:
                self._out.parcels.append(
                    parcel._replace(
                        sender=peer.index,
                        number=peer.number(),
                        to=parcel.sender,
                        message=None,
                        envelopes=(),
                        missed=peer.advert.pseudonym,
                    )
                )
            else:
                peer.counters["dropped.away"] += 1
            return
        if parcel.copy:
            peer.counters["dropped.replayed"] += 1
            return
        if parcel.envelopes and not self._opens(peer, parcel, time_s):
            return
        peer.counters[f"received.{parcel.way}"] += 1
        self._handle(
            peer,
            ev.Arrived(
                sender=self._named(parcel.sender),
                message=parcel.message,
                transport=parcel.way,
                n_bytes=parcel.n_bytes,
                order=parcel.number,
            ),
            time_s,
        )

    def _opens(self, peer: SimulatedPeer, parcel: Parcel, time_s: float) -> bool:
        """Open the envelopes for real; whether the message is the one that was sent."""
        opener = self._openers.get(peer.index)
        if opener is None:
            opener = self._openers[peer.index] = Opener(self._keyring(peer), BoundedReplayMemory())
        opened = None
        try:
            for envelope in parcel.envelopes:
                now_s = self.world.epoch_s + time_s + peer.skew_s
                opened = opener.open(envelope, now_s=now_s)
        except RemoteProtocolError as error:
            peer.counters[f"dropped.{error.reason}"] += 1
            return False
        return opened is not None and opened.sender == self._named(parcel.sender)

    @staticmethod
    def _keyring(peer: SimulatedPeer) -> Keyring:
        assert peer.papers.keyring is not None  # noqa: S101 - asked for where messages are sealed
        return peer.papers.keyring

    def _named(self, index: int) -> PeerId:
        """The id behind an index, in whichever shard the peer is."""
        name = self._names.get(index)
        if name is None:
            name = self._names[index] = peer_id(self.world.seed, index)
        return name

    # --- discovery -----------------------------------------------------------------------------

    def _advertise(self, peer: SimulatedPeer, effect: ev.Advertise, time_s: float) -> None:
        now_s = self.world.epoch_s + time_s
        if effect.rotate:
            self._withdraw(peer, time_s)
            peer.papers.rotate(now_s)
        advert, binding = peer.papers.advert(
            endpoints=peer.endpoints,
            cell_label=self._label(peer.cell, now_s),
            now_s=now_s,
            lifetime_s=peer.config.network.advert_lifetime_s,
        )
        peer.advert, peer.binding = advert, binding
        self._out.announcements += [
            Announcement(time_s, peer.index, topic, advert)
            for topic in self._topics(peer, peer.cell, now_s, shown=True)
        ]
        self._look(peer, peer.cell, time_s)
        self._handle(peer, ev.Advertised(), time_s)

    def _withdraw(self, peer: SimulatedPeer, time_s: float) -> None:
        if peer.advert is None:
            return
        now_s = self.world.epoch_s + time_s
        self._out.announcements += [
            Announcement(time_s, peer.index, topic, peer.advert, gone=True)
            for topic in self._topics(peer, peer.cell, now_s, shown=True)
        ]

    def _look(self, peer: SimulatedPeer, cell: str, time_s: float) -> None:
        for topic in self._topics(peer, cell, self.world.epoch_s + time_s, shown=False):
            if topic in peer.topics:
                continue
            peer.topics.append(topic)
            shown = self._places.look(peer.index, topic)
            if shown:
                announced = tuple(Announcement(time_s, i, topic, a) for i, a in shown)
                self._later(peer, time_s, _Seen(announced))

    def _close_eyes(self, peer: SimulatedPeer) -> None:
        self._places.close_eyes(peer.index, peer.topics)
        peer.topics = []

    def _topics(self, peer: SimulatedPeer, cell: str, now_s: float, *, shown: bool) -> list[Topic]:
        """Where a peer shows itself, or where it looks: there one part more, drawn at random."""
        label, network, world = self._label(cell, now_s), peer.config.network, self.world
        topics = []
        if network.mdns:
            lan = peer.index // world.settings.network.lan_peers
            topics.append(Topic(ev.Source.MDNS, label, lan))
        if network.mqtt:
            own = int(peer.endpoints.mqtt_inbox[:8], 16) % world.buckets
            parts = {own}
            if not shown:
                parts.add(draws.bits(world.seed, draws.BUCKET, peer.index) % world.buckets)
            topics += [Topic(ev.Source.MQTT, label, part) for part in sorted(parts)]
        return topics

    def _label(self, cell: str, now_s: float) -> str:
        key = (cell, int(now_s // WEEK_S))
        if key not in self._labels:
            self._labels[key] = cell_label(self.world.realm.catalogue.digest, cell, now_s=now_s)
        return self._labels[key]

    # --- fates ---------------------------------------------------------------------------------

    def _fates(self, peer: SimulatedPeer) -> None:
        """What will befall a peer; sleep and crashes only ever one ahead."""
        people, seed, i = self.world.settings.people, self.world.seed, peer.index
        join_s = 0.0
        if draws.uniform(seed, draws.LATE, i) < people.late_share:
            join_s = _HOUR_S * people.late_within_h * draws.uniform(seed, draws.LATE, i, 1)
        self._fate(peer, join_s, "joins")
        if draws.uniform(seed, draws.LEAVE, i) < people.leave_share:
            stay_s = _HOUR_S * people.leave_within_h * draws.uniform(seed, draws.LEAVE, i, 1)
            self._fate(peer, max(stay_s, join_s + self.world.slice_s), "leaves")
        self._away[i] = self.world.devices.away(i, self.world.epoch_s)
        self._crashes[i] = self.world.devices.crashes_s(i)
        self._next_sleep(peer)
        self._next_crash(peer)
        train = self.world.split(i).train
        for known in range(peer.known, len(train)):
            at_s = float(train.timestamp_s[known]) - self.world.epoch_s
            self._schedule(at_s, _WORLD, known, i, 0, _CheckIn(known + 1))

    def _fate(self, peer: SimulatedPeer, at_s: float, what: str) -> None:
        if math.isfinite(at_s):
            self._schedule(at_s, _WORLD, -peer.number(), peer.index, 0, _Fate(what))

    def _next_sleep(self, peer: SimulatedPeer) -> None:
        while True:
            away = next(self._away[peer.index], None)
            if away is None:
                return
            peer.n_pauses_drawn += 1
            if away[1] > away[0]:
                self._fate(peer, away[0], "sleeps")
                self._fate(peer, away[1], "wakes")
                return

    def _next_crash(self, peer: SimulatedPeer) -> None:
        at_s = next(self._crashes[peer.index], math.inf)
        peer.n_crashes_drawn += 1
        self._fate(peer, at_s, "crashes")

    def _befall(self, peer: SimulatedPeer, what: str, time_s: float) -> None:
        match what:
            case "joins" | "restarts":
                if what == "restarts" and peer.result is not None:
                    return
                peer.begin(self.world)
                saved = peer.saved
                # A round that was released is never released again with other content.
                round_ = max(saved.round, peer.released_round + 1)
                self._handle(
                    peer, ev.Started(round=round_, merged_rounds=saved.merged_rounds), time_s
                )
            case "leaves":
                if peer.life is not None:
                    self._handle(peer, ev.StopRequested(), time_s)
            case "sleeps":
                peer.asleep = True
            case "wakes":
                peer.asleep = False
                missed, peer.missed = peer.missed, []
                for _, order, event in missed:
                    self._happen(peer, event, time_s, order)
                self._next_sleep(peer)
            case "crashes":
                if peer.life is not None and not peer.over:
                    self._close_eyes(peer)
                    peer.life, peer.learner, peer.missed = None, None, []
                    peer.generation = {}
                    peer.counters["crashes"] += 1
                    self._fate(peer, time_s + self.world.settings.devices.restart_s, "restarts")
                self._next_crash(peer)
