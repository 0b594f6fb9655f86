"""Drives the shards of a world through virtual time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from peers.simulator.hands import Hand, Report
from peers.simulator.happenings import Parcel, shard_of
from peers.simulator.world import World

_LOOK_EVERY: Final = 16  # slices between two looks at how many peers are over
_SHOWN_EVERY_S: Final = 0.25
_PATIENCE: Final = 20.0  # a run without an end of its own lasts at most as many times its rounds
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run is.

    Attributes:
        virtual_s: Virtual time.
        peer_rounds: Finished so far.
        over: Peers that have done all their rounds.
    """

    virtual_s: float
    peer_rounds: int
    over: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a run is between two slices.

    Attributes:
        turn: Slices that something happened in.
        virtual_s: Virtual time.
    """

    turn: int = 0
    virtual_s: float = 0.0


def live(
    world: World,
    hands: Sequence[Hand],
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    start: Standing = Standing(),
    between: Callable[[Standing], None] = lambda _: None,
) -> tuple[list[Report], float]:
    """Let all shards live until every peer is over, or the virtual end; reports and that time.

    Args:
        world: Of all shards.
        hands: One a shard.
        progress: Hears of it now and then.
        start: Where a restored run is; the beginning for a new one.
        between: Called between two slices, when all that was sent has been delivered. What it
            raises ends the run.
    """
    shards = len(hands)
    end_s = world.settings.hours * 3_600.0 or _longest_s(world)
    virtual_s, turn, shown_s = start.virtual_s, start.turn, 0.0
    while True:
        between(Standing(turn=turn, virtual_s=virtual_s))
        slices = [at for at in (hand.next_slice() for hand in hands) if at is not None]
        if not slices or min(slices) * world.slice_s >= end_s:
            break
        number = min(slices)
        virtual_s = (number + 1) * world.slice_s
        for hand in hands:
            hand.begin(number)
        sent = [hand.outgoing() for hand in hands]
        # In one order on any number of shards.
        said = sorted(
            (a for out in sent for a in out.announcements), key=lambda a: (a.at_s, a.peer)
        )
        parcels: list[list[Parcel]] = [[] for _ in hands]
        for out in sent:
            for parcel in out.parcels:
                parcels[shard_of(parcel.to, shards)].append(parcel)
        for hand, own in zip(hands, parcels, strict=True):
            hand.deliver(own, said)
        turn += 1
        now_s = time.monotonic()
        is_looked_at, is_shown = turn % _LOOK_EVERY == 0, now_s - shown_s > _SHOWN_EVERY_S
        if not (is_looked_at or is_shown):
            continue
        peer_rounds, unfinished = map(sum, zip(*(h.standing() for h in hands), strict=True))
        if is_shown:
            shown_s = now_s
            progress(
                Progress(virtual_s=virtual_s, peer_rounds=peer_rounds, over=world.n - unfinished)
            )
        if is_looked_at and not unfinished:
            break
    peer_rounds, unfinished = map(sum, zip(*(h.standing() for h in hands), strict=True))
    progress(Progress(virtual_s=virtual_s, peer_rounds=peer_rounds, over=world.n - unfinished))
    return [hand.report() for hand in hands], min(virtual_s, end_s)


def _longest_s(world: World) -> float:
    schedule = world.scenario.schedule
    round_s = schedule.round_interval_s + schedule.inbox_timeout_s
    people = world.settings.people
    return (
        _DAY_S
        + _PATIENCE * max(1, world.rounds) * round_s
        + 3_600.0 * (people.late_within_h + people.leave_within_h)
        + people.replay_days * _DAY_S
    )


def digest_of(reports: Sequence[Report]) -> str:
    """Hash of all final models and results, whatever the number of shards."""
    models: dict[int, bytes] = {}
    results: dict[int, dict[str, Any]] = {}
    for report in reports:
        models |= report.digests
        results |= report.results
    sha = hashlib.sha256(b"p2prec/simulation/1")
    for index in sorted(models):
        row = results[index]
        sha.update(f"{index}/{row['rank']}/{row['new']}/{sorted(row['counters'].items())}".encode())
        sha.update(models[index])
    return sha.hexdigest()
