"""CERP: two shared tables whose sums are sparse in each part and full as a whole.

    v_x = p^[x mod b] + q^[x div ceil(n_items / b)]      x = the item's place in a realm's order
    w^  = sign(w) relu(abs(w) - sigmoid(s)),   s one for each value

Liang et al., ICDM 2023 (CERP), section III: compositional rows, soft thresholds, and
``L_prune = -gamma ||tanh(eta v)||_F^2`` over the vectors of a step, which makes one part fill the
gaps of the other; ``gamma`` halves every round. Pruned to the budget, the tables are trained anew
from their start under the mask.

Ours: thresholds rise by a common shift after each round, so that the budget is met after a fixed
number of rounds (the cubic schedule of Zhu & Gupta 2017), whatever a small owner's gradients do.
The mask then lives in the thresholds, far below zero for what is kept and far above for what is
not: a merge is their mean, a vote, and each round makes the outcome hard again, the budget's worth
of values with the lowest means. Who comes late and hears mostly hard thresholds joins the others.

On a device lie one bit for each value and the values that are kept, in half precision.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.arrangement import random_order
from p2prec.embeddings.bases import SharedPieces, summed
from p2prec.embeddings.initial import realm_generator
from p2prec.embeddings.packed import (
    HALF_BYTES,
    OVERHEAD_BYTES,
    PIECES_AT_MOST,
    PackedTable,
    bytes_of_bits,
)
from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.table import Device, Floats, PieceRows, Quality, Stored, budget_bytes
from p2prec.errors import ConfigError, StoreError

_DENSITY = 0.5  # of values that are kept, where the tables may be as long as they like
_PRUNING_ROUNDS = 3
_SOFT, _KEPT, _PRUNED = -9.0, -30.0, 30.0  # thresholds at the start, and of a mask
_HARD = -20.0  # below it, or above zero, a threshold is one of a mask
_GAMMA, _ETA = 1e-3, 20.0


class CompositionalPruned(SharedPieces):
    """Two tables, the threshold of each of their values, and ``gamma``.

    Attributes:
        length: ``b``, rows of each table.
        n_kept: Values that the budget allows.
        digits: Shape ``(2, n_items)``.
    """

    name: ClassVar[str] = "cerp"

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        room = budget_bytes(self) - OVERHEAD_BYTES
        unique = int(np.ceil(self.n_items**0.5))
        fitting = int(room / (2 * size * (1 / 8 + HALF_BYTES * _DENSITY)))
        longest = min((PIECES_AT_MOST - 1) // (4 * size), self.n_items)
        self.length = min(max(fitting, unique), longest)
        self.n_values = 2 * self.length * size
        self.n_kept = min((room - bytes_of_bits(self.n_values)) // HALF_BYTES, self.n_values)
        if self.length < unique or self.n_kept * 8 < self.n_values:
            raise ConfigError(
                f"a catalogue of {self.n_items} items is too small, or too large, for a cerp table "
                f"of {room} bytes; take a smaller compression, or another embedding_size"
            )
        self.n_pieces = 2 * self.n_values + 1
        places = random_order(catalogue, "cerp")
        self.digits = np.stack([places % self.length, places // -(-self.n_items // self.length)])
        self.piece_rows = PieceRows(  # thresholds are everybody's: a merge is a vote of all
            bounds=np.arange(0, self.n_values + 1, size),
            of_item=(self.digits + np.array([[0], [self.length]])).T,
        )

    def initial_pieces(self) -> Floats:
        """Halves of rows as long as those of a full table; thresholds next to nothing."""
        rng = realm_generator(self.catalogue.digest, f"cerp/{self.size}/{self.length}")
        values = rng.normal(0.0, 0.5 / np.sqrt(2 * self.size), self.n_values)
        thresholds = np.full(self.n_values, _SOFT if self.n_kept < self.n_values else _KEPT)
        return np.concatenate([values, thresholds, [_GAMMA]]).astype(np.float32)

    def piece_rates(self) -> Floats:
        """Both parts together move a vector as far as a row; ``gamma`` follows the rounds."""
        rates = np.ones(self.n_pieces, np.float32)
        rates[: self.n_values] = 0.5
        rates[-1] = 0.0
        return rates

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """Sums of what the thresholds leave."""
        n = len(stored.pieces)
        tables = stored.pieces[:, :-1].reshape(n, 2, 2, self.length, self.size)
        at = self.digits[:, stored.items]
        halves = []
        for j in range(2):
            values, thresholds = (tables[:, k, j][stored.owner, at[j]] for k in range(2))
            halves.append((values, thresholds, *_pruned(values, thresholds)))
        vectors = halves[0][2] + halves[1][2]
        return vectors, (stored.owner, at, halves, vectors, stored.pieces[:, -1])

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Through the thresholds; with the pull away from zero of what is composed."""
        owner, at, halves, vectors, gamma = tape
        flat = np.tanh(_ETA * vectors)
        pull = (2.0 * _ETA * gamma[owner, None]) * flat * (1.0 - flat**2)
        by_vectors = by_vectors - pull
        shape = (len(gamma), self.length)
        by_values, by_thresholds = [], []
        for rows, (values, _, kept, slope) in zip(at, halves, strict=True):
            by_kept = by_vectors * (kept != 0)
            by_values.append(summed(owner, rows, by_kept, shape))
            by_thresholds.append(summed(owner, rows, -np.sign(values) * slope * by_kept, shape))
        nothing = np.zeros((len(gamma), 1), np.float32)
        by_pieces = np.concatenate([*by_values, *by_thresholds, nothing], axis=1)
        return np.zeros((len(owner), 0), np.float32), by_pieces

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """Higher thresholds, then a mask and a new start, then the mask that most have."""
        del quality
        if self.n_kept == self.n_values:
            return None
        values, thresholds, _ = self._parts(device.pieces)
        hard = (thresholds < _HARD) | (thresholds > 0)
        if hard.mean() > 0.5:  # the network has its mask: what most keep is kept
            mask = _lowest(thresholds - np.abs(values) / (1.0 + np.abs(values)), self.n_kept)
        elif round_ < _PRUNING_ROUNDS:
            done = (round_ + 1) / _PRUNING_ROUNDS
            share = 1.0 - (1.0 - self.n_kept / self.n_values) * (1.0 - (1.0 - done) ** 3)
            thresholds = _shifted(values, thresholds, int(share * self.n_values))
            gamma = np.float32(_GAMMA * 0.5 ** (round_ + 1))
            return self._with(device, values, thresholds, gamma)
        else:
            mask = _lowest(-_margin(values, thresholds), self.n_kept)
            values = self.initial_pieces()[: self.n_values]
        return self._with(device, values, np.where(mask, _KEPT, _PRUNED), np.float32(0.0))

    def pack(self, device: Device) -> PackedTable:
        """Bits, and the values of those that are kept."""
        values, thresholds, _ = self._parts(device.pieces)
        kept = _pruned(values, thresholds)[0]
        mask = _lowest(-np.abs(kept), self.n_kept) & (kept != 0)
        half = kept[mask].astype(np.float16)
        arrays = {"mask": np.packbits(mask, bitorder="little"), "values": half}
        return self._packed(mask, half, packed_arrays(arrays, form=self.form))

    def unpack(self, data: bytes) -> PackedTable:
        """Read them."""
        parts: dict[str, tuple[np.dtype[np.generic], tuple[int | None, ...]]] = {
            "mask": (np.dtype(np.uint8), (bytes_of_bits(self.n_values),)),
            "values": (np.dtype(np.float16), (None,)),
        }
        arrays = read_arrays(data, parts, form=self.form)
        bits = np.unpackbits(
            arrays["mask"].astype(np.uint8), count=self.n_values, bitorder="little"
        )
        mask = bits.astype(np.bool_)
        if len(arrays["values"]) != mask.sum():
            raise StoreError("a packed table has other values than its mask names")
        return self._packed(mask, arrays["values"], data)

    def _packed(
        self, mask: NDArray[np.bool_], values: NDArray[np.generic], data: bytes
    ) -> PackedTable:
        table = np.zeros(self.n_values, np.float32)
        table[mask] = values.astype(np.float32)
        first, second = table.reshape(2, self.length, self.size)

        def of(items: NDArray[np.integer[Any]]) -> Floats:
            found: Floats = first[self.digits[0, items]] + second[self.digits[1, items]]
            return found

        def products(query: Floats) -> Floats:
            found: Floats = (first @ query)[self.digits[0]] + (second @ query)[self.digits[1]]
            return found

        return PackedTable(data=data, of=of, products=products, n_items=self.n_items)

    def _parts(self, pieces: Floats) -> tuple[Floats, Floats, np.float32]:
        return pieces[: self.n_values], pieces[self.n_values : -1], pieces[-1]

    def _with(
        self, device: Device, values: Floats, thresholds: NDArray[np.generic], gamma: np.float32
    ) -> Device:
        pieces = np.concatenate([values, thresholds, [gamma]]).astype(np.float32)
        return Device(items=device.items, rows=device.rows, others=device.others, pieces=pieces)


def _pruned(values: Floats, thresholds: Floats) -> tuple[Floats, Floats]:
    """What is left of values, and the slope of the sigmoid."""
    height = 0.5 + 0.5 * np.tanh(0.5 * thresholds)
    left = np.sign(values) * np.maximum(np.abs(values) - height, 0.0) * (thresholds <= 0)
    return left, height * (1.0 - height)


def _margin(values: Floats, thresholds: Floats) -> Floats:
    """How far above its threshold each value is."""
    margin: Floats = np.abs(values) - (0.5 + 0.5 * np.tanh(0.5 * thresholds))
    return margin


def _shifted(values: Floats, thresholds: Floats, n_kept: int) -> Floats:
    """Thresholds with the shift by which ``n_kept`` values stay above them."""
    # A value is pruned as soon as its threshold exceeds logit(abs(value)).
    height = np.clip(np.abs(values), 1e-6, 0.999)
    spare = np.log(height / (1.0 - height)) - thresholds
    shift = np.partition(spare, len(spare) - n_kept - 1)[len(spare) - n_kept - 1]
    raised: Floats = np.clip(thresholds + max(shift, 0.0), _HARD + 1e-3, -1e-3).astype(np.float32)
    return raised


def _lowest(order: NDArray[np.floating[Any]], n: int) -> NDArray[np.bool_]:
    """The ``n`` places with the lowest values; the first ones where they are equal."""
    mask = np.zeros(len(order), np.bool_)
    mask[np.argsort(order, kind="stable")[:n]] = True
    return mask
