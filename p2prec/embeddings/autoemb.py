"""AutoEmb: a soft mix of widths, which a controller reads off an item's popularity.

    v = sum_k alpha_k (e_1, ..., e_(d_k), 0, ..., 0),   alpha = softmax(controller(s) / T)
    min over the controller of the loss on held-out data, of the rows of that on training data

Zhao et al., ICDM 2021, section 3 (soft selection; bilevel optimisation by turns). Candidates share
one row, as in AutoDim, instead of a table each: no more memory in training than a full table. The
width 0 is a candidate: an item that is not stored.

Ours: ``T`` falls from round to round, so that the mix has become one prefix an item when a device
hardens it; no batch normalisation, which a peer's few interactions cannot feed. The controller's
step needs no held-out gradient: once a round two states to either side of the controller, in a
direction that all peers of the realm draw alike, are measured on the owner's newest interactions,
and the controller goes towards the better one by how much better it is (simultaneous perturbation:
Spall 1992). Gossip averages these steps, which makes the
estimate that of all owners. The newest interactions are trained on as well: a peer has too few to
put any aside.

On a device: prefixes with a number each, in whole numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.controllers import Controller, softmax
from p2prec.embeddings.initial import realm_generator
from p2prec.embeddings.prefixes import ROOM_FOR_ALL, TiltedWidths, features_of, known_of
from p2prec.embeddings.table import Device, Floats, Quality, Stored

_SHARES = (0.0, 0.125, 0.25, 0.5, 1.0)  # of the size
_HIDDEN = 4
_FIRST_TEMPERATURE, _COOLING, _LAST_TEMPERATURE = 1.0, 0.7, 0.02
_REACH = 0.3  # of the two states beside the controller
_NO_QUALITY = 1e-9
_STEP = 1.0  # of the controller, for a quality that is all the difference


class SoftlySelected(TiltedWidths):
    """A controller mixes a few widths."""

    name: ClassVar[str] = "autoemb"

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        self.candidates = np.unique(np.rint(np.array(_SHARES) * size).astype(np.int64))
        self.net = Controller(n_inputs=3, n_hidden=_HIDDEN, n_outputs=len(self.candidates))
        self.n_pieces = self.net.n_weights + 2  # and then the temperature and the price

    def initial_pieces(self) -> Floats:
        """A controller that prefers what is known well, and room for all."""
        rng = realm_generator(self.catalogue.digest, f"autoemb/{self.size}")
        weights = self.net.initial(rng, self.candidates)
        return np.concatenate([weights, [_FIRST_TEMPERATURE, ROOM_FOR_ALL]]).astype(np.float32)

    def piece_rates(self) -> Floats:
        """All are searched for."""
        return np.zeros(self.n_pieces, np.float32)

    def logits(self, stored: Stored) -> Floats:
        """The controller's."""
        inputs = features_of(known_of(self, stored), stored.others)
        return self.net.forward(stored.pieces[:, :-2], stored.owner, inputs)[0]

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """Each column by the share of candidates that reach it."""
        tilted = self.tilted(self.logits(stored), stored.pieces[stored.owner, -1])
        alpha = softmax(tilted / stored.pieces[stored.owner, -2, None])
        share = (alpha @ (np.arange(self.size) < self.candidates[:, None])).astype(np.float32)
        share[:, 0] = 1.0  # an item that becomes known can grow
        return stored.rows * share, (share, len(stored.pieces))

    def searched(self, device: Device, round_: int, quality: Quality) -> Device:
        """A cooler mix, a step of the controller, and the price that the budget asks for."""
        pieces = device.pieces.copy()
        pieces[-2] = max(_FIRST_TEMPERATURE * _COOLING ** (round_ + 1), _LAST_TEMPERATURE)
        n = self.net.n_weights
        rng = realm_generator(self.catalogue.digest, f"autoemb/{self.size}/{round_}")
        direction = rng.choice(np.array([-1.0, 1.0], np.float32), n)

        def beside(step: float) -> Device:
            moved = pieces.copy()
            moved[:n] += direction * np.float32(step)
            return self.budgeted(replace(device, pieces=moved))

        ahead, behind = quality(beside(_REACH)), quality(beside(-_REACH))
        gain = (ahead - behind) / max(ahead + behind, _NO_QUALITY)
        return beside(_STEP * min(max(gain, -1.0), 1.0))
