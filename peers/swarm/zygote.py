"""The warm parent of a swarm: loads everything once, then forks peers that share its memory.

It has no event loop, no thread and no socket of its own; torch runs with one thread before the
first operation, since a child of a multi-threaded torch hangs. It lives as long as its
supervisor, and its children as long as it does.

    python -m peers.swarm.zygote JOB.json
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import random
import resource
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from p2prec.data.split import leave_one_out
from peers.broker import EmbeddedBroker
from peers.daemon import Daemon
from peers.discovery.responder import Responder
from peers.keys import GRACE_S
from peers.messages import PeerId
from peers.owner import stored_keyring
from peers.scenario import MethodConfig, Scenario, load_scenario, peer_config
from peers.store import STORE_NAME, Store
from peers.swarm.data import Realm, load_realm
from peers.swarm.reporter import Reporter, report
from peers.swarm.warm import warm_up

_PR_SET_PDEATHSIG = 1
_KILL_AFTER_S = 10.0
_MAX_RESTARTS = 3  # of one peer; what kills it more often would do so for ever
_START_PAUSE_S = (
    0.004  # between the starts of two peers, so that a broker is not hit by all at once
)


def main() -> None:
    """Run one job to its end."""
    die_with_parent()
    job = json.loads(Path(sys.argv[1]).read_text())
    raise_file_limit()
    scenario = load_scenario(Path(job["scenario"]))
    scenario = _overridden(scenario, job)
    realm = load_realm(scenario, data=job["data"], source=job["scenario"])
    method = next(m for m in scenario.methods if m.title == job["method"])
    warm_up(scenario, method, realm)
    children: dict[int, str] = {}
    leaving: list[int] = []

    def leave(number: int, frame: FrameType | None) -> None:
        del number, frame
        leaving.append(1)

    ids = _introduced(job, scenario, realm)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    reports = job["reports"]
    report(reports, {"k": "warm", "i": -1})
    for port in job["brokers"]:
        children[_fork(lambda port=port: _broker(port))] = "broker"
    for path in job["responders"]:
        children[_fork(lambda path=path: _responder(Path(path)))] = "responder"
    if children:
        _wait_for(job["responders"], job["brokers"])
    gate = os.pipe()

    def start(index: int, gate: tuple[int, int] | None = None) -> int:
        return _fork(lambda: _peer(index, gate, job, scenario, method, realm, ids))

    for index in range(scenario.peers.count):
        if leaving:
            break
        children[start(index, gate)] = f"peer {index}"
    for end in gate:  # forking is quick as long as nobody else runs: now all may begin
        os.close(end)
    report(reports, {"k": "forked", "i": -1})
    _reap(children, leaving, reports, start)


def _overridden(scenario: Scenario, job: dict[str, Any]) -> Scenario:
    return replace(
        scenario,
        seed=job["seed"],
        peers=replace(scenario.peers, count=job["count"]),
        schedule=replace(scenario.schedule, max_rounds=job["rounds"]),
    )


def _home(job: dict[str, Any], index: int) -> Path:
    home = Path(job["folder"]) / f"peer-{index:04d}"
    home.mkdir(parents=True, exist_ok=True)
    return home


def _introduced(job: dict[str, Any], scenario: Scenario, realm: Realm) -> list[PeerId]:
    """Ids of all peers where friends must know them before they start, each key in its store."""
    if not realm.friends:
        return []
    ids = []
    for index in range(scenario.peers.count):
        store = Store.open(_home(job, index) / STORE_NAME)
        ids.append(stored_keyring(store, realm.catalogue, grace_s=GRACE_S).peer_id)
        store.close()
    return ids


def _fork(child: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with_parent()
        child()
        code = 0
    except BaseException:  # noqa: BLE001 - a child must never go on as a second zygote
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap(
    children: dict[int, str], leaving: list[int], reports: str, start: Callable[[int], int]
) -> None:
    """Wait for children until the supervisor says stop; those that are killed start again.

    A peer that was killed by a signal goes on from its folder, a few times at most; one that ends
    by itself has failed, and is told of.
    """
    stopped_at = 0.0
    restarts: Counter[int] = Counter()
    while children:
        if leaving and not stopped_at:
            stopped_at = time.monotonic()
            _signal_all(children, "peer", signal.SIGTERM)
        peers = any(name.startswith("peer") for name in children.values())
        if stopped_at and not peers:
            _signal_all(children, "", signal.SIGTERM)
        if stopped_at and time.monotonic() - stopped_at > _KILL_AFTER_S:
            _signal_all(children, "", signal.SIGKILL)
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            time.sleep(0.02)
            continue
        name = children.pop(pid, "")
        if stopped_at or leaving or not name.startswith("peer"):
            continue
        index = int(name.split()[1])
        if os.WIFSIGNALED(status) and restarts[index] < _MAX_RESTARTS:
            restarts[index] += 1
            children[start(index)] = name
            report(reports, {"k": "restarted", "i": index})
        else:
            report(reports, {"k": "died", "i": index, "status": status})


def _signal_all(children: dict[int, str], prefix: str, number: int) -> None:
    for pid, name in children.items():
        if name.startswith(prefix):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _wait_for(responders: list[str], ports: list[int]) -> None:
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        up = all(Path(p).exists() for p in responders)
        for port in ports:
            with socket.socket() as probe:
                up = up and probe.connect_ex(("127.0.0.1", port)) == 0
        if up:
            return
        time.sleep(0.05)


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent goes, however it goes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def raise_file_limit() -> None:
    """Hundreds of sockets need more files than the usual 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))


def _broker(port: int) -> None:
    async def live() -> None:
        stop = _stop_on_sigterm()
        broker = EmbeddedBroker(port=port)
        await broker.start()
        await stop.wait()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(3):
                await broker.stop()

    asyncio.run(live())


def _responder(path: Path) -> None:
    async def live() -> None:
        stop = _stop_on_sigterm()
        responder = Responder(path=path, interfaces=("127.0.0.1",), rng=random.Random(os.getpid()))
        await responder.start()
        run = asyncio.create_task(responder.run())
        await stop.wait()
        run.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await responder.close()

    asyncio.run(live())


def _stop_on_sigterm() -> asyncio.Event:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


def _peer(  # noqa: PLR0917
    index: int,
    gate: tuple[int, int] | None,
    job: dict[str, Any],
    scenario: Scenario,
    method: MethodConfig,
    realm: Realm,
    ids: list[PeerId],
) -> None:
    import torch

    torch.set_num_threads(1)
    os.nice(19)  # broker and responders serve everybody: they must not wait behind training
    if gate is not None:  # one that is started again has nobody to wait for
        opened, held = gate
        os.close(held)
        os.read(opened, 1)  # ends when the warm parent and all peers have closed the other end
        os.close(opened)
        time.sleep(index * _START_PAUSE_S)
    home = _home(job, index)
    brokers = job["brokers"]
    config = peer_config(
        scenario,
        method,
        index,
        broker=f"127.0.0.1:{brokers[index % len(brokers)]}" if brokers else "",
        responders=job["responders"],
        friends=tuple(ids[friend] for friend in realm.friends[index]) if realm.friends else (),
    )
    asyncio.run(_live(index, job, Daemon, config, home, realm))


async def _live(  # noqa: PLR0917
    index: int,
    job: dict[str, Any],
    make: type[Daemon],
    config: Any,
    home: Path,
    realm: Realm,
) -> None:
    stop = _stop_on_sigterm()
    history = realm.histories[index]
    reporter = Reporter(index, job["reports"], history)
    daemon = make(
        config=config,
        home=home,
        catalogue=realm.catalogue,
        history=leave_one_out(history).train,
        on_tell=reporter.told,
        mqtt_buckets=job["mqtt_buckets"],
    )
    reporter.daemon = daemon
    # Everything is built: what follows is the peer's own life.
    await daemon.run(stop)


if __name__ == "__main__":
    main()
