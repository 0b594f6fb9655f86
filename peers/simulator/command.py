"""``p2prec simulate``: load, run in virtual time, save, show."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from peers.cli.progress import Stage, following
from peers.cli.say import clock
from peers.files import make_folder
from peers.scenario import MethodConfig, Scenario, check_ends
from peers.simulator.checkpoint import Keeper, Outcome, Run, asked_for, kept_or
from peers.simulator.estimate import check_memory, resident_bytes
from peers.simulator.hands import Hand, InProcess, OtherProcess, Report
from peers.simulator.keeping import NOT_KEPT, Keeping
from peers.simulator.on_ray import Cluster, OnRay, cluster_at
from peers.simulator.repeating import command_line, repeatable
from peers.simulator.run import Progress, Standing, digest_of, live
from peers.simulator.traces import check_traces
from peers.simulator.world import World
from peers.swarm.data import Realm
from peers.swarm.repeats import asked, over_seeds, stopped_by_ctrl_c
from peers.swarm.summary import MethodRun, summarise

_MIB: Final = 1 << 20
_FORESEEN_AFTER: Final = 0.02  # of a run, and so many seconds: earlier its speed says nothing
_FORESEEN_AFTER_S: Final = 5.0


@stopped_by_ctrl_c("no process is left")
def run_simulation(
    path: Path,
    *,
    peers: int = 0,
    data: str = "",
    seed: int = -1,
    seeds: int = 1,
    rounds: int = 0,
    settings: Sequence[str] = (),
    processes: int = 0,
    ray: str = "",
    keeping: Keeping = NOT_KEPT,
    pictures: Path | None = None,
    show: bool = True,
    quiet: bool = False,
) -> dict[str, Any]:
    """Simulate a scenario, once a seed; the first seed's summary, with ``spread`` over all seeds.

    Args:
        path: Of the scenario.
        peers: In place of the scenario's; 0 for those.
        data: CSV in place of the scenario's; "" for that.
        seed: The first one; below 0 it is the scenario's.
        seeds: How many.
        rounds: In place of the scenario's; 0 for those.
        settings: Further ones as ``KEY=VALUE``.
        processes: Shards; 0 for one, or on Ray for as many as the cluster has cores.
        ray: Address of a Ray cluster, ``"local"`` for one of this run, "" for none.
        keeping: Whether, and where, the run is kept.
        pictures: Folder to draw into.
        show: Whether to print a table.
        quiet: Whether to say nothing on the way.

    Raises:
        ConfigError: The scenario is wrong, its peers would not fit into memory, or the run of the
            folder is another one.
        StoreError: The folder cannot be written, or what it holds is damaged.
        StoppedByUserError: Ctrl-C or SIGTERM; nothing that was started is left.
        TransportError: No Ray cluster answers.
    """
    scenario = asked(path, peers=peers, rounds=rounds, seed=seed, seeds=seeds, settings=settings)
    check_ends(scenario, source=str(path), virtual=True)
    check_traces(scenario.simulation, peers=scenario.peers.count, source=str(path))
    keeping.prepare()
    make_folder(pictures, key="--pictures")

    def command(*more: str, number: int = scenario.seed, n: int = seeds) -> str:
        return command_line(
            path, *more, peers=peers, data=data, seed=number, seeds=n, rounds=rounds,
            settings=settings,
        )  # fmt: skip

    def again(*more: str) -> str:
        shards = ("--processes", str(processes)) if processes else ()
        return command(*shards, *(("--ray", ray) if ray else ()), *more)

    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(cluster_at(ray, shards=processes)) if ray else None
        keeper = stack.enter_context(
            keeping.keeper(lambda: asked_for({"": scenario}, seeds=seeds), again=again, quiet=quiet)
        )

        def run(seeded: Scenario, realm: Realm, label: str) -> dict[str, Any]:
            with repeatable(command(number=seeded.seed, n=1)):
                found = simulate(
                    seeded, realm, processes=processes, label=label, quiet=quiet,
                    cluster=cluster, keeper=keeper,
                )  # fmt: skip
            found.pop("answers", None)  # for comparisons, which are not made here
            return found

        summary = over_seeds(
            scenario, run, path=path, data=data, seeds=seeds, pictures=pictures, show=show
        )
        if keeper is not None:
            keeper.result(summary)
    return summary


def simulate(
    scenario: Scenario,
    realm: Realm,
    *,
    processes: int = 1,
    label: str = "",
    quiet: bool = True,
    cluster: Cluster | None = None,
    keeper: Keeper | None = None,
    question: str = "",
    key: str = "--peers",
) -> dict[str, Any]:
    """All methods of a scenario with one seed; see ``docs/summary-schema.md``.

    Args:
        scenario: With the seed.
        realm: Its peers.
        processes: Shards; 0 for one, or as many as the cluster has cores.
        label: Before names, where progress is shown.
        quiet: Whether it is not.
        cluster: Of Ray.
        keeper: Of what is over, and of what is going on.
        question: Before titles, in what is kept, where a keeper has several questions.
        key: What sets how many peers there are.

    Raises:
        ConfigError: The peers of a method would not fit into memory; none has begun then.
    """
    import torch

    torch.set_num_threads(1)  # small operations: a second thread would only wait
    begun = time.monotonic()
    runs: dict[str, Run] = {
        method.title: (scenario.seed, question + method.title) for method in scenario.methods
    }
    check_memory(
        scenario,
        realm,
        [m for m in scenario.methods if keeper is None or not keeper.is_over(runs[m.title])],
        processes=processes or (cluster.cores if cluster is not None else 1),
        available=cluster.memory_bytes if cluster is not None else 0,
        key=key,
    )
    outcomes: dict[str, Outcome] = {}
    for method in scenario.methods:
        name = method.title

        def computed(method: MethodConfig = method, name: str = name) -> Outcome:
            world = World(scenario, method, realm)
            with _progress(f"{label}{name}", world, quiet=quiet) as progress:
                return _run(world, method, processes, progress, cluster, keeper, runs[name])

        outcomes[name] = kept_or(computed, keeper, runs[name], realm)
    told = [outcome.run for outcome in outcomes.values()]
    summary = summarise(scenario, realm, told, seconds=time.monotonic() - begun)
    facts = [outcome.facts for outcome in outcomes.values()]
    rounds, seconds = sum(f["peer_rounds"] for f in facts), sum(f["seconds"] for f in facts)
    summary["virtual_seconds"] = round(max(f["virtual_seconds"] for f in facts), 3)
    summary["peer_rounds_per_second"] = round(rounds / max(seconds, 1e-9), 2)
    summary["digest"] = _together({name: outcome.digest for name, outcome in outcomes.items()})
    memory = max(f["mib_per_peer"] for f in facts)
    summary["uss_mib"] = {"p50": memory, "max": memory}
    for name, outcome in outcomes.items():
        summary["methods"][name] |= {**outcome.facts, "digest": outcome.digest}
    if scenario.simulation.answers:
        summary["answers"] = {run.label: run.answers for run in told}
    return summary


def _run(  # noqa: PLR0917
    world: World,
    method: MethodConfig,
    processes: int,
    progress: Callable[[Progress], None],
    cluster: Cluster | None,
    keeper: Keeper | None,
    run: Run,
) -> Outcome:
    before = resident_bytes()
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        hands: list[Hand] = []
        for hand in _hands(world, processes, cluster):
            stack.callback(hand.close)
            hands.append(hand)
        start, earlier_s = Standing(), 0.0
        between: Callable[[Standing], None] = lambda _: None  # noqa: E731 - the usual case
        if keeper is not None:
            start, earlier_s = keeper.restore(run, world, hands)
            between = keeper.between(
                run, world, hands, lambda: earlier_s + time.monotonic() - begun
            )
        ready = time.monotonic()
        reports, virtual_s = live(world, hands, progress=progress, start=start, between=between)
        seconds = earlier_s + time.monotonic() - ready
        used = max(resident_bytes() - before, 0)
    peer_rounds = sum(report.peer_rounds for report in reports)
    told = _as_run(method, world, reports)
    told.seconds = earlier_s + time.monotonic() - begun
    return Outcome(
        run=told,
        digest=digest_of(reports),
        facts={
            "virtual_seconds": round(virtual_s, 3),
            "peer_rounds": peer_rounds,
            "peer_rounds_per_second": round(peer_rounds / max(seconds, 1e-9), 2),
            "mib_per_peer": round(used / _MIB / world.n, 4) if len(hands) == 1 else 0.0,
            "seconds": round(told.seconds, 2),
        },
    )


def _hands(world: World, processes: int, cluster: Cluster | None) -> Iterator[Hand]:
    """All shards of a world, begun one by one."""
    if cluster is not None:
        shards = min(processes or cluster.cores, world.n)
        held = cluster.hold(world)
        for i in range(shards):
            yield OnRay(held, i, shards)
        return
    shards = max(1, min(processes, world.n))
    made = OtherProcess if shards > 1 else InProcess
    for i in range(shards):
        yield made(world, i, shards)


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
    if len(digests) == 1:
        return next(iter(digests.values()))
    text = "".join(f"{name}={digest};" for name, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _progress(label: str, world: World, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    total = world.n * world.rounds
    begun: list[tuple[float, int]] = []

    def left(peer_rounds: int) -> str:
        """How long it will take by the speed so far, where that can be said."""
        now_s = time.monotonic()
        begun[:] = begun or [(now_s, peer_rounds)]
        elapsed_s, done = now_s - begun[0][0], peer_rounds - begun[0][1]
        if elapsed_s < _FORESEEN_AFTER_S or not total or done < _FORESEEN_AFTER * total:
            return ""
        minutes = elapsed_s * max(total - peer_rounds, 0) / done / 60
        return f", some {minutes:.0f} min left" if minutes >= 1 else ""

    with following(quiet=quiet) as follow:

        def show(at: Progress) -> None:
            over = at.over == world.n
            follow(
                Stage(
                    label=label,
                    completed=total if over else at.peer_rounds,
                    total=total or None,
                    text=f"{clock(at.virtual_s)} of virtual time, {at.peer_rounds} peer-rounds, "
                    f"{at.over}/{world.n} done{'' if over else left(at.peer_rounds)}",
                    step=(at.peer_rounds // world.n, over),
                )
            )

        yield show
