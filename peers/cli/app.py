"""The command ``p2prec`` itself: its name, its exit codes, and options that commands share."""

from __future__ import annotations

import json
from typing import Annotated

import typer

EXIT_FAILURE, EXIT_NO_PEER, EXIT_CONFIG, EXIT_STOPPED = 1, 3, 4, 130  # 2 is a wrong use, by Typer

app = typer.Typer(
    name="p2prec",
    help="A recommender network without a server: this device runs one peer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=(
        "Exit codes: 0 ok, 1 failure, 2 usage, 3 no peer runs or the network does not answer, "
        "4 settings, 130 stopped by Ctrl-C."
    ),
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]


def _version(wanted: bool) -> None:  # noqa: FBT001 - as Typer calls it
    if wanted:
        from importlib.metadata import version

        print(f"p2prec {version('p2prec')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """A recommender network without a server: this device runs one peer."""
    del version


def printed(value: object, *, as_json: bool, text: str) -> None:
    """Print what a command found, in the form that was asked for."""
    print(json.dumps(value, ensure_ascii=False) if as_json else text)
