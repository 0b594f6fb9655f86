"""Tables are read by all who hear them before their owners merge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

turns = pytest.importorskip("p2prec.kernels.turns", reason="numba is not installed")

HEARD_OF_EACH = st.integers(1, 12).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(0, n - 1), max_size=4, unique=True), min_size=n, max_size=n
    )
)


@settings(deadline=None)  # the first one compiles
@given(hears=HEARD_OF_EACH, data=st.data())
def test_a_table_is_read_before_it_changes_or_copied(
    hears: list[list[int]], data: st.DataObject
) -> None:
    n = len(hears)
    in_place = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    firsts = np.cumsum([0, *map(len, hears)])
    senders = np.array([sender for heard in hears for sender in heard], np.int64)
    order, copied = turns.reading_turns(firsts, senders, in_place)
    assert sorted(order.tolist()) == [peer for peer, heard in enumerate(hears) if heard]
    assert not (copied & ~in_place).any()
    merged: set[int] = set()
    for peer in order.tolist():
        assert not any(
            sender in merged and in_place[sender] and not copied[sender] for sender in hears[peer]
        )
        assert peer not in hears[peer] or copied[peer] or not in_place[peer]
        merged.add(peer)


def test_nothing_is_copied_without_a_circle_and_one_table_in_each() -> None:
    chain = [[1], [2], [3], []]
    order, copied = turns.reading_turns(*_arrows(chain), np.ones(4, np.bool_))
    assert (order.tolist(), copied.sum()) == ([0, 1, 2], 0)
    circles = [[1], [0], [3], [4], [2]]
    _, copied = turns.reading_turns(*_arrows(circles), np.ones(5, np.bool_))
    assert copied[:2].sum() == copied[2:].sum() == 1


def _arrows(hears: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    return np.cumsum([0, *map(len, hears)]), np.array([s for h in hears for s in h], np.int64)
