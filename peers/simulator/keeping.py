"""What ``--save`` and ``--continue`` mean, for every command that simulates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from p2prec.errors import ConfigError, P2PRecError, StoppedByUserError
from peers.cli.stopping import say, sigterm_as_ctrl_c, stop_asked
from peers.files import make_folder
from peers.simulator.checkpoint import Keeper

_EVERY_S: Final = 600.0  # between two saves


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What the user wants to be kept.

    Attributes:
        save: Folder in which a run begins to be kept.
        resume: Folder of a run that is to go on, and is kept there again.
        every_s: Between two saves.
    """

    save: Path | None = None
    resume: Path | None = None
    every_s: float = _EVERY_S

    def prepare(self) -> None:
        """Make the folder of a new run.

        Raises:
            ConfigError: Both are asked for, or there can be no such folder.
        """
        if self.save is not None and self.resume is not None:
            raise ConfigError(
                "--save begins a run and --continue goes on with one; take one of them"
            )
        make_folder(self.save, key="--save")

    @contextlib.contextmanager
    def keeper(
        self, asked: Callable[[], Mapping[str, Any]], *, again: Callable[..., str], quiet: bool
    ) -> Iterator[Keeper | None]:
        """Of this run; None where nothing is kept, and SIGTERM is Ctrl-C then.

        A new run that is refused before anything was computed leaves nothing behind.

        Args:
            asked: As of ``asked_for``; not called where nothing is kept.
            again: The command, with further words behind it.
            quiet: Whether to say nothing on the way.

        Raises:
            ConfigError: As of ``Keeper.begin`` and ``Keeper.resume``.
            StoreError: Likewise.
        """
        folder = self.save or self.resume
        if folder is None:
            with sigterm_as_ctrl_c():
                yield None
            return
        words = ["--continue", str(folder)]
        if self.every_s != _EVERY_S:
            words += ["--save-every", f"{self.every_s / 60:g}"]
        with stop_asked(quiet=quiet) as stop:
            keeper = Keeper(
                folder=folder,
                asked=asked(),
                every_s=self.every_s,
                again=again(*words),
                stop=stop,
                say=say,
            )
            if self.resume is not None:
                keeper.resume()
                yield keeper
                return
            keeper.begin()
            try:
                yield keeper
            except StoppedByUserError:
                raise
            except P2PRecError:
                keeper.forget()
                raise


NOT_KEPT: Final = Keeping()
