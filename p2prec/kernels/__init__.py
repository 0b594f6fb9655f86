"""Compiled forms of the loops in which a simulation of many peers spends its time.

Each has a NumPy twin, which is what a device runs; both give the same bits. The compiled forms need
numba, whose import is slow and large: nothing imports it before ``use_compiled``, which is for
whoever computes many peers in one process.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType
from typing import Final

_CHOSEN: Final[dict[str, ModuleType]] = {}


def use_compiled(*, wanted: bool = True) -> bool:
    """Compute by the compiled forms from now on, in this process, where numba is installed.

    Args:
        wanted: False goes back to NumPy.

    Returns:
        Whether the compiled forms are used.
    """
    _CHOSEN.clear()
    if wanted and find_spec("numba") is not None:
        _CHOSEN["kernels"] = importlib.import_module("p2prec.kernels.loops")
    return bool(_CHOSEN)


def compiled() -> ModuleType | None:
    """The compiled forms (``p2prec.kernels.loops``), or None where NumPy is to compute."""
    return _CHOSEN.get("kernels")
