"""What simulated peers show and sign: keys that are pure functions of seed and peer.

Identities and pseudonyms are real keys either way, so that names, and with them results, do not
depend on whether messages are really sealed. Prekeys, signatures and bindings are blank where
nobody would look at them: a hundred thousand of them would only cost memory.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peers.keys import Face, Keyring
from peers.messages import Advert, Endpoints, PeerId, peer_id_of

_NO_PREKEY, _NO_SIGNATURE = bytes(1_216), bytes(64)


def identity(seed: int, peer: int) -> Ed25519PrivateKey:
    """The identity of a simulated peer."""
    return Ed25519PrivateKey.from_private_bytes(_secret(seed, peer, 0, "identity", 32))


def peer_id(seed: int, peer: int) -> PeerId:
    """The id of a simulated peer."""
    return peer_id_of(identity(seed, peer).public_key().public_bytes_raw())


def _secret(seed: int, peer: int, turn: int, purpose: str, n_bytes: int) -> bytes:
    # Known to everybody who knows the scenario: these keys protect nothing but a simulation.
    text = f"p2prec/simulated/{seed}/{peer}/{turn}/{purpose}"
    return hashlib.shake_256(text.encode()).digest(n_bytes)


class Papers:
    """Identity, pseudonym and adverts of one simulated peer.

    Args:
        realm: Digest of the catalogue.
        seed: Of the world.
        peer: Index.
        seal: Whether messages will really be sealed.
    """

    def __init__(self, *, realm: bytes, seed: int, peer: int, seal: bool) -> None:
        self._realm, self._seed, self._peer, self._seal = realm, seed, peer, seal
        self._turn = 0
        self.peer_id = peer_id(seed, peer)
        self.keyring = (
            Keyring(realm=realm, identity=identity(seed, peer), faces=[self._face(0.0)])
            if seal
            else None
        )
        self._pseudonym_key = self._shown_key()

    def rotate(self, now_s: float) -> None:
        """Take another pseudonym."""
        self._turn += 1
        self._pseudonym_key = self._shown_key()
        if self.keyring is not None:
            self.keyring.take(self._face(now_s), now_s)

    def state(self) -> tuple[int, bytes]:
        """How often the pseudonym has changed, and all keys where messages are sealed."""
        return self._turn, b"" if self.keyring is None else self.keyring.to_bytes()

    def restore(self, turn: int, keys: bytes) -> None:
        """Go on from ``state``.

        Raises:
            StoreError: The keys are damaged.
        """
        self._turn = turn
        self._pseudonym_key = self._shown_key()
        if self.keyring is not None:
            self.keyring = Keyring.from_bytes(keys)

    def advert(
        self, *, endpoints: Endpoints, cell_label: str, now_s: float, lifetime_s: float
    ) -> tuple[Advert, bytes]:
        """The current advert, and the binding of its pseudonym to the identity."""
        if self.keyring is not None:
            advert = self.keyring.advert(
                endpoints=endpoints, cell_label=cell_label, now_s=now_s, lifetime_s=lifetime_s
            )
            return advert, self.keyring.binding()
        advert = Advert(
            realm=self._realm,
            pseudonym_key=self._pseudonym_key,
            prekey_id=self._secret("prekey id", 8),
            prekey=_NO_PREKEY,
            cell_label=cell_label,
            endpoints=endpoints,
            not_before_s=now_s,
            expires_s=now_s + lifetime_s,
            signature=_NO_SIGNATURE,
        )
        return advert, _NO_SIGNATURE

    def inbox(self) -> str:
        """Name of the MQTT inbox."""
        return _secret(self._seed, self._peer, 0, "inbox", 16).hex()

    def _shown_key(self) -> bytes:
        secret = Ed25519PrivateKey.from_private_bytes(self._secret("pseudonym", 32))
        return secret.public_key().public_bytes_raw()

    def _face(self, now_s: float) -> Face:
        return Face(
            pseudonym_key=Ed25519PrivateKey.from_private_bytes(self._secret("pseudonym", 32)),
            prekey_id=self._secret("prekey id", 8),
            mlkem=MLKEM768PrivateKey.from_seed_bytes(self._secret("mlkem", 64)),
            x25519=X25519PrivateKey.from_private_bytes(self._secret("x25519", 32)),
            created_s=now_s,
        )

    def _secret(self, purpose: str, n_bytes: int) -> bytes:
        return _secret(self._seed, self._peer, self._turn, purpose, n_bytes)
