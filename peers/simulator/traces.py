"""Traces: what was measured in the real world, as a CSV with a line of names above."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from p2prec.errors import ConfigError


def read_trace(path: Path, columns: Sequence[str], *, what: str) -> list[tuple[float, ...]]:
    """The numbers of some columns, a tuple a line; at least one line.

    Args:
        path: Of the file; further columns are left alone.
        columns: Names.
        what: Such as ``"latencies"``, for sentences.

    Raises:
        ConfigError: The file cannot be read, lacks a column or holds none; or something in it is
            no number, or below 0.
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
            rows.extend(tuple(_number(row[name]) for name in columns) for row in reader)
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}, the trace of {what}") from None
    except OSError as error:
        raise ConfigError(f"{path}, the trace of {what}: {error.strerror or error}") from None
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{path}: line {len(rows) + 2} of the trace of {what}: {error}") from None
    if not rows:
        raise ConfigError(f"{path}: the trace of {what} is empty")
    return rows


def _number(text: str | None) -> float:
    number = float(text or "")
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{text} is no number from 0 on")
    return number
