"""What an owner asks of a peer, the same from a running daemon and from the store alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.models.recommender import Context
from p2prec.training.config import ProtectionConfig
from p2prec.training.local import LocalLearner
from peers.config import PeerConfig
from peers.keys import Keyring
from peers.store import Release, Store


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


def what_left(releases: Sequence[Release], counters: Mapping[str, int]) -> dict[str, Any]:
    """The ledger for the owner: how often, how much, to how many."""
    return {
        "rounds": len(releases),
        "bytes": sum(r.n_bytes for r in releases),
        "most_recipients": max((r.recipients for r in releases), default=0),
        "last_s": max((r.time_s for r in releases), default=None),
        "sent_bytes": sum(n for name, n in counters.items() if name.startswith("sent_bytes.")),
    }


def what_it_cost(store: Store, protection: ProtectionConfig) -> dict[str, Any]:
    """The ledger's sum in privacy."""
    ledger = store.spent(protection.delta)
    return {
        "releases": ledger.releases,
        "epsilon": ledger.epsilon if np.isfinite(ledger.epsilon) else None,
        "delta": ledger.delta,
        "protection": protection.method,
        "sentence": ledger.sentence,
    }


def stored_status(store: Store, catalogue: Catalogue, config: PeerConfig) -> dict[str, Any]:
    """What ``p2prec status --json`` prints where no peer runs."""
    keys, progress, counters = store.keyring(), store.progress(), store.counters()
    keyring = Keyring.from_bytes(keys) if keys else None
    return {
        "peer_id": keyring.peer_id if keyring else "",
        "pseudonym": keyring.face.pseudonym if keyring else "",
        "realm": catalogue.digest.hex(),
        "running": False,
        "sharing": config.share and config.learner.collaboration.method != "alone",
        "method": config.learner.collaboration.method,
        "model": "",
        "phase": "stopped",
        "round": progress.round if progress else 0,
        "interactions": len(store.history()),
        "neighbours": len(progress.neighbours) if progress else 0,
        "known_peers": 0,
        "adverts": 0,
        "discovered_by": {},
        "counters": counters,
        "crypto_cpu_s": 0.0,
        "cpu_s": 0.0,
        "left": what_left(store.releases(), counters),
        "privacy": what_it_cost(store, config.learner.protection),
    }


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
