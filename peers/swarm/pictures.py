"""Pictures of a swarm: who learns with whom, and how quality grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from topology.cells import cell_centre

_COLOURS = {"alone": "#7f8c8d", "dclr": "#1f77b4", "mac": "#d95f02"}


def draw(summary: dict[str, Any], folder: Path) -> None:
    """Write ``map.png`` and ``quality.png``."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    learned = {n: m for n, m in summary["methods"].items() if m.get("links")}
    if learned:
        name, method = next(iter(learned.items()))
        figure, axes = plt.subplots(figsize=(7, 6))
        places = _places(method["areas"])
        for a, b in method["links"]:
            if a in places and b in places:
                (x0, y0), (x1, y1) = places[a], places[b]
                axes.plot([x0, x1], [y0, y1], color="#1f77b4", alpha=0.15, linewidth=0.8)
        dots = np.array(list(places.values()))
        axes.scatter(dots[:, 0], dots[:, 1], s=28, color="#0b3d66", zorder=3)
        axes.set_title(f"{summary['peers']} peers and their neighbours ({name}), blurred areas")
        axes.set_xlabel("longitude")
        axes.set_ylabel("latitude")
        figure.tight_layout()
        figure.savefig(folder / "map.png", dpi=110)
        plt.close(figure)
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, method in summary["methods"].items():
        curve = method.get("validation")
        if curve:
            axes.plot(
                [c["round"] for c in curve],
                [c["all"]["hr@10"] for c in curve],
                marker="o",
                label=name,
                color=_COLOURS.get(name),
            )
    axes.set_xlabel("round")
    axes.set_ylabel("HR@10 on validation")
    axes.set_title(f"{summary['scenario']}: {summary['peers']} peers")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(folder / "quality.png", dpi=110)
    plt.close(figure)


def _places(areas: dict[str, str]) -> dict[int, tuple[float, float]]:
    """Longitude and latitude by peer, spread within the area so that dots do not hide others."""
    rng = np.random.default_rng(0)
    places = {}
    for index, area in sorted(areas.items()):
        centre = cell_centre(area)
        if centre is not None:
            shift = rng.normal(0.0, 0.008, 2)
            places[int(index)] = (centre[1] + shift[0], centre[0] + shift[1])
    return places
