"""What a client of Flower does: matrix factorisation of one user's ratings, and its answers.

Ray's workers import it, in Flower's environment, where nothing of this project is installed. The
server sends and gets one table: the films' factors, their biases in its last column. What is the
user's own stays in the state that Flower keeps for each client.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from rival_work import Work

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"  # Flower's own names for them
WEIGHT = "num-examples"
VALUES, USER = "values", "user"
_BATCH = 32  # ratings of a step, as on our side

app = ClientApp()


def one_pass(
    table: NDArray[np.float32],
    own: NDArray[np.float32],
    films: NDArray[np.int64],
    ratings: NDArray[np.float32],
    *,
    rate: float,
    own_rate: float,
    reg: float,
) -> None:
    """Gradient descent in steps of some ratings, in place.

    Args:
        table: Shape ``(n_films, factors + 1)``.
        own: Shape ``(factors + 2,)``: the user's factors, a one that weighs films' biases, its
            bias.
        films: Shape ``(n,)``, each once.
        ratings: Shape ``(n,)``.
        rate: Learning rate of films.
        own_rate: Of the user, for the mean over a step.
        reg: Pulls all but the user's bias to zero.
    """
    learned, pulled = np.ones_like(own), np.ones_like(own)
    learned[-2] = pulled[-2] = pulled[-1] = 0.0
    for start in range(0, len(films), _BATCH):
        at = films[start : start + _BATCH]
        rows = np.column_stack((table[at], np.ones(len(at), np.float32)))
        errors = ratings[start : start + _BATCH] - rows @ own
        step = errors[:, None] * own - reg * rows
        own_step = learned * (errors @ rows) / len(at) - reg * pulled * own
        table[at] += rate * step[:, :-1]
        own += own_rate * own_step


def fresh(ratings: NDArray[np.float32], factors: int) -> NDArray[np.float32]:
    """What a user starts from: no taste, and the mean of its ratings."""
    own = np.zeros(factors + 2, np.float32)
    own[-2:] = 1.0, ratings.mean()
    return own


@app.train()  # type: ignore[untyped-decorator]
def train(message: Message, context: Context) -> Message:
    """One pass; the table goes back with the number of ratings, by which it is weighed."""
    config, table = message.content[CONFIG], _table(message)
    films, ratings = _parts(config["work"])[0][_user(context)]
    own = _own(message, context)
    rates = {name: config[name] for name in ("rate", "own_rate", "reg")}
    one_pass(table, own, films, ratings, **rates)
    context.state[VALUES] = ArrayRecord({VALUES: Array(own)})
    return _reply(message, table, {WEIGHT: len(films)})


@app.evaluate()  # type: ignore[untyped-decorator]
def evaluate(message: Message, context: Context) -> Message:
    """The ratings that the client would give to the films that it is asked for."""
    films, _ = _parts(message.content[CONFIG]["work"])[1][_user(context)]
    own = _own(message, context)
    said = _table(message)[films] @ own[:-1] + own[-1]
    return _reply(message, said, {USER: _user(context)})


def _user(context: Context) -> int:
    return int(context.node_config["partition-id"])


def _table(message: Message) -> NDArray[np.float32]:
    table: NDArray[np.float32] = message.content[ARRAYS][VALUES].numpy()
    return table


def _own(message: Message, context: Context) -> NDArray[np.float32]:
    if VALUES not in context.state:
        _, ratings = _parts(message.content[CONFIG]["work"])[0][_user(context)]
        return fresh(ratings, _table(message).shape[1] - 1)
    own: NDArray[np.float32] = context.state[VALUES][VALUES].numpy()
    return own


def _reply(message: Message, values: NDArray[np.float32], numbers: dict[str, int]) -> Message:
    arrays = ArrayRecord({VALUES: Array(values)})
    content = RecordDict({ARRAYS: arrays, METRICS: MetricRecord(numbers)})
    return Message(content=content, reply_to=message)


_Ratings = list[tuple[NDArray[np.int64], NDArray[np.float32]]]


@cache  # a worker is many clients, one after the other
def _parts(path: str) -> tuple[_Ratings, _Ratings]:
    """Films and ratings that each user knows, in random order, and that it is asked for."""
    work = Work.load(Path(path))
    rng = np.random.default_rng(work.seed)
    known = [rng.permutation(part) for part in work.of_each(work.known)]
    return _split(known), _split(work.of_each(work.asked))


def _split(parts: list[NDArray[np.float64]]) -> _Ratings:
    return [(part[:, 0].astype(np.int64), part[:, 1].astype(np.float32)) for part in parts]
