"""Two lives that have begun at other times or train at another pace: who waits for whom."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import pytest
from lives import NOW, hello, peer, update

from p2prec.training.learner import MergeReport, TrainingReport
from peers import events as ev
from peers.life import Phase
from peers.messages import PeerId, Share

_HOP_S = 0.1


class Pair:
    """Two peers that are each other's neighbour, in virtual time.

    Args:
        begun: Round in which each begins.
        train_s: How long each trains.

    Attributes:
        timeouts: Rounds of each that ended by their timer.
        merged: Payloads that each has merged.
    """

    def __init__(self, *, begun: tuple[int, int], train_s: tuple[float, float]) -> None:
        self.lives = [peer(i + 1, k=1, rounds=0) for i in range(2)]
        self.now, self.train_s = NOW, train_s
        self.timeouts, self.merged = [0, 0], [0, 0]
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._timers: dict[tuple[int, ev.Timer], int] = {}
        for i, life in enumerate(self.lives):
            other = PeerId(f"id{2 - i}")
            self._give(i, ev.Started(round=begun[i]))
            self._give(
                i, ev.Arrived(sender=other, message=hello(2 - i), transport="tcp", n_bytes=1)
            )
            life.acquaintances.neighbours = (other,)

    def run(self, seconds: float) -> None:
        while self._queue and self._queue[0][0] < NOW + seconds:
            self.now, _, then = heapq.heappop(self._queue)
            then()

    def _later(self, delay_s: float, i: int, event: ev.Event) -> None:
        then = lambda: self._give(i, event)  # noqa: E731
        heapq.heappush(self._queue, (self.now + delay_s, next(self._number), then))

    def _fire(self, i: int, timer: ev.Timer, number: int) -> None:
        if self._timers[i, timer] == number:
            waits = self.lives[i].phase is Phase.WAITING
            self.timeouts[i] += timer is ev.Timer.INBOX and waits
            self._give(i, ev.TimerFired(timer=timer))

    def _give(self, i: int, event: ev.Event) -> None:
        for effect in self.lives[i].handle(event, self.now):
            match effect:
                case ev.SetTimer() if effect.timer in {ev.Timer.ROUND, ev.Timer.INBOX}:
                    number = self._timers[i, effect.timer] = next(self._number)
                    heapq.heappush(
                        self._queue,
                        (
                            self.now + effect.delay_s,
                            number,
                            lambda t=effect.timer, n=number: self._fire(i, t, n),  # type: ignore[misc]
                        ),
                    )
                case ev.Send(message=Share()):
                    sender = PeerId(f"id{i + 1}")
                    said = ev.Arrived(
                        sender=sender, message=effect.message, transport="tcp", n_bytes=1
                    )
                    self._later(_HOP_S, 1 - i, said)
                case ev.Train():
                    report = TrainingReport(loss=1.0, n_examples=1)
                    self._later(self.train_s[i], i, ev.Trained(round=effect.round, report=report))
                case ev.MakePayloads():
                    ready = ev.PayloadsReady(round=effect.round, payloads=(update(effect.round),))
                    self._later(_HOP_S, i, ready)
                case ev.Merge():
                    self.merged[i] += len(effect.received)
                    done = MergeReport(weights={}, rejected={})
                    self._later(_HOP_S, i, ev.Merged(round=effect.round, report=done))


@pytest.mark.parametrize("lag", [0, 1, 2, 3, 4, 6, 500])
@pytest.mark.parametrize("train_s", [(1.0, 1.0), (1.3, 1.0), (1.0, 1.3)])
def test_a_head_start_costs_no_timeouts_and_nothing_unheard(
    lag: int, train_s: tuple[float, float]
) -> None:
    pair = Pair(begun=(10, 10 + lag), train_s=train_s)
    pair.run(300.0)
    done = [life.round - begun for life, begun in zip(pair.lives, (10, 10 + lag), strict=True)]
    assert max(pair.timeouts) <= 2
    assert min(done) > 150
    for merged, heard_from in zip(pair.merged, done[::-1], strict=True):
        assert merged > 0.7 * min(heard_from, *done)


def test_who_trains_fast_waits_for_who_is_somewhat_slower() -> None:
    pair = Pair(begun=(0, 0), train_s=(1.0, 15.0))
    pair.run(3_000.0)
    assert pair.lives[0].round - pair.lives[1].round <= 1
    assert pair.timeouts == [0, 0]


def test_who_trains_fast_does_not_wait_for_who_trains_slowly() -> None:
    pair = Pair(begun=(0, 0), train_s=(1.0, 60.0))
    pair.run(3_000.0)
    fast, slow = pair.lives
    assert fast.round > 2_000
    assert pair.timeouts[0] <= 3
    assert pair.merged[0] >= slow.round - 2  # all that it says is heard
    assert pair.merged[1] >= slow.round - 2


def test_who_only_repeats_old_rounds_is_not_waited_for() -> None:
    life = peer(k=1, rounds=0)
    neighbour = PeerId("id5")

    def arrives(message: object) -> None:
        life.handle(ev.Arrived(sender=neighbour, message=message, transport="", n_bytes=1), NOW)  # type: ignore[arg-type]

    life.handle(ev.Started(round=100), NOW)
    arrives(hello(5))
    life.acquaintances.neighbours = (neighbour,)
    waits = []
    for said in [100, *range(80, 90)]:
        round_, life.phase = life.round, Phase.TRAINING
        report = TrainingReport(loss=1.0, n_examples=1)
        life.handle(ev.Trained(round=round_, report=report), NOW)
        life.handle(ev.PayloadsReady(round=round_, payloads=()), NOW)
        arrives(Share(payload=update(said)))
        waits.append(life.phase is Phase.WAITING)
        if waits[-1]:
            life.handle(ev.TimerFired(timer=ev.Timer.INBOX), NOW)
        life.handle(ev.Merged(round=round_, report=MergeReport(weights={}, rejected={})), NOW)
    assert waits == [False, True, True, *[False] * 8]
