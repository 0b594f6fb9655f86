"""Messages and adverts of simulated peers: what is kept of them, and what a device takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from peers import events as ev
from peers.keys import GRACE_S
from peers.messages import Goodbye, Hello, Message, Shuffle
from peers.replay import BoundedReplayMemory
from peers.simulator.hands import InProcess
from peers.simulator.happenings import Fate, Parcel
from peers.simulator.shard import Shard
from tests.sim.worlds import SCENARIO, world_of

SENDER, RECIPIENT = 0, 1
GOODBYE = Goodbye()


def two(*, seal: bool = False, **network: Any) -> Shard:
    """A shard in which two peers know each other's adverts; both are reached by brokers."""
    base = SCENARIO.simulation
    simulation = replace(base, seal=seal, network=replace(base.network, **network))
    peers = replace(SCENARIO.peers, count=2, mdns_only=0.0, mqtt_only=1.0)
    shard = InProcess(world_of(simulation, peers=peers), 0, 1).shard
    out = shard.advance(0)
    shard.deliver(out.parcels, out.announcements)
    return shard


def sent(shard: Shard, at_s: float = 1.0, message: Message = GOODBYE) -> list[Parcel]:
    """A message on its way, and its copies."""
    to = shard.peers[RECIPIENT].advert
    assert to is not None
    shard._post.begin()
    shard._post.send(shard.peers[SENDER], ev.Send(to=to, message=message), at_s)
    return shard._post.parcels


def test_a_pseudonym_is_forgotten_when_its_prekey_opens_nothing_more() -> None:
    shard = two()
    names = {peer.advert.pseudonym for peer in shard.peers.values() if peer.advert}
    peer = shard.peers[SENDER]
    for day in range(1, 30):
        shard._presence.announcements = []
        shard._presence.advertise(peer, ev.Advertise(rotate=True), 86_400.0 * day)
        shard.deliver([], shard._presence.announcements)
    assert peer.advert is not None
    assert peer.advert.pseudonym in shard._post.index_of
    assert not names & shard._post.index_of.keys()
    assert len(shard._post.index_of) <= GRACE_S / 86_400.0 + 2


def test_a_sleeper_keeps_nothing_of_what_is_shown_and_sees_what_is_there_when_it_wakes() -> None:
    shard = two()
    sleeper, other = shard.peers[RECIPIENT], shard.peers[SENDER]
    assert sleeper.life is not None
    shard._happen(sleeper, Fate("sleeps"), 1.0)
    for minute in range(1, 50):
        shard._presence.announcements = []
        shard._presence.advertise(other, ev.Advertise(rotate=True), 60.0 * minute)
        shard.deliver([], shard._presence.announcements)
        shard.advance(shard.next_slice() or 0)
    assert len(sleeper.missed) <= len(ev.Timer)
    shard._happen(sleeper, Fate("wakes"), 3_000.0)
    while (number := shard.next_slice()) is not None and number * shard.world.slice_s < 3_002.0:
        shard.advance(number)
    assert other.advert is not None
    assert other.advert.pseudonym in sleeper.life.adverts


def test_nobody_looks_where_nothing_is_shown_since_a_week_is_over() -> None:
    shard = two()
    peer = shard.peers[SENDER]
    before = len(peer.topics)
    for day in range(1, 30):
        shard._presence.announcements = []
        shard._presence.advertise(peer, ev.Advertise(), 86_400.0 * day)
        shard.advance(2 * 86_400 * day)
        shard.deliver([], shard._presence.announcements)
    assert len(peer.topics) <= before + 1
    assert len(shard._presence.places.shown) <= 2


def test_the_news_that_somebody_did_not_answer_wakes_no_sleeper() -> None:
    shard = two()
    sleeper = shard.peers[RECIPIENT]
    (parcel,) = sent(shard)
    news = parcel._replace(sender=RECIPIENT, to=SENDER, message=None, missed="somebody")
    shard._happen(sleeper, Fate("sleeps"), 1.0)
    shard._happen(sleeper, news, 2.0)
    assert sleeper.missed == [news]
    assert not sleeper.counters["dropped.not_delivered"]
    shard._happen(sleeper, Fate("wakes"), 3.0)
    assert sleeper.counters["dropped.not_delivered"] == 1


@pytest.mark.parametrize("seal", [False, True])
def test_a_copy_is_heard_where_the_first_one_was_not_and_only_there(*, seal: bool) -> None:
    shard = two(seal=seal, duplication=1.0)
    peer = shard.peers[RECIPIENT]
    for first_is_heard in (True, False):
        first, copy = sent(shard)
        peer.asleep = not first_is_heard
        assert (shard._post.arrived(peer, first, 2.0) is not None) is first_is_heard
        peer.asleep = False
        assert (shard._post.arrived(peer, copy, 3.0) is None) is first_is_heard
        assert not peer.taken
    assert peer.counters["dropped.replayed"] == 1


def test_copies_of_sealed_messages_meet_the_protection_against_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BoundedReplayMemory, "seen", lambda *_, **__: False)
    shard = two(seal=True, duplication=1.0)
    peer = shard.peers[RECIPIENT]
    heard = [shard._post.arrived(peer, parcel, 2.0) for parcel in sent(shard)]
    assert all(heard)  # with a memory that knows nothing again


@pytest.mark.parametrize("seal", [False, True])
@pytest.mark.parametrize(
    ("ahead_s", "reason"),
    [(400.0, "from_the_future"), (200.0, None), (-3_000.0, None), (-4_000.0, "expired")],
)
def test_a_sender_dates_messages_by_its_own_clock(
    ahead_s: float, reason: str | None, *, seal: bool
) -> None:
    shard = two(seal=seal)
    shard.peers[SENDER].skew_s = ahead_s
    peer = shard.peers[RECIPIENT]
    (parcel,) = sent(shard)
    heard = shard._post.arrived(peer, parcel, 2.0)
    assert (heard is None) is (reason is not None)
    assert peer.counters[f"dropped.{reason}"] == (reason is not None)


def test_an_advert_is_dated_by_its_own_clock_and_judged_by_that_of_who_sees_it() -> None:
    shard = two()
    peer, other = shard.peers[RECIPIENT], shard.peers[SENDER]
    for ahead_s, reason in ((400.0, "advert_from_the_future"), (-3_700.0, "advert_expired")):
        other.skew_s = ahead_s
        shard._presence.announcements = []
        shard._presence.advertise(other, ev.Advertise(), 10.0)
        assert other.advert is not None
        assert other.advert.not_before_s == shard.world.epoch_s + 10.0 + ahead_s
        assert not list(shard._presence.seen(peer, shard._presence.announcements, 11.0))
        assert peer.counters[f"dropped.{reason}"] > 0


def test_messages_wait_for_the_uplink_of_their_sender() -> None:
    shard = two(broker_mbit_s=0.01, broker_latency_ms=0.0)
    (first,), (second,) = sent(shard, 1.0), sent(shard, 1.5)
    (later,) = sent(shard, 1_000.0)
    upload_s = 8e-6 * first.n_bytes / 0.01
    arrivals_s = [parcel.arrival_s for parcel in (first, second, later)]
    assert arrivals_s == pytest.approx([1.0 + upload_s, 1.0 + 2 * upload_s, 1_000.0 + upload_s])


@pytest.mark.parametrize("seal", [False, True])
def test_of_a_shuffle_the_adverts_that_hold_by_the_clock_of_the_recipient_are_heard(
    *, seal: bool
) -> None:
    shard = two(seal=seal)
    peer, held = shard.peers[RECIPIENT], shard.peers[SENDER].advert
    assert held is not None
    now_s = shard.world.epoch_s
    late, early = replace(held, expires_s=now_s), replace(held, not_before_s=now_s + 400.0)
    message = Shuffle(adverts=(late, held, early), wants_reply=False)
    (parcel,) = sent(shard, 1.0, message)
    heard = shard._post.arrived(peer, parcel, 2.0)
    assert isinstance(heard, ev.Arrived)
    assert heard.message == Shuffle(adverts=(held,), wants_reply=False)
    dropped = (peer.counters[f"dropped.advert_{why}"] for why in ("expired", "from_the_future"))
    assert list(dropped) == [1, 1]


@pytest.mark.parametrize("seal", [False, True])
def test_two_of_a_hello_whose_advert_has_expired_are_one_that_has_and_one_that_is_no_other(
    *, seal: bool
) -> None:
    shard = two(seal=seal, duplication=1.0)
    peer, held = shard.peers[RECIPIENT], shard.peers[SENDER].advert
    life = shard.peers[SENDER].life
    assert held is not None
    assert life is not None
    late = replace(held, expires_s=shard.world.epoch_s)
    [send] = life.acquaintances._hellos([held], wants_reply=True)
    assert isinstance(send, ev.Send)
    assert isinstance(send.message, Hello)
    for parcel in sent(shard, 1.0, replace(send.message, advert=late)):
        assert shard._post.arrived(peer, parcel, 2.0) is None
    assert peer.counters["dropped.advert_expired"] == peer.counters["dropped.replayed"] == 1


def test_who_has_left_takes_nothing_and_its_senders_are_told_under_the_name_they_wrote_to() -> None:
    shard = two()
    peer = shard.peers[RECIPIENT]
    assert peer.advert is not None
    written_to = peer.advert.pseudonym
    (parcel,) = sent(shard)
    shard._presence.advertise(peer, ev.Advertise(rotate=True), 1.5)
    shard._happen(peer, Fate("leaves"), 1.6)
    shard._post.begin()
    assert shard._post.arrived(peer, parcel._replace(way="tcp"), 2.0) is None
    assert not peer.counters["received.tcp"]
    (news,) = shard._post.parcels
    assert news.message is None
    assert news.missed == written_to != peer.advert.pseudonym


def test_in_a_new_week_the_cells_around_are_looked_into_again() -> None:
    shard = two()
    peer = shard.peers[SENDER]
    shard._presence.look_around(peer, 1, 1.0)
    shard._presence.look_around(peer, 2, 2.0)
    before = set(peer.around)
    assert len(before) > 7  # a cell and its six neighbours are not all
    shard._presence.advertise(peer, ev.Advertise(), 8 * 86_400.0)
    assert len(peer.around) == len(before)
    assert not before & peer.around


def test_what_is_shown_is_swept_at_the_same_time_with_and_without_a_stop() -> None:
    """Adverts that have long expired count, since they are numbered where somebody sees them."""

    def after(*, stop: bool) -> int:
        shard, day = two(), 86_400.0
        shard._calendar.schedule(1.05 * day, 0, 0, SENDER, 0, Fate("sleeps"))
        shard._calendar.schedule(1.06 * day, 0, 0, RECIPIENT, 0, Fate("sleeps"))
        slices = [int(at * day / shard.world.slice_s) for at in (0.9, 1.02, 1.3, 1.7)]
        for number in slices:
            out = shard.advance(number)
            shard.deliver(out.parcels, out.announcements)
            if stop and number == slices[1]:
                other = Shard(shard.world)
                for part, state in shard.parts():
                    other.restore(part, state)
                shard = other
        return sum(map(len, shard._presence.places.shown.values()))

    assert after(stop=False) == after(stop=True)
