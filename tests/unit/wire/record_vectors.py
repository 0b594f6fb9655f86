"""Record ``vectors/protocol_1.json``: keys, and everything that was made with them, in hex.

Run by hand, once for a version of the protocol: sealing is randomised, so that every run writes
other bytes. The tests read what is recorded; a peer that cannot read it speaks another protocol.
"""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

from cast import ALICE, BOB, BOB_ADVERT, NOW, REALM, SCHEMA, advert_of, messages

from peers import sealing
from peers.adverts import encode_advert
from peers.codec import encode_message

VECTORS = Path(__file__).parent / "vectors" / "protocol_1.json"


def main() -> None:
    face = BOB.face
    bodies = {name: encode_message(message) for name, message in messages().items()}
    with mock.patch.object(sealing, "_CHUNK_BODY", 200):
        chunks = sealing.seal(bodies["shuffle"][:500], keyring=ALICE, to=BOB_ADVERT, now_s=NOW)
    [envelope] = sealing.seal(bodies["model_update"], keyring=ALICE, to=BOB_ADVERT, now_s=NOW)
    recorded = {
        "version": 1,
        "realm": REALM.hex(),
        "now_s": NOW,
        "n_items": SCHEMA.n_items,
        "models": {name: list(sizes) for name, sizes in SCHEMA.models.items()},
        "recipient": {
            "identity_key": BOB.identity_key.hex(),
            "peer_id": BOB.peer_id,
            "pseudonym": face.pseudonym,
            "pseudonym_private": face.pseudonym_key.private_bytes_raw().hex(),
            "prekey_id": face.prekey_id.hex(),
            "mlkem768_seed": face.mlkem.private_bytes_raw().hex(),
            "x25519_private": face.x25519.private_bytes_raw().hex(),
            "keyring": BOB.to_bytes().hex(),
            "binding": BOB.binding().hex(),
            "advert": encode_advert(BOB_ADVERT).hex(),
        },
        "sender": {
            "identity_key": ALICE.identity_key.hex(),
            "peer_id": ALICE.peer_id,
            "advert": encode_advert(advert_of(ALICE)).hex(),
        },
        "bodies": {name: body.hex() for name, body in bodies.items()},
        "envelope": {"body": "model_update", "bytes": envelope.hex()},
        "chunked": {
            "body": bodies["shuffle"][:500].hex(),
            "envelopes": [chunk.hex() for chunk in chunks],
        },
    }
    VECTORS.parent.mkdir(exist_ok=True)
    VECTORS.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
