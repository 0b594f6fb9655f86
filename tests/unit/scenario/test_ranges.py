"""Numbers out of range, and files that are not there, are refused before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from p2prec.errors import ConfigError
from peers.config import PeerConfig
from peers.ranges import OWNER, SCENARIO, check_ranges
from peers.scenario import DataConfig, Scenario, load_scenario
from peers.settings import load_config
from peers.swarm.data import load_realm


def scenario_file(folder: Path, text: str) -> Path:
    path = folder / "s.toml"
    path.write_text(f'name = "s"\n{text}\n')
    return path


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[training]\nepochs = 0",
            "training.epochs = 0 is out of range; it must be 1 to 1,000, nearest is 1",
        ),
        ("[training]\nnegatives = 10000", "nearest is 4,096"),
        ("[training]\nlearning_rate = nan", "training.learning_rate = nan"),
        ("[training]\nlearning_rate = -0.1", "it must be 0 to 10, nearest is 0"),
        ("[neighbours]\nk = -3", "neighbours.k = -3"),
        ("[neighbours]\nrandom_share = 1.5", "it must be 0 to 1, nearest is 1"),
        ("[schedule]\ninbox_timeout_s = -1", "it must be 0 or more, nearest is 0"),
        ("[schedule]\ninbox_timeout_s = inf", "nearest is 0"),
        ("[peers]\ncount = 0", "it must be 1 to 10,000,000, nearest is 1"),
        ("[peers]\nmdns_only = 0.7\nmqtt_only = 0.7", "add up to more than 1"),
        ("[data]\ndays = 0", "data.days = 0"),
        ("seed = -1", "seed = -1"),
        (f"[training]\nepochs = {10**400}", "nearest is 1,000"),
        ("discovery = inf", "discovery = inf must be above 0, finite"),
        (
            '[[methods]]\nname = "dclr"\noptions = { dilution = nan }',
            "dclr: option 'dilution' = nan is out of range; it must be 0 to 1, nearest is 0",
        ),
        (
            f'[[methods]]\nname = "mac"\noptions = {{ references = {10**400} }}',
            "mac: option 'references' = inf is out of range; it must be 1 to 256, nearest is 256",
        ),
        (
            '[[methods]]\nname = "dclr"\ntraining = { learning_rate = nan }',
            "dclr: training.learning_rate = nan is out of range",
        ),
        ("methods = []", "names no method"),
    ],
)
def test_one_sentence_names_file_key_and_nearest_value(
    text: str, sentence: str, tmp_path: Path
) -> None:
    path = scenario_file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_scenario(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert sentence in said
    assert "\n" not in said


def test_an_owner_is_told_the_same(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[learner.training]\nbatch_size = 0\n")
    with pytest.raises(ConfigError, match=r"learner\.training\.batch_size = 0 is out of range"):
        load_config(path, {})
    path.write_text("[network]\nport = 70000\n")
    with pytest.raises(ConfigError, match=r"network\.port = 70000 .* nearest is 65,535"):
        load_config(path, {})


def test_defaults_are_within_their_ranges() -> None:
    check_ranges(Scenario(name="s"), SCENARIO, source="")
    check_ranges(PeerConfig(), OWNER, source="")


def test_a_missing_data_file_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "check_ins.csv").write_text("")
    wrong = tmp_path / "chek_ins.csv"
    scenario = Scenario(name="s", data=DataConfig(kind="check_ins"))
    with pytest.raises(ConfigError, match=rf"--data: there is no {wrong}; did you mean .*check_in"):
        load_realm(scenario, data=str(wrong))
    named = replace(scenario, data=replace(scenario.data, path=str(tmp_path / "x" / "y.csv")))
    with pytest.raises(ConfigError, match=r"data\.path of scenario 's': .* name a CSV"):
        load_realm(named, data="")
