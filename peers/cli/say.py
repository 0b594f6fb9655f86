"""Answers of a peer as its owner reads them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

_PHASES: Final = {
    "idle": "between two rounds",
    "training": "training",
    "speaking": "preparing what it sends",
    "waiting": "waiting for its neighbours",
    "merging": "taking in what its neighbours sent",
    "resting": "resting, all rounds are done",
    "halted": "leaving",
}


def size(n: int) -> str:
    """Bytes for people."""
    for unit, least in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= least:
            return f"{n / least:.1f} {unit}"
    return f"{n} bytes"


def clock(seconds: float) -> str:
    """A length of time for people, such as ``2 days, 3:04:05``."""
    return str(timedelta(seconds=round(seconds)))


def counted(n: int, word: str) -> str:
    """``1 round``, ``2 rounds``."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def status(answer: Mapping[str, Any], neighbours: Sequence[Mapping[str, Any]]) -> str:
    """The whole of ``p2prec status``."""
    rounds = counted(answer["round"], "round") if answer["round"] else "no round"
    known = f"it knows {counted(answer['interactions'], 'check-in')} of yours"
    if answer["running"]:
        lines = [f"The peer runs: {rounds} done, {_PHASES[answer['phase']]}; {known}."]
    else:
        lines = [f"No peer runs, {rounds} done so far; {known}. Start it with: p2prec run"]
    if not answer["interactions"]:
        lines.append("Give it your check-ins with: p2prec import FILE.csv")
    lines.append(_memory(answer))
    lines.append(_company(answer))
    lines += [f"  {line}" for line in map(neighbour, neighbours)]
    lines.append(_left(answer["left"]))
    if answer["sharing"] and answer["privacy"]["protection"] != "default":
        lines.append(
            "Protection is OFF: neighbours can read from what leaves which places you go to."
        )
    if answer["privacy"]["releases"]:
        lines.append(f"Privacy: {answer['privacy']['sentence']}")
    if answer["sharing"] and answer["privacy"]["releases_left"] == 0:
        lines.append(used_up(answer["privacy"]["next_release_s"]))
    lines += _dropped(answer["counters"])
    return "\n".join(lines)


def _memory(answer: Mapping[str, Any]) -> str:
    memory = answer["memory"]
    taken = size(memory["bytes"]) if memory["bytes"] else "nothing learned yet"
    text = f"Model: {answer['model']}, {taken}"
    if memory["budget"] is not None:
        text += f", and may take {size(memory['budget'])}"
    if memory["expected_hr10"] is not None:
        share = round(100 * memory["expected_hr10"])
        text += f"; in the sample city such a one has {share} % of the next places among its ten"
        if memory["measured"] != answer["model"]:
            text += f", as measured of {memory['measured']}, which ranks"
    elif memory["budget"] is not None:
        text += "; what it is worth was not measured"
    return f"{text}."


def used_up(next_s: float | None) -> str:
    """What an owner reads when no release is left."""
    until = f" until {minute(next_s)}" if next_s is not None else ""
    return (
        f"Nothing more leaves{until}: the max_releases of [learner.protection] are used up; it "
        "goes on learning from others."
    )


def minute(time_s: float) -> str:
    """Date and time of this device's clock."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(time_s))


def _company(answer: Mapping[str, Any]) -> str:
    if not answer["sharing"]:
        why = 'method = "alone"' if answer["method"] == "alone" else "share = false"
        return f"It learns alone: nothing may leave this device ({why} in the settings)."
    text = f"It learns by {answer['method']} with {counted(answer['neighbours'], 'neighbour')}"
    if not answer["running"]:
        return f"{text} when it runs."
    heard = counted(answer["known_peers"], "peer")
    return f"{text}; {heard} met, {counted(answer['adverts'], 'advert')} seen."


def _left(left: Mapping[str, Any]) -> str:
    if not left["rounds"]:
        introductions = f", {size(left['sent_bytes'])} of sealed introductions only"
        return "Left this device: nothing that was learned" + (
            f"{introductions}." if left["sent_bytes"] else "."
        )
    return (
        f"Left this device: what was learned in {counted(left['rounds'], 'round')}, "
        f"{size(left['bytes'])} in all, to at most {counted(left['most_recipients'], 'peer')} a "
        f"round, last on {minute(left['last_s'])}; {size(left['sent_bytes'])} of sealed messages "
        "altogether."
    )


def _dropped(counters: Mapping[str, int]) -> list[str]:
    dropped = {
        name.partition(".")[2].replace("_", " "): n
        for name, n in counters.items()
        if name.startswith("dropped.") and n
    }
    if not dropped:
        return []
    reasons = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{n} {reason}" for reason, n in reasons)
    return [f"Dropped {counted(sum(dropped.values()), 'message')}: {listed}."]


def neighbour(n: Mapping[str, Any]) -> str:
    """One line about a neighbour."""
    ago = max(0, round(time.time() - n["last_seen_s"]))
    heard = f"{ago} s" if ago < 120 else f"{ago // 60} min"
    return (
        f"{n['pseudonym'][:12]}  near {n['geographic_similarity']:.2f}  "
        f"alike {n['semantic_similarity']:.2f}  over {' and '.join(n['transports'])}, "
        f"heard {heard} ago"
    )


def recommendations(found: Sequence[Mapping[str, Any]], *, why: bool) -> str:
    """Places in order; why, where it was asked."""
    lines = []
    for place, r in enumerate(found, 1):
        lines.append(f"{place:3}. {r['item']}  {r['category'] or 'of an unknown kind'}")
        if why:
            lines += [f"       {w['signal']} ({w['weight']:+.2f})" for w in r["why"]]
    return "\n".join(lines) or "Nothing to recommend: all places of the realm are known to you."


def models(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line a pair of recommender and table: size and worth, or why there is none."""
    lines = [f"{'recommender':12} {'table':10} {'bytes':>10}  HR@10  NDCG@10"]
    for row in rows:
        pair = f"{row['recommender']:12} {row['table']:10}"
        if "why" in row:
            lines.append(f"{pair} {'-':>10}  {row['why']}")
        else:
            lines.append(
                f"{pair} {row['bytes']:>10,}  {row['hr@10']:.3f}  {row['ndcg@10']:.3f}   "
                f"{row['model']}"
            )
    return "\n".join(lines)
