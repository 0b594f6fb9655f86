"""What all pictures of this project share: a canvas, and lines that can be told apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from topology.cells import cell_centre

_DPI: Final = 110
_FAR_BELOW: Final = 0.5  # of the best NDCG@10
# Told apart without colours too, and in this order: what is under other lines is the widest.
_COLOURS: Final = ("#7f8c8d", "#1f77b4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#a6761d")
_DASHES: Final = ("-", "--", ":", "-.")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
_WIDTHS: Final = (4.0, 2.8, 2.0, 1.5, 1.2)


@contextlib.contextmanager
def canvas(
    path: Path, *, rows: int = 1, columns: int = 1, width: float = 7, height: float = 4, **more: Any
) -> Iterator[Any]:
    """A figure that is written to ``path``; gives its axes, an array where there are several.

    Args:
        path: Of a PNG.
        rows: Axes below each other.
        columns: Axes beside each other.
        width: Of the figure, inches.
        height: Of the figure, inches.
        more: As ``matplotlib.pyplot.subplots`` takes it.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    size = (width, height)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", **more)
    yield axes
    figure.savefig(path, dpi=_DPI, bbox_inches="tight")
    plt.close(figure)


def styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How the line of each name is drawn: equal curves must not hide each other."""
    return {
        name: {
            "color": _COLOURS[i % len(_COLOURS)],
            "linestyle": _DASHES[i % len(_DASHES)],
            "marker": _MARKERS[i % len(_MARKERS)],
            "linewidth": _WIDTHS[min(i, len(_WIDTHS) - 1)],
            "markersize": 4,
            "alpha": 0.85,
        }
        for i, name in enumerate(names)
    }


def draw_curves(methods: Mapping[str, Any], path: Path, *, title: str = "") -> None:
    """Quality on validation: two figures by round, then NDCG@10 by bytes and by time.

    Args:
        methods: Of a summary; those without ``validation`` are left out, and those whose NDCG@10
            never comes to half of the best are named instead of drawn.
        path: Of a PNG.
        title: Above it.
    """
    from matplotlib.ticker import MaxNLocator

    curves = {name: row for name, row in methods.items() if row.get("validation")}
    best = {name: _best(row) for name, row in curves.items()}
    below = [name for name in curves if best[name] < _FAR_BELOW * max(best.values())]
    curves = {name: row for name, row in curves.items() if name not in below}
    with canvas(path, rows=2, columns=2, width=10, height=6.5) as grid:
        axes = grid.ravel()
        for name, style in styles(curves).items():
            row, curve = curves[name], curves[name]["validation"]
            rounds = np.array([at["round"] for at in curve])
            ndcg = [at["all"]["ndcg@10"] for at in curve]
            sent = row["bytes_per_peer"] / 1024 * rounds / max(1, row["rounds"] or rounds.max())
            axes[0].plot(rounds, ndcg, label=name, **style)
            axes[1].plot(rounds, [at["all"]["hr@10"] for at in curve], **style)
            axes[2].plot(sent, ndcg, **style)
            axes[3].plot([at["seconds"] for at in curve], ndcg, **style)
        labels = ("round", "round", "KiB sent a peer, even over rounds", "seconds of the network")
        for each, label in zip(axes, labels, strict=True):
            each.set_xlabel(label)
            each.set_ylabel("HR@10" if each is axes[1] else "NDCG@10")
            each.grid(alpha=0.3)
        for each in axes[:2]:
            each.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure = axes[0].figure
        about = f"on validation; {_uncertain(curves)}"
        if below:  # they would press all others into one line
            named = ", ".join(f"{name} (at best {best[name]:.2f})" for name in below)
            about += f"\nfar below, not drawn: {named}"
        figure.suptitle(f"{title}: {about}" if title else about)
        figure.legend(loc="outside lower center", ncols=5, fontsize=8, handlelength=4)


def _best(row: Mapping[str, Any]) -> float:
    return max(float(at["all"]["ndcg@10"]) for at in row["validation"])


def _uncertain(curves: Mapping[str, Any]) -> str:
    """How far chance alone moves a curve: a dozen questions draw mountains out of nothing."""
    last = [row["validation"][-1]["all"] for row in curves.values()]
    n = min((part["n"] for part in last), default=0)
    error = max(
        (np.sqrt(p * (1 - p) / max(1, n)) for p in (part["hr@10"] for part in last)), default=0.0
    )
    return f"{n:,} questions, standard error of HR@10 {error:.3f}"


def draw_map(method: Mapping[str, Any], path: Path, *, title: str) -> None:
    """Who learns with whom, at blurred places.

    Args:
        method: Of a summary, with ``links`` and ``areas``.
        path: Of a PNG.
        title: Above it.
    """
    places = _places(method["areas"])
    if not places:
        return
    faint = min(0.5, 40.0 / max(1, len(method["links"])) + 0.03)
    with canvas(path, width=7, height=6.5) as axes:
        for a, b in method["links"]:
            if a in places and b in places:
                (x0, y0), (x1, y1) = places[a], places[b]
                axes.plot([x0, x1], [y0, y1], color="#1f77b4", alpha=faint, linewidth=0.8)
        dots = np.array(list(places.values()))
        size = float(np.clip(1_500 / len(dots), 4, 28))
        axes.scatter(dots[:, 0], dots[:, 1], s=size, color="#0b3d66", zorder=3)
        axes.set_aspect(1.0 / np.cos(np.radians(dots[:, 1].mean())))
        axes.set_title(title)
        axes.set_xlabel("longitude")
        axes.set_ylabel("latitude")


def _places(areas: Mapping[str, str]) -> dict[int, tuple[float, float]]:
    """Longitude and latitude by peer, spread within the area so that dots do not hide others."""
    rng = np.random.default_rng(0)
    places = {}
    for index, area in sorted(areas.items()):
        centre = cell_centre(area)
        if centre is not None:
            shift = rng.normal(0.0, 0.008, 2)
            places[int(index)] = (centre[1] + shift[0], centre[0] + shift[1])
    return places
