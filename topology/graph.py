"""How soon what peers learn reaches all of them: measures of who learns from whom.

Where each peer averages itself and those whom it learns from with equal weights, what all hold
after ``t`` rounds is the ``t``-th power of one row-stochastic matrix times what they began with.
Its second largest eigenvalue says how fast differences die away in the end (Xiao & Boyd, *Fast
linear iterations for distributed averaging*, 2004); how far peers still differ after some rounds is
what they feel of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, eye_array

_DENSE = 512  # up to so many peers all eigenvalues are computed
_PROBES = 64  # of which the mean is known to a tenth


def averaging(n: int, links: Sequence[tuple[int, int]] | NDArray[np.integer]) -> csr_array:
    """The matrix of one round, shape ``(n, n)``.

    Args:
        n: Peers.
        links: Pairs of a peer and one that it learns from, each once.
    """
    pairs = np.asarray(links, np.int64).reshape(-1, 2)
    heard = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    whole = csr_array(heard + eye_array(n))
    return csr_array(whole.multiply(1.0 / whole.sum(axis=1)[:, None]))


def second_eigenvalue(matrix: csr_array) -> float:
    """The second largest absolute eigenvalue; 1 where the peers are no single network."""
    n = matrix.shape[0]
    if n <= _DENSE:
        values = np.linalg.eigvals(matrix.toarray())
    else:
        from scipy.sparse.linalg import eigs

        values = eigs(matrix, k=2, v0=np.arange(1.0, n + 1.0), return_eigenvectors=False)
    return float(np.sort(np.abs(values))[-2]) if n > 1 else 0.0


def differences(matrix: csr_array, rounds: int, *, rng: np.random.Generator) -> NDArray[np.float64]:
    """How far peers differ after each round that began with independent numbers of variance 1.

    Args:
        matrix: Of one round.
        rounds: How many.
        rng: Draws the numbers.

    Returns:
        Shape ``(rounds,)``, the standard deviation over peers.
    """
    held = rng.normal(size=(matrix.shape[0], _PROBES))
    found = np.empty(rounds)
    for round_ in range(rounds):
        held = matrix @ held
        found[round_] = np.sqrt(held.var(axis=0).mean())
    return found
