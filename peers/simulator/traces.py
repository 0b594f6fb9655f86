"""Traces: what was measured in the real world, as a CSV with a line of names above."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from p2prec.errors import ConfigError
from peers.files import check_there
from peers.simulator.config import SimulationConfig

_LEAST_MBIT_S: Final = 1e-6  # as of the settings: 0 would divide by it


def read_trace(path: Path, columns: Sequence[str], *, what: str) -> list[tuple[float, ...]]:
    """The numbers of some columns, a tuple a line; at least one line.

    Args:
        path: Of the file; further columns are left alone.
        columns: Names.
        what: Such as ``"latencies"``, for sentences.

    Raises:
        ConfigError: The file cannot be read, lacks a column or holds none; or something in it is
            no number, or below 0, a peer no whole one, a bandwidth of nothing, or a session ends
            before it begins.
    """
    rows: list[tuple[float, ...]] = []
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError(
                    f"{path}: a trace of {what} has the columns {','.join(columns)}; there is no "
                    f"{missing[0]}"
                )
            # What came before a bad line is kept, so that its number can be said.
            rows.extend(_checked({name: _number(row[name]) for name in columns}) for row in reader)
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}, the trace of {what}") from None
    except OSError as error:
        raise ConfigError(f"{path}, the trace of {what}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the trace of {what} is no UTF-8 text") from None
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{path}: line {len(rows) + 2} of the trace of {what}: {error}") from None
    if not rows:
        raise ConfigError(f"{path}: the trace of {what} is empty")
    return rows


def check_traces(config: SimulationConfig, *, peers: int, source: str) -> None:
    """Refuse traces that are none, before anything starts.

    Args:
        config: That may name some.
        peers: How many there are.
        source: Whose settings they are, for errors.

    Raises:
        ConfigError: Names the source, the key, the file and what is wrong.
    """
    latencies, sessions = config.network.latency_trace, config.devices.session_trace
    bandwidths = config.network.bandwidth_trace
    if latencies:
        key = f"{source}: simulation.network.latency_trace"
        _read(Path(latencies), ("ms",), key=key, what="latencies")
    if bandwidths:
        key = f"{source}: simulation.network.bandwidth_trace"
        _read(Path(bandwidths), ("mbit_s",), key=key, what="bandwidths")
    if sessions:
        key = f"{source}: simulation.devices.session_trace"
        for peer, _, _ in _read(
            Path(sessions), ("peer", "from_s", "to_s"), key=key, what="sessions"
        ):
            if peer >= peers:
                raise ConfigError(
                    f"{key}: {sessions}: peer {peer:g} is none of the {peers:,} peers, which are "
                    f"counted from 0; nearest is {peers - 1}"
                )


def _read(path: Path, columns: Sequence[str], *, key: str, what: str) -> list[tuple[float, ...]]:
    check_there(path, key=key, what=f"CSV of {','.join(columns)}")
    try:
        return read_trace(path, columns, what=what)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def _checked(row: dict[str, float]) -> tuple[float, ...]:
    if not row.get("peer", 0.0).is_integer():
        raise ValueError(f"peer {row['peer']:g} is no whole number; nearest is {row['peer']:.0f}")
    if row.get("mbit_s", 1.0) < _LEAST_MBIT_S:
        raise ValueError(
            f"at mbit_s {row['mbit_s']:g} nothing ever leaves; leave out what is below "
            f"{_LEAST_MBIT_S:g}"
        )
    if "to_s" in row and not row["from_s"] < row["to_s"]:
        raise ValueError(f"from_s {row['from_s']:g} must lie before to_s {row['to_s']:g}")
    return tuple(row.values())


def _number(text: str | None) -> float:
    number = float(text or "")
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{text} is no number from 0 on")
    return number
