"""What every collaboration method is asked: what to send, how to merge, what else to learn."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import Payload
from p2prec.errors import ConfigError
from p2prec.models.explored import Explored
from p2prec.text import printable
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport, Received

Options = Mapping[str, float | int | str | bool]
# Places that may be shown as known to the owner: its own, and made-up ones among which they hide.
Shown = Callable[[], NDArray[np.int64]]
Value = TypeVar("Value", float, int, str, bool)


class Collaboration(Protocol):
    """One method; built by ``METHODS[name](options)``, one object a peer."""

    def publish(
        self,
        knowledge: Knowledge,
        *,
        round_: int,
        degree: int,
        shown: Shown,
        rng: np.random.Generator,
    ) -> Sequence[Payload]:
        """What every follower gets after this round; may be empty.

        A payload that points at known places must point at ``shown()``, never at the own ones.
        """
        ...

    def merge(
        self, knowledge: Knowledge, *, round_: int, received: Sequence[Received]
    ) -> MergeReport:
        """Take in what came; must do nothing for an empty inbox."""
        ...

    def lessons(self, knowledge: Knowledge, *, rng: np.random.Generator) -> Sequence[Explored]:
        """Further examples for the next local training; may be empty."""
        ...


def read_options(options: Options, defaults: Mapping[str, Value]) -> dict[str, Value]:
    """The defaults, overridden by ``options``.

    Raises:
        ConfigError: An option is unknown or of another type than its default.
    """
    result = dict(defaults)
    for name, value in options.items():
        if name not in defaults:
            near = difflib.get_close_matches(name, defaults, n=1)
            known = ", ".join(sorted(defaults)) or "none"
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {known}"
            raise ConfigError(f"unknown option {printable(name)[:80]!r}; {hint}")
        wanted = type(defaults[name])
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            result[name] = wanted(value)
        elif type(value) is not wanted:
            raise ConfigError(f"option {name!r} must be of type {wanted.__name__}")
        else:
            result[name] = value
    return result
