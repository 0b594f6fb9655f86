"""Ranker: a small network over plain features, the same for all owners.

    score_j = w . relu(B relu(A_p p_j + A_c c_j + A_s s + a) + b) + bias_j

``p_j`` are features of a place that the owner knows (absent for others), ``c_j`` of any candidate,
``s`` of the situation. Some of ``p_j`` and ``s`` are learned themselves: attention over the owner's
newest visits (``ranker_recall.py``). The loss is the negative logarithm of the softmax over all
items at what the owner did next, the top-one likelihood of ListNet (Cao et al., ICML 2007, section
5). Places that the owner knows all compete; of new ones a sample does, whose logits are corrected
by ``-log(k q_j)`` for ``k`` draws with probabilities ``q`` (Bengio & Senecal, IEEE TNN 2008,
section 3). Half of the draws are from around the place where the owner is, half from everywhere.

Other people enter by three statistics that peers average by gossip (the share of them that knows a
place, the categories and hours of their first visits) and by the weights, which are all shared:
how people choose is much the same for all, what they know is in the features. An item row holds no
embedding but popularity and a bias, which only distillation changes, so that updates are small.

The weights that all peers start from were learned on the synthetic city (``ranker_start.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.draws import integers
from p2prec.models.explored import Explored
from p2prec.models.kinds import tried_shares
from p2prec.models.layout import DenseLayout
from p2prec.models.model import Gradients, Looking, Observer, Outlook, Parameters, Snapshot, Step
from p2prec.models.moments import HOUR_BLOCKS, PLACE_FEATURES, Moment, Timeline
from p2prec.models.popularity import Newcomer
from p2prec.models.ranker_features import CANDIDATE_FEATURES, Heard, Reader
from p2prec.models.ranker_network import (
    Floats,
    Layers,
    Questions,
    Start,
    effect_on_score,
    forward,
    learn,
)
from p2prec.models.ranker_recall import RECALL_HEADS
from p2prec.models.ranker_scoring import logits_as_new
from p2prec.models.ranker_start import WEIGHTS
from p2prec.models.recommender import Task
from p2prec.models.softmax import log_softmax
from p2prec.models.stack import Stack, found
from p2prec.models.table import BIAS, OTHERS, RowTable

RECALLED_REASON = "went there in such situations"
_NEVER = np.float32(-1e9)  # logit of what does not compete
_RATE = 0.3  # of the network, as a factor on the rate of dense parameters


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
    of_moments = True
    heeds_biases = 1.0
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
        self.reader = Reader(catalogue)

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
        near, around = negatives // 2, self.reader.neighbourhoods
        if near and around.size:
            bounds = np.searchsorted(owner, np.arange(len(timelines) + 1)).tolist()
            parts = [at[start:stop] for start, stop in pairwise(bounds)]
            here = np.concatenate(
                [t.item[part - 1] for t, part in zip(timelines, parts, strict=True)]
            )
            places = integers(keys[owner, None], counters[:, :near], 1 << 16)
            places *= around.size
            places >>= 16
            placed = around.placed[here]
            nearby = np.take_along_axis(around.around(here), places, axis=1)
            drawn[placed, :near] = nearby[placed]
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
            if peer not in stack.notes:  # no step changes what others say
                table = RowTable(stack.shelf, int(stack.seats[peer])).dense()
                own, tried = timeline.own, timeline.tried
                stack.notes[peer] = self.heard(dense, table, own=own, tried=tried)
            heard = stack.notes[peer]
            questions, target = self.questions(
                heard, timeline, step.at[part], step.item[part], step.sampled[part]
            )
            layers = Layers.of(self.layout, dense, self.size)
            gradient = Layers.of(self.layout, gradients[peer], self.size)
            loss[peer] = learn(layers, questions, target, gradient)
            lesson = step.lessons[peer]
            if lesson is not None:
                asked = self.taught(heard, lesson)
                learn(layers, asked, lesson.target, gradient, weight=lesson.weight)
        return Gradients(
            loss=loss, dense=gradients, private=np.zeros((n_peers, 0), np.float32), rows=()
        )

    def heard(
        self, dense: Floats, table: Floats, *, own: NDArray[np.int32], tried: NDArray[np.int32]
    ) -> Heard:
        """What others say, without the owner's own word.

        Args:
            dense: What gossip has gathered is in it.
            table: Likewise.
            own: All places that the owner knows.
            tried: Its first visits, as of ``Moment.tried``.
        """
        return Heard.of(
            self.catalogue,
            table=table,
            own=own,
            tried=self.layout.view(dense, "tried"),
            own_tried=tried,
        )

    def questions(
        self,
        heard: Heard,
        timeline: Timeline,
        at: NDArray[np.int64],
        items: NDArray[np.int32],
        sampled: NDArray[np.int32],
    ) -> tuple[Questions, NDArray[np.int64]]:
        """What ``n`` interactions ask, and where the right answers are.

        Args:
            heard: What others say.
            timeline: Of the owner.
            at: Shape ``(n,)``, how many interactions lie before each.
            items: Shape ``(n,)``, what the owner did.
            sampled: Shape ``(n, k)``, as of ``sample``.

        Returns:
            The questions, with ``k + 1`` new places each, and the candidates that are the right
            answers.
        """
        n, k = sampled.shape
        moments = timeline.before_each(at)
        first = np.full(len(self.catalogue), len(timeline))
        first[timeline.own] = timeline.first
        met = first[items] < at
        new = np.empty((n, k + 1), np.int32)
        new[:, 0], new[:, 1:] = items, sampled
        offset = np.empty((n, k + 1), np.float32)
        offset[:, 0] = np.where(met, _NEVER, 0.0)
        inside, (within, anywhere) = self.chance(sampled, timeline.item[at - 1], draws=k)
        rare, often = -np.log(k * anywhere), -np.log(k * within)
        offset[:, 1:] = np.where(inside, often[:, None], rare[:, None])
        taken = first.take(sampled) < at[:, None]
        taken |= sampled == items[:, None]
        offset[:, 1:][taken] = _NEVER
        asked = self._asked(heard, moments, new, offset, among_known=True)
        known = np.concatenate([m.own for m in moments])
        n_items = len(self.catalogue)
        where, _ = found(known + asked.of_known * n_items, items + np.arange(n) * n_items)
        return asked, np.where(met, where, len(known) + np.arange(n) * (k + 1))

    def taught(self, heard: Heard, lesson: Explored) -> Questions:
        """Reference situations: only new places compete."""
        offset = np.where(lesson.allowed, np.float32(0.0), _NEVER)
        return self._asked(heard, lesson.moments, lesson.candidates, offset, among_known=False)

    def _asked(
        self,
        heard: Heard,
        moments: Sequence[Moment],
        new: NDArray[np.int32],
        offset: Floats,
        *,
        among_known: bool,
    ) -> Questions:
        """What is asked in ``n`` situations: about ``new`` places, and about all known ones."""
        start, reader = self.start, self.reader
        lengths = np.array([len(m.own) for m in moments]) * among_known
        of_known = np.repeat(np.arange(len(moments)), lengths)
        places = np.empty((len(PLACE_FEATURES), 0), np.float32)
        known = new[0, :0]
        if among_known:
            places = reader.places(moments)
            known = np.concatenate([m.own for m in moments])
        candidates = reader.candidates(heard, moments, new, known=known, of_known=of_known)
        starts = np.cumsum(lengths) - lengths
        return Questions(
            places=start.places.normalised(places),
            of_known=of_known,
            starts=starts,
            candidates=start.candidates.normalised(candidates),
            situation=start.situation.normalised(reader.situations(moments)),
            visits=reader.visits(start.visits, moments, starts if among_known else None),
            offset=offset + heard.bias.take(new),
        )

    def chance(
        self, items: NDArray[np.int32], here: NDArray[np.integer], *, draws: int
    ) -> tuple[NDArray[np.bool_], tuple[Floats, Floats]]:
        """With which each item is drawn by ``sample``.

        Args:
            items: Shape ``(n, k)``.
            here: Shape ``(n,)``, where the owner was.
            draws: How many are drawn for each row; of an odd number the smaller half is near.

        Returns:
            Whether an item lies around there, shape ``(n, k)``; and the chance of those that do,
            and of all others, shape ``(n,)`` each.
        """
        around = self.reader.neighbourhoods
        nearby = around.placed[here] * np.float32(draws // 2 / draws)
        anywhere = (np.float32(1.0) - nearby) / np.float32(len(self.catalogue))
        within = anywhere + nearby / np.float32(max(around.size, 1))
        return around.inside(here, items), (within, anywhere)

    # --- scoring -------------------------------------------------------------------------

    def scoring(self, parameters: Parameters, moment: Moment) -> Scoring:
        """What one situation is scored with."""
        dense, own = parameters.dense, moment.own
        heard = self.heard(dense, parameters.table, own=own, tried=moment.tried)
        return Scoring(self, Layers.of(self.layout, dense, self.size), heard, moment)

    def asked_now(self, heard: Heard, moment: Moment, item: int, *, among_known: bool) -> Questions:
        """What one situation asks about an item as a new place, and about all known ones."""
        one = np.array([[item]], np.int32)
        offset = np.zeros(one.shape, np.float32)
        return self._asked(heard, [moment], one, offset, among_known=among_known)

    def observer(self) -> Observer:
        """Nothing is dear to compute."""
        return self._observe

    def at_rest(self, now: Snapshot) -> Looking:
        """All rows, as they are."""
        return partial(self._observe, now.parameters())

    def _observe(self, parameters: Parameters, moment: Moment | None) -> Outlook:
        if moment is None:
            return Newcomer(parameters.table[:, OTHERS], parameters.table[:, BIAS])
        return self.scoring(parameters, moment)


@dataclass(frozen=True)
class Scoring:
    """An owner with a history, or a reference sequence, in one situation.

    Attributes:
        model: The ranker.
        layers: Its network.
        heard: What others say.
        moment: The situation.
    """

    model: Ranker
    layers: Layers
    heard: Heard
    moment: Moment

    @cached_property
    def _known(self) -> Questions:
        """About the places that the owner knows; the last candidate is none of them."""
        first = int(self.moment.own[0])
        return self.model.asked_now(self.heard, self.moment, first, among_known=True)

    def logits(self) -> Floats:
        """Logits of all items, shape ``(n_items,)``."""
        logits, own = self._as_new(), self.moment.own
        logits[own] = forward(self.layers, self._known)[-1][: len(own)]
        return logits

    def _as_new(self) -> Floats:
        model = self.model
        return logits_as_new(model.reader, model.start, self.layers, self.heard, self.moment)

    def scores(self) -> Floats:
        """Log-probabilities."""
        return log_softmax(self.logits())

    def explore_log_probabilities(self) -> Floats:
        """Of the items that are new in this situation alone."""
        logits = self._as_new()
        logits[self.moment.own] = _NEVER
        return log_softmax(logits)

    def reasons(self, item: int) -> dict[str, float]:
        """What each feature does to the score of an item, against its usual value.

        The gradient of the score times the normalised feature (Shrikumar et al., 2016): a network
        of rectified units is linear around a point.
        """
        [at], [met] = found(self.moment.own, np.array([item], np.int32))
        asked = self._known if met else None
        if asked is None:
            asked = self.model.asked_now(self.heard, self.moment, item, among_known=False)
        effect, of_place = effect_on_score(self.layers, asked, int(at) if met else 0)
        # That a place is new to its owner is no reason to go there.
        named = dict(zip(CANDIDATE_FEATURES[1:], effect[1:].tolist(), strict=True))
        if of_place is not None:
            names = (*PLACE_FEATURES, *[RECALLED_REASON] * RECALL_HEADS)
            for name, value in zip(names, of_place.tolist(), strict=True):
                named[name] = named.get(name, 0.0) + value
        return named
