"""A packed recommender says what it said before."""

from __future__ import annotations

import numpy as np
import pytest

from p2prec.data.city import generate_city
from p2prec.embeddings.tables import build_table
from p2prec.errors import StoreError
from p2prec.models.families import EMBEDDED, parse_model
from p2prec.models.packed import PackedModel
from p2prec.models.tabled import Tabled
from p2prec.training.config import TrainingConfig
from p2prec.training.epoch import Pupil, train_epoch
from p2prec.training.knowledge import Knowledge

CITY = generate_city(rng=np.random.default_rng(1), n_users=2, n_places=2_000, days=120)
MODELS = [f"{family}/8{table}" for family in EMBEDDED for table in ("", "/qrt-4")] + [
    "mf/8/qrt-4/rating",
    "fm/8/click",
]


def built(name: str) -> Tabled:
    config = parse_model(name)
    table = build_table(CITY.catalogue, table=config.table, size=8, compression=config.compression)
    return EMBEDDED[config.family](CITY.catalogue, 8, config.task, table)


def trained(model: Tabled, n_heard: int) -> Knowledge:
    peer = Knowledge(
        CITY.catalogue,
        model,  # type: ignore[arg-type]
        TrainingConfig(negatives=6),
        CITY.interactions.history(0).head(50),
    )
    for epoch in range(2):
        train_epoch([Pupil(knowledge=peer, key=np.uint64(epoch))])
    rng = np.random.default_rng(n_heard)
    at = peer.table.touch(rng.permutation(2_000)[:n_heard])
    peer.table.others[at] = rng.random(len(at)).astype(np.float32) / 3
    peer.dense[model.statistics] += 0.5 / (model.statistics.stop - model.statistics.start)
    return peer


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_heard", [20, 1_500])  # a list of them, and a bit for every item
def test_it_says_the_same_after_it_was_packed(name: str, n_heard: int) -> None:
    model = built(name)
    peer = trained(model, n_heard)
    packed = PackedModel.of(model, peer.snapshot())
    again = PackedModel.read(model, packed.to_bytes())
    for moment in (peer.timeline.before(30), None):
        before = model.observer()(peer.parameters(), moment).scores()
        after = again.at(moment).scores()
        assert np.array_equal(after, packed.at(moment).scores())
        spread = float(before.std()) + 1e-3
        assert np.abs(after - before).max() < 0.05 * spread + 0.01
        reasons = again.at(moment).reasons(3)
        assert all(np.isfinite(value) for value in reasons.values())
    full_bytes = 4 * 8 * 2_000
    others = 8 * n_heard + 2 * model.layout.size + 4_096
    assert len(packed.data) < full_bytes + others


def test_what_is_no_such_model_is_refused() -> None:
    model = built("mf/8/qrt-4")
    data = PackedModel.of(model, trained(model, 20).snapshot()).to_bytes()
    for wrong in (b"", data[:-1], data[: len(data) // 2], b"\xff" * 99):
        with pytest.raises(StoreError):
            PackedModel.read(model, wrong)
    with pytest.raises(StoreError, match="cannot be read as"):
        PackedModel.read(built("fm/8/qrt-4"), data)
    with pytest.raises(StoreError, match="cannot be read as"):
        PackedModel.read(built("mf/8"), data)
