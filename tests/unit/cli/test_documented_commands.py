"""Commands that documents name exist, with the options that they are given there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from peers.cli.main import app

ROOT = Path(__file__).resolve().parents[3]
# The architecture also names what is not there yet.
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("cli", "scaling", "threats", "summary-schema")),
    *sorted((ROOT / "docs" / "results").glob("*.md")),
]
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def commands(start: str) -> list[tuple[str, str]]:
    """Name and the rest of every command that begins so, in a line of its own or in backticks."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        found += re.findall(rf"`{start} ([a-z][\w.]*)([^`]*)`", text)
        found += re.findall(rf"^{start} ([a-z][\w.]*)([^#\n]*)", text, flags=re.MULTILINE)
    return sorted(set(found))


@pytest.mark.parametrize(("name", "rest"), commands("p2prec"))
def test_commands_have_the_options_that_documents_give_them(name: str, rest: str) -> None:
    known = get_command(app).commands  # type: ignore[attr-defined]
    assert name in known
    options = {one for p in known[name].params for one in (*p.opts, *p.secondary_opts)}
    assert set(OPTION.findall(rest)) <= options


@pytest.mark.parametrize(("module", "rest"), commands("python -m"))
def test_scripts_have_the_options_that_documents_give_them(module: str, rest: str) -> None:
    path = ROOT / f"{module.replace('.', '/')}.py"
    shared = ROOT / "tests" / "benchmarks" / "rival_sides.py"  # of both comparisons
    source = path.read_text() + shared.read_text()
    for option in OPTION.findall(rest):
        assert f'"{option}"' in source, option
    for scenario in re.findall(r"[\w/]+\.toml", rest):
        assert (ROOT / scenario).exists()
