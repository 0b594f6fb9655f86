"""Above the tables of ``docs/results`` stands where they come from."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = {page.name: page.read_text() for page in sorted((ROOT / "docs" / "results").glob("*.md"))}
COMMIT = r"\b[0-9a-f]{7}\b"
WANTED = {
    "command": r"`(?:p2prec|python -m) [^`]+`",
    "commit": COMMIT,
    "seed": r"\b[Ss]eeds? \d",
    "machine": r"\bx86[-_]64\b|\b[Mm]achine as in \[README\.md\]\(README\.md\)",
}


def above_the_tables(text: str) -> str:
    lines = text.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("|"))
    return " ".join(lines[:first])


@pytest.mark.parametrize("page", PAGES)
def test_command_commit_seed_and_machine_stand_above_the_tables(page: str) -> None:
    above = above_the_tables(PAGES[page])
    assert not {name for name, pattern in WANTED.items() if not re.search(pattern, above)}, page


def test_commits_are_in_the_repository_or_said_not_to_be() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no repository")

    def said(*words: str, given: str = "") -> str:
        return subprocess.run(
            [git, *words], cwd=ROOT, input=given, capture_output=True, text=True, check=True
        ).stdout

    if said("rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("not the whole history")
    documents = {**PAGES, **{p.name: p.read_text() for p in (ROOT / "docs").glob("*.md")}}
    named = {
        commit: f"{name}: {paragraph}"
        for name, text in documents.items()
        for paragraph in re.split(r"\n\s*\n", text)
        if "not in this repository" not in " ".join(paragraph.split())
        for commit in re.findall(COMMIT, paragraph)
    }
    checked = said("cat-file", "--batch-check", given="\n".join(named)).splitlines()
    assert len(checked) == len(named)
    for commit, line in zip(named, checked, strict=True):
        assert " commit " in line, named[commit]
