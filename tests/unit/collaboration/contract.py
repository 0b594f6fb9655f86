"""What every collaboration method must keep; a test class of each method inherits it."""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np
import pytest

from p2prec.collaboration.method import Options
from p2prec.collaboration.methods import METHODS, build_method
from p2prec.collaboration.payload import (
    ModelUpdate,
    Payload,
    ReferenceSet,
    SessionSet,
    SoftPredictions,
    TableUpdate,
)
from p2prec.data.city import generate_city
from p2prec.errors import ConfigError
from p2prec.models.recommender import Context
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.learner import Received
from p2prec.training.local import (
    LocalLearner,
    merge_together,
    payloads_together,
    train_together,
)

CITY = generate_city(rng=np.random.default_rng(1), n_users=5, n_places=150, days=120)
LATER = Context(timestamp_s=1_800_000_000)
KINDS = {
    "nothing": (),
    "parameters": (ModelUpdate,),
    "probabilities": (ReferenceSet, SoftPredictions),
    "both": (ModelUpdate, ReferenceSet, SoftPredictions),
    "sessions": (SessionSet,),
}
CODED = (TableUpdate,)  # what a method sends that needs a table of its own


def learner(
    user: int,
    method: str,
    *,
    family: str = "",
    size: int = 8,
    visits: int = 60,
    options: Options | None = None,
) -> LocalLearner:
    table = METHODS[method].table
    config = LearnerConfig(
        model=ModelConfig(
            family=family or METHODS[method].family or "next_place",
            embedding_size=size,
            table=table or "full",
            compression=2 if table else 1,
        ),
        training=TrainingConfig(epochs=1, max_examples=40, negatives=8),
        collaboration=CollaborationConfig(method=method, options=dict(options or {})),
        protection=ProtectionConfig(method="none"),
    )
    history = CITY.interactions.history(user).head(visits)
    return LocalLearner(CITY.catalogue, config, history=history, seed=user, device_seed=user + 9)


def received(sender: str, payload: Payload) -> Received:
    return Received(
        sender=sender, payload=payload, geographic=0.5, semantic=0.5, staleness_rounds=0
    )


def lived(peers: list[LocalLearner], *, rounds: int, together: bool) -> None:
    """Everybody hears everybody."""
    groups = [peers] if together else [[peer] for peer in peers]
    for round_ in range(rounds):
        said = []
        for group in groups:
            train_together(group, [round_] * len(group))
            said += payloads_together(group, [round_] * len(group), degrees=[2] * len(group))
        for peer, payloads in zip(peers, said, strict=True):
            for payload in payloads:
                peer.left(payload)
        inboxes = [
            [received(str(j), p) for j, payloads in enumerate(said) if j != i for p in payloads]
            for i in range(len(peers))
        ]
        heard = iter(inboxes)
        for group in groups:
            merge_together(group, [round_] * len(group), list(itertools.islice(heard, len(group))))


def same(a: LocalLearner, b: LocalLearner) -> bool:
    ours, theirs = a.state(), b.state()
    return all(np.array_equal(ours[name], theirs[name]) for name in ours)


class CollaborationContract:
    """Inherit it, name the method."""

    method: ClassVar[str]

    @pytest.mark.parametrize("family", ["ranker", "next_place", "mf"])
    def test_peers_stay_finite_and_say_what_the_method_declares(self, family: str) -> None:
        if METHODS[self.method].table and family == "ranker":
            pytest.skip("has no item table")
        family = METHODS[self.method].family or family
        peers = [learner(u, self.method, family=family) for u in range(3)]
        lived(peers, rounds=3, together=True)
        for peer in peers:
            assert np.isfinite(peer.scores(LATER)).all()
            assert all(np.isfinite(part).all() for part in peer.state().values())
        kinds = CODED if METHODS[self.method].table else KINDS[METHODS[self.method].sends]
        assert all(isinstance(p, kinds) for p in peers[0].payloads(3, degree=2))
        assert bool(kinds) == bool(peers[0].payloads(3, degree=2))

    def test_no_peer_depends_on_who_else_is_computed_with_it(self) -> None:
        apart = [learner(u, self.method) for u in range(3)]
        joined = [learner(u, self.method) for u in range(3)]
        lived(apart, rounds=2, together=False)
        lived(joined, rounds=2, together=True)
        for a, b in zip(apart, joined, strict=True):
            assert np.allclose(a.scores(LATER), b.scores(LATER), atol=1e-4)

    def test_a_run_repeats_itself(self) -> None:
        runs = [[learner(u, self.method) for u in range(3)] for _ in range(2)]
        for run in runs:
            lived(run, rounds=2, together=True)
        assert all(same(a, b) for a, b in zip(*runs, strict=True))

    def test_an_empty_inbox_changes_nothing(self) -> None:
        peer, twin = learner(0, self.method), learner(0, self.method)
        peer.train(0)
        twin.train(0)
        assert peer.merge(0, []).weights == {}
        assert same(peer, twin)

    def test_weights_are_shares(self) -> None:
        peers = [learner(u, self.method) for u in range(4)]
        for peer in peers:
            peer.train(0)
        said = [peer.payloads(0, degree=3) for peer in peers]
        inbox = [received(str(j), p) for j in (1, 2, 3) for p in said[j]]
        weights = peers[0].merge(0, inbox).weights
        assert all(w >= 0 for w in weights.values())
        assert sum(weights.values()) <= 1.0 + 1e-6
        assert set(weights) <= {"1", "2", "3"}

    def test_what_it_cannot_use_is_refused_with_a_reason(self) -> None:
        sends = METHODS[self.method].sends
        other = "epidemic" if sends != "parameters" else "mac"
        stranger, peer, twin = (
            learner(1, other, size=16 if sends == "both" else 8),  # of whom nothing can be used
            learner(0, self.method),
            learner(0, self.method),
        )
        stranger.train(0)
        foreign = [p for p in stranger.payloads(0, degree=1) if not isinstance(p, ReferenceSet)]
        report = peer.merge(0, [received("stranger", p) for p in foreign])
        assert report.weights == {}
        assert report.rejected["stranger"]
        assert same(peer, twin)

    def test_others_change_what_a_peer_recommends_where_it_listens_at_all(self) -> None:
        peers = [learner(u, self.method) for u in range(3)]
        recluse = learner(0, "alone")
        lived(peers, rounds=2, together=True)
        lived([recluse], rounds=2, together=True)
        listens = METHODS[self.method].sends != "nothing"
        assert listens != np.allclose(peers[0].scores(LATER), recluse.scores(LATER))

    def test_a_newcomer_with_one_visit_can_take_part(self) -> None:
        peers = [learner(0, self.method, visits=1), learner(1, self.method)]
        lived(peers, rounds=2, together=True)
        assert np.isfinite(peers[0].scores(LATER)).all()

    def test_a_restart_goes_on(self) -> None:
        peers = [learner(u, self.method) for u in range(2)]
        lived(peers, rounds=2, together=True)
        again = learner(0, self.method)
        again.restore(peers[0].state())
        assert np.allclose(again.scores(LATER), peers[0].scores(LATER))

    @pytest.mark.parametrize("end", ["least", "most"])
    def test_at_the_ends_of_all_ranges_scores_stay_finite(self, end: str) -> None:
        amounts = METHODS[self.method].amounts
        options = {name: getattr(amount, end) for name, amount in amounts.items()}
        peers = [learner(u, self.method, options=options) for u in range(3)]
        lived(peers, rounds=2, together=True)
        for peer in peers:
            assert np.isfinite(peer.scores(LATER)).all()

    @pytest.mark.parametrize("wrong", ["nan", "inf", "-inf", "too small", "too large", "10^400"])
    def test_a_number_out_of_range_or_none_is_refused_in_one_sentence(self, wrong: str) -> None:
        for name, amount in METHODS[self.method].amounts.items():
            assert amount.least <= amount.default <= amount.most
            ours = {
                "too small": amount.least - 1,
                "too large": amount.most + 1,
                "10^400": 10**400,
            }
            value = ours[wrong] if wrong in ours else float(wrong)
            with pytest.raises(ConfigError) as refused:
                build_method(self.method, {name: value})
            said = str(refused.value)
            assert said.startswith(f"option {name!r} = ")
            assert f" is out of range; it must be {amount.least:g} to " in said
            assert "\n" not in said

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="unknown option 'dilutoin'"):
            build_method(self.method, {"dilutoin": 1.0})
