"""What ``--save`` and ``--continue`` mean, for every command that simulates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from p2prec.errors import ConfigError
from peers.cli.stopping import say, sigterm_as_ctrl_c, stop_asked
from peers.files import make_folder
from peers.scenario import Scenario
from peers.simulator.checkpoint import Keeper, asked_for


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
    every_s: float = 600.0

    @property
    def folder(self) -> Path | None:
        """Where; None where nothing is kept."""
        return self.save or self.resume

    def check(self) -> None:
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
    def keepers(
        self,
        scenarios: Mapping[str, Scenario],
        *,
        seeds: int,
        again: Callable[..., str],
        quiet: bool,
    ) -> Iterator[dict[str, Keeper]]:
        """One for each scenario; none where nothing is kept, and SIGTERM is Ctrl-C then.

        A new run that is refused before anything was computed leaves nothing behind.

        Args:
            scenarios: By the folder within that of the run, ``""`` for this one itself.
            seeds: How many.
            again: The command, with further words behind it.
            quiet: Whether to say nothing on the way.

        Raises:
            ConfigError: As of ``Keeper.begin`` and ``Keeper.resume``.
            StoreError: Likewise.
        """
        if self.folder is None:
            with sigterm_as_ctrl_c():
                yield {}
            return
        with stop_asked(quiet=quiet) as stop:
            made = {
                name: Keeper(
                    folder=self.folder / name,
                    asked=asked_for(scenario, seeds=seeds),
                    every_s=self.every_s,
                    again=again("--continue", str(self.folder)),
                    stop=stop,
                    say=say,
                )
                for name, scenario in scenarios.items()
            }
            for keeper in made.values():
                keeper.begin() if self.resume is None else keeper.resume()
            try:
                yield made
            except ConfigError:
                if self.resume is None:
                    for keeper in made.values():
                        keeper.forget()
                raise
