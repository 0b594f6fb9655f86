"""Brokers that speak TLS and ask for a password."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path

import pytest
from brokers import KINDS, running_broker
from certificates import Authority
from running import ENDLESS, Running, config, go_on, start, until

from p2prec.errors import ConfigError
from peers.adverts import encode_advert
from peers.cli.log import OwnerLog
from peers.config import BrokerConfig
from peers.settings import load_config, shown
from peers.transports.access import Access

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.timeout(900)]
WORD = "correct-horse-battery"
LONELY = dataclasses.replace(ENDLESS, min_neighbours=0, inbox_timeout_s=0.5)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


def logged(peer: Running) -> str:
    """All that its log would hold, in both forms, the curious one."""
    stream = io.StringIO()
    for terminal in (True, False):
        log = OwnerLog(stream, terminal=terminal, verbose=True)
        for tell in peer.told:
            log.told(tell)
    return stream.getvalue()


@pytest.mark.parametrize("kind", KINDS)
async def test_peers_learn_over_tls_with_a_password_that_is_shown_nowhere(
    kind: str, tmp_path: Path, authority: Authority
) -> None:
    certificate = authority.certificate("127.0.0.1")
    async with running_broker(kind, tmp_path, tls=certificate, users={"me": WORD}) as real:
        broker = BrokerConfig(
            address=f"mqtts://{real.address}",
            ca_file=str(authority.file),
            user="me",
            password=WORD,
        )
        settings = config("dclr", schedule=ENDLESS, mqtt=(broker,), tcp=False, mdns=False)
        peers = [start(i, settings, tmp_path / str(i)) for i in range(2)]
        try:
            await go_on(*peers)
            for peer in peers:
                counters = peer.daemon.books.of_this_run()
                assert counters["sent.mqtt"] > 0
                assert "mqtt.connection_lost" not in counters
                text = logged(peer)
                assert f"the broker {real.address} is there" in text
                advert = peer.daemon.presence.advert
                assert advert is not None
                for said in (text, repr(settings), repr(encode_advert(advert[0]))):
                    assert WORD not in said
        finally:
            for peer in peers:
                await peer.end()
        for file in tmp_path.glob("*/peer.db*"):  # noqa: ASYNC240 - the loop is idle
            assert WORD.encode() not in file.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"ca_file": ""}, "its certificate is not to be trusted: unable to get local issuer"),
        ({"ca_file": "other"}, "its certificate is not to be trusted: "),
        ({"address": "clear"}, "."),
        ({"password": "wrong"}, "authori|user name or password"),
    ],
)
async def test_a_broker_that_is_not_reached_is_one_clear_sentence(
    kind: str, wrong: dict[str, str], sentence: str, tmp_path: Path, authority: Authority
) -> None:
    certificate = authority.certificate("127.0.0.1")
    async with running_broker(kind, tmp_path, tls=certificate, users={"me": WORD}) as real:
        changes = {
            "other": str(Authority(tmp_path, "theirs").file),
            "clear": f"mqtt://{real.address}",
        }
        fields = {
            "address": f"mqtts://{real.address}",
            "ca_file": str(authority.file),
            "user": "me",
            "password": WORD,
        } | {key: changes.get(value, value) for key, value in wrong.items()}
        if fields["address"] == changes["clear"]:
            fields["ca_file"] = ""
        settings = config("dclr", schedule=LONELY, mqtt=(BrokerConfig(**fields),), mdns=False)
        peer = start(0, settings, tmp_path / "0")
        try:
            await until(lambda: peer.daemon.books.of_this_run()["mqtt.connection_lost"] > 1)
            [told] = peer.heard("broker_lost")  # said once, tried on
            reason = str(told.fields["reason"])
            assert re.search(sentence, reason, re.IGNORECASE), reason
            if "certificate" in sentence:
                assert "ca_file of this broker in [network]" in reason
                assert "_ssl.c" not in reason
                assert "\n" not in reason
            assert WORD not in logged(peer)
            goal = peer.daemon.life.round + 1
            await until(lambda: peer.daemon.life.round >= goal)
        finally:
            await peer.end()


def test_settings_of_a_broker(tmp_path: Path, authority: Authority) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        "[network]\nmqtt = ['plain:1883', {address = 'mqtts://b', ca_file = 'ours.pem', "
        f"user = 'me', password = '{WORD}'}}]\n"
    )
    found = load_config(path, {})
    plain, guarded = found.network.mqtt
    assert plain == "plain:1883"
    assert isinstance(guarded, BrokerConfig)
    assert guarded.ca_file == str(authority.file)  # beside the settings
    access = Access.of(guarded)
    assert (access.host, access.port, access.user, access.password) == ("b", 8883, "me", WORD)
    assert access.tls is not None
    assert Access.of("plain:1883").tls is None
    for text in (json.dumps(shown(found)), repr(found), repr(access)):
        assert WORD not in text
    path.write_text("[network]\nmqtt = [{adress = 'x'}]\n")
    with pytest.raises(ConfigError, match=r"network.mqtt.adress'; did you mean network.mqtt.addr"):
        load_config(path, {})


@pytest.mark.parametrize(
    ("broker", "sentence"),
    [
        (BrokerConfig(address="b:1", ca_file="x.pem"), "write mqtts://b:1"),
        (BrokerConfig(address="b:1", password=WORD), "a password and no user"),
        (BrokerConfig(address="mqtts://b", ca_file="nowhere.pem"), "nowhere.pem cannot be read"),
        (BrokerConfig(address="mqtts://b", ca_file=__file__), "no certificate in PEM form"),
    ],
)
def test_settings_of_a_broker_that_cannot_be(broker: BrokerConfig, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        Access.of(broker)
    assert WORD not in str(caught.value)
