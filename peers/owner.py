"""What an owner asks of a peer, the same from a running daemon and from the store alone."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.errors import ConfigError, OtherModelError, P2PRecError, StoreError
from p2prec.models.families import model_of
from p2prec.models.recommender import Context
from p2prec.privacy.ledger import release_budget
from p2prec.training.config import ProtectionConfig
from p2prec.training.given_up import given_up
from p2prec.training.local import LocalLearner
from p2prec.training.on_device import on_device
from peers.amounts import parse_bytes
from peers.books import Books
from peers.budget import settled
from peers.config import PeerConfig
from peers.keys import Keyring
from peers.life import Peer
from peers.store import Release, Store
from peers.worth import expected_of


def stored_learner(
    store: Store, catalogue: Catalogue, config: PeerConfig, *, device_seed: int = 0
) -> LocalLearner:
    """The learner as the store left it; a new one where the store has none, or none that fits.

    After an update or with other settings a model may have another size. What it knew is in the
    history, and is learned again.

    Args:
        store: Of the peer.
        catalogue: The realm's items.
        config: The owner's settings.
        device_seed: Secret of the device; needed only by a learner that publishes.

    Raises:
        StoreError: The stored model is damaged or belongs to another realm.
    """
    config = settled(config, catalogue)
    learner = LocalLearner(
        catalogue,
        config.learner,
        history=store.history(),
        seed=config.seed,
        device_seed=device_seed,
    )
    state = store.learner_state()
    if "dense" in state:
        try:
            learner.restore(state)
        except OtherModelError as other:
            learner.anew = str(other)
            learner.protection.show_again(state)
    learner.watch()
    return learner


def stored_keyring(store: Store, catalogue: Catalogue, *, grace_s: float) -> Keyring:
    """The keys of the peer, made and stored where it has none.

    Args:
        store: Of the peer.
        catalogue: The realm's items.
        grace_s: How long a retired prekey still opens messages.

    Raises:
        StoreError: The keys are those of another realm.
    """
    data = store.keyring()
    if data is None:
        keyring = Keyring.create(catalogue.digest, time.time())
        store.save_keyring(keyring.to_bytes())
    else:
        keyring = Keyring.from_bytes(data)
    if keyring.realm != catalogue.digest:
        raise StoreError(
            f"{store.path} belongs to another catalogue; name the old one in the "
            "settings, or start afresh in another folder with P2PREC_HOME"
        )
    keyring.grace_s = grace_s
    return keyring


def check_protected(config: PeerConfig, *, source: str) -> None:
    """Refuse to share what is not protected; for whoever starts a peer of an owner.

    Raises:
        ConfigError: A part of the protection is off; names the setting and both ways on.
    """
    off = given_up(config.learner)
    if shares(config) and off:
        raise ConfigError(
            f"{source}: {' and '.join(off)} turns protection off: "
            "neighbours could read from each update which places you go to. Take the line out, "
            "or, if that is what you want, start with: p2prec run --share-unprotected"
        )


def shares(config: PeerConfig) -> bool:
    """Whether anything that was learned may leave under these settings."""
    return config.share and config.learner.collaboration.method != "alone"


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


def what_it_cost(store: Store, protection: ProtectionConfig, *, now_s: float) -> dict[str, Any]:
    """The ledger's sum in privacy, and how much more may leave."""
    ledger = store.spent(protection.delta)
    times_s = [r.time_s for r in store.releases()]
    budget = release_budget(times_s, protection, now_s=now_s)
    return {
        "releases": ledger.releases,
        "epsilon": ledger.epsilon if np.isfinite(ledger.epsilon) else None,
        "delta": ledger.delta,
        "protection": "none" if protection.given_up else protection.method,
        "sentence": ledger.sentence,
        "releases_left": budget.left,
        "next_release_s": budget.next_s,
    }


def memory_of(config: PeerConfig, *, learner: LocalLearner | None) -> dict[str, Any]:
    """What the model takes, what it may take, and what it is worth.

    Args:
        config: The owner's settings, as of ``settled``.
        learner: What has been learned; None before the first run.
    """
    expected = expected_of(config.learner.model)
    budget = config.memory_budget
    return {
        "bytes": len(on_device(learner.knowledge).data) if learner is not None else 0,
        "budget": parse_bytes(budget, source="the settings") if budget else None,
        "expected_hr10": expected.hr10 if expected else None,
        "expected_ndcg10": expected.ndcg10 if expected else None,
        "measured": expected.name if expected else "",
    }


def stored_status(
    store: Store, catalogue: Catalogue, config: PeerConfig, *, now_s: float
) -> dict[str, Any]:
    """What ``p2prec status --json`` prints where no peer runs."""
    keys, progress, counters = store.keyring(), store.progress(), store.counters()
    config = settled(config, catalogue)
    model = model_of(catalogue, config.learner.model).name
    learner = stored_learner(store, catalogue, config) if progress else None
    keyring = Keyring.from_bytes(keys) if keys else None
    return {
        "peer_id": keyring.peer_id if keyring else "",
        "pseudonym": keyring.face.pseudonym if keyring else "",
        "realm": catalogue.digest.hex(),
        "running": False,
        "sharing": shares(config),
        "method": config.learner.collaboration.method,
        "model": model,
        "memory": memory_of(config, learner=learner),
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
        "privacy": what_it_cost(store, config.learner.protection, now_s=now_s),
    }


class Answers:
    """What the owner of a running peer may ask.

    Args:
        config: The owner's settings.
        catalogue: The realm's items.
        keyring: Who the peer is.
        life: What it is doing.
        learner: What it has learned.
        store: Its ledger.
        books: Its counters.
        reload: Takes what was added to the store; how many interactions these were.
    """

    def __init__(
        self,
        *,
        config: PeerConfig,
        catalogue: Catalogue,
        keyring: Keyring,
        life: Peer,
        learner: LocalLearner,
        store: Store,
        books: Books,
        reload: Callable[[], Awaitable[int]],
    ) -> None:
        self._config, self._catalogue = config, catalogue
        self._keyring, self._life = keyring, life
        self._learner, self._store, self._books = learner, store, books
        self._reload = reload

    def status(self) -> dict[str, Any]:
        """What ``p2prec status --json`` prints; see ``docs/cli.md``."""
        counters = self._books.of_all_runs()
        return {
            "peer_id": self._keyring.peer_id,
            "pseudonym": self._keyring.face.pseudonym,
            "realm": self._catalogue.digest.hex(),
            "running": True,
            "sharing": self._life.collaborates,
            "method": self._config.learner.collaboration.method,
            "model": self._learner.knowledge.model.name,
            "memory": memory_of(self._config, learner=self._learner),
            "phase": str(self._life.phase),
            "round": self._life.round,
            "interactions": len(self._learner.knowledge.history),
            "neighbours": len(self._life.neighbours),
            "known_peers": len(self._life.known),
            "adverts": len(self._life.adverts),
            "discovered_by": dict(self._life.discovered),
            "counters": counters,
            "crypto_cpu_s": round(self._books.crypto.total_s, 4),
            "cpu_s": round(time.process_time(), 4),
            "left": what_left(self._store.releases(), counters),
            "privacy": what_it_cost(
                self._store, self._config.learner.protection, now_s=time.time()
            ),
        }

    def neighbours(self) -> list[dict[str, Any]]:
        """What ``p2prec neighbours --json`` prints."""
        result = []
        for peer in self._life.neighbours:
            known = self._life.known.get(peer)
            if known is not None:
                result.append(
                    {
                        "peer_id": peer,
                        "pseudonym": known.advert.pseudonym,
                        "geographic_similarity": round(known.geographic, 4),
                        "semantic_similarity": round(known.semantic, 4),
                        "transports": [
                            way
                            for way, held in (
                                ("tcp", known.advert.endpoints.tcp),
                                ("mqtt", known.advert.endpoints.mqtt_inbox),
                            )
                            if held
                        ],
                        "last_seen_s": round(known.last_seen_s, 1),
                    }
                )
        return result

    def recommend(self, *, k: int, new_only: bool) -> list[dict[str, Any]]:
        """What ``p2prec recommend --json`` prints."""
        return recommendations(
            self._learner, self._catalogue, now_s=time.time(), k=k, new_only=new_only
        )

    async def command(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request of the control socket.

        Raises:
            P2PRecError: Nothing has this name.
        """
        match request["request"]:
            case "status":
                return self.status()
            case "neighbours":
                return {"neighbours": self.neighbours()}
            case "recommend":
                k = min(max(int(request.get("k", 10)), 1), 1_000)
                new_only = bool(request.get("new_only"))
                begun = time.perf_counter()
                found = self.recommend(k=k, new_only=new_only)
                elapsed_ms = 1e3 * (time.perf_counter() - begun)
                return {"recommendations": found, "elapsed_ms": round(elapsed_ms, 3)}
            case "reload":
                return {"added": await self._reload()}
        raise P2PRecError(f"unknown request {request['request']!r}")


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
