"""MAC: soft decisions on reference data, distilled; every peer may run another model.

In the manner of Long et al., *Model-Agnostic Decentralized Collaborative Learning for On-Device
POI Recommendation*, SIGIR 2023 (arXiv 2304.03947). The paper's equations and code are not public;
the formulas used here are ours:

    p_j(X)     explore softmax of peer j after reference sequence X, its k strongest places
    w_ij       proportional to exp(-mean_X JS(p_i(X), p_j(X)) / tau)          similarity-based
    j is kept  if its mass on the places that i knows is at least the median   performance-triggered
    L_KD       = weight * mean_X CE(sum_j w_ij p_j(X), p_i(X))

Reference sequences are made by transformation (as DARD names it, arXiv 2401.13448): every place of
a short own sequence is replaced by another one of the same category nearby, times are moved into
one made-up week. They spread from peer to peer; a sequence is known by its content hash.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.method import Options, read_options
from p2prec.collaboration.payload import (
    Payload,
    ReferenceSequence,
    ReferenceSet,
    SoftPredictions,
    reference_hash,
)
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.models.geo import nearest_alike
from p2prec.models.model import Explored, Observer
from p2prec.models.next_place_features import Moment, Timeline
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport, Received

_DEFAULTS = {
    "own_references": 4.0,
    "reference_length": 12.0,
    "references": 16.0,  # soft decisions of one message
    "top": 24.0,  # places kept of each
    "distillation": 0.5,
    "temperature": 0.3,
    "negatives": 64.0,
}
_POOL = 96  # reference sequences kept; the oldest go
_WEEK_S = 7 * 86_400
_ALIKE = 20  # a place is replaced by one of so many nearest of its category
_COMPARED = 8  # references of a message that tell how alike two models are
_FLOOR = 1e-6


class MAC:
    """Distillation of neighbours' soft decisions."""

    def __init__(self, options: Options) -> None:
        self._options = read_options(options, _DEFAULTS)
        self._pool: OrderedDict[bytes, tuple[ReferenceSequence, Moment]] = OrderedDict()
        self._teachers: dict[bytes, tuple[NDArray[np.int32], NDArray[np.float32]]] = {}
        self._own: tuple[ReferenceSequence, ...] | None = None
        self._observe: Observer | None = None

    def publish(
        self, knowledge: Knowledge, *, round_: int, degree: int, rng: np.random.Generator
    ) -> Sequence[Payload]:
        """Soft decisions, and a few reference sequences: own ones first, later relayed ones."""
        del degree
        if self._own is None:
            self._own = self._make_references(knowledge, rng)
            self._learn_references(knowledge.catalogue, self._own)
        hashes = list(self._pool)
        n = min(len(hashes), int(self._options["references"]))
        relayed = [self._pool[hashes[i]][0] for i in rng.permutation(len(hashes))[:2]]
        spoken = [hashes[i] for i in sorted(rng.permutation(len(hashes))[:n])]
        payloads: list[Payload] = [
            ReferenceSet(round=round_, sequences=self._own if round_ == 0 else tuple(relayed))
        ]
        if spoken:
            payloads.append(self._soft(knowledge, spoken, round_))
        return payloads

    def merge(
        self, knowledge: Knowledge, *, round_: int, received: Sequence[Received]
    ) -> MergeReport:
        """Choose teachers among the senders and average their soft decisions."""
        del round_
        soft: dict[str, SoftPredictions] = {}
        rejected: dict[str, str] = {}
        for item in received:
            if isinstance(item.payload, ReferenceSet):
                self._learn_references(knowledge.catalogue, item.payload.sequences)
            elif isinstance(item.payload, SoftPredictions):
                soft[item.sender] = item.payload
            else:
                rejected[item.sender] = "not_soft_predictions"
        if not soft:
            return MergeReport(weights={}, rejected=rejected)
        kept = _performing(knowledge.timeline.own, soft)
        rejected |= dict.fromkeys(soft.keys() - kept, "low_performance")
        weights = self._similarity_weights(knowledge, {s: soft[s] for s in kept})
        self._teachers = self._average({s: soft[s] for s in kept}, weights)
        return MergeReport(weights=weights, rejected=rejected)

    def lessons(self, knowledge: Knowledge, *, rng: np.random.Generator) -> Sequence[Explored]:
        """One batch: reference sequences with the teachers' soft decisions as targets."""
        if not self._teachers:
            return ()
        known = [(self._pool[h][1], *t) for h, t in self._teachers.items() if h in self._pool]
        if not known:
            return ()
        n_negatives = int(self._options["negatives"])
        width = max(len(items) for _, items, _ in known)
        n_items = len(knowledge.catalogue)
        candidates = rng.integers(0, n_items, (len(known), width + n_negatives), dtype=np.int32)
        target = np.zeros(candidates.shape, np.float32)
        allowed = np.ones(candidates.shape, bool)
        for row, (moment, items, probabilities) in enumerate(known):
            candidates[row, : len(items)] = items
            target[row, : len(items)] = probabilities / probabilities.sum()
            later = candidates[row, len(items) :]
            allowed[row, len(items) :] = ~np.isin(later, items) & ~np.isin(later, moment.own)
        weight = np.full(len(known), self._options["distillation"], np.float32)
        return (
            Explored(
                moments=[moment for moment, _, _ in known],
                candidates=candidates,
                target=target,
                allowed=allowed,
                weight=weight,
            ),
        )

    def _soft(self, knowledge: Knowledge, hashes: Sequence[bytes], round_: int) -> SoftPredictions:
        top = min(int(self._options["top"]), len(knowledge.catalogue) - 1)
        items, logs = [], []
        for log in self._log_probabilities(knowledge, hashes).values():
            best = np.sort(np.argpartition(-log, top)[:top])
            items.append(best)
            logs.append(log[best])
        return SoftPredictions(
            round=round_,
            references=tuple(hashes),
            items=np.stack(items).astype(np.uint32),
            log_probabilities=np.maximum(np.stack(logs), np.log(_FLOOR)).astype(np.float32),
            quality=0.0,
        )

    def _log_probabilities(
        self, knowledge: Knowledge, names: Iterable[bytes]
    ) -> dict[bytes, NDArray[np.float32]]:
        """The own explore softmax after each of these sequences, as logarithms."""
        if self._observe is None:
            self._observe = knowledge.model.observer()
        parameters, result = knowledge.parameters(), {}
        for name in names:
            outlook = self._observe(parameters, self._pool[name][1])
            result[name] = outlook.explore_log_probabilities()
        return result

    def _similarity_weights(
        self, knowledge: Knowledge, soft: Mapping[str, SoftPredictions]
    ) -> dict[str, float]:
        heard = {
            sender: [
                (row, name)
                for row, name in enumerate(said.references[:_COMPARED])
                if name in self._pool
            ]
            for sender, said in soft.items()
        }
        names = {name for pairs in heard.values() for _, name in pairs}
        own = self._log_probabilities(knowledge, sorted(names))
        distance: dict[str, float] = {}
        for sender, said in soft.items():
            parts = [
                _divergence(np.exp(own[name][said.items[row]]), np.exp(said.log_probabilities[row]))
                for row, name in heard[sender]
            ]
            distance[sender] = float(np.mean(parts)) if parts else 1.0
        raw = {s: float(np.exp(-d / self._options["temperature"])) for s, d in distance.items()}
        total = sum(raw.values())
        return {s: w / total for s, w in raw.items()}

    def _average(
        self, soft: Mapping[str, SoftPredictions], weights: Mapping[str, float]
    ) -> dict[bytes, tuple[NDArray[np.int32], NDArray[np.float32]]]:
        sums: dict[bytes, dict[int, float]] = {}
        for sender, said in soft.items():
            for row, name in enumerate(said.references):
                if name in self._pool:
                    place = sums.setdefault(name, {})
                    shares = np.exp(said.log_probabilities[row])
                    for item, share in zip(said.items[row], shares, strict=True):
                        place[int(item)] = place.get(int(item), 0.0) + weights[sender] * float(
                            share
                        )
        result = {}
        for name, place in sums.items():
            own = self._pool[name][1].own
            items = np.array([i for i in place if i not in own], np.int32)
            if len(items):
                shares = np.array([place[int(i)] for i in items], np.float32)
                result[name] = (items, np.maximum(shares, _FLOOR).astype(np.float32))
        return result

    def _learn_references(
        self, catalogue: Catalogue, sequences: Sequence[ReferenceSequence]
    ) -> None:
        for sequence in sequences:
            name = reference_hash(sequence)
            if name not in self._pool:
                self._pool[name] = (sequence, _moment_of(catalogue, sequence))
        while len(self._pool) > _POOL:
            self._pool.popitem(last=False)

    def _make_references(
        self, knowledge: Knowledge, rng: np.random.Generator
    ) -> tuple[ReferenceSequence, ...]:
        history, length = knowledge.history, int(self._options["reference_length"])
        made = []
        if len(history) >= 2:
            for _ in range(int(self._options["own_references"])):
                start = int(rng.integers(0, max(1, len(history) - length + 1)))
                part = slice(start, start + length)
                sequence = _transformed(
                    knowledge.catalogue, history.item[part], history.timestamp_s[part], rng
                )
                if sequence is not None:
                    made.append(sequence)
        return tuple(made)


def _transformed(
    catalogue: Catalogue,
    items: NDArray[np.int32],
    timestamp_s: NDArray[np.int64],
    rng: np.random.Generator,
) -> ReferenceSequence | None:
    """A sequence without any place of the original, or None where nothing is left."""
    replaced, kept = [], []
    for index, place in enumerate(items):
        near = nearest_alike(catalogue, int(place), _ALIKE)
        # The only one of its kind would stand for itself: it is left out.
        if len(near):
            replaced.append(int(rng.choice(near)))
            kept.append(index)
    if not replaced:
        return None
    # Whole hours, gaps of at most a day, in a week without a date.
    hour = timestamp_s[kept] // 3_600
    gaps = np.minimum(np.diff(hour, prepend=hour[0]), 24)
    times = (_WEEK_S // 3_600 + hour[0] % 168 + np.cumsum(gaps)) * 3_600
    return ReferenceSequence(
        items=np.array(replaced, np.uint32), timestamp_s=times.astype(np.int64)
    )


def _moment_of(catalogue: Catalogue, sequence: ReferenceSequence) -> Moment:
    history = History(
        item=sequence.items.astype(np.int32),
        timestamp_s=sequence.timestamp_s,
        rating=np.ones(len(sequence.items), np.float32),
    )
    now_s = float(sequence.timestamp_s[-1] + 3_600)
    return Timeline(catalogue, history).moment(len(history), now_s)


def _performing(own: NDArray[np.int32], soft: Mapping[str, SoftPredictions]) -> set[str]:
    """Senders whose soft decisions point at least as much as the median to known places."""
    mass = {
        sender: float(np.where(np.isin(said.items, own), np.exp(said.log_probabilities), 0.0).sum())
        / max(1, len(said.references))
        for sender, said in soft.items()
    }
    middle = float(np.median(list(mass.values())))
    return {sender for sender, m in mass.items() if m >= middle}


def _divergence(p: NDArray[np.float32], q: NDArray[np.float32]) -> float:
    """Jensen-Shannon divergence of two partial distributions, their rests as one more outcome."""
    a = np.append(p, max(1.0 - float(p.sum()), 0.0)) + _FLOOR
    b = np.append(q, max(1.0 - float(q.sum()), 0.0)) + _FLOOR
    middle = (a + b) / 2
    return float(0.5 * (a * np.log(a / middle)).sum() + 0.5 * (b * np.log(b / middle)).sum())
