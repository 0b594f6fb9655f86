"""``p2prec evaluate``: every method on one data set, one split, one budget, nothing tuned on it.

Three questions, each with frozen settings and tables of its own: which item is next, for which
places and films have different models; where items lie nowhere and are not met twice, as films,
also whether one will be clicked on; and where users have rated, which rating the next one gets.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from p2prec.collaboration.methods import METHODS
from p2prec.errors import ConfigError
from p2prec.evaluation.baselines import BASELINES
from p2prec.evaluation.comparison import REFERENCE, Comparison
from p2prec.evaluation.metrics import quality
from p2prec.models.families import FAMILIES, parse_model
from p2prec.models.recommender import Task
from p2prec.ranges import check_range
from p2prec.text import nearest
from p2prec.training.config import TrainingConfig
from p2prec.training.local import train_together
from peers.cli.comparison import print_comparison
from peers.cli.progress import error_console
from peers.cli.tables import print_table
from peers.evaluate_rows import (
    USERS,
    Asked,
    base_rate,
    baseline_answers,
    before_names,
    clicked_on,
    compared,
    lived,
    rated,
    rated_by_means,
)
from peers.examination import Examination
from peers.files import make_folder
from peers.provenance import provenance
from peers.ranges import SCENARIO
from peers.scenario import Scenario, in_rounds, load_scenario, rounds_of, training_config
from peers.simulator.checkpoint import Keeper, asked_for, data_digest
from peers.simulator.estimate import check_memory
from peers.simulator.keeping import NOT_KEPT, Keeping
from peers.swarm.data import Realm, load_realm, usable_users
from peers.swarm.repeats import stopped_by_ctrl_c
from peers.swarm.summary import spread
from peers.with_server import WITH_A_SERVER, learners_of

FROZEN: Final = Path(__file__).with_name("evaluate.toml")
FROZEN_FILMS: Final = Path(__file__).with_name("evaluate_films.toml")
FROZEN_RATINGS: Final = Path(__file__).with_name("evaluate_ratings.toml")
_PROBED: Final = 4  # users whose examples tell how long an evaluation takes: half a second
# Rounds of training that a round of a peer costs, measured: publishing, merging and the network.
_COST: Final = {
    "nothing": 1.5,
    "parameters": 2.0,
    "probabilities": 8.0,
    "both": 9.0,
    "sessions": 2.0,
}


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
    keeping: Keeping = NOT_KEPT,
    pictures: Path | None = None,
    show: bool = True,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare methods on a data set; the object of a swarm, with ``spread`` over seeds.

    ``figures``, ``against``, ``paired`` and ``answers`` are those of ``Comparison``, over seeds;
    ``clicks`` and ``ratings``, where the data has them, hold the same of the other two questions.

    Args:
        data: CSV of check-ins, or the folder of MovieLens 100K.
        methods: Of ``known_methods``; all where empty. ``alone`` always is among them.
        seeds: Repetitions.
        users: Only so many of them; 0 for all.
        rounds: Of each peer; 0 as the frozen settings say.
        processes: For the simulated peers.
        keeping: Whether, and where, what is over is kept.
        pictures: A folder to draw into; quality is then measured after every round too.
        show: Whether to print tables.
        quiet: Whether to say nothing on the way.

    Raises:
        ConfigError: An unknown method, fewer users than asked for, or too many for the memory; or
            what is kept in the folder is another evaluation.
        DataError: The file cannot be read.
        StoreError: The folder cannot be written, or what it holds is damaged.
        StoppedByUserError: Ctrl-C or SIGTERM; nothing that was started is left.
    """
    made = provenance()  # of now: the files may change while it runs
    known = known_methods()
    wanted = list(methods) or list(known)
    for name in wanted:
        if name not in known and name not in BASELINES:
            raise ConfigError(f"unknown method {name!r}; {nearest(name, known)}")
    if not data:
        raise ConfigError(
            "--data is empty; name a CSV of check-ins, or the folder of MovieLens 100K"
        )
    usable = usable_users(load_scenario(FROZEN), data=data)
    check_range(f"{data}: --users", users, (0, usable))
    check_range("--rounds", rounds, SCENARIO["schedule.max_rounds"])
    keeping.prepare()
    make_folder(pictures, key="--pictures")
    asked = Asked(
        data=data,
        methods=tuple(m for m in known if m in wanted or m == REFERENCE),
        seeds=seeds,
        users=users or usable,
        rounds=rounds,
        processes=processes,
        validate=pictures is not None,
        quiet=quiet,
    )

    tasks, realm = _tasks(asked)
    options = _options(asked)
    again = partial(_again, asked, options, pictures)
    drawn = {} if pictures is None else {"--pictures": "given"}  # which folder changes nothing

    def kept() -> dict[str, Any]:
        return asked_for(tasks, seeds=seeds, options=options | drawn, data=data_digest(realm))

    with keeping.keeper(kept, again=again, quiet=quiet) as keeper:
        _foresee(asked, tasks, keeper)
        summary = _answered(asked, tasks, keeper)
        if keeper is not None:
            keeper.result(summary)
    summary["made_by"] = made
    if show:
        print_table(summary)
        print_comparison(summary)
    if pictures is not None:
        from peers.comparison_pictures import draw_comparison

        draw_comparison(summary, pictures)
    return summary


def _options(asked: Asked) -> dict[str, str]:
    """What decides about the result, beside data, seeds and pictures, as it is asked for."""
    wanted = {"--methods": ",".join(asked.methods), "--users": str(asked.users)}
    return wanted | ({"--rounds": str(asked.rounds)} if asked.rounds else {})


def _again(asked: Asked, options: Mapping[str, str], pictures: Path | None, *more: str) -> str:
    """The command that asks for this, for a shell."""
    words = ["p2prec", "evaluate", "--data", asked.data]
    for option, value in options.items():
        words += [option, value]
    for option, number in (("--seeds", asked.seeds), ("--processes", asked.processes)):
        words += [option, str(number)] if number > 1 else []
    words += ["--pictures", str(pictures)] if pictures is not None else []
    return shlex.join([*words, *more])


def _answered(asked: Asked, tasks: Mapping[str, Scenario], keeper: Keeper | None) -> dict[str, Any]:
    """All questions."""
    summary = _next_items(tasks[""], asked, keeper)
    for name, begin, baselines in (
        ("clicks", clicked_on, base_rate),
        ("ratings", rated, rated_by_means),
    ):
        if name in tasks:
            summary[name] = compared(tasks[name], asked, begin, baselines, name=name, keeper=keeper)
    return summary


def _prepared(path: Path, asked: Asked) -> Scenario:
    """Frozen settings with what the command line asks for."""
    frozen = in_rounds(load_scenario(path), asked.rounds)
    return replace(
        frozen,
        peers=replace(frozen.peers, count=asked.users),
        methods=tuple(m for m in frozen.methods if m.title in asked.methods),
        simulation=replace(frozen.simulation, validate=asked.validate),
    )


def _of_task(scenario: Scenario, task: Task) -> Scenario:
    """The same, with models that learn another task, as far as they can."""
    return replace(
        scenario,
        name=f"{scenario.name}_{task}",
        methods=tuple(
            replace(m, models=tuple(f"{model}/{task}" for model in m.models))
            for m in scenario.methods
            if all(task in FAMILIES[parse_model(model).family].tasks for model in m.models)
        ),
    )


def _tasks(asked: Asked) -> tuple[dict[str, Scenario], Realm]:
    """The questions that the data can answer, with their frozen settings; "" is what is next.

    And the users of the first seed.
    """
    frozen = _prepared(FROZEN, asked)
    realm = load_realm(frozen, data=asked.data)
    tasks = {"": frozen}
    if not np.isfinite(realm.catalogue.latitude_deg).any():
        films = _prepared(FROZEN_FILMS, asked)
        tasks = {"": films, "clicks": _of_task(films, Task.CLICK)}
    if len(np.unique(np.concatenate([history.rating for history in realm.histories]))) > 1:
        tasks["ratings"] = _prepared(FROZEN_RATINGS, asked)
    return tasks, realm


def _foresee(asked: Asked, tasks: Mapping[str, Scenario], keeper: Keeper | None) -> None:
    """Refuse what does not fit into memory, all of it before hours of the first; say how long.

    Raises:
        ConfigError: The peers of a method would not fit.
    """
    realms = []
    for name, scenario in tasks.items():
        realm = load_realm(scenario, data=asked.data)
        realms.append((scenario, realm))
        before = before_names(name)
        missing = [
            method
            for method in scenario.methods
            if keeper is None
            or not all(keeper.is_over((seed, before + method.title)) for seed in range(asked.seeds))
        ]
        check_memory(scenario, realm, missing, processes=asked.processes, key=USERS)
    if not asked.quiet and (keeper is None or keeper.is_empty):
        _announce(asked, realms)


def _announce(asked: Asked, tasks: Iterable[tuple[Scenario, Realm]]) -> None:
    """Say how long it will take, by what an example of a few users costs."""
    seconds = 0.0
    for scenario, realm in tasks:
        model = scenario.methods[0].models[0]
        examination = Examination(realm)
        learners = learners_of(scenario, realm, examination, model, most=_PROBED)
        train_together(learners, [0] * len(learners))  # what is computed once is none of it
        begun = time.process_time()
        reports = train_together(learners, [1] * len(learners))
        spent, seen = time.process_time() - begun, sum(report.n_examples for report in reports)
        first, most = learners[0].knowledge.model.first, learners[0].config.training.max_examples
        examples = [min(max(len(s.train) - first, 0), most) for s in examination.splits]
        pass_s = spent / max(seen * scenario.training.epochs, 1) * sum(examples)
        costs = [
            _COST[METHODS[method.name].sends]
            * rounds_of(scenario, method)
            * _passes(training_config(scenario, method))
            for method in scenario.methods
        ]
        served = _COST["parameters"] * scenario.schedule.max_rounds * _passes(scenario.training)
        costs += [served for name in asked.methods if name in WITH_A_SERVER]
        seconds += pass_s * asked.seeds * sum(costs)
    error_console().print(
        f"{asked.users} users, {len(asked.methods)} methods, {asked.seeds} seeds: some "
        f"{max(1, round(seconds / 60))} minutes on one core of this machine"
    )


def _passes(training: TrainingConfig) -> float:
    """Passes over all examples in one round."""
    return training.epochs * training.example_share


def _next_items(frozen: Scenario, asked: Asked, keeper: Keeper | None) -> dict[str, Any]:
    """Which item is next: the object of a swarm, and the comparison over seeds."""
    summaries: list[dict[str, Any]] = []
    comparison: Comparison | None = None
    for seed in range(asked.seeds):
        begun = time.monotonic()
        scenario = replace(frozen, seed=seed)
        realm = load_realm(scenario, data=asked.data)
        comparison = comparison or Comparison(len(realm.catalogue))
        summary, rows, answers, examination = lived(
            scenario, realm, asked, question="", keeper=keeper
        )
        for name, given in baseline_answers(realm, examination).items():
            answers[name] = dict(enumerate(given))
            rows[name] = {"bytes_per_peer": 0, "rounds": 0}
        questions, given_by = examination.shared(answers)
        comparison.add(seed, questions, given_by)
        new = [q.is_new for q in questions]
        summary["methods"] = {
            name: {**row, **quality([a.rank for a in given_by[name]], new)}
            for name, row in rows.items()
        }
        summary["seconds"] = round(time.monotonic() - begun, 2)
        summaries.append(summary)
    first = summaries[0]
    first["spread"] = spread(summaries)
    return first | (comparison.summary() if comparison is not None else {})
