"""Making and choosing row-sparse model updates, shared by all methods that send parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.method import Speaker
from p2prec.collaboration.payload import ModelUpdate
from p2prec.draws import uniforms
from p2prec.models.stack import Stack
from p2prec.models.table import OTHERS
from p2prec.training.knowledge import Group, Knowledge, grouped
from p2prec.training.learner import Received

OWN_SHARE = 0.2  # of the own visits in what is passed on about a place; the rest is hearsay
_UNHEARD = 1e-3  # chance of hearsay that nobody counts any more
MAX_EVIDENCE = 16.0  # beyond this a row is no better known; keeps old rows able to learn
_POSITION_BITS = 32  # of a held row among those that are worked on at once
_WHOLE_BITS = 20
_WHOLE = 1 << _WHOLE_BITS  # what 1 is where chances are summed as whole numbers
_TRIES = 6  # of Newton's method
_LEAST_BIN, _BINS = 117 * 8 - 1, 89  # of weights from 2^-10 up to 2


def make_updates(speakers: Sequence[Speaker], *, max_rows: Sequence[int]) -> list[ModelUpdate]:
    """Each sender's own rows, the best-known others up to ``max_rows``, and dense parameters.

    Own places go first: silence about a place counts as a "no" when its visitors are counted. Of
    hearsay, places that many are said to visit are drawn more often; what a single stranger
    visits is seldom passed on.
    """
    result: dict[int, ModelUpdate] = {}
    for group in grouped([speaker.knowledge for speaker in speakers]):
        said = _made(
            group,
            [speakers[i] for i in group.members],
            np.array([max_rows[i] for i in group.members]),
        )
        result.update(zip(group.members, said, strict=True))
    return [result[i] for i in range(len(speakers))]


def _made(
    group: Group, speakers: Sequence[Speaker], max_rows: NDArray[np.int64]
) -> list[ModelUpdate]:
    stack, model = group.stack, group.model
    shelf = stack.shelf
    timelines = [speaker.knowledge.timeline for speaker in speakers]
    own = shelf.own.take(stack.slots)
    chosen = shelf.evidence.take(stack.slots) > 0
    if (shelf.length[stack.seats] > max_rows).any():
        keys = np.array([speaker.key for speaker in speakers])
        chosen = _drawn(stack, chosen, own, max_rows, uniforms(keys, np.zeros(1, np.int64)))
    # One sort of whole numbers: the key, then the position.
    at = np.flatnonzero(chosen)
    packed = np.sort(stack.keys.take(at) << _POSITION_BITS | at)
    at = packed & (1 << _POSITION_BITS) - 1
    slots = stack.slots.take(at)
    values = shelf.values.take(slots, axis=0)
    values[:, OTHERS] = said_popularity(values, visited=own.take(at))
    rows = shelf.rows.take(slots).astype(np.uint32)
    evidence = np.minimum(shelf.evidence.take(slots), np.float32(MAX_EVIDENCE))
    dense = stack.dense.copy()
    private = model.own_bent >= 1.0
    dense[:, private] = model.initial_dense()[private]
    statistics = model.statistics
    dense[:, statistics] *= 1.0 - OWN_SHARE
    dense[:, statistics] += OWN_SHARE * np.stack([model.own_statistics(t) for t in timelines])
    ends = np.searchsorted(packed, np.arange(1, len(stack) + 1) * stack.n_items << _POSITION_BITS)
    return [
        ModelUpdate(
            round=speaker.round,
            model=model.name,
            rows=rows[start:end],
            values=values[start:end],
            evidence=evidence[start:end],
            dense=vector,
            degree=speaker.degree,
        )
        for speaker, vector, start, end in zip(
            speakers, dense, [0, *ends.tolist()], ends.tolist(), strict=False
        )
    ]


def _drawn(
    stack: Stack,
    known: NDArray[np.bool_],
    own: NDArray[np.bool_],
    max_rows: NDArray[np.int64],
    chance: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which held rows go into updates of at most ``max_rows`` rows; flags by position.

    A systematic draw with unequal chances (Madow, 1949): on a line of all chances, every step of
    length one takes the row that it lands in. A row is drawn with the chance ``1 - exp(-w t)``,
    which is what successive draws without replacement by weight ``w`` come to (Rosen, 1972), with
    the ``t`` for which the chances sum to the rows that are wanted. Sums are of whole numbers, so
    that they do not depend on what was summed before.
    """
    peer, lengths = stack.peer, np.bincount(stack.peer, minlength=len(stack))
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    n_known, n_own = _counted(known, bounds), _counted(known & own, bounds)
    all_fit, own_fit = n_known <= max_rows, n_own <= max_rows
    fits = own_fit.take(peer)
    certain = known & (all_fit.take(peer) | (own & fits))
    drawn = known & ~certain & (own != fits)
    weight = stack.shelf.values[stack.slots, OTHERS]
    np.clip(weight, 0.0, 1.0, out=weight)
    weight += np.float32(_UNHEARD)
    weight[~fits] = 1.0
    weight *= drawn
    wanted = np.where(own_fit, max_rows - n_own, max_rows).astype(np.float64)
    wanted[all_fit] = 0.0
    pace = _paces(weight, peer, wanted).astype(np.float32)
    chances = 1.0 - np.exp(weight * -pace.take(peer))
    surplus = np.diff(_line(chances).take(bounds)) / (wanted * _WHOLE + 1.0)
    chances /= np.maximum(surplus, 1.0).astype(np.float32).take(peer)
    line = _line(chances)
    first = (chance * _WHOLE).astype(np.int64) - line.take(bounds[:-1])
    shift = first.take(peer)
    certain |= (line[1:] + shift) >> _WHOLE_BITS > (line[:-1] + shift) >> _WHOLE_BITS
    return certain


def _paces(
    weight: NDArray[np.float32], peer: NDArray[np.int64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each peer the ``t`` of ``_drawn``, to within a hundredth.

    Weights are sorted into eight bins an octave first; Newton's method comes from below.
    """
    bins = weight.view(np.int32) >> 20  # exponent and three bits of the mantissa
    bins -= _LEAST_BIN
    np.maximum(bins, 0, out=bins)  # weights of 0 fall into the first bin, which no other reaches
    shape = (len(wanted), _BINS)
    counts = np.bincount(peer * _BINS + bins, minlength=shape[0] * _BINS).reshape(shape)
    middle = ((np.arange(_BINS, dtype=np.int32) + _LEAST_BIN << 20) | 1 << 19).view(np.float32)
    middle, counts = middle[1:], counts[:, 1:]
    pace: NDArray[np.float64] = wanted / np.maximum((counts * middle).sum(1), _UNHEARD)
    for _ in range(_TRIES):
        left = counts * np.exp(-pace[:, None] * middle)
        missing = wanted - counts.sum(1) + left.sum(1)
        pace += np.maximum(missing, 0.0) / np.maximum((left * middle).sum(1), 1e-9)
    return pace


def _counted(flags: NDArray[np.bool_], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many flags are set between bounds, shape ``(len(bounds) - 1,)``."""
    return np.diff(np.searchsorted(np.flatnonzero(flags), bounds))


def _line(lengths: NDArray[np.float32]) -> NDArray[np.int64]:
    """Where stretches of these lengths begin and the last one ends, in parts of one."""
    line = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum((lengths * np.float32(_WHOLE)).astype(np.int64), out=line[1:])
    return line


def said_popularity(
    values: NDArray[np.float32], *, visited: NDArray[np.bool_] | float
) -> NDArray[np.float32]:
    """What a peer passes on about how many go to places: its own visit, and hearsay.

    Args:
        values: Shape ``(n, width)``, rows of the table.
        visited: 1 where the owner goes there, 0 elsewhere.
    """
    said: NDArray[np.float32] = OWN_SHARE * visited + (1.0 - OWN_SHARE) * values[:, OTHERS]
    return said


def newest_updates(
    knowledge: Knowledge, received: Sequence[Received]
) -> tuple[dict[str, ModelUpdate], dict[str, str]]:
    """The newest update of each sender that fits this model, and why others were left out."""
    updates: dict[str, ModelUpdate] = {}
    rejected: dict[str, str] = {}
    for item in received:
        payload = item.payload
        if not isinstance(payload, ModelUpdate):
            rejected[item.sender] = "not_a_model_update"
        elif payload.model != knowledge.model.name:
            rejected[item.sender] = "other_model"
        elif item.sender not in updates or updates[item.sender].round < payload.round:
            updates[item.sender] = payload
    return updates, {s: r for s, r in rejected.items() if s not in updates}
