"""What the reading commands print with ``--json``: one schema each, and its table for the manual.

Later versions only add keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_type_hints

import msgspec

Float = float | int


class _Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all answers."""


def _about(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class Reason(_Answer, frozen=True, kw_only=True):
    """What speaks for an item."""

    signal: Annotated[str, _about("in words")]
    weight: Annotated[Float, _about("its part of the score")]


class Recommended(_Answer, frozen=True, kw_only=True):
    """One recommended item."""

    item: Annotated[str, _about("id in the catalogue")]
    category: Annotated[str, _about("empty where unknown")]
    latitude_deg: Annotated[Float | None, _about("null without a position")]
    longitude_deg: Annotated[Float | None, _about("null without a position")]
    score: Annotated[Float, _about("comparable within one answer only")]
    why: Annotated[list[Reason], _about("strongest first")]


class Recommendations(_Answer, frozen=True, kw_only=True):
    """``p2prec recommend``."""

    recommendations: Annotated[list[Recommended], _about("best first")]
    elapsed_ms: Annotated[Float | None, _about("null without a running peer")]


class Neighbour(_Answer, frozen=True, kw_only=True):
    """One neighbour."""

    peer_id: Annotated[str, _about("64 hex characters")]
    pseudonym: Annotated[str, _about("32 hex characters, changes daily")]
    geographic_similarity: Annotated[Float, _about("0 to 1")]
    semantic_similarity: Annotated[Float, _about("0 to 1, of tastes")]
    transports: Annotated[list[str], _about("`tcp`, `mqtt`")]
    last_seen_s: Annotated[Float, _about("UTC seconds since 1970")]


class Neighbours(_Answer, frozen=True, kw_only=True):
    """``p2prec neighbours``."""

    neighbours: Annotated[list[Neighbour], _about("from whom the peer learns")]


class Left(_Answer, frozen=True, kw_only=True):
    """What the ledger says."""

    rounds: Annotated[int, _about("in which something was released")]
    bytes: Annotated[int, _about("released, each round counted once, before sealing")]
    most_recipients: Annotated[int, _about("followers of one round, at most")]
    last_s: Annotated[Float | None, _about("time of the last release; null for none")]
    sent_bytes: Annotated[int, _about("of all sealed messages, introductions too")]


class Privacy(_Answer, frozen=True, kw_only=True):
    """What it cost."""

    releases: Annotated[int, _about("in the ledger")]
    epsilon: Annotated[Float | None, _about("null: no guarantee")]
    delta: Annotated[Float, _about("that goes with it")]
    protection: Annotated[str, _about("method in force; `none` where a part of it is off")]
    sentence: Annotated[str, _about("the same in words")]
    releases_left: Annotated[int | None, _about("until `max_releases`; null without a limit")]
    next_release_s: Annotated[Float | None, _about("where none is left: when one may follow")]


class Memory(_Answer, frozen=True, kw_only=True):
    """The model as it lies on this device."""

    bytes: Annotated[int, _about("now; 0 before the first run")]
    budget: Annotated[int | None, _about("of `memory_budget`; null without one")]
    expected_hr10: Annotated[
        Float | None, _about("HR@10 of such a model on the synthetic city; null if not measured")
    ]
    expected_ndcg10: Annotated[Float | None, _about("NDCG@10 likewise")]
    measured: Annotated[
        str, _about("model of which this is said: ranks, maybe of another compression; or empty")
    ]


class Status(_Answer, frozen=True, kw_only=True):
    """``p2prec status``."""

    peer_id: Annotated[str, _about("empty before the first run")]
    pseudonym: Annotated[str, _about("as others see it; empty before the first run")]
    realm: Annotated[str, _about("digest of the catalogue")]
    running: Annotated[bool, _about("whether a peer runs from this folder")]
    sharing: Annotated[bool, _about("whether anything may leave")]
    method: Annotated[str, _about("of collaboration")]
    model: Annotated[str, _about("and its size, and how small its table is")]
    memory: Annotated[Memory, _about("what it takes")]
    phase: Annotated[str, _about("of the round; `stopped` where no peer runs")]
    round: Annotated[int, _about("rounds finished")]
    interactions: Annotated[int, _about("of the owner")]
    neighbours: Annotated[int, _about("now, or when the peer stopped")]
    known_peers: Annotated[int, _about("greeted")]
    adverts: Annotated[int, _about("seen and not expired")]
    discovered_by: Annotated[
        dict[str, int], _about("`mdns`, `mqtt`, `elsewhere`, `gossip`, `hello`")
    ]
    counters: Annotated[dict[str, int], _about("since the first run; see protocol.md")]
    crypto_cpu_s: Annotated[Float, _about("of this run")]
    cpu_s: Annotated[Float, _about("of this run")]
    left: Annotated[Left, _about("what left this device")]
    privacy: Annotated[Privacy, _about("what it cost")]


class Imported(_Answer, frozen=True, kw_only=True):
    """``p2prec import``."""

    added: Annotated[int, _about("new check-ins")]
    total: Annotated[int, _about("check-ins in the store")]
    rejected: Annotated[list[str], _about("a sentence for each line left out")]


class Check(_Answer, frozen=True, kw_only=True):
    """One check of the installation."""

    check: Annotated[str, _about("its name")]
    ok: Annotated[bool, _about("whether it is fine")]
    says: Annotated[str, _about("in a sentence")]


class Checks(_Answer, frozen=True, kw_only=True):
    """``p2prec doctor``."""

    checks: Annotated[list[Check], _about("all of them, in order")]


class Settings(_Answer, frozen=True, kw_only=True):
    """``p2prec config``."""

    path: Annotated[str, _about("of the file")]
    settings: Annotated[dict[str, Any], _about("all in force, as the tables of the file")]


ANSWERS: dict[str, type[_Answer]] = {
    "recommend": Recommendations,
    "neighbours": Neighbours,
    "status": Status,
    "import": Imported,
    "doctor": Checks,
    "config": Settings,
}


def manual() -> str:
    """The tables of ``docs/cli.md``."""
    parts = []
    for command, answer in ANSWERS.items():
        rows = "\n".join(
            f"| `{path}` | {kind} | {text} |" for path, kind, text in _rows(answer, "")
        )
        parts.append(f"### {command}\n\n| key | type | what |\n| --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _rows(answer: type[_Answer], where: str) -> Iterator[tuple[str, str, str]]:
    for name, hint in get_type_hints(answer, include_extras=True).items():
        kind, meta = get_args(hint)
        inner = [t for t in (kind, *get_args(kind)) if isinstance(t, type) and _is_answer(t)]
        path = f"{where}{name}" + ("[]" if inner and inner[0] is not kind else "")
        yield path, "list" if path.endswith("[]") else _kind(kind), meta.description
        for nested in inner:
            yield from _rows(nested, f"{path}.")


def _is_answer(kind: type) -> bool:
    return issubclass(kind, _Answer) if not get_args(kind) else False


def _kind(kind: Any) -> str:
    names = {
        str: "text",
        bool: "bool",
        int: "int",
        Float: "number",
        Float | None: "number, null",
        int | None: "int, null",
    }
    if kind in names:
        return names[kind]
    return "object" if _is_answer(kind) or str(kind).startswith("dict") else "list of text"
