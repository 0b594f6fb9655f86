"""Collaboration methods by name: what is sent, how it is merged, what is learned besides."""

from __future__ import annotations

from collections.abc import Callable

from p2prec.collaboration.alone import Alone
from p2prec.collaboration.dclr import DCLR
from p2prec.collaboration.gossip import Epidemic, MetropolisHastings
from p2prec.collaboration.mac import MAC
from p2prec.collaboration.method import Collaboration, Options

METHODS: dict[str, Callable[[Options], Collaboration]] = {
    "alone": Alone,
    "epidemic": Epidemic,
    "metropolis_hastings": MetropolisHastings,
    "dclr": DCLR,
    "mac": MAC,
}
