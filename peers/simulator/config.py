"""What a scenario says of the world that is simulated: links, devices, people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from p2prec.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A while in which a share of the peers cannot reach the others.

    Attributes:
        from_s: Beginning, virtual seconds.
        to_s: End; the halves meet again.
        share: Of the peers on the smaller side.
    """

    from_s: float
    to_s: float
    share: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConfig:
    """The modelled network.

    Attributes:
        lan_latency_ms: Median one-way latency of TCP on the local network.
        broker_latency_ms: Median one-way latency by a broker.
        latency_spread: Standard deviation of the logarithm of latencies.
        latency_trace: CSV with a column ``ms``; its values take the place of medians and spread.
        lan_mbit_s: Median uplink to the local network.
        broker_mbit_s: Median uplink to brokers.
        bandwidth_spread: Standard deviation of the logarithm of a factor that is drawn for each
            device, on both of its uplinks.
        bandwidth_trace: CSV with a column ``mbit_s``; each device draws one of its values as its
            uplink to brokers, in place of median and spread. Such traces measure lines to the
            Internet: the local network stays at ``lan_mbit_s``.
        loss: Share of messages that vanish.
        duplication: Share of messages that arrive twice.
        reordering: Share of messages that are held back, up to ``held_back_s``.
        held_back_s: Longest time that a message is held back.
        asymmetry: Standard deviation of the logarithm of a factor on the latency of each
            direction of each link; 0 makes both directions alike.
        partitions: That heal.
        lan_peers: Peers of one cell that see each other by mDNS.
    """

    lan_latency_ms: float = 2.0
    broker_latency_ms: float = 40.0
    latency_spread: float = 0.5
    latency_trace: str = ""
    lan_mbit_s: float = 100.0
    broker_mbit_s: float = 20.0
    bandwidth_spread: float = 0.0
    bandwidth_trace: str = ""
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    held_back_s: float = 5.0
    asymmetry: float = 0.0
    partitions: tuple[Partition, ...] = ()
    lan_peers: int = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClass:
    """One kind of device.

    Attributes:
        name: Such as ``"pi"``.
        share: Of the peers.
        speed: Relative to the laptop on which ``seconds_per_example`` was measured.
        battery_s: Seconds of computing in a full battery; 0 for mains.
    """

    name: str
    share: float
    speed: float = 1.0
    battery_s: float = 0.0


_CLASSES = (
    DeviceClass(name="laptop", share=0.4, speed=1.0),
    DeviceClass(name="phone", share=0.3, speed=0.5),
    DeviceClass(name="pi", share=0.3, speed=0.2),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """The modelled devices.

    Attributes:
        classes: Their shares add up to 1.
        seconds_per_example: Of one training pass on the reference laptop.
        merge_s: Of one merge on it.
        publish_s: Of making one round's payloads on it.
        online_h: Median of on-line sessions; 0 is always on.
        offline_h: Median of the pauses between them.
        session_spread: Standard deviation of the logarithm of both.
        session_trace: CSV ``peer,from_s,to_s`` of on-line sessions, in place of medians and spread;
            hours of the day hold beside it.
        day_from_h: From this hour of the day (UTC) a device may be on line.
        day_to_h: Until this hour.
        crashes_per_day: Mean number of crashes of one device; it goes on from its last saved state.
        restart_s: From a crash to the restart.
        clock_skew_s: Standard deviation of the error of a device's clock.
        charge_per_h: Seconds of computing that one hour of charging gives to a battery.
    """

    classes: tuple[DeviceClass, ...] = _CLASSES
    seconds_per_example: float = 4e-4
    merge_s: float = 0.02
    publish_s: float = 0.005
    online_h: float = 0.0
    offline_h: float = 8.0
    session_spread: float = 1.0
    session_trace: str = ""
    day_from_h: float = 0.0
    day_to_h: float = 24.0
    crashes_per_day: float = 0.0
    restart_s: float = 30.0
    clock_skew_s: float = 0.0
    charge_per_h: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleConfig:
    """The modelled people.

    Attributes:
        replay_days: The last days of the training interactions are not known at the start, but
            come in their real order while the network learns.
        late_share: Share of the peers that join later (cold start).
        late_within_h: They join within these hours.
        leave_share: Share of the peers that leave for good, with a goodbye.
        leave_within_h: They leave within these hours.
    """

    replay_days: float = 0.0
    late_share: float = 0.0
    late_within_h: float = 24.0
    leave_share: float = 0.0
    leave_within_h: float = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """How a scenario is simulated.

    Attributes:
        slice_s: Virtual seconds in which training, publishing and merging of different peers are
            computed as one batch, and that a message takes at least; 0 chooses it by the length
            of a round.
        hours: Virtual end; 0 goes on until all peers have done their rounds.
        seal: Whether messages are really sealed and opened; their size is the true one either way.
        validate: Whether quality on the validation interaction is measured after every round.
        evaluated: Peers whose quality is measured, evenly spread; 0 for all.
        answers: Whether the whole answer to the test interaction is kept, for a comparison of
            methods, and not its rank alone.
        network: Modelled links.
        devices: Modelled devices.
        people: Modelled people.
    """

    slice_s: float = 0.0
    hours: float = 0.0
    seal: bool = False
    validate: bool = True
    evaluated: int = 5_000
    answers: bool = False
    network: LinkConfig = field(default_factory=LinkConfig)
    devices: DeviceConfig = field(default_factory=DeviceConfig)
    people: PeopleConfig = field(default_factory=PeopleConfig)


# What a trace takes the place of: its values have a median and a spread of their own.
_INSTEAD_OF: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "network": {
        "latency_trace": ("lan_latency_ms", "broker_latency_ms", "latency_spread"),
        "bandwidth_trace": ("broker_mbit_s", "bandwidth_spread"),
    },
    "devices": {"session_trace": ("online_h", "offline_h", "session_spread")},
}


def check_simulation(config: SimulationConfig) -> None:
    """Refuse settings that do not go together; each alone is in its range.

    Raises:
        ConfigError: Names the keys.
    """
    devices = config.devices
    if not devices.classes:
        raise ConfigError("simulation.devices.classes is empty; name at least one")
    total = sum(c.share for c in devices.classes)
    if abs(total - 1.0) > 1e-6:
        raise ConfigError(f"the shares of simulation.devices.classes add up to {total}, not to 1")
    if not 0 <= devices.day_from_h < devices.day_to_h <= 24:
        raise ConfigError(
            "simulation.devices.day_from_h and day_to_h must be hours of one day, the first "
            "before the second"
        )
    if any(c.battery_s > 0 for c in devices.classes) and devices.charge_per_h <= 0:
        raise ConfigError(
            "simulation.devices.charge_per_h must be above 0 where there are batteries"
        )
    for table, traces in _INSTEAD_OF.items():
        settings = getattr(config, table)
        for trace, keys in traces.items():
            if getattr(settings, trace):
                _check_trace(settings, f"simulation.{table}", trace, keys)
    if not all(p.from_s < p.to_s for p in config.network.partitions):
        raise ConfigError("simulation.network.partitions: from_s must lie before to_s")


def _check_trace(settings: Any, table: str, trace: str, keys: Sequence[str]) -> None:
    for key in keys:
        value = getattr(settings, key)
        if value != getattr(type(settings)(), key):
            raise ConfigError(
                f"{table}.{key} = {value:g} would change nothing beside {table}.{trace}, whose "
                "values are taken as they are; leave one of them out"
            )
