"""One peer as a process of its own, told by arguments how to live and where to die.

    python peer_process.py JOB.json

The job: ``home``, ``user``, ``network`` (settings), and, where it shall die by SIGKILL,
``dies`` (``"training"`` or ``"sending"``) and ``round``. What it tells goes to ``home/told.jsonl``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from running import CITY, ENDLESS, config

from peers import events as ev
from peers.broker import EmbeddedBroker
from peers.daemon import Daemon
from peers.messages import Advert, Message, Share


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def doomed(daemon: Daemon, job: dict[str, Any]) -> None:
    """Die in the middle of a round's training, or between two of its recipients."""
    if job.get("dies") == "training":
        dispatch = daemon.dispatch

        def dying(event: ev.Event) -> None:
            if isinstance(event, ev.Trained) and event.round >= job["round"]:
                die()
            dispatch(event)

        daemon.dispatch = dying  # type: ignore[method-assign]
    if job.get("dies") == "sending":
        deliver, sent = daemon.outbox.deliver, []

        async def last_words(to: Advert, message: Message) -> None:
            await deliver(to, message)
            if isinstance(message, Share) and message.payload.round >= job["round"]:
                sent.append(to)
                die()

        daemon.outbox.deliver = last_words  # type: ignore[method-assign]


async def live(job: dict[str, Any]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = EmbeddedBroker(port=job["broker"]) if job.get("broker") else None
    if broker is not None:
        await broker.start()
    home = Path(job["home"])
    with (home / "told.jsonl").open("a") as log:

        def told(tell: ev.Tell) -> None:
            log.write(json.dumps({"what": tell.what, **tell.fields}) + "\n")
            log.flush()

        daemon = Daemon(
            config=config("dclr", schedule=ENDLESS, **job["network"]),
            home=home,
            catalogue=CITY.catalogue,
            history=CITY.interactions.history(job["user"]),
            on_tell=told,
        )
        doomed(daemon, job)
        await daemon.run(stop)
    if broker is not None:
        await broker.stop()


if __name__ == "__main__":
    torch.set_num_threads(1)
    asyncio.run(live(json.loads(Path(sys.argv[1]).read_text())))
