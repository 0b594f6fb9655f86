"""The command ``p2prec``. Heavy libraries are imported inside the commands that need them."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from p2prec.errors import ConfigError, DataError, P2PRecError, TransportError

EXIT_FAILURE, EXIT_NO_PEER, EXIT_CONFIG = 1, 3, 4  # 2 is a wrong use, by Typer

app = typer.Typer(
    name="p2prec",
    help="A recommender network without a server: this device runs one peer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 ok, 1 failure, 2 usage, 3 no peer runs or answers, 4 settings.",
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def main() -> None:
    """Entry point: a P2PRecError is one sentence, never a traceback."""
    try:
        app()
    except ConfigError as error:
        _fail(error, EXIT_CONFIG)
    except TransportError as error:
        _fail(error, EXIT_NO_PEER)
    except P2PRecError as error:
        _fail(error, EXIT_FAILURE)


def _fail(error: P2PRecError, code: int) -> None:
    print(f"p2prec: {error}", file=sys.stderr)
    sys.exit(code)


def _print(value: object, *, as_json: bool, text: str) -> None:
    print(json.dumps(value, ensure_ascii=False) if as_json else text)


@app.command()
def init(
    catalogue: Annotated[
        Path, typer.Option(help="CSV of the realm's items: poi,category,lat,lon, or check-ins.")
    ],
    share: Annotated[
        bool | None, typer.Option("--share/--no-share", help="Agree to learn together with others.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Overwrite existing settings.")] = False,
) -> None:
    """Write the settings of a new peer; asks whether anything may leave this device."""
    from peers.files import read_catalogue, read_check_in_file, write_catalogue
    from peers.settings import config_path, config_text

    path = config_path()
    if path.exists() and not force:
        raise ConfigError(f"{path} exists already; --force overwrites it")
    try:
        items = read_catalogue(catalogue)
    except DataError:
        items = read_check_in_file(catalogue).dataset.catalogue
    if share is None:
        share = sys.stdin.isatty() and typer.confirm(
            "Learn together with other peers? Protected model updates leave this device; "
            "your visits never do."
        )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_catalogue(path.parent / "catalogue.csv", items)
    path.write_text(config_text(catalogue=Path("catalogue.csv"), share=share))
    path.chmod(0o600)
    shares = "shares protected updates" if share else "shares nothing"
    print(
        f"Wrote {path}. Realm {items.digest.hex()[:16]}, {len(items)} items; this peer {shares}.\n"
        "Next: p2prec import YOUR_CHECK_INS.csv, then p2prec run"
    )


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV: user,poi,category,lat,lon,timestamp.")],
    user: Annotated[str, typer.Option(help="Take only this user's lines.")] = "",
    keep_good_lines: Annotated[
        bool, typer.Option("--keep-good-lines", help="Leave bad lines out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add the owner's check-ins; importing a file twice changes nothing."""
    from peers.control import ControlClient, running
    from peers.files import read_catalogue, read_check_in_file
    from peers.settings import catalogue_path, home_folder, owner_config
    from peers.store import STORE_NAME, Store

    catalogue = read_catalogue(catalogue_path(owner_config()))
    read = read_check_in_file(file, keep_good_lines=keep_good_lines, catalogue=catalogue)
    interactions = read.dataset.interactions
    names = interactions.user_ids
    if user:
        if user not in names:
            raise DataError(f"{file} has no user {user!r}")
        index = names.index(user)
    elif len(names) == 1:
        index = 0
    else:
        raise DataError(f"{file} holds {len(names)} users; say which one you are with --user")
    with closing(Store.open(home_folder() / STORE_NAME)) as store:
        added = store.add_interactions(interactions.history(index))
        total = len(store.history())
    if running(home_folder()):
        ControlClient(home_folder()).request("reload")
    for sentence in read.rejected:
        print(sentence, file=sys.stderr)
    _print(
        {"added": added, "total": total, "rejected": list(read.rejected)},
        as_json=as_json,
        text=f"{added} new check-ins, {total} in all; {len(read.rejected)} lines left out.",
    )


@app.command()
def run() -> None:
    """Run the peer until it is stopped with Ctrl-C or SIGTERM."""
    import asyncio
    import signal

    import torch

    from peers.daemon import Daemon
    from peers.events import Tell
    from peers.files import read_catalogue
    from peers.settings import catalogue_path, home_folder, owner_config

    torch.set_num_threads(1)
    config = owner_config()

    def told(tell: Tell) -> None:
        fields = " ".join(f"{k}={v}" for k, v in tell.fields.items())
        print(f"{tell.what} {fields}", file=sys.stderr, flush=True)

    async def live() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await daemon.run(stop)

    daemon = Daemon(
        config=config,
        home=home_folder(),
        catalogue=read_catalogue(catalogue_path(config)),
        on_tell=told,
    )
    try:
        asyncio.run(live())
    except* P2PRecError as group:
        raise group.exceptions[0] from None
    print("The peer has left the network; everything is kept.", file=sys.stderr)


@app.command()
def status(as_json: Json = False) -> None:
    """What the peer does, what left the device, and what it cost in privacy."""
    from peers.control import ControlClient, running
    from peers.settings import home_folder, owner_config
    from peers.store import STORE_NAME, Store

    if running(home_folder()):
        answer = ControlClient(home_folder()).request("status")
    else:
        delta = owner_config().learner.protection.delta
        with closing(Store.open(home_folder() / STORE_NAME)) as store:
            progress, ledger = store.progress(), store.spent(delta)
            answer = {
                "running": False,
                "round": progress.round if progress else 0,
                "interactions": len(store.history()),
                "neighbours": len(progress.neighbours) if progress else 0,
                "counters": store.counters(),
                "privacy": {"releases": ledger.releases, "sentence": ledger.sentence},
            }
    state = "running" if answer["running"] else "not running"
    summary = (
        f"{state}, round {answer['round']}, {answer['interactions']} interactions, "
        f"{answer['neighbours']} neighbours"
    )
    lines = [summary, f"privacy: {answer['privacy']['sentence']}"]
    _print(answer, as_json=as_json, text="\n".join(lines))


@app.command()
def neighbours(as_json: Json = False) -> None:
    """With whom the running peer learns, and why."""
    from peers.control import ControlClient
    from peers.settings import home_folder

    answer = ControlClient(home_folder()).request("neighbours")
    lines = [
        f"{n['pseudonym'][:12]}  near {n['geographic_similarity']:.2f}  "
        f"alike {n['semantic_similarity']:.2f}  over {', '.join(n['transports'])}"
        for n in answer["neighbours"]
    ]
    _print(answer, as_json=as_json, text="\n".join(lines) or "no neighbours yet")


@app.command()
def recommend(
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")] = 10,
    new: Annotated[bool, typer.Option("--new", help="Only places you have not been to.")] = False,
    why: Annotated[bool, typer.Option("--why", help="Say what speaks for each.")] = False,
    as_json: Json = False,
) -> None:
    """Where to go next; works without a running peer too."""
    from peers.control import ControlClient, running
    from peers.settings import home_folder

    if running(home_folder()):
        answer = ControlClient(home_folder()).request("recommend", k=k, new_only=new)
    else:
        answer = {"recommendations": _recommend_offline(k, new_only=new)}
    lines = []
    for place, r in enumerate(answer["recommendations"], 1):
        lines.append(f"{place:3}. {r['item']}  {r['category'] or 'unknown kind'}")
        if why:
            lines += [f"       {w['signal']} ({w['weight']:+.2f})" for w in r["why"]]
    _print(answer, as_json=as_json, text="\n".join(lines))


def _recommend_offline(k: int, *, new_only: bool) -> list[dict[str, Any]]:
    import time

    from peers.files import read_catalogue
    from peers.owner import recommendations, stored_learner
    from peers.settings import catalogue_path, home_folder, owner_config
    from peers.store import STORE_NAME, Store

    config = owner_config()
    catalogue = read_catalogue(catalogue_path(config))
    with closing(Store.open(home_folder() / STORE_NAME)) as store:
        learner = stored_learner(store, catalogue, config)
    return recommendations(learner, catalogue, now_s=time.time(), k=k, new_only=new_only)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this installation; exit code 1 where something needs care."""
    from peers.doctor import examine

    findings = examine()
    text = "\n".join(
        f"{'ok  ' if f['ok'] else 'CARE'}  {f['check']}: {f['says']}" for f in findings
    )
    _print({"checks": findings}, as_json=as_json, text=text)
    if not all(f["ok"] for f in findings):
        sys.exit(EXIT_FAILURE)


@app.command()
def swarm(
    scenario: Annotated[Path, typer.Argument(help="A scenario's TOML file.")],
    peers: Annotated[int, typer.Option(min=0, help="Peers; 0 as the scenario says.")] = 0,
    data: Annotated[str, typer.Option(help="CSV of check-ins in place of the scenario's.")] = "",
    seed: Annotated[int, typer.Option(help="Which users and which draws.")] = -1,
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with so many seeds.")] = 1,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds; 0 as the scenario says.")] = 0,
    keep: Annotated[Path | None, typer.Option(help="Keep the peers' folders here.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Draw pictures into this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Run many real peers on this machine and compare methods."""
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
    )
    if as_json:
        print(json.dumps(summary))
    if summary["lost"]:
        sys.exit(EXIT_FAILURE)


@app.command()
def config(
    path_only: Annotated[bool, typer.Option("--path", help="Print only where it is.")] = False,
) -> None:
    """Show where the settings are and what they say."""
    from peers.settings import config_path, owner_config

    path = config_path()
    if path_only:
        print(path)
        return
    import msgspec

    settings = owner_config()
    print(f"# {path}, with P2PREC_* of the environment and all defaults")
    print(json.dumps(msgspec.to_builtins(settings), indent=2))


if __name__ == "__main__":
    main()
