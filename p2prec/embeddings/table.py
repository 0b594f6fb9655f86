"""How the embeddings of items are stored: one interface for full and for compact tables.

A table turns what a peer stores into one vector an item. What is stored lies in two places that a
peer already has, so that every table is trained, averaged, protected and sent as any other:

* *rows*, one an item, of ``row_width`` columns: only those that a peer has met or heard of exist;
* *pieces*, a flat vector that all items share, part of the shared dense parameters.

A table is stateless, as a model is: pure functions for many peers at once. What a search has found
(a threshold, a width, a mask) is a piece or a value of a row too, and goes through a merge with
them. Nothing here depends on the order in which items or peers come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue

Floats = NDArray[np.float32]

FLOAT_BYTES: Final = 4
COMPRESSIONS: Final = (1, 2, 4, 10, 20, 50, 100)  # what peers of one realm may exchange
BLOCK: Final = 8_192  # items that are composed or scored at once: what is computed stays in a cache

Block = slice | NDArray[np.int64]
"""Some items: a stretch of them, or their numbers."""
Blocks = Iterator[tuple[Block, Floats]]
"""Items, and their vectors, shape ``(n, size)``, not to be written to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What one peer stores.

    Attributes:
        items: Shape ``(n_held,)``, ascending: items whose rows differ from the initial ones.
        rows: Shape ``(n_held, row_width)``.
        others: Shape ``(n_held,)``, the share of others that met each item.
        pieces: Shape ``(n_pieces,)``.
    """

    items: NDArray[np.integer[Any]]
    rows: Floats
    others: Floats
    pieces: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is stored for some items of some peers.

    Attributes:
        items: Shape ``(n,)``.
        owner: Shape ``(n,)``, the peer of each.
        rows: Shape ``(n, row_width)``, values of the items' own rows.
        others: Shape ``(n,)``, the share of others that met each item.
        pieces: Shape ``(n_peers, n_pieces)``.
    """

    items: NDArray[np.integer[Any]]
    owner: NDArray[np.integer[Any]]
    rows: Floats
    others: Floats
    pieces: Floats

    @classmethod
    def of_one(cls, device: Device) -> Stored:
        """All that one peer stores."""
        return cls(
            items=device.items,
            owner=np.zeros(len(device.items), np.int64),
            rows=device.rows,
            others=device.others,
            pieces=device.pieces[None],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceRows:
    """Stretches of the pieces that are learned and averaged as items' own rows are.

    A step changes those only that its items read, and a merge listens to those who know such items.

    Attributes:
        bounds: Shape ``(n_rows + 1,)``, ascending from 0: row ``r`` is the pieces from
            ``bounds[r]`` to ``bounds[r + 1]``. What is behind the last one is in no row.
        of_item: Shape ``(n_items, k)``, the rows that each item's vector is made of.
    """

    bounds: NDArray[np.int64]
    of_item: NDArray[np.int64]

    @property
    def widths(self) -> NDArray[np.int64]:
        """Shape ``(n_rows,)``."""
        return np.diff(self.bounds)

    def evidence(
        self, items: NDArray[np.integer[Any]], evidence: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Of each row, shape ``(n_rows,)``: the sum of that of the items that read it.

        Args:
            items: Unique ones.
            evidence: Of them.
        """
        total = np.zeros(len(self.bounds) - 1)
        for read in self.of_item[items].T:
            total += np.bincount(read, evidence, minlength=len(total))
        return total


Quality = Callable[[Device], float]
"""Mean reciprocal rank of the owner's newest interactions among all items; higher is better."""


class Packed(Protocol):
    """A table as it lies on a device: small, read-only, and fast to ask."""

    @property
    def nbytes(self) -> int:
        """Length of ``to_bytes()``."""
        ...

    def to_bytes(self) -> bytes:
        """All of it; ``ItemTable.unpack`` reads it."""
        ...

    def vectors(self, items: NDArray[np.integer[Any]]) -> Floats:
        """Shape ``(n, size)``."""
        ...

    def in_blocks(self) -> Blocks:
        """All items, each once, in whatever order costs least."""
        ...

    def dots(self, query: Floats) -> Floats:
        """Inner products of one vector with those of all items, shape ``(n_items,)``.

        Args:
            query: Shape ``(size,)``.
        """
        ...


class ItemTable(Protocol):
    """One way to store the embeddings of a catalogue's items.

    Attributes:
        name: In the registry.
        smallest: The largest compression that it can reach; ``COMPRESSIONS`` up to it are built.
        size: Length of an item's vector.
        n_items: Of the catalogue.
        compression: How many times smaller than a full table it is to be.
        row_width: Columns of an item's own row; 0 where items share pieces only.
        n_pieces: Shared values.
        piece_rows: Which of them are learned and averaged as rows are, if any.
    """

    name: ClassVar[str]
    smallest: ClassVar[int]
    size: int
    n_items: int
    compression: int
    row_width: int
    n_pieces: int
    piece_rows: PieceRows | None

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None: ...

    def initial_pieces(self) -> Floats:
        """Before any training, the same in all peers of a realm."""
        ...

    def piece_rates(self) -> Floats:
        """Factor on the learning rate of each piece; 0 where it is not trained by gradients."""
        ...

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """The vectors of items, shape ``(n, size)``, and what ``backward`` needs."""
        ...

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Gradients by rows, shape ``(n, row_width)``, and by pieces, ``(n_peers, n_pieces)``.

        Args:
            tape: Of ``compose``.
            by_vectors: Shape ``(n, size)``, of the loss; a table adds that of its own regulariser.
        """
        ...

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """What a search step of the table changes after one round of training, if anything.

        Searching needs nobody else: what a server would measure on all users is measured on the
        owner's newest interactions, and counts of items are those that gossip has brought.

        Args:
            device: What the peer stores.
            round_: Of the peer, from 0; a restarted peer goes on with the number where it was.
            quality: Asks what another state of the device would be worth.
        """
        ...

    def pack(self, device: Device) -> Packed:
        """The compact form, within ``budget_bytes``."""
        ...

    def unpack(self, data: bytes) -> Packed:
        """Read ``Packed.to_bytes()``.

        Raises:
            StoreError: These are not the bytes of such a table.
        """
        ...


def blocks(n: int) -> Iterator[slice]:
    """The first ``n`` items, a block at a time."""
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def full_bytes(n_items: int, size: int) -> int:
    """What a full table of single precision takes."""
    return FLOAT_BYTES * n_items * size


class Sized(Protocol):
    """What a budget is reckoned from, as of ``ItemTable``."""

    size: int
    n_items: int
    compression: int


def budget_bytes(table: Sized) -> int:
    """What a table may take when it is packed."""
    return full_bytes(table.n_items, table.size) // table.compression
