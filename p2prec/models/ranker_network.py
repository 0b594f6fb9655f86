"""The ranker's network: its weights, the questions that it is asked, and its gradient.

Features and hidden layers lie in rows, candidates in columns: what is done to one of them runs
along memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.kernels import compiled
from p2prec.models.layout import DenseLayout
from p2prec.models.moments import PLACE_FEATURES
from p2prec.models.ranker_features import CANDIDATE_FEATURES, SITUATION_FEATURES
from p2prec.models.ranker_recall import RECALL_HEADS, Recalled, Visits
from p2prec.models.ranker_start import SCALINGS, WEIGHTS
from p2prec.models.recall import VISIT_FEATURES
from p2prec.models.start import Scaling, decoded

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The network's weights, views of one flat vector.

    Attributes:
        places: Shape ``(len(PLACE_FEATURES) + RECALL_HEADS, size)``.
        candidates: Shape ``(len(CANDIDATE_FEATURES), size)``.
        situation: Shape ``(len(SITUATION_FEATURES) + RECALL_HEADS, size)``.
        first_bias: Shape ``(size,)``.
        second: Shape ``(size, size)``.
        second_bias: Shape ``(size,)``.
        output: Shape ``(size,)``.
        heads: Shape ``(len(VISIT_FEATURES), RECALL_HEADS)``, of the attention over visits.
    """

    places: Floats
    candidates: Floats
    situation: Floats
    first_bias: Floats
    second: Floats
    second_bias: Floats
    output: Floats
    heads: Floats

    @classmethod
    def shapes(cls, size: int) -> dict[str, tuple[int, ...]]:
        """Shape of each, in the order in which they lie."""
        return {
            "places": (len(PLACE_FEATURES) + RECALL_HEADS, size),
            "candidates": (len(CANDIDATE_FEATURES), size),
            "situation": (len(SITUATION_FEATURES) + RECALL_HEADS, size),
            "first_bias": (size,),
            "second": (size, size),
            "second_bias": (size,),
            "output": (size,),
            "heads": (len(VISIT_FEATURES), RECALL_HEADS),
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
        visits: Of those of visits.
    """

    weights: Floats
    places: Scaling
    candidates: Scaling
    situation: Scaling
    visits: Scaling

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

    Known places come first, those of one situation together; then ``k`` new ones for each
    situation.

    Attributes:
        places: Shape ``(len(PLACE_FEATURES), n_known)``, of all known places of all situations.
        of_known: Shape ``(n_known,)``, the situation of each.
        starts: Shape ``(n,)``, where those of each situation begin; each has one at least, or none
            has any.
        candidates: Shape ``(len(CANDIDATE_FEATURES), n_known + n * k)``.
        situation: Shape ``(len(SITUATION_FEATURES), n)``.
        offset: Shape ``(n, k)``, added to the logits of new places.
        visits: That attention looks at.
    """

    places: Floats
    of_known: NDArray[np.int64]
    starts: NDArray[np.int64]
    candidates: Floats
    situation: Floats
    offset: Floats
    visits: Visits


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Features together with what attention has made of visits.

    Attributes:
        recalled: What it has made of them.
        places: Shape ``(len(PLACE_FEATURES) + RECALL_HEADS, n_known)``.
        situation: Shape ``(len(SITUATION_FEATURES) + RECALL_HEADS, n)``.
    """

    recalled: Recalled
    places: Floats
    situation: Floats

    @classmethod
    def of(cls, layers: Layers, asked: Questions) -> Read:
        """Those of some questions."""
        recalled = Recalled.of(layers.heads, asked.visits, len(asked.of_known))
        return cls(
            recalled=recalled,
            places=np.concatenate([asked.places, recalled.of_places()]),
            situation=np.concatenate([asked.situation, recalled.resemblance]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """A hidden layer of all candidates.

    Attributes:
        values: Shape ``(size, n_known + n * k)``.
        active: Shape of ``values``, where a unit lets its gradient through.
    """

    values: Floats
    active: NDArray[np.bool_]

    @classmethod
    def first(cls, layers: Layers, asked: Questions, read: Read) -> Hidden:
        """The layer that reads the features."""
        values = layers.candidates.T @ asked.candidates
        of_places = layers.places.T @ read.places
        situation = layers.situation.T @ read.situation
        situation += layers.first_bias[:, None]
        n_known, (n, k) = len(asked.of_known), asked.offset.shape
        kernels = compiled()
        if kernels is not None:
            active = np.empty(values.shape, np.bool_)
            kernels.rectify_first(values, of_places, situation, asked.of_known, k, active)
            return cls(values=values, active=active)
        values[:, :n_known] += of_places
        values[:, :n_known] += situation.take(asked.of_known, axis=1)
        values[:, n_known:].reshape(-1, n, k)[...] += situation[:, :, None]
        return cls._rectified(values)

    @classmethod
    def second(cls, layers: Layers, first: Hidden) -> Hidden:
        """The layer that reads the first one."""
        values = layers.second.T @ first.values
        kernels = compiled()
        if kernels is not None:
            active = np.empty(values.shape, np.bool_)
            kernels.rectify_second(values, layers.second_bias, active)
            return cls(values=values, active=active)
        values += layers.second_bias[:, None]
        return cls._rectified(values)

    @classmethod
    def _rectified(cls, values: Floats) -> Hidden:
        active = values > 0
        values *= active
        return cls(values=values, active=active)

    def back(self, output: Floats, share: Floats) -> Floats:
        """The derivative by this layer, from that by the scores, ``share``."""
        kernels = compiled()
        if kernels is not None:
            back = np.empty_like(self.values)
            kernels.back_through_output(output, share, self.active, back)
            return back
        back = output[:, None] * share
        back *= self.active
        return back


def forward(layers: Layers, asked: Questions) -> tuple[Read, Hidden, Hidden, Floats]:
    """What is read, both hidden layers, and the scores, shape ``(n_known + n * k,)``."""
    read = Read.of(layers, asked)
    first = Hidden.first(layers, asked, read)
    second = Hidden.second(layers, first)
    scores = layers.output @ second.values
    scores[len(asked.of_known) :] += asked.offset.ravel()
    return read, first, second, scores


def learn(
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
        target: Shape ``(n,)``, which candidates are the right answers; or shape ``(n, k)``, how
            right each new place is.
        gradient: Added to.
        weight: Shape ``(n,)``; 1 where there is none.
    """
    (n, k), n_known = asked.offset.shape, len(asked.of_known)
    read, first, second, scores = forward(layers, asked)
    known, new = scores[:n_known], scores[n_known:].reshape(n, k)
    peak = new.max(1)
    if n_known:
        peak = np.maximum(peak, np.maximum.reduceat(known, asked.starts))
    share = np.empty_like(scores)
    of_known, of_new = share[:n_known], share[n_known:].reshape(n, k)
    np.subtract(known, peak.take(asked.of_known), out=of_known)
    np.subtract(new, peak[:, None], out=of_new)
    np.exp(share, out=share)
    total = of_new.sum(1)
    if n_known:
        total += np.add.reduceat(of_known, asked.starts)
    of_known /= total.take(asked.of_known)
    of_new /= total[:, None]
    whole = np.log(total) + peak
    if target.ndim == 1:
        loss = whole - scores[target]
        share[target] -= 1.0
    else:
        loss = (target * (whole[:, None] - new)).sum(1)
        of_new -= target
    if weight is not None:
        of_known *= weight.take(asked.of_known)
        of_new *= weight[:, None]
        loss = loss * weight
    _add_gradient(layers, asked, gradient, read=read, first=first, second=second, share=share)
    return float(loss.sum())


def _add_gradient(
    layers: Layers,
    asked: Questions,
    gradient: Layers,
    *,
    read: Read,
    first: Hidden,
    second: Hidden,
    share: Floats,
) -> None:
    """Backward, from the derivative of the loss by each score, ``share``."""
    n_known, by_new = len(asked.of_known), (-1, *asked.offset.shape)
    gradient.output[...] += second.values @ share
    back = second.back(layers.output, share)
    gradient.second[...] += first.values @ back.T
    gradient.second_bias[...] += back.sum(1)
    back = layers.second @ back
    back *= first.active
    gradient.candidates[...] += asked.candidates @ back.T
    by_known = back[:, :n_known]
    by_situation = back[:, n_known:].reshape(by_new).sum(2)
    if n_known:
        gradient.places[...] += read.places @ by_known.T
        by_situation += np.add.reduceat(by_known, asked.starts, axis=1)
    gradient.situation[...] += read.situation @ by_situation.T
    gradient.first_bias[...] += by_situation.sum(1)
    gradient.heads[...] += read.recalled.back(
        layers.places[-RECALL_HEADS:] @ by_known, layers.situation[-RECALL_HEADS:] @ by_situation
    )


def effect_on_score(
    layers: Layers, asked: Questions, at: int
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """The gradient of one candidate's score times each of its normalised features.

    Returns:
        By feature of a candidate, and by feature of a known place, if it is one; the heads of
        attention come last.
    """
    read, first, second, _ = forward(layers, asked)
    back = layers.second @ (layers.output * second.active[:, at]) * first.active[:, at]
    known = None
    if at < len(asked.of_known):
        known = layers.places @ back * read.places[:, at]
    return layers.candidates @ back * asked.candidates[:, at], known
