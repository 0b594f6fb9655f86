"""What a peer says to its owner, and to a program."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peers.cli.log import _SAYS, OwnerLog, wants_colours
from peers.cli.say import status, used_up
from peers.events import Tell

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _logging_is_restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


def said(tell: Tell, **options: bool) -> str:
    stream = io.StringIO()
    OwnerLog(stream, **{"terminal": True, **options}).told(tell)
    return stream.getvalue()


def finished(merged: int, rejected: int = 0) -> Tell:
    fields = {"round": 3, "merged": merged, "rejected": rejected}
    return Tell(what="round_finished", fields=fields)


@pytest.mark.parametrize(
    ("tell", "sentence"),
    [
        (finished(5), "round 3: learned from 5 neighbours"),
        (finished(1, 2), "round 3: learned from 1 neighbour; 2 contributions refused"),
        (finished(0), "round 3: learned alone"),
        (Tell(what="neighbours_chosen", fields={"n": 2}), "learning with 2 neighbours"),
        (
            Tell(what="broker_lost", fields={"broker": "b:1", "reason": "refused"}),
            "the broker b:1 cannot be reached (refused); trying on",
        ),
        (
            Tell(what="withheld", fields={"releases": 0, "next_s": None}),
            f"0 releases have left. {used_up(None)}",
        ),
        (Tell(what="never_heard_of", fields={}), "never heard of"),
    ],
)
def test_an_owner_reads_sentences(tell: Tell, sentence: str) -> None:
    assert re.fullmatch(rf"\d\d:\d\d:\d\d  {re.escape(sentence)}\n", said(tell))


def test_a_program_reads_lines_of_json() -> None:
    line = json.loads(said(finished(5), terminal=False))
    assert line["event"] == "round 3: learned from 5 neighbours"
    assert (line["what"], line["round"], line["merged"], line["level"]) == (
        "round_finished", 3, 5, "info",
    )  # fmt: skip
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("terminal", [True, False])
def test_what_others_wrote_is_safe_to_show(terminal: bool) -> None:  # noqa: FBT001
    evil = "b\x1b[2J\x9b31m\n\r\0:1"
    text = said(
        Tell(what="broker_lost", fields={"broker": evil, "reason": "x" * 5_000}), terminal=terminal
    )
    assert text.count("\n") == 1
    assert text.strip("\n").isprintable()
    assert "\x1b" not in (text if terminal else json.loads(text)["event"])
    assert len(text) < 1_500


def test_no_place_is_ever_in_a_log() -> None:
    fields = {"lat": 140.75, "longitude_deg": -174.05, "area": "862a1072", "n": 1}
    text = said(Tell(what="neighbours_chosen", fields=fields), terminal=False)
    assert not re.search(r"140\.75|174\.05|862a", text)


def test_messages_are_said_to_the_curious_only() -> None:
    tell = Tell(what="dropped", fields={"reason": "bad_signature"})
    assert said(tell) == ""
    assert "dropped: bad signature" in said(tell, verbose=True)


def test_libraries_speak_through_the_same_log() -> None:
    stream = io.StringIO()
    OwnerLog(stream, terminal=False).take_over_logging()
    logging.getLogger("some.library").warning("odd\x1b[1m thing %s", 3)
    logging.getLogger("zeroconf").warning("never")
    line = json.loads(stream.getvalue())
    assert line["event"] == "some.library: odd\N{REPLACEMENT CHARACTER}[1m thing 3"


def test_everything_that_a_peer_tells_has_a_sentence() -> None:
    told = {
        name
        for path in (ROOT / "peers").glob("*.py")
        for name in re.findall(r'(?:Tell\(\s*what=|\.tell\(\s*)"([a-z_]+)"', path.read_text())
    }
    assert len(told) > 10
    assert told <= set(_SAYS)


def test_colours_only_where_they_are_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colours(Terminal())
    assert not wants_colours(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colours(Terminal())


def test_status_for_a_person() -> None:
    answer: dict[str, Any] = {
        "running": True,
        "round": 12,
        "phase": "waiting",
        "interactions": 40,
        "model": "mf/16/qrt-10",
        "memory": {
            "bytes": 31_950,
            "budget": 204_800,
            "expected_hr10": 0.412,
            "expected_ndcg10": 0.3,
            "measured": "mf/16/qrt-10",
        },
        "sharing": True,
        "method": "dclr",
        "neighbours": 1,
        "known_peers": 3,
        "adverts": 7,
        "left": {
            "rounds": 12,
            "bytes": 350_000,
            "most_recipients": 5,
            "last_s": 1_764_000_000.0,
            "sent_bytes": 9_000_000,
        },
        "privacy": {
            "releases": 12,
            "protection": "default",
            "sentence": "12 releases without noise.",
            "releases_left": 38,
            "next_release_s": None,
        },
        "counters": {"dropped.replayed": 3, "dropped.bad_signature": 4, "sent.tcp": 9},
    }
    text = status(answer, [])
    assert "12 rounds done, waiting for its neighbours; it knows 40 check-ins of yours" in text
    assert "Model: mf/16/qrt-10, 31.2 KiB, and may take 200.0 KiB; in the sample" in text
    assert "such a one has 41 % of the next places among its ten." in text
    near = answer | {"memory": answer["memory"] | {"measured": "mf/16/qrt-4"}}
    assert "among its ten, as measured of mf/16/qrt-4, which ranks." in status(near, [])
    unbound = answer["memory"] | {"budget": None, "expected_hr10": None, "bytes": 0}
    assert "\nModel: mf/16/qrt-10, nothing learned yet.\n" in status(
        answer | {"memory": unbound}, []
    )
    assert "341.8 KiB in all, to at most 5 peers a round" in text
    assert "Privacy: 12 releases without noise." in text
    assert "Dropped 7 messages: 4 bad signature, 3 replayed." in text
    assert "Nothing more leaves" not in text
    spent = answer["privacy"] | {"releases_left": 0, "next_release_s": 1_764_000_000.0}
    assert "Nothing more leaves until 2025-11-2" in status(answer | {"privacy": spent}, [])
