"""What befalls simulated peers from outside: who joins late, leaves, sleeps or crashes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Final

from peers.simulator import draws
from peers.simulator.happenings import Calendar, CheckIn, Fate
from peers.simulator.peer import SimulatedPeer
from peers.simulator.world import World

_HOUR_S: Final = 3_600.0
_WORLD: Final = -1  # source of what no peer has set going


class Fates:
    """Of the peers of one shard.

    Args:
        world: They live in.
        calendar: Of their shard.
    """

    def __init__(self, world: World, calendar: Calendar) -> None:
        self._world, self._calendar = world, calendar
        self._away: dict[int, Iterator[tuple[float, float]]] = {}
        self._crashes: dict[int, Iterator[float]] = {}

    def restore(self, peer: SimulatedPeer) -> None:
        """Go on behind what had been drawn for a peer that was restored."""
        devices, i = self._world.devices, peer.index
        self._away[i] = islice(devices.away(i, self._world.epoch_s), peer.n_pauses_drawn, None)
        self._crashes[i] = islice(devices.crashes_s(i), peer.n_crashes_drawn, None)

    def begin(self, peer: SimulatedPeer) -> None:
        """Draw what will befall a peer; sleep and crashes only ever one ahead."""
        people, seed, i = self._world.settings.people, self._world.seed, peer.index
        join_s = 0.0
        if draws.uniform(seed, draws.LATE, i) < people.late_share:
            join_s = _HOUR_S * people.late_within_h * draws.uniform(seed, draws.LATE, i, 1)
        self.add(peer, join_s, "joins")
        if draws.uniform(seed, draws.LEAVE, i) < people.leave_share:
            stay_s = _HOUR_S * people.leave_within_h * draws.uniform(seed, draws.LEAVE, i, 1)
            self.add(peer, max(stay_s, join_s + self._world.slice_s), "leaves")
        self._away[i] = self._world.devices.away(i, self._world.epoch_s)
        self._crashes[i] = self._world.devices.crashes_s(i)
        self.next_sleep(peer)
        self.next_crash(peer)
        train = self._world.split(i).train
        for known in range(peer.known, len(train)):
            at_s = float(train.timestamp_s[known]) - self._world.epoch_s
            self._calendar.schedule(at_s, _WORLD, known, i, 0, CheckIn(known + 1))

    def add(self, peer: SimulatedPeer, at_s: float, what: str) -> None:
        """Let something befall a peer; never where it is infinitely far."""
        if math.isfinite(at_s):
            self._calendar.schedule(at_s, _WORLD, -peer.number(), peer.index, 0, Fate(what))

    def next_sleep(self, peer: SimulatedPeer) -> None:
        """The next while in which the device sleeps."""
        while True:
            away = next(self._away[peer.index], None)
            if away is None:
                return
            peer.n_pauses_drawn += 1
            if away[1] > away[0]:
                self.add(peer, away[0], "sleeps")
                self.add(peer, away[1], "wakes")
                return

    def next_crash(self, peer: SimulatedPeer) -> None:
        """The next crash of the device."""
        at_s = next(self._crashes[peer.index], math.inf)
        peer.n_crashes_drawn += 1
        self.add(peer, at_s, "crashes")
