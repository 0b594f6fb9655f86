"""No collaboration: the baseline of every table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2prec.collaboration.method import Options, Shown, read_options
from p2prec.collaboration.payload import Payload
from p2prec.models.explored import Explored
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport, Received


class Alone:
    """A peer that neither speaks nor listens."""

    def __init__(self, options: Options) -> None:
        read_options(options, {})

    def publish(
        self,
        knowledge: Knowledge,
        *,
        round_: int,
        degree: int,
        shown: Shown,
        rng: np.random.Generator,
    ) -> Sequence[Payload]:
        """Nothing."""
        del knowledge, round_, degree, shown, rng
        return ()

    def merge(
        self, knowledge: Knowledge, *, round_: int, received: Sequence[Received]
    ) -> MergeReport:
        """Refuse everything."""
        del knowledge, round_
        return MergeReport(weights={}, rejected={r.sender: "alone" for r in received})

    def lessons(self, knowledge: Knowledge, *, rng: np.random.Generator) -> Sequence[Explored]:
        """None."""
        del knowledge, rng
        return ()
