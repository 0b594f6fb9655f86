"""Gossip Adam: peers agree on a direction, and each takes a step along it whose length adapts.

    u_i = beta_1 m_i + (1 - beta_1) (y_i - x_i)     after local training from x_i to y_i
    m_i <- sum_j w_ij clip(u_j),   v_i <- beta_2 v_i + (1 - beta_2) (m_i / (1 - beta_1^t))^2
    p_i <- max(p_i, v_i / (1 - beta_2^t))
    x_i <- sum_j w_ij x_j + eta_t (m_i / (1 - beta_1^t)) / (sqrt(p_i) + epsilon),
    eta_t = eta / sqrt(1 + (t - 1) / 8)

Federated Adam (Reddi et al., *Adaptive federated optimization*, ICLR 2021, algorithm 2) without its
server: models are averaged over neighbours as they were *before* local training, and so are the
changes that training has made of them, with momentum; the second moment is of the mean of changes.
Where each peer adapts its own steps instead, as Adagrad does in all other methods here, every
parameter is divided by the length of its own owner's gradients, most of which is noise that the
mean takes away, and what all have in common moves by a small part of a step (Wang et al., *Local
adaptivity in federated learning*, 2021, on why local adaptation also ends elsewhere). The
largest second moment so far counts (AMSGrad; Reddi, Kale & Kumar, ICLR 2018, algorithm 2), or what
has been learned would be shaken by noise as strongly as it was learned. Local steps are nearly
plain gradient descent: Adagrad that begins each round at 1.

Rows are averaged as in all methods. The formulas are ours; decentralised Adam as in Nazari et al.,
*DADAM*, IEEE TSP 2022, shares one step of gradient, not the change by a round of training.
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
from p2prec.models.tabled import shared_rows
from p2prec.training.knowledge import Knowledge

Floats = NDArray[np.float32]

_AMOUNTS: Final[Amounts] = {
    **AVERAGING,
    "step": Amount(0.05, least=0, most=10),
    "momentum": Amount(0.8, least=0, most=0.999),
    "memory": Amount(0.95, least=0, most=0.9999),
}
_LEAST = np.float32(1e-6)  # of the root of the second moment
_SLOWER = 8.0  # steps after which one is shorter by a root of two
_LOUDEST = np.float32(2.0)  # times the median length of directions: no word counts for more
_PLAIN = np.float32(1.0)  # Adagrad's sum from which local steps are nearly of plain descent
_PARTS = ("start", "mean", "square", "peak")


def directed(model: Model) -> NDArray[np.bool_]:
    """Which dense parameters have a direction, shape ``(n_dense,)``.

    Statistics are averaged, what an owner keeps to itself is its own, and pieces of an item table
    are averaged by those who know their items.
    """
    mask: NDArray[np.bool_] = model.own_bent == 0.0
    mask[model.statistics] = False
    shared = shared_rows(model)
    if shared is not None:
        mask[shared.part] = False
    return mask


class GossipAdam(ParameterMethod):
    """Averaged changes with momentum, and steps that adapt to them.

    Attributes:
        start: Shape ``(n_directed,)``, parameters before the newest training; empty before any.
        mean: Likewise, the averaged change; its first moment.
        square: Likewise, its second moment.
        peak: Likewise, the largest one so far, without bias.
        steps: Taken so far.
    """

    mean: Floats
    peak: Floats
    square: Floats
    start: Floats
    __slots__ = ("mean", "peak", "square", "start", "steps")
    amounts: ClassVar[Amounts] = _AMOUNTS

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._begin_anew()

    def _begin_anew(self) -> None:
        for part in _PARTS:
            setattr(self, part, np.empty(0, np.float32))
        self.steps = 0

    def training(self, knowledge: Knowledge) -> None:
        """Training is about to change the model from what it is now, by plain steps."""
        mask = directed(knowledge.model)
        self.start = knowledge.dense[mask]
        if not len(self.mean):
            self.mean, self.square, self.peak = (np.zeros_like(self.start) for _ in range(3))
        knowledge.dense_accumulator = np.where(mask, _PLAIN, knowledge.dense_accumulator)

    @classmethod
    def publish_together(
        cls, methods: Sequence[Self], speakers: Sequence[Speaker]
    ) -> list[Sequence[Payload]]:
        """Known rows, the model before training, and whither training has moved it."""
        said = super().publish_together(methods, speakers)
        return [
            [method.directed(speaker.knowledge, update) for update in payloads]
            for method, speaker, payloads in zip(methods, speakers, said, strict=True)
        ]

    def directed(self, knowledge: Knowledge, update: Payload) -> Payload:
        """An update as it is said: of the model before training, with a direction."""
        if not isinstance(update, ModelUpdate) or not len(self.start):
            return update
        dense = update.dense.copy()
        dense[directed(knowledge.model)] = self.start
        said = {field.name: getattr(update, field.name) for field in fields(ModelUpdate)}
        said |= {"dense": dense, "direction": self._direction(knowledge)}
        return DirectedUpdate(**said)

    def _direction(self, knowledge: Knowledge) -> Floats:
        change = knowledge.dense[directed(knowledge.model)] - self.start
        keep = np.float32(self.options["momentum"])
        return keep * self.mean + (np.float32(1.0) - keep) * change

    def mix(self, listener: Listener, updates: Mapping[str, ModelUpdate]) -> Mix:
        """Equal weights; the mean is of models as they were before training, then comes a step."""
        knowledge, equal = listener.knowledge, Mix.equal(updates)
        if not len(self.start):  # nothing was trained since it began: it only listens
            return equal
        own = self._direction(knowledge)
        told = [u.direction for u in updates.values() if isinstance(u, DirectedUpdate)]
        self.mean = _mean_of([own, *(d for d in told if d.shape == own.shape)])
        dense = knowledge.dense.copy()
        dense[directed(knowledge.model)] = self.start
        knowledge.dense = dense
        step = partial(self._step, knowledge)
        return Mix(weights=equal.weights, own=equal.own, then=step)

    def _step(self, knowledge: Knowledge) -> None:
        """From the averaged model along the averaged direction."""
        self.steps += 1
        momentum, memory = self.options["momentum"], self.options["memory"]
        mean = self.mean / np.float32(1.0 - momentum**self.steps)
        self.square *= np.float32(memory)
        self.square += np.float32(1.0 - memory) * mean**2
        self.peak = np.maximum(self.peak, self.square / np.float32(1.0 - memory**self.steps))
        step = self.options["step"] / np.sqrt(1.0 + (self.steps - 1) / _SLOWER)
        mask, dense = directed(knowledge.model), knowledge.dense.copy()
        dense[mask] += np.float32(step) * mean / (np.sqrt(self.peak) + _LEAST)
        knowledge.dense = dense
        self.start = dense[mask]  # nothing has been trained since

    def state(self, knowledge: Knowledge) -> dict[str, NDArray[np.generic]]:
        """The model before training, the moments, and how many steps were taken."""
        del knowledge
        state: dict[str, NDArray[np.generic]] = {
            f"direction_{part}": getattr(self, part).copy() for part in _PARTS
        }
        return state | {"direction_steps": np.array(self.steps)}

    def restore(self, state: Mapping[str, NDArray[np.generic]], knowledge: Knowledge) -> None:
        """As of ``Collaboration``; of another method there is nothing, and it begins anew."""
        self._begin_anew()
        if "direction_steps" not in state:
            return
        parts = {
            part: np.asarray(state.get(f"direction_{part}", np.empty(0)), np.float32)
            for part in _PARTS
        }
        steps = np.asarray(state["direction_steps"])
        n = int(directed(knowledge.model).sum())
        if all(part.shape == (0,) for part in parts.values()):
            return
        sound = steps.shape == () and 0 <= int(steps) < 1 << 31
        sound &= all(part.shape == (n,) and np.isfinite(part).all() for part in parts.values())
        if not sound or min(parts[part].min(initial=0.0) for part in ("square", "peak")) < 0:
            raise StoreError("the stored directions are not those of this model")
        for name, part in parts.items():
            setattr(self, name, part.copy())
        self.steps = int(steps)


def _mean_of(directions: Sequence[Floats]) -> Floats:
    """Equal shares, but none counts for more than twice the median length."""
    together = np.stack(directions)
    lengths = np.linalg.norm(together, axis=1)
    most = _LOUDEST * np.float32(np.median(lengths))
    scale = np.minimum(np.float32(1.0), most / np.maximum(lengths, np.float32(1e-12)))
    mean: Floats = (together * scale[:, None].astype(np.float32)).mean(0, dtype=np.float32)
    return mean
