"""Which numbers a scenario or an owner's settings may name: one table, one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from p2prec.errors import ConfigError

_EVER: Final = math.inf
Range = tuple[float, float]

# By table and key, but for protection, which a learner checks: the least and the
# largest value. What is far beyond them would fail after hours only, or fill the memory.
LEARNER: Final[Mapping[str, Range]] = {
    "training.epochs": (1, 1_000),
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
    "neighbours.shuffle_interval_s": (0.01, _EVER),
    "neighbours.discover_interval_s": (0.01, _EVER),
    "neighbours.greetings_per_interval": (1, 10_000),
    "schedule.round_interval_s": (0.0, _EVER),
    "schedule.inbox_timeout_s": (0.0, _EVER),
    "schedule.max_rounds": (0, 1_000_000),
    "schedule.min_neighbours": (0, 1_000),
    "schedule.settle_s": (0.0, _EVER),
}
SCENARIO: Final[Mapping[str, Range]] = {
    **LEARNER,
    **LIFE,
    "seed": (0, 2**63 - 1),
    "timeout_s": (1.0, _EVER),
    "data.users": (1, 10_000_000),
    "data.places": (1, 100_000_000),
    "data.days": (1, 36_500),
    "data.seed": (0, 2**63 - 1),
    "peers.count": (1, 10_000_000),
    "peers.mdns_only": (0.0, 1.0),
    "peers.mqtt_only": (0.0, 1.0),
}
OWNER: Final[Mapping[str, Range]] = {
    **{f"learner.{key}": bounds for key, bounds in LEARNER.items()},
    **LIFE,
    "network.port": (0, 65_535),
    "network.advert_lifetime_s": (1.0, _EVER),
    "network.pseudonym_lifetime_s": (1.0, _EVER),
    "network.prekey_grace_s": (0.0, _EVER),
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
    for path, (least, most) in ranges.items():
        value = settings
        for key in path.split("."):
            value = getattr(value, key)
        number = float(value)  # type: ignore[arg-type]  # all of the table are numbers
        if least <= number <= most and math.isfinite(number):
            continue
        near = least if not number > most else most
        if not math.isfinite(near):
            near = least
        allowed = "or more" if most == _EVER else f"to {_said(most)}"
        raise ConfigError(
            f"{source}: {path} = {value} is out of range; it must be {_said(least)} {allowed}, "
            f"nearest is {_said(near)}"
        )


def _said(number: float) -> str:
    return f"{int(number):,}" if float(number).is_integer() else f"{number:g}"
