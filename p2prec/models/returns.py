"""What speaks for a return to each place that an owner knows, in several situations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2prec.models.geo import NEAR_KM, distance_km
from p2prec.models.past import Past

RETURN_FEATURES = (
    "visits",
    "share of visits",
    "visits in the last 3 days",
    "visits in the last 30 days",
    "went there from here",
    "habit from here",
    "went there at this hour",
    "went there at this hour on such a day",
    "are there now",
    "near",
    "time since the last visit",
    "near and you just moved",
    "went there after the last two",
)
LONGEST_GAP_H = 24.0 * 60


def returns_of(past: Past, just_moved: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features of all places, whether they are known already or not.

    Args:
        past: Of ``m`` situations.
        just_moved: Shape ``(m,)``, 1 right after the last interaction.

    Returns:
        Shape ``(m, n_slots, len(RETURN_FEATURES))``.
    """
    slot, n = past.slot, past.n[:, None]
    here = slot[past.n - 1][:, None]
    from_here = slot[:-1] == here
    onward = past.summed(from_here, later=1)
    before_here = slot[:-2] == slot[np.maximum(past.n - 2, 0)][:, None]
    last_two = past.summed(from_here[:, 1:] & before_here, later=2)
    same_kind = past.same_hour * ((past.weekday >= 5) == (past.today >= 5))
    since_h = np.minimum((past.now_s[:, None] - past.newest_s) / 3_600.0, LONGEST_GAP_H)
    lat, lon = past.own_latitude_deg, past.own_longitude_deg
    near = -np.log(NEAR_KM + distance_km(lat, lon, lat[here], lon[here]))
    columns = (
        np.log1p(past.visits),
        np.log((past.visits + 0.1) / n),
        np.log1p(past.summed(np.exp(-past.age_d / 3.0))),
        np.log1p(past.summed(np.exp(-past.age_d / 30.0))),
        np.log1p(onward),
        np.log((onward + 0.2) / (onward.sum(1, keepdims=True) + 1.0)),
        np.log(past.summed(past.same_hour) + 0.1),
        np.log(past.summed(same_kind) + 0.1),
        np.arange(past.n_slots) == here,
        near,
        np.log1p(np.maximum(since_h, 0.0)),
        near * just_moved[:, None],
        np.log1p(last_two),
    )
    return np.stack(columns, axis=2, dtype=np.float32, casting="same_kind")
