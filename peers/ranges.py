"""Which numbers a scenario or an owner's settings may name: one table, one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from p2prec.limits import MAX_ADVERT_LIFETIME_S
from p2prec.ranges import EVER, Range, check_range

# By table and key, but for protection and the options of a method, which a learner checks. What is
# far beyond them would fail after hours only, or fill the memory.
LEARNER: Final[Mapping[str, Range]] = {
    "training.epochs": (1, 1_000),
    "training.example_share": (0.001, 1.0),
    "training.batch_size": (1, 65_536),
    "training.negatives": (1, 4_096),
    "training.learning_rate": (0.0, 10.0),
    "training.dense_learning_rate": (0.0, 10.0),
    "training.explore_rate": (0.0, 10.0),
    "training.reg": (0.0, 10.0),
    "training.max_examples": (1, 1_000_000),
}
LIFE: Final[Mapping[str, Range]] = {
    "neighbours.k": (1, 1_000),
    "neighbours.geographic_threshold": (0.0, 1.0),
    "neighbours.semantic_threshold": (0.0, 1.0),
    "neighbours.random_share": (0.0, 1.0),
    "neighbours.shuffle_interval_s": (0.01, EVER),
    "neighbours.discover_interval_s": (0.01, EVER),
    "neighbours.greetings_per_interval": (1, 10_000),
    "schedule.round_interval_s": (0.0, EVER),
    "schedule.inbox_timeout_s": (0.0, EVER),
    "schedule.max_rounds": (0, 1_000_000),
    "schedule.min_neighbours": (0, 1_000),
    "schedule.settle_s": (0.0, EVER),
}
_SHARE: Final[Range] = (0.0, 1.0)
_SOME: Final[Range] = (1e-6, EVER)  # 0 would divide by it
_ANY: Final[Range] = (0.0, EVER)
SIMULATION: Final[Mapping[str, Range]] = {
    "slice_s": _ANY,
    "hours": _ANY,
    "evaluated": _ANY,
    "network.lan_latency_ms": _ANY,
    "network.broker_latency_ms": _ANY,
    "network.latency_spread": _ANY,
    "network.lan_mbit_s": _SOME,
    "network.broker_mbit_s": _SOME,
    "network.bandwidth_spread": _ANY,
    "network.loss": _SHARE,
    "network.duplication": _SHARE,
    "network.reordering": _SHARE,
    "network.held_back_s": _ANY,
    "network.asymmetry": _ANY,
    "network.lan_peers": (1, EVER),
    "network.partitions.from_s": _ANY,
    "network.partitions.to_s": _ANY,
    "network.partitions.share": _SHARE,
    "devices.classes.share": _SHARE,
    "devices.classes.speed": _SOME,
    "devices.classes.battery_s": _ANY,
    "devices.seconds_per_example": _ANY,
    "devices.merge_s": _ANY,
    "devices.publish_s": _ANY,
    "devices.online_h": _ANY,
    "devices.offline_h": _ANY,
    "devices.session_spread": _ANY,
    "devices.crashes_per_day": _ANY,
    "devices.restart_s": _ANY,
    "devices.clock_skew_s": _ANY,
    "devices.charge_per_h": _ANY,
    "people.replay_days": _ANY,
    "people.late_share": _SHARE,
    "people.late_within_h": _ANY,
    "people.leave_share": _SHARE,
    "people.leave_within_h": _ANY,
}
SCENARIO: Final[Mapping[str, Range]] = {
    **LEARNER,
    **LIFE,
    **{f"simulation.{key}": bounds for key, bounds in SIMULATION.items()},
    "seed": (0, 2**63 - 1),
    "timeout_s": (1.0, EVER),
    "data.users": (1, 10_000_000),
    "data.places": (1, 100_000_000),
    "data.people_per_town": (0, 10_000_000),
    "data.days": (1, 36_500),
    "data.seed": (0, 2**63 - 1),
    "data.habits.exploration": _SHARE,
    "data.habits.fading": (0.0, 10.0),
    "data.habits.return_exponent": (0.0, 10.0),
    "data.habits.reach": (0.0, 10.0),
    "data.habits.way_back": (0.0, 10.0),
    "data.habits.hours": (0.0, 1e6),
    "data.habits.lately": (0.0, 1e6),
    "data.habits.routine": (0.0, 1e6),
    "data.habits.ways": (0.0, 1e6),
    "data.habits.pace": (0.0, 1e6),
    "data.habits.bursts": _SHARE,
    "data.habits.taste": (0.01, 1e3),
    "data.habits.log_check_ins": (0.0, 20.0),
    "data.habits.log_check_ins_sd": (0.0, 10.0),
    "methods.rounds": (0, 1_000_000),
    "peers.count": (1, 10_000_000),
    "peers.mdns_only": (0.0, 1.0),
    "peers.mqtt_only": (0.0, 1.0),
}
OWNER: Final[Mapping[str, Range]] = {
    **{f"learner.{key}": bounds for key, bounds in LEARNER.items()},
    **LIFE,
    "network.port": (0, 65_535),
    "network.advert_lifetime_s": (1.0, MAX_ADVERT_LIFETIME_S),
    "network.pseudonym_lifetime_s": (1.0, EVER),
    "network.prekey_grace_s": (0.0, EVER),
    "seed": (0, 2**63 - 1),
}


def check_ranges(settings: object, ranges: Mapping[str, Range], *, source: str) -> None:
    """Refuse a number that is out of range, or none.

    Args:
        settings: A settings object.
        ranges: By path of keys in it.
        source: The file, for the sentence.

    Raises:
        ConfigError: Names the file, the key, its range and the nearest value within it.
    """
    for path, bounds in ranges.items():
        for name, value in _named(settings, path.split(".")):
            check_range(f"{source}: {name}", value, bounds)


def _named(settings: Any, keys: Sequence[str], name: str = "") -> Iterator[tuple[str, float]]:
    """The number at a path of keys, or one for each member of a list on the way."""
    if isinstance(settings, tuple):
        for i, member in enumerate(settings):
            yield from _named(member, keys, f"{name}[{i}]")
    elif keys:
        inner = f"{name}.{keys[0]}" if name else keys[0]
        yield from _named(getattr(settings, keys[0]), keys[1:], inner)
    else:
        yield name, settings
