"""Pictures of a swarm or simulation: who learns with whom, and how quality grows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peers.drawing import draw_curves, draw_map


def draw(summary: Mapping[str, Any], folder: Path) -> None:
    """Write ``map.png`` and ``quality.png``."""
    draw_neighbours(summary, folder / "map.png")
    title = f"{summary['scenario']}, {summary['peers']} peers"
    draw_curves(summary["methods"], folder / "quality.png", title=title)


def draw_neighbours(summary: Mapping[str, Any], path: Path) -> None:
    """The first method that has neighbours, on the map."""
    for name, method in summary["methods"].items():
        if method.get("links"):
            title = f"{summary['peers']} peers and their neighbours ({name}), blurred areas"
            draw_map(method, path, title=title)
            return
