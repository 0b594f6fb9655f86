"""What every command that runs scenarios does around its runs, real or simulated."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from p2prec.errors import StoppedByUserError
from peers.cli.tables import print_table
from peers.provenance import provenance
from peers.ranges import SCENARIO, check_ranges
from peers.scenario import Scenario, in_rounds, load_scenario
from peers.swarm.data import Realm, load_realm
from peers.swarm.summary import spread


@contextlib.contextmanager
def stopped_by_ctrl_c(left: str) -> Iterator[None]:
    """Turn Ctrl-C into a sentence, where nobody else has.

    Args:
        left: What the sentence says of processes.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedByUserError(f"interrupted: {left}") from None


def asked(
    path: Path,
    *,
    peers: int = 0,
    rounds: int = 0,
    seed: int = -1,
    seeds: int = 1,
    settings: Sequence[str] = (),
) -> Scenario:
    """A scenario, with what the command line overrides; 0 overrides nothing.

    Args:
        path: Of its file.
        peers: In place of ``peers.count``.
        rounds: In place of ``schedule.max_rounds``, and of what methods have of their own.
        seed: In place of the scenario's, the first one; below 0 it is that.
        seeds: How many will be run.
        settings: As ``KEY=VALUE``, in place of whatever they name.

    Raises:
        ConfigError: It is wrong.
    """
    scenario = load_scenario(path, settings=settings)
    if peers:
        scenario = replace(scenario, peers=replace(scenario.peers, count=peers))
    if seed >= 0:
        scenario = replace(scenario, seed=seed)
    scenario = in_rounds(scenario, rounds)
    for number in (scenario.seed, scenario.seed + seeds - 1):
        check_ranges(replace(scenario, seed=number), SCENARIO, source=str(path))
    return scenario


def over_seeds(
    scenario: Scenario,
    live: Callable[[Scenario, Realm, str], dict[str, Any]],
    *,
    path: Path,
    data: str,
    seeds: int,
    pictures: Path | None,
    show: bool,
) -> dict[str, Any]:
    """Run a scenario once a seed; the first seed's summary, with ``spread`` over all seeds.

    Args:
        scenario: Checked; its seed is the first one.
        live: Runs it with one seed, on that seed's users; gets a label for its progress.
        path: Of the scenario.
        data: CSV that overrides the scenario's own; "" for none.
        seeds: How many.
        pictures: Folder to draw into, or None.
        show: Whether to print a table.

    Raises:
        ConfigError: There are fewer users than peers.
        DataError: The data cannot be read.
    """
    made = provenance()  # of now: the files may change while it runs
    summaries = []
    for number in range(scenario.seed, scenario.seed + seeds):
        seeded = replace(scenario, seed=number)
        label = f"seed {number} " if seeds > 1 else ""
        summaries.append(live(seeded, load_realm(seeded, data=data, source=str(path)), label))
    summary = summaries[0]
    summary["spread"] = spread(summaries)
    summary["made_by"] = made
    if show:
        print_table(summary)
    if pictures is not None:
        from peers.swarm.pictures import draw

        draw(summary, pictures)
        (pictures / "summary.json").write_text(json.dumps(summary, indent=1))
    return summary
