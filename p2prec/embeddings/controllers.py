"""Small networks that choose widths: one hidden layer, different weights for each peer.

    logits = relu(x A) B + b

They start as a choice that is sensible by itself: the first hidden unit is the item's familiarity,
``x_1 + 2``, and lets wide candidates win the more the better an item is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.table import Floats

_START = 4.0  # slope of the logits in familiarity
_SMALL = 0.05  # standard deviation of the other weights


@dataclass(frozen=True, slots=True)
class Controller:
    """Shapes of one network.

    Attributes:
        n_inputs: The first is familiarity, the last is one.
        n_hidden: Units.
        n_outputs: Candidates.
    """

    n_inputs: int
    n_hidden: int
    n_outputs: int

    @property
    def n_weights(self) -> int:
        """All of them."""
        return self.n_hidden * (self.n_inputs + self.n_outputs) + self.n_outputs

    def initial(self, rng: np.random.Generator, candidates: NDArray[np.int64]) -> Floats:
        """Wide candidates for what is known well; flat."""
        first = rng.normal(0.0, 1.0, (self.n_inputs, self.n_hidden))
        first[:, 0] = 0.0
        first[0, 0], first[-1, 0] = 1.0, 2.0
        second = rng.normal(0.0, _SMALL, (self.n_hidden, self.n_outputs))
        second[0] = _START * candidates / candidates.max()
        flat = np.concatenate([first.ravel(), second.ravel(), np.zeros(self.n_outputs)])
        return flat.astype(np.float32)

    def forward(
        self, weights: Floats, owner: NDArray[np.integer[Any]], inputs: Floats
    ) -> tuple[Floats, Any]:
        """Logits, shape ``(n, n_outputs)``, and what ``backward`` needs.

        Args:
            weights: Shape ``(n_peers, n_weights)``.
            owner: Shape ``(n,)``, whose weights to take.
            inputs: Shape ``(n, n_inputs)``.
        """
        logits = np.empty((len(inputs), self.n_outputs), np.float32)
        hidden = np.empty((len(inputs), self.n_hidden), np.float32)
        parts = _parts(owner, len(weights))
        for peer, part in parts:
            first, second, bias = self._split(weights[peer])
            hidden[part] = np.maximum(inputs[part] @ first, 0.0)
            logits[part] = hidden[part] @ second + bias
        return logits, (weights, parts, inputs, hidden)

    def backward(self, tape: Any, by_logits: Floats) -> Floats:
        """Gradients by weights, shape ``(n_peers, n_weights)``."""
        weights, parts, inputs, hidden = tape
        result = np.zeros(weights.shape, np.float32)
        for peer, part in parts:
            second = self._split(weights[peer])[1]
            by_hidden = (by_logits[part] @ second.T) * (hidden[part] > 0)
            result[peer] = np.concatenate(
                [
                    (inputs[part].T @ by_hidden).ravel(),
                    (hidden[part].T @ by_logits[part]).ravel(),
                    by_logits[part].sum(0),
                ]
            )
        return result

    def _split(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        end = self.n_inputs * self.n_hidden
        return (
            weights[:end].reshape(self.n_inputs, self.n_hidden),
            weights[end : -self.n_outputs].reshape(self.n_hidden, self.n_outputs),
            weights[-self.n_outputs :],
        )


def softmax(logits: Floats) -> Floats:
    """Of each row."""
    chances = np.exp(logits - logits.max(1, keepdims=True))
    result: Floats = chances / chances.sum(1, keepdims=True)
    return result


def _parts(
    owner: NDArray[np.integer[Any]], n_peers: int
) -> list[tuple[int, NDArray[np.integer[Any]]]]:
    """Places of each peer that has any."""
    order = np.argsort(owner, kind="stable")
    ends = np.cumsum(np.bincount(owner, minlength=n_peers))
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    return [
        (peer, order[start:end])
        for peer, (start, end) in enumerate(zip(starts, ends, strict=True))
        if end > start
    ]
