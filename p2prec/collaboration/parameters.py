"""What all methods share that exchange parameters: known rows go out, a weighted mean comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from p2prec.collaboration.averaging import Average, average_together
from p2prec.collaboration.method import (
    Amount,
    Amounts,
    Listener,
    Options,
    PlainMethod,
    Sends,
    Speaker,
    read_amounts,
)
from p2prec.collaboration.payload import ModelUpdate, Payload
from p2prec.collaboration.updates import make_updates, newest_updates
from p2prec.limits import MAX_ITEMS, MAX_UPDATE_ROWS
from p2prec.training.learner import MergeReport

AVERAGING: Final[Amounts] = {
    "max_rows": Amount(0.0, least=0, most=MAX_UPDATE_ROWS),
    "dilution": Amount(0.5, least=0, most=1),
    "max_hearsay": Amount(2_048.0, least=0, most=MAX_ITEMS),
}
_ROW_BYTES = 14_336  # of the rows of an update, where no number of them is asked for
_FEWEST_ROWS = 512  # however wide they are


def most_rows(options: Mapping[str, float], width: int) -> int:
    """Rows of an update at most.

    Args:
        options: Of a method; where ``max_rows`` is 0, the width of rows decides. What a message
            does not name counts as a "no", so that short rows are many.
        width: Columns of a row, of two bytes each; an item and its evidence take four more.
    """
    return int(options["max_rows"]) or max(_FEWEST_ROWS, _ROW_BYTES // (4 + 2 * width))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How one peer mixes what came with what it has.

    Attributes:
        weights: By sender; with ``own`` they sum to one.
        own: Of the own model.
        then: What is to be done after the mean was taken.
    """

    weights: dict[str, float]
    own: float
    then: Callable[[], None] | None = None

    @classmethod
    def equal(cls, updates: Mapping[str, ModelUpdate]) -> Mix:
        """The own model and each that came count the same."""
        share = 1.0 / (len(updates) + 1)
        return cls(weights=dict.fromkeys(updates, share), own=share)


class ParameterMethod(PlainMethod):
    """A method whose members differ in how they weigh (``mix``).

    Attributes:
        amounts: Its options; ``max_rows`` as of ``most_rows``, and ``dilution`` and
            ``max_hearsay`` as of ``Average``, are among them.
        options: Of this peer.
    """

    __slots__ = ("options",)
    amounts: ClassVar[Amounts] = AVERAGING
    teaches = False
    sends: Sends = "parameters"
    table: ClassVar[str | None] = None

    def __init__(self, options: Options) -> None:
        self.options = read_amounts(options, self.amounts)

    @classmethod
    def publish_together(
        cls, methods: Sequence[Self], speakers: Sequence[Speaker]
    ) -> list[Sequence[Payload]]:
        """Known rows and dense parameters."""
        max_rows = [
            most_rows(method.options, speaker.knowledge.model.width)
            for method, speaker in zip(methods, speakers, strict=True)
        ]
        return [(update,) for update in make_updates(speakers, max_rows=max_rows)]

    @classmethod
    def merge_together(
        cls, methods: Sequence[Self], listeners: Sequence[Listener]
    ) -> list[MergeReport]:
        """Weighted mean of own and received models."""
        reports, averages, steps = [], [], []
        for method, listener in zip(methods, listeners, strict=True):
            updates, rejected = newest_updates(listener.knowledge, listener.received)
            if not updates:
                reports.append(MergeReport(weights={}, rejected=rejected))
                continue
            mix = method.mix(listener, updates)
            reports.append(MergeReport(weights=mix.weights, rejected=rejected))
            averages.append(
                Average(
                    knowledge=listener.knowledge,
                    updates=list(updates.values()),
                    weights=list(mix.weights.values()),
                    own_weight=mix.own,
                    dilution=method.options["dilution"],
                    max_hearsay=int(method.options["max_hearsay"]),
                )
            )
            if mix.then is not None:
                steps.append((listener.knowledge, mix.then))
        average_together(averages)
        for knowledge, step in steps:
            with knowledge.mirrored():
                step()
        return reports

    def mix(self, listener: Listener, updates: Mapping[str, ModelUpdate]) -> Mix:
        """The weights of updates that came, at least one; here all the same."""
        del listener
        return Mix.equal(updates)
