"""The peer that lives on a device: everything that touches a network, a disk or a clock."""

import os

# Before NumPy is loaded, and whatever the environment says: threads take sums in another order, so
# that results would differ. They also spin while they wait for each other: with training beside it,
# a recommendation took ten times as long.
os.environ |= {
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}
