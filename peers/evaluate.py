"""``p2prec evaluate``: every method on one data set, one split, one budget, nothing tuned on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from p2prec.errors import ConfigError
from p2prec.evaluation.answers import Answer
from p2prec.evaluation.baselines import BASELINES
from p2prec.evaluation.central import centralised, server_fedavg
from p2prec.evaluation.comparison import Comparison
from p2prec.evaluation.metrics import quality
from p2prec.text import nearest
from p2prec.training.local import LocalLearner, payloads_together
from peers.asking import asked_at
from peers.cli.comparison import print_comparison
from peers.cli.progress import bars, error_console
from peers.cli.tables import print_table
from peers.codec import encode_message
from peers.examination import Examination
from peers.messages import Share
from peers.scenario import (
    MethodConfig,
    Scenario,
    learner_config,
    learning_seed,
    load_scenario,
)
from peers.sealing import sealed_bytes
from peers.simulator.command import simulate
from peers.swarm.data import Realm, load_realm, usable_users
from peers.swarm.repeats import stopped_by_ctrl_c
from peers.swarm.summary import spread

FROZEN: Final = Path(__file__).with_name("evaluate.toml")
WITH_A_SERVER: Final = ("server_fedavg", "centralised")
_PLACES, _FILMS = "ranker/16", "mf/16"
_FILMS_OF_SEVERAL_SIZES: Final = ("mf/8", "mf/16", "mf/24")
_INTERACTION_BYTES: Final = 4 + 8 + 4  # item, time and rating, sent once to a server
_ROUND_S: Final = 0.12  # of one peer, measured on New York; for the announcement only

_Server = Callable[[list[LocalLearner], int, Callable[[int], None]], None]


def known_methods() -> tuple[str, ...]:
    """What ``--methods`` may name: all but the baselines, which are always there."""
    frozen = load_scenario(FROZEN)
    return (*(method.title for method in frozen.methods), *WITH_A_SERVER)


@stopped_by_ctrl_c("no process is left")
def run_evaluation(
    data: str,
    *,
    methods: Sequence[str] = (),
    seeds: int = 1,
    users: int = 0,
    rounds: int = 0,
    processes: int = 1,
    pictures: Path | None = None,
    show: bool = True,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare methods on a data set; the object of a swarm, with ``spread`` over seeds.

    ``figures``, ``against``, ``paired`` and ``answers`` are those of ``Comparison``, over seeds.

    Args:
        data: CSV of check-ins, or the folder of MovieLens 100K.
        methods: Of ``known_methods``; all where empty.
        seeds: Repetitions.
        users: Only so many of them; 0 for all.
        rounds: Of each peer; 0 as the frozen settings say.
        processes: For the simulated peers.
        pictures: A folder to draw into; quality is then measured after every round too.
        show: Whether to print a table.
        quiet: Whether to say nothing on the way.

    Raises:
        ConfigError: An unknown method, or fewer users than asked for.
        DataError: The file cannot be read.
        StoppedByUserError: Ctrl-C; nothing that was started is left.
    """
    known = known_methods()
    wanted = list(methods) or list(known)
    for name in wanted:
        if name not in known and name not in BASELINES:
            raise ConfigError(f"unknown method {name!r}; {nearest(name, known)}")
    frozen = load_scenario(FROZEN)
    count = users or usable_users(frozen, data=data)
    frozen = replace(
        frozen,
        peers=replace(frozen.peers, count=count),
        schedule=replace(frozen.schedule, max_rounds=rounds or frozen.schedule.max_rounds),
    )
    console = error_console()
    learned = [name for name in wanted if name not in BASELINES]
    if not quiet:
        jobs = count * frozen.schedule.max_rounds * seeds * len(learned)
        minutes = jobs * _ROUND_S / 60
        console.print(
            f"{count} users, {len(learned)} methods, {seeds} seeds: some {minutes:.0f} minutes "
            "on one core of 2026"
        )
    if pictures is not None:
        frozen = replace(frozen, simulation=replace(frozen.simulation, validate=True))
    summaries, comparison = [], None
    for seed in range(seeds):
        scenario = replace(frozen, seed=seed)
        realm = load_realm(scenario, data=data)
        scenario = replace(scenario, methods=_methods(scenario, realm, learned))
        comparison = comparison or Comparison(len(realm.catalogue))
        summaries.append(
            _one(scenario, realm, learned, comparison, processes=processes, quiet=quiet)
        )
    summary = summaries[0]
    summary["spread"] = spread(summaries)
    if comparison is not None:
        summary |= comparison.summary()
    if show:
        print_table(summary)
        print_comparison(summary)
    if pictures is not None:
        from peers.comparison_pictures import draw_comparison

        draw_comparison(summary, pictures)
    return summary


def _methods(scenario: Scenario, realm: Realm, names: Sequence[str]) -> tuple[MethodConfig, ...]:
    """The frozen methods that were asked for, with models that suit the data."""
    kept = tuple(method for method in scenario.methods if method.title in names)
    if np.isfinite(realm.catalogue.latitude_deg).any():
        return kept
    # Without positions there is no next place: factors, of as many sizes.
    return tuple(
        replace(m, models=(_FILMS,) if len(m.models) == 1 else _FILMS_OF_SEVERAL_SIZES)
        for m in kept
    )


def _one(
    scenario: Scenario,
    realm: Realm,
    names: Sequence[str],
    comparison: Comparison,
    *,
    processes: int,
    quiet: bool,
) -> dict[str, Any]:
    """The summary of one seed; its answers go into the comparison."""
    begun = time.monotonic()
    label = f"seed {scenario.seed} "
    examination = Examination(realm)
    summary = simulate(scenario, realm, processes=processes, label=label, quiet=quiet)
    answers: dict[str, dict[int, Answer]] = summary.pop("answers")
    rows = dict(summary["methods"])
    for name in names:
        if name in WITH_A_SERVER:
            rows[name], answers[name] = _with_a_server(
                name, scenario, realm, examination, label=label, quiet=quiet
            )
    ordered = {name: rows[name] for name in names}
    for name, given in baseline_answers(realm, examination).items():
        answers[name] = dict(enumerate(given))
        ordered[name] = {"bytes_per_peer": 0, "rounds": 0}
    questions, given_by = examination.shared({name: answers[name] for name in ordered})
    comparison.add(scenario.seed, questions, given_by)
    new = [q.is_new for q in questions]
    summary["methods"] = {
        name: {**row, **quality([a.rank for a in given_by[name]], new)}
        for name, row in ordered.items()
    }
    summary["seconds"] = round(time.monotonic() - begun, 2)
    return summary


def baseline_answers(realm: Realm, examination: Examination) -> dict[str, list[Answer]]:
    """What the simple baselines answer, by user.

    Args:
        realm: Whose users are asked.
        examination: Of it.
    """
    trained = [split.train for split in examination.splits]
    result = {}
    for name, build in BASELINES.items():
        model = build(realm.catalogue, trained)
        result[name] = [
            examination.answer(
                user, model.scores(examination.known(user), asked_at(examination.splits[user].test))
            )
            for user in range(len(realm.histories))
        ]
    return result


def _with_a_server(
    name: str,
    scenario: Scenario,
    realm: Realm,
    examination: Examination,
    *,
    label: str,
    quiet: bool,
) -> tuple[dict[str, Any], dict[int, Answer]]:
    """One of the two rows that need a server, on the same split and with the same rounds."""
    begun = time.monotonic()
    places = bool(np.isfinite(realm.catalogue.latitude_deg).any())
    method = MethodConfig(name="epidemic")
    config = learner_config(scenario, method, _PLACES if places else _FILMS)
    learners = [
        LocalLearner(
            realm.catalogue,
            config,
            history=split.train,
            seed=learning_seed(scenario, i),
            device_seed=i,
        )
        for i, split in enumerate(examination.splits)
    ]
    rounds = scenario.schedule.max_rounds
    serve: dict[str, _Server] = {
        "server_fedavg": lambda peers, n, after: server_fedavg(peers, n, after=after),
        "centralised": lambda peers, n, after: centralised(
            peers, n, rng=np.random.default_rng(scenario.seed), after=after
        ),
    }
    console = error_console()
    if quiet or not console.is_terminal:
        serve[name](learners, rounds, lambda _: None)
    else:
        with bars(console) as progress:
            task = progress.add_task(f"{label}{name}", total=rounds, text="")
            serve[name](learners, rounds, lambda n: progress.update(task, completed=n))
    n_bytes = _server_bytes(name, learners, rounds)
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


def _server_bytes(name: str, learners: list[LocalLearner], rounds: int) -> int:
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
