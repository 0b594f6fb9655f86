"""Whole learners in one process, without a network: for choosing hyper-parameters.

    python -m tests.benchmarks.learners DATA.csv.gz --method dclr --sample 0 --set training.reg=0.1

Each learner trains on all but its owner's last ``--hold`` interactions and is asked for every one
of those but the last two, which belong to validation and test: what is chosen here has seen
neither.
Samples are the disjoint sets of users that the seeds of a swarm take. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.evaluation.metrics import hit_rate_at_k, ndcg_at_k
from p2prec.models.next_place_features import Timeline
from p2prec.training.config import LearnerConfig
from p2prec.training.learner import Received
from p2prec.training.local import LocalLearner, train_together
from peers.config import NeighbourConfig
from peers.scenario import DataConfig, PeersConfig, Scenario
from peers.swarm.data import load_realm
from topology.cells import blurred_area
from topology.profile import sketch
from topology.selection import Candidate, choose_neighbours
from topology.similarity import geographic_similarity, semantic_similarity

_DISCOVERY = (1.0, 3.0, 6.0)  # see ``ModelConfig.discovery``


def main() -> None:
    """Train, exchange, measure."""
    torch.set_num_threads(1)
    args = _arguments()
    config = _configured(args.method, args.settings)
    catalogue, histories = _sample(Path(args.data), args.sample, args.peers)
    rng = np.random.default_rng(args.sample)
    learners = [
        LocalLearner(catalogue, config, history=h.head(len(h) - args.hold), seed=i, device_seed=i)
        for i, h in enumerate(histories)
    ]
    geographic, semantic = _similarities(learners, rng)
    neighbours = _neighbours(geographic, semantic, args.k, rng)
    done: list[dict[str, object]] = []
    for round_ in range(args.rounds):
        began = time.process_time()
        loss = float(np.mean([report.loss for report in train_together(learners, round_)]))
        trained = time.process_time()
        said = [learner.payloads(round_, degree=args.k) for learner in learners]
        for i, learner in enumerate(learners):
            inbox = [
                Received(
                    sender=str(j),
                    payload=payload,
                    geographic=float(geographic[i, j]),
                    semantic=float(semantic[i, j]),
                    staleness_rounds=0,
                )
                for j in neighbours[i]
                for payload in said[j]
            ]
            learner.merge(round_, inbox)
        merged = time.process_time()
        if args.verbose or round_ == args.rounds - 1:
            done.append({"round": round_, "loss": round(loss, 4), **_measure(learners, histories)})
            done[-1]["cpu_s"] = [round(trained - began, 1), round(merged - trained, 1)]
            print(json.dumps(done[-1]), file=sys.stderr, flush=True)
    print(json.dumps({**vars(args), "result": done[-1]}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--method", default="dclr")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--peers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--hold", type=int, default=12)
    parser.add_argument("--verbose", action="store_true", help="measure after every round")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE"
    )
    return parser.parse_args()


def _configured(method: str, settings: Sequence[str]) -> LearnerConfig:
    config = LearnerConfig()
    config = replace(config, collaboration=replace(config.collaboration, method=method))
    for setting in settings:
        path, text = setting.split("=", 1)
        section, key = path.split(".", 1)
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text  # a word needs no quotes
        part = getattr(config, section)
        if section == "collaboration":
            part = replace(part, options={**part.options, key: value})
        else:
            part = replace(part, **{key: value})
        config = replace(config, **{section: part})
    return config


def _sample(path: Path, sample: int, peers: int) -> tuple[Catalogue, tuple[History, ...]]:
    scenario = Scenario(
        name="learners",
        seed=sample,
        data=DataConfig(kind="check_ins", path=str(path)),
        peers=PeersConfig(count=peers),
    )
    realm = load_realm(scenario, data="")
    return realm.catalogue, realm.histories


def _similarities(
    learners: Sequence[LocalLearner], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    said = []
    for learner in learners:
        catalogue, history = learner.knowledge.catalogue, learner.knowledge.history
        area = blurred_area(catalogue, history, rng=rng)
        said.append((area, sketch(catalogue, history, rng=rng)))
    geographic = [[geographic_similarity(a, b) for b, _ in said] for a, _ in said]
    semantic = [[semantic_similarity(a, b) for _, b in said] for _, a in said]
    return np.array(geographic), np.array(semantic)


def _neighbours(
    geographic: NDArray[np.float64],
    semantic: NDArray[np.float64],
    k: int,
    rng: np.random.Generator,
) -> list[list[int]]:
    """What a peer that has met three times ``k`` others would choose."""
    n, settings = len(geographic), NeighbourConfig()
    chosen = []
    for i in range(n):
        met = [int(j) for j in rng.permutation(n) if j != i][: 3 * k]
        candidates = [
            Candidate(peer_id=str(j), geographic=geographic[i, j], semantic=semantic[i, j])
            for j in met
        ]
        ids = choose_neighbours(
            candidates,
            selection=settings.selection,
            k=k,
            geographic_threshold=settings.geographic_threshold,
            semantic_threshold=settings.semantic_threshold,
            random_share=settings.random_share,
            rng=rng,
        )
        chosen.append([int(j) for j in ids])
    return chosen


def _measure(learners: Sequence[LocalLearner], histories: Sequence[History]) -> dict[str, object]:
    explore: list[int] = []
    new: list[bool] = []
    ranks: dict[str, list[int]] = {}
    for learner, history in zip(learners, histories, strict=True):
        knowledge = learner.knowledge
        parameters, observe = knowledge.parameters(), knowledge.model.observer()
        timeline = Timeline(knowledge.catalogue, history)
        for at in range(len(knowledge.history), len(history) - 2):
            moment = timeline.moment(at, float(history.timestamp_s[at]))
            target = int(history.item[at])
            new.append(bool(timeline.is_new[at]))
            scores = observe(parameters, moment).scores()
            unknown = np.ones(len(scores), bool)
            unknown[moment.own] = False
            if new[-1]:
                explore.append(int((scores[unknown] >= scores[target]).sum()))
            for discovery in _DISCOVERY:
                final = scores + np.log(discovery) * unknown
                rank = int((final >= final[target]).sum())
                ranks.setdefault(f"discovery {discovery}", []).append(rank)
    is_new, only = np.array(new), np.array(explore)
    lists = {}
    for name, values in ranks.items():
        rank = np.array(values)
        lists[name] = [
            round(float(x), 4)
            for x in (
                hit_rate_at_k(rank),
                hit_rate_at_k(rank[~is_new]),
                hit_rate_at_k(rank[is_new]),
                ndcg_at_k(rank),
            )
        ]
    return {
        "n": len(new),
        "n_new": len(only),
        "new_only_hr@10": round(hit_rate_at_k(only), 4),
        "new_only_hr@2": round(hit_rate_at_k(only, 2), 4),
        "new_only_mrr": round(float((1.0 / only).mean()), 4),
        "hr all, returning, new, ndcg all": lists,
    }


if __name__ == "__main__":
    main()
