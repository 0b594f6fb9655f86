"""Several recommenders asked the same questions, over seeds: figures, intervals, paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.evaluation.answers import Answer, Question, figures, gains
from p2prec.evaluation.metrics import K
from p2prec.evaluation.statistics import paired

REFERENCE = "alone"  # what a method is held against, where it is among them


class Gathered:
    """Answers by method to the same questions, in the order in which they were added."""

    def __init__(self) -> None:
        self._seeds: list[int] = []
        self._questions: list[Question] = []
        self._answers: dict[str, list[Answer]] = {}

    def add(
        self, seed: int, questions: Sequence[Question], answers: Mapping[str, Sequence[Answer]]
    ) -> None:
        """Another seed; every method has answered all of its questions."""
        self._seeds += [seed] * len(questions)
        self._questions += questions
        for name, given in answers.items():
            self._answers.setdefault(name, []).extend(given)

    @property
    def reference(self) -> str:
        """The method that others are held against."""
        return REFERENCE if REFERENCE in self._answers else next(iter(self._answers))


class Comparison(Gathered):
    """Rankings that methods have given.

    Args:
        n_items: Of the catalogue.
        clicks: Whether scores are logits of clicks.
    """

    def __init__(self, n_items: int, *, clicks: bool = False) -> None:
        super().__init__()
        self._n_items, self._clicks = n_items, clicks

    def summary(self, *, against: Mapping[str, str] | None = None) -> dict[str, Any]:
        """``figures`` by method, ``paired`` by method, ``against`` whom, and all ``answers``.

        Args:
            against: By method, which other one it is held against; the reference where None.
        """
        other = against or dict.fromkeys(self._answers, self.reference)
        return {
            "figures": {
                name: figures(self._questions, given, n_items=self._n_items, clicks=self._clicks)
                for name, given in self._answers.items()
            },
            "against": self.reference if against is None else dict(against),
            "paired": {
                name: self._paired(name, other[name])
                for name in self._answers
                if name != other[name]
            },
            "answers": self._columns(),
        }

    def _paired(self, name: str, other: str) -> dict[str, dict[str, dict[str, float]]]:
        ours, theirs = self._ranks(name), self._ranks(other)
        new = np.array([q.is_new for q in self._questions], np.bool_)
        users = np.array([q.user for q in self._questions])
        parts = {"all": np.ones(len(new), np.bool_), "returning": ~new, "new": new}
        return {
            part: {
                "hr@10": paired(ours[inside] <= K, theirs[inside] <= K, users[inside].tolist()),
                "ndcg@10": paired(
                    gains(ours[inside]), gains(theirs[inside]), users[inside].tolist()
                ),
            }
            for part, inside in parts.items()
        }

    def _ranks(self, name: str) -> NDArray[np.int64]:
        return np.array([answer.rank for answer in self._answers[name]], np.int64)

    def _columns(self) -> dict[str, Any]:
        """One value a question in each list, so that nothing is said twice."""
        questions = self._questions
        columns: dict[str, Any] = {
            "seed": list(self._seeds),
            "user": [q.user for q in questions],
            "new": [q.is_new for q in questions],
            "visits": [q.visits for q in questions],
            "popularity": [q.popularity for q in questions],
            "rank": {n: [a.rank for a in given] for n, given in self._answers.items()},
            "sampled_rank": {
                n: [a.sampled_rank for a in given] for n, given in self._answers.items()
            },
            "auc": {n: [round(a.auc, 6) for a in given] for n, given in self._answers.items()},
        }
        if self._clicks:
            columns["log_loss"] = {
                n: [round(a.log_loss, 6) for a in given] for n, given in self._answers.items()
            }
        return columns
