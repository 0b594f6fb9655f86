"""The command line as an owner meets it, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
PLACES = "poi,category,lat,lon\n" + "".join(
    f"{i},{['Bar', 'Park', ''][i % 3]},{40.7 + i / 1000},{-74 + i / 1000}\n" for i in range(30)
)
VISITS = "user,poi,category,lat,lon,timestamp\n" + "".join(
    f"me,{i % 7},{['Bar', 'Park', ''][i % 7 % 3]},{40.7 + i % 7 / 1000},{-74 + i % 7 / 1000},"
    f"{1_700_000_000 + 7_000 * i}\n"
    for i in range(40)
)


def p2prec(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "peers.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "P2PREC_HOME": str(home)},
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "places.csv").write_text(PLACES)
    (tmp_path / "visits.csv").write_text(VISITS)
    home = tmp_path / "home"
    done = p2prec(home, "init", "--catalogue", str(tmp_path / "places.csv"), "--no-share")
    assert done.returncode == 0, done.stderr
    return home


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from peers.cli.main import app; from typer.testing import CliRunner;"
        "r = CliRunner().invoke(app, ['--help']); assert r.exit_code == 0;"
        "print([m for m in ('torch', 'numpy', 'zeroconf', 'cryptography') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"


def test_an_owner_s_first_hour(home: Path) -> None:
    visits = str(home.parent / "visits.csv")
    assert json.loads(p2prec(home, "import", visits, "--json").stdout)["added"] == 40
    assert json.loads(p2prec(home, "import", visits, "--json").stdout)["added"] == 0
    answer = json.loads(p2prec(home, "recommend", "-k", "3", "--json").stdout)
    assert len(answer["recommendations"]) == 3
    assert "1." in p2prec(home, "recommend", "--why").stdout
    fresh = json.loads(p2prec(home, "recommend", "--new", "-k", "5", "--json").stdout)
    assert all(int(r["item"]) >= 7 for r in fresh["recommendations"])
    assert json.loads(p2prec(home, "status", "--json").stdout)["interactions"] == 40
    assert p2prec(home, "neighbours").returncode == 3

    peer = subprocess.Popen(
        [sys.executable, "-m", "peers.cli.main", "run"],
        env={**os.environ, "P2PREC_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 40
        while p2prec(home, "neighbours").returncode and time.monotonic() < deadline:
            time.sleep(0.3)
        status = json.loads(p2prec(home, "status", "--json").stdout)
        assert status["running"]
        assert not status["sharing"]
        assert p2prec(home, "run").returncode == 3  # the folder is taken
    finally:
        peer.send_signal(signal.SIGTERM)
        _, errors = peer.communicate(timeout=20)
    assert peer.returncode == 0
    assert "has left the network" in errors


def test_wrong_settings_and_files_are_one_sentence(home: Path) -> None:
    config = home / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("mdns =", "mdsn ="))
    done = p2prec(home, "status")
    assert done.returncode == 4
    assert "did you mean 'mdns'" in done.stderr
    assert "Traceback" not in done.stderr
    config.write_text(text)
    broken = home.parent / "broken.csv"
    broken.write_text(VISITS + "me,3,Bar,nowhere,1,5\nme,2")
    done = p2prec(home, "import", str(broken))
    assert done.returncode == 1
    assert "line 42: lat 'nowhere' is no number" in done.stderr
    done = p2prec(home, "import", str(broken), "--keep-good-lines", "--json")
    assert json.loads(done.stdout)["added"] == 40
    assert len(json.loads(done.stdout)["rejected"]) == 2


def test_doctor_names_what_is_wrong(tmp_path: Path) -> None:
    done = p2prec(tmp_path / "nothing", "doctor", "--json")
    assert done.returncode == 1
    checks = {c["check"]: c for c in json.loads(done.stdout)["checks"]}
    assert checks["python"]["ok"]
    assert "p2prec init writes one" in checks["settings"]["says"]
