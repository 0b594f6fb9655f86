"""``p2prec swarm``: load, run, show, and draw."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from p2prec.errors import ConfigError
from peers.scenario import load_scenario
from peers.swarm.data import load_realm
from peers.swarm.supervisor import MethodRun, Supervisor

_PARTS = ("all", "returning", "new")


def run_swarm(
    path: Path,
    *,
    peers: int = 0,
    data: str = "",
    seed: int = -1,
    seeds: int = 1,
    rounds: int = 0,
    keep: Path | None = None,
    pictures: Path | None = None,
    show: bool = True,
) -> dict[str, Any]:
    """Run a scenario, once a seed; the first seed's summary, with ``spread`` over all seeds.

    Raises:
        ConfigError: The scenario is wrong; also what ``Supervisor.run`` raises.
    """
    scenario = load_scenario(path)
    if peers:
        scenario = replace(scenario, peers=replace(scenario.peers, count=peers))
    if rounds:
        scenario = replace(scenario, schedule=replace(scenario.schedule, max_rounds=rounds))
    if not scenario.schedule.max_rounds:
        raise ConfigError(f"{path}: a swarm needs schedule.max_rounds, else it never ends")
    first = scenario.seed if seed < 0 else seed
    summaries = []
    for number in range(first, first + seeds):
        seeded = replace(scenario, seed=number)
        realm = load_realm(seeded, data=data)
        supervisor = Supervisor(
            scenario=seeded,
            scenario_path=path,
            realm=realm,
            data=data,
            keep=keep,
            progress=_progress(seeds > 1, number),
        )
        summaries.append(supervisor.run())
        print(file=sys.stderr)
    summary = summaries[0]
    summary["spread"] = _spread(summaries)
    if show:
        print_table(summary)
    if pictures is not None:
        from peers.swarm.pictures import draw

        pictures.mkdir(parents=True, exist_ok=True)
        draw(summary, pictures)
        (pictures / "summary.json").write_text(json.dumps(summary, indent=1))
    return summary


def _progress(many: bool, seed: int) -> Callable[[MethodRun, int], None]:  # noqa: FBT001
    terminal = sys.stderr.isatty()
    last = [""]

    def show(run: MethodRun, count: int) -> None:
        done = sum(1 for _ in run.results)
        messages = sum(m for m, _ in run.traffic.values())
        mib = sum(b for _, b in run.traffic.values()) / (1 << 20)
        curve = run.curve()
        full = [c for c in curve if c["all"]["n"] >= count // 2]
        hit = f"{full[-1]['all']['hr@10']:.3f}" if full else "-"
        round_ = max(run.rounds_seen, default=0)
        line = (
            f"{f'seed {seed} ' if many else ''}{run.label:>6}: {len(run.ready):4} with neighbours, "
            f"round {round_}/{run.rounds}, {done}/{count} done, {messages} messages, "
            f"{mib:.1f} MiB, HR@10 (validation) {hit}"
        )
        if terminal:
            print(f"\r{line:<110}", end="", file=sys.stderr, flush=True)
        elif line.split(":", maxsplit=1)[0] + str(round_) != last[0]:
            last[0] = line.split(":", maxsplit=1)[0] + str(round_)
            print(line, file=sys.stderr, flush=True)

    return show


def print_table(summary: dict[str, Any]) -> None:
    """Methods and baselines by hit rate and NDCG at 10; on standard output."""
    table = Table(title=f"{summary['scenario']}: {summary['peers']} peers")
    table.add_column("method")
    for part in _PARTS:
        n = next(iter(summary["methods"].values()))[part]["n"]
        table.add_column(f"{part} (n={n})\nHR@10  NDCG", justify="right")
    table.add_column("KiB sent\na peer", justify="right")
    table.add_column("seconds", justify="right")
    for name, row in summary["methods"].items():
        cells = [f"{row[p]['hr@10']:.3f}  {row[p]['ndcg@10']:.3f}" for p in _PARTS]
        seconds = f"{row['seconds']:.0f}" if "seconds" in row else "-"
        table.add_row(name, *cells, f"{row['bytes_per_peer'] / 1024:.0f}", seconds)
    console = Console()
    console.print(table)
    found = summary["discovered_by"]
    console.print(
        f"ready in {summary['seconds_to_ready']:.1f} s, {summary['seconds']:.0f} s in all; private "
        f"memory a peer {summary['uss_mib']['p50']:.1f} MiB (max {summary['uss_mib']['max']:.1f}); "
        f"messages: {summary['messages']['tcp']} TCP, {summary['messages']['mqtt']} MQTT; peers "
        f"discovered: {found['mdns']} by mDNS, {found['mqtt']} by MQTT; lost: {summary['lost']}",
        highlight=False,
    )
    if len(summary["spread"]["seeds"]) > 1:
        console.print(f"mean and standard deviation over seeds {summary['spread']['seeds']}:")
        for name, row in summary["spread"]["methods"].items():
            text = "  ".join(
                f"{p} {row[p]['hr@10']['mean']:.3f}±{row[p]['hr@10']['sd']:.3f}" for p in _PARTS
            )
            console.print(f"  {name:>20}  HR@10  {text}", highlight=False)


def _spread(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    methods: dict[str, Any] = {}
    for name in summaries[0]["methods"]:
        methods[name] = {}
        for part in _PARTS:
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
