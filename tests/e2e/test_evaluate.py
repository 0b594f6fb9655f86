"""``p2prec evaluate`` and ``p2prec methods`` as their users call them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from p2prec.data.city import generate_city
from peers.cli.main import app, main
from peers.evaluate import FROZEN, known_methods
from peers.scenario import load_scenario

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
    result = CliRunner().invoke(app, [*command, "--quiet"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert set(known_methods()) <= set(summary["methods"])
    assert {"centralised", "server_fedavg", "most_frequent", "item_knn"} <= set(summary["methods"])
    for row in summary["methods"].values():
        assert {"all", "returning", "new", "bytes_per_peer", "rounds"} <= set(row)
        assert row["all"]["n"] == 6
        assert 0 <= row["all"]["ndcg@10"] <= row["all"]["hr@10"] <= 1
    assert summary["methods"]["server_fedavg"]["bytes_per_peer"] > 0


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
    assert {"recommender", "collaboration", "selection", "protection", "baseline"} <= set(axes)
    assert {"alone", "dclr", "mac"} <= set(axes["collaboration"])
    assert all(says for members in axes.values() for says in members.values())
