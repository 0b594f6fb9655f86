"""Many learners in one process: rounds in step, no network, nothing encoded."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from p2prec.collaboration.payload import Payload
from p2prec.collaboration.updates import Said
from p2prec.training.cohort import Cohort
from p2prec.training.config import LearnerConfig
from p2prec.training.local import (
    LocalLearner,
)
from peers.acquaintances import chosen_by
from peers.config import NeighbourConfig
from scenarios.in_step import exchange
from topology.cells import blurred_area
from topology.profile import sketch
from topology.selection import Candidate
from topology.similarity import geographic_similarity, semantic_similarity


def configured(config: LearnerConfig, settings: Sequence[str]) -> LearnerConfig:
    """Settings of the form ``SECTION.KEY=VALUE`` on top of others."""
    for setting in settings:
        path, text = setting.split("=", 1)
        section, key = path.split(".", 1)
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text  # a word needs no quotes
        part = getattr(config, section)
        if section == "collaboration":
            part = replace(part, options={**part.options, key: value})
        else:
            part = replace(part, **{key: value})
        config = replace(config, **{section: part})
    return config


class InMemory:
    """Learners and whom each of them learns with.

    Neighbours are chosen as by a peer that has met three times as many others.
    """

    def __init__(
        self, learners: Sequence[LocalLearner], settings: NeighbourConfig, rng: np.random.Generator
    ) -> None:
        self.learners = learners
        self._degree = settings.k
        said = []
        for learner in learners:
            catalogue, history = learner.knowledge.catalogue, learner.knowledge.history
            area = blurred_area(catalogue, history, rng=rng)
            said.append((area, sketch(catalogue, history, rng=rng)))

        @cache
        def alike(i: int, j: int) -> tuple[float, float]:
            (area, bits), (other_area, other_bits) = said[i], said[j]
            return (
                geographic_similarity(area, other_area),
                semantic_similarity(bits, other_bits),
            )

        self._alike = alike
        self._neighbours = [self._chosen(i, settings, rng) for i in range(len(learners))]

    def round(self, round_: int) -> list[Sequence[Payload]]:
        """Train, exchange, merge; returns what each learner sent to all who listen to it."""
        return exchange(
            self.learners, round_, self._neighbours, degree=self._degree, alike=self._alike
        )

    def _chosen(self, i: int, settings: NeighbourConfig, rng: np.random.Generator) -> list[int]:
        n = len(self.learners)
        met = [int(j) for j in rng.permutation(n) if j != i][: 3 * settings.k]
        candidates = [
            Candidate(
                peer_id=str(j), geographic=self._alike(i, j)[0], semantic=self._alike(i, j)[1]
            )
            for j in met
        ]
        return [int(j) for j in chosen_by(settings, candidates, rng=rng)]


class Pushed:
    """Each learner sends to one neighbour a round, drawn anew from those of a graph.

    Args:
        learners: One a node, of one model and setting.
        graph: Neighbours of each, as many for all.
        rng: Draws.
    """

    def __init__(
        self,
        learners: Sequence[LocalLearner],
        graph: Sequence[Sequence[int]],
        rng: np.random.Generator,
    ) -> None:
        self._cohort = Cohort(learners)
        self._graph, self._rng = np.array(graph), rng

    def round(self, round_: int) -> None:
        """Train, exchange, merge."""
        n, degree = self._graph.shape
        to = self._graph[np.arange(n), self._rng.integers(0, degree, n)]
        firsts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(to, minlength=n))])
        self._cohort.round(round_, firsts, np.argsort(to, kind="stable"))

    def said(self, round_: int) -> list[Said]:
        """What all would say now."""
        return self._cohort.said(round_)
