"""The settings of one peer, as its owner's ``config.toml`` and a scenario write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from p2prec.training.config import LearnerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourConfig:
    """Whom a peer learns with.

    Attributes:
        selection: ``"geography"``, ``"category"``, ``"both"``, ``"random"`` or ``"social"``.
        k: Neighbours wanted.
        geographic_threshold: Least geographic similarity, 0 to 1.
        semantic_threshold: Least similarity of category preferences, 0 to 1.
        friends: Peer ids of friends, as their ``p2prec status`` shows them; with the selection
            ``"social"`` they come first, and no threshold holds for them.
        random_share: Share of the ``k`` places that goes to random peers.
        shuffle_interval_s: Between two exchanges of adverts with a random known peer.
        discover_interval_s: Between two choices of neighbours.
        greetings_per_interval: Strangers greeted at most in one discover interval.
    """

    selection: Literal["geography", "category", "both", "random", "social"] = "both"
    k: int = 8
    geographic_threshold: float = 0.0
    semantic_threshold: float = 0.0
    friends: tuple[str, ...] = ()
    random_share: float = 0.25
    shuffle_interval_s: float = 60.0
    discover_interval_s: float = 30.0
    greetings_per_interval: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """One broker that an address alone does not describe.

    Attributes:
        address: ``host:port`` or ``mqtts://host:port``.
        ca_file: Certificates of the authorities that may vouch for it, PEM, absolute or relative
            to the config file; those of the system where empty. Needs ``mqtts://``.
        user: User name; empty for none.
        password: Of the user; goes to this broker and is shown nowhere.
    """

    address: str
    ca_file: str = ""
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """How a peer is reached and found.

    Attributes:
        tcp: Whether to listen on TCP.
        host: Address to listen on; ``"0.0.0.0"`` for every network of the device.
        port: TCP port; 0 lets the system choose.
        mdns: Whether to be seen and to look on the local network.
        mdns_interfaces: Addresses of the interfaces; empty for all.
        mdns_responder: Path of a shared responder's Unix socket; "" runs one in this process.
        mqtt: Brokers as ``host:port`` or ``mqtts://host:port``, or as tables, see
            ``BrokerConfig``; empty for none.
        advert_lifetime_s: Life of an advert; renewed at three quarters.
        pseudonym_lifetime_s: After this the advert shows another pseudonym and prekey.
        prekey_grace_s: How long an old prekey still opens messages that were held back for this
            peer; then it is destroyed, and nobody can ever read them.
    """

    tcp: bool = True
    host: str = "0.0.0.0"  # noqa: S104 - a peer is there to be reached; every message is sealed
    port: int = 0
    mdns: bool = True
    mdns_interfaces: tuple[str, ...] = ()
    mdns_responder: str = ""
    mqtt: tuple[str | BrokerConfig, ...] = ()
    advert_lifetime_s: float = 900.0
    pseudonym_lifetime_s: float = 86_400.0
    prekey_grace_s: float = 7 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """When a peer trains and speaks.

    Attributes:
        round_interval_s: From the beginning of one round to the next; 0 goes on at once.
        inbox_timeout_s: How long a round waits for slow neighbours.
        max_rounds: Rounds until the peer rests; 0 never rests.
        min_neighbours: Neighbours that the first round waits for, at most ``inbox_timeout_s``.
        settle_s: How long a started peer only looks around before it trains: where hundreds of
            them share a machine, those that train early keep the others from finding anybody.
    """

    round_interval_s: float = 6 * 3_600.0
    inbox_timeout_s: float = 120.0
    max_rounds: int = 0
    min_neighbours: int = 1
    settle_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    """Everything that an owner can set.

    Attributes:
        catalogue: Path of the realm's catalogue file, absolute or relative to the config file.
        share: Whether anything at all may leave the device; asked for by ``p2prec init``.
        memory_budget: What the model may take on the device, such as ``"200 KiB"``; the peer then
            chooses the best model that keeps it, in place of the one that ``learner.model`` names.
            Empty for no bound.
        learner: What is learned, sent and taken in.
        neighbours: Whom with.
        network: How.
        schedule: When.
        seed: Of everything that is drawn at random in learning.
    """

    catalogue: str = ""
    share: bool = False
    memory_budget: str = ""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    neighbours: NeighbourConfig = field(default_factory=NeighbourConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    seed: int = 0
