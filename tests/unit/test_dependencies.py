"""What is installed for an owner's peer is what it imports, no more and no less."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMPORTED = re.compile(r"^\s*(?:from|import) ([a-z_0-9]+)", re.MULTILINE)
OWN = {"p2prec", "topology", "peers"}


def named(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", r)[0].lower() for r in requirements}


EXTRAS = {name for more in PROJECT["optional-dependencies"].values() for name in named(more)}


def imported() -> set[str]:
    """Distributions behind the import statements of all that is installed."""
    statements = {
        name
        for package in ("p2prec", "topology", "peers")
        for path in (ROOT / package).rglob("*.py")
        for name in IMPORTED.findall(path.read_text())
    }
    homes = packages_distributions()
    return {
        homes.get(name, [name])[0].lower().replace("_", "-")
        for name in statements - OWN - sys.stdlib_module_names
        # Else a sentence that begins like a statement; an extra may not be installed.
        if name in homes or name in EXTRAS
    }


def test_every_dependency_is_imported_and_every_import_is_a_dependency() -> None:
    assert imported() == named(PROJECT["dependencies"]) | EXTRAS
