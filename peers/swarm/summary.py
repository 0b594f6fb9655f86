"""What a run of many peers has to say: reports of each method, and one summary of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from p2prec.data.split import leave_one_out
from p2prec.evaluation.answers import Answer
from p2prec.evaluation.baselines import BASELINES
from p2prec.evaluation.metrics import PARTS, quality, rank_of
from peers.asking import asked_at, met_again
from peers.scenario import Scenario
from peers.swarm.data import Realm


@dataclass(slots=True, kw_only=True)
class MethodRun:
    """What one method's peers have reported so far."""

    label: str
    rounds: int
    began_s: float = 0.0
    neighbours: dict[int, int] = field(default_factory=dict)
    ready: set[int] = field(default_factory=set)
    advertised: set[int] = field(default_factory=set)
    seconds_to: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    died: set[int] = field(default_factory=set)
    restarted: int = 0
    rounds_seen: dict[int, dict[int, tuple[int, bool, float]]] = field(default_factory=dict)
    traffic: dict[int, tuple[int, int]] = field(default_factory=dict)
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    sizes: dict[str, list[int]] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)

    def take(self, report: dict[str, Any], now_s: float) -> None:
        """One report of one peer."""
        index, kind = int(report["i"]), str(report["k"])
        match kind:
            case "warm" | "forked":
                self.seconds_to[kind] = now_s - self.began_s
            case "advertised" | "ready":
                (self.ready if kind == "ready" else self.advertised).add(index)
                self.neighbours[index] = max(
                    self.neighbours.get(index, 0), int(report.get("neighbours", 0))
                )
                self.seconds_to[kind] = now_s - self.began_s
            case "restarted":
                self.restarted += 1
            case "round":
                seen = self.rounds_seen.setdefault(int(report["round"]), {})
                if report["rank"]:
                    at_s = now_s - self.began_s
                    seen[index] = (int(report["rank"]), bool(report["new"]), at_s)
                self.traffic[index] = (int(report["messages"]), int(report["bytes"]))
            case "result":
                self.results[index] = report
            case "died":
                self.died.add(index)

    def curve(self) -> list[dict[str, Any]]:
        """Validation quality by round, and when half of the peers had done it."""
        return [
            {
                "round": r,
                "seconds": round(float(np.median([v[2] for v in seen.values()])), 3),
                **quality([v[0] for v in seen.values()], [v[1] for v in seen.values()]),
            }
            for r, seen in sorted(self.rounds_seen.items())
            if seen
        ]


def summarise(
    scenario: Scenario, realm: Realm, runs: list[MethodRun], *, seconds: float
) -> dict[str, Any]:
    """One object for all methods and baselines; see ``docs/summary-schema.md``.

    Where whole answers are kept, the baselines are left to whoever compares them.
    """
    results = [r for run in runs for r in run.results.values()]
    asked = {index for run in runs for index, r in run.results.items() if r["rank"]}
    yardsticks = {} if scenario.simulation.answers else baselines(realm, asked=asked)
    together = [r for run in runs if run.ready for r in run.results.values()]
    uss = np.array([r["uss_kib"] / 1024 for r in results]) if results else np.zeros(1)
    messages: Counter[str] = Counter()
    discovered: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for result in results:
        discovered.update(result["discovered"])
        for name, n in result["counters"].items():
            if name.startswith("said."):
                kinds[name.removeprefix("said.")] += n
        for way in ("tcp", "mqtt"):
            messages[way] += result["counters"].get(f"sent.{way}", 0)
    cpu = sum(r["cpu_s"] for r in together)
    crypto: Counter[str] = Counter()
    for result in together:
        crypto.update(result["crypto_s"])
    return {
        "scenario": scenario.name,
        "seed": scenario.seed,
        "peers": scenario.peers.count,
        "restarted": sum(run.restarted for run in runs),
        "lost": sum(scenario.peers.count - len(run.results) for run in runs),
        "seconds": round(seconds, 2),
        **{
            f"seconds_to_{step}": round(
                max((r.seconds_to.get(step, 0.0) for r in runs), default=0.0), 2
            )
            for step in ("warm", "forked", "advertised", "ready")
        },
        "ready": min((len(r.ready) for r in runs if r.ready), default=0),
        "uss_mib": {
            "p50": round(float(np.percentile(uss, 50)), 2),
            "max": round(float(uss.max()), 2),
        },
        "messages": {"tcp": messages["tcp"], "mqtt": messages["mqtt"]},
        "messages_by_kind": dict(sorted(kinds.items())),
        "discovered_by": {
            source: discovered[source]
            for source in ("mdns", "mqtt", "elsewhere", "gossip", "hello")
        },
        "crypto_cpu_share": round(sum(crypto.values()) / cpu, 4) if cpu else 0,
        "crypto_cpu_s": {part: round(s, 3) for part, s in sorted(crypto.items())},
        "cpu_s": round(cpu, 2),
        "methods": {run.label: _method(run) for run in runs} | yardsticks,
    }


def baselines(realm: Realm, *, asked: Collection[int]) -> dict[str, Any]:
    """The simple baselines; they learn from all users.

    Args:
        realm: Of the users.
        asked: Those whom the methods have answered, so that all rows are of the same ones.
    """
    splits = [leave_one_out(h) for h in realm.histories]
    trained = [s.train for s in splits]
    table, repeats = {}, met_again(realm.histories)
    for name, build in BASELINES.items():
        model = build(realm.catalogue, trained)
        ranks, new = [], []
        for user in sorted(asked):
            history, split = realm.histories[user], splits[user]
            if not len(split.test):
                continue
            known, item = history.head(-1), int(split.test.item[0])
            scores = model.scores(known, asked_at(split.test))
            if not repeats:
                scores[known.item] = -np.inf
            ranks.append(rank_of(scores, item))
            new.append(item not in known.item)
        table[name] = {**quality(ranks, new), "bytes_per_peer": 0, "rounds": 0}
    return table


def _method(run: MethodRun) -> dict[str, Any]:
    ranked = [r for r in run.results.values() if r["rank"]]
    n_bytes = [r["counters"].get("payload_bytes", 0) for r in run.results.values()]
    sizes = {kind: list(s) for kind, s in run.sizes.items()}
    for result in run.results.values():
        for kind, size in result["sizes"]:
            sizes.setdefault(kind, []).append(size)
    index = {r["peer"]: i for i, r in run.results.items()}
    return {
        **quality([r["rank"] for r in ranked], [bool(r["new"]) for r in ranked]),
        "bytes_per_peer": round(float(np.mean(n_bytes))) if n_bytes else 0,
        **{
            size: round(float(np.mean([r.get(size, 0) for r in run.results.values()] or [0])))
            for size in ("model_bytes", "table_bytes")
        },
        "rounds": run.rounds,
        "seconds": round(run.seconds, 2),
        "seconds_to_ready": round(run.seconds_to.get("ready", 0.0), 2),
        "died": len(run.died),
        "restarted": run.restarted,
        "message_bytes": {
            kind: {"p50": int(np.median(s)), "max": int(max(s))} for kind, s in sizes.items()
        },
        "validation": run.curve(),
        "links": [
            [i, index[n]] for i, r in run.results.items() for n in r["neighbours"] if n in index
        ],
        "areas": {str(i): r["area"] for i, r in run.results.items()},
    }


def spread(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    methods: dict[str, Any] = {}
    for name in summaries[0]["methods"]:
        methods[name] = {}
        for part in PARTS:
            rows = [s["methods"][name][part] for s in summaries]
            methods[name][part] = {"n": sum(r["n"] for r in rows)}
            for metric in ("hr@10", "ndcg@10"):
                values = np.array([r[metric] for r in rows])
                counts = np.array([r["n"] for r in rows])
                methods[name][part][metric] = {
                    "mean": float(values.mean()),
                    "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
                    "pooled": float((values * counts).sum() / max(counts.sum(), 1)),
                    "values": values.tolist(),
                }
    return {"seeds": [s["seed"] for s in summaries], "methods": methods}
