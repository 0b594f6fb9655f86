"""Which p2prec this is, for results that are to be repeated."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
from functools import lru_cache
from pathlib import Path

import p2prec
import peers
import topology


@lru_cache(maxsize=1)
def code() -> str:
    """Hash of every line of code that is installed, 64 hex characters."""
    sha = hashlib.sha256()
    for package in (p2prec, topology, peers):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            sha.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0".encode())
            sha.update(path.read_bytes() + b"\0")
    return sha.hexdigest()


def version() -> str:
    """Such as ``0.1.0, commit 1a508484``; where that does not say it, with a part of ``code``."""
    commit = _commit()
    said = [importlib.metadata.version("p2prec")]
    said += [f"commit {commit}"] if commit else []
    said += [] if commit and not commit.endswith("+") else [f"code {code()[:8]}"]
    return ", ".join(said)


def _commit() -> str:
    """Of the checkout that the code lies in, marked where it was changed since; "" elsewhere."""
    folder = Path(str(peers.__file__)).parent.parent
    if not (folder / ".git").exists():  # an installed package may lie within some other repository
        return ""
    ask = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        said = subprocess.run(  # noqa: S603 - the user's git, about this folder
            ask, capture_output=True, text=True, timeout=5.0, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()
