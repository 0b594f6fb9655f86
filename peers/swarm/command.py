"""``p2prec swarm``: load, run, show, and draw."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from p2prec.errors import ConfigError
from peers.cli.progress import Stage, following
from peers.cli.say import size
from peers.files import make_folder
from peers.scenario import MAX_PEERS, Scenario, check_ends
from peers.swarm.data import Realm
from peers.swarm.repeats import asked, over_seeds, stopped_by_ctrl_c
from peers.swarm.summary import MethodRun
from peers.swarm.supervisor import Supervisor


@stopped_by_ctrl_c("no process was running")
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
    scenario = asked(path, peers=peers, rounds=rounds, seed=seed, seeds=seeds)
    if scenario.peers.count > MAX_PEERS:
        raise ConfigError(
            f"{path}: peers.count = {scenario.peers.count:,} are too many processes for one "
            f"machine; nearest is {MAX_PEERS:,}, and p2prec simulate runs more in virtual time"
        )
    check_ends(scenario, source=str(path), virtual=False)
    make_folder(keep, key="--keep")
    make_folder(pictures, key="--pictures")

    def live(seeded: Scenario, realm: Realm, label: str) -> dict[str, Any]:
        with _progress(label, quiet=quiet) as progress:
            return Supervisor(
                scenario=seeded,
                scenario_path=path,
                realm=realm,
                data=data,
                keep=keep,
                progress=progress,
            ).run()

    return over_seeds(
        scenario, live, path=path, data=data, seeds=seeds, pictures=pictures, show=show
    )


@contextlib.contextmanager
def _progress(seed: str, *, quiet: bool) -> Iterator[Callable[[MethodRun, int], None]]:
    with following(quiet=quiet) as follow:

        def show(run: MethodRun, count: int) -> None:
            over = len(run.results) == count
            done = sum(len(seen) for seen in run.rounds_seen.values())
            follow(
                Stage(
                    label=f"{seed}{run.label}",
                    completed=count * run.rounds if over else done,
                    total=count * run.rounds,
                    text=_standing(run, count),
                    step=(max(run.rounds_seen, default=0), over),
                )
            )

        yield show


def _standing(run: MethodRun, count: int) -> str:
    messages = sum(m for m, _ in run.traffic.values())
    n_bytes = sum(b for _, b in run.traffic.values())
    full = [c for c in run.curve() if c["all"]["n"] >= count // 2]
    parts = []
    if run.advertised:  # not where nobody shares anything
        parts.append(f"{len(run.advertised)} up")
        parts.append(f"{sum(run.neighbours.values())} neighbours of {len(run.ready)}")
    parts.append(f"round {max(run.rounds_seen, default=0)}/{run.rounds}")
    if messages:
        parts += [f"{messages} messages", size(n_bytes)]
    if full:
        parts.append(f"HR@10 {full[-1]['all']['hr@10']:.3f} on validation")
    if run.results:
        parts.append(f"{len(run.results)}/{count} done")
    return ", ".join(parts)
