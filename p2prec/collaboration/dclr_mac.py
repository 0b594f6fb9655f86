"""DCLR among peers of one model, MAC between those of different ones, in one network.

Ours. A small device holds a compact table and a large one a full table: their parameters cannot
be averaged, their decisions can. Every peer sends both, its update (``dclr.py``) and its soft
decisions (``mac.py``). Whose update is of the own model is averaged with attention; from all others
only the soft decisions are learned. Those of senders whose update was taken are left out, since
their parameters say the same and more. An option ``NAME`` of MAC that DCLR has too is
``soft_NAME``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from p2prec.collaboration.dclr import DCLR
from p2prec.collaboration.mac import AMOUNTS as SOFT
from p2prec.collaboration.mac import MAC
from p2prec.collaboration.method import Amounts, Listener, Options, Sends, Speaker, read_amounts
from p2prec.collaboration.payload import ModelUpdate, Payload, ReferenceSet
from p2prec.training.learner import MergeReport

_NAMES = {name: f"soft_{name}" if name in DCLR.amounts else name for name in SOFT}


class DCLRWithMAC(MAC):
    """Updates of the own model are averaged, decisions of other models distilled."""

    sends: Sends = "both"
    amounts: ClassVar[Amounts] = {
        **DCLR.amounts,
        **{_NAMES[name]: amount for name, amount in SOFT.items()},
    }

    def __init__(self, options: Options) -> None:
        found = read_amounts(options, self.amounts)
        super().__init__({})
        self._options = {name: found[ours] for name, ours in _NAMES.items()}
        self._averaging = {name: found[name] for name in DCLR.amounts}

    @classmethod
    def publish_together(
        cls, methods: Sequence[Self], speakers: Sequence[Speaker]
    ) -> list[Sequence[Payload]]:
        """An update, soft decisions, and a few reference sequences."""
        updates = DCLR.publish_together([method.averaging for method in methods], speakers)
        decisions = super().publish_together(methods, speakers)
        return [[*update, *soft] for update, soft in zip(updates, decisions, strict=True)]

    @classmethod
    def merge_together(
        cls, methods: Sequence[Self], listeners: Sequence[Listener]
    ) -> list[MergeReport]:
        """First what others decide, with the decisions that were sent; then the mean."""
        parts = [_sorted(listener) for listener in listeners]
        soft = super().merge_together(methods, [decisions for _, decisions in parts])
        mean = DCLR.merge_together(
            [method.averaging for method in methods], [updates for updates, _ in parts]
        )
        return [_both(a, b) for a, b in zip(mean, soft, strict=True)]

    @property
    def averaging(self) -> DCLR:
        """The part that averages; it has no state."""
        return DCLR(self._averaging)


def _sorted(listener: Listener) -> tuple[Listener, Listener]:
    """What is averaged, and what is distilled."""
    name = listener.knowledge.model.name
    alike = {
        r.sender
        for r in listener.received
        if isinstance(r.payload, ModelUpdate) and r.payload.model == name
    }
    updates = [r for r in listener.received if isinstance(r.payload, ModelUpdate)]
    others = [r for r in listener.received if not isinstance(r.payload, ModelUpdate)]
    decisions = [r for r in others if r.sender not in alike or isinstance(r.payload, ReferenceSet)]
    return (
        Listener(knowledge=listener.knowledge, round=listener.round, received=updates),
        Listener(knowledge=listener.knowledge, round=listener.round, received=decisions),
    )


def _both(mean: MergeReport, soft: MergeReport) -> MergeReport:
    """Shares of each half sum to one; who was refused in one may count in the other."""
    halves = [report.weights for report in (mean, soft) if report.weights]
    weights = {s: w / len(halves) for half in halves for s, w in half.items()}
    rejected = {s: why for s, why in {**soft.rejected, **mean.rejected}.items() if s not in weights}
    return MergeReport(weights=weights, rejected=rejected)
