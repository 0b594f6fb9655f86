"""Commands that compare methods. Heavy libraries are imported inside those that need them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from peers.cli.app import EXIT_FAILURE, Json, Quiet, app, printed
from peers.cli.stopping import while_loading

Pictures = Annotated[Path | None, typer.Option(help="Draw pictures into this folder.")]
Processes = Annotated[int, typer.Option(min=1, help="Shards, each a process.")]
Rounds = Annotated[int, typer.Option(min=0, help="Rounds; 0 as the scenario says.")]
ScenarioFile = Annotated[Path, typer.Argument(help="A scenario's TOML file.")]
Seeds = Annotated[int, typer.Option(min=1, help="Repeat with so many seeds.")]
Seed = Annotated[int, typer.Option(help="Which users and which draws.")]
CheckIns = Annotated[str, typer.Option(help="CSV of check-ins in place of the scenario's.")]
Peers = Annotated[int, typer.Option(min=0, help="Peers; 0 as the scenario says.")]
Save = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Keep the run in this new folder: it is saved now and then, and on Ctrl-C or "
        "SIGTERM, and goes on with --continue. In the end result.json is there.",
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        "--continue",
        metavar="FOLDER",
        help="Go on with the run that --save keeps there, asked for by the same options; on how "
        "many processes may change. The result is that of a run without a stop.",
    ),
]
SaveEvery = Annotated[
    float, typer.Option("--save-every", metavar="MINUTES", min=0, help="Between two saves.")
]


@app.command()
def swarm(
    scenario: ScenarioFile,
    peers: Peers = 0,
    data: CheckIns = "",
    seed: Seed = -1,
    seeds: Seeds = 1,
    rounds: Rounds = 0,
    keep: Annotated[Path | None, typer.Option(help="Keep the peers' folders here.")] = None,
    pictures: Pictures = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run many real peers on this machine and compare methods."""
    with while_loading():
        from peers.swarm.command import run_swarm

    summary = run_swarm(
        scenario,
        peers=peers,
        data=data,
        seed=seed,
        seeds=seeds,
        rounds=rounds,
        keep=keep,
        pictures=pictures,
        show=not as_json,
        quiet=quiet,
    )
    _ended(summary, as_json=as_json)


def _ended(summary: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary))
    if summary["lost"]:
        sys.exit(EXIT_FAILURE)


@app.command()
def demo(
    peers: Peers = 0,
    rounds: Rounds = 0,
    pictures: Annotated[Path, typer.Option(help="Folder for pictures and summary.json.")] = Path(
        "results/demo"
    ),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run real peers of a synthetic city on this machine for a minute; needs no network."""
    with while_loading():
        from peers.swarm.command import run_swarm

    summary = run_swarm(
        Path(__file__).parents[1] / "demo.toml",
        peers=peers,
        rounds=rounds,
        pictures=pictures,
        show=not as_json,
        quiet=quiet,
    )
    if not as_json:
        print(f"Pictures and summary.json are in {pictures}/")
    _ended(summary, as_json=as_json)


@app.command()
def simulate(
    scenario: ScenarioFile,
    peers: Peers = 0,
    data: CheckIns = "",
    seed: Seed = -1,
    seeds: Seeds = 1,
    rounds: Rounds = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting in place of the scenario's, such as simulation.network.loss=0.1; may "
            "be repeated.",
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=0,
            help="Shards, each a process; 0 for one, or on Ray for one a core. The result is the "
            "same.",
        ),
    ] = 0,
    ray: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Run the shards on this Ray cluster (host:port, ray://host:port, auto), or "
            "'local' for one that starts and ends with the run; needs p2prec[ray].",
        ),
    ] = "",
    save: Save = None,
    resume: Resume = None,
    save_every: SaveEvery = 10.0,
    pictures: Pictures = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a scenario in virtual time: the same peers, a modelled network and modelled devices."""
    with while_loading():
        from peers.simulator.command import run_simulation
        from peers.simulator.keeping import Keeping

    summary = run_simulation(
        scenario,
        peers=peers,
        data=data,
        seed=seed,
        seeds=seeds,
        rounds=rounds,
        settings=settings or (),
        processes=processes,
        ray=ray,
        keeping=Keeping(save=save, resume=resume, every_s=60.0 * save_every),
        pictures=pictures,
        show=not as_json,
        quiet=quiet,
    )
    if as_json:
        print(json.dumps(summary))


@app.command()
def evaluate(
    data: Annotated[str, typer.Option(help="CSV of check-ins, or the folder of MovieLens 100K.")],
    methods: Annotated[str, typer.Option(help="Names with commas; all where empty.")] = "",
    seeds: Seeds = 1,
    users: Annotated[int, typer.Option(min=0, help="Only so many of them; 0 for all.")] = 0,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds; 0 for the usual number.")] = 0,
    processes: Processes = 1,
    save: Save = None,
    resume: Resume = None,
    save_every: SaveEvery = 10.0,
    pictures: Pictures = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare all methods, with a server and without, on one data set; nothing is tuned on it."""
    with while_loading():
        from peers.evaluate import run_evaluation
        from peers.simulator.keeping import Keeping

    summary = run_evaluation(
        data,
        methods=[name.strip() for name in methods.split(",") if name.strip()],
        seeds=seeds,
        users=users,
        rounds=rounds,
        processes=processes,
        keeping=Keeping(save=save, resume=resume, every_s=60.0 * save_every),
        pictures=pictures,
        show=not as_json,
        quiet=quiet,
    )
    if as_json:
        print(json.dumps(summary))


@app.command()
def methods(as_json: Json = False) -> None:
    """List all that can be chosen, by axis."""
    from peers.axes import axes

    found = axes()
    lines = []
    for axis, members in found.items():
        lines.append(axis)
        lines += [f"  {name:20} {says}" for name, says in members.items()]
    printed(found, as_json=as_json, text="\n".join(lines))


@app.command()
def models(as_json: Json = False) -> None:
    """List all recommenders with all item tables: what they take, and what they are worth."""
    from peers.cli import say
    from peers.worth import model_rows

    rows = model_rows()
    printed(rows, as_json=as_json, text=say.models(rows))
