"""What somebody who is told of sessions learns of those whose sessions they are.

    python -m tests.benchmarks.session_privacy peers/evaluate_films.toml --data DATA [--peers 300]

Learners live in one process and exchange in step, by the method ``sessions`` of the scenario. Then
the attacker knows what one peer knows in the end, and who told it of what first. Areas under the
ROC curve (0.5: nothing is known) and shares, over own sessions of all peers:

* *real by company*: whether an item of a session is its owner's, by how often the others in it are
  with it in other sessions; *by centre of company* likewise, all items at once;
* *real by popularity*: the same by how many sessions hold it;
* *owner by first word*: how often who told of a session first is its owner, for all who were told;
* *same owner by items*: whether two sessions are one owner's, by the items that they share;
* *same owner by votes*: the same by how often the items of one are with those of the other in any
  session.

Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from p2prec.collaboration.sessions import SessionGossip, _number_of
from p2prec.evaluation.metrics import auc
from p2prec.models.sessions import Sessions, Told
from p2prec.training.local import LocalLearner
from peers.provenance import provenance
from peers.scenario import load_scenario
from peers.swarm.data import load_realm
from tests.benchmarks.learners import lived

_PAIRS = 20_000  # of sessions, of one owner and of two


def main() -> None:
    """Live, attack, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--data", default="")
    parser.add_argument("--peers", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    args, made = parser.parse_args(), provenance()
    scenario = load_scenario(args.scenario)
    scenario = replace(scenario, seed=args.seed, peers=replace(scenario.peers, count=args.peers))
    [method] = [m for m in scenario.methods if m.name == "sessions"]
    realm = load_realm(scenario, data=args.data)
    learners = lived(scenario, method, realm, hold=2, rounds=args.rounds, settings=args.settings)
    print(f"{len(learners)} peers have lived", file=sys.stderr)
    settings = {**vars(args), "scenario": args.scenario.name, "data": Path(args.data).name}
    found = attacked(learners, seed=args.seed)
    print(json.dumps({"made_by": made, "settings": settings, **found}, indent=1))


def attacked(learners: Sequence[LocalLearner], *, seed: int) -> dict[str, Any]:
    """All figures."""
    methods = [_method(learner) for learner in learners]
    owner_of = {told: at for at, method in enumerate(methods) for told in method._own}
    numbers = {_number_of(str(at)): at for at in range(len(methods))}
    told, owner = list(owner_of), np.array(list(owner_of.values()))
    n_items = len(learners[0].knowledge.catalogue)
    met = _met(told, n_items)
    held = [len(method._held) for method in methods]
    own = [learner.knowledge.timeline.own for learner in learners]
    return {
        "sessions": len(told),
        "items of a session": _round(met.sum() / len(told)),
        "known in the end": _round(np.mean(held) / len(told)),
        **_real(met, [own[at] for at in owner.tolist()]),
        **_first_word(methods, owner_of, numbers),
        **_same_owner(met, owner, np.random.default_rng(seed)),
    }


def _real(met: sparse.csr_array, own: Sequence[NDArray[np.int32]]) -> dict[str, float]:
    together, counts = _together(met)
    found: dict[str, list[float]] = {"company": [], "centre of company": [], "popularity": []}
    for at, known in enumerate(own):
        items = met.indices[met.indptr[at] : met.indptr[at + 1]]
        real = np.isin(items, known)
        if real.all() or not real.any():
            continue
        root = np.sqrt(counts[items])
        company = np.maximum(together[np.ix_(items, items)] - 1.0, 0.0) / np.outer(root, root)
        np.fill_diagonal(company, 0.0)
        scores = {
            "company": company.sum(1),
            "centre of company": np.abs(np.linalg.eigh(company)[1][:, -1]),
            "popularity": counts[items],
        }
        for name, score in scores.items():
            found[name].append(auc(score, real))
    return {f"real by {name}": _round(np.mean(areas)) for name, areas in found.items() if areas}


def _first_word(
    methods: Sequence[SessionGossip], owner_of: dict[Told, int], numbers: dict[int, int]
) -> dict[str, float]:
    """Of all that were told by others: how often it was the owner."""
    right = [
        owner_of[told] == numbers[teller]
        for method in methods
        for told, teller in method._held.items()
        if told not in method._own
    ]
    return {"owner by first word": _round(np.mean(right))}


def _same_owner(
    met: sparse.csr_array, owner: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, float]:
    together, counts = _together(met)
    a, b = rng.integers(0, len(owner), (2, 20 * _PAIRS))
    same = np.flatnonzero((owner[a] == owner[b]) & (a != b))[:_PAIRS]
    apart = np.flatnonzero(owner[a] != owner[b])[:_PAIRS]
    pairs = np.concatenate([same, apart])
    items: list[float] = []
    votes: list[float] = []
    for one, other in zip(a[pairs].tolist(), b[pairs].tolist(), strict=True):
        x, y = (met.indices[met.indptr[s] : met.indptr[s + 1]] for s in (one, other))
        items.append(float(np.isin(x, y).sum()))
        root = np.sqrt(np.outer(counts[x], counts[y]))
        votes.append(float((together[np.ix_(x, y)] / root).mean()))
    is_same = np.arange(len(pairs)) < len(same)
    return {
        "same owner by items": _round(auc(np.array(items), is_same)),
        "same owner by votes": _round(auc(np.array(votes), is_same)),
    }


def _together(met: sparse.csr_array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many sessions hold two items, and each."""
    together = (met.T @ met).toarray()
    return together, together.diagonal().copy()


def _met(told: Sequence[Told], n_items: int) -> sparse.csr_array:
    sessions = Sessions(tuple(told))
    ends = np.concatenate([[0], np.cumsum(sessions.lengths)])
    ones = np.ones(len(sessions.items))
    return sparse.csr_array((ones, sessions.items, ends), shape=(len(told), n_items))


def _method(learner: LocalLearner) -> SessionGossip:
    method = learner.collaboration
    assert isinstance(method, SessionGossip)
    return method


def _round(value: float | np.floating[Any]) -> float:
    return round(float(value), 3)


if __name__ == "__main__":
    main()
