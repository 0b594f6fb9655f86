"""How sure a figure is: intervals of means, and paired tests between two methods.

The unit is the user. Answers of one user with several seeds are one observation, their mean: the
user stays the same, and more seeds must not look like more people.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_CONFIDENCE = 0.95


def by_user(values: NDArray[np.generic], users: Sequence[str]) -> NDArray[np.float64]:
    """Mean of each user's values, users in order of their names."""
    names, at = np.unique(np.asarray(users, dtype=np.str_), return_inverse=True)
    total = np.bincount(at, weights=values.astype(np.float64), minlength=len(names))
    return total / np.maximum(np.bincount(at, minlength=len(names)), 1)


def half_width(values: NDArray[np.floating]) -> float:
    """Of the 95 % interval of the mean (Student's t); infinite for less than two values."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return float("inf")
    return float(t.ppf(0.5 + _CONFIDENCE / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))


def interval(
    values: NDArray[np.generic], users: Sequence[str], *, highest: float = 1.0
) -> list[float]:
    """Ends of the 95 % interval of the mean over users (Student's t); the mean where it has none.

    Shares near 0 or 1 of few users get an interval that may leave [0, 1]; it is cut off there.

    Args:
        values: By answer, from 0 to ``highest``.
        users: Who was asked.
        highest: Of the values; infinite for errors.
    """
    mean_of = by_user(values, users)
    n = len(mean_of)
    if not n:
        return [0.0, 0.0]
    mean = float(mean_of.mean())
    if n < 2:
        return [mean, mean]
    half = half_width(mean_of)
    return [max(0.0, mean - half), min(highest, mean + half)]


def paired(
    values: NDArray[np.generic], others: NDArray[np.generic], users: Sequence[str]
) -> dict[str, float]:
    """Is one method better than another one on the same questions?

    Args:
        values: Of one method, by question.
        others: Of the other one, in the same order.
        users: Who was asked.

    Returns:
        ``difference`` of the means over users, ``low`` and ``high`` of its 95 % interval, ``p_t``
        of a paired t-test, ``p_wilcoxon`` of a signed-rank test, which asks for no normal
        distribution; both two-sided, 1 where no user differs. ``better`` and ``worse`` count users.
    """
    from scipy.stats import ttest_rel, wilcoxon

    ours, theirs = by_user(values, users), by_user(others, users)
    differences = ours - theirs
    result = {
        "difference": float(differences.mean()) if len(differences) else 0.0,
        "better": int((differences > 0).sum()),
        "worse": int((differences < 0).sum()),
    }
    ends = {"low": result["difference"], "high": result["difference"]}
    if not differences.any():
        return {**result, **ends, "p_t": 1.0, "p_wilcoxon": 1.0}
    p_wilcoxon = float(wilcoxon(differences, method="approx").pvalue)
    if len(differences) < 2 or not differences.std():  # no spread to test against
        return {**result, **ends, "p_t": 1.0, "p_wilcoxon": p_wilcoxon}
    test = ttest_rel(ours, theirs)
    ends_of = test.confidence_interval(_CONFIDENCE)
    ends = {"low": float(ends_of.low), "high": float(ends_of.high)}
    return {**result, **ends, "p_t": float(test.pvalue), "p_wilcoxon": p_wilcoxon}
