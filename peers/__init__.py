"""The peer that lives on a device: everything that touches a network, a disk or a clock."""

import os
from typing import Final

ONE_THREAD: Final = dict.fromkeys(
    (
        "MKL_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)
"""Whatever the environment says: sums over threads are taken in another order, and results differ.

Before NumPy is loaded. Its products of matrices would take a thread for each core, which spin while
they wait for each other: with training beside it, a recommendation took ten times as long.
"""
os.environ.update(ONE_THREAD)
