"""Reading friendships: ``user,friend``, one pair a line; a friendship holds both ways."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from p2prec.data.check_ins import csv_fields, csv_lines
from p2prec.data.interactions import Interactions
from p2prec.errors import DataError

COLUMNS = ("user", "friend")


def read_friends(lines: Iterable[str], *, source: str, interactions: Interactions) -> Interactions:
    """The same interactions with a social graph.

    A pair is kept once, whichever way and however often it is written; pairs with somebody who has
    no interaction are left out, since published graphs are full of them.

    Args:
        lines: Text lines, header first.
        source: Name of the file, for errors.
        interactions: Of the users that the file names.

    Raises:
        DataError: A line is bad, or no pair is left; names the file, the line and the reason.
    """
    index = {name: row for row, name in enumerate(interactions.user_ids)}
    pairs: set[tuple[int, int]] = set()
    for number, line in csv_lines(lines, source, COLUMNS):
        try:
            user, friend = _parse(csv_fields(line))
        except ValueError as error:
            raise DataError(f"{source}, line {number}: {error}") from None
        if user in index and friend in index:
            pairs.add((min(index[user], index[friend]), max(index[user], index[friend])))
    if not pairs:
        raise DataError(f"{source} names no two users who both have interactions")
    return replace(interactions, friends=np.array(sorted(pairs), np.int32))


def _parse(fields: list[str]) -> tuple[str, str]:
    if len(fields) != len(COLUMNS):
        raise ValueError(f"{len(fields)} fields instead of {len(COLUMNS)}")
    user, friend = (f.strip() for f in fields)
    if not user or not friend:
        raise ValueError("user or friend is empty")
    if user == friend:
        raise ValueError(f"{user[:40]!r} is no friend of their own")
    return user, friend
