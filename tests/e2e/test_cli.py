"""The command line as an owner meets it, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from p2prec.embeddings.tables import TABLES
from p2prec.models.families import FAMILIES
from peers.cli.answers import ANSWERS, manual

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
MANUAL = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
PLACES = "poi,category,lat,lon\n" + "".join(
    f"{i},{['Bar', 'Park', ''][i % 3]},{40.7 + i / 1000},{-74 + i / 1000}\n" for i in range(30)
)
VISITS = "user,poi,category,lat,lon,timestamp\n" + "".join(
    f"me,{i % 7},{['Bar', 'Park', ''][i % 7 % 3]},{40.7 + i % 7 / 1000},{-74 + i % 7 / 1000},"
    f"{1_700_000_000 + 7_000 * i}\n"
    for i in range(40)
)


def p2prec(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "peers.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "P2PREC_HOME": str(home), **environment},
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "places.csv").write_text(PLACES)
    (tmp_path / "visits.csv").write_text(VISITS)
    home = tmp_path / "home"
    done = p2prec(home, "init", "--catalogue", str(tmp_path / "places.csv"), "--no-share")
    assert done.returncode == 0, done.stderr
    return home


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from peers.cli.main import app; from typer.testing import CliRunner;"
        "r = CliRunner().invoke(app, ['--help']); assert r.exit_code == 0;"
        "print([m for m in ('torch', 'numpy', 'zeroconf', 'cryptography', 'structlog', 'msgspec')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_help_is_there_in_half_a_second(tmp_path: Path) -> None:
    """The best of some, in processor time too, since others may use this machine."""
    best_s = 9.0
    for _ in range(8):
        begun, before = time.monotonic(), os.times()
        done = p2prec(tmp_path, "--help")
        elapsed_s, after = time.monotonic() - begun, os.times()
        cpu_s = sum(after[2:4]) - sum(before[2:4])
        assert done.returncode == 0
        best_s = min(best_s, elapsed_s, cpu_s)
        if best_s < 0.5:
            break
    assert best_s < 0.5


def test_the_version_is_told(tmp_path: Path) -> None:
    done = p2prec(tmp_path, "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "p2prec")


def test_every_answer_has_its_documented_schema(home: Path) -> None:
    """Without a running peer here, with one in the first hour below."""
    assert manual() in MANUAL.read_text(), "docs/cli.md lacks what peers/cli/answers.py says"
    visits = str(home.parent / "visits.csv")
    answer("import", home, visits)
    answer("recommend", home, "-k", "3")
    answer("status", home)
    answer("doctor", home)
    answer("config", home)


def answer(command: str, home: Path, *arguments: str) -> Any:
    """What a command says with --json, held against its schema."""
    done = p2prec(home, command, *arguments, "--json")
    said = json.loads(done.stdout)
    assert msgspec.to_builtins(msgspec.convert(said, ANSWERS[command], strict=True)) == said
    return said


def test_models_tells_of_every_pair_what_it_is_worth_or_why_it_is_not(tmp_path: Path) -> None:
    done = p2prec(tmp_path, "models", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    for row in rows:
        assert set(row) >= {"recommender", "table"}
        if "why" in row:
            assert not {"bytes", "hr@10", "ndcg@10"} & set(row)
            assert row["why"]
        else:
            assert row["bytes"] > 0
            assert 0.0 < row["ndcg@10"] <= row["hr@10"] < 1.0
            assert row["model"].startswith(f"{row['recommender']}/")
    pairs = {(row["recommender"], row["table"]): row for row in rows}
    assert set(pairs) == {(family, table) for family in FAMILIES for table in TABLES}
    assert "no embeddings for a table" in pairs["ranker", "qrt"]["why"]
    text = p2prec(tmp_path, "models").stdout
    lines = [line.split() for line in text.splitlines()[1:]]
    assert [tuple(line[:2]) for line in lines] == [(r["recommender"], r["table"]) for r in rows]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("frobnicate",), 2, "No such command"),
        (("recommend", "--kk"), 2, "No such option"),
        (("neighbours",), 3, "start one with: p2prec run"),
        (("swarm", "nowhere.toml"), 4, "there is no nowhere.toml"),
        (("import", "nowhere.csv"), 1, "nowhere.csv cannot be read: No such file"),
        (("import", "/"), 1, "/ cannot be read: Is a directory"),
        (("init", "--catalogue", "nowhere.csv"), 4, "--force overwrites it"),
        (("import", "{visits}", "--user", "you"), 1, "has no user 'you'; it has me"),
    ],
)
def test_exit_codes_and_what_to_do_next(
    home: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    visits = str(home.parent / "visits.csv")
    done = p2prec(home, *(a.format(visits=visits) for a in arguments))
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert f"| {code} |" in MANUAL.read_text()


def test_a_taken_port_is_one_sentence(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = {
            "P2PREC_SHARE": "true",
            "P2PREC_NETWORK__HOST": "127.0.0.1",
            "P2PREC_NETWORK__PORT": str(port),
        }
        done = p2prec(home, "run", **settings)
        assert done.returncode == 3
        lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
        [line] = lines
        assert f"cannot listen on 127.0.0.1 port {port}" in line
        assert "Choose another port in [network]" in line
        found = json.loads(p2prec(home, "doctor", "--json", **settings).stdout)["checks"]
        [check] = [c for c in found if c["check"] == "port"]
        assert not check["ok"]
    assert p2prec(home, "status").returncode == 0  # nothing is broken or locked by it


@pytest.mark.parametrize("where", ["file", "environment"])
def test_an_owner_never_shares_unprotected_by_accident(home: Path, where: str) -> None:
    settings = {
        "P2PREC_SHARE": "true",
        "P2PREC_NETWORK__HOST": "127.0.0.1",
        "P2PREC_NETWORK__MDNS": "false",
    }
    if where == "file":
        with (home / "config.toml").open("a") as file:
            file.write('\n[learner.protection]\nmethod = "none"\n')
    else:
        settings["P2PREC_LEARNER__PROTECTION__METHOD"] = "none"
    done = p2prec(home, "run", **settings)
    assert done.returncode == 4
    [line] = done.stderr.splitlines()
    assert 'method = "none" turns protection off' in line
    assert "--share-unprotected" in line
    assert not (home / "peer.db").exists()  # it did not even begin
    found = json.loads(p2prec(home, "doctor", "--json", **settings).stdout)["checks"]
    assert [c["ok"] for c in found if c["check"] == "protection"] == [False]

    peer = subprocess.Popen(
        [sys.executable, "-m", "peers.cli.main", "run", "--share-unprotected"],
        env={**os.environ, "P2PREC_HOME": str(home), **settings},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 100
        while p2prec(home, "neighbours").returncode and time.monotonic() < deadline:
            time.sleep(0.3)
        status = answer("status", home)
        assert status["sharing"]
        assert status["privacy"]["protection"] == "none"
        assert "Protection is OFF" in p2prec(home, "status").stdout
    finally:
        peer.send_signal(signal.SIGTERM)
        _, errors = peer.communicate(timeout=60)
    assert peer.returncode == 0
    said = {line["what"]: line for line in map(json.loads, errors.splitlines())}
    assert said["unprotected"]["level"] == "warning"
    assert "SHARING WITHOUT PROTECTION" in said["unprotected"]["event"]


def test_an_override_that_is_none_is_named(home: Path) -> None:
    done = p2prec(home, "status", P2PREC_NETWORK__PROT="1")
    assert done.returncode == 4
    assert "$P2PREC_NETWORK__PROT: unknown setting 'network.prot'" in done.stderr
    assert "did you mean network.port?" in done.stderr


def test_a_damaged_store_is_one_sentence(home: Path) -> None:
    p2prec(home, "import", str(home.parent / "visits.csv"))
    (home / "peer.db").write_bytes(b"this is no database, it only looks like a file" * 100)
    for command in ("status", "recommend", "run"):
        done = p2prec(home, command)
        assert done.returncode == 1
        assert "cannot be opened" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_owner_s_first_hour(home: Path) -> None:
    visits = str(home.parent / "visits.csv")
    assert json.loads(p2prec(home, "import", visits, "--json").stdout)["added"] == 40
    assert json.loads(p2prec(home, "import", visits, "--json").stdout)["added"] == 0
    found = json.loads(p2prec(home, "recommend", "-k", "3", "--json").stdout)
    assert len(found["recommendations"]) == 3
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
        deadline = time.monotonic() + 100
        while p2prec(home, "neighbours").returncode and time.monotonic() < deadline:
            time.sleep(0.3)
        status = answer("status", home)
        assert status["running"]
        answer("neighbours", home)
        answer("recommend", home, "-k", "3")
        assert not status["sharing"]
        assert p2prec(home, "run").returncode == 3  # the folder is taken
    finally:
        peer.send_signal(signal.SIGTERM)
        _, errors = peer.communicate(timeout=60)
    assert peer.returncode == 0
    said = [json.loads(line) for line in errors.splitlines()]
    assert [said[0]["what"], said[-1]["what"]] == ["starting", "left"]
    assert "has left the network" in said[-1]["event"]


def test_wrong_settings_and_files_are_one_sentence(home: Path) -> None:
    config = home / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("mdns =", "mdsn ="))
    done = p2prec(home, "status")
    assert done.returncode == 4
    assert "did you mean network.mdns" in done.stderr
    assert "Traceback" not in done.stderr
    config.write_text(text)
    broken = home.parent / "broken.csv"
    broken.write_text(VISITS + "me,3,Bar,nowhere,1,5\nme,2")
    done = p2prec(home, "import", str(broken))
    assert done.returncode == 1
    assert "line 42: lat 'nowhere' is no number" in done.stderr
    assert "--keep-good-lines imports the others" in done.stderr
    done = p2prec(home, "import", str(broken), "--keep-good-lines", "--json")
    assert json.loads(done.stdout)["added"] == 40
    assert len(json.loads(done.stdout)["rejected"]) == 2


def test_doctor_names_what_is_wrong(tmp_path: Path) -> None:
    done = p2prec(tmp_path / "nothing", "doctor", "--json")
    assert done.returncode == 1
    checks = {c["check"]: c for c in json.loads(done.stdout)["checks"]}
    assert checks["python"]["ok"]
    assert "p2prec init writes one" in checks["settings"]["says"]
