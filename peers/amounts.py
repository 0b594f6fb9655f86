"""Amounts of memory as people write them."""

from __future__ import annotations

import re
from typing import Final

from p2prec.errors import ConfigError
from p2prec.text import printable

_UNITS: Final = {
    "": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
}  # fmt: skip


def parse_bytes(text: str, *, source: str) -> int:
    """Bytes of ``"200 KiB"``, ``"1.5 MB"`` or ``"4096"``.

    Raises:
        ConfigError: It is no amount of memory.
    """
    parts = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]*)\s*", text)
    if parts is None or parts[2].lower() not in _UNITS:
        raise ConfigError(
            f"{source}: memory_budget = {printable(text)[:40]!r} is no amount of memory; write a "
            'number and one of B, KB, KiB, MB, MiB, such as "200 KiB"'
        )
    n_bytes = int(float(parts[1]) * _UNITS[parts[2].lower()])
    if n_bytes < 1:
        raise ConfigError(f"{source}: memory_budget = {printable(text)[:40]!r} must be above 0")
    return n_bytes
