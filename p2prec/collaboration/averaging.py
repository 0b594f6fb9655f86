"""Averaging received model updates into what peers have learned, many peers at once."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import ModelUpdate
from p2prec.collaboration.shared_rows import average_shared, known_rows
from p2prec.collaboration.updates import MAX_EVIDENCE, Said
from p2prec.kernels import compiled
from p2prec.models.stack import Stack, address
from p2prec.models.table import OTHERS
from p2prec.models.tabled import shared_rows
from p2prec.training.knowledge import Group, Knowledge, grouped

_ROUNDING = 1e-6  # by which a sum of weights may miss 1
_HEARSAY_SPARE = 4  # a quarter more than wanted, so that not every merge has to forget


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """What one peer takes in.

    Attributes:
        knowledge: Changed in place.
        updates: Of its model, one a sender.
        weights: Mixing weight of each; with ``own_weight`` they sum to at most one.
        own_weight: Weight of this peer.
        dilution: 0 to 1, the share of its weight with which who does not know a row counts.
        max_hearsay: Rows beside the owner's that are held in the long run; the least popular ones
            go when there are a quarter more. They start anew when somebody tells of them again.

    Raises:
        ValueError: Weights that are no shares: popularity would fall below nothing, and all that
            is sorted by it with it.
    """

    knowledge: Knowledge
    updates: Sequence[ModelUpdate]
    weights: Sequence[float]
    own_weight: float
    dilution: float
    max_hearsay: int

    def __post_init__(self) -> None:
        every = (self.own_weight, *self.weights)
        if not (min(every) >= 0.0 and sum(every) <= 1.0 + _ROUNDING):
            raise ValueError("mixing weights are shares: not negative, and at most 1 in all")


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
        averages = [taking[i] for i in group.members]
        inboxes = Inboxes.of(averages)
        take_in(
            [group],
            inboxes,
            max_hearsay=np.array([average.max_hearsay for average in averages]),
            updates=[u for a in averages for u in a.updates],
        )
        _average_pseudo_rows(averages, inboxes)


def take_in(
    groups: Sequence[Group],
    inboxes: Inboxes,
    *,
    max_hearsay: NDArray[np.int64],
    updates: Sequence[ModelUpdate],
    order: NDArray[np.int64] | None = None,
) -> None:
    """As of ``average_together``, for the peers of some groups of one model.

    Args:
        groups: Their peers are changed.
        inboxes: Of all of them, one group after the other.
        max_hearsay: Of each.
        updates: What the inboxes hold; looked at only where there are no compiled loops.
        order: In which the compiled loops average those who have an update, where that matters;
            then all hold the rows that are named.
    """
    shared = shared_rows(groups[0].model)
    known = [None if shared is None else known_rows(group.stack, shared) for group in groups]
    bounds = np.cumsum([0, *[len(group.stack) for group in groups]]).tolist()
    parts = [inboxes.part(start, stop) for start, stop in pairwise(bounds)]
    if compiled() is not None:
        if order is None:
            order = np.flatnonzero(np.diff(inboxes.firsts))
            for group, part in zip(groups, parts, strict=True):
                heard = part.heard
                items, lacking = missing_rows(
                    group.stack, part.firsts, heard.addresses, heard.counts
                )
                if len(items):
                    group.stack.hold_more(lacking, items)
        hear_rows([group.stack for group in groups], inboxes, order, all_held=True)
    for group, part, evidence, (start, stop) in zip(
        groups, parts, known, pairwise(bounds), strict=True
    ):
        if compiled() is None and len(part.heard.counts):
            first, last = inboxes.firsts[start], inboxes.firsts[stop]
            average_rows(group.stack, part, updates[first:last])
        _average_vectors(group, part, evidence)
        listening = np.diff(part.firsts) > 0
        most = np.where(listening, max_hearsay[start:stop], group.stack.n_items)
        forget_hearsay(group.stack, most)


def _average_pseudo_rows(averages: Sequence[Average], inboxes: Inboxes) -> None:
    """Pseudo items hear what is said of them, as all rows do.

    Args:
        averages: Of a group.
        inboxes: Of its peers.
    """
    shown = {
        number: average.knowledge.pseudo_rows.stack
        for number, average in enumerate(averages)
        if average.knowledge.pseudo_rows is not None
    }
    if compiled() is None:
        for number, stack in shown.items():
            rows = stack.shelf.rows.take(stack.slots)
            updates = [_of_rows(update, rows) for update in averages[number].updates]
            average_rows(stack, inboxes.part(number, number + 1), updates)
    elif shown:
        nobody = next(iter(shown.values()))  # is not in the order of those who average
        stacks = [shown.get(number, nobody) for number in range(len(averages))]
        hear_rows(stacks, inboxes, np.array([*shown]), all_held=False)


def _of_rows(update: ModelUpdate, rows: NDArray[np.int32]) -> ModelUpdate:
    """What an update says of some rows."""
    named = np.isin(update.rows, rows)
    return replace(
        update,
        rows=update.rows[named],
        values=update.values[named],
        evidence=update.evidence[named],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The content of some updates, as the compiled loops take it.

    Attributes:
        addresses: Shape ``(n_updates, 5)``, of the columns of each: as of ``Stack.addresses``, the
            last two 0 where popularity stands among the values, as in messages.
        counts: Shape ``(n_updates,)``, rows of each.
        dense: Shape ``(n_updates, n_dense)``.
        held: What must live as long as the addresses are used.
    """

    addresses: NDArray[np.int64]
    counts: NDArray[np.int64]
    dense: NDArray[np.float32]
    held: object

    @classmethod
    def of(cls, updates: Sequence[ModelUpdate]) -> Heard:
        """Of messages that have come one by one."""
        held = [_plain(update) for update in updates]
        return cls(
            addresses=np.array([[*map(address, one), 0, 0] for one in held]),
            counts=np.array([len(rows) for rows, _, _ in held]),
            dense=np.concatenate([u.dense for u in updates]).reshape(len(updates), -1),
            held=held,
        )

    @classmethod
    def said(cls, batches: Sequence[Said]) -> Heard:
        """Of all that was said in some batches, one after the other."""
        return cls(
            addresses=np.concatenate([said.addresses for said in batches]),
            counts=np.concatenate([said.counts for said in batches]),
            dense=np.concatenate([said.dense for said in batches]),
            held=batches,
        )

    def named(self, number: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Rows that one update names, and their evidence."""
        rows, _, evidence, _, _ = self.addresses[number].tolist()
        n = int(self.counts[number])
        return (
            np.ctypeslib.as_array((ctypes.c_uint32 * n).from_address(rows)),
            np.ctypeslib.as_array((ctypes.c_float * n).from_address(evidence)),
        )

    def take(self, numbers: NDArray[np.int64]) -> Heard:
        """Some of them."""
        return Heard(
            addresses=self.addresses.take(numbers, axis=0),
            counts=self.counts.take(numbers),
            dense=self.dense.take(numbers, axis=0),
            held=self.held,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inboxes:
    """The updates of all peers of a group, one peer after the other.

    Attributes:
        firsts: Shape ``(n_peers + 1,)``, the first update of each peer.
        heard: What they say.
        weights: Of each update.
        exact_weights: The same, in double precision.
        own_weight: By peer.
        dilution: By peer.
        listened: By peer, the weight of all senders.
    """

    firsts: NDArray[np.int64]
    heard: Heard
    weights: NDArray[np.float32]
    exact_weights: NDArray[np.float64]
    own_weight: NDArray[np.float32]
    dilution: NDArray[np.float32]
    listened: NDArray[np.float32]

    @classmethod
    def of(cls, averages: Sequence[Average]) -> Inboxes:
        """Of the peers of a group."""
        exact_weights = np.array([w for a in averages for w in a.weights])
        return cls(
            firsts=np.cumsum([0, *[len(a.updates) for a in averages]]),
            heard=Heard.of([u for a in averages for u in a.updates]),
            weights=exact_weights.astype(np.float32),
            exact_weights=exact_weights,
            own_weight=np.array([a.own_weight for a in averages], np.float32),
            dilution=np.array([a.dilution for a in averages], np.float32),
            listened=np.array([min(sum(a.weights), 1.0) for a in averages], np.float32),
        )

    def part(self, start: int, stop: int) -> Inboxes:
        """Those of the peers from ``start`` to ``stop``."""
        if (start, stop) == (0, len(self.own_weight)):
            return self
        firsts = self.firsts[start : stop + 1]
        numbers = np.arange(firsts[0], firsts[-1])
        return Inboxes(
            firsts=firsts - firsts[0],
            heard=self.heard.take(numbers),
            weights=self.weights[numbers],
            exact_weights=self.exact_weights[numbers],
            own_weight=self.own_weight[start:stop],
            dilution=self.dilution[start:stop],
            listened=self.listened[start:stop],
        )

    def turns(self) -> list[NDArray[np.int64]]:
        """Numbers of all first updates of the peers, then of all second ones, and so on."""
        n = np.diff(self.firsts)
        return [self.firsts[:-1][n > turn] + turn for turn in range(int(n.max(initial=0)))]


def missing_rows(
    stack: Stack,
    firsts: NDArray[np.int64],
    addresses: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Rows that updates name and peers do not hold, by the compiled loops.

    Args:
        stack: Of the peers.
        firsts: Shape ``(n_peers + 1,)``, the first update of each.
        addresses: Of the columns of each update, as of ``Heard``.
        counts: Of rows in each.

    Returns:
        Items, peer after peer, ascending; how many each peer lacks. As ``Stack.hold_more`` takes
        them.
    """
    kernels, shelf = compiled(), stack.shelf
    assert kernels is not None  # noqa: S101 - asked for only where they are
    missing: tuple[NDArray[np.int32], NDArray[np.int64]] = kernels.missing_rows(
        shelf.rows,
        stack.starts,
        stack.lengths,
        firsts,
        addresses[:, 0].copy(),
        counts,
        len(shelf.initial),
    )
    return missing


def hear_rows(
    stacks: Sequence[Stack], inboxes: Inboxes, order: NDArray[np.int64], *, all_held: bool
) -> None:
    """As ``average_rows``, by the compiled loops.

    Args:
        stacks: Changed in place.
        inboxes: Of their peers, one stack after the other.
        order: Peers that average, in this order.
        all_held: Whether they hold all rows that are named; else the others are passed by.
    """
    kernels, heard, initial = compiled(), inboxes.heard, stacks[0].shelf.initial
    assert kernels is not None  # noqa: S101 - asked for only where they are
    kernels.average_rows(
        np.concatenate([stack.addresses for stack in stacks]),
        np.concatenate([stack.lengths for stack in stacks]),
        order,
        initial,
        inboxes.firsts,
        heard.addresses,
        heard.counts,
        inboxes.weights,
        inboxes.own_weight,
        inboxes.dilution,
        inboxes.listened,
        all_held,
        (0,) * initial.shape[1],
    )


def forget_hearsay(stack: Stack, at_most: NDArray[np.int64]) -> None:
    """Let go the least popular rows that are not the owner's, where they are many too many.

    Without it a peer would in the end hold the whole catalogue.

    Args:
        stack: Changed in place.
        at_most: Rows that each of its peers keeps beside the owner's.
    """
    shelf = stack.shelf
    many = np.flatnonzero(stack.lengths > at_most + at_most // _HEARSAY_SPARE)
    if not len(many):
        return
    few = Stack(shelf, stack.seats[many])
    own = shelf.own.take(few.slots)
    hearsay = np.bincount(few.peer[~own], minlength=len(few))
    too_many = hearsay > (at_most + at_most // _HEARSAY_SPARE)[many]
    if not too_many.any():
        return
    # One sort of whole numbers: the peer, then popularity, the largest first, then the position.
    # Popularity is never negative, so that its bits are in its order.
    candidates = np.flatnonzero(~own & too_many.take(few.peer))
    popularity = shelf.others.take(few.slots.take(candidates)).view(np.int32).astype(np.int64)
    packed = few.peer.take(candidates) << 31 | (1 << 31) - 1 - popularity
    order = np.argsort(packed, kind="stable")
    peer = few.peer.take(candidates.take(order))
    place = np.arange(len(peer)) - np.searchsorted(peer, peer)
    kept = np.ones(len(own), np.bool_)
    kept[candidates.take(order)[place >= at_most[many].take(peer)]] = False
    shelf.keep(few.seats, np.bincount(few.peer[kept], minlength=len(few)), few.slots[kept])


def _plain(
    update: ModelUpdate,
) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]]:
    """Rows, values and evidence as plain stretches of memory; copies only where they are not."""
    return (
        np.ascontiguousarray(update.rows, np.uint32),
        np.ascontiguousarray(update.values, np.float32),
        np.ascontiguousarray(update.evidence, np.float32),
    )


def average_rows(stack: Stack, inboxes: Inboxes, updates: Sequence[ModelUpdate]) -> None:
    """Rows that updates name, and what the silence about others says.

    Args:
        stack: Changed in place; it comes to hold all rows that are named.
        inboxes: Of its peers.
        updates: Of all of them.
    """
    shelf = stack.shelf
    owner = np.repeat(np.arange(len(stack)), np.diff(inboxes.firsts))
    keys = [owner[i] * stack.n_items + update.rows for i, update in enumerate(updates)]
    stack.hold(np.concatenate(keys).astype(np.int64))
    # What others say of a place is a plain mean over all of them: silence counts as "no". The
    # weight of the senders counts, so that few of them do not wipe out what many said.
    quiet = np.float32(1.0) - inboxes.listened
    shelf.others[stack.slots] *= quiet.take(stack.peer)
    own = inboxes.own_weight.take(stack.peer)
    most = shelf.evidence.take(stack.slots)
    heard = shelf.others.take(stack.slots)
    mass, present = own * most, own * (most > 0)
    named = np.zeros(len(stack.keys), np.bool_)
    turns = []
    for numbers in inboxes.turns():
        lengths = [len(updates[i].rows) for i in numbers]
        at = stack.locate(np.concatenate([keys[i] for i in numbers]).astype(np.int64))[0]
        values = np.concatenate([updates[i].values for i in numbers])
        evidence = np.concatenate([updates[i].evidence for i in numbers])
        # Capped here too: who claims more than an honest peer can have must not drown others.
        evidence = np.minimum(evidence, np.float32(MAX_EVIDENCE))
        turns.append((at, values, evidence, np.repeat(inboxes.weights[numbers], lengths)))
        named[at] = True
    chosen = np.flatnonzero(named)
    values_of = np.empty(len(named), np.int64)  # among the rows named, by position
    values_of[chosen] = np.arange(len(chosen))
    slots = stack.slots.take(chosen)
    mean = shelf.values.take(slots, axis=0)
    mean *= mass.take(chosen)[:, None]
    for at, values, evidence, weight in turns:
        # A share, whatever a stranger or its noise says: below zero its logarithm is no number.
        heard[at] += weight * np.clip(values[:, OTHERS], 0.0, 1.0)
        weighted = weight * evidence
        mean[values_of.take(at)] += values * weighted[:, None]
        mass[at] += weighted
        present[at] += weight
        most[at] = np.maximum(most[at], evidence)
    mass, present = mass.take(chosen), present.take(chosen)
    # How much of the weight is heard in the end: those who do not know a row are heard in part.
    whole = present + inboxes.dilution.take(stack.peer.take(chosen)) * (1.0 - present)
    present /= np.maximum(whole, np.float32(1e-9))
    # Those whose evidence is nothing leave a row where it starts.
    present[mass <= 0] = 0.0
    mean *= (present / np.maximum(mass, np.float32(1e-9)))[:, None]
    thin = np.flatnonzero(present < 1)
    initial = shelf.initial.take(shelf.rows.take(slots.take(thin)), axis=0)
    mean[thin] += initial * (1.0 - present.take(thin))[:, None]
    shelf.values[slots] = mean
    shelf.others[slots] = heard.take(chosen)
    shelf.evidence[slots] = np.minimum(most.take(chosen), np.float32(MAX_EVIDENCE))


def _average_vectors(group: Group, inboxes: Inboxes, known: NDArray[np.float64] | None) -> None:
    """Dense parameters, and statistics of what all owners are like.

    Args:
        group: Its peers are changed.
        inboxes: Of all of them.
        known: Their evidence of rows that items share, where there are any.
    """
    stack, model = group.stack, group.model
    statistics = model.statistics
    own_weight, listened = inboxes.own_weight, inboxes.listened
    peer = np.repeat(np.arange(len(stack)), np.diff(inboxes.firsts))
    received = inboxes.heard.dense.astype(np.float64)
    said = np.maximum(received[:, statistics], 0.0)
    received[:, statistics] = said / np.maximum(said.sum(1, keepdims=True), 1.0)
    dense = own_weight[:, None].astype(np.float64) * stack.dense
    dense[:, statistics] = (1.0 - listened)[:, None] * stack.dense[:, statistics]
    received *= inboxes.exact_weights[:, None]
    for numbers in inboxes.turns():  # each peer at most once in a turn, in the order of its updates
        dense[peer[numbers]] += received[numbers]
    shared = shared_rows(model)
    if shared is not None and known is not None:
        average_shared(stack, inboxes, shared, known, dense)
    dense += model.own_bent * (stack.dense - dense)
    stack.dense = dense.astype(np.float32)
    stack.store()
