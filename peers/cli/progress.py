"""Progress on standard error: bars on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

_LARGE_BYTES: Final = 4 << 20  # smaller files are read before a bar is seen


def error_console() -> Console:
    """Standard error; without colours where NO_COLOR is set."""
    return Console(stderr=True, highlight=False)


def bars(console: Console) -> Progress:
    """Bars with a name, a percentage, the time, and free text."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where a piece of work is.

    Attributes:
        label: Of the piece; each has a bar of its own.
        completed: Of ``total``.
        total: None where nobody knows.
        text: What else there is to say.
        step: Elsewhere than on a terminal, a line is written when this changes.
    """

    label: str
    completed: int
    total: int | None
    text: str
    step: object


@contextlib.contextmanager
def following(*, quiet: bool) -> Iterator[Callable[[Stage], None]]:
    """What hears of stages: bars on a terminal, lines elsewhere, nothing when quiet."""
    console = error_console()
    if quiet:
        yield lambda _: None
    elif console.is_terminal and not console.is_dumb_terminal:
        with bars(console) as progress:
            tasks: dict[str, TaskID] = {}

            def draw(stage: Stage) -> None:
                if stage.label not in tasks:
                    tasks[stage.label] = progress.add_task(stage.label, text="")
                progress.update(
                    tasks[stage.label],
                    total=stage.total,
                    completed=stage.completed,
                    text=stage.text,
                )

            yield draw
    else:
        last: list[object] = []

        def write(stage: Stage) -> None:
            if last != [stage.label, stage.step]:
                last[:] = [stage.label, stage.step]
                print(f"{stage.label}: {stage.text}", file=sys.stderr, flush=True)

        yield write


@contextlib.contextmanager
def reading(path: Path, *, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """What hears how many bytes of a file were read; None where nobody would look."""
    size = path.stat().st_size if path.is_file() else 0
    console = error_console()
    if quiet or size < _LARGE_BYTES:
        yield None
    elif not console.is_terminal or console.is_dumb_terminal:
        print(f"reading {path} ({size >> 20} MiB)", file=sys.stderr)
        yield None
    else:
        with bars(console) as progress:
            task = progress.add_task(f"reading {path.name}", total=size, text="")
            yield lambda n: progress.update(task, completed=n)
