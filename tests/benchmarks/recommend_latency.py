"""How long a recommendation takes in a running peer while it trains.

    python -m tests.benchmarks.recommend_latency CHECK_INS.csv

Prints one JSON object: percentiles in ms over 1,000 requests to the peer's own loop, with training
going on in its worker thread all the time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import peers  # noqa: F401 - before NumPy, as in a peer: it says how many threads NumPy takes

# isort: split
import numpy as np
import torch

from peers.config import PeerConfig, ScheduleConfig
from peers.daemon import Daemon
from peers.files import read_check_in_file
from peers.provenance import provenance


async def main(data: Path) -> None:
    """Measure.

    Args:
        data: Check-ins.
    """
    torch.set_num_threads(1)
    made = provenance()
    dataset = read_check_in_file(data).dataset
    lengths = np.bincount(dataset.interactions.user)
    user = int(np.argsort(lengths)[len(lengths) // 2])  # an owner of median length
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(
            config=PeerConfig(schedule=ScheduleConfig(round_interval_s=0.0)),
            home=Path(folder),
            catalogue=dataset.catalogue,
            history=dataset.interactions.history(user),
        )
        stop = asyncio.Event()
        life = asyncio.create_task(daemon.run(stop))
        while daemon.life.round < 1:  # noqa: ASYNC110 - a state has no event
            await asyncio.sleep(0.05)
        first = daemon.life.round
        took = []
        for _ in range(1_000):
            begun = time.perf_counter()
            daemon.answers.recommend(k=10, new_only=False)
            took.append(1e3 * (time.perf_counter() - begun))
            await asyncio.sleep(0.01)
        rounds = daemon.life.round - first
        stop.set()
        await life
    result = {
        "made_by": made,
        "items": len(dataset.catalogue),
        "requests": len(took),
        "rounds_trained_meanwhile": rounds,
        "ms": {str(p): round(float(np.percentile(took, p)), 2) for p in (50, 90, 99, 100)},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    asyncio.run(main(parser.parse_args().data))
