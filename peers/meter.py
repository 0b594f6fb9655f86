"""CPU time by part of the work, measured where it is spent."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

from peers.messages import PeerId
from peers.replay import ReplayMemory


class CpuMeter:
    """CPU seconds of one thread by part; what a part calls is its own part and counted once.

    Attributes:
        seconds: By name of the part.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._within_s = 0.0  # of parts inside the one that is open

    @property
    def total_s(self) -> float:
        """CPU seconds of all parts."""
        return sum(self.seconds.values(), 0.0)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside; nothing may be awaited there."""
        outside_s, self._within_s = self._within_s, 0.0
        begun_s = time.thread_time()
        try:
            yield
        finally:
            took_s = time.thread_time() - begun_s
            self.seconds[name] += took_s - self._within_s
            self._within_s = outside_s + took_s


class MeteredReplay:
    """A replay memory whose time is counted as the part ``replay``."""

    def __init__(self, inner: ReplayMemory, meter: CpuMeter) -> None:
        self._inner, self._meter = inner, meter

    def seen(self, sender: PeerId, message_id: bytes, *, created_s: float) -> bool:
        """See ``ReplayMemory``."""
        with self._meter.part("replay"):
            return self._inner.seen(sender, message_id, created_s=created_s)

    def accept(
        self, sender: PeerId, message_id: bytes, *, created_s: float, expires_s: float
    ) -> bool:
        """See ``ReplayMemory``."""
        with self._meter.part("replay"):
            return self._inner.accept(sender, message_id, created_s=created_s, expires_s=expires_s)
