"""A run that is stopped, saved and continued comes to what it would have come to."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2prec.errors import ConfigError, DataError, StoppedByUserError, StoreError
from peers.provenance import provenance
from peers.scenario import MethodConfig, Scenario
from peers.simulator import checkpoint, estimate, happenings
from peers.simulator.checkpoint import CHECKPOINT, RESULT, Keeper, asked_for
from peers.simulator.command import run_simulation, simulate
from peers.simulator.keeping import Keeping
from tests.sim.worlds import REALM, SCENARIO, hard, written


def keeper(
    folder: Path,
    scenario: Scenario,
    *,
    stop: Callable[[], bool] = lambda: False,
    every_s: float = 1e9,
    told: Callable[[str], None] = lambda _: None,
) -> Keeper:
    asked = asked_for({"": scenario}, seeds=1)
    return Keeper(folder, asked, every_s, "p2prec again", stop, told)


def stopping_at(turn: int) -> Callable[[], bool]:
    """Asked before every slice, it says stop before this one."""
    asked = iter(range(10**9))
    return lambda: next(asked) == turn


def stopped(folder: Path, scenario: Scenario, turn: int, *, processes: int = 1) -> None:
    kept = keeper(folder, scenario, stop=stopping_at(turn))
    kept.begin()
    with pytest.raises(StoppedByUserError, match="goes on with: p2prec again"):
        simulate(scenario, REALM, keeper=kept, processes=processes)


def continued(folder: Path, scenario: Scenario, *, processes: int = 1) -> dict[str, Any]:
    kept = keeper(folder, scenario)
    kept.resume()
    summary = simulate(scenario, REALM, keeper=kept, processes=processes)
    kept.result(summary)
    return summary


def straight(folder: Path, scenario: Scenario) -> dict[str, Any]:
    kept = keeper(folder, scenario)
    kept.begin()
    summary = simulate(scenario, REALM, keeper=kept)
    kept.result(summary)
    return summary


METHODS = (
    MethodConfig(name="dclr", models=("next_place/4",)),
    MethodConfig(name="dard", models=("mf/4", "ranker/8")),
    MethodConfig(name="metropolis_hastings", models=("mf/8",)),
    MethodConfig(name="epidemic", models=("ranker/16",)),
    MethodConfig(name="gossip_adam", models=("ranker/8",)),
    MethodConfig(name="pepper", models=("next_place/4",)),
    MethodConfig(name="od_update", models=("mf/8/codes-2",)),
    MethodConfig(name="sessions", models=("session_knn/8",)),
    MethodConfig(name="alone", models=("next_place/4",)),
)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_run_goes_on_where_it_was_stopped_on_any_number_of_processes(
    method: MethodConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a hard world: messages are in flight, devices asleep, crashed, yet to join, and gone."""
    monkeypatch.setattr(happenings, "GROUP", 3)
    scenario = replace(SCENARIO, simulation=hard(), methods=(method,))
    whole = straight(tmp_path / "whole", scenario)
    for turn, before, after in ((21, 2, 1), (29, 1, 3)):
        folder = tmp_path / str(turn)
        stopped(folder, scenario, turn, processes=before)
        assert continued(folder, scenario, processes=after)["digest"] == whole["digest"]
        assert (folder / RESULT).read_bytes() == (tmp_path / "whole" / RESULT).read_bytes()


def test_sealed_messages_are_still_opened_after_a_stop(tmp_path: Path) -> None:
    scenario = replace(SCENARIO, simulation=replace(hard(), seal=True))
    whole = straight(tmp_path / "whole", scenario)
    stopped(tmp_path / "stopped", scenario, 24)
    assert continued(tmp_path / "stopped", scenario)["digest"] == whole["digest"]
    assert (tmp_path / "stopped" / RESULT).read_bytes() == (
        tmp_path / "whole" / RESULT
    ).read_bytes()


def test_a_run_may_be_stopped_again_and_again_and_is_saved_on_the_way(tmp_path: Path) -> None:
    scenario = replace(SCENARIO, methods=METHODS[:1] + METHODS[-1:])
    straight(tmp_path / "whole", scenario)
    folder = tmp_path / "stopped"
    kept = keeper(folder, scenario, stop=stopping_at(4), every_s=0.0)
    kept.begin()
    n_stops = 0
    while True:
        try:
            summary = simulate(scenario, REALM, keeper=kept)
            break
        except StoppedByUserError:
            n_stops += 1
            kept = keeper(folder, scenario, stop=stopping_at(4), every_s=0.0)
            kept.resume()
    kept.result(summary)
    assert n_stops > 3  # in the first method and in the second, which did not begin the first again
    assert (folder / RESULT).read_bytes() == (tmp_path / "whole" / RESULT).read_bytes()
    assert [path.name for path in folder.iterdir() if path.suffix == ".new"] == []


def test_the_result_says_nothing_of_the_machine(tmp_path: Path) -> None:
    summary = straight(tmp_path, SCENARIO)
    result = json.loads((tmp_path / RESULT).read_text())
    assert result["digest"] == summary["digest"]
    assert result["methods"]["dclr"]["all"] == summary["methods"]["dclr"]["all"]
    assert "seconds" in summary
    assert not {"seconds", "peer_rounds_per_second", "uss_mib"} & result.keys()
    assert "seconds" not in result["methods"]["dclr"]


def quietly(toml: Path, **options: Any) -> dict[str, Any]:
    kept = {key: options.pop(key) for key in ("save", "resume") if key in options}
    return run_simulation(toml, keeping=Keeping(**kept), show=False, quiet=True, **options)


def test_a_summary_says_what_made_it_and_a_saved_result_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    summary = quietly(written(tmp_path), save=folder)
    assert summary["made_by"] == provenance()
    assert "made_by" not in json.loads((folder / RESULT).read_text())


def test_a_folder_is_not_taken_twice_and_only_its_own_run_goes_on(tmp_path: Path) -> None:
    toml, folder = written(tmp_path), tmp_path / "kept"
    with pytest.raises(ConfigError, match="holds no run"):
        quietly(toml, resume=folder)
    digest = quietly(toml, save=folder)["digest"]
    before = (folder / CHECKPOINT).read_bytes()
    with pytest.raises(ConfigError, match="holds a run already; --continue"):
        quietly(toml, save=folder)
    with pytest.raises(ConfigError, match="take one of them"):
        quietly(toml, save=folder, resume=folder)
    for other, says in (
        ({"seed": 5}, "seed is 0 there and 5 here"),
        ({"seeds": 2}, "seeds is 1 there and 2 here"),
        ({"peers": 7}, "peers.count is 6 there and 7 here"),
        ({"settings": ["neighbours.k=2"]}, "neighbours.k is 3 there and 2 here"),
        ({"settings": ["simulation.network.loss=0.1"]}, "network.loss is 0.0 there and 0.1 here"),
    ):
        with pytest.raises(ConfigError, match="holds another run: ") as refused:
            quietly(toml, resume=folder, **other)
        assert says in str(refused.value)
    toml.write_text(toml.read_text().replace('"dclr"', '"pepper"'))
    with pytest.raises(ConfigError, match=r"methods\[0\].name is dclr there and pepper here"):
        quietly(toml, resume=folder)
    toml.write_text(toml.read_text().replace('"pepper"', '"dclr"'))
    assert (folder / CHECKPOINT).read_bytes() == before
    assert quietly(toml, resume=folder)["digest"] == digest


def test_a_run_that_does_not_fit_into_memory_leaves_its_folder_for_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kept"
    with monkeypatch.context() as patch:
        patch.setattr(estimate, "_available_bytes", lambda: 1_000)
        with pytest.raises(ConfigError, match="memory"):
            quietly(written(tmp_path), save=folder)
    assert list(folder.iterdir()) == []
    quietly(written(tmp_path), save=folder)
    assert (folder / RESULT).exists()


def test_a_run_whose_data_cannot_be_read_leaves_its_folder_for_one_whose_can(
    tmp_path: Path,
) -> None:
    toml, folder, data = tmp_path / "places.toml", tmp_path / "kept", tmp_path / "data.csv"
    toml.write_text(written(tmp_path).read_text().replace('kind = "city"', 'kind = "check_ins"'))
    data.write_text("user,poi,category,lat,lon,timestamp\nu0,p0,,north,0,0\n")
    with pytest.raises(DataError, match="line 2"):
        quietly(toml, save=folder, data=str(data))
    assert list(folder.iterdir()) == []


def test_other_code_or_other_data_do_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path, SCENARIO, 5)
    before = (tmp_path / CHECKPOINT).read_bytes()
    realm = replace(REALM, histories=REALM.histories[::-1])
    over = tmp_path / "over"
    straight(over, SCENARIO)
    for folder in (tmp_path, over):
        other = keeper(folder, SCENARIO)
        other.resume()
        with pytest.raises(ConfigError, match="the interactions are other ones"):
            simulate(SCENARIO, realm, keeper=other)
    monkeypatch.setattr(checkpoint, "code", lambda: "0" * 64)
    with pytest.raises(StoreError, match="saved by another p2prec"):
        keeper(tmp_path, SCENARIO).resume()
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    with pytest.raises(StoreError, match="saved by another p2prec"):
        keeper(tmp_path, SCENARIO).resume()
    assert (tmp_path / CHECKPOINT).read_bytes() == before


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("saved")
    stopped(folder, SCENARIO, 5)
    return (folder / CHECKPOINT).read_bytes()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_a_damaged_file_is_told_and_left_as_it_is(
    saved: bytes, tmp_path: Path, draw: st.DataObject
) -> None:
    at = draw.draw(st.integers(0, len(saved) - 1))
    bit = draw.draw(st.integers(0, 7))
    damaged = draw.draw(
        st.sampled_from(
            [
                saved[:at],
                saved[:at] + bytes([saved[at] ^ 1 << bit]) + saved[at + 1 :],
                saved + b"\0",
                saved[:at] + saved[at:] * 2,
            ]
        )
    )
    path = tmp_path / CHECKPOINT
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"is damaged \(.+\) and nothing can go on from it"):
        keeper(tmp_path, SCENARIO).resume()
    assert path.read_bytes() == damaged


def test_a_full_disk_neither_ends_the_run_nor_costs_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path, SCENARIO, 5)
    before = (tmp_path / CHECKPOINT).read_bytes()
    told: list[str] = []
    kept = keeper(tmp_path, SCENARIO, every_s=0.0, told=told.append)
    kept.resume()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    summary = simulate(SCENARIO, REALM, keeper=kept)  # nor can its end be saved
    assert len(told) > 2
    assert all("No space left" in sentence for sentence in told)
    assert all(
        sentence.endswith("what was saved before is still there; the run goes on")
        for sentence in told
    )
    kept.result(summary)
    assert told[-1].endswith("; make room, then: p2prec again")
    kept.stop = lambda: True
    with pytest.raises(StoreError, match="what was saved before is still there"):
        kept.pause((0, "centralised"))  # nobody is told that it is saved
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    monkeypatch.undo()
    assert continued(tmp_path, SCENARIO)["digest"] == summary["digest"]
    assert summary["digest"] == simulate(SCENARIO, REALM)["digest"]
