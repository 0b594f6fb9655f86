"""Progress on standard error: bars on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

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
