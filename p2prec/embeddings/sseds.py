"""SSEDS: one measurement of saliency decides which columns each group of items keeps.

    v_x = a_g * e_x,   a_g in {0, 1}^size,   g the group of x
    saliency  |dL / da_gj| at a = 1 = |sum_(x in g) e_xj dL/dv_xj|

Qu et al., SIGIR 2022 (single-shot embedding dimension search), section 3. The paper's groups are
fields; with one field, items, they are eight groups of about equally known items (``groups_of`` in
``p2prec.embeddings.prefixes``).

Ours: the one large batch of a server is a few rounds of all peers. Each step adds the magnitudes of
its saliencies to pieces, as a gradient that is small against Adagrad's start and so goes in as it
is; gossip averages the sums, and after ``_PRETRAINING`` rounds every peer ranks nearly the same
ones. Whoever is later gets masks by majority: a column counts as kept where at least half as many
keep it as keep the one that most of the group do. Half of all would leave a group without columns
where each keeps few, and others. Rows go on as they are, without a new start.

On a device: one of at most 16 masks for each row, values in whole numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.bases import summed
from p2prec.embeddings.prefixes import N_GROUPS, groups_of, known_of
from p2prec.embeddings.sparse import Shape, fitted_rows
from p2prec.embeddings.table import Device, Floats, Quality, Stored
from p2prec.embeddings.whole_rows import KeptEntries

_PRETRAINING = 3  # rounds, counted from 1
_SMALL = np.float32(1e-3)  # of a saliency, so that Adagrad takes it in proportion


class SingleShot(KeptEntries):
    """Pieces: a mask and the sum of saliencies for each group."""

    name: ClassVar[str] = "sseds"
    shape: ClassVar[Shape] = Shape.FEW

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        self.n_masks = N_GROUPS * size
        self.n_pieces = 2 * self.n_masks

    def initial_pieces(self) -> Floats:
        """All columns, nothing measured."""
        return np.repeat([1.0, 0.0], self.n_masks).astype(np.float32)

    def piece_rates(self) -> Floats:
        """Saliencies add up; masks are searched for."""
        return np.repeat([0.0, 1.0], self.n_masks).astype(np.float32)

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """The columns of the item's group."""
        groups = groups_of(known_of(self, stored))
        mask = self._masks(stored.pieces)[stored.owner, groups]
        return stored.rows * mask, (mask, groups, stored)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Of those columns; and the saliencies, which grow."""
        mask, groups, stored = tape
        shape = (len(stored.pieces), N_GROUPS)
        saliency = np.abs(summed(stored.owner, groups, by_vectors * stored.rows, shape))
        by_pieces = np.hstack([np.zeros_like(saliency), -_SMALL * saliency])
        return by_vectors * mask, by_pieces

    def kept(self, device: Device) -> NDArray[np.bool_]:
        """The columns of each group, of rows that moved most where not all fit."""
        stored = Stored.of_one(device)
        mask = self._masks(stored.pieces)[0, groups_of(known_of(self, stored))]
        moved = self.moved(device.items, device.rows)
        return fitted_rows(self.packed_form, mask, moved, self.budget)

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """Masks, once."""
        del quality
        if round_ + 1 != _PRETRAINING:
            return None
        counts = np.bincount(groups_of(known_of(self, Stored.of_one(device))), minlength=N_GROUPS)
        shape = (N_GROUPS, self.size)
        saliency = device.pieces[self.n_masks :].reshape(shape)
        order = np.argsort(-saliency.ravel(), kind="stable")
        group = order // self.size
        mask = np.zeros(self.n_masks, np.float32)
        n_entries, used = 0, np.zeros(N_GROUPS, np.bool_)
        for at, of in zip(order, group, strict=True):
            used[of] = True
            n_entries += int(counts[of])
            if self.packed_form.nbytes(int(counts[used].sum()), n_entries) > self.budget:
                break
            mask[at] = 1.0
        # A group without columns could not learn; what does not fit is left out on the device.
        mask.reshape(shape)[np.arange(N_GROUPS), saliency.argmax(1)] = 1.0
        pieces = device.pieces.copy()
        pieces[: self.n_masks] = mask
        return replace(device, pieces=pieces)

    def _masks(self, pieces: Floats) -> NDArray[np.bool_]:
        shares = pieces[:, : self.n_masks].reshape(len(pieces), N_GROUPS, self.size)
        masks: NDArray[np.bool_] = shares >= 0.5 * shares.max(2, keepdims=True)
        return masks
