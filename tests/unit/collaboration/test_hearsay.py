"""What a peer hears of places is bounded, whatever the catalogue and however long it listens."""

from __future__ import annotations

import numpy as np

from p2prec.collaboration.averaging import Average, average_together
from p2prec.collaboration.parameters import most_rows
from p2prec.collaboration.payload import ModelUpdate
from p2prec.models.recommender import Task
from tests.unit.learning.crowd import CITY, N_PEERS, learners

N_ITEMS = len(CITY.catalogue)
MOST = 20


def test_the_most_popular_hearsay_and_all_own_rows_stay() -> None:
    peer = learners(Task.RANKING, "epidemic", [30] + [0] * (N_PEERS - 1), 0.0)[0].knowledge
    own = peer.timeline.own.copy()
    rng = np.random.default_rng(0)
    others = rng.permutation(N_ITEMS).astype(np.float32) / N_ITEMS  # no two alike
    values = np.zeros((N_ITEMS, peer.model.width), np.float32)
    values[:, -2] = others
    update = ModelUpdate(
        round=0,
        model=peer.model.name,
        rows=np.arange(N_ITEMS, dtype=np.uint32),
        values=values,
        evidence=np.ones(N_ITEMS, np.float32),
        dense=peer.dense.copy(),
        degree=1,
    )
    average_together(
        [
            Average(
                knowledge=peer,
                updates=[update],
                weights=[0.5],
                own_weight=0.5,
                dilution=0.0,
                max_hearsay=MOST,
            )
        ]
    )
    hearsay = np.setdiff1d(np.arange(N_ITEMS), own)
    best = hearsay[np.argsort(-others[hearsay])][:MOST]
    assert set(peer.table.rows.tolist()) == {*own.tolist(), *best.tolist()}
    assert (np.diff(peer.table.rows) > 0).all()
    assert np.allclose(peer.table.others[~peer.table.own], others[np.sort(best)] / 2)
    assert peer.table.own.sum() == len(own)
    # What was let go is as nobody ever told of it.
    gone = np.setdiff1d(hearsay, best)
    assert np.array_equal(peer.table.gather(gone), peer.table.initial[gone])


def test_short_rows_are_many_in_a_message_and_wide_ones_no_fewer_than_they_were() -> None:
    default = {"max_rows": 0.0}
    assert most_rows(default, 2) == 1_792  # rankers: in all 14 KiB
    assert most_rows(default, 18) == most_rows(default, 66) == 512
    assert most_rows({"max_rows": 20.0}, 2) == 20
