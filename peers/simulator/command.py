"""``p2prec simulate``: load, run in virtual time, show."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from p2prec.errors import ConfigError
from peers.cli.progress import bars, error_console
from peers.scenario import MethodConfig, Scenario
from peers.simulator.estimate import check_memory, resident_bytes
from peers.simulator.run import Hand, InProcess, OtherProcess, Progress, Report, digest_of, live
from peers.simulator.world import World
from peers.swarm.data import Realm
from peers.swarm.repeats import asked, over_seeds, stopped_by_ctrl_c
from peers.swarm.summary import MethodRun, summarise

_MIB: Final = 1 << 20


@stopped_by_ctrl_c("no process is left")
def run_simulation(
    path: Path,
    *,
    peers: int = 0,
    data: str = "",
    seed: int = -1,
    seeds: int = 1,
    rounds: int = 0,
    processes: int = 1,
    pictures: Path | None = None,
    show: bool = True,
    quiet: bool = False,
) -> dict[str, Any]:
    """Simulate a scenario, once a seed; the first seed's summary, with ``spread`` over all seeds.

    Raises:
        ConfigError: The scenario is wrong, or its peers would not fit into memory.
        StoppedByUserError: Ctrl-C; nothing that was started is left.
    """
    scenario = asked(path, peers=peers, rounds=rounds)
    if not scenario.schedule.max_rounds and not scenario.simulation.hours:
        raise ConfigError(
            f"{path}: a simulation needs schedule.max_rounds or simulation.hours, else it "
            "never ends"
        )

    def run(seeded: Scenario, realm: Realm, label: str) -> dict[str, Any]:
        return simulate(seeded, realm, processes=processes, label=label, quiet=quiet)

    return over_seeds(
        scenario, run, data=data, seed=seed, seeds=seeds, pictures=pictures, show=show
    )


def simulate(
    scenario: Scenario, realm: Realm, *, processes: int = 1, label: str = "", quiet: bool = True
) -> dict[str, Any]:
    """All methods of a scenario with one seed; see ``docs/summary-schema.md``.

    Raises:
        ConfigError: The peers would not fit into memory.
    """
    import torch

    torch.set_num_threads(1)  # small operations: a second thread would only wait
    begun = time.monotonic()
    runs, digests, facts = [], {}, {}
    for method in scenario.methods:
        name = method.title
        world = World(scenario, method, realm)
        check_memory(world)
        with _progress(f"{label}{name}", world, quiet=quiet) as progress:
            run, digest, fact = _run(world, method, processes, progress)
        runs.append(run)
        digests[name], facts[name] = digest, fact
    summary = summarise(scenario, realm, runs, seconds=time.monotonic() - begun)
    rounds = sum(int(fact["peer_rounds"]) for fact in facts.values())
    seconds = sum(float(fact["seconds"]) for fact in facts.values())
    summary["virtual_seconds"] = round(max(float(f["virtual_seconds"]) for f in facts.values()), 3)
    summary["peer_rounds_per_second"] = round(rounds / max(seconds, 1e-9), 2)
    summary["digest"] = next(iter(digests.values())) if len(digests) == 1 else _together(digests)
    memory = max(float(fact["mib_per_peer"]) for fact in facts.values())
    summary["uss_mib"] = {"p50": memory, "max": memory}
    for name, fact in facts.items():
        summary["methods"][name] |= {**fact, "digest": digests[name]}
    if scenario.simulation.answers:
        summary["answers"] = {run.label: run.answers for run in runs}
    return summary


def _run(
    world: World, method: MethodConfig, processes: int, progress: Any
) -> tuple[MethodRun, str, dict[str, float]]:
    before = resident_bytes()
    begun = time.monotonic()
    shards = max(1, min(processes, world.n))
    made = OtherProcess if shards > 1 else InProcess
    hands: list[Hand] = [made(world, i, shards) for i in range(shards)]
    try:
        ready = time.monotonic()
        reports, virtual_s = live(world, hands, progress=progress)
        seconds = time.monotonic() - ready
        used = max(resident_bytes() - before, 0)
    finally:
        for hand in hands:
            hand.close()
    peer_rounds = sum(report.peer_rounds for report in reports)
    run = _as_run(method, world, reports)
    run.seconds = time.monotonic() - begun
    facts = {
        "virtual_seconds": round(virtual_s, 3),
        "peer_rounds": peer_rounds,
        "peer_rounds_per_second": round(peer_rounds / max(seconds, 1e-9), 2),
        "mib_per_peer": round(used / _MIB / world.n, 4) if shards == 1 else 0.0,
    }
    return run, digest_of(reports), {**facts, "seconds": round(run.seconds, 2)}


def _as_run(method: MethodConfig, world: World, reports: list[Report]) -> MethodRun:
    """What a swarm's supervisor would have been told."""
    run = MethodRun(label=method.title, rounds=world.rounds)
    sizes: dict[str, Counter[int]] = {}
    for report in reports:
        run.results |= report.results
        run.answers |= report.answers
        run.ready |= report.ready_s.keys()
        for round_, seen in report.seen.items():
            run.rounds_seen.setdefault(round_, {}).update(seen)
        for kind, counted in report.sizes.items():
            sizes.setdefault(kind, Counter()).update(counted)
    run.results = dict(sorted(run.results.items()))
    run.rounds_seen = {r: dict(sorted(s.items())) for r, s in sorted(run.rounds_seen.items())}
    run.restarted = sum(int(r["crashes"]) for r in run.results.values())
    run.sizes = {kind: sorted(counted.elements()) for kind, counted in sizes.items()}
    ready_s = [at for report in reports for at in report.ready_s.values()]
    if ready_s:
        run.seconds_to["ready"] = run.began_s + max(ready_s)
    return run


def _together(digests: dict[str, str]) -> str:
    text = "".join(f"{name}={digest};" for name, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _progress(label: str, world: World, *, quiet: bool) -> Iterator[Any]:
    console = error_console()
    if quiet or not console.is_terminal or console.is_dumb_terminal:
        yield lambda _: None
        return
    total = world.n * world.rounds or None
    with bars(console) as progress:
        task = progress.add_task(label, total=total, text="")

        def draw(at: Progress) -> None:
            text = (
                f"{at.virtual_s / 3600:.2f} virtual hours, {at.peer_rounds} peer-rounds, "
                f"{at.over}/{world.n} done"
            )
            progress.update(task, completed=at.peer_rounds, text=text)

        yield draw
        if total:
            progress.update(task, completed=total)
