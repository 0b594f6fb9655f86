"""ODUpdate in whole worlds: what a peer changes has left before, whatever befalls it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from p2prec.collaboration.od_update import ODUpdate
from p2prec.collaboration.payload import ModelUpdate, TableUpdate
from p2prec.embeddings.code_update import HeldTable, Mode
from p2prec.training.config import ProtectionConfig
from p2prec.training.knowledge import Knowledge
from peers import events as ev
from peers.messages import Share
from peers.scenario import MethodConfig, Scenario
from peers.simulator.hands import InProcess
from peers.simulator.peer import SimulatedPeer
from peers.simulator.post import Post
from peers.simulator.run import live
from peers.simulator.world import World
from tests.sim.worlds import REALM, SCENARIO

BASE = replace(
    SCENARIO,
    methods=(
        MethodConfig(name="od_update", models=("mf/8/codes-2",), options={"whole_every": 3.0}),
    ),
    schedule=replace(SCENARIO.schedule, round_interval_s=10.0, max_rounds=8),
)


class Followed:
    """Watches what leaves every peer of a world, and checks that it can be put together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.modes: Counter[Mode] = Counter()
        self.first: dict[tuple[int, int], Mode] = {}  # of each life of each peer
        self.rounds: list[int] = []  # in which those were said
        self._whole: dict[int, bytes] = {}
        send = Post.send

        def watched(post: Post, peer: SimulatedPeer, effect: ev.Send, time_s: float) -> None:
            before = peer.counters["said.share"]
            send(post, peer, effect, time_s)
            if peer.counters["said.share"] > before:
                self._left(peer, effect)

        monkeypatch.setattr(Post, "send", watched)

    def _left(self, peer: SimulatedPeer, effect: ev.Send) -> None:
        assert isinstance(effect.message, Share)
        said = effect.message.payload
        assert isinstance(said, TableUpdate)
        self.modes[said.mode] += 1
        if (peer.index, peer.lives) not in self.first:
            self.first[peer.index, peer.lives] = said.mode
            self.rounds.append(said.round)
        if said.mode is Mode.WHOLE:
            table = HeldTable(words=said.words, items=said.rows, codes=said.codes)
            self._whole[peer.index] = table.digest
        else:
            assert said.base == self._whole[peer.index]

    def live(self, scenario: Scenario) -> list[SimulatedPeer]:
        """The peers of a world that is over."""
        world = World(scenario, scenario.methods[0], REALM)
        hand = InProcess(world, 0, 1)
        live(world, [hand])
        return list(hand.shard.peers.values())


def test_a_table_that_was_withheld_is_sent_when_something_may_leave_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed = Followed(monkeypatch)
    protection = ProtectionConfig(max_releases=3, window_s=45.0)
    peers = followed.live(replace(BASE, protection=protection))
    # The fourth round's whole table is withheld, and so is the fifth's.
    assert all(peer.counters["withheld"] >= 2 for peer in peers)
    assert followed.modes[Mode.QUEUE] > followed.modes[Mode.WHOLE] / 2 > 0


def test_a_table_that_was_made_for_nobody_is_sent_to_who_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed = Followed(monkeypatch)
    schedule = replace(BASE.schedule, min_neighbours=0, round_interval_s=2.0, max_rounds=20)
    people = replace(BASE.simulation.people, late_share=1.0, late_within_h=0.02)
    simulation = replace(BASE.simulation, people=people)
    followed.live(replace(BASE, schedule=schedule, simulation=simulation))
    assert max(followed.rounds) > 0  # somebody has spoken to nobody first
    assert set(followed.first.values()) == {Mode.WHOLE}
    assert followed.modes[Mode.QUEUE] > 0


def test_after_crashes_senders_begin_anew_and_followers_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed = Followed(monkeypatch)
    stored: dict[ODUpdate, dict[str, bytes]] = {}  # digests that came from the store
    went_on = Counter[bool]()  # updates of those
    restore, hear = ODUpdate.restore, ODUpdate._heard

    def restored(method: ODUpdate, state: Any, knowledge: Knowledge) -> None:
        restore(method, state, knowledge)
        stored[method] = {sender: table.digest for sender, table in method.held.items()}

    def heard(
        method: ODUpdate, knowledge: Knowledge, sender: str, said: TableUpdate
    ) -> ModelUpdate | None:
        update = hear(method, knowledge, sender, said)
        if said.base and stored.get(method, {}).get(sender) == said.base:
            went_on[update is not None] += 1
        return update

    monkeypatch.setattr(ODUpdate, "restore", restored)
    monkeypatch.setattr(ODUpdate, "_heard", heard)
    devices = replace(BASE.simulation.devices, crashes_per_day=2_000.0, restart_s=1.0)
    simulation = replace(BASE.simulation, devices=devices)
    peers = followed.live(replace(BASE, simulation=simulation))
    assert sum(peer.counters["crashes"] for peer in peers) > len(peers) / 2
    again = [mode for (_, life), mode in followed.first.items() if life > 1]
    assert len(again) > 2
    assert set(again) == {Mode.WHOLE}
    assert went_on[True] > 0
    assert not went_on[False]
