"""Collaboration methods by name: what is sent, how it is merged, what is learned besides."""

from __future__ import annotations

from p2prec.collaboration.alone import Alone
from p2prec.collaboration.d_dist import DDist
from p2prec.collaboration.dard import DARD
from p2prec.collaboration.dclr import DCLR
from p2prec.collaboration.dclr_mac import DCLRWithMAC
from p2prec.collaboration.gossip import Epidemic, MetropolisHastings
from p2prec.collaboration.gossip_adam import GossipAdam
from p2prec.collaboration.mac import MAC
from p2prec.collaboration.method import Collaboration, Options
from p2prec.collaboration.od_update import ODUpdate
from p2prec.collaboration.pepper import Pepper
from p2prec.collaboration.sessions import SessionGossip
from p2prec.errors import ConfigError
from p2prec.models.families import FAMILIES
from p2prec.text import nearest, printable

METHODS: dict[str, type[Collaboration]] = {
    "alone": Alone,
    "epidemic": Epidemic,
    "metropolis_hastings": MetropolisHastings,
    "gossip_adam": GossipAdam,
    "dclr": DCLR,
    "od_update": ODUpdate,
    "pepper": Pepper,
    "mac": MAC,
    "d_dist": DDist,
    "dard": DARD,
    "dclr_mac": DCLRWithMAC,
    "sessions": SessionGossip,
}


def build_method(name: str, options: Options) -> Collaboration:
    """A method by its name.

    Raises:
        ConfigError: There is no such method, or it has no such option.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method {printable(name)[:80]!r}; {nearest(name, METHODS)}")
    return METHODS[name](options)


def families_of(name: str) -> frozenset[str]:
    """The families of models that a method is good for: its own one, or all that no other claims.

    Args:
        name: Of a method; of one that there is not, as of most.
    """
    own = METHODS[name].family if name in METHODS else None
    claimed = {method.family for method in METHODS.values()}
    return frozenset({own} if own is not None else FAMILIES.keys() - claimed)


def method_for(family: str) -> str:
    """The method that a family of models is made for; ``"epidemic"`` for most."""
    return next((name for name, method in METHODS.items() if method.family == family), "epidemic")


def sessions_held(name: str, options: Options) -> int:
    """Sessions of others that a peer holds by a method, at most; 0 by most.

    Args:
        name: Of a method; there need be none of that name.
        options: Of it.

    Raises:
        ConfigError: It has no such option.
    """
    method = build_method(name, options) if name in METHODS else None
    return method.capacity if isinstance(method, SessionGossip) else 0
