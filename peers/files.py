"""Reading and writing the files of owners and researchers; gzip where the name ends in .gz."""

from __future__ import annotations

import csv
import gzip
import io
import os
from pathlib import Path
from typing import TextIO

from p2prec.data.catalogue import Catalogue
from p2prec.data.check_ins import CheckIns, read_check_ins
from p2prec.data.dataset import Dataset
from p2prec.data.movielens import read_movielens
from p2prec.errors import DataError

_CATALOGUE_COLUMNS = ["poi", "category", "lat", "lon"]


def open_text(path: Path) -> TextIO:
    """Open a text file for reading.

    Raises:
        DataError: There is no such file, or it may not be read.
    """
    try:
        if path.suffix == ".gz":
            return io.TextIOWrapper(gzip.open(path), encoding="utf-8", newline="")
        return path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def read_check_in_file(
    path: Path, *, keep_good_lines: bool = False, catalogue: Catalogue | None = None
) -> CheckIns:
    """Read check-ins from a CSV file.

    Raises:
        DataError: See ``p2prec.data.check_ins.read_check_ins``; also for a broken archive.
    """
    with open_text(path) as lines:
        try:
            return read_check_ins(
                lines, source=str(path), keep_good_lines=keep_good_lines, catalogue=catalogue
            )
        except (EOFError, gzip.BadGzipFile, UnicodeDecodeError) as error:
            raise DataError(f"{path} is damaged: {error}") from None


def read_movielens_folder(path: Path, name: str = "ml-100k") -> Dataset:
    """Read MovieLens 100K from a folder with ``<name>.inter`` and ``<name>.item``."""
    with open_text(path / f"{name}.inter") as inter, open_text(path / f"{name}.item") as items:
        return read_movielens(inter, items, source=str(path / name))


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


def read_catalogue(path: Path) -> Catalogue:
    """Read what ``write_catalogue`` wrote.

    Raises:
        DataError: Names the file, the line and the reason.
    """
    items: list[tuple[str, str, float, float]] = []
    with open_text(path) as lines:
        reader = csv.reader(lines)
        if next(reader, None) != _CATALOGUE_COLUMNS:
            raise DataError(f"{path}, line 1: the header must be {','.join(_CATALOGUE_COLUMNS)}")
        for fields in reader:
            try:
                item, category, lat, lon = fields
                items.append((item, category, float(lat), float(lon)))
            except ValueError as error:
                raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    if not items:
        raise DataError(f"{path} holds no item")
    return Catalogue.build(
        item_ids=[i[0] for i in items],
        category_names=[i[1] for i in items],
        latitude_deg=[i[2] for i in items],
        longitude_deg=[i[3] for i in items],
    )
