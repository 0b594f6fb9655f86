"""Whole learners in one process, without a network: many more questions than a swarm can ask.

    python -m tests.benchmarks.learners scenarios/foursquare_nyc.toml --data DATA.csv.gz

A swarm asks each of its peers for one interaction, the test one; a third of them are new places,
too few to tell two methods apart. Here each learner of the same scenario trains on all but its
owner's last ``--hold`` interactions and is asked for every one of those but the last two, which
belong to validation and test: what is chosen here has seen neither. Samples are the disjoint sets
of users that the seeds of a swarm take. Neighbours are chosen as by a peer that has met three
times as many others, rounds are in step, and nothing is encoded. ``--central`` adds the same model
as the first method's with a server, by federated averaging and centralised, with the scenario's
own settings of the training.

Prints one JSON object: quality by method, and differences to the first method with a standard
error from a bootstrap over users.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from p2prec.evaluation.central import centralised, server_fedavg
from p2prec.evaluation.metrics import rank_of
from p2prec.kernels import use_compiled
from p2prec.models.recommender import Context
from p2prec.training.local import LocalLearner
from peers.asking import met_again
from peers.provenance import provenance
from peers.scenario import MethodConfig, Scenario, load_scenario, peer_config, rounds_of
from peers.swarm.data import Realm, load_realm
from tests.benchmarks.in_memory import InMemory, configured

_RESAMPLES = 2_000
CENTRAL: dict[str, Callable[[Sequence[LocalLearner], int], None]] = {
    "server_fedavg": server_fedavg,
    "centralised": lambda learners, rounds: centralised(
        learners, rounds, rng=np.random.default_rng(0)
    ),
}


@dataclass(slots=True)
class Answers:
    """Ranks by question."""

    user: list[int] = field(default_factory=list)
    is_new: list[bool] = field(default_factory=list)
    rank: list[int] = field(default_factory=list)
    among_new: list[int] = field(default_factory=list)  # 0 for a returning target

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Hits and gains by question, NaN where a question is no part of it."""
        rank, new = np.array(self.rank), np.array(self.is_new)
        hit = (rank <= 10).astype(float)
        gain = np.where(rank <= 10, 1.0 / np.log2(rank + 1.0), 0.0)
        only = np.where(new, np.array(self.among_new) <= 10, np.nan)
        parts = {"all": np.ones(len(new), bool), "returning": ~new, "new": new}
        values = {
            f"{part} {name}": np.where(mask, value, np.nan)
            for part, mask in parts.items()
            for name, value in (("hr@10", hit), ("ndcg@10", gain))
        }
        return {**values, "new among new hr@10": only}


def main() -> None:
    """Train, exchange, ask."""
    torch.set_num_threads(1)
    use_compiled()  # the same bytes
    args, made = _arguments(), provenance()
    scenario = load_scenario(Path(args.scenario))
    wanted = args.methods.split(",") if args.methods else []
    methods = [m for m in scenario.methods if not wanted or m.title in wanted]
    central = CENTRAL if args.central else {}
    answers = {name: Answers() for name in (*(m.title for m in methods), *central)}
    for sample in map(int, args.samples.split(",")):
        count = args.peers or scenario.peers.count
        seeded = replace(scenario, seed=sample, peers=replace(scenario.peers, count=count))
        realm = load_realm(seeded, data=args.data)
        repeats = met_again(realm.histories)
        served = replace(methods[0], name="epidemic", training={}, options={})
        for name, method in [*((m.title, m) for m in methods), *((c, served) for c in central)]:
            began = time.process_time()
            learners = lived(
                seeded,
                method,
                realm,
                hold=args.hold,
                rounds=args.rounds,
                settings=args.settings,
                exchange=central.get(name),
            )
            trained = time.process_time()
            ask(learners, realm, answers[name], first_user=sample * count, repeats=repeats)
            spent = f"{trained - began:.0f} + {time.process_time() - trained:.0f} s CPU"
            seen = means(answers[name])
            print(f"sample {sample} {name}: {spent}, so far {seen}", file=sys.stderr, flush=True)
    first = next(iter(answers))
    result = {
        "made_by": made,
        "scenario": scenario.name,
        "samples": args.samples,
        "settings": args.settings,
        "questions": len(answers[first].rank),
        "new": int(np.sum(answers[first].is_new)),
        "methods": {name: means(a) for name, a in answers.items()},
        f"minus {first}": {
            name: differences(a, answers[first]) for name, a in answers.items() if name != first
        },
    }
    print(json.dumps(result, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario")
    parser.add_argument("--data", default="")
    parser.add_argument("--methods", default="", help="labels with commas; all where empty")
    parser.add_argument("--samples", default="0,1,2,3,4")
    parser.add_argument("--peers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--central", action="store_true", help="rows with a server as well")
    parser.add_argument("--hold", type=int, default=12)
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE"
    )
    return parser.parse_args()


def lived(
    scenario: Scenario,
    method: MethodConfig,
    realm: Realm,
    *,
    hold: int,
    rounds: int = 0,
    settings: Sequence[str] = (),
    exchange: Callable[[Sequence[LocalLearner], int], None] | None = None,
) -> list[LocalLearner]:
    """Learners after all rounds.

    Args:
        scenario: Of the learners.
        method: Of the scenario.
        realm: The users.
        hold: Newest interactions of each user that are not trained on.
        rounds: 0 as the scenario says.
        settings: As ``configured`` takes them.
        exchange: Takes the place of the network, with so many rounds.
    """
    rounds = rounds or rounds_of(scenario, method)
    learners = []
    for i, history in enumerate(realm.histories):
        peer = peer_config(scenario, method, i, broker="", responders=[])
        learners.append(
            LocalLearner(
                realm.catalogue,
                configured(peer.learner, settings),
                history=history.head(len(history) - hold),
                seed=peer.seed,
                device_seed=i,
            )
        )
    if exchange is not None:
        exchange(learners, rounds)
        return learners
    network = InMemory(learners, scenario.neighbours, np.random.default_rng(scenario.seed))
    for round_ in range(rounds):
        network.round(round_)
    return learners


def ask(
    learners: Sequence[LocalLearner],
    realm: Realm,
    answers: Answers,
    *,
    first_user: int,
    repeats: bool = True,
) -> None:
    """For every interaction that was held back but the last two.

    Args:
        learners: One a user of the realm.
        realm: The users.
        answers: Are added to.
        first_user: Number of the realm's first one.
        repeats: Whether items are met again; else known ones do not compete.
    """
    for user, (learner, history) in enumerate(zip(learners, realm.histories, strict=True)):
        for at in range(len(learner.knowledge.history), len(history) - 2):
            learner.add(history.head(at))
            item = int(history.item[at])
            scores = learner.scores(Context(timestamp_s=int(history.timestamp_s[at])))
            own = learner.knowledge.timeline.own
            is_new = item not in own
            answers.user.append(first_user + user)
            answers.is_new.append(is_new)
            among_all = scores.copy()
            scores[own] = -np.inf
            answers.rank.append(rank_of(among_all if repeats else scores, item))
            answers.among_new.append(rank_of(scores, item) if is_new else 0)


def means(answers: Answers) -> dict[str, float]:
    """Of all figures that any question is a part of."""
    return {
        name: round(float(np.nanmean(v)), 4)
        for name, v in answers.arrays().items()
        if np.isfinite(v).any()
    }


def differences(answers: Answers, first: Answers) -> dict[str, dict[str, float]]:
    """Mean difference of the same questions, and its standard error over users."""
    names, user = np.unique(np.array(answers.user), return_inverse=True)
    n = len(names)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), _RESAMPLES)
    ours, theirs, result = answers.arrays(), first.arrays(), {}
    for name, values in ours.items():
        difference = values - theirs[name]
        held = np.isfinite(difference)
        if not held.any():
            continue
        total = np.bincount(user[held], weights=difference[held], minlength=n)
        count = np.bincount(user[held], minlength=n)
        resampled = (draws @ total) / np.maximum(draws @ count, 1)
        result[name] = {
            "mean": round(float(difference[held].mean()), 4),
            "se": round(float(resampled.std()), 4),
        }
    return result


if __name__ == "__main__":
    main()
