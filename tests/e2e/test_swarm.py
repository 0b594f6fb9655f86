"""A real swarm: twenty processes, one of them killed, and a supervisor that is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.xdist_group("multicast")]
SCENARIO = """
name = "test"
timeout_s = 90
[data]
users = 30
places = 200
days = 100
[peers]
count = 20
[training]
epochs = 1
max_examples = 60
negatives = 8
[neighbours]
k = 4
discover_interval_s = 1
[schedule]
round_interval_s = 0.5
inbox_timeout_s = 10
max_rounds = 3
min_neighbours = 2
[[methods]]
name = "dclr"
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short path: a Unix socket's name holds about a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="sw") as folder:
        yield Path(folder)


def begin(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    (tmp_path / "s.toml").write_text(SCENARIO)
    command = ["swarm", str(tmp_path / "s.toml"), "--json", *options]
    return subprocess.Popen(
        [sys.executable, "-m", "peers.cli.main", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def zygote(supervisor: int) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise AssertionError("no warm parent")


def peers_of(parent: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except FileNotFoundError:
        return []


def until(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_twenty_peers_learn_and_one_that_is_killed_is_counted(tmp_path: Path) -> None:
    swarm = begin(tmp_path, "--keep", str(tmp_path / "kept"))
    parent = zygote(swarm.pid)
    until(lambda: len(list(tmp_path.glob("p2prec-*/peer-*/peer.db"))) == 20)  # all have begun
    victim = peers_of(parent)[-1]
    os.kill(victim, signal.SIGKILL)
    out, errors = swarm.communicate(timeout=110)
    summary = json.loads(out)
    assert summary["peers"] == 20
    assert summary["lost"] == 1, errors
    assert summary["methods"]["dclr"]["all"]["n"] >= 15
    assert summary["messages"]["tcp"] > 0
    assert summary["messages"]["mqtt"] > 0
    assert summary["discovered_by"]["mdns"] > 0
    assert summary["discovered_by"]["mqtt"] > 0
    assert set(summary["methods"]) >= {"dclr", "most_frequent", "popular", "item_knn"}
    assert not peers_of(parent)
    assert not list(tmp_path.glob("p2prec-*"))
    assert "1 peers gave no result, 1 of them died" in errors
    assert len(list(tmp_path.glob("kept/dclr/peer-*/peer.db"))) == 20


def test_an_interrupted_swarm_stops_everything_and_says_so(tmp_path: Path) -> None:
    swarm = begin(tmp_path)
    parent = zygote(swarm.pid)
    until(lambda: len(peers_of(parent)) >= 10)
    everybody = peers_of(parent)
    swarm.send_signal(signal.SIGINT)
    _, errors = swarm.communicate(timeout=60)
    assert swarm.returncode == 1
    assert "stopped all" in errors
    assert not [p for p in everybody if Path(f"/proc/{p}").exists()]
    assert not list(tmp_path.glob("p2prec-*"))


def test_a_killed_supervisor_leaves_no_process(tmp_path: Path) -> None:
    swarm = begin(tmp_path)
    parent = zygote(swarm.pid)
    until(lambda: len(peers_of(parent)) >= 10)
    everybody = [parent, *peers_of(parent)]
    swarm.kill()
    swarm.communicate()
    until(lambda: not [p for p in everybody if _alive(p)], 40)


def _alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
