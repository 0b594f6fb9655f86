"""The limit on releases in a window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2prec.privacy.ledger import release_budget
from p2prec.training.config import ProtectionConfig

DAY = 86_400.0


@given(
    times_s=st.lists(st.floats(0, 200 * DAY), max_size=30),
    now_s=st.floats(0, 200 * DAY),
    limit=st.integers(0, 20),
    window_s=st.floats(1, 100 * DAY),
)
def test_no_window_ever_holds_more_than_its_limit(
    times_s: list[float], now_s: float, limit: int, window_s: float
) -> None:
    protection = ProtectionConfig(max_releases=limit, window_s=window_s)
    past = [t for t in times_s if t <= now_s]
    budget = release_budget(past, protection, now_s=now_s)
    assert budget.used == sum(t > now_s - window_s for t in past)
    assert budget.left == max(0, limit - budget.used)
    if budget.left or not limit:
        assert budget.next_s is None
    else:
        assert budget.next_s is not None
        assert budget.next_s >= now_s  # equal where the sum of both is rounded
        after = release_budget(past, protection, now_s=budget.next_s + 1e-3)
        assert after.left
        before = release_budget(past, protection, now_s=budget.next_s - 1e-3)
        assert before.left == 0


def test_without_protection_there_is_no_limit() -> None:
    protection = ProtectionConfig(method="none", max_releases=1)
    assert release_budget([1.0, 2.0], protection, now_s=3.0).left is None
