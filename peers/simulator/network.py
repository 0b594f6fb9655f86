"""The modelled network: how long a message is on its way, and whether it arrives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from peers.simulator import draws
from peers.simulator.config import LinkConfig, Partition
from peers.simulator.traces import read_trace

_BITS_PER_MBIT = 8e-6  # megabits of one byte


@dataclass(frozen=True, slots=True)
class Passage:
    """What the network does to one message: arrival times, none where it is lost."""

    arrivals_s: tuple[float, ...]


class Network:
    """Links between peers.

    Args:
        config: Of the links.
        seed: Of everything that is drawn.

    Raises:
        ConfigError: A trace cannot be read, or names a bandwidth at which nothing can be sent.
    """

    def __init__(self, config: LinkConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._trace_s: list[float] | None = None
        if config.latency_trace:
            trace = read_trace(Path(config.latency_trace), ("ms",), what="latencies")
            self._trace_s = sorted(1e-3 * ms for (ms,) in trace)
        path = config.bandwidth_trace
        uplinks = read_trace(Path(path), ("mbit_s",), what="bandwidths") if path else []
        self._uplinks_mbit_s = sorted(mbit_s for (mbit_s,) in uplinks)

    def upload_s(self, way: str, n_bytes: int, *, sender: int) -> float:
        """How long the sender's uplink is busy with a message of so many bytes."""
        config = self._config
        if way == "tcp":
            mbit_s = config.lan_mbit_s
        elif self._uplinks_mbit_s:
            drawn = draws.uniform(self._seed, draws.BANDWIDTH, sender)
            mbit_s = self._uplinks_mbit_s[int(drawn * len(self._uplinks_mbit_s))]
        else:
            mbit_s = config.broker_mbit_s
        if config.bandwidth_spread:
            exponent = config.bandwidth_spread * draws.normal(self._seed, draws.BANDWIDTH, sender)
            mbit_s *= math.exp(exponent)
        return n_bytes * _BITS_PER_MBIT / mbit_s

    def passage(self, way: str, *, sender: int, to: int, number: int, left_s: float) -> Passage:
        """When a message arrives that has left the sender.

        Args:
            way: ``"tcp"`` or ``"mqtt"``.
            sender: Index.
            to: Index.
            number: Of the message, among all that this sender has sent.
            left_s: When its last byte left.
        """
        config, seed = self._config, self._seed
        if config.loss and draws.uniform(seed, draws.LOSS, sender, number) < config.loss:
            return Passage(())
        latency_s = self._latency_s(way, sender=sender, to=to, number=number)
        if (
            config.reordering
            and draws.uniform(seed, draws.HELD_BACK, sender, number) < config.reordering
        ):
            latency_s += config.held_back_s * draws.uniform(seed, draws.HELD_BACK_S, sender, number)
        first = left_s + latency_s
        if (
            config.duplication
            and draws.uniform(seed, draws.DUPLICATE, sender, number) < config.duplication
        ):
            return Passage((first, first + latency_s))
        return Passage((first,))

    def cut(self, a: int, b: int, now_s: float) -> bool:
        """Whether a partition lies between two peers."""
        return any(
            p.from_s <= now_s < p.to_s and self._side(i, a, p) != self._side(i, b, p)
            for i, p in enumerate(self._config.partitions)
        )

    def _side(self, number: int, peer: int, partition: Partition) -> bool:
        return draws.uniform(self._seed, draws.SIDE, peer, number) < partition.share

    def _latency_s(self, way: str, *, sender: int, to: int, number: int) -> float:
        config, seed = self._config, self._seed
        exponent = 0.0
        if self._trace_s is not None:
            drawn = draws.uniform(seed, draws.LATENCY, sender, number)
            latency_s = self._trace_s[int(drawn * len(self._trace_s))]
        else:
            latency_s = 1e-3 * (config.lan_latency_ms if way == "tcp" else config.broker_latency_ms)
            if config.latency_spread:
                exponent = config.latency_spread * draws.normal(seed, draws.LATENCY, sender, number)
        if config.asymmetry:
            exponent += config.asymmetry * draws.normal(seed, draws.ASYMMETRY, sender, to)
        return latency_s * math.exp(exponent)
