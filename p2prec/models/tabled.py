"""What all recommenders share whose item embeddings lie in a table (``p2prec.embeddings``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.full import Full
from p2prec.embeddings.initial import initial_table
from p2prec.embeddings.table import (
    Blocks,
    Device,
    ItemTable,
    Packed,
    PieceRows,
    Stored,
    blocks,
)
from p2prec.errors import ConfigError
from p2prec.limits import MAX_DENSE_VALUES
from p2prec.models.layout import DenseLayout
from p2prec.models.model import Looking, Model, Observer, Parameters, Snapshot
from p2prec.models.moments import Moment, Timeline
from p2prec.models.popularity import share_of
from p2prec.models.recommender import Task
from p2prec.models.stack import Stack
from p2prec.models.table import BIAS, OTHERS

Floats = NDArray[np.float32]

_ASKED = 32  # newest interactions by which a search measures


class Vectors(Protocol):
    """Vectors of all items, composed or packed (``p2prec.embeddings.table.Packed``)."""

    def vectors(self, items: NDArray[np.integer[Any]]) -> Floats:
        """Shape ``(n, size)``."""
        ...

    def in_blocks(self) -> Blocks:
        """All items, each once, and their vectors, in any order."""
        ...

    def dots(self, query: Floats) -> Floats:
        """Inner products of one vector with those of all items, shape ``(n_items,)``."""
        ...


@dataclass(frozen=True, slots=True)
class Composed:
    """Vectors that lie in memory, shape ``(n_items, size)``."""

    whole: Floats

    def vectors(self, items: NDArray[np.integer[Any]]) -> Floats:
        """Rows."""
        found: Floats = self.whole.take(items, axis=0)
        return found

    def in_blocks(self) -> Blocks:
        """In the order of items."""
        return ((block, self.whole[block]) for block in blocks(len(self.whole)))

    def dots(self, query: Floats) -> Floats:
        """One product."""
        products: Floats = self.whole @ query
        return products


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Items that were looked up, each once.

    Attributes:
        keys: Shape ``(m,)``, of a ``Stack``, ascending.
        rows: Shape ``(m, width)``.
        vectors: Shape ``(m, size)``.
        tape: Of the table.
    """

    keys: NDArray[np.int64]
    rows: Floats
    vectors: Floats
    tape: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """All that scores are made of, whether it lies in memory or packed.

    Attributes:
        source: Vectors of all items.
        bias: Shape ``(n_items,)``.
        shares: Shape ``(n_items,)``, of others that know each item.
        dense: Shape ``(n_dense,)``; of the table's pieces nothing is read.
        private: Shape ``(n_private,)``.
    """

    source: Vectors
    bias: Floats
    shares: Floats
    dense: Floats
    private: Floats


class Tabled(ABC):
    """A family over one item table.

    Attributes:
        table: How embeddings are stored.
        layout: Where each shared dense parameter lies; what the table shares is the part "pieces".
        width: Columns of an item's row: what the table keeps there, ``OTHERS`` and ``BIAS``.
    """

    family: str
    first: int
    name: str
    width: int
    n_private: int
    statistics: slice

    def __init__(
        self, catalogue: Catalogue, table: ItemTable, task: Task, layout: DenseLayout
    ) -> None:
        self.catalogue, self.table, self.size, self.layout = catalogue, table, table.size, layout
        compact = "" if table.name == "full" else f"/{table.name}-{table.compression}"
        ending = "" if task is Task.RANKING else f"/{task}"
        self.name = f"{self.family}/{table.size}{compact}{ending}"
        self.width = table.row_width + 2
        if layout.size > MAX_DENSE_VALUES:
            raise ConfigError(
                f"{self.name} has {layout.size} shared parameters, and an update carries at most "
                f"{MAX_DENSE_VALUES}; take a larger compression, or a smaller embedding_size"
            )

    @cached_property
    def shared_rows(self) -> SharedRows | None:
        """Pieces of the table that are learned and averaged as rows are."""
        rows = self.table.piece_rows
        if rows is None:
            return None
        first, n = self.layout.part("pieces").start, int(rows.bounds[-1])
        return SharedRows(
            rows=rows,
            part=slice(first, first + n),
            rates=self.table.piece_rates()[:n],
            start=self.table.initial_pieces()[:n],
        )

    @abstractmethod
    def observer(self) -> Observer:
        """A way to look at situations."""

    @abstractmethod
    def opened(self, ready: Ready) -> Looking:
        """A way to look at situations with what is ready."""

    def at_rest(self, now: Snapshot) -> Looking:
        """A compact table is packed once, and nothing else is kept of it."""
        return self.opened(self.ready(now.parameters()))

    def situation(self, timeline: Timeline, at: int) -> Moment | None:
        """Before one interaction, with as much as scores depend on."""
        return timeline.before(at)

    # --- learning ------------------------------------------------------------------------

    def looked(self, stack: Stack, keys: NDArray[np.int64]) -> Looked:
        """Rows and vectors of any items of the stack's peers."""
        rows = stack.gather(keys)
        owner, items = np.divmod(keys, stack.n_items)
        vectors, tape = self.table.compose(
            Stored(
                items=items,
                owner=owner,
                rows=rows[:, : self.table.row_width],
                others=rows[:, OTHERS],
                pieces=stack.dense[:, self.layout.part("pieces")],
            )
        )
        return Looked(keys=keys, rows=rows, vectors=vectors, tape=tape)

    def backward(self, looked: Looked, by_vectors: Floats, dense: Floats) -> Floats:
        """Gradients by rows, shape ``(m, width)``; adds those by pieces to ``dense``.

        Args:
            looked: What was looked up.
            by_vectors: Shape ``(m, size)``.
            dense: Shape ``(n, n_dense)``, of the first ``n`` peers.
        """
        by_rows, by_pieces = self.table.backward(looked.tape, by_vectors)
        dense[:, self.layout.part("pieces")] += by_pieces[: len(dense)]
        rows = np.zeros_like(looked.rows)
        rows[:, : self.table.row_width] = by_rows
        return rows

    # --- searching -----------------------------------------------------------------------

    def searched(self, now: Snapshot, timeline: Timeline, round_: int) -> Snapshot | None:
        """The table's search step, as of ``Searching``."""
        pieces, width = self.layout.part("pieces"), self.table.row_width

        def with_(device: Device) -> Snapshot:
            values, dense = now.values.copy(), now.dense.copy()
            values[:, :width], dense[pieces] = device.rows, device.pieces
            return replace(now, values=values, dense=dense)

        def quality(device: Device) -> float:
            return self._quality(with_(device), timeline)

        found = self.table.searched(self.device(now), round_, quality)
        return None if found is None else with_(found)

    def device(self, now: Snapshot) -> Device:
        """What the table stores of it."""
        return self._device(now.rows, now.values, now.dense)

    def _device(self, items: NDArray[np.integer[Any]], rows: Floats, dense: Floats) -> Device:
        return Device(
            items=items,
            rows=rows[:, : self.table.row_width],
            others=rows[:, OTHERS],
            pieces=dense[self.layout.part("pieces")],
        )

    def _quality(self, now: Snapshot, timeline: Timeline) -> float:
        """Mean reciprocal rank of the owner's newest interactions; 0 where there are none."""
        parameters, observe, total = now.parameters(), self.observer(), 0.0
        newest = range(len(timeline))[-_ASKED:]
        for at in newest:
            if at < max(self.first, 1):
                continue
            scores = observe(parameters, self.situation(timeline, at)).scores()
            total += 1.0 / float((scores >= scores[timeline.item[at]]).sum())
        return total / max(len(newest), 1)

    # --- scoring -------------------------------------------------------------------------

    def ready(self, parameters: Parameters) -> Ready:
        """What one state of a peer scores with."""
        table, dense = parameters.table, parameters.dense
        return Ready(
            source=self.source(parameters),
            bias=np.ascontiguousarray(table[:, BIAS]),  # all rows are not kept for it
            shares=share_of(table[:, OTHERS], dense[self.statistics].sum()),
            dense=dense,
            private=parameters.private,
        )

    def source(self, parameters: Parameters) -> Vectors:
        """Vectors of all items; a compact table is packed, as on the device."""
        return self.packed(parameters) if self.compact else self.composed(parameters)

    @property
    def compact(self) -> bool:
        """Whether the table is smaller than a full one."""
        return self.table.compression > 1

    def composed(self, parameters: Parameters) -> Composed:
        """Vectors of all items; of a full table they lie there as they are."""
        if isinstance(self.table, Full):
            return Composed(parameters.table[:, :OTHERS])
        n = len(parameters.table)
        every, whole = np.arange(n), np.empty((n, self.size), np.float32)
        for items in (every[block] for block in blocks(n)):
            device = self._device(items, parameters.table[items], parameters.dense)
            whole[items] = self.table.compose(Stored.of_one(device))[0]
        return Composed(whole)

    def packed(self, parameters: Parameters) -> Packed:
        """The table as it lies on the device."""
        initial = initial_table(self.catalogue.digest, "items", len(self.catalogue), self.width)
        items = np.flatnonzero((parameters.table != initial).any(axis=1))
        return self.table.pack(self._device(items, parameters.table[items], parameters.dense))


def in_stretches(source: Vectors, n_items: int) -> Iterator[tuple[slice, Floats]]:
    """All items in their order, for whoever reads long columns along with their vectors.

    Vectors that come in another order are laid out first.
    """
    whole = None
    for items, vectors in source.in_blocks():
        if isinstance(items, slice):
            yield items, vectors
            continue
        if whole is None:
            whole = np.empty((n_items, vectors.shape[1]), np.float32)
        # As one value each they are moved at once, in a seventh of the time.
        of_one = f"V{vectors.shape[1] * vectors.itemsize}"
        whole.view(of_one)[:, 0][items] = np.ascontiguousarray(vectors).view(of_one)[:, 0]
    if whole is not None:
        for block in blocks(n_items):
            yield block, whole[block]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRows:
    """Dense parameters that are learned and averaged as items' own rows are.

    Attributes:
        rows: Of the pieces of a table.
        part: Where among the dense parameters they lie, pieces that are in no row left out.
        rates: Factor on the rate of a row, for each parameter of them.
        start: Their initial values.
    """

    rows: PieceRows
    part: slice
    rates: Floats
    start: Floats


def shared_rows(model: Model) -> SharedRows | None:
    """Those of a model, if it has any."""
    return model.shared_rows if isinstance(model, Tabled) else None


def kept(compute: Callable[[Parameters], Any]) -> Callable[[Parameters], Any]:
    """``compute`` that keeps its answer about the newest parameters."""
    newest: tuple[Parameters, Any] | None = None

    def answer(parameters: Parameters) -> Any:
        nonlocal newest
        # Read and written as a whole: another thread may look with other parameters.
        found = newest
        if found is None or found[0] is not parameters:
            found = parameters, compute(parameters)
            newest = found
        return found[1]

    return answer
