"""Pictures of a comparison: quality by round, quality by bytes, and who gains and who loses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from p2prec.evaluation.answers import gains
from p2prec.evaluation.statistics import by_user

_DPI = 110


def draw_comparison(summary: Mapping[str, Any], folder: Path) -> None:
    """Write ``rounds.png`` (where quality was measured by round), ``bytes.png``, ``users.png``."""
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    if any(row.get("validation") for row in summary["methods"].values()):
        _rounds(summary, folder / "rounds.png")
    _bytes(summary, folder / "bytes.png")
    _users(summary, folder / "users.png")


def _rounds(summary: Mapping[str, Any], path: Path) -> None:
    """Quality after each round, on validation."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for name, row in summary["methods"].items():
        curve = row.get("validation")
        if not curve:
            continue
        round_ = np.array([at["round"] for at in curve])
        ndcg = [at["all"]["ndcg@10"] for at in curve]
        sent = row["bytes_per_peer"] / 1024 * round_ / max(1, row["rounds"])
        axes[0].plot(round_, ndcg, marker="o", markersize=3, label=name)
        axes[1].plot(sent, ndcg, marker="o", markersize=3, label=name)
    axes[0].set_xlabel("round")
    axes[0].set_ylabel("NDCG@10 on validation")
    axes[1].set_xlabel("KiB sent a peer (total spread evenly over rounds)")
    axes[0].legend(fontsize=7)
    for each in axes:
        each.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _bytes(summary: Mapping[str, Any], path: Path) -> None:
    """Quality of each method, with its interval, by what a peer has sent."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, found in summary["figures"].items():
        row = summary["methods"][name]
        ndcg = found["all"]["ndcg@10"]
        low, high = found["all"]["ndcg@10_interval"]
        error = [[ndcg - low], [high - ndcg]]
        axes.errorbar(
            row["bytes_per_peer"] / 1024, ndcg, yerr=error, fmt="o", capsize=3, label=name
        )
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xlabel("KiB sent a peer")
    axes.set_ylabel("NDCG@10, 95 % interval over users")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _users(summary: Mapping[str, Any], path: Path) -> None:
    """NDCG of each user minus that of the method all are held against, sorted."""
    from matplotlib import pyplot as plt

    answers, against = summary["answers"], summary["against"]
    figure, axes = plt.subplots(figsize=(7, 4))
    theirs = gains(np.array(answers["rank"][against]))
    for name in summary["paired"]:
        if not summary["methods"][name]["rounds"]:
            continue  # baselines would hide the methods
        difference = gains(np.array(answers["rank"][name])) - theirs
        each = np.sort(by_user(difference, answers["user"]))
        axes.plot(np.arange(len(each)) / max(1, len(each) - 1), each, label=name)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_xlabel("share of users, from who loses to who gains")
    axes.set_ylabel(f"NDCG@10 minus that of {against}")
    axes.grid(alpha=0.3)
    if summary["paired"]:
        axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)
