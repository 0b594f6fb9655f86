"""Averaging rows of a compact table that items share (``p2prec.embeddings.table.PieceRows``).

Whoever has never met an item that reads a row says nothing of that row: a plain mean over all peers
would pull what one has learned back to the start, as it would pull items' own rows. Which rows a
message speaks of follows from the items that it names and their evidence.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.updates import MAX_EVIDENCE
from p2prec.models.stack import Stack
from p2prec.models.tabled import SharedRows

if TYPE_CHECKING:
    from p2prec.collaboration.averaging import Inboxes


def known_rows(stack: Stack, shared: SharedRows) -> NDArray[np.float64]:
    """How well each peer knows rows that items share, shape ``(n_peers, n_rows)``."""
    items, evidence = stack.keys % stack.n_items, stack.shelf.evidence.take(stack.slots)
    ends = np.searchsorted(stack.peer, np.arange(len(stack) + 1)).tolist()
    return np.stack(
        [
            shared.rows.evidence(items[start:stop], evidence[start:stop])
            for start, stop in pairwise(ends)
        ]
    )


def average_shared(
    stack: Stack,
    inboxes: Inboxes,
    shared: SharedRows,
    known: NDArray[np.float64],
    dense: NDArray[np.float64],
) -> None:
    """Means over those who know items that read a row, weighted by mixing weight times evidence.

    Those who know none count with the dilution's share of their weight, at the start, as with
    items' own rows (``averaging``). Where nobody knows any, the plain mean stays.

    Args:
        stack: As it was before the merge.
        inboxes: Of its peers.
        shared: The rows.
        known: As of ``known_rows``, before the merge.
        dense: Plain means, shape ``(n_peers, n_dense)``; changed in place.
    """
    widths, heard = shared.rows.widths, inboxes.heard
    for peer, (start, stop) in enumerate(pairwise(inboxes.firsts.tolist())):
        weights = [float(inboxes.own_weight[peer]), *inboxes.exact_weights[start:stop].tolist()]
        own = stack.dense[peer, shared.part]
        mass, present = np.zeros(len(widths)), np.zeros(len(widths))
        mean = np.zeros(len(own))
        for weight, number in zip(weights, [None, *range(start, stop)], strict=True):
            if number is None:
                values, evidence = own, known[peer]
            else:
                rows, said = heard.named(number)
                values = heard.dense[number, shared.part]
                evidence = shared.rows.evidence(rows, np.minimum(said, np.float32(MAX_EVIDENCE)))
            mass += weight * evidence
            present += weight * (evidence > 0)
            mean += np.repeat(weight * evidence, widths) * values
        mean /= np.maximum(np.repeat(mass, widths), 1e-9)
        dilution = float(inboxes.dilution[peer])
        share = np.repeat(present / np.maximum(present + dilution * (1.0 - present), 1e-9), widths)
        merged = dense[peer, shared.part]
        some = np.repeat(mass > 0, widths)
        merged[some] = (share * mean + (1.0 - share) * shared.start)[some]
