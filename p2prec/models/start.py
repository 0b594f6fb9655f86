"""Weights that a network starts from, as text: all peers of the world start from the same."""

from __future__ import annotations

import base64
import textwrap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_SCALE = 1e-2  # a feature that never varied is not blown up where it does


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Usual value and spread of each feature of a block; features lie in rows, cases in columns.

    Attributes:
        mean: Shape ``(n_features,)``.
        scale: Shape ``(n_features,)``, standard deviations.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Scaling:
        """That of some cases, shape ``(n_features, n)``."""
        return cls(
            mean=features.mean(1, dtype=np.float64).astype(np.float16).astype(np.float32),
            scale=np.maximum(features.std(1, dtype=np.float64), _LEAST_SCALE)
            .astype(np.float16)
            .astype(np.float32),
        )

    def some(self, which: slice | list[int]) -> Scaling:
        """Of some of the features."""
        return Scaling(mean=self.mean[which], scale=self.scale[which])

    def normalised(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features of mean 0 and deviation 1, in place; shape ``(n_features, n)``."""
        features -= self.mean[:, None]
        features /= self.scale[:, None]
        return features


def encoded(values: NDArray[np.float32], *, width: int = 88) -> list[str]:
    """Numbers of half precision as lines of text."""
    return textwrap.wrap(base64.b64encode(values.astype("<f2").tobytes()).decode(), width)


def decoded(text: str) -> NDArray[np.float32]:
    """The inverse of ``encoded``, lines joined."""
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)
