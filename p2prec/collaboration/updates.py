"""Making and choosing row-sparse model updates, shared by all methods that send parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.method import Speaker
from p2prec.collaboration.payload import ModelUpdate
from p2prec.draws import uniforms
from p2prec.kernels import compiled
from p2prec.models.shelf import Shelf
from p2prec.models.stack import Stack, address
from p2prec.models.table import OTHERS
from p2prec.training.knowledge import Group, Knowledge, grouped
from p2prec.training.learner import Received

OWN_SHARE = 0.2  # of the own visits in what is passed on about a place; the rest is hearsay
UNHEARD = 1e-3  # chance of hearsay that nobody counts any more
MAX_EVIDENCE = 16.0  # beyond this a row is no better known; keeps old rows able to learn
WHOLE_BITS: Final = 20
WHOLE: Final = 1 << WHOLE_BITS  # what 1 is where chances are summed as whole numbers
TRIES: Final = 8  # of Newton's method
LEAST_BIN: Final = 117 * 8 - 1
BINS: Final = 89  # of weights from 2^-10 up to 2, eight an octave
# The middle of each bin but the first, into which weights of 0 fall.
MIDDLES: Final[NDArray[np.float64]] = (
    ((np.arange(1, BINS, dtype=np.int32) + LEAST_BIN << 20) | 1 << 19)
    .view(np.float32)
    .astype(np.float64)
)


def make_updates(speakers: Sequence[Speaker], *, max_rows: Sequence[int]) -> list[ModelUpdate]:
    """Each sender's own rows, the best-known others up to ``max_rows``, and dense parameters.

    Own places go first: silence about a place counts as a "no" when its visitors are counted. Of
    hearsay, places that many are said to visit are drawn more often; what a single stranger
    visits is seldom passed on.
    """
    result: dict[int, ModelUpdate] = {}
    for group in grouped([speaker.knowledge for speaker in speakers]):
        speaking = [speakers[i] for i in group.members]
        said = say(
            group,
            np.array([max_rows[i] for i in group.members]),
            np.array([speaker.key for speaker in speaking]),
        )
        updates = said.updates(
            [speaker.round for speaker in speaking], [speaker.degree for speaker in speaking]
        )
        result.update(zip(group.members, updates, strict=True))
    return [result[i] for i in range(len(speakers))]


@dataclass(slots=True, kw_only=True)
class Said:
    """What peers of one model say in one round, one peer after the other.

    Attributes:
        model: Its name.
        counts: Shape ``(n_peers,)``, rows of each.
        rows: Shape ``(n,)``, items.
        values: Shape ``(n, width)``.
        evidence: Shape ``(n,)``.
        dense: Shape ``(n_peers, n_dense)``.
    """

    model: str
    counts: NDArray[np.int64]
    rows: NDArray[np.uint32]
    values: NDArray[np.float32]
    evidence: NDArray[np.float32]
    dense: NDArray[np.float32]

    @property
    def addresses(self) -> NDArray[np.int64]:
        """Shape ``(n_peers, 5)``, where in memory the columns of each begin, as of ``Heard``."""
        before = np.cumsum(self.counts) - self.counts
        places = np.zeros((len(before), 5), np.int64)
        for column, array in enumerate((self.rows, self.values, self.evidence)):
            places[:, column] = address(array) + array.strides[0] * before
        return places

    def updates(self, rounds: Sequence[int], degrees: Sequence[int]) -> list[ModelUpdate]:
        """One message each; their arrays are views of these."""
        ends = np.cumsum(self.counts).tolist()
        return [
            ModelUpdate(
                round=round_,
                model=self.model,
                rows=self.rows[start:end],
                values=self.values[start:end],
                evidence=self.evidence[start:end],
                dense=vector,
                degree=degree,
            )
            for round_, degree, vector, start, end in zip(
                rounds, degrees, self.dense, [0, *ends[:-1]], ends, strict=True
            )
        ]


class Room:
    """Memory for what is said round after round: fresh memory costs as much as writing into it."""

    def __init__(self) -> None:
        self._rows = np.empty(0, np.uint32)
        self._values = np.empty((0, 0), np.float32)
        self._evidence = np.empty(0, np.float32)
        self._used = 0

    def clear(self) -> None:
        """Nobody listens any more to what was said."""
        self._used = 0

    def columns(
        self, n: int, width: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]]:
        """Room for ``n`` more rows: items, values and evidence."""
        if len(self._rows) < self._used + n or self._values.shape[1] != width:
            n_rows = self._used + n
            n_rows += n_rows // 8  # tables grow; after some rounds all of one fits
            self._rows = np.empty(n_rows, np.uint32)
            self._values = np.empty((n_rows, width), np.float32)
            self._evidence = np.empty(n_rows, np.float32)
            self._used = 0  # what was said before is held by who hears it
        part = slice(self._used, self._used + n)
        self._used += n
        return self._rows[part], self._values[part], self._evidence[part]


def say(
    group: Group,
    max_rows: NDArray[np.int64],
    keys: NDArray[np.uint64],
    *,
    room: Room | None = None,
) -> Said:
    """As of ``make_updates``, for the peers of one group.

    Args:
        group: Of the peers.
        max_rows: Of each.
        keys: Of a stream of each.
        room: Taken by the compiled loops.
    """
    stack, model = group.stack, group.model
    shelf = stack.shelf
    chance = uniforms(keys, np.zeros(1, np.int64))
    kernels = compiled()
    if kernels is None:
        slots, counts = chosen_rows(stack, max_rows, chance)
        rows, values, evidence = taken_rows(stack.shelf, slots)
    else:
        most = int(np.minimum(stack.lengths, max_rows).sum())
        whole = (room or Room()).columns(most, shelf.initial.shape[1])
        counts = kernels.say_rows(
            shelf.rows,
            shelf.values,
            shelf.others,
            shelf.evidence,
            shelf.own,
            stack.starts,
            stack.lengths,
            max_rows,
            chance,
            *whole,
            (0,) * shelf.initial.shape[1],
        )
        n = int(counts.sum())
        rows, values, evidence = whole[0][:n], whole[1][:n], whole[2][:n]
    return Said(
        model=model.name,
        counts=counts,
        rows=rows,
        values=values,
        evidence=evidence,
        dense=said_vectors(group),
    )


def said_vectors(group: Group) -> NDArray[np.float32]:
    """Dense parameters and statistics as they are said, shape ``(n_peers, n_dense)``."""
    stack, model = group.stack, group.model
    dense = stack.dense.copy()
    private = model.own_bent >= 1.0
    dense[:, private] = model.initial_dense()[private]
    statistics = model.statistics
    dense[:, statistics] *= 1.0 - OWN_SHARE
    dense[:, statistics] += OWN_SHARE * stack.shelf.said[stack.seats]
    return dense


def chosen_rows(
    stack: Stack, max_rows: NDArray[np.int64], chance: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Slots that go into updates of at most ``max_rows`` rows, and how many each peer has.

    All known rows where they fit. Else a systematic draw with unequal chances (Madow, 1949): on a
    line of all chances, every step of length one takes the row that it lands in. A row of weight
    ``w`` is drawn with the chance ``w t / (1 + w t)``, as in a Poisson draw of fixed size (Hajek,
    1964), with the ``t`` for which the chances sum to the rows that are wanted. Sums are of whole
    numbers, so that they do not depend on what was summed before.

    Args:
        stack: Of the peers.
        max_rows: Of each.
        chance: Where each peer's draw begins, from 0 to 1.
    """
    shelf, peer, n = stack.shelf, stack.peer, len(stack)
    known = shelf.evidence.take(stack.slots) > 0
    own = shelf.own.take(stack.slots)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(stack.lengths)])
    n_known, n_own = _counted(known, bounds), _counted(known & own, bounds)
    all_fit, own_fit = n_known <= max_rows, n_own <= max_rows
    fits = own_fit.take(peer)
    certain = known & (all_fit.take(peer) | (own & fits))
    if not all_fit.all():
        drawn = known & ~certain & (own != fits)
        weight = np.clip(shelf.others.take(stack.slots), 0.0, 1.0)
        weight += np.float32(UNHEARD)
        weight[~fits] = 1.0
        weight *= drawn
        wanted = np.where(own_fit, max_rows - n_own, max_rows).astype(np.float64)
        odds = weight * _paces(weight, peer, wanted).astype(np.float32).take(peer)
        chances = odds / (np.float32(1.0) + odds)
        surplus = np.diff(_line(chances).take(bounds)) / (wanted * WHOLE + 1.0)
        chances /= np.maximum(surplus, 1.0).astype(np.float32).take(peer)
        line = _line(chances)
        shift = ((chance * WHOLE).astype(np.int64) - line.take(bounds[:-1])).take(peer)
        certain |= drawn & ((line[1:] + shift) >> WHOLE_BITS > (line[:-1] + shift) >> WHOLE_BITS)
    return stack.slots[certain], np.bincount(peer[certain], minlength=n)


def _paces(
    weight: NDArray[np.float32], peer: NDArray[np.int64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each peer the ``t`` of ``chosen_rows``, to within a hundredth.

    Weights are sorted into bins first; Newton's method comes from below. Sums are taken in one
    order (``cumsum``), whatever the number of peers.
    """
    bins = weight.view(np.int32) >> 20  # exponent and three bits of the mantissa
    bins -= LEAST_BIN
    np.maximum(bins, 0, out=bins)
    shape = (len(wanted), BINS)
    counts = np.bincount(peer * BINS + bins, minlength=shape[0] * BINS).reshape(shape)[:, 1:]
    pace: NDArray[np.float64] = wanted / np.maximum(_sum(counts * MIDDLES), UNHEARD)
    for _ in range(TRIES):
        beside = 1.0 / (1.0 + pace[:, None] * MIDDLES)
        missing = wanted - _sum(counts * (pace[:, None] * MIDDLES * beside))
        slope = _sum(counts * (MIDDLES * beside * beside))
        pace += np.maximum(missing, 0.0) / np.maximum(slope, 1e-9)
    return pace


def _sum(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, from left to right."""
    return np.cumsum(numbers, axis=1)[:, -1]


def taken_rows(
    shelf: Shelf, slots: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]]:
    """Items, values and evidence of rows as they are said."""
    values = shelf.values.take(slots, axis=0)
    values[:, OTHERS] = said_popularity(shelf.others.take(slots), visited=shelf.own.take(slots))
    evidence = np.minimum(shelf.evidence.take(slots), np.float32(MAX_EVIDENCE))
    return shelf.rows.take(slots).astype(np.uint32), values, evidence


def _counted(flags: NDArray[np.bool_], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many flags are set between bounds, shape ``(len(bounds) - 1,)``."""
    return np.diff(np.searchsorted(np.flatnonzero(flags), bounds))


def _line(lengths: NDArray[np.float32]) -> NDArray[np.int64]:
    """Where stretches of these lengths begin and the last one ends, in parts of one."""
    line = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum((lengths * np.float32(WHOLE)).astype(np.int64), out=line[1:])
    return line


def said_popularity(
    others: NDArray[np.float32], *, visited: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """What a peer passes on about how many go to places: its own visit, and hearsay.

    Args:
        others: Shape ``(n,)``, popularity among others.
        visited: Shape ``(n,)``, whether the owner goes there.
    """
    said: NDArray[np.float32] = np.float32(OWN_SHARE) * visited.astype(np.float32)
    said += np.float32(1.0 - OWN_SHARE) * others
    return said


def newest_updates(
    knowledge: Knowledge, received: Sequence[Received]
) -> tuple[dict[str, ModelUpdate], dict[str, str]]:
    """The newest update of each sender that fits this model, and why others were left out."""
    updates: dict[str, ModelUpdate] = {}
    rejected: dict[str, str] = {}
    name = knowledge.model.name
    for item in received:
        payload = item.payload
        if not isinstance(payload, ModelUpdate):
            rejected[item.sender] = "not_a_model_update"
        elif payload.model != name:
            rejected[item.sender] = "other_model"
        elif item.sender not in updates or updates[item.sender].round < payload.round:
            updates[item.sender] = payload
    if rejected:
        rejected = {s: r for s, r in rejected.items() if s not in updates}
    return updates, rejected
