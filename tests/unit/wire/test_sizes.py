"""Lengths without encoding are those of the encoding."""

from __future__ import annotations

from dataclasses import replace

from cast import BOB_ADVERT, hello
from hypothesis import given
from hypothesis import strategies as st

from p2prec import limits
from peers.codec import encode_message
from peers.messages import Advert, Endpoints, Goodbye, Shuffle
from peers.sealing import sealed_bytes
from peers.sizes import body_bytes

PORTS = st.one_of(st.integers(1, 65_535), st.sampled_from([127, 128, 255, 256]))
HOSTS = st.text("0123456789abcdef.:", min_size=2, max_size=45)
LABELS = st.text("abcdefgh234567", max_size=32)
ADVERTS = st.builds(
    lambda label, tcp, inbox, at_s: replace(
        BOB_ADVERT,
        cell_label=label,
        endpoints=Endpoints(tcp=tuple(tcp), mqtt_inbox=inbox),
        not_before_s=at_s,
    ),
    LABELS,
    st.lists(st.tuples(HOSTS, PORTS), max_size=4),
    st.sampled_from(["", "0" * 32]),
    st.one_of(st.integers(0, 10**9), st.floats(0, 1e9)),
)


@given(
    advert=ADVERTS,
    area=st.text("0123456789abcdef", max_size=16),
    sketch=st.binary(max_size=limits.MAX_PROFILE_BITS),
    names=st.tuples(st.text("abcz09_./-", max_size=64), st.text("abcz09_./-", max_size=64)),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_the_length_of_a_hello_is_that_of_its_encoding(
    advert: Advert, area: str, sketch: bytes, names: tuple[str, str], flags: tuple[bool, bool]
) -> None:
    said = replace(
        hello(), advert=advert, area=area, sketch=sketch, method=names[0], model=names[1],
        wants_reply=flags[0], accepts=flags[1],
    )  # fmt: skip
    assert body_bytes(said) == len(encode_message(said))


@given(st.lists(ADVERTS, max_size=limits.MAX_ADVERTS_PER_SHUFFLE), st.booleans())
def test_the_length_of_a_shuffle_is_that_of_its_encoding(
    adverts: list[Advert],
    reply: bool,  # noqa: FBT001
) -> None:
    said = Shuffle(adverts=tuple(adverts), wants_reply=reply)
    assert body_bytes(said) == len(encode_message(said))


def test_the_length_of_a_goodbye_is_that_of_its_encoding() -> None:
    assert body_bytes(Goodbye()) == len(encode_message(Goodbye()))
    assert sealed_bytes(body_bytes(Goodbye())) > 1_024
