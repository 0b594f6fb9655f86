"""How long the bodies of messages are, without encoding them.

A simulator sends millions of hellos and shuffles of which only the length is looked at. The rules
are those of MessagePack for what ``peers.wire`` writes.
"""

from __future__ import annotations

from peers.messages import Advert, Goodbye, Hello, Shuffle

_FLAG, _FLOAT, _TAG = 1, 9, 1
_SMALL_ARRAY = 1  # head of an array of up to 15


def body_bytes(message: Hello | Shuffle | Goodbye) -> int:
    """Length of what ``encode_message`` makes of a message without a payload."""
    match message:
        case Hello():
            return (
                _SMALL_ARRAY
                + _TAG
                + _advert(message.advert)
                + _binary(len(message.binding))
                + _text(len(message.area))
                + _binary(len(message.sketch))
                + _text(len(message.method))
                + _text(len(message.model))
                + 2 * _FLAG
            )
        case Shuffle():
            return _SMALL_ARRAY + _TAG + _SMALL_ARRAY + sum(map(_advert, message.adverts)) + _FLAG
        case Goodbye():
            return _SMALL_ARRAY + _TAG


def _advert(advert: Advert) -> int:
    endpoints = advert.endpoints
    addresses = sum(_SMALL_ARRAY + _text(len(host)) + _port(port) for host, port in endpoints.tcp)
    return (
        _SMALL_ARRAY
        + _binary(len(advert.realm))
        + _binary(len(advert.pseudonym_key))
        + _binary(len(advert.prekey_id))
        + _binary(len(advert.prekey))
        + _text(len(advert.cell_label))
        + _SMALL_ARRAY
        + addresses
        + _text(len(endpoints.mqtt_inbox))
        + 2 * _FLOAT
        + _binary(len(advert.signature))
    )


def _text(n: int) -> int:
    """Of ASCII characters, as all text on the wire."""
    return n + (1 if n < 32 else 2)


def _binary(n: int) -> int:
    return n + (2 if n < 1 << 8 else 3)


def _port(number: int) -> int:
    return 1 if number < 1 << 7 else 2 if number < 1 << 8 else 3
