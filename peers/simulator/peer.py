"""One simulated peer: the very life of a real one, and what its driver must remember."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from p2prec.training.local import LocalLearner
from peers import events as ev
from peers.acquaintances import Identity
from peers.life import Peer, Phase
from peers.messages import Advert, Endpoints, PeerId
from peers.portrait import Portrait
from peers.simulator import draws
from peers.simulator.devices import Battery
from peers.simulator.meeting import Topic
from peers.simulator.papers import Papers
from peers.simulator.world import World
from topology.cells import cell_elsewhere, home_cell


@dataclass(slots=True)
class Saved:
    """What the store of a peer holds."""

    round: int = 0
    merged_rounds: Mapping[tuple[PeerId, str], int] = field(default_factory=dict)
    learner: dict[str, NDArray[np.generic]] | None = None


class SimulatedPeer:
    """State of one peer and its device.

    Args:
        world: It lives in.
        index: In the scenario.
    """

    __slots__ = (
        "advert", "around", "asleep", "battery", "binding", "cell", "config", "counters",
        "device_seed", "elsewhere", "endpoints", "generation", "index", "known", "learner", "life",
        "lives", "missed", "n_crashes_drawn", "n_pauses_drawn", "next_number", "papers", "portrait",
        "postponed", "ready_s", "released", "released_round", "result", "rings", "saved", "skew_s",
        "speed", "taken", "topics", "uplink_free_s",
    )  # fmt: skip

    def __init__(self, world: World, index: int) -> None:
        self.index = index
        self.config = world.config(index)
        realm = world.realm.catalogue.digest
        self.papers = Papers(realm=realm, seed=world.seed, peer=index, seal=world.settings.seal)
        self.device_seed = draws.bits(world.seed, draws.KEYS, index)
        self.known = world.known_at_start(index)
        history = world.split(index).train.head(self.known)
        self.learner: LocalLearner | None = None
        rng = np.random.default_rng([self.device_seed, 7])
        self.portrait = Portrait.draw(world.realm.catalogue, history, rng=rng)
        self.cell = home_cell(world.realm.catalogue, history)
        drawn = draws.bits(world.seed, draws.ELSEWHERE, index)
        self.elsewhere = cell_elsewhere(world.realm.catalogue, drawn)  # where it looks as well
        network = self.config.network
        self.endpoints = Endpoints(
            tcp=((f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}", 7_000),)
            if network.tcp
            else (),
            mqtt_inbox=self.papers.inbox() if network.mqtt else "",
        )
        self.speed = world.devices.kind(index).speed
        self.battery: Battery | None = world.devices.battery(index)
        self.skew_s = world.devices.skew_s(index)
        self.advert: Advert | None = None
        self.binding = b""
        self.asleep = False
        self.missed: list[object] = []  # timers and what was under way when it fell asleep
        self.postponed: list[str] = []  # what befalls a device only while it is on
        self.lives = 0  # crashed and left lives are over: what was meant for them is dropped
        self.generation: dict[ev.Timer, int] = {}
        self.next_number = 0
        self.n_pauses_drawn = self.n_crashes_drawn = 0  # of the device's, which have no end
        self.uplink_free_s = 0.0
        self.taken: tuple[tuple[int, int], ...] = ()  # messages of which a copy is on its way
        self.topics: list[Topic] = []
        self.around: set[str] = set()  # labels of the cells around in which it looks,
        self.rings = 0  # which are of so many rings
        self.counters: Counter[str] = Counter()
        self.released: list[float] = []
        self.released_round = -1
        self.ready_s = -1.0
        self.saved = Saved()
        self.result: tuple[int, bool] | None = None
        self.life: Peer | None = None

    def begin(self, world: World) -> Peer:
        """A life, the first or one after a crash; the learner goes on from what was saved."""
        self.lives += 1
        self.rings = 0
        learner = LocalLearner(
            world.realm.catalogue,
            self.config.learner,
            history=world.split(self.index).train.head(self.known),
            seed=world.learning_seed(self.index),
            device_seed=self.device_seed,
        )
        if self.saved.learner is not None:
            learner.restore(self.saved.learner)
        self.learner = learner
        self.life = Peer(
            config=self.config,
            identity=Identity(
                peer_id=self.papers.peer_id,
                area=self.portrait.area,
                sketch=self.portrait.sketch,
                method=self.config.learner.collaboration.method,
                model=learner.knowledge.model.name,
            ),
            rng=np.random.default_rng([self.device_seed, self.lives]),
            own_advert=self.own_advert,
        )
        return self.life

    def own_advert(self) -> tuple[Advert, bytes] | None:
        """As hellos carry it."""
        return None if self.advert is None else (self.advert, self.binding)

    def clock_s(self, utc_s: float) -> float:
        """What the clock of the device says at a time, both in UTC epoch seconds."""
        return utc_s + self.skew_s

    def number(self) -> int:
        """The next number of what this peer sets going; makes the order of events total."""
        self.next_number += 1
        return self.next_number

    @property
    def over(self) -> bool:
        """Whether nothing more will come of this peer; one that has yet to join is not over."""
        if self.result is not None:
            return True
        return self.life is not None and self.life.phase is Phase.HALTED
