"""MAC: soft decisions on reference data, distilled; every peer may run another model.

In the manner of Long et al., *Model-Agnostic Decentralized Collaborative Learning for On-Device
POI Recommendation*, SIGIR 2023 (arXiv 2304.03947). The paper's equations and code are not public;
the formulas used here are ours:

    p_j(X)     softmax(z_j(X) + gamma shown_j): explore logits z_j of peer j after reference
               sequence X; it would send a stranger to places that it shows as known
    w_ij       proportional to exp(-mean_X JS(p_i(X), p_j(X)) / tau)          similarity-based
    j is kept  if its mass on the places that i knows is not in the lowest     performance-triggered
               quarter
    L_KD       = mean_X KL(sum_j w_ij p_j(X) || p_i(X))

``L_KD`` is lowered in two ways. One natural-gradient step on the item biases at every merge: the
Fisher information of a softmax is nearly diagonal where all probabilities are small, so that the
step is the mean of ``log(p(X) / p_i(X))`` over the sequences that speak of an item. What would lift
new places as a whole, in the owner's newest situations, is taken out of it: teachers are asked
about new places only. What was taught fades from round to round, else the echo of an echo would
grow without end. And gradient steps on everything else as lessons of the local training, weighted
by ``distillation``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.decisions import FLOOR, Hearing, Soft, Talk, decided
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
from p2prec.collaboration.payload import (
    Payload,
    ReferenceSequence,
    ReferenceSet,
    SoftPredictions,
)
from p2prec.collaboration.references import ReferencePool, make_references, moment_after
from p2prec.draws import generator
from p2prec.limits import MAX_REFERENCE_LENGTH, MAX_REFERENCES, MAX_SOFT_ITEMS
from p2prec.models.explored import Explored
from p2prec.models.model import Looking
from p2prec.models.moments import Timeline
from p2prec.models.stack import found
from p2prec.models.table import BIAS
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport

AMOUNTS: Final[Amounts] = {
    "own_references": Amount(4.0, least=0, most=MAX_REFERENCES),
    "reference_length": Amount(8.0, least=1, most=MAX_REFERENCE_LENGTH),
    # Soft decisions of one message.
    "references": Amount(16.0, least=1, most=MAX_REFERENCES),
    # Reference sequences passed on with it.
    "relayed": Amount(6.0, least=0, most=MAX_REFERENCES),
    # Places kept of each.
    "top": Amount(24.0, least=1, most=MAX_SOFT_ITEMS),
    "known_favour": Amount(1.2, least=0, most=10),  # gamma
    "temperature": Amount(0.3, least=0.01, most=1_000),  # tau; below, all weights might be 0
    "bias_step": Amount(0.8, least=0, most=2),
    "fading": Amount(0.1, least=0, most=1),
    "distillation": Amount(0.2, least=0, most=10),
    # Reference sequences of one training step.
    "lessons": Amount(8.0, least=1, most=MAX_REFERENCES),
    "negatives": Amount(32.0, least=0, most=4_096),
}
_SITUATIONS = 8  # newest ones of the owner, in which new places are as likely after a merge
POOL = 128  # reference sequences that a peer holds
_LONGEST_STEP = 2.0  # of a logit in one merge, whatever a stranger says


class MAC(PlainMethod):
    """Distillation of neighbours' soft decisions.

    Attributes:
        amounts: Options that the method has.
    """

    teaches = True
    sends: Sends = "probabilities"
    table: ClassVar[str | None] = None
    amounts: ClassVar[Amounts] = AMOUNTS

    def __init__(self, options: Options) -> None:
        self._options = read_amounts(options, self.amounts)
        self._pool = ReferencePool(POOL)
        self._taught: dict[bytes, Soft] = {}
        self._began = False
        self._spoken: dict[bytes, ReferenceSequence] = {}  # of, until the merge

    @classmethod
    def publish_together(
        cls, methods: Sequence[Self], speakers: Sequence[Speaker]
    ) -> list[Sequence[Payload]]:
        """Soft decisions, and a few reference sequences: own ones first, later relayed ones."""
        pairs = list(zip(methods, speakers, strict=True))
        said: list[list[Payload]] = [[method.sequences(speaker)] for method, speaker in pairs]
        talks = [method.talk(speaker) for method, speaker in pairs]
        speaking = [number for number, talk in enumerate(talks) if talk.after]
        for at, _ in decided([talks[number] for number in speaking]):
            number = speaking[at]
            said[number].append(talks[number].payload(speakers[number].round))
        return list(said)

    @classmethod
    def merge_together(
        cls, methods: Sequence[Self], listeners: Sequence[Listener]
    ) -> list[MergeReport]:
        """Choose teachers among the senders and learn from the mean of their soft decisions."""
        hearings = [
            method.hear(listener) for method, listener in zip(methods, listeners, strict=True)
        ]
        reports = [MergeReport(weights={}, rejected=dict(heard.rejected)) for heard in hearings]
        taught = [number for number, heard in enumerate(hearings) if heard.teachers]
        for at, look in decided([hearings[number] for number in taught]):
            number = taught[at]
            reports[number] = methods[number].learn(hearings[number], look)
        return reports

    def sequences(self, speaker: Speaker) -> ReferenceSet:
        """Reference sequences that are published or passed on."""
        knowledge, options = speaker.knowledge, self._options
        rng = generator(speaker.key)
        if self._began:
            passed_on = self._pool.sample(int(options["relayed"]), rng)
            return ReferenceSet(round=speaker.round, sequences=passed_on)
        self._began = True
        made = make_references(
            knowledge.catalogue,
            knowledge.history,
            n=int(options["own_references"]),
            length=int(options["reference_length"]),
            rng=rng,
        )
        self._pool.learn(made)
        return ReferenceSet(round=speaker.round, sequences=made)

    def talk(self, speaker: Speaker) -> Talk:
        """Of which sequences the peer speaks, if there are any, and how."""
        knowledge = speaker.knowledge
        names = self.references(knowledge, speaker.round)
        self._spoken = {name: self._pool[name] for name in names}
        return Talk(
            knowledge=knowledge,
            after=self._spoken,
            top=min(int(self._options["top"]), len(knowledge.catalogue) - 1),
            shown=speaker.shown() if names else np.empty(0, np.int64),
            favour=self._options["known_favour"],
        )

    def hear(self, listener: Listener) -> Hearing:
        """Who teaches, and of which sequences that the peer can decide on itself.

        These are those that it spoke of, though they may have left the pool since, and at most a
        message more.
        """
        soft: dict[str, SoftPredictions] = {}
        rejected: dict[str, str] = {}
        for item in listener.received:
            if isinstance(item.payload, ReferenceSet):
                self._pool.learn(item.payload.sequences)
            elif isinstance(item.payload, SoftPredictions):
                soft[item.sender] = item.payload
            else:
                rejected[item.sender] = "not_soft_predictions"
        kept = self.performing(listener.knowledge.timeline.own, soft) if soft else set()
        rejected |= dict.fromkeys(soft.keys() - kept, "low_performance")
        teachers = {sender: said for sender, said in soft.items() if sender in kept}
        speakers: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
        for sender, said in teachers.items():
            for row, name in enumerate(said.references):
                speakers[name].append((sender, row))
        spoken, self._spoken = self._spoken, {}
        fresh = [name for name in sorted(speakers.keys() - spoken) if name in self._pool]
        fresh = fresh[: int(self._options["references"])]
        return Hearing(
            knowledge=listener.knowledge,
            after={name: spoken[name] for name in spoken if name in speakers}
            | {name: self._pool[name] for name in fresh},
            teachers=teachers,
            speakers=speakers,
            rejected=rejected,
        )

    def learn(self, hearing: Hearing, look: Looking) -> MergeReport:
        """Lower L_KD, now in the biases and with lessons later.

        Args:
            hearing: All of what the peer decides itself is in it.
            look: With the peer's parameters.
        """
        weights = self.weights(hearing)
        taught = _mean_decisions(hearing, weights)
        self._taught = self.adapted(hearing, look, taught)
        with hearing.knowledge.mirrored():
            self._learn_biases(hearing, look)
        return MergeReport(weights=weights, rejected=dict(hearing.rejected))

    def lessons(self, knowledge: Knowledge, *, rng: np.random.Generator) -> Sequence[Explored]:
        """Batches of reference sequences with the teachers' soft decisions as targets."""
        if self._options["distillation"] <= 0:
            return ()
        names = [name for name in sorted(self._taught) if name in self._pool]
        size = max(1, int(self._options["lessons"]))
        order = [names[i] for i in rng.permutation(len(names))]
        return [
            self._lesson(knowledge, order[start : start + size], rng)
            for start in range(0, len(order), size)
        ]

    def references(self, knowledge: Knowledge, round_: int) -> list[bytes]:
        """Which reference sequences the peer speaks of in a round."""
        return self._pool.of_round(
            round_,
            int(self._options["references"]),
            catalogue=knowledge.catalogue,
            near=knowledge.timeline.own,
        )

    def performing(self, own: NDArray[np.int32], soft: Mapping[str, SoftPredictions]) -> set[str]:
        """All but the quarter of senders whose soft decisions point least to known places."""
        mass = {
            sender: float(
                np.where(np.isin(said.items, own), np.exp(said.log_probabilities), 0.0).sum()
            )
            / max(1, len(said.references))
            for sender, said in soft.items()
        }
        least = float(np.quantile(list(mass.values()), 0.25))
        return {sender for sender, m in mass.items() if m >= least}

    def weights(self, hearing: Hearing) -> dict[str, float]:
        """Weight of each teacher by similarity; they sum to one."""
        distance: dict[str, float] = {}
        for sender, said in hearing.teachers.items():
            parts = [
                _divergence(
                    hearing.own[name].of(said.items[row]), np.exp(said.log_probabilities[row])
                )
                for row, name in enumerate(said.references)
                if name in hearing.own
            ]
            distance[sender] = float(np.mean(parts)) if parts else 1.0
        raw = {s: float(np.exp(-d / self._options["temperature"])) for s, d in distance.items()}
        total = sum(raw.values())
        return {s: w / total for s, w in raw.items()}

    def adapted(
        self, hearing: Hearing, look: Looking, taught: dict[bytes, Soft]
    ) -> dict[bytes, Soft]:
        """What of the teachers' decisions is learned from: here all of it."""
        del hearing, look
        return taught

    def _lesson(
        self, knowledge: Knowledge, names: Sequence[bytes], rng: np.random.Generator
    ) -> Explored:
        n_negatives = int(self._options["negatives"])
        moments = [moment_after(knowledge.catalogue, self._pool[name]) for name in names]
        width = max(len(self._taught[name].items) for name in names)
        shape = (len(names), width + n_negatives)
        candidates = rng.integers(0, len(knowledge.catalogue), shape, dtype=np.int32)
        target, allowed = np.zeros(shape, np.float32), np.ones(shape, bool)
        for row, name in enumerate(names):
            taught = self._taught[name]
            items, shares = taught.items, taught.shares
            candidates[row, : len(items)] = items
            target[row, : len(items)] = shares / shares.sum()
            later = candidates[row, len(items) :]
            known = moments[row].own
            allowed[row, len(items) :] = ~np.isin(later, items) & ~np.isin(later, known)
        return Explored(
            moments=moments,
            candidates=candidates,
            target=target,
            allowed=allowed,
            weight=np.full(len(names), self._options["distillation"], np.float32),
        )

    def _learn_biases(self, hearing: Hearing, look: Looking) -> None:
        """The natural-gradient step of the module's text."""
        knowledge = hearing.knowledge
        table = knowledge.table
        step = np.zeros(len(knowledge.catalogue))
        spoken_of = np.zeros(len(knowledge.catalogue))
        for name, taught in self._taught.items():
            own = np.maximum(hearing.own[name].of(taught.items), FLOOR)
            step[taught.items] += np.log(taught.shares / own)
            spoken_of[taught.items] += 1
        rows = np.flatnonzero(spoken_of)
        mean = np.clip(step[rows] / spoken_of[rows], -_LONGEST_STEP, _LONGEST_STEP)
        slots = table.touch(rows)
        change = -self._options["fading"] * table.values[:, BIAS].astype(np.float64)
        change[slots] += self._options["bias_step"] * knowledge.model.heeds_biases * mean
        changed = np.flatnonzero(change)
        lift = _lift(look, knowledge.timeline, table.rows[changed], change[changed])
        change[changed] -= lift
        table.values[:, BIAS] += change.astype(np.float32)


def _mean_decisions(hearing: Hearing, weights: Mapping[str, float]) -> dict[bytes, Soft]:
    """What the teachers together say, of every place that one of them names.

    A teacher that does not name a place has left it to the rest, which is split as the own model
    would.
    """
    result = {}
    for name, own in hearing.own.items():
        at_all = own.shares > 0
        items, own_shares = own.items[at_all], own.shares[at_all]
        mean, total = np.zeros(len(items)), 0.0
        for sender, row in hearing.speakers[name]:
            teacher = hearing.teachers[sender]
            named = teacher.items[row].astype(np.int64)
            shares = np.exp(teacher.log_probabilities[row].astype(np.float64))
            rest = max(1.0 - float(shares.sum()), FLOOR)
            said = own_shares * rest / max(1.0 - float(own.of(named).sum()), FLOOR)
            at, inside = found(items, named)
            said[at[inside]] = shares[inside]
            mean += weights[sender] * said
            total += weights[sender]
        if len(items):
            result[name] = Soft(items=items, shares=np.maximum(mean / total, FLOOR))
    return result


def _lift(
    look: Looking, timeline: Timeline, rows: NDArray[np.integer], change: NDArray[np.float64]
) -> float:
    """By how much a change of biases lifts these new items as a whole, where the owner was."""
    newest = range(max(1, len(timeline) - _SITUATIONS), len(timeline))
    before, after = FLOOR, FLOOR
    for at in newest:
        outlook = look(timeline.before(at))
        shares = np.exp(outlook.explore_log_probabilities()[rows].astype(np.float64))
        before += float(shares.sum())
        after += float(shares @ np.exp(change))
    return float(np.log(after / before))


def _divergence(p: NDArray[np.floating], q: NDArray[np.floating]) -> float:
    """Jensen-Shannon divergence of two partial distributions, their rests as one more outcome."""
    a = np.append(p, max(1.0 - float(p.sum()), 0.0)) + FLOOR
    b = np.append(q, max(1.0 - float(q.sum()), 0.0)) + FLOOR
    middle = (a + b) / 2
    return float(0.5 * (a * np.log(a / middle)).sum() + 0.5 * (b * np.log(b / middle)).sum())
