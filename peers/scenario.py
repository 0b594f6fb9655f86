"""Scenarios: one TOML file says what data, which peers, which methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from p2prec.collaboration.method import read_options
from p2prec.collaboration.methods import METHODS
from p2prec.data.city import NEW_YORK
from p2prec.data.people import Habits
from p2prec.errors import ConfigError
from p2prec.models.families import parse_model
from p2prec.training.combinations import check_learner
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ProtectionConfig,
    TrainingConfig,
)
from peers.config import NeighbourConfig, NetworkConfig, PeerConfig, ScheduleConfig
from peers.messages import PeerId
from peers.ranges import SCENARIO, check_ranges
from peers.settings import convert, overridden, read_toml
from peers.simulator.config import SimulationConfig, check_simulation

MAX_PEERS = 5_000  # real processes of one machine
_PEERS_PER_BUCKET = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where interactions come from.

    Attributes:
        kind: ``"city"`` generates one, ``"check_ins"`` reads a CSV.
        path: Of the CSV; ``--data`` overrides it.
        friends: Of a CSV ``user,friend`` with the friendships of the users, for the selection
            ``"social"``; "" for none.
        users: People of the city.
        places: Places of the city.
        people_per_town: Where not 0, people and places are those of towns of this size side by
            side, far from each other, so that a life is the same however many people there are.
        days: Length of the city's record.
        seed: Of the city.
        habits: Of the city's people.
    """

    kind: Literal["city", "check_ins"] = "city"
    path: str = ""
    friends: str = ""
    users: int = 60
    places: int = 600
    people_per_town: int = 0
    days: int = 320
    seed: int = 0
    habits: Habits = NEW_YORK


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersConfig:
    """How many peers, and how they are reached.

    Attributes:
        count: Peers; each gets one user.
        mdns_only: Share that is found by mDNS and reached by TCP only.
        mqtt_only: Share that is found and reached by MQTT only; the rest does both.
    """

    count: int = 24
    mdns_only: float = 0.4
    mqtt_only: float = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodConfig:
    """One method that is compared.

    Attributes:
        name: Of the collaboration.
        label: Name in tables; the name where empty.
        options: Of the collaboration.
        models: Given to peers in turn, as ``family/size`` or ``family/size/task``; different
            ones need a method that can.
        rounds: Overrides the schedule where not 0.
        training: Overrides settings of the scenario's training, since one rate does not suit all.
    """

    name: str
    label: str = ""
    options: dict[str, float | int | str | bool] = field(default_factory=dict)
    models: tuple[str, ...] = ("ranker/16",)
    rounds: int = 0
    training: dict[str, float | int | str | bool] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name in tables."""
        return self.label or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A whole experiment."""

    name: str
    seed: int = 0
    timeout_s: float = 900.0
    data: DataConfig = field(default_factory=DataConfig)
    peers: PeersConfig = field(default_factory=PeersConfig)
    methods: tuple[MethodConfig, ...] = (MethodConfig(name="alone"),)
    discovery: float = 1.5
    training: TrainingConfig = field(default_factory=TrainingConfig)
    protection: ProtectionConfig = field(default_factory=ProtectionConfig)
    neighbours: NeighbourConfig = field(default_factory=NeighbourConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)


def load_scenario(path: Path, *, settings: Sequence[str] = ()) -> Scenario:
    """Read and check a scenario.

    Args:
        path: Of the file.
        settings: As ``KEY=VALUE``, in place of what the file says.

    Raises:
        ConfigError: Names the file and what is wrong.
    """
    tables = overridden(read_toml(path), settings, Scenario)
    return scenario_of(tables, source=str(path))


def scenario_of(tables: Mapping[str, Any], *, source: str) -> Scenario:
    """Check the tables of a scenario.

    Args:
        tables: As of its TOML file.
        source: Whose they are, for errors.

    Raises:
        ConfigError: Names the source and what is wrong.
    """
    scenario = convert(tables, Scenario, source=source)
    check_ranges(scenario, SCENARIO, source=source)
    if scenario.peers.mdns_only + scenario.peers.mqtt_only > 1.0:
        raise ConfigError(f"{source}: peers.mdns_only and peers.mqtt_only add up to more than 1")
    if not scenario.methods:
        raise ConfigError(f"{source}: names no method; write [[methods]] and a name, such as dclr")
    for method in scenario.methods:
        _check_method(scenario, method, source)
    titles = [method.title for method in scenario.methods]
    for title in titles:
        if titles.count(title) > 1:
            raise ConfigError(
                f"{source}: {titles.count(title)} methods are called {title!r}; give each a label "
                "of its own"
            )
    if scenario.neighbours.selection == "social" and not scenario.data.friends:
        raise ConfigError(
            f'{source}: neighbours.selection = "social" needs friendships; name a CSV of '
            "user,friend as data.friends"
        )
    if scenario.data.friends and scenario.data.kind == "city":
        raise ConfigError(
            f"{source}: data.friends names users of check-ins, and a generated city has none of "
            'them; set data.kind = "check_ins"'
        )
    try:
        check_simulation(scenario.simulation)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    return scenario


def _check_method(scenario: Scenario, method: MethodConfig, source: str) -> None:
    try:
        for name in method.models:
            check_learner(learner_config(scenario, method, name))
    except ConfigError as error:
        raise ConfigError(f"{source}: {method.title}: {error}") from None
    overridden = replace(scenario, training=training_config(scenario, method))
    check_ranges(overridden, SCENARIO, source=f"{source}: {method.title}")
    if not method.models:
        raise ConfigError(
            f'{source}: {method.title}: models is empty; name one, such as "ranker/16"'
        )
    if len(set(method.models)) > 1 and METHODS[method.name].sends == "parameters":
        able = [name for name, kind in METHODS.items() if kind.sends in {"probabilities", "both"}]
        raise ConfigError(
            f"{source}: {method.name} averages parameters, so that all models must be the same; "
            f"{', '.join(able)} let peers differ"
        )


def check_ends(scenario: Scenario, *, source: str, virtual: bool) -> None:
    """Refuse methods whose peers would never rest.

    Args:
        scenario: Checked else.
        source: Whose it is, for errors.
        virtual: Whether virtual time may end a run before.

    Raises:
        ConfigError: Names the first of them.
    """
    if virtual and scenario.simulation.hours:
        return
    for method in scenario.methods:
        if not rounds_of(scenario, method):
            hours = " or simulation.hours" if virtual else ""
            raise ConfigError(
                f"{source}: {method.title} never ends with schedule.max_rounds = 0; nearest is 1, "
                f"or give it rounds of its own{hours}"
            )


def rounds_of(scenario: Scenario, method: MethodConfig) -> int:
    """Rounds of each peer with a method of a scenario; 0 has no end."""
    return method.rounds or scenario.schedule.max_rounds


def in_rounds(scenario: Scenario, rounds: int) -> Scenario:
    """With so many rounds of every method, of those too that have rounds of their own.

    Args:
        scenario: What changes.
        rounds: 0 changes nothing.
    """
    if not rounds:
        return scenario
    return replace(
        scenario,
        schedule=replace(scenario.schedule, max_rounds=rounds),
        methods=tuple(replace(method, rounds=0) for method in scenario.methods),
    )


def learning_seed(scenario: Scenario, index: int) -> int:
    """Of everything that is drawn at random in one peer's learning, wherever it runs."""
    return scenario.seed * 100_003 + index


def mqtt_buckets(scenario: Scenario, n_peers: int) -> int:
    """Parts into which a cell's presence on brokers is divided among so many peers."""
    local = min(n_peers, scenario.data.people_per_town or n_peers)
    return max(1, local // _PEERS_PER_BUCKET)


def learner_config(scenario: Scenario, method: MethodConfig, model: str) -> LearnerConfig:
    """What a peer with this model learns.

    Raises:
        ConfigError: It names no model.
    """
    return LearnerConfig(
        model=replace(parse_model(model), discovery=scenario.discovery),
        training=training_config(scenario, method),
        collaboration=CollaborationConfig(method=method.name, options=method.options),
        protection=scenario.protection,
    )


def training_config(scenario: Scenario, method: MethodConfig) -> TrainingConfig:
    """How peers train with this method.

    Raises:
        ConfigError: The method overrides what is no setting, or with what is no value of it.
    """
    return TrainingConfig(**read_options(method.training, asdict(scenario.training)))


def peer_config(
    scenario: Scenario,
    method: MethodConfig,
    index: int,
    *,
    broker: str,
    responders: list[str],
    friends: tuple[PeerId, ...] = (),
) -> PeerConfig:
    """The settings of one peer of a swarm.

    Args:
        scenario: What runs.
        method: Of it.
        index: Of the peer.
        broker: Its address, or "".
        responders: Paths of the shared responders of mDNS.
        friends: Peers of the owner's friends.
    """
    shares = scenario.peers
    # Peers are dealt to transports in turn, so that any subset of users has the same mix.
    position = (index * 0.6180339887) % 1.0 if shares.count > 1 else 1.0
    mdns = position < shares.mdns_only or position >= shares.mdns_only + shares.mqtt_only
    mqtt = position >= shares.mdns_only
    schedule = replace(scenario.schedule, max_rounds=rounds_of(scenario, method))
    return PeerConfig(
        share=method.name != "alone",
        learner=learner_config(scenario, method, method.models[index % len(method.models)]),
        neighbours=replace(scenario.neighbours, friends=friends),
        network=NetworkConfig(
            host="127.0.0.1",
            tcp=mdns,
            mdns=mdns,
            mdns_responder=responders[index % len(responders)] if responders and mdns else "",
            mqtt=(broker,) if mqtt and broker else (),
            advert_lifetime_s=3_600.0,
        ),
        schedule=schedule,
        seed=learning_seed(scenario, index),
    )
