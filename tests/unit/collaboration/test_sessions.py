"""Sessions: what is told of an owner, what is passed on, and what nobody can do to a peer."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from p2prec.collaboration.payload import SessionSet
from p2prec.collaboration.sessions import SessionGossip
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.errors import ConfigError, StoreError
from p2prec.limits import MAX_SESSION_ITEMS
from p2prec.models.recommender import Context
from p2prec.models.sessions import Told, session_of
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
)
from p2prec.training.local import LocalLearner
from tests.unit.collaboration.contract import lived, received, same

N = 400
CATALOGUE = Catalogue.build(
    item_ids=[str(i) for i in range(N)],
    latitude_deg=[float("nan")] * N,
    longitude_deg=[float("nan")] * N,
    category_names=["Drama"] * N,
)
NOW = Context(timestamp_s=2_000_000_000)


def history(user: int, n: int = 40) -> History:
    """Owners who know different items, but for some that all know."""
    rng = np.random.default_rng([3, user])
    item = rng.permutation(np.concatenate([np.arange(20), 20 + rng.permutation(N - 20)[: n - 20]]))
    return History(
        item=item.astype(np.int32),
        timestamp_s=np.arange(n, dtype=np.int64) * 3_600,
        rating=np.ones(n, np.float32),
    )


def peer(
    user: int, *, n: int = 40, protection: ProtectionConfig | None = None, **options: float
) -> LocalLearner:
    config = LearnerConfig(
        model=ModelConfig(family="session_knn", embedding_size=8, discovery=1.0),
        collaboration=CollaborationConfig(method="sessions", options=dict(options)),
        protection=protection or ProtectionConfig(),
    )
    return LocalLearner(
        CATALOGUE, config, history=history(user, n), seed=user, device_seed=user + 7
    )


def method_of(learner: LocalLearner) -> SessionGossip:
    method = learner.collaboration
    assert isinstance(method, SessionGossip)
    return method


def said_by(learner: LocalLearner, round_: int) -> list[Told]:
    learner.train(round_)
    payloads = learner.payloads(round_, degree=2)
    for payload in payloads:
        learner.left(payload)
    return [told for p in payloads if isinstance(p, SessionSet) for told in p.sessions]


def items_of(told: Told) -> NDArray[np.int64]:
    return np.frombuffer(told, "<u4").astype(np.int64)


def of(*sessions: list[int]) -> SessionSet:
    return SessionSet(round=0, sessions=tuple(session_of(np.array(s)) for s in sessions))


def test_no_session_names_an_own_item_without_a_made_up_one_beside_it() -> None:
    peers = [peer(user) for user in range(4)]
    lived(peers, rounds=10, together=True)
    for learner in peers:
        own, told = learner.knowledge.timeline.own, list(method_of(learner)._own)
        assert len(told) >= 5  # five of eight interactions, and what was said before anything
        fakes = learner.protection.pseudo_items()
        for session in told:
            items = items_of(session)
            real = items[np.isin(items, own)]
            beside = fakes.made_up[np.isin(fakes.like, real)]
            assert len(real) == len(beside) == len(items) / 2
            assert np.isin(beside, items).all()
        known = np.unique(np.concatenate([items_of(session) for session in told]))
        assert np.isin(own, known).all()  # in the end all is told


def test_an_eighth_is_told_before_anything_was_heard_and_then_an_eighth_a_round() -> None:
    learner = peer(0, again=0)
    own = learner.knowledge.timeline.own
    [first] = said_by(learner, 0)
    assert np.isin(items_of(first), own).sum() == 5  # of 40
    assert said_by(learner, 1) == []  # until there is an answer
    learner.merge(1, [received("other", of([1, 2, 3]))])
    heard = session_of(np.array([1, 2, 3]))
    told = [said_by(learner, round_) for round_ in range(2, 10)]
    assert heard in told[0]
    ours = [len([one for one in said if one != heard]) for said in told]
    assert ours == [1, 0, 1, 1, 0, 1, 1, 0]  # sessions of eight, of which five more may be named


def test_without_protection_all_is_told_as_it_is() -> None:
    learner = peer(0, protection=ProtectionConfig(method="none"))
    told = said_by(learner, 0)
    visits = learner.knowledge.timeline.item
    expected = {session_of(visits[at : at + 8]) for at in range(0, 40, 8)}
    assert set(told) == expected


def test_a_session_is_passed_on_once_and_only_when_it_has_left() -> None:
    learner = peer(0, protection=ProtectionConfig(method="none"), again=0)
    learner.merge(0, [received("other", of([1, 2, 3]))])
    heard = session_of(np.array([1, 2, 3]))
    [withheld] = learner.payloads(0, degree=2)  # nobody was there to get it
    assert isinstance(withheld, SessionSet)
    assert heard in withheld.sessions
    assert heard in said_by(learner, 1)
    assert said_by(learner, 2) == []
    learner.merge(2, [received("third", of([1, 2, 3], [7, 8]))])
    assert said_by(learner, 3) == [session_of(np.array([7, 8]))]


def test_everybody_hears_of_what_one_peer_did_through_others() -> None:
    """A line of peers: those at its ends never meet."""
    line = [peer(user, protection=ProtectionConfig(method="none"), again=0) for user in range(5)]
    for round_ in range(6):
        said = [said_by(learner, round_) for learner in line]
        for at, learner in enumerate(line):
            near = [i for i in (at - 1, at + 1) if 0 <= i < len(line) and said[i]]
            learner.merge(
                round_,
                [received(str(i), SessionSet(round=round_, sessions=tuple(said[i]))) for i in near],
            )
    first, last = method_of(line[0]), method_of(line[-1])
    assert set(first._own) <= set(last._held)
    assert len(last._held) == 4 * 5
    votes = line[-1].scores(NOW)
    alone = peer(4, protection=ProtectionConfig(method="none"))
    assert not np.allclose(votes, alone.scores(NOW))


def test_own_sessions_do_not_vote_even_where_they_come_back() -> None:
    learner = peer(0)
    [first] = said_by(learner, 0)
    report = learner.merge(0, [received("echo", SessionSet(round=0, sessions=(first,)))])
    assert report.weights == {"echo": 1.0}
    assert len(learner.knowledge.sessions) == 0


def test_one_sender_fills_a_quarter_of_what_is_held_and_the_oldest_go() -> None:
    learner = peer(0, capacity=8)
    flood = of(*[[i, i + 1] for i in range(100)])
    report = learner.merge(0, [received("flood", flood)])
    assert report.rejected == {"flood": "too_many_sessions"}
    assert report.weights == {}
    assert len(learner.knowledge.sessions) == 2
    for sender in range(5):
        learner.merge(1, [received(str(sender), of([sender, 300], [sender, 301]))])
    held = learner.knowledge.sessions
    assert len(held) == 8
    assert flood.sessions[0] not in held.told
    assert not method_of(learner)._passed - set(held.told) - set(method_of(learner)._own)


def test_rows_of_what_is_popular_are_bounded() -> None:
    learner = peer(0, max_hearsay=30)
    for at in range(8):
        many = of(*[list(range(20 + 40 * at + 4 * i, 24 + 40 * at + 4 * i)) for i in range(9)])
        learner.merge(at, [received(str(at), many)])
    held = len(learner.knowledge.table.rows)
    assert held <= 40 + 30 + 30 // 4


def test_many_made_up_items_do_not_make_a_session_too_long() -> None:
    config = ProtectionConfig(pseudo_items=9)
    peers = [peer(user, protection=config) for user in range(2)]
    lived(peers, rounds=10, together=True)
    told = [items_of(session) for session in method_of(peers[0])._own]
    assert all(0 < len(items) <= MAX_SESSION_ITEMS for items in told)
    known = np.unique(np.concatenate(told))
    assert np.isin(peers[0].knowledge.timeline.own, known).all()


def test_new_interactions_are_told_of_and_old_ones_not_again() -> None:
    learner = peer(0, protection=ProtectionConfig(method="none"), again=0)
    assert len(said_by(learner, 0)) == 5
    longer = history(0, 40)
    more = History(
        item=np.append(longer.item, np.arange(300, 306)).astype(np.int32),
        timestamp_s=np.arange(46, dtype=np.int64) * 3_600,
        rating=np.ones(46, np.float32),
    )
    learner.add(more.head(43))
    assert said_by(learner, 1) == []  # three are less than half a session
    learner.add(more)
    assert said_by(learner, 2) == [session_of(np.arange(300, 306))]


def test_a_restart_keeps_sessions_and_what_was_passed_on() -> None:
    peers = [peer(user) for user in range(3)]
    lived(peers, rounds=3, together=True)
    again = peer(0)
    again.restore(peers[0].state())
    assert not again.lost
    assert same(again, peers[0])
    assert np.array_equal(again.scores(NOW), peers[0].scores(NOW))
    assert said_by(again, 3) == said_by(peers[0], 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sessions_items", np.array([-1], np.int64)),
        ("sessions_items", np.array([N], np.int64)),
        ("sessions_lengths", np.zeros(3, np.uint8)),
        ("sessions_passed", np.zeros(1, np.bool_)),
        ("sessions_own", np.array(10_000)),
        ("sessions_until", np.array(-1)),
        ("sessions_until", np.array([1, 2])),
        ("sessions_until", None),
    ],
)
def test_what_is_damaged_is_left_and_told(name: str, value: NDArray[np.generic] | None) -> None:
    peers = [peer(user) for user in range(2)]
    lived(peers, rounds=3, together=True)
    state = dict(peers[0].state())
    if value is None:
        del state[name]
    else:
        state[name] = value
    again = peer(0)
    again.restore(state)
    assert again.lost.startswith("what was stored of sessions")
    assert len(again.knowledge.sessions) == 0
    with pytest.raises(StoreError):
        again.collaboration.restore(state, again.knowledge)


def test_other_models_and_noise_are_refused_in_one_sentence() -> None:
    config = LearnerConfig(collaboration=CollaborationConfig(method="sessions"))
    with pytest.raises(ConfigError, match="only session_knn learns from, not ranker; take a model"):
        LocalLearner(CATALOGUE, config, history=history(0), seed=0)
    with pytest.raises(ConfigError, match=r"noise_multiplier = 1 is noise on\s+parameters"):
        peer(0, protection=ProtectionConfig(noise_multiplier=1.0, clip_norm=1.0))
