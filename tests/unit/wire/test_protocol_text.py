"""``docs/protocol.md`` names what the code counts, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "protocol.md").read_text()
RAISED = re.compile(
    r'(?:RemoteProtocolError\(|dropped\(|reason=|on_drop\(|"dropped\.)\s*"?([a-z_]+)"'
)


def counted() -> set[str]:
    sources = [*(ROOT / "peers").glob("*.py"), *(ROOT / "topology").glob("*.py")]
    return {name for path in sources for name in RAISED.findall(path.read_text())}


def documented() -> set[str]:
    opening = TEXT.split("### Opening")[1].split("## Bodies")[0]
    dropped = TEXT.split("## What is dropped")[1].split("| what arrives")[0]
    names = re.findall(r"\| `([a-z_]+)` \|", opening)
    return {*names, *re.findall(r"`([a-z_]+)`", dropped)} - {"counters"}


def test_every_reason_is_documented_and_every_documented_one_exists() -> None:
    assert len(counted()) > 30
    assert counted() == documented()


@pytest.mark.parametrize(
    "label",
    sorted(
        {
            label
            for name in ("adverts", "messages", "sealing", "discovery/labels")
            for label in re.findall(
                r'b"(p2prec/[a-z]+/1)"', (ROOT / "peers" / f"{name}.py").read_text()
            )
        }
    ),
)
def test_every_label_is_documented(label: str) -> None:
    assert f'"{label}"' in TEXT
