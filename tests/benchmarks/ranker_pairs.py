"""What statistics of pairs of places, of hours and of people alike would bring on new places.

    python -m tests.benchmarks.ranker_pairs DATA.csv.gz
    python -m tests.benchmarks.ranker_pairs DATA.csv.gz --features places

The ranker's network is trained on everybody's first visits with more features of candidates
(``pair_features``, or what one place alone can say: ``place_features``), from exact counts of all
others, and asked for first visits before validation and test: the last ``--hold`` interactions of
each user but two. New places compete among themselves. All rows answer the same questions, from
random starts, so that differences are paired; their standard errors are over users. Prints one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.evaluation.metrics import rank_of
from p2prec.models.moments import Moment, Timeline
from p2prec.models.ranker import Ranker
from p2prec.models.ranker_features import Heard
from p2prec.models.recommender import Task
from p2prec.models.start import Scaling
from p2prec.models.table import OTHERS
from p2prec.training.knowledge import Knowledge
from peers.files import read_check_in_file
from peers.provenance import provenance
from scenarios.pretrain import informed
from tests.benchmarks import pair_features, place_features
from tests.benchmarks.pair_features import OthersVisits

_KINDS: dict[str, tuple[type[OthersVisits], dict[str, tuple[str, ...]]]] = {
    "pairs": (pair_features.OthersVisits, pair_features.GROUPS),
    "places": (place_features.AsOfTheEnd, place_features.GROUPS),
}
_NO_PAIRS = [
    group
    for group in pair_features.GROUPS
    if group not in ("transitions of places", "item-kNN, user-kNN")
]
_TOGETHER = {
    "hours, loyalty, lately": ["hours", "loyalty", "lately"],
    "all but those of pairs": _NO_PAIRS,
    "hours, loyalty, lately by the calendar": ["hours", "loyalty", "lately, by the calendar"],
    "all averaged": place_features.AVERAGED,
    "all local": place_features.LOCAL,
    "popularity around, home": ["popularity around", "home"],
    "popularity around, hours": ["popularity around", "hours"],
    "popularity around, home, hours": ["popularity around", "home", "hours"],
}
_NEGATIVES = 64
_BATCH = 128
_RATE = 3e-3  # of Adam, falling to zero

Floats = NDArray[np.float32]


@dataclass(slots=True)
class Asked:
    """First visits: what competes, by question.

    Attributes:
        candidates: Shape ``(n, k, n_features)``, the ranker's features, then those of pairs.
        situation: Shape ``(n, len(SITUATION_FEATURES))``.
        right: Shape ``(n,)``, where the right answer is.
        offset: Shape ``(n, k)``, added to scores.
        user: Shape ``(n,)``.
    """

    candidates: NDArray[np.float16]
    situation: Floats
    right: NDArray[np.int64]
    offset: Floats
    user: NDArray[np.int64]


def main() -> None:
    """Read features once, train and ask every variant, print."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--hold", type=int, default=12)
    parser.add_argument("--examples", type=int, default=12, help="first visits a user, at most")
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2, help="starts, averaged")
    parser.add_argument("--features", choices=list(_KINDS), default="pairs")
    args, made = parser.parse_args(), provenance()
    dataset = read_check_in_file(args.data).dataset
    interactions = dataset.interactions
    histories = [interactions.history(user) for user in range(interactions.n_users)]
    histories = [h for h in histories if len(h) > args.hold + 10]
    statistics, groups = _KINDS[args.features]
    known = [history.head(len(history) - args.hold) for history in histories]
    others = statistics(dataset.catalogue, known)
    train, test = _read(dataset.catalogue, histories, known, others, examples=args.examples)
    every = [name for names in groups.values() for name in names]
    n_own = train.candidates.shape[2] - len(every)
    rows: dict[str, dict[str, float]] = {}
    first: dict[str, NDArray[np.float64]] | None = None
    for name, names in _variants(groups).items():
        begun = time.process_time()
        used = [*range(n_own), *(n_own + every.index(n) for n in names)]
        found = [
            _answers(_trained(train, used, args.size, args.steps, seed), test, used)
            for seed in range(args.seeds)
        ]
        values = {key: np.mean([one[key] for one in found], axis=0) for key in found[0]}
        first = first or values
        rows[name] = _row(values, first, test.user)
        print(
            f"{name}: {rows[name]}, {time.process_time() - begun:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    settings = {**vars(args), "data": args.data.name, "questions": len(test.user)}
    print(json.dumps({"made_by": made, "settings": settings, "rows": rows}, indent=1))


def _variants(groups: dict[str, tuple[str, ...]]) -> dict[str, Sequence[str]]:
    """Features beside the ranker's own, by name of the row."""
    rows: dict[str, Sequence[str]] = {"the ranker's features": ()}
    rows |= {f"+ {group}": names for group, names in groups.items()}
    for title, chosen in _TOGETHER.items():
        if set(chosen) <= set(groups):
            rows[f"+ {title}"] = [name for group in chosen for name in groups[group]]
    rows["+ all of these"] = [name for names in groups.values() for name in names]
    return rows


def _read(
    catalogue: Catalogue,
    histories: Sequence[History],
    known: Sequence[History],
    others: OthersVisits,
    *,
    examples: int,
) -> tuple[Asked, Asked]:
    """First visits to learn from, with a sample of places, and those to ask, with all places."""
    model = Ranker(catalogue, Ranker.sizes[0], Task.RANKING)
    rng = np.random.default_rng(0)
    found: tuple[list[Asked], list[Asked]] = [], []
    everywhere = np.arange(len(catalogue), dtype=np.int32)[None]
    for user, (peer, history) in enumerate(zip(informed(model, known), histories, strict=True)):
        lived, whole = peer.timeline, Timeline(catalogue, history)
        firsts = np.flatnonzero(lived.is_new[model.first :]) + model.first
        asked = np.arange(len(lived), len(whole) - 2)
        heard = _heard(model, peer, len(known))
        with others.without(user):
            learned = np.sort(rng.permutation(firsts)[:examples])
            if len(learned):
                key = rng.integers(0, 1 << 62, 1).astype(np.uint64)
                sampled = model.sample(
                    [lived],
                    np.zeros(len(learned), np.int64),
                    learned,
                    negatives=_NEGATIVES,
                    keys=key,
                )
                target = lived.item[learned]
                questions, _ = model.questions(heard, lived, learned, target, sampled)
                items = np.concatenate([target[:, None], sampled], axis=1)
                own = questions.candidates[:, len(questions.of_known) :]
                more = [
                    _columns(others, history, at)[row]
                    for at, row in zip(learned.tolist(), items, strict=True)
                ]
                found[0].append(
                    _asked(own, np.stack(more), questions.situation, questions.offset, user)
                )
            for at in asked[whole.is_new[asked]].tolist():
                moment = whole.before(at)
                offset = np.zeros((1, len(catalogue)), np.float32)
                offset[0, moment.own] = -1e9
                own, situation = _read_off(model, heard, moment, everywhere)
                more = _columns(others, history, at)[None]
                one = _asked(own, more, situation, offset, user)
                one.right[0] = history.item[at]
                found[1].append(one)
    return _stacked(found[0]), _stacked(found[1])


def _heard(model: Ranker, peer: Knowledge, n_people: int) -> Heard:
    """What the others say, exactly, as all counts here.

    An echo that is guessed, beside counts without one, would tell the places that an owner is yet
    to find from all others.
    """
    table, dense, lived = peer.parameters().table, peer.dense.copy(), peer.timeline
    table[lived.own, OTHERS] -= np.float32(1.0 / n_people)
    dense[model.statistics] -= model.own_statistics(lived) / n_people
    none = np.empty(0, np.int32)
    return model.heard(dense, np.maximum(table, 0.0), own=none, tried=none)


def _read_off(
    model: Ranker, heard: Heard, moment: Moment, items: NDArray[np.int32]
) -> tuple[Floats, Floats]:
    """The ranker's own features of candidates that are all new, and of the situation."""
    none = np.empty(0, np.int64)
    candidates = model.reader.candidates(heard, [moment], items, known=none, of_known=none)
    situation = model.reader.situations([moment])
    return model.start.candidates.normalised(candidates), model.start.situation.normalised(
        situation
    )


def _columns(others: OthersVisits, history: History, at: int) -> NDArray[np.float16]:
    found = others.columns(history.head(at), float(history.timestamp_s[at]))
    return np.stack(list(found.values()), axis=1).astype(np.float16)


def _asked(
    own: Floats, more: NDArray[np.float16], situation: Floats, offset: Floats, user: int
) -> Asked:
    """Questions of one user; the right answers come first."""
    n, k = offset.shape
    by_candidate = own.T.reshape(n, k, -1).astype(np.float16)
    return Asked(
        candidates=np.concatenate([by_candidate, more], axis=2),
        situation=np.ascontiguousarray(situation.T),
        right=np.zeros(n, np.int64),
        offset=offset,
        user=np.full(n, user),
    )


def _stacked(parts: Sequence[Asked]) -> Asked:
    names = [field.name for field in fields(Asked)]
    return Asked(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


class _Network(torch.nn.Module):
    """The ranker's network, as far as new places go through it."""

    def __init__(self, n_candidates: int, n_situation: int, size: int, scale: Scaling) -> None:
        super().__init__()
        self._mean, self._scale = torch.from_numpy(scale.mean), torch.from_numpy(scale.scale)
        self.first = torch.nn.Linear(n_candidates, size)
        self.situation = torch.nn.Linear(n_situation, size, bias=False)
        self.second = torch.nn.Linear(size, size)
        self.output = torch.nn.Linear(size, 1, bias=False)
        for part in (self.first, self.situation):
            torch.nn.init.normal_(part.weight, std=(2.0 / (n_candidates + n_situation)) ** 0.5)
        torch.nn.init.zeros_(self.first.bias)
        for part in (self.second, self.output):
            torch.nn.init.normal_(part.weight, std=(2.0 / size) ** 0.5)
        torch.nn.init.zeros_(self.second.bias)

    def forward(self, candidates: NDArray[np.floating], situation: Floats) -> torch.Tensor:
        """Scores, shape ``(n, k)``."""
        rows = (torch.from_numpy(candidates.astype(np.float32)) - self._mean) / self._scale
        hidden = self.first(rows) + self.situation(torch.from_numpy(situation))[:, None]
        scores: torch.Tensor = self.output(torch.relu(self.second(torch.relu(hidden))))[..., 0]
        return scores


def _trained(train: Asked, used: Sequence[int], size: int, steps: int, seed: int) -> _Network:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    shown = train.candidates[::7][:, :, used].astype(np.float32)
    scale = Scaling.of(shown.reshape(-1, len(used)).T)
    network = _Network(len(used), train.situation.shape[1], size, scale)
    adam = torch.optim.Adam(network.parameters(), lr=_RATE)
    for number in range(steps):
        for group in adam.param_groups:
            group["lr"] = _RATE * min(1.0, 2.0 * (1.0 - number / steps))
        batch = rng.choice(len(train.user), _BATCH, replace=False)
        scores = network(train.candidates[batch][:, :, used], train.situation[batch])
        scores = scores + torch.from_numpy(train.offset[batch])
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(train.right[batch]))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    return network


def _answers(network: _Network, test: Asked, used: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Quality by question."""
    ranks = np.empty(len(test.user))
    with torch.no_grad():
        for i, right in enumerate(test.right.tolist()):
            scores = network(test.candidates[i : i + 1, :, used], test.situation[i : i + 1])
            ranks[i] = rank_of(scores[0].numpy() + test.offset[i], right)
    hit = ranks <= 10
    gain = np.where(hit, 1.0 / np.log2(ranks + 1.0), 0.0)
    return {"hr@10": hit.astype(float), "ndcg@10": gain, "log rank": np.log(ranks)}


def _row(
    values: dict[str, NDArray[np.float64]],
    first: dict[str, NDArray[np.float64]],
    user: NDArray[np.int64],
) -> dict[str, float]:
    """Means, and paired differences to the first row with standard errors over users."""
    row = {}
    for name, found in values.items():
        difference = found - first[name]
        away = np.bincount(user, difference - difference.mean())
        row[name] = round(float(found.mean()), 4)
        row[f"{name}, difference"] = round(float(difference.mean()), 4)
        row[f"{name}, standard error"] = round(float(np.sqrt((away**2).sum()) / len(user)), 4)
    return row


if __name__ == "__main__":
    main()
