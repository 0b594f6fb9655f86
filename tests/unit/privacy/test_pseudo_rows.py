"""Rows of pseudo items live as if their owner had met them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from p2prec.collaboration.averaging import Average, average_together
from p2prec.collaboration.payload import ModelUpdate
from p2prec.collaboration.updates import MAX_EVIDENCE
from p2prec.data.city import generate_city
from p2prec.data.interactions import History
from p2prec.errors import StoreError
from p2prec.kernels import use_compiled
from p2prec.limits import LARGEST_VALUE
from p2prec.models.geo import alike
from p2prec.models.recommender import Context
from p2prec.models.table import BIAS, OTHERS
from p2prec.privacy.protection import Protection
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.local import LocalLearner
from p2prec.training.pseudo_rows import PseudoRows
from scenarios.in_step import exchange

CITY = generate_city(rng=np.random.default_rng(4), n_users=12, n_places=300, days=60)
N_ITEMS = len(CITY.catalogue)
EPIDEMIC = CollaborationConfig(method="epidemic", options={"dilution": 0.3})
INFORMED = CollaborationConfig(method="dclr", options={"dilution": 0.3, "mutual_information": 0.1})


def learner(
    user: int,
    *,
    collaboration: CollaborationConfig = EPIDEMIC,
    embedding_size: int = 8,
    **protection: float | str,
) -> LocalLearner:
    return LocalLearner(
        CITY.catalogue,
        LearnerConfig(
            model=ModelConfig(family="mf", embedding_size=embedding_size),
            training=TrainingConfig(epochs=1, negatives=4),
            collaboration=collaboration,
            protection=ProtectionConfig(**protection),  # type: ignore[arg-type]
        ),
        history=CITY.interactions.history(user).head(40),
        seed=user,
        device_seed=user + 7,
    )


@pytest.fixture(params=[False, True], ids=["numpy", "compiled"])
def loops(request: pytest.FixtureRequest) -> Iterator[None]:
    use_compiled(wanted=request.param)
    yield
    use_compiled(wanted=False)


def shown(peer: LocalLearner) -> PseudoRows:
    rows = peer.knowledge.pseudo_rows
    assert rows is not None
    return rows


@dataclass
class Visitor:
    """A peer whose table holds the rows of pseudo items: the same by other means."""

    twin: LocalLearner
    items: NDArray[np.int64]

    @classmethod
    def of(cls, peer: LocalLearner) -> Visitor:
        return cls(learner(0, method="none"), shown(peer).made_up)

    def put(self, values: NDArray[np.float32], evidence: NDArray[np.float32]) -> None:
        table = self.twin.knowledge.table
        at = table.touch(self.items)
        table.values[at], table.others[at], table.evidence[at] = values, values[:, OTHERS], evidence

    def rows(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        table = self.twin.knowledge.table
        return table.gather(self.items), table.evidence_of(self.items)

    def assert_same(self, peer: LocalLearner) -> None:
        rows = shown(peer)
        values, evidence = self.rows()
        assert np.array_equal(rows.made_up, self.items)
        assert np.allclose(rows.table.whole_rows[rows.is_made_up], values, atol=1e-5)
        assert np.allclose(rows.table.evidence[rows.is_made_up], evidence)


def heard(rng: np.random.Generator, peer: LocalLearner) -> list[ModelUpdate]:
    model, n = peer.knowledge.model, int(rng.integers(1, 4))
    named = [
        np.sort(rng.choice(N_ITEMS, rng.integers(0, N_ITEMS + 1), replace=False)) for _ in range(n)
    ]
    return [
        ModelUpdate(
            round=1,
            model=model.name,
            rows=rows.astype(np.uint32),
            values=rng.normal(size=(len(rows), model.width)).astype(np.float32),
            evidence=rng.uniform(0, 20, len(rows)).astype(np.float32),
            dense=rng.normal(size=model.n_dense).astype(np.float32),
            degree=1,
        )
        for rows in named
    ]


@pytest.mark.usefixtures("loops")
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dilution=st.sampled_from([0.0, 0.4, 1.0]))
def test_they_learn_and_hear_as_the_rows_of_a_visitor(seed: int, dilution: float) -> None:
    rng = np.random.default_rng(seed)
    peer = learner(int(rng.integers(0, 6)))
    peer.knowledge.table.others[:] = 0.1  # somebody has been heard: all places are named at once
    peer.protection.before_training()
    visitor = Visitor.of(peer)
    start = peer.knowledge.table.gather(visitor.items)
    visitor.put(start, np.maximum(peer.knowledge.table.evidence_of(visitor.items), 1.0))
    like = shown(peer).like[shown(peer).is_made_up]
    for round_ in range(3):
        table = peer.knowledge.table
        before, known = table.gather(like), table.evidence_of(like)
        peer.train(round_)
        table = peer.knowledge.table
        values, evidence = visitor.rows()
        moved = table.gather(like) - before
        moved[:, OTHERS] = 0.0
        visitor.put(values + moved, evidence + table.evidence_of(like) - known)
        updates = heard(rng, peer)
        shares = rng.dirichlet(np.ones(len(updates) + 1))
        average_together(
            [
                Average(
                    knowledge=one.knowledge,
                    updates=updates,
                    weights=shares[1:].tolist(),
                    own_weight=float(shares[0]),
                    dilution=dilution,
                    max_hearsay=N_ITEMS,
                )
                for one in (peer, visitor.twin)
            ]
        )
        visitor.assert_same(peer)


def test_what_is_said_of_them_is_what_they_hold() -> None:
    peer = learner(1, clip_norm=0.0)
    for round_ in range(2):
        peer.train(round_)
    [update] = peer.payloads(1, degree=1)
    assert isinstance(update, ModelUpdate)
    rows, table = shown(peer), shown(peer).table
    assert len(rows.waiting)  # nobody has been heard
    assert not np.isin(rows.waiting, update.rows).any()
    assert np.array_equal(update.rows, peer.protection.shown_places())
    at, here = np.searchsorted(update.rows, rows.made_up), rows.is_made_up
    assert np.array_equal(update.values[at, :OTHERS], table.values[here, :OTHERS])
    assert np.array_equal(update.values[at, BIAS], table.values[here, BIAS])
    assert np.array_equal(update.evidence[at], np.minimum(table.evidence[here], MAX_EVIDENCE))
    like = np.searchsorted(update.rows, rows.like[here])
    # Who has heard nobody says the same of both: the change alone.
    change = update.values - table.initial[update.rows]
    assert np.allclose(change[at], change[like], atol=1e-6)
    assert np.array_equal(update.evidence[at], update.evidence[like])


def test_the_own_recommendations_do_not_know_them() -> None:
    hidden, open_ = learner(2), learner(2, method="none")
    for round_ in range(3):
        for peer in (hidden, open_):
            peer.train(round_)
            peer.payloads(round_, degree=1)
    now = Context(timestamp_s=int(hidden.knowledge.history.timestamp_s[-1]) + 3_600)
    assert np.array_equal(hidden.scores(now), open_.scores(now))
    assert len(shown(hidden).table.rows)
    assert open_.knowledge.pseudo_rows is None


def popular(peer: LocalLearner, share: NDArray[np.float64]) -> None:
    """Let it have heard how many go to each place."""
    table = peer.knowledge.table
    table.touch(np.arange(N_ITEMS))
    table.others[:] = share


def test_who_has_heard_nobody_names_a_few_places_and_then_all() -> None:
    peer = learner(3)
    own = peer.knowledge.timeline.own.astype(np.int64)
    for round_ in range(3):  # nobody answers
        peer.train(round_)
        named = np.intersect1d(peer.protection.shown_places(), own)
        assert len(named) == max(4, -(-len(own) // 8)) < len(own)
        assert np.array_equal(np.union1d(named, shown(peer).waiting), own)
    first = peer.protection.pseudo_items()
    alone = peer.knowledge.table.gather(own)
    peer.knowledge.table.others[:] = 0.01
    peer.protection.before_training()
    then = peer.protection.pseudo_items()
    assert not len(shown(peer).waiting)
    assert set(own.tolist()) <= set(peer.protection.shown_places().tolist())
    pairs = set(zip(first.made_up.tolist(), first.like.tolist(), strict=True))
    assert pairs <= set(zip(then.made_up.tolist(), then.like.tolist(), strict=True))
    # What was learned of a place before it could be named is in what stands beside it.
    initial, rows = peer.knowledge.table.initial, shown(peer).table
    moved = (alone - initial[own])[np.searchsorted(own, then.like)]
    others = np.array([OTHERS])
    apart = rows.whole_rows - initial[rows.rows] - moved
    new = ~np.isin(then.made_up, first.made_up)
    pushed = peer.knowledge.table.gather(then.made_up) - initial[then.made_up]  # as a sampled item
    assert np.allclose(np.delete(apart - pushed, others, axis=1)[new], 0.0, atol=1e-6)
    assert np.abs(moved[new]).max() > 0.01


def test_what_is_made_up_is_gone_to_by_as_many_as_what_is_real() -> None:
    crowd = CITY.interactions
    visitors = np.zeros(N_ITEMS)
    for user in range(6, 12):
        visitors[np.unique(crowd.history(user).item)] += 1
    found = {True: [], False: []}  # type: dict[bool, list[float]]
    for user in range(6):
        for heard_ in (True, False):
            peer = learner(user)
            # Equal for all: somebody has been heard, and knows nothing.
            popular(peer, visitors / 6 if heard_ else np.full(N_ITEMS, 0.1))
            peer.protection.before_training()
            own = peer.knowledge.timeline.own
            made_up = peer.protection.pseudo_items().made_up
            assert len(made_up) > 0.8 * len(own)
            found[heard_].append(area(visitors[own], visitors[made_up]))
    assert np.mean(found[False]) > 0.62
    assert np.mean(found[True]) < 0.6


def test_a_made_up_place_that_the_owner_comes_to_visit_is_named_all_the_time() -> None:
    peer = learner(4)
    peer.train(0)  # a few are named
    history = peer.knowledge.history
    rows = shown(peer)
    moved = np.abs(rows.table.whole_rows - rows.table.initial[rows.table.rows]).sum(1)
    fake = int(rows.table.rows[np.where(rows.is_made_up, moved, -1.0).argmax()])
    one = CITY.interactions.history(4).head(1)
    more = History(
        item=np.append(history.item, np.int32(fake)),
        timestamp_s=np.append(history.timestamp_s, history.timestamp_s[-1] + 60),
        rating=np.append(history.rating, one.rating),
    )
    before = set(peer.protection.shown_places().tolist())
    [first] = peer.payloads(0, degree=1)
    assert isinstance(first, ModelUpdate)
    peer.add(more)
    assert before <= set(peer.protection.shown_places().tolist())
    assert fake not in peer.protection.pseudo_items().made_up
    peer.train(1)
    [update] = peer.payloads(1, degree=1)
    assert isinstance(update, ModelUpdate)
    assert before <= set(update.rows.tolist())
    # What was made up of it is not gone at once.
    was, now = (int(np.searchsorted(said.rows, fake)) for said in (first, update))
    assert update.evidence[now] >= first.evidence[was]
    start = peer.knowledge.table.initial[fake]
    change, earlier = (row[:OTHERS] - start[:OTHERS] for row in (
        update.values[now], first.values[was]
    ))  # fmt: skip
    assert change @ earlier > 0.5 * (earlier @ earlier)


def test_nobody_who_speaks_of_one_place_alone_chooses_what_stands_beside_another() -> None:
    chosen = 0
    for seed in range(60):
        peer = learner(5)
        peer.protection = Protection(
            peer.config.protection, peer.knowledge, device_seed=seed, sends="parameters"
        )
        own = peer.knowledge.timeline.own.tolist()
        place = next(p for p in own if len(set(alike(CITY.catalogue, p, 40)) - set(own)) > 20)
        junk = next(p for p in alike(CITY.catalogue, place, 40).tolist() if p not in own)
        share = np.full(N_ITEMS, 1e-3)
        share[[place, junk]] = 1.0
        popular(peer, share)
        items = peer.protection.pseudo_items()
        chosen += (junk, place) in zip(items.made_up.tolist(), items.like.tolist(), strict=True)
    assert chosen < 40  # of 60: at most every second time


def test_another_model_goes_on_with_the_same_pseudo_items() -> None:
    peer = learner(1)
    peer.train(0)
    popular(peer, np.full(N_ITEMS, 0.1))
    peer.train(1)
    before = peer.protection.pseudo_items()
    other = learner(1, embedding_size=16)
    with pytest.raises(StoreError):
        other.restore(peer.state())
    other.protection.show_again(peer.state())
    after = other.protection.pseudo_items()
    assert np.array_equal(after.made_up, before.made_up)
    assert np.array_equal(after.like, before.like)
    assert np.array_equal(other.protection.shown_places(), peer.protection.shown_places())
    other.protection.show_again({"pseudo_named": np.zeros(1), "pseudo_rows": np.zeros(2)})
    assert np.array_equal(other.protection.pseudo_items().made_up, before.made_up)


def test_a_training_that_diverged_leaves_no_pseudo_item_that_nobody_takes() -> None:
    peer = learner(0)
    peer.train(0)
    rows, table = shown(peer), peer.knowledge.table
    with peer.knowledge.mirrored():
        table.values[np.searchsorted(table.rows, rows.like[rows.is_made_up][0])] = np.inf
        table.evidence[:] = 0.0
    assert np.isfinite(rows.table.values).all()
    assert np.abs(rows.table.values).max() <= LARGEST_VALUE
    assert (rows.table.evidence >= 0).all()


def test_what_moves_rows_beside_training_moves_pseudo_items_too() -> None:
    peers, updates = lived(12, 30, INFORMED)
    found = []
    for peer, update in zip(peers, updates, strict=True):
        items = peer.protection.shown_places()
        change = update.values - peer.knowledge.table.initial[update.rows]
        length = np.linalg.norm(change[np.searchsorted(update.rows, items)][:, :OTHERS], axis=1)
        real = np.isin(items, peer.knowledge.timeline.own)
        found.append(area(length[real], length[~real]))
    assert np.mean(found) < 0.7  # 0.77 where the step on mutual information moves real rows alone


def lived(
    n: int, rounds: int, collaboration: CollaborationConfig = EPIDEMIC
) -> tuple[list[LocalLearner], list[ModelUpdate]]:
    """Peers all of whom hear all others, and what they said last."""
    peers = [learner(user, collaboration=collaboration) for user in range(n)]
    hears = [[j for j in range(n) if j != i] for i in range(n)]
    said: Sequence[Sequence[object]] = ()
    for round_ in range(rounds):
        said = exchange(peers, round_, hears, degree=n - 1)
    updates = [payload for payloads in said for payload in payloads]
    return peers, [update for update in updates if isinstance(update, ModelUpdate)]


def area(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    real = np.arange(len(positive) + len(negative)) < len(positive)
    return float(roc_auc_score(real, np.concatenate([positive, negative])))


def test_who_hears_everybody_does_not_see_which_rows_lie_off() -> None:
    """A copy of the real place's whole change would lie far from where others see the other one."""
    peers, updates = lived(12, 8)
    total, named = np.zeros((N_ITEMS, peers[0].knowledge.model.width)), np.zeros(N_ITEMS)
    for update in updates:
        total[update.rows] += update.values
        named[update.rows] += 1
    found = []
    for peer, update in zip(peers, updates, strict=True):
        items = peer.protection.shown_places()
        at = np.searchsorted(update.rows, items)
        others = (total[items] - update.values[at]) / np.maximum(named[items] - 1, 1)[:, None]
        off = np.linalg.norm((update.values[at] - others)[:, :OTHERS], axis=1)
        many = named[items] > 1
        real = np.isin(items, peer.knowledge.timeline.own)
        found.append(area(off[many & real], off[many & ~real]))
    assert 0.3 < np.mean(found) < 0.7


def test_a_restart_says_what_would_have_been_said() -> None:
    peers, _ = lived(4, 3)
    again = learner(0)
    again.restore(peers[0].state())
    for peer in (peers[0], again):
        peer.train(3)
    before, after = (peer.payloads(3, degree=1)[0] for peer in (peers[0], again))
    assert isinstance(before, ModelUpdate)
    assert isinstance(after, ModelUpdate)
    for name in ("rows", "values", "evidence", "dense"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pseudo_like", np.zeros(3, np.uint32)),
        ("pseudo_rows", np.full(5, N_ITEMS, np.uint32)),
        ("pseudo_values", np.zeros((2, 2), np.float32)),
        ("pseudo_evidence", None),
    ],
)
def test_what_was_stored_of_others_rows_is_refused(name: str, value: object) -> None:
    peer = learner(0)
    peer.train(0)
    state = peer.state()
    state.pop(name)
    if isinstance(value, np.ndarray):
        state[name] = value
    with pytest.raises(StoreError, match="pseudo items"):
        learner(0).restore(state)


def test_what_was_stored_before_there_were_any_is_taken() -> None:
    peer = learner(0)
    peer.train(0)
    state = {name: array for name, array in peer.state().items() if "pseudo" not in name}
    again = learner(0)
    again.restore(state)
    again.train(1)
    assert len(shown(again).table.rows)


def test_what_is_no_number_begins_anew() -> None:
    peer = learner(0)
    peer.train(0)
    state = peer.state()
    values = np.array(state["pseudo_values"])
    values[0] = np.nan
    state["pseudo_values"] = values
    again = learner(0)
    again.restore(state)
    rows = shown(again).table
    assert np.array_equal(rows.values[0, :OTHERS], rows.initial[rows.rows[0], :OTHERS])
