"""AMTL: widths by an adaptively-masked twins layer, from how much is known of an item.

    M = alpha h(s) + (1 - alpha) l(s)        two networks, so that the head does not drown the tail
    p = softmax(M / T),  k = argmax p,  t = 1_k + p - sg(p)        straight-through
    v = e * (t L),   row k of L: ``k`` ones, then zeros

Yan et al., CIKM 2021, section 3. ``s`` are frequency attributes; ``alpha`` is
``sigmoid`` of their standardised logarithm (its exact form is not known to us). Ours: frequencies
and the budget without a server (``p2prec.embeddings.prefixes``), and a width of 0, an item that is
not stored at all.

Both networks and the price are pieces: peers average them, and so choose by nearly the same rule.
On a device: prefixes with a number each, in whole numbers; the networks stay out.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.controllers import Controller, softmax
from p2prec.embeddings.initial import realm_generator
from p2prec.embeddings.prefixes import ROOM_FOR_ALL, TiltedWidths, features_of, known_of
from p2prec.embeddings.table import Device, Floats, Quality, Stored

_HIDDEN = 6
_TEMPERATURE = np.float32(1.0)
_BLEND = np.float32(4.0)  # how sharply known items go by the first network
_RATE = np.float32(0.03)  # networks learn slowly: Adagrad's first steps are long


class AdaptivelyMasked(TiltedWidths):
    """Two networks choose a prefix for each item."""

    name: ClassVar[str] = "amtl"

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        self.candidates = np.arange(size + 1)
        self.net = Controller(n_inputs=3, n_hidden=_HIDDEN, n_outputs=size + 1)
        self.n_pieces = 2 * self.net.n_weights + 1

    def initial_pieces(self) -> Floats:
        """Two networks that prefer what is known well, and room for all."""
        rng = realm_generator(self.catalogue.digest, f"amtl/{self.size}")
        nets = [self.net.initial(rng, self.candidates) for _ in range(2)]
        return np.concatenate([*nets, [ROOM_FOR_ALL]]).astype(np.float32)

    def piece_rates(self) -> Floats:
        """Networks learn; the price is searched for."""
        rates = np.full(self.n_pieces, _RATE, np.float32)
        rates[-1] = 0.0
        return rates

    def logits(self, stored: Stored) -> Floats:
        """The blend."""
        return self._blended(stored)[0]

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """The first columns; the tape leads to the networks."""
        blended, nets, alpha = self._blended(stored)
        tilted = self.tilted(blended, stored.pieces[stored.owner, -1])
        mask = self._mask(np.maximum(self.candidates[tilted.argmax(1)], 1))
        chances = softmax(tilted / _TEMPERATURE)
        return stored.rows * mask, (mask, chances, nets, alpha, stored)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Of the first columns, and straight through the choice."""
        mask, chances, nets, alpha, stored = tape
        by_widths = np.zeros_like(chances)  # width k uncovers what lies before column k
        np.cumsum(by_vectors * stored.rows, axis=1, out=by_widths[:, 1:])
        mean = (chances * by_widths).sum(1, keepdims=True)
        by_logits = chances * (by_widths - mean) / _TEMPERATURE
        by_pieces = np.concatenate(
            [
                self.net.backward(net, by_logits * share[:, None])
                for net, share in zip(nets, (alpha, 1.0 - alpha), strict=True)
            ]
            + [np.zeros((len(stored.pieces), 1), np.float32)],
            axis=1,
        )
        return by_vectors * mask, by_pieces

    def searched(self, device: Device, round_: int, quality: Quality) -> Device:
        """The price that the budget asks for."""
        del round_, quality
        return self.budgeted(device)

    def _blended(self, stored: Stored) -> tuple[Floats, list[Any], Floats]:
        inputs = features_of(known_of(self, stored), stored.others)
        alpha = (1.0 / (1.0 + np.exp(-_BLEND * inputs[:, 0]))).astype(np.float32)
        n, nets, blended = self.net.n_weights, [], np.float32(0.0)
        for number, share in enumerate((alpha, 1.0 - alpha)):
            weights = stored.pieces[:, number * n : (number + 1) * n]
            logits, tape = self.net.forward(weights, stored.owner, inputs)
            nets.append(tape)
            blended = blended + share[:, None] * logits
        return np.asarray(blended, np.float32), nets, alpha
