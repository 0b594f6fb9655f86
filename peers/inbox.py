"""What arrives: opened, decoded and verified before the life hears of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from p2prec.collaboration.gossip_adam import directed
from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.compositional_codes import CompositionalCodes
from p2prec.errors import RemoteProtocolError, StoreError
from p2prec.models.families import exchanged_models, model_of
from p2prec.models.tabled import Tabled
from p2prec.training.config import ModelConfig
from peers import events as ev
from peers.adverts import VerifiedAdverts, check_advert, in_time, verify_binding
from peers.books import Books
from peers.codec import decode_message
from peers.keys import Keyring
from peers.messages import Hello, Message, Shuffle
from peers.meter import MeteredReplay
from peers.payload_codec import CodeShape, PayloadSchema
from peers.replay import ReplayMemory
from peers.sealing import Opener


def payload_schema(catalogue: Catalogue, own: Iterable[ModelConfig] = ()) -> PayloadSchema:
    """What payloads of a realm may look like.

    Args:
        catalogue: Of the realm.
        own: Models of the peers that will read them: of compact ones there are too many to know
            the shapes of all, and those of others could not be averaged anyway.
    """
    models = [*exchanged_models(catalogue), *(model_of(catalogue, config) for config in own)]
    return PayloadSchema(
        n_items=len(catalogue),
        models={m.name: (m.width, m.n_dense) for m in models},
        tables={
            m.name: CodeShape(
                n_books=m.table.n_books,
                bits=m.table.bits,
                n_groups=m.table.n_groups,
                size=m.table.size,
            )
            for m in models
            if isinstance(m, Tabled) and isinstance(m.table, CompositionalCodes)
        },
        directions={m.name: int(directed(m).sum()) for m in models},
    )


class Inbox:
    """Takes envelopes from all transports and trusts none.

    Args:
        keyring: Opens what is sealed to this peer.
        replay: Remembers what was opened.
        schema: What payloads of the realm may look like.
        verified: Adverts whose signature was checked.
        books: Count what is refused, and why.
        dispatch: Takes what is good.
    """

    def __init__(
        self,
        *,
        keyring: Keyring,
        replay: ReplayMemory,
        schema: PayloadSchema,
        verified: VerifiedAdverts,
        books: Books,
        dispatch: Callable[[ev.Event], None],
    ) -> None:
        self._realm = keyring.realm
        self.schema = schema
        self._verified = verified
        self._books = books
        self._dispatch = dispatch
        self._opener = Opener(keyring, MeteredReplay(replay, books.crypto), on_drop=books.dropped)

    async def take(self, envelope: bytes, way: str) -> bool:
        """Take one envelope; false where its sender must have known that it is bad."""
        crypto = self._books.crypto
        try:
            with crypto.part("open"):
                opened = self._opener.open(envelope, now_s=time.time())
            if opened is None:
                return True
            with crypto.part("decode"):
                message = decode_message(opened.body, schema=self.schema)
            with crypto.part("adverts"):
                message = self._verified_message(message, opened.sender_key)
        except RemoteProtocolError as error:
            self._books.dropped(error.reason)
            return error.reason == "replayed"
        except StoreError as error:
            self._books.store_failed(error)
            return True
        self._books.counters[f"received.{way}"] += 1
        self._books.counters[f"received_bytes.{way}"] += opened.n_bytes
        self._dispatch(
            ev.Arrived(
                sender=opened.sender,
                message=message,
                transport=way,
                n_bytes=opened.n_bytes,
                order=opened.created_s,
            )
        )
        return True

    def _verified_message(self, message: Message, sender_key: bytes) -> Message:
        """The message with those adverts that hold now."""
        now_s, realm = time.time(), self._realm
        match message:
            case Hello():
                check_advert(message.advert, realm=realm, now_s=now_s, verified=self._verified)
                verify_binding(message.advert, message.binding, sender_key)
            case Shuffle():
                held, reasons = in_time(message.adverts, now_s)
                for reason in reasons:
                    self._books.dropped(reason)
                for advert in held:
                    check_advert(advert, realm=realm, now_s=now_s, verified=self._verified)
                return Shuffle(adverts=held, wants_reply=message.wants_reply)
        return message
