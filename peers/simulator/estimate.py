"""Whether a world fits into memory, before it begins."""

from __future__ import annotations

import gc
import os
import tracemalloc
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
from peers.simulator.peer import SimulatedPeer
from peers.simulator.world import World

_SAMPLE: Final = 48  # peers that are built to see what one costs
_FIRST: Final = 8  # and before them some with whom comes what all share: tables, trees, code
# Of one known peer, its events on the way and counters; adverts themselves are shared.
_ACQUAINTANCE_BYTES: Final = 1_400
# Rows have room to grow, and a shelf that grows is there twice for a while: with this factor the
# estimate is 134 KiB where 10,000 peers of scale_simulated.toml took 145 each at most.
_ROOM: Final = 2.0
# What looks a session up, of what is held and of what was passed on, and its items, once for all.
_SESSION_BYTES: Final = 260
# Of mac, measured: 11 KiB for what a peer holds of the sequences that all share, and 28 KiB of what
# it was taught about 28 of them, of each twice as many places as a message names.
_REFERENCE_BYTES: Final = 90
_TAUGHT_BYTES, _TAUGHT_PLACE_BYTES = 280, 16
_NAMED: Final = 2.0
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
        peers = _begun(world, min(_SAMPLE, world.n))
        built = tracemalloc.get_traced_memory()[0] / len(peers)
    finally:
        tracemalloc.stop()
    del shared
    models = [p.learner.knowledge for p in peers if p.learner is not None]
    held = sum(len(m.table.rows) for m in models) / len(models)
    width = models[0].model.width
    k = world.scenario.neighbours.k
    method = METHODS[world.method.name]
    # Each neighbour tells of its own rows and as much hearsay again; half of it is known already.
    heard = 0.0
    if method.sends in {"parameters", "both"}:
        amounts = read_amounts(world.method.options, method.amounts)
        most = min(most_rows(amounts, width), 4.0 * held)
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
    moments = min(KEPT_BYTES, ALL_KEPT_BYTES / world.n) if models[0].model.of_moments else 0.0
    return _ROOM * (built + rows) + 5 * k * _ACQUAINTANCE_BYTES + moments


def _sessions(world: World, model: Model) -> float:
    """Bytes of the sessions that a peer will be told of; peers of a process share the items."""
    if not isinstance(model, SessionKNN):
        return 0.0
    met = sum(len(history) for history in world.realm.histories)
    n = min(sessions_held(world.method.name, world.method.options), met // model.size)
    return n * (_SESSION_BYTES + _SESSION_BYTES / world.n)


def _begun(world: World, n: int) -> list[SimulatedPeer]:
    """Some peers, evenly spread."""
    peers = [SimulatedPeer(world, i) for i in range(0, world.n, max(1, world.n // n))]
    for peer in peers:
        peer.begin(world)
    return peers


def check_memory(world: World, *, available: int = 0) -> None:
    """Refuse a world that does not fit.

    Args:
        world: That is about to begin.
        available: Bytes for all its peers; 0 for those of this machine.

    Raises:
        ConfigError: With the figures.
    """
    available = available or _available_bytes()
    if world.n < 1_000 or not available:
        return
    each = bytes_per_peer(world)
    if each * world.n > (1.0 - _KEPT_FREE) * available:
        fit = int((1.0 - _KEPT_FREE) * available / each)
        raise ConfigError(
            f"{world.n:,} peers of {each / 1024:.0f} KiB each need {each * world.n / 1e9:.1f} GB "
            f"of memory, and {available / 1e9:.1f} GB are available; some {fit:,} peers fit "
            "(--peers), or a smaller embedding"
        )


def resident_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _available_bytes() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
