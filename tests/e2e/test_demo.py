"""What ``make demo`` runs, smaller: table, pictures, summary, and Ctrl-C at any moment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from processes import peers_of, until, zygote
from summaries import check_summary

from p2prec.evaluation.baselines import BASELINES

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "p2prec demo"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.xdist_group("multicast"),
    pytest.mark.timeout(400),
]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short path: a Unix socket's name holds about a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="dm") as folder:
        yield Path(folder)


def demo(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    """In a group of its own, which a terminal's Ctrl-C would reach as a whole."""
    return subprocess.Popen(
        [sys.executable, "-m", "peers.cli.main", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
        env={
            **os.environ,
            "TMPDIR": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        },
    )


def ends_by_ctrl_c(process: subprocess.Popen[str]) -> str:
    """What it says about it."""
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    return errors


def test_the_demo_ends_with_a_table_pictures_and_a_summary(tmp_path: Path) -> None:
    assert COMMAND in (ROOT / "Makefile").read_text()
    out, errors = demo(tmp_path, "--peers", "9", "--rounds", "2").communicate(timeout=300)
    folder = tmp_path / "results" / "demo"
    assert f"are in {folder.relative_to(tmp_path)}/" in out, errors
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    check_summary(summary)
    assert summary["peers"] == 9
    assert summary["lost"] == 0, errors
    assert summary["messages"]["tcp"] > 0
    assert summary["messages"]["mqtt"] > 0
    assert summary["discovered_by"]["mdns"] > 0
    assert summary["discovered_by"]["mqtt"] > 0
    methods = ("alone", "dclr", "mac")
    assert set(summary["methods"]) == {*methods, *BASELINES}
    for name in summary["methods"]:
        assert re.search(rf"^ *{name} ", out, flags=re.MULTILINE), out
    for name in methods:
        assert [c["round"] for c in summary["methods"][name]["validation"]] == [1, 2]
    for name in ("dclr", "mac"):
        assert len(summary["methods"][name]["links"]) >= 9
        assert summary["methods"][name]["message_bytes"]
    for picture in ("map.png", "quality.png"):
        pixels = matplotlib.image.imread(folder / picture)
        assert min(pixels.shape[:2]) > 300
        assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 50
        ink = (pixels[..., :3].min(axis=-1) < 0.9).mean()
        assert 0.01 < ink < 0.5
    assert not list(tmp_path.glob("p2prec-*")), "no folder of a peer is left"


def test_ctrl_c_ends_every_process_and_says_so(tmp_path: Path) -> None:
    process = demo(tmp_path, "--peers", "8")
    parent = zygote(process.pid)
    until(lambda: len(peers_of(parent)) >= 8)
    everybody = [parent, *peers_of(parent)]
    said = re.search(r"stopped all (\d+) processes", ends_by_ctrl_c(process))
    assert said
    assert int(said[1]) >= 9
    assert not [pid for pid in everybody if Path(f"/proc/{pid}").exists()]
    assert not list(tmp_path.glob("p2prec-*"))


@pytest.mark.parametrize("moment", ["libraries are loaded", "the first folder is there"])
def test_ctrl_c_without_a_process_is_no_traceback(moment: str, tmp_path: Path) -> None:
    process = demo(tmp_path, "--peers", "4", "--rounds", "1")
    if moment == "libraries are loaded":
        mapped = Path(f"/proc/{process.pid}/maps")
        until(lambda: "numpy" in mapped.read_text())
    else:
        until(lambda: bool(list(tmp_path.glob("p2prec-*"))))
    assert "interrupted: " in ends_by_ctrl_c(process)
    assert not list(tmp_path.glob("p2prec-*"))
