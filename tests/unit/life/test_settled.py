"""A peer that misses nobody looks around for nothing: it does what one does that always looks."""

from __future__ import annotations

import math
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from lives import NOW, advert, hello, peer

from peers import events as ev
from peers.acquaintances import Acquaintances
from peers.config import NeighbourConfig
from peers.messages import Goodbye, Hello, Message, PeerId

K = 2
NAMES = st.integers(1, 7)
MESSAGES = st.one_of(
    st.builds(lambda n, a: (n, hello(n, accepts=a)), NAMES, st.booleans()),
    st.builds(lambda n: (n, Goodbye()), NAMES),
)
EVENTS = st.one_of(
    st.just(ev.TimerFired(timer=ev.Timer.DISCOVER)),
    st.builds(lambda n: ev.SendFailed(to=advert(n).pseudonym, reason="x"), NAMES),
    st.builds(
        lambda n, left_s: ev.AdvertSeen(
            advert=advert(n, expires=NOW + left_s), source=ev.Source.MQTT
        ),
        NAMES,
        st.floats(1, 200),
    ),
    st.builds(lambda said: _arrived(*said), MESSAGES),
)


def _arrived(name: int, message: Message) -> ev.Arrived:
    return ev.Arrived(sender=PeerId(f"id{name}"), message=message, transport="tcp", n_bytes=1)


def _met(left_s: float) -> list[ev.Event]:
    """Hellos of all whom a peer may meet; their adverts live so long."""
    said: list[ev.Event] = []
    for name in range(1, 8):
        met = hello(name)
        advert_ = advert(name, expires=NOW + left_s + name)
        fields = {f: getattr(met, f) for f in met.__slots__} | {"advert": advert_}
        said.append(_arrived(name, Hello(**fields)))
    return said


def _effects(
    stream: list[tuple[float, ev.Event]], config: NeighbourConfig, *, always_looks: bool
) -> list[list[ev.Effect]]:
    life = peer(neighbours=config)
    now, done = NOW, [life.handle(ev.Started(), NOW)]
    for wait_s, event in stream:
        now += wait_s
        if always_looks:
            life.acquaintances._settled_until_s = -math.inf
        done.append(life.handle(event, now))
    return done


@given(
    stream=st.lists(st.tuples(st.floats(0, 40), EVENTS), max_size=60),
    left_s=st.floats(10, 300),
    friends=st.sampled_from([(), (PeerId("id3"), PeerId("id6"))]),
)
@settings(max_examples=200, deadline=None)
def test_a_settled_peer_does_what_one_does_that_always_looks(
    stream: list[tuple[float, ev.Event]], left_s: float, friends: tuple[PeerId, ...]
) -> None:
    config = NeighbourConfig(k=K, selection="social" if friends else "random", friends=friends)
    look = ev.TimerFired(timer=ev.Timer.DISCOVER)
    begun = [(0.0, event) for event in _met(left_s)] + [(10.0, look), (10.0, look)]
    told = [_effects(begun + stream, config, always_looks=looks) for looks in (False, True)]
    assert told[0] == told[1]


def test_a_settled_peer_does_not_choose_again_until_an_acquaintance_goes() -> None:
    left_s = 50.0
    life = peer(neighbours=NeighbourConfig(k=K))
    look = ev.TimerFired(timer=ev.Timer.DISCOVER)
    life.handle(ev.Started(), NOW)
    for event in _met(left_s):
        life.handle(event, NOW)
    life.handle(look, NOW + 10)
    life.handle(look, NOW + 11)
    with patch.object(Acquaintances, "choose", autospec=True, return_value=[]) as chosen:
        life.handle(look, NOW + 12)
        assert not chosen.called
        life.handle(look, NOW + left_s + 1)  # the first advert has expired
        assert chosen.called
