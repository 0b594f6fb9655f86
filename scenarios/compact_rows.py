"""What rows of item tables come to: parts of a full table, and what a narrow one has as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.evaluation.statistics import half_width

NARROW: Final = "narrow"
FULL: Final = "full"
CURVE: Final = (NARROW, FULL)  # full tables of all dimensions
GOAL: Final = 0.97  # of the full table's NDCG@10, at ``AT``
AT: Final = 50

Values = Mapping[str, Sequence[float]]
"""Of one table at one compression: a value a seed, by name, ``seed`` among them."""
Found = Mapping[tuple[str, int], Values]
"""By table and compression."""


class Verdict(StrEnum):
    """Of a difference with its interval."""

    ABOVE = "above"
    BELOW = "below"
    OPEN = "open"  # zero is within


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over seeds with its 95 % interval (Student's t), paired: these are the same users.

    Attributes:
        mean: Over seeds.
        half: Of the interval's width; infinite where there is one seed only.
    """

    mean: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float] | NDArray[np.float64]) -> Interval:
        """From a value a seed, at least one."""
        return cls(mean=float(np.mean(values)), half=half_width(np.asarray(values, np.float64)))

    @property
    def ends(self) -> tuple[float, float]:
        """Of the interval."""
        return self.mean - self.half, self.mean + self.half

    def against(self, value: float) -> Verdict:
        """Where it lies, as a whole."""
        low, high = self.ends
        if low > value:
            return Verdict.ABOVE
        return Verdict.BELOW if high < value else Verdict.OPEN

    def signed(self, digits: int = 3) -> str:
        """As a difference."""
        half = f" ± {self.half:.{digits}f}" if np.isfinite(self.half) else ""
        return f"{self.mean:+.{digits}f}{half}"


def by_table(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], dict[str, list[float]]]:
    """Values over seeds, of rows that have some."""
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    for row in rows:
        if "why" in row:
            continue
        values = found.setdefault((row["table"], row["compression"]), {})
        for key, value in row.items():
            if isinstance(value, int | float):
                values.setdefault(key, []).append(value)
    return found


def compact(found: Found, compression: int) -> list[str]:
    """Names of the tables that have a row, without those that they are held against."""
    return sorted(t for t, size in found if size == compression and t not in CURVE)


def short(data: str) -> str:
    """Name of a data set, without what a file's has at its end."""
    return Path(data).name.split(".")[0]


def kib(row: Values) -> float:
    """Of the embeddings as they lie on a device, a mean over peers and seeds."""
    return float(np.mean(row["table_bytes"])) / 1024


def of_full(found: Found, row: Values) -> NDArray[np.float64]:
    """NDCG@10 in parts of that of the full table, for each seed that both have."""
    full = found.get((FULL, 1), {"seed": (), "ndcg@10": ()})
    of = dict(zip(full["seed"], full["ndcg@10"], strict=True))
    pairs = zip(row["seed"], row["ndcg@10"], strict=True)
    return np.array([ndcg / of[seed] for seed, ndcg in pairs if of.get(seed)])


def to_narrow(found: Found, row: Values) -> NDArray[np.float64]:
    """NDCG@10 beyond that of full tables with as many bytes, of each seed that has two of them.

    Between two of them it is that on the line over the logarithm of bytes, and beyond the smallest
    and the largest one that of these.
    """
    gains = []
    for number, seed in enumerate(row["seed"] if "table_bytes" in row else ()):
        curve = sorted(
            (bytes_, ndcg)
            for (table, _), full in found.items()
            if table in CURVE
            for of, bytes_, ndcg in zip(
                full["seed"], full["table_bytes"], full["ndcg@10"], strict=True
            )
            if of == seed
        )
        if len(curve) > 1:
            sizes, ndcgs = np.array(curve).T
            at = np.log(row["table_bytes"][number])
            gains.append(row["ndcg@10"][number] - np.interp(at, np.log(sizes), ndcgs))
    return np.array(gains)


def verdicts(found: Found) -> dict[tuple[str, int], tuple[Verdict, Interval]]:
    """Of every table and compression that can be held against narrow ones."""
    result = {}
    for key, row in sorted(found.items(), key=lambda one: (one[0][1], one[0][0])):
        gains = to_narrow(found, row) if key[0] not in CURVE else np.empty(0)
        if len(gains):
            gain = Interval.of(gains)
            result[key] = (gain.against(0.0), gain)
    return result
