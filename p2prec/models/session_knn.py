"""Session-based neighbours: what is in sessions of others that are like the owner's last one.

    p_j = (1 - little) votes_j / sum votes + little popular_j / sum popular, times e^bias_j

``votes`` are those of ``p2prec.models.sessions``, over the sessions that the peer has been told of
by the method ``sessions``. Nothing is trained: what others did is remembered, and asked when it is
needed (Ludewig & Jannach, UMUAI 2018, find such methods ahead of recurrent networks on most of
their data). ``embedding_size`` is the number of interactions in a session that this peer tells of.

Measured: ``docs/results/films_evaluate.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.models.model import Gradients, Looking, Observer, Outlook, Parameters, Snapshot, Step
from p2prec.models.moments import Moment, Timeline
from p2prec.models.popularity import Newcomer
from p2prec.models.recommender import Task
from p2prec.models.sessions import Neighbours
from p2prec.models.softmax import log_softmax
from p2prec.models.stack import Stack
from p2prec.models.table import BIAS, OTHERS

Floats = NDArray[np.float32]
_NEVER = np.float32(-1e9)


class SessionKNN:
    """Sessions of others that are like the owner's last one vote; the method sessions brings them.

    An item row holds popularity and a bias, as of ``Ranker``.
    """

    family = "session_knn"
    tasks = frozenset({Task.RANKING})
    sizes: tuple[int, ...] = (8, 16, 32)
    task = Task.RANKING
    width = 2
    n_dense = 0
    n_private = 0
    statistics = slice(0, 0)
    dense_accumulator = 1.0
    row_rate = 1.0
    first = sys.maxsize  # no interaction is learned from
    of_moments = True
    heeds_biases = 0.125

    def __init__(self, catalogue: Catalogue, embedding_size: int, task: Task) -> None:
        del task  # one only
        self.catalogue = catalogue
        self.size = embedding_size
        self.name = f"{self.family}/{embedding_size}"
        self.own_bent = np.zeros(0, np.float32)

    def initial_dense(self) -> Floats:
        """There are none."""
        return np.zeros(0, np.float32)

    def initial_private(self, timeline: Timeline) -> Floats:
        """There are none."""
        del timeline
        return np.zeros(0, np.float32)

    def dense_rates(self, *, explore_rate: float) -> Floats:
        """There are none."""
        del explore_rate
        return np.zeros(0, np.float32)

    def own_statistics(self, timeline: Timeline) -> Floats:
        """There are none."""
        del timeline
        return np.zeros(0, np.float32)

    def sample(
        self,
        timelines: Sequence[Timeline],
        owner: NDArray[np.int64],
        at: NDArray[np.int64],
        *,
        negatives: int,
        keys: NDArray[np.uint64],
    ) -> NDArray[np.int32]:
        """Nothing is compared."""
        del timelines, owner, negatives, keys
        return np.empty((len(at), 0), np.int32)

    def rows_of_example(self, negatives: int) -> int:
        """None, but groups have to end."""
        del negatives
        return 1

    def gradients(self, stack: Stack, step: Step) -> Gradients:
        """Nothing is learned by steps."""
        del stack
        n, nothing = len(step.timelines), np.zeros((len(step.timelines), 0), np.float32)
        return Gradients(loss=np.zeros(n), dense=nothing, private=nothing, rows=())

    def observer(self) -> Observer:
        """Sessions are laid out for each who asks."""
        return self._observe

    def at_rest(self, now: Snapshot) -> Looking:
        """Sessions are laid out here and now."""
        parameters = now.parameters()
        return partial(self._look, parameters, self._neighbours(parameters))

    def _neighbours(self, parameters: Parameters) -> Neighbours:
        return Neighbours(parameters.sessions, len(self.catalogue))

    def _observe(self, parameters: Parameters, moment: Moment | None) -> Outlook:
        return self._look(parameters, self._neighbours(parameters), moment)

    def _look(
        self, parameters: Parameters, neighbours: Neighbours, moment: Moment | None
    ) -> Outlook:
        others, bias = parameters.table[:, OTHERS], parameters.table[:, BIAS]
        if moment is None:
            return Newcomer(others, bias)
        recent = moment.recent[moment.recent_share > 0]
        votes, popular = neighbours.shares(recent, np.maximum(others, 0.0))
        return Asked(own=moment.own, votes=votes, popular=popular, bias=bias)


class Asked:
    """An owner with a history, in one situation.

    Args:
        own: Shape ``(n_own,)``, items that the owner knows.
        votes: Shape ``(n_items,)``, how likely each is next by sessions.
        popular: Shape ``(n_items,)``, and by popularity.
        bias: Shape ``(n_items,)``.
    """

    def __init__(
        self, *, own: NDArray[np.int32], votes: Floats, popular: Floats, bias: Floats
    ) -> None:
        self._own, self._votes, self._popular, self._bias = own, votes, popular, bias

    def _logits(self) -> Floats:
        logits: Floats = np.log(self._votes + self._popular) + self._bias
        return logits

    def scores(self) -> Floats:
        """Log-probabilities."""
        return log_softmax(self._logits())

    def explore_log_probabilities(self) -> Floats:
        """Of the items that are new in this situation alone."""
        logits = self._logits()
        logits[self._own] = _NEVER
        return log_softmax(logits)

    def reasons(self, item: int) -> dict[str, float]:
        """How many times likelier each makes the item than any: in logarithms."""
        n = len(self._bias)
        found = {
            "others meet it with what you met lately": self._votes[item],
            "others go there": self._popular[item],
        }
        return {name: float(np.log1p(n * share)) for name, share in found.items()}
