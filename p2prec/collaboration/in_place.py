"""Hearing others without messages: their tables are read where they lie.

A message of all that a peer holds is a copy of its table, which takes as long as the merge itself.
Where peers learn in step and nothing lies between them, who hears a peer may read its table, as
long as its owner has not merged: peers merge in an order that sees to that (``reading_turns``).
Only what cannot be read so is said by a copy: a choice of rows, a table that grows before it has
been read, and one in each circle of those who hear each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.averaging import Heard, missing_rows
from p2prec.collaboration.updates import Said, said_vectors
from p2prec.kernels import compiled
from p2prec.models.tabled import shared_rows
from p2prec.training.knowledge import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """Who hears whom among the peers of some groups, one group after the other.

    Attributes:
        firsts: Shape ``(n_peers + 1,)``, where in ``senders`` those begin whom each hears.
        senders: Whom they hear.
    """

    firsts: NDArray[np.int64]
    senders: NDArray[np.int64]


def heard_in_place(
    groups: Sequence[Group],
    hearing: Hearing,
    max_rows: int,
    say: Callable[[int, NDArray[np.int64]], Said],
) -> tuple[Heard, NDArray[np.int64]]:
    """What all peers say, in place where possible; those who hear hold all rows that are named.

    Needs the compiled loops, which must average in the order that is returned.

    Args:
        groups: Of all peers; their tables grow.
        hearing: Whom they hear.
        max_rows: Rows that each says at most.
        say: What some peers of a group say, in memory of their own, by number of the group and
            places in it.

    Returns:
        What each peer says, and those who hear somebody in the order in which they have to average.
    """
    kernels = compiled()
    assert kernels is not None  # noqa: S101 - asked for only where they are
    stacks = [group.stack for group in groups]
    ends = np.cumsum([len(stack) for stack in stacks])
    starts = ends - [len(stack) for stack in stacks]
    lengths = np.concatenate([stack.lengths for stack in stacks])
    in_place = lengths <= max_rows
    if shared_rows(groups[0].model) is not None:
        in_place[:] = False  # they ask for evidence of rows once more when these have merged
    if in_place.any():  # not all where rows are held that nobody has learned anything of
        known = [kernels.all_known(s.shelf.evidence, s.starts, s.lengths) for s in stacks]
        in_place &= np.concatenate(known)
    said = np.zeros(len(lengths), np.bool_)
    said[hearing.senders] = True
    held: list[Said] = []
    heard = Heard(
        addresses=np.concatenate([stack.addresses for stack in stacks]),
        counts=lengths,
        dense=np.concatenate([said_vectors(group) for group in groups]),
        held=(stacks, held),
    )

    def copy(peers: NDArray[np.bool_]) -> None:
        for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
            places = np.flatnonzero(peers[start:end])
            if len(places):
                copies = say(number, places)
                held.append(copies)
                heard.addresses[start + places] = copies.addresses
                heard.counts[start + places] = copies.counts
        in_place[peers] = False

    copy(said & ~in_place)
    missing = []
    for stack, start, end in zip(stacks, starts, ends, strict=True):
        firsts = hearing.firsts[start : end + 1]
        senders = hearing.senders[firsts[0] : firsts[-1]]
        named = heard.addresses.take(senders, axis=0), heard.counts.take(senders)
        missing.append(missing_rows(stack, firsts - firsts[0], *named))
    grows = np.concatenate([lacking > 0 for _, lacking in missing])
    copy(said & grows & in_place)
    for stack, (items, lacking) in zip(stacks, missing, strict=True):
        if len(items):
            stack.hold_more(lacking, items)
    if grows.any():  # others may lie elsewhere as well
        tables = np.concatenate([stack.addresses for stack in stacks])
        heard.addresses[in_place] = tables[in_place]
    order, circular = kernels.reading_turns(hearing.firsts, hearing.senders, in_place)
    copy(circular)
    return heard, order
