"""Our side: the learners of all users in one process, one message each a round, or a server.

python -m tests.benchmarks.rival_our_side WORK.npz '{"factors": 8, "rows": 1682, "set": []}'

With ``"server": true`` a server averages everybody's table after each round.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import peers  # noqa: F401 - before NumPy, as in a peer: it says how many threads NumPy takes

# isort: split
import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import Payload
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.evaluation.central import server_fedavg
from p2prec.kernels import use_compiled
from p2prec.models.recommender import Context, Task
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.local import LocalLearner, payloads_together
from peers.codec import encode_message
from peers.messages import Share
from tests.benchmarks.in_memory import Pushed, configured
from tests.benchmarks.rival_work import Side, Work, serve


def _begin() -> Side:
    use_compiled()
    work, options = Work.load(Path(sys.argv[1])), json.loads(sys.argv[2])
    config = LearnerConfig(
        model=ModelConfig(
            family="mf", task=Task.RATING, embedding_size=options["factors"], discovery=1.0
        ),
        training=TrainingConfig(epochs=1),
        collaboration=CollaborationConfig(
            method="epidemic", options={"max_rows": options["rows"], "dilution": 0.0}
        ),
        protection=ProtectionConfig(method="none"),
    )
    config = configured(config, options["set"])
    catalogue = films(work.n_films)
    histories = [history(ratings) for ratings in work.of_each(work.known)]

    def learner(user: int) -> LocalLearner:
        seed = work.seed * 100_003 + user
        return LocalLearner(catalogue, config, history=histories[user], seed=seed)

    together = _Served if options.get("server") else _Gossip
    # Compiled loops are read from the disk where they are first called; the other side's imports
    # are not in its time either.
    together([learner(0), learner(1)], np.array([[1], [0]]), work.seed).live(3)
    learners = [learner(user) for user in range(len(histories))]
    network = together(learners, work.graph, work.seed)
    asked = [of[:, 0].astype(np.int64) for of in work.of_each(work.asked)]
    gc.collect()
    gc.freeze()  # what lives as long as the run is not looked at again

    def sent() -> tuple[int, int]:
        messages = network.lived * network.messages_a_round
        size = np.mean([len(encode_message(Share(payload=x))) for x in network.updates()])
        return messages, round(messages * float(size))

    def said() -> NDArray[np.float32]:
        scores = (x.scores(Context(timestamp_s=0)) for x in learners)
        return np.concatenate([s[of] for s, of in zip(scores, asked, strict=True)])

    return Side(live=network.live, sent=sent, said=said)


class _Gossip:
    """One message of each to a random neighbour a round."""

    def __init__(self, learners: list[LocalLearner], graph: NDArray[np.int64], seed: int) -> None:
        self._pushed = Pushed(learners, graph.tolist(), np.random.default_rng(seed))
        self.lived, self.messages_a_round = 0, len(learners)

    def live(self, rounds: int) -> None:
        for round_ in range(self.lived, self.lived + rounds):
            self._pushed.round(round_)
        self.lived += rounds

    def updates(self) -> Iterator[Payload]:
        """What would be sent now: of full length once rows have spread, after a few rounds."""
        for said in self._pushed.said(self.lived):
            yield from said.updates([self.lived] * len(said.counts), [1] * len(said.counts))


class _Served:
    """A server averages all of them after each round: a table to each, and one back."""

    def __init__(self, learners: list[LocalLearner], graph: NDArray[np.int64], seed: int) -> None:
        del graph, seed  # nobody knows anybody, and all take part
        self._learners = learners
        self.lived, self.messages_a_round = 0, 2 * len(learners)

    def live(self, rounds: int) -> None:
        server_fedavg(self._learners, rounds)
        self.lived += rounds

    def updates(self) -> Iterator[Payload]:
        n = len(self._learners)
        for made in payloads_together(self._learners, [self.lived] * n, degrees=[1] * n):
            yield from made


def films(n_films: int) -> Catalogue:
    """All films, which are of one kind and nowhere."""
    return Catalogue.build(
        item_ids=[str(film) for film in range(n_films)],
        latitude_deg=np.full(n_films, np.nan),
        longitude_deg=np.full(n_films, np.nan),
        category_names=["film"] * n_films,
    )


def history(ratings: NDArray[np.float64]) -> History:
    """Of one user, from films and ratings of shape ``(n, 2)``."""
    return History(
        item=ratings[:, 0].astype(np.int32),
        timestamp_s=np.arange(len(ratings), dtype=np.int64),
        rating=ratings[:, 1].astype(np.float32),
    )


if __name__ == "__main__":
    serve(_begin)
