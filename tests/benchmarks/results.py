"""What a benchmark measured, kept on the disk value by value, so that its parts may run apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from peers.provenance import provenance
from scenarios.pages import made_by

Result = dict[str, float | int | str]


class Results:
    """Results in ``FOLDER/NAME.json``, and the table that is written from them.

    Args:
        folder: Where ``NAME.json`` and ``NAME.md`` lie; None keeps nothing.
        name: Of the benchmark.
        key: Fields that name a result; a new one replaces an older one.
        table: Writes Markdown, of the results and of what says where they come from.
    """

    def __init__(
        self,
        folder: Path | None,
        name: str,
        *,
        key: Sequence[str],
        table: Callable[[Sequence[Result], str], str],
    ) -> None:
        self._json = folder / f"{name}.json" if folder else None
        self._key, self._table = tuple(key), table
        self.all: list[Result] = []
        made, self._runs = provenance(), list[dict[str, str]]()
        if self._json is not None and self._json.exists():
            there = json.loads(self._json.read_text())
            self.all, self._runs = there["results"], there.get("made_by", [])
        self._commit = made["commit"]
        if made not in self._runs:
            self._runs.append(made)
        self._run = self._runs.index(made)

    def add(self, result: Result) -> None:
        """Keep one, at once."""
        key = [result[name] for name in self._key]
        self.all = [r for r in self.all if [r[name] for name in self._key] != key]
        rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}
        self.all.append({**rounded, "commit": self._commit, "run": self._run})
        self.save()

    def save(self) -> None:
        """What was added to a result afterwards."""
        if self._json is not None:
            made, lines = (",\n".join(map(json.dumps, part)) for part in (self._runs, self.all))
            text = f'{{"made_by": [\n{made}\n], "results": [\n{lines}\n]}}\n'
            self._json.write_text(text)
            self._json.with_suffix(".md").write_text(self.table())

    def table(self) -> str:
        """All results in Markdown."""
        return self._table(self.all, origin(self._runs, self.all))


def origin(runs: Sequence[Mapping[str, str]], results: Sequence[Result]) -> str:
    """The commands of some results, and where and with which seeds they ran.

    Args:
        runs: As ``peers.provenance`` gives them; those of which no result is left are not told.
        results: With ``commit`` and ``run``, the number of their run, which older ones lack, and
            ``seed`` where they have one.
    """
    parts, told = [], set[str]()
    for number, made in enumerate(runs):
        its = [r for r in results if r.get("run", number) == number]
        its = [r for r in its if r["commit"] == made["commit"]]
        if its:
            told.add(made["commit"])
            parts.append(made_by(made, seeds=sorted({int(r["seed"]) for r in its if "seed" in r})))
    if rest := sorted({str(result["commit"]) for result in results} - told):
        parts.append(f"Further results are of {', '.join(rest)}; their commands were not kept.")
    return "\n\n".join(parts)
