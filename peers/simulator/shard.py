"""Some of the peers of a world, in virtual time.

Time goes in slices of equal length. In a slice each peer handles its own events in their order; it
meets others only by what was sent in earlier slices, so that peers of one slice are independent of
each other. What is to be computed in a slice (training, payloads, merges) is computed at its end,
all peers together; the outcome reaches a peer when its device would have finished.
"""

from __future__ import annotations

import gc
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from p2prec.kernels import use_compiled
from peers import events as ev
from peers.simulator.examiner import Examiner
from peers.simulator.fates import Fates
from peers.simulator.happenings import (
    Calendar,
    CheckIn,
    Fate,
    Item,
    Outgoing,
    Parcel,
    Seen,
    Timeout,
    group_of,
    shard_of,
)
from peers.simulator.meeting import Announcement
from peers.simulator.peer import Saved, SimulatedPeer
from peers.simulator.post import Post
from peers.simulator.presence import Presence
from peers.simulator.states import peer_state, restore_peer
from peers.simulator.work import Workbench
from peers.simulator.world import World

_COLLECT: Final = (100_000, 20, 100)  # thresholds of the collector of cycles
_MOST_DEAD: Final = 32  # lives that crashed, or a quarter of the peers: each is a circle of objects
_SWEPT_EVERY_S: Final = 86_400.0  # what is shown is looked through once a virtual day
Part = tuple[Literal["world", "counts", "group"], int]  # of what is saved, and its number
_NEED_THE_DEVICE: Final = frozenset({"joins", "restarts", "leaves"})  # it has to be on
_FIRED: Final = {timer: ev.TimerFired(timer=timer) for timer in ev.Timer}


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
        self._calendar = Calendar(world.slice_s)
        self._post = Post(world, self._calendar, self.examiner)
        self._presence = Presence(world, self._calendar)
        self._fates = Fates(world, self._calendar)
        self._work = Workbench(
            world,
            self._calendar,
            on_done=lambda peer, event: self._handle(peer, event, self._calendar.end_s),
        )
        self.peer_rounds = 0
        self._dead = 0  # lives that crashed and may still be in memory
        for peer in self.peers.values():
            self._fates.begin(peer)
        # Nearly all objects live as long as the run: to look for dead cycles among them again and
        # again would cost each peer the more, the more of them there are.
        gc.set_threshold(*_COLLECT)
        gc.freeze()

    # --- what the driver of the run calls ------------------------------------------------------

    def next_slice(self) -> int | None:
        """The next slice in which something happens here."""
        return self._calendar.next_slice()

    def advance(self, number: int) -> Outgoing:
        """Live through a slice."""
        self._post.begin()
        self._presence.announcements = []
        before = self._calendar.end_s // _SWEPT_EVERY_S  # of the last slice, which is saved
        items = self._calendar.begin(number)
        day = self._calendar.end_s // _SWEPT_EVERY_S
        if day > before:
            self._presence.places.sweep(self.world.epoch_s + (day - 1) * _SWEPT_EVERY_S)
        for time_s, _, _, index, life, event in items:
            peer = self.peers[index]
            if life and life != peer.lives:
                continue
            self._happen(peer, event, time_s)
        self._work.compute()
        if self._dead > max(_MOST_DEAD, len(self.members) // 4):
            gc.collect()
            self._dead = 0
        return Outgoing(self._post.parcels, self._presence.announcements)

    def deliver(self, parcels: Sequence[Parcel], announcements: Sequence[Announcement]) -> None:
        """Take in what the slice has sent to peers of this shard, and everybody's adverts."""
        for parcel in parcels:
            self._calendar.schedule(
                parcel.arrival_s, parcel.sender, parcel.number, parcel.to, 0, parcel
            )
        self._post.hear(announcements)
        for said in announcements:
            for i in self._presence.places.take(said):
                peer = self.peers[i]
                self._calendar.schedule(said.at_s, said.peer, 0, i, peer.lives, Seen((said,)))

    @property
    def unfinished(self) -> int:
        """Peers that are not over yet."""
        return sum(not peer.over for peer in self.peers.values())

    def finish(self) -> None:
        """The end of the run: who has no result yet is examined now."""
        for peer in self.peers.values():
            if peer.result is None and peer.lives:
                if peer.learner is None:  # it has crashed, and what was saved is what it knows
                    peer.begin(self.world)
                self.examiner.last(peer)

    # --- saving, between two slices ------------------------------------------------------------

    def parts(self) -> Iterator[tuple[Part, Any]]:
        """All that ``restore`` needs, on any number of shards; what all have in common first."""
        if self.number == 0:
            yield (
                ("world", 0),
                {
                    "slice": self._calendar.slice,
                    "shown": self._presence.places.shown,
                    "index_of": self._post.index_of,
                },
            )
        yield (
            ("counts", self.number),
            {"peer_rounds": self.peer_rounds, "sizes": dict(self.examiner.sizes)},
        )
        groups: dict[int, list[int]] = defaultdict(list)
        for i in self.members:
            groups[group_of(i)].append(i)
        events: dict[int, list[tuple[int, Item]]] = defaultdict(list)
        for at, item in self._calendar.items():
            events[group_of(item[3])].append((at, item))
        for group, members in groups.items():
            yield (
                ("group", group),
                {
                    "peers": {i: peer_state(self.peers[i]) for i in members},
                    "events": events[group],
                    "opened": self._post.opened(members),
                    "examined": self.examiner.of(members),
                },
            )

    def restore(self, part: Part, state: Mapping[str, Any]) -> None:
        """Go on from one of the parts, of which the world's comes first."""
        match part[0]:
            case "world":
                self._calendar.restore(state["slice"])  # what the beginning held is over
                self._presence.places.restore(state["shown"])
                self._post.index_of = OrderedDict(state["index_of"])
            case "counts":
                self.peer_rounds += state["peer_rounds"]
                for kind, sizes in state["sizes"].items():
                    self.examiner.sizes[kind].update(sizes)
            case "group":
                for i, held in state["peers"].items():
                    self._restore_peer(self.peers[i], held)
                self._post.restore(self.peers, state["opened"])
                for at, item in state["events"]:
                    self._calendar.put(at, item)
                self.examiner.restore(state["examined"])

    def _restore_peer(self, peer: SimulatedPeer, held: Mapping[str, Any]) -> None:
        restore_peer(peer, held, self.world)
        if not peer.asleep:
            for topic in peer.topics:
                self._presence.places.look(peer.index, topic)
        self._fates.restore(peer)

    # --- events --------------------------------------------------------------------------------

    def _happen(self, peer: SimulatedPeer, event: object, time_s: float) -> None:  # noqa: C901
        if isinstance(event, Fate):
            self._befall(peer, event.what, time_s)
        elif isinstance(event, CheckIn):
            peer.known = max(peer.known, event.known)
            if peer.life is not None:
                self._work.lengthen(peer, event.known)
                self._handle(peer, ev.InteractionsAdded(n=1), time_s)
        elif isinstance(event, Parcel) and (event.message is not None or not peer.asleep):
            heard = self._post.arrived(peer, event, time_s)
            if heard is not None:
                self._handle(peer, heard, time_s)
        elif peer.asleep:
            if not isinstance(event, Seen):  # it looks anew when it wakes
                peer.missed.append(event)
        elif isinstance(event, Timeout):
            if peer.generation.get(event.timer) == event.generation:
                self._handle(peer, _FIRED[event.timer], time_s)
        elif isinstance(event, Seen):
            for heard_of in self._presence.seen(peer, event.announced, time_s):
                self._handle(peer, heard_of, time_s)
        else:
            self._handle(peer, event, time_s)  # type: ignore[arg-type]  # an event of the life

    def _handle(self, peer: SimulatedPeer, event: ev.Event, time_s: float) -> None:
        if peer.life is None:
            return
        now = peer.clock_s(self.world.epoch_s + time_s)
        for effect in peer.life.handle(event, now):
            self._perform(peer, effect, time_s)

    def _perform(self, peer: SimulatedPeer, effect: ev.Effect, time_s: float) -> None:
        match effect:
            case ev.Send():
                self._post.send(peer, effect, time_s)
            case ev.SetTimer():
                generation = peer.generation.get(effect.timer, 0) + 1
                peer.generation[effect.timer] = generation
                self._calendar.later(
                    peer, time_s + effect.delay_s, Timeout(effect.timer, generation)
                )
            case ev.Train() | ev.MakePayloads() | ev.Merge():
                self._work.begin(peer, effect, time_s)
            case ev.Tell():
                self._told(peer, effect, time_s)
            case ev.Persist():
                self._persist(peer, effect)
            case ev.Advertise():
                self._presence.advertise(peer, effect, time_s)
                self._handle(peer, ev.Advertised(), time_s)
            case ev.LookFurther():
                self._presence.look_around(peer, effect.ring, time_s)
            case ev.Withdraw():
                self._presence.withdraw(peer, time_s)
            case ev.Halt():
                self._presence.close_eyes(peer)

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

    def _persist(self, peer: SimulatedPeer, effect: ev.Persist) -> None:
        if not self.world.settings.devices.crashes_per_day or peer.learner is None:
            return
        peer.saved = Saved(
            round=effect.round,
            merged_rounds=effect.merged_rounds,
            learner={name: value.copy() for name, value in peer.learner.state().items()},
        )

    def _befall(self, peer: SimulatedPeer, what: str, time_s: float) -> None:
        if peer.asleep and what in _NEED_THE_DEVICE:
            peer.postponed.append(what)
            return
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
                self._take_up(peer, time_s)
            case "leaves":
                if peer.life is None:  # crashed: it says goodbye when it is back
                    peer.postponed.append(what)
                else:
                    self._handle(peer, ev.StopRequested(), time_s)
            case "sleeps":
                peer.asleep = True
                self._presence.doze(peer)
            case "wakes":
                self._wake(peer, time_s)
            case "crashes":
                self._crash(peer, time_s)

    def _wake(self, peer: SimulatedPeer, time_s: float) -> None:
        peer.asleep = False
        missed, peer.missed = peer.missed, []
        for event in missed:
            self._happen(peer, event, time_s)
        self._presence.look_anew(peer, time_s)
        self._take_up(peer, time_s)
        self._fates.next_sleep(peer)

    def _crash(self, peer: SimulatedPeer, time_s: float) -> None:
        if peer.life is not None and not peer.over:
            self._presence.close_eyes(peer)
            peer.life, peer.learner, peer.missed = None, None, []
            self._dead += 1
            peer.generation = {}
            peer.counters["crashes"] += 1
            self._fates.add(peer, time_s + self.world.settings.devices.restart_s, "restarts")
        self._fates.next_crash(peer)

    def _take_up(self, peer: SimulatedPeer, time_s: float) -> None:
        """What has waited for the device; who leaves has to be there first."""
        postponed, peer.postponed = peer.postponed, []
        for what in sorted(postponed, key=lambda what: what == "leaves"):
            self._befall(peer, what, time_s)
