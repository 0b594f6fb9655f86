"""What a network without a server is held against: the same model with one.

No peer does any of this; an evaluation plays the server.

``centralised``: everybody's interactions in one place. One model goes from user to user, each of
whom trains it for a pass (incremental stochastic gradient descent), round after round; statistics
are counted over all. What a model calls private, or keeps as an owner's own bent, stays with its
user. An upper bound for every method that only exchanges models.

``server_fedavg``: federated averaging (McMahan et al., AISTATS 2017, algorithm 1) with all clients
in every round: all train, the server averages, all go on from the mean. Rows are averaged over
the clients that know them, weighted by evidence; dense parameters by number of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.models.table import OTHERS
from p2prec.training.local import LocalLearner, train_together

State = dict[str, NDArray[Any]]
_TOGETHER = 128  # clients whose steps are computed at once


def server_fedavg(
    learners: Sequence[LocalLearner],
    rounds: int,
    *,
    after: Callable[[int], None] = lambda _: None,
) -> None:
    """Federated averaging, in place.

    Args:
        learners: The clients, of one model.
        rounds: Of training and averaging.
        after: Called with the number of each finished round.
    """
    for round_ in range(rounds):
        examples: list[int] = []
        for start in range(0, len(learners), _TOGETHER):
            clients = learners[start : start + _TOGETHER]
            reports = train_together(clients, [round_] * len(clients))
            examples += [report.n_examples for report in reports]
        states = [learner.state() for learner in learners]
        weights = np.array(examples, np.float64)
        shared = _mean(learners, states, weights / max(1.0, weights.sum()))
        for learner, state in zip(learners, states, strict=True):
            learner.restore(_taken(learner, state, shared))
        after(round_ + 1)


def centralised(
    learners: Sequence[LocalLearner],
    rounds: int,
    *,
    rng: np.random.Generator,
    after: Callable[[int], None] = lambda _: None,
) -> None:
    """Train one model on everybody's interactions, in place.

    Args:
        learners: The users, of one model.
        rounds: Rounds; in each every user trains once.
        rng: Order of the users.
        after: Called with the number of each finished round.
    """
    shared = _mean(learners, [learner.state() for learner in learners], None)
    for round_ in range(rounds):
        for i in rng.permutation(len(learners)).tolist():
            learner = learners[i]
            learner.restore(_taken(learner, learner.state(), shared))
            train_together([learner], [round_])
            shared = _left(learner, learner.state(), shared)
        for learner in learners:
            learner.restore(_taken(learner, learner.state(), shared))
        after(round_ + 1)


def _mean(
    learners: Sequence[LocalLearner], states: Sequence[State], weights: NDArray[np.float64] | None
) -> State:
    """The server's model: means over clients, and statistics counted over all."""
    first = learners[0].knowledge
    n_items, width = len(first.catalogue), first.model.width
    change = np.zeros((n_items, width))
    mass, accumulator = np.zeros(n_items), np.zeros(n_items)
    visitors = np.zeros(n_items)
    for learner, state in zip(learners, states, strict=True):
        rows, evidence = state["rows"].astype(np.int64), state["evidence"].astype(np.float64)
        change[rows] += evidence[:, None] * (state["values"] - first.table.initial[rows])
        mass[rows] += evidence
        accumulator[rows] += evidence * state["accumulator"]
        visitors[learner.knowledge.timeline.own] += 1.0
    known = np.flatnonzero(mass > 0)
    values = first.table.initial[known] + change[known] / mass[known, None]
    values[:, OTHERS] = visitors[known] / len(learners)
    if weights is None:
        weights = np.full(len(learners), 1.0 / len(learners))
    dense = np.einsum("c,cd->d", weights, np.stack([s["dense"] for s in states]))
    statistics = first.model.statistics
    dense[statistics] = np.mean(
        [k.model.own_statistics(k.timeline) for k in (each.knowledge for each in learners)], axis=0
    )
    return {
        "rows": known.astype(np.uint32),
        "values": values.astype(np.float32),
        "accumulator": (accumulator[known] / mass[known]).astype(np.float32),
        "evidence": np.minimum(mass[known], 1e4).astype(np.float32),
        "dense": dense.astype(np.float32),
        "dense_accumulator": np.mean([s["dense_accumulator"] for s in states], axis=0),
    }


def _taken(learner: LocalLearner, own: State, shared: State) -> State:
    """The shared model at one user, who keeps what is private and the own bent."""
    bent = learner.knowledge.model.own_bent
    dense = (1.0 - bent) * shared["dense"] + bent * own["dense"]
    return {
        **shared,
        "dense": dense,
        "private": own["private"],
        "private_accumulator": own["private_accumulator"],
    }


def _left(learner: LocalLearner, state: State, shared: State) -> State:
    """The shared model after one user has trained it; statistics were counted once and stay."""
    values = state["values"].copy()
    rows = state["rows"].astype(np.int64)
    popularity = np.zeros(len(learner.knowledge.catalogue), np.float32)
    popularity[shared["rows"]] = shared["values"][:, OTHERS]
    values[:, OTHERS] = popularity[rows]
    dense = state["dense"].copy()
    statistics = learner.knowledge.model.statistics
    dense[statistics] = shared["dense"][statistics]
    return {**state, "values": values, "dense": dense}
