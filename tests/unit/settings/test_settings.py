"""Settings of owners and scenarios: a wrong one is named, with its source and the nearest right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from p2prec.errors import ConfigError
from p2prec.training.combinations import check_learner
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from peers.config import PeerConfig
from peers.owner import check_protected
from peers.scenario import load_scenario, peer_config
from peers.settings import config_text, load_config, read_toml

SCENARIO = """
name = "x"
[data]
kind = "city"
[neighbours]
k = 3
[[methods]]
name = "mac"
"""


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("shared = true", "unknown setting 'shared'; did you mean share?"),
        ("[network]\nprot = 1", "unknown setting 'network.prot'; did you mean network.port?"),
        (
            "[learner.protection]\nnoise_multiplyer = 1.0",
            "'learner.protection.noise_multiplyer'; did you mean learner.protection.noise_mult",
        ),
        ("[learner.modle]\nx = 1", "unknown setting 'learner.modle'; did you mean learner.model?"),
        (
            "zzzz = 1",
            "unknown setting 'zzzz'; known: catalogue, learner, memory_budget, neighbours, network",
        ),
        ('"sh\\u001b[31mare" = 1', "unknown setting 'sh\N{REPLACEMENT CHARACTER}[31mare'"),
        ("[network]\nport = 'four'", "`network.port`"),
        (
            "[neighbours]\nselection = 'geografy'",
            "be one of geography, category, both, random, social; did you mean 'geography'?",
        ),
        (
            "[learner.training]\nrow_optimizer = 'adagard'",
            "row_optimizer = 'adagard' is unknown; it must be one of adagrad, sgd; did you mean",
        ),
        (
            "[learner.model]\ntask = 'rating\\n'",
            "learner.model.task = 'rating\\\\n' is unknown; it must be one of ranking, click, ra",
        ),
        ("[learner.protection]\nmethod = 3", "method = 3 is unknown; it must be one of default, n"),
        ("[learner.protection]\nmethod = ['none']", "method = ['none'] is unknown; it must be one"),
        ("network = 3", "`network`"),
        ("share = ", "Invalid value (at end"),
        ("share = true\nshare = true\n", "line 2"),
    ],
)
def test_a_wrong_setting_is_named(text: str, sentence: str, tmp_path: Path) -> None:
    path = config(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("P2PREC_LEARNER__TRAINING__ROW_OPTIMIZER", "sgf", "did you mean 'sgd'?"),
        ("P2PREC_NETWORK__PROT", "1", "unknown setting 'network.prot'; did you mean network.port?"),
        ("P2PREC_SHARE__X", "1", "`share`"),
        ("P2PREC_NETWORK__PORT", "four", "`network.port`"),
        ("P2PREC_SHRE", "true", "unknown setting 'shre'; did you mean share?"),
        ("P2PREC_NETWORK__", "1", "unknown setting 'network.'"),
        (
            "P2PREC_LEARNER__TRAINING__EPOCH",
            "1",
            "'learner.training.epoch'; did you mean learner.training.epochs?",
        ),
    ],
)
def test_a_wrong_override_is_named_as_one(
    name: str, value: str, sentence: str, tmp_path: Path
) -> None:
    path = config(tmp_path, "share = false\n[network]\nport = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {name: value})
    assert str(caught.value).startswith(f"${name}: ")
    assert sentence in str(caught.value)


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    path = config(tmp_path, "share = false\n[network]\nport = 1\nmdns = false\n")
    found = load_config(
        path,
        {
            "P2PREC_NETWORK__PORT": "7",
            "P2PREC_SHARE": "true",
            "P2PREC_HOME": "/x",
            "P2PREC_NETWORK__MQTT": '["a:1"]',
            "OTHER": "x",
        },
    )
    assert (found.network.port, found.network.mdns, found.share) == (7, False, True)
    assert found.network.mqtt == ("a:1",)


def test_what_init_writes_can_be_read(tmp_path: Path) -> None:
    text = config_text(catalogue=Path("catalogue.csv"), share=True)
    assert load_config(config(tmp_path, text), {}).share
    assert "#" in text


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("k = 3", "kk = 3", "unknown setting 'neighbours.kk'; did you mean neighbours.k?"),
        ("[data]", "[date]", "unknown setting 'date'; did you mean data?"),
        ('name = "mac"', 'nmae = "mac"', "unknown setting 'methods.nmae'; did you mean methods.na"),
        ('name = "mac"', 'name = "mca"', "unknown method 'mca'; did you mean 'mac'?"),
        ("k = 3", 'k = "three"', "`neighbours.k`"),
        (
            'name = "mac"',
            'name = "mac"\noptions = {tmperature = 1.0}',
            "did you mean 'temperature'",
        ),
        (
            'name = "mac"',
            'name = "mac"\ntraining = {row_optimizer = "adagard"}',
            "mac: [training] row_optimizer = 'adagard' is unknown; it must be one of adagrad, sgd",
        ),
        (
            "[data]",
            '[training]\nrow_optimizer = "sdg"\n[data]',
            "ing.row_optimizer = 'sdg' is unkn",
        ),
    ],
)
def test_a_wrong_scenario_is_named(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(SCENARIO)
    load_scenario(path)
    path.write_text(SCENARIO.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_scenario(path)
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)


def test_a_wrong_word_in_place_of_the_files_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(SCENARIO)
    assert load_scenario(path, settings=["training.row_optimizer=sgd"]).training.row_optimizer
    with pytest.raises(ConfigError, match="must be one of adagrad, sgd; did you mean 'adagrad'"):
        load_scenario(path, settings=["training.row_optimizer=adagard"])


def test_files_that_are_no_settings(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name, sentence in (("none.toml", "there is no"), ("bytes.toml", "UTF-8"), ("", "irector")):
        with pytest.raises(ConfigError, match=sentence):
            read_toml(tmp_path / name)


@pytest.mark.parametrize(
    "setting", ['method = "none"', "pseudo_items = 0", "clip_norm = 0.0", "pseudo_items = 0.0"]
)
def test_an_owner_shares_unprotected_never_and_a_scenario_where_it_says_so(
    setting: str, tmp_path: Path
) -> None:
    table = f"[learner.protection]\n{setting}\n"
    path = config(tmp_path, "share = true\n" + table)
    with pytest.raises(ConfigError) as caught:
        check_protected(load_config(path, {}), source=str(path))
    key = setting.partition(" ")[0]
    assert str(caught.value).startswith(f"{path}: [learner.protection] {key} =")
    assert "--share-unprotected" in str(caught.value)
    # What shares nothing needs no protection.
    check_protected(load_config(config(tmp_path, table), {}), source="")
    alone = 'share = true\n[learner.collaboration]\nmethod = "alone"\n'
    check_protected(load_config(config(tmp_path, alone + table), {}), source="")
    check_protected(PeerConfig(share=True), source="")

    scenario = tmp_path / "s.toml"
    scenario.write_text(SCENARIO + f"[protection]\n{setting}\n")
    loaded = load_scenario(scenario)
    peer = peer_config(loaded, loaded.methods[0], 0, broker="", responders=[])
    assert peer.share
    assert peer.learner.protection.given_up


def test_an_owner_shares_no_words_that_tell_its_places(tmp_path: Path) -> None:
    codes = """share = true
[learner.model]
family = "mf"
table = "codes"
compression = 4
[learner.collaboration]
method = "METHOD"
"""
    path = config(tmp_path, codes.replace("METHOD", "dclr"))
    with pytest.raises(
        ConfigError, match=r'\[learner.model\] table = "codes" turns protection off'
    ):
        check_protected(load_config(path, {}), source=str(path))
    for method in ("od_update", "mac", "alone"):  # they publish other words, or none
        path = config(tmp_path, codes.replace("METHOD", method))
        check_protected(load_config(path, {}), source=str(path))


@pytest.mark.parametrize(
    ("protection", "sentence"),
    [
        (ProtectionConfig(method="none", noise_multiplier=1.0), "needs method"),
        (ProtectionConfig(clip_norm=0.0, noise_multiplier=1.0), "clip_norm above 0"),
        (ProtectionConfig(pseudo_items=-1.0), "pseudo_items = -1.0 must be 0 or more"),
        (ProtectionConfig(clip_norm=float("inf")), "clip_norm = inf"),
        (ProtectionConfig(noise_multiplier=float("nan")), "noise_multiplier = nan"),
        (ProtectionConfig(delta=1.0), "delta = 1.0"),
        (ProtectionConfig(max_releases=-1), "max_releases"),
        (ProtectionConfig(window_s=0.0), "window_s"),
    ],
)
def test_a_protection_that_cannot_be(protection: ProtectionConfig, sentence: str) -> None:
    """Noise of nothing above all: the ledger would claim a guarantee."""
    learner = LearnerConfig(collaboration=CollaborationConfig(method="dclr"), protection=protection)
    with pytest.raises(ConfigError, match=sentence):
        check_learner(learner)


@pytest.mark.parametrize(
    ("field", "settings", "sentence"),
    [
        ("training", TrainingConfig(row_optimizer="adagard"), "one of adagrad, sgd; did you mean"),  # type: ignore[arg-type]
        ("protection", ProtectionConfig(method="Default"), "one of default, none; did you mean"),  # type: ignore[arg-type]
        ("model", ModelConfig(task="ratings"), "task = 'ratings' is unknown"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_word_in_settings_built_in_code(
    field: str, settings: object, sentence: str
) -> None:
    """Rows would learn by plain steps, since only one of the words is asked for by name."""
    with pytest.raises(ConfigError, match=sentence) as caught:
        check_learner(replace(LearnerConfig(), **{field: settings}))  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"[{field}] ")
