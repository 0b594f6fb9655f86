"""Peers whose rounds run in step, with nothing in between: for many models and many questions.

A simulation has a network in it and asks each peer for one interaction. Where tens of models are to
be told apart, more questions count for more than a network that is the same for all: here everybody
trains, sends to random others, averages what came, and is asked for its newest interactions one
after the other, each with those before it known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import Payload
from p2prec.data.interactions import History
from p2prec.evaluation.baselines import BASELINES
from p2prec.evaluation.metrics import rank_of
from p2prec.models.recommender import Context
from p2prec.training.config import LearnerConfig
from p2prec.training.learner import Received
from p2prec.training.local import (
    LocalLearner,
    merge_together,
    payloads_together,
    train_together,
)
from peers.asking import asked_at, met_again
from peers.swarm.data import Realm

_TOP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Answers to all questions.

    Attributes:
        user: Of each question.
        new: Whether its item was new to the user.
        hit: Whether it was among the first ten of the whole catalogue.
        gain: Its discounted gain there.
        auc: Chance that it is before another item.
    """

    user: tuple[int, ...]
    new: tuple[bool, ...]
    hit: tuple[float, ...]
    gain: tuple[float, ...]
    auc: tuple[float, ...]

    def means(self) -> dict[str, float]:
        """Over all questions, and those for new items."""
        new = np.array(self.new)
        return {
            "hr@10": float(np.mean(self.hit)),
            "ndcg@10": float(np.mean(self.gain)),
            "auc": float(np.mean(self.auc)),
            "new ndcg@10": float(np.mean(np.array(self.gain)[new])) if new.any() else 0.0,
        }


def arrived(
    sender: int, payloads: Sequence[Payload], *, geographic: float = 0.5, semantic: float = 0.5
) -> list[Received]:
    """What one sender said in this round, as it lies in an inbox.

    Args:
        sender: By number.
        payloads: What it said.
        geographic: Similarity to it of who hears it.
        semantic: The same.
    """
    return [
        Received(
            sender=str(sender),
            payload=payload,
            geographic=geographic,
            semantic=semantic,
            staleness_rounds=0,
        )
        for payload in payloads
    ]


def exchange(
    learners: Sequence[LocalLearner],
    round_: int,
    hears: Sequence[Sequence[int]],
    *,
    degree: int,
    alike: Callable[[int, int], tuple[float, float]] = lambda *_: (0.5, 0.5),
) -> list[Sequence[Payload]]:
    """Train, send, merge; returns what each learner sent to all who hear it.

    Args:
        learners: Different ones.
        round_: Of all of them.
        hears: For each learner those whom it hears, in the order in which they arrive.
        degree: How many hear each, as each is told.
        alike: Geographic and semantic similarity of who hears with whom it hears.
    """
    n, rounds = len(learners), [round_] * len(learners)
    train_together(learners, rounds)
    said = payloads_together(learners, rounds, degrees=[degree] * n)
    for j in sorted({j for heard in hears for j in heard}):
        for payload in said[j]:
            learners[j].left(payload)
    inboxes = []
    for i, heard in enumerate(hears):
        inbox = []
        for j in heard:
            geographic, semantic = alike(i, j)
            inbox += arrived(j, said[j], geographic=geographic, semantic=semantic)
        inboxes.append(inbox)
    merge_together(learners, rounds, inboxes)
    return said


def live(
    realm: Realm, config: LearnerConfig, *, hold: int, rounds: int, degree: int, seed: int
) -> list[LocalLearner]:
    """Learners after all rounds; with the same seed the same people send to the same.

    Args:
        realm: The users.
        config: Of all of them.
        hold: Newest interactions of each user that are not learned from.
        rounds: Of training and exchange.
        degree: How many others each sends to in a round.
        seed: Of who sends to whom, and of each learner.
    """
    n = len(realm.histories)
    learners = [
        LocalLearner(
            realm.catalogue, config, history=h.head(-hold), seed=1_000 * seed + i, device_seed=i
        )
        for i, h in enumerate(realm.histories)
    ]
    rng = np.random.default_rng(seed)
    for round_ in range(rounds):
        hears: list[list[int]] = [[] for _ in range(n)]
        for sender in range(n):
            others = np.delete(np.arange(n), sender)
            for to in rng.choice(others, min(degree, n - 1), replace=False).tolist():
                hears[to].append(sender)
        exchange(learners, round_, hears, degree=degree)
    return learners


def ask(learners: Sequence[LocalLearner], realm: Realm, *, hold: int) -> Asked:
    """Ask each learner for its owner's newest interactions; it learns of each after its question.

    Args:
        learners: As of ``live``.
        realm: The users.
        hold: As of ``live``.
    """

    def scores(number: int, known: History, now: Context) -> NDArray[np.float32]:
        learners[number].add(known)
        return learners[number].scores(now)

    return _asked(scores, realm, hold=hold)


def ask_baseline(name: str, realm: Realm, *, hold: int) -> Asked:
    """The same questions to a baseline that reads what all learners together have learned from.

    Args:
        name: Of ``p2prec.evaluation.baselines``.
        realm: The users.
        hold: As of ``live``.
    """
    baseline = BASELINES[name](realm.catalogue, [h.head(-hold) for h in realm.histories])
    return _asked(lambda _, known, now: baseline.scores(known, now), realm, hold=hold)


def _asked(
    scores_of: Callable[[int, History, Context], NDArray[np.float32]], realm: Realm, *, hold: int
) -> Asked:
    """Ask for the newest interactions of each user, one after the other.

    Args:
        scores_of: Scores of all items for a user, by number, of whom some history is known.
        realm: The users.
        hold: Questions of each.
    """
    repeats = met_again(realm.histories)
    user, new, hit, gain, area = [], [], [], [], []
    for number, history in enumerate(realm.histories):
        for back in range(hold, 0, -1):
            known, target = history.head(-back), _one(history, len(history) - back)
            scores, item = scores_of(number, known, asked_at(target)), int(target.item[0])
            own = np.unique(known.item)
            if not repeats:
                scores[own] = -np.inf
            rank = rank_of(scores, item)
            user.append(number)
            new.append(item not in own)
            hit.append(float(rank <= _TOP))
            gain.append(1.0 / np.log2(rank + 1.0) if rank <= _TOP else 0.0)
            others = int(np.isfinite(scores).sum()) - 1
            area.append(1.0 - (rank - 1) / max(others, 1))
    return Asked(
        user=tuple(user), new=tuple(new), hit=tuple(hit), gain=tuple(gain), auc=tuple(area)
    )


def _one(history: History, at: int) -> History:
    """One interaction."""
    part = slice(at, at + 1)
    return History(
        item=history.item[part], timestamp_s=history.timestamp_s[part], rating=history.rating[part]
    )
