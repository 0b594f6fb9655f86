"""What a benchmark measured, kept on the disk value by value, so that its parts may run apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from peers.provenance import provenance

Result = dict[str, float | int | str]


class Results:
    """Results in ``FOLDER/NAME.json``, and the table that is written from them.

    Args:
        folder: Where ``NAME.json`` and ``NAME.md`` lie; None keeps nothing.
        name: Of the benchmark.
        key: Fields that name a result; a new one replaces an older one.
        table: Writes Markdown.
    """

    def __init__(
        self,
        folder: Path | None,
        name: str,
        *,
        key: Sequence[str],
        table: Callable[[Sequence[Result]], str],
    ) -> None:
        self._json = folder / f"{name}.json" if folder else None
        self._key, self._table = tuple(key), table
        self.all: list[Result] = []
        if self._json is not None and self._json.exists():
            self.all = json.loads(self._json.read_text())["results"]
        self._commit = provenance()["commit"]

    def add(self, result: Result) -> None:
        """Keep one, at once."""
        key = [result[name] for name in self._key]
        self.all = [r for r in self.all if [r[name] for name in self._key] != key]
        rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}
        self.all.append({**rounded, "commit": self._commit})
        self.save()

    def save(self) -> None:
        """What was added to a result afterwards."""
        if self._json is not None:
            lines = ",\n".join(json.dumps(r) for r in self.all)
            self._json.write_text(f'{{"results": [\n{lines}\n]}}\n')
            self._json.with_suffix(".md").write_text(self.table())

    def table(self) -> str:
        """All results in Markdown."""
        return self._table(self.all)
