"""What each habit of a synthetic city's people does to their records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from p2prec.data.city import NEW_YORK, generate_city
from p2prec.data.interactions import History
from p2prec.models.neighbourhoods import neighbourhoods_of

DAY_S = 86_400


def soon_again(history: History) -> float:
    """Share of check-ins at a place where the owner was within three days."""
    item, time = history.item, history.timestamp_s
    return float(
        np.mean(
            [
                item[i] in item[:i][time[:i] > time[i] - 3 * DAY_S]
                for i in range(len(item) // 2, len(item))
            ]
        )
    )


def usual(history: History, situation: Callable[[History, int], object]) -> float:
    """Share of check-ins at the place that was most frequent in such a situation."""
    hits, seen = [], {}
    for i in range(1, len(history)):
        places = seen.setdefault(situation(history, i), {})
        item = int(history.item[i])
        if places:
            hits.append(item == max(places, key=places.__getitem__))
        places[item] = places.get(item, 0) + 1
    return float(np.mean(hits or [0.0]))


def by_routine(history: History) -> float:
    return usual(
        history,
        lambda h, i: (
            h.timestamp_s[i] // 3 // 3_600 % 8,
            (h.timestamp_s[i] // DAY_S + 3) % 7 >= 5,
        ),
    )


def by_way(history: History) -> float:
    return usual(history, lambda h, i: int(h.item[i - 1]))


def bursts(history: History) -> float:
    return float((np.diff(history.timestamp_s) < 5_400).mean())


def distinct(history: History) -> float:
    return float(len(np.unique(history.item)) / len(history))


def top(history: History) -> float:
    return float(np.bincount(history.item).max() / len(history))


@pytest.mark.parametrize(
    ("habit", "value", "statistic"),
    [
        ("lately", 100.0, soon_again),
        ("routine", 300.0, by_routine),
        ("ways", 300.0, by_way),
        ("bursts", 0.5, bursts),
        ("exploration", 0.9, distinct),
        ("fading", 0.0, distinct),
        ("return_exponent", 2.0, top),
    ],
)
def test_each_habit_shows_in_the_records(
    habit: str, value: float, statistic: Callable[[History], float]
) -> None:
    means = []
    for habits in (NEW_YORK, replace(NEW_YORK, **{habit: value})):
        city = generate_city(rng=np.random.default_rng(0), n_users=40, n_places=240, habits=habits)
        means.append(np.mean([statistic(city.interactions.history(u)) for u in range(40)]))
    assert means[1] > means[0] + 0.05, means


def test_check_ins_of_a_person_follow_their_law() -> None:
    habits = replace(NEW_YORK, log_check_ins=5.3, log_check_ins_sd=0.2)
    city = generate_city(rng=np.random.default_rng(0), n_users=60, n_places=300, habits=habits)
    n = np.log(np.bincount(city.interactions.user))
    assert n.mean() == pytest.approx(5.3, abs=0.08)
    assert n.std() == pytest.approx(0.2, abs=0.06)


def test_crowding_draws_people_to_where_places_lie_thinly() -> None:
    means = []
    for crowding in (0.0, 2.0):
        habits = replace(NEW_YORK, crowding=crowding)
        city = generate_city(rng=np.random.default_rng(0), n_users=40, n_places=240, habits=habits)
        private = [city.catalogue.categories.index(name) for name in ("Home", "Office")]
        public = np.flatnonzero(~np.isin(city.catalogue.category, private))
        thinness = neighbourhoods_of(city.catalogue).thinness
        users, items = city.interactions.user, city.interactions.item
        first = np.unique(np.stack([users, items]), axis=1)[1]
        means.append(thinness[first[np.isin(first, public)]].mean())
    assert means[1] > means[0] + 0.2, means
