"""The peer's life: one state machine without I/O.

    phase       event               next        effects
    IDLE        Started             IDLE        Advertise, timers
    IDLE        TimerFired(ROUND)   TRAINING    Train
    TRAINING    Trained             SPEAKING    MakePayloads       (not sharing: Merge, MERGING)
    SPEAKING    PayloadsReady       WAITING     Send to each follower, SetTimer(INBOX)
    WAITING     last payload in, or TimerFired(INBOX)
                                    MERGING     Merge
    MERGING     Merged              IDLE        Persist, SetTimer(ROUND)   (last round: RESTING)
    any         StopRequested       HALTED      Goodbye, Withdraw, Persist, Halt

A peer learns from its *neighbours*, whom it chose, and sends to its *followers*, who chose it; a
hello that accepts makes its sender a follower. Discovery runs beside the rounds in every phase:
adverts are remembered, strangers greeted, hellos weighed, neighbours chosen. Every collection is
bounded; what goes beyond a bound is dropped and told.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from p2prec import limits
from p2prec.collaboration.payload import Payload
from p2prec.training.learner import Received
from peers import events as ev
from peers.config import PeerConfig
from peers.messages import Advert, Goodbye, Hello, Message, PeerId, Pseudonym, Share, Shuffle
from topology.selection import Candidate, choose_neighbours
from topology.similarity import geographic_similarity, semantic_similarity

MAX_STALENESS_ROUNDS: Final = 3  # older payloads say more about the past than about the sender
KNOWN_PER_NEIGHBOUR: Final = 2  # acquaintances to choose from; each greeting costs both sides
FOLLOWERS_PER_NEIGHBOUR: Final = 4  # a liked peer sends to at most four times its own k
MAX_FAILURES: Final = 3  # deliveries that may fail in a row
_FIRST_DISCOVERY_S: Final = 1.0
_LOOK_AGAIN_S: Final = 1.0  # between two looks around while neighbours are missing
_PATIENCE_S: Final = 6.0  # what a newcomer waits for more acquaintances before it chooses
_ANSWER_S: Final = 30.0  # after this, an unanswered greeting is not waited for
_SETTLED_SHUFFLES: Final = 6  # intervals between two shuffles of a peer that knows enough others
_FURTHEST_RING: Final = 2  # cells around the own one that a lonely peer looks into
_RETRY_START_S: Final = 1.0  # how often a peer without neighbours looks whether there are some


class Phase(StrEnum):
    """What the peer is doing."""

    IDLE = "idle"
    TRAINING = "training"
    SPEAKING = "speaking"
    WAITING = "waiting"
    MERGING = "merging"
    RESTING = "resting"
    HALTED = "halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the peer says of itself in a hello.

    Attributes:
        peer_id: Own id.
        area: Blurred area cell, "" without positions.
        sketch: Noisy category sketch, b"" where the owner refuses.
        method: Collaboration method.
        model: Model schema.
    """

    peer_id: PeerId
    area: str
    sketch: bytes
    method: str
    model: str


@dataclass(slots=True, kw_only=True)
class Acquaintance:
    """A peer whose hello was opened."""

    advert: Advert
    geographic: float
    semantic: float
    compatible: bool
    last_seen_s: float
    failures: int = 0
    minute: int = 0
    messages_this_minute: int = 0

    def too_many(self, now: float) -> bool:
        """Count a message; whether it is beyond what one sender may send in a minute."""
        minute = int(now // 60)
        if minute != self.minute:
            self.minute, self.messages_this_minute = minute, 0
        self.messages_this_minute += 1
        return self.messages_this_minute > limits.MAX_MESSAGES_PER_MINUTE_PER_SENDER


class Peer:
    """See the module's text.

    Args:
        config: The owner's settings.
        identity: What a hello says.
        rng: Handed in; decides whom to greet and which neighbours are drawn at random.
        own_advert: The current advert and its binding, kept by the driver.
    """

    def __init__(
        self,
        *,
        config: PeerConfig,
        identity: Identity,
        rng: np.random.Generator,
        own_advert: Callable[[], tuple[Advert, bytes] | None],
    ) -> None:
        self._config = config
        self._identity = identity
        self._rng = rng
        self._own_advert = own_advert
        self.phase = Phase.IDLE
        self.round = 0
        self.adverts: OrderedDict[Pseudonym, Advert] = OrderedDict()
        self.known: OrderedDict[PeerId, Acquaintance] = OrderedDict()
        self.neighbours: tuple[PeerId, ...] = ()
        self.discovered: Counter[str] = Counter()
        self.followers: OrderedDict[PeerId, None] = OrderedDict()
        self._spoken: tuple[Payload, ...] = ()
        self._greeted: OrderedDict[Pseudonym, float] = OrderedDict()  # and when
        self._ring = 0
        self._answered: list[float] = []
        self._inbox: OrderedDict[tuple[PeerId, str], tuple[PeerId, Payload]] = OrderedDict()
        self._merged_rounds: dict[tuple[PeerId, str], int] = {}
        self._speakers: set[PeerId] = set()
        self._first_round = 0
        self._started_s = 0.0
        self._rotated_s = 0.0

    @property
    def collaborates(self) -> bool:
        """Whether anything may leave this peer."""
        return self._config.share and self._identity.method != "alone"

    def handle(  # noqa: C901, PLR0911, PLR0912 - one visible table of all events
        self, event: ev.Event, now: float
    ) -> list[ev.Effect]:
        """What is to be done about ``event``; ``now`` is wall time in UTC epoch seconds."""
        if self.phase is Phase.HALTED:
            return []
        match event:
            case ev.Started():
                return self._start(event, now)
            case ev.TimerFired():
                return self._timer(event.timer, now)
            case ev.AdvertSeen():
                return self._remember(event.advert, event.source)
            case ev.AdvertGone():
                self.adverts.pop(event.pseudonym, None)
                return []
            case ev.Advertised():
                # Only now: a hello with the old advert would let it expire in their memory.
                return self._hellos(self._companions(), wants_reply=False)
            case ev.Arrived():
                return self._arrived(event, now)
            case ev.SendFailed():
                return self._failed(event, now)
            case ev.Trained():
                return self._trained(event)
            case ev.PayloadsReady():
                return self._speak(event)
            case ev.Merged():
                return self._merged(event)
            case ev.InteractionsAdded():
                return [ev.Tell(what="interactions_added", fields={"n": event.n})]
            case ev.StopRequested():
                return self._stop()

    # --- rounds ------------------------------------------------------------------------------

    def _start(self, event: ev.Started, now: float) -> list[ev.Effect]:
        self.round = self._first_round = event.round
        self._merged_rounds = dict(event.merged_rounds)
        self._started_s = self._rotated_s = now
        if not self.collaborates:
            return [ev.SetTimer(timer=ev.Timer.ROUND, delay_s=0.0)]
        config = self._config
        return [
            ev.Advertise(),
            ev.SetTimer(timer=ev.Timer.DISCOVER, delay_s=_FIRST_DISCOVERY_S),
            ev.SetTimer(timer=ev.Timer.SHUFFLE, delay_s=config.neighbours.shuffle_interval_s),
            ev.SetTimer(timer=ev.Timer.RENEW, delay_s=0.75 * config.network.advert_lifetime_s),
            ev.SetTimer(timer=ev.Timer.ROUND, delay_s=_RETRY_START_S),
        ]

    def _timer(self, timer: ev.Timer, now: float) -> list[ev.Effect]:
        if not self.collaborates and timer not in {ev.Timer.ROUND, ev.Timer.INBOX}:
            return []
        match timer:
            case ev.Timer.ROUND:
                return self._begin_round(now)
            case ev.Timer.INBOX:
                return self._merge() if self.phase is Phase.WAITING else []
            case ev.Timer.DISCOVER:
                again = ev.SetTimer(timer=timer, delay_s=self._discover_delay_s())
                return [*self._choose(now), *self._greet(now), *self._look_further(now), again]
            case ev.Timer.SHUFFLE:
                again = ev.SetTimer(timer=timer, delay_s=self._shuffle_delay_s())
                return [*self._shuffle(), again]
            case ev.Timer.RENEW:
                return self._renew(now)

    def _discover_delay_s(self) -> float:
        """Look around quickly until there are neighbours, then at leisure."""
        interval_s = self._config.neighbours.discover_interval_s
        missing = len(self.neighbours) < self._config.neighbours.k
        return min(interval_s, _LOOK_AGAIN_S) if missing else interval_s

    def _shuffle_delay_s(self) -> float:
        """Who knows enough others only keeps up with who comes and goes."""
        neighbours = self._config.neighbours
        enough = len(self.known) >= KNOWN_PER_NEIGHBOUR * neighbours.k
        return neighbours.shuffle_interval_s * (_SETTLED_SHUFFLES if enough else 1)

    def _begin_round(self, now: float) -> list[ev.Effect]:
        if self.phase is not Phase.IDLE:
            return []
        schedule = self._config.schedule
        if schedule.max_rounds and self.round >= schedule.max_rounds:
            self.phase = Phase.RESTING
            return [ev.Tell(what="resting", fields={"round": self.round})]
        lonely = self.collaborates and len(self.neighbours) < schedule.min_neighbours
        patience_s = schedule.inbox_timeout_s if lonely else schedule.settle_s
        if self.collaborates and now - self._started_s < patience_s:
            return [ev.SetTimer(timer=ev.Timer.ROUND, delay_s=_RETRY_START_S)]
        self.phase = Phase.TRAINING
        return [ev.Train(round=self.round)]

    def _trained(self, event: ev.Trained) -> list[ev.Effect]:
        if self.phase is not Phase.TRAINING or event.round != self.round:
            return []
        told = ev.Tell(
            what="trained",
            fields={
                "round": self.round,
                "loss": event.report.loss,
                "examples": event.report.n_examples,
            },
        )
        if not self.collaborates:
            self.phase = Phase.WAITING
            return [told, *self._merge()]
        self.phase = Phase.SPEAKING
        return [told, ev.MakePayloads(round=self.round, recipients=tuple(self.followers))]

    def _speak(self, event: ev.PayloadsReady) -> list[ev.Effect]:
        if self.phase is not Phase.SPEAKING or event.round != self.round:
            return []
        self.phase = Phase.WAITING
        self._spoken = event.payloads
        effects: list[ev.Effect] = []
        for peer in self.followers:
            effects += self._repeat(peer)
        effects.append(
            ev.SetTimer(timer=ev.Timer.INBOX, delay_s=self._config.schedule.inbox_timeout_s)
        )
        return [*effects, *self._merge_if_complete()]

    def _repeat(self, peer: PeerId) -> list[ev.Effect]:
        """This round's payloads for one follower; to repeat them is no new release."""
        if peer not in self.known:
            return []
        to = self.known[peer].advert
        return [ev.Send(to=to, message=Share(payload=payload)) for payload in self._spoken]

    def _merge_if_complete(self) -> list[ev.Effect]:
        if self.phase is not Phase.WAITING:
            return []
        heard = {sender for sender, payload in self._inbox.values() if payload.round >= self.round}
        # Who never spoke in a whole round is not waited for again; it may have too many followers.
        awaited = self._speakers if self.round > self._first_round else set(self.neighbours)
        return self._merge() if awaited & set(self.neighbours) <= heard else []

    def _merge(self) -> list[ev.Effect]:
        self.phase = Phase.MERGING
        received = tuple(
            Received(
                sender=sender,
                payload=payload,
                geographic=self.known[sender].geographic,
                semantic=self.known[sender].semantic,
                staleness_rounds=self.round - payload.round,
            )
            for sender, payload in self._inbox.values()
            if sender in self.known and self.round - payload.round <= MAX_STALENESS_ROUNDS
        )
        # What is ahead of this round waits for its own: a fast neighbour loses nothing.
        self._inbox = OrderedDict(
            ((sender, type(payload).__name__), (sender, payload))
            for sender, payload in self._inbox.values()
            if payload.round > self.round
        )
        now_due = tuple(r for r in received if r.staleness_rounds >= 0)
        self._merged_rounds = {
            key: round_
            for key, round_ in self._merged_rounds.items()
            if self.round - round_ <= MAX_STALENESS_ROUNDS  # older ones are too stale anyway
        }
        for r in now_due:
            key = (PeerId(r.sender), type(r.payload).__name__)
            self._merged_rounds[key] = max(r.payload.round, self._merged_rounds.get(key, 0))
        return [ev.Merge(round=self.round, received=now_due)]

    def _merged(self, event: ev.Merged) -> list[ev.Effect]:
        if self.phase is not Phase.MERGING or event.round != self.round:
            return []
        self.phase = Phase.IDLE
        self.round += 1
        told = ev.Tell(
            what="round_finished",
            fields={
                "round": self.round,
                "merged": len(event.report.weights),
                "rejected": len(event.report.rejected),
            },
        )
        delay_s = self._config.schedule.round_interval_s
        return [
            told,
            self._persist(),
            ev.SetTimer(timer=ev.Timer.ROUND, delay_s=delay_s),
        ]

    def _stop(self) -> list[ev.Effect]:
        self.phase = Phase.HALTED
        effects: list[ev.Effect] = []
        if self.collaborates:
            effects += [ev.Send(to=to, message=Goodbye()) for to in self._companions()]
            effects.append(ev.Withdraw())
        return [*effects, self._persist(), ev.Halt()]

    def _persist(self) -> ev.Persist:
        return ev.Persist(
            round=self.round,
            neighbours=self.neighbours,
            merged_rounds=dict(self._merged_rounds),
        )

    # --- discovery ---------------------------------------------------------------------------

    def _remember(self, advert: Advert, source: ev.Source) -> list[ev.Effect]:
        own = self._own_advert()
        if not self.collaborates or own is None or advert.pseudonym == own[0].pseudonym:
            return []
        if not _reachable(own[0], advert):
            return [_dropped("no_common_transport")]
        if advert.pseudonym not in self.adverts:
            self.discovered[source] += 1
        self.adverts[advert.pseudonym] = advert
        self.adverts.move_to_end(advert.pseudonym)
        while len(self.adverts) > limits.MAX_KNOWN_ADVERTS:
            self.adverts.popitem(last=False)
        return []

    def _strangers(self, now: float) -> list[Advert]:
        """Those that we only know by their advert and have not greeted yet."""
        met = {a.advert.pseudonym for a in self.known.values()}
        return [
            advert
            for name, advert in self.adverts.items()
            if name not in met and name not in self._greeted and advert.expires_s > now
        ]

    def _unanswered(self, now: float) -> int:
        """Greetings that may still be answered."""
        met = {a.advert.pseudonym for a in self.known.values()}
        return sum(name not in met for name, at in self._greeted.items() if now - at < _ANSWER_S)

    def _missing(self, now: float) -> int:
        """Acquaintances to look for: with enough to choose from, shuffles keep the view fresh."""
        wanted = KNOWN_PER_NEIGHBOUR * self._config.neighbours.k
        # Strangers look too: each greeting that goes out is likely to be matched by one that comes.
        return max(0, wanted - len(self.known) - 2 * self._unanswered(now))

    def _greet(self, now: float) -> list[ev.Effect]:
        """Introduce ourselves to a random few strangers."""
        strangers = self._strangers(now)
        n = min(self._missing(now), self._config.neighbours.greetings_per_interval)
        chosen = [strangers[i] for i in self._rng.permutation(len(strangers))[:n]]
        for advert in chosen:
            self._greeted[advert.pseudonym] = now
        while len(self._greeted) > limits.MAX_KNOWN_ADVERTS:
            self._greeted.popitem(last=False)
        return self._hellos(chosen, wants_reply=True)

    def _look_further(self, now: float) -> list[ev.Effect]:
        """Look into the cells around where the own one holds too few."""
        due = now - self._started_s >= _PATIENCE_S * (self._ring + 1)
        if (
            not due
            or self._ring >= _FURTHEST_RING
            or self._missing(now) <= len(self._strangers(now))
        ):
            return []
        self._ring += 1
        return [ev.LookFurther(ring=self._ring)]

    def _hellos(self, to: list[Advert], *, wants_reply: bool) -> list[ev.Effect]:
        own = self._own_advert()
        if own is None:
            return []
        accepted = {self.known[p].advert.pseudonym for p in self.neighbours if p in self.known}
        return [
            ev.Send(
                to=advert,
                message=Hello(
                    advert=own[0],
                    binding=own[1],
                    wants_reply=wants_reply,
                    area=self._identity.area,
                    sketch=self._identity.sketch,
                    method=self._identity.method,
                    model=self._identity.model,
                    accepts=advert.pseudonym in accepted,
                ),
            )
            for advert in to
        ]

    def _choose(self, now: float) -> list[ev.Effect]:
        for peer in [p for p, a in self.known.items() if a.advert.expires_s <= now]:
            self._forget(peer)
        config = self._config.neighbours
        usable = {
            peer: a for peer, a in self.known.items() if a.compatible and a.failures < MAX_FAILURES
        }
        candidates = [
            Candidate(
                peer_id=peer,
                geographic=a.geographic,
                semantic=a.semantic,
                is_friend=peer in config.friends,
            )
            for peer, a in usable.items()
        ]
        kept = [p for p in self.neighbours if p in usable]
        if len(kept) >= config.k:  # they change only where one is lost: links must last
            chosen = kept
        elif not self.neighbours and self._worth_waiting(len(usable), now):
            return []
        else:
            chosen = [
                PeerId(p)
                for p in choose_neighbours(
                    candidates,
                    selection=config.selection,
                    k=config.k,
                    geographic_threshold=config.geographic_threshold,
                    semantic_threshold=config.semantic_threshold,
                    random_share=config.random_share,
                    rng=self._rng,
                )
            ]
        changed = [p for p in (*chosen, *self.neighbours) if p in self.known]
        changed = [p for p in changed if (p in chosen) != (p in self.neighbours)]
        if tuple(chosen) == self.neighbours:
            return []
        self.neighbours = tuple(chosen)
        told = ev.Tell(what="neighbours_chosen", fields={"n": len(chosen)})
        return [told, *self._hellos([self.known[p].advert for p in changed], wants_reply=False)]

    def _worth_waiting(self, usable: int, now: float) -> bool:
        """Whether a newcomer will soon have more to choose from; every change costs hellos."""
        if usable >= KNOWN_PER_NEIGHBOUR * self._config.neighbours.k:
            return False
        expected = bool(self._unanswered(now) or self._strangers(now))
        return expected and now - self._started_s < _PATIENCE_S

    def _shuffle(self) -> list[ev.Effect]:
        """Exchange adverts with a random known peer, so that those out of sight are found too."""
        if not self.known:
            return []
        peers = list(self.known)
        to = self.known[peers[int(self._rng.integers(len(peers)))]].advert
        return [ev.Send(to=to, message=self._sample(to, wants_reply=True))]

    def _sample(self, to: Advert, *, wants_reply: bool) -> Shuffle:
        others = [a for a in self.adverts.values() if a.pseudonym != to.pseudonym]
        order = self._rng.permutation(len(others))[: limits.MAX_ADVERTS_PER_SHUFFLE]
        return Shuffle(adverts=tuple(others[i] for i in order), wants_reply=wants_reply)

    def _renew(self, now: float) -> list[ev.Effect]:
        network = self._config.network
        rotate = now - self._rotated_s >= network.pseudonym_lifetime_s
        if rotate:
            self._rotated_s = now
        delay_s = 0.75 * network.advert_lifetime_s
        return [
            ev.Advertise(rotate=rotate),
            ev.SetTimer(timer=ev.Timer.RENEW, delay_s=delay_s),
        ]

    def _companions(self) -> list[Advert]:
        """Adverts of all whom this peer learns from or who learn from it."""
        both = dict.fromkeys((*self.neighbours, *self.followers))
        return [self.known[p].advert for p in both if p in self.known]

    def _failed(self, event: ev.SendFailed, now: float) -> list[ev.Effect]:
        self.adverts.pop(event.to, None)
        if event.to in self._greeted:
            self._greeted[event.to] = 0.0
        for acquaintance in self.known.values():
            if acquaintance.advert.pseudonym == event.to:
                acquaintance.failures += 1
                if acquaintance.failures >= MAX_FAILURES:
                    return [_dropped("unreachable"), *self._choose(now)]
        return [_dropped("not_delivered")]

    # --- messages ----------------------------------------------------------------------------

    def _arrived(  # noqa: C901, PLR0911 - one visible table of all messages
        self, event: ev.Arrived, now: float
    ) -> list[ev.Effect]:
        if not self.collaborates:
            return [_dropped("not_sharing")]
        if event.sender == self._identity.peer_id:
            return [_dropped("from_myself")]
        message: Message = event.message
        acquaintance = self.known.get(event.sender)
        if acquaintance is not None and acquaintance.too_many(now):
            return [_dropped("too_many_messages")]
        if isinstance(message, Hello):
            return self._hello(event.sender, message, now)
        if acquaintance is None:
            return [_dropped("from_a_stranger")]
        acquaintance.last_seen_s, acquaintance.failures = now, 0
        match message:
            case Share():
                return self._payload(event.sender, message.payload)
            case Shuffle():
                effects: list[ev.Effect] = []
                for advert in message.adverts:
                    effects += self._remember(advert, ev.Source.GOSSIP)
                if message.wants_reply:
                    to = acquaintance.advert
                    effects.append(ev.Send(to=to, message=self._sample(to, wants_reply=False)))
                return effects
            case Goodbye():
                self._forget(event.sender)
                self.adverts.pop(acquaintance.advert.pseudonym, None)
                return [
                    ev.Tell(what="goodbye", fields={"peer": event.sender[:8]}),
                    *self._choose(now),
                    *self._merge_if_complete(),
                ]
        return []

    def _hello(self, sender: PeerId, hello: Hello, now: float) -> list[ev.Effect]:
        effects: list[ev.Effect] = self._remember(hello.advert, ev.Source.HELLO)
        before = self.known.pop(sender, None)  # to the end: who was heard last is forgotten last
        same_model = hello.model == self._identity.model or self._identity.method == "mac"
        self.known[sender] = Acquaintance(
            advert=hello.advert,
            geographic=geographic_similarity(self._identity.area, hello.area),
            semantic=semantic_similarity(self._identity.sketch, hello.sketch),
            compatible=hello.method == self._identity.method and same_model,
            last_seen_s=now,
            minute=before.minute if before else 0,
            messages_this_minute=before.messages_this_minute if before else 0,
        )
        while len(self.known) > limits.MAX_KNOWN_ADVERTS:
            self._forget(next(p for p in self.known if p not in self.neighbours))
        effects += self._follow(sender, accepts=hello.accepts)
        if hello.wants_reply:
            self._answered = [t for t in self._answered if now - t < 60.0]
            if len(self._answered) >= limits.MAX_GREETINGS_PER_MINUTE:
                return [*effects, _dropped("too_many_greetings")]
            self._answered.append(now)
            effects += self._hellos([hello.advert], wants_reply=False)
        return effects

    def _follow(self, sender: PeerId, *, accepts: bool) -> list[ev.Effect]:
        if not accepts:
            self.followers.pop(sender, None)
            return []
        if sender in self.followers or not self.known[sender].compatible:
            return []
        if len(self.followers) >= FOLLOWERS_PER_NEIGHBOUR * self._config.neighbours.k:
            return [_dropped("too_many_followers")]
        self.followers[sender] = None
        return self._repeat(sender)

    def _forget(self, peer: PeerId) -> None:
        self.known.pop(peer, None)
        self.followers.pop(peer, None)
        self._speakers.discard(peer)
        self.neighbours = tuple(p for p in self.neighbours if p != peer)

    def _payload(self, sender: PeerId, payload: Payload) -> list[ev.Effect]:
        if self.round - payload.round > MAX_STALENESS_ROUNDS:
            return [_dropped("too_stale")]
        self._speakers.add(sender)
        key = (sender, type(payload).__name__)
        if payload.round <= self._merged_rounds.get(key, -1):
            return [_dropped("older_than_known")]  # a second delivery, as after a new acquaintance
        previous = self._inbox.get(key)
        if previous is not None and previous[1].round >= payload.round:
            return [_dropped("older_than_known")]
        if previous is not None and previous[1].round == self.round:
            key = (sender, type(payload).__name__ + "+")  # one ahead may wait beside this round's
        self._inbox[key] = (sender, payload)
        while len(self._inbox) > limits.MAX_INBOX_MESSAGES:
            self._inbox.popitem(last=False)
        told = ev.Tell(what="payload_received", fields={"peer": sender[:8], "round": payload.round})
        return [told, *self._merge_if_complete()]


def _dropped(reason: str) -> ev.Tell:
    return ev.Tell(what="dropped", fields={"reason": reason})


def _reachable(own: Advert, other: Advert) -> bool:
    return bool(
        (own.endpoints.tcp and other.endpoints.tcp)
        or (own.endpoints.mqtt_inbox and other.endpoints.mqtt_inbox)
    )
