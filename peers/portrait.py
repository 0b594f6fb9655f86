"""What a peer says of its owner's tastes and whereabouts: drawn once, with noise, then kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from topology.cells import blurred_area
from topology.profile import sketch


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """Kept as it is for ever, so that its noise cannot be averaged away.

    Attributes:
        area: Blurred area cell, "" without positions.
        sketch: Noisy category sketch.
    """

    area: str
    sketch: bytes

    @classmethod
    def draw(cls, catalogue: Catalogue, history: History, *, rng: np.random.Generator) -> Portrait:
        """A portrait of whoever has this history; of a newcomer it says nothing."""
        area = blurred_area(catalogue, history, rng=rng)
        return cls(area=area, sketch=sketch(catalogue, history, rng=rng))

    def to_array(self) -> NDArray[np.uint8]:
        """For the store."""
        return np.frombuffer(self.area.encode() + b"|" + self.sketch, np.uint8)

    @classmethod
    def from_array(cls, array: NDArray[np.generic]) -> Portrait:
        """The inverse of ``to_array``."""
        area, _, bits = array.tobytes().partition(b"|")
        return cls(area=area.decode(), sketch=bits)
