"""How a run is asked for again: the one line that brings it about."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from p2prec.errors import ConfigError, StoppedByUserError, StoreError
from peers.version import version


def command_line(
    path: Path,
    *more: str,
    peers: int = 0,
    data: str = "",
    seed: int,
    seeds: int = 1,
    rounds: int = 0,
    settings: Sequence[str] = (),
) -> str:
    """The command that simulates this, for a shell."""
    words = ["p2prec", "simulate", str(path), "--seed", str(seed)]
    for option, value in (("--peers", peers), ("--data", data), ("--rounds", rounds)):
        words += [option, str(value)] if value else []
    words += ["--seeds", str(seeds)] if seeds > 1 else []
    for setting in settings:
        words += ["--set", setting]
    return shlex.join([*words, *more])


@contextlib.contextmanager
def repeatable(command: str) -> Iterator[None]:
    """Let a failure say which command brings it about again, and with which code."""
    try:
        yield
    except (ConfigError, StoreError, StoppedByUserError):  # of the user's or the disk's making
        raise
    except Exception as error:
        error.add_note(f"to see it fail again: {command}  # p2prec {version()}")
        raise
