"""A small TD3 agent as one flat vector: actor and twin critics, each with a slow copy.

    a = tanh(actor(s));   y = r + gamma min_i Q_i'(s', actor'(s') + noise)
    critics by (Q_i - y)^2;   actor by -Q_1(s, actor(s)), every second step;   slow copies by tau

Fujimoto et al., ICML 2018 (TD3), algorithm 1. One hidden layer. Ours: plain gradient
steps of bounded length, so that the vector is all that there is to keep, to average and to restart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from p2prec.embeddings.table import Floats

_HIDDEN = 16
_DISCOUNT, _FOLLOW = 0.99, 0.05  # the slow copies follow faster than in the paper: few steps
_ACTOR_RATE, _CRITIC_RATE = 0.01, 0.03
_LONGEST = 1.0  # length of a gradient
_SMOOTHING, _SMOOTHING_MOST = 0.1, 0.25  # noise on the next action
_DELAY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """What was tried; ``n`` of them.

    Attributes:
        state: Shape ``(n, n_state)``.
        action: Shape ``(n,)``, -1 to 1.
        reward: Shape ``(n,)``.
        after: Shape ``(n, n_state)``.
    """

    state: Floats
    action: Floats
    reward: Floats
    after: Floats


@dataclass(frozen=True, slots=True)
class Agent:
    """Shapes.

    Attributes:
        n_state: Values of a state.
    """

    n_state: int

    @property
    def n_weights(self) -> int:
        """Of all networks."""
        return 2 * sum(self._lengths)

    @property
    def _lengths(self) -> tuple[int, int, int]:
        critic = _length(self.n_state + 1)
        return _length(self.n_state), critic, critic

    def initial(self, rng: np.random.Generator) -> Floats:
        """The slow copies equal the fast ones."""
        nets = []
        for n in (self.n_state, self.n_state + 1, self.n_state + 1):
            hidden = rng.normal(0.0, 1.0 / np.sqrt(n), n * _HIDDEN)
            nets += [hidden, np.zeros(_HIDDEN), rng.normal(0.0, 0.1, _HIDDEN), np.zeros(1)]
        fast = np.concatenate(nets)
        return np.concatenate([fast, fast]).astype(np.float32)

    def act(self, weights: Floats, state: Floats) -> Floats:
        """Actions, -1 to 1, shape ``(n,)``."""
        actions: Floats = np.tanh(_forward(self._parts(weights)[0], state)[0])
        return actions

    def value(self, weights: Floats, state: Floats, action: Floats) -> Floats:
        """Of the first critic, shape ``(n,)``."""
        return _forward(self._parts(weights)[1], _joined(state, action))[0]

    def learned(
        self, weights: Floats, seen: Transitions, *, steps: int, rng: np.random.Generator
    ) -> Floats:
        """The weights after so many steps on all transitions."""
        weights = weights.copy()
        fast, slow = weights[: len(weights) // 2], weights[len(weights) // 2 :]
        actor, *critics = self._parts(weights)
        old_actor, *old_critics = self._parts(slow)
        inputs = _joined(seen.state, seen.action)
        for step in range(steps):
            noise = rng.normal(0.0, _SMOOTHING, len(seen.reward)).astype(np.float32)
            noise = np.clip(noise, -_SMOOTHING_MOST, _SMOOTHING_MOST)
            action = np.clip(np.tanh(_forward(old_actor, seen.after)[0]) + noise, -1.0, 1.0)
            after = _joined(seen.after, action)
            ahead = np.minimum(*(_forward(critic, after)[0] for critic in old_critics))
            aim = (seen.reward + _DISCOUNT * ahead).astype(np.float32)
            for critic in critics:
                value, hidden = _forward(critic, inputs)
                errors = ((value - aim) / len(aim)).astype(np.float32)
                by_weights, _ = _backward(critic, inputs, hidden, errors)
                critic[:] -= _bounded(by_weights, _CRITIC_RATE)
            if step % _DELAY == 0:
                raw, hidden = _forward(actor, seen.state)
                chosen = np.tanh(raw)
                asked = _joined(seen.state, chosen)
                value, inside = _forward(critics[0], asked)
                down = np.full(len(value), -1.0 / len(value), np.float32)
                by_action = _backward(critics[0], asked, inside, down)[1][:, -1]
                by_raw = (by_action * (1.0 - np.square(chosen))).astype(np.float32)
                by_weights, _ = _backward(actor, seen.state, hidden, by_raw)
                actor -= _bounded(by_weights, _ACTOR_RATE)
                slow += np.float32(_FOLLOW) * (fast - slow)
        return weights

    def _parts(self, weights: Floats) -> list[Floats]:
        """Views of the actor and the critics of one half."""
        ends = np.cumsum(self._lengths)
        return [weights[end - n : end] for n, end in zip(self._lengths, ends, strict=True)]


def _length(n_inputs: int) -> int:
    return (n_inputs + 2) * _HIDDEN + 1


def _joined(state: Floats, action: Floats) -> Floats:
    return np.hstack([state, action[:, None]]).astype(np.float32)


def _forward(net: Floats, inputs: Floats) -> tuple[Floats, Floats]:
    """Outputs, shape ``(n,)``, and hidden units."""
    end = inputs.shape[1] * _HIDDEN
    before = inputs @ net[:end].reshape(-1, _HIDDEN) + net[end : end + _HIDDEN]
    hidden: Floats = np.maximum(before, np.float32(0.0))
    outputs: Floats = hidden @ net[end + _HIDDEN : -1] + net[-1]
    return outputs, hidden


def _backward(net: Floats, inputs: Floats, hidden: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Gradients by weights, flat, and by inputs."""
    end = inputs.shape[1] * _HIDDEN
    by_hidden = errors[:, None] * net[end + _HIDDEN : -1] * (hidden > 0)
    by_weights = [(inputs.T @ by_hidden).ravel(), by_hidden.sum(0), hidden.T @ errors]
    by_inputs = by_hidden @ net[:end].reshape(-1, _HIDDEN).T
    flat = np.append(np.concatenate(by_weights), errors.sum())
    return flat.astype(np.float32), by_inputs.astype(np.float32)


def _bounded(gradient: Floats, rate: float) -> Floats:
    length = float(np.linalg.norm(gradient))
    step = rate * min(1.0, _LONGEST / max(length, 1e-9))
    return (gradient * step).astype(np.float32)
