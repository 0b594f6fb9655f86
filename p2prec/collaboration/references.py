"""Reference sequences: made without a place of the owner's, spread until all peers hold the same.

The papers let a server deploy one reference dataset. Here every peer publishes a few desensitised
sequences, and every peer keeps those whose content hash is smallest: a min-wise sample (Broder,
1997) of all that were ever published, which is the same for everybody once gossip has carried it
around, and which nobody can choose.

They are made by *transformation* (as DARD names it, arXiv 2401.13448): every place of a short own
sequence is replaced by another one of the same category nearby, times are moved into one made-up
week.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import ReferenceSequence, reference_hash
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.models.geo import distance_km, drawn_alike
from p2prec.models.moments import Moment, Timeline

_WEEK_S = 7 * 86_400
# Situations kept in a process: more than all of one common pool. They take 4 MiB where sequences
# have the usual 8 places, 12 where all have as many as a stranger may send.
_MOMENTS = 1_024
_ALIKE = 20  # a place is replaced by one of so many nearest of its category


class ReferencePool:
    """What a peer holds of the common reference data.

    Args:
        capacity: Sequences kept.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: dict[bytes, ReferenceSequence] = {}

    def __contains__(self, name: bytes) -> bool:
        return name in self._held

    def __getitem__(self, name: bytes) -> ReferenceSequence:
        return self._held[name]

    def learn(self, sequences: Iterable[ReferenceSequence]) -> None:
        """Take in sequences; those with the smallest hashes stay."""
        for sequence in sequences:
            self._held.setdefault(reference_hash(sequence), sequence)
        for name in sorted(self._held)[self._capacity :]:
            del self._held[name]

    def of_round(
        self, round_: int, n: int, *, catalogue: Catalogue, near: NDArray[np.int32]
    ) -> list[bytes]:
        """The ``n`` sequences of a round: much the same for all who live in the same area.

        A peer has little to say about situations far from its own (DARD), so that the sequences of
        a round come from the ``2 n`` that end nearest to the middle of the places ``near``.
        """
        key = round_.to_bytes(8, "big")
        names = sorted(self._held)
        lat, lon = catalogue.latitude_deg, catalogue.longitude_deg
        near = near[np.isfinite(lat[near])]
        if len(near):
            ends = np.array([self._held[name].items[-1] for name in names], np.int64)
            km = distance_km(
                lat[ends], lon[ends], np.array(np.median(lat[near])), np.array(np.median(lon[near]))
            )
            names = [names[i] for i in np.argsort(km, kind="stable")[: 2 * n]]

        def order(name: bytes) -> bytes:
            return hashlib.blake2b(name, key=key, digest_size=8).digest()

        return sorted(names, key=order)[:n]

    def sample(self, n: int, rng: np.random.Generator) -> tuple[ReferenceSequence, ...]:
        """Some to pass on."""
        names = sorted(self._held)
        return tuple(self._held[names[i]] for i in rng.permutation(len(names))[:n])


def make_references(
    catalogue: Catalogue, history: History, *, n: int, length: int, rng: np.random.Generator
) -> tuple[ReferenceSequence, ...]:
    """At most ``n`` desensitised sequences from an owner's history."""
    made = []
    if len(history) >= 2:
        for _ in range(n):
            start = int(rng.integers(0, max(1, len(history) - length + 1)))
            part = slice(start, start + length)
            sequence = transformed(catalogue, history.item[part], history.timestamp_s[part], rng)
            if sequence is not None:
                made.append(sequence)
    return tuple(made)


def transformed(
    catalogue: Catalogue,
    items: NDArray[np.int32],
    timestamp_s: NDArray[np.int64],
    rng: np.random.Generator,
) -> ReferenceSequence | None:
    """A sequence without any place of the original, or None where nothing is left."""
    replaced, kept, original = [], [], set(items.tolist())
    for index, place in enumerate(items.tolist()):
        # As many as leave one that is not in the original, if there is any.
        drawn = drawn_alike(catalogue, place, _ALIKE, len(original), rng)
        others = [other for other in drawn if other not in original]
        # The only one of its kind would stand for itself: it is left out.
        if others:
            replaced.append(others[0])
            kept.append(index)
    if not replaced:
        return None
    # Whole hours, gaps of at most a day, in a week without a date.
    hour = timestamp_s[kept] // 3_600
    gaps = np.minimum(np.diff(hour, prepend=hour[0]), 24)
    times = (_WEEK_S // 3_600 + hour[0] % 168 + np.cumsum(gaps)) * 3_600
    return ReferenceSequence(
        items=np.array(replaced, np.uint32), timestamp_s=times.astype(np.int64)
    )


def moment_after(catalogue: Catalogue, sequence: ReferenceSequence) -> Moment:
    """The situation after a sequence; all peers of a process share it."""
    items = sequence.items.astype(np.int32)
    return _moment_after(catalogue, items.tobytes(), sequence.timestamp_s.tobytes())


@lru_cache(maxsize=_MOMENTS)
def _moment_after(catalogue: Catalogue, items: bytes, timestamp_s: bytes) -> Moment:
    item = np.frombuffer(items, np.int32)
    history = History(
        item=item,
        timestamp_s=np.frombuffer(timestamp_s, np.int64),
        rating=np.ones(len(item), np.float32),
    )
    return Timeline(catalogue, history).moment(len(item), float(history.timestamp_s[-1] + 3_600))
