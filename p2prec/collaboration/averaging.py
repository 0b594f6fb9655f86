"""Averaging received model updates into what peers have learned, many peers at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import ModelUpdate
from p2prec.collaboration.updates import MAX_EVIDENCE
from p2prec.models.table import OTHERS
from p2prec.training.knowledge import Group, Knowledge, grouped


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """What one peer takes in.

    Attributes:
        knowledge: Changed in place.
        updates: Of its model, one a sender.
        weights: Mixing weight of each; with ``own_weight`` they sum to one.
        own_weight: Weight of this peer.
        dilution: 0 to 1, the share of its weight with which who does not know a row counts.
    """

    knowledge: Knowledge
    updates: Sequence[ModelUpdate]
    weights: Sequence[float]
    own_weight: float
    dilution: float


def average_together(averages: Sequence[Average]) -> None:
    """Weighted mean of own and received parameters, in place.

    A row's change is averaged over those who know it, weighted by mixing weight times evidence;
    those who do not know it count with the share ``dilution`` of their weight, at the initial
    values. With ``dilution`` 1 and equal evidence this is the plain mean of full tables; with 0 a
    place that one neighbour knows is taken over as it is.

    Args:
        averages: Of different peers; nothing happens to those without an update.
    """
    taking = [average for average in averages if average.updates]
    arriving = [sum(len(u.rows) for u in average.updates) for average in taking]
    for group in grouped([average.knowledge for average in taking], more_rows=arriving):
        _average(group, [taking[i] for i in group.members])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """At most one update of each peer of a group; ascending keys, as of its stack."""

    keys: NDArray[np.int64]
    weight: NDArray[np.float32]
    evidence: NDArray[np.float32]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, averages: Sequence[Average], turn: int, n_items: int) -> _Turn:
        """The updates with this number in their inboxes."""
        peers = [peer for peer, average in enumerate(averages) if len(average.updates) > turn]
        updates = [averages[peer].updates[turn] for peer in peers]
        lengths = [len(update.rows) for update in updates]
        keys = np.repeat(np.array(peers) * n_items, lengths)
        keys += np.concatenate([update.rows for update in updates])
        weights = np.array([averages[peer].weights[turn] for peer in peers], np.float32)
        evidence = np.concatenate([update.evidence for update in updates])
        return cls(
            keys=keys,
            weight=np.repeat(weights, lengths),
            # Capped here too: who claims more than an honest peer can have must not drown others.
            evidence=np.minimum(evidence, np.float32(MAX_EVIDENCE)),
            values=np.concatenate([update.values for update in updates]),
        )


def _average(group: Group, averages: Sequence[Average]) -> None:
    """One group: the first updates of all peers at once, then all second ones, and so on."""
    stack = group.stack
    most_updates = max(len(average.updates) for average in averages)
    turns = [_Turn.of(averages, turn, stack.n_items) for turn in range(most_updates)]
    positions = stack.hold(np.concatenate([turn.keys for turn in turns]))
    flags = np.zeros(len(stack.keys), np.bool_)
    flags[positions] = True
    named = np.flatnonzero(flags)
    row_of = np.empty(len(flags), np.int32)  # among the rows named, by position
    row_of[named] = np.arange(len(named), dtype=np.int32)
    ends = np.cumsum([len(turn.keys) for turn in turns])
    rows = np.split(row_of.take(positions), ends[:-1])
    own_weight = np.array([average.own_weight for average in averages], np.float32)
    dilution = np.array([average.dilution for average in averages], np.float32)
    listened = np.array([sum(average.weights) for average in averages], np.float32)
    _average_rows(
        group,
        named,
        list(zip(turns, rows, strict=True)),
        own_weight=own_weight,
        dilution=dilution,
        listened=listened,
    )
    _average_vectors(group, averages, own_weight, listened)


def _average_rows(
    group: Group,
    named: NDArray[np.int64],
    turns: Sequence[tuple[_Turn, NDArray[np.int32]]],
    *,
    own_weight: NDArray[np.float32],
    dilution: NDArray[np.float32],
    listened: NDArray[np.float32],
) -> None:
    """Rows that updates name, and what the silence about others says.

    Args:
        group: Changed in place.
        named: Shape ``(n,)``, ascending positions of all rows that updates name.
        turns: With the places of their rows in ``named``.
        own_weight: By peer.
        dilution: By peer.
        listened: By peer, the weight of all senders.
    """
    stack, shelf = group.stack, group.stack.shelf
    slots = stack.slots.take(named)
    peer = stack.peer.take(named)
    values = shelf.values.take(slots, axis=0)
    heard = values[:, OTHERS] * (1.0 - listened.take(peer))
    most = shelf.evidence.take(slots)
    own = own_weight.take(peer)
    mass, present = own * most, own * (most > 0)
    values *= mass[:, None]
    for turn, at in turns:
        # A share, whatever a stranger or its noise says: below zero its logarithm is no number.
        heard[at] += turn.weight * np.clip(turn.values[:, OTHERS], 0.0, 1.0)
        weighted = turn.weight * turn.evidence
        values[at] += turn.values * weighted[:, None]
        mass[at] += weighted
        present[at] += turn.weight
        most[at] = np.maximum(most[at], turn.evidence)
    # How much of the weight is heard in the end: those who do not know a row are heard in part.
    whole = present + dilution.take(peer) * (1.0 - present)
    present /= np.maximum(whole, np.float32(1e-9))
    # Those whose evidence is nothing leave a row where it starts.
    present[mass <= 0] = 0.0
    values *= (present / np.maximum(mass, np.float32(1e-9)))[:, None]
    if (present < 1).any():
        initial = shelf.initial.take(shelf.rows.take(slots), axis=0)
        initial *= (1.0 - present)[:, None]
        values += initial
    _fade(group, listened)
    values[:, OTHERS] = heard
    shelf.values[slots] = values
    shelf.evidence[slots] = np.minimum(most, np.float32(MAX_EVIDENCE))


def _fade(group: Group, listened: NDArray[np.float32]) -> None:
    """What others say of a place is a plain mean over all of them: silence counts as "no".

    ``listened`` is the weight of the senders, so that few of them do not wipe out what many said.
    """
    stack = group.stack
    said = stack.shelf.values[:, OTHERS]
    said[stack.slots] *= (1.0 - listened).take(stack.peer)


def _average_vectors(
    group: Group,
    averages: Sequence[Average],
    own_weight: NDArray[np.float32],
    listened: NDArray[np.float32],
) -> None:
    stack, model = group.stack, group.model
    statistics = model.statistics
    peer = np.repeat(np.arange(len(averages)), [len(a.updates) for a in averages])
    weight = np.concatenate([a.weights for a in averages])
    received = np.stack([u.dense for a in averages for u in a.updates]).astype(np.float64)
    said = np.maximum(received[:, statistics], 0.0)
    received[:, statistics] = said / np.maximum(said.sum(1, keepdims=True), 1.0)
    dense = own_weight[:, None].astype(np.float64) * stack.dense
    dense[:, statistics] = (1.0 - listened)[:, None] * stack.dense[:, statistics]
    np.add.at(dense, peer, weight[:, None] * received)
    dense += model.own_bent * (stack.dense - dense)
    stack.dense = dense.astype(np.float32)
    stack.store()
