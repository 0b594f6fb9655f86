"""RULE: one training of blocks that differ, then a search for those that a budget is spent on.

    L_div = lambda sum_v || offdiag(E_v E_v^T) ||^2,      E_v: the blocks of v, each of length 1

Chen et al., KDD 2021 (RULE): elastic embeddings of column blocks for
groups of items by popularity; a diversity regulariser; an estimator of a choice's quality, trained
on sampled choices; and an evolution in which each child swaps the blocks of two groups or draws
those of one anew, and choices over the budget are dropped. Their regulariser's formula and
estimator are not public.

Ours: the formula above; a choice is tried on the owner's newest interactions; the estimator is
linear in the blocks, a ridge regression from where gossip has brought it, so that what each peer
has tried on itself adds up in the mean. Estimates and the choice are pieces: a merge is a vote.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.elastic import N_BLOCKS, N_CHOICES, N_GROUPS, ElasticRows
from p2prec.embeddings.initial import realm_generator
from p2prec.embeddings.table import Device, Floats, Quality, Stored

_SEARCHED_EVERY = 4  # rounds
_TRIED = 6  # choices a search, each of which scores all items
_RIDGE = 2.0
_POPULATION, _GENERATIONS = 12, 60
_PRIOR = 1e-3  # quality that a block of the most popular group is worth before anybody has tried


class RowElastic(ElasticRows):
    """The member's own pieces are the estimates of all blocks."""

    name: ClassVar[str] = "rule"
    n_own: ClassVar[int] = N_CHOICES

    def initial_pieces(self) -> Floats:
        """Blocks of popular items are thought to be worth more."""
        pieces = super().initial_pieces()
        worth = _PRIOR * 0.5 ** np.arange(N_GROUPS, dtype=np.float32)
        pieces[N_CHOICES : 2 * N_CHOICES] = np.repeat(worth, N_BLOCKS)
        return pieces

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """The blocks that are there."""
        mask = self.masks(stored)[1]
        vectors = (self.blocks(stored.rows) * mask[:, :, None]).reshape(stored.rows.shape)
        return vectors, (stored, mask)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Of those blocks; and apart from each other."""
        stored, mask = tape
        by_rows = self.blocks(by_vectors) * mask[:, :, None]
        by_rows = by_rows.reshape(by_vectors.shape) + self.by_diversity(stored.rows)
        return by_rows, np.zeros_like(stored.pieces)

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """Groups follow what people know; now and then choices are tried."""
        pieces = device.pieces.copy()
        pieces[-N_GROUPS:-1] = self.group_ends(device)
        if round_ >= self.cut_after:
            pieces[-1] = 1.0
        if round_ >= self.cut_after and (round_ - self.cut_after) % _SEARCHED_EVERY == 0:
            rng = realm_generator(self.catalogue.digest, f"rule/{round_}")
            worth = pieces[N_CHOICES : 2 * N_CHOICES]
            worth[:] = self._estimated(_with(device, pieces), worth, quality, rng)
            pieces[:N_CHOICES] = self._evolved(worth, rng).ravel()
        return _with(device, pieces)

    def _estimated(
        self, device: Device, worth: Floats, quality: Quality, rng: np.random.Generator
    ) -> Floats:
        """Estimates after a few more trials."""
        tried = np.empty((_TRIED, N_CHOICES), np.float32)
        found = np.empty(_TRIED, np.float32)
        for n in range(_TRIED):
            choice = self.kept(rng.random(N_CHOICES).astype(np.float32))
            pieces = device.pieces.copy()
            pieces[:N_CHOICES] = choice.ravel()
            tried[n], found[n] = choice.ravel(), quality(_with(device, pieces))
        # What all of them have in common is no block's doing.
        apart = tried - tried.mean(0)
        left = found - found.mean() - apart @ worth
        gram = apart.T @ apart + _RIDGE * np.eye(N_CHOICES, dtype=np.float32)
        estimated: Floats = worth + np.linalg.solve(gram, apart.T @ left).astype(np.float32)
        return estimated

    def _evolved(self, worth: Floats, rng: np.random.Generator) -> NDArray[np.bool_]:
        """The best choice that an evolution within the budget finds."""
        population = [self.kept(worth)]
        while len(population) < _POPULATION:
            population.append(self.kept(rng.random(N_CHOICES).astype(np.float32)))
        score = [float(choice.ravel() @ worth) for choice in population]
        for _ in range(_GENERATIONS):
            child = population[int(rng.integers(len(population)))].copy()
            if rng.random() < 0.5:
                pair = rng.choice(N_GROUPS, 2, replace=False)
                child[pair] = child[pair[::-1]]
            else:
                child[int(rng.integers(N_GROUPS))] = rng.random(N_BLOCKS) < 0.5
            if not self.fits(child):
                continue
            population.append(child)
            score.append(float(child.ravel() @ worth))
            worst = int(np.argmin(score))
            population.pop(worst)
            score.pop(worst)
        return population[int(np.argmax(score))]


def _with(device: Device, pieces: Floats) -> Device:
    return Device(items=device.items, rows=device.rows, others=device.others, pieces=pieces)
