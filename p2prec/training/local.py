"""The learner of one peer: model, training, collaboration, protection and defence together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.methods import build_method
from p2prec.collaboration.payload import Payload
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.errors import ConfigError, StoreError
from p2prec.models.next_place import BIAS, OTHERS, NextPlace, popularity
from p2prec.models.next_place_features import RETURN_FEATURES, Moment, Surroundings, View
from p2prec.models.recommender import Context, Task
from p2prec.privacy.protection import Protection
from p2prec.training.config import LearnerConfig
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport, Received, Recommendation, TrainingReport

_TRAIN, _PUBLISH = 0, 1  # purposes of random streams
Snapshot = tuple[NDArray[np.float32], NDArray[np.float32]]  # dense table, dense parameters


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
        if config.model.task is not Task.RANKING:
            raise ConfigError("the next-place model ranks; click and rating need family = 'mf'")
        if not config.model.discovery > 0:
            raise ConfigError(f"discovery = {config.model.discovery} must be above 0; 1 is neutral")
        self._config = config
        self._seed = seed
        model = NextPlace(catalogue, config.model.embedding_size)
        self.knowledge = Knowledge(catalogue, model, config.training, history)
        self.collaboration = build_method(config.collaboration.method, config.collaboration.options)
        self._protection = Protection(config.protection, self.knowledge, device_seed=device_seed)
        self._surroundings = Surroundings(catalogue)
        self._publish_snapshot()

    def train(self, round_: int) -> TrainingReport:
        """One round of local training; the lessons of the collaboration method join in."""
        rng = self._rng(_TRAIN, round_)
        loss, n = 0.0, 0
        for _ in range(self._config.training.epochs):
            lessons = self.collaboration.lessons(self.knowledge, rng=rng)
            more, n = self.knowledge.epoch(rng, lessons)
            loss += more
        self._publish_snapshot()
        return TrainingReport(loss=loss / max(1, n * self._config.training.epochs), n_examples=n)

    def payloads(self, round_: int, *, degree: int) -> Sequence[Payload]:
        """What every neighbour gets after this round, protection applied."""
        rng = self._rng(_PUBLISH, round_)
        published = self.collaboration.publish(
            self.knowledge, round_=round_, degree=degree, rng=rng
        )
        return [self._protection.protect(payload, rng=rng) for payload in published]

    def merge(self, round_: int, received: Sequence[Received]) -> MergeReport:
        """Take in what neighbours sent."""
        report = self.collaboration.merge(self.knowledge, round_=round_, received=received)
        self._publish_snapshot()
        return report

    def scores(self, context: Context) -> NDArray[np.float32]:
        """Log-probabilities of all items, shape ``(n_items,)``."""
        return self._scores(self._snapshot, *self._situation(context))

    def recommend(self, context: Context, k: int, *, new_only: bool) -> list[Recommendation]:
        """The ``k`` best items and why."""
        snapshot, (moment, view) = self._snapshot, self._situation(context)
        scores = self._scores(snapshot, moment, view)
        if new_only and moment is not None:
            scores[moment.own] = -np.inf
        k = min(k, len(scores))
        best = np.argpartition(-scores, k - 1)[:k]
        best = best[np.argsort(-scores[best], kind="stable")]
        return [
            Recommendation(
                item=int(i),
                score=float(scores[i]),
                reasons=self._reasons(snapshot, moment, view, int(i)),
            )
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
        return result

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from an earlier run.

        Raises:
            StoreError: The state belongs to another model or realm.
        """
        knowledge = self.knowledge
        try:
            dense = np.asarray(state["dense"], np.float32)
            values = np.asarray(state["values"], np.float32)
            rows = np.asarray(state["rows"], np.uint32)
            if dense.shape != knowledge.dense.shape or values.shape[1:] != (knowledge.model.width,):
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
        except KeyError as missing:
            raise StoreError(f"the stored model lacks {missing}") from missing
        self._publish_snapshot()

    def _rng(self, purpose: int, round_: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self._seed, purpose, round_]))

    def _publish_snapshot(self) -> None:
        # One assignment: a recommendation in another thread sees the old model or the new one.
        self._snapshot: Snapshot = (self.knowledge.table.dense(), self.knowledge.dense.copy())

    def _situation(self, context: Context) -> tuple[Moment, View] | tuple[None, None]:
        timeline = self.knowledge.timeline
        if not len(timeline):
            return None, None
        moment = timeline.moment(len(timeline), float(context.timestamp_s))
        return moment, self._surroundings.of(moment)

    def _scores(
        self, snapshot: Snapshot, moment: Moment | None, view: View | None
    ) -> NDArray[np.float32]:
        table, dense = snapshot
        if moment is None or view is None:  # a newcomer: what others go to
            return table[:, OTHERS] + table[:, BIAS]
        scores = self.knowledge.model.scores(table, dense, moment, view)
        favour = np.float32(np.log(self._config.model.discovery))
        scores += favour
        scores[moment.own] -= favour
        return scores

    def _reasons(
        self, snapshot: Snapshot, moment: Moment | None, view: View | None, item: int
    ) -> tuple[tuple[str, float], ...]:
        table, dense = snapshot
        if moment is None or view is None:
            return (("others go there", float(table[item, OTHERS])),)
        layout = self.knowledge.model.layout
        at = int(np.searchsorted(moment.own, item))
        if at < len(moment.own) and moment.own[at] == item:
            effect = layout.view(dense, "returning") * (
                moment.returning[at] - moment.returning.mean(0)
            )
            named = dict(zip(RETURN_FEATURES, map(float, effect), strict=True))
        else:
            held = moment.sequence[moment.sequence >= 0]
            likeness = table[held, :OTHERS] @ table[item, :OTHERS]
            weights = layout.view(dense, "explore")
            near = view.closeness[-1]
            named = {
                "near": float(weights[0] * (near[item] - near.mean())),
                "others go there": float(
                    weights[-1] * popularity(table[item, OTHERS], layout.view(dense, "tried").sum())
                    + table[item, BIAS]
                ),
                "goes with places you know": float(
                    layout.view(dense, "attention")[0] * likeness.mean()
                ),
            }
        strongest = sorted(named.items(), key=lambda pair: -pair[1])
        return tuple((name, value) for name, value in strongest[:3] if value > 0)
