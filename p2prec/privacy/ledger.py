"""What the releases of a device have cost, honestly."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
