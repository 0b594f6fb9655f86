"""The peer that lives on a device: everything that touches a network, a disk or a clock."""

import os

# Before NumPy is loaded. Its products of matrices take a thread for each core, which spin while
# they wait for each other: with training beside it, a recommendation took ten times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
