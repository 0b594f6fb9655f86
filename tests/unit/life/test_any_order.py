"""The peer's life driven in any order: late, doubled and hostile events, crashes and restarts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lives import NOW, advert, changing, hello, peer, update, whole

from p2prec import limits
from p2prec.collaboration.payload import Payload, SessionSet, TableUpdate, kind_of
from p2prec.embeddings.code_update import Mode
from p2prec.training.learner import MergeReport, TrainingReport
from peers import events as ev
from peers.acquaintances import FOLLOWERS_PER_NEIGHBOUR
from peers.life import IN_STEP_ROUNDS, MAX_MERGED, Peer, Phase
from peers.messages import Goodbye, Hello, Message, PeerId, Share, Shuffle

K, ROUNDS = 3, 6
NAMES = st.integers(1, 12)  # few, so that the same ones come again and again
CROWD = st.integers(100, 2_000)  # many, so that bounds are reached
JOBS = ev.Train | ev.MakePayloads | ev.Merge
Said = Callable[[int], Payload]
SAID = st.sampled_from([update, whole, changing])


class AnyOrder(RuleBasedStateMachine):
    """A driver that finishes jobs when it likes, delivers what it likes, and dies when it likes."""

    @initialize()
    def begin(self) -> None:
        self.now = NOW
        self.life = peer(k=K, rounds=ROUNDS)
        self.job: JOBS | None = None
        self.timers: set[ev.Timer] = set()
        self.stored = ev.Persist(round=0, neighbours=())
        self.released: set[int] = set()
        self.merged: set[tuple[str, str, int]] = set()
        self.kept: set[tuple[str, str, int]] = set()
        self.give(ev.Started())

    def give(self, event: ev.Event) -> None:
        before = self.life.round
        effects = self.life.handle(event, self.now)
        if not isinstance(event, ev.Started):
            assert before <= self.life.round <= before + 1
        for effect in effects:
            self.perform(effect)

    def perform(self, effect: ev.Effect) -> None:
        match effect:
            case ev.Train() | ev.MakePayloads() | ev.Merge():
                assert self.job is None, "two jobs at once"
                assert effect.round == self.life.round
                self.job = effect
                if isinstance(effect, ev.Merge):
                    self.check_merge(effect)
            case ev.SetTimer():
                assert effect.delay_s >= 0
                self.timers.add(effect.timer)
            case ev.Send():
                if isinstance(effect.message, Share):
                    # Nothing leaves before the ledger has it, and nothing that it does not have.
                    assert effect.message.payload.round in self.released
            case ev.Persist():
                assert effect.round >= self.stored.round
                self.stored = effect
                self.kept = set(self.merged)
            case _:
                pass

    def check_merge(self, effect: ev.Merge) -> None:
        for received in effect.received:
            name = (received.sender, kind_of(received.payload), received.payload.round)
            assert name not in self.merged, "a round was merged twice"
            self.merged.add(name)
            assert received.sender in self.life.known
            assert 0 <= received.staleness_rounds <= IN_STEP_ROUNDS

    def arrives(self, name: int, message: Message) -> None:
        sender = PeerId(f"id{name}")
        self.give(ev.Arrived(sender=sender, message=message, transport="tcp", n_bytes=9))

    # --- what a driver does ---------------------------------------------------------------------

    @precondition(lambda self: self.job is not None)
    @rule()
    def finish_job(self) -> None:
        job, self.job = self.job, None
        match job:
            case ev.Train():
                report = TrainingReport(loss=1.0, n_examples=1)
                self.give(ev.Trained(round=job.round, report=report))
            case ev.MakePayloads():
                assert job.round not in self.released, "a round was released twice"
                self.released.add(job.round)
                self.give(ev.PayloadsReady(round=job.round, payloads=(update(job.round),)))
            case ev.Merge():
                merged = MergeReport(weights={r.sender: 0.1 for r in job.received}, rejected={})
                self.give(ev.Merged(round=job.round, report=merged))

    @rule(round_=st.integers(0, ROUNDS), kind=st.integers(0, 2))
    def an_outdated_job_ends(self, round_: int, kind: int) -> None:
        if self.job is not None or round_ == self.life.round:
            return
        empty: dict[str, Any] = {"weights": {}, "rejected": {}}
        events: tuple[ev.Event, ...] = (
            ev.Trained(round=round_, report=TrainingReport(loss=0.0, n_examples=0)),
            ev.PayloadsReady(round=round_, payloads=(update(round_),)),
            ev.Merged(round=round_, report=MergeReport(**empty)),
        )
        assert self.life.handle(events[kind], self.now) == []

    @rule(data=st.data(), wait_s=st.floats(0, 90))
    def a_timer_fires(self, data: st.DataObject, wait_s: float) -> None:
        self.now += wait_s
        if self.timers:
            timer = data.draw(st.sampled_from(sorted(self.timers)))
            self.timers.discard(timer)
            self.give(ev.TimerFired(timer=timer))

    @rule()
    def crash_and_restart(self) -> None:
        """The store has the last Persist and the ledger; memory is gone."""
        self.life = peer(k=K, rounds=ROUNDS)
        self.job, self.merged = None, set(self.kept)
        self.timers.clear()
        self.give(
            ev.Started(
                round=max(self.stored.round, max(self.released, default=-1) + 1),
                merged_rounds=self.stored.merged_rounds,
            )
        )

    # --- what the network does ------------------------------------------------------------------

    @rule(name=NAMES, source=st.sampled_from(ev.Source), left_s=st.floats(1, 1e4))
    def an_advert_is_seen(self, name: int, source: ev.Source, left_s: float) -> None:
        self.give(ev.AdvertSeen(advert=advert(name, expires=self.now + left_s), source=source))

    @rule(name=NAMES)
    def an_advert_goes(self, name: int) -> None:
        self.give(ev.AdvertGone(pseudonym=advert(name).pseudonym))

    @rule(name=NAMES, reply=st.booleans(), accepts=st.booleans())
    def a_hello(self, name: int, reply: bool, accepts: bool) -> None:  # noqa: FBT001
        self.arrives(name, hello(name, reply=reply, accepts=accepts))

    @rule(name=NAMES, ahead=st.integers(-5, 5), made=SAID)
    def a_payload(self, name: int, ahead: int, made: Said) -> None:
        self.arrives(name, Share(payload=made(max(0, self.life.round + ahead))))

    @rule(name=NAMES, other=NAMES)
    def a_shuffle(self, name: int, other: int) -> None:
        self.arrives(name, Shuffle(adverts=(advert(other),), wants_reply=True))

    @rule(name=NAMES)
    def a_goodbye(self, name: int) -> None:
        self.arrives(name, Goodbye())

    @rule(name=NAMES)
    def a_failure(self, name: int) -> None:
        self.give(ev.SendFailed(to=advert(name).pseudonym, reason="x"))

    @rule(name=CROWD, n=st.integers(1, 700), made=SAID)
    def a_flood(self, name: int, n: int, made: Said) -> None:
        for other in range(name, name + n):
            self.arrives(other, hello(other, reply=True, accepts=True))
            self.arrives(other, Share(payload=made(self.life.round)))

    # --- what holds whatever happens ------------------------------------------------------------

    @invariant()
    def everything_is_bounded(self) -> None:
        if not hasattr(self, "life"):
            return
        life = self.life
        assert len(set(life.neighbours)) == len(life.neighbours) <= K
        assert set(life.neighbours) <= set(life.known)
        assert set(life.followers) <= set(life.known)
        assert set(life._speakers) <= set(life.known)
        assert len(life.followers) <= K * FOLLOWERS_PER_NEIGHBOUR
        for many in (
            life.known,
            life.adverts,
            life.acquaintances._greeted,
            life.acquaintances._former,
            life.acquaintances._left,
            life.acquaintances._beside,
            life.acquaintances._far,
            life.acquaintances._around,
        ):
            assert len(many) <= limits.MAX_KNOWN_ADVERTS
        assert len(life._inbox) <= limits.MAX_INBOX_MESSAGES
        assert len(life.acquaintances._answered) <= limits.MAX_GREETINGS_PER_MINUTE
        assert len(life._merged_rounds) <= MAX_MERGED

    def teardown(self) -> None:
        """From any state the rounds end, the peer leaves, and then it is silent."""
        if not hasattr(self, "life"):
            return
        for _ in range(40 * ROUNDS):
            if self.life.phase is Phase.RESTING:
                break
            self.now += 30
            if self.job is not None:
                self.finish_job()
            elif self.timers & {ev.Timer.ROUND, ev.Timer.INBOX}:
                timer = min(self.timers & {ev.Timer.ROUND, ev.Timer.INBOX})
                self.timers.discard(timer)
                self.give(ev.TimerFired(timer=timer))
        assert self.life.phase is Phase.RESTING, self.life.phase
        assert self.life.round == ROUNDS
        ending = self.life.handle(ev.StopRequested(), self.now)
        assert isinstance(ending[-1], ev.Halt)
        assert sum(isinstance(e, ev.Persist) for e in ending) == 1
        for event in (
            ev.TimerFired(timer=ev.Timer.ROUND),
            ev.AdvertSeen(advert=advert(1), source=ev.Source.MQTT),
            ev.Arrived(sender=PeerId("id1"), message=hello(1), transport="tcp", n_bytes=1),
            ev.Trained(round=ROUNDS, report=TrainingReport(loss=1.0, n_examples=1)),
            ev.StopRequested(),
        ):
            assert self.life.handle(event, self.now) == []


def test_invariants_hold_in_any_order_of_events_and_crashes() -> None:
    run_state_machine_as_test(
        AnyOrder, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


def test_a_round_that_is_repeated_to_a_new_acquaintance_is_merged_once() -> None:
    """Who says goodbye and comes back gets the payloads of the round again."""
    life = peer(rounds=0)
    life.handle(ev.Started(round=3), NOW)

    def arrives(message: Hello | Share | Goodbye) -> list[ev.Effect]:
        event = ev.Arrived(sender=PeerId("id5"), message=message, transport="tcp", n_bytes=1)
        return life.handle(event, NOW)

    arrives(hello(5))
    arrives(Share(payload=update(3)))
    life.phase = Phase.WAITING
    [merge] = life.handle(ev.TimerFired(timer=ev.Timer.INBOX), NOW)
    assert isinstance(merge, ev.Merge)
    assert [r.payload.round for r in merge.received] == [3]
    [_, persist, _] = life.handle(
        ev.Merged(round=3, report=MergeReport(weights={"id5": 0.5}, rejected={})), NOW
    )
    assert isinstance(persist, ev.Persist)
    for again in (life, peer(rounds=0)):
        if again is not life:  # restarted from what was stored
            again.handle(ev.Started(round=4, merged_rounds=persist.merged_rounds), NOW)
            life = again
        arrives(Goodbye())
        arrives(hello(5))
        [told] = arrives(Share(payload=update(3)))
        assert isinstance(told, ev.Tell)
        assert told.fields == {"reason": "older_than_known"}
        [heard] = arrives(Share(payload=update(4)))
        assert isinstance(heard, ev.Tell)
        assert heard.what == "payload_received"


def test_a_payload_that_waited_for_its_round_is_not_doubled_by_a_second_delivery() -> None:
    life = peer(rounds=0)
    life.handle(ev.Started(), NOW)
    for message in (hello(5), Share(payload=update(0)), Share(payload=update(1))):
        life.handle(ev.Arrived(sender=PeerId("id5"), message=message, transport="", n_bytes=1), NOW)
    life.phase = Phase.WAITING
    life.handle(ev.TimerFired(timer=ev.Timer.INBOX), NOW)
    life.handle(ev.Merged(round=0, report=MergeReport(weights={}, rejected={})), NOW)
    again = ev.Arrived(
        sender=PeerId("id5"), message=Share(payload=update(1)), transport="", n_bytes=1
    )
    life.handle(again, NOW)
    life.phase = Phase.WAITING
    [merge] = life.handle(ev.TimerFired(timer=ev.Timer.INBOX), NOW)
    assert isinstance(merge, ev.Merge)
    assert [r.payload.round for r in merge.received] == [1]
    assert np.array_equal(merge.received[0].payload.rows, update(1).rows)


def waiting(
    life: Peer, round_: int, arrivals: list[TableUpdate]
) -> list[tuple[int, list[tuple[int, Mode]]]]:
    """What a peer in a round merges in this one and those after it, when these have come."""
    life.handle(ev.Started(round=round_), NOW)
    for message in (hello(5), *(Share(payload=said) for said in arrivals)):
        life.handle(ev.Arrived(sender=PeerId("id5"), message=message, transport="", n_bytes=1), NOW)
    merged = []
    for now in range(round_, round_ + 3):
        life.phase = Phase.WAITING
        [merge] = life.handle(ev.TimerFired(timer=ev.Timer.INBOX), NOW)
        assert isinstance(merge, ev.Merge)
        said = [r.payload for r in merge.received]
        assert all(isinstance(payload, TableUpdate) for payload in said)
        merged.append((now, sorted((p.round, p.mode) for p in said)))  # type: ignore[union-attr]
        life.handle(ev.Merged(round=now, report=MergeReport(weights={}, rejected={})), NOW)
    return [(now, said) for now, said in merged if said]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("round_", [4, 5, 6, 7])
def test_a_whole_table_waits_beside_the_update_that_changes_it(round_: int, late: bool) -> None:  # noqa: FBT001
    """One of them is nothing without the other, which the network may also have overtaken."""
    arrivals = [whole(5), changing(6)]
    found = waiting(peer(rounds=0), round_, arrivals[::-1] if late else arrivals)
    first, second = (5, Mode.WHOLE), (6, Mode.QUEUE)
    if round_ == 5:
        assert found == [(5, [first]), (6, [second])]
    else:
        assert found == [(round_, [first, second])]


def test_a_whole_table_is_merged_once_and_makes_room_for_a_newer_one() -> None:
    life = peer(rounds=0)
    arrivals = [whole(4), whole(5), whole(5), changing(5), changing(6), changing(5)]
    assert waiting(life, 5, arrivals) == [
        (5, [(5, Mode.QUEUE), (5, Mode.WHOLE)]),
        (6, [(6, Mode.QUEUE)]),
    ]
    for again in (whole(5), changing(6)):
        event = ev.Arrived(
            sender=PeerId("id5"), message=Share(payload=again), transport="", n_bytes=1
        )
        [told] = life.handle(event, NOW)
        assert isinstance(told, ev.Tell)
        assert told.fields == {"reason": "older_than_known"}


def test_what_is_ahead_waits_though_the_network_brings_an_older_one_after_it() -> None:
    life = peer(rounds=0)
    assert waiting(life, 5, [changing(5), changing(7), changing(6)]) == [
        (5, [(5, Mode.QUEUE)]),
        (7, [(7, Mode.QUEUE)]),
    ]


def test_nobody_grows_the_inbox_by_tables() -> None:
    life = peer(rounds=0)
    life.handle(ev.Started(round=5), NOW)
    for name in range(1, 60):
        sender = PeerId(f"id{name}")
        for message in (
            hello(name),
            *(Share(payload=made(r)) for r in range(3, 12) for made in (whole, changing)),
        ):
            life.handle(ev.Arrived(sender=sender, message=message, transport="", n_bytes=1), NOW)
        kept = [p for s, p in life._inbox.values() if s == sender]
        # Of either kind this round's, and the last one ahead of it.
        assert sorted(p.round for p in kept) == [5, 5, 11, 11]
        assert len(life._inbox) <= limits.MAX_INBOX_MESSAGES


def test_of_sessions_that_wait_none_is_lost_and_their_number_is_bounded() -> None:
    """A session is told once: the newest message does not stand for those before it."""
    life = peer(rounds=0)
    life.handle(ev.Started(round=5), NOW)
    life.handle(ev.Arrived(sender=PeerId("id5"), message=hello(5), transport="", n_bytes=1), NOW)

    def told(round_: int, sessions: Sequence[bytes]) -> list[bytes]:
        message = Share(payload=SessionSet(round=round_, sessions=tuple(sessions)))
        event = ev.Arrived(sender=PeerId("id5"), message=message, transport="", n_bytes=1)
        life.handle(event, NOW)
        [(_, waits)] = life._inbox.values()
        assert isinstance(waits, SessionSet)
        assert waits.round == max(round_, 4)
        return list(waits.sessions)

    assert told(4, [b"c", b"a"]) == [b"c", b"a"]
    assert told(3, [b"a", b"b"]) == [b"c", b"a", b"b"]  # later, though it was sent before
    many = [b"%d" % i for i in range(limits.MAX_SESSIONS)]
    assert told(5, many) == many
