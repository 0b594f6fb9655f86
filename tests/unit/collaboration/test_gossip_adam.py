"""Gossip Adam: against its formula, on what leaves, on loud neighbours, over a restart."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from p2prec.collaboration.gossip_adam import GossipAdam, directed
from p2prec.collaboration.payload import DirectedUpdate, ModelUpdate
from p2prec.embeddings.tables import TABLES
from p2prec.errors import StoreError
from p2prec.models.families import model_of
from p2prec.models.tabled import Tabled
from p2prec.training.config import ModelConfig
from p2prec.training.local import LocalLearner
from tests.unit.collaboration.contract import CITY, learner, received, same


def network(n: int = 3) -> list[LocalLearner]:
    return [learner(user, "gossip_adam", family="ranker") for user in range(n)]


def weights_of(peer: LocalLearner) -> np.ndarray:
    return peer.knowledge.dense[directed(peer.knowledge.model)].astype(float)


def said_by(peer: LocalLearner, round_: int) -> DirectedUpdate:
    (update,) = peer.payloads(round_, degree=2)
    assert isinstance(update, DirectedUpdate)
    return update


def method_of(peer: LocalLearner) -> GossipAdam:
    assert isinstance(peer.collaboration, GossipAdam)
    return peer.collaboration


def test_peers_move_as_the_formula_says() -> None:
    peers = network()
    mean, square, peak = (np.zeros((3, len(weights_of(peers[0])))) for _ in range(3))
    for t in range(1, 5):
        round_, whole = t - 1, 1 - 0.8**t
        before = np.stack([weights_of(peer) for peer in peers])
        for peer in peers:
            peer.train(round_)
        change = np.stack([weights_of(peer) for peer in peers]) - before
        assert np.abs(change).max() > 0
        told = (0.8 * (1 - 0.8**round_) * mean + 0.2 * change) / whole
        said = [said_by(peer, round_) for peer in peers]
        for update, direction in zip(said, told, strict=True):
            assert update.direction == pytest.approx(direction, rel=1e-3, abs=1e-6)
        lengths = np.linalg.norm(told, axis=1)
        assert lengths.max() < 2.0 * np.median(lengths)  # nobody is too loud here
        for i, peer in enumerate(peers):
            peer.merge(round_, [received(str(j), said[j]) for j in range(3) if j != i])
        mean = np.tile(told.mean(0), (3, 1))
        square = 0.95 * square + 0.05 * (mean**2 + 0.25 * told.var(0, ddof=1))
        peak = np.maximum(0.99 * peak, square / (1 - 0.95**t))
        step = 0.05 / np.sqrt(1 + (t - 1) / 8) * mean / (np.sqrt(peak) + 1e-6)
        expected = before.mean(0) + step
        for i, peer in enumerate(peers):
            assert weights_of(peer) == pytest.approx(expected[i], rel=1e-3, abs=2e-4)


def test_among_nobody_a_peer_learns_as_one_that_is_alone() -> None:
    """And it goes on where it stands as soon as it hears somebody."""
    peer, other = network(2)
    alone = learner(0, "alone", family="ranker")
    for round_ in range(2):
        peer.train(round_)
        assert said_by(peer, round_).direction.any()
    alone.knowledge.dense = peer.knowledge.dense.copy()
    other.train(0)
    for round_ in range(2, 5):
        for one in (peer, alone):
            one.train(round_)
        assert np.array_equal(weights_of(peer), weights_of(alone))
        (update,) = peer.payloads(round_, degree=1)
        assert type(update) is ModelUpdate
        mask = directed(peer.knowledge.model)
        assert np.array_equal(update.dense[mask], peer.knowledge.dense[mask])
    before = weights_of(peer)
    peer.merge(5, [received("other", said_by(other, 0))])
    assert method_of(peer).steps == 0  # nothing of its own to hold the other's word against
    assert weights_of(peer) == pytest.approx((before + method_of(other).start) / 2, abs=1e-6)
    peer.train(5)
    assert said_by(peer, 5).direction.any()
    peer.merge(5, [received("other", said_by(other, 0))])
    assert method_of(peer).steps == 1


@pytest.mark.parametrize("table", [name for name, kind in TABLES.items() if kind.smallest > 1])
def test_pieces_of_a_table_have_no_direction(table: str) -> None:
    config = ModelConfig(family="mf", embedding_size=16, table=table, compression=2)
    model = model_of(CITY.catalogue, config)
    assert isinstance(model, Tabled)
    assert not directed(model)[model.layout.part("pieces")].any()
    assert directed(model).any()


@pytest.mark.parametrize("name", ["ranker", "next_place", "mf"])
def test_statistics_and_what_is_an_owner_s_own_have_no_direction(name: str) -> None:
    model = model_of(CITY.catalogue, ModelConfig(family=name, embedding_size=8))
    mask = directed(model)
    assert not mask[model.statistics].any()
    assert not mask[model.own_bent > 0].any()
    assert mask.any()


def test_what_leaves_is_the_model_as_it_was_before_training() -> None:
    peer = network(1)[0]
    before = weights_of(peer)
    peer.train(0)
    update, mask = said_by(peer, 0), directed(peer.knowledge.model)
    assert np.array_equal(update.dense[mask], before.astype(np.float32))
    assert not np.array_equal(weights_of(peer), before)


def test_a_loud_neighbour_is_not_heard_louder_than_twice_the_usual() -> None:
    def after(loudness: float) -> np.ndarray:
        peers = network(4)
        for peer in peers:
            peer.train(0)
        said = [said_by(peer, 0) for peer in peers]
        said[1] = replace(said[1], direction=said[1].direction * np.float32(loudness))
        peers[0].merge(0, [received(str(j), said[j]) for j in (1, 2, 3)])
        return method_of(peers[0]).mean

    usual, loud, louder = after(1.0), after(1e2), after(1e5)
    assert np.linalg.norm(loud - usual) < 2.0 * np.linalg.norm(usual)
    assert louder == pytest.approx(loud, rel=1e-4, abs=1e-7)


def test_a_neighbour_cannot_move_a_weight_by_more_than_some_steps() -> None:
    peers = network(2)
    for peer in peers:
        peer.train(0)
    before = weights_of(peers[0])
    update = said_by(peers[1], 0)
    wild = replace(update, direction=np.full_like(update.direction, 1_000.0))
    peers[0].merge(0, [received("1", wild)])
    assert np.abs(weights_of(peers[0]) - before).max() < 5 * 0.05


def test_updates_without_a_direction_are_models_like_any_other() -> None:
    peer, other = (
        learner(0, "gossip_adam", family="ranker"),
        learner(1, "epidemic", family="ranker"),
    )
    for one in (peer, other):
        one.train(0)
    (plain,) = other.payloads(0, degree=1)
    assert type(plain) is ModelUpdate
    assert peer.merge(0, [received("other", plain)]).weights == {"other": 0.5}
    own = method_of(peer)
    assert own.steps == 1
    directed_one = said_by(peer, 1)
    assert other.merge(1, [received("peer", directed_one)]).weights == {"peer": 0.5}


def test_a_direction_of_another_length_is_none() -> None:
    peers = network(2)
    for peer in peers:
        peer.train(0)
    update = said_by(peers[1], 0)
    short = replace(update, direction=update.direction[:-1])
    report = peers[0].merge(0, [received("1", short)])
    assert report.weights == {"1": 0.5}
    assert np.isfinite(weights_of(peers[0])).all()


def test_who_hears_nothing_goes_on_from_its_own_training() -> None:
    peer = network(1)[0]
    peer.train(0)
    trained = weights_of(peer)
    peer.merge(0, [])
    assert np.array_equal(weights_of(peer), trained)
    peer.train(1)
    assert said_by(peer, 1).dense[directed(peer.knowledge.model)] == pytest.approx(trained)


@pytest.mark.parametrize("trained", [True, False], ids=["after training", "after a merge"])
def test_a_restart_forgets_nothing(trained: object) -> None:
    peers = network(2)

    def lived(round_: int, pair: list[LocalLearner]) -> None:
        for peer in pair:
            peer.train(round_)
        said = [said_by(peer, round_) for peer in pair]
        for i, peer in enumerate(pair):
            peer.merge(round_, [received(str(1 - i), said[1 - i])])

    lived(0, peers)
    if trained:
        peers[0].train(1)
    again = learner(0, "gossip_adam", family="ranker")
    again.restore(peers[0].state())
    assert same(again, peers[0])
    one, other = said_by(peers[0], 1), said_by(again, 1)
    for field in fields(DirectedUpdate):
        assert np.array_equal(getattr(one, field.name), getattr(other, field.name))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("direction_mean", np.zeros(3, np.float32)),
        ("direction_start", np.full(1, np.nan, np.float32)),
        ("direction_steps", np.array([1, 2])),
        ("direction_steps", np.array(-1)),
        ("direction_steps", np.array(np.nan)),
        ("direction_steps", np.array("many")),
        ("direction_silent", np.array(np.nan)),
        ("direction_silent", np.array("many")),
        ("direction_silent", np.array(-1)),
        ("direction_mean", np.array(["a"])),
        ("direction_square", None),
        ("direction_peak", None),
    ],
)
def test_damaged_directions_are_told_and_begin_anew(name: str, value: np.ndarray | None) -> None:
    peer = network(1)[0]
    peer.train(0)
    state = dict(peer.state())
    if value is None:
        value = -np.ones_like(state[name]).astype(np.float32)
    method, knowledge = method_of(peer), peer.knowledge
    with pytest.raises(StoreError, match="directions"):
        method.restore(state | {name: value}, knowledge)
    assert not len(method.start)
    assert method.steps == 0


def rounds_of(peers: list[LocalLearner], rounds: range) -> list[np.ndarray]:
    """How far the first one moves in each round."""
    moved = []
    for round_ in rounds:
        before = weights_of(peers[0])
        for peer in peers:
            peer.train(round_)
        said = [peer.payloads(round_, degree=2)[0] for peer in peers]
        for i, peer in enumerate(peers):
            peer.merge(round_, [received(str(j), p) for j, p in enumerate(said) if j != i])
        moved.append(weights_of(peers[0]) - before)
    return moved


def rms(change: np.ndarray) -> float:
    return float(np.sqrt((change**2).mean()))


def step_of(peer: LocalLearner) -> float:
    """How long its own newest step was: what it moves is also how far others take it along."""
    method = method_of(peer)
    return rms(method.mean / (np.sqrt(method.peak) + 1e-6))


@pytest.mark.parametrize("first", [0, 6])
def test_one_loud_message_does_not_make_later_steps_short(first: int) -> None:
    calm, shouted = network(3), network(3)
    for peers in (calm, shouted):
        rounds_of(peers, range(first))
    for peer in (*calm, *shouted):
        peer.train(first)
    update = said_by(calm[1], first)
    loud = replace(update, direction=np.full_like(update.direction, 1_000.0))
    calm[0].merge(first, [received("1", update)])
    shouted[0].merge(first, [received("1", loud)])
    later = range(first + 1, first + 16)
    usual, after = (rounds_of(peers, later)[-5:] for peers in (calm, shouted))
    assert np.mean([rms(c) for c in after]) > 0.3 * np.mean([rms(c) for c in usual])


@pytest.mark.parametrize("silence", [0, 3])
def test_one_parameter_that_is_shouted_moves_nothing_far(silence: int) -> None:
    """Whether the peer has a word of its own, or has been among nobody and has none."""
    peers = network(3)
    rounds_of(peers, range(3) if not silence else range(0))
    for round_ in range(3, 4 + silence):
        peers[0].train(round_)
    peers[1].train(3)
    update = said_by(peers[1], 3)
    spike = np.zeros_like(update.direction)
    spike[7] = 1_000.0
    before = weights_of(peers[0])
    peers[0].merge(4, [received("1", replace(update, direction=spike))])
    assert method_of(peers[0]).peak.max(initial=0.0) < 1.0
    assert method_of(peers[0]).steps == (0 if silence else 4)
    assert np.abs(weights_of(peers[0]) - before).max() < 5 * 0.05


def test_a_state_that_is_taken_while_training_lasts_has_adagrads_own_sums() -> None:
    peer = network(1)[0]
    peer.train(0)
    own = peer.state()["dense_accumulator"].copy()
    method_of(peer).before_training(peer.knowledge)
    assert not np.array_equal(peer.knowledge.dense_accumulator, own)
    assert np.array_equal(peer.state()["dense_accumulator"], own)


def test_who_has_learned_from_nothing_does_not_silence_others() -> None:
    peers = [
        learner(user, "gossip_adam", family="ranker", visits=visits)
        for user, visits in enumerate((60, 2, 2))
    ]
    assert all(rms(change) > 1e-3 for change in rounds_of(peers, range(3)))
    peers[1].train(3)
    assert type(peers[1].payloads(3, degree=1)[0]) is ModelUpdate
    assert weights_of(peers[1]) != pytest.approx(weights_of(network(1)[0]))  # it listens


def test_who_joins_late_takes_no_longer_steps_than_those_who_are_there() -> None:
    peers = network(3)
    usual = rounds_of(peers, range(25))
    late = learner(3, "gossip_adam", family="ranker")
    late.knowledge.dense = peers[0].knowledge.dense.copy()  # of one who has heard the model
    late.train(0)
    for peer in peers:
        peer.train(25)
    together = np.mean([weights_before(peer) for peer in (late, *peers)], axis=0)
    late.merge(0, [received(str(i), said_by(peer, 25)) for i, peer in enumerate(peers)])
    own = method_of(late)
    others = method_of(peers[0])
    assert np.linalg.norm(own.mean) < 2.5 * np.linalg.norm(others.mean)
    assert np.abs(weights_of(late) - together).max() < 1.01 * 0.05 / np.sqrt(1 + 25 / 8)
    assert np.mean([rms(change) for change in usual[:3]]) > rms(usual[-1])


def test_a_model_that_began_anew_has_moved_nowhere() -> None:
    peers = network(3)
    rounds_of(peers, range(5))
    method, knowledge = method_of(peers[0]), peers[0].knowledge
    method.before_training(knowledge)
    knowledge.dense = knowledge.model.initial_dense()
    method.after_training(knowledge, diverged=True)
    (update,) = peers[0].payloads(5, degree=2)
    assert type(update) is ModelUpdate
    for peer in peers[1:]:
        peer.train(5)
    peers[0].merge(5, [received(str(i), said_by(peers[i], 5)) for i in (1, 2)])
    assert method.steps == 0
    mask = directed(knowledge.model)
    start = knowledge.model.initial_dense()[mask].astype(float)
    mean = (start + sum(weights_before(peer) for peer in peers[1:])) / 3
    assert weights_of(peers[0]) == pytest.approx(mean, abs=1e-4)


def weights_before(peer: LocalLearner) -> np.ndarray:
    return method_of(peer).start.astype(float)


def test_another_method_finds_adagrad_s_sums_as_they_were() -> None:
    peer = network(1)[0]
    before = peer.knowledge.dense_accumulator.copy()
    mask = directed(peer.knowledge.model)
    peer.train(0)
    assert np.array_equal(peer.knowledge.dense_accumulator[mask], before[mask])
    assert not len(method_of(peer).sums)


def test_a_stored_model_that_is_no_number_begins_without_directions() -> None:
    peers = network(2)
    rounds_of(peers, range(2))
    state = dict(peers[0].state())
    state["dense"] = np.full_like(state["dense"], np.nan)
    again = learner(0, "gossip_adam", family="ranker")
    again.restore(state)
    assert again.lost == ""
    assert method_of(again).steps == 0
    again.train(2)
    assert rms(said_by(again, 2).direction.astype(float)) < 1.0


def test_a_state_of_another_method_is_as_at_the_beginning() -> None:
    other = learner(0, "epidemic", family="ranker")
    other.train(0)
    peer = network(1)[0]
    peer.restore(other.state())
    assert peer.lost == ""
    assert method_of(peer).steps == 0


def test_what_is_disputed_moves_less_than_what_all_agree_on() -> None:
    """Of two parameters with the same mean, and nothing else to tell them apart."""
    peers = network(4)
    for peer in peers:
        peer.train(0)
    said = [said_by(peer, 0) for peer in peers[1:]]
    own = method_of(peers[0])._direction(peers[0].knowledge)
    agreed, disputed = np.argsort(-np.abs(own))[:2]
    told = [np.zeros_like(own) for _ in said]
    for direction, share in zip(told, (1.0, -1.0, 0.0), strict=True):
        direction[agreed] = own[agreed]
        direction[disputed] = own[disputed] + share * 0.5 * abs(own[disputed])
    before = np.mean([weights_before(peer) for peer in peers], axis=0)
    peers[0].merge(
        0,
        [
            received(str(i), replace(update, direction=direction.astype(np.float32)))
            for i, (update, direction) in enumerate(zip(said, told, strict=True))
        ],
    )
    moved = np.abs(weights_of(peers[0]) - before)
    assert moved[agreed] == pytest.approx(0.05, rel=0.01)
    # Of four words m, two lie m / 2 to either side: their variance is m^2 / 6.
    assert moved[disputed] == pytest.approx(0.05 / np.sqrt(1 + 0.25 / 6), rel=0.01)


def test_words_that_contradict_all_others_do_not_stop_the_steps() -> None:
    """Two of five that go as far as they are heard, each time another way."""
    calm, disturbed = network(5), network(5)
    rng = np.random.default_rng(0)
    for peers in (calm, disturbed):
        for round_ in range(15):
            for peer in peers:
                peer.train(round_)
            said = [said_by(peer, round_) for peer in peers]
            for liar in (3, 4) if peers is disturbed else ():
                wild = rng.normal(size=len(said[liar].direction)).astype(np.float32)
                said[liar] = replace(said[liar], direction=wild * np.float32(1_000))
            for i, peer in enumerate(peers):
                others = [received(str(j), s) for j, s in enumerate(said) if j != i]
                peer.merge(round_, others)
        rounds_of(peers, range(15, 45))  # calm again, until momentum has forgotten what was shouted
    assert step_of(disturbed[0]) > 0.2 * step_of(calm[0])


@pytest.mark.parametrize("honest", [0, 1], ids=["nobody else", "one honest neighbour"])
@pytest.mark.parametrize("alike", [True, False], ids=["alike", "opposed"])
@pytest.mark.parametrize("first", [0, 8])
def test_one_round_among_strangers_of_one_mind_does_not_stop_a_peer(
    first: int,
    alike: object,
    honest: int,
) -> None:
    """Most of those who are heard are names of one who shouts; then all are calm again."""
    calm, harmed = network(3), network(3)
    for peers in (calm, harmed):
        rounds_of(peers, range(first))
        for peer in peers:
            peer.train(first)
        said = [said_by(peer, first) for peer in peers]
        shout = np.full_like(said[1].direction, 1_000.0)
        names = [shout, shout if alike else -shout, shout]
        heard = [received(str(j), said[j]) for j in range(1, 1 + honest)]
        if peers is harmed:
            heard += [
                received(f"name {n}", replace(said[1], direction=word))
                for n, word in enumerate(names[: 2 + honest])
            ]
        peers[0].merge(first, heard)
    for peers in (calm, harmed):
        rounds_of(peers, range(first + 1, first + 16))
    assert step_of(harmed[0]) > 0.25 * step_of(calm[0])
