"""Which numbers a setting may be: one sentence for all that are out of range, or none."""

from __future__ import annotations

import math
from typing import Final

from p2prec.errors import ConfigError

EVER: Final = math.inf  # no largest value; infinity itself is refused all the same
Range = tuple[float, float]  # the least and the largest value


def check_range(name: str, value: float, bounds: Range) -> None:
    """Refuse a number that is out of range, or none.

    Args:
        name: Of the setting, for the sentence; whose it is may stand before it.
        value: Of the setting.
        bounds: Within which it must be.

    Raises:
        ConfigError: Names the setting, its range and the nearest value within it.
    """
    least, most = bounds  # a large integer is compared as it is: the nearest float may be too large
    if least <= value <= most and math.isfinite(as_float(value)):
        return
    near = least if not value > most else most
    if not math.isfinite(near):
        near = least
    allowed = "or more" if most == EVER else f"to {_said(most)}"
    raise ConfigError(
        f"{name} = {value} is out of range; it must be {_said(least)} {allowed}, "
        f"nearest is {_said(near)}"
    )


def as_float(value: float) -> float:
    """A number as a float; an integer that is too large for one is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _said(number: float) -> str:
    return f"{int(number):,}" if float(number).is_integer() else f"{number:g}"
