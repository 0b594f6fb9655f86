"""Training, collaboration and protection of whole learners in memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from p2prec.collaboration.payload import ModelUpdate, Payload
from p2prec.collaboration.references import transformed
from p2prec.collaboration.updates import MAX_EVIDENCE
from p2prec.data.catalogue import Catalogue
from p2prec.data.city import generate_city
from p2prec.errors import ConfigError, StoreError
from p2prec.models.families import parse_model
from p2prec.models.recommender import Context
from p2prec.models.table import OTHERS
from p2prec.privacy.ledger import spent
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.learner import Received
from p2prec.training.local import LocalLearner

CITY = generate_city(rng=np.random.default_rng(1), n_users=4, n_places=150, days=120)


def learner(user: int, method: str, *, size: int = 8, protection: str = "none") -> LocalLearner:
    config = LearnerConfig(
        model=ModelConfig(family="next_place", embedding_size=size),
        training=TrainingConfig(epochs=1, max_examples=40, negatives=8),
        collaboration=CollaborationConfig(method=method),
        protection=ProtectionConfig(method=protection),  # type: ignore[arg-type]
    )
    history = CITY.interactions.history(user).head(60)
    return LocalLearner(CITY.catalogue, config, history=history, seed=user, device_seed=user + 9)


def received(sender: str, payload: Payload) -> Received:
    return Received(
        sender=sender, payload=payload, geographic=0.5, semantic=0.5, staleness_rounds=0
    )


def test_training_lowers_the_loss_and_repeats_itself() -> None:
    a, b = learner(0, "alone"), learner(0, "alone")
    losses = [a.train(r).loss for r in range(5)]
    assert losses[-1] < losses[0]
    assert [b.train(r).loss for r in range(5)] == losses
    assert (a.knowledge.dense == b.knowledge.dense).all()


def test_mac_joins_models_of_different_sizes() -> None:
    small, large = learner(0, "mac", size=4), learner(1, "mac", size=16)
    for round_ in range(3):
        for peer in (small, large):
            peer.train(round_)
        a, b = small.payloads(round_, degree=1), large.payloads(round_, degree=1)
        merged = small.merge(round_, [received("large", p) for p in b])
        large.merge(round_, [received("small", p) for p in a])
    assert merged.weights == {"large": pytest.approx(1.0)}
    assert small.collaboration.lessons(small.knowledge, rng=np.random.default_rng(0))


def test_reference_sequences_hold_no_place_that_stands_for_itself() -> None:
    """Two cafes at one spot, and the only museum: neither may give the original away."""
    catalogue = Catalogue.build(
        item_ids=["0", "1", "2"],
        latitude_deg=[50.0, 50.0, 50.1],
        longitude_deg=[5.0, 5.0, 5.0],
        category_names=["Cafe", "Cafe", "Museum"],
    )
    items = np.array([1, 2, 1, 2], np.int32)
    times = np.arange(4, dtype=np.int64) * 7_200
    for seed in range(20):
        made = transformed(catalogue, items, times, np.random.default_rng(seed))
        assert made is not None
        assert made.items.tolist() == [0, 0]
        assert len(made.timestamp_s) == 2
    alone = transformed(catalogue, items[1:2], times[1:2], np.random.default_rng(0))
    assert alone is None


def test_models_that_do_not_fit_are_refused_by_name() -> None:
    a, b = learner(0, "dclr", size=4), learner(1, "dclr", size=8)
    b.train(0)
    report = a.merge(0, [received("b", p) for p in b.payloads(0, degree=1)])
    assert report.rejected == {"b": "other_model"}
    with pytest.raises(StoreError, match="another size"):
        a.restore(b.state())
    with pytest.raises(ConfigError, match="unknown method"):
        learner(0, "nonsense")


def test_knowledge_of_others_reaches_places_that_the_owner_never_saw() -> None:
    a, b = learner(0, "dclr"), learner(1, "dclr")
    b.train(0)
    before = a.knowledge.table.dense()
    a.merge(0, [received("b", p) for p in b.payloads(0, degree=1)])
    changed = np.flatnonzero((a.knowledge.table.dense() != before).any(axis=1))
    assert len(set(changed) - set(a.knowledge.timeline.own.tolist())) > 0


def test_evidence_beyond_the_cap_gains_nothing() -> None:
    """A liar that claims a thousand trainings of a row counts as one that claims the cap."""
    b, c = learner(1, "epidemic"), learner(2, "epidemic")
    [honest], [loud] = (p.payloads(0, degree=1) for p in (b, c))
    assert isinstance(honest, ModelUpdate)
    assert isinstance(loud, ModelUpdate)
    tables = []
    for claimed in (MAX_EVIDENCE, 1_000.0):
        said = dataclasses.replace(loud, evidence=np.full_like(loud.evidence, claimed))
        a = learner(0, "epidemic")
        a.merge(0, [received("b", honest), received("c", said)])
        tables.append(a.knowledge.table.dense())
    assert (tables[0] == tables[1]).all()


@pytest.mark.parametrize("share", [-1_000.0, -0.5, 1_000.0])
def test_a_popularity_that_is_no_share_breaks_nothing(share: float) -> None:
    """From a malicious neighbour, or from an honest one that adds noise."""
    a, b = learner(0, "dclr"), learner(1, "dclr")
    b.train(0)
    [update] = b.payloads(0, degree=1)
    assert isinstance(update, ModelUpdate)
    update.values[:, OTHERS] = share
    a.merge(0, [received("b", update)])
    held = a.knowledge.table.others
    assert held.min() >= 0
    assert held.max() <= 1
    assert np.isfinite(a.scores(Context(timestamp_s=1_740_000_000))).all()
    assert np.isfinite(a.train(1).loss)


def test_pseudo_items_hide_among_equals_and_stay_the_same() -> None:
    peer = learner(0, "dclr", protection="default")
    peer.train(0)
    own = set(peer.knowledge.timeline.own.tolist())
    again = learner(0, "dclr", protection="default").protection.pseudo_items()
    fakes = peer.protection.pseudo_items()
    assert (fakes.made_up == again.made_up).all()
    assert (fakes.like == again.like).all()
    made_up = set(fakes.made_up.tolist())
    assert not own & made_up
    assert len(made_up) == 4  # of so few places beside which one is drawn before others are heard
    [update] = peer.payloads(0, degree=1)
    assert isinstance(update, ModelUpdate)
    assert made_up <= set(update.rows.tolist())
    change = update.values - peer.knowledge.table.initial[update.rows]
    assert np.linalg.norm(change, axis=1).max() <= 1.0 + 1e-5
    real = np.isin(update.rows, list(own))
    # Whoever ranks rows by the size of their change learns little of which ones are real.
    length = np.linalg.norm(change, axis=1)
    auc = (length[real][:, None] > length[~real][None]).mean()
    assert auc < 0.8


def test_the_ledger_is_honest() -> None:
    assert "Nothing has left" in spent(noise_multipliers=[], delta=1e-5).sentence
    bare = spent(noise_multipliers=[0.0, 4.0], delta=1e-5)
    assert bare.epsilon == float("inf")
    assert "no formal privacy guarantee" in bare.sentence
    # dp-accounting, Gaussian, delta 1e-5: z = 1 once, z = 4 fifty times.
    assert spent(noise_multipliers=[1.0], delta=1e-5).epsilon == pytest.approx(4.73, abs=0.3)
    assert spent(noise_multipliers=[4.0] * 50, delta=1e-5).epsilon == pytest.approx(9.23, abs=0.5)


def test_recommendations_say_why_and_can_be_new_only() -> None:
    peer = learner(0, "alone")
    context = Context(timestamp_s=1_740_000_000)
    best = peer.recommend(context, 10, new_only=False)
    assert len(best) == 10
    assert [r.score for r in best] == sorted((r.score for r in best), reverse=True)
    own = set(peer.knowledge.timeline.own.tolist())
    assert sum(r.item not in own for r in best) >= 2
    assert any(r.reasons for r in best)
    assert not own & {r.item for r in peer.recommend(context, 10, new_only=True)}
    empty = CITY.interactions.history(0).head(0)
    config = dataclasses.replace(peer.config)
    newcomer = LocalLearner(CITY.catalogue, config, history=empty, seed=0)
    assert len(newcomer.recommend(context, 3, new_only=False)) == 3
    assert newcomer.train(0).n_examples == 0


@pytest.mark.parametrize("name", ["mf/8", "mf/8/codes-4", "next_place/8/qrt-4", "ranker/8"])
def test_while_another_thread_learns_the_owner_reads_what_was_laid_ready(name: str) -> None:
    config = dataclasses.replace(learner(0, "alone").config, model=parse_model(name))
    peer = LocalLearner(CITY.catalogue, config, history=CITY.interactions.history(0), seed=3)
    peer.train(0)
    context = Context(timestamp_s=1_740_000_000)
    bare = peer.recommend(context, 10, new_only=False)
    peer.watch()
    assert peer.recommend(context, 10, new_only=False) == bare
    before = peer.scores(context)
    peer.knowledge.table.values[:] += 1.0  # as training does, step by step
    peer.knowledge.dense += 0.1
    assert np.array_equal(peer.scores(context), before)
    peer.publish_snapshot()
    assert not np.array_equal(peer.scores(context), before)


def test_an_owner_s_keenness_on_new_places_is_neither_sent_nor_averaged() -> None:
    a, b = learner(0, "dclr"), learner(1, "dclr")
    for peer in (a, b):
        peer.train(0)
    layout = a.knowledge.model.layout  # type: ignore[attr-defined]
    gate = layout.view(a.knowledge.dense, "gate").copy()
    habits = layout.view(a.knowledge.dense, "returning").copy()
    start = layout.view(a.knowledge.model.initial_dense(), "gate")
    assert (gate != start).any()
    [update] = b.payloads(0, degree=1)
    assert isinstance(update, ModelUpdate)
    assert (
        layout.view(update.dense, "gate") == layout.view(a.knowledge.model.initial_dense(), "gate")
    ).all()
    a.merge(0, [received("b", update)])
    assert layout.view(a.knowledge.dense, "gate") == pytest.approx(gate)
    assert (layout.view(a.knowledge.dense, "returning") != habits).any()


def test_noise_is_on_the_rows_of_an_update_and_on_nothing_else() -> None:
    said = []
    for multiplier in (0.0, 2.0):
        config = dataclasses.replace(
            learner(0, "dclr").config,
            protection=ProtectionConfig(noise_multiplier=multiplier, clip_norm=0.5),
        )
        history = CITY.interactions.history(0).head(60)
        peer = LocalLearner(CITY.catalogue, config, history=history, seed=0, device_seed=9)
        peer.train(0)
        [update] = peer.payloads(0, degree=1)
        assert isinstance(update, ModelUpdate)
        said.append(update)
    bare, noisy = said
    assert (bare.rows == noisy.rows).all()
    assert (bare.dense == noisy.dense).all()
    # Twice the clip is the sensitivity of a row.
    assert (noisy.values - bare.values).std() == pytest.approx(2.0 * 2.0 * 0.5, rel=0.1)


def test_soft_decisions_may_lean_to_pseudo_items_as_to_known_places() -> None:
    peer = learner(0, "mac", protection="default")
    own = set(peer.knowledge.timeline.own.tolist())
    made_up = set(peer.protection.pseudo_items().made_up.tolist())
    assert set(peer.protection.shown_places().tolist()) == own | made_up
    assert made_up
    bare = learner(0, "mac", protection="none")
    assert set(bare.protection.shown_places().tolist()) == own
