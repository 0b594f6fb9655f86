"""Every source that documents and docstrings name stands in full in ``docs/references.bib``."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = re.split(r"^@", (ROOT / "docs" / "references.bib").read_text(), flags=re.MULTILINE)[1:]
WORKS = re.compile(r"((?:De )?[A-Z]\w+)(?: et al\.| & [A-Z]\w+)?,? (?:[A-Z]\w+ )?((?:19|20)\d\d)\b")
ARXIV = re.compile(r"arXiv (\d{4}\.\d{5})")
RFC = re.compile(r"RFC (\d{4})")


def texts() -> dict[str, str]:
    paths = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for package in ("p2prec", "topology", "peers"):
        paths += (ROOT / package).rglob("*.py")
    return {str(p.relative_to(ROOT)): p.read_text() for p in paths}


def sources() -> str:
    """The column of that name in all tables of the methods."""
    cells, column = [], -1
    for line in (ROOT / "docs" / "methods.md").read_text().splitlines():
        row = [cell.strip() for cell in line.split("|")]
        if "source" in row:
            column = row.index("source")
        elif len(row) > column > 0:
            cells.append(row[column])
    return "; ".join(cells)


def first_author_and_year(entry: str) -> tuple[str, str]:
    author = re.search(r"author = \{(.+?),", entry)
    year = re.search(r"year = \{(\d{4})\}", entry)
    assert author is not None, entry
    assert year is not None, entry
    return author[1].replace("{\\'e}", "e"), year[1]


def test_every_work_that_a_method_rests_on_is_listed() -> None:
    named = set(WORKS.findall(sources()))
    assert len(named) > 10
    assert named <= {first_author_and_year(e) for e in ENTRIES}


def test_every_identifier_is_listed() -> None:
    everything = "".join(ENTRIES)
    for path, text in texts().items():
        for name in ARXIV.findall(text):
            assert f"eprint = {{{name}}}" in everything, (path, name)
        for number in RFC.findall(text):
            assert f"number = {{RFC {number}}}" in everything, (path, number)
