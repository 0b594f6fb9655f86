"""OptEmbed: rows that are too small to matter are dropped, and the rest gets a width by evolution.

    g_x = 1 where ||e_x||_1 / size > t_f, else 0;   v_x = g_x m_f * e_x
    loss = task + a sum_f exp(-t_f)
    dg/d(||e_x||_1 / size - t_f):  2 - 4 abs(z) where abs(z) <= 0.4, 0.4 up to 1, then 0

Lyu et al., CIKM 2022, sections 3.1 (learned thresholds), 3.2 (a
supernet of uniformly drawn widths) and 3.3 (evolution). ``f`` are the groups of about equally known
items of ``p2prec.embeddings.prefixes``; ``z`` is in units of an initial row's mean magnitude.

    rounds 0 to 3    supernet: each round every group gets a width drawn by the realm
    rounds 4 to 9    a generation each: children of the current widths by mutation and crossover
                     are measured on the owner's newest interactions; the best takes their place

Ours: a draw a round instead of one a sample, since a table is stateless; and gossip is part of the
evolution: it averages the widths of peers between generations. Every child is measured at the price
at which it fits the budget. There is no rewinding of rows: learning them again costs a network more
rounds than the search. Of the public code three faults are not repeated: a mutation that changes
its parent, a crossover that cuts beyond the groups, and elites that are lost (the parent competes
here).

Thresholds and widths are pieces. On a device: prefixes with a number each, in whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.bases import summed
from p2prec.embeddings.initial import realm_generator
from p2prec.embeddings.prefixes import N_GROUPS, ROOM_FOR_ALL, GroupWidths, Widths
from p2prec.embeddings.table import Device, Floats, Quality, Stored

_SUPERNET = 4  # rounds
_GENERATIONS = 6  # rounds after them
_CHILDREN = 4  # of a generation
_MUTATED = 0.25  # chance of each group
_PULL = np.float32(1e-3)  # ``a``, an item
_RATE = np.float32(0.02)  # of thresholds


class GatedRows(GroupWidths):
    """Pieces: a width and a threshold for each group."""

    name: ClassVar[str] = "optembed"

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        self.n_pieces = 2 * N_GROUPS + 1
        self.unit = np.float32(0.5 / np.sqrt(size) * np.sqrt(2 / np.pi))

    def initial_pieces(self) -> Floats:
        """All columns, no threshold."""
        thresholds = np.zeros(N_GROUPS)
        return np.concatenate([self.all_wide(), thresholds, [ROOM_FOR_ALL]]).astype(np.float32)

    def piece_rates(self) -> Floats:
        """Thresholds learn; widths are searched for."""
        rates = np.zeros(self.n_pieces, np.float32)
        rates[N_GROUPS:-1] = _RATE
        return rates

    def chooser(self, stored: Stored) -> Callable[[Floats], Widths]:
        """Of the item's group, 0 where the row is too small."""
        above, choose = self._above(stored)[0] > 0, super().chooser(stored)
        return lambda price: choose(price) * above

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """The first columns of rows that are large enough."""
        above, groups = self._above(stored)
        widths = super().chooser(stored)(stored.pieces[stored.owner, -1])
        prefix = self._mask(np.maximum(widths, 1))
        mask = prefix & (above > 0)[:, None]
        return stored.rows * mask, (mask, prefix, above, groups, stored)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Through the columns, and through the gates by the surrogate."""
        mask, prefix, above, groups, stored = tape
        far = np.abs(above)
        slope = np.where(far <= 0.4, 2.0 - 4.0 * far, np.where(far <= 1.0, 0.4, 0.0))
        by_above = (by_vectors * stored.rows * prefix).sum(1) * slope
        by_rows = by_vectors * mask
        by_rows += (by_above / (self.unit * self.size))[:, None] * np.sign(stored.rows)
        thresholds = stored.pieces[stored.owner, N_GROUPS + groups]
        pull = -_PULL * np.exp(-thresholds)
        by_thresholds = summed(
            stored.owner,
            groups,
            (pull - by_above)[:, None].astype(np.float32),
            (len(stored.pieces), N_GROUPS),
        )
        by_pieces = np.pad(by_thresholds, ((0, 0), (N_GROUPS, 1)))
        return by_rows.astype(np.float32), by_pieces

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """The next draw of the supernet, or the best of a generation."""
        rng = realm_generator(self.catalogue.digest, f"optembed/{self.size}/{round_}")
        generation = round_ + 1 - _SUPERNET
        if generation < 0:
            drawn = rng.integers(1, self.size + 1, N_GROUPS)
            return self.with_widths(device, self.ordered(drawn))
        parent = self.current(device) if generation else self.all_wide()
        if generation >= _GENERATIONS:
            return self.with_widths(device, parent)
        children = [parent]
        for number in range(_CHILDREN):
            child = _mutated(parent, self.size, rng)
            if number % 2:
                child = _crossed(child, children[-1], rng)
            children.append(self.ordered(child))
        # The first of equals: a parent gives way only to a better child.
        states = [self.with_widths(device, child) for child in children]
        return states[int(np.argmax([quality(state) for state in states]))]

    def _above(self, stored: Stored) -> tuple[Floats, NDArray[np.int64]]:
        groups = self.groups(stored)
        magnitude = np.abs(stored.rows).mean(1) / self.unit
        return magnitude - stored.pieces[stored.owner, N_GROUPS + groups], groups


def _mutated(parent: Widths, size: int, rng: np.random.Generator) -> Widths:
    """Some groups get another width; the parent stays as it is."""
    child = parent.copy()
    chosen = rng.random(len(child)) < _MUTATED
    child[chosen] = rng.integers(0, size + 1, int(chosen.sum()))
    return child


def _crossed(one: Widths, other: Widths, rng: np.random.Generator) -> Widths:
    """The first groups of one and the last ones of the other, at least one of each."""
    cut = int(rng.integers(1, len(one)))
    return np.concatenate([one[:cut], other[cut:]])
