"""Search for settings with Optuna: as many trials for each method, none of which sees the test.

    python -m tests.benchmarks.tune DATA --out docs/results

DATA is a CSV of check-ins or the folder of MovieLens 100K. As in ``learners.py``, each learner
trains on all but its owner's last ``--hold`` interactions and is asked for all of those but the
last two, which belong to validation and test. The first trial has the frozen settings of ``p2prec
evaluate``, the others are drawn by Optuna's TPE from the same ranges of training settings for all
rows, those with a server among them, and from ranges of the row's own. A search flatters what it
finds: the best trial is therefore asked once more, on as many other users, beside the frozen
settings. Only what is better there by two standard errors is worth writing into a file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import torch

from p2prec.kernels import use_compiled
from peers.evaluate import FROZEN, FROZEN_FILMS
from peers.scenario import MethodConfig, Scenario, load_scenario
from peers.swarm.data import load_realm
from tests.benchmarks.learners import CENTRAL, Answers, ask, differences, lived, means
from tests.benchmarks.results import Result, Results

Range = Callable[[optuna.Trial, str], float]
_FIGURE = "all ndcg@10"


def _log(low: float, high: float) -> Range:
    return lambda trial, name: trial.suggest_float(name, low, high, log=True)


def _plain(low: float, high: float) -> Range:
    return lambda trial, name: trial.suggest_float(name, low, high)


_TRAINING: dict[str, Range] = {
    "training.learning_rate": _log(0.002, 0.1),
    "training.dense_learning_rate": _log(0.03, 1.0),
    "training.reg": _log(0.001, 0.3),
}
_AVERAGING: dict[str, Range] = {"collaboration.dilution": _plain(0.0, 1.0)}
_SOFT: dict[str, Range] = {
    "collaboration.bias_step": _plain(0.0, 1.0),
    "collaboration.fading": _plain(0.0, 0.5),
    "collaboration.distillation": _plain(0.0, 1.0),
}
_OWN: dict[str, dict[str, Range]] = {
    "alone": {},
    "epidemic": _AVERAGING,
    "metropolis_hastings": _AVERAGING,
    "pepper": _AVERAGING,
    "dclr": {
        **_AVERAGING,
        "collaboration.temperature": _log(0.1, 5.0),
        "collaboration.self_bias": _plain(-1.0, 2.0),
        "collaboration.mutual_information": _log(0.001, 0.1),
    },
    "gossip_adam": {
        **_AVERAGING,
        "collaboration.step": _log(0.01, 0.25),
        "collaboration.momentum": _plain(0.5, 0.95),
        "collaboration.variance": _plain(0.0, 1.0),
    },
    "mac": {"collaboration.temperature": _log(0.05, 2.0), **_SOFT},
    "d_dist": _SOFT,
    "dard": {"collaboration.temperature": _log(0.05, 2.0), **_SOFT},
    "server_fedavg": {},
    "centralised": {},
}
_HEAD = """# Settings searched for with Optuna

{origin}

Every row had the same budget: {trials} trials, the first with the frozen settings. Trained on
all but the last {hold} interactions of each user, asked for those but the last two: neither
validation nor test was looked at. *found* and *frozen* are NDCG@10 on the users of the search;
*elsewhere* is the difference on as many other users, with a standard error from a bootstrap over
them. Every trial is in [tuning.json](tuning.json), with its commit.
"""


def main() -> None:
    """Search for each method, then ask once more."""
    torch.set_num_threads(1)
    use_compiled()  # the same bytes
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    args = _arguments()
    results = Results(
        Path(args.out) if args.out else None,
        "tuning",
        key=("data", "method", "users", "trial"),
        table=table,
    )
    films = Path(args.data).is_dir()
    frozen = load_scenario(FROZEN_FILMS if films else FROZEN)
    scenario = replace(frozen, peers=replace(frozen.peers, count=args.users))
    data = Path(args.data).name.removesuffix(".gz").removesuffix(".csv")
    about: Result = {"data": data, "users": args.users, "hold": args.hold, "trials": args.trials}
    about["seed"] = args.seed
    named = {method.title: method for method in scenario.methods}
    named |= {name: replace(named["epidemic"], training={}, options={}) for name in CENTRAL}
    known = [name for name in _OWN if name in named]
    for name in args.methods.split(",") if args.methods else known:
        if name not in known:
            sys.exit(f"no ranges for {name!r}; take some of {', '.join(known)}")
        searched = _Searched(scenario, named[name], args, films=films, row=name)

        def keep(trial: int | str, found: Answers, settings: Sequence[str], name: str) -> None:
            measured = {"questions": len(found.rank), **means(found)}
            said = {"method": name, "trial": trial, "settings": " ".join(settings)}
            results.add({**about, **said, **measured})
            print(json.dumps(results.all[-1]), file=sys.stderr, flush=True)

        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=args.seed)
        )
        best, best_settings = -1.0, list[str]()
        for number in range(args.trials):
            trial = study.ask()
            settings = searched.drawn(trial) if number else []
            found = searched.answers(settings, sample=0)
            value = means(found)[_FIGURE]
            if number:
                study.tell(trial, value)
            else:  # what is frozen is no draw, and so teaches the sampler nothing
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            keep(number, found, settings, name)
            if value > best:
                best, best_settings = value, settings
        again = searched.answers(best_settings, sample=1)
        before = searched.answers([], sample=1)
        keep("elsewhere, frozen", before, [], name)
        keep("elsewhere, found", again, best_settings, name)
        gain = differences(again, before)[_FIGURE]
        results.all[-1] |= {"minus frozen": gain["mean"], "se": gain["se"]}
        results.save()
    print(results.table())


class _Searched:
    """One row, measured with any settings."""

    def __init__(
        self,
        scenario: Scenario,
        method: MethodConfig,
        args: argparse.Namespace,
        *,
        films: bool,
        row: str,
    ) -> None:
        self._scenario, self._method, self._args, self._films = scenario, method, args, films
        self._row = row

    def drawn(self, trial: optuna.Trial) -> list[str]:
        """Settings of a trial."""
        ranges = {**_TRAINING, **_OWN[self._row]}
        return [f"{name}={draw(trial, name):.4g}" for name, draw in ranges.items()]

    def answers(self, settings: Sequence[str], *, sample: int) -> Answers:
        """Of the users of one sample."""
        seeded = replace(self._scenario, seed=sample)
        realm = load_realm(seeded, data=self._args.data)
        learners = lived(
            seeded,
            self._method,
            realm,
            hold=self._args.hold,
            rounds=self._args.rounds,
            settings=settings,
            exchange=CENTRAL.get(self._row),
        )
        found = Answers()
        ask(learners, realm, found, first_user=0, repeats=not self._films)
        return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--methods", default="", help="rows with commas; all where empty")
    parser.add_argument("--trials", type=int, default=12, help="of each row")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=0, help="0 as the frozen settings say")
    parser.add_argument("--hold", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument("--out", default="", help="folder of tuning.json and tuning.md")
    return parser.parse_args()


def table(results: Sequence[Result], origin: str) -> str:
    """What was found, by data set and method.

    Args:
        results: Of all methods.
        origin: Where they come from.
    """
    last = results[-1]
    parts = [_HEAD.format(origin=origin, trials=last["trials"], hold=last["hold"])]
    for data, users in dict.fromkeys((r["data"], r["users"]) for r in results):
        parts.append(f"## {data}, {users} users\n")
        parts.append("| method | questions | frozen | found | elsewhere, minus frozen | settings |")
        parts.append("| --- | --- | --- | --- | --- | --- |")
        held = [r for r in results if (r["data"], r["users"]) == (data, users)]
        by_method = dict.fromkeys(r["method"] for r in held)
        parts += [_line(method, [r for r in held if r["method"] == method]) for method in by_method]
        parts.append("")
    return "\n".join(parts)


def _line(method: Any, found: Sequence[Result]) -> str:
    trials = [r for r in found if isinstance(r["trial"], int)]
    best = max(trials, key=lambda r: float(r[_FIGURE]))
    gain = next((r for r in found if "minus frozen" in r), None)
    cells = [
        method,
        str(best["questions"]),
        f"{trials[0][_FIGURE]:.4f}",
        f"{best[_FIGURE]:.4f}",
        f"{gain['minus frozen']:+.4f} ± {gain['se']:.4f}" if gain else "-",
        str(best["settings"]).replace(" ", ", ") or "as frozen",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
