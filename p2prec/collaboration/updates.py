"""Making and averaging row-sparse model updates, shared by all methods that send parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import ModelUpdate
from p2prec.models.next_place import OTHERS
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import Received

OWN_SHARE = 0.3  # of the own visits in what is passed on about a place; the rest is hearsay
FRESH = 0.5  # weight of the newest round in what others say; older rounds cover other rows
MAX_EVIDENCE = 16.0  # beyond this a row is no better known; keeps old rows able to learn


def make_update(
    knowledge: Knowledge, *, round_: int, degree: int, max_rows: int, rng: np.random.Generator
) -> ModelUpdate:
    """The sender's best-known rows, at most ``max_rows``, and its dense parameters.

    Rows are drawn without replacement with a probability that grows with their evidence, so that
    over the rounds every known row travels, and a single update does not list all places of its
    sender.
    """
    table = knowledge.table
    known = np.flatnonzero(table.evidence > 0)
    if len(known) > max_rows:
        # Gumbel top-k: a weighted draw without replacement.
        key = np.log(np.minimum(table.evidence[known], MAX_EVIDENCE)) + rng.gumbel(size=len(known))
        known = known[np.argpartition(-key, max_rows)[:max_rows]]
    known = known[np.argsort(table.rows[known])]
    values = table.values[known].copy()
    own = np.isin(table.rows[known], knowledge.timeline.own)
    values[:, OTHERS] = OWN_SHARE * own + (1.0 - OWN_SHARE) * values[:, OTHERS]
    return ModelUpdate(
        round=round_,
        model=knowledge.model.name,
        rows=table.rows[known].astype(np.uint32),
        values=values,
        evidence=np.minimum(table.evidence[known], MAX_EVIDENCE),
        dense=knowledge.dense.copy(),
        degree=degree,
    )


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
    # What others say of a place is a plain mean over all of them: silence counts as "no".
    others, listened = np.zeros(len(rows)), 0.0
    for sender, update in updates.items():
        weight = weights[sender]
        at = np.searchsorted(rows, update.rows)
        change[at] += (weight * update.evidence)[:, None] * (update.values - initial[at])
        mass[at] += weight * update.evidence
        missing = np.ones(len(rows), bool)
        missing[at] = False
        absent += weight * missing
        most[at] = np.maximum(most[at], update.evidence)
        dense += weight * update.dense
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
    table.values[:, OTHERS] *= 1.0 - FRESH
    table.values[slots, OTHERS] += FRESH * others / max(listened, 1e-9)
    table.evidence[slots] = np.minimum(most, MAX_EVIDENCE)
    knowledge.dense = dense.astype(np.float32)
