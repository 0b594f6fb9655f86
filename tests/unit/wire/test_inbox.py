"""What a daemon's life hears of a message that was opened."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cast import ALICE, BOB, BOB_ADVERT

from peers import events as ev
from peers.adverts import VerifiedAdverts
from peers.books import Books
from peers.codec import encode_message
from peers.inbox import Inbox
from peers.messages import Goodbye
from peers.payload_codec import PayloadSchema
from peers.replay import BoundedReplayMemory
from peers.sealing import seal
from peers.store import Store
from peers.transports.ways import Ways


@pytest.fixture
def heard(tmp_path: Path) -> tuple[Inbox, list[ev.Event]]:
    events: list[ev.Event] = []
    store = Store.open(tmp_path / "peer.db")
    inbox = Inbox(
        keyring=BOB,
        replay=BoundedReplayMemory(),
        schema=PayloadSchema(n_items=1, models={}),
        verified=VerifiedAdverts(),
        books=Books(store=store, ways=Ways(), on_tell=lambda _: None),
        dispatch=events.append,
    )
    store.close()
    return inbox, events


async def test_messages_that_overtake_each_other_keep_the_order_in_which_they_were_made(
    heard: tuple[Inbox, list[ev.Event]],
) -> None:
    inbox, events = heard
    now_s = time.time()
    made = [
        seal(encode_message(Goodbye()), keyring=ALICE, to=BOB_ADVERT, now_s=now_s + i)
        for i in range(2)
    ]
    for [envelope] in reversed(made):
        assert await inbox.take(envelope, "mqtt")
    assert [(e.sender, e.order) for e in events if isinstance(e, ev.Arrived)] == [
        (ALICE.peer_id, now_s + 1),
        (ALICE.peer_id, now_s),
    ]
