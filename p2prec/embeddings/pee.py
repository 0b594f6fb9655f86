"""PEE: elastic blocks whose worth is learned along with them; the largest fill the budget.

    v = (w_g1 e_1, ..., w_gZ e_Z),     g = the item's group by popularity

Zheng et al., TKDE 2024 (PEEL): blocks of columns with a diversity regulariser, and a weight of each
block that is learned; given a budget, the blocks with the largest weights stay and nothing is
searched for. There, weights are learned on data that the table is not trained on and for groups of
users. Ours: a weight for each block and group of items, learned by the task's loss together with
the rows and drawn to zero by a small constant pull (L1), so that a block stays heavy only where it
pays; where two weigh the same, the one of the more popular group stays. User groups are what
neighbours make of each other, since peers average with those that are like them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from p2prec.embeddings.elastic import N_BLOCKS, N_CHOICES, N_GROUPS, ElasticRows
from p2prec.embeddings.table import Device, Floats, Quality, Stored

_PULL = 1e-3  # of a weight to zero, for each row that reads it
_ASKED_FOR = 0.5 ** np.arange(N_GROUPS, dtype=np.float32)  # of the groups
_PACE = 0.1  # of weights, against that of other pieces: they are statistics of many rows


class PersonalElastic(ElasticRows):
    """The values of the blocks are their weights."""

    name: ClassVar[str] = "pee"

    def piece_rates(self) -> Floats:
        """Weights are learned."""
        rates = super().piece_rates()
        rates[:N_CHOICES] = _PACE
        return rates

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """Weighted blocks that are there."""
        group, mask = self.masks(stored)
        weights = stored.pieces[:, :N_CHOICES].reshape(-1, N_GROUPS, N_BLOCKS)
        weights = weights[stored.owner, group] * mask
        vectors = (self.blocks(stored.rows) * weights[:, :, None]).reshape(stored.rows.shape)
        return vectors, (stored, group, mask, weights)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Of rows and weights."""
        stored, group, mask, weights = tape
        by_blocks = self.blocks(by_vectors)
        by_rows = (by_blocks * weights[:, :, None]).reshape(by_vectors.shape)
        by_rows += self.by_diversity(stored.rows)
        by_weights = (by_blocks * self.blocks(stored.rows)).sum(2) * mask
        by_weights += _PULL * np.sign(weights)
        by_pieces = np.zeros_like(stored.pieces)
        whole = np.zeros((len(by_pieces), N_GROUPS, N_BLOCKS), np.float32)
        np.add.at(whole, (stored.owner, group), by_weights)
        by_pieces[:, :N_CHOICES] = whole.reshape(len(by_pieces), -1)
        return by_rows, by_pieces

    def worth(self, pieces: Floats) -> Floats:
        """The weights."""
        return pieces[:N_CHOICES].reshape(N_GROUPS, N_BLOCKS)

    def kept(self, values: Floats) -> Any:
        """The heaviest, whatever their sign, where a popular group's are asked for more often."""
        return super().kept(np.abs(values) * np.repeat(_ASKED_FOR, N_BLOCKS))

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """Groups follow what people know; in the end the table is cut."""
        del quality
        pieces = device.pieces.copy()
        pieces[-N_GROUPS:-1] = self.group_ends(device)
        if round_ >= self.cut_after:
            pieces[-1] = 1.0
        return Device(items=device.items, rows=device.rows, others=device.others, pieces=pieces)
