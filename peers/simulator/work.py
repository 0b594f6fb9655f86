"""What devices compute: begun one by one in a slice, computed at its end, all peers together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from p2prec.privacy.ledger import release_budget
from p2prec.training.local import LocalLearner, merge_together, payloads_together, train_together
from peers import events as ev
from peers.simulator.happenings import Calendar, group_of
from peers.simulator.peer import SimulatedPeer
from peers.simulator.world import World

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
            groups[group_of(job.peer.index)].append(job)
    yield from groups.values()


class Workbench:
    """Everything that the peers of one shard compute.

    Args:
        world: They live in.
        calendar: Knows what is done when this slice has long been over.
        on_done: Takes what is done within the slice: the peer and the event.
    """

    def __init__(
        self,
        world: World,
        calendar: Calendar,
        *,
        on_done: Callable[[SimulatedPeer, ev.Event], None],
    ) -> None:
        self._world, self._calendar, self._on_done = world, calendar, on_done
        self._training: list[_Job[ev.Train]] = []
        self._publishing: list[_Job[ev.MakePayloads]] = []
        self._merging: list[_Job[ev.Merge]] = []
        self._longer: list[tuple[SimulatedPeer, int]] = []

    def begin(
        self, peer: SimulatedPeer, effect: ev.Train | ev.MakePayloads | ev.Merge, time_s: float
    ) -> None:
        """Let a device begin to compute."""
        match effect:
            case ev.Train():
                self._training.append(_Job.of(peer, effect, time_s))
            case ev.MakePayloads():
                self._publishing.append(_Job.of(peer, effect, time_s))
            case ev.Merge():
                self._merging.append(_Job.of(peer, effect, time_s))

    def lengthen(self, peer: SimulatedPeer, known: int) -> None:
        """Let a learner know so many of its owner's interactions."""
        self._longer.append((peer, known))

    def compute(self) -> None:
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
                    peer.learner.add(self._world.split(peer.index).train.head(known))

    def _train(self, jobs: Sequence[_Job[ev.Train]]) -> None:
        reports = train_together([job.learner for job in jobs], [job.effect.round for job in jobs])
        for job, report in zip(jobs, reports, strict=True):
            if report.diverged:
                job.peer.counters["diverged"] += 1
            cost_s = (
                self._world.settings.devices.seconds_per_example
                * report.n_examples
                * job.peer.config.learner.training.epochs
            )
            self._done(job, ev.Trained(round=job.effect.round, report=report), cost_s)

    def _merge(self, jobs: Sequence[_Job[ev.Merge]]) -> None:
        reports = merge_together(
            [job.learner for job in jobs],
            [job.effect.round for job in jobs],
            [job.effect.received for job in jobs],
        )
        cost_s = self._world.settings.devices.merge_s
        for job, report in zip(jobs, reports, strict=True):
            self._done(job, ev.Merged(round=job.effect.round, report=report), cost_s)

    def _publish(self, jobs: Sequence[_Job[ev.MakePayloads]]) -> None:
        made = payloads_together(
            [job.learner for job in jobs],
            [job.effect.round for job in jobs],
            degrees=[max(1, len(job.effect.recipients)) for job in jobs],
        )
        cost_s = self._world.settings.devices.publish_s
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
        if finished_s <= self._calendar.end_s and not peer.asleep:
            self._on_done(peer, event)
        else:
            self._calendar.later(peer, finished_s, event)
