"""What the releases of a device have cost, honestly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from p2prec.training.config import ProtectionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacySpent:
    """The ledger's sum.

    Attributes:
        releases: Rounds in which something left.
        epsilon: Of the rows of model updates; infinite without noise.
        delta: The delta that goes with it.
        sentence: The same for the owner.
    """

    releases: int
    epsilon: float
    delta: float
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseBudget:
    """How many releases the window still allows.

    Attributes:
        used: Releases in the window.
        left: Further ones that may follow now; None without a limit.
        next_s: When one may follow again; None where one may now, or never.
    """

    used: int
    left: int | None
    next_s: float | None


def release_budget(
    times_s: Sequence[float], protection: ProtectionConfig, *, now_s: float
) -> ReleaseBudget:
    """What ``max_releases`` of a window leaves.

    Args:
        times_s: Of all releases so far, in any order.
        protection: The limit; without protection there is none.
        now_s: On the same clock.
    """
    recent = sorted(t for t in times_s if t > now_s - protection.window_s)
    if protection.method == "none":
        return ReleaseBudget(used=len(recent), left=None, next_s=None)
    left = max(0, protection.max_releases - len(recent))
    ends = recent[-protection.max_releases] if protection.max_releases and not left else None
    return ReleaseBudget(
        used=len(recent), left=left, next_s=None if ends is None else ends + protection.window_s
    )


def spent(*, noise_multipliers: list[float], delta: float) -> PrivacySpent:
    """Sum up releases by Renyi accounting (``dp-accounting``), row by row.

    The unit is one row of one device's updates, all rounds together, against a neighbour that
    keeps everything: replacing what the owner did at one place. Which rows are named, and the
    dense parameters, are outside of it.

    Args:
        noise_multipliers: Noise of each release, in units of its sensitivity.
        delta: Probability that the bound does not hold.
    """
    n = len(noise_multipliers)
    if n == 0:
        return PrivacySpent(
            releases=0, epsilon=0.0, delta=delta, sentence="Nothing has left this device."
        )
    if min(noise_multipliers) <= 0:
        return PrivacySpent(
            releases=n,
            epsilon=math.inf,
            delta=delta,
            sentence=f"{n} releases without noise: there is no formal privacy guarantee.",
        )
    import dp_accounting
    from dp_accounting import rdp

    accountant = rdp.RdpAccountant()
    for multiplier in noise_multipliers:
        accountant.compose(dp_accounting.GaussianDpEvent(multiplier))
    epsilon = float(accountant.get_epsilon(delta))
    return PrivacySpent(
        releases=n,
        epsilon=epsilon,
        delta=delta,
        sentence=(
            f"{n} releases: epsilon {epsilon:.2f} at delta {delta:g} for each row of the updates; "
            "which rows are named is hidden by pseudo items only, without a guarantee."
        ),
    )
