"""What Ctrl-C and SIGTERM do to a command that has something to finish first."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from peers.cli.app import EXIT_STOPPED


def say(sentence: str) -> None:
    """Tell the user something that is no progress."""
    print(f"p2prec: {sentence}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def stop_asked(*, quiet: bool) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM has come; the second one ends all at once."""
    asked_by: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked_by:
            raise KeyboardInterrupt
        asked_by.append(number)
        if not quiet:
            say("saving, then stopping; once more stops at once")

    with _handled(ask, signal.SIGINT, signal.SIGTERM):
        yield lambda: bool(asked_by)


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Where nothing is saved, processes are ended all the same."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt, signal.SIGTERM):
        yield


@contextlib.contextmanager
def while_loading() -> Iterator[None]:
    """Ctrl-C ends at once: nothing runs while libraries load, and one may swallow an exception."""

    def leave(_number: int, _frame: object) -> None:
        os.write(sys.stderr.fileno(), b"p2prec: interrupted: no process was running\n")
        os._exit(EXIT_STOPPED)

    with _handled(leave, signal.SIGINT):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[[int, object], None], *numbers: signal.Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # nobody else hears of signals
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
