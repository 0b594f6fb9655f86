"""Reading MovieLens 100K in the tab-separated "atomic" form: ``.inter`` and ``.item``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.data.dataset import Dataset
from p2prec.data.interactions import Interactions
from p2prec.errors import DataError


def read_movielens(ratings: Iterable[str], items: Iterable[str], *, source: str) -> Dataset:
    """Films (category = first genre, no position) and ratings.

    Raises:
        DataError: A header or a line is not as expected; names the file and the line.
    """
    films = dict(_films(items, f"{source}.item"))
    catalogue = Catalogue.build(
        item_ids=list(films),
        latitude_deg=np.full(len(films), np.nan),
        longitude_deg=np.full(len(films), np.nan),
        category_names=list(films.values()),
    )
    users, rows = [], []
    for number, (user, film, rating, time) in _table(
        ratings, f"{source}.inter", ("user_id", "item_id", "rating", "timestamp")
    ):
        try:
            rows.append((catalogue.index[film], int(float(time)), float(rating)))
        except (KeyError, ValueError) as error:
            raise DataError(f"{source}.inter, line {number}: {error}") from None
        users.append(user)
    interactions = Interactions.build(
        users=users,
        item=np.array([r[0] for r in rows], np.int32),
        timestamp_s=np.array([r[1] for r in rows], np.int64),
        rating=np.array([r[2] for r in rows], np.float32),
    )
    return Dataset(catalogue=catalogue, interactions=interactions)


def _films(lines: Iterable[str], source: str) -> Iterator[tuple[str, str]]:
    for _, fields in _table(lines, source, ("item_id", "movie_title", "release_year", "class")):
        yield fields[0], fields[3].split(" ")[0]


def _table(
    lines: Iterable[str], source: str, wanted: tuple[str, ...]
) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        fields = line.rstrip("\r\n").split("\t")
        if number == 1:
            if tuple(f.split(":")[0] for f in fields) != wanted:
                raise DataError(f"{source}, line 1: the columns must be {', '.join(wanted)}")
        elif len(fields) != len(wanted):
            raise DataError(f"{source}, line {number}: {len(fields)} fields, not {len(wanted)}")
        else:
            yield number, fields
