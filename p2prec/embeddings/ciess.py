"""CIESS: an agent chooses the width of each group of items, from a continuous range.

    state   (how often an item occurs, w / size, q)
    reward  q - lambda (w / size)^2,   q = min(1, quality now / quality of all columns)
    w^ = mu(state) + noise;  from there a random walk over widths, a step d -> d' with a chance
    proportional to abs(d' - d); of the widths that it visits the one that the critic likes best

Qu et al., SIGIR 2023, sections 3.2 to 3.4; agent: ``p2prec.embeddings.td3``.
The chance of a step is that of the tutorial 'On-Device Recommender Systems' (WWW 2024); the
public code takes its inverse.

Ours, for the paper trains 300 recommenders on a server: items of a group of about equally known
ones share a width (``p2prec.embeddings.prefixes``); each of ``_ROUNDS`` rounds a peer tries
``_EPISODES`` choices on the model that it has, without retraining, learns from them alone, and
takes the choice with the best reward if it beats the present one. Agents and widths are pieces,
which gossip averages: the experience of all peers goes into one agent. ``q`` is that of the whole
device, for all groups. A choice is measured at the price at which it fits the budget, and
``lambda`` orders choices by how much of it the widest groups take.

On a device: prefixes with a number each, in whole numbers; the agent stays out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.initial import realm_generator
from p2prec.embeddings.prefixes import N_GROUPS, ROOM_FOR_ALL, GroupWidths, Widths
from p2prec.embeddings.table import Device, Floats, Quality
from p2prec.embeddings.td3 import Agent, Transitions

_ROUNDS = 8
_EPISODES = 3
_STEPS = 20  # of the agent, in a round
_PRICE = 0.1  # lambda
_NOISE = 6.0 / 128.0  # standard deviation, of the size
_WALK, _STRIDE = 5, 5.0 / 128.0  # steps, and the longest one of the size


class SizesByAgent(GroupWidths):
    """Pieces: a width for each group, and the agent."""

    name: ClassVar[str] = "ciess"

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        self.agent = Agent(n_state=3)
        self.n_pieces = N_GROUPS + self.agent.n_weights + 1

    def initial_pieces(self) -> Floats:
        """All columns, and an agent that knows nothing."""
        rng = realm_generator(self.catalogue.digest, "ciess")
        weights = self.agent.initial(rng)
        return np.concatenate([self.all_wide(), weights, [ROOM_FOR_ALL]]).astype(np.float32)

    def piece_rates(self) -> Floats:
        """None is trained by gradients of the recommender."""
        return np.zeros(self.n_pieces, np.float32)

    def searched(self, device: Device, round_: int, quality: Quality) -> Device:
        """A few choices, what the agent learns of them, and the best one."""
        widths = self.current(device)
        best = self.with_widths(device, widths)
        if round_ >= _ROUNDS:
            return best
        rng = realm_generator(self.catalogue.digest, f"ciess/{self.size}/{round_}")
        agent = device.pieces[N_GROUPS:-1]
        full = max(quality(self.with_widths(device, self.all_wide())), 1e-9)
        q = min(1.0, quality(best) / full)
        most, parts = q - self._price(widths), []
        for _ in range(_EPISODES):
            state = self._state(widths, q)
            widths = self.ordered(self._walked(agent, state, rng))
            tried = self.with_widths(device, widths)
            q = min(1.0, quality(tried) / full)
            reward = np.float32(q) - np.float32(_PRICE) * np.square(self._share(widths))
            action = 2.0 * self._share(widths) - 1.0
            parts.append((state, action, reward, self._state(widths, q)))
            if q - self._price(widths) > most:
                best, most = tried, q - self._price(widths)
        state, action, reward, after = (np.concatenate(part) for part in zip(*parts, strict=True))
        seen = Transitions(state=state, action=action, reward=reward, after=after)
        pieces = best.pieces.copy()
        pieces[N_GROUPS:-1] = self.agent.learned(agent, seen, steps=_STEPS, rng=rng)
        return replace(best, pieces=pieces)

    def _share(self, widths: Widths) -> Floats:
        return (widths / self.size).astype(np.float32)

    def _price(self, widths: Widths) -> float:
        return _PRICE * float(np.square(self._share(widths)).mean())

    def _state(self, widths: Widths, q: float) -> Floats:
        frequency = np.linspace(0.0, 1.0, N_GROUPS)
        columns = np.array([frequency, self._share(widths), np.full(N_GROUPS, q)], np.float32)
        return columns.T.copy()

    def _walked(self, agent: Floats, state: Floats, rng: np.random.Generator) -> Widths:
        """For each group the best width of a walk from where the actor points."""
        chosen = (self.agent.act(agent, state) + 1.0) / 2.0 * self.size
        chosen = chosen + rng.normal(0.0, _NOISE * self.size, N_GROUPS)
        stride = max(1, round(_STRIDE * self.size))
        steps = np.concatenate([np.arange(-stride, 0), np.arange(1, stride + 1)])
        chance = np.abs(steps) / np.abs(steps).sum()
        strides = rng.choice(steps, (_WALK, N_GROUPS), p=chance)
        walk = np.rint(chosen)[None] + np.concatenate(
            [np.zeros((1, N_GROUPS)), np.cumsum(strides, axis=0)]
        )
        walk = np.clip(walk, 0, self.size).astype(np.int64)
        worth = [self.agent.value(agent, state, 2.0 * self._share(w) - 1.0) for w in walk]
        best: Widths = walk[np.argmax(worth, axis=0), np.arange(N_GROUPS)]
        return best
