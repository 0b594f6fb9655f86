"""Compiled kernels and NumPy give the same bytes; who computes for one device never loads them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from p2prec.collaboration.averaging import Average, average_together
from p2prec.collaboration.method import Speaker
from p2prec.collaboration.payload import ModelUpdate
from p2prec.collaboration.updates import make_updates
from p2prec.data.catalogue import Catalogue
from p2prec.kernels import compiled, use_compiled
from p2prec.models.neighbourhoods import Neighbourhoods
from p2prec.models.recommender import Task
from p2prec.training.local import LocalLearner
from tests.unit.learning.crowd import CITY, N_PEERS, learners, lived

N_ITEMS = len(CITY.catalogue)


@contextmanager
def kernels(*, wanted: bool) -> Iterator[None]:
    use_compiled(wanted=wanted)
    assert (compiled() is not None) == wanted
    try:
        yield
    finally:
        use_compiled(wanted=False)


def assert_same_bytes(some: LocalLearner, other: LocalLearner) -> None:
    for name, value in some.state().items():
        twin = other.state()[name]
        assert (value.dtype, value.shape) == (twin.dtype, twin.shape), name
        assert value.tobytes() == twin.tobytes(), name


@pytest.mark.timeout(300)  # the first run of all compiles
@settings(max_examples=15, deadline=None)
@given(
    task=st.sampled_from(list(Task)),
    method=st.sampled_from(["epidemic", "metropolis_hastings", "dclr"]),
    lengths=st.lists(st.integers(0, 60), min_size=N_PEERS, max_size=N_PEERS),
    noise=st.sampled_from([0.0, 0.5]),
    row_optimizer=st.sampled_from(["adagrad", "sgd"]),
)
def test_three_rounds_of_learning_are_the_same(
    *,
    task: Task,
    method: str,
    lengths: list[int],
    noise: float,
    row_optimizer: Literal["adagrad", "sgd"],
) -> None:
    by_numpy = learners(task, method, lengths, noise, row_optimizer=row_optimizer)
    by_kernels = learners(task, method, lengths, noise, row_optimizer=row_optimizer)
    with kernels(wanted=False):
        lived(by_numpy, [list(range(N_PEERS))])
    with kernels(wanted=True):
        lived(by_kernels, [[0, 1], list(range(2, N_PEERS))])
    for some, other in zip(by_numpy, by_kernels, strict=True):
        assert_same_bytes(some, other)


@settings(max_examples=8, deadline=None)
@given(
    method=st.sampled_from(["epidemic", "dclr"]),
    lengths=st.lists(st.integers(0, 60), min_size=N_PEERS, max_size=N_PEERS),
)
def test_three_rounds_of_rankers_are_the_same(method: str, lengths: list[int]) -> None:
    states = []
    for wanted in (False, True):
        peers = learners(Task.RANKING, method, lengths, 0.0, model="ranker/8")
        with kernels(wanted=wanted):
            lived(peers, [list(range(N_PEERS))])
        states.append(peers)
    for some, other in zip(*states, strict=True):
        assert_same_bytes(some, other)
    dense = [peer.knowledge.dense for peer in states[0]]
    assert any(np.any(one != dense[0]) for one in dense) or max(lengths) <= 4


def placed_anywhere(draw: st.DataObject, shape: tuple[int, int]) -> NDArray[np.int32]:
    values = draw.draw(st.lists(st.integers(0, N_ITEMS - 1), min_size=6, max_size=6))
    return np.resize(np.array(values, np.int32), shape)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), missing=st.booleans(), k=st.integers(2, 9), m=st.integers(1, 12))
def test_places_lie_the_same(data: st.DataObject, *, missing: bool, k: int, m: int) -> None:
    latitude = CITY.catalogue.latitude_deg.copy()
    if missing:
        latitude[::5] = np.nan
    catalogue = Catalogue.build(
        item_ids=CITY.catalogue.item_ids,
        latitude_deg=latitude,
        longitude_deg=CITY.catalogue.longitude_deg,
        category_names=["a"] * N_ITEMS,
    )
    recent, items = placed_anywhere(data, (3, m)), placed_anywhere(data, (3, k))
    held = data.draw(st.integers(1, m))
    share = np.zeros((3, m), np.float32)
    share[:, :held] = 1 / held
    recent[:, held:] = recent[:, held - 1 : held]
    around = Neighbourhoods(catalogue)
    found = []
    for wanted in (False, True):
        with kernels(wanted=wanted):
            lie = around.lie(recent, share, items, least_km2=0.25)
            found.append((lie.tobytes(), around.inside(items[:, 0], items).tobytes()))
    assert found[0] == found[1]


def an_update(rng: np.random.Generator, model: str, width: int, n_rows: int) -> ModelUpdate:
    rows = np.sort(rng.choice(N_ITEMS, n_rows, replace=False))
    return ModelUpdate(
        round=0,
        model=model,
        rows=rows.astype(np.uint32),
        values=rng.normal(0.0, 1.0, (n_rows, width)).astype(np.float32),
        # Some know nothing, some claim more than can be known.
        evidence=rng.choice(np.array([0.0, 0.3, 2.0, 99.0], np.float32), n_rows),
        dense=rng.normal(0.0, 1.0, 4).astype(np.float32),
        degree=1,
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(
        st.lists(st.sampled_from([0, 1, 7, 40, N_ITEMS]), max_size=4), min_size=2, max_size=2
    ),
    dilution=st.sampled_from([0.0, 0.5, 1.0]),
    max_hearsay=st.sampled_from([5, 1_000]),
)
def test_any_inbox_is_averaged_the_same(
    seed: int, sizes: list[list[int]], dilution: float, max_hearsay: int
) -> None:
    """Updates of all rows and of few, none and several of them, with and without evidence."""
    states = []
    for wanted in (False, True):
        rng = np.random.default_rng(seed)
        peers = learners(Task.CLICK, "epidemic", [25, 0] + [0] * (N_PEERS - 2), 0.0)[:2]
        averages = []
        for peer, its_sizes in zip(peers, sizes, strict=True):
            model = peer.knowledge.model
            share = 1.0 / (len(its_sizes) + 1)
            updates = [an_update(rng, model.name, model.width, n) for n in its_sizes]
            averages.append(
                Average(
                    knowledge=peer.knowledge,
                    updates=updates,
                    weights=[share] * len(updates),
                    own_weight=share,
                    dilution=dilution,
                    max_hearsay=max_hearsay,
                )
            )
        with kernels(wanted=wanted):
            average_together(averages)
            average_together(averages)  # once more, with all rows held
        states.append(peers)
    for some, other in zip(*states, strict=True):
        assert_same_bytes(some, other)


@pytest.mark.parametrize("weights", [(0.5, 0.4, 0.2), (1.1, -0.1), (float("nan"), 0.5)])
def test_weights_that_are_no_shares_are_refused(weights: tuple[float, ...]) -> None:
    [peer] = learners(Task.CLICK, "epidemic", [5], 0.0)
    own_weight, *others = weights
    rng, model = np.random.default_rng(0), peer.knowledge.model
    with pytest.raises(ValueError, match="shares"):
        Average(
            knowledge=peer.knowledge,
            updates=[an_update(rng, model.name, model.width, 7) for _ in others],
            weights=others,
            own_weight=own_weight,
            dilution=0.5,
            max_hearsay=1_000,
        )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), max_rows=st.integers(1, N_ITEMS + 5))
def test_the_same_rows_are_drawn_and_said(seed: int, max_rows: int) -> None:
    said: list[list[ModelUpdate]] = []
    for wanted in (False, True):
        rng = np.random.default_rng(seed)
        peers = learners(Task.CLICK, "epidemic", [30, 0, 60] + [0] * (N_PEERS - 3), 0.0)[:3]
        for peer in peers:
            table = peer.knowledge.table
            at = table.touch(np.sort(rng.choice(N_ITEMS, rng.integers(0, N_ITEMS), replace=False)))
            table.others[at] = rng.choice([0.0, 0.001, 0.2, 1.0, 1.5], len(at))
            table.evidence[at] = rng.choice([0.0, 1.0, 40.0], len(at))
        speakers = [
            Speaker(
                knowledge=peer.knowledge,
                round=0,
                degree=1,
                shown=peer.protection.shown_places,
                among=np.unique,
                key=np.uint64(seed + number),
            )
            for number, peer in enumerate(peers)
        ]
        with kernels(wanted=wanted):
            said.append(make_updates(speakers, max_rows=[max_rows] * len(peers)))
    for some, other in zip(*said, strict=True):
        assert len(some.rows) <= max_rows
        for name in ("rows", "values", "evidence", "dense"):
            array: NDArray[np.generic] = getattr(some, name)
            assert array.tobytes() == getattr(other, name).tobytes(), name


def test_nothing_that_a_device_runs_loads_the_compiler() -> None:
    script = (
        "import sys, peers.cli.main, peers.daemon, p2prec.training.local, p2prec.models.families; "
        "print([name for name in ('numba', 'llvmlite') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_who_asks_late_is_answered_too() -> None:
    with kernels(wanted=True):
        script = "from p2prec.kernels import compiled\nassert compiled() is not None"
        exec(script, {})  # noqa: S102 - an import that comes after the kernels were loaded
