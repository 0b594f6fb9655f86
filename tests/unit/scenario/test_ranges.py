"""Numbers out of range, and files that are not there, are refused before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from p2prec.errors import ConfigError
from peers.config import PeerConfig
from peers.files import make_folder
from peers.ranges import OWNER, SCENARIO, check_ranges
from peers.scenario import DataConfig, PeersConfig, Scenario, check_ends, load_scenario
from peers.settings import load_config
from peers.swarm.data import load_realm
from peers.swarm.repeats import asked


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
        (
            '[[methods]]\nname = "dclr"\nmodels = []',
            'models is empty; name one, such as "ranker/16"',
        ),
        ('[[methods]]\nname = "dclr"\nrounds = -1', "methods[0].rounds = -1 is out of range"),
        (
            '[[methods]]\nname = "dclr"\n[[methods]]\nname = "mac"\nlabel = "dclr"',
            "2 methods are called 'dclr'; give each a label of its own",
        ),
        ('[[methods]]\nname = "dlcr"', "unknown method 'dlcr'; did you mean 'dclr'?"),
        ('[[methods]]\nname = "dclr"\nmodels = ["mff/16"]', "did you mean 'mf'?"),
        ('[[methods]]\nname = "dclr"\nmodels = ["mf/16/qtr-10"]', "did you mean 'qrt'?"),
        (
            '[[methods]]\nname = "dclr"\nmodels = ["mf/16/ratin"]',
            "unknown task 'ratin'; did you mean 'rating'?",
        ),
        (
            '[[methods]]\nname = "dclr"\nmodels = ["next_place/4/rating"]',
            "next_place cannot learn the task 'rating'",
        ),
        (
            '[[methods]]\nname = "od_update"\nmodels = ["mf/16"]',
            "take a model such as mf/16/codes-10",
        ),
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
    with pytest.raises(ConfigError, match=r"s\.toml: data\.path: .* name a CSV of check-ins"):
        load_realm(named, data="", source="s.toml")


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Check-ins of eight users."""
    lines = ["user,poi,category,lat,lon,timestamp"]
    lines += [f"u{u},p{(u + t) % 9},,40.7,-73.9,{9_000 * t}" for u in range(8) for t in range(9)]
    path = tmp_path / "few.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, r"data\.path is empty; name a CSV of check-ins there, or with --data"),
        (
            {"path": "few.csv"},
            "peers.count = 9, and 8 users of the data have more than 3 interactions; nearest is 8",
        ),
        ({"path": "folder"}, "data.path: there is no folder/ml-100k.inter; name a CSV, or the"),
        ({"path": "few.csv", "friends": "fiends.csv"}, "data.friends: there is no .*friends.csv?"),
    ],
)
def test_data_that_do_not_do_are_named_by_file_and_key(
    changes: dict[str, str], sentence: str, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(few.parent)
    (few.parent / "folder").mkdir()
    (few.parent / "friends.csv").write_text("user,friend\nu0,u1\n")
    data = DataConfig(kind="check_ins", **changes)
    scenario = Scenario(name="s", data=data, peers=PeersConfig(count=9))
    with pytest.raises(ConfigError, match=rf"^s\.toml: .*{sentence}"):
        load_realm(scenario, data="", source="s.toml")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"peers": 10**12}, "peers.count = 1000000000000 is out of range"),
        ({"rounds": 10**8}, "schedule.max_rounds = 100000000 is out of range"),
        ({"seed": 2**63}, "seed = 9223372036854775808 is out of range"),
        ({"seed": 2**63 - 2, "seeds": 3}, "seed = 9223372036854775808 is out of range"),
    ],
)
def test_options_have_the_ranges_of_what_they_take_the_place_of(
    options: dict[str, int], sentence: str, tmp_path: Path
) -> None:
    path = scenario_file(tmp_path, "")
    with pytest.raises(ConfigError) as caught:
        asked(path, **options)
    assert str(caught.value).startswith(f"{path}: {sentence}")


def test_methods_without_an_end_are_named(tmp_path: Path) -> None:
    path = scenario_file(
        tmp_path, '[[methods]]\nname = "dclr"\nrounds = 3\n[[methods]]\nname = "mac"'
    )
    scenario = load_scenario(path)
    for virtual in (True, False):
        with pytest.raises(ConfigError, match=r"x: mac never ends with schedule.max_rounds = 0"):
            check_ends(scenario, source="x", virtual=virtual)
    own = replace(scenario, methods=scenario.methods[:1])
    check_ends(own, source="x", virtual=False)
    ending = replace(scenario, simulation=replace(scenario.simulation, hours=1.0))
    check_ends(ending, source="x", virtual=True)
    with pytest.raises(ConfigError, match="mac never ends"):
        check_ends(ending, source="x", virtual=False)


def test_a_file_that_is_no_scenario_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path} cannot be read: Is a directory"):
        load_scenario(tmp_path)
    path = tmp_path / "s.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match=r"s\.toml: byte 9 is no UTF-8"):
        load_scenario(path)
    path.write_text(f"name = {'[' * 50_000}")
    with pytest.raises(ConfigError, match=r"s\.toml: "):
        load_scenario(path)


def test_a_folder_that_cannot_be_made_is_said_before_anything_starts(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    make_folder(None, key="--pictures")
    make_folder(tmp_path / "new" / "folder", key="--pictures")
    assert (tmp_path / "new" / "folder").is_dir()
    with pytest.raises(
        ConfigError, match=rf"--pictures: {taken} cannot be a folder .*: File exists"
    ):
        make_folder(taken, key="--pictures")
