"""Commands of the owner of a peer. Heavy libraries are imported inside those that need them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from p2prec.errors import BadLineError, ConfigError, DataError, P2PRecError
from peers.cli.app import EXIT_FAILURE, Json, Quiet, app, printed

_REJECTED_SHOWN = 20


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
    from peers.files import read_items, write_catalogue
    from peers.settings import config_path, config_text

    path = config_path()
    if path.exists() and not force:
        raise ConfigError(f"{path} exists already; --force overwrites it")
    items = read_items(catalogue)
    if share is None:
        share = sys.stdin.isatty() and typer.confirm(
            "Learn together with other peers? What the model learned leaves this device: it names "
            "places you know among made-up ones. So do a blurred area and a noisy sketch of your "
            "tastes. No check-in ever does. You can change it later."
        )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_catalogue(path.parent / "catalogue.csv", items)
    path.write_text(config_text(catalogue=Path("catalogue.csv"), share=share))
    path.chmod(0o600)
    shares = "shares protected updates" if share else "shares nothing (share = true changes that)"
    print(
        f"Wrote {path}.\n"
        f"The realm has {len(items)} items and the name {items.digest.hex()[:16]}; only peers with "
        f"the very same items meet. This peer {shares}.\n"
        "Next: p2prec import YOUR_CHECK_INS.csv, then p2prec run"
    )


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV: user,poi,category,lat,lon,timestamp.")],
    user: Annotated[str, typer.Option(help="Take only this user's lines.")] = "",
    keep_good_lines: Annotated[
        bool, typer.Option("--keep-good-lines", help="Leave bad lines out.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Add the owner's check-ins; importing a file twice changes nothing."""
    from peers.cli.progress import reading
    from peers.cli.say import counted
    from peers.control import ControlClient, running
    from peers.files import read_catalogue, read_check_in_file
    from peers.settings import catalogue_path, home_folder, owner_config
    from peers.store import STORE_NAME, Store

    catalogue = read_catalogue(catalogue_path(owner_config()))
    with reading(file, quiet=quiet) as on_read:
        try:
            read = read_check_in_file(
                file, keep_good_lines=keep_good_lines, catalogue=catalogue, on_read=on_read
            )
        except BadLineError as error:
            raise DataError(f"{error} --keep-good-lines imports the others.") from None
    interactions = read.dataset.interactions
    names = interactions.user_ids
    if user:
        if user not in names:
            raise DataError(f"{file} has no user {user!r}; it has {_some(names)}")
        index = names.index(user)
    elif len(names) == 1:
        index = 0
    else:
        raise DataError(
            f"{file} holds {len(names)} users ({_some(names)}); say which one you are with --user"
        )
    with closing(Store.open(home_folder() / STORE_NAME)) as store:
        added = store.add_interactions(interactions.history(index))
        total = len(store.history())
    if running(home_folder()):
        ControlClient(home_folder()).request("reload")
    for sentence in read.rejected[:_REJECTED_SHOWN]:
        print(sentence, file=sys.stderr)
    if len(read.rejected) > _REJECTED_SHOWN:
        print(f"... and {len(read.rejected) - _REJECTED_SHOWN} more lines", file=sys.stderr)
    left_out = f"; {counted(len(read.rejected), 'line')} left out" if read.rejected else ""
    printed(
        {"added": added, "total": total, "rejected": list(read.rejected)},
        as_json=as_json,
        text=f"{counted(added, 'new check-in')}, {total} in all{left_out}.",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")


@app.command()
def run(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also each message that came or was dropped.")
    ] = False,
    share_unprotected: Annotated[
        bool,
        typer.Option(
            "--share-unprotected",
            help="Share although the settings turn protection off: neighbours can then read "
            "which places you go to.",
        ),
    ] = False,
) -> None:
    """Run the peer until it is stopped with Ctrl-C or SIGTERM."""
    import asyncio
    import signal

    import torch

    from p2prec.training.given_up import given_up
    from peers.cli.log import OwnerLog, wants_colours
    from peers.daemon import Daemon
    from peers.files import read_catalogue
    from peers.owner import check_protected
    from peers.owner import shares as shares_something
    from peers.settings import catalogue_path, config_path, home_folder, owner_config

    config = owner_config()
    if not share_unprotected:
        check_protected(config, source=str(config_path()))
    torch.set_num_threads(1)
    log = OwnerLog(
        sys.stderr,
        terminal=sys.stderr.isatty(),
        verbose=verbose,
        colours=wants_colours(sys.stderr),
    )
    log.take_over_logging()

    async def live() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await daemon.run(stop)

    daemon = Daemon(
        config=config,
        home=home_folder(),
        catalogue=read_catalogue(catalogue_path(config)),
        on_tell=log.told,
    )
    sharing = shares_something(config)
    shares = f"shares by {config.learner.collaboration.method}" if sharing else "shares nothing"
    log.say(f"the peer of {home_folder()} starts and {shares}; Ctrl-C stops it", what="starting")
    if sharing and (off := given_up(config.learner)):
        log.say(
            f"SHARING WITHOUT PROTECTION ({', '.join(off)}): neighbours can read which places "
            "you go to",
            level="warning",
            what="unprotected",
        )
    failed: P2PRecError | None = None
    try:
        asyncio.run(live())
    except* P2PRecError as group:
        failed = _first(group)  # raised in here, it would be in a group again with Python 3.11.2
    if failed is not None:
        raise failed
    log.say("the peer has left the network; everything is kept", what="left")


def _first(group: BaseExceptionGroup[P2PRecError]) -> P2PRecError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, P2PRecError)  # noqa: S101 - what the group was asked for
    return error


@app.command()
def status(as_json: Json = False) -> None:
    """What the peer does, what left the device, and what it cost in privacy."""
    from peers.cli import say
    from peers.control import ControlClient, running
    from peers.files import read_catalogue
    from peers.settings import catalogue_path, home_folder, owner_config
    from peers.store import STORE_NAME, Store

    neighbours: list[dict[str, Any]] = []
    if running(home_folder()):
        client = ControlClient(home_folder())
        answer = client.request("status")
        if not as_json:
            neighbours = client.request("neighbours")["neighbours"]
    else:
        import time

        from peers.owner import stored_status

        config = owner_config()
        catalogue = read_catalogue(catalogue_path(config))
        with closing(Store.open(home_folder() / STORE_NAME)) as store:
            answer = stored_status(store, catalogue, config, now_s=time.time())
    printed(answer, as_json=as_json, text=say.status(answer, neighbours))


@app.command()
def neighbours(as_json: Json = False) -> None:
    """With whom the running peer learns, and why."""
    from peers.cli import say
    from peers.control import ControlClient
    from peers.settings import home_folder

    answer = ControlClient(home_folder()).request("neighbours")
    text = "\n".join(map(say.neighbour, answer["neighbours"]))
    printed(answer, as_json=as_json, text=text or "No neighbours yet; p2prec doctor looks for why.")


@app.command()
def recommend(
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")] = 10,
    new: Annotated[bool, typer.Option("--new", help="Only places you have not been to.")] = False,
    why: Annotated[bool, typer.Option("--why", help="Say what speaks for each.")] = False,
    as_json: Json = False,
) -> None:
    """Where to go next; works without a running peer too."""
    from peers.cli import say
    from peers.control import ControlClient, running
    from peers.settings import home_folder

    if running(home_folder()):
        answer = ControlClient(home_folder()).request("recommend", k=k, new_only=new)
    else:
        answer = {"recommendations": _recommend_offline(k, new_only=new), "elapsed_ms": None}
    text = say.recommendations(answer["recommendations"], why=why)
    printed(answer, as_json=as_json, text=text)


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
    if learner.anew:
        print(f"{learner.anew}; p2prec run learns anew from the history", file=sys.stderr)
    if not len(learner.knowledge.history):
        print("No check-ins yet, so these are anybody's; p2prec import adds yours", file=sys.stderr)
    return recommendations(learner, catalogue, now_s=time.time(), k=k, new_only=new_only)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this installation; exit code 1 where something needs care."""
    from peers.doctor import examine

    findings = examine()
    text = "\n".join(
        f"{'ok  ' if f['ok'] else 'CARE'}  {f['check']}: {f['says']}" for f in findings
    )
    printed({"checks": findings}, as_json=as_json, text=text)
    if not all(f["ok"] for f in findings):
        sys.exit(EXIT_FAILURE)


@app.command()
def config(
    path_only: Annotated[bool, typer.Option("--path", help="Print only where it is.")] = False,
    as_json: Json = False,
) -> None:
    """Show where the settings are and what they say."""
    from peers.settings import config_path, owner_config, shown

    path = config_path()
    if path_only:
        print(path)
        return
    tables = shown(owner_config())
    text = f"# {path}, with P2PREC_* of the environment and all defaults\n"
    text += json.dumps(tables, indent=2)
    printed({"path": str(path), "settings": tables}, as_json=as_json, text=text)
