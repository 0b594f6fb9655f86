"""Where each shared dense parameter lies in the flat vector that peers exchange."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


class DenseLayout:
    """Named parameters one after the other.

    Args:
        shapes: Shape of each by name, in the order in which they lie.

    Attributes:
        size: Of the flat vector.
    """

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        self._shapes = shapes
        self._part: dict[str, slice] = {}
        self.size = 0
        for name, shape in shapes.items():
            self._part[name] = slice(self.size, self.size + prod(shape))
            self.size += prod(shape)

    def part(self, name: str) -> slice:
        """Where one parameter lies."""
        return self._part[name]

    def view(self, dense: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        """One parameter of a flat vector."""
        return dense[self._part[name]].reshape(self._shapes[name])

    def views(self, dense: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        """One parameter of several flat vectors, shape ``(n, *shape)``."""
        return dense[:, self.part(name)].reshape(len(dense), *self._shapes[name])

    def tensor(self, dense: torch.Tensor, name: str) -> torch.Tensor:
        """One parameter of a batch of flat vectors, shape ``(batch, *shape)``."""
        return dense[:, self._part[name]].reshape(len(dense), *self._shapes[name])
