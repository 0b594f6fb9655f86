"""Alice, Bob and Eve, and one message of each kind; shared by the tests of the wire."""

from __future__ import annotations

from typing import Any

import numpy as np

from p2prec.collaboration.payload import (
    DirectedUpdate,
    ModelUpdate,
    ReferenceSequence,
    ReferenceSet,
    SessionSet,
    SoftPredictions,
    TableUpdate,
)
from p2prec.embeddings.code_update import Mode
from p2prec.models.sessions import session_of
from peers.keys import Keyring
from peers.messages import Advert, Endpoints, Goodbye, Hello, Message, Share, Shuffle
from peers.payload_codec import CodeShape, PayloadSchema
from peers.replay import BoundedReplayMemory
from peers.sealing import Opener

REALM, NOW = b"r" * 32, 1_000_000.0
CODES = CodeShape(n_books=2, bits=3, n_groups=3, size=2)
SCHEMA = PayloadSchema(
    n_items=100,
    models={"next_place/3": (4, 5), "mf/2/codes-4": (4, 4 + CODES.n_pieces)},
    tables={"mf/2/codes-4": CODES},
    directions={"next_place/3": 3},
)


def advert_of(ring: Keyring, **changes: Any) -> Advert:
    fields: dict[str, Any] = {
        "endpoints": Endpoints(tcp=(("127.0.0.1", 4_000),), mqtt_inbox="0" * 32),
        "cell_label": "abc",
        "now_s": NOW,
        "lifetime_s": 900.0,
    }
    return ring.advert(**(fields | changes))


ALICE, BOB, EVE = (Keyring.create(REALM, NOW) for _ in range(3))
BOB_ADVERT = advert_of(BOB)


def opener(ring: Keyring = BOB) -> Opener:
    return Opener(ring, BoundedReplayMemory())


def update(**changes: Any) -> ModelUpdate:
    fields: dict[str, Any] = {
        "round": 3,
        "model": "next_place/3",
        "rows": np.array([1, 5, 99], np.uint32),
        "values": np.arange(12, dtype=np.float32).reshape(3, 4) / 8,
        "evidence": np.array([1, 2, 0.5], np.float32),
        "dense": np.arange(5, dtype=np.float32),
        "degree": 4,
    }
    return ModelUpdate(**(fields | changes))


def directed_update(**changes: Any) -> DirectedUpdate:
    plain = update()
    fields = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    fields["direction"] = np.array([0.5, -0.25, 0.0], np.float32)
    return DirectedUpdate(**(fields | changes))


def table_update(**changes: Any) -> TableUpdate:
    fields: dict[str, Any] = {
        "round": 4,
        "model": "mf/2/codes-4",
        "base": b"12345678",
        "mode": Mode.QUEUE,
        "rows": np.array([1, 5, 99], np.uint32),
        "columns": np.arange(6, dtype=np.float32).reshape(3, 2) / 8,
        "evidence": np.array([1, 2, 0.5], np.float32),
        "changed": np.array([True, False, True]),
        "codes": np.array([[7, 0], [3, 5]], np.uint8),
        "bits": 3,
        "words": np.arange(8, dtype=np.float32).reshape(2, 2, 2) / 4,
        "dense": np.arange(5, dtype=np.float32),
        "degree": 4,
    }
    return TableUpdate(**(fields | changes))


def soft(**changes: Any) -> SoftPredictions:
    fields: dict[str, Any] = {
        "round": 1,
        "references": (b"12345678", b"abcdefgh"),
        "items": np.array([[1, 2, 3], [4, 50, 99]], np.uint32),
        "log_probabilities": np.full((2, 3), -2.0, np.float32),
    }
    return SoftPredictions(**(fields | changes))


def hello(ring: Keyring = BOB, **changes: Any) -> Hello:
    fields: dict[str, Any] = {
        "advert": advert_of(ring),
        "binding": ring.binding(),
        "wants_reply": True,
        "area": "862a1072fffffff",
        "sketch": b"\0\1\1",
        "method": "dclr",
        "model": "next_place/3",
        "accepts": False,
    }
    return Hello(**(fields | changes))


def messages() -> dict[str, Message]:
    sequence = ReferenceSequence(
        items=np.array([3, 3, 7], np.uint32), timestamp_s=np.array([0, 3_600, 7_200])
    )
    sessions = tuple(session_of(np.array(items)) for items in ([7, 3, 99], [0]))
    return {
        "hello": hello(),
        "shuffle": Shuffle(adverts=(BOB_ADVERT,), wants_reply=False),
        "model_update": Share(payload=update()),
        "reference_set": Share(payload=ReferenceSet(round=2, sequences=(sequence,))),
        "soft_predictions": Share(payload=soft()),
        "table_update": Share(payload=table_update()),
        "directed_update": Share(payload=directed_update()),
        "session_set": Share(payload=SessionSet(round=5, sessions=sessions)),
        "goodbye": Goodbye(),
    }
