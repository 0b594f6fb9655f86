"""DARD: MAC on reference data that each peer chooses for itself.

In the manner of Zheng et al., *Decentralized Collaborative Learning with Adaptive Reference Data
for On-Device POI Recommendation*, WWW 2024 (arXiv 2401.13448). The paper's equations and code are
not public; what is known is the order of its steps: track the loss of every reference sequence,
delete noisy ones, rank the rest by influence, and exchange on the union of both peers' choices. The
formulas used here are ours, with X a reference sequence, t(X) what the teachers say and V the
newest first visits of the owner:

    loss(X)       KL(t(X) || p_i(X)), an exponential mean over the rounds
    noisy         the share ``noisy`` of sequences with the highest loss
    influence(X)  <mean_V (p_i(v) - 1[v]), p_i(X) - t(X)>
    D_i           the share ``adaptive`` of the rest with the highest influence above zero

The influence is the product of two gradients by the item biases, the last layer: how much one
step of distillation on X lowers the loss on V. The inverse Hessian of an influence function (Koh &
Liang, 2017) is left out. A peer speaks of its own D_i, then of what its neighbours spoke of most
(their D_j), and fills up with the sequences of the round, since what was never spoken of cannot be
chosen. What a peer likes to speak of says a little about its latest first visits.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.decisions import FLOOR, Hearing, Soft
from p2prec.collaboration.mac import AMOUNTS, MAC
from p2prec.collaboration.method import Amount, Amounts, Listener, Options
from p2prec.collaboration.payload import SoftPredictions
from p2prec.models.model import Looking
from p2prec.training.knowledge import Knowledge

_VALIDATION = 8  # newest first visits that reference data are judged by


class DARD(MAC):
    """Distillation on adaptive reference data."""

    amounts: ClassVar[Amounts] = {
        **AMOUNTS,
        "noisy": Amount(0.25, least=0, most=1),
        "adaptive": Amount(0.5, least=0, most=1),
        # Of the tracked loss, from one round to the next.
        "memory": Amount(0.5, least=0, most=1),
    }

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._loss: dict[bytes, float] = {}
        self._adaptive: list[bytes] = []  # D_i, best first
        self._heard: list[bytes] = []  # what neighbours spoke of, most often first

    def hear(self, listener: Listener) -> Hearing:
        """As MAC; also remembers what neighbours like to speak of."""
        spoken: Counter[bytes] = Counter()
        for item in listener.received:
            if isinstance(item.payload, SoftPredictions):
                spoken.update(item.payload.references)
        if spoken:
            self._heard = sorted(spoken, key=lambda name: (-spoken[name], name))
        return super().hear(listener)

    def references(self, knowledge: Knowledge, round_: int) -> list[bytes]:
        """Half of a message for the own choice, a quarter for the neighbours', the rest for new."""
        n = int(self._options["references"])
        chosen = [name for name in self._adaptive if name in self._pool][: n // 2]
        theirs = [name for name in self._heard if name in self._pool and name not in chosen]
        chosen += theirs[: n // 4]
        common = super().references(knowledge, round_)
        chosen += [name for name in common if name not in chosen]
        return chosen[:n]

    def adapted(
        self, hearing: Hearing, look: Looking, taught: dict[bytes, Soft]
    ) -> dict[bytes, Soft]:
        """The decisions on the own adaptive reference data."""
        if not taught:
            return taught
        memory = self._options["memory"]
        for name, said in taught.items():
            own = np.maximum(hearing.own[name].of(said.items), FLOOR)
            now = float((said.shares * np.log(said.shares / own)).sum())
            self._loss[name] = memory * self._loss.get(name, now) + (1.0 - memory) * now
        # What was spoken of may have left the pool since: it counts once more, and no longer.
        held = {name for name in self._loss if name in self._pool or name in taught}
        self._loss = {name: self._loss[name] for name in sorted(held)}
        names = sorted(taught)
        limit = float(np.quantile([self._loss[n] for n in names], 1.0 - self._options["noisy"]))
        kept = [name for name in names if self._loss[name] <= limit]
        gradient = _validation_gradient(hearing.knowledge, look)
        if gradient is None:
            self._adaptive = []
            return {name: taught[name] for name in kept}
        influence = {n: _influence(gradient, hearing.own[n], taught[n]) for n in kept}
        useful = sorted((n for n in kept if influence[n] > 0), key=lambda n: -influence[n])
        self._adaptive = useful[: max(1, round(self._options["adaptive"] * len(kept)))]
        return {name: taught[name] for name in self._adaptive}


def _influence(gradient: NDArray[np.float64], own: Soft, taught: Soft) -> float:
    return float(gradient[taught.items] @ (own.of(taught.items) - taught.shares))


def _validation_gradient(knowledge: Knowledge, look: Looking) -> NDArray[np.float64] | None:
    """Gradient by the item biases of the loss on the newest first visits; None without any."""
    timeline = knowledge.timeline
    newest = np.flatnonzero(timeline.is_new)
    newest = newest[newest >= max(1, knowledge.model.first)][-_VALIDATION:]
    if not len(newest):
        return None
    gradient = np.zeros(len(knowledge.catalogue))
    for at in newest.tolist():
        outlook = look(timeline.before(at))
        gradient += np.exp(outlook.explore_log_probabilities().astype(np.float64))
        gradient[timeline.item[at]] -= 1.0
    return gradient / len(newest)
