"""Gossip Adam: peers agree on a direction, and each takes a step along it whose length adapts.

    u_i = (beta_1 w_t m_i + (1 - beta_1) (y_i - x_i)) / w_t+1,   w_t = 1 - beta_1^t,
           after local training from x_i to y_i, t steps so far
    m_i <- mean_j clip(u_j),   s_i = var_j clip(u_j)
    v_i <- beta_2 v_i + (1 - beta_2) (clip(m_i)^2 + clip(kappa s_i))
    p_i <- max(0.99 p_i, v_i / (1 - beta_2^t))
    x_i <- sum_j w_ij x_j + eta_t m_i / (sqrt(p_i) + epsilon),   eta_t = eta / sqrt(1 + (t - 1) / 8)

Federated Adam (Reddi et al., *Adaptive federated optimization*, ICLR 2021, algorithm 2) without its
server: models are averaged over neighbours as they were *before* local training, and so are the
changes that training has made of them, with momentum; the second moment is of the mean of changes,
and of how far those who are heard disagree about them.
Where each peer adapts its own steps instead, as Adagrad does in all other methods here, steps are
divided by the length of its own owner's gradients, and peers agree on another model than the best
one for all (Wang et al., *Local adaptivity in federated learning*, 2021). Momentum of the mean
joins the words of more people than those that are heard in one round. A
parameter about which they disagree moves less (step sizes that adapt to the variance: Balles &
Hennig, *Dissecting Adam*, ICML 2018), or whatever chance says of it would be learned as fast as
what all say. The largest second moment so far counts, fading slowly (after AMSGrad; Reddi, Kale &
Kumar, ICLR 2018, algorithm 2), or what has been learned would be shaken by noise as strongly as it
was learned. Local steps are nearly plain gradient descent: Adagrad that begins each round at 1.
Nobody is waited for longer than two rounds: a peer among nobody learns as one that is alone, by
Adagrad, and has no direction to tell until it hears one.

What a stranger may do with a direction is bounded: no word counts for more than twice the usual
length, and neither a mean nor a variance enters the second moment that is far beyond what was there
before, so that neither one loud message nor words that contradict all others make later steps
short. Who has no direction of its own takes no step, for there is nothing that the words of others
could be held against; it averages models and learns of the steps of others by these.

Rows are averaged as in all methods. The formulas are ours; decentralised Adam (Nazari et al., 2022)
shares one step of gradient, not the change by a round of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.method import Amount, Amounts, Listener, Options, Speaker
from p2prec.collaboration.parameters import AVERAGING, Mix, ParameterMethod
from p2prec.collaboration.payload import DirectedUpdate, ModelUpdate, Payload
from p2prec.errors import StoreError
from p2prec.models.model import Model
from p2prec.models.tabled import Tabled
from p2prec.training.knowledge import Knowledge

Floats = NDArray[np.float32]

_AMOUNTS: Final[Amounts] = {
    **AVERAGING,
    "step": Amount(0.05, least=0, most=10),
    "momentum": Amount(0.8, least=0, most=0.999),
    "memory": Amount(0.95, least=0, most=0.9999),
    "variance": Amount(0.25, least=0, most=100),
}
_LEAST = np.float32(1e-6)  # of the root of the second moment
_SLOWER = 8.0  # steps after which one is shorter by a root of two
_LATEST = 200  # rounds of others from which on a step is not shorter; they are said, not known
_LOUDEST = 2.0  # times the usual length of directions: no word counts for more
_BEYOND = 3.0  # times the root of the second moment: beyond it what enters that is shortened
_FADING = np.float32(0.99)
_PLAIN = np.float32(1.0)  # Adagrad's sum from which local steps are nearly of plain descent
_SILENCE = 2  # trainings after which nobody is waited for any longer
_PARTS = ("start", "mean", "square", "peak")


def directed(model: Model) -> NDArray[np.bool_]:
    """Which dense parameters have a direction, shape ``(n_dense,)``.

    Statistics are averaged, what an owner keeps to itself is its own, and pieces of an item table
    are those of a search, or averaged by those who know their items.
    """
    mask: NDArray[np.bool_] = model.own_bent == 0.0
    mask[model.statistics] = False
    if isinstance(model, Tabled) and model.table.n_pieces:
        mask[model.layout.part("pieces")] = False
    return mask


class GossipAdam(ParameterMethod):
    """Averaged changes with momentum, and steps that adapt to them.

    Attributes:
        start: Shape ``(n_directed,)``, parameters before the newest training; empty before any.
        mean: Likewise, the averaged change; its first moment.
        square: Likewise, its second moment, with a part of the variance among those heard.
        peak: Likewise, the largest one so far, fading, without bias.
        steps: Taken so far.
        silent: Trainings since others were heard.
        sums: Adagrad's, while a training lasts; empty else.
    """

    mean: Floats
    peak: Floats
    square: Floats
    start: Floats
    __slots__ = ("mean", "peak", "silent", "square", "start", "steps", "sums")
    amounts: ClassVar[Amounts] = _AMOUNTS

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.sums = np.empty(0, np.float32)
        self._begin_anew()

    def _begin_anew(self) -> None:
        for part in _PARTS:
            setattr(self, part, np.empty(0, np.float32))
        self.steps = self.silent = 0

    def before_training(self, knowledge: Knowledge) -> None:
        """Remember the model as it is; unless among nobody, let training take plain steps."""
        mask = directed(knowledge.model)
        start = knowledge.dense[mask]
        if not len(self.mean):
            self.mean, self.square, self.peak = (np.zeros_like(start) for _ in range(3))
        self.start = start  # last: who saves the state meanwhile finds all parts or none
        if self.silent < _SILENCE:
            self.sums = knowledge.dense_accumulator.copy()
            knowledge.dense_accumulator = np.where(mask, _PLAIN, self.sums)

    def after_training(self, knowledge: Knowledge, *, diverged: bool) -> None:
        """Another method will want Adagrad's sums as they were; a new model has moved nowhere."""
        if diverged:
            self._begin_anew()
        else:
            mask = directed(knowledge.model)
            if len(self.sums):
                sums = np.where(mask, self.sums, knowledge.dense_accumulator)
                knowledge.dense_accumulator = sums
            else:  # among nobody: what was learned is the model, and no direction
                self.start = knowledge.dense[mask]
            self.silent = min(self.silent + 1, _SILENCE + 1)
        self.sums = np.empty(0, np.float32)

    @classmethod
    def publish_together(
        cls, methods: Sequence[Self], speakers: Sequence[Speaker]
    ) -> list[Sequence[Payload]]:
        """Known rows, the model before training, and whither training has moved it."""
        said = super().publish_together(methods, speakers)
        return [
            [method.with_direction(speaker.knowledge, update) for update in payloads]
            for method, speaker, payloads in zip(methods, speakers, said, strict=True)
        ]

    def with_direction(self, knowledge: Knowledge, update: Payload) -> Payload:
        """An update as it is said: of the model before training, with a direction.

        Who has learned from nothing has none, and would only slow others down with it.
        """
        if not isinstance(update, ModelUpdate) or not self._moves(knowledge):
            return update
        dense = update.dense.copy()
        dense[directed(knowledge.model)] = self.start
        said = {field.name: getattr(update, field.name) for field in fields(ModelUpdate)}
        said |= {"dense": dense, "direction": self._direction(knowledge)}
        return DirectedUpdate(**said)

    def _moves(self, knowledge: Knowledge) -> bool:
        return len(self.start) > 0 and knowledge.n_examples > 0 and self.silent <= _SILENCE

    def _direction(self, knowledge: Knowledge) -> Floats:
        """The own change, with momentum, without the bias of a mean that began at nothing."""
        change = knowledge.dense[directed(knowledge.model)] - self.start
        keep = self.options["momentum"]
        before = keep * (1.0 - keep**self.steps)
        whole = before + (1.0 - keep)
        direction: Floats = np.float32(before / whole) * self.mean
        direction += np.float32((1.0 - keep) / whole) * change
        return direction

    def mix(self, listener: Listener, updates: Mapping[str, ModelUpdate]) -> Mix:
        """Equal weights; the mean is of models as they were before training, then comes a step."""
        knowledge, equal = listener.knowledge, Mix.equal(updates)
        if not len(self.start):  # nothing was trained since it began: it only listens
            return equal
        own = self._direction(knowledge) if self._moves(knowledge) else None
        self.silent = 0
        if own is None or not own.any():
            return equal
        told = [
            update.direction
            for update in updates.values()
            if isinstance(update, DirectedUpdate) and update.direction.shape == self.start.shape
        ]
        dense = knowledge.dense.copy()
        dense[directed(knowledge.model)] = self.start
        knowledge.dense = dense
        self.mean, variance = _moments_of(own, told)
        rounds = float(np.median([update.round for update in updates.values()]))
        length = float(np.linalg.norm(own))
        step = partial(self._step, knowledge, variance, own=length, late=min(rounds, _LATEST))
        return Mix(weights=equal.weights, own=equal.own, then=step)

    def _step(self, knowledge: Knowledge, variance: Floats, *, own: float, late: float) -> None:
        """From the averaged model along the averaged direction.

        What most of those who are heard say may be said by one of many names: neither their mean
        nor how far they differ goes far beyond what was there before, and the first time beyond
        the own direction.

        Args:
            knowledge: Whose.
            variance: Of the newest directions.
            own: Length of the own direction.
            late: The round in which others are: who joins them steps no further than they.
        """
        memory = self.options["memory"]
        most = own
        if self.steps:
            before = self.square / np.float32(1.0 - memory**self.steps)
            most = _BEYOND * float(np.sqrt(before.sum(dtype=np.float64)))
        seen = self.mean = _shortened(self.mean, most)
        self.steps += 1
        disputed = np.float32(self.options["variance"]) * variance
        total = float(disputed.sum(dtype=np.float64))
        if total > most**2:
            disputed *= np.float32(most**2 / total)
        newest: Floats = seen**2 + disputed
        self.square = np.float32(memory) * self.square + np.float32(1.0 - memory) * newest
        unbiased = self.square / np.float32(1.0 - memory**self.steps)
        self.peak = np.maximum(_FADING * self.peak, unbiased)
        step = self.options["step"] / np.sqrt(1.0 + max(self.steps - 1.0, late) / _SLOWER)
        mask, dense = directed(knowledge.model), knowledge.dense.copy()
        dense[mask] += np.float32(step) * seen / (np.sqrt(self.peak) + _LEAST)
        knowledge.dense = dense
        self.start = dense[mask]  # nothing has been trained since

    def state(self, knowledge: Knowledge) -> dict[str, NDArray[np.generic]]:
        """The model before training, the moments, what is counted, and Adagrad's own sums."""
        state: dict[str, NDArray[np.generic]] = {
            f"direction_{part}": getattr(self, part).copy() for part in _PARTS
        }
        if len(self.sums):  # a training lasts, and has other ones in their place
            own = np.where(directed(knowledge.model), self.sums, knowledge.dense_accumulator)
            state["dense_accumulator"] = own
        counts = {"steps": self.steps, "silent": self.silent}
        return state | {f"direction_{name}": np.array(count) for name, count in counts.items()}

    def restore(self, state: Mapping[str, NDArray[np.generic]], knowledge: Knowledge) -> None:
        """As of ``Collaboration``; of another method there is nothing, and it begins anew."""
        self._begin_anew()
        mask = directed(knowledge.model)
        if "direction_steps" not in state or not np.array_equal(
            np.asarray(state.get("dense")), knowledge.dense
        ):  # what was stored as the model was no number, and has begun anew
            return
        parts = {part: np.asarray(state.get(f"direction_{part}", ())) for part in _PARTS}
        if all(part.shape == (0,) for part in parts.values()):
            return
        counts = [np.asarray(state.get(f"direction_{name}", 0)) for name in ("steps", "silent")]
        sound = all(
            count.shape == () and count.dtype.kind in "iu" and 0 <= int(count) < 1 << 31
            for count in counts
        )
        sound &= all(
            part.shape == (int(mask.sum()),) and part.dtype.kind == "f" and np.isfinite(part).all()
            for part in parts.values()
        )
        if not sound or min(parts[part].min(initial=0.0) for part in ("square", "peak")) < 0:
            raise StoreError("the stored directions are not those of this model")
        for name, part in parts.items():
            setattr(self, name, part.astype(np.float32))
        self.steps, self.silent = map(int, counts)


def _moments_of(own: Floats, told: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Mean and variance of all that point anywhere, in equal shares.

    The own word always counts as it is; none of the others for more than twice the usual length,
    which is the lower median.
    """
    directions = [own, *(d for d in told if d.any())]
    lengths = sorted(float(np.linalg.norm(d)) for d in directions)
    most = _LOUDEST * lengths[(len(lengths) - 1) // 2]
    heard = np.stack([d if d is own else _shortened(d, most) for d in directions])
    mean: Floats = heard.mean(axis=0, dtype=np.float32)
    if len(heard) == 1:  # nobody disagrees
        return mean, np.zeros_like(mean)
    variance: Floats = heard.var(axis=0, dtype=np.float32, ddof=1)
    return mean, variance


def _shortened(direction: Floats, most: float) -> Floats:
    length = float(np.linalg.norm(direction))
    return direction if length <= most else direction * np.float32(most / length)
