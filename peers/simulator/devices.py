"""The modelled devices: how fast they compute, when they are on line, when they crash."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peers.simulator import draws
from peers.simulator.config import DeviceClass, DeviceConfig
from peers.simulator.traces import read_trace

_DAY_S, _HOUR_S = 86_400.0, 3_600.0


@dataclass(slots=True)
class Battery:
    """Seconds of computing that are left in a battery."""

    capacity_s: float
    charge_per_s: float
    level_s: float
    at_s: float = 0.0

    def ready_s(self, cost_s: float, now_s: float) -> float:
        """When the battery holds enough for a job; takes it out."""
        self.level_s = min(self.capacity_s, self.level_s + (now_s - self.at_s) * self.charge_per_s)
        cost_s = min(cost_s, self.capacity_s)  # a longer job waits for a full battery
        wait_s = max(0.0, cost_s - self.level_s) / self.charge_per_s
        self.level_s = max(0.0, self.level_s + wait_s * self.charge_per_s - cost_s)
        self.at_s = now_s + wait_s
        return self.at_s


class Devices:
    """All devices of a world.

    Args:
        config: Of the devices.
        seed: Of everything that is drawn.

    Raises:
        ConfigError: The trace of sessions cannot be read.
    """

    def __init__(self, config: DeviceConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._trace = _sessions(Path(config.session_trace)) if config.session_trace else None

    def kind(self, peer: int) -> DeviceClass:
        """The class of a peer's device."""
        drawn = draws.uniform(self._seed, draws.DEVICE, peer)
        for kind in self._config.classes:
            drawn -= kind.share
            if drawn < 0:
                return kind
        return self._config.classes[-1]

    def battery(self, peer: int) -> Battery | None:
        """A full battery, where the device has one."""
        capacity_s = self.kind(peer).battery_s
        if not capacity_s:
            return None
        return Battery(capacity_s, self._config.charge_per_h / _HOUR_S, capacity_s)

    def skew_s(self, peer: int) -> float:
        """By how much the device's clock is ahead."""
        if not self._config.clock_skew_s:
            return 0.0
        return self._config.clock_skew_s * draws.normal(self._seed, draws.SKEW, peer)

    def away(self, peer: int, epoch_s: float) -> Iterator[tuple[float, float]]:
        """Whiles in which a device sleeps, in order, without end: beginning and end.

        Args:
            peer: Index.
            epoch_s: UTC time of virtual second 0, for hours of the day.
        """
        pauses = self._pauses(peer) if self._trace is None else _gaps(self._trace.get(peer, []))
        yield from _joined(pauses, self._nights(epoch_s))

    def crashes_s(self, peer: int) -> Iterator[float]:
        """When a device crashes; a Poisson process."""
        rate = self._config.crashes_per_day / _DAY_S
        at_s, number = 0.0, 0
        while rate:
            at_s -= math.log(draws.uniform(self._seed, draws.CRASH, peer, number)) / rate
            number += 1
            yield at_s

    def _pauses(self, peer: int) -> Iterator[tuple[float, float]]:
        config = self._config
        if not config.online_h:
            return
        spread = config.session_spread
        # The first session has begun before virtual second 0: not all end together.
        at_s = -_HOUR_S * config.online_h * draws.uniform(self._seed, draws.SESSION, peer, -1)
        number = 0
        while True:
            lengths_s = [
                _HOUR_S
                * median_h
                * math.exp(spread * draws.normal(self._seed, draws.SESSION, peer, 2 * number + i))
                for i, median_h in enumerate((config.online_h, config.offline_h))
            ]
            number += 1
            at_s += lengths_s[0]
            yield max(at_s, 0.0), max(at_s + lengths_s[1], 0.0)
            at_s += lengths_s[1]

    def _nights(self, epoch_s: float) -> Iterator[tuple[float, float]]:
        config = self._config
        if config.day_from_h <= 0 and config.day_to_h >= 24:
            return
        midnight_s = -(epoch_s % _DAY_S)
        while True:
            yield (
                midnight_s + _HOUR_S * config.day_to_h - _DAY_S,
                midnight_s + _HOUR_S * config.day_from_h,
            )
            midnight_s += _DAY_S


def _joined(
    first: Iterator[tuple[float, float]], second: Iterator[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """Both in the order of their beginnings, overlapping ones as one."""
    heads = [next(first, None), next(second, None)]
    sources = [first, second]
    current: tuple[float, float] | None = None
    while any(head is not None for head in heads):
        at = min((h[0], i) for i, h in enumerate(heads) if h is not None)[1]
        head = heads[at]
        heads[at] = next(sources[at], None)
        if head is None or head[1] <= 0:
            continue
        if current is None or head[0] > current[1]:
            if current is not None:
                yield current
            current = head
        else:
            current = (current[0], max(current[1], head[1]))
        if current[1] == math.inf:  # nothing comes behind it, and nights never end
            break
    if current is not None:
        yield current


def _gaps(sessions: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    end_s = 0.0
    for begin_s, until_s in sorted(sessions):
        if begin_s > end_s:
            yield end_s, begin_s
        end_s = max(end_s, until_s)
    yield end_s, math.inf


def _sessions(path: Path) -> dict[int, list[tuple[float, float]]]:
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for peer, from_s, to_s in read_trace(path, ("peer", "from_s", "to_s"), what="sessions"):
        found[int(peer)].append((from_s, to_s))
    return dict(found)
