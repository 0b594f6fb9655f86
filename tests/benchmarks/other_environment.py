"""Environments of their own for packages that this project is compared with."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


def interpreter(folder: Path, *packages: str) -> Path:
    """An interpreter that can import published packages, installed by pip where it is not there.

    It sees this environment's packages: pip finds torch, NumPy and so on there, and adds the rest.

    Args:
        folder: Of the environment.
        packages: As pip names them.
    """
    python = folder / "bin" / "python"
    if python.exists():
        return python
    venv.create(folder, with_pip=True)
    shared = Path(
        sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    )
    (shared / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=False)
    if done.returncode:
        sys.exit(
            f"{' '.join(packages)} could not be installed: without a package index there is no "
            "comparison"
        )
    return python
