"""Everything about a simulated world that never changes while it runs."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from p2prec.data.split import Split, leave_one_out
from p2prec.models.families import parse_model
from peers.asking import met_again
from peers.config import PeerConfig
from peers.examination import Examination
from peers.inbox import payload_schema
from peers.payload_codec import PayloadSchema
from peers.scenario import (
    MethodConfig,
    Scenario,
    learning_seed,
    mqtt_buckets,
    peer_config,
    rounds_of,
)
from peers.simulator.devices import Devices
from peers.simulator.network import Network
from peers.simulator.papers import peer_id
from peers.swarm.data import Realm

_ROUNDS_IN_SLICES = 200  # slices of one round's interval
_SHORTEST_SLICE_S, _LONGEST_SLICE_S = 0.5, 60.0
_DAY_S = 86_400.0


class World:
    """A scenario, its data, one of its methods, and what follows from them.

    Args:
        scenario: What is simulated.
        method: One of its methods.
        realm: Catalogue, and the history of every peer's owner.

    Attributes:
        n: Peers.
        slice_s: Length of a time slice.
        epoch_s: UTC time of virtual second 0.
    """

    def __init__(self, scenario: Scenario, method: MethodConfig, realm: Realm) -> None:
        self.scenario, self.method, self.realm = scenario, method, realm
        self.settings = scenario.simulation
        self.seed = scenario.seed
        self.n = scenario.peers.count
        interval_s = scenario.schedule.round_interval_s / _ROUNDS_IN_SLICES
        self.slice_s = self.settings.slice_s or min(
            max(interval_s, _SHORTEST_SLICE_S), _LONGEST_SLICE_S
        )
        self.network = Network(self.settings.network, scenario.seed)
        self.devices = Devices(self.settings.devices, scenario.seed)
        self.buckets = mqtt_buckets(scenario, self.n)
        last_s = max((int(h.timestamp_s[-3]) for h in realm.histories if len(h) > 2), default=0)
        self.epoch_s = float(last_s) - self.settings.people.replay_days * _DAY_S
        wanted = self.settings.evaluated
        step = 1 if not wanted else max(1, -(-self.n // wanted))
        self.evaluated = frozenset(range(0, self.n, step))
        self._configs: dict[tuple[int, bool, bool], PeerConfig] = {}

    @cached_property
    def schema(self) -> PayloadSchema:
        """What payloads look like."""
        models = [parse_model(name) for name in dict.fromkeys(self.method.models)]
        return payload_schema(self.realm.catalogue, models)

    @cached_property
    def examination(self) -> Examination:
        """What its peers are asked in the end."""
        return Examination(self.realm)

    @cached_property
    def repeats(self) -> bool:
        """Whether known items compete, as of ``met_again``."""
        return met_again(self.realm.histories)

    @property
    def rounds(self) -> int:
        """Rounds of each peer; 0 has no end."""
        return rounds_of(self.scenario, self.method)

    def split(self, peer: int) -> Split:
        """The owner's interactions."""
        return leave_one_out(self.realm.histories[peer])

    def known_at_start(self, peer: int) -> int:
        """How many training interactions lie before virtual second 0."""
        train = self.split(peer).train
        if not self.settings.people.replay_days:
            return len(train)
        return int(np.searchsorted(train.timestamp_s, self.epoch_s, side="right"))

    def config(self, peer: int) -> PeerConfig:
        """The settings of a peer; one object for all that share them, but for the seed."""
        own = peer_config(
            self.scenario, self.method, peer, broker="simulated", responders=["simulated"]
        )
        if self.realm.friends:
            names = tuple(peer_id(self.seed, friend) for friend in self.realm.friends[peer])
            return replace(own, neighbours=replace(own.neighbours, friends=names))
        models = len(self.method.models)
        key = (peer % models, own.network.mdns, bool(own.network.mqtt))
        return self._configs.setdefault(key, replace(own, seed=0))

    def learning_seed(self, peer: int) -> int:
        """Of everything that is drawn at random in a peer's learning, as in a swarm."""
        return learning_seed(self.scenario, peer)
