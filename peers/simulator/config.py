"""What a scenario says of the world that is simulated: links, devices, people."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        latency_trace: CSV with a column ``ms``; its values take the place of the distributions.
        lan_mbit_s: Uplink to the local network.
        broker_mbit_s: Uplink to brokers.
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
        session_trace: CSV ``peer,from_s,to_s`` of on-line sessions, in place of the distributions.
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


def check_simulation(config: SimulationConfig) -> None:
    """Refuse what no world can be.

    Raises:
        ConfigError: Names the key and its range.
    """
    links, devices, people = config.network, config.devices, config.people
    shares = {
        "network.loss": links.loss,
        "network.duplication": links.duplication,
        "network.reordering": links.reordering,
        "people.late_share": people.late_share,
        "people.leave_share": people.leave_share,
        **{f"network.partitions[{i}].share": p.share for i, p in enumerate(links.partitions)},
    }
    for name, value in shares.items():
        if not 0.0 <= value <= 1.0:
            raise ConfigError(f"simulation.{name} is {value}; it must be a share, 0 to 1")
    positive = {
        "network.lan_mbit_s": links.lan_mbit_s,
        "network.broker_mbit_s": links.broker_mbit_s,
        "network.lan_peers": links.lan_peers,
        **{f"devices.classes[{i}].speed": c.speed for i, c in enumerate(devices.classes)},
    }
    for name, value in positive.items():
        if not value > 0:
            raise ConfigError(f"simulation.{name} is {value}; it must be above 0")
    not_negative = {
        "slice_s": config.slice_s,
        "hours": config.hours,
        "evaluated": config.evaluated,
        "network.lan_latency_ms": links.lan_latency_ms,
        "network.broker_latency_ms": links.broker_latency_ms,
        "network.latency_spread": links.latency_spread,
        "network.asymmetry": links.asymmetry,
        "network.held_back_s": links.held_back_s,
        "devices.seconds_per_example": devices.seconds_per_example,
        "devices.merge_s": devices.merge_s,
        "devices.publish_s": devices.publish_s,
        "devices.online_h": devices.online_h,
        "devices.offline_h": devices.offline_h,
        "devices.crashes_per_day": devices.crashes_per_day,
        "devices.restart_s": devices.restart_s,
        "devices.clock_skew_s": devices.clock_skew_s,
        "people.replay_days": people.replay_days,
        "people.late_within_h": people.late_within_h,
        "people.leave_within_h": people.leave_within_h,
    }
    for name, value in not_negative.items():
        if value < 0:
            raise ConfigError(f"simulation.{name} is {value}; it must not be below 0")
    _check_devices(devices)
    for partition in links.partitions:
        if not 0 <= partition.from_s < partition.to_s:
            raise ConfigError("simulation.network.partitions: from_s must lie before to_s")


def _check_devices(devices: DeviceConfig) -> None:
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
