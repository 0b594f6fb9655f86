"""The learner of one peer: model, training, collaboration and protection together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.method import Collaboration, Listener, Speaker
from p2prec.collaboration.methods import build_method
from p2prec.collaboration.payload import Payload
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.draws import generator, stream, word
from p2prec.errors import OtherModelError, StoreError
from p2prec.models.explored import Explored
from p2prec.models.families import build_model
from p2prec.models.highest import highest
from p2prec.models.model import Looking, Outlook
from p2prec.models.recommender import Context, Task
from p2prec.privacy.protection import Protection, protect_together
from p2prec.training.combinations import check_learner
from p2prec.training.config import LearnerConfig
from p2prec.training.epoch import Pupil, train_epoch
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport, Received, Recommendation, TrainingReport

TRAIN, PUBLISH, _PROTECT = 0, 1, 2  # purposes of random streams


class LocalLearner:
    """Implements ``p2prec.training.learner.Learner`` for one owner.

    Random streams are a pure function of (seed, purpose, round), so that a restarted peer draws
    what it would have drawn.

    Recommendations read what was learned where it lies, until ``watch``: from then on they read
    what is laid ready for them anew after each training and merge, a compact table in packed form.

    Attributes:
        lost: Why what was stored of others could not be taken, in one sentence; "" where it could.
            It comes back by itself, so that nobody has to do without the model.
        anew: Why a stored model was left and is learned anew, in one sentence; "" where it was not.
    """

    __slots__ = (
        "_ready",
        "_seed",
        "anew",
        "collaboration",
        "config",
        "knowledge",
        "lost",
        "protection",
    )

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
        self._seed = word(seed)
        model = build_model(
            catalogue,
            family=config.model.family,
            embedding_size=config.model.embedding_size,
            task=config.model.task,
            table=config.model.table,
            compression=config.model.compression,
        )
        self.knowledge = Knowledge(catalogue, model, config.training, history)
        self.collaboration = build_method(config.collaboration.method, config.collaboration.options)
        self.protection = Protection(
            config.protection,
            self.knowledge,
            device_seed=device_seed,
            sends=self.collaboration.sends,
        )
        self._ready: Looking | None = None
        self.lost = ""
        self.anew = ""

    def train(self, round_: int) -> TrainingReport:
        """One round of local training; the lessons of the collaboration method join in."""
        return train_together([self], [round_])[0]

    def payloads(self, round_: int, *, degree: int) -> Sequence[Payload]:
        """What every follower gets after this round, protection applied."""
        return payloads_together([self], [round_], degrees=[degree])[0]

    def left(self, payload: Payload) -> None:
        """One of them has left the device, to whomever."""
        self.collaboration.left(payload)

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
        return [
            Recommendation(item=int(i), score=float(scores[i]), reasons=_strongest(outlook, int(i)))
            for i in highest(scores, k)
            if np.isfinite(scores[i])
        ]

    def add(self, history: History) -> None:
        """Replace the owner's history by a longer one."""
        self.knowledge.reset_history(history)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything a restart needs."""
        knowledge = self.knowledge
        result: dict[str, NDArray[np.generic]] = dict(knowledge.table.state())
        result["dense"] = knowledge.dense.copy()
        result["dense_accumulator"] = knowledge.dense_accumulator.copy()
        result["private"] = knowledge.private.copy()
        result["private_accumulator"] = knowledge.private_accumulator.copy()
        result["realm"] = self._realm()
        result["sizes"] = np.array(_sizes(result))
        result.update(self.protection.state())
        result.update(self.collaboration.state(knowledge))
        return result

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from an earlier run.

        Raises:
            OtherModelError: The state is of a model of another size.
            StoreError: It is damaged, or belongs to another realm.
        """
        knowledge = self.knowledge
        try:
            dense = np.asarray(state["dense"], np.float32)
            private = np.asarray(state["private"], np.float32)
            values = np.asarray(state["values"], np.float32)
            rows = np.asarray(state["rows"], np.uint32)
            if not np.array_equal(state.get("realm", self._realm()), self._realm()):
                raise StoreError("the stored model belongs to another catalogue")
            if not np.array_equal(state.get("sizes", _sizes(state)), _sizes(state)):
                raise StoreError("the stored model is damaged")
            if (
                dense.shape != knowledge.dense.shape
                or private.shape != knowledge.private.shape
                or values.shape[1:] != (knowledge.model.width,)
            ):
                raise OtherModelError("the stored model has another size than the settings ask for")
            if len(rows) and rows.max() >= len(knowledge.catalogue):
                raise StoreError("the stored model belongs to another catalogue")
            knowledge.table.restore(
                rows=rows,
                values=values,
                accumulator=np.asarray(state["accumulator"], np.float32),
                evidence=np.asarray(state["evidence"], np.float32),
            )
            knowledge.hold_own()
            knowledge.dense = dense
            knowledge.dense_accumulator = np.asarray(state["dense_accumulator"], np.float32)
            knowledge.private = private
            knowledge.private_accumulator = np.asarray(state["private_accumulator"], np.float32)
            knowledge.mend()
            self.protection.restore(state)
        except KeyError as missing:
            raise StoreError(f"the stored model lacks {missing}") from missing
        self.lost = ""
        try:
            self.collaboration.restore(state, knowledge)
        except StoreError as error:
            self.lost = str(error)
        self.publish_snapshot()

    def _realm(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.knowledge.catalogue.digest, np.uint8)

    @property
    def seed(self) -> np.uint64:
        """Of all streams of this learner."""
        return self._seed

    def watch(self) -> None:
        """Let another thread recommend while this one trains or merges, from now on."""
        self._ready = self._laid_ready()

    def publish_snapshot(self) -> None:
        """Let watched recommendations see what was learned."""
        if self._ready is not None:
            # One assignment: another thread sees the old model or the new one.
            self._ready = self._laid_ready()

    def _laid_ready(self) -> Looking:
        return self.knowledge.model.at_rest(self.knowledge.snapshot())

    def _look(self, context: Context) -> tuple[Outlook, NDArray[np.float32], NDArray[np.int32]]:
        """The outlook, its scores with new items favoured, and the owner's items."""
        timeline = self.knowledge.timeline  # read once: another thread may lengthen the history
        moment = None
        if len(timeline) and self.knowledge.model.of_moments:
            moment = timeline.moment(len(timeline), float(context.timestamp_s))
        outlook = (self._ready or self._laid_ready())(moment)
        scores = outlook.scores()
        if len(timeline) and self.knowledge.model.task is not Task.RATING:
            favour = np.float32(np.log(self.config.model.discovery))
            scores += favour
            scores[timeline.own] -= favour
        return outlook, scores, timeline.own


def _sizes(state: Mapping[str, NDArray[np.generic]]) -> list[int]:
    """Dense and private parameters of a state, and columns of its rows."""
    return [len(state["dense"]), len(state["private"]), state["values"].shape[-1]]


def train_together(learners: Sequence[LocalLearner], rounds: Sequence[int]) -> list[TrainingReport]:
    """One round of local training of each; their steps are computed together.

    The lessons of each learner's collaboration method join in.

    Args:
        learners: Different ones.
        rounds: The round of each.
    """
    for learner in learners:
        learner.protection.before_training()
        learner.collaboration.before_training(learner.knowledge)
    epochs = [learner.config.training.epochs for learner in learners]
    loss, diverged = np.zeros(len(learners)), np.zeros(len(learners), np.bool_)
    pupils: list[Pupil] = []
    for epoch in range(max(epochs)):
        going = [i for i, n in enumerate(epochs) if epoch < n]
        drawing = pass_keys(learners, rounds, epoch)
        pupils = [
            Pupil(
                knowledge=learners[i].knowledge,
                key=drawing[i],
                lessons=_lessons(learners[i], drawing[i]),
            )
            for i in going
        ]
        train_epoch(pupils)
        loss[going] += [pupil.loss for pupil in pupils]
        diverged[going] |= [pupil.diverged for pupil in pupils]
    for learner, round_, strayed in zip(learners, rounds, diverged.tolist(), strict=True):
        learner.collaboration.after_training(learner.knowledge, diverged=strayed)
        learner.knowledge.search(round_)
        learner.protection.after_training()
        learner.publish_snapshot()
    examples = [learner.knowledge.n_in_pass for learner in learners]
    return [
        TrainingReport(loss=total / max(1, n * n_epochs), n_examples=n, diverged=strayed)
        for total, n, n_epochs, strayed in zip(
            loss.tolist(), examples, epochs, diverged.tolist(), strict=True
        )
    ]


def pass_keys(
    learners: Sequence[LocalLearner], rounds: Sequence[int], epoch: int
) -> NDArray[np.uint64]:
    """Key of the stream of each learner in one pass over its examples."""
    return stream(_streams(learners, TRAIN, rounds), epoch)


def payloads_together(
    learners: Sequence[LocalLearner], rounds: Sequence[int], *, degrees: Sequence[int]
) -> list[Sequence[Payload]]:
    """What every follower of each learner gets after its round, protection applied.

    Args:
        learners: Different ones.
        rounds: The round of each.
        degrees: Followers of each, at least 1.
    """
    keys = _streams(learners, PUBLISH, rounds)
    speaking = [
        Speaker(
            knowledge=learner.knowledge,
            round=round_,
            degree=degree,
            shown=learner.protection.shown_places,
            among=learner.protection.among,
            key=key,
        )
        for learner, round_, degree, key in zip(learners, rounds, degrees, keys, strict=True)
    ]
    result: dict[int, Sequence[Payload]] = {}
    for kind, members in _by_method(learners).items():
        said = kind.publish_together(
            [learners[i].collaboration for i in members], [speaking[i] for i in members]
        )
        result.update(zip(members, said, strict=True))
    safe = protect_together(
        [learner.protection for learner in learners],
        [result[i] for i in range(len(learners))],
        keys=_streams(learners, _PROTECT, rounds),
    )
    return [
        learner.collaboration.leaving(learner.knowledge, said)
        for learner, said in zip(learners, safe, strict=True)
    ]


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
    listening = [
        Listener(knowledge=learner.knowledge, round=round_, received=inbox)
        for learner, round_, inbox in zip(learners, rounds, received, strict=True)
    ]
    reports: dict[int, MergeReport] = {}
    for kind, members in _by_method(learners).items():
        found = kind.merge_together(
            [learners[i].collaboration for i in members], [listening[i] for i in members]
        )
        reports.update(zip(members, found, strict=True))
    for learner in learners:
        learner.publish_snapshot()
    return [reports[i] for i in range(len(learners))]


def _streams(
    learners: Sequence[LocalLearner], purpose: int, rounds: Sequence[int]
) -> NDArray[np.uint64]:
    seeds = np.array([learner.seed for learner in learners], np.uint64)
    return stream(seeds, purpose, np.asarray(rounds))


def _lessons(learner: LocalLearner, key: np.uint64) -> Sequence[Explored]:
    if not learner.collaboration.teaches:
        return ()
    return learner.collaboration.lessons(learner.knowledge, rng=generator(key))


def _by_method(learners: Sequence[LocalLearner]) -> dict[type[Collaboration], list[int]]:
    kinds = defaultdict(list)
    for number, learner in enumerate(learners):
        kinds[type(learner.collaboration)].append(number)
    return kinds


def _strongest(outlook: Outlook, item: int) -> tuple[tuple[str, float], ...]:
    strongest = sorted(outlook.reasons(item).items(), key=lambda pair: -pair[1])
    return tuple((name, value) for name, value in strongest[:3] if value > 0)
