"""What a cell is called where everybody can read it."""

from __future__ import annotations

import base64
import hashlib
import hmac

import h3

WEEK_S = 7 * 86_400


def cell_label(realm: bytes, cell: str, *, now_s: float) -> str:
    """Keyed name of a coarse cell in this week: 26 characters of lower-case base32.

    In an open realm the key derives from the realm's digest and is public: whoever has the
    catalogue can enumerate all cells. It keeps realms and weeks apart, it hides nothing.
    """
    key = hashlib.sha256(b"p2prec/cells/1" + realm).digest()
    week = int(now_s // WEEK_S)
    digest = hmac.digest(key, b"cell" + cell.encode() + week.to_bytes(8, "big"), "sha256")
    return base64.b32encode(digest[:16]).decode().rstrip("=").lower()


def cells_around(cell: str, ring: int) -> list[str]:
    """Cells that are exactly ``ring`` steps away; none where the text is no cell."""
    if not h3.is_valid_cell(cell):
        return []
    # Disks, since rings are not defined around the twelve pentagons.
    return sorted(set(h3.grid_disk(cell, ring)) - set(h3.grid_disk(cell, ring - 1)))
