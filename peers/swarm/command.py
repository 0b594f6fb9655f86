"""``p2prec swarm``: load, run, show, and draw."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import TaskID
from rich.table import Table

from p2prec.errors import ConfigError, StoppedByUserError
from peers.cli.progress import bars, error_console
from peers.cli.say import size
from peers.scenario import MAX_PEERS, load_scenario
from peers.swarm.data import load_realm
from peers.swarm.summary import PARTS, MethodRun, spread
from peers.swarm.supervisor import Supervisor


@contextlib.contextmanager
def _stopped_between() -> Iterator[None]:
    """Ctrl-C before the first process or after the last is as good as in between."""
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedByUserError("interrupted: no process was running") from None


@_stopped_between()
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
    quiet: bool = False,
) -> dict[str, Any]:
    """Run a scenario, once a seed; the first seed's summary, with ``spread`` over all seeds.

    Raises:
        ConfigError: The scenario is wrong; also what ``Supervisor.run`` raises.
        StoppedByUserError: Ctrl-C; nothing that was started is left.
    """
    scenario = load_scenario(path)
    if peers:
        scenario = replace(scenario, peers=replace(scenario.peers, count=peers))
    if rounds:
        scenario = replace(scenario, schedule=replace(scenario.schedule, max_rounds=rounds))
    if scenario.peers.count > MAX_PEERS:
        raise ConfigError(
            f"{scenario.peers.count:,} processes are too many for one machine (at most "
            f"{MAX_PEERS:,}); p2prec simulate runs them in virtual time"
        )
    if not scenario.schedule.max_rounds:
        raise ConfigError(f"{path}: a swarm needs schedule.max_rounds, else it never ends")
    first = scenario.seed if seed < 0 else seed
    summaries = []
    for number in range(first, first + seeds):
        seeded = replace(scenario, seed=number)
        realm = load_realm(seeded, data=data)
        label = f"seed {number} " if seeds > 1 else ""
        with _progress(label, quiet=quiet) as progress:
            supervisor = Supervisor(
                scenario=seeded,
                scenario_path=path,
                realm=realm,
                data=data,
                keep=keep,
                progress=progress,
            )
            summaries.append(supervisor.run())
    summary = summaries[0]
    summary["spread"] = spread(summaries)
    if show:
        print_table(summary)
    if pictures is not None:
        from peers.swarm.pictures import draw

        pictures.mkdir(parents=True, exist_ok=True)
        draw(summary, pictures)
        (pictures / "summary.json").write_text(json.dumps(summary, indent=1))
    return summary


@contextlib.contextmanager
def _progress(seed: str, *, quiet: bool) -> Iterator[Callable[[MethodRun, int], None]]:
    """Bars on a terminal, a line a round elsewhere, nothing where it is unwanted."""
    console = error_console()
    if quiet:
        yield lambda _run, _count: None
    elif console.is_terminal and not console.is_dumb_terminal:
        with bars(console) as progress:
            tasks: dict[str, TaskID] = {}

            def draw(run: MethodRun, count: int) -> None:
                if run.label not in tasks:
                    tasks[run.label] = progress.add_task(f"{seed}{run.label}", text="")
                done = sum(len(seen) for seen in run.rounds_seen.values())
                progress.update(
                    tasks[run.label],
                    total=count * run.rounds,
                    completed=count * run.rounds if len(run.results) == count else done,
                    text=_standing(run, count),
                )

            yield draw
    else:
        last: list[object] = []

        def say(run: MethodRun, count: int) -> None:
            now = [run.label, max(run.rounds_seen, default=0), len(run.results) == count]
            if now != last:
                last[:] = now
                print(f"{seed}{run.label}: {_standing(run, count)}", file=sys.stderr, flush=True)

        yield say


def _standing(run: MethodRun, count: int) -> str:
    messages = sum(m for m, _ in run.traffic.values())
    n_bytes = sum(b for _, b in run.traffic.values())
    full = [c for c in run.curve() if c["all"]["n"] >= count // 2]
    parts = [
        f"{len(run.advertised)} up",
        f"{sum(run.neighbours.values())} neighbours of {len(run.ready)}",
        f"round {max(run.rounds_seen, default=0)}/{run.rounds}",
        f"{messages} messages",
        size(n_bytes),
    ]
    if full:
        parts.append(f"HR@10 {full[-1]['all']['hr@10']:.3f} on validation")
    if run.results:
        parts.append(f"{len(run.results)}/{count} done")
    return ", ".join(parts)


def print_table(summary: dict[str, Any]) -> None:
    """Methods and baselines by hit rate and NDCG at 10; on standard output, 80 columns wide."""
    first = next(iter(summary["methods"].values()))
    table = narrow_table(
        f"{summary['scenario']}: {summary['peers']} peers",
        *(f"{part}\nn={first[part]['n']}\nHR@10  NDCG" for part in PARTS),
        "KiB a\npeer\nsent",
        "sec-\nonds",
    )
    for name, row in summary["methods"].items():
        cells = [f"{row[p]['hr@10']:.3f} {row[p]['ndcg@10']:.3f}" for p in PARTS]
        seconds = f"{row['seconds']:.0f}" if "seconds" in row else "-"
        table.add_row(name, *cells, f"{row['bytes_per_peer'] / 1024:.0f}", seconds)
    console = Console(highlight=False)
    console.print(table)
    found, memory = summary["discovered_by"], summary["uss_mib"]
    console.print(
        f"ready in {summary['seconds_to_ready']:.1f} s, {summary['seconds']:.0f} s in all; "
        f"lost: {summary['lost']}\n"
        f"private memory a peer {memory['p50']:.1f} MiB (max {memory['max']:.1f})\n"
        f"messages: {summary['messages']['tcp']} TCP, {summary['messages']['mqtt']} MQTT\n"
        f"peers discovered: {found['mdns']} by mDNS, {found['mqtt']} by MQTT"
    )
    seeds = summary["spread"]["seeds"]
    if len(seeds) > 1:
        spread = narrow_table(f"HR@10 over seeds {', '.join(map(str, seeds))}", *PARTS)
        for name, row in summary["spread"]["methods"].items():
            rates = [row[p]["hr@10"] for p in PARTS]
            spread.add_row(name, *(f"{r['mean']:.3f} ± {r['sd']:.3f}" for r in rates))
        console.print(spread)


def narrow_table(title: str, *numbers: str) -> Table:
    """Names to the left, numbers to the right; where it is narrow, only names are cut."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", vertical="bottom", overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
