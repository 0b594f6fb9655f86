"""Where figures come from: commit, versions and machine, to stand beside them."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("numpy", "scipy", "torch")


def provenance() -> dict[str, str]:
    """``command``, ``commit``, ``machine`` and ``versions`` of this run.

    Of absolute paths in the command only the last part is there: folders are a machine's own. The
    commit is that of the source tree that was imported, with ``-dirty`` behind it where files
    differ from it, and the version of the distribution where there is no such tree.
    """
    words = sys.orig_argv[sys.orig_argv.index("-m") :] if "-m" in sys.orig_argv else sys.argv
    shown = [Path(word).name if Path(word).is_absolute() else word for word in words]
    return {
        "command": shlex.join(["python", *shown] if words[0] == "-m" else shown),
        "commit": _commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in _LIBRARIES)]
        ),
    }


def _commit() -> str:
    here = Path(__file__).parent
    say = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        said = subprocess.run(say, cwd=here, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return f"p2prec {version('p2prec')}"
    return said.stdout.strip()
