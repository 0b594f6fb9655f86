"""Shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

# Hypothesis imports this lazily, and CPython 3.11 may refuse to parse it after a RecursionError.
import hypothesis.internal.conjecture.optimiser  # noqa: F401
import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data; the test is skipped where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("P2PREC_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real data; name its folder in P2PREC_DATA")
    return folder
