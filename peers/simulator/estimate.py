"""Whether a world fits into memory, before it begins."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from p2prec.collaboration.gossip_adam import directed
from p2prec.collaboration.mac import POOL
from p2prec.collaboration.method import read_amounts
from p2prec.collaboration.methods import METHODS, sessions_held
from p2prec.collaboration.parameters import most_rows
from p2prec.errors import ConfigError
from p2prec.models.model import Model
from p2prec.models.moments import ALL_KEPT_BYTES, KEPT_BYTES
from p2prec.models.session_knn import SessionKNN
from peers.scenario import MethodConfig, Scenario
from peers.simulator.peer import SimulatedPeer
from peers.simulator.world import World
from peers.swarm.data import Realm

_SAMPLE: Final = 48  # peers that are built at most to see what one costs,
_SAMPLED: Final = 20  # of so many one, so that a small world begins at once,
_LEAST: Final = 4  # but so many,
_FIRST: Final = 2  # and before them some with whom comes what all share: tables, trees, code
# Of one known peer, its events on the way and counters; adverts themselves are shared.
_ACQUAINTANCE_BYTES: Final = 1_400
# Rows have room to grow, and a shelf that grows is there twice for a while: with this factor and
# what is on its way the estimate is 159 KiB where 10,000 peers of scale_simulated.toml took 145
# each at most.
_ROOM: Final = 2.0
# What looks a session up, of what is held and of what was passed on, and its items, once for all.
_SESSION_BYTES: Final = 260
# Of mac, measured: 11 KiB for what a peer holds of the sequences that all share, and 28 KiB of what
# it was taught about 28 of them, of each twice as many places as a message names.
_REFERENCE_BYTES: Final = 90
_TAUGHT_BYTES, _TAUGHT_PLACE_BYTES = 280, 16
_NAMED: Final = 2.0
_COPIES: Final = 2  # of a payload on its way: as it was made, and as its recipients will read it
_PARCEL_BYTES: Final = 400  # and its arrival at each of them
_KEPT_FREE: Final = 0.1  # of the memory that is available
_MIB: Final = 1 << 20


def bytes_per_peer(world: World) -> float:
    """What a peer will hold, measured on a few that are built, plus what it will hear.

    Neighbours' updates fill rows up to their bound or the catalogue; each costs its values,
    its optimiser state, its evidence and its number. Their soft decisions are kept for lessons.
    """
    shared = _begun(world, min(_FIRST, world.n))
    gc.collect()
    tracemalloc.start()  # of the process as a whole one would see what was free already
    try:
        peers = _begun(world, min(_SAMPLE, max(_LEAST, world.n // _SAMPLED), world.n))
        built = tracemalloc.get_traced_memory()[0] / len(peers)
    finally:
        tracemalloc.stop()
    del shared
    models = [p.learner.knowledge for p in peers if p.learner is not None]
    held = sum(len(m.table.rows) for m in models) / len(models)
    width = sum(m.model.width for m in models) / len(models)
    k = world.scenario.neighbours.k
    method = METHODS[world.method.name]
    # Each neighbour tells of its own rows and as much hearsay again; half of it is known already.
    heard = most = 0.0
    if method.sends in {"parameters", "both"}:
        amounts = read_amounts(world.method.options, method.amounts)
        most = min(most_rows(amounts, models[0].model.width), 4.0 * held)
        heard = min(len(world.realm.catalogue) - held, 0.5 * k * most)
        # A quarter more is kept for a while, before the least popular go.
        heard = min(heard, 1.25 * amounts["max_hearsay"])
    taught = 0.0
    if method.sends in {"probabilities", "both"}:
        amounts = read_amounts(world.method.options, method.amounts)
        # Of those that it speaks of and as many that others speak of.
        sequences = min(2.0 * amounts["references"], POOL)
        taught = POOL * _REFERENCE_BYTES
        taught += sequences * (_TAUGHT_BYTES + _TAUGHT_PLACE_BYTES * _NAMED * amounts["top"])
        # Biases of places that are named; about those of its area all say much the same.
        named = heard + sequences * amounts["top"]
        heard = min(len(world.realm.catalogue) - held, named)
    rows = heard * 4.0 * (width + 3) + taught + _sessions(world, models[0].model)
    if world.method.name == "gossip_adam":  # its moments, which are not there before a training
        rows += 4.0 * 4.0 * float(directed(models[0].model).sum())
    of_moments = any(m.model.of_moments for m in models)
    moments = min(KEPT_BYTES, ALL_KEPT_BYTES / world.n) if of_moments else 0.0
    on_its_way = _COPIES * 4.0 * (most * (width + 1) + models[0].model.n_dense) if most else 0.0
    known = k * (5 * _ACQUAINTANCE_BYTES + _PARCEL_BYTES)
    return _ROOM * (built + rows) + on_its_way + known + moments


def _sessions(world: World, model: Model) -> float:
    """Bytes of the sessions that a peer will be told of; peers of a process share the items."""
    if not isinstance(model, SessionKNN):
        return 0.0
    met = sum(len(history) for history in world.realm.histories)
    n = min(sessions_held(world.method.name, world.method.options), met // model.size)
    return n * (_SESSION_BYTES + _SESSION_BYTES / world.n)


def _begun(world: World, n: int) -> list[SimulatedPeer]:
    """Some peers, evenly spread; models are given in turn, and all of them are among these."""
    turns = len(world.method.models)
    step = max(turns, world.n * turns // n // turns * turns)
    chosen = [i + j for i in range(0, world.n, step) for j in range(turns) if i + j < world.n]
    peers = [SimulatedPeer(world, i) for i in chosen]
    for peer in peers:
        peer.begin(world)
    return peers


def check_memory(
    scenario: Scenario,
    realm: Realm,
    methods: Iterable[MethodConfig],
    *,
    processes: int = 1,
    available: int = 0,
    key: str = "--peers",
) -> None:
    """Refuse methods whose peers do not fit, all of them before the first one begins.

    Args:
        scenario: They are of.
        realm: Of its peers.
        methods: That are about to be simulated, one after the other.
        processes: That share the peers, at most.
        available: Bytes for all of them on other machines; 0 for those of this one.
        key: What sets how many peers there are.

    Raises:
        ConfigError: With the figures.
    """
    for method in methods:
        world = World(scenario, method, realm)
        each = bytes_per_peer(world)
        # Now that all is there that peers share. Of the world as it is, with its catalogue, further
        # processes come to hold copies, whole ones at worst.
        n_processes = max(1, min(processes, world.n))
        further = n_processes if available or n_processes > 1 else 0
        copies = further * _private_bytes()
        free = (1.0 - _KEPT_FREE) * (available or _available_bytes())
        if not free or each * world.n + copies <= free:
            continue
        fit = max(0, int((free - copies) / each))
        hint = f"some {fit:,} peers fit ({key})" if fit else "free some of it"
        if further > 1:
            hint += ", or take fewer processes"
        also = f" and {further} processes of {copies / further / _MIB:.0f} MiB" if further else ""
        raise ConfigError(
            f"{method.title}: {world.n:,} peers of {each / 1024:.0f} KiB each{also} need "
            f"{(each * world.n + copies) / 1e9:.1f} GB of memory, and "
            f"{free / 1e9:.1f} GB are free for them; {hint}, or a smaller embedding"
        )


def resident_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _private_bytes() -> int:
    """Memory of this process that is no file's, so that a fork may have to copy it."""
    return _kib("/proc/self/status", "RssAnon:") * 1024


def _available_bytes() -> int:
    return _kib("/proc/meminfo", "MemAvailable:") * 1024


def _kib(path: str, key: str) -> int:
    """A line of what the kernel says; 0 where it says nothing."""
    try:
        for line in Path(path).read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
