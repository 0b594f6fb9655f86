"""Progress where standard error is no terminal: a line a step, and nothing that nobody knows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from peers.cli.progress import Stage, following
from peers.simulator import command
from peers.simulator.run import Progress


def stage(completed: int, step: object, label: str = "one") -> Stage:
    return Stage(label=label, completed=completed, total=9, text=f"{completed} done", step=step)


def test_a_line_is_written_where_something_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    with following(quiet=False) as follow:
        for at in (stage(1, 0), stage(2, 0), stage(3, 1), stage(3, 1, "other"), stage(4, 1)):
            follow(at)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["one: 1 done", "one: 3 done", "other: 3 done", "one: 4 done"]


def test_nothing_is_written_where_it_is_unwanted(capsys: pytest.CaptureFixture[str]) -> None:
    with following(quiet=True) as follow:
        follow(stage(1, 0))
    assert capsys.readouterr() == ("", "")


def test_a_simulation_says_how_long_it_will_take_once_it_has_a_speed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: now_s[0])
    world = SimpleNamespace(n=10, rounds=100)
    with command._progress("dclr", world, quiet=False) as show:  # type: ignore[arg-type]
        # A run that goes on from peer-round 500: what an earlier process did is no speed.
        for at_s, peer_rounds in ((100.0, 500), (101.0, 519), (160.0, 550), (400.0, 990)):
            now_s[0] = at_s
            show(Progress(virtual_s=60.0 * peer_rounds, peer_rounds=peer_rounds, over=0))
        show(Progress(virtual_s=60_000.0, peer_rounds=1_000, over=10))
    assert capsys.readouterr().err.splitlines() == [
        "dclr: 8:20:00 of virtual time, 500 peer-rounds, 0/10 done",
        "dclr: 8:39:00 of virtual time, 519 peer-rounds, 0/10 done",
        "dclr: 9:10:00 of virtual time, 550 peer-rounds, 0/10 done, some 9 min left",
        "dclr: 16:30:00 of virtual time, 990 peer-rounds, 0/10 done",
        "dclr: 16:40:00 of virtual time, 1000 peer-rounds, 10/10 done",
    ]
