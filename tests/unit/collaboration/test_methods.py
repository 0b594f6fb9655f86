"""Every registered method keeps the contract; what is particular to some stands below."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from p2prec.collaboration import mac
from p2prec.collaboration.dard import DARD
from p2prec.collaboration.decisions import Hearing, Soft
from p2prec.collaboration.methods import METHODS
from p2prec.collaboration.payload import ModelUpdate, SoftPredictions
from p2prec.models.table import BIAS
from p2prec.training.learner import MergeReport
from p2prec.training.local import LocalLearner
from tests.unit.collaboration.contract import (
    CITY,
    LATER,
    CollaborationContract,
    learner,
    lived,
    received,
    same,
)


class TestAlone(CollaborationContract):
    method = "alone"


class TestEpidemic(CollaborationContract):
    method = "epidemic"


class TestMetropolisHastings(CollaborationContract):
    method = "metropolis_hastings"


class TestDCLR(CollaborationContract):
    method = "dclr"


class TestPepper(CollaborationContract):
    method = "pepper"


class TestMAC(CollaborationContract):
    method = "mac"


class TestDDist(CollaborationContract):
    method = "d_dist"


class TestDARD(CollaborationContract):
    method = "dard"


class TestODUpdate(CollaborationContract):
    method = "od_update"


class TestDCLRWithMAC(CollaborationContract):
    method = "dclr_mac"


class TestGossipAdam(CollaborationContract):
    method = "gossip_adam"


class TestSessions(CollaborationContract):
    method = "sessions"


def test_every_registered_method_inherits_the_contract() -> None:
    assert {kept.method for kept in CollaborationContract.__subclasses__()} == set(METHODS)


def heard(method: str, updates: dict[str, ModelUpdate]) -> MergeReport:
    peer = learner(0, method)
    for round_ in range(3):
        peer.train(round_)
    return peer.merge(2, [received(name, update) for name, update in updates.items()])


def test_pepper_weighs_a_useful_model_above_a_useless_one() -> None:
    twin = learner(0, "pepper")
    for round_ in range(3):
        twin.train(round_)
    (good,) = twin.payloads(2, degree=1)
    assert isinstance(good, ModelUpdate)
    bad = ModelUpdate(
        round=2,
        model=good.model,
        rows=good.rows,
        values=good.values,
        evidence=good.evidence,
        dense=-good.dense,
        degree=1,
    )
    report = heard("pepper", {"good": good, "bad": bad})
    assert report.weights["good"] > 1.3 * report.weights["bad"]
    plain = heard("epidemic", {"good": good, "bad": bad})
    assert plain.weights["good"] == plain.weights["bad"]


def test_pepper_is_the_plain_mean_where_there_is_nothing_to_try() -> None:
    peer, other = learner(0, "pepper", visits=2), learner(1, "pepper")
    other.train(0)
    (update,) = other.payloads(0, degree=1)
    assert peer.merge(0, [received("other", update)]).weights == {"other": 0.5}


def test_d_dist_hears_everybody_alike_where_mac_chooses() -> None:
    reports = {}
    for method in ("mac", "d_dist"):
        peers = [learner(u, method) for u in range(5)]
        lived(peers, rounds=1, together=True)
        said = [peer.payloads(1, degree=4) for peer in peers]
        inbox = [received(str(j), p) for j in range(1, 5) for p in said[j]]
        reports[method] = peers[0].merge(1, inbox)
    assert reports["d_dist"].weights == dict.fromkeys("1234", pytest.approx(0.25))
    assert set(reports["mac"].rejected.values()) == {"low_performance"}


def test_dard_learns_from_a_part_of_what_it_heard_and_speaks_of_it_again() -> None:
    peers = [learner(u, "dard") for u in range(4)]
    lived(peers, rounds=2, together=True)
    peer = peers[0]
    method = peer.collaboration
    assert isinstance(method, DARD)
    adaptive = method._adaptive
    assert 0 < len(adaptive) < len(method._loss)
    assert set(method._taught) == set(adaptive)
    (spoken,) = (p for p in peer.payloads(2, degree=3) if isinstance(p, SoftPredictions))
    assert set(adaptive[: len(spoken.references) // 2]) <= set(spoken.references)


def test_dard_prefers_what_lowers_the_loss_on_its_own_first_visits() -> None:
    """Teachers that name the place of the newest first visit help; those that deny it do not."""
    peers = [learner(u, "dard") for u in range(3)]
    lived(peers, rounds=1, together=True)
    knowledge, method = peers[0].knowledge, peers[0].collaboration
    assert isinstance(method, DARD)
    first = knowledge.timeline.item[np.flatnonzero(knowledge.timeline.is_new)[-1]]
    others = np.setdiff1d(np.arange(len(knowledge.catalogue)), knowledge.timeline.own)[:3]
    items = np.sort(np.append(others, first))
    names = sorted(method._pool._held)[:2]
    uniform = np.full(len(items), 1.0 / len(knowledge.catalogue))
    own = dict.fromkeys(names, Soft(items=items, shares=uniform))
    hearing = Hearing(knowledge=knowledge, after={}, teachers={}, speakers={}, rejected={}, own=own)
    told = Soft(items=items, shares=np.where(items == first, 0.9, 0.03))
    denied = Soft(items=items, shares=np.where(items == first, 1e-6, 0.3))
    look = knowledge.model.at_rest(knowledge.snapshot())
    chosen = method.adapted(hearing, look, {names[0]: told, names[1]: denied})
    assert set(chosen) <= {names[0]}


@pytest.mark.parametrize("family", ["ranker", "next_place"])
def test_dclr_listens_to_who_has_changed_in_the_same_direction(family: str) -> None:
    peer = learner(0, "dclr", family=family)
    for round_ in range(3):
        peer.train(round_)
    (same,) = peer.payloads(2, degree=1)
    assert isinstance(same, ModelUpdate)
    start = peer.knowledge.model.initial_dense()
    opposite = dataclasses.replace(
        same,
        values=2.0 * peer.knowledge.table.initial[same.rows] - same.values,
        dense=2.0 * start - same.dense,
    )
    report = peer.merge(2, [received("same", same), received("opposite", opposite)])
    assert report.weights["same"] > 1.5 * report.weights["opposite"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("family", ["ranker", "next_place"])
@pytest.mark.parametrize("method", ["dclr", "pepper"])
def test_the_largest_numbers_that_a_stranger_may_send_leave_finite_scores(
    method: str, family: str, sign: float
) -> None:
    peer = learner(0, method, family=family)
    model, n = peer.knowledge.model, len(CITY.catalogue)
    largest = ModelUpdate(
        round=0,
        model=model.name,
        rows=np.arange(n, dtype=np.uint32),
        values=np.full((n, model.width), sign * 1_000.0, np.float32),
        evidence=np.full(n, 1_000.0, np.float32),
        dense=np.full(model.n_dense, sign * 1_000.0, np.float32),
        degree=1,
    )
    for round_ in range(2):
        peer.train(round_)
        peer.merge(round_, [received(name, largest) for name in "ab"])
        assert np.isfinite(peer.scores(LATER)).all()


def test_equal_models_are_averaged_and_other_ones_distilled_in_one_network() -> None:
    small, alike, large = (
        learner(0, "dclr_mac", family="mf", size=4),
        learner(1, "dclr_mac", family="mf", size=4),
        learner(2, "dclr_mac", family="mf", size=16),
    )
    peers = [small, alike, large]
    lived(peers, rounds=1, together=True)  # everybody has the reference sequences of the others
    for peer in peers:
        peer.train(1)
    said = [peer.payloads(1, degree=2) for peer in peers]
    before = [peer.state() for peer in peers]
    inbox = [received(str(j), p) for j in (1, 2) for p in said[j]]
    report = small.merge(1, inbox)
    assert set(report.weights) == {"1", "2"}
    assert not np.array_equal(before[0]["dense"], small.knowledge.dense)  # averaged
    taught = large.merge(1, [received("0", p) for p in said[0]])
    assert set(taught.weights) == {"0"}  # though its parameters fit nothing here
    assert not same(large, large_as(before[2]))


def large_as(state: dict[str, np.ndarray]) -> LocalLearner:
    again = learner(2, "dclr_mac", family="mf", size=16)
    again.restore(state)
    return again


def keenness(peer: LocalLearner) -> float:
    """How likely a new place is, over the newest situations of the owner."""
    knowledge = peer.knowledge
    timeline, shares = knowledge.timeline, []
    observe, parameters = knowledge.model.observer(), knowledge.parameters()
    for at in range(len(timeline) - 8, len(timeline)):
        moment = timeline.before(at)
        score = observe(parameters, moment).scores()
        shares.append(1.0 - np.exp(score[moment.own]).sum() / np.exp(score).sum())
    return float(np.mean(shares))


@pytest.mark.parametrize("family", ["ranker", "next_place"])
def test_mac_tells_new_places_apart_and_makes_nobody_keener_on_them(family: str) -> None:
    """Teachers are asked about new places only: how likely any of them is, they cannot know."""
    peers = [learner(user, "mac", family=family) for user in range(5)]
    before = [keenness(peer) for peer in peers]
    for round_ in range(4):
        said = [peer.payloads(round_, degree=4) for peer in peers]
        for i, peer in enumerate(peers):
            peer.merge(
                round_,
                [received(str(j), p) for j, ps in enumerate(said) if j != i for p in ps],
            )
    biases = [peer.knowledge.table.values[:, BIAS] for peer in peers]
    assert all(np.ptp(bias) > 0.5 for bias in biases)
    assert [keenness(peer) for peer in peers] == pytest.approx(before, rel=0.15)


@pytest.mark.parametrize("method", ["mac", "d_dist", "dard", "dclr_mac"])
def test_reference_sequences_that_no_longer_fit_are_let_go_in_the_middle_of_a_merge(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a peer has spoken of may be pushed out by what comes with the answers to it."""
    monkeypatch.setattr(mac, "POOL", 8)
    peers = [learner(user, method, family="mf") for user in (0, 1)]
    lived(peers, rounds=3, together=True)
    for user in (2, 3, 4):  # each comes with sequences of its own
        peers.append(learner(user, method, family="mf"))
        lived(peers, rounds=1, together=True)
    for peer in peers:
        assert np.isfinite(peer.scores(LATER)).all()
