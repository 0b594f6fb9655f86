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


HEARD = session_of(np.array([0, 1, 2]))


def own_told(learner: LocalLearner, round_: int) -> list[Told]:
    """What it says of its owner once it has heard of somebody else."""
    learner.merge(round_, [received("other", SessionSet(round=0, sessions=(HEARD,)))])
    return [told for told in said_by(learner, round_) if told != HEARD]


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
        assert (~np.isin(own, known)).sum() < 4  # less than half a session waits


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
    assert ours == [0, 1, 0, 1, 1, 0, 1, 0]  # sessions of eight, of which five more may be named


def test_without_protection_all_is_told_as_it_is_once_somebody_was_heard() -> None:
    """Before that everybody sees whose it is."""
    learner = peer(0, protection=ProtectionConfig(method="none"), again=0)
    visits = learner.knowledge.timeline.item
    expected = [session_of(visits[at : at + 8]) for at in range(0, 40, 8)]
    assert said_by(learner, 0) == expected[:1]
    assert said_by(learner, 1) == []
    assert set(own_told(learner, 2)) == set(expected[1:])


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
    assert first._own <= last._held.keys()
    assert len(last._held) == 5 * 5
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
    assert report.weights == {"flood": 1.0}
    assert learner.knowledge.sessions.told == flood.sessions[-2:]  # its newest ones
    for sender in range(5):
        learner.merge(1, [received(str(sender), of([sender, 300], [sender, 301]))])
    held = learner.knowledge.sessions
    assert len(held) == 8
    assert not set(held.told) & set(flood.sessions)
    method = method_of(learner)
    assert method._passed <= method._held.keys()
    assert sum(map(len, method._by_teller.values())) == len(method._held)
    assert all(method._by_teller.values())  # nothing is left of who is gone


def test_two_senders_alone_are_heard_for_ever() -> None:
    learner = peer(0, capacity=8)
    for round_ in range(5):
        for sender in range(2):
            told = of([round_, 200 + sender])
            learner.merge(round_, [received(str(sender), told)])
            assert told.sessions[0] in learner.knowledge.sessions.told


def test_own_sessions_come_and_go_as_all_others_do() -> None:
    """Or who floods a peer would see them stay, and be told again when all others are gone."""
    learner = peer(0, protection=ProtectionConfig(method="none"), capacity=20)
    own = set(own_told(learner, 0))
    assert len(own) == 5
    for sender in range(8):
        learner.merge(1, [received(str(sender), of(*[[sender, 100 + i] for i in range(5)]))])
    method = method_of(learner)
    assert not own & method._held.keys()
    learner.merge(2, [received("echo", SessionSet(round=2, sessions=tuple(own)))])
    assert own <= method._held.keys()  # held as if they were another's, passed on, without a vote
    assert not own & set(learner.knowledge.sessions.told)
    assert own <= set(said_by(learner, 3))


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
    assert (~np.isin(peers[0].knowledge.timeline.own, known)).sum() < 4


def test_new_interactions_are_told_of_and_old_ones_not_again() -> None:
    learner = peer(0, protection=ProtectionConfig(method="none"), again=0)
    assert len(own_told(learner, 0)) == 5
    new = [i for i in range(20, N) if i not in history(0).item][:6]
    learner.add(longer(history(0), new[:3]))
    assert said_by(learner, 1) == []  # three are less than half a session
    learner.add(longer(history(0), new))
    assert said_by(learner, 2) == [session_of(np.array(new))]


def longer(past: History, items: list[int], *, before: bool = False) -> History:
    """The same with more interactions, in the end or in the beginning."""
    more = np.array(items, np.int32)
    steps = np.arange(1, len(items) + 1) * 3_600
    times = past.timestamp_s[0] - steps[::-1] if before else past.timestamp_s[-1] + steps
    parts = [(more, times), (past.item, past.timestamp_s)]
    ordered = parts if before else parts[::-1]
    item, time_s = (np.concatenate(part) for part in zip(*ordered, strict=True))
    return History(item=item, timestamp_s=time_s, rating=np.ones(len(item), np.float32))


def test_an_item_that_is_met_again_is_told_of_once() -> None:
    """Sessions that share items would be seen to be of one owner."""
    past = history(0)
    learner = peer(0, protection=ProtectionConfig(method="none"))
    learner.add(longer(past, past.item[:20].tolist()))
    told = [items_of(session) for session in own_told(learner, 0)]
    assert len(told) == 5
    assert len(np.unique(np.concatenate(told))) == 40


def test_what_comes_in_before_what_was_told_changes_nothing() -> None:
    learner = peer(0, protection=ProtectionConfig(method="none"), again=0)
    past = learner.knowledge.history
    assert len(own_told(learner, 0)) == 5
    older = [i for i in range(20, N) if i not in past.item][:3]
    learner.add(longer(past, [*older, int(past.item[-1])], before=True))
    assert said_by(learner, 1) == []
    newer = [i for i in range(20, N) if i not in past.item and i not in older][:9]
    learner.add(longer(longer(past, older, before=True), newer))
    told = [items_of(session) for session in said_by(learner, 2)]
    assert set(np.concatenate(told)) == {*older, *newer}  # each once, and nothing of the rest


def test_who_comes_to_visit_what_was_made_up_never_tells_of_an_item_alone() -> None:
    past = history(0)
    learner = peer(0)
    for round_ in range(3):
        said_by(learner, round_)
        learner.merge(round_, [received("other", of([1, 2, 3]))])
    fakes = learner.protection.pseudo_items()
    pairs = dict(zip(fakes.like.tolist(), fakes.made_up.tolist(), strict=True))
    learner.add(longer(past, [*fakes.made_up.tolist(), *fakes.like.tolist()]))
    for round_ in range(3, 24):
        said_by(learner, round_)
    told = [items_of(session) for session in method_of(learner)._own]
    assert len(told) == 5
    for items in told:
        for place in items[np.isin(items, past.item)].tolist():
            assert pairs.get(place, place) in items
        mine = items[np.isin(items, learner.knowledge.timeline.own)]
        assert len(learner.protection.among(mine)) > len(mine)
    assert len(np.unique(np.concatenate(told))) == sum(map(len, told))  # nor of any item twice


def test_a_crash_before_anything_is_stored_draws_the_same_again() -> None:
    peers = [peer(user) for user in range(3)]
    lived(peers, rounds=2, together=True)
    stored = peers[0].state()
    first = set(said_by(peers[0], 2)) & method_of(peers[0])._own
    again = peer(0)
    again.restore(stored)
    again.add(longer(history(0), [i for i in range(20, N) if i not in history(0).item][:20]))
    second = set(said_by(again, 2)) & method_of(again)._own
    assert first
    assert first <= second


def test_what_has_nothing_beside_it_is_not_told() -> None:
    small = Catalogue.build(
        item_ids=[str(i) for i in range(20)],
        latitude_deg=[float("nan")] * 20,
        longitude_deg=[float("nan")] * 20,
        category_names=["Drama"] * 20,
    )
    config = LearnerConfig(
        model=ModelConfig(family="session_knn", embedding_size=8),
        collaboration=CollaborationConfig(method="sessions"),
    )
    past = History(
        item=np.arange(14, dtype=np.int32),
        timestamp_s=np.arange(14, dtype=np.int64),
        rating=np.ones(14, np.float32),
    )
    learner = LocalLearner(small, config, history=past, seed=0)
    for round_ in range(12):
        said_by(learner, round_)
        learner.merge(round_, [received("other", of([1, 2, 3]))])
    told = np.concatenate([items_of(session) for session in method_of(learner)._own])
    real = np.isin(told, past.item).sum()
    assert 4 <= real <= 6  # six others can stand beside six of them
    assert len(told) == 2 * real


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
        ("sessions_items", np.array(3)),
        ("sessions_lengths", np.zeros(3, np.uint8)),
        ("sessions_lengths", np.ones((2, 2), np.uint8)),
        ("sessions_passed", np.zeros(1, np.bool_)),
        ("sessions_passed", np.array(True)),  # noqa: FBT003
        ("sessions_tellers", np.zeros(1, np.int64)),
        ("sessions_own_items", np.array([N], np.int64)),
        ("sessions_tellers", np.full(6, np.nan)),
        ("sessions_own_items", None),
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
    for method in ("dclr", "mac", "epidemic"):
        strange = LearnerConfig(
            model=ModelConfig(family="session_knn"),
            collaboration=CollaborationConfig(method=method),
        )
        with pytest.raises(ConfigError, match='take method = "sessions"'):
            LocalLearner(CATALOGUE, strange, history=history(0), seed=0)
    with pytest.raises(ConfigError, match="takes at most 63"):
        peer(0, protection=ProtectionConfig(pseudo_items=64))
    with pytest.raises(ConfigError, match=r"noise_multiplier = 1 is noise on\s+parameters"):
        peer(0, protection=ProtectionConfig(noise_multiplier=1.0, clip_norm=1.0))


def test_what_was_lost_is_not_told_in_one_message() -> None:
    """Of a peer that knows of nobody all that it says is seen to be its owner's."""
    peers = [peer(user) for user in range(3)]
    lived(peers, rounds=10, together=True)
    state = {
        name: value for name, value in peers[0].state().items() if not name.startswith("sessions")
    }
    again = peer(0)
    again.restore(state)
    [first] = said_by(again, 10)
    assert np.isin(items_of(first), again.knowledge.timeline.own).sum() == 8


def test_nothing_is_lost_where_few_sessions_are_held() -> None:
    learner = peer(0, protection=ProtectionConfig(method="none"), capacity=8, again=0)
    told: set[Told] = set()
    for round_ in range(6):
        told |= set(own_told(learner, round_))
    assert len(told) == 5
    assert len(np.unique(np.concatenate([items_of(one) for one in told]))) == 40


def test_who_is_given_a_state_twice_over_is_not_confused() -> None:
    peers = [peer(user) for user in range(2)]
    lived(peers, rounds=3, together=True)
    state = dict(peers[0].state())
    for name in ("sessions_items", "sessions_lengths", "sessions_tellers", "sessions_passed"):
        state[name] = np.concatenate([state[name], state[name]])
    again = peer(0)
    again.restore(state)
    assert again.lost.startswith("what was stored of sessions")
