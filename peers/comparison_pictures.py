"""Pictures of a comparison: curves, quality by bytes, who gains and who loses, neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from p2prec.evaluation.answers import gains
from p2prec.evaluation.statistics import by_user
from peers.drawing import canvas, draw_curves, styles
from peers.swarm.pictures import draw_neighbours


def draw_comparison(summary: Mapping[str, Any], folder: Path) -> None:
    """Write ``rounds.png`` (where quality was measured by round), ``bytes``, ``users``, ``map``."""
    if any(row.get("validation") for row in summary["methods"].values()):
        title = f"{summary['scenario']}, {summary['peers']} peers"
        draw_curves(summary["methods"], folder / "rounds.png", title=title)
    _bytes(summary, folder / "bytes.png")
    _users(summary, folder / "users.png")
    draw_neighbours(summary, folder / "map.png")


def _bytes(summary: Mapping[str, Any], path: Path) -> None:
    """Quality of each method, with its interval, by what a peer has sent; to the left who nothing.

    Methods that send as much stand a little beside each other.
    """
    rows = summary["methods"]
    looks = {n: {k: s[k] for k in ("color", "marker")} for n, s in styles(rows).items()}
    silent = [name for name in rows if not rows[name]["bytes_per_peer"]]
    speaking = [name for name in rows if name not in silent]

    def draw(axes: Any, name: str, at: float) -> None:
        found = summary["figures"][name]["all"]
        ndcg, (low, high) = found["ndcg@10"], found["ndcg@10_interval"]
        error = [[ndcg - low], [high - ndcg]]
        axes.errorbar(at, ndcg, error, linestyle="", capsize=3, label=name, **looks[name])

    ratios = {"width_ratios": [max(2, len(silent)), 8]}
    with canvas(path, columns=2, width=11, height=4.5, sharey=True, gridspec_kw=ratios) as axes:
        for place, name in enumerate(silent):
            draw(axes[0], name, place)
        axes[0].set_xticks(range(len(silent)), silent, rotation=40, ha="right")
        axes[0].set_title("nothing is sent", fontsize=9)
        axes[0].set_ylabel("NDCG@10, 95 % interval over users")
        for place, name in enumerate(speaking):
            draw(axes[1], name, rows[name]["bytes_per_peer"] / 1024 * 1.06**place)
        axes[1].set_xscale("log")
        axes[1].set_xlabel("KiB sent a peer")
        if speaking:
            axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        for each in axes:
            each.grid(alpha=0.3)


def _users(summary: Mapping[str, Any], path: Path) -> None:
    """NDCG@10 of each user minus that of the method all are held against, sorted, and counts.

    Most users neither gain nor lose: the axis shows those who do.
    """
    answers, against = summary["answers"], summary["against"]
    theirs = gains(np.array(answers["rank"][against]))
    learned = [name for name in summary["paired"] if summary["methods"][name]["rounds"]]
    if not learned:
        return
    with canvas(path, columns=2, width=11, height=4.2) as axes:
        for name, style in styles(learned).items():
            difference = gains(np.array(answers["rank"][name])) - theirs
            each = np.sort(by_user(difference, answers["user"]))
            share = np.arange(len(each)) / max(1, len(each) - 1)
            line = {k: v for k, v in style.items() if k not in ("marker", "markersize")}
            axes[0].plot(share, each, label=name, drawstyle="steps-mid", **line)
            losing, gaining = float((each < 0).mean()), float((each > 0).mean())
            place = len(learned) - learned.index(name)
            axes[1].barh(place, gaining, color="#1b9e77")
            axes[1].barh(place, -losing, color="#d95f02")
        axes[0].axhline(0.0, color="black", linewidth=0.8)
        axes[0].set_xlabel("share of users, from who loses to who gains")
        axes[0].set_ylabel(f"NDCG@10 minus that of {against}")
        axes[0].grid(alpha=0.3)
        axes[0].legend(fontsize=7)
        axes[1].axvline(0.0, color="black", linewidth=0.8)
        axes[1].xaxis.set_major_formatter(lambda value, _: f"{abs(value):.0%}")
        axes[1].set_yticks(range(len(learned), 0, -1), learned)
        axes[1].set_xlabel(f"share of users worse off (left) and better off than with {against}")
        axes[1].grid(alpha=0.3, axis="x")
