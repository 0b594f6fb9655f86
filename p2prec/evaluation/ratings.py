"""Several recommenders that say ratings, over seeds: errors, intervals, paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.evaluation.comparison import Gathered
from p2prec.evaluation.metrics import mae, rmse
from p2prec.evaluation.statistics import interval, paired


class RatingComparison(Gathered):
    """Ratings that methods have said.

    Args:
        lowest: End of the scale; what is said is clipped to it.
        highest: The other end.
    """

    def __init__(self, *, lowest: float, highest: float) -> None:
        super().__init__()
        self._scale = (lowest, highest)

    def summary(self) -> dict[str, Any]:
        """``figures`` by method, ``paired`` by method, ``against`` whom, and all ``answers``.

        ``figures`` are ``rmse`` with ``rmse_interval``, the 95 % interval over users, ``mae`` and
        ``n``; ``paired`` compares squared errors, so that a negative difference is a better one.
        """
        rating = np.array([q.rating for q in self._questions])
        users = [q.user for q in self._questions]
        said = {
            name: np.clip([answer.said for answer in given], *self._scale)
            for name, given in self._answers.items()
        }
        squared = {name: np.square(given - rating) for name, given in said.items()}
        against = self.reference
        return {
            "figures": {
                name: {
                    "rmse": rmse(given, rating),
                    "rmse_interval": _ends(squared[name], users),
                    "mae": mae(given, rating),
                    "n": len(rating),
                }
                for name, given in said.items()
            },
            "against": against,
            "paired": {
                name: paired(squared[name], squared[against], users)
                for name in said
                if name != against
            },
            "answers": {
                "seed": self._seeds,
                "user": users,
                "rating": rating.tolist(),
                "said": {name: np.round(given, 4).tolist() for name, given in said.items()},
            },
        }


def _ends(squared: NDArray[np.float64], users: Sequence[str]) -> list[float]:
    """Roots of the ends of the interval of the mean squared error."""
    return [float(np.sqrt(end)) for end in interval(squared, users, highest=np.inf)]
