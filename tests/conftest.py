"""Shared by all tests: what a test must leave as it found it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

# Hypothesis imports this lazily, and CPython 3.11 may refuse to parse it after a RecursionError.
import hypothesis.internal.conjecture.optimiser  # noqa: F401
import pytest

from p2prec.kernels import use_compiled

_GRACE_S = 5.0  # what ends by itself soon after a test is no leak
_PROC = Path("/proc/self")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data; the test is skipped where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("P2PREC_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real data; name its folder in P2PREC_DATA")
    return folder


@pytest.fixture(autouse=True)
def _loops_are_those_of_a_device() -> Iterator[None]:
    """A simulation switches its process to compiled loops; the next test starts without them."""
    yield
    use_compiled(wanted=False)


@pytest.fixture(autouse=True)
def _environment_is_restored() -> Iterator[None]:
    """No test sees the settings of an owner of this machine, or those of another test."""
    before, folder = dict(os.environ), Path.cwd()
    for name in before:
        if name.startswith("P2PREC_") and name != "P2PREC_DATA":
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)
    os.chdir(folder)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No thread, child process or socket outlives its test."""
    before = _held()
    yield
    deadline = time.monotonic() + _GRACE_S
    while left := _held() - before:
        gc.collect()
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {', '.join(sorted(left))}")
        time.sleep(0.02)


def _held() -> set[str]:
    held = {f"thread {t.name} {t.ident}" for t in threading.enumerate() if not t.daemon}
    for task in _PROC.glob("task/*/children"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            held |= {f"process {pid}" for pid in task.read_text().split()}
    for descriptor in _PROC.glob("fd/*"):
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith("socket:"):
                held.add(target)
    return held


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No task outlives its test either; the loop would cancel it without a word."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _without_tasks_left(item.obj)


def _without_tasks_left(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def checked(*arguments: Any, **named: Any) -> None:
        await test(*arguments, **named)
        deadline = time.monotonic() + _GRACE_S
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            if time.monotonic() > deadline:
                pytest.fail(f"tasks left behind: {sorted(t.get_name() for t in left)}")
            await asyncio.sleep(0.02)

    return checked
