"""No collaboration: the baseline of every table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from p2prec.collaboration.method import Amounts, Listener, Options, Sends, Speaker, read_amounts
from p2prec.collaboration.payload import Payload
from p2prec.models.explored import Explored
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport


class Alone:
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

    def leaving(self, knowledge: Knowledge, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """As they are."""
        del knowledge
        return payloads

    def lessons(self, knowledge: Knowledge, *, rng: np.random.Generator) -> Sequence[Explored]:
        """None."""
        del knowledge, rng
        return ()
