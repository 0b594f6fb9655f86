"""Reading and writing the files of owners and researchers; gzip where the name ends in .gz."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TextIO

from p2prec.data.catalogue import Catalogue
from p2prec.data.check_ins import COLUMNS, CheckIns, csv_fields, read_check_ins
from p2prec.data.dataset import Dataset
from p2prec.data.friends import read_friends
from p2prec.data.interactions import Interactions
from p2prec.data.movielens import read_movielens
from p2prec.errors import BadLineError, ConfigError, DataError
from p2prec.text import closest

MOVIELENS: Final = "ml-100k"  # the files of its folder, without their endings
_CATALOGUE_COLUMNS = ["poi", "category", "lat", "lon"]


def check_there(path: Path, *, key: str, what: str) -> None:
    """Refuse a path that leads nowhere, before anything starts.

    Args:
        path: That is to be read.
        key: What names it; whose key it is may stand before it.
        what: Such as ``"CSV of check-ins"``, for the sentence.

    Raises:
        ConfigError: Names the key, the path, and the nearest name beside it.
    """
    if path.exists():
        return
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = closest(path.name, beside)
    hint = f"name a {what}" if near is None else f"did you mean {path.parent / near}?"
    raise ConfigError(f"{key}: there is no {path}; {hint}")


def make_folder(path: Path | None, *, key: str) -> None:
    """Make a folder that something will be written into, before what may take hours.

    Args:
        path: None where nothing will be.
        key: What names it.

    Raises:
        ConfigError: It cannot be one.
    """
    if path is None:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(
            f"{key}: {path} cannot be a folder to write into: {error.strerror}; name a new one"
        ) from None


def open_text(
    path: Path, *, errors: str = "strict", on_read: Callable[[int], None] | None = None
) -> TextIO:
    """Open a text file for reading.

    Args:
        path: Of the file.
        errors: What happens to bytes that are no UTF-8, as for ``open``.
        on_read: Hears how many bytes of the file were read, again and again.

    Raises:
        DataError: There is no such file, or it may not be read.
    """
    try:
        raw: io.RawIOBase = _Watched(path, on_read) if on_read else io.FileIO(path)
        binary: Any
        if path.suffix == ".gz":
            binary = gzip.GzipFile(fileobj=raw)
            binary.myfileobj = raw  # closed together
        else:
            binary = io.BufferedReader(raw)
        return io.TextIOWrapper(binary, encoding="utf-8", errors=errors, newline="")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


class _Watched(io.FileIO):
    """A file that tells how far it was read."""

    def __init__(self, path: Path, on_read: Callable[[int], None]) -> None:
        super().__init__(path)
        self._on_read = on_read

    def readinto(self, buffer: Any, /) -> int | None:
        n = super().readinto(buffer)
        self._on_read(self.tell())
        return n

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self._on_read(self.tell())
        return data


def read_check_in_file(
    path: Path,
    *,
    keep_good_lines: bool = False,
    catalogue: Catalogue | None = None,
    on_read: Callable[[int], None] | None = None,
) -> CheckIns:
    """Read check-ins from a CSV file.

    Raises:
        DataError: See ``p2prec.data.check_ins.read_check_ins``; also for a broken archive, unless
            the good lines before the damage are to be kept.
    """
    damage: list[str] = []
    with open_text(path, errors="surrogateescape", on_read=on_read) as lines:
        read = read_check_ins(
            _until_damage(lines, path, damage if keep_good_lines else None),
            source=str(path),
            keep_good_lines=keep_good_lines,
            catalogue=catalogue,
        )
    return replace(read, rejected=(*read.rejected, *damage))


def _until_damage(lines: TextIO, path: Path, damage: list[str] | None) -> Iterator[str]:
    """Lines up to where the file cannot be read further; then a sentence, or an error."""
    number = 0
    try:
        for line in lines:
            number += 1
            yield line
    except (EOFError, zlib.error, OSError) as error:
        sentence = f"{path}, line {number + 1}: the file is damaged from here on: {error}"
        if damage is None:
            raise BadLineError(f"{sentence}. Get it again.") from None
        damage.append(sentence)


def read_friend_file(path: Path, interactions: Interactions) -> Interactions:
    """The same interactions with the friendships of a CSV file.

    Raises:
        DataError: See ``p2prec.data.friends.read_friends``; also for a broken archive.
    """
    with open_text(path, errors="surrogateescape") as lines:
        return read_friends(
            _until_damage(lines, path, None), source=str(path), interactions=interactions
        )


def read_movielens_folder(path: Path) -> Dataset:
    """Read MovieLens 100K from a folder with ``ml-100k.inter`` and ``ml-100k.item``."""
    start = path / MOVIELENS
    with (
        open_text(start.with_suffix(".inter")) as inter,
        open_text(start.with_suffix(".item")) as items,
    ):
        return read_movielens(inter, items, source=str(start))


def write_catalogue(path: Path, catalogue: Catalogue) -> None:
    """Write the realm's items as CSV, complete or not at all."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_CATALOGUE_COLUMNS)
        for row, item in enumerate(catalogue.item_ids):
            category = catalogue.category[row]
            writer.writerow(
                [
                    item,
                    catalogue.categories[category] if category >= 0 else "",
                    f"{catalogue.latitude_deg[row]:.6f}",
                    f"{catalogue.longitude_deg[row]:.6f}",
                ]
            )
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_items(path: Path) -> Catalogue:
    """The items of a catalogue, or those that a file of check-ins names.

    Raises:
        DataError: Names the file, the line and the reason.
    """
    with open_text(path, errors="surrogateescape") as lines:
        header = next(_until_damage(lines, path, None), "")
    if len(header.split(",")) == len(COLUMNS):
        return read_check_in_file(path).dataset.catalogue
    return read_catalogue(path)


def read_catalogue(path: Path) -> Catalogue:
    """Read what ``write_catalogue`` wrote.

    Raises:
        DataError: Names the file, the line and the reason.
    """
    items: list[tuple[str, str, float, float]] = []
    with open_text(path, errors="surrogateescape") as lines:
        for number, line in enumerate(_until_damage(lines, path, None), 1):
            try:
                fields = csv_fields(line)
                if number == 1:
                    if fields != _CATALOGUE_COLUMNS:
                        raise DataError(
                            f"{path}, line 1: the header must be {','.join(_CATALOGUE_COLUMNS)}"
                        )
                elif fields:
                    items.append(_item(fields))
            except ValueError as error:
                raise DataError(f"{path}, line {number}: {error}") from None
    if not items:
        raise DataError(f"{path} holds no item")
    return Catalogue.build(
        item_ids=[i[0] for i in items],
        category_names=[i[1] for i in items],
        latitude_deg=[i[2] for i in items],
        longitude_deg=[i[3] for i in items],
    )


def _item(fields: list[str]) -> tuple[str, str, float, float]:
    if len(fields) != len(_CATALOGUE_COLUMNS):
        raise ValueError(f"{len(fields)} fields instead of {len(_CATALOGUE_COLUMNS)}")
    item, category, lat, lon = fields
    try:
        return item, category, float(lat), float(lon)
    except ValueError:
        raise ValueError(f"lat {lat[:40]!r} or lon {lon[:40]!r} is no number") from None
