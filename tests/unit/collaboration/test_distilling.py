"""What peers that exchange soft decisions hold and compute, beside what they learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from p2prec.collaboration.methods import METHODS
from p2prec.collaboration.payload import Payload, ReferenceSequence, SoftPredictions
from p2prec.collaboration.references import moment_after
from p2prec.data.city import Dataset, generate_city
from p2prec.models.moments import Moment
from p2prec.models.next_place_features import Surroundings, View
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.learner import Received
from p2prec.training.local import LocalLearner, merge_together, payloads_together
from tests.unit.collaboration.contract import CITY, received

DISTILLING = [name for name, kind in METHODS.items() if kind.teaches]
N_PEERS = 5


def peers_of(city: Dataset, method: str, model: str) -> list[LocalLearner]:
    family, size = model.split("/")
    config = LearnerConfig(
        model=ModelConfig(family=family, embedding_size=int(size)),
        training=TrainingConfig(epochs=1, max_examples=20, negatives=4),
        collaboration=CollaborationConfig(method=method),
        protection=ProtectionConfig(method="none"),
    )
    return [
        LocalLearner(
            city.catalogue, config, history=city.interactions.history(user).head(40), seed=user
        )
        for user in range(N_PEERS)
    ]


def said_by(peers: Sequence[LocalLearner], round_: int) -> list[Sequence[Payload]]:
    return payloads_together(peers, [round_] * len(peers), degrees=[4] * len(peers))


def heard(peers: Sequence[LocalLearner], said: Sequence[Sequence[Payload]], round_: int) -> None:
    inboxes: list[list[Received]] = [
        [received(str(j), p) for j, payloads in enumerate(said) if j != i for p in payloads]
        for i in range(len(peers))
    ]
    merge_together(peers, [round_] * len(peers), inboxes)


def held_bytes(thing: object) -> int:
    """Of all arrays that are reached from an object."""
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    if isinstance(thing, dict):
        return sum(held_bytes(part) for part in thing.values())
    if isinstance(thing, (list, tuple, set)):
        return sum(map(held_bytes, thing))
    if dataclasses.is_dataclass(thing):
        return sum(held_bytes(getattr(thing, f.name)) for f in dataclasses.fields(thing))
    return held_bytes(getattr(thing, "__dict__", 0)) if hasattr(thing, "__dict__") else 0


def test_all_peers_of_a_process_share_the_situation_after_a_sequence() -> None:
    one, equal, later = (
        ReferenceSequence(
            items=np.array([3, 5, 8], np.uint32),
            timestamp_s=np.array([0, 3_600, hour * 3_600], np.int64),
        )
        for hour in (5, 5, 6)
    )
    situation = moment_after(CITY.catalogue, one)
    assert situation.own.tolist() == [3, 5, 8]
    assert moment_after(CITY.catalogue, equal) is situation
    assert moment_after(CITY.catalogue, later) is not situation


@pytest.mark.parametrize("method", DISTILLING)
def test_what_is_held_until_the_merge_does_not_grow_with_the_catalogue(method: str) -> None:
    held = []
    for n_places in (150, 3_000):
        city = generate_city(
            rng=np.random.default_rng(1), n_users=N_PEERS, n_places=n_places, days=60
        )
        peers = peers_of(city, method, "mf/4")
        heard(peers, said_by(peers, 0), 0)
        said_by(peers, 1)
        held.append(max(held_bytes(vars(peer.collaboration)) for peer in peers))
    # More places of others are named where there are more; of one catalogue it would be 20 times.
    assert held[1] < 2.0 * held[0]


@pytest.mark.parametrize("method", DISTILLING)
def test_what_was_said_is_forgotten_where_nobody_answers(method: str) -> None:
    peers = peers_of(CITY, method, "mf/4")
    heard(peers, said_by(peers, 0), 0)
    before = [held_bytes(vars(peer.collaboration)) for peer in peers]
    said = said_by(peers, 1)
    assert any(isinstance(payload, SoftPredictions) for payload in said[0])
    merge_together(peers, [1] * N_PEERS, [[]] * N_PEERS)
    assert [held_bytes(vars(peer.collaboration)) for peer in peers] == before


@pytest.mark.parametrize("method", DISTILLING)
def test_how_places_lie_to_a_sequence_is_worked_out_once_for_all_who_speak_of_it(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = peers_of(CITY, method, "next_place/4")
    heard(peers, said_by(peers, 0), 0)
    asked: list[bytes] = []
    look = Surroundings.of

    def spied(self: Surroundings, moment: Moment) -> View:
        asked.append(moment.sequence.tobytes())
        return look(self, moment)

    monkeypatch.setattr(Surroundings, "of", spied)
    said = said_by(peers, 1)
    spoken = [
        name
        for payloads in said
        for payload in payloads
        if isinstance(payload, SoftPredictions)
        for name in payload.references
    ]
    assert 0 < len(asked) <= len(set(spoken)) < len(spoken)
