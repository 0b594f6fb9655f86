"""What a peer knows to have left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cast import ALICE, BOB_ADVERT
from lives import update

from p2prec.collaboration.payload import Payload
from p2prec.errors import TransportError
from peers import events as ev
from peers.books import Books
from peers.messages import Endpoints, Goodbye, Share
from peers.outbox import Outbox
from peers.store import Store
from peers.transports.ways import Ways


class Sometimes(Ways):
    """Transports that work where they are told to."""

    works = False

    async def send(self, to: Endpoints, envelopes: Sequence[bytes]) -> str:
        del to, envelopes
        if not self.works:
            raise TransportError("no way to this peer works")
        return "tcp"


async def test_a_payload_has_left_when_a_transport_has_taken_it(tmp_path: Path) -> None:
    store, ways = Store.open(tmp_path / "peer.db"), Sometimes()
    left: list[Payload] = []
    failed: list[ev.Event] = []
    outbox = Outbox(
        keyring=ALICE,
        ways=ways,
        books=Books(store=store, ways=ways, on_tell=lambda _: None),
        dispatch=failed.append,
        on_left=left.append,
    )
    payloads = [update(0), update(1)]
    outbox.encode(payloads)
    async with asyncio.TaskGroup() as group:
        senders = outbox.start(group)
        for works, payload in zip((False, True), payloads, strict=True):
            ways.works = works
            outbox.put(BOB_ADVERT, Share(payload=payload))
            outbox.put(BOB_ADVERT, Goodbye())
            await outbox.flush()
        for sender in senders:
            sender.cancel()
    assert [type(event) for event in failed] == [ev.SendFailed] * 2
    assert len(left) == 1
    assert left[0] is payloads[1]
    store.close()
