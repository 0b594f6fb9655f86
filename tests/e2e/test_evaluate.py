"""``p2prec evaluate`` and ``p2prec methods`` as their users call them."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_absolute_error, root_mean_squared_error
from summaries import check_summary
from typer.testing import CliRunner

from p2prec.collaboration.methods import METHODS
from p2prec.data.city import generate_city
from p2prec.embeddings.tables import TABLES
from p2prec.errors import ConfigError, StoppedByUserError
from p2prec.evaluation import frame
from p2prec.evaluation.baselines import BASELINES
from p2prec.evaluation.rating_baselines import RATING_BASELINES
from p2prec.models.families import EMBEDDED, FAMILIES, MODELS
from p2prec.training.config import ProtectionConfig
from p2prec.words import words_of
from peers import evaluate_rows
from peers.cli.main import app, main
from peers.config import NeighbourConfig
from peers.evaluate import FROZEN, known_methods, run_evaluation
from peers.examination import Examination
from peers.scenario import in_rounds, load_scenario
from peers.simulator import estimate, keeping
from peers.simulator.checkpoint import CHECKPOINT, RESULT
from peers.simulator.config import SimulationConfig
from peers.simulator.keeping import Keeping
from peers.swarm.data import load_realm
from peers.with_server import with_a_server
from topology.selection import SELECTIONS

pytestmark = pytest.mark.e2e
SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.fixture
def check_ins(tmp_path: Path) -> Path:
    city = generate_city(rng=np.random.default_rng(1), n_users=8, n_places=90, days=60)
    catalogue = city.catalogue
    lines = ["user,poi,category,lat,lon,timestamp"]
    for user in range(city.interactions.n_users):
        history = city.interactions.history(user)
        for item, time_s in zip(history.item[:40], history.timestamp_s[:40], strict=True):
            lat, lon = catalogue.latitude_deg[item], catalogue.longitude_deg[item]
            lines.append(f"u{user},p{item},,{lat:.6f},{lon:.6f},{time_s}")
    path = tmp_path / "check_ins.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_all_methods_and_baselines_stand_in_one_table(check_ins: Path) -> None:
    command = ["evaluate", "--data", str(check_ins), "--rounds", "1", "--users", "6", "--json"]
    pictures = check_ins.parent / "pictures"
    result = CliRunner().invoke(app, [*command, "--quiet", "--pictures", str(pictures)])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    check_summary(summary)
    assert set(known_methods()) <= set(summary["methods"])
    assert {"centralised", "server_fedavg", "most_frequent", "item_knn"} <= set(summary["methods"])
    learned = {*known_methods(), "centralised", "server_fedavg"}
    for name, row in summary["methods"].items():
        assert {"all", "returning", "new", "bytes_per_peer", "rounds"} <= set(row)
        assert row["all"]["n"] == 6
        assert row["rounds"] == (name in learned)  # of those too that have rounds of their own
        assert 0 <= row["all"]["ndcg@10"] <= row["all"]["hr@10"] <= 1
    assert summary["methods"]["server_fedavg"]["bytes_per_peer"] > 0
    assert {p.name for p in pictures.iterdir()} == {
        f"{name}.png" for name in ("rounds", "bytes", "users", "map")
    }
    assert set(summary["figures"]) == set(summary["methods"])
    for name, found in summary["figures"].items():
        for part in ("all", "returning", "new"):
            row = summary["methods"][name][part]
            assert {key: found[part][key] for key in row} == row  # of one seed
        low, high = found["all"]["ndcg@10_interval"]
        assert low <= found["all"]["ndcg@10"] <= high
        assert found["nearest_200"]["all"]["hr@10"] >= found["all"]["hr@10"]
    assert summary["against"] == "alone"
    assert set(summary["paired"]) == set(summary["methods"]) - {"alone"}
    table = frame(summary)
    assert len(table) == 6 * len(summary["methods"])
    assert not table["new"].isna().any()


def test_the_tables_of_a_comparison_fit_into_80_columns(check_ins: Path) -> None:
    command = ["evaluate", "--data", str(check_ins), "--rounds", "1", "--users", "6", "--quiet"]
    methods = ["--methods", "alone,metropolis_hastings", "--seeds", "2"]
    result = CliRunner().invoke(app, [*command, *methods], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    assert "minus that of alone" in result.stdout
    assert "200 nearest" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in result.stdout


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Nobody rates a film twice, so that known films must not compete."""
    rng = np.random.default_rng(0)
    titles = [f"{i}\tfilm {i}\t1990\tDrama" for i in range(30)]
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"
    (tmp_path / "ml-100k.item").write_text("\n".join([header, *titles]) + "\n")
    rated = [
        f"{user}\t{film}\t{rng.integers(1, 6)}\t{1_000 + n}"
        for user in range(8)
        for n, film in enumerate(rng.permutation(30)[:20])
    ]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (tmp_path / "ml-100k.inter").write_text("\n".join([header, *rated]) + "\n")
    return tmp_path


def test_known_films_do_not_compete(films: Path) -> None:
    command = ["evaluate", "--data", str(films), "--rounds", "1", "--methods", "alone,dclr"]
    pictures = ["--pictures", str(films / "pictures")]  # so that there is validation
    result = CliRunner().invoke(app, [*command, *pictures, "--quiet", "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert all(summary["answers"]["new"])
    for ranks in summary["answers"]["rank"].values():
        assert max(ranks) <= 30 - 19
    assert "nearest_200" not in summary["figures"]["dclr"]  # films lie nowhere
    # Among twelve unknown films ten are shown; among all thirty a peer's own would be.
    for name in ("alone", "dclr"):
        assert summary["methods"][name]["validation"][0]["all"]["hr@10"] >= 0.5


def test_films_are_clicked_on_and_rated_too(films: Path) -> None:
    methods = "--methods=epidemic,mac,server_fedavg,centralised"
    command = ["evaluate", "--data", str(films), "--rounds", "2", methods, "--quiet"]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    check_summary(summary)
    ratings, clicks = summary["ratings"], summary["clicks"]
    learned = {"alone", "epidemic", "server_fedavg", "centralised"}
    assert set(ratings["figures"]) == learned | set(RATING_BASELINES)  # mac cannot rate
    assert set(clicks["figures"]) == learned | {"mac", "base_rate"}
    rated = np.array(ratings["answers"]["rating"])
    assert set(rated) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    for name, said in ratings["answers"]["said"].items():
        found = ratings["figures"][name]
        assert found["rmse"] == pytest.approx(root_mean_squared_error(rated, said), abs=1e-4)
        assert found["mae"] == pytest.approx(mean_absolute_error(rated, said), abs=1e-4)
        low, high = found["rmse_interval"]
        assert low <= found["rmse"] <= high
        assert 1 <= min(said) <= max(said) <= 5
    assert ratings["methods"]["epidemic"]["bytes_per_peer"] > 0
    assert clicks["figures"]["base_rate"]["all"]["log_loss"] == pytest.approx(
        log_loss([1, 0, 0, 0, 0], [0.2] * 5)
    )
    assert clicks["figures"]["base_rate"]["all"]["auc"] == 0.5


def test_the_tables_of_films_fit_into_80_columns(films: Path) -> None:
    command = ["evaluate", "--data", str(films), "--rounds", "1", "--quiet"]
    result = CliRunner().invoke(
        app, [*command, "--methods=metropolis_hastings"], env={"COLUMNS": "80"}
    )
    assert result.exit_code == 0, result.output
    assert "RMSE" in result.stdout
    assert "log loss" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def other_data(path: Path) -> Path:
    """The same but for one interaction."""
    if path.is_file():
        other = path.with_name("other.csv")
        other.write_text(path.read_text().replace("u1,p", "u2,p", 1))
        return other
    other = path / "other"
    other.mkdir()
    for file in path.glob("ml-100k.*"):
        shutil.copy(file, other)
    ratings = other / "ml-100k.inter"
    *before, last = ratings.read_text().splitlines()
    user, film, rating, time = last.split("\t")
    changed = "\t".join((user, film, rating, str(int(time) + 1)))
    ratings.write_text("\n".join([*before, changed]) + "\n")
    return other


@pytest.mark.parametrize("data", ["check_ins", "films"])
def test_an_evaluation_is_stopped_and_goes_on_to_the_same_result(
    data: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    csv = request.getfixturevalue(data)
    folder = csv.parent if csv.is_file() else csv
    ask = {
        "methods": ["epidemic", "server_fedavg", "centralised"], "seeds": 2, "rounds": 2,
        "show": False, "quiet": True,
    }  # fmt: skip

    def evaluated(**kept: Path) -> dict[str, Any]:
        return run_evaluation(str(csv), keeping=Keeping(**kept), **ask)

    asked_to_stop = iter(range(10**9))
    every = 0

    @contextlib.contextmanager
    def stop_asked(*, quiet: bool) -> Iterator[Callable[[], bool]]:
        assert quiet
        yield lambda: every > 0 and next(asked_to_stop) % every == every - 1

    monkeypatch.setattr(keeping, "stop_asked", stop_asked)
    whole = evaluated(save=folder / "whole")
    every, begins, stopped_in = 25, {"save": folder / "kept"}, []
    while True:
        try:
            summary = evaluated(**begins)
            break
        except StoppedByUserError as stopped:
            begins = {"resume": folder / "kept"}
            stopped_in.append(str(stopped))
    assert len(stopped_in) >= 2
    methods = "--methods alone,epidemic,server_fedavg,centralised"
    again = f"{methods} --users 8 --rounds 2 --seeds 2 --continue {folder / 'kept'}"
    assert all(sentence.endswith(again) for sentence in stopped_in)
    assert summary["answers"] == whole["answers"]
    results = [(folder / name / RESULT).read_bytes() for name in ("whole", "kept")]
    assert results[0] == results[1]
    with pytest.raises(ConfigError, match="holds a run already"):
        evaluated(save=folder / "kept")
    ask["rounds"] = 3
    with pytest.raises(ConfigError, match=r"--rounds is 2 there and 3 here; ask as then"):
        evaluated(resume=folder / "kept")
    ask |= {"rounds": 2, "methods": ["epidemic", "centralised"]}
    with pytest.raises(ConfigError, match=r"--methods is alone,epidemic,server_fedavg,centralised"):
        evaluated(resume=folder / "kept")
    kept, other = (folder / "kept" / CHECKPOINT).read_bytes(), other_data(csv)
    with pytest.raises(ConfigError, match="the interactions are other ones"):
        run_evaluation(str(other), keeping=Keeping(resume=folder / "kept"), **ask)
    assert (folder / "kept" / CHECKPOINT).read_bytes() == kept
    ask |= {"methods": ["epidemic", "server_fedavg", "centralised"], "pictures": folder / "drawn"}
    with pytest.raises(ConfigError, match=r"--pictures is not given there and given here"):
        evaluated(resume=folder / "kept")


def test_who_stops_a_row_with_a_server_is_told_that_it_begins_anew(
    check_ins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = False

    @contextlib.contextmanager
    def stop_asked(*, quiet: bool) -> Iterator[Callable[[], bool]]:
        assert quiet
        yield lambda: stop

    begun: list[str] = []

    def begins(name: str, *args: Any, **options: Any) -> Any:
        nonlocal stop
        begun.append(name)
        stop = len(begun) == 1  # the user's Ctrl-C, in its first round
        return with_a_server(name, *args, **options)

    monkeypatch.setattr(keeping, "stop_asked", stop_asked)
    monkeypatch.setattr(evaluate_rows, "with_a_server", begins)
    kept = check_ins.parent / "kept"
    ask = {"methods": ["centralised"], "rounds": 2, "show": False, "quiet": True}
    with pytest.raises(StoppedByUserError, match="stopped in centralised, which will begin anew"):
        run_evaluation(str(check_ins), keeping=Keeping(save=kept), **ask)
    with pytest.raises(ConfigError, match="the interactions are other ones"):
        run_evaluation(str(other_data(check_ins)), keeping=Keeping(resume=kept), **ask)
    with monkeypatch.context() as patch:  # what is over needs no memory
        patch.setattr(estimate, "_available_bytes", lambda: 1_000)
        summary = run_evaluation(str(check_ins), keeping=Keeping(resume=kept), **ask)
    assert begun == ["centralised"] * 2
    whole = run_evaluation(str(check_ins), **ask)
    assert summary["figures"] == whole["figures"]


def test_nothing_is_thrown_away_after_the_last_round(check_ins: Path) -> None:
    scenario = load_scenario(FROZEN)
    scenario = replace(
        in_rounds(scenario, 2),
        peers=replace(scenario.peers, count=8),
        simulation=SimulationConfig(),
    )
    realm = load_realm(scenario, data=str(check_ins))
    asked: list[None] = []
    with_a_server(
        "centralised", scenario, realm, Examination(realm), "ranker/8",
        label="", quiet=True, between=lambda: asked.append(None),
    )  # fmt: skip
    assert len(asked) == 1  # of two rounds


def test_an_evaluation_that_is_refused_leaves_its_folder_empty(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = films / "kept"
    with monkeypatch.context() as patch:
        patch.setattr(estimate, "_available_bytes", lambda: 1_000)
        with pytest.raises(ConfigError, match=r"need .* of memory"):
            run_evaluation(str(films), keeping=Keeping(save=folder), show=False, quiet=True)
    assert list(folder.iterdir()) == []


def test_an_unknown_method_is_named_with_the_nearest_one(
    check_ins: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["p2prec", "evaluate", "--data", str(check_ins), "--methods", "dlcr"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 4
    assert "unknown method 'dlcr'; did you mean 'dclr'?" in capsys.readouterr().err


def test_frozen_settings_are_those_that_were_measured_on_new_york() -> None:
    frozen, measured = load_scenario(FROZEN), load_scenario(SCENARIOS / "foursquare_nyc.toml")
    for part in ("training", "neighbours", "schedule", "discovery", "protection"):
        assert getattr(frozen, part) == getattr(measured, part)
    by_name = {m.name: m for m in frozen.methods}
    assert all(by_name[m.name] == m for m in measured.methods)


def test_every_axis_is_listed_with_its_members() -> None:
    result = CliRunner().invoke(app, ["methods", "--json"])
    assert result.exit_code == 0
    axes = json.loads(result.stdout)
    words = words_of(ProtectionConfig)["method"], words_of(NeighbourConfig)["selection"]
    assert {axis: set(members) for axis, members in axes.items()} == {
        "recommender": {*MODELS, *EMBEDDED},
        "task": {"ranking", "click", "rating"},
        "embedding_size": {str(n) for model in FAMILIES.values() for n in model.sizes},
        "table": set(TABLES),
        "collaboration": set(METHODS),
        "selection": set(SELECTIONS),
        "discovery": {"mdns", "mqtt"},
        "transport": {"tcp", "mqtt"},
        "protection": set(words[0]),
        "server": set(known_methods()) - {m.title for m in load_scenario(FROZEN).methods},
        "baseline": set(BASELINES),
        "rating_baseline": set(RATING_BASELINES),
    }
    assert set(words[1]) == set(SELECTIONS)
    assert all(says for members in axes.values() for says in members.values())


def test_methods_that_do_not_fit_are_refused_before_one_begins(
    check_ins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_available_bytes", lambda: 1_000)
    begun: list[object] = []
    monkeypatch.setattr(evaluate_rows, "simulate", lambda *_, **__: begun.append(1))
    with pytest.raises(ConfigError, match=r"8 peers of [0-9,]+ KiB each need .* of memory"):
        run_evaluation(str(check_ins), show=False, quiet=True)
    assert not begun
