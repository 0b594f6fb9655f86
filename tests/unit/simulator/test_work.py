"""What the peers of a group have begun in a slice is computed in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from peers.simulator import work
from peers.simulator.command import simulate
from tests.sim.worlds import REALM, SCENARIO


@pytest.mark.parametrize("name", ["train_together", "payloads_together", "merge_together"])
def test_peers_that_compute_in_the_same_slice_do_so_together(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    compute: Callable[..., Any] = getattr(work, name)

    def spied(learners: Any, *rest: Any, **named: Any) -> Any:
        sizes.append(len(learners))
        return compute(learners, *rest, **named)

    monkeypatch.setattr(work, name, spied)
    simulate(SCENARIO, REALM)
    assert max(sizes) >= SCENARIO.peers.count // 2
    assert sum(sizes) > 2 * len(sizes)
