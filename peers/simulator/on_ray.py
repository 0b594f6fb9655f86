"""Shards on a Ray cluster, each an actor; ``ray`` is an extra that only this module imports."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from p2prec.errors import ConfigError, P2PRecError, TransportError
from peers.simulator.hands import FAILED, GONE, Elsewhere, InProcess
from peers.simulator.world import World
from peers.version import code

LOCAL: Final = "local"
_OBJECTS_BYTES: Final = 256 << 20  # of a local cluster's store; what is beyond goes to the disk
_LOOPBACK: Final = "127.0.0.1"
_ADDRESS: Final = re.compile(r"(ray://)?\[?(?P<host>[^\[\]/]+)\]?:(?P<port>[0-9]{1,5})")
_PATIENCE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Ray cluster that this process is connected to.

    Attributes:
        cores: Of all its machines.
        memory_bytes: Of all its machines that is for actors.
    """

    cores: int
    memory_bytes: int

    def hold(self, world: World) -> Any:
        """Where actors find the world; each machine holds it once."""
        import ray

        return ray.put(world)


@contextlib.contextmanager
def cluster_at(address: str, *, shards: int = 0) -> Iterator[Cluster]:
    """Connect to a cluster, or start one that ends with the run.

    Args:
        address: Of its head, as of ``ray start --head``; ``"local"`` starts one on this machine.
        shards: Worker processes of a local cluster; 0 for one a core.

    Raises:
        ConfigError: Ray is not installed.
        TransportError: No cluster answers, or it cannot be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray tells its makers of this run
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "--ray needs Ray, which is not installed: pip install 'p2prec[ray]'"
        ) from None
    if (there := _ADDRESS.fullmatch(address)) is not None:
        _look_for(there["host"], int(there["port"]))
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    terminated = signal.getsignal(signal.SIGTERM)  # Ray takes it for itself
    folder = tempfile.mkdtemp(prefix="p2prec-ray-") if address == LOCAL else ""
    try:
        try:
            if address == LOCAL:
                ray.init(
                    address=LOCAL,
                    num_cpus=shards or os.cpu_count() or 1,
                    include_dashboard=False,
                    object_store_memory=_OBJECTS_BYTES,
                    _node_ip_address=_LOOPBACK,
                    _temp_dir=folder,
                    **quiet,
                )
            else:
                ray.init(address=address, **quiet)
        except (ConnectionError, OSError, RuntimeError, ValueError, TimeoutError) as error:
            reason = str(error).strip().split("\n")[0]
            raise TransportError(f"no Ray cluster at {address}: {reason}") from None
        with contextlib.suppress(ValueError):  # not in the main thread, which Ray left alone then
            signal.signal(signal.SIGTERM, terminated)
        has = ray.cluster_resources()
        yield Cluster(cores=max(1, int(has.get("CPU", 1))), memory_bytes=int(has["memory"]))
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _look_for(host: str, port: int) -> None:
    """Ray itself would look for minutes.

    Raises:
        TransportError: Nobody answers there.
    """
    try:
        socket.create_connection((host, port), timeout=_PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TransportError(f"no Ray cluster at {host}:{port}: {reason}") from None


class OnRay(Elsewhere):
    """A shard in an actor. What it holds is lost with its machine; a saved run can go on.

    Args:
        held: The world, as of ``Cluster.hold``.
        number: Of the shard.
        shards: How many there are.

    Raises:
        ConfigError: The actor's p2prec would not compute the same.
    """

    def __init__(self, held: Any, number: int, shards: int) -> None:
        import ray

        self._actor = ray.remote(num_cpus=1)(_Served).remote(held, number, shards)
        self._told: list[Any] = []  # calls whose answer nobody has looked at
        there, here = self._ask("made_of"), _made_of()
        if there != here:
            raise ConfigError(
                f"a worker of the Ray cluster runs {there} and this is {here}; results would "
                "differ, so install the same on all of its machines"
            )

    def close(self) -> None:
        """As of ``Hand``."""
        import ray

        ray.kill(self._actor)

    def _tell(self, what: str, *arguments: object) -> None:
        self._told.append(getattr(self._actor, what).remote(*arguments))

    def _ask(self, what: str) -> Any:
        import ray

        self._tell(what)
        told, self._told = self._told, []
        try:
            return ray.get(told)[-1]
        except ray.exceptions.RayTaskError as error:
            raise P2PRecError(FAILED.format(error)) from None
        except ray.exceptions.RayError as error:
            raise P2PRecError(f"{GONE} {error}") from None


class _Served(InProcess):
    """What an actor is."""

    def __init__(self, world: World, number: int, shards: int) -> None:
        import torch

        torch.set_num_threads(1)  # sums would differ
        super().__init__(world, number, shards)

    @staticmethod
    def made_of() -> str:
        """What its results depend on beside the world."""
        return _made_of()


def _made_of() -> str:
    import torch

    return (
        f"p2prec of code {code()[:16]}, Python {platform.python_version()}, NumPy "
        f"{np.__version__}, torch {torch.__version__} on {platform.machine()}"
    )
