"""What happens to a peer (events) and what it wants done (effects).

``peers.life.Peer.handle(event, now)`` maps one event to a list of effects and touches nothing
else. Drivers (the daemon, a test, a simulator) carry the effects out and feed the outcome back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from p2prec.collaboration.payload import Payload
from p2prec.training.learner import MergeReport, Received, TrainingReport
from peers.messages import Advert, Message, PeerId, Pseudonym


class Source(StrEnum):
    """How an advert became known."""

    MDNS = "mdns"
    MQTT = "mqtt"
    GOSSIP = "gossip"
    HELLO = "hello"


class Timer(StrEnum):
    """The timers of a peer's life; setting one again replaces it."""

    ROUND = "round"  # begin the next round
    INBOX = "inbox"  # stop waiting for slow neighbours, merge what is there
    DISCOVER = "discover"  # greet strangers, choose neighbours again
    SHUFFLE = "shuffle"  # exchange adverts with a random known peer
    RENEW = "renew"  # renew the own advert before it expires


# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The driver is ready; after a restart everything comes from the store."""

    round: int = 0
    merged_rounds: Mapping[tuple[PeerId, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """A timer that was set has run out."""

    timer: Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvertSeen:
    """A verified, unexpired advert of this realm."""

    advert: Advert
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvertGone:
    """A discovery says that the peer has left; it may be wrong."""

    pseudonym: Pseudonym


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertised:
    """The own advert was renewed; hellos carry the new one from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SendFailed:
    """No transport could deliver to this peer."""

    to: Pseudonym
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The training that was asked for has ended."""

    round: int
    report: TrainingReport


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadsReady:
    """The payloads that were asked for, protected and counted in the ledger."""

    round: int
    payloads: tuple[Payload, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The merge that was asked for has ended."""

    round: int
    report: MergeReport


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionsAdded:
    """The owner's history has grown."""

    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertise:
    """Publish the own advert, renewed; ``rotate`` asks for a new pseudonym and prekey."""

    rotate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFurther:
    """Look for peers also in the cells that are ``ring`` steps from the own one."""

    ring: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Take the own advert back everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Seal a message to the peer behind an advert and send it by the cheapest way."""

    to: Advert
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTimer:
    """Fire ``timer`` after ``delay_s``."""

    timer: Timer
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Run ``Learner.train``."""

    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MakePayloads:
    """Run ``Learner.payloads`` for these followers."""

    round: int
    recipients: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Run ``Learner.merge``."""

    round: int
    received: tuple[Received, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Persist:
    """Make the life's progress durable, together with the learner's state."""

    round: int
    neighbours: tuple[PeerId, ...]
    merged_rounds: Mapping[tuple[PeerId, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Something the owner, a log or a swarm may want to know."""

    what: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
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
