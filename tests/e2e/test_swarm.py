"""A real swarm: twenty processes, one of them killed, and a supervisor that is interrupted."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from processes import peers_of, until, zygote
from summaries import check_summary

from p2prec.data.city import generate_city
from p2prec.evaluation.baselines import BASELINES
from p2prec.models.sessions import Told, sessions_of
from peers.store import Store

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.xdist_group("multicast"),
    pytest.mark.timeout(400),
]
SCENARIO = """
name = "test"
timeout_s = 240
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


def begin(
    tmp_path: Path, *options: str, scenario: str = SCENARIO, answer: str = "--json"
) -> subprocess.Popen[str]:
    (tmp_path / "s.toml").write_text(scenario)
    command = ["swarm", str(tmp_path / "s.toml"), answer, *options]
    return subprocess.Popen(
        [sys.executable, "-m", "peers.cli.main", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def begun(tmp_path: Path, index: int) -> bool:
    """Whether a peer has finished a round: its store says so."""
    for path in tmp_path.glob(f"p2prec-*/peer-{index:04d}/peer.db"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            with contextlib.suppress(sqlite3.Error):
                return db.execute("SELECT count(*) FROM progress").fetchone() == (1,)
    return False


def test_twenty_peers_learn_and_one_that_is_killed_goes_on(tmp_path: Path) -> None:
    swarm = begin(tmp_path, "--keep", str(tmp_path / "kept"))
    parent = zygote(swarm.pid)
    until(lambda: begun(tmp_path, 19))
    victim = peers_of(parent)[-1]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in peers_of(parent))
    out, errors = swarm.communicate(timeout=270)
    summary = json.loads(out)
    assert summary["peers"] == 20
    assert summary["lost"] == 0, errors
    assert summary["restarted"] == summary["methods"]["dclr"]["restarted"] == 1
    assert summary["methods"]["dclr"]["died"] == 0
    assert summary["methods"]["dclr"]["all"]["n"] >= 15
    assert summary["messages"]["tcp"] > 0
    assert summary["messages"]["mqtt"] > 0
    assert summary["discovered_by"]["mdns"] > 0
    assert summary["discovered_by"]["mqtt"] > 0
    assert set(summary["methods"]) >= {"dclr", "most_frequent", "popular", "item_knn"}
    check_summary(summary)
    assert not peers_of(parent)
    assert not list(tmp_path.glob("p2prec-*"))
    assert "20 up" in errors
    assert "round 3/3" in errors
    homes = sorted(tmp_path.glob("kept/dclr/peer-*"))
    assert len(homes) == 20
    for home in homes:
        store = Store.open(home / "peer.db")
        progress, ledger = store.progress(), [r.round for r in store.releases()]
        store.close()
        assert progress is not None
        assert progress.round == 3
        assert ledger == sorted(set(ledger)), "each round is in the ledger once"


MIXED = """
name = "mixed"
[data]
kind = "city"
users = 3
places = 200
days = 90
[schedule]
round_interval_s = 0
inbox_timeout_s = 20
max_rounds = 3
min_neighbours = 2
[neighbours]
discover_interval_s = 1
[peers]
count = 3
mqtt_only = 0.0
[[methods]]
name = "dclr_mac"
models = ["mf/16/qrt-2", "mf/16/qrt-2", "mf/16"]
"""


def test_equal_tables_are_averaged_and_another_one_is_taught(tmp_path: Path) -> None:
    """Two peers hold a compact table and one a full one, each in a process of its own.

    That a small one learns from a large one is shown where there are no others
    (``test_small_and_large.py``).
    """
    swarm = begin(tmp_path, "--keep", str(tmp_path / "kept"), scenario=MIXED)
    out, errors = swarm.communicate(timeout=200)
    summary = json.loads(out)
    check_summary(summary)
    assert summary["lost"] == 0, errors
    sizes = summary["methods"]["dclr_mac"]["message_bytes"]
    assert {"ModelUpdate", "SoftPredictions"} <= set(sizes)
    for index in range(3):
        store = Store.open(tmp_path / "kept" / "dclr_mac" / f"peer-{index:04d}" / "peer.db")
        state, own = store.learner_state(), np.unique(store.history().item)
        counters = store.counters()
        store.close()
        met = np.isin(state["rows"], own)
        said, taught = state["values"][~met, -2], state["values"][~met, -1]
        # Popularity comes in updates only, and only the two compact tables can be averaged; biases
        # of what was never met come in them too, and to the full table by decisions alone.
        assert bool((said > 0).any()) == (index < 2)
        assert (taught != 0).any()
        assert not any(name == "dropped.unknown_model" for name in counters)
        assert state["values"].shape[1] == (2 if index < 2 else 18)


def test_sessions_spread_among_real_peers_each_beside_made_up_ones(tmp_path: Path) -> None:
    scenario = MIXED.replace("max_rounds = 3", "max_rounds = 12")
    scenario = scenario[: scenario.index("[[methods]]")]
    scenario += '[[methods]]\nname = "sessions"\nmodels = ["session_knn/8"]\n'
    swarm = begin(tmp_path, "--keep", str(tmp_path / "kept"), scenario=scenario)
    out, errors = swarm.communicate(timeout=200)
    summary = json.loads(out)
    check_summary(summary)
    assert summary["lost"] == 0, errors
    assert set(summary["methods"]["sessions"]["message_bytes"]) == {"SessionSet"}
    told: list[set[Told]] = []
    held: list[set[Told]] = []
    for index in range(3):
        store = Store.open(tmp_path / "kept" / "sessions" / f"peer-{index:04d}" / "peer.db")
        state, own = store.learner_state(), np.unique(store.history().item)
        store.close()
        everything, ours = (
            sessions_of(state[f"{name}_items"].astype("<u4").tobytes(), state[f"{name}_lengths"])
            for name in ("sessions", "sessions_own")
        )
        held.append(set(everything) - set(ours))
        told.append(set(ours))
        for session in told[index]:
            items = np.frombuffer(session, "<u4")
            assert np.isin(items, own).mean() == pytest.approx(0.5, abs=0.2)  # few are of a kind
    assert all(len(sessions) > 3 for sessions in told)
    for index in range(3):
        others = set().union(*(told[i] for i in range(3) if i != index))
        assert held[index] <= others
        assert len(held[index]) > 0.8 * len(others)


def test_real_peers_agree_on_a_direction(tmp_path: Path) -> None:
    scenario = MIXED[: MIXED.index("[[methods]]")].replace("max_rounds = 3", "max_rounds = 6")
    scenario += '[[methods]]\nname = "gossip_adam"\nmodels = ["ranker/8"]\n'
    swarm = begin(tmp_path, "--keep", str(tmp_path / "kept"), scenario=scenario)
    out, errors = swarm.communicate(timeout=200)
    summary = json.loads(out)
    check_summary(summary)
    assert summary["lost"] == 0, errors
    assert set(summary["methods"]["gossip_adam"]["message_bytes"]) == {"DirectedUpdate"}
    means = []
    for index in range(3):
        store = Store.open(tmp_path / "kept" / "gossip_adam" / f"peer-{index:04d}" / "peer.db")
        state = store.learner_state()
        store.close()
        assert int(state["direction_steps"]) >= 4  # a late message may cost one
        means.append(state["direction_mean"])
    alike = np.corrcoef(means)
    assert alike[np.triu_indices(3, 1)].min() > 0.5, "each learns from its own people alone"


def test_friends_of_the_data_become_neighbours(tmp_path: Path) -> None:
    """Two circles of friends, each scattered over both ends of the town."""
    n, k = 12, 2
    circles = [range(0, n, 2), range(1, n, 2)]
    visits = [
        f"{user},{half}-{(user + day) % 4},Cafe,40.{half}{(user + day) % 4},-73.5,{day * 9_000}"
        for user in range(n)
        for half in [user // (n // 2)]
        for day in range(20)
    ]
    check_ins, friends = tmp_path / "c.csv", tmp_path / "f.csv"
    check_ins.write_text("\n".join(["user,poi,category,lat,lon,timestamp", *visits]) + "\n")
    pairs = [(a, circle[(i + 1) % len(circle)]) for circle in circles for i, a in enumerate(circle)]
    friends.write_text("\n".join(["user,friend", *(f"{a},{b}" for a, b in pairs)]) + "\n")
    scenario = SCENARIO.replace("count = 20", f"count = {n}\nmdns_only = 0.0\nmqtt_only = 0.0")
    scenario = scenario.replace("users = 30\nplaces = 200\ndays = 100\n", "")
    scenario = scenario.replace(
        "[data]", f'[data]\nkind = "check_ins"\npath = "{check_ins}"\nfriends = "{friends}"'
    )
    scenario = scenario.replace("k = 4", f'k = {k}\nselection = "social"\nrandom_share = 0.0')
    scenario = scenario.replace("round_interval_s = 0.5", "round_interval_s = 1.0\nsettle_s = 15")
    swarm = begin(tmp_path, scenario=scenario)
    out, errors = swarm.communicate(timeout=270)
    assert swarm.returncode == 0, errors
    summary = json.loads(out)
    assert summary["lost"] == 0, errors
    links: dict[int, set[int]] = {}
    for one, other in summary["methods"]["dclr"]["links"]:
        links.setdefault(one, set()).add(other)
    # Each learns with its own two friends and nobody else: the links are two rings of six.
    assert len(links) == n
    assert all(len(others) == k for others in links.values())
    assert all(one in links[other] for one, others in links.items() for other in others)
    assert sorted(map(len, _components(links))) == [n // 2, n // 2]


def _components(links: dict[int, set[int]]) -> list[set[int]]:
    rest, found = set(links), []
    while rest:
        reached, edge = set(), {rest.pop()}
        while edge:
            reached |= edge
            edge = {other for one in edge for other in links[one]} - reached
        rest -= reached
        found.append(reached)
    return found


def check_ins_without_categories(path: Path, *, users: int, places: int) -> None:
    city = generate_city(rng=np.random.default_rng(5), n_users=users, n_places=places, days=90)
    items, visits = city.catalogue, city.interactions
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "poi", "category", "lat", "lon", "timestamp"])
        for user, item, time_s in zip(visits.user, visits.item, visits.timestamp_s, strict=True):
            where = items.latitude_deg[item], items.longitude_deg[item]
            writer.writerow([visits.user_ids[user], items.item_ids[item], "", *where, time_s])


def test_check_ins_without_any_category_end_with_a_table(tmp_path: Path) -> None:
    data = tmp_path / "visits.csv"
    check_ins_without_categories(data, users=8, places=80)
    scenario = SCENARIO.partition("[data]")[0] + '[data]\nkind = "check_ins"\n[peers]'
    scenario += SCENARIO.partition("[peers]")[2].replace("max_rounds = 3", "max_rounds = 2")
    scenario += '[[methods]]\nname = "mac"\n[[methods]]\nname = "alone"\n'
    options = ("--data", str(data), "--peers", "6")
    swarm = begin(tmp_path, *options, scenario=scenario, answer="--quiet")
    table, errors = swarm.communicate(timeout=270)
    assert (swarm.returncode, errors) == (0, "")
    rows = {cells[0]: cells[1:] for line in table.splitlines() if (cells := line.split())}
    figure = r"[01]\.\d{3}"
    for method in ("dclr", "mac", "alone", *BASELINES):
        assert all(re.fullmatch(figure, cell) for cell in rows[method][:6]), table
    assert int(rows["dclr"][6]) > 0
    assert int(rows["mac"][6]) > 0
    assert rows["alone"][6] == "0"
    assert int(rows["alone"][7]) >= 0
    assert "lost: 0" in table


def test_a_peer_that_fails_by_itself_is_counted_and_not_tried_again(tmp_path: Path) -> None:
    """Its folder is taken by a file: the peer ends with an error at every start."""
    swarm = begin(tmp_path, "--rounds", "1")
    parent = zygote(swarm.pid)
    until(lambda: bool(list(tmp_path.glob("p2prec-*"))))
    [folder] = tmp_path.glob("p2prec-*")
    (folder / "peer-0019").write_text("no folder")
    until(lambda: len(peers_of(parent)) >= 15)
    out, errors = swarm.communicate(timeout=270)
    summary = json.loads(out)
    assert swarm.returncode == 1
    assert (summary["lost"], summary["restarted"]) == (1, 0)
    assert "1 peers gave no result, 1 of them died" in errors
    assert "FileExistsError" in errors


def test_an_interrupted_swarm_stops_everything_and_says_so(tmp_path: Path) -> None:
    swarm = begin(tmp_path)
    parent = zygote(swarm.pid)
    until(lambda: len(peers_of(parent)) >= 10)
    everybody = peers_of(parent)
    swarm.send_signal(signal.SIGINT)
    _, errors = swarm.communicate(timeout=120)
    assert swarm.returncode == 130
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
    until(lambda: not [p for p in everybody if _alive(p)], 90)


def _alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
