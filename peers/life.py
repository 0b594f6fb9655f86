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
hello that accepts makes its sender a follower. Discovery runs beside the rounds in every phase; it
is the matter of ``peers.acquaintances``. Every collection is bounded; what goes beyond a bound is
dropped and told.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import numpy as np

from p2prec import limits
from p2prec.collaboration.payload import Parameters, Payload, joined, kind_of
from p2prec.training.learner import Received
from peers import events as ev
from peers.acquaintances import Acquaintance, Acquaintances, Identity, dropped
from peers.config import PeerConfig
from peers.messages import Advert, Goodbye, Hello, Message, PeerId, Pseudonym, Share, Shuffle

IN_STEP_ROUNDS: Final = 3  # further apart, two peers began at other times or have other paces
MAX_MERGED: Final = 8 * limits.MAX_INBOX_MESSAGES  # payloads remembered as merged
_FIRST_DISCOVERY_S: Final = 1.0
_SILENT_ROUNDS: Final = 2  # a neighbour that said nothing for so many is no longer waited for
_RETRY_START_S: Final = 1.0  # how often a peer without neighbours looks whether there are some


_Kept = tuple[PeerId, Payload]


class Phase(StrEnum):
    """What the peer is doing."""

    IDLE = "idle"
    TRAINING = "training"
    SPEAKING = "speaking"
    WAITING = "waiting"
    MERGING = "merging"
    RESTING = "resting"
    HALTED = "halted"


class Peer:
    """See the module's text.

    Args:
        config: The owner's settings.
        identity: What a hello says.
        rng: Handed in; decides whom to greet and which neighbours are drawn at random.
        own_advert: The current advert and its binding, kept by the driver.

    Attributes:
        phase: What the peer is doing.
        round: The round it is in.
        acquaintances: Whom it knows.
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
        self.phase = Phase.IDLE
        self.round = 0
        self._speakers: dict[PeerId, int] = {}  # and in which own round they were heard last
        self.acquaintances = Acquaintances(
            config=config.neighbours,
            identity=identity,
            rng=rng,
            own_advert=own_advert,
            on_follower=self._repeat,
            on_forgotten=lambda peer: self._speakers.pop(peer, None),
        )
        self._spoken: tuple[Payload, ...] = ()
        self._inbox: OrderedDict[tuple[PeerId, str], tuple[PeerId, Payload]] = OrderedDict()
        self._merged_rounds: dict[tuple[PeerId, str], int] = {}
        self._first_round = 0
        self._started_s = 0.0
        self._rotated_s = 0.0

    @property
    def collaborates(self) -> bool:
        """Whether anything may leave this peer."""
        return self._config.share and self._identity.method != "alone"

    @property
    def adverts(self) -> dict[Pseudonym, Advert]:
        """Adverts that were seen and have not gone."""
        return self.acquaintances.adverts

    @property
    def known(self) -> OrderedDict[PeerId, Acquaintance]:
        """Peers whose hello was opened."""
        return self.acquaintances.known

    @property
    def neighbours(self) -> tuple[PeerId, ...]:
        """Whom the peer learns from."""
        return self.acquaintances.neighbours

    @property
    def followers(self) -> OrderedDict[PeerId, None]:
        """Who learns from the peer."""
        return self.acquaintances.followers

    @property
    def discovered(self) -> Counter[str]:
        """How many adverts became known by which way."""
        return self.acquaintances.discovered

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
                known = self.acquaintances
                return known.remember(event.advert, event.source) if self.collaborates else []
            case ev.AdvertGone():
                self.adverts.pop(event.pseudonym, None)
                return []
            case ev.Advertised():
                # Only now: a hello with the old advert would let it expire in their memory.
                return self.acquaintances.announce()
            case ev.Arrived():
                return self._arrived(event, now)
            case ev.SendFailed():
                return self.acquaintances.failed(event, now)
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
        self.acquaintances.start(now)
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
                again = ev.SetTimer(timer=timer, delay_s=self.acquaintances.discover_delay_s())
                return [*self.acquaintances.look_around(now), again]
            case ev.Timer.SHUFFLE:
                again = ev.SetTimer(timer=timer, delay_s=self.acquaintances.shuffle_delay_s())
                return [*self.acquaintances.shuffle(now), again]
            case ev.Timer.RENEW:
                return self._renew(now)

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
        known = self.known[peer]
        return [
            ev.Send(to=known.advert, message=Share(payload=payload))
            for payload in self._spoken
            # Parameters of another model are of no use to anybody.
            if known.same_model or not isinstance(payload, Parameters)
        ]

    def _merge_if_complete(self) -> list[ev.Effect]:
        if self.phase is not Phase.WAITING:
            return []
        heard = {
            sender
            for sender, payload in self._inbox.values()
            if payload.round >= self.round or not self._in_step(payload)
        }
        # Who was heard before its round, since it is ahead, waits for this peer.
        heard |= {p for (p, _), round_ in self._merged_rounds.items() if round_ >= self.round}
        # Who is silent is not waited for: it may have too many followers, or no releases left. Nor
        # is who counts from another beginning: its rounds do not end with this peer's.
        awaited = set(self.neighbours)
        if self.round > self._first_round:
            oldest = self.round - _SILENT_ROUNDS
            awaited &= {p for p, round_ in self._speakers.items() if round_ >= oldest}
        return self._merge() if awaited <= heard else []

    def _merge(self) -> list[ev.Effect]:
        self.phase = Phase.MERGING
        due, waiting = self._due_and_waiting()
        self._inbox = OrderedDict(((s, kind_of(payload)), (s, payload)) for s, payload in waiting)
        received = tuple(
            Received(
                sender=sender,
                payload=payload,
                geographic=self.known[sender].geographic,
                semantic=self.known[sender].semantic,
                staleness_rounds=max(0, self.round - payload.round)
                if self._in_step(payload)
                else 0,
            )
            for sender, payload in due
            if sender in self.known
        )
        for r in received:
            key = (PeerId(r.sender), kind_of(r.payload))
            round_ = max(r.payload.round, self._merged_rounds.pop(key, 0))
            self._merged_rounds[key] = round_  # to the end
        while len(self._merged_rounds) > MAX_MERGED:
            del self._merged_rounds[next(iter(self._merged_rounds))]
        return [ev.Merge(round=self.round, received=received)]

    def _due_and_waiting(self) -> tuple[list[_Kept], list[_Kept]]:
        """What this round takes of the inbox, and what waits for its own round.

        What is a little ahead waits, so that a neighbour that is faster by a moment loses nothing.
        Of one that stays ahead a newer payload takes the place of what waits each time: where
        nothing else has come of it, it is heard by what it said last.
        """
        due: list[_Kept] = []
        waiting: list[_Kept] = []
        for kept in self._inbox.values():
            ahead = kept[1].round > self.round and self._in_step(kept[1])
            (waiting if ahead else due).append(kept)
        hasty = {sender for sender, payload in waiting if payload.round > self.round + 1}
        hasty -= {sender for sender, _ in due}
        due += [kept for kept in waiting if kept[0] in hasty]
        return due, [kept for kept in waiting if kept[0] not in hasty]

    def _in_step(self, payload: Payload) -> bool:
        """Whether its sender counts rounds as this peer does.

        Who is further away has begun at another time or trains at another pace.
        """
        return abs(payload.round - self.round) <= IN_STEP_ROUNDS

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
            effects += [ev.Send(to=to, message=Goodbye()) for to in self.acquaintances.companions()]
            effects.append(ev.Withdraw())
        return [*effects, self._persist(), ev.Halt()]

    def _persist(self) -> ev.Persist:
        return ev.Persist(
            round=self.round,
            neighbours=self.neighbours,
            merged_rounds=dict(self._merged_rounds),
        )

    # --- discovery ---------------------------------------------------------------------------

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

    # --- messages ----------------------------------------------------------------------------

    def _arrived(  # noqa: C901, PLR0911 - one visible table of all messages
        self, event: ev.Arrived, now: float
    ) -> list[ev.Effect]:
        if not self.collaborates:
            return [dropped("not_sharing")]
        if event.sender == self._identity.peer_id:
            return [dropped("from_myself")]
        message: Message = event.message
        acquaintance = self.known.get(event.sender)
        if acquaintance is not None and acquaintance.too_many(now):
            return [dropped("too_many_messages")]
        if isinstance(message, Hello):
            return self.acquaintances.hello(event.sender, message, now, order=event.order)
        if isinstance(message, Goodbye):
            effects = self.acquaintances.goodbye(event.sender, now, order=event.order)
            return [*effects, *self._merge_if_complete()]
        if acquaintance is None:
            return [dropped("from_a_stranger")]
        acquaintance.last_seen_s, acquaintance.failures = now, 0
        match message:
            case Share():
                return self._payload(event.sender, message.payload)
            case Shuffle():
                effects = []
                for advert in message.adverts:
                    effects += self.acquaintances.remember(advert, ev.Source.GOSSIP)
                if message.wants_reply:
                    to = acquaintance.advert
                    sample = self.acquaintances.sample(to, now, wants_reply=False)
                    effects.append(ev.Send(to=to, message=sample))
                return effects
        return []

    def _payload(self, sender: PeerId, payload: Payload) -> list[ev.Effect]:
        key = (sender, kind_of(payload))
        ahead = self._inbox.get((sender, key[1] + "+"))
        if payload.round <= self._merged_rounds.get(key, -1) or (
            ahead is not None and ahead[1].round == payload.round
        ):
            return [dropped("older_than_known")]  # a second delivery, as after a new acquaintance
        if self._in_step(payload):
            self._speakers[sender] = self.round
        previous = self._inbox.get(key)
        if previous is not None and previous[1].round == self.round < payload.round:
            key = (sender, kind_of(payload) + "+")  # one ahead may wait beside this round's
            previous = self._inbox.get(key)
        if previous is not None:
            both = joined(previous[1], payload)
            if both is previous[1]:
                return [dropped("older_than_known")]
            payload = both
        self._inbox[key] = (sender, payload)
        while len(self._inbox) > limits.MAX_INBOX_MESSAGES:
            self._inbox.popitem(last=False)
        told = ev.Tell(what="payload_received", fields={"peer": sender[:8], "round": payload.round})
        return [told, *self._merge_if_complete()]
