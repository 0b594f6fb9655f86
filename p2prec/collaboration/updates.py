"""Making and averaging row-sparse model updates, shared by all methods that send parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import ModelUpdate
from p2prec.models.table import OTHERS
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import Received

OWN_SHARE = 0.2  # of the own visits in what is passed on about a place; the rest is hearsay
_UNHEARD = 1e-3  # chance of hearsay that nobody counts any more
MAX_EVIDENCE = 16.0  # beyond this a row is no better known; keeps old rows able to learn


def make_update(
    knowledge: Knowledge, *, round_: int, degree: int, max_rows: int, rng: np.random.Generator
) -> ModelUpdate:
    """The sender's own rows, the best-known others up to ``max_rows``, and dense parameters.

    Own places go first: silence about a place counts as a "no" when its visitors are counted. Of
    hearsay, places that many are said to visit are drawn more often; what a single stranger
    visits is seldom passed on.
    """
    table = knowledge.table
    known = np.flatnonzero(table.evidence > 0)
    own = np.isin(table.rows[known], knowledge.timeline.own)
    if len(known) > max_rows:
        # Gumbel top-k: a weighted draw without replacement.
        heard = np.log(table.values[known, OTHERS] + _UNHEARD)
        key = np.where(own, np.inf, heard + rng.gumbel(size=len(known)))
        known = known[np.argpartition(-key, max_rows)[:max_rows]]
    known = known[np.argsort(table.rows[known])]
    values = table.values[known].copy()
    own = np.isin(table.rows[known], knowledge.timeline.own)
    values[:, OTHERS] = said_popularity(values, visited=own)
    dense, statistics = knowledge.dense.copy(), knowledge.model.statistics
    private = knowledge.model.own_bent >= 1.0
    dense[private] = knowledge.model.initial_dense()[private]
    dense[statistics] *= 1.0 - OWN_SHARE
    dense[statistics] += OWN_SHARE * knowledge.model.own_statistics(knowledge.timeline)
    return ModelUpdate(
        round=round_,
        model=knowledge.model.name,
        rows=table.rows[known].astype(np.uint32),
        values=values,
        evidence=np.minimum(table.evidence[known], MAX_EVIDENCE),
        dense=dense,
        degree=degree,
    )


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


def average_into(
    knowledge: Knowledge,
    updates: Mapping[str, ModelUpdate],
    weights: Mapping[str, float],
    *,
    own_weight: float,
    dilution: float,
) -> None:
    """Weighted mean of own and received parameters, in place.

    A row's change is averaged over those who know it, weighted by mixing weight times evidence;
    those who do not know it count with the share ``dilution`` of their weight, at the initial
    values. With ``dilution`` 1 and equal evidence this is the plain mean of full tables; with 0 a
    place that one neighbour knows is taken over as it is.

    Args:
        knowledge: Changed in place.
        updates: By sender.
        weights: Mixing weight by sender; with ``own_weight`` they sum to one.
        own_weight: Weight of this peer.
        dilution: 0 to 1.
    """
    if not updates:
        return
    table = knowledge.table
    rows = np.unique(np.concatenate([u.rows for u in updates.values()])).astype(np.int64)
    own = table.evidence_of(rows)
    width = table.initial.shape[1]
    initial = table.initial[rows]
    change = (own_weight * own)[:, None] * (table.gather(rows) - initial)
    mass = own_weight * own
    absent = own_weight * (own == 0)
    most = own.copy()
    dense = own_weight * knowledge.dense.astype(np.float64)
    statistics = knowledge.model.statistics
    heard_statistics = np.zeros_like(dense[statistics])
    # What others say of a place is a plain mean over all of them: silence counts as "no".
    others, listened = np.zeros(len(rows)), 0.0
    for sender, update in updates.items():
        weight = weights[sender]
        at = np.searchsorted(rows, update.rows)
        # Capped here too: who claims more than an honest peer can have must not drown the others.
        evidence = np.minimum(update.evidence, MAX_EVIDENCE)
        change[at] += (weight * evidence)[:, None] * (update.values - initial[at])
        mass[at] += weight * evidence
        missing = np.ones(len(rows), bool)
        missing[at] = False
        absent += weight * missing
        most[at] = np.maximum(most[at], evidence)
        dense += weight * update.dense
        said = np.maximum(update.dense[statistics], 0.0)
        heard_statistics += weight * said / max(1.0, float(said.sum()))
        # A share, whatever a stranger or its noise says: below zero its logarithm is no number.
        others[at] += weight * np.clip(update.values[:, OTHERS], 0.0, 1.0)
        listened += weight
    present = 1.0 - absent
    mean: NDArray[np.float32] = change / np.maximum(mass, 1e-9)[:, None]
    share = present / np.maximum(present + dilution * absent, 1e-9)
    slots = table.touch(rows)
    heard = table.values[slots, OTHERS].copy()
    table.values[slots] = initial + share[:, None] * mean.reshape(-1, width)
    table.values[slots, OTHERS] = heard
    # ``listened`` is the weight of the senders, so that few of them do not wipe out what many said.
    table.values[:, OTHERS] *= 1.0 - listened
    table.values[slots, OTHERS] += others
    table.evidence[slots] = np.minimum(most, MAX_EVIDENCE)
    dense[statistics] = (1.0 - listened) * knowledge.dense[statistics] + heard_statistics
    dense += knowledge.model.own_bent * (knowledge.dense - dense)
    knowledge.dense = dense.astype(np.float32)
