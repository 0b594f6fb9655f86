"""What an owner asks of a peer, the same from a running daemon and from the store alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.models.recommender import Context
from p2prec.training.local import LocalLearner
from peers.config import PeerConfig
from peers.store import Store


def stored_learner(
    store: Store, catalogue: Catalogue, config: PeerConfig, *, device_seed: int = 0
) -> LocalLearner:
    """The learner as the store left it; a new one where the store has none.

    Args:
        store: Of the peer.
        catalogue: The realm's items.
        config: The owner's settings.
        device_seed: Secret of the device; needed only by a learner that publishes.

    Raises:
        StoreError: The stored model does not fit the settings.
    """
    learner = LocalLearner(
        catalogue,
        config.learner,
        history=store.history(),
        seed=config.seed,
        device_seed=device_seed,
    )
    state = store.learner_state()
    if "dense" in state:
        learner.restore(state)
    return learner


def recommendations(
    learner: LocalLearner, catalogue: Catalogue, *, now_s: float, k: int, new_only: bool
) -> list[dict[str, Any]]:
    """What ``p2prec recommend --json`` prints."""
    found = learner.recommend(Context(timestamp_s=int(now_s)), k, new_only=new_only)
    return [_described(catalogue, r.item, r.score, r.reasons) for r in found]


def _described(
    catalogue: Catalogue, item: int, score: float, reasons: tuple[tuple[str, float], ...]
) -> dict[str, Any]:
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
