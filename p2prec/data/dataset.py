"""A catalogue and who met its items."""

from __future__ import annotations

from dataclasses import dataclass

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import Interactions


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One realm's items and interactions."""

    catalogue: Catalogue
    interactions: Interactions
