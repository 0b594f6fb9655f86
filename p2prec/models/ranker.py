"""Ranker: a small network over plain features, the same for all owners.

    score_j = w . relu(B relu(A_p p_j + A_c c_j + A_s s + a) + b) + bias_j

``p_j`` are features of a place that the owner knows (absent for others), ``c_j`` of any candidate,
``s`` of the situation. The loss is the negative logarithm of the softmax over all items at what the
owner did next, the top-one likelihood of ListNet (Cao et al., ICML 2007, section 5). Places that
the owner knows all compete; of new ones a sample does, whose logits are corrected by
``-log(k q_j)`` for ``k`` draws with probabilities ``q`` (Bengio & Senecal, IEEE TNN 2008, section
3). Half of the draws are from around the place where the owner is, half from everywhere.

Other people enter by three statistics that peers average by gossip (the share of them that knows a
place, the categories and hours of their first visits) and by the weights, which are all shared:
how people choose is much the same for all, what they know is in the features. An item row holds no
embedding but popularity and a bias, which only distillation changes, so that updates are small.

The weights that all peers start from were learned on the synthetic city (``ranker_start.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.draws import integers
from p2prec.models.explored import Explored
from p2prec.models.kinds import tried_shares
from p2prec.models.layout import DenseLayout
from p2prec.models.model import Gradients, Observer, Outlook, Parameters, Step
from p2prec.models.moments import HOUR_BLOCKS, Moment, Timeline
from p2prec.models.popularity import Newcomer
from p2prec.models.ranker_features import (
    BY_KIND,
    CANDIDATE_FEATURES,
    PLACE_FEATURES,
    SITUATION_FEATURES,
    WHERE,
    Heard,
    Reader,
    others_go_there,
)
from p2prec.models.ranker_start import SCALINGS, WEIGHTS
from p2prec.models.recommender import Task
from p2prec.models.softmax import log_softmax
from p2prec.models.stack import Stack, found
from p2prec.models.start import Scaling, decoded
from p2prec.models.table import BIAS, OTHERS

_NEVER = np.float32(-1e9)  # logit of what does not compete
_BLOCK = 8_192  # items that are scored at once: their hidden layers stay in a cache
_RATE = 0.3  # of the network, as a factor on the rate of dense parameters

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The network's weights, views of one flat vector.

    Attributes:
        places: Shape ``(len(PLACE_FEATURES), size)``.
        candidates: Shape ``(len(CANDIDATE_FEATURES), size)``.
        situation: Shape ``(len(SITUATION_FEATURES), size)``.
        first_bias: Shape ``(size,)``.
        second: Shape ``(size, size)``.
        second_bias: Shape ``(size,)``.
        output: Shape ``(size,)``.
    """

    places: Floats
    candidates: Floats
    situation: Floats
    first_bias: Floats
    second: Floats
    second_bias: Floats
    output: Floats

    @classmethod
    def shapes(cls, size: int) -> dict[str, tuple[int, ...]]:
        """Shape of each, in the order in which they lie."""
        return {
            "places": (len(PLACE_FEATURES), size),
            "candidates": (len(CANDIDATE_FEATURES), size),
            "situation": (len(SITUATION_FEATURES), size),
            "first_bias": (size,),
            "second": (size, size),
            "second_bias": (size,),
            "output": (size,),
        }

    @classmethod
    def of(cls, layout: DenseLayout, dense: Floats, size: int) -> Layers:
        """Views of a flat vector; what is written to them is written to it."""
        return cls(**{name: layout.view(dense, name) for name in cls.shapes(size)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What all peers start from.

    Attributes:
        weights: Of the network, flat.
        places: Of the features of known places.
        candidates: Of those of all candidates.
        situation: Of those of the situation.
    """

    weights: Floats
    places: Scaling
    candidates: Scaling
    situation: Scaling

    @classmethod
    def of_size(cls, size: int) -> Start:
        """The one that was learned on the synthetic city."""
        scalings = {
            name: Scaling(mean=decoded(mean), scale=decoded(scale))
            for name, (mean, scale) in SCALINGS.items()
        }
        return cls(weights=decoded(WEIGHTS[size]), **scalings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Situations of one owner, and what competes in each; features are normalised.

    Rows of known places come first, those of one situation together; then ``k`` rows of new ones
    for each situation.

    Attributes:
        places: Shape ``(n_known, len(PLACE_FEATURES))``, of all known places of all situations.
        starts: Shape ``(n,)``, where those of each situation begin.
        candidates: Shape ``(n_known + n * k, len(CANDIDATE_FEATURES))``.
        situation: Shape ``(n, len(SITUATION_FEATURES))``.
        of: Shape ``(n_known + n * k,)``, the situation of each row.
        offset: Shape ``(n, k)``, added to the logits of new places.
    """

    places: Floats
    starts: NDArray[np.int64]
    candidates: Floats
    situation: Floats
    of: NDArray[np.int64]
    offset: Floats


class Ranker:
    """The ranker as a family; ``embedding_size`` is the width of its hidden layers."""

    family = "ranker"
    tasks = frozenset({Task.RANKING})
    sizes = tuple(WEIGHTS)
    task = Task.RANKING
    n_private = 0
    dense_accumulator = 1e-4
    row_rate = 1.0
    first = 3
    width = 2

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        task: Task,
        *,
        start: Start | None = None,
    ) -> None:
        del task  # one only
        self.catalogue = catalogue
        self.size = embedding_size
        self.name = f"{self.family}/{embedding_size}"
        self.start = start or Start.of_size(embedding_size)
        self.layout = DenseLayout(
            **Layers.shapes(embedding_size),
            # A statistic, first visits of others; the last category stands for unknown.
            tried=(len(catalogue.categories) + 1, HOUR_BLOCKS),
        )
        self.n_dense = self.layout.size
        self.statistics = self.layout.part("tried")
        self.own_bent = np.zeros(self.n_dense, np.float32)
        self._reader = Reader(catalogue)

    def initial_dense(self) -> Floats:
        """Weights learned on the synthetic city, and nothing heard yet."""
        dense = np.zeros(self.n_dense, np.float32)
        dense[: len(self.start.weights)] = self.start.weights
        return dense

    def initial_private(self, timeline: Timeline) -> Floats:
        """There are none."""
        del timeline
        return np.empty(0, np.float32)

    def dense_rates(self, *, explore_rate: float) -> Floats:
        """All weights learn at one rate, statistics do not."""
        del explore_rate  # first visits and returns share all weights
        rates = np.full(self.n_dense, _RATE, np.float32)
        rates[self.statistics] = 0.0
        return rates

    def own_statistics(self, timeline: Timeline) -> Floats:
        """What one owner adds to the statistics, flat; not negative, with a sum of at most 1."""
        return tried_shares(self.catalogue, timeline.tried).ravel()

    def sample(
        self,
        timelines: Sequence[Timeline],
        owner: NDArray[np.int64],
        at: NDArray[np.int64],
        *,
        negatives: int,
        keys: NDArray[np.uint64],
    ) -> NDArray[np.int32]:
        """Places to which the owner might have gone: the first half from around where it was."""
        counters = at[:, None] * negatives + np.arange(negatives)
        drawn = integers(keys[owner, None], counters, len(self.catalogue))
        near = negatives // 2
        places = integers(keys[owner, None], counters[:, :near], 1 << 16)
        for row, (peer, position) in enumerate(zip(owner.tolist(), at.tolist(), strict=True)):
            around = self._reader.neighbourhoods.around(int(timelines[peer].item[position - 1]))
            if len(around):
                drawn[row, :near] = around[places[row] * len(around) >> 16]
        return drawn

    def rows_of_example(self, negatives: int) -> int:
        """The first layer of each candidate is worth many rows."""
        return negatives * self.size // self.width

    # --- learning ------------------------------------------------------------------------

    def gradients(self, stack: Stack, step: Step) -> Gradients:
        """Forward and backward; each peer's weights are its own, so that its products are too."""
        n_peers = len(step.timelines)
        gradients = np.zeros((n_peers, self.n_dense), np.float32)
        loss = np.zeros(n_peers)
        bounds = np.searchsorted(step.owner, np.arange(n_peers + 1)).tolist()
        for peer, timeline in enumerate(step.timelines):
            dense = stack.dense[peer]
            part = slice(bounds[peer], bounds[peer + 1])
            table = Table(stack, peer, timeline)
            heard = self.heard(dense, table.said, timeline.tried)
            moments = [timeline.before(i) for i in step.at[part].tolist()]
            questions, target = self.questions(
                table, heard, moments, step.item[part], step.sampled[part]
            )
            layers = Layers.of(self.layout, dense, self.size)
            gradient = Layers.of(self.layout, gradients[peer], self.size)
            loss[peer] = _learn(layers, questions, target, gradient)
            lesson = step.lessons[peer]
            if lesson is not None:
                asked, right = self.taught(table, heard, lesson)
                _learn(layers, asked, right, gradient, weight=lesson.weight)
        return Gradients(
            loss=loss, dense=gradients, private=np.zeros((n_peers, 0), np.float32), rows=()
        )

    def heard(self, dense: Floats, said: Floats, tried: NDArray[np.int32]) -> Heard:
        """What others say, without the owner's own word.

        Args:
            dense: What gossip has gathered is in it.
            said: ``OTHERS`` of all places that the owner knows.
            tried: Its first visits, as of ``Moment.tried``.
        """
        return Heard.of(
            self.catalogue,
            said=said,
            tried=self.layout.view(dense, "tried"),
            own_tried=tried,
        )

    def questions(
        self,
        table: Table,
        heard: Heard,
        moments: Sequence[Moment],
        items: NDArray[np.int32],
        sampled: NDArray[np.int32],
    ) -> tuple[Questions, NDArray[np.int64]]:
        """What ``n`` interactions ask, and where the right answers are.

        Args:
            table: Of the owner.
            heard: What others say.
            moments: The situations before.
            items: Shape ``(n,)``, what the owner did.
            sampled: Shape ``(n, k)``, as of ``sample``.

        Returns:
            The questions, with ``k + 1`` new places each, and the rows of the right answers.
        """
        n, k = sampled.shape
        n_items, row = len(self.catalogue), np.arange(n)
        known = np.concatenate([m.own for m in moments])
        lengths = np.array([len(m.own) for m in moments])
        starts = np.cumsum(lengths) - lengths
        own_keys = known + np.repeat(row * n_items, lengths)  # ascending
        at, met = found(own_keys, items + row * n_items)
        target = np.where(met, at, len(known) + row * (k + 1))
        sampled_keys = sampled + (row * n_items)[:, None]
        taken = found(own_keys, sampled_keys)[1] | (sampled == items[:, None])
        offset = np.empty((n, k + 1), np.float32)
        offset[:, 0] = np.where(met, _NEVER, 0.0)
        around = [self._reader.neighbourhoods.around(int(m.sequence[-1])) for m in moments]
        expected = k * self.chance(sampled_keys, around, draws=k)
        offset[:, 1:] = np.where(taken, _NEVER, -np.log(expected))
        new = np.concatenate([items[:, None], sampled], axis=1)
        asked = self._asked(
            table, heard, moments, known=known, new=new, starts=starts, offset=offset
        )
        return asked, target

    def taught(self, table: Table, heard: Heard, lesson: Explored) -> tuple[Questions, Floats]:
        """Reference situations with soft targets: only new places compete.

        Returns:
            The questions, and the target of each new place, shape ``(n, k)``.
        """
        none = np.zeros(len(lesson.moments), np.int64)
        offset = np.where(lesson.allowed, 0.0, _NEVER).astype(np.float32)
        questions = self._asked(
            table,
            heard,
            lesson.moments,
            known=lesson.candidates[0, :0],
            new=lesson.candidates,
            starts=none,
            offset=offset,
        )
        return questions, lesson.target

    def _asked(
        self,
        table: Table,
        heard: Heard,
        moments: Sequence[Moment],
        *,
        known: NDArray[np.int32],
        new: NDArray[np.int32],
        starts: NDArray[np.int64],
        offset: Floats,
    ) -> Questions:
        reader, n_known = self._reader, len(known)
        n, k = new.shape
        items = np.concatenate([known, new.ravel()])
        of = np.concatenate(
            [np.repeat(np.arange(n), np.diff(starts, append=n_known)), np.repeat(np.arange(n), k)]
        )
        rows, own = table.rows(items)
        candidates = np.empty((len(items), len(CANDIDATE_FEATURES)), np.float32)
        candidates[:n_known, 0], candidates[n_known:, 0] = 0.0, 1.0
        candidates[n_known:, WHERE] = reader.where(moments, new).reshape(n * k, -1)
        candidates[:, BY_KIND] = reader.by_kind(heard, moments)[of, reader.columns(items)]
        candidates[:, -1] = others_go_there(rows[:, OTHERS], heard, own=own)
        places = np.empty((n_known, len(PLACE_FEATURES)), np.float32)
        if n_known:
            np.concatenate([reader.known(m) for m in moments], out=candidates[:n_known, WHERE])
            np.concatenate([reader.places(m) for m in moments], out=places)
        situation = np.stack([reader.situation(m) for m in moments])
        return Questions(
            places=self.start.places.normalised(places),
            starts=starts,
            candidates=self.start.candidates.normalised(candidates),
            situation=self.start.situation.normalised(situation),
            of=of,
            offset=offset + rows[n_known:, BIAS].reshape(n, k),
        )

    def chance(
        self, keys: NDArray[np.int64], around: Sequence[NDArray[np.int32]], *, draws: int
    ) -> NDArray[np.float64]:
        """With which each item is drawn by ``sample``.

        Args:
            keys: Shape ``(n, k)``, an item and ``n_items`` times its row.
            around: For each row the places around where the owner was.
            draws: How many are drawn for each row; of an odd number the smaller half is near.
        """
        n_items = len(self.catalogue)
        n_around = np.array([len(near) for near in around])
        near = np.concatenate(around) + np.repeat(np.arange(len(around)) * n_items, n_around)
        inside = found(near, keys)[1]
        nearby = (n_around > 0) * (draws // 2 / draws)
        chance: NDArray[np.float64] = inside * (nearby / np.maximum(n_around, 1))[:, None]
        chance += (1.0 - nearby)[:, None] / n_items
        return chance

    # --- scoring -------------------------------------------------------------------------

    def scores(self, parameters: Parameters, moment: Moment) -> Floats:
        """Log-probabilities of all items, shape ``(n_items,)``."""
        return log_softmax(self.logits(parameters, moment))

    def logits(self, parameters: Parameters, moment: Moment) -> Floats:
        """Logits of all items, shape ``(n_items,)``; the twin of ``questions``, in blocks."""
        reader, start, dense = self._reader, self.start, parameters.dense
        table, own = parameters.table, moment.own
        heard = self.heard(dense, table[own, OTHERS], moment.tried)
        layers = Layers.of(self.layout, dense, self.size)
        situation = start.situation.normalised(reader.situation(moment)[None])
        base = situation @ layers.situation + layers.first_bias
        by_kind = reader.by_kind(heard, [moment])[0]

        def score(items: NDArray[np.integer], *, new: bool, first: Floats) -> Floats:
            features = self.features(table, heard, moment, items, by_kind=by_kind, new=new)
            hidden = features @ layers.candidates
            hidden += first
            return _output(layers, hidden)[2]

        logits = np.empty(len(table), np.float32)
        for begin in range(0, len(table), _BLOCK):
            block = np.arange(begin, min(begin + _BLOCK, len(table)))
            logits[block] = score(block, new=True, first=base)
        logits += table[:, BIAS]
        known = start.places.normalised(reader.places(moment)) @ layers.places
        logits[own] = score(own, new=False, first=base + known)
        return logits

    def features(
        self,
        table: Floats,
        heard: Heard,
        moment: Moment,
        items: NDArray[np.integer],
        *,
        by_kind: Floats,
        new: bool,
    ) -> Floats:
        """Of candidates in one situation, normalised, all new or all known."""
        reader = self._reader
        features = np.empty((len(items), len(CANDIDATE_FEATURES)), np.float32)
        features[:, 0] = new
        features[:, WHERE] = reader.where([moment], items[None])[0]
        features[:, BY_KIND] = by_kind[reader.columns(items)]
        features[:, -1] = others_go_there(table[items, OTHERS], heard, own=not new)
        return self.start.candidates.normalised(features)

    def observer(self) -> Observer:
        """Nothing is dear to compute."""
        return self._observe

    def _observe(self, parameters: Parameters, moment: Moment | None) -> Outlook:
        return Newcomer(parameters) if moment is None else _Visitor(self, parameters, moment)

    def effects(self, parameters: Parameters, moment: Moment, item: int) -> dict[str, float]:
        """What each feature does to the score of an item, against its usual value.

        The gradient of the score times the normalised feature (Shrikumar et al., 2016): a network
        of rectified units is linear around a point.
        """
        reader, start = self._reader, self.start
        layers = Layers.of(self.layout, parameters.dense, self.size)
        heard = self.heard(parameters.dense, parameters.table[moment.own, OTHERS], moment.tried)
        one = np.array([item])
        at, met = found(moment.own, one)
        known = bool(met[0])
        by_kind = reader.by_kind(heard, [moment])[0]
        candidate = self.features(
            parameters.table, heard, moment, one, by_kind=by_kind, new=not known
        )
        situation = start.situation.normalised(reader.situation(moment)[None])
        hidden = candidate @ layers.candidates + situation @ layers.situation + layers.first_bias
        place = start.places.normalised(reader.places(moment)[at[met]])
        if known:
            hidden += place @ layers.places
        first, second, _ = _output(layers, hidden)
        back = ((layers.output * (second > 0)) @ layers.second.T) * (first > 0)
        effect = (back @ layers.candidates.T * candidate)[0]
        # That a place is new to its owner is no reason to go there.
        named = dict(zip(CANDIDATE_FEATURES[1:], effect[1:].tolist(), strict=True))
        if known:
            effect = (back @ layers.places.T * place)[0]
            for name, value in zip(PLACE_FEATURES, effect.tolist(), strict=True):
                named[name] = named.get(name, 0.0) + value
        return named


class Table:
    """The rows of one peer of a stack."""

    def __init__(self, stack: Stack, peer: int, timeline: Timeline) -> None:
        self._stack, self._own = stack, timeline.own
        self._offset = peer * stack.n_items
        self.said: Floats = stack.gather(timeline.own.astype(np.int64) + self._offset)[:, OTHERS]

    def rows(self, items: NDArray[np.integer]) -> tuple[Floats, NDArray[np.bool_]]:
        """Values of any rows, and whether the owner knows them today."""
        return self._stack.gather(items.astype(np.int64) + self._offset), found(self._own, items)[1]


class _Visitor:
    """An owner with a history, or a reference sequence."""

    def __init__(self, model: Ranker, parameters: Parameters, moment: Moment) -> None:
        self._model, self._parameters, self._moment = model, parameters, moment

    def scores(self) -> Floats:
        """Log-probabilities."""
        return self._model.scores(self._parameters, self._moment)

    def explore_log_probabilities(self) -> Floats:
        """Of the items that are new in this situation alone."""
        logits = self._model.logits(self._parameters, self._moment)
        logits[self._moment.own] = _NEVER
        return log_softmax(logits)

    def reasons(self, item: int) -> dict[str, float]:
        """What each feature does to the score."""
        return self._model.effects(self._parameters, self._moment, item)


def forward(layers: Layers, asked: Questions) -> tuple[Floats, Floats, Floats]:
    """Both hidden layers of all rows of questions, and their scores."""
    hidden = asked.candidates @ layers.candidates
    n_known = len(asked.places)
    hidden[:n_known] += asked.places @ layers.places
    hidden += (asked.situation @ layers.situation + layers.first_bias)[asked.of]
    first, second, scores = _output(layers, hidden)
    scores[n_known:] += asked.offset.ravel()
    return first, second, scores


def _output(layers: Layers, hidden: Floats) -> tuple[Floats, Floats, Floats]:
    """Both hidden layers, and the score; ``hidden`` is used up."""
    first = np.maximum(hidden, 0.0, out=hidden)
    second = first @ layers.second
    second += layers.second_bias
    np.maximum(second, 0.0, out=second)
    return first, second, second @ layers.output


def _learn(
    layers: Layers,
    asked: Questions,
    target: NDArray[np.int64] | Floats,
    gradient: Layers,
    *,
    weight: Floats | None = None,
) -> float:
    """Add the gradient of the cross entropy; returns its sum.

    Args:
        layers: The weights.
        asked: ``n`` questions.
        target: Shape ``(n,)``, the rows of the right answers; or shape ``(n, k)``, how right each
            new place is.
        gradient: Added to.
        weight: Shape ``(n,)``; 1 where there is none.
    """
    n, k = asked.offset.shape
    n_known, of = len(asked.places), asked.of
    first, second, scores = forward(layers, asked)
    peak = scores[n_known:].reshape(n, k).max(1)
    if n_known:
        peak = np.maximum(peak, np.maximum.reduceat(scores[:n_known], asked.starts))
    share = np.exp(scores - peak[of])
    total = share[n_known:].reshape(n, k).sum(1)
    if n_known:
        total += np.add.reduceat(share[:n_known], asked.starts)
    share /= total[of]
    whole = np.log(total) + peak
    if target.ndim == 1:
        loss = whole - scores[target]
        share[target] -= 1.0
    else:
        new = scores[n_known:].reshape(n, k)
        loss = (target * (whole[:, None] - new)).sum(1)
        share[n_known:] -= target.ravel()
    if weight is not None:
        share *= weight[of]
        loss = loss * weight
    gradient.output[...] += share @ second
    back = share[:, None] * layers.output
    back *= second > 0
    gradient.second[...] += first.T @ back
    gradient.second_bias[...] += back.sum(0)
    back = back @ layers.second.T
    back *= first > 0
    gradient.candidates[...] += asked.candidates.T @ back
    gradient.places[...] += asked.places.T @ back[:n_known]
    by_situation = back[n_known:].reshape(n, k, -1).sum(1)
    if n_known:
        by_situation += np.add.reduceat(back[:n_known], asked.starts, axis=0)
    gradient.situation[...] += asked.situation.T @ by_situation
    gradient.first_bias[...] += by_situation.sum(0)
    return float(loss.sum())
