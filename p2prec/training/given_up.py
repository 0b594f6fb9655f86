"""Settings under which neighbours can read an owner's places from what leaves."""

from __future__ import annotations

from p2prec.collaboration.methods import METHODS
from p2prec.embeddings.compositional_codes import CompositionalCodes
from p2prec.training.config import LearnerConfig


def given_up(config: LearnerConfig) -> tuple[str, ...]:
    """The settings, as ``[section] key = value``, that take a part of the protection away."""
    off = tuple(f"[learner.protection] {setting}" for setting in config.protection.given_up)
    return (*off, f'[learner.model] table = "{config.model.table}"') if tells(config) else off


def tells(config: LearnerConfig) -> bool:
    """Whether the item table tells own places from made-up ones, whatever the protection does.

    The words of ``codes`` leave as they were learned, unless the method publishes others: an own
    row lies near to them, a pseudo item's does not (``tests/unit/privacy``).
    """
    method = METHODS.get(config.collaboration.method)  # an unknown one is refused elsewhere
    if method is None or config.model.table != CompositionalCodes.name:
        return False
    return method.sends in {"parameters", "both"} and method.table != CompositionalCodes.name
