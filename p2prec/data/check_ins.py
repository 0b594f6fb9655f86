"""Reading check-ins: ``user,poi,category,lat,lon,timestamp``, one a line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.data.dataset import Dataset
from p2prec.data.interactions import Interactions
from p2prec.errors import BadLineError, DataError
from p2prec.limits import MAX_CSV_FIELD_CHARS
from p2prec.text import UNREADABLE, printable

COLUMNS = ("user", "poi", "category", "lat", "lon", "timestamp")
_MAX_TIMESTAMP_S = 1 << 40  # far beyond any check-in; milliseconds since the epoch are caught
_LINE_ENDS = "\r\n"
_MAX_REJECTED_SHOWN = 1_000  # lines that are named; beyond that a file is no CSV of check-ins


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckIn:
    """One good line."""

    line: int
    user: str
    poi: str
    category: str
    latitude_deg: float
    longitude_deg: float
    timestamp_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckIns:
    """What a file of check-ins holds.

    Attributes:
        dataset: Users and places of the good lines.
        rejected: One sentence for each line that was left out.
    """

    dataset: Dataset
    rejected: tuple[str, ...]


def parse_lines(
    lines: Iterable[str], *, source: str, keep_good_lines: bool = False
) -> tuple[list[CheckIn], list[str]]:
    """Good check-ins in the order of the file, and a sentence for each bad line.

    Raises:
        DataError: The header is wrong; ``BadLineError`` where a line is bad and ``keep_good_lines``
            is false. Both name the file, the line and the reason.
    """
    good: list[CheckIn] = []
    rejected: list[str] = []
    places: dict[str, tuple[float, float, str]] = {}
    ended = False  # whether the lines come with their ends
    for number, line in csv_lines(lines, source, COLUMNS):
        try:
            check_in = _parse(number, csv_fields(line))
            if ended and _is_cut(line, check_in, good):
                reason = "the file ends in the middle of this line"
                raise ValueError(reason)  # noqa: TRY301 - one way to reject a line
            place = (check_in.latitude_deg, check_in.longitude_deg, check_in.category)
            if places.setdefault(check_in.poi, place) != place:
                reason = f"place {check_in.poi!r} has another position or category above"
                raise ValueError(reason)  # noqa: TRY301 - one way to reject a line
        except ValueError as error:
            sentence = f"{source}, line {number}: {error}"
            if not keep_good_lines:
                raise BadLineError(f"{sentence}. Mend it, or leave it out.") from None
            if len(rejected) >= _MAX_REJECTED_SHOWN:
                raise DataError(f"{source}: more than {len(rejected)} bad lines") from None
            rejected.append(sentence)
        else:
            good.append(check_in)
            ended = line.endswith(("\n", "\r"))
    return good, rejected


def read_check_ins(
    lines: Iterable[str],
    *,
    source: str,
    keep_good_lines: bool = False,
    catalogue: Catalogue | None = None,
) -> CheckIns:
    """Read check-ins; places come from the file, or from ``catalogue`` where one is given.

    Args:
        lines: Text lines, header first.
        source: Name of the file, for errors.
        keep_good_lines: Leave bad lines out instead of refusing the file.
        catalogue: Realm that all places must belong to.

    Raises:
        DataError: See ``parse_lines``; also for a file without a single good check-in.
    """
    good, rejected = parse_lines(lines, source=source, keep_good_lines=keep_good_lines)
    if catalogue is not None:
        known = [c for c in good if c.poi in catalogue.index]
        strangers = [
            f"{source}, line {c.line}: place {c.poi!r} is not in the catalogue"
            for c in good
            if c.poi not in catalogue.index
        ]
        if strangers and not keep_good_lines:
            raise BadLineError(f"{strangers[0]}.")
        good, rejected = known, rejected + strangers
    if not good:
        raise DataError(f"{source} holds no check-in")
    if catalogue is None:
        places = {c.poi: c for c in good}
        catalogue = Catalogue.build(
            item_ids=list(places),
            latitude_deg=[c.latitude_deg for c in places.values()],
            longitude_deg=[c.longitude_deg for c in places.values()],
            category_names=[c.category for c in places.values()],
        )
    return CheckIns(dataset=_dataset(catalogue, good), rejected=tuple(rejected))


def csv_lines(
    lines: Iterable[str], source: str, columns: tuple[str, ...]
) -> Iterator[tuple[int, str]]:
    """Number and text of each line after the header that is not empty.

    Raises:
        DataError: The header is not that of ``columns``, or there is none.
    """
    number = 0
    for number, line in enumerate(lines, 1):
        if number > 1 and line.strip():
            yield number, line
        elif number == 1:
            text = printable(line.removeprefix("\ufeff").rstrip(_LINE_ENDS))
            if tuple(f.strip().lower() for f in text.replace('"', "").split(",")) != columns:
                raise DataError(
                    f"{source}, line 1: the header must be {','.join(columns)}, not {text[:80]!r}"
                )
    if not number:
        raise DataError(f"{source} is empty")


def csv_fields(line: str) -> list[str]:
    """The fields of one line; a record never goes beyond one, so that its number is exact.

    Raises:
        ValueError: It is no text, or no CSV.
    """
    text = line.rstrip(_LINE_ENDS)
    if UNREADABLE.search(text):
        raise ValueError("it is no UTF-8 text, or has control characters in it")
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise ValueError(f"it is no CSV: {error}") from None


def _is_cut(line: str, check_in: CheckIn, before: list[CheckIn]) -> bool:
    """Whether a line without an end looks half-written: a shorter timestamp than its fellow.

    A file may well end without a line break, but seconds since 1970 have had as many digits for
    decades.
    """
    if line.endswith(("\n", "\r")) or not before:
        return False
    return len(str(check_in.timestamp_s)) < len(str(before[-1].timestamp_s))


def _parse(line: int, fields: list[str]) -> CheckIn:
    if len(fields) != len(COLUMNS):
        raise ValueError(f"{len(fields)} fields instead of {len(COLUMNS)}")
    if any(len(f) > MAX_CSV_FIELD_CHARS for f in fields):
        raise ValueError(f"a field is longer than {MAX_CSV_FIELD_CHARS} characters")
    user, poi, category, lat, lon, time = (f.strip() for f in fields)
    if not user or not poi:
        raise ValueError("user or poi is empty")
    latitude, longitude = _number(lat, "lat", 90.0), _number(lon, "lon", 180.0)
    try:
        timestamp = int(time)
    except ValueError:
        raise ValueError(f"timestamp {time[:40]!r} is no whole number of seconds") from None
    if not 0 <= timestamp < _MAX_TIMESTAMP_S:
        raise ValueError(f"timestamp {timestamp} is out of range")
    return CheckIn(
        line=line,
        user=user,
        poi=poi,
        category=category,
        latitude_deg=latitude,
        longitude_deg=longitude,
        timestamp_s=timestamp,
    )


def _number(text: str, name: str, bound: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} {text[:40]!r} is no number") from None
    if not math.isfinite(value) or abs(value) > bound:
        raise ValueError(f"{name} {text[:40]} is not within -{bound:g} and {bound:g}")
    return value


def _dataset(catalogue: Catalogue, good: list[CheckIn]) -> Dataset:
    interactions = Interactions.build(
        users=[c.user for c in good],
        item=np.array([catalogue.index[c.poi] for c in good], np.int32),
        timestamp_s=np.array([c.timestamp_s for c in good], np.int64),
        rating=np.ones(len(good), np.float32),
    )
    return Dataset(catalogue=catalogue, interactions=interactions)
