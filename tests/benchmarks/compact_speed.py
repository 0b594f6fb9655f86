"""How long a recommendation takes, and how long a model to load: every family over item tables.

    python -m tests.benchmarks.compact_speed --out docs/results

A recommendation is ``LocalLearner.recommend``, as a running peer answers its owner: ten of all
items with their reasons, right after another interaction each time, so that nothing which depends
on where the owner has just been is known already. The owner's learner is watched, as a daemon's
is: what can be laid ready after a round of learning is. The reference is the same family over the
dense table of single precision (of the ranker, which has no table: matrix factorisation over
it), asked in turn with it in the same run.

Times are CPU times of one thread. Every situation is asked in several passes; *p50* and *p99* are
over situations, of the best pass, in which other work on the machine counts least, and *p99, all*
is over all calls. *load* is the time to read what lies on a device, *lay* that to lay ready what
has been learned, which a peer does beside its owner's requests after a round.

With ``--out`` results are kept in ``compact_speed.json`` one by one, and ``compact_speed.md`` is
written from them; what is there is not measured again, unless ``--again`` says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import peers  # noqa: F401 - before NumPy, as in a peer: it says how many threads NumPy takes

# isort: split
import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.errors import ConfigError
from p2prec.models.families import EMBEDDED, parse_model
from p2prec.models.packed import PackedModel
from p2prec.models.recommender import Context
from p2prec.models.tabled import Tabled
from p2prec.training.config import LearnerConfig, TrainingConfig
from p2prec.training.local import LocalLearner
from p2prec.training.on_device import on_device
from tests.benchmarks.results import Result, Results

LENGTH, ASKED = 120, 10  # interactions of the owner; items of a list
PASSES, READS = 3, 5
GOAL_MS, LOAD_GOAL_MS = 20.0, 100.0
# Every table, at a compression for which it is meant; the dense one first.
FORMS = (
    "full-1,int8-4,int4-8,narrow-4,magprune-20,pep-20,amtl-20,autoemb-20,optembed-20,ciess-20,"
    "sseds-20,dcf-20,hashgnn-20,pee-4,rule-4,qrt-100,cerp-100,legcf-100,codes-4,stp-100,tt-100"
)


def realm(n: int) -> Catalogue:
    """Places of a large city, of 250 categories."""
    rng = np.random.default_rng(1)
    return Catalogue.build(
        item_ids=[str(i) for i in range(n)],
        latitude_deg=rng.normal(50.85, 0.06, n),
        longitude_deg=rng.normal(4.35, 0.09, n),
        category_names=[f"kind {k}" for k in rng.zipf(1.4, n) % 250],
    )


def owner(catalogue: Catalogue) -> History:
    """Somebody who goes to a new place every second time."""
    rng = np.random.default_rng(2)
    return History(
        item=rng.choice(rng.choice(len(catalogue), LENGTH // 2, replace=False), LENGTH),
        timestamp_s=1_700_000_000 + np.sort(rng.integers(0, 200 * 86_400, LENGTH)),
        rating=np.full(LENGTH, 4.0, np.float32),
    )


def learned(catalogue: Catalogue, history: History, name: str, n_heard: int) -> LocalLearner:
    """A peer after a round of two passes, that has heard of ``n_heard`` items."""
    config = LearnerConfig(model=parse_model(name), training=TrainingConfig(negatives=16))
    learner = LocalLearner(catalogue, config, history=history, seed=1)
    learner.train(0)
    rng, table = np.random.default_rng(3), learner.knowledge.table
    at = table.touch(rng.permutation(len(catalogue))[:n_heard])
    table.others[at] = rng.random(len(at)).astype(np.float32) / 3
    table.values[at, :-2] += rng.normal(0, 0.1, table.values[at, :-2].shape)
    return learner


class Owners:
    """Learners that are asked in turn after the same interactions.

    Args:
        learners: Watched.
        history: Of their owner.
        answers: The last ones after which they are asked.
    """

    def __init__(self, learners: Sequence[LocalLearner], history: History, answers: int) -> None:
        self._learners, self._history = learners, history
        self._at = range(LENGTH - answers, LENGTH)

    def took_ms(self) -> np.ndarray:
        """CPU ms of each answer, shape ``(n_learners, answers)``."""
        took = np.empty((len(self._learners), len(self._at)))
        for column, at in enumerate(self._at):
            before = self._history.head(at)
            context = Context(timestamp_s=int(self._history.timestamp_s[at]))
            for row, learner in enumerate(self._learners):
                learner.add(before)
                begun = time.thread_time()
                learner.recommend(context, ASKED, new_only=False)
                took[row, column] = 1e3 * (time.thread_time() - begun)
        return took


def load_ms(learner: LocalLearner) -> float:
    """CPU ms to read a model as it lies on a device, best of some."""
    model = learner.knowledge.model
    if isinstance(model, Tabled) and model.compact:
        data = on_device(learner.knowledge).data
        return min(_ms(lambda: PackedModel.read(model, data)) for _ in range(READS))
    state = learner.state()
    return min(_ms(lambda: learner.restore(state)) for _ in range(READS))


def _ms(do: Callable[[], object]) -> float:
    begun = time.thread_time()
    do()
    return 1e3 * (time.thread_time() - begun)


def measured(subject: LocalLearner, dense: LocalLearner, history: History, answers: int) -> Result:
    """One row: a learner in turn with the one over the dense table."""
    owners = Owners((subject, dense), history, answers)
    took = np.array([owners.took_ms() for _ in range(PASSES)])
    best = took.min(0)
    subject.add(history)
    return {
        "p50_ms": float(np.percentile(best[0], 50)),
        "p99_ms": float(np.percentile(best[0], 99)),
        "p99_all_ms": float(np.percentile(took[:, 0], 99)),
        "to_dense": float(np.median(best[0]) / np.median(best[1])),
        "load_ms": load_ms(subject),
        "lay_ms": min(_ms(subject.publish_snapshot) for _ in range(READS)),
        "bytes": len(on_device(subject.knowledge).data),
    }


_DRAWN = (
    "The city is drawn with seed 1, its owner's life with seed 2, what was heard of others with "
    "seed 3; the model's own seed is 1. Other jobs shared the cores."
)
_ABOUT = (
    "Ten of all items with their reasons, by `LocalLearner.recommend` of a watched learner, after "
    "each of the last {answers} interactions of an owner: a situation that was not asked about "
    f"before. CPU ms of one thread: *p50* and *p99* over situations, each the best of {PASSES} "
    "passes; *p99, all* over all calls. *to dense*: ratio of medians to the same family over the "
    "dense table of single precision, asked in turn in the same run (for the ranker: matrix "
    "factorisation over it). *load*: reading what lies on a device. *lay*: laying ready what was "
    "learned, once a round and beside the owner's requests."
)


def page(rows: Sequence[Result], origin: str) -> str:
    """All rows, and which of them miss the goals.

    Args:
        rows: Of all numbers of items.
        origin: Where they come from.
    """
    lines = ["# How long a recommendation takes", "", origin, "", _DRAWN, ""]
    for n_items in sorted({int(row["items"]) for row in rows}):
        of_these = [row for row in rows if row["items"] == n_items]
        slow = [row for row in of_these if "no" not in row and not _reached(row)]
        done = [row for row in of_these if "no" not in row]
        answers = int(done[0]["answers"]) if done else 0
        lines += [
            f"## {n_items:,} items",
            "",
            _ABOUT.format(answers=answers),
            "",
            f"Goals: p99 at most {GOAL_MS:g} ms, load at most {LOAD_GOAL_MS:g} ms. "
            + (
                f"Missed by {', '.join(str(row['model']) for row in slow)}."
                if slow
                else f"Reached by all {len(done)}."
            )
            + _with_interruptions(done),
            "",
            "| model | p50 | p99 | p99, all | to dense | load | lay | KiB |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {row['model']} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | "
            f"{row['p99_all_ms']:.1f} | {row['to_dense']:.2f} | {row['load_ms']:.1f} | "
            f"{row['lay_ms']:.0f} | {int(row['bytes']) / 1024:,.0f} |"
            for row in done
        ]
        refused = [str(row["model"]) for row in of_these if "no" in row]
        if refused:
            lines += ["", f"Cannot be: {', '.join(refused)} (an update would be too large)."]
        lines.append("")
    return "\n".join(lines)


def _with_interruptions(rows: Sequence[Result]) -> str:
    """Which rows are above the goal where the best of some passes does not count."""
    above = [row for row in rows if float(row["p99_all_ms"]) > GOAL_MS]
    if not above:
        return " Over all calls as well."
    named = ", ".join(f"{row['model']} ({row['p99_all_ms']:.1f})" for row in above)
    return f" Over all calls, with all that came between, these are above: {named}."


def _reached(row: Result) -> bool:
    return float(row["p99_ms"]) <= GOAL_MS and float(row["load_ms"]) <= LOAD_GOAL_MS


def main() -> None:
    """Measure what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--heard", type=int, default=5_000)
    parser.add_argument("--answers", type=int, default=100)
    parser.add_argument("--families", default=",".join(("ranker", *EMBEDDED)))
    parser.add_argument("--tables", default=FORMS)
    parser.add_argument("--out")
    parser.add_argument("--again", action="store_true")
    chosen = parser.parse_args()
    results = Results(
        Path(chosen.out) if chosen.out else None,
        "compact_speed",
        key=("model", "items"),
        table=page,
    )
    there = {(row["model"], row["items"]) for row in results.all} if not chosen.again else set()
    catalogue = realm(chosen.items)
    history = owner(catalogue)

    def watched(name: str) -> LocalLearner:
        learner = learned(catalogue, history, name, chosen.heard)
        learner.watch()
        return learner

    for family in chosen.families.split(","):
        whole, dense = f"{family}/{chosen.size}", None
        tables = ["full-1"] if family == "ranker" else chosen.tables.split(",")
        for name in [whole if table == "full-1" else f"{whole}/{table}" for table in tables]:
            if (name, chosen.items) in there:
                continue
            about: Result = {"model": name, "items": chosen.items, "answers": chosen.answers}
            try:
                subject = watched(name)
            except ConfigError as error:
                results.add({**about, "no": str(error)})
                continue
            if dense is None:
                dense = watched(f"mf/{chosen.size}" if family == "ranker" else whole)
            results.add({**about, **measured(subject, dense, history, chosen.answers)})
            print(results.all[-1], flush=True)
    results.save()
    print(results.table())


if __name__ == "__main__":
    main()
