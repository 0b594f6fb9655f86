"""A small scenario for simulations, and what makes its world a hard one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from p2prec.training.config import TrainingConfig
from peers.config import NeighbourConfig, ScheduleConfig
from peers.scenario import DataConfig, MethodConfig, PeersConfig, Scenario
from peers.simulator.config import SimulationConfig
from peers.simulator.hands import InProcess
from peers.simulator.peer import SimulatedPeer
from peers.simulator.run import live
from peers.simulator.shard import Shard
from peers.simulator.world import World
from peers.swarm.data import Realm, load_realm

SCENARIO = Scenario(
    name="small",
    data=DataConfig(users=30, places=200, days=60, seed=3),
    peers=PeersConfig(count=12),
    methods=(MethodConfig(name="dclr", models=("next_place/4",)),),
    training=TrainingConfig(epochs=1, negatives=8, max_examples=48),
    neighbours=NeighbourConfig(k=4, discover_interval_s=2.0, shuffle_interval_s=10.0),
    schedule=ScheduleConfig(
        round_interval_s=0.0, inbox_timeout_s=10.0, max_rounds=2, min_neighbours=2
    ),
)
REALM: Realm = load_realm(SCENARIO, data="")
TOML = Path(__file__).with_name("small.toml")


def hard(base: SimulationConfig = SCENARIO.simulation) -> SimulationConfig:
    """Everything goes wrong at once."""
    return replace(
        base,
        network=replace(base.network, loss=0.05, duplication=0.05, reordering=0.1, asymmetry=0.5),
        devices=replace(
            base.devices,
            crashes_per_day=2_000.0,
            restart_s=3.0,
            clock_skew_s=1.0,
            online_h=0.01,
            offline_h=0.002,
        ),
        people=replace(
            base.people,
            late_share=0.3,
            late_within_h=0.01,
            leave_share=0.2,
            leave_within_h=0.02,
            replay_days=1.0,
        ),
    )


def written(folder: Path, more: str = "") -> Path:
    """The scenario as a file."""
    path = folder / "small.toml"
    path.write_text(TOML.read_text() + more)
    return path


def world_of(simulation: SimulationConfig, **more: Any) -> World:
    """The small world with other settings of the simulation, and of the scenario."""
    scenario = replace(SCENARIO, simulation=simulation, **more)
    return World(scenario, scenario.methods[0], REALM)


def lived(
    world: World,
    *,
    look: Callable[[float, dict[int, SimulatedPeer]], object] = lambda *_: None,
    prepare: Callable[[Shard], object] = lambda _: None,
) -> tuple[Shard, float]:
    """One shard that has lived through a world, and the virtual seconds that it took.

    Args:
        world: It lives in.
        look: Called between two slices with the virtual time and all peers.
        prepare: Called before the first one.
    """
    hand = InProcess(world, 0, 1)
    prepare(hand.shard)
    _, virtual_s = live(world, [hand], between=lambda at: look(at.virtual_s, hand.shard.peers))
    return hand.shard, virtual_s


def sessions(folder: Path, of: dict[int, list[tuple[float, float]]]) -> str:
    """A trace in which the named peers have these sessions, and all others are always on line."""
    lines = ["peer,from_s,to_s"]
    for i in range(SCENARIO.peers.count):
        lines += [f"{i},{begin},{end}" for begin, end in of.get(i, [(0.0, 1e9)])]
    path = folder / "sessions.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)
