"""Simulations as a researcher meets them: real processes, real signals, a real Ray cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from summaries import check_summary

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
_PATIENCE_S = 120.0
# More than one group of peers that are computed together, so that there is work for two shards.
WIDE = """
name = "wide"
[data]
users = 140
places = 420
days = 60
[peers]
count = 140
[training]
epochs = 1
max_examples = 8
[neighbours]
k = 2
discover_interval_s = 5
shuffle_interval_s = 60
[schedule]
round_interval_s = 0
inbox_timeout_s = 5
max_rounds = 8
min_neighbours = 1
[simulation]
validate = false
evaluated = 20
[[methods]]
name = "epidemic"
models = ["mf/4"]
"""


THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# Products of matrices that are large enough for a library to divide them.
DIVIDED = """
name = "divided"
[data]
users = 24
places = 300
days = 60
[peers]
count = 12
[training]
epochs = 1
max_examples = 48
negatives = 32
[neighbours]
k = 3
discover_interval_s = 2
[schedule]
round_interval_s = 0
inbox_timeout_s = 10
max_rounds = 2
min_neighbours = 1
[[methods]]
name = "gossip_adam"
models = ["ranker/16"]
[[methods]]
name = "dclr"
models = ["next_place/16"]
[[methods]]
name = "mac"
models = ["mf/16", "neumf/16"]
"""


def simulate(scenario: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "peers.cli.main", "simulate", str(scenario), *options]


def run(
    scenario: Path, *options: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        simulate(scenario, *options),
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@contextmanager
def started(scenario: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """In a process group of its own, as a shell starts it."""
    process = subprocess.Popen(
        simulate(scenario, *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def stopped_on_its_way(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Send a signal to all of a terminal's processes when the first round is done."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if " 0 peer-rounds" not in line and "peer-rounds" in line:
            break
    os.killpg(process.pid, number)
    said += process.stderr.readlines()
    assert process.wait(_PATIENCE_S) == 130, "".join(said)
    return "".join(said)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """The scenario, and the result of one process that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    scenario = folder / "wide.toml"
    scenario.write_text(WIDE)
    done = run(scenario, "--save", str(folder / "kept"))
    assert done.returncode == 0, done.stderr
    return scenario, (folder / "kept" / "result.json").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_the_run_and_it_goes_on(
    whole: tuple[Path, bytes], tmp_path: Path, number: signal.Signals
) -> None:
    scenario, result = whole
    kept = tmp_path / "kept"
    with started(scenario, "--save", str(kept), "--processes", "2") as process:
        said = stopped_on_its_way(process, number)
    again = f"simulate {scenario} --seed 0 --processes 2 --continue {kept}"
    assert again in said.splitlines()[-1]
    assert not (kept / "result.json").exists()
    done = run(scenario, "--continue", str(kept), "--quiet")
    assert done.returncode == 0
    assert done.stderr == ""
    assert (kept / "result.json").read_bytes() == result


def check_ins(path: Path) -> Path:
    """Of sixteen people who go round in circles."""
    lines = ["user,poi,category,lat,lon,timestamp"]
    lines += [
        f"u{user},p{(user + step * step) % 30},cafe,40.7,-73.9,{1_700_000_000 + 7_000 * step}"
        for user in range(16)
        for step in range(24)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("own_data", [False, True])
def test_what_a_simulation_prints_is_what_the_manual_promises(
    tmp_path: Path, *, own_data: bool
) -> None:
    scenario = tmp_path / "divided.toml"
    scenario.write_text(DIVIDED)
    options = ["--data", str(check_ins(tmp_path / "check_ins.csv"))] if own_data else []
    done = run(scenario, *options, "--seeds", "2", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    check_summary(summary)
    assert summary["spread"]["seeds"] == [0, 1]
    of_runs = {"virtual_seconds", "peer_rounds_per_second", "digest"}
    assert of_runs <= set(summary)
    for name in ("gossip_adam", "dclr", "mac"):
        method = summary["methods"][name]
        assert of_runs | {"peer_rounds", "mib_per_peer"} <= set(method)
        assert method["all"]["n"] == 12
    assert "figures" not in summary  # an evaluation's


def test_threads_that_libraries_are_given_do_not_change_a_result(tmp_path: Path) -> None:
    scenario = tmp_path / "divided.toml"
    scenario.write_text(DIVIDED)
    results = []
    for threads in ("1", "4"):
        kept = tmp_path / threads
        done = run(scenario, "--save", str(kept), "--quiet", env=dict.fromkeys(THREADS, threads))
        assert done.returncode == 0, done.stderr
        results.append((kept / "result.json").read_bytes())
    assert results[0] == results[1]


def test_shards_on_ray_come_to_the_result_of_one_process_also_after_a_stop(
    whole: tuple[Path, bytes], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    scenario, result = whole
    kept = tmp_path / "kept"
    ray = ("--ray", "local", "--processes", "2")
    with started(scenario, "--save", str(kept), *ray) as process:
        # Of a terminal: a SIGTERM to all of its processes would end Ray's own ones as well.
        stopped_on_its_way(process, signal.SIGINT)
    done = run(scenario, "--continue", str(kept), *ray)
    assert done.returncode == 0, done.stderr
    assert (kept / "result.json").read_bytes() == result
