"""Whole daemons in this process, on real sockets; shared by the end-to-end tests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from processes import PATIENCE_S

from p2prec.data.city import generate_city
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ProtectionConfig,
    TrainingConfig,
)
from peers import events as ev
from peers.config import NeighbourConfig, NetworkConfig, PeerConfig, ScheduleConfig
from peers.daemon import Daemon

CITY = generate_city(rng=np.random.default_rng(1), n_users=6, n_places=80, days=120)


def config(method: str, *, schedule: ScheduleConfig | None = None, **network: object) -> PeerConfig:
    return PeerConfig(
        share=True,
        learner=LearnerConfig(
            collaboration=CollaborationConfig(method=method),
            training=TrainingConfig(epochs=1, max_examples=40, negatives=8),
            # Rounds without pause use up what an owner allows for months within seconds.
            protection=ProtectionConfig(max_releases=1_000_000),
        ),
        neighbours=NeighbourConfig(k=3, discover_interval_s=1.0, shuffle_interval_s=2.0),
        network=NetworkConfig(**{"host": "127.0.0.1", **network}),  # type: ignore[arg-type]
        schedule=schedule
        or ScheduleConfig(
            round_interval_s=0.0, inbox_timeout_s=10.0, max_rounds=3, min_neighbours=2
        ),
    )


ENDLESS = ScheduleConfig(round_interval_s=0.2, inbox_timeout_s=10.0, min_neighbours=1)


class Running:
    """A daemon that runs, and what it has told."""

    def __init__(self, daemon: Daemon, told: list[ev.Tell] | None = None) -> None:
        self.daemon = daemon
        self.told = [] if told is None else told
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(daemon.run(self.stop))

    def heard(self, what: str) -> list[ev.Tell]:
        return [t for t in self.told if t.what == what]

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await self.task


def start(user: int, settings: PeerConfig, home: Path, told: Counter[str] | None = None) -> Running:
    everything: list[ev.Tell] = []

    def on_tell(tell: ev.Tell) -> None:
        everything.append(tell)
        if told is not None:
            told.update([tell.what])

    daemon = Daemon(
        config=settings,
        home=home,
        catalogue=CITY.catalogue,
        history=CITY.interactions.history(user),
        on_tell=on_tell,
    )
    return Running(daemon, everything)


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - states have no event
            await asyncio.sleep(0.05)


async def go_on(*peers: Running, rounds: int = 2) -> None:
    """All of them finish so many more rounds and hear each other in them."""
    goal = [p.daemon.life.round + rounds for p in peers]
    before = [len(p.heard("payload_received")) for p in peers]
    await until(
        lambda: all(
            p.daemon.life.round >= g and len(p.heard("payload_received")) > b and not p.task.done()
            for p, g, b in zip(peers, goal, before, strict=True)
        )
    )
    assert all(p.daemon.life.neighbours for p in peers)
