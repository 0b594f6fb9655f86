"""What a network without a server is held against: the same model with one.

No peer does any of this; an evaluation plays the server.

``centralised``: everybody's interactions in one place. Each step takes a batch of several users,
whose gradients at one shared model make one step of it. What a model calls private, or keeps in any
part as an owner's own bent, is one parameter set a user and stays with its user: shared return
habits are worse than own ones, and an upper bound for every method that only exchanges models must
not lose what a peer has without any exchange.

``server_fedavg``: federated averaging (McMahan et al., AISTATS 2017, algorithm 1) with all clients
in every round: all train, the server averages, all go on from the mean. Rows are averaged over
the clients that know them, weighted by evidence: after the first round, when all have been told of
all rows and of the evidence of everybody, that is nearly the plain mean over all clients. Dense
parameters are weighted by number of examples.

Statistics are counted over all users, in both, and each user is told those of the *others*: with
its own visits among them, every place that it has tried would have been tried by somebody, which
is true of no place that it may try next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.data.interactions import History
from p2prec.models.model import Gradients, RowGradient
from p2prec.models.shelf import spans
from p2prec.models.stack import Stack
from p2prec.training.adagrad import per_example, update_rows, update_vectors
from p2prec.training.epoch import Examples
from p2prec.training.knowledge import Knowledge, grouped
from p2prec.training.local import LocalLearner, pass_keys, train_together

_TOGETHER = 128  # clients whose steps are computed at once
_MIXED = 8  # users of one step of the centralised model
_MOST_EVIDENCE = 1e4


def server_fedavg(
    learners: Sequence[LocalLearner],
    rounds: int,
    *,
    after: Callable[[int], None] = lambda _: None,
) -> None:
    """Federated averaging, in place.

    Args:
        learners: The clients, of one model, with a method that leaves training as it is, such as
            ``epidemic``.
        rounds: Of training and averaging.
        after: Called with the number of each finished round.
    """
    server = _Server(learners)
    for round_ in range(rounds):
        examples: list[int] = []
        for start in range(0, len(learners), _TOGETHER):
            clients = learners[start : start + _TOGETHER]
            reports = train_together(clients, [round_] * len(clients))
            examples += [report.n_examples for report in reports]
        weights = np.array(examples, np.float64)
        server.average(weights / max(1.0, weights.sum()))
        server.tell(bent=server.model.own_bent)
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
        rounds: Rounds; in each every user's examples are learned from as often as by the user.
        rng: Who learns with whom.
        after: Called with the number of each finished round.
    """
    server = _Server(learners)
    own = (server.model.own_bent > 0).astype(np.float32)
    server.tell(bent=own)
    for round_ in range(rounds):
        for epoch in range(server.config.epochs):
            server.learn(pass_keys(learners, [round_] * len(learners), epoch), own > 0, rng)
        server.tell(bent=own)
        after(round_ + 1)


class _Server:
    """The shared model, and the users who go on from it.

    Args:
        learners: The users, of one model, with equal settings. From now on all of them hold the
            rows of all items that anybody holds, and know what the others do.

    Attributes:
        model: Of all.
        config: Of all.
    """

    def __init__(self, learners: Sequence[LocalLearner]) -> None:
        self._users = [learner.knowledge for learner in learners]
        first = self._users[0]
        self.model, self.config = first.model, first.config
        nothing = History(
            item=np.empty(0, np.int32),
            timestamp_s=np.empty(0, np.int64),
            rating=np.empty(0, np.float32),
        )
        self._shared = Knowledge(first.catalogue, self.model, self.config, nothing)
        own = [self.model.own_statistics(user.timeline) for user in self._users]
        others = max(1, len(own) - 1)
        total = np.sum(own, axis=0, dtype=np.float64)
        self._statistics = [np.maximum(total - one, 0.0) / others for one in own]
        self._visitors = np.zeros(len(first.catalogue))
        for user in self._users:
            self._visitors[user.timeline.own] += 1.0
        self._version = 0  # of the shared rows
        self._read = [-1] * len(own)  # which one each user has
        self._notes: dict[int, Any] = {}  # of stacks, by user; good for one version
        self.average(np.full(len(own), 1.0 / len(own)))
        for user in self._users:  # one by one before they sit together: shelves are copied to grow
            user.table.touch(self._shared.table.rows)
        for _ in grouped(self._users):
            pass

    def average(self, weights: NDArray[np.float64]) -> None:
        """The shared model becomes the mean over users.

        Args:
            weights: Of each user's dense parameters; rows are weighted by evidence.
        """
        initial, shared = self._shared.table.initial, self._shared
        change = np.zeros(initial.shape)
        mass, accumulator = np.zeros(len(initial)), np.zeros(len(initial))
        for user in self._users:
            table = user.table
            rows, evidence = table.rows, table.evidence.astype(np.float64)
            change[rows] += evidence[:, None] * (table.values - initial[rows])
            mass[rows] += evidence
            accumulator[rows] += evidence * table.accumulator
        self._changed()
        known = np.flatnonzero(mass > 0)
        at = shared.table.touch(known)
        shared.table.values[at] = initial[known] + change[known] / mass[known, None]
        shared.table.accumulator[at] = accumulator[known] / mass[known]
        shared.table.evidence[at] = np.minimum(mass[known], _MOST_EVIDENCE)
        shared.dense = np.einsum("u,ud->d", weights, np.stack([u.dense for u in self._users]))
        shared.dense_accumulator = np.mean([u.dense_accumulator for u in self._users], axis=0)

    def tell(self, *, bent: NDArray[np.float32]) -> None:
        """All users go on from the shared model.

        Args:
            bent: Shape ``(n_dense,)``, how much of its own value of each parameter a user keeps.
        """
        shared = self._shared
        visitors = self._visitors[shared.table.rows]
        for number, user in enumerate(self._users):
            at = self._read_rows(number)
            user.table.accumulator[at] = shared.table.accumulator
            user.table.evidence[at] = shared.table.evidence
            others = visitors - np.isin(shared.table.rows, user.timeline.own)
            user.table.others[at] = others / max(1, len(self._users) - 1)
            user.dense = (1.0 - bent) * shared.dense + bent * user.dense
            user.dense[self.model.statistics] = self._statistics[number]
            # What a user keeps whole has its own history of steps too.
            whole = bent >= 1.0
            accumulator = np.where(whole, user.dense_accumulator, shared.dense_accumulator)
            user.dense_accumulator = accumulator

    def learn(
        self, keys: NDArray[np.uint64], own: NDArray[np.bool_], rng: np.random.Generator
    ) -> None:
        """One pass over the examples of all users.

        Args:
            keys: Of each user's stream.
            own: Shape ``(n_dense,)``, parameters that each user has for itself.
            rng: Who learns with whom.
        """
        some = [i for i, user in enumerate(self._users) if user.n_examples]
        users = [self._users[i] for i in some]
        drawn = Examples.of(users).drawn(keys[some])
        size = self.config.batch_size
        for members, batch in _mixed(users, drawn.counts, size, rng):
            begin = batch * size
            lengths = np.minimum(drawn.counts[members] - begin, size)
            part = spans(drawn.starts[members] + begin, lengths)
            numbers = [some[i] for i in members.tolist()]
            stack = self._stack(numbers, own)
            nothing = [None] * len(members)
            step = drawn.step(self.model, self.config, members, part=part, lessons=nothing)
            found = self.model.gradients(stack, step)
            self._notes |= {numbers[peer]: note for peer, note in stack.notes.items()}
            self._apply(stack, found, lengths.astype(np.float32)[:, None], own)

    def _changed(self) -> None:
        """The shared rows are others now."""
        self._version += 1
        self._notes.clear()

    def _read_rows(self, number: int) -> NDArray[np.int64]:
        """Let a user have the shared rows; where they lie among its own."""
        table, shared = self._users[number].table, self._shared.table
        at = np.arange(len(table.rows))
        if not np.array_equal(table.rows, shared.rows):
            at = table.touch(shared.rows)
        table.values[at] = shared.values
        self._read[number] = self._version
        return at

    def _stack(self, numbers: Sequence[int], own: NDArray[np.bool_]) -> Stack:
        """Users of one shelf at the shared model."""
        for number in numbers:
            if self._read[number] < self._version:
                self._read_rows(number)
        users = [self._users[number] for number in numbers]
        stack = Stack(users[0].table.shelf, np.array([user.table.seat for user in users]))
        theirs = own.copy()
        theirs[self.model.statistics] = True
        stack.dense[:, ~theirs] = self._shared.dense[~theirs]
        known = [number in self._notes for number in numbers]
        stack.notes = {i: self._notes[numbers[i]] for i in np.flatnonzero(known).tolist()}
        return stack

    def _apply(
        self,
        stack: Stack,
        found: Gradients,
        sizes: NDArray[np.float32],
        own: NDArray[np.bool_],
    ) -> None:
        """One step: of what users have for themselves, and of what they share."""
        model, config = self.model, self.config
        dense, private = per_example(model, found.dense, sizes), found.private / sizes
        if model.n_private or own.any():
            update_vectors(stack, model, config, dense=dense, private=private)
            stack.store()
        shared = Stack(self._shared.table.shelf, np.array([self._shared.table.seat]))
        users = np.full((1, 1), len(dense), np.float32)
        mean = per_example(model, dense.sum(0, keepdims=True), users)
        update_vectors(shared, model, config, dense=mean, private=np.zeros_like(private[:1]))
        shared.store()
        for part in found.rows:
            update_rows(shared, model, config, _by_item(part, stack.n_items))
            self._changed()


def _mixed(
    users: Sequence[Knowledge], counts: NDArray[np.int64], size: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Who learns with whom, and from which of their batches.

    Batches of one user are spread evenly over the pass, and in order.

    Args:
        users: Those of one step sit on one shelf.
        counts: Shape ``(n,)``, examples of each, at least one.
        size: Examples of a batch.
        rng: Draws.

    Yields:
        Users, ascending, and the number of the batch of each.
    """
    batches = -(-counts // size)
    turns, user = int(batches.max()), np.repeat(np.arange(len(counts)), batches)
    batch = np.arange(len(user)) - np.repeat(np.cumsum(batches) - batches, batches)
    turn = ((batch + rng.random(len(counts))[user]) * (turns / batches[user])).astype(np.int64)
    numbers: dict[int, int] = {}
    shelves = [numbers.setdefault(id(each.table.shelf), len(numbers)) for each in users]
    shelf = np.array(shelves)[user]
    for now in range(turns):
        chosen = rng.permutation(np.flatnonzero(turn == now))
        steps = [
            part[start : start + _MIXED]
            for part in (chosen[shelf[chosen] == number] for number in range(len(numbers)))
            for start in range(0, len(part), _MIXED)
        ]
        for number in rng.permutation(len(steps)).tolist():
            step = np.sort(steps[number])
            yield user[step], batch[step]


def _by_item(part: RowGradient, n_items: int) -> RowGradient:
    """The same for the rows that users share: summed over users."""
    items, which = np.unique(part.keys % n_items, return_inverse=True)
    gradient = np.zeros((len(items), part.gradient.shape[1]), np.float32)
    np.add.at(gradient, which, part.gradient)
    known = np.bincount(which, weights=part.known) > 0
    seen = np.bincount(which, weights=part.seen).astype(np.float32)
    return RowGradient(keys=items, gradient=gradient, seen=seen, known=known)
