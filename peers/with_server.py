"""The rows of an evaluation that need a server, on the split and rounds of the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from p2prec.evaluation.answers import Answer
from p2prec.evaluation.central import centralised, server_fedavg
from p2prec.kernels import use_compiled
from p2prec.training.local import LocalLearner, payloads_together
from peers.asking import asked_at
from peers.cli.progress import bars, error_console
from peers.codec import encode_message
from peers.examination import Examination
from peers.messages import Share
from peers.scenario import MethodConfig, Scenario, learner_config, learning_seed
from peers.sealing import sealed_bytes
from peers.swarm.data import Realm

WITH_A_SERVER: Final = ("server_fedavg", "centralised")
_INTERACTION_BYTES: Final = 4 + 8 + 4  # item, time and rating, sent once to a server

_Server = Callable[[list[LocalLearner], int, Callable[[int], None]], None]


def learners_of(
    scenario: Scenario, realm: Realm, examination: Examination, model: str, *, most: int = 0
) -> list[LocalLearner]:
    """One learner a user, of one model, that knows the training interactions.

    Args:
        scenario: Its training settings and seed.
        realm: The users.
        examination: Of the realm.
        model: ``family/size`` or ``family/size/task``.
        most: Only the first so many users; 0 for all.
    """
    config = learner_config(scenario, MethodConfig(name="epidemic"), model)
    return [
        LocalLearner(
            realm.catalogue,
            config,
            history=split.train,
            seed=learning_seed(scenario, i),
            device_seed=i,
        )
        for i, split in enumerate(examination.splits[: most or None])
    ]


def with_a_server(
    name: str,
    scenario: Scenario,
    realm: Realm,
    examination: Examination,
    model: str,
    *,
    label: str,
    quiet: bool,
    between: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], dict[int, Answer]]:
    """One of ``WITH_A_SERVER``: its row of the table, and its answers by user.

    Args:
        name: Which one.
        scenario: Its rounds, training settings and seed.
        realm: The users.
        examination: Of the realm.
        model: As of ``learners_of``.
        label: Before the name, where progress is shown.
        quiet: Whether it is not.
        between: Called between two rounds.
    """
    use_compiled()  # many users in one process
    begun = time.monotonic()
    learners = learners_of(scenario, realm, examination, model)
    rounds = scenario.schedule.max_rounds
    serve: dict[str, _Server] = {
        "server_fedavg": lambda peers, n, after: server_fedavg(peers, n, after=after),
        "centralised": lambda peers, n, after: centralised(
            peers, n, rng=np.random.default_rng(scenario.seed), after=after
        ),
    }

    def after(n: int) -> None:
        if n < rounds:  # of the last one the answers alone are missing
            between()

    console = error_console()
    if quiet or not console.is_terminal:
        serve[name](learners, rounds, after)
    else:
        with bars(console) as progress:
            task = progress.add_task(f"{label}{name}", total=rounds, text="")

            def shown(n: int) -> None:
                progress.update(task, completed=n)
                after(n)

            serve[name](learners, rounds, shown)
    n_bytes = _bytes_of_a_client(name, learners, rounds)
    answers = {}
    for user, learner in enumerate(learners):
        learner.add(examination.known(user))
        scores = learner.scores(asked_at(examination.splits[user].test))
        answers[user] = examination.answer(user, scores)
    row = {
        "bytes_per_peer": n_bytes,
        "rounds": rounds,
        "seconds": round(time.monotonic() - begun, 2),
    }
    return row, answers


def _bytes_of_a_client(name: str, learners: list[LocalLearner], rounds: int) -> int:
    """What one client sends, mean; in a gossip network the same model goes to every follower."""
    if name == "centralised":
        return round(
            float(np.mean([len(each.knowledge.timeline) for each in learners])) * _INTERACTION_BYTES
        )
    made = payloads_together(learners, [rounds] * len(learners), degrees=[1] * len(learners))
    sizes = [
        sum(sealed_bytes(len(encode_message(Share(payload=p)))) for p in payloads)
        for payloads in made
    ]
    return round(rounds * float(np.mean(sizes)))
