"""What this machine can do at best: bytes moved and numbers multiplied a second, on one core.

    python -m tests.benchmarks.machine_limits

Prints one JSON object: gigabytes a second of a copy (read and written) of arrays that fit into no
cache and of ones that do, thousand millions of additions and multiplications a second on arrays in
the nearest cache, and what a merge of whole tables (``--rows`` by ``--width`` numbers) would take
if nothing but the memory counted: the own rows read and written, those that came read.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import peers  # noqa: F401 - before NumPy, as in a peer: it says how many threads NumPy takes

# isort: split
import numpy as np

from peers.provenance import provenance

_TRIALS = 7
_FLOAT_BYTES = 4


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_682)
    parser.add_argument("--width", type=int, default=10)
    args = parser.parse_args()
    memory, cache = _copied_gb_s(1 << 25), _copied_gb_s(1 << 15)
    merged = 3 * args.rows * args.width * _FLOAT_BYTES
    print(
        json.dumps(
            {
                "made_by": provenance(),
                "memory_gb_s": round(memory, 1),
                "cache_gb_s": round(cache, 1),
                "gflop_s": round(_gflop_s(1 << 13), 1),
                "merge_limit_us": round(merged / memory / 1e3, 1),
            }
        )
    )


def _copied_gb_s(n: int) -> float:
    source, target = np.ones(n, np.float32), np.ones(n, np.float32)
    repeats = max(1, (1 << 25) // n)
    best = _best_s(lambda: np.copyto(target, source), repeats)
    return 2 * source.nbytes / best / 1e9


def _gflop_s(n: int) -> float:
    a, b, c = np.ones(n, np.float32), np.ones(n, np.float32), np.empty(n, np.float32)

    def work() -> None:
        np.multiply(a, b, out=c)
        np.add(c, b, out=c)

    return 2 * n / _best_s(work, 2_000) / 1e9


def _best_s(work: Callable[[], None], repeats: int) -> float:
    """Processor time of one call, the best of some trials."""
    best = np.inf
    for _ in range(_TRIALS):
        began = time.process_time()
        for _ in range(repeats):
            work()
        best = min(best, (time.process_time() - began) / repeats)
    return float(best)


if __name__ == "__main__":
    main()
