"""What a network without a server is held against: the same model with one.

No peer does any of this; an evaluation plays the server.

``centralised``: everybody's interactions in one place. One model goes from user to user, each of
whom trains it for a pass (incremental stochastic gradient descent), round after round. What a
model calls private, or keeps in any part as an owner's own bent, is one parameter set a user and
stays with its user: shared return habits are worse than own ones, and an upper bound for every
method that only exchanges models must not lose what a peer has without any exchange.

``server_fedavg``: federated averaging (McMahan et al., AISTATS 2017, algorithm 1) with all clients
in every round: all train, the server averages, all go on from the mean. Rows are averaged over
the clients that know them, weighted by evidence; dense parameters by number of examples.

Statistics are counted over all users, in both, and each user is told those of the *others*: with
its own visits among them, every place that it has tried would have been tried by somebody, which
is true of no place that it may try next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    counted = _Counted.over(learners)
    for round_ in range(rounds):
        examples: list[int] = []
        for start in range(0, len(learners), _TOGETHER):
            clients = learners[start : start + _TOGETHER]
            reports = train_together(clients, [round_] * len(clients))
            examples += [report.n_examples for report in reports]
        states = [learner.state() for learner in learners]
        weights = np.array(examples, np.float64)
        shared = _mean(learners, states, weights / max(1.0, weights.sum()))
        bent = learners[0].knowledge.model.own_bent
        for learner, state in zip(learners, states, strict=True):
            learner.restore(_taken(learner, state, shared, counted, bent))
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
    counted = _Counted.over(learners)
    shared = _mean(learners, [learner.state() for learner in learners], None)
    own = (learners[0].knowledge.model.own_bent > 0).astype(np.float32)
    for round_ in range(rounds):
        for i in rng.permutation(len(learners)).tolist():
            learner = learners[i]
            learner.restore(_taken(learner, learner.state(), shared, counted, own))
            train_together([learner], [round_])
            shared = learner.state()
        for learner in learners:
            learner.restore(_taken(learner, learner.state(), shared, counted, own))
        after(round_ + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """Statistics over all users.

    Attributes:
        visitors: Shape ``(n_items,)``, users who have met each item.
        dense: Shape ``(n_statistics,)``, sum of what each user adds.
        n: Users.
    """

    visitors: NDArray[np.float64]
    dense: NDArray[np.float64]
    n: int

    @classmethod
    def over(cls, learners: Sequence[LocalLearner]) -> _Counted:
        """Count once: histories do not change."""
        first = learners[0].knowledge
        visitors = np.zeros(len(first.catalogue))
        for learner in learners:
            visitors[learner.knowledge.timeline.own] += 1.0
        own = [x.knowledge.model.own_statistics(x.knowledge.timeline) for x in learners]
        return cls(visitors=visitors, dense=np.sum(own, axis=0, dtype=np.float64), n=len(learners))

    def others_of(self, learner: LocalLearner) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Share of the others that met each item, and mean of their statistics."""
        knowledge, others = learner.knowledge, max(1, self.n - 1)
        visitors = self.visitors.copy()
        visitors[knowledge.timeline.own] -= 1.0
        dense = self.dense - knowledge.model.own_statistics(knowledge.timeline)
        return visitors / others, np.maximum(dense, 0.0) / others


def _mean(
    learners: Sequence[LocalLearner], states: Sequence[State], weights: NDArray[np.float64] | None
) -> State:
    """The server's model: means over clients."""
    first = learners[0].knowledge
    n_items, width = len(first.catalogue), first.model.width
    change = np.zeros((n_items, width))
    mass, accumulator = np.zeros(n_items), np.zeros(n_items)
    for state in states:
        rows, evidence = state["rows"].astype(np.int64), state["evidence"].astype(np.float64)
        change[rows] += evidence[:, None] * (state["values"] - first.table.initial[rows])
        mass[rows] += evidence
        accumulator[rows] += evidence * state["accumulator"]
    known = np.flatnonzero(mass > 0)
    values = first.table.initial[known] + change[known] / mass[known, None]
    if weights is None:
        weights = np.full(len(learners), 1.0 / len(learners))
    dense = np.einsum("c,cd->d", weights, np.stack([s["dense"] for s in states]))
    return {
        "rows": known.astype(np.uint32),
        "values": values.astype(np.float32),
        "accumulator": (accumulator[known] / mass[known]).astype(np.float32),
        "evidence": np.minimum(mass[known], 1e4).astype(np.float32),
        "dense": dense.astype(np.float32),
        "dense_accumulator": np.mean([s["dense_accumulator"] for s in states], axis=0),
    }


def _taken(
    learner: LocalLearner,
    own: State,
    shared: State,
    counted: _Counted,
    bent: NDArray[np.float32],
) -> State:
    """The shared model at one user.

    Args:
        learner: The user, who keeps what is private.
        own: Its state.
        shared: The server's model.
        counted: Of all users.
        bent: Shape ``(n_dense,)``, how much of its own value of each parameter it keeps.
    """
    visitors, statistics = counted.others_of(learner)
    values = shared["values"].copy()
    values[:, OTHERS] = visitors[shared["rows"].astype(np.int64)]
    dense = (1.0 - bent) * shared["dense"] + bent * own["dense"]
    dense[learner.knowledge.model.statistics] = statistics
    # What a user keeps whole has its own history of steps too.
    accumulator = np.where(bent >= 1.0, own["dense_accumulator"], shared["dense_accumulator"])
    return {
        **shared,
        "values": values,
        "dense": dense,
        "dense_accumulator": accumulator,
        "private": own["private"],
        "private_accumulator": own["private_accumulator"],
    }
