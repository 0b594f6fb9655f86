"""What a simulated peer is to go on from, as values: all but what follows from its world.

Attributes are taken as they are, but for those that come another way, most by a constructor: one
that is added to a life tomorrow is saved too, or refused by ``records`` when a test saves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from p2prec.collaboration.od_update import ODUpdate
from p2prec.training.local import LocalLearner
from peers.acquaintances import Acquaintances
from peers.life import Peer
from peers.simulator.peer import SimulatedPeer
from peers.simulator.world import World

_HANDED_IN: Final[Mapping[type[Any], frozenset[str]]] = {
    SimulatedPeer: frozenset(
        {
            "cell", "config", "device_seed", "endpoints", "index", "learner", "life", "papers",
            "portrait", "skew_s", "speed",
        }
    ),
    Peer: frozenset({"_config", "_identity", "acquaintances"}),
    ODUpdate: frozenset({"held"}),  # comes with the learner's arrays
    Acquaintances: frozenset(
        {"_config", "_friends", "_identity", "_on_follower", "_on_forgotten", "_own_advert"}
    ),
}  # fmt: skip


def peer_state(peer: SimulatedPeer) -> dict[str, Any]:
    """What ``restore_peer`` takes; nothing in it is a copy but the learner's arrays."""
    state: dict[str, Any] = {"device": _attributes(peer), "papers": peer.papers.state()}
    if peer.life is not None and peer.learner is not None:
        state["life"] = _attributes(peer.life)
        state["acquaintances"] = _attributes(peer.life.acquaintances)
        state["learner"] = _learned(peer.learner)
    return state


def restore_peer(peer: SimulatedPeer, state: Mapping[str, Any], world: World) -> None:
    """Let a peer that has only been built go on from a state."""
    turn, keyring = state["papers"]
    peer.papers.restore(turn, keyring)
    if "life" in state:
        peer.known = state["device"]["known"]
        life = peer.begin(world)
        _set(life, state["life"])
        _set(life.acquaintances, state["acquaintances"])
        assert peer.learner is not None  # noqa: S101 - it has just begun
        _relearn(peer.learner, state["learner"], world, peer.index)
    _set(peer, state["device"])


def _learned(learner: LocalLearner) -> dict[str, Any]:
    return {
        "known": len(learner.knowledge.history),
        "arrays": learner.state(),
        "collaboration": _attributes(learner.collaboration),
    }


def _relearn(learner: LocalLearner, state: Mapping[str, Any], world: World, index: int) -> None:
    if len(learner.knowledge.history) != state["known"]:  # the validation one, in the end
        learner.add(world.realm.histories[index].head(state["known"]))
    learner.restore(state["arrays"])
    _set(learner.collaboration, state["collaboration"])


def _attributes(thing: object) -> dict[str, Any]:
    handed_in = _HANDED_IN.get(type(thing), frozenset())
    return {name: getattr(thing, name) for name in _names(thing) if name not in handed_in}


def _names(thing: object) -> Iterable[str]:
    for kind in type(thing).__mro__:
        yield from getattr(kind, "__slots__", ())
    yield from getattr(thing, "__dict__", ())


def _set(thing: object, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        setattr(thing, name, value)
