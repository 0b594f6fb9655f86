"""No collaboration: the baseline of every table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from p2prec.collaboration.method import (
    Amounts,
    Listener,
    Options,
    PlainMethod,
    Sends,
    Speaker,
    read_amounts,
)
from p2prec.collaboration.payload import Payload
from p2prec.training.learner import MergeReport


class Alone(PlainMethod):
    """A peer that neither speaks nor listens."""

    __slots__ = ()
    teaches = False
    sends: Sends = "nothing"
    table: ClassVar[str | None] = None
    amounts: ClassVar[Amounts] = {}

    def __init__(self, options: Options) -> None:
        read_amounts(options, self.amounts)

    @classmethod
    def publish_together(
        cls, methods: Sequence[Self], speakers: Sequence[Speaker]
    ) -> list[Sequence[Payload]]:
        """Nothing."""
        del methods
        return [() for _ in speakers]

    @classmethod
    def merge_together(
        cls, methods: Sequence[Self], listeners: Sequence[Listener]
    ) -> list[MergeReport]:
        """Refuse everything."""
        del methods
        return [
            MergeReport(weights={}, rejected={r.sender: "alone" for r in listener.received})
            for listener in listeners
        ]
