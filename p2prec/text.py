"""Text that others wrote, made safe to show."""

from __future__ import annotations

import re

UNREADABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, which a terminal obeys, and bytes that were no UTF-8."""


def printable(text: str) -> str:
    """The text without what a terminal would obey."""
    return UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", text)
