"""Text that others wrote, made safe to show."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

UNREADABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, which a terminal obeys, and bytes that were no UTF-8."""


def printable(text: str) -> str:
    """The text without what a terminal would obey."""
    return UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def closest(name: str, known: Collection[str]) -> str | None:
    """What somebody who wrote ``name`` may have meant, if anything is like it."""
    near = difflib.get_close_matches(name, known, n=1)
    return near[0] if near else None


def nearest(name: str, known: Collection[str]) -> str:
    """What somebody who wrote ``name`` may have meant, as the end of a sentence."""
    near = closest(name, known)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"there are: {', '.join(sorted(known)) or 'none'}"
