"""What a neighbour that keeps everything learns of the places that an owner goes to.

    python -m tests.benchmarks.membership [scenarios/foursquare_nyc.toml --data DATA.csv.gz]

Learners live in one process, exchange in step, and are listened to. After some rounds each of a few
attacks ranks all places of the realm by what one sender has sent so far; the figure is the area
under the ROC curve with which the sender's own places come before all others (1: all of them are
known, 0.5: nothing is), and the same against the sender's pseudo items alone, which is how well
the two are told apart. Of the attacks the best one counts, as chosen by an attacker who knows the
truth. Attackers hear several senders, so that what everybody says can be taken off. Beside it
stands what anybody guesses who has heard nothing but knows how many others go to each place, which
``--crowd`` counts in more users of a data set than those that are listened to: of those that begin
together, and of ``--newcomers``, who come at the end and hear some of them after their first word.

Prints one JSON object; means over owners. Of a scenario's method of the same name the model and the
options are taken.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from p2prec.collaboration.payload import ModelUpdate, Payload, SoftPredictions
from p2prec.data.interactions import History
from p2prec.data.split import leave_one_out
from p2prec.errors import ConfigError
from p2prec.evaluation.metrics import auc, rank_of
from p2prec.models.moments import HOUR_BLOCKS, category_columns
from p2prec.models.recommender import Context
from p2prec.models.table import BIAS, OTHERS
from p2prec.training.knowledge import Knowledge
from p2prec.training.local import LocalLearner
from peers.asking import met_again
from peers.provenance import provenance
from peers.scenario import MethodConfig, Scenario, load_scenario, peer_config
from peers.swarm.data import Realm, load_realm
from scenarios.in_step import arrived
from tests.benchmarks.in_memory import InMemory, configured

Scores = Mapping[str, NDArray[np.float64]]  # by attack, each of shape (n_owners, n_items)
_HEARD = 8  # of those who are there, by each newcomer
SETTINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "dclr, no protection": ("dclr", ("protection.method=none",)),
    "dclr, default": ("dclr", ()),
    "dclr, 3 pseudo items": ("dclr", ("protection.pseudo_items=3.0",)),
    "dclr, noise 1": ("dclr", ("protection.noise_multiplier=1.0",)),
    "mac, no protection": ("mac", ("protection.method=none",)),
    "mac, default": ("mac", ()),
}


class Updates:
    """Attacks on model updates; sums over rounds, so that noise is averaged away.

    Args:
        knowledge: Of one of the senders, whose model they share.
        n_owners: Senders that are listened to.
    """

    def __init__(self, knowledge: Knowledge, n_owners: int) -> None:
        self._statistics = knowledge.model.statistics
        self._kind = category_columns(knowledge.catalogue)
        self._initial = knowledge.table.initial  # known to everybody
        self._said = np.zeros((n_owners, knowledge.model.n_dense))
        shape = (n_owners, *self._initial.shape)
        self._change = np.zeros(shape, np.float32)
        self._before = np.zeros(shape, np.float32)
        self._named, self._evidence, self._moved = (np.zeros(shape[:2]) for _ in range(3))

    def hear(self, owner: int, payloads: Sequence[Payload]) -> None:
        """One round of one sender."""
        for update in payloads:
            if isinstance(update, ModelUpdate):
                rows = update.rows
                self._said[owner] += update.dense
                change = update.values - self._initial[rows]
                step = (change - self._before[owner, rows])[:, :OTHERS]
                self._moved[owner, rows] += np.linalg.norm(step, axis=1)
                self._before[owner, rows] = change
                self._change[owner, rows] += change
                self._named[owner, rows] += 1
                self._evidence[owner, rows] += update.evidence

    def scores(self) -> Scores:
        """Higher for places that are thought to be the owner's."""
        length = np.linalg.norm(self._change[:, :, :OTHERS], axis=2).astype(np.float64)
        mine, of_others = self._seen()
        off = np.linalg.norm((mine - of_others)[:, :, :OTHERS], axis=2)
        said = self._change[:, :, OTHERS].astype(np.float64)
        kinds = self._kinds()
        return {
            "kinds that were tried": kinds,
            "kinds that were tried, beyond others": kinds - kinds.mean(axis=0),
            "named": self._named,
            "length of the change": length,
            "change beyond that of others": length - length.mean(axis=0),
            "far from where others see it": off,
            "near to where others see it": -off,
            "what its sender likes, as others see it": self._liked(mine, of_others),
            "said to be visited": said,
            "said to be visited, beyond others": said - said.mean(axis=0),
            "evidence": self._evidence,
            "evidence beyond that of others": self._evidence - self._evidence.mean(axis=0),
            "steps from round to round": self._moved,
        }

    def _seen(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean of what each sender says of each row, and of what the others say of it."""
        change, named = self._change.astype(np.float64), self._named[:, :, None]
        others = change.sum(0) - change, named.sum(0) - named
        return change / np.maximum(named, 1.0), others[0] / np.maximum(others[1], 1.0)

    def _liked(
        self, mine: NDArray[np.float64], of_others: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Rows of others along the main direction into which a sender has moved what it names."""
        liked = of_others[:, :, BIAS].copy()
        moved_by = ((mine - of_others) * (self._named > 0)[:, :, None])[:, :, :OTHERS]
        if moved_by.shape[2]:
            for owner, moved in enumerate(moved_by):
                taste = np.linalg.svd(moved, full_matrices=False)[2][0]
                taste *= np.sign((moved @ taste).sum())
                liked[owner] += of_others[owner, :, :OTHERS] @ taste
        return liked

    def _kinds(self) -> NDArray[np.float64]:
        """What statistics of first visits say of the kind of each place; 0 without any."""
        said = self._said[:, self._statistics]
        if not said.shape[1] or said.shape[1] % HOUR_BLOCKS:  # other statistics
            return np.zeros(self._named.shape)
        kinds: NDArray[np.float64] = said.reshape(len(said), -1, HOUR_BLOCKS).sum(2)
        return kinds.take(self._kind, axis=1)


class SoftDecisions:
    """Attacks on soft predictions, whose questions several senders answer.

    Args:
        n_owners: Senders that are listened to.
        n_items: Places of the realm.
    """

    def __init__(self, n_owners: int, n_items: int) -> None:
        self._shape = (n_owners, n_items)
        self._listed, self._lean = np.zeros(self._shape), np.zeros(self._shape)
        self._asked: dict[bytes, dict[int, NDArray[np.float32]]] = {}

    def hear(self, owner: int, payloads: Sequence[Payload]) -> None:
        """One round of one sender."""
        for payload in payloads:
            if isinstance(payload, SoftPredictions):
                for question, items, logs in zip(
                    payload.references, payload.items, payload.log_probabilities, strict=True
                ):
                    self._listed[owner, items] += 1
                    answer = np.zeros(self._shape[1], np.float32)
                    answer[items] = np.exp(logs)
                    self._asked.setdefault(question, {})[owner] = answer

    def turn(self) -> None:
        """All answers of a round are heard: how each differs from the others to its question."""
        for answers in self._asked.values():
            if len(answers) > 1:
                mean = np.mean(list(answers.values()), axis=0)
                for owner, answer in answers.items():
                    self._lean[owner] += answer - mean
        self._asked.clear()

    def scores(self) -> Scores:
        """Higher for places that are thought to be the owner's."""
        return {
            "listed": self._listed,
            "listed more than by others": self._listed - self._listed.mean(axis=0),
            "likelier than others say": self._lean,
        }


def main() -> None:
    """Listen under each setting."""
    torch.set_num_threads(1)
    args, made = _arguments(), provenance()
    scenario = load_scenario(Path(args.scenario))
    count = args.peers + args.newcomers
    scenario = replace(scenario, seed=args.seed, peers=replace(scenario.peers, count=count))
    realm = crowd = load_realm(scenario, data=args.data)
    if args.crowd:
        crowd = load_crowd(scenario, args.crowd, data=args.data)
    others = visited_by_others(realm, crowd)
    after = sorted({int(n) for n in args.after.split(",")})
    result = {
        "made_by": made,
        "scenario": scenario.name,
        "seed": args.seed,
        "peers": args.peers,
        "newcomers": args.newcomers,
        "places": len(realm.catalogue),
        "settings": {},
    }
    of_scenario = {method.name: method for method in scenario.methods}
    for name, (method, changes) in SETTINGS.items():
        if args.only not in name:
            continue
        began_s = time.process_time()
        result["settings"][name] = _listen(
            scenario,
            of_scenario.get(method, MethodConfig(name=method)),
            realm,
            changes,
            after,
            others=others,
            n_newcomers=args.newcomers,
        )
        print(f"{name}: {time.process_time() - began_s:.0f} s", file=sys.stderr)
    print(json.dumps(result, indent=1))


def load_crowd(scenario: Scenario, count: int, *, data: str) -> Realm:
    """The first ``count`` users of a data set, whichever are listened to.

    Raises:
        ConfigError: The users are generated, or there are fewer.
    """
    if scenario.data.kind == "city" and not data:
        raise ConfigError("a city with more users is another city: --crowd needs a data set")
    peers = replace(scenario.peers, count=count)
    return load_realm(replace(scenario, seed=0, peers=peers), data=data)


def visited_by_others(realm: Realm, crowd: Realm) -> NDArray[np.float64]:
    """How many users of the crowd go to each place, for each owner without itself.

    Args:
        realm: Of the owners.
        crowd: Has the same catalogue; owners may be among its users.

    Returns:
        Shape ``(n_owners, n_items)``.
    """
    visitors = np.zeros(len(crowd.catalogue))
    for history in crowd.histories:
        visitors[np.unique(leave_one_out(history).train.item)] += 1.0
    others = np.tile(visitors, (len(realm.users), 1))
    for owner, (user, history) in enumerate(zip(realm.users, realm.histories, strict=True)):
        if user in crowd.users:
            others[owner, np.unique(leave_one_out(history).train.item)] -= 1.0
    return others


def _listen(
    scenario: Scenario,
    method: MethodConfig,
    realm: Realm,
    changes: Sequence[str],
    after: Sequence[int],
    *,
    others: NDArray[np.float64],
    n_newcomers: int,
) -> dict[str, object]:
    everybody = []
    for i, history in enumerate(realm.histories):
        peer = peer_config(scenario, method, i, broker="", responders=[])
        config = configured(peer.learner, changes)
        split = leave_one_out(history)
        everybody.append(
            LocalLearner(
                realm.catalogue, config, history=split.train, seed=peer.seed, device_seed=i + 1
            )
        )
    n = len(everybody) - n_newcomers
    learners, newcomers = everybody[:n], everybody[n:]
    network = InMemory(learners, scenario.neighbours, np.random.default_rng(scenario.seed))
    updates = Updates(learners[0].knowledge, len(learners))
    decisions = SoftDecisions(len(learners), len(realm.catalogue))
    attack = decisions if method.name == "mac" else updates
    found: dict[str, object] = {}
    said: list[Sequence[Payload]] = []
    for round_ in range(after[-1]):
        said = network.round(round_)
        for owner, payloads in enumerate(said):
            attack.hear(owner, payloads)
        decisions.turn()
        if round_ + 1 in after:
            found[f"after {round_ + 1} rounds"] = _told_apart(learners, attack.scores())
    found["what others visit"] = _told_apart(learners, {"visited by others": others[:n]})
    if newcomers and method.name != "mac":  # whose payloads tell nobody how many go where
        _learn_and_hear(newcomers, said, after[-1], np.random.default_rng(scenario.seed))
        found["what others visit, newcomers"] = _told_apart(
            newcomers, {"visited by others": others[n:]}
        )
    found["hr@10 on validation"] = round(_hit_rate(learners, realm.histories[:n]), 3)
    return found


def _learn_and_hear(
    newcomers: Sequence[LocalLearner],
    said: Sequence[Sequence[Payload]],
    round_: int,
    rng: np.random.Generator,
) -> None:
    """Newcomers learn and could speak, hear some of those who are there, and are to learn anew."""
    for newcomer in newcomers:
        newcomer.train(round_)
        heard = rng.choice(len(said), min(_HEARD, len(said)), replace=False).tolist()
        newcomer.merge(round_, [item for j in heard for item in arrived(j, said[j])])
        newcomer.protection.before_training()


def _told_apart(learners: Sequence[LocalLearner], scores: Scores) -> dict[str, dict[str, object]]:
    """The best attack against all other places, and against pseudo items."""

    def others(_: LocalLearner, own: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        return own, ~own

    def pseudo(learner: LocalLearner, own: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        shown = np.zeros_like(own)
        shown[learner.protection.shown_places()] = True
        return shown & own, shown & ~own

    return {
        "all other places": _best(learners, scores, others),
        "pseudo items": _best(learners, scores, pseudo),
    }


def _best(
    learners: Sequence[LocalLearner],
    scores: Scores,
    compared: Callable[[LocalLearner, NDArray[np.bool_]], tuple[NDArray[np.bool_], ...]],
) -> dict[str, object]:
    areas: dict[str, float] = {}
    for name, by_owner in scores.items():
        areas_of = []
        for learner, ranked in zip(learners, by_owner, strict=True):
            own = np.zeros(len(ranked), bool)
            own[learner.knowledge.timeline.own] = True
            yes, no = compared(learner, own)
            if yes.any() and no.any():
                areas_of.append(auc(ranked[yes | no], yes[yes | no]))
        if areas_of:
            areas[name] = float(np.mean(areas_of))
    if not areas:
        return {}
    best = max(areas, key=areas.__getitem__)
    return {"auc": round(areas[best], 3), "attack": best}


def _hit_rate(learners: Sequence[LocalLearner], histories: Sequence[History]) -> float:
    """What the protection costs."""
    hits, repeats = [], met_again(histories)
    for learner, history in zip(learners, histories, strict=True):
        target = leave_one_out(history).validation
        if len(target):
            scores = learner.scores(Context(timestamp_s=int(target.timestamp_s[0])))
            if not repeats:
                scores[learner.knowledge.timeline.own] = -np.inf
            hits.append(rank_of(scores, int(target.item[0])) <= 10)
    return float(np.mean(hits))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", nargs="?", default="peers/demo.toml")
    parser.add_argument("--data", default="")
    parser.add_argument("--peers", type=int, default=16)
    parser.add_argument(
        "--newcomers", type=int, default=0, help="that join when all rounds are over"
    )
    parser.add_argument("--crowd", type=int, default=0, help="users of --data that are counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="settings whose name holds this")
    parser.add_argument("--after", default="1,5,10", help="rounds with commas")
    return parser.parse_args()


if __name__ == "__main__":
    main()
