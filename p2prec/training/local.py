"""The learner of one peer: model, training, collaboration and protection together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.methods import build_method
from p2prec.collaboration.payload import Payload
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.errors import StoreError
from p2prec.models.families import build_model
from p2prec.models.model import Outlook
from p2prec.models.recommender import Context, Task
from p2prec.privacy.protection import Protection
from p2prec.training.combinations import check_learner
from p2prec.training.config import LearnerConfig
from p2prec.training.epoch import Pupil, train_epoch
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport, Received, Recommendation, TrainingReport

_TRAIN, _PUBLISH = 0, 1  # purposes of random streams


class LocalLearner:
    """Implements ``p2prec.training.learner.Learner`` for one owner.

    Random streams are a pure function of (seed, purpose, round), so that a restarted peer draws
    what it would have drawn.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        config: LearnerConfig,
        *,
        history: History,
        seed: int,
        device_seed: int = 0,
    ) -> None:
        check_learner(config)
        self.config = config
        self._seed = seed
        model = build_model(
            catalogue,
            family=config.model.family,
            embedding_size=config.model.embedding_size,
            task=config.model.task,
        )
        self.knowledge = Knowledge(catalogue, model, config.training, history)
        self.collaboration = build_method(config.collaboration.method, config.collaboration.options)
        self.protection = Protection(config.protection, self.knowledge, device_seed=device_seed)
        self._observe = model.observer()
        self.publish_snapshot()

    def train(self, round_: int) -> TrainingReport:
        """One round of local training; the lessons of the collaboration method join in."""
        return train_together([self], [round_])[0]

    def payloads(self, round_: int, *, degree: int) -> Sequence[Payload]:
        """What every follower gets after this round, protection applied."""
        return payloads_together([self], [round_], degrees=[degree])[0]

    def merge(self, round_: int, received: Sequence[Received]) -> MergeReport:
        """Take in what neighbours sent."""
        return merge_together([self], [round_], [received])[0]

    def scores(self, context: Context) -> NDArray[np.float32]:
        """Scores of all items in the sense of the task, shape ``(n_items,)``."""
        return self._look(context)[1]

    def recommend(self, context: Context, k: int, *, new_only: bool) -> list[Recommendation]:
        """The ``k`` best items and why."""
        outlook, scores, own = self._look(context)
        if new_only:
            scores[own] = -np.inf
        k = min(k, len(scores))
        best = np.argpartition(-scores, k - 1)[:k]
        best = best[np.argsort(-scores[best], kind="stable")]
        return [
            Recommendation(item=int(i), score=float(scores[i]), reasons=_strongest(outlook, int(i)))
            for i in best
            if np.isfinite(scores[i])
        ]

    def add(self, history: History) -> None:
        """Replace the owner's history by a longer one."""
        self.knowledge.reset_history(history)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything a restart needs."""
        knowledge = self.knowledge
        result: dict[str, NDArray[np.generic]] = dict(knowledge.table.state())
        result["dense"] = knowledge.dense
        result["dense_accumulator"] = knowledge.dense_accumulator
        result["private"] = knowledge.private
        result["private_accumulator"] = knowledge.private_accumulator
        return result

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from an earlier run.

        Raises:
            StoreError: The state belongs to another model or realm.
        """
        knowledge = self.knowledge
        try:
            dense = np.asarray(state["dense"], np.float32)
            private = np.asarray(state["private"], np.float32)
            values = np.asarray(state["values"], np.float32)
            rows = np.asarray(state["rows"], np.uint32)
            if (
                dense.shape != knowledge.dense.shape
                or private.shape != knowledge.private.shape
                or values.shape[1:] != (knowledge.model.width,)
            ):
                raise StoreError("the stored model has another size than the settings ask for")
            if len(rows) and rows.max() >= len(knowledge.catalogue):
                raise StoreError("the stored model belongs to another catalogue")
            knowledge.table.restore(
                rows=rows,
                values=values,
                accumulator=np.asarray(state["accumulator"], np.float32),
                evidence=np.asarray(state["evidence"], np.float32),
            )
            knowledge.dense = dense.copy()
            knowledge.dense_accumulator = np.asarray(state["dense_accumulator"], np.float32).copy()
            knowledge.private = private.copy()
            knowledge.private_accumulator = np.asarray(
                state["private_accumulator"], np.float32
            ).copy()
        except KeyError as missing:
            raise StoreError(f"the stored model lacks {missing}") from missing
        self.publish_snapshot()

    def rng(self, purpose: int, round_: int) -> np.random.Generator:
        """The stream of one purpose in one round."""
        return np.random.default_rng(np.random.SeedSequence([self._seed, purpose, round_]))

    def publish_snapshot(self) -> None:
        """Let recommendations see what was learned."""
        # One assignment: a recommendation in another thread sees the old model or the new one.
        self._snapshot = self.knowledge.parameters()

    def _look(self, context: Context) -> tuple[Outlook, NDArray[np.float32], NDArray[np.int32]]:
        """The outlook, its scores with new items favoured, and the owner's items."""
        timeline = self.knowledge.timeline  # read once: another thread may lengthen the history
        moment = timeline.moment(len(timeline), float(context.timestamp_s)) if timeline else None
        outlook = self._observe(self._snapshot, moment)
        scores = outlook.scores()
        if moment is not None and self.knowledge.model.task is not Task.RATING:
            favour = np.float32(np.log(self.config.model.discovery))
            scores += favour
            scores[timeline.own] -= favour
        return outlook, scores, timeline.own


def train_together(learners: Sequence[LocalLearner], rounds: Sequence[int]) -> list[TrainingReport]:
    """One round of local training of each; their steps are computed together.

    The lessons of each learner's collaboration method join in.

    Args:
        learners: Different ones.
        rounds: The round of each.
    """
    rngs = [learner.rng(_TRAIN, r) for learner, r in zip(learners, rounds, strict=True)]
    epochs = [learner.config.training.epochs for learner in learners]
    loss = np.zeros(len(learners))
    examples = np.zeros(len(learners), np.int64)
    for epoch in range(max(epochs)):
        going = [i for i, n in enumerate(epochs) if epoch < n]
        pupils = []
        for i in going:
            knowledge = learners[i].knowledge
            lessons = learners[i].collaboration.lessons(knowledge, rng=rngs[i])
            pupils.append(Pupil(knowledge=knowledge, rng=rngs[i], lessons=lessons))
        train_epoch(pupils)
        for i, pupil in zip(going, pupils, strict=True):
            loss[i] += pupil.loss
            examples[i] = pupil.n_examples
    for learner in learners:
        learner.publish_snapshot()
    return [
        TrainingReport(loss=total / max(1, n * n_epochs), n_examples=n)
        for total, n, n_epochs in zip(loss.tolist(), examples.tolist(), epochs, strict=True)
    ]


def payloads_together(
    learners: Sequence[LocalLearner], rounds: Sequence[int], *, degrees: Sequence[int]
) -> list[Sequence[Payload]]:
    """What every follower of each learner gets after its round, protection applied.

    Args:
        learners: Different ones.
        rounds: The round of each.
        degrees: Followers of each, at least 1.
    """
    result: list[Sequence[Payload]] = []
    for learner, round_, degree in zip(learners, rounds, degrees, strict=True):
        rng = learner.rng(_PUBLISH, round_)
        published = learner.collaboration.publish(
            learner.knowledge,
            round_=round_,
            degree=degree,
            shown=learner.protection.shown_places,
            rng=rng,
        )
        result.append([learner.protection.protect(payload, rng=rng) for payload in published])
    return result


def merge_together(
    learners: Sequence[LocalLearner],
    rounds: Sequence[int],
    received: Sequence[Sequence[Received]],
) -> list[MergeReport]:
    """Let each learner take in what its neighbours sent.

    Args:
        learners: Different ones.
        rounds: The round of each.
        received: The inbox of each.
    """
    reports = []
    for learner, round_, inbox in zip(learners, rounds, received, strict=True):
        reports.append(
            learner.collaboration.merge(learner.knowledge, round_=round_, received=inbox)
        )
        learner.publish_snapshot()
    return reports


def _strongest(outlook: Outlook, item: int) -> tuple[tuple[str, float], ...]:
    strongest = sorted(outlook.reasons(item).items(), key=lambda pair: -pair[1])
    return tuple((name, value) for name, value in strongest[:3] if value > 0)
