"""Measures of networks whose eigenvalues are known."""

from __future__ import annotations

import numpy as np
import pytest

from topology.graph import averaging, differences, second_eigenvalue


def ring(n: int) -> list[tuple[int, int]]:
    return [(i, (i + step) % n) for i in range(n) for step in (1, n - 1)]


@pytest.mark.parametrize("n", [5, 40, 600])
def test_a_ring_mixes_as_its_eigenvalues_say(n: int) -> None:
    expected = (1 + 2 * np.cos(2 * np.pi / n)) / 3
    assert second_eigenvalue(averaging(n, ring(n))) == pytest.approx(expected, abs=1e-6)


def test_everybody_with_everybody_is_of_one_mind_at_once() -> None:
    n = 30
    matrix = averaging(n, [(i, j) for i in range(n) for j in range(n) if i != j])
    assert second_eigenvalue(matrix) == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(matrix.toarray(), 1 / n)
    left = differences(matrix, 2, rng=np.random.default_rng(0))
    np.testing.assert_allclose(left, 0.0, atol=1e-12)


def test_two_networks_never_agree() -> None:
    apart = [*ring(20), *[(i + 20, j + 20) for i, j in ring(20)]]
    assert second_eigenvalue(averaging(40, apart)) == pytest.approx(1.0)
    left = differences(averaging(40, apart), 200, rng=np.random.default_rng(0))
    joined = averaging(40, [*apart, (0, 20), (20, 0)])
    assert left[-1] > 0.1 > differences(joined, 200, rng=np.random.default_rng(0))[-1] * 2
    assert left[0] == pytest.approx(1 / np.sqrt(3), rel=0.1)


def test_who_hears_nobody_keeps_what_it_has() -> None:
    matrix = averaging(3, [(0, 1)]).toarray()
    np.testing.assert_allclose(matrix, [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
