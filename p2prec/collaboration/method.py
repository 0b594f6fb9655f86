"""What every collaboration method is asked: what to send, how to merge, what else to learn."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import Payload
from p2prec.errors import ConfigError
from p2prec.models.explored import Explored
from p2prec.ranges import as_float, check_range
from p2prec.text import nearest, printable
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport, Received

Options = Mapping[str, float | int | str | bool]
# Places that may be shown as known to the owner: its own, and made-up ones among which they hide.
Shown = Callable[[], NDArray[np.int64]]
# Own places that may be named, with the made-up ones beside them; given some own places.
Among = Callable[[NDArray[np.integer]], NDArray[np.int64]]
# Only who sends parameters alone needs models that are all the same.
Sends = Literal["nothing", "parameters", "probabilities", "both", "sessions"]
Value = TypeVar("Value", float, int, str, bool)


class Amount(NamedTuple):
    """An option that is a number; switches are 0 or 1.

    Attributes:
        default: Where none is given.
        least: What a scenario or an owner may give, and no less.
        most: And no more: finite, and small enough that nothing overflows or fills the memory.
    """

    default: float
    least: float
    most: float


Amounts = Mapping[str, Amount]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """A peer that is about to say something.

    Attributes:
        knowledge: What it has learned.
        round: Its round.
        degree: Its followers, at least 1.
        shown: Places that may be shown; a payload that points at known places must point at these,
            never at the own ones.
        among: In what some own places may be shown: those that may be named, and the made-up ones
            beside them, ascending.
        key: Of its own stream in this round, as of ``p2prec.draws``.
    """

    knowledge: Knowledge
    round: int
    degree: int
    shown: Shown
    among: Among
    key: np.uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A peer with its inbox.

    Attributes:
        knowledge: Changed in place.
        round: Its round.
        received: In the order in which it came.
    """

    knowledge: Knowledge
    round: int
    received: Sequence[Received]


class Collaboration(Protocol):
    """One method; built by ``METHODS[name](options)``, one object a peer.

    Attributes:
        teaches: Whether there are ever lessons.
        sends: What its payloads are made of.
        table: The item table without which it has nothing to say; None where any will do.
        family: The only family of models that learns from it; None where others do.
        amounts: Its options.
    """

    teaches: bool
    sends: Sends
    table: ClassVar[str | None]
    family: ClassVar[str | None]
    amounts: ClassVar[Amounts]

    def __init__(self, options: Options) -> None: ...

    @classmethod
    def publish_together(
        cls, methods: Sequence[Self], speakers: Sequence[Speaker]
    ) -> list[Sequence[Payload]]:
        """What every follower of each speaker gets after its round; may be empty.

        Args:
            methods: The method object of each speaker.
            speakers: Different ones; no answer depends on the others.
        """
        ...

    @classmethod
    def merge_together(
        cls, methods: Sequence[Self], listeners: Sequence[Listener]
    ) -> list[MergeReport]:
        """Let each take in what came; must do nothing for an empty inbox.

        Args:
            methods: The method object of each listener.
            listeners: Different ones; no answer depends on the others.
        """
        ...

    def leaving(self, knowledge: Knowledge, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """The form in which protected payloads of a round leave.

        Args:
            knowledge: Of the speaker; read only.
            payloads: What may be known of it.
        """
        ...

    def before_training(self, knowledge: Knowledge) -> None:
        """A round of local training is about to begin.

        Args:
            knowledge: That it will change.
        """
        ...

    def after_training(self, knowledge: Knowledge, *, diverged: bool) -> None:
        """It is over.

        Args:
            knowledge: That it has changed.
            diverged: Whether the model had to begin anew.
        """
        ...

    def left(self, payload: Payload) -> None:
        """A payload has left the device; may be called again for each follower that gets it.

        What was made need not leave: the budget of releases may be used up, or nobody be there.
        """
        ...

    def lessons(self, knowledge: Knowledge, *, rng: np.random.Generator) -> Sequence[Explored]:
        """Further examples for the next local training; may be empty."""
        ...

    def state(self, knowledge: Knowledge) -> dict[str, NDArray[np.generic]]:
        """What a restart needs beside the model, as named arrays, always the same; may be empty."""
        ...

    def restore(self, state: Mapping[str, NDArray[np.generic]], knowledge: Knowledge) -> None:
        """Go on from an earlier run; what is not there is as at the beginning.

        Args:
            state: Of ``state``, among other arrays.
            knowledge: Of the model that the settings ask for.

        Raises:
            StoreError: The state belongs to another model or realm, or is damaged; the method then
                is as at the beginning.
        """
        ...


class PlainMethod:
    """What most methods have no part in; they derive from it."""

    __slots__ = ()
    family: ClassVar[str | None] = None

    def leaving(self, knowledge: Knowledge, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """As they are."""
        del knowledge
        return payloads

    def before_training(self, knowledge: Knowledge) -> None:
        """It does not matter."""

    def after_training(self, knowledge: Knowledge, *, diverged: bool) -> None:
        """It does not matter."""

    def left(self, payload: Payload) -> None:
        """It does not matter."""

    def lessons(self, knowledge: Knowledge, *, rng: np.random.Generator) -> Sequence[Explored]:
        """None."""
        del knowledge, rng
        return ()

    def state(self, knowledge: Knowledge) -> dict[str, NDArray[np.generic]]:
        """Nothing."""
        del knowledge
        return {}

    def restore(self, state: Mapping[str, NDArray[np.generic]], knowledge: Knowledge) -> None:
        """There is nothing."""


class PeerByPeer(PlainMethod):
    """A method whose peers are computed one after the other."""

    __slots__ = ()

    @classmethod
    def publish_together(
        cls, methods: Sequence[Self], speakers: Sequence[Speaker]
    ) -> list[Sequence[Payload]]:
        """What each says."""
        return [method.publish(s) for method, s in zip(methods, speakers, strict=True)]

    @classmethod
    def merge_together(
        cls, methods: Sequence[Self], listeners: Sequence[Listener]
    ) -> list[MergeReport]:
        """What each hears."""
        return [method.merge(listener) for method, listener in zip(methods, listeners, strict=True)]

    @abstractmethod
    def publish(self, speaker: Speaker) -> Sequence[Payload]:
        """What one peer says."""

    @abstractmethod
    def merge(self, listener: Listener) -> MergeReport:
        """What one peer hears."""


def read_amounts(options: Options, amounts: Amounts) -> dict[str, float]:
    """The options of a method, all of them.

    Raises:
        ConfigError: As of ``read_options``, or a number is out of its range, or none.
    """
    found = read_options(options, {name: amount.default for name, amount in amounts.items()})
    for name, value in found.items():
        check_range(f"option {name!r}", value, (amounts[name].least, amounts[name].most))
    return found


def read_options(options: Options, defaults: Mapping[str, Value]) -> dict[str, Value]:
    """The defaults, overridden by ``options``.

    Raises:
        ConfigError: An option is unknown or of another type than its default.
    """
    result = dict(defaults)
    for name, value in options.items():
        if name not in defaults:
            raise ConfigError(f"unknown option {printable(name)[:80]!r}; {nearest(name, defaults)}")
        wanted = type(defaults[name])
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            result[name] = wanted(as_float(value))
        elif type(value) is not wanted:
            raise ConfigError(f"option {name!r} must be of type {wanted.__name__}")
        else:
            result[name] = value
    return result
