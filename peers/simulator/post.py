"""Messages of simulated peers: how they leave, and what a life hears of those that arrive."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from p2prec.errors import LocalProtocolError, RemoteProtocolError
from peers import events as ev
from peers.adverts import check_times, in_time
from peers.codec import decode_message, encode_message
from peers.keys import GRACE_S, Keyring
from peers.life import Phase
from peers.messages import Hello, Message, PeerId, Pseudonym, Share, Shuffle
from peers.replay import BoundedReplayMemory
from peers.sealing import DEFAULT_LIFETIME_S, Opener, check_age, seal, sealed_bytes
from peers.simulator.examiner import Examiner
from peers.simulator.happenings import Calendar, Parcel
from peers.simulator.meeting import Announcement
from peers.simulator.papers import peer_id
from peers.simulator.peer import SimulatedPeer
from peers.simulator.world import World
from peers.sizes import body_bytes


class Post:
    """All messages of the peers of one shard.

    Args:
        world: They live in.
        calendar: Of their shard.
        examiner: Counts sizes.

    Attributes:
        parcels: What this slice has sent.
        index_of: Who stands behind a pseudonym, whichever shard the peer is in, and when it was
            shown last; the one that was shown longest ago comes first.
    """

    def __init__(self, world: World, calendar: Calendar, examiner: Examiner) -> None:
        self._world, self._calendar, self._examiner = world, calendar, examiner
        self.parcels: list[Parcel] = []
        self.index_of: OrderedDict[Pseudonym, tuple[int, float]] = OrderedDict()
        self._bodies: dict[int, tuple[Message, bytes, Message]] = {}
        self._openers: dict[int, Opener] = {}
        self._names: dict[int, PeerId] = {}

    def begin(self) -> None:
        """Another slice."""
        self.parcels = []
        self._bodies.clear()

    def hear(self, announcements: Sequence[Announcement]) -> None:
        """Know who shows which pseudonym; one is forgotten when its prekey opens nothing more."""
        for said in announcements:
            self.index_of[said.advert.pseudonym] = (said.peer, said.at_s)
            self.index_of.move_to_end(said.advert.pseudonym)
            while next(iter(self.index_of.values()))[1] < said.at_s - GRACE_S:
                self.index_of.popitem(last=False)

    def opened(self, members: Sequence[int]) -> dict[int, BoundedReplayMemory]:
        """What some peers have opened, for ``restore``."""
        memories = {}
        for i in members:
            if i in self._openers:
                replay = self._openers[i].replay
                assert isinstance(replay, BoundedReplayMemory)  # noqa: S101 - of its own making
                memories[i] = replay
        return memories

    def restore(
        self, peers: Mapping[int, SimulatedPeer], opened: Mapping[int, BoundedReplayMemory]
    ) -> None:
        """Go on from what ``opened`` gave."""
        for i, replay in opened.items():
            self._openers[i] = Opener(self._keyring(peers[i]), replay)

    def send(self, peer: SimulatedPeer, effect: ev.Send, time_s: float) -> None:
        """Hand a message over to the network."""
        to, _ = self.index_of.get(effect.to.pseudonym, (None, 0.0))
        both = peer.endpoints.tcp and effect.to.endpoints.tcp
        way = "tcp" if both else "mqtt"
        try:
            body, n_bytes, message = self._encoded(effect.message)
        except LocalProtocolError:  # a training that diverged; the next one may not
            peer.counters["not_sendable"] += 1
            return
        if to is None:
            self._calendar.later(
                peer, time_s, ev.SendFailed(to=effect.to.pseudonym, reason="nobody is there")
            )
            return
        created_s = peer.clock_s(self._world.epoch_s + time_s)
        envelopes: tuple[bytes, ...] = ()
        if peer.papers.keyring is not None:
            body = body or encode_message(message)
            sealed = seal(body, keyring=peer.papers.keyring, to=effect.to, now_s=created_s)
            envelopes = tuple(sealed)
            n_bytes = sum(map(len, envelopes))
        peer.counters[f"sent.{way}"] += 1
        peer.counters[f"said.{type(message).__name__.lower()}"] += 1
        peer.counters[f"sent_bytes.{way}"] += n_bytes
        if isinstance(message, Share):
            if peer.learner is not None:
                peer.learner.left(message.payload)
            peer.counters["payload_bytes"] += n_bytes
            self._examiner.size(type(message.payload).__name__, n_bytes)
        number = peer.number()
        network = self._world.network
        upload_s = network.upload_s(way, n_bytes, sender=peer.index)
        left_s = peer.uplink_free_s = max(time_s, peer.uplink_free_s) + upload_s
        passage = network.passage(way, sender=peer.index, to=to, number=number, left_s=left_s)
        doubled = len(passage.arrivals_s) > 1
        for i, arrival_s in enumerate(passage.arrivals_s):
            self.parcels.append(
                Parcel(
                    arrival_s, peer.index, number, to, way, n_bytes, created_s, message, envelopes,
                    doubled, copy=i > 0, missed=effect.to.pseudonym,
                )
            )  # fmt: skip

    def _encoded(self, message: Message) -> tuple[bytes, int, Message]:
        """The body of a payload, how long a sealed message is, what its recipients will read."""
        if not isinstance(message, Share):
            return b"", sealed_bytes(body_bytes(message)), message
        held = self._bodies.get(id(message.payload))
        if held is None:
            body = encode_message(message)
            held = (message, body, decode_message(body, schema=self._world.schema))
            self._bodies[id(message.payload)] = held
        return held[1], sealed_bytes(len(held[1])), held[2]

    def arrived(self, peer: SimulatedPeer, parcel: Parcel, time_s: float) -> ev.Event | None:
        """What a life hears of what has arrived at its device, if anything."""
        if parcel.message is None:
            return ev.SendFailed(to=Pseudonym(parcel.missed), reason="it does not answer")
        again = parcel.copy and self._was_taken(peer, parcel)
        unreachable = (
            peer.asleep
            or peer.life is None
            or peer.life.phase is Phase.HALTED
            or self._world.network.cut(parcel.sender, peer.index, time_s)
        )
        if unreachable:
            if parcel.way == "tcp" and not parcel.copy:
                self.parcels.append(
                    parcel._replace(
                        sender=peer.index,
                        number=peer.number(),
                        to=parcel.sender,
                        message=None,
                        envelopes=(),
                    )
                )
            else:
                peer.counters["dropped.away"] += 1
            return None
        now_s, message = peer.clock_s(self._world.epoch_s + time_s), parcel.message
        try:
            self._open(peer, parcel, again=again, now_s=now_s)
            if parcel.doubled and not parcel.copy:
                peer.taken += ((parcel.sender, parcel.number),)
            if isinstance(message, Hello):
                check_times(message.advert, now_s)
        except RemoteProtocolError as error:
            peer.counters[f"dropped.{error.reason}"] += 1
            return None
        if isinstance(message, Shuffle):
            held, reasons = in_time(message.adverts, now_s)
            for reason in reasons:
                peer.counters[f"dropped.{reason}"] += 1
            if reasons:
                message = Shuffle(adverts=held, wants_reply=message.wants_reply)
        peer.counters[f"received.{parcel.way}"] += 1
        return ev.Arrived(
            sender=self._named(parcel.sender),
            message=message,
            transport=parcel.way,
            n_bytes=parcel.n_bytes,
            order=parcel.number,
        )

    @staticmethod
    def _was_taken(peer: SimulatedPeer, copy: Parcel) -> bool:
        """Whether the first of two was heard; what is not sealed is remembered until then."""
        message = copy.sender, copy.number
        before, peer.taken = peer.taken, tuple(m for m in peer.taken if m != message)
        return message in before

    def _open(self, peer: SimulatedPeer, parcel: Parcel, *, again: bool, now_s: float) -> None:
        """What opening the envelopes checks, or the same by what is known of them.

        Raises:
            RemoteProtocolError: With the reason for which the message is dropped.
        """
        if not parcel.envelopes:
            created_s = parcel.created_s
            check_age(created_s, created_s + DEFAULT_LIFETIME_S, now_s=now_s)
            if again:
                raise RemoteProtocolError("replayed")
            return
        opener = self._openers.get(peer.index)
        if opener is None:
            opener = self._openers[peer.index] = Opener(self._keyring(peer), BoundedReplayMemory())
        opened = [opener.open(envelope, now_s=now_s) for envelope in parcel.envelopes][-1]
        if opened is None or opened.sender != self._named(parcel.sender):
            raise RemoteProtocolError("unfinished")

    @staticmethod
    def _keyring(peer: SimulatedPeer) -> Keyring:
        assert peer.papers.keyring is not None  # noqa: S101 - asked for where messages are sealed
        return peer.papers.keyring

    def _named(self, index: int) -> PeerId:
        """The id behind an index, in whichever shard the peer is."""
        name = self._names.get(index)
        if name is None:
            name = self._names[index] = peer_id(self._world.seed, index)
        return name
