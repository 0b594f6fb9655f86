"""What every recommender over an item table promises; a new one inherits these tests.

It needs a line in ``taste_twins.TWINS``.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from steps import step_of
from taste_twins import TWINS, Peer

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.embeddings.quotient_remainder import QuotientRemainder
from p2prec.embeddings.tables import build_table
from p2prec.models.embedded import EmbeddedModel
from p2prec.models.explored import Explored
from p2prec.models.families import EMBEDDED
from p2prec.models.recommender import Task
from p2prec.models.table import BIAS, OTHERS
from p2prec.training.adagrad import update_rows, update_vectors
from p2prec.training.config import TrainingConfig
from p2prec.training.epoch import Pupil, train_epoch
from p2prec.training.knowledge import Knowledge, grouped

SIZE, N_ITEMS = 4, 48
_DRAWN = np.random.default_rng(11)
CATALOGUE = Catalogue.build(
    item_ids=[str(i) for i in range(N_ITEMS)],
    latitude_deg=np.where(np.arange(N_ITEMS) % 9, _DRAWN.uniform(50.0, 50.2, N_ITEMS), np.nan),
    longitude_deg=np.where(np.arange(N_ITEMS) % 9, _DRAWN.uniform(4.0, 4.3, N_ITEMS), np.nan),
    category_names=[("", "bar", "park", "shop")[i % 4] for i in range(N_ITEMS)],
)
FAMILIES = [name for name, kind in EMBEDDED.items() if issubclass(kind, EmbeddedModel)]
MEMBERS = [
    (family, task, table)
    for family in FAMILIES
    for task in sorted(EMBEDDED[family].tasks)
    for table in ("full-1", "qrt-2")
]
EACH = pytest.mark.parametrize(("family", "task", "table"), MEMBERS)
AT = (1, 3, 6)  # before which lessons are


def history(user: int, n: int = 40) -> History:
    rng = np.random.default_rng([5, user])
    return History(
        item=rng.integers(0, N_ITEMS, n).astype(np.int32),
        timestamp_s=1_700_000_000 + np.sort(rng.integers(0, 90 * 86_400, n)),
        rating=rng.integers(1, 6, n).astype(np.float32),
    )


def built(family: str, task: Task, table: str) -> EmbeddedModel:
    name, compression = table.split("-")
    held = build_table(CATALOGUE, table=name, size=SIZE, compression=int(compression))
    model = EMBEDDED[family](CATALOGUE, SIZE, task, held)
    assert isinstance(model, EmbeddedModel)
    return model


def stirred(model: EmbeddedModel, user: int, n: int = 40) -> Knowledge:
    """A peer that knows something everywhere."""
    config = TrainingConfig(batch_size=8, negatives=5, reg=0.05)
    peer, rng = Knowledge(CATALOGUE, model, config, history(user, n)), np.random.default_rng(user)
    slots = peer.table.touch(np.arange(N_ITEMS))
    peer.table.values[slots] += rng.normal(0, 0.3, (N_ITEMS, model.width)).astype(np.float32)
    peer.table.others[slots] = rng.random(N_ITEMS).astype(np.float32) / 2
    peer.private = rng.normal(0, 0.5, model.n_private).astype(np.float32)
    rates = model.dense_rates(explore_rate=1.0) > 0
    peer.dense += (rates * rng.normal(0, 0.2, model.n_dense)).astype(np.float32)
    peer.dense[3] = 0.7  # listened
    return peer


def lesson(user: int, peer: Knowledge) -> Explored:
    rng = np.random.default_rng(user)
    allowed = np.ones((len(AT), 9), bool)
    allowed[1, 7:] = False
    return Explored(
        moments=[peer.timeline.before(i) for i in AT],
        candidates=np.stack([rng.permutation(N_ITEMS)[:9] for _ in AT]).astype(np.int32),
        target=np.pad(rng.dirichlet(np.ones(6), len(AT)), ((0, 0), (0, 3))).astype(np.float32),
        allowed=allowed,
        weight=np.array([0.5, 1.0, 0.3], np.float32),
    )


@dataclasses.dataclass
class Leaves:
    """A twin of one peer, and what it is differentiated by."""

    twin: Peer
    table: torch.Tensor
    dense: torch.Tensor
    private: torch.Tensor


def leaves(peer: Knowledge, family: str) -> Leaves:
    model = peer.model
    assert isinstance(model, EmbeddedModel)
    table, dense, private = (
        torch.from_numpy(x.copy()).requires_grad_()
        for x in (peer.table.dense(), peer.dense, peer.private)
    )
    own = dense[model.layout.part("own")]
    named = {
        name: own[model.own_layout.part(name)].reshape(shape)
        for name, shape in model.shapes(SIZE).items()
    }
    vectors = table[:, : model.table.row_width]
    if isinstance(model.table, QuotientRemainder):
        pieces = dense[model.layout.part("pieces")].reshape(-1, SIZE)
        vectors, start = torch.ones((N_ITEMS, SIZE)), 0
        for length, digits in zip(model.table.lengths, model.table.digits, strict=True):
            vectors = vectors * pieces[start + torch.from_numpy(digits)]
            start += length
    twin = Peer(
        family=family,
        task=model.task,
        vectors=vectors,
        bias=table[:, BIAS],
        shares=(table[:, OTHERS] / dense[3].clamp(min=1e-6)).clamp(max=1.0).detach(),
        base=dense[:4],
        own=named,
        private=private,
        history=peer.history,
        catalogue=CATALOGUE,
    )
    return Leaves(twin=twin, table=table, dense=dense, private=private)


def test_every_member_has_a_twin() -> None:
    assert set(FAMILIES) == set(TWINS)


@EACH
@pytest.mark.parametrize("taught", [False, True])
def test_gradients_equal_those_of_autograd(
    family: str, task: Task, table: str, *, taught: bool
) -> None:
    model = built(family, task, table)
    peers = [stirred(model, user) for user in range(2)]
    chosen = [np.array([0, 1, 7, 39]), np.array([2, 0, 36])]
    lessons = [lesson(user, peer) if taught else None for user, peer in enumerate(peers)]
    step = step_of(peers, chosen, lessons, negatives=5)
    [group] = grouped(peers)
    found = model.gradients(group.stack, step)
    for number, peer in enumerate(peers):
        of = leaves(peer, family)
        sampled = step.sampled[step.owner == number].tolist()
        loss = of.twin.loss(chosen[number].tolist(), sampled)
        assert found.loss[number] == pytest.approx(float(loss.detach()), rel=1e-4)
        said = lessons[number]
        if said is not None:
            loss = loss + of.twin.taught(said, list(AT))
        by_table, by_dense, by_private = torch.autograd.grad(
            loss, [of.table, of.dense, of.private], allow_unused=True, materialize_grads=True
        )
        rows = np.zeros((N_ITEMS, model.width), np.float32)
        for part in found.rows:
            mine = part.keys // N_ITEMS == number
            rows[part.keys[mine] - number * N_ITEMS] += part.gradient[mine]
        by_table[:, OTHERS] = 0.0  # a statistic
        trained = model.dense_rates(explore_rate=1.0) > 0
        for one, other in (
            (rows, by_table),
            (found.private[number], by_private),
            (found.dense[number] * trained, by_dense * torch.from_numpy(trained)),
        ):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-3, atol=1e-4)


@EACH
def test_scores_are_those_of_the_formula(family: str, task: Task, table: str) -> None:
    peer = stirred(built(family, task, table), 3)
    twin = leaves(peer, family).twin
    # A compact table answers from its packed form, in half precision.
    near = {"rtol": 1e-3, "atol": 1e-3} if table == "full-1" else {"rtol": 1e-2, "atol": 1e-2}
    for at in (1, 9, 39):
        moment, now_s = peer.timeline.before(at), float(peer.timeline.time_s[at])
        past = peer.history.item[:at].tolist()
        outlook = peer.model.observer()(peer.parameters(), moment)
        with torch.no_grad():
            own = twin.scores(past, now_s, stranger=False).numpy()
            other = twin.scores(past[-32:], now_s, stranger=True).numpy()
        np.testing.assert_allclose(outlook.scores(), own, **near)
        new = np.setdiff1d(np.arange(N_ITEMS), moment.own)
        logs = outlook.explore_log_probabilities()[new]
        expected = other[new] - np.logaddexp.reduce(other[new])
        np.testing.assert_allclose(logs, expected, **near)
        reasons = outlook.reasons(5)
        base = peer.dense[0] + peer.private[-1]
        assert sum(reasons.values()) + base == pytest.approx(float(own[5]), abs=1e-2)


@EACH
def test_a_step_on_rows_is_that_on_a_whole_table(family: str, task: Task, table: str) -> None:
    """Row-sparse Adagrad changes what was read as dense Adagrad would, and nothing else."""
    model = built(family, task, table)
    peer = Knowledge(CATALOGUE, model, TrainingConfig(negatives=3, reg=0.05), history(0, 12))
    of = leaves(peer, family)
    step = step_of([peer], [np.array([4, 9])], [None], negatives=3)
    loss = of.twin.loss([4, 9], step.sampled.tolist())
    gradient = torch.autograd.grad(loss, of.table, allow_unused=True, materialize_grads=True)[0]
    before, met = peer.table.dense(), set(peer.timeline.own.tolist())
    [group] = grouped([peer])
    found = model.gradients(group.stack, step)
    read = np.concatenate([part.keys for part in found.rows])
    update_vectors(group.stack, model, peer.config, dense=found.dense, private=found.private)
    for part in found.rows:
        update_rows(group.stack, model, peer.config, part)
    group.stack.store()
    change = peer.table.dense() - before
    dense = gradient.numpy().copy()
    dense[:, OTHERS] = 0.0
    sums = 1e-3 + np.square(dense).mean(1, keepdims=True)
    expected = -peer.config.learning_rate * model.row_rate * dense / np.sqrt(sums)
    kept = np.isin(np.arange(N_ITEMS), read) & np.isin(np.arange(N_ITEMS), list(met))
    np.testing.assert_allclose(change[kept], expected[kept], rtol=1e-2, atol=1e-4)
    assert not change[~kept].any()  # of what nobody has met


@EACH
def test_one_who_did_nothing_is_told_something(family: str, task: Task, table: str) -> None:
    model = built(family, task, table)
    peer = Knowledge(CATALOGUE, model, TrainingConfig(negatives=3), history(0, 0))
    outlook = model.observer()(peer.parameters(), None)
    assert np.isfinite(outlook.scores()).all()
    assert np.exp(outlook.explore_log_probabilities()).sum() == pytest.approx(1.0, abs=1e-4)
    pupil = Pupil(knowledge=peer, key=np.uint64(1))
    train_epoch([pupil])
    assert pupil.n_examples == 0
