"""Two other ways to compute matrix factorisation: by autograd, and example by example.

Neither shares a line with ``p2prec.models.mf``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from p2prec.models.explored import Explored
from p2prec.models.recommender import Task
from p2prec.training.knowledge import Knowledge


def splitmix(key: int, counter: int) -> int:
    """The output number ``counter`` of SplitMix64 with this key."""
    z = (key + (counter + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def named(seed: int, *words: int) -> int:
    """The key of a stream."""
    key = splitmix(seed, 0)
    for word in words:
        key = splitmix(key, word)
    return key


def total_loss(
    table: torch.Tensor,
    dense: torch.Tensor,
    private: torch.Tensor,
    *,
    task: Task,
    peer: Knowledge,
    at: Sequence[int],
    sampled: np.ndarray,
    lesson: Explored | None,
) -> torch.Tensor:
    """Loss of one peer's batch over whole tables, for autograd.

    Args:
        table: Shape ``(n_items, width)``.
        dense: ``mu, c, w`` and how many were listened to.
        private: ``p_u`` and then ``b_u``.
    """
    popular = torch.log1p(table[:, -2].detach() / max(float(dense[3].detach()), 1e-6) / 0.03)
    item_part = table[:, -1] + (dense[2] * popular if task is not Task.RATING else 0.0)
    score = table[:, :-2] @ private[:-1] + private[-1] + dense[0] + item_part
    loss = torch.zeros(())
    for row, position in enumerate(at):
        chosen = score[int(peer.timeline.item[position])]
        fair = [int(j) for j in sampled[row] if j not in peer.timeline.own]
        if task is Task.RATING:
            loss = loss + 0.5 * (chosen - float(peer.timeline.rating[position])) ** 2
        elif task is Task.CLICK:
            loss = loss - functional.logsigmoid(chosen)
            loss = loss - functional.logsigmoid(-score[fair]).sum()
        elif fair:
            loss = loss - functional.logsigmoid(chosen - score[fair]).mean()
    if lesson is not None:
        for row, moment in enumerate(lesson.moments):
            past = [int(i) for i in moment.sequence if i >= 0]
            user = dense[1] * table[past, :-2].sum(0) / math.sqrt(len(past))
            may = [k for k in range(lesson.candidates.shape[1]) if lesson.allowed[row, k]]
            items = [int(lesson.candidates[row, k]) for k in may]
            logits = table[items, :-2] @ user + item_part[items]
            target = torch.from_numpy(lesson.target[row, may])
            loss = loss - float(lesson.weight[row]) * (target * logits.log_softmax(0)).sum()
    return loss


class ExampleByExample:
    """One peer's whole training in plain Python floats, one number after the other."""

    def __init__(self, peer: Knowledge, task: Task) -> None:
        self.peer, self.task, self.config = peer, task, peer.config
        self.d = peer.model.width - 2
        initial = peer.table.initial.astype(float)
        self.q = [list(row[: self.d]) for row in initial]
        self.start = [list(row[: self.d]) for row in initial]
        self.b = [0.0] * len(initial)
        self.p = [0.0] * self.d
        ratings = [float(r) - 3.0 for r in peer.timeline.rating]
        self.b_u_start = sum(ratings) / (len(ratings) + 1) if task is Task.RATING else 0.0
        self.b_u = self.b_u_start
        self.mu = 3.0 if task is Task.RATING else 0.0
        self.mu_start = self.mu
        self.evidence = {int(i): 1.0 for i in peer.timeline.own}
        self.row_sum = [1e-3] * len(initial)
        self.p_sum, self.b_u_sum, self.mu_sum = [1e-3] * self.d, 1e-3, 0.1

    def score(self, i: int) -> float:
        taste = sum(x * y for x, y in zip(self.p, self.q[i], strict=True))
        return self.mu + self.b_u + self.b[i] + taste

    def epoch(self, key: int) -> float:
        """The same draws as the real one."""
        n, size = len(self.peer.timeline), self.config.batch_size
        order = sorted(range(n), key=lambda i: (splitmix(named(key, 0), i) >> 36, i))
        loss = 0.0
        for start in range(0, n, size):
            at = order[start : start + size]
            k = 0 if self.task is Task.RATING else self.config.negatives
            sampled = [[splitmix(named(key, 1), i * k + j) >> 32 for j in range(k)] for i in at]
            loss += self._step(at, [[x * len(self.q) >> 32 for x in row] for row in sampled])
        return loss

    def _step(self, at: list[int], sampled: list[list[int]]) -> float:
        timeline, own = self.peer.timeline, set(self.peer.timeline.own.tolist())
        error: dict[int, float] = {}
        seen: dict[int, int] = {}
        loss = 0.0
        for position, others in zip(at, sampled, strict=True):
            i = int(timeline.item[position])
            seen[i] = seen.get(i, 0) + 1
            fair = [j for j in others if j not in own]
            if self.task is Task.RATING:
                wrong = self.score(i) - float(timeline.rating[position])
                loss += wrong**2 / 2
                error[i] = error.get(i, 0.0) + wrong
            elif self.task is Task.CLICK:
                loss += math.log1p(math.exp(-self.score(i)))
                error[i] = error.get(i, 0.0) - 1 / (1 + math.exp(self.score(i)))
                for j in fair:
                    loss += math.log1p(math.exp(self.score(j)))
                    error[j] = error.get(j, 0.0) + 1 / (1 + math.exp(-self.score(j)))
            else:
                for j in fair:
                    margin = self.score(i) - self.score(j)
                    loss += math.log1p(math.exp(-margin)) / len(fair)
                    wrong = 1 / (1 + math.exp(margin)) / len(fair)
                    error[i] = error.get(i, 0.0) - wrong
                    error[j] = error.get(j, 0.0) + wrong
        for i in {*seen, *(j for others in sampled for j in others)}:
            error.setdefault(i, 0.0)  # read, though nothing was wrong: it is still pulled back
        self._update(error, seen, len(at))
        return loss

    def _update(self, error: dict[int, float], seen: dict[int, int], n: int) -> None:
        reg, rate = self.config.reg, 20 * self.config.learning_rate
        p = list(self.p)
        by_p = [sum(e * self.q[i][c] for i, e in error.items()) / n for c in range(self.d)]
        by_b_u = sum(error.values()) / n
        for i, e in error.items():
            if i not in seen and i not in self.evidence:
                continue  # nobody has told of it
            step = [e * p[c] + reg * (self.q[i][c] - self.start[i][c]) for c in range(self.d)]
            by_b = e + reg * self.b[i]
            pace = rate
            if self.config.row_optimizer == "adagrad":
                self.row_sum[i] += (sum(x * x for x in step) + by_b**2) / (self.d + 2)
                pace /= math.sqrt(self.row_sum[i])
            self.q[i] = [x - pace * y for x, y in zip(self.q[i], step, strict=True)]
            self.b[i] -= pace * by_b
        for c in range(self.d):
            gradient = by_p[c] + reg * p[c]
            self.p_sum[c] += gradient**2
            self.p[c] -= rate * gradient / math.sqrt(self.p_sum[c])
        by_mu = by_b_u + reg * (self.mu - self.mu_start)
        self.mu_sum += by_mu**2
        self.mu -= self.config.dense_learning_rate * by_mu / math.sqrt(self.mu_sum)
        by_b_u += reg * (self.b_u - self.b_u_start)
        self.b_u_sum += by_b_u**2
        self.b_u -= rate * by_b_u / math.sqrt(self.b_u_sum)
        for i, times in seen.items():
            self.evidence[i] = self.evidence.get(i, 0.0) + times
