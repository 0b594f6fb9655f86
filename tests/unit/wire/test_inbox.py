"""What a daemon's life hears of a message that was opened."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from cast import ALICE, BOB, BOB_ADVERT, REALM, advert_of

from peers import events as ev
from peers.adverts import VerifiedAdverts
from peers.books import Books
from peers.codec import encode_message
from peers.inbox import Inbox
from peers.keys import Keyring
from peers.messages import Goodbye, Shuffle
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


async def test_of_a_shuffle_the_adverts_that_hold_are_heard(
    heard: tuple[Inbox, list[ev.Event]],
) -> None:
    """Now and then one expires on its way; nobody has done anything wrong."""
    inbox, events = heard
    now_s = time.time()
    held, late, early = (
        advert_of(Keyring.create(REALM, now_s), now_s=now_s + at) for at in (0, -4_000, 4_000)
    )
    message = encode_message(Shuffle(adverts=(late, held, early), wants_reply=True))
    [envelope] = seal(message, keyring=ALICE, to=BOB_ADVERT, now_s=now_s)
    assert await inbox.take(envelope, "mqtt")
    [event] = events
    assert isinstance(event, ev.Arrived)
    assert event.message == Shuffle(adverts=(held,), wants_reply=True)
    counted = inbox._books.counters
    assert counted["dropped.advert_expired"] == counted["dropped.advert_from_the_future"] == 1


async def test_who_passes_a_forged_advert_on_is_not_heard(
    heard: tuple[Inbox, list[ev.Event]],
) -> None:
    inbox, events = heard
    now_s = time.time()
    held = advert_of(Keyring.create(REALM, now_s), now_s=now_s)
    forged = replace(held, cell_label="another")
    message = encode_message(Shuffle(adverts=(held, forged), wants_reply=True))
    [envelope] = seal(message, keyring=ALICE, to=BOB_ADVERT, now_s=now_s)
    assert not await inbox.take(envelope, "tcp")
    assert not events
    assert inbox._books.counters["dropped.advert_bad_signature"] == 1
