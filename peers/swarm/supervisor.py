"""One command, N real peers: starts them, watches them, collects, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from p2prec.data.split import leave_one_out
from p2prec.errors import StoppedByUserError
from p2prec.evaluation.baselines import BASELINES
from p2prec.evaluation.metrics import quality, rank_of
from p2prec.models.recommender import Context
from peers.broker import free_port
from peers.scenario import MethodConfig, Scenario
from peers.swarm.data import Realm
from peers.swarm.zygote import die_with_parent

_PEERS_PER_RESPONDER = 150
_PEERS_PER_BROKER = 400
_PEERS_PER_BUCKET = 40
_RECEIVE_BYTES = 65_536
_ZYGOTE_EXIT_S = 25.0


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
    rounds_seen: dict[int, dict[int, tuple[int, bool]]] = field(default_factory=dict)
    traffic: dict[int, tuple[int, int]] = field(default_factory=dict)
    results: dict[int, dict[str, Any]] = field(default_factory=dict)

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
                    seen[index] = (int(report["rank"]), bool(report["new"]))
                self.traffic[index] = (int(report["messages"]), int(report["bytes"]))
            case "result":
                self.results[index] = report
            case "died":
                self.died.add(index)

    def curve(self) -> list[dict[str, Any]]:
        """Validation quality by round."""
        return [
            {"round": r, **quality([v[0] for v in seen.values()], [v[1] for v in seen.values()])}
            for r, seen in sorted(self.rounds_seen.items())
            if seen
        ]


class Supervisor:
    """Runs the methods of a scenario one after the other.

    Args:
        scenario: What to run.
        scenario_path: Its file, read again by the warm parent.
        realm: The data, for the baselines.
        data: CSV that overrides the scenario's, or "".
        keep: Folder that keeps the peers' homes, or None.
        progress: Called a few times a second with the running method.
    """

    def __init__(
        self,
        *,
        scenario: Scenario,
        scenario_path: Path,
        realm: Realm,
        data: str,
        keep: Path | None,
        progress: Callable[[MethodRun, int], None],
    ) -> None:
        self._scenario = scenario
        self._path = scenario_path
        self._realm = realm
        self._data = data
        self._keep = keep
        self._progress = progress
        self._zygote: subprocess.Popen[bytes] | None = None
        self._interrupted = False

    def run(self) -> dict[str, Any]:
        """All methods and baselines; see ``docs/summary-schema.md``.

        Raises:
            StoppedByUserError: SIGINT or SIGTERM came; everything is stopped.
        """
        previous = {
            number: signal.signal(number, self._interrupt)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        begun = time.monotonic()
        try:
            runs = [self._run_method(m) for m in self._scenario.methods]
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        return self._summary(runs, time.monotonic() - begun)

    def _interrupt(self, number: int, frame: object) -> None:
        del number, frame
        self._interrupted = True

    def _run_method(self, method: MethodConfig) -> MethodRun:
        folder = Path(tempfile.mkdtemp(prefix="p2prec-"))
        count = self._scenario.peers.count
        rounds = method.rounds or self._scenario.schedule.max_rounds
        run = MethodRun(label=method.label or method.name, rounds=rounds)
        alone = method.name == "alone"
        responders = 0 if alone else max(2, -(-count // _PEERS_PER_RESPONDER))
        brokers = 0 if alone else -(-count // _PEERS_PER_BROKER)
        job = {
            "scenario": str(self._path.resolve()),
            "data": str(Path(self._data).resolve()) if self._data else "",
            "seed": self._scenario.seed,
            "count": count,
            "rounds": rounds,
            "method": run.label,
            "folder": str(folder),
            "reports": str(folder / "reports.sock"),
            "responders": [str(folder / f"mdns-{i}.sock") for i in range(responders)],
            "brokers": [free_port() for _ in range(brokers)],
            "mqtt_buckets": max(1, count // _PEERS_PER_BUCKET),
        }
        (folder / "job.json").write_text(json.dumps(job))
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
            channel.bind(str(job["reports"]))
            channel.settimeout(0.1)
            with (folder / "peers.log").open("wb") as log:
                # A group of its own: Ctrl-C reaches the supervisor alone, which then stops all.
                self._zygote = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-m", "peers.swarm.zygote", str(folder / "job.json")],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    # Two threads allocate; one arena keeps what each peer holds for itself small.
                    env={**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536"},
                    preexec_fn=die_with_parent,  # noqa: PLW1509 - no threads run here
                )
            self._watch(run, channel, count)
            run.seconds = time.monotonic() - run.began_s
        finally:
            stopped = self._stop()
            channel.close()
            self._tidy(folder, run)
        if self._interrupted:
            raise StoppedByUserError(f"interrupted: {stopped}")
        return run

    def _watch(self, run: MethodRun, channel: socket.socket, count: int) -> None:
        run.began_s = time.monotonic()
        shown_s = 0.0
        while len(run.results) + len(run.died - run.results.keys()) < count:
            now_s = time.monotonic()
            if self._interrupted or now_s - run.began_s > self._scenario.timeout_s:
                return
            if self._zygote is not None and self._zygote.poll() is not None:
                return
            with contextlib.suppress(TimeoutError, ValueError):
                run.take(json.loads(channel.recv(_RECEIVE_BYTES)), time.monotonic())
            if now_s - shown_s > 0.25:
                self._progress(run, count)
                shown_s = now_s
        self._progress(run, count)

    def _stop(self) -> str:
        zygote, self._zygote = self._zygote, None
        if zygote is None:
            return "nothing was running"
        n = _descendants(zygote.pid)
        with contextlib.suppress(ProcessLookupError):
            zygote.terminate()
        try:
            zygote.wait(_ZYGOTE_EXIT_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(zygote.pid, signal.SIGKILL)
            zygote.wait()
        return f"stopped all {n} processes (peers, responders and broker) of this swarm"

    def _tidy(self, folder: Path, run: MethodRun) -> None:
        missing = self._scenario.peers.count - len(run.results)
        if missing and not self._interrupted:
            log = (folder / "peers.log").read_text(errors="replace").strip()
            print(  # noqa: T201
                f"{run.label}: {missing} peers gave no result, {len(run.died)} of them died. "
                f"Their log ends:\n{log[-2000:]}",
                file=sys.stderr,
            )
        if self._keep is None:
            shutil.rmtree(folder, ignore_errors=True)
            return
        self._keep.mkdir(parents=True, exist_ok=True)
        target = self._keep / run.label
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(folder, target)

    def _summary(self, runs: list[MethodRun], seconds: float) -> dict[str, Any]:
        results = [r for run in runs for r in run.results.values()]
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
            "scenario": self._scenario.name,
            "seed": self._scenario.seed,
            "peers": self._scenario.peers.count,
            "restarted": sum(run.restarted for run in runs),
            "lost": sum(self._scenario.peers.count - len(run.results) for run in runs),
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
                source: discovered[source] for source in ("mdns", "mqtt", "gossip", "hello")
            },
            "crypto_cpu_share": round(sum(crypto.values()) / cpu, 4) if cpu else 0,
            "crypto_cpu_s": {part: round(s, 3) for part, s in sorted(crypto.items())},
            "cpu_s": round(cpu, 2),
            "methods": {run.label: _method(run) for run in runs} | self._baselines(),
        }

    def _baselines(self) -> dict[str, Any]:
        splits = [leave_one_out(h) for h in self._realm.histories]
        trained = [s.train for s in splits]
        table = {}
        for name, build in BASELINES.items():
            model = build(self._realm.catalogue, trained)
            ranks, new = [], []
            for history, split in zip(self._realm.histories, splits, strict=True):
                if not len(split.test):
                    continue
                known = history.head(len(history) - 1)
                item = int(split.test.item[0])
                context = Context(timestamp_s=int(split.test.timestamp_s[0]))
                ranks.append(rank_of(model.scores(known, context), item))
                new.append(item not in known.item)
            table[name] = {**quality(ranks, new), "bytes_per_peer": 0, "rounds": 0}
        return table


def _method(run: MethodRun) -> dict[str, Any]:
    ranked = [r for r in run.results.values() if r["rank"]]
    n_bytes = [r["counters"].get("payload_bytes", 0) for r in run.results.values()]
    sizes: dict[str, list[int]] = {}
    for result in run.results.values():
        for kind, size in result["sizes"]:
            sizes.setdefault(kind, []).append(size)
    index = {r["peer"]: i for i, r in run.results.items()}
    return {
        **quality([r["rank"] for r in ranked], [bool(r["new"]) for r in ranked]),
        "bytes_per_peer": round(float(np.mean(n_bytes))) if n_bytes else 0,
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


def _descendants(pid: int) -> int:
    """How many live processes the warm parent has, itself included."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    with contextlib.suppress(OSError):
        return 1 + len(children.read_text().split())
    return 1
