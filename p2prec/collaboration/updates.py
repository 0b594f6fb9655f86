"""Making and choosing row-sparse model updates, shared by all methods that send parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.method import Speaker
from p2prec.collaboration.payload import ModelUpdate
from p2prec.draws import uniforms
from p2prec.models.stack import counted
from p2prec.models.table import OTHERS
from p2prec.training.knowledge import Group, Knowledge, grouped
from p2prec.training.learner import Received

OWN_SHARE = 0.2  # of the own visits in what is passed on about a place; the rest is hearsay
_UNHEARD = 1e-3  # chance of hearsay that nobody counts any more
MAX_EVIDENCE = 16.0  # beyond this a row is no better known; keeps old rows able to learn
_WHOLE = 1 << 20  # what a weight of 1 is when weights are summed as whole numbers


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
    shelf, bounds = stack.shelf, stack.bounds()
    timelines = [speaker.knowledge.timeline for speaker in speakers]
    own = np.zeros(len(stack.keys), np.bool_)
    offsets = np.arange(len(stack)) * stack.n_items
    mine = np.concatenate([t.own for t in timelines]) + np.repeat(
        offsets, [len(t.own) for t in timelines]
    )
    own[stack.locate(mine)[0]] = True  # whoever has been somewhere holds its row
    chosen = shelf.evidence.take(stack.slots) > 0
    if (stack.lengths > max_rows).any():
        keys = np.array([speaker.key for speaker in speakers])
        chosen = _drawn(group, chosen, own, max_rows, uniforms(keys, np.zeros(1, np.int64)))
    at = np.flatnonzero(chosen)
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
    ends = np.cumsum(counted(chosen, bounds)).tolist()
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
        for speaker, vector, start, end in zip(speakers, dense, [0, *ends[:-1]], ends, strict=True)
    ]


def _drawn(
    group: Group,
    known: NDArray[np.bool_],
    own: NDArray[np.bool_],
    max_rows: NDArray[np.int64],
    chance: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which held rows go into updates of at most ``max_rows`` rows; flags by position.

    A systematic draw with unequal chances (Madow, 1949): on a line of all weights, every step of
    equal length takes the row that it lands in. Weights are whole numbers, whose sums do not
    depend on what was summed before.
    """
    stack, bounds = group.stack, group.stack.bounds()
    n_known, n_own = counted(known, bounds), counted(known & own, bounds)
    all_fit, own_fit = n_known <= max_rows, n_own <= max_rows
    peer = np.repeat(np.arange(len(stack)), stack.lengths)
    certain = known & (all_fit[peer] | (own & own_fit[peer]))
    drawn = known & ~certain & (own_fit[peer] != own)
    at = np.flatnonzero(drawn)
    of = peer.take(at)
    said = stack.shelf.values[:, OTHERS].take(stack.slots.take(at))
    weight = np.where(own_fit[of], np.clip(said, 0.0, 1.0) + _UNHEARD, 1.0)
    whole = (weight * _WHOLE).astype(np.int64)
    wanted = np.where(own_fit, max_rows - n_own, max_rows)
    edges = np.concatenate([np.zeros(1, np.int64), np.cumsum(counted(drawn, bounds))])
    # Twice: a weight beyond a step's length would be landed in again, and the draw fall short.
    for _ in range(2):
        line = np.concatenate([np.zeros(1, np.int64), np.cumsum(whole)])
        length = np.diff(line.take(edges))
        step = np.maximum(length // np.maximum(wanted, 1), 1)
        whole = np.minimum(whole, step[of])
    line = np.concatenate([np.zeros(1, np.int64), np.cumsum(whole)])
    length = np.diff(line.take(edges))
    pace = (wanted / np.maximum(length, 1))[of]
    began, first = line.take(edges[:-1])[of], chance[of]
    before = np.floor((line[:-1] - began) * pace + first)
    landed = np.floor((line[1:] - began) * pace + first) > before
    certain[at[landed]] = True
    return certain


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
