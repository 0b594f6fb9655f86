"""Envelopes: opened once, by the right peer, in time, whole; else refused with a reason."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from cast import ALICE, BOB, BOB_ADVERT, EVE, NOW, REALM, advert_of, opener
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2prec import limits
from p2prec.errors import LocalProtocolError, RemoteProtocolError
from peers import sealing
from peers.adverts import public_prekey
from peers.keys import Keyring
from peers.messages import Advert
from peers.replay import BoundedReplayMemory
from peers.sealing import Opened, Opener, seal
from peers.wire import SealedWire

BODIES = st.binary(max_size=300)


def refused(envelope: bytes, *, now_s: float = NOW, box: Opener | None = None) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        (box or opener()).open(envelope, now_s=now_s)
    return caught.value.reason


def sealed(body: bytes = b"hello", **changes: Any) -> list[bytes]:
    fields: dict[str, Any] = {"keyring": ALICE, "to": BOB_ADVERT, "now_s": NOW}
    return seal(body, **(fields | changes))


def forged(
    record: SealedWire,
    *,
    to: Advert = BOB_ADVERT,
    sign: Keyring | None = None,
    info: bytes | None = None,
) -> bytes:
    """An envelope around any record, as an attacker with every public key makes it."""
    if sign is not None:
        record = msgspec.structs.replace(record, signature=sign.sign(sealing._signed(record)))
    plain = sealing._pad(msgspec.msgpack.encode(record))
    info = sealing._info(REALM, to.pseudonym) if info is None else info
    return sealing._frame(
        REALM, to.prekey_id, sealing.SUITE.encrypt(plain, public_prekey(to.prekey), info)
    )


def record(**changes: Any) -> SealedWire:
    [envelope] = sealed()
    return msgspec.structs.replace(opener()._unseal(envelope), **changes)


# --- one envelope -------------------------------------------------------------------------------


@given(BODIES)
@settings(max_examples=30, deadline=None)
def test_any_body_opens_once(body: bytes) -> None:
    [envelope] = sealed(body)
    box = opener()
    opened = box.open(envelope, now_s=NOW + 1)
    assert opened == Opened(
        sender=ALICE.peer_id,
        sender_key=ALICE.identity_key,
        body=body,
        n_bytes=len(envelope),
        created_s=NOW,
    )
    assert refused(envelope, now_s=NOW + 2, box=box) == "replayed"


def test_an_envelope_shows_neither_body_nor_sender() -> None:
    [envelope] = sealed(b"a very private body")
    for secret in (b"a very private body", ALICE.identity_key, bytes.fromhex(ALICE.peer_id)):
        assert secret not in envelope
    assert sealed(b"x")[0] != sealed(b"x")[0]


def test_sizes_are_padded_to_buckets() -> None:
    sizes = {len(sealed(bytes(n))[0]) for n in range(0, 4_000, 50)}
    assert sizes == {32 + 1_136 + k * 1_024 for k in (1, 2, 4, 6)}


def test_every_bucket_fits_what_is_meant_for_it() -> None:
    for n in (sealing._CHUNK_BODY - 1, sealing._CHUNK_BODY):
        [envelope] = sealed(bytes(n))
        assert len(envelope) <= limits.MAX_ENVELOPE_BYTES
        opened = opener().open(envelope, now_s=NOW)
        assert opened is not None
        assert len(opened.body) == n
    assert len(sealed(bytes(sealing._CHUNK_BODY + 1))) == 2


@pytest.mark.parametrize(
    ("now_s", "reason"),
    [(NOW + 3_600, "expired"), (NOW - 301, "from_the_future")],
)
def test_messages_live_in_their_time_only(now_s: float, reason: str) -> None:
    [envelope] = sealed()
    assert refused(envelope, now_s=now_s) == reason
    for good in (NOW - 300, NOW, NOW + 3_599):
        assert opener().open(envelope, now_s=good) is not None


def test_lifetimes_are_bounded() -> None:
    assert refused(sealed(lifetime_s=7 * 86_400 + 1)[0]) == "lives_too_long"
    assert opener().open(sealed(lifetime_s=7 * 86_400)[0], now_s=NOW) is not None


def test_others_cannot_open_and_other_realms_are_noise() -> None:
    [envelope] = sealed()
    assert refused(envelope, box=opener(EVE)) == "unknown_prekey"
    elsewhere = Keyring.create(b"q" * 32, NOW)
    assert refused(envelope, box=opener(elsewhere)) == "wrong_door"
    elsewhere._faces = BOB._faces  # even with the very prekey
    assert refused(envelope, box=opener(elsewhere)) == "wrong_door"


def test_broken_headers() -> None:
    [envelope] = sealed()
    assert refused(b"") == "envelope_length"
    assert refused(envelope[:32]) == "envelope_length"
    assert refused(envelope[:-1]) == "envelope_length"
    assert refused(envelope + b"\0") == "envelope_length"
    assert refused(bytes(limits.MAX_ENVELOPE_BYTES + 1)) == "envelope_length"
    assert refused(b"\2" + envelope[1:]) == "unknown_version"
    assert refused(envelope[:1] + b"\2" + envelope[2:]) == "unknown_version"
    assert refused(envelope[:3] + b"\1" + envelope[4:]) == "unknown_version"
    assert refused(envelope[:12] + bytes(16) + envelope[28:]) == "wrong_door"
    short = sealing._frame(REALM, BOB_ADVERT.prekey_id, b"too short for a KEM")
    assert refused(short) == "cannot_open"


@pytest.mark.parametrize(
    ("version", "realm", "pseudonym"),
    [(2, REALM, BOB_ADVERT.pseudonym), (1, b"q" * 32, BOB_ADVERT.pseudonym), (1, REALM, "0" * 32)],
    ids=["version", "realm", "recipient"],
)
def test_the_seal_is_bound_to_version_realm_and_recipient(
    version: int, realm: bytes, pseudonym: str
) -> None:
    info = b"p2prec/seal/1" + bytes([version, 1]) + realm + pseudonym.encode()
    good = b"p2prec/seal/1\1\1" + REALM + BOB_ADVERT.pseudonym.encode()
    assert opener().open(forged(record(), info=good), now_s=NOW) is not None
    assert refused(forged(record(), info=info)) == "cannot_open"


def test_a_recipient_cannot_pass_a_message_on() -> None:
    """Surreptitious forwarding: Bob re-seals Alice's words to Eve."""
    [envelope] = sealed(b"for Bob")
    inner, eve = opener()._unseal(envelope), advert_of(EVE)
    assert refused(forged(inner, to=eve), box=opener(EVE)) == "wrong_recipient"
    for changes in (
        {"recipient": eve.pseudonym, "prekey_id": eve.prekey_id},
        {"recipient": eve.pseudonym, "prekey_id": eve.prekey_id, "sender_key": BOB.identity_key},
    ):
        renamed = msgspec.structs.replace(inner, **changes)
        assert refused(forged(renamed, to=eve), box=opener(EVE)) == "bad_signature"


def test_a_message_for_an_older_face_is_not_for_this_one() -> None:
    ring = Keyring.create(REALM, NOW)
    old = advert_of(ring)
    [envelope] = sealed(to=old)
    inner = Opener(ring, BoundedReplayMemory())._unseal(envelope)
    ring.rotate(NOW)
    assert refused(forged(inner, to=advert_of(ring)), box=opener(ring)) == "wrong_recipient"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"realm": b"q" * 32}, "wrong_realm"),
        ({"created_s": float("nan")}, "malformed_envelope"),
        ({"expires_s": float("nan")}, "malformed_envelope"),
        ({"expires_s": float("inf")}, "malformed_envelope"),
        ({"message_id": bytes(15)}, "malformed_envelope"),
        ({"sender_key": bytes(31)}, "malformed_envelope"),
        ({"recipient": BOB_ADVERT.pseudonym + "\n"}, "malformed_envelope"),
        ({"chunk": 1}, "malformed_chunk"),
        ({"chunk": 64}, "malformed_envelope"),
        ({"chunks": 65}, "malformed_envelope"),
        ({"chunks": 0}, "malformed_envelope"),
        ({"digest": bytes(32)}, "wrong_digest"),
        ({"body": b"other"}, "wrong_digest"),
    ],
)
def test_records_that_a_real_sender_signed_but_nobody_may_send(
    changes: dict[str, Any], reason: str
) -> None:
    assert refused(forged(record(**changes), sign=ALICE)) == reason


def test_a_signature_of_somebody_else_is_refused() -> None:
    assert refused(forged(record(), sign=EVE)) == "bad_signature"
    assert refused(forged(record(signature=bytes(64)))) == "bad_signature"
    assert refused(forged(record(sender_key=EVE.identity_key))) == "bad_signature"


@pytest.mark.parametrize(
    "plain",
    [b"", b"\0\0\0", b"\0\0\0\5abc", b"\0\0\0\0\1", b"\0\0\0\1\xc0" + bytes(9),
     b"\xff\xff\xff\xff" + bytes(20), b"\0\0\1\0" + b"\x91" * 256],
)  # fmt: skip
def test_sealed_nonsense_is_refused(plain: bytes) -> None:
    info = sealing._info(REALM, BOB_ADVERT.pseudonym)
    secret = sealing.SUITE.encrypt(plain, public_prekey(BOB_ADVERT.prekey), info)
    assert refused(sealing._frame(REALM, BOB_ADVERT.prekey_id, secret)) == "malformed_envelope"


def test_a_body_beyond_all_chunks_is_not_sent() -> None:
    n = sealing._CHUNK_BODY * limits.MAX_CHUNKS
    with pytest.raises(LocalProtocolError, match="does not fit"):
        sealed(bytes(n + 1))


def test_what_is_refused_changes_nothing() -> None:
    """A forgery with the id of a true message must not make that one look replayed."""
    [envelope] = sealed()
    inner, box = opener()._unseal(envelope), opener()
    assert refused(forged(inner, sign=EVE), box=box) == "bad_signature"
    assert refused(envelope, now_s=NOW - 400, box=box) == "from_the_future"
    own = msgspec.structs.replace(inner, sender_key=EVE.identity_key)
    assert box.open(forged(own, sign=EVE), now_s=NOW) is not None  # Eve's id is not Alice's
    assert box.open(envelope, now_s=NOW) is not None


# --- chunks -------------------------------------------------------------------------------------


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_CHUNK_BODY", 100)


def test_long_messages_travel_in_chunks_in_any_order() -> None:
    body = np.random.default_rng(0).bytes(200_000)
    envelopes = sealed(body)
    assert len(envelopes) == 4
    assert max(map(len, envelopes)) <= 65_536
    box = opener()
    for envelope in [*envelopes[:0:-1], envelopes[1]]:
        assert box.open(envelope, now_s=NOW) is None
    opened = box.open(envelopes[0], now_s=NOW)
    assert opened is not None
    assert (opened.body, opened.n_bytes) == (body, sum(map(len, envelopes)))
    assert (len(box._chunks), box._chunks.held_bytes) == (0, 0)


@pytest.mark.usefixtures("small_chunks")
def test_chunks_of_a_delivered_message_are_refused_each() -> None:
    envelopes = sealed(bytes(250))
    box = opener()
    assert [box.open(e, now_s=NOW) is None for e in envelopes] == [True, True, False]
    for envelope in envelopes:
        assert refused(envelope, box=box) == "replayed"
    assert len(box._chunks) == 0


@pytest.mark.usefixtures("small_chunks")
def test_old_chunks_do_not_push_out_those_of_a_living_message() -> None:
    box = opener()
    old = [sealed(bytes(250)) for _ in range(5)]
    for envelopes in old:
        for envelope in envelopes:
            box.open(envelope, now_s=NOW)
    *first, last = sealed(b"y" * 250)
    for envelope in first:
        assert box.open(envelope, now_s=NOW) is None
    for envelopes in old:
        assert refused(envelopes[0], box=box) == "replayed"
    assert box.open(last, now_s=NOW) is not None


@pytest.mark.usefixtures("small_chunks")
def test_unfinished_messages_are_bounded_and_counted() -> None:
    dropped: Counter[str] = Counter()
    box = Opener(BOB, BoundedReplayMemory(), on_drop=lambda reason: dropped.update([reason]))
    for _ in range(10):
        assert box.open(sealed(bytes(250))[0], now_s=NOW) is None
    assert len(box._chunks) == limits.MAX_OPEN_REASSEMBLIES
    assert dropped == {"unfinished": 8}
    for _ in range(limits.MAX_OPEN_REASSEMBLIES_TOTAL + 5):
        box.open(sealed(bytes(250), keyring=Keyring.create(REALM, NOW))[0], now_s=NOW)
    assert len(box._chunks) == limits.MAX_OPEN_REASSEMBLIES_TOTAL
    assert dropped == {"unfinished": 8 + 7}
    assert box._chunks.held_bytes == 100 * limits.MAX_OPEN_REASSEMBLIES_TOTAL
    [any_other] = sealed(b"short")
    box.open(any_other, now_s=NOW + limits.REASSEMBLY_TIMEOUT_S)
    assert len(box._chunks) == limits.MAX_OPEN_REASSEMBLIES_TOTAL
    [any_other] = sealed(b"short")
    box.open(any_other, now_s=NOW + limits.REASSEMBLY_TIMEOUT_S + 1)
    assert (len(box._chunks), box._chunks.held_bytes) == (0, 0)


@pytest.mark.usefixtures("small_chunks")
def test_held_bytes_are_bounded_over_all_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_REASSEMBLY_BYTES", 1_000)
    box = opener()
    for _ in range(30):
        for envelope in sealed(bytes(450), keyring=Keyring.create(REALM, NOW))[:4]:
            box.open(envelope, now_s=NOW)
            assert box._chunks.held_bytes <= 1_000


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "changes",
    [{"chunks": 4}, {"digest": bytes(32)}, {"created_s": NOW - 1}, {"expires_s": NOW + 9}],
)
def test_chunks_that_contradict_each_other_are_refused(changes: dict[str, Any]) -> None:
    first, second, third = sealed(bytes(250))
    box = opener()
    assert box.open(first, now_s=NOW) is None
    other = msgspec.structs.replace(opener()._unseal(second), **changes)
    assert refused(forged(other, sign=ALICE), box=box) == "malformed_chunk"
    assert box.open(second, now_s=NOW) is None
    assert box.open(third, now_s=NOW) is not None


@pytest.mark.usefixtures("small_chunks")
def test_a_whole_that_is_not_what_was_announced_is_refused_and_forgotten() -> None:
    first, second, _ = sealed(bytes(250))
    box = opener()
    other = msgspec.structs.replace(opener()._unseal(first), body=b"z" * 100, chunk=2)
    assert box.open(first, now_s=NOW) is None
    assert box.open(second, now_s=NOW) is None
    assert refused(forged(other, sign=ALICE), box=box) == "wrong_digest"
    assert len(box._chunks) == 0


# --- any order of anything ----------------------------------------------------------------------


class Mail(RuleBasedStateMachine):
    """A network that reorders, repeats, damages and holds back; a peer that restarts."""

    @initialize()
    def begin(self) -> None:
        self.ring = Keyring.create(REALM, NOW)
        self.ring.grace_s = 500.0
        self.replay = BoundedReplayMemory()
        self.box = Opener(self.ring, self.replay)
        self.now_s = NOW
        self.sent: list[tuple[bytes, float, float, list[bytes]]] = []  # body, time, expiry, chunks
        self.delivered: Counter[bytes] = Counter()

    @rule(size=st.sampled_from([0, 10, 250]), lifetime_s=st.sampled_from([50.0, 400.0]))
    def send(self, size: int, lifetime_s: float) -> None:
        body = len(self.sent).to_bytes(4, "big") + bytes(size)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sealing, "_CHUNK_BODY", 100)
            to = advert_of(self.ring, now_s=self.now_s)
            chunks = sealed(body, to=to, now_s=self.now_s, lifetime_s=lifetime_s)
        self.sent.append((body, self.now_s, self.now_s + lifetime_s, chunks))

    @rule(data=st.data(), bit=st.none() | st.integers(0, 10**6))
    def deliver(self, data: st.DataObject, bit: int | None) -> None:
        if not self.sent:
            return
        body, _, expires_s, chunks = data.draw(st.sampled_from(self.sent))
        envelope = data.draw(st.sampled_from(chunks))
        if bit is not None:
            broken = bytearray(envelope)
            broken[bit // 8 % len(broken)] ^= 1 << bit % 8
            refused(bytes(broken), now_s=self.now_s, box=self.box)
            return
        try:
            opened = self.box.open(envelope, now_s=self.now_s)
        except RemoteProtocolError as error:
            assert error.reason in {"replayed", "expired", "unknown_prekey"}  # noqa: PT017
            assert error.reason != "replayed" or self.delivered[body]  # noqa: PT017
            return
        assert self.now_s < expires_s
        if opened is not None:
            assert (opened.sender, opened.body) == (ALICE.peer_id, body)
            self.delivered[body] += 1

    @rule(data=st.data())
    def deliver_all_in_any_order(self, data: st.DataObject) -> None:
        """What arrives whole, in time and for the first time is always delivered."""
        if not self.sent:
            return
        body, created_s, expires_s, chunks = data.draw(st.sampled_from(self.sent))
        if self.delivered[body] or self.now_s >= min(expires_s, created_s + 500.0):
            return
        results = []
        for envelope in data.draw(st.permutations(chunks)):
            results.append(self.box.open(envelope, now_s=self.now_s))
            if results[-1] is not None:
                break  # some chunks were there before
        assert isinstance(results[-1], Opened)
        assert results[-1].body == body
        self.delivered[body] += 1

    @rule(seconds=st.sampled_from([1.0, 30.0, 61.0, 450.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def rotate(self) -> None:
        self.ring.rotate(self.now_s)

    @rule()
    def restart(self) -> None:
        self.ring = Keyring.from_bytes(self.ring.to_bytes())
        self.ring.grace_s = 500.0
        self.box = Opener(self.ring, self.replay)

    @invariant()
    def nothing_twice(self) -> None:
        if hasattr(self, "delivered"):
            assert max(self.delivered.values(), default=0) <= 1


Mail.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestMail = Mail.TestCase


def test_what_is_opened_cannot_be_changed() -> None:
    opened = opener().open(sealed()[0], now_s=NOW)
    assert opened is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        opened.body = b""  # type: ignore[misc]
