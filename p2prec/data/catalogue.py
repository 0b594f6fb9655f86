"""The catalogue: the items of one realm, content-addressed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from p2prec.errors import DataError
from p2prec.limits import MAX_ITEMS

_DIGEST_LABEL = b"p2prec/realm/1"


@dataclass(frozen=True, kw_only=True, eq=False)  # equal where it is the same: it keys caches
class Catalogue:
    """Items with position and category; row *i* of every array speaks of item *i*.

    Items are ordered by ``item_ids`` so that two peers with the same items hold the same rows.

    Attributes:
        item_ids: External names, unique, sorted by ``(len, text)`` so that numbers sort as numbers.
        latitude_deg: Shape ``(n_items,)``, WGS84, NaN where an item has no position.
        longitude_deg: Shape ``(n_items,)``, WGS84, NaN where an item has no position.
        category: Shape ``(n_items,)``, index into ``categories``, -1 where unknown.
        categories: Category names, unique and sorted.
    """

    item_ids: tuple[str, ...]
    latitude_deg: NDArray[np.float64]
    longitude_deg: NDArray[np.float64]
    category: NDArray[np.int32]
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.item_ids)
        if not 0 < n <= MAX_ITEMS:
            raise DataError(f"a catalogue has 1 to {MAX_ITEMS} items, this one {n}")
        if not (self.latitude_deg.shape == self.longitude_deg.shape == self.category.shape == (n,)):
            raise DataError("a catalogue needs one position and one category an item")
        if self.category.max(initial=-1) >= len(self.categories):
            raise DataError("an item names a category that the catalogue does not have")

    @classmethod
    def build(
        cls,
        *,
        item_ids: Sequence[str],
        latitude_deg: Sequence[float] | NDArray[np.float64],
        longitude_deg: Sequence[float] | NDArray[np.float64],
        category_names: Sequence[str],
    ) -> Catalogue:
        """Sort items and categories into the canonical order; an empty category is unknown.

        Raises:
            DataError: An item id occurs twice, or the lengths differ.
        """
        if len(set(item_ids)) != len(item_ids):
            raise DataError("an item id occurs twice in the catalogue")
        order = sorted(range(len(item_ids)), key=lambda i: (len(item_ids[i]), item_ids[i]))
        categories = tuple(sorted({name for name in category_names if name}))
        index = {name: i for i, name in enumerate(categories)}
        return cls(
            item_ids=tuple(item_ids[i] for i in order),
            latitude_deg=np.asarray(latitude_deg, dtype=np.float64)[order],
            longitude_deg=np.asarray(longitude_deg, dtype=np.float64)[order],
            category=np.array([index.get(category_names[i], -1) for i in order], dtype=np.int32),
            categories=categories,
        )

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the canonical content, 32 bytes; it names the realm.

        Positions count in whole microdegrees, so that the digest does not depend on how a
        decimal number was parsed.
        """
        sha = hashlib.sha256(_DIGEST_LABEL)

        def text(values: Sequence[str]) -> None:
            sha.update(len(values).to_bytes(4, "big"))
            for value in values:
                raw = value.encode()
                sha.update(len(raw).to_bytes(4, "big"))
                sha.update(raw)

        def micro(values: NDArray[np.float64]) -> bytes:
            missing = np.isnan(values)
            whole = np.round(np.where(missing, 0.0, values) * 1e6).astype("<i8")
            return np.where(missing, np.iinfo(np.int64).min, whole).astype("<i8").tobytes()

        text(self.item_ids)
        text(self.categories)
        sha.update(self.category.astype("<i4").tobytes())
        sha.update(micro(self.latitude_deg))
        sha.update(micro(self.longitude_deg))
        return sha.digest()

    @cached_property
    def index(self) -> dict[str, int]:
        """From external item id to row."""
        return {item: row for row, item in enumerate(self.item_ids)}
