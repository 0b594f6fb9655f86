"""How fast and how large a packed recommender is: every family over every item table.

    python -m tests.benchmarks.compact_speed [--items N] [--families mf,fm] [--tables full-1,qrt-10]

An answer is one list of ten among all items in a situation that was not asked about before: the
situation's features, the scores of all items, the ten best. It is asked from the packed form, on
one core; the reference is the same family over the full table of single precision, in the same
run, in turn with it. Times are CPU times of this thread, best of three passes over the same
situations, so that other work on the machine counts little. Prints one JSON object a line, then a
table: p50 and p99 in ms, the ratio of medians to the reference, ms to read the model from bytes,
and bytes.
"""

from __future__ import annotations

import argparse
import json
import time

import peers  # noqa: F401 - before NumPy, as in a peer: it says how many threads NumPy takes

# isort: split
import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.embeddings.table import COMPRESSIONS
from p2prec.embeddings.tables import TABLES, build_table
from p2prec.errors import ConfigError
from p2prec.models.families import EMBEDDED
from p2prec.models.model import Snapshot
from p2prec.models.moments import Timeline
from p2prec.models.packed import PackedModel
from p2prec.models.recommender import Task
from p2prec.models.tabled import Tabled
from p2prec.training.config import TrainingConfig
from p2prec.training.epoch import Pupil, train_epoch
from p2prec.training.knowledge import Knowledge

LENGTH = 120  # interactions of the owner
PASSES, READS = 3, 5


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


def learned(model: Tabled, catalogue: Catalogue, history: History, n_heard: int) -> Snapshot:
    """A peer after two rounds, that has heard of ``n_heard`` items."""
    config = TrainingConfig(negatives=16)
    peer = Knowledge(catalogue, model, config, history)  # type: ignore[arg-type]
    for epoch in range(2):
        train_epoch([Pupil(knowledge=peer, key=np.uint64(epoch))])
    rng = np.random.default_rng(3)
    at = peer.table.touch(rng.permutation(len(catalogue))[:n_heard])
    peer.table.others[at] = rng.random(len(at)).astype(np.float32) / 3
    peer.table.values[at, :-2] += rng.normal(0, 0.1, (len(at), model.width - 2))
    return peer.snapshot()


def answered(packed: PackedModel, catalogue: Catalogue, history: History, n: int) -> list[float]:
    """CPU ms of each of the answers at the last ``n`` situations of a history."""
    took, timeline = [], Timeline(catalogue, history)
    for at in range(LENGTH - n, LENGTH):
        begun = time.thread_time()
        scores = packed.at(timeline.before(at)).scores()
        best = np.argpartition(-scores, 9)[:10]
        best[np.argsort(-scores[best])].tolist()
        took.append(1e3 * (time.thread_time() - begun))
    return took


def read_ms(model: Tabled, data: bytes) -> float:
    """CPU ms to read a model from bytes, best of some."""
    took = []
    for _ in range(READS):
        begun = time.thread_time()
        PackedModel.read(model, data)
        took.append(1e3 * (time.thread_time() - begun))
    return min(took)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--heard", type=int, default=5_000)
    parser.add_argument("--answers", type=int, default=100)
    parser.add_argument("--families", default=",".join(EMBEDDED))
    parser.add_argument(
        "--tables",
        default=",".join(
            f"{name}-{c}"
            for name, kind in TABLES.items()
            for c in (1, 4, 20, 100)
            if c in COMPRESSIONS and (c <= kind.smallest if name != "full" else c == 1)
        ),
    )
    chosen = parser.parse_args()
    catalogue = realm(chosen.items)
    history = owner(catalogue)
    found = []
    for family in chosen.families.split(","):

        def packed(name: str, family: str = family) -> tuple[Tabled, bytes]:
            table, compression = name.rsplit("-", 1)
            held = build_table(
                catalogue, table=table, size=chosen.size, compression=int(compression)
            )
            model = EMBEDDED[family](catalogue, chosen.size, Task.RANKING, held)
            peer = learned(model, catalogue, history, chosen.heard)
            return model, PackedModel.of(model, peer).to_bytes()

        reference = PackedModel.read(*packed("full-1"))
        for name in chosen.tables.split(","):
            try:
                model, data = packed(name)
            except ConfigError as error:
                print(json.dumps({"model": f"{family}/{chosen.size}/{name}", "no": str(error)}))
                continue
            subject = PackedModel.read(model, data)
            both = [
                (
                    answered(subject, catalogue, history, chosen.answers),
                    answered(reference, catalogue, history, chosen.answers),
                )
                for _ in range(PASSES)
            ]
            took, other = np.array(both).min(0)
            row = {
                "model": model.name,
                "p50_ms": round(float(np.percentile(took, 50)), 2),
                "p99_ms": round(float(np.percentile(took, 99)), 2),
                "to_full": round(float(np.median(took) / np.median(other)), 2),
                "read_ms": round(read_ms(model, data), 2),
                "bytes": len(data),
            }
            found.append(row)
            print(json.dumps(row), flush=True)
    print(f"| {' | '.join(found[0])} |\n|{' --- |' * len(found[0])}")
    for row in found:
        print(f"| {' | '.join(map(str, row.values()))} |")


if __name__ == "__main__":
    main()
