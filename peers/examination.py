"""What the recommenders of one realm are asked, and how their scores are read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from p2prec.data.interactions import History
from p2prec.data.split import leave_one_out
from p2prec.evaluation.answers import Answer, Question, answered
from p2prec.evaluation.protocol import PROTOCOLS, Competitors
from peers.asking import met_again
from peers.swarm.data import Realm


class Examination:
    """One question a user: the last interaction, after all others.

    Where nobody ever meets an item twice, as with films, known items do not compete: a list of
    them would be no recommendation.

    Args:
        realm: Whose users are asked.
    """

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self.splits = [leave_one_out(history) for history in realm.histories]
        self.repeats = met_again(realm.histories)

    @cached_property
    def questions(self) -> list[Question]:
        """By user."""
        met = np.zeros(len(self._realm.catalogue), np.int64)
        for split in self.splits:
            met[np.unique(split.train.item)] += 1
        asked = []
        for user, split in enumerate(self.splits):
            known, item = self.known(user), int(split.test.item[0])
            asked.append(
                Question(
                    user=self._realm.users[user],
                    item=item,
                    is_new=item not in known.item,
                    visits=len(known),
                    popularity=int(met[item]),
                    rating=float(split.test.rating[0]),
                )
            )
        return asked

    def known(self, user: int) -> History:
        """What a user had met before the question."""
        return self._realm.histories[user].head(-1)

    def answer(self, user: int, scores: NDArray[np.float32]) -> Answer:
        """Read the scores of all items, shape ``(n_items,)``, for one user's question."""
        own = np.unique(self.known(user).item)
        if not self.repeats:
            scores = scores.copy()
            scores[own] = -np.inf
        item = int(self.splits[user].test.item[0])
        return answered(scores, item, own=own, competitors=self._competitors)

    def shared(
        self, answers: Mapping[str, Mapping[int, Answer]]
    ) -> tuple[list[Question], dict[str, list[Answer]]]:
        """The questions that everybody has answered, and each one's answers to them.

        A simulated peer that never came to its end has no answer; nobody is asked for its user.

        Args:
            answers: By method and user.
        """
        users = [
            u for u in range(len(self.splits)) if all(u in given for given in answers.values())
        ]
        questions = [self.questions[u] for u in users]
        return questions, {name: [given[u] for u in users] for name, given in answers.items()}

    @cached_property
    def _competitors(self) -> Competitors | None:
        if not np.isfinite(self._realm.catalogue.latitude_deg).any():
            return None
        return Competitors(PROTOCOLS["nearest_200"], self._realm.catalogue)
