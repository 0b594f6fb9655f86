"""The peer's life under random, hostile and lossy event orders; no I/O anywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lives import NOW, World, advert, hello, peer, update

from p2prec import limits
from p2prec.collaboration.payload import ModelUpdate
from p2prec.training.learner import MergeReport, TrainingReport
from peers import events as ev
from peers.acquaintances import FOLLOWERS_PER_NEIGHBOUR
from peers.config import NeighbourConfig, PeerConfig, ScheduleConfig
from peers.life import Peer, Phase
from peers.messages import Advert, Goodbye, Hello, PeerId, Share, Shuffle

names = st.integers(1, 900)
events = st.one_of(
    st.builds(lambda t: ev.TimerFired(timer=t), st.sampled_from(list(ev.Timer))),
    st.builds(
        lambda n, s: ev.AdvertSeen(advert=advert(n), source=s), names, st.sampled_from(ev.Source)
    ),
    st.builds(lambda n: ev.AdvertGone(pseudonym=advert(n).pseudonym), names),
    st.builds(lambda n: ev.SendFailed(to=advert(n).pseudonym, reason="x"), names),
    st.builds(
        lambda n, m: ev.Arrived(sender=PeerId(f"id{n}"), message=m, transport="tcp", n_bytes=9),
        names,
        st.one_of(
            st.builds(
                lambda n, r, a: hello(n, reply=r, accepts=a), names, st.booleans(), st.booleans()
            ),
            st.builds(lambda r: Share(payload=update(r)), st.integers(0, 9)),
            st.builds(lambda n: Shuffle(adverts=(advert(n),), wants_reply=True), names),
            st.just(Goodbye()),
        ),
    ),
    st.builds(
        lambda r: ev.Trained(round=r, report=TrainingReport(loss=1.0, n_examples=1)),
        st.integers(0, 5),
    ),
    st.builds(lambda r: ev.PayloadsReady(round=r, payloads=(update(r),)), st.integers(0, 5)),
    st.builds(
        lambda r: ev.Merged(round=r, report=MergeReport(weights={}, rejected={})), st.integers(0, 5)
    ),
    st.just(ev.InteractionsAdded(n=1)),
    st.just(ev.Advertised()),
)


@given(st.lists(events, max_size=120), st.booleans())
@settings(max_examples=150, deadline=None)
def test_invariants_hold_for_any_order_of_events(
    stream: list[ev.Event],
    share: bool,  # noqa: FBT001
) -> None:
    life = peer(share=share)
    life.handle(ev.Started(), NOW)
    last_round, outstanding = 0, None
    for step, event in enumerate(stream):
        effects = life.handle(event, NOW + step)
        assert life.round >= last_round
        last_round = life.round
        assert len(life.neighbours) <= 3
        assert len(set(life.neighbours)) == len(life.neighbours)
        assert set(life.neighbours) <= set(life.known)
        assert len(life.followers) <= 3 * FOLLOWERS_PER_NEIGHBOUR
        assert len(life.known) <= limits.MAX_KNOWN_ADVERTS
        assert len(life.adverts) <= limits.MAX_KNOWN_ADVERTS
        assert len(life._inbox) <= limits.MAX_INBOX_MESSAGES
        jobs = [e for e in effects if isinstance(e, ev.Train | ev.Merge | ev.MakePayloads)]
        assert len(jobs) <= 1
        if jobs:
            outstanding = jobs[0]
            assert outstanding.round == life.round
        if not share:
            assert not [e for e in effects if isinstance(e, ev.Send | ev.Advertise)]
    ending = life.handle(ev.StopRequested(), NOW + 1e3)
    assert isinstance(ending[-1], ev.Halt)
    assert life.handle(ev.TimerFired(timer=ev.Timer.ROUND), NOW + 1e3) == []


def test_strangers_payloads_and_stale_ones_are_dropped() -> None:
    life = peer()
    life.handle(ev.Started(round=9), NOW)

    def send(sender: str, payload: ModelUpdate) -> str:
        [told] = life.handle(
            ev.Arrived(
                sender=PeerId(sender), message=Share(payload=payload), transport="tcp", n_bytes=1
            ),
            NOW,
        )
        assert isinstance(told, ev.Tell)
        return str(told.fields.get("reason", told.what))

    assert send("id5", update(9)) == "from_a_stranger"
    life.handle(ev.Arrived(sender=PeerId("id5"), message=hello(5), transport="tcp", n_bytes=1), NOW)
    assert send("id5", update(9)) == "payload_received"
    assert send("id5", update(9)) == "older_than_known"
    assert send("id5", update(8)) == "older_than_known"


@pytest.mark.parametrize(("own", "theirs"), [(0, 500), (500, 0), (7, 11), (7, 9)])
def test_who_counts_rounds_from_another_beginning_is_heard(own: int, theirs: int) -> None:
    """A newcomer among those who have gone on for weeks, and one of them who hears it."""
    life = peer(rounds=0)
    life.handle(ev.Started(round=own), NOW)
    life.handle(ev.Arrived(sender=PeerId("id5"), message=hello(5), transport="tcp", n_bytes=1), NOW)
    life.acquaintances.neighbours = (PeerId("id5"),)

    def merged(said: int | None) -> list[int]:
        """Rounds of what is merged in one round, in which this one of the neighbour comes."""
        round_ = life.round
        life.phase = Phase.TRAINING
        if said is not None:
            share = Share(payload=update(said))
            life.handle(
                ev.Arrived(sender=PeerId("id5"), message=share, transport="tcp", n_bytes=1), NOW
            )
        report = TrainingReport(loss=1.0, n_examples=1)
        life.handle(ev.Trained(round=round_, report=report), NOW)
        effects = life.handle(ev.PayloadsReady(round=round_, payloads=()), NOW)
        if life.phase is Phase.WAITING:
            effects += life.handle(ev.TimerFired(timer=ev.Timer.INBOX), NOW + 120)
        [merge] = [effect for effect in effects if isinstance(effect, ev.Merge)]
        life.handle(ev.Merged(round=round_, report=MergeReport(weights={}, rejected={})), NOW)
        assert all(received.staleness_rounds == 0 for received in merge.received)
        return [received.payload.round for received in merge.received]

    said = [theirs, theirs + 1, None, theirs + 1, theirs + 6]
    assert [merged(one) for one in said] == [[theirs], [theirs + 1], [], [], [theirs + 6]]


def test_who_falls_silent_is_waited_for_no_longer_until_it_speaks_again() -> None:
    life = peer(rounds=0)
    life.handle(ev.Started(), NOW)
    life.handle(ev.Arrived(sender=PeerId("id5"), message=hello(5), transport="tcp", n_bytes=1), NOW)
    life.acquaintances.neighbours = (PeerId("id5"),)

    def waits(*, speaks: bool) -> bool:
        """One round; whether it had to be ended by its timer."""
        round_ = life.round
        life.phase = Phase.IDLE
        life.handle(ev.TimerFired(timer=ev.Timer.ROUND), NOW + 100)
        life.handle(
            ev.Trained(round=round_, report=TrainingReport(loss=1.0, n_examples=1)), NOW + 100
        )
        if speaks:
            share = Share(payload=update(round_))
            arrived = ev.Arrived(sender=PeerId("id5"), message=share, transport="tcp", n_bytes=1)
            life.handle(arrived, NOW + 100)
        life.handle(ev.PayloadsReady(round=round_, payloads=()), NOW + 100)
        waited = life.phase is Phase.WAITING
        if waited:
            life.handle(ev.TimerFired(timer=ev.Timer.INBOX), NOW + 120)
        life.handle(ev.Merged(round=round_, report=MergeReport(weights={}, rejected={})), NOW + 120)
        return waited

    heard = [True, True, False, False, False, False, True, False, False]
    assert [waits(speaks=s) for s in heard] == [
        False, False, True, True, False, False, False, True, True,
    ]  # fmt: skip


def test_one_sender_is_heard_at_a_bounded_rate() -> None:
    life = peer()
    life.handle(ev.Started(), NOW)

    def arrives(message: Hello | Shuffle, now: float) -> list[str]:
        event = ev.Arrived(sender=PeerId("id5"), message=message, transport="tcp", n_bytes=1)
        effects = life.handle(event, now)
        return [str(e.fields.get("reason")) for e in effects if isinstance(e, ev.Tell)]

    minute = NOW // 60 * 60
    arrives(hello(5), minute)
    for _ in range(limits.MAX_MESSAGES_PER_MINUTE_PER_SENDER):
        assert arrives(Shuffle(adverts=(), wants_reply=False), minute + 1) == []
    assert arrives(Shuffle(adverts=(), wants_reply=False), minute + 2) == ["too_many_messages"]
    assert arrives(hello(5), minute + 2) == ["too_many_messages"]  # no way to start afresh
    assert arrives(Shuffle(adverts=(), wants_reply=False), minute + 61) == []


def test_greetings_are_answered_at_a_bounded_rate() -> None:
    life = peer()
    life.handle(ev.Started(), NOW)
    answers = 0
    for n in range(1, 200):
        effects = life.handle(
            ev.Arrived(
                sender=PeerId(f"id{n}"), message=hello(n, reply=True), transport="tcp", n_bytes=1
            ),
            NOW,
        )
        answers += sum(isinstance(e, ev.Send) and isinstance(e.message, Hello) for e in effects)
    assert answers == limits.MAX_GREETINGS_PER_MINUTE


def test_a_renewed_advert_and_a_goodbye_reach_neighbours_and_followers() -> None:
    """Else a one-sided link ends with the life of the first advert."""
    adverts = [advert(0)]
    life = peer()
    life.acquaintances._own_advert = lambda: (adverts[-1], b"b")
    life.handle(ev.Started(), NOW)
    for n in (1, 2):
        arrived = ev.Arrived(
            sender=PeerId(f"id{n}"), message=hello(n, accepts=n == 1), transport="tcp", n_bytes=1
        )
        life.handle(arrived, NOW)
    life.acquaintances.neighbours = (PeerId("id2"),)
    assert list(life.followers) == ["id1"]
    renewal = life.handle(ev.TimerFired(timer=ev.Timer.RENEW), NOW + 1)
    assert not [e for e in renewal if isinstance(e, ev.Send)]  # the old advert is of no use
    adverts.append(advert(0, expires=NOW + 2e6))
    told = [e for e in life.handle(ev.Advertised(), NOW + 2) if isinstance(e, ev.Send)]
    assert {e.to.pseudonym for e in told} == {advert(1).pseudonym, advert(2).pseudonym}
    for effect in told:
        assert isinstance(effect.message, Hello)
        assert effect.message.advert is adverts[-1]
        assert effect.message.accepts == (effect.to.pseudonym == advert(2).pseudonym)
    left = [e for e in life.handle(ev.StopRequested(), NOW + 3) if isinstance(e, ev.Send)]
    assert {e.to.pseudonym for e in left} == {advert(1).pseudonym, advert(2).pseudonym}


def test_a_newcomer_waits_for_answers_and_chooses_once() -> None:
    life = peer(k=3)
    life.handle(ev.Started(), NOW)
    for n in range(1, 30):
        life.handle(ev.AdvertSeen(advert=advert(n), source=ev.Source.MQTT), NOW)

    def look(now: float) -> list[Hello]:
        effects = life.handle(ev.TimerFired(timer=ev.Timer.DISCOVER), now)
        sent = [e.message for e in effects if isinstance(e, ev.Send)]
        return [m for m in sent if isinstance(m, Hello)]

    assert [h.wants_reply for h in look(NOW + 1)] == [True] * 6
    assert look(NOW + 2) == []  # they may still answer
    for n in range(40, 49):
        message = hello(n, accepts=False)
        event = ev.Arrived(sender=PeerId(f"id{n}"), message=message, transport="tcp", n_bytes=1)
        life.handle(event, NOW + 2)
    assert [h.accepts for h in look(NOW + 3)] == [True] * 3
    chosen = life.neighbours
    for n in range(46, 60):
        event = ev.Arrived(
            sender=PeerId(f"id{n}"), message=hello(n, accepts=False), transport="tcp", n_bytes=1
        )
        life.handle(event, NOW + 3)
    assert look(NOW + 40) == []
    assert life.neighbours == chosen


def greeted_by(effects: list[ev.Effect]) -> list[Advert]:
    """Whom it introduces itself to."""
    return [e.to for e in effects if isinstance(e, ev.Send) and isinstance(e.message, Hello)]


def look_around(life: Peer, now: float) -> list[ev.Effect]:
    """Who is greeted answers."""
    effects = life.handle(ev.TimerFired(timer=ev.Timer.DISCOVER), now)
    for to in greeted_by(effects):
        name = int.from_bytes(to.pseudonym_key, "big")
        answer = replace(hello(name, accepts=False), advert=to)
        sender = PeerId(f"id{name}")
        life.handle(ev.Arrived(sender=sender, message=answer, transport="tcp", n_bytes=1), now)
    return effects


def test_acquaintances_are_from_beyond_the_local_network_and_from_beyond_the_cell() -> None:
    life = peer(k=8)
    life.handle(ev.Started(), NOW)
    for n in range(1, 181):
        shown = advert(n) if n < 141 else replace(advert(n), cell_label="elsewhere")
        beyond = ev.Source.MQTT if n < 141 else ev.Source.ELSEWHERE
        source = ev.Source.MDNS if n < 101 else beyond
        life.handle(ev.AdvertSeen(advert=shown, source=source), NOW)
    greeted = greeted_by(life.handle(ev.TimerFired(timer=ev.Timer.DISCOVER), NOW + 1))
    names = [int.from_bytes(one.pseudonym_key, "big") for one in greeted]
    beside, beyond = sum(n < 101 for n in names), sum(101 <= n < 141 for n in names)
    assert (beside, beyond, len(names) - beside - beyond) == (2, 2, 2)


def test_who_finds_nobody_around_turns_to_those_far_away_in_the_end() -> None:
    life = peer(k=8)
    life.handle(ev.Started(), NOW)
    for n in range(1, 41):
        far = replace(advert(n), cell_label="elsewhere")
        life.handle(ev.AdvertSeen(advert=far, source=ev.Source.ELSEWHERE), NOW)

    for second in range(1, 18):
        look_around(life, NOW + second)
    assert len(life.known) == 6
    for second in range(18, 30):
        look_around(life, NOW + second)
    assert len(life.known) == 24
    assert len(life.neighbours) == 8


def test_a_large_city_elsewhere_takes_no_place_of_those_around() -> None:
    """Few in the own cell, thirty in each ring, thousands elsewhere."""
    life = peer(neighbours=NeighbourConfig(k=8))
    life.handle(ev.Started(), NOW)

    def seen(first: int, n: int, label: str, source: ev.Source, now: float) -> None:
        for name in range(first, first + n):
            shown = replace(advert(name), cell_label=label)
            life.handle(ev.AdvertSeen(advert=shown, source=source), now)

    seen(1, 3, "abc", ev.Source.MQTT, NOW)
    seen(10_000, 2_000, "city", ev.Source.ELSEWHERE, NOW)
    assert len(life.adverts) == 3 + limits.MAX_KNOWN_ADVERTS // 4
    for second in range(1, 40):
        for effect in look_around(life, NOW + second):
            if isinstance(effect, ev.LookFurther):
                ring = f"ring{effect.ring}"
                seen(1_000 * effect.ring, 30, ring, ev.Source.MQTT, NOW + second)
    labels = [life.known[p].advert.cell_label for p in life.neighbours]
    assert len(labels) == 8
    assert labels.count("city") <= 2
    known = [a.advert.cell_label for a in life.known.values()]
    assert known.count("abc") == 3
    assert known.count("city") <= 6


def test_a_lonely_peer_looks_into_the_cells_around() -> None:
    life = peer()
    life.handle(ev.Started(), NOW)
    rings = []
    for second in range(1, 60):
        effects = life.handle(ev.TimerFired(timer=ev.Timer.DISCOVER), NOW + second)
        rings += [(second, e.ring) for e in effects if isinstance(e, ev.LookFurther)]
    assert rings == [(6, 1), (12, 2)]


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_a_network_of_lives_finishes_its_rounds(loss: float) -> None:
    world = World(30, seed=4, loss=loss)
    world.run(600.0)
    assert all(life.phase is Phase.RESTING for life in world.lives)
    assert all(life.round == 4 for life in world.lives)
    # Without loss nearly every neighbour is heard in every round.
    assert world.merged > (0.8 if loss == 0 else 0.4) * 30 * 3 * 4


def test_a_peer_that_is_to_settle_does_not_train_before() -> None:
    life = peer()
    schedule = ScheduleConfig(min_neighbours=0, settle_s=30.0)
    life._config = PeerConfig(share=True, schedule=schedule)
    life.handle(ev.Started(), NOW)
    [again] = life.handle(ev.TimerFired(timer=ev.Timer.ROUND), NOW + 29)
    assert isinstance(again, ev.SetTimer)
    assert life.phase is Phase.IDLE
    [train] = life.handle(ev.TimerFired(timer=ev.Timer.ROUND), NOW + 31)
    assert isinstance(train, ev.Train)


def test_friends_are_chosen_before_all_others() -> None:
    neighbours = NeighbourConfig(
        selection="social", k=2, semantic_threshold=0.9, random_share=0.0, friends=("id7", "id11")
    )
    life = peer(neighbours=neighbours)
    life.handle(ev.Started(), NOW)
    for name in range(1, 13):
        life.handle(
            ev.Arrived(sender=PeerId(f"id{name}"), message=hello(name), transport="tcp", n_bytes=9),
            NOW + name,
        )
    life.handle(ev.TimerFired(timer=ev.Timer.DISCOVER), NOW + 20)
    assert set(life.neighbours) == {"id7", "id11"}


def meets(life: Peer, names: range, now: float) -> list[ev.Effect]:
    """Hellos of these, and what the peer does when it looks around next."""
    for name in names:
        life.handle(
            ev.Arrived(sender=PeerId(f"id{name}"), message=hello(name), transport="tcp", n_bytes=9),
            now,
        )
    return life.handle(ev.TimerFired(timer=ev.Timer.DISCOVER), now + 1)


@pytest.mark.parametrize(("random_share", "places"), [(0.0, 4), (0.25, 3), (1.0, 0)])
def test_a_friend_who_is_met_late_takes_the_place_of_another(
    random_share: float, places: int
) -> None:
    friends = tuple(f"id{n}" for n in range(20, 26))
    life = peer(
        neighbours=NeighbourConfig(
            selection="social", k=4, random_share=random_share, friends=friends
        )
    )
    life.handle(ev.Started(), NOW)
    meets(life, range(1, 13), NOW + 10)
    before = life.neighbours
    assert len(before) == 4
    effects = meets(life, range(20, 22), NOW + 20)
    after = life.neighbours
    assert len(set(after)) == 4
    assert len(set(after) & set(friends)) == min(2, places)
    told = {
        (e.to.pseudonym, e.message.accepts)
        for e in effects
        if isinstance(e, ev.Send) and isinstance(e.message, Hello) and not e.message.wants_reply
    }
    changed = set(before) ^ set(after)
    assert told == {(advert(int(p[2:])).pseudonym, p in after) for p in changed}
    meets(life, range(22, 26), NOW + 30)
    assert len(set(life.neighbours) & set(friends)) == places
    settled = life.neighbours
    meets(life, range(26, 40), NOW + 40)
    assert life.neighbours == settled


@pytest.mark.parametrize(("selection", "greets"), [("social", True), ("both", False)])
def test_whoever_misses_friends_goes_on_greeting(selection: str, greets: bool) -> None:  # noqa: FBT001
    life = peer(
        neighbours=NeighbourConfig(
            selection=selection,  # type: ignore[arg-type]
            k=2,
            friends=("id90",),
        )
    )
    life.handle(ev.Started(), NOW)
    for name in range(80, 95):
        life.handle(ev.AdvertSeen(advert=advert(name), source=ev.Source.MDNS), NOW)
    greeted: set[str] = set()
    effects = meets(life, range(1, 9), NOW + 10)
    for look in range(60):
        effects += meets(life, range(0), NOW + 20 + 60 * look)
        for e in effects:
            if isinstance(e, ev.Send) and isinstance(e.message, Hello) and e.message.wants_reply:
                greeted.add(e.to.pseudonym)
        effects = []
    assert len(greeted) == (15 if greets else 0)


def test_the_same_seed_is_the_same_life() -> None:
    def history(seed: int) -> list[tuple[str, ...]]:
        world = World(12, seed=seed, loss=0.1)
        world.run(200.0)
        return [tuple(life.neighbours) for life in world.lives]

    assert history(1) == history(1)


def test_a_greeting_that_got_lost_is_repeated_after_a_while() -> None:
    life = peer()
    life.handle(ev.Started(), NOW)
    life.handle(ev.AdvertSeen(advert=advert(1), source=ev.Source.MQTT), NOW)
    greeted = [
        second
        for second in range(1, 700)
        for effect in life.handle(ev.TimerFired(timer=ev.Timer.DISCOVER), NOW + second)
        if isinstance(effect, ev.Send)
    ]
    assert greeted == [1, 301, 601]


def test_gossip_tells_of_nobody_whose_advert_has_expired() -> None:
    """Who hears one would have to refuse it, and it fills the place of somebody who is there."""
    life = peer()
    life.handle(ev.Started(), NOW)

    def arrives(message: Hello | Shuffle, now: float) -> list[ev.Effect]:
        event = ev.Arrived(sender=PeerId("id5"), message=message, transport="tcp", n_bytes=1)
        return life.handle(event, now)

    arrives(hello(5), NOW)
    for name, expires in ((6, NOW + 100), (7, NOW + 1e6)):
        seen = ev.AdvertSeen(advert=advert(name, expires=expires), source=ev.Source.MQTT)
        life.handle(seen, NOW)

    def told(now: float) -> set[str]:
        [reply] = arrives(Shuffle(adverts=(), wants_reply=True), now)
        assert isinstance(reply, ev.Send)
        assert isinstance(reply.message, Shuffle)
        return {a.pseudonym for a in reply.message.adverts}

    assert told(NOW + 99) == {advert(6).pseudonym, advert(7).pseudonym}
    assert told(NOW + 101) == {advert(7).pseudonym}
    assert advert(6).pseudonym in life.adverts
    life.handle(ev.TimerFired(timer=ev.Timer.DISCOVER), NOW + 101)
    assert advert(6).pseudonym not in life.adverts


def test_an_advert_is_not_replaced_by_an_older_one_of_the_same_peer() -> None:
    life = peer()
    life.handle(ev.Started(), NOW)
    first = advert(6, expires=NOW + 300)
    later = replace(advert(6, expires=NOW + 100), not_before_s=NOW + 50)  # one that is to live less
    for said in (first, later, first):
        life.handle(ev.AdvertSeen(advert=said, source=ev.Source.GOSSIP), NOW + 50)
    assert life.adverts[advert(6).pseudonym] == later
    life.handle(ev.AdvertSeen(advert=first, source=ev.Source.MQTT), NOW + 50)
    assert life.adverts[advert(6).pseudonym] == first  # what a peer shows itself is as it is


def test_a_copy_of_an_advert_is_as_good_as_itself() -> None:
    """What is the same object in one process comes as a copy from another."""

    def kept(*, copy: bool) -> set[str]:
        life = peer()
        life.acquaintances._own_advert = lambda: (replace(advert(0), cell_label="own"), b"b")
        life.handle(ev.Started(), NOW)
        far = [replace(advert(n), cell_label=f"far{n}") for n in range(1, 150)]
        for seen in [*far[:128], replace(far[0]) if copy else far[0], *far[128:]]:
            life.handle(ev.AdvertSeen(advert=seen, source=ev.Source.GOSSIP), NOW)
        return {a.pseudonym for a in life.adverts.values()}

    assert kept(copy=True) == kept(copy=False)
    assert len(kept(copy=True)) < 149


def test_who_is_known_is_not_greeted_under_a_former_name() -> None:
    life = peer()
    life.handle(ev.Started(), NOW)

    def arrives(name: int, message: Hello | Shuffle) -> list[ev.Effect]:
        event = ev.Arrived(sender=PeerId(f"id{name}"), message=message, transport="tcp", n_bytes=1)
        return life.handle(event, NOW)

    arrives(5, hello(5))
    arrives(6, hello(6))
    arrives(5, replace(hello(5), advert=advert(55)))
    assert set(life.adverts) == {advert(55).pseudonym, advert(6).pseudonym}
    gossip = Shuffle(adverts=(advert(5), advert(55), advert(7)), wants_reply=True)
    [reply] = arrives(6, gossip)
    assert isinstance(reply, ev.Send)
    assert isinstance(reply.message, Shuffle)
    assert {a.pseudonym for a in reply.message.adverts} == {
        advert(55).pseudonym,
        advert(7).pseudonym,
    }
    looks = life.handle(ev.TimerFired(timer=ev.Timer.DISCOVER), NOW + 20)
    greeted = [
        e.to
        for e in looks
        if isinstance(e, ev.Send) and isinstance(e.message, Hello) and e.message.wants_reply
    ]
    assert greeted == [advert(7)]
    assert set(life.known) == {"id5", "id6"}


def test_the_own_former_name_is_no_stranger() -> None:
    adverts = [advert(0)]
    life = peer()
    life.acquaintances._own_advert = lambda: (adverts[-1], b"b")
    life.handle(ev.Started(), NOW)
    life.handle(ev.Advertised(), NOW)
    adverts.append(advert(100))
    life.handle(ev.Advertised(), NOW + 1)
    for mine in adverts:
        life.handle(ev.AdvertSeen(advert=mine, source=ev.Source.GOSSIP), NOW + 2)
    assert not life.adverts


said = st.tuples(st.booleans(), st.booleans(), st.integers(0, 3))  # accepts, asks, which advert


@given(hellos=st.lists(said, min_size=1, max_size=12), draw=st.data())
def test_of_hellos_that_overtake_each_other_the_latest_holds(
    hellos: list[tuple[bool, bool, int]], draw: st.DataObject
) -> None:
    """A link is what the other side said last, whatever the network did to the order."""
    life = peer()
    life.handle(ev.Started(), NOW)
    order = draw.draw(st.permutations(range(len(hellos))))
    latest = -1
    for number in order:
        accepts, asks, turn = hellos[number]
        message = replace(hello(5, reply=asks, accepts=accepts), advert=advert(5 + 1_000 * turn))
        effects = life.handle(
            ev.Arrived(
                sender=PeerId("id5"), message=message, transport="tcp", n_bytes=1, order=number
            ),
            NOW,
        )
        latest = max(latest, number)
        holds = advert(5 + 1_000 * hellos[latest][2])
        assert (PeerId("id5") in life.followers) == hellos[latest][0]
        assert life.known[PeerId("id5")].advert == holds
        answers = [e for e in effects if isinstance(e, ev.Send) and isinstance(e.message, Hello)]
        assert [e.to for e in answers] == [holds] * asks
        older = ev.Tell(what="dropped", fields={"reason": "older_than_known"})
        assert (older in effects) == (number < latest)


@given(goodbyes=st.lists(st.booleans(), min_size=1, max_size=8), draw=st.data())
def test_of_hellos_and_goodbyes_that_overtake_each_other_the_latest_holds(
    goodbyes: list[bool], draw: st.DataObject
) -> None:
    """Who has left is not known again by an older hello, who is back not lost by an old goodbye."""
    life, sender = peer(), PeerId("id5")
    life.handle(ev.Started(), NOW)
    order = draw.draw(st.permutations(range(len(goodbyes))))
    latest = -1
    for number in order:
        message = Goodbye() if goodbyes[number] else hello(5, reply=True, accepts=True)
        effects = life.handle(
            ev.Arrived(sender=sender, message=message, transport="tcp", n_bytes=1, order=number),
            NOW,
        )
        latest = max(latest, number)
        assert (sender in life.known) == (sender in life.followers) == (not goodbyes[latest])
        if goodbyes[latest]:
            assert not life.neighbours
            assert not any(isinstance(e, ev.Send) for e in effects)
            assert advert(5).pseudonym not in life.adverts
