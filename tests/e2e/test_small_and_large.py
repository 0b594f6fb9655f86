"""A device with 50 KiB for its model and a laptop with a full table, each a process of its own."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brokers import running_broker
from processes import PATIENCE_S

from p2prec.data.city import generate_city
from p2prec.data.dataset import Dataset
from p2prec.embeddings.table import full_bytes
from p2prec.errors import TransportError
from p2prec.models.families import parse_model
from p2prec.models.table import BIAS, OTHERS
from peers.control import ControlClient
from peers.store import STORE_NAME, Store

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.timeout(400)]
PLACES, ROUNDS, BUDGET = 1_500, 3, 50 << 10
SETTINGS = """
share = true
catalogue = "{catalogue}"
{first}
[learner.model]
family = "mf"
embedding_size = 32
[learner.collaboration]
method = "dclr_mac"
[neighbours]
discover_interval_s = 1.0
[network]
host = "127.0.0.1"
mdns = false
mqtt = ["{broker}"]
[schedule]
round_interval_s = 0.0
inbox_timeout_s = 20.0
max_rounds = {rounds}
min_neighbours = 1
"""


def p2prec(home: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "peers.cli.main", *arguments],
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
        env={**os.environ, "P2PREC_HOME": str(home)},
    )


def write(city: Dataset, folder: Path) -> tuple[Path, Path]:
    """The city's places, and everybody's visits."""
    items, visits = city.catalogue, city.interactions
    category = [items.categories[c] if c >= 0 else "" for c in items.category]
    described = [
        (items.item_ids[i], category[i], items.latitude_deg[i], items.longitude_deg[i])
        for i in range(len(items))
    ]
    places, check_ins = folder / "places.csv", folder / "visits.csv"
    with places.open("w", newline="") as file:
        csv.writer(file).writerows([("poi", "category", "lat", "lon"), *described])
    with check_ins.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "poi", "category", "lat", "lon", "timestamp"])
        for user, item, time_s in zip(visits.user, visits.item, visits.timestamp_s, strict=True):
            writer.writerow([visits.user_ids[user], *described[item], time_s])
    return places, check_ins


async def rested(home: Path) -> dict[str, Any]:
    """What a peer says of itself when its rounds are done."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                status = await asyncio.to_thread(ControlClient(home).request, "status")
            except TransportError:
                status = {}
            if status.get("phase") == "resting":
                return status
            await asyncio.sleep(0.2)


async def test_a_small_device_and_a_laptop_learn_from_each_other(tmp_path: Path) -> None:
    """Each is the only other one, of another form: what they know of new places is by decisions."""
    city = generate_city(rng=np.random.default_rng(3), n_users=2, n_places=PLACES, days=90)
    places, visits = write(city, tmp_path)
    homes, running = [tmp_path / "small", tmp_path / "laptop"], []
    async with running_broker("amqtt", tmp_path) as broker:
        for user, (home, first) in enumerate(
            zip(homes, ['memory_budget = "50 KiB"', ""], strict=True)
        ):
            home.mkdir()
            (home / "config.toml").write_text(
                SETTINGS.format(catalogue=places, first=first, broker=broker.address, rounds=ROUNDS)
            )
            who = city.interactions.user_ids[user]
            await asyncio.to_thread(p2prec, home, "import", str(visits), "--user", who)
        try:
            for home in homes:
                with (home / "log").open("wb") as log:
                    peer = subprocess.Popen(  # noqa: ASYNC220 - it only begins
                        [sys.executable, "-m", "peers.cli.main", "run"],
                        stderr=log,
                        env={**os.environ, "P2PREC_HOME": str(home)},
                    )
                running.append(peer)
            small, laptop = [await rested(home) for home in homes]
        finally:
            for peer in running:
                peer.send_signal(signal.SIGTERM)
            for peer in running:
                await asyncio.to_thread(peer.wait, 60)
    model = parse_model(small["model"])
    assert laptop["model"] == "mf/32"
    assert (model.family, model.compression > 1) == ("mf", True)
    assert 0 < small["memory"]["bytes"] <= small["memory"]["budget"] == BUDGET
    assert full_bytes(PLACES, model.embedding_size) > BUDGET
    for home in homes:
        store = Store.open(home / STORE_NAME)
        state, own, counters = store.learner_state(), store.history().item, store.counters()
        store.close()
        new = ~np.isin(state["rows"], own)
        # No update could be averaged, which alone tells of popularity; and training itself leaves
        # biases of new places as they are.
        assert not state["values"][new, OTHERS].any()
        assert np.count_nonzero(state["values"][new, BIAS]) >= 10
        assert not any(name == "dropped.unknown_model" for name in counters)
