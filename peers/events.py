"""What happens to a peer (events) and what it wants done (effects).

``peers.life.Peer.handle(event, now)`` maps one event to a list of effects and touches nothing
else. Drivers (the daemon, a test, a simulator) carry the effects out and feed the outcome back.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from p2prec.collaboration.payload import Payload
from p2prec.training.learner import MergeReport, Received, TrainingReport
from peers.messages import Advert, Message, PeerId, Pseudonym


class Source(StrEnum):
    """How an advert became known."""

    MDNS = "mdns"
    MQTT = "mqtt"
    ELSEWHERE = "elsewhere"  # by MQTT, in a cell that is not around the own one
    GOSSIP = "gossip"
    HELLO = "hello"


class Timer(StrEnum):
    """The timers of a peer's life; setting one again replaces it."""

    ROUND = "round"  # begin the next round
    INBOX = "inbox"  # stop waiting for slow neighbours, merge what is there
    DISCOVER = "discover"  # greet strangers, choose neighbours again
    SHUFFLE = "shuffle"  # exchange adverts with a random known peer
    RENEW = "renew"  # renew the own advert before it expires


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of events and effects: some hundred are made in each round of each peer."""


# --- events -----------------------------------------------------------------------------------


class Started(_Record, frozen=True):
    """The driver is ready; after a restart everything comes from the store."""

    round: int = 0
    merged_rounds: Mapping[tuple[PeerId, str], int] = msgspec.field(default_factory=dict)


class TimerFired(_Record, frozen=True):
    """A timer that was set has run out."""

    timer: Timer


class AdvertSeen(_Record, frozen=True):
    """A verified, unexpired advert of this realm."""

    advert: Advert
    source: Source


class AdvertGone(_Record, frozen=True):
    """A discovery says that the peer has left; it may be wrong."""

    pseudonym: Pseudonym


class Advertised(_Record, frozen=True):
    """The own advert was renewed; hellos carry the new one from now on."""


class Arrived(_Record, frozen=True):
    """An opened, authenticated, never seen message.

    Attributes:
        sender: Who has signed it.
        message: What it says.
        transport: By which it came.
        n_bytes: Of all its envelopes.
        order: Of two messages of one sender the later one has the larger.
    """

    sender: PeerId
    message: Message
    transport: str
    n_bytes: int
    order: float = 0.0


class SendFailed(_Record, frozen=True):
    """No transport could deliver to this peer."""

    to: Pseudonym
    reason: str


class Trained(_Record, frozen=True):
    """The training that was asked for has ended."""

    round: int
    report: TrainingReport


class PayloadsReady(_Record, frozen=True):
    """The payloads that were asked for, protected and counted in the ledger."""

    round: int
    payloads: tuple[Payload, ...]


class Merged(_Record, frozen=True):
    """The merge that was asked for has ended."""

    round: int
    report: MergeReport


class InteractionsAdded(_Record, frozen=True):
    """The owner's history has grown."""

    n: int


class StopRequested(_Record, frozen=True):
    """The owner or the system asks the peer to leave."""


Event = (
    Started
    | TimerFired
    | AdvertSeen
    | AdvertGone
    | Advertised
    | Arrived
    | SendFailed
    | Trained
    | PayloadsReady
    | Merged
    | InteractionsAdded
    | StopRequested
)


# --- effects ----------------------------------------------------------------------------------


class Advertise(_Record, frozen=True):
    """Publish the own advert, renewed; ``rotate`` asks for a new pseudonym and prekey."""

    rotate: bool = False


class LookFurther(_Record, frozen=True):
    """Look for peers also in the cells that are ``ring`` steps from the own one."""

    ring: int


class Withdraw(_Record, frozen=True):
    """Take the own advert back everywhere."""


class Send(_Record, frozen=True):
    """Seal a message to the peer behind an advert and send it by the cheapest way."""

    to: Advert
    message: Message


class SetTimer(_Record, frozen=True):
    """Fire ``timer`` after ``delay_s``."""

    timer: Timer
    delay_s: float


class Train(_Record, frozen=True):
    """Run ``Learner.train``."""

    round: int


class MakePayloads(_Record, frozen=True):
    """Run ``Learner.payloads`` for these followers."""

    round: int
    recipients: tuple[PeerId, ...]


class Merge(_Record, frozen=True):
    """Run ``Learner.merge``."""

    round: int
    received: tuple[Received, ...]


class Persist(_Record, frozen=True):
    """Make the life's progress durable, together with the learner's state."""

    round: int
    neighbours: tuple[PeerId, ...]
    merged_rounds: Mapping[tuple[PeerId, str], int] = msgspec.field(default_factory=dict)


class Tell(_Record, frozen=True):
    """Something the owner, a log or a swarm may want to know."""

    what: str
    fields: Mapping[str, object]


class Halt(_Record, frozen=True):
    """The goodbye has been said: close everything."""


Effect = (
    Advertise
    | LookFurther
    | Withdraw
    | Send
    | SetTimer
    | Train
    | MakePayloads
    | Merge
    | Persist
    | Tell
    | Halt
)
