"""A recommendation as people and programs read it."""

from __future__ import annotations

from typing import Any

import numpy as np

from p2prec.data.catalogue import Catalogue


def describe(
    catalogue: Catalogue, item: int, score: float, reasons: tuple[tuple[str, float], ...]
) -> dict[str, Any]:
    """A recommendation for people and programs."""
    category = int(catalogue.category[item])
    latitude, longitude = catalogue.latitude_deg[item], catalogue.longitude_deg[item]
    return {
        "item": catalogue.item_ids[item],
        "category": catalogue.categories[category] if category >= 0 else "",
        "latitude_deg": float(latitude) if np.isfinite(latitude) else None,
        "longitude_deg": float(longitude) if np.isfinite(longitude) else None,
        "score": round(score, 4),
        "why": [{"signal": name, "weight": round(weight, 4)} for name, weight in reasons],
    }
