"""The rows of an evaluation: learned methods, those with a server, and baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from p2prec.evaluation.answers import OTHERS_SHOWN, Answer
from p2prec.evaluation.baselines import BASELINES
from p2prec.evaluation.comparison import Comparison
from p2prec.evaluation.rating_baselines import RATING_BASELINES
from p2prec.evaluation.ratings import RatingComparison
from peers.asking import asked_at
from peers.examination import Examination
from peers.scenario import Scenario
from peers.simulator.checkpoint import Keeper, Outcome, kept_or
from peers.simulator.command import simulate
from peers.swarm.data import Realm, load_realm
from peers.swarm.summary import MethodRun
from peers.with_server import WITH_A_SERVER, with_a_server

USERS: Final = "--users"  # sets how many peers there are
Baselines = Callable[[Realm, Examination], Mapping[str, Mapping[int, Answer]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for.

    Attributes:
        data: CSV of check-ins, or the folder of MovieLens 100K.
        methods: Learned ones.
        seeds: Repetitions.
        users: Of the data.
        rounds: Of each peer; 0 as the frozen settings say.
        processes: For the simulated peers.
        validate: Whether quality is measured after every round.
        quiet: Whether to say nothing on the way.
    """

    data: str
    methods: tuple[str, ...]
    seeds: int
    users: int
    rounds: int
    processes: int
    validate: bool
    quiet: bool


def compared(
    frozen: Scenario,
    asked: Asked,
    begin: Callable[[Realm], Comparison | RatingComparison],
    baselines: Baselines,
    *,
    name: str,
    keeper: Keeper | None,
) -> dict[str, Any]:
    """One question: its comparison over seeds, and ``methods`` with what each has spent.

    Args:
        frozen: Of the question.
        asked: Seeds and methods.
        begin: Makes the comparison.
        baselines: Of the question.
        name: Of the question.
        keeper: Of what is over.
    """
    spent: dict[str, Any] = {}
    comparison = None
    # No picture shows ranks by round of what is not asked for its ranks.
    frozen = replace(frozen, simulation=replace(frozen.simulation, validate=False))
    for seed in range(asked.seeds):
        scenario = replace(frozen, seed=seed)
        realm = load_realm(scenario, data=asked.data)
        comparison = comparison or begin(realm)
        _, rows, answers, examination = lived(scenario, realm, asked, question=name, keeper=keeper)
        answers |= {name: dict(given) for name, given in baselines(realm, examination).items()}
        comparison.add(seed, *examination.shared(answers))
        spent = spent or {
            name: {key: row[key] for key in ("bytes_per_peer", "rounds", "seconds")}
            for name, row in rows.items()
        }
    return {**(comparison.summary() if comparison else {}), "methods": spent}


def clicked_on(realm: Realm) -> Comparison:
    """Of models whose scores are logits of clicks."""
    return Comparison(len(realm.catalogue), clicks=True)


def rated(realm: Realm) -> RatingComparison:
    """Of models whose scores are ratings."""
    ratings = np.concatenate([history.rating for history in realm.histories])
    return RatingComparison(lowest=float(ratings.min()), highest=float(ratings.max()))


def lived(
    scenario: Scenario, realm: Realm, asked: Asked, *, question: str, keeper: Keeper | None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, dict[int, Answer]], Examination]:
    """All learned methods with one seed: the summary, rows, answers, and what was asked.

    Args:
        scenario: With the seed.
        realm: Of the seed.
        asked: Methods with a server.
        question: Its name; "" for what is next.
        keeper: Of what is over.
    """
    examination = Examination(realm)
    before = before_names(question)
    label = f"seed {scenario.seed} {before}"
    summary = simulate(
        scenario,
        realm,
        processes=asked.processes,
        label=label,
        quiet=asked.quiet,
        keeper=keeper,
        question=before,
        key=USERS,
    )
    answers: dict[str, dict[int, Answer]] = summary.pop("answers")
    rows = dict(summary["methods"])
    model = scenario.methods[0].models[0]  # of alone
    for name in asked.methods:
        if name in WITH_A_SERVER:
            run = scenario.seed, before + name
            between = {"between": partial(keeper.pause, run)} if keeper is not None else {}

            def computed(name: str = name, between: dict[str, Any] = between) -> Outcome:
                row, given = with_a_server(
                    name, scenario, realm, examination, model,
                    label=label, quiet=asked.quiet, **between,
                )  # fmt: skip
                told = MethodRun(label=name, rounds=row["rounds"], answers=given)
                return Outcome(run=told, digest="", facts=row)

            outcome = kept_or(computed, keeper, run, realm)
            rows[name], answers[name] = dict(outcome.facts), outcome.run.answers
    return summary, rows, answers, examination


def before_names(question: str) -> str:
    """What stands before the names of a question's rows, in what is shown and kept."""
    return f"{question} " if question else ""


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


def base_rate(realm: Realm, examination: Examination) -> dict[str, dict[int, Answer]]:
    """As likely for every item as a click is among those that are shown.

    Args:
        realm: Whose users are asked.
        examination: Of it.
    """
    logits = np.full(len(realm.catalogue), -np.log(OTHERS_SHOWN), np.float32)
    return {"base_rate": {u: examination.answer(u, logits) for u in range(len(realm.histories))}}


def rated_by_means(realm: Realm, examination: Examination) -> dict[str, dict[int, Answer]]:
    """What the simple predictors of ratings say.

    Args:
        realm: Whose users are asked.
        examination: Of it.
    """
    trained = [split.train for split in examination.splits]
    return {
        name: {
            user: examination.answer(user, ratings.astype(np.float32))
            for user, ratings in enumerate(said(len(realm.catalogue), trained))
        }
        for name, said in RATING_BASELINES.items()
    }
