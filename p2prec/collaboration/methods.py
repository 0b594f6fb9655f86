"""Collaboration methods by name: what is sent, how it is merged, what is learned besides."""

from __future__ import annotations

import difflib

from p2prec.collaboration.alone import Alone
from p2prec.collaboration.d_dist import DDist
from p2prec.collaboration.dard import DARD
from p2prec.collaboration.dclr import DCLR
from p2prec.collaboration.gossip import Epidemic, MetropolisHastings
from p2prec.collaboration.mac import MAC
from p2prec.collaboration.method import Collaboration, Options
from p2prec.collaboration.pepper import Pepper
from p2prec.errors import ConfigError
from p2prec.text import printable

METHODS: dict[str, type[Collaboration]] = {
    "alone": Alone,
    "epidemic": Epidemic,
    "metropolis_hastings": MetropolisHastings,
    "dclr": DCLR,
    "pepper": Pepper,
    "mac": MAC,
    "d_dist": DDist,
    "dard": DARD,
}


def build_method(name: str, options: Options) -> Collaboration:
    """A method by its name.

    Raises:
        ConfigError: There is no such method, or it has no such option.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(METHODS))}"
        raise ConfigError(f"unknown method {printable(name)[:80]!r}; {hint}")
    return METHODS[name](options)
